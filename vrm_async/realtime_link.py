"""A connection to one of VRM's brokers, as far as the rest needs it: address, login, how it ends. No I/O."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self
from urllib.parse import urlsplit

from attrs import frozen

from energy_core.clock import Clock
from energy_core.secret import Secret
from energy_core.stream.reconnect import Ending

MAX_CONNECTING: Final = 4
"""Connections whose TLS and WebSocket handshakes run at the same time. Each needs a thread of the event
loop's default executor, which has five or more and serves others too."""
CONNECT_EVERY_S: Final = 0.01
"""Seconds between two connections: a restart of all brokers must not make all clients connect at once."""


class Address(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int
    path: str
    tls: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """Read an address such as ``wss://webmqtt7.victronenergy.com/mqtt``.

        Raises:
            ValueError: it is not a WebSocket's address, holds a user or query, or is not TLS and elsewhere
                than on this machine.
        """
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if parts.scheme not in {"wss", "ws"} or not host or parts.username or parts.query or parts.fragment:
            raise ValueError(f"not the address of a WebSocket: {url!r}")
        if parts.scheme == "ws" and not _is_loopback(host):
            raise ValueError(f"a token is sent over TLS only, except on this machine: {url!r}")
        tls = parts.scheme == "wss"
        return cls(host, port or (443 if tls else 80), parts.path or "/", tls)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _is_loopback(host: str) -> bool:
    return host == "localhost" or re.fullmatch(r"127(\.[0-9]{1,3}){3}|::1", host) is not None


@frozen
class Login:
    """User and password of a broker."""

    user: str
    password: Secret


class LinkLost(Exception):
    """A connection could not be made, or has ended; `ending` says how. The text has no secret."""

    def __init__(self, ending: Ending, reason: str) -> None:
        super().__init__(reason)
        self.ending = ending


class ConnectGate:
    """Limits how many connections begin, and how many are being made, at the same time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next_at = 0.0
        self._making = asyncio.Semaphore(MAX_CONNECTING)

    async def __aenter__(self) -> Self:
        await self._making.acquire()
        try:
            now = self._clock.monotonic()
            at = self._next_at = max(now, self._next_at + CONNECT_EVERY_S)
            if at > now:
                await self._clock.sleep(at - now)
        except BaseException:
            self._making.release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._making.release()


Take = Callable[[str, bytes], None]
"""Takes the topic and payload of a message."""


class Link(Protocol):
    """One connection to a broker: `open` it, use it, `close` it."""

    retained: int
    """Number of retained messages, which are dropped: their age is not known."""

    async def open(self, login: Login, timeout_s: float) -> None:
        """Connect and log in; raises `LinkLost`. Cancelling is safe."""

    async def subscribe(self, filters: Iterable[str]) -> bool:
        """Subscribe to topics; return whether the broker granted all of them; raises `LinkLost`."""

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe from topics."""

    async def keepalive(self, portal_id: str, payload: bytes, *, confirmed: bool) -> bool:
        """Ask a gateway to go on publishing; return whether the broker took it; raises `LinkLost`."""

    async def wait_lost(self) -> LinkLost:
        """Wait until the connection has ended; return how."""

    async def close(self) -> None:
        """Close the connection."""


OpenLink = Callable[[Address, ssl.SSLContext | None, Take], Link]
"""Makes a connection, which is not open yet."""

"""ReconnectingSocket: frames from a WebSocket that heals by itself. The only user of websockets."""

from __future__ import annotations

import asyncio
import random as _random
import ssl
from asyncio import BaseTransport, TimerHandle
from collections.abc import Callable
from functools import cache, partial
from socket import gaierror
from typing import Final, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.protocol import State as WireState

from energy_core.clock import Clock, SystemClock, ticking
from energy_core.errors import AuthError, NotFound, PermissionDenied, RequestError
from energy_core.retry import parse_retry_after
from energy_core.stream.event import State
from energy_core.stream.link import Address, Link, complaint
from energy_core.stream.pulse import Beat, Pulse
from energy_core.stream.reconnect import (
    Again,
    Closed,
    Ending,
    Recovery,
    Refused,
    Renew,
    Stop,
    Trouble,
    Untrusted,
)
from energy_core.stream.timing import SocketTiming
from energy_core.stream.wirelog import wire_log

__all__ = ["Address", "Link", "ReconnectingSocket", "SocketTiming"]

_GOING_AWAY: Final = 1001
_NO_CLOSE_FRAME: Final = 1006

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ssl.SSLError, "TLS could not be agreed on"),
    (TimeoutError, "the handshake took too long"),
    (gaierror, "the host name cannot be resolved"),
    (ConnectionRefusedError, "the connection was refused"),
    (OSError, "the server cannot be reached"),
    (WebSocketException, "the answer to the handshake is not a WebSocket's"),
)
"""The first kind that fits says in our own words why no connection came about."""


class ReconnectingSocket:
    """Hands over every frame of a WebSocket, whatever happens to its connections.

    One task reads, and it never waits for a consumer: a socket that is not read cannot answer pings and dies.

    Args:
        link: Says where to connect and when.
        on_frame: Takes one message as it came; returns whether it was a valid event.
        on_state: Told of every change: the state, the reason, and in how many seconds the next attempt comes.
        timing: Every timeout and delay.
        clock: Where time comes from; the timeouts of a single connection run on the event loop's own time.
        random: Gives numbers in [0, 1) for the jitter.
        ssl_context: Verifies the server; by default the system's authorities, TLS 1.2 or later.
    """

    def __init__(
        self,
        link: Link,
        *,
        on_frame: Callable[[bytes], bool],
        on_state: Callable[[State, str, float | None], None],
        timing: SocketTiming | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._link = link
        self._on_frame = on_frame
        self._on_state = on_state
        self._timing = timing or SocketTiming()
        self._clock = clock or SystemClock()
        self._recovery = Recovery(self._timing, random=random)
        self._ssl_context = ssl_context
        self._generation = 0
        self._refused: int | None = None
        self._pulse = Pulse(self._timing, 0.0)
        self._eventful = False
        self.heard_at = 0.0
        """When the message arrived that is handed over now, or was last."""
        self.handshakes = 0
        self.frames = 0
        self.events = 0

    async def run(self) -> None:
        """Read until cancelled; closes the connection before it returns.

        Raises:
            AuthError: the credential was refused and so was a renewed one.
            PermissionDenied: the server says this may not be read.
            NotFound: the server knows no such stream.
            TLSVerificationError: the server's certificate cannot be trusted.
            AnswerError: the server keeps closing with a code nobody documents.
        """
        while True:
            self._on_state(State.CONNECTING, "", None)
            ending = await self._one_connection()
            decision = self._recovery.after(ending, self._clock.monotonic())
            match decision:
                case Stop(error):
                    raise error
                case Renew(reason, delay):
                    self._refused = self._generation
                case Again(reason, delay, hold):
                    if hold is not None:
                        self._link.hold(hold)
            self._on_state(State.DISCONNECTED, reason, delay)
            if delay > 0:
                await self._clock.sleep(delay)

    async def _one_connection(self) -> Ending:
        try:
            address = await self._permitted()
        except (AuthError, PermissionDenied, NotFound):
            raise
        except RequestError as error:
            return Trouble(str(error), error.retry_after)
        self._generation = address.generation
        self._recovery.begin(self._clock.monotonic())
        self.handshakes += 1
        try:
            connection = await self._open(address)
        except (OSError, WebSocketException) as error:
            return self._why_not_open(error)
        try:
            return await self._read(connection)
        finally:
            # Also when cancelled: the server hears that we leave, and need not answer.
            try:
                await connection.close(_GOING_AWAY)
            finally:
                connection.transport.abort()

    async def _permitted(self) -> Address:
        if self._refused is not None:
            await self._link.renew(self._refused)
            self._refused = None
        await self._link.address()  # a login, if there must be one, does not take up a turn
        await self._link.admit()
        address = (
            await self._link.address()
        )  # the turn may have been long in coming, and the credential renewed
        if fault := complaint(address.url):
            raise ValueError(fault)
        return address

    async def _open(self, address: Address) -> _Connection:
        timing = self._timing
        tls = None
        if address.url.lower().startswith("wss:"):
            tls = self._ssl_context or await asyncio.to_thread(_default_tls)
        connection = await _Connect(
            address.url,
            additional_headers=dict(address.headers),
            compression=None,
            proxy=None,
            open_timeout=timing.open_timeout_s,
            close_timeout=timing.close_timeout_s,
            ping_interval=None,  # `Pulse` decides about pings: any byte counts as life, not only pongs
            max_size=timing.largest_frame,
            logger=wire_log(),
            create_connection=cast("type[ClientConnection]", partial(_Connection, self._clock)),
            ssl=tls,
        )
        connection.request = None  # it holds the credential, and a third of what a connection takes up
        if connection.response is not None:
            connection.response.headers.clear()
        return cast("_Connection", connection)

    async def _read(self, connection: _Connection) -> Ending:
        clock = self._clock
        now = clock.monotonic()
        pulse = self._pulse = Pulse(self._timing, now)
        self._recovery.opened(now)
        self._eventful = False
        self._on_state(State.LIVE, "", None)
        try:
            while True:
                await self._read_until(pulse.next_at(connection.heard_at), connection)
                while (beat := pulse.check(clock.monotonic(), connection.heard_at)) is not Beat.REST:
                    if beat is Beat.DEAD:
                        connection.transport.abort()
                        silence = clock.monotonic() - connection.heard_at
                        return Trouble(f"no sign of life for {silence:.0f} s")
                    if beat is Beat.PING:
                        _pong = await connection.ping()  # any byte will do as an answer
                    else:
                        silence = pulse.silence(clock.monotonic())
                        self._on_state(State.STALE, f"no event for {silence:.0f} s", None)
        except ConnectionClosed as closed:
            frame = closed.rcvd or closed.sent
            return Closed(frame.code if frame else _NO_CLOSE_FRAME)

    async def _read_until(self, when: float, connection: _Connection) -> None:
        """Hand over messages until `when`; all that is there at one wake-up without another wait."""
        recv, heard = connection.recv, self._heard
        try:
            async with asyncio.timeout(max(0.0, when - self._clock.monotonic())) as limit:
                while True:
                    heard(await recv(decode=False), connection.heard_at)
        except TimeoutError:
            if not limit.expired():
                raise

    def _heard(self, frame: bytes, now: float) -> None:
        """Hand over one message."""
        self.frames += 1
        self.heard_at = now
        if self._on_frame(frame):
            self.events += 1
            if not self._eventful:
                self._eventful = True
                self._recovery.event(now)
            if self._pulse.event(now):
                self._on_state(State.LIVE, "", None)

    def _why_not_open(self, error: OSError | WebSocketException) -> Ending:
        """Say in our own words why: the library's texts may hold the URL."""
        if isinstance(error, InvalidStatus):
            return Refused(error.response.status_code, self._retry_after(error.response.headers))
        if isinstance(error, ssl.SSLCertVerificationError):
            return Untrusted()
        return Trouble(next(reason for kind, reason in _REASONS if isinstance(error, kind)))

    def _retry_after(self, headers: Headers) -> float | None:
        values, dates = headers.get_all("Retry-After"), headers.get_all("Date")
        if len(values) != 1:
            return None
        return parse_retry_after(
            values[0], date=dates[0] if len(dates) == 1 else None, now=self._clock.utcnow()
        )

    def __repr__(self) -> str:
        counts = f"{self.handshakes} handshakes, {self.frames} frames, {self.events} of them events"
        return f"<ReconnectingSocket {counts}; {self._recovery!r}>"


class _Connect(connect):
    """Opens one connection and follows no redirect, which would carry the credential along."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class _Connection(ClientConnection):
    """Notes when the last byte came, and does not wait for a server that says goodbye and stays."""

    __slots__ = ("_leaving", "_now", "heard_at")

    def __init__(self, clock: Clock, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._now = ticking(clock)
        self.heard_at = self._now()
        self._leaving: TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._now()
        super().data_received(data)
        if self.protocol.state is WireState.CLOSING and self._leaving is None:
            # The library would wait for the server to close the connection for as long as data keeps coming.
            self._leaving = self.loop.call_later(self.close_timeout or 0.0, self.transport.abort)

    def connection_made(self, transport: BaseTransport) -> None:
        self.heard_at = self._now()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        super().connection_lost(exc)


@cache
def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context

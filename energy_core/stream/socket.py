"""ReconnectingSocket: messages from a WebSocket that heals by itself."""

from __future__ import annotations

import asyncio
import enum
import random as _random
import ssl
from collections.abc import Callable
from functools import cache
from socket import gaierror
from typing import Final

from energy_core.clock import Clock, SystemClock, VendorClock
from energy_core.errors import AuthError, NotFound, PermissionDenied, RequestError
from energy_core.printable import printable
from energy_core.retry import parse_retry_after
from energy_core.stream.connection import Connection, HandshakeFailed, HandshakeRejected
from energy_core.stream.endpoint import Endpoint, EndpointProvider, check_ws_url
from energy_core.stream.reconnect import (
    BadCertificate,
    Closed,
    Ending,
    HandshakeRefused,
    ReconnectPolicy,
    Renew,
    Retry,
    SocketConfig,
    Stop,
    TransientFailure,
)
from energy_core.stream.vocabulary import State

__all__ = ["Endpoint", "EndpointProvider", "ReconnectingSocket", "SocketConfig"]

_GOING_AWAY: Final = 1001

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ssl.SSLError, "TLS could not be agreed on"),
    (TimeoutError, "the handshake took too long"),
    (gaierror, "the host name cannot be resolved"),
    (ConnectionRefusedError, "the connection was refused"),
    (OSError, "the server cannot be reached"),
    (HandshakeFailed, "the answer to the handshake is not a WebSocket's"),
)
"""The first kind that fits says in our own words why no connection came about."""


_SMOOTHING: Final = 1 / 8


class KeepaliveAction(enum.Enum):
    """What a pulse asks for."""

    REST = "rest"
    PING = "ping"
    DEAD = "dead"
    STALE = "stale"


class Keepalive:
    """The life of one connection: any byte is life of the link, only a valid event is life of the source."""

    __slots__ = ("_config", "_eventful_at", "_first", "_pinged_at", "_stale", "interval")

    def __init__(self, config: SocketConfig, now: float) -> None:
        self.interval: float | None = None
        """The usual seconds between two events, smoothed; None before the second."""
        self._config = config
        self._eventful_at = now
        self._first = True
        self._stale = False
        self._pinged_at: float | None = None

    def events(self, count: int, now: float) -> bool:
        """Note valid events that came together, and tell whether they end a stale spell."""
        if self._first:
            self._first, self._eventful_at = False, now
            count -= 1
        if count:
            passed = now - self._eventful_at
            usual = self.interval
            usual = passed if usual is None else usual + _SMOOTHING * (passed - usual)
            # Between the others there was no time.
            self.interval = usual if count == 1 else usual * (1 - _SMOOTHING) ** (count - 1)
        self._eventful_at = now
        was_stale, self._stale = self._stale, False
        return was_stale

    def check(self, now: float, heard_at: float) -> KeepaliveAction:
        """Decide what is due; call again until it answers REST."""
        if self._pinged_at is not None and heard_at >= self._pinged_at:  # of coarse clocks both are one tick
            self._pinged_at = None
        if self._pinged_at is not None and now >= self._pinged_at + self._config.ping_timeout_s:
            return KeepaliveAction.DEAD
        if not self._stale and now >= self._stale_at:
            self._stale = True
            return KeepaliveAction.STALE
        if self._pinged_at is None and now >= heard_at + self._config.ping_interval_s:
            self._pinged_at = now
            return KeepaliveAction.PING
        return KeepaliveAction.REST

    def next_at(self, heard_at: float) -> float:
        """Return when `check` may have something to say, if nothing happens until then."""
        if self._pinged_at is not None and heard_at < self._pinged_at:
            link_at = self._pinged_at + self._config.ping_timeout_s
        else:
            link_at = heard_at + self._config.ping_interval_s
        return link_at if self._stale else min(link_at, self._stale_at)

    def silence(self, now: float) -> float:
        """Seconds since the last valid event, or since the connection began."""
        return now - self._eventful_at

    @property
    def _stale_at(self) -> float:
        patience = max(self._config.stale_after_s, self._config.stale_factor * (self.interval or 0.0))
        return self._eventful_at + patience


class ReconnectingSocket:
    """Hands over every message of a WebSocket, whatever happens to its connections.

    Nothing ever waits for a consumer: a socket that is not read cannot answer pings and dies. One task
    connects, pings and watches; messages do not pass through it.

    Args:
        link: Says where to connect and when.
        on_messages: Takes all messages of one read as they came; returns how many were valid events.
        on_state: Told of every change: the state, the reason, and in how many seconds the next attempt comes.
        config: Every timeout and delay.
        clock: Where time comes from; the timeouts of a single connection run on the event loop's own time.
        random: Gives numbers in [0, 1) for the jitter.
        ssl_context: Verifies the server; by default the system's authorities, TLS 1.2 or later.
        vendor_clock: Told every `Date` that the server answers a handshake with.
    """

    __slots__ = (
        *(
            "_clock",
            "_eventful",
            "_generation",
            "_endpoint",
            "_on_messages",
            "_on_state",
            "_pulse",
            "_recovery",
        ),
        *("_refused", "_ssl_context", "_config", "_vendor_clock", "events", "frames", "handshakes"),
        "heard_at",
    )

    def __init__(
        self,
        endpoint: EndpointProvider,
        *,
        on_messages: Callable[[list[bytes]], int],
        on_state: Callable[[State, str, float | None], None],
        config: SocketConfig | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
        ssl_context: ssl.SSLContext | None = None,
        vendor_clock: VendorClock | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._on_messages = on_messages
        self._on_state = on_state
        self._config = config or SocketConfig()
        self._clock = clock or SystemClock()
        self._recovery = ReconnectPolicy(self._config, random=random, renewable=endpoint.renewable)
        self._ssl_context = ssl_context
        self._vendor_clock = vendor_clock
        self._generation = 0
        self._refused: int | None = None
        self._pulse = Keepalive(self._config, 0.0)
        self._eventful = False
        self.heard_at = 0.0
        """When the messages arrived that are handed over now, or were last."""
        self.handshakes = 0
        self.frames = 0
        self.events = 0

    async def run(self) -> None:
        """Read until cancelled; closes the connection before it returns.

        Raises:
            AuthError: the credential was refused and so was a renewed one.
            BadRequest: the server says, in its own words, that it was asked for something impossible.
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
                case Retry(reason, delay, hold):
                    if hold is not None:
                        self._endpoint.hold(hold)
            self._on_state(State.DISCONNECTED, reason, delay)
            if delay > 0:
                await self._clock.sleep(delay)

    async def _one_connection(self) -> Ending:
        try:
            address, tls = await self._permitted()
        except (AuthError, PermissionDenied, NotFound):
            raise
        except RequestError as error:
            return TransientFailure(str(error), error.retry_after)
        self._generation = address.generation
        self._recovery.begin(self._clock.monotonic())
        self.handshakes += 1
        wire = self._wire(address)
        try:
            await wire.open(address, tls)
        except (OSError, HandshakeFailed) as error:
            if error is wire.fault:
                raise
            return self._why_not_open(error)
        try:
            return await self._watch(wire)
        finally:
            # Also when cancelled: the server hears that we leave, and need not answer.
            await wire.leave(_GOING_AWAY)

    async def _permitted(self) -> tuple[Endpoint, ssl.SSLContext | None]:
        if self._refused is not None:
            await self._endpoint.renew(self._refused)
            self._refused = None
        # A login and a look at the system's authorities, if there must be any, do not take up a turn.
        tls = await self._tls_for(await self._endpoint.address())
        await self._endpoint.admit()
        # The turn may have been long in coming, and the credential renewed.
        address = await self._endpoint.address()
        if fault := check_ws_url(address.url):
            raise ValueError(fault)
        return address, tls

    def _wire(self, address: Endpoint) -> Connection:
        return Connection(
            address,
            on_open=self._opened,
            on_messages=self._heard,
            clock=self._clock,
            config=self._config,
            vendor_clock=self._vendor_clock,
        )

    def _opened(self, now: float) -> None:
        self._pulse = Keepalive(self._config, now)
        self._recovery.opened(now)
        self._eventful = False
        self._on_state(State.LIVE, "", None)

    async def _tls_for(self, address: Endpoint) -> ssl.SSLContext | None:
        if not address.url.lower().startswith("wss:"):
            return None
        if self._ssl_context is None:
            self._ssl_context = await asyncio.to_thread(_default_tls)
        return self._ssl_context

    async def _watch(self, wire: Connection) -> Ending:
        """Ping, and say when the source is stale, until the connection ends."""
        clock, pulse = self._clock, self._pulse
        while not await wire.over(max(0.0, pulse.next_at(wire.heard_at) - clock.monotonic())):
            while (beat := pulse.check(clock.monotonic(), wire.heard_at)) is not KeepaliveAction.REST:
                if beat is KeepaliveAction.DEAD:
                    wire.abort()
                    return TransientFailure(f"no sign of life for {clock.monotonic() - wire.heard_at:.0f} s")
                if beat is KeepaliveAction.PING:
                    wire.ping()
                else:
                    silence = pulse.silence(clock.monotonic())
                    self._on_state(State.STALE, f"no event for {silence:.0f} s", None)
        if wire.fault is not None:
            raise wire.fault
        words = wire.close_words
        return Closed(wire.close_code, self._endpoint.words(words.encode()).text if words else "")

    def _heard(self, messages: list[bytes], now: float) -> None:
        """Hand over all messages of one read."""
        self.frames += len(messages)
        self.heard_at = now
        events = self._on_messages(messages)
        if events:
            self.events += events
            if not self._eventful:
                self._eventful = True
                self._recovery.event(now)
            if self._pulse.events(events, now):
                self._on_state(State.LIVE, "", None)

    def _why_not_open(self, error: OSError | HandshakeFailed) -> Ending:
        """Say in our own words why: texts of others may hold the URL."""
        if isinstance(error, HandshakeRejected):
            if self._vendor_clock is not None and len(error.dates) == 1:
                self._vendor_clock.observe(error.dates[0])
            words = self._endpoint.words(error.body)
            return HandshakeRefused(
                error.status, self._retry_after(error), words.text, envelope=words.envelope, page=words.page
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return BadCertificate()
        return TransientFailure(next(reason for kind, reason in _REASONS if isinstance(error, kind)))

    def _retry_after(self, refusal: HandshakeRejected) -> float | None:
        if len(refusal.retry_after) != 1:
            return None
        date = refusal.dates[0] if len(refusal.dates) == 1 else None
        return parse_retry_after(refusal.retry_after[0], date=date, now=self._clock.utcnow())

    @printable
    def __repr__(self) -> str:
        counts = f"{self.handshakes} handshakes, {self.frames} frames, {self.events} of them events"
        return f"<ReconnectingSocket {counts}; {self._recovery!r}>"


@cache
def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context

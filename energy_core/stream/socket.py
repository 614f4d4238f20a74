"""ReconnectingSocket: a WebSocket that reconnects, renews its credential and reports its state."""

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
from energy_core.retry_after import parse_retry_after
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

_FAILURES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ssl.SSLError, "TLS could not be agreed on"),
    (TimeoutError, "the handshake took too long"),
    (gaierror, "the host name cannot be resolved"),
    (ConnectionRefusedError, "the connection was refused"),
    (OSError, "the server cannot be reached"),
    (HandshakeFailed, "the answer to the handshake is not a WebSocket's"),
)
"""Our own text for each kind of failure, the first match counts: texts of others may hold the URL."""


_SMOOTHING: Final = 1 / 8


class KeepaliveAction(enum.Enum):
    """What is due on a connection."""

    NONE = "none"
    PING = "ping"
    TIMED_OUT = "timed out"
    STALE = "stale"


class Keepalive:
    """Decide when a connection needs a ping, has timed out or is stale. No I/O, no clock.

    Any data proves that the connection lives; only a valid event proves that the source does.
    """

    __slots__ = ("_config", "_first", "_last_event_at", "_pinged_at", "_stale", "interval")

    def __init__(self, config: SocketConfig, now: float) -> None:
        self.interval: float | None = None
        """Usual seconds between two events, smoothed; None before the second."""
        self._config = config
        self._last_event_at = now
        self._first = True
        self._stale = False
        self._pinged_at: float | None = None

    def on_events(self, count: int, now: float) -> bool:
        """Note valid events that arrived together; return whether they end a stale period."""
        if self._first:
            self._first, self._last_event_at = False, now
            count -= 1
        if count:
            passed = now - self._last_event_at
            usual = self.interval
            usual = passed if usual is None else usual + _SMOOTHING * (passed - usual)
            # The other events arrived at the same time, so their intervals are 0.
            self.interval = usual if count == 1 else usual * (1 - _SMOOTHING) ** (count - 1)
        self._last_event_at = now
        was_stale, self._stale = self._stale, False
        return was_stale

    def check(self, now: float, received_at: float) -> KeepaliveAction:
        """Return what is due; call it again until it returns NONE."""
        if (
            self._pinged_at is not None and received_at >= self._pinged_at
        ):  # with a coarse clock both may be equal
            self._pinged_at = None
        if self._pinged_at is not None and now >= self._pinged_at + self._config.ping_timeout_s:
            return KeepaliveAction.TIMED_OUT
        if not self._stale and now >= self._stale_at:
            self._stale = True
            return KeepaliveAction.STALE
        if self._pinged_at is None and now >= received_at + self._config.ping_interval_s:
            self._pinged_at = now
            return KeepaliveAction.PING
        return KeepaliveAction.NONE

    def next_at(self, received_at: float) -> float:
        """Return the monotonic time of the next `check`, if nothing arrives until then."""
        if self._pinged_at is not None and received_at < self._pinged_at:
            link_at = self._pinged_at + self._config.ping_timeout_s
        else:
            link_at = received_at + self._config.ping_interval_s
        return link_at if self._stale else min(link_at, self._stale_at)

    def seconds_without_event(self, now: float) -> float:
        """Return the seconds since the last valid event, or since the connection was opened."""
        return now - self._last_event_at

    @property
    def _stale_at(self) -> float:
        seconds = max(self._config.stale_after_s, self._config.stale_factor * (self.interval or 0.0))
        return self._last_event_at + seconds


class ReconnectingSocket:
    """Deliver every message of a WebSocket to a callback, across reconnects.

    The socket is never paused for a consumer: pings could not be answered, and the server would disconnect.
    One task connects, pings and watches for timeouts. Messages go from the socket to the callback directly.

    Args:
        provider: Address, credential and rate limit of the connection.
        on_messages: Takes the messages that were read together; returns how many were valid events. It must
            not block. What it raises ends `run`.
        on_state: Takes every change of state, its reason, and the seconds until the next attempt.
        config: Timeouts and delays.
        clock: Source of time; timeouts within a single connection use the event loop's own time.
        random: Returns numbers in [0, 1) for the jitter.
        ssl_context: Verifies the server; None uses the system's authorities, with TLS 1.2 or later.
        vendor_clock: Learns the vendor's time from the `Date` headers of handshakes.
    """

    __slots__ = (
        *("_clock", "_config", "_generation", "_had_event", "_keepalive", "_on_messages", "_on_state"),
        *("_policy", "_provider", "_refused_generation", "_ssl_context", "_vendor_clock", "events"),
        *("frames", "handshakes", "received_at"),
    )

    def __init__(
        self,
        provider: EndpointProvider,
        *,
        on_messages: Callable[[list[bytes]], int],
        on_state: Callable[[State, str, float | None], None],
        config: SocketConfig | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
        ssl_context: ssl.SSLContext | None = None,
        vendor_clock: VendorClock | None = None,
    ) -> None:
        self._provider = provider
        self._on_messages = on_messages
        self._on_state = on_state
        self._config = config or SocketConfig()
        self._clock = clock or SystemClock()
        self._policy = ReconnectPolicy(self._config, random=random, renewable=provider.renewable)
        self._ssl_context = ssl_context
        self._vendor_clock = vendor_clock
        self._generation = 0
        self._refused_generation: int | None = None
        self._keepalive = Keepalive(self._config, 0.0)
        self._had_event = False
        self.received_at = 0.0
        """Monotonic time at which the current, or last, messages arrived."""
        self.handshakes = 0
        self.frames = 0
        self.events = 0

    async def run(self) -> None:
        """Deliver messages until cancelled. Cancelling it is safe: it closes the connection first.

        Raises:
            AuthError: the credential was refused, and so was a renewed one.
            BadRequest: the server rejected the request, in the vendor's own JSON.
            PermissionDenied: the server denied access.
            NotFound: the server does not know the stream.
            TLSVerificationError: the server's certificate is not valid.
            AnswerError: the server keeps closing with an undocumented code.
        """
        while True:
            self._on_state(State.CONNECTING, "", None)
            ending = await self._connect_and_watch()
            decision = self._policy.after(ending, self._clock.monotonic())
            match decision:
                case Stop(error):
                    raise error
                case Renew(reason, delay):
                    self._refused_generation = self._generation
                case Retry(reason, delay, hold):
                    if hold is not None:
                        self._provider.hold(hold)
            self._on_state(State.DISCONNECTED, reason, delay)
            if delay > 0:
                await self._clock.sleep(delay)

    async def _connect_and_watch(self) -> Ending:
        try:
            endpoint, ssl_context = await self._acquire_endpoint()
        except (AuthError, PermissionDenied, NotFound):
            raise
        except RequestError as error:
            return TransientFailure(str(error), error.retry_after)
        self._generation = endpoint.generation
        self._policy.begin(self._clock.monotonic())
        self.handshakes += 1
        connection = self._new_connection(endpoint)
        try:
            await connection.open(endpoint, ssl_context)
        except (OSError, HandshakeFailed) as error:
            if error is connection.callback_error:
                raise
            return self._ending_of_failed_handshake(error)
        try:
            return await self._watch(connection)
        finally:
            # Also when cancelled: sends a close frame, but does not wait long for an answer.
            await connection.close(_GOING_AWAY)

    async def _acquire_endpoint(self) -> tuple[Endpoint, ssl.SSLContext | None]:
        if self._refused_generation is not None:
            await self._provider.renew(self._refused_generation)
            self._refused_generation = None
        # Log in and load the system's authorities first: they must not occupy a slot of the rate limiter.
        ssl_context = await self._ssl_context_for(await self._provider.address())
        await self._provider.admit()
        # The wait for the slot may have been long, and the credential renewed meanwhile.
        endpoint = await self._provider.address()
        if problem := check_ws_url(endpoint.url):
            raise ValueError(problem)
        return endpoint, ssl_context

    def _new_connection(self, endpoint: Endpoint) -> Connection:
        return Connection(
            endpoint,
            on_open=self._on_connection_open,
            on_messages=self._on_connection_messages,
            clock=self._clock,
            config=self._config,
            vendor_clock=self._vendor_clock,
        )

    def _on_connection_open(self, now: float) -> None:
        self._keepalive = Keepalive(self._config, now)
        self._policy.opened(now)
        self._had_event = False
        self._on_state(State.LIVE, "", None)

    async def _ssl_context_for(self, endpoint: Endpoint) -> ssl.SSLContext | None:
        if not endpoint.url.lower().startswith("wss:"):
            return None
        if self._ssl_context is None:
            self._ssl_context = await asyncio.to_thread(_default_ssl_context)
        return self._ssl_context

    async def _watch(self, connection: Connection) -> Ending:
        """Send pings and report the stale state until the connection ends."""
        clock, keepalive = self._clock, self._keepalive
        while True:
            due = keepalive.next_at(connection.received_at)
            if await connection.wait_closed(max(0.0, due - clock.monotonic())):
                break
            now = clock.monotonic()
            while (action := keepalive.check(now, connection.received_at)) is not KeepaliveAction.NONE:
                if action is KeepaliveAction.TIMED_OUT:
                    connection.abort()
                    return TransientFailure(f"no sign of life for {now - connection.received_at:.0f} s")
                if action is KeepaliveAction.PING:
                    connection.ping()
                else:
                    eventless_s = keepalive.seconds_without_event(now)
                    self._on_state(State.STALE, f"no event for {eventless_s:.0f} s", None)
                now = clock.monotonic()
        if connection.callback_error is not None:
            raise connection.callback_error
        reason = connection.close_reason
        text = self._provider.refusal_text(reason.encode()).text if reason else ""
        return Closed(connection.close_code, text)

    def _on_connection_messages(self, messages: list[bytes], now: float) -> None:
        """Deliver the messages of one read, and note the valid events."""
        self.frames += len(messages)
        self.received_at = now
        events = self._on_messages(messages)
        if events:
            self.events += events
            if not self._had_event:
                self._had_event = True
                self._policy.event(now)
            if self._keepalive.on_events(events, now):
                self._on_state(State.LIVE, "", None)

    def _ending_of_failed_handshake(self, error: OSError | HandshakeFailed) -> Ending:
        """Return the ending in our own words: texts of others may hold the URL."""
        if isinstance(error, HandshakeRejected):
            if self._vendor_clock is not None and len(error.dates) == 1:
                self._vendor_clock.observe(error.dates[0])
            retry_after, refusal = self._retry_after(error), self._provider.refusal_text(error.body)
            return HandshakeRefused(
                error.status, retry_after, refusal.text, envelope=refusal.envelope, page=refusal.page
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return BadCertificate()
        return TransientFailure(next(reason for kind, reason in _FAILURES if isinstance(error, kind)))

    def _retry_after(self, refusal: HandshakeRejected) -> float | None:
        if len(refusal.retry_after) != 1:
            return None
        date = refusal.dates[0] if len(refusal.dates) == 1 else None
        return parse_retry_after(refusal.retry_after[0], date=date, now=self._clock.utcnow())

    @printable
    def __repr__(self) -> str:
        counts = f"{self.handshakes} handshakes, {self.frames} frames, {self.events} of them events"
        return f"<ReconnectingSocket {counts}; {self._policy!r}>"


@cache
def _default_ssl_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context

"""SessionPool: one aiohttp session, and one rate limiter and credential for each account of each origin."""

from __future__ import annotations

import asyncio
import random
import ssl
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType, TracebackType
from typing import Final, Self, TypeVar
from weakref import WeakSet

from attrs import frozen

from energy_core._lazy import preloaded
from energy_core.clock import Clock, SystemClock, VendorClock
from energy_core.errors import ClientClosed, EnergyError, WrongLoop
from energy_core.http.call import Call, CallContext, InFlight, ServiceAccount
from energy_core.http.credential import Credential
from energy_core.http.operation import Priority, Request, Response
from energy_core.http.rate_limiter import RateLimiter, RateLimiterStats
from energy_core.http.response import Download, OpenResponse, Timeouts
from energy_core.http.retry_policy import RetryBudget, RetryConfig
from energy_core.http.token_bucket import RateLimit
from energy_core.http.transport import ClientSession, Transport
from energy_core.printable import printable
from energy_core.url import BaseUrl

__all__ = ["PoolStats", "ServiceAccount", "SessionPool"]

HANDSHAKES: Final = RateLimit(10, 10.0, 10)
"""WebSocket handshakes of a whole pool: a thousand streams must not reconnect in the same second."""

CLOSE_S: Final = 0.25
"""How long closing waits for sockets whose server does not close its side."""

T = TypeVar("T")


@frozen(kw_only=True)
class PoolStats:
    """A snapshot of a pool."""

    limiters: Mapping[tuple[str, str], RateLimiterStats]
    """By (origin, account name)."""
    in_flight: int
    """Calls and downloads that have not ended, including those that wait."""
    sent: int
    """Requests sent since the pool was created, retries included."""
    clock_offsets_s: Mapping[str, float]
    """By origin: seconds from this machine's clock to the server's at its last response, positive if ours is
    behind. An origin whose responses have no usable `Date` is left out."""


class SessionPool:
    """Sends requests within the vendors' rate limits, and retries them where that is safe.

    It can be created anywhere; the aiohttp session is created at the first request. An injected session keeps
    its own middlewares, cookies and proxies, and is never closed. One pool belongs to one event loop.

    Args:
        session: An aiohttp session to use instead of an own one.
        clock: The source of time.
        random: Returns numbers in [0, 1), for jitter.
        ssl_context: Replaces the default context, which verifies certificates and requires TLS 1.2 or later.
        timeouts: Of connecting and reading.
        attempts: Attempts of each request, the first included.
        max_retry_after_s: A longer Retry-After is an error at once instead of a wait.
        max_queue_wait_s: How long a request may wait for the rate limiter.
    """

    def __init__(
        self,
        session: ClientSession | None = None,
        *,
        clock: Clock = SystemClock(),  # noqa: B008  (stateless)
        random: Callable[[], float] = random.random,
        ssl_context: ssl.SSLContext | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (frozen)
        attempts: int = 3,
        max_retry_after_s: float = 120.0,
        max_queue_wait_s: float = 600.0,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1: {attempts}")
        self.ssl_context = ssl_context
        """For connections beside the session, such as WebSockets; None is the default context."""
        self._clock = clock
        self._random = random
        self._timeouts = timeouts
        self._max_retry_after_s = max_retry_after_s
        self._max_queue_wait_s = max_queue_wait_s
        self._accounts: dict[tuple[str, str], ServiceAccount] = {}
        self._credentials: WeakSet[Credential] = WeakSet()
        self._vendor_clocks: dict[str, VendorClock] = {}
        self._handshakes = self._limiter(HANDSHAKES, "handshakes")
        self._in_flight = InFlight(clock)
        self._transport = Transport(session, ssl_context=ssl_context, timeouts=timeouts, clock=clock)
        retries = RetryConfig(attempts, max_retry_after_s, random)
        self._context = CallContext(self._transport, self._in_flight, retries, clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed: asyncio.Event | None = None

    async def __aenter__(self) -> Self:
        """Import in a thread all that requests and streams need, so that the event loop is not blocked."""
        self._check_open()
        await preloaded()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        transport = getattr(self, "_transport", None)
        if transport is not None and transport.open and self._closed is None:
            warnings.warn(
                f"{self!r} was never closed; use async with", ResourceWarning, stacklevel=1, source=self
            )

    @printable
    def __repr__(self) -> str:
        state = "open" if self._closed is None else "closed"
        return (
            f"<SessionPool {state}, {len(self._accounts)} accounts, {len(self._in_flight)} calls in flight>"
        )

    def account(
        self,
        origin: str,
        name: str,
        limit: RateLimit,
        credential: Callable[[], Credential],
        *,
        owner: str = "",
        user: object = None,
    ) -> ServiceAccount:
        """Return what all clients of one account share; it is created for the first of them.

        Once all clients with an old credential are released, the next client may bring another one; the rate
        limiter stays the same.

        Args:
            origin: Scheme, host and port, as in `BaseUrl.origin`.
            name: A label of the account; never a secret.
            limit: The account's rate limit.
            credential: Creates the credential.
            owner: A `fingerprint` that distinguishes credentials.
            user: The client; it counts until it is released or garbage collected.

        Raises:
            ValueError: the account has another limit, or is in use with another credential.
        """
        known = self._accounts.get((origin, name))
        if known is not None and known.limiter.limit != limit:
            raise ValueError(f"account {name!r} at {origin} already has {known.limiter.limit}, not {limit}")
        if known is None or known.owner != owner:
            if known is not None and known.users:
                raise ValueError(
                    f"account {name!r} at {origin} is in use with another credential: give the other account "
                    "a label of its own (account=...), or close the clients with the old credential first"
                )
            known = self._accounts[origin, name] = ServiceAccount(
                origin=origin,
                name=name,
                limiter=self._limiter(limit, f"{origin} {name}") if known is None else known.limiter,
                credential=credential(),
                budget=RetryBudget() if known is None else known.budget,
                owner=owner,
                vendor_clock=self._vendor_clocks.setdefault(origin, VendorClock(self._clock)),
            )
            self._credentials.add(known.credential)
        if user is not None:
            known.users.add(user)
        return known

    @property
    def limiters(self) -> Mapping[tuple[str, str], RateLimiter]:
        """The rate limiter of each account, by (origin, account name)."""
        return MappingProxyType({key: account.limiter for key, account in self._accounts.items()})

    def send(
        self, request: Request, account: ServiceAccount, base_url: BaseUrl
    ) -> Coroutine[None, None, Response]:
        """Send until there is a final response, and return it whatever its status is.

        Cancelling is safe: connection and place in the queue are released. It is then unknown whether a
        request that was already sent took effect.

        Raises:
            RateLimited: 429 and no attempts left, or a longer wait than allowed.
            UnexpectedRedirect: any 3xx.
            AuthError: there is no credential, or a renewed one was refused.
            TransportError: no usable response arrived.
            DecodeError: the body is too large or not in its declared encoding.
            ClientClosed, WrongLoop: the pool cannot be used here.
        """
        return self._start(request, account, base_url, _read_whole)

    def open(
        self, request: Request, account: ServiceAccount, base_url: BaseUrl
    ) -> Coroutine[None, None, Download]:
        """Send, and return the response with its body still arriving; the caller closes it.

        The request is retried only until the first byte of the body has arrived. The body may be of any size;
        that of a response other than 2xx is read at once, within the operation's limit. Raises like `send`.
        """
        return self._start(request, account, base_url, self._start_download)

    async def admit(self, account: ServiceAccount) -> None:
        """Wait until one WebSocket handshake may be sent. Cancelling is safe.

        Handshakes have a rate limit of their own, for the whole pool, and do not use the account's: a
        thousand streams reconnect faster than an account's rate would allow. A Retry-After of the account
        holds them too.

        Raises:
            RateLimited: the wait would be longer than allowed.
            ClientClosed, WrongLoop: the pool cannot be used here.
        """
        self._check_open()
        while True:
            await account.limiter.wait_until_open()
            async with self._handshakes.slot(Priority.INTERACTIVE):
                pass
            # A hold that began meanwhile must not collect a crowd of handshakes that end with it.
            if not account.limiter.stats().hold_s:
                return

    def stats(self) -> PoolStats:
        """Return a snapshot. Needs a running event loop."""
        limiters = {key: account.limiter.stats() for key, account in self._accounts.items()}
        offsets = {origin: clock.offset_s for origin, clock in self._vendor_clocks.items()}
        return PoolStats(
            limiters=MappingProxyType(limiters),
            in_flight=len(self._in_flight),
            sent=self._in_flight.sent,
            clock_offsets_s=MappingProxyType({key: s for key, s in offsets.items() if s is not None}),
        )

    async def aclose(self, grace_s: float = 5.0) -> None:
        """Close; idempotent. Queued calls get `ClientClosed`, those on the wire have `grace_s` to finish.

        Raises:
            WrongLoop: the pool is in use on another event loop.
        """
        if self._closed is not None:
            await self._closed.wait()
            return
        loop = asyncio.get_running_loop()
        is_our_loop = self._loop in {None, loop}
        if not is_our_loop and self._loop is not None and not self._loop.is_closed():
            raise WrongLoop("close the pool on the event loop it was used on")
        self._closed = asyncio.Event()
        try:
            if is_our_loop:
                await self._end_calls(grace_s)
        finally:
            await self._transport.aclose(CLOSE_S)
            self._closed.set()

    async def _end_calls(self, grace_s: float) -> None:
        for limiter in (self._handshakes, *(account.limiter for account in self._accounts.values())):
            limiter.close()
        try:
            await self._in_flight.end(grace_s)
        finally:
            for credential in tuple(self._credentials):
                await credential.aclose()

    def _start(
        self,
        request: Request,
        account: ServiceAccount,
        base_url: BaseUrl,
        read: Callable[[Call, OpenResponse], Awaitable[T]],
    ) -> Coroutine[None, None, T]:
        self._check_open()
        if request.priority is not Priority.AUTH:  # a login is part of the call that needs it
            account.budget.calls += 1
        return Call(request, account, base_url, self._context).run(read)

    async def _start_download(self, call: Call, reply: OpenResponse) -> Download:
        is_2xx = 200 <= reply.status <= 299
        first = await reply.first_piece() if is_2xx else (await _read_whole(call, reply)).body
        download = Download(
            reply,
            first,
            is_read=not is_2xx,
            response=call.response(reply, b""),
            clock=self._clock,
            timeouts=self._timeouts,
            with_context=call.with_context,
            on_close=self._in_flight.discard,
        )
        if is_2xx:  # any other response has been read, and may be followed by another attempt
            self._in_flight.add(download)
        return download

    def _check_open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._closed is not None:
            raise ClientClosed("the pool is closed")
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise WrongLoop("the pool belongs to the event loop it was first used on")

    def _limiter(self, limit: RateLimit, name: str) -> RateLimiter:
        return RateLimiter(
            limit,
            clock=self._clock,
            random=self._random,
            name=name,
            max_queue_wait_s=self._max_queue_wait_s,
            max_hold_s=self._max_retry_after_s,
        )


async def _read_whole(call: Call, reply: OpenResponse) -> Response:
    try:
        body = await reply.read()
    except EnergyError:
        reply.close()
        if reply.status < 400:
            raise
        body = b""  # the status is the result; a broken error page must not hide it
    return call.response(reply, body)

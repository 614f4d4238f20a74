"""SessionPool: one aiohttp session, one lane per (origin, account), and everything a request waits for."""

from __future__ import annotations

import asyncio
import random
import ssl
import warnings
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType, TracebackType
from typing import Final, Self, TypeVar
from weakref import WeakSet

from attrs import frozen

from energy_core._lazy import preloaded
from energy_core.clock import Clock, SystemClock, VendorClock, monotonic_reader
from energy_core.errors import ClientClosed, EnergyError, WrongLoop
from energy_core.http.call import NOT_A_RESULT, BodyHandler, Call, CallContext, InFlight, ServiceAccount
from energy_core.http.credential import Credential
from energy_core.http.operation import Priority, Request, Response
from energy_core.http.rate_limit import RateLimit
from energy_core.http.rate_limiter import RateLimiter, RateLimiterStats
from energy_core.http.response import Download, OpenResponse, Timeouts
from energy_core.http.retry_policy import RetryConfig
from energy_core.http.transport import ClientSession, Transport
from energy_core.printable import printable
from energy_core.retry import RetryBudget
from energy_core.url import BaseUrl

__all__ = ["PoolStats", "ServiceAccount", "SessionPool"]

HANDSHAKES: Final = RateLimit(10, 10.0, 10)
"""WebSocket handshakes of a whole pool: a thousand streams must not come back in the same second."""

CLOSE_S: Final = 0.25
"""How long closing waits for sockets whose other end says nothing."""

T = TypeVar("T")


@frozen(kw_only=True)
class PoolStats:
    """A pool at one moment."""

    lanes: Mapping[tuple[str, str], RateLimiterStats]
    """By (origin, account name)."""
    under_way: int
    """Calls and downloads that have not ended, those that wait included."""
    sent: int
    """Requests put on the wire since the beginning, retries included."""


class SessionPool:
    """Sends requests in turn, within the vendor's limit, again when that is safe, and never elsewhere.

    It may be made anywhere; the aiohttp session is made at the first request. An injected session keeps its
    own middlewares, cookies and proxies, and is never closed. One pool belongs to one event loop.

    Args:
        session: an aiohttp session to use instead of an own one.
        clock: the source of time.
        random: gives numbers in [0, 1), for jitter.
        ssl_context: replaces the default context, which verifies certificates and speaks TLS 1.2 or later.
        timeouts: of connecting and reading.
        attempts: tries per request, the first included.
        max_retry_after_s: a longer Retry-After is an error at once instead of a wait.
        max_queue_wait_s: how long a request may wait for its turn.
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
        """For sockets beside the session, such as WebSockets; None is the default context."""
        self._clock = clock
        self._random = random
        self._timeouts = timeouts
        self._max_retry_after_s = max_retry_after_s
        self._max_queue_wait_s = max_queue_wait_s
        self._accounts: dict[tuple[str, str], ServiceAccount] = {}
        self._credentials: WeakSet[Credential] = WeakSet()
        self._vendor_clocks: dict[str, VendorClock] = {}
        self._handshakes = self._lane(HANDSHAKES, "handshakes")
        self._departures = InFlight(clock)
        self._transport = Transport(session, ssl_context=ssl_context, timeouts=timeouts, clock=clock)
        self._gear = CallContext(
            transport=self._transport,
            in_flight=self._departures,
            retries=RetryConfig(attempts, max_retry_after_s, random),
            clock=clock,
            loop=None,
            now=clock.monotonic,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed: asyncio.Event | None = None
        self._sent = 0

    async def __aenter__(self) -> Self:
        """Preload what requests and streams need, so that nothing of it is imported in the event loop."""
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
            f"<SessionPool {state}, {len(self._accounts)} accounts, {len(self._departures)} calls under way>"
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
        """Return what all clients of one account share; the first one's `credential` is called.

        When the credential of an account was exchanged, its next client gets the new one on the same lane, as
        soon as the clients with the old one were released.

        Args:
            origin: scheme, host and port, as `BaseUrl.origin` has it.
            name: a label that tells accounts apart; never a secret.
            limit: what the account may send.
            credential: makes the credential.
            owner: A `fingerprint` that distinguishes credentials.
            user: The client, until it is released or forgotten.

        Raises:
            ValueError: the account is known with another limit, or in use with another credential.
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
                limiter=self._lane(limit, f"{origin} {name}") if known is None else known.limiter,
                credential=credential(),
                budget=RetryBudget() if known is None else known.budget,
                owner=owner,
                vendor_clock=self._vendor_clocks.setdefault(origin, VendorClock(self._clock)),
            )
            self._credentials.add(known.credential)
        if user is not None:
            known.users.add(user)
        return known

    def send(
        self, request: Request, account: ServiceAccount, base_url: BaseUrl
    ) -> Coroutine[None, None, Response]:
        """Send until there is an answer, and return it whatever its status is.

        Cancelling is safe: turn, connection and place in the queue are given back; whether a request that was
        already on the wire took effect is then not known.

        Raises:
            RateLimited: 429 and no more tries, or a longer wait than allowed.
            UnexpectedRedirect: any 3xx.
            AuthError: there is no credential, or a renewed one was refused.
            TransportError: no usable answer arrived.
            DecodeError: the body is too large or not what its encoding says.
            ClientClosed, WrongLoop: the pool is not usable here.
        """
        return self._perform(request, account, base_url, _WHOLE)

    def open(
        self, request: Request, account: ServiceAccount, base_url: BaseUrl
    ) -> AbstractAsyncContextManager[Download]:
        """Send, and hand out the body as it arrives; tried again only until its first byte is there.

        The body as a whole may be of any size. An answer other than 2xx is read to its end within the
        operation's limit; `Download.read()` then gives it. Entering raises what `send` raises.
        """
        return _Opening(self, request, account, base_url)

    async def admit(self, account: ServiceAccount) -> None:
        """Wait for the turn of one WebSocket handshake. Cancelling is safe.

        Handshakes have a limit of their own, the whole pool's, and take nothing of the account's: a thousand
        streams are back long before an account's modest rate would allow. They obey its hold all the same.

        Raises:
            RateLimited: the wait would be longer than allowed.
            ClientClosed, WrongLoop: the pool is not usable here.
        """
        self._check_open()
        while True:
            await account.limiter.wait_until_open()
            async with self._handshakes.slot(Priority.INTERACTIVE):
                pass
            if (
                not account.limiter.stats().hold_s
            ):  # one that came meanwhile must not gather a crowd behind it
                return

    def stats(self) -> PoolStats:
        """Return how the pool is doing. Needs a running event loop, as time does."""
        lanes = {key: account.limiter.stats() for key, account in self._accounts.items()}
        return PoolStats(lanes=MappingProxyType(lanes), under_way=len(self._departures), sent=self._sent)

    async def aclose(self, grace_s: float = 5.0) -> None:
        """Close; idempotent. Queued calls get `ClientClosed`, those on the wire have `grace_s` to finish.

        Raises:
            WrongLoop: the pool works on another event loop that is still open.
        """
        if self._closed is not None:
            await self._closed.wait()
            return
        loop = asyncio.get_running_loop()
        at_home = self._loop in {None, loop}
        if not at_home and self._loop is not None and not self._loop.is_closed():
            raise WrongLoop("close the pool on the event loop it was used on")
        self._closed = asyncio.Event()
        try:
            if at_home:
                await self._wind_up(grace_s)
        finally:
            await self._transport.aclose(CLOSE_S)
            self._closed.set()

    async def _wind_up(self, grace_s: float) -> None:
        for lane in (self._handshakes, *(account.limiter for account in self._accounts.values())):
            lane.close()
        try:
            await self._departures.end(grace_s)
        finally:
            for credential in tuple(self._credentials):
                await credential.aclose()

    async def begin(self, request: Request, account: ServiceAccount, base_url: BaseUrl) -> Download:
        """Do what entering `open` does; the caller owes the download a `close()`."""
        return await self._perform(request, account, base_url, BodyHandler(_not_now, self._streamed))

    async def _perform(
        self, request: Request, account: ServiceAccount, base_url: BaseUrl, deliver: BodyHandler[T]
    ) -> T:
        if self._loop is not asyncio.get_running_loop() or self._closed is not None:
            self._check_open()
        if request.priority is not Priority.AUTH:  # a login is made for a call, which has paid in
            account.budget.deposit()
        call = Call(request, account, base_url, self._gear)
        flight, effort = call.flight, call.effort
        self._departures.add(flight)
        try:
            # Most calls end with their first try, here: every coroutine between is paid for twice, on the way
            # to the socket and back.
            outcome = await call.attempt(deliver)
            return await call.go_on(outcome, deliver) if isinstance(outcome, NOT_A_RESULT) else outcome
        except asyncio.CancelledError:
            if not flight.was_cancelled_by_us():
                raise
        except TimeoutError:  # nothing of ours raises it; a login that was handed in may
            pass
        finally:
            flight.was_cancelled_by_us()
            self._departures.discard(flight)
            self._sent += effort.sends
        raise effort.final(flight.error())

    async def _streamed(self, call: Call, reply: OpenResponse) -> Download:
        fine = 200 <= reply.status <= 299
        first = await reply.first_piece() if fine else (await _whole(call, reply)).body
        download = Download(
            reply,
            first,
            whole=not fine,
            response=call.response(reply, b""),
            clock=self._clock,
            timeouts=self._timeouts,
            explained=call.effort.final,
            on_close=self._departures.discard,
        )
        if fine:  # any other answer is read to its end, and may be followed by another try
            self._departures.add(download)
        return download

    def _check_open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._closed is not None:
            raise ClientClosed("the pool is closed")
        if self._loop is None:
            self._loop, self._gear = loop, self._gear._replace(loop=loop, now=monotonic_reader(self._clock))
        if self._loop is not loop:
            raise WrongLoop("the pool belongs to the event loop it was first used on")

    def _lane(self, limit: RateLimit, name: str) -> RateLimiter:
        return RateLimiter(
            limit,
            clock=self._clock,
            random=self._random,
            name=name,
            max_queue_wait_s=self._max_queue_wait_s,
            max_hold_s=self._max_retry_after_s,
        )


class _Opening:
    """`async with pool.open(...)`: a class, so that nothing is left suspended when it is never left."""

    def __init__(
        self, pool: SessionPool, request: Request, account: ServiceAccount, base_url: BaseUrl
    ) -> None:
        self._pool = pool
        self._question = (request, account, base_url)
        self._download: Download | None = None

    async def __aenter__(self) -> Download:
        self._download = await self._pool.begin(*self._question)
        return self._download

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._download is not None:
            self._download.close()


def _not_now(_call: Call, _reply: OpenResponse) -> None:
    """Deliver nothing at once."""


def _whole_now(call: Call, reply: OpenResponse) -> Response | None:
    body = reply.read_now()
    return None if body is None else call.response(reply, body)


async def _whole(call: Call, reply: OpenResponse) -> Response:
    try:
        body = await reply.read()
    except EnergyError:
        reply.close()
        if reply.status < 400:
            raise
        body = b""  # the status is the answer; a broken error page must not hide it
    return call.response(reply, body)


_WHOLE: Final = BodyHandler(_whole_now, _whole)

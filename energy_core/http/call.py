"""One call: its attempts, its deadline, and what each response or error leads to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar
from weakref import WeakSet

from attrs import field, frozen

from energy_core.clock import Clock, DeadlineTimer, VendorClock
from energy_core.errors import (
    AuthFailed,
    ClientClosed,
    DeadlineExceeded,
    EnergyError,
    RateLimited,
    RequestError,
    TransportError,
    UnexpectedRedirect,
)
from energy_core.http.credential import Credential, Grant, Issued
from energy_core.http.operation import Request, Response
from energy_core.http.rate_limiter import RateLimiter
from energy_core.http.response import Download, OpenResponse
from energy_core.http.retry_policy import (
    ResponseHead,
    RetryBudget,
    RetryConfig,
    final_error,
    pause_before_retry,
    read_head,
)
from energy_core.http.transport import SendMiddleware, Transport
from energy_core.secret import Secret
from energy_core.url import BaseUrl

ABORT_S: Final = 0.25
"""How long closing a pool waits for aborted calls to end."""

_NO_GRANT: Final = Grant(token=Secret(""))
"""For operations that need no credential."""

_log: Final = logging.getLogger("energy_core.http")

T = TypeVar("T")


class CallDeadline:
    """The deadline of one call, which runs while its request is on the wire, and the handle to cancel it.

    Its end cancels the task that makes the call, as `asyncio.timeout` does, but with one timer for all calls.
    A cancellation from outside passes through unchanged.
    """

    __slots__ = ("_cancelled", "_cancelling_before", "_in_flight", "_since", "_task", "aborted", "on_wire")

    def __init__(self, in_flight: InFlight) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request can only be made in a task of an event loop")
        self._task = task
        self._cancelling_before = task.cancelling()
        self._in_flight = in_flight
        self._since = 0.0
        self._cancelled = False
        self.on_wire = False
        """Whether the request was sent and its response is incomplete."""
        self.aborted = False

    def start(self, now: float, seconds: float) -> None:
        """Start the deadline, because the request is sent now; no effect while it runs."""
        if not self.on_wire:
            self.on_wire, self._since = True, now
            self._in_flight.deadlines.set(self, now + seconds)

    def stop(self, now: float) -> float:
        """Stop the deadline and return the seconds it ran."""
        if not self.on_wire:
            return 0.0
        self.on_wire = False
        self._in_flight.deadlines.discard(self)
        return now - self._since

    def abort(self) -> None:
        """Cancel the call; it raises `ClientClosed`."""
        self.aborted = True
        self.expire()

    def expire(self) -> None:
        """Cancel the call; it raises `DeadlineExceeded`."""
        if not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    def was_cancelled_by_us(self) -> bool:
        """Take back our cancellation of the task; return whether there was no other one."""
        if not self._cancelled:
            return False
        self._cancelled = False
        return self._task.uncancel() <= self._cancelling_before

    def error(self) -> EnergyError:
        """Return the error that our cancellation means to the caller."""
        if self.aborted:
            return ClientClosed("the client was closed during the request")
        return DeadlineExceeded("the answer was not complete before the deadline")


Abortable: TypeAlias = CallDeadline | Download


class InFlight:
    """All calls and open downloads of one pool, and the deadlines of the calls on one timer."""

    def __init__(self, clock: Clock) -> None:
        self.deadlines: DeadlineTimer[CallDeadline] = DeadlineTimer(clock, lambda call, _now: call.expire())
        self.sent = 0
        """Requests sent so far, retries included."""
        self._members: set[Abortable] = set()
        self._empty: asyncio.Event | None = None  # while the pool is closing

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Abortable) -> None:
        """Add a call or download that starts."""
        self._members.add(member)

    def discard(self, member: Abortable) -> None:
        """Remove a call or download that has ended."""
        self._members.discard(member)
        if self._empty is not None and not self._members:
            self._empty.set()

    async def end(self, grace_s: float) -> None:
        """Abort all that wait; let those on the wire finish for `grace_s`, then abort them too."""
        self._empty = asyncio.Event()
        self._abort(member for member in self._members if not member.on_wire)
        if not await self._empty_within(grace_s):
            self._abort(self._members)
            await self._empty_within(ABORT_S)
        self.deadlines.clear()

    async def _empty_within(self, seconds: float) -> bool:
        if self._members and self._empty is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
        return not self._members

    def _abort(self, members: Iterable[Abortable]) -> None:
        for member in tuple(members):
            member.abort()


@frozen(kw_only=True, eq=False)
class ServiceAccount:
    """Everything that all clients of one account at one origin share."""

    origin: str
    name: str
    limiter: RateLimiter
    credential: Credential
    budget: RetryBudget
    vendor_clock: VendorClock
    """The clock of the origin, shared by all its accounts."""
    owner: str = ""
    """A fingerprint that distinguishes credentials, in this process only."""
    users: WeakSet[object] = field(factory=WeakSet)
    """The clients that use it."""

    def release(self, user: object) -> None:
        """Note that a client is closed. Without clients the account may get another credential."""
        self.users.discard(user)


class CallContext(NamedTuple):
    """Everything that all calls of a pool share."""

    transport: Transport
    in_flight: InFlight
    retries: RetryConfig
    clock: Clock


@frozen
class Non2xx(Generic[T]):
    """The outcome of an attempt that got another status than 2xx."""

    head: ResponseHead
    result: T | None
    """The result for the caller; None if the response has no body to read."""


class Call:
    """One call: it sends its request, again where that is safe, and returns a result or raises one error.

    Args:
        request: The request.
        account: Its rate limiter and credential.
        base: The vendor's base URL.
        context: What all calls of the pool share.

    Raises:
        ValueError: the credential belongs to another origin than the base URL.
    """

    def __init__(
        self, request: Request, account: ServiceAccount, base: BaseUrl, context: CallContext
    ) -> None:
        self._trusted = base.origin == account.origin
        if request.operation.authenticated and not self._trusted:
            raise ValueError("the base URL has another origin than the one the credential belongs to")
        self._url = request.url(base)
        self._request = request
        self._account = account
        self._context = context
        self._issued: Issued | None = None
        self._renewed = False
        self._sent_at = 0.0
        self._spent_s = 0.0  # on the wire and between attempts; waiting for the rate limiter does not count
        self._tries = 0
        self._sends = 0

    async def run(self, read: Callable[[Call, OpenResponse], Awaitable[T]]) -> T:
        """Make attempts until an outcome is final; return the result or raise the error. Cancelling is safe.

        Args:
            read: Reads the body of a response and returns the result of the call.
        """
        in_flight = self._context.in_flight
        self._deadline = deadline = CallDeadline(in_flight)
        in_flight.add(deadline)
        try:
            while True:
                outcome = await self._attempt(read)
                if not isinstance(outcome, (Non2xx, EnergyError)):
                    return outcome
                failed: Non2xx[T] | EnergyError = outcome
                pause = await self._pause_after(failed)
                if pause is None:
                    return self._settle(failed)
                self._spent_s += pause
                await self._context.clock.sleep(pause)
        except asyncio.CancelledError:
            if not deadline.was_cancelled_by_us():
                raise
        except TimeoutError:  # only from a login function that was passed in
            pass
        finally:
            deadline.was_cancelled_by_us()
            in_flight.discard(deadline)
        raise self.with_context(deadline.error())

    def response(self, reply: OpenResponse, body: bytes) -> Response:
        """Return a response as a plain value."""
        return Response(status=reply.status, headers=reply.headers, body=body, attempts=self._sends or 1)

    def with_context(self, error: EnergyError) -> EnergyError:
        """Return the error to raise, with the operation and the attempts of this call."""
        return final_error(error, self._request.operation, sends=self._sends)

    async def _attempt(
        self, read: Callable[[Call, OpenResponse], Awaitable[T]]
    ) -> T | Non2xx[T] | EnergyError:
        self._tries += 1
        account, context = self._account, self._context
        try:
            sending = SendMiddleware(
                self._request,
                self._url,
                limiter=account.limiter,
                grant_now=self._grant_now,
                grant_soon=self._grant_soon,
                on_sent=self._on_sent,
                trusted=self._trusted,
            )
            reply = await context.transport.exchange(sending)
            if isinstance(reply, EnergyError):
                return reply
            if self._trusted:
                account.vendor_clock.observe(reply.headers.get("date"), reply.headers.get("age"))
            if reply.status != 429:
                account.limiter.on_accepted()
            if _log.isEnabledFor(logging.DEBUG):
                self._log_status(reply.status)
            try:
                if 200 <= reply.status <= 299:
                    return await read(self, reply)
                return await self._read_non_2xx(reply, read)
            except BaseException as error:
                reply.close()
                if isinstance(error, RequestError):
                    error.status = reply.status
                raise
        except EnergyError as error:
            return error.with_traceback(None)
        finally:
            self._spent_s += self._deadline.stop(context.clock.monotonic())

    async def _read_non_2xx(
        self, reply: OpenResponse, read: Callable[[Call, OpenResponse], Awaitable[T]]
    ) -> Non2xx[T]:
        limiter = self._account.limiter
        head = read_head(reply.status, reply.headers, now=self._context.clock.utcnow())
        is_json = "json" in reply.headers.get("content-type", "").lower()
        if head.throttling and (head.retry_after is not None or is_json):
            limiter.on_throttled(self._sent_at, head.retry_after)
            return Non2xx(head, await read(self, reply))
        if not head.readable:
            reply.close()
            return Non2xx(head, None)
        result = await read(self, reply)
        if head.throttling:  # perhaps from a proxy, and not from the vendor's rate limiter
            is_json = isinstance(result, Response) and result.body.lstrip()[:1] in {b"{", b"["}
            limiter.on_throttled(self._sent_at, None, certain=is_json)
        return Non2xx(head, result)

    # Callbacks of the transport.

    def _grant_now(self) -> Grant | None:
        if not self._request.operation.authenticated:
            return _NO_GRANT
        issued = self._account.credential.valid()
        if issued is None:
            return None
        self._issued = issued
        return issued.grant

    async def _grant_soon(self) -> Grant:
        self._issued = await self._account.credential.get()
        return self._issued.grant

    def _on_sent(self) -> None:
        self._sent_at = now = self._context.clock.monotonic()
        self._sends += 1
        self._context.in_flight.sent += 1
        self._deadline.start(now, self._left_s())

    # What an outcome leads to.

    def _left_s(self) -> float:
        return max(0.0, self._request.operation.total_s - self._spent_s)

    async def _pause_after(self, outcome: Non2xx[T] | EnergyError) -> float | None:
        """Return the seconds until the next attempt, or None if the outcome is final; may log in again."""
        head = outcome.head if isinstance(outcome, Non2xx) else outcome
        issued, credential = self._issued, self._account.credential
        if isinstance(head, EnergyError) or head.status != 401 or issued is None:
            return pause_before_retry(
                head,
                self._request.operation,
                self._context.retries,
                self._account.budget,
                tries=self._tries,
                left_s=self._left_s(),
            )
        if self._renewed or not credential.renewable:  # the 401 is the result, with the vendor's message
            credential.mark_useless(issued.generation)
            return None
        self._renewed = True
        try:
            renewed = await credential.renew(issued.generation)
        except EnergyError as error:
            failure = error.with_traceback(None)
        else:
            if renewed.generation == issued.generation:  # there is no newer one
                return None
            self._tries -= 1  # the attempt with the refused credential does not count
            return 0.0
        if isinstance(failure, AuthFailed) and failure.status is None:
            failure.status = 401
        raise self.with_context(failure)

    def _settle(self, outcome: Non2xx[T] | EnergyError) -> T:
        """Return or raise a final outcome."""
        if isinstance(outcome, EnergyError):
            raise self.with_context(outcome)
        status = outcome.head.status
        if status == 429:
            error: RequestError = RateLimited("too many requests", retry_after=outcome.head.retry_after)
        elif outcome.result is not None:
            return outcome.result
        elif 300 <= status <= 399:
            error = UnexpectedRedirect("the server redirects; redirects are not followed")
        else:
            error = TransportError("the server changed to another protocol")
        error.status = status
        raise self.with_context(error)

    def _log_status(self, status: int) -> None:
        operation = self._request.operation
        _log.debug(
            "%s %s: %s %s -> %d", operation.vendor, operation.name, operation.method, operation.path, status
        )

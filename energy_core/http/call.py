"""A call under way: its deadline, and the handle by which closing the pool ends it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, Generic, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

from attrs import field, frozen

from energy_core.clock import Clock, Timer, VendorClock
from energy_core.codec.columns import slot_writers
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
from energy_core.http.credential import AuthHeadersProtocol, Credential, Grant, Issued, Limiter
from energy_core.http.operation import Request, Response
from energy_core.http.rate_limiter import RateLimiter
from energy_core.http.response import OpenResponse
from energy_core.http.retry_policy import ResponseHead, RetryConfig, RetryState, read_head
from energy_core.http.transport import Transport
from energy_core.retry import RetryBudget
from energy_core.secret import Secret
from energy_core.url import BaseUrl

UNWIND_S: Final = 0.25
"""How long closing waits for aborted calls to give everything back."""


class CallDeadline:
    """One call as something that can be ended: by its deadline, which runs while a request is on the wire.

    Its end cancels the task that makes the call, as `asyncio.timeout` does, without a timer for each request:
    the departures have one for all. A cancellation from outside passes through untouched.
    """

    __slots__ = ("_before", "_cancelled", "_departures", "_due", "_since", "_task", "aborted", "on_wire")

    def __init__(self, departures: InFlight, loop: asyncio.AbstractEventLoop | None = None) -> None:
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101  (a coroutine that awaits a socket runs in one)
        self._task = task
        self._before = task.cancelling()
        self._departures = departures
        self._due = departures.due
        self._since = 0.0
        self.on_wire = False
        self.aborted = False
        self._cancelled = False

    def start(self, now: float, seconds: float) -> None:
        """Start the deadline: the turn has come, the request goes on the wire."""
        if not self.on_wire:
            self.on_wire, self._since = True, now
            self._departures.watch(self, now + seconds)

    def stop(self, now: float) -> float:
        """Stop the deadline and return the seconds on the wire."""
        if not self.on_wire:
            return 0.0
        self.on_wire = False
        self._due.pop(self, None)
        return now - self._since

    def abort(self) -> None:
        """End the call now; it will say `ClientClosed`."""
        self.aborted = True
        self.expire()

    def expire(self) -> None:
        """End the call now; it will say `DeadlineExceeded`."""
        if not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    def was_cancelled_by_us(self) -> bool:
        """Take back the cancellation by which the flight ended itself; tell whether it was the only one."""
        if not self._cancelled:
            return False
        self._cancelled = False
        return self._task.uncancel() <= self._before

    def error(self) -> EnergyError:
        """Return what the end of the flight means to its caller."""
        if self.aborted:
            return ClientClosed("the client was closed while the request was under way")
        return DeadlineExceeded("the answer was not whole before the deadline")


class Abortable(Protocol):
    """What closing the pool waits for, and in the end ends."""

    @property
    def on_wire(self) -> bool:
        """Whether it is worth waiting for."""

    def abort(self) -> None:
        """End it now; whoever uses it gets `ClientClosed`."""


class InFlight:
    """Every call and every open download of one pool, and one timer for all their deadlines."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._under_way: set[Abortable] = set()
        self.due: dict[CallDeadline, float] = {}
        """When each flight on the wire expires; who lands takes itself out."""
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._emptied: asyncio.Event | None = None  # for whoever waits for the end

    def __len__(self) -> int:
        return len(self._under_way)

    def add(self, one: Abortable) -> None:
        """List what has begun."""
        self._under_way.add(one)

    def discard(self, one: Abortable) -> None:
        """Strike out what has ended."""
        self._under_way.discard(one)
        if self._emptied is not None and not self._under_way:
            self._emptied.set()

    def watch(self, flight: CallDeadline, due: float) -> None:
        """Let the flight expire once the clock shows `due`, unless it has landed by then."""
        self.due[flight] = due
        # A timer that fires too early only sets the next: most deadlines are far away and never reached.
        if due < self._timer_at:
            self._set_timer(due)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when == math.inf else self._clock.call_at(when, self._ring)
        self._timer_at = when

    def _ring(self) -> None:
        # Event loops may ring a tick of their clock too early; we count it as the time we had set.
        now = max(self._clock.monotonic(), self._timer_at)
        for flight in [flight for flight, due in self.due.items() if due <= now]:
            del self.due[flight]
            flight.expire()
        self._timer = None
        self._set_timer(min(self.due.values(), default=math.inf))

    async def end(self, grace_s: float) -> None:
        """Let those on the wire finish for so long; end the others at once and the rest then."""
        self._emptied = asyncio.Event()
        self._abort(one for one in self._under_way if not one.on_wire)
        if not await self._empty_within(grace_s):
            self._abort(self._under_way)
            await self._empty_within(UNWIND_S)
        self._set_timer(math.inf)

    async def _empty_within(self, seconds: float) -> bool:
        if self._under_way and self._emptied is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._emptied.wait()
        return not self._under_way

    def _abort(self, doomed: Iterable[Abortable]) -> None:
        for one in tuple(doomed):
            one.abort()


_UNSIGNED: Final = Grant(token=Secret(""))
"""What an operation sends that needs no credential."""

_log: Final = logging.getLogger("energy_core.http")

T = TypeVar("T")


@frozen(kw_only=True, eq=False)
class ServiceAccount:
    """What all clients of one account at one origin share."""

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
        """Note that a client is closed: another credential may take its place."""
        self.users.discard(user)


class CallContext(NamedTuple):
    """What all calls of a pool use."""

    transport: Transport
    in_flight: InFlight
    retries: RetryConfig
    clock: Clock
    loop: asyncio.AbstractEventLoop | None
    """None until the first call."""
    now: Callable[[], float]
    """The clock, read the fast way."""


class Non2xx(Generic[T]):
    """What one try brought, when it brought an answer other than 2xx."""

    __slots__ = ("head", "result")

    def __init__(self, head: ResponseHead, result: T | None) -> None:
        self.head = head
        self.result = result


_create: Final[Callable[[type[Response]], Response]] = object.__new__
_put_status, _put_headers, _put_body, _put_attempts = slot_writers(
    Response, "status", "headers", "body", "attempts"
)
NOT_A_RESULT: Final = (Non2xx, EnergyError)


class Call:
    """A request on its way: it is sent, reacts to being throttled or refused, and says what its end means.

    It is the `SendCallbacks` of its passages: whose turn, signature and deadline they ask for.
    """

    __slots__ = (
        "_account",
        "_gear",
        "_issued",
        "_renewed",
        "_request",
        "_sent_at",
        "_trusted",
        "_url",
        "effort",
        "flight",
        "limiter",
    )

    def __init__(self, request: Request, account: ServiceAccount, base: BaseUrl, gear: CallContext) -> None:
        self._trusted = base.origin == account.origin
        if request.operation.authenticated and not self._trusted:
            raise ValueError("the base URL leads to another origin than the one the credential belongs to")
        self._url = base.join(request.path, request.query)
        self._request = request
        self._account = account
        self.limiter: Limiter = account.limiter
        self._gear = gear
        self.effort = RetryState(request.operation, account.budget, gear.retries)
        self.flight = CallDeadline(gear.in_flight, gear.loop)
        self._issued: Issued | None = None
        self._renewed = False
        self._sent_at = 0.0

    async def go_on(self, outcome: Non2xx[T] | EnergyError, deliver: BodyHandler[T]) -> T:
        """Try again until the outcome is final, then return it or raise it."""
        while True:
            pause = await self._pause_after(outcome)
            if pause is None:
                return self._settled(outcome)
            self.effort.spent_s += pause
            await self._gear.clock.sleep(pause)
            again = await self.attempt(deliver)
            if not isinstance(again, NOT_A_RESULT):
                return again
            outcome = again

    def response(self, reply: OpenResponse, body: bytes) -> Response:
        """Return an answer as a plain value."""
        made = _create(Response)
        _put_status(made, reply.status)
        _put_headers(made, reply.headers)
        _put_body(made, body)
        _put_attempts(made, self.effort.sends or 1)
        return made

    async def attempt(self, deliver: BodyHandler[T]) -> T | Non2xx[T] | EnergyError:
        """Try once; return the result if all is well, and otherwise what came instead."""
        self.effort.tries += 1
        try:
            reply = await self._gear.transport.exchange(self._request, self._url, self, trusted=self._trusted)
            if isinstance(reply, EnergyError):
                return reply
            if self._trusted:
                self._account.vendor_clock.observe(reply.headers.get("date"), reply.headers.get("age"))
            if reply.status != 429:
                self._account.limiter.passed()
            if _log.isEnabledFor(logging.DEBUG):
                self._log_answer(reply.status)
            try:
                if 200 <= reply.status <= 299:
                    there = deliver.now(self, reply)
                    return await deliver.later(self, reply) if there is None else there
                return await self._unusual(reply, deliver)
            except BaseException as error:
                reply.close()
                if isinstance(error, RequestError):
                    error.status = reply.status
                raise
        except EnergyError as error:
            return error.with_traceback(None)
        finally:
            self.effort.spent_s += self.flight.stop(self._gear.now())

    async def _unusual(self, reply: OpenResponse, deliver: BodyHandler[T]) -> Non2xx[T]:
        head = read_head(reply.status, reply.headers, now=self._gear.clock.utcnow())
        is_json = "json" in reply.headers.get("content-type", "").lower()
        if head.throttling and (head.retry_after is not None or is_json):
            self._account.limiter.throttled(self._sent_at, head.retry_after)
            return Non2xx(head, await deliver.later(self, reply))
        if not head.readable:
            reply.close()
            return Non2xx(head, None)
        result = await deliver.later(self, reply)
        if head.throttling:  # perhaps a proxy's, and no limit behind it
            is_json = isinstance(result, Response) and result.body.lstrip()[:1] in {b"{", b"["}
            self._account.limiter.throttled(self._sent_at, None, certain=is_json)
        return Non2xx(head, result)

    # What the transport asks while it sends.

    def auth_headers(self) -> AuthHeadersProtocol | None:
        """What the request is signed with, if it is there now."""
        if not self._request.operation.authenticated:
            return _UNSIGNED
        issued = self._account.credential.valid()
        if issued is None:
            return None
        self._issued = issued
        return issued.grant

    async def authorize(self) -> AuthHeadersProtocol:
        """Wait for a login."""
        self._issued = await self._account.credential.get()
        return self._issued.grant

    def on_sent(self) -> None:
        """Start the deadline."""
        self._sent_at = now = self._gear.now()
        self.effort.sends += 1
        self.flight.start(now, self.effort.left_s)

    # What an outcome leads to.

    async def _pause_after(self, outcome: Non2xx[T] | EnergyError) -> float | None:
        head = outcome.head if isinstance(outcome, Non2xx) else outcome
        issued, credential = self._issued, self._account.credential
        if isinstance(head, EnergyError) or head.status != 401 or issued is None:
            return self.effort.pause_after(head)
        if self._renewed or not credential.renewable:  # the vendor's words are the error
            credential.note_useless(issued.generation)
            return None
        self._renewed = True
        try:
            renewed = await credential.renew(issued.generation)
        except EnergyError as error:
            failure = error.with_traceback(None)
        else:
            if renewed.generation == issued.generation:  # there is no other one now
                return None
            self.effort.tries -= 1  # the replay is the same try with a valid credential
            return 0.0
        if isinstance(failure, AuthFailed) and failure.status is None:
            failure.status = 401
        raise self.effort.final(failure)

    def _settled(self, outcome: Non2xx[T] | EnergyError) -> T:
        if isinstance(outcome, EnergyError):
            raise self.effort.final(outcome)
        status = outcome.head.status
        if status == 429:
            raise self._failed(RateLimited("too many requests", retry_after=outcome.head.retry_after), status)
        if outcome.result is None:
            raise self._failed(_unreadable(status), status)
        return outcome.result

    def _failed(self, error: RequestError, status: int) -> EnergyError:
        error.status = status
        return self.effort.final(error)

    def _log_answer(self, status: int) -> None:
        asked = self._request.operation
        _log.debug("%s %s: %s %s -> %d", asked.vendor, asked.name, asked.method, asked.path, status)


def _unreadable(status: int) -> RequestError:
    if 300 <= status <= 399:
        return UnexpectedRedirect("the server points elsewhere; redirects are not followed")
    return TransportError("the server changed to another protocol")


class BodyHandler(NamedTuple, Generic[T]):
    """Turns a reply whose body is still unread into the call's result."""

    now: Callable[[Call, OpenResponse], T | None]
    """Without waiting, where all of it is there; not asked when the status is other than 2xx."""
    later: Callable[[Call, OpenResponse], Awaitable[T]]

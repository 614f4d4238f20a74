"""The scheduler of one (origin, account): every request passes here, and so keeps inside one limit."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from operator import attrgetter
from typing import Final

from attrs import frozen

from energy_core.clock import Clock, SystemClock, Timer, monotonic_reader
from energy_core.errors import ClientClosed, EnergyError, RateLimited
from energy_core.http.operation import Priority
from energy_core.http.priority_queue import PriorityQueue
from energy_core.http.rate_limit import RateLimit, RateLimitState
from energy_core.printable import printable

__all__ = ["RateLimit", "RateLimiter", "RateLimiterStats"]

_AUTH: Final = Priority.AUTH  # the one class that needs no place in flight

_SLACK_S: Final = 1e-6
"""Two wakes closer than this are one."""


@frozen(kw_only=True)
class RateLimiterStats:
    """A lane at one moment."""

    name: str
    level: float
    """Tokens in stock; negative is a debt."""
    rate: float
    """Requests per second it now allows itself in the long run."""
    waiting: Mapping[Priority, int]
    in_flight: int
    hold_s: float
    """Seconds until the hold ends; 0 when there is none."""
    granted: int
    """Turns given since the beginning."""
    throttled: int
    """Answers that said too many, since the beginning."""


class _Waiter:
    """One who waits. The future is set when a turn comes, or when `error` says that none will."""

    __slots__ = ("called", "deadline", "error", "priority")

    def __init__(self, priority: Priority, deadline: float) -> None:
        self.priority: Final = priority
        self.deadline: Final = deadline
        self.error: EnergyError | None = None
        self.called: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        if not self.called.done():  # a cancelled one is on its way out already
            self.called.set_result(None)


_deadline: Final = attrgetter("deadline")


class _Slot:
    """`async with lane.turn(priority)`; it holds nothing of its own, so one serves all of a class."""

    __slots__ = ("_lane", "_priority")

    def __init__(self, lane: RateLimiter, priority: Priority) -> None:
        self._lane = lane
        self._priority = priority

    def __aenter__(self) -> Coroutine[None, None, None]:
        return self._lane.acquire(self._priority)

    async def __aexit__(self, *error: object) -> None:
        self._lane.release(self._priority)


class RateLimiter:
    """Gives turns to send.

    A turn needs three things at once: no hold, a token and, except for auth, a place in flight. The token is
    taken when the turn is given, so that whoever gives up while waiting owes nothing.

    Args:
        limit: What the account may send.
        clock: Where time comes from.
        random: Gives numbers in [0, 1).
        name: A label for logs; never a secret.
        max_queue_wait_s: Nobody waits longer for a turn.
        max_hold_s: Nobody waits for the end of a hold that is asked to be longer.
    """

    def __init__(
        self,
        limit: RateLimit,
        *,
        clock: Clock = SystemClock(),  # noqa: B008  (it has no state)
        random: Callable[[], float] = random.random,
        name: str = "",
        max_queue_wait_s: float = 600.0,
        max_hold_s: float = 120.0,
    ) -> None:
        self.limit: Final = limit
        self.name: Final = name
        self._clock = clock
        self._now: Callable[[], float] = self._first_now
        self._max_queue_wait_s = max_queue_wait_s
        self._max_hold_s = max_hold_s
        self._allowance = RateLimitState(limit, random=random)
        self._queue: PriorityQueue[_Waiter] = PriorityQueue()
        self._granted_waiters: dict[_Waiter, None] = {}  # have a turn and are not yet awake to use it
        self._max_in_flight = limit.in_flight
        self._in_flight = 0
        self._granted = 0
        self._ended = asyncio.Event()
        self._turns: Final = [_Slot(self, priority) for priority in Priority]
        self._timer: Timer | None = None
        self._timer_at = math.inf

    def slot(self, priority: Priority) -> AbstractAsyncContextManager[None]:
        """Wait for a turn to send one request, and keep its place in flight until the block ends.

        Cancelling the wait is safe: token and place stay with the lane.

        Raises:
            RateLimited: The vendor asked for a longer hold than `max_hold_s`; or (`local=True`) no turn came
                within `max_queue_wait_s`.
            ClientClosed: The lane is closed, or was while waiting.
        """
        return self._turns[priority]

    def try_acquire(self, priority: Priority) -> bool:
        """Take a turn if there is one now and nobody waits for it; the caller then owes a `leave`."""
        if (
            self._queue.size
            or self._in_flight >= self._max_in_flight
            or not self._allowance.try_take(self._now())
        ):
            return False
        if priority is not _AUTH:
            self._in_flight += 1
        self._granted += 1
        return True

    async def acquire(self, priority: Priority) -> None:
        """Wait for a turn like `turn`; the caller owes a `leave`."""
        if self.try_acquire(priority):
            return
        now = self._now()
        if (refusal := self._refusal(now)) is not None:
            raise refusal
        waiter = _Waiter(priority, now + self._max_queue_wait_s)
        if self._queue.add(waiter):  # behind another of its class it can change nothing
            self._serve(now)
        try:  # here, not in a coroutine of its own: thousands may wait, and the collector looks at each
            while not self._may_start(waiter):
                await waiter.called
        except BaseException:
            self._give_up(waiter)
            raise

    def release(self, priority: Priority) -> None:
        """Free the place in flight of a turn."""
        if priority is _AUTH:
            return
        was_full = self._in_flight >= self._max_in_flight
        self._in_flight -= 1
        if was_full and self._queue.size:  # with a place left, those who wait had waited for the timer
            self._serve(self._now())

    async def wait_until_open(self) -> None:
        """Wait for the end of a hold, taking neither token nor place. Cancelling is safe.

        Raises:
            RateLimited: The vendor asked for a longer hold than `max_hold_s`.
            ClientClosed: The lane is closed, or was while waiting.
        """
        while True:
            now = self._now()
            if (refusal := self._refusal(now)) is not None:
                raise refusal
            if not (held_s := self._allowance.held_s(now)):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(held_s):
                    await self._ended.wait()

    def hold(self, seconds: float) -> None:
        """Send nothing for so long and up to a tenth longer, queued requests too; the latest end counts."""
        now = self._now()
        self._revoke_grants()
        self._allowance.hold(now, seconds)
        self._serve(now)

    def passed(self) -> None:
        """Note an answer that was not refused for being too many."""
        self._allowance.in_a_row = 0

    def throttled(self, sent_at: float, retry_after: float | None, *, certain: bool = True) -> None:
        """React to an answer that said too many (a 429, or a 503 with Retry-After): slow down and hold.

        Args:
            sent_at: The clock's time when the request's turn had come.
            retry_after: Seconds the answer asks for; None when it does not say.
            certain: The answer has a Retry-After or is JSON, as a limiter's are. Any other slows down from
                the third in a row on.
        """
        now = self._now()
        self._revoke_grants()
        self._allowance.on_throttled(
            now, sent_at=sent_at, retry_after=retry_after, in_flight=self._in_flight, certain=certain
        )
        self._serve(now)

    def close(self) -> None:
        """Give no more turns: everybody who waits gets `ClientClosed`. Turns in use may end in peace."""
        self._ended.set()
        self._max_in_flight = 0
        self._revoke_grants()
        self._serve(self._now())

    def stats(self) -> RateLimiterStats:
        """Return how the lane is doing. Like everything about time, only where an event loop runs."""
        now = self._clock.monotonic()
        return RateLimiterStats(
            name=self.name,
            level=self._allowance.level(now),
            rate=self._allowance.rate(now),
            waiting=self._queue.sizes(),
            in_flight=self._in_flight,
            hold_s=self._allowance.held_s(now),
            granted=self._granted,
            throttled=self._allowance.throttled,
        )

    @printable
    def __repr__(self) -> str:
        label = f"RateLimiter {self.name!r}{' closed' * self._ended.is_set()}"
        try:
            stats, now = self.stats(), self._clock.monotonic()
        except RuntimeError:  # no event loop runs, so there is no time to tell
            return f"<{label} {self.limit}>"
        waiting = "+".join(str(size) for size in stats.waiting.values())
        hold = f", held for {stats.hold_s:.2f} s" if stats.hold_s else ""
        wake = f", next wake in {self._timer_at - now:.2f} s" if self._timer else ""
        return (
            f"<{label} level {stats.level:.2f} of {self.limit.burst}, {stats.rate:.2f}/s, "
            f"{stats.in_flight} of {self.limit.in_flight} in flight, {waiting} waiting{hold}{wake}>"
        )

    # Decisions, all of them synchronous.

    def _first_now(self) -> float:
        self._now = monotonic_reader(self._clock)  # a lane stays on the event loop of its first turn
        return self._now()

    def _may_start(self, waiter: _Waiter) -> bool:
        if waiter.error is not None:
            raise waiter.error
        if waiter not in self._granted_waiters:
            return False
        del self._granted_waiters[waiter]
        return True

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter in self._granted_waiters:
            self._take_back(waiter)
        self._queue.discard(waiter)
        self._serve(self._now())

    def _refusal(self, now: float) -> EnergyError | None:
        """Why it makes no sense to wait for a turn at all, if so."""
        if self._ended.is_set():
            return ClientClosed("the client is closed")
        if self._allowance.asked_s(now) > self._max_hold_s:
            wait = self._allowance.held_s(now)
            return RateLimited("the vendor asks for a longer pause than we wait", retry_after=wait)
        return None

    def _occupy(self, priority: Priority) -> None:
        self._in_flight += priority is not _AUTH
        self._granted += 1

    def _take_back(self, waiter: _Waiter) -> None:
        """Undo the turn of one who has been called and has not sent anything yet."""
        del self._granted_waiters[waiter]
        self._allowance.give_back()
        self._in_flight -= waiter.priority is not _AUTH
        self._granted -= 1

    def _revoke_grants(self) -> None:
        """Put those who have been called and have not started back to the heads of their classes."""
        for waiter in reversed(list(self._granted_waiters)):
            self._take_back(waiter)
            self._queue.put_back(waiter)
            waiter.called = asyncio.get_running_loop().create_future()

    def _serve(self, now: float) -> None:
        """Give every turn there is now, send away who can get none, and set the timer for the next."""
        if self._refusal(now) is not None:
            for waiter in list(self._queue):
                self._send_away(waiter, self._refusal(now))
        while (next_one := self._next()) is not None and self._allowance.try_take(now):
            self._queue.pop(next_one)
            self._occupy(next_one.priority)
            self._granted_waiters[next_one] = None
            next_one.wake()
        self._set_timer(self._next_wake(now) if self._queue.size else math.inf)

    def _next(self) -> _Waiter | None:
        return self._queue.next(place=self._in_flight < self._max_in_flight)

    def _send_away(self, waiter: _Waiter, error: EnergyError | None) -> None:
        self._queue.discard(waiter)
        waiter.error = error
        waiter.wake()

    def _send_away_overdue(self, now: float) -> float:
        """Send away who has waited too long, and return when the next one will have."""
        while heads := self._queue.heads():
            first = min(heads, key=_deadline)
            if first.deadline > now:
                return first.deadline
            said = f"no turn came within {self._max_queue_wait_s:g} s of waiting in our own queue"
            self._send_away(first, RateLimited(said, local=True))
        return math.inf

    def _next_wake(self, now: float) -> float:
        wake = self._send_away_overdue(now)
        return wake if self._next() is None else min(wake, self._allowance.free_at(now))

    def _set_timer(self, when: float) -> None:
        """Keep one timer for all who wait. One that fires too early only sets the next."""
        if self._timer is not None:
            if when < math.inf and self._timer_at <= when + _SLACK_S:
                return
            self._timer.cancel()
        self._timer = None if when == math.inf else self._clock.call_at(when, self._wake)
        self._timer_at = when

    def _wake(self) -> None:
        self._timer = None
        # Event loops may ring a tick of their clock too early; we count it as the time we had set.
        self._serve(max(self._now(), self._timer_at))

"""The rate limiter of one account: token bucket, Retry-After holds, requests in flight, priority queue."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from operator import attrgetter
from typing import Final

from attrs import frozen

from energy_core.clock import Clock, DeadlineTimer, SystemClock, monotonic_reader
from energy_core.errors import ClientClosed, EnergyError, RateLimited
from energy_core.http.operation import Priority
from energy_core.http.priority_queue import PriorityQueue
from energy_core.http.token_bucket import RateLimit, RateLimitState, SavedRateLimit
from energy_core.printable import printable

__all__ = ["RateLimit", "RateLimiter", "RateLimiterStats"]

_AUTH: Final = Priority.AUTH  # the one class that needs no place in flight


@frozen(kw_only=True)
class RateLimiterStats:
    """A snapshot of a rate limiter."""

    name: str
    level: float
    """Tokens in the bucket; negative is a debt."""
    rate: float
    """Requests per second that are now allowed in the long run."""
    waiting: Mapping[Priority, int]
    in_flight: int
    hold_s: float
    """Seconds until the hold ends; 0 without one."""
    granted: int
    """Slots granted so far."""
    throttled: int
    """429s so far."""


class _Waiter:
    """A request in the queue. Its future is set when a slot is granted, or refused with `error`."""

    __slots__ = ("deadline", "error", "priority", "woken")

    def __init__(self, priority: Priority, deadline: float) -> None:
        self.priority: Final = priority
        self.deadline: Final = deadline
        self.error: EnergyError | None = None
        self.woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        if not self.woken.done():  # it is done if the waiter was cancelled
            self.woken.set_result(None)


_deadline: Final = attrgetter("deadline")


class _Slot:
    """`async with limiter.slot(priority)`; it has no state, so one object serves all requests of a class."""

    __slots__ = ("_limiter", "_priority")

    def __init__(self, limiter: RateLimiter, priority: Priority) -> None:
        self._limiter = limiter
        self._priority = priority

    def __aenter__(self) -> Coroutine[None, None, None]:
        return self._limiter.acquire(self._priority)

    async def __aexit__(self, *error: object) -> None:
        self._limiter.release(self._priority)


class RateLimiter:
    """Grants slots to send requests.

    A slot needs three things at once: no hold, a token and, except for logins, a place in flight. The token
    is taken when the slot is granted, so that a request cancelled while waiting costs nothing.

    Args:
        limit: The account's rate limit.
        clock: The source of time.
        random: Returns numbers in [0, 1).
        name: A label for logs; never a secret.
        max_queue_wait_s: The longest wait for a slot.
        max_hold_s: If the vendor asks for a longer hold, requests are refused instead of waiting.
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
        self.expires_at = math.inf
        """No slot is granted from then on, on the clock's monotonic time: another process may poll by then.

        Checked when a slot is granted, so that a process that was suspended sends nothing when it continues.
        """
        self._clock = clock
        self._now: Callable[[], float] | None = None
        self._max_queue_wait_s = max_queue_wait_s
        self._max_hold_s = max_hold_s
        self._state = RateLimitState(limit, random=random)
        self._queue: PriorityQueue[_Waiter] = PriorityQueue()
        self._granted_waiters: dict[_Waiter, None] = {}  # have a slot, and their task has not resumed yet
        self._max_in_flight = limit.in_flight
        self._in_flight = 0
        self._granted = 0
        self._closed = asyncio.Event()
        self._slots: Final = [_Slot(self, priority) for priority in Priority]
        # Its one key is this limiter: when the next slot can be granted, or the next waiter times out.
        self._timer: DeadlineTimer[RateLimiter] = DeadlineTimer(clock, RateLimiter._serve)

    def slot(self, priority: Priority) -> AbstractAsyncContextManager[None]:
        """Wait for a slot to send one request, and keep its place in flight until the block ends.

        Cancelling the wait is safe: token and place stay with the limiter.

        Raises:
            RateLimited: The vendor asked for a longer hold than `max_hold_s`; or (`local=True`) no slot was
                granted within `max_queue_wait_s`.
            ClientClosed: The limiter is closed, or was closed while waiting.
        """
        return self._slots[priority]

    def try_acquire(self, priority: Priority) -> bool:
        """Take a slot if one is free and no request waits for it; the caller then calls `release`."""
        now = self._now
        if now is None:  # the limiter may have been created before its event loop
            now = self._now = monotonic_reader(self._clock)
        if self._queue.size or self._in_flight >= self._max_in_flight or now() >= self.expires_at:
            return False
        if not self._state.try_take(now()):
            return False
        if priority is not _AUTH:
            self._in_flight += 1
        self._granted += 1
        return True

    async def acquire(self, priority: Priority) -> None:
        """Wait for a slot like `slot`; the caller then calls `release`."""
        if self.try_acquire(priority):
            return
        now = self._clock.monotonic()
        if (refusal := self._refusal(now)) is not None:
            raise refusal
        waiter = _Waiter(priority, now + self._max_queue_wait_s)
        if self._queue.add(waiter):  # behind another of its class it changes nothing
            self._serve(now)
        try:  # no coroutine of its own: thousands may wait, and the garbage collector visits each
            while not self._may_start(waiter):
                await waiter.woken
        except BaseException:
            self._give_up(waiter)
            raise

    def release(self, priority: Priority) -> None:
        """Release the slot: the response headers arrived, or the request failed."""
        if priority is _AUTH:
            return
        was_full = self._in_flight >= self._max_in_flight
        self._in_flight -= 1
        if was_full and self._queue.size:  # with a place free, the queue waits for the timer
            self._serve(self._clock.monotonic())

    async def wait_until_open(self) -> None:
        """Wait until there is no hold, without taking a slot. Cancelling is safe.

        Raises:
            RateLimited: The vendor asked for a longer hold than `max_hold_s`.
            ClientClosed: The limiter is closed, or was closed while waiting.
        """
        while True:
            now = self._clock.monotonic()
            if (refusal := self._refusal(now)) is not None:
                raise refusal
            if not (held_s := self._state.held_s(now)):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(held_s):
                    await self._closed.wait()

    def hold(self, seconds: float) -> None:
        """Grant nothing for so many seconds and up to a tenth longer; the latest end of all holds counts."""
        now = self._clock.monotonic()
        self._revoke_grants()
        self._state.hold(now, seconds)
        self._serve(now)

    def on_accepted(self) -> None:
        """Note a response other than a 429."""
        self._state.doubtful_in_a_row = 0

    def on_throttled(self, sent_at: float, retry_after: float | None, *, certain: bool = True) -> None:
        """Slow down and hold after a 429, or a 503 with Retry-After.

        Args:
            sent_at: When its request was sent, on the clock's monotonic time.
            retry_after: Seconds the response asks for; None if it does not.
            certain: The response has a Retry-After or is JSON, as those of rate limiters. Any other slows
                down from the third in a row on.
        """
        now = self._clock.monotonic()
        self._revoke_grants()
        self._state.on_throttled(
            now, sent_at=sent_at, retry_after=retry_after, in_flight=self._in_flight, certain=certain
        )
        self._serve(now)

    def close(self) -> None:
        """Grant nothing more: all waiting requests get `ClientClosed`. Slots in use are not affected."""
        self._closed.set()
        self._max_in_flight = 0
        self._revoke_grants()
        self._serve(self._clock.monotonic())

    def save(self) -> SavedRateLimit:
        """Return what is left of the limit, for `restore` in another process. Needs a running event loop."""
        return self._state.save(self._clock.monotonic())

    def restore(self, saved: SavedRateLimit, elapsed_s: float = 0.0) -> None:
        """Continue from what another process left `elapsed_s` seconds ago. Needs a running event loop."""
        now = self._clock.monotonic()
        self._revoke_grants()
        self._state.restore(now, saved, elapsed_s)
        self._serve(now)

    def stats(self) -> RateLimiterStats:
        """Return a snapshot. Needs a running event loop."""
        now = self._clock.monotonic()
        return RateLimiterStats(
            name=self.name,
            level=self._state.level(now),
            rate=self._state.rate(now),
            waiting=self._queue.sizes(),
            in_flight=self._in_flight,
            hold_s=self._state.held_s(now),
            granted=self._granted,
            throttled=self._state.throttled,
        )

    @printable
    def __repr__(self) -> str:
        label = f"RateLimiter {self.name!r}{' closed' * self._closed.is_set()}"
        try:
            stats, now = self.stats(), self._clock.monotonic()
        except RuntimeError:  # without an event loop there is no time
            return f"<{label} {self.limit}>"
        waiting = "+".join(str(size) for size in stats.waiting.values())
        hold = f", held for {stats.hold_s:.2f} s" if stats.hold_s else ""
        wake_at = self._timer.get(self)
        wake = "" if wake_at is None else f", next wake in {wake_at - now:.2f} s"
        return (
            f"<{label} level {stats.level:.2f} of {self.limit.burst}, {stats.rate:.2f}/s, "
            f"{stats.in_flight} of {self.limit.in_flight} in flight, {waiting} waiting{hold}{wake}>"
        )

    # Decisions; none of them waits.

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
        self._serve(self._clock.monotonic())

    def _refusal(self, now: float) -> EnergyError | None:
        """Return the error for requests that would wait in vain, if there is a reason."""
        if self._closed.is_set():
            return ClientClosed("the client is closed")
        if now >= self.expires_at:
            return ClientClosed("the lease of the account has ended")
        if self._state.asked_s(now) > self._max_hold_s:
            wait = self._state.held_s(now)
            return RateLimited("the vendor asks for a longer pause than allowed", retry_after=wait)
        return None

    def _take_back(self, waiter: _Waiter) -> None:
        """Undo the grant of a waiter that has not sent anything yet."""
        del self._granted_waiters[waiter]
        self._state.give_back()
        self._in_flight -= waiter.priority is not _AUTH
        self._granted -= 1

    def _revoke_grants(self) -> None:
        """Put granted waiters that have not resumed back to the heads of their classes."""
        for waiter in reversed(list(self._granted_waiters)):
            self._take_back(waiter)
            self._queue.put_back(waiter)
            waiter.woken = asyncio.get_running_loop().create_future()

    def _serve(self, now: float) -> None:
        """Grant all slots that are free, refuse waiters that can get none, and set the timer."""
        if self._refusal(now) is not None:
            for waiter in list(self._queue):
                self._refuse(waiter, self._refusal(now))
        while (first := self._next()) is not None and self._state.try_take(now):
            self._queue.pop(first)
            self._in_flight += first.priority is not _AUTH
            self._granted += 1
            self._granted_waiters[first] = None
            first.wake()
        wake_at = self._next_wake(now) if self._queue.size else math.inf
        if wake_at == math.inf:
            self._timer.clear()
        else:
            self._timer.set(self, wake_at)

    def _next(self) -> _Waiter | None:
        return self._queue.next(place=self._in_flight < self._max_in_flight)

    def _refuse(self, waiter: _Waiter, error: EnergyError | None) -> None:
        self._queue.discard(waiter)
        waiter.error = error
        waiter.wake()

    def _refuse_overdue(self, now: float) -> float:
        """Refuse waiters that have waited too long, and return when the next one will have."""
        while heads := self._queue.heads():
            first = min(heads, key=_deadline)
            if first.deadline > now:
                return first.deadline
            message = f"the request waited {self._max_queue_wait_s:g} s for the rate limiter"
            self._refuse(first, RateLimited(message, local=True))
        return math.inf

    def _next_wake(self, now: float) -> float:
        wake = self._refuse_overdue(now)
        return wake if self._next() is None else min(wake, self._state.free_at(now))

"""A call under way: its deadline, and the handle by which closing the pool ends it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol

from energy_core.clock import Clock, Timer
from energy_core.errors import ClientClosed, DeadlineExceeded, EnergyError

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

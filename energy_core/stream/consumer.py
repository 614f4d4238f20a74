"""Consumers that gather: batches for those who write many at once, and events in order of their times."""

from __future__ import annotations

import asyncio
import copy
import heapq
from abc import ABC, abstractmethod
from asyncio import current_task
from collections import deque
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from attrs import frozen

from energy_core.clock import Clock, Timer
from energy_core.errors import StreamBusy
from energy_core.printable import printable
from energy_core.stream.buffer import BUSY, Buffer
from energy_core.stream.commit import CommitTracker
from energy_core.stream.event import Event
from energy_core.stream.fanout import Fanout
from energy_core.stream.subscriber import Subscriber


@frozen(kw_only=True)
class EventSupply:
    """Where the events come from."""

    buffer: Buffer[Event]
    shelf: ReorderBuffer
    turns: SingleConsumerGuard
    clock: Clock
    progress: Callable[[], CommitTracker | None]
    """Who is told what the consumer was handed."""
    look_for_end: Callable[[], None]
    """Raises what the end is told with, if nothing more will come."""


class SingleConsumerGuard:
    """Notices two tasks that take turns at one iterator: each would lose what the other gets.

    One task may hand the iterator on to another; it may not come back while that one lives.
    """

    __slots__ = ("_former", "loop", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[object] | None = None
        """Who asked last ..."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """... and on which loop, whose present task is known sooner than that of whichever loop runs."""
        self._former: set[asyncio.Task[object]] = set()

    def check(self) -> None:
        """Note who asks now.

        Raises:
            StreamBusy: it has handed the iterator on to a task that still runs.
        """
        task = asyncio.current_task()
        if task is not self.task and task is not None:
            self._change(task)

    def _change(self, task: asyncio.Task[object]) -> None:
        before = self.task
        if before is not None and not before.done():
            if task in self._former:
                raise StreamBusy(BUSY)
            self._former.add(before)
        self._former = {each for each in self._former if not each.done() and each is not task}
        self.task, self.loop = task, task.get_loop()


class ReorderBuffer:
    """Events that were taken out of the buffer to put them in order, and not handed out yet.

    It belongs to the consumer and not to one way of iterating, so that nothing is lost between two of them.
    """

    def __init__(self) -> None:
        self.events: list[tuple[datetime, int, Event]] = []
        """A heap of times, numbers and events."""
        self._count = 0

    def put(self, event: Event) -> int:
        """Add an event; return its number, by which events of one moment are told apart."""
        self._count += 1
        heapq.heappush(self.events, (event.time, self._count, event))
        return self._count

    def take(self) -> Event:
        """Remove and return the earliest."""
        return heapq.heappop(self.events)[2]

    @property
    def earliest(self) -> tuple[datetime, int]:
        """Time and number of the earliest."""
        return self.events[0][:2]

    def __len__(self) -> int:
        return len(self.events)

    @printable
    def __repr__(self) -> str:
        return f"<Shelf of {len(self)}>"


class _Gatherer:
    """What `Batches` and `TimeOrdered` share. Nothing that was not handed out is theirs alone."""

    def __init__(self, supply: EventSupply, max_delay: float) -> None:
        if not 0 <= max_delay < float("inf"):
            raise ValueError(f"max_delay must be a number of seconds from 0 on, not {max_delay!r}")
        self._buffer = supply.buffer
        self._shelf = supply.shelf
        self._clock = supply.clock
        self._turns = supply.turns
        self._progress = supply.progress
        self._look_for_end = supply.look_for_end
        self._max_delay = max_delay

    def __aiter__(self) -> Self:
        return self

    def _confirm(self) -> None:
        self._turns.check()
        progress = self._progress()
        if progress is not None:
            progress.autocommit()

    def _hand_out(self, event: Event) -> Event:
        progress = self._progress()
        if progress is not None:
            progress.delivered(event)
        return event

    async def _more(self, due: float | None) -> None:
        """Wait until there may be something to take, or `due` has come."""
        if due is not None and self._clock.monotonic() >= due:
            return
        waiting = self._buffer.filled(self._turns.loop)
        timer: Timer | None = None
        try:
            if due is not None:
                timer = self._clock.call_at(due, self._buffer.wake)
            await waiting
        finally:
            waiting.cancel()
            if timer is not None:
                timer.cancel()


class Batches(_Gatherer):
    """What `batches` returns. Events stay in the buffer until their batch is handed over."""

    def __init__(self, supply: EventSupply, max_size: int, max_delay: float) -> None:
        super().__init__(supply, max_delay)
        if max_size < 1:
            raise ValueError(f"a batch holds at least one event, not {max_size}")
        self._max_size = max_size
        self._due: float | None = None

    async def __anext__(self) -> list[Event]:
        """Return the next batch, which is never empty; raises as the stream's own `anext` does.

        Cancelling it loses nothing.
        """
        self._confirm()
        while True:
            pending = len(self._shelf) + len(self._buffer)
            if pending and self._due is None:
                self._due = self._clock.monotonic() + self._max_delay
            over = self._due is not None and self._clock.monotonic() >= self._due
            full = pending >= self._max_size or not self._buffer.roomy
            if (not pending or over or full or self._buffer.ended) and (batch := self._batch()):
                self._due = None
                return batch
            if not pending:
                self._look_for_end()
            await self._more(self._due)

    def _batch(self) -> list[Event]:
        batch: list[Event] = []
        while len(batch) < self._max_size:
            event = self._shelf.take() if self._shelf else self._buffer.take()
            if event is None:
                break
            batch.append(self._hand_out(event))
        return batch


class TimeOrdered(_Gatherer):
    """What `ordered` returns. What is held back stays with the consumer when the iteration ends."""

    def __init__(self, supply: EventSupply, max_delay: float) -> None:
        super().__init__(supply, max_delay)
        self._arrivals: deque[tuple[float, tuple[datetime, int]]] = deque()

    async def __anext__(self) -> Event:
        """Return the next event; raises as the stream's own `anext` does. Cancelling it loses nothing."""
        self._confirm()
        while True:
            self._gather()
            if self._shelf and self._due() <= self._clock.monotonic():
                return self._hand_out(self._shelf.take())
            if not self._shelf:
                self._look_for_end()
            await self._more(self._due() if self._shelf else None)

    def _gather(self) -> None:
        now, capacity = self._clock.monotonic(), self._buffer.capacity
        while len(self._shelf) <= capacity and (event := self._buffer.take()) is not None:
            self._arrivals.append((now, (event.time, self._shelf.put(event))))

    def _due(self) -> float:
        """Return when the first may go: as soon as one that stands in line with or behind it has waited."""
        if self._buffer.ended or len(self._shelf) > self._buffer.capacity:
            return float("-inf")
        first = self._shelf.earliest
        while self._arrivals and self._arrivals[0][1] < first:
            self._arrivals.popleft()  # it has gone
        # What an earlier iteration has left here has waited.
        return self._arrivals[0][0] + self._max_delay if self._arrivals else float("-inf")


class Consumer(ABC):
    """One consumer, and only one. Cancelling a waiting `anext` loses nothing."""

    def __init__(self, line: Subscriber, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._progress: CommitTracker | None = None
        self._shelf = ReorderBuffer()
        self._turns = SingleConsumerGuard()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event. Cancelling it loses nothing.

        Raises:
            StopAsyncIteration: every source has ended and every event is delivered, or the stream is closed.
            StreamBusy: another task waits, or has taken over; each needs a subscription of its own.
            StreamClosed: the stream was not opened with `async with`.
            SlowConsumer: under the policy `raise`, too much was pending for too long.
        """
        turns = self._turns
        if turns.task is None or current_task(turns.loop) is not turns.task:
            self._begin()
        progress, buffer = self._progress, self._line.buffer
        if progress is not None:
            progress.autocommit()
        while True:
            event = self._shelf.take() if self._shelf.events else buffer.take()
            if event is not None:
                if progress is not None:
                    progress.delivered(event)
                return event
            if buffer.ended:
                self._look_for_end()
            waiting = buffer.filled(turns.loop)
            try:
                await waiting
            finally:
                waiting.cancel()

    def batches(self, max_size: int = 500, max_delay: float = 1.0) -> Batches:
        """Iterate over lists of events, for consumers that write many at once.

        A batch is handed over when it is full, when `max_delay` seconds have passed since its first event, or
        when the stream has ended. With a checkpoint, a batch counts as consumed when the next is asked for.

        Args:
            max_size: The most events in a batch.
            max_delay: The longest an event waits for others.
        """
        return Batches(self._supply(), max_size, max_delay)

    def ordered(self, max_delay: float) -> TimeOrdered:
        """Iterate in order of `time` across all sources, each event delayed by up to `max_delay` seconds.

        An event that comes more than that after its time has passed is handed over at once, out of order.
        When as many events wait as the buffer holds, the oldest does not wait any longer.
        """
        return TimeOrdered(self._supply(), max_delay)

    def _supply(self) -> EventSupply:
        return EventSupply(
            buffer=self._line.buffer,
            shelf=self._shelf,
            turns=self._turns,
            clock=self._clock,
            progress=lambda: self._progress,
            look_for_end=self._look_for_end,
        )

    def _begin(self) -> None:
        """Let another task than before ask."""
        self._check_open()
        self._turns.check()

    @abstractmethod
    def _check_open(self) -> None:
        """Complain if this cannot be iterated."""

    def _look_for_end(self) -> None:
        """Raise what the end of the stream is told with, if that is all there is left."""
        self._check_open()
        buffer = self._line.buffer
        if buffer.ended:
            error, buffer.error = buffer.error, None
            if error is not None:
                raise copy.copy(error) from error.__cause__
            raise StopAsyncIteration


class Subscription(Consumer):
    """What `subscribe` returns: an iterator with its own buffer, policy, numbers and pace.

    Ends with its stream, or with `aclose`, after which it costs nothing; `async with` does that.
    """

    def __init__(self, line: Subscriber, ledger: Fanout, check_open: Callable[[], None]) -> None:
        super().__init__(line, ledger.clock)
        self._ledger = ledger
        self._of_stream = check_open

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def pending(self) -> int:
        """Events that wait for this consumer."""
        return len(self._line.buffer)

    @property
    def lost(self) -> int:
        """Readings this consumer was too slow for; under `block` they were fetched again where possible."""
        return self._line.lost

    async def aclose(self) -> None:
        """End it: a waiting `anext` gets StopAsyncIteration. May be called from any task, more than once."""
        self._ledger.lines = tuple(line for line in self._ledger.lines if line is not self._line)
        self._line.close()

    def _check_open(self) -> None:
        if not self._line.buffer.closed:
            self._of_stream()

    @printable
    def __repr__(self) -> str:
        return f"<Subscription {self._line.policy}: {self._line.buffer!r}>"

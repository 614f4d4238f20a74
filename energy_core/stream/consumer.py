"""Iterators over a stream: one by one, in batches, or ordered by time."""

from __future__ import annotations

import asyncio
import copy
import heapq
from abc import ABC, abstractmethod
from asyncio import current_task
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from attrs import frozen

from energy_core.clock import Clock, Timer
from energy_core.errors import StreamBusy, StreamError
from energy_core.printable import printable
from energy_core.stream.buffer import BUSY, Buffer
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.commit import CommitTracker
from energy_core.stream.event import Event
from energy_core.stream.fanout import Fanout
from energy_core.stream.subscriber import Subscriber
from energy_core.stream.vocabulary import Kind


class SingleConsumerGuard:
    """Detects two tasks that iterate alternately: each would lose the events that the other gets.

    A task may pass the iterator on to another one, but must not use it again while that one is running.
    """

    __slots__ = ("_earlier", "loop", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[object] | None = None
        """The task that iterated last."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """Its event loop; `current_task` and futures are faster when it is given."""
        self._earlier: set[asyncio.Task[object]] = set()

    def check(self) -> None:
        """Note that the current task iterates.

        Raises:
            StreamBusy: It passed the iterator on to a task that is still running.
        """
        task = asyncio.current_task()
        if task is not self.task and task is not None:
            self._change(task)

    def _change(self, task: asyncio.Task[object]) -> None:
        before = self.task
        if before is not None and not before.done():
            if task in self._earlier:
                raise StreamBusy(BUSY)
            self._earlier.add(before)
        self._earlier = {each for each in self._earlier if not each.done() and each is not task}
        self.task, self.loop = task, task.get_loop()


class ReorderBuffer:
    """Events taken out of the buffer to be ordered by time, and not delivered yet.

    Belongs to the consumer instead of to one iteration, so that no event is lost between two iterations.
    """

    def __init__(self) -> None:
        self.events: list[tuple[datetime, int, Event]] = []
        """A heap of (time, arrival number, event)."""
        self._count = 0

    def put(self, event: Event) -> int:
        """Add an event; return its arrival number, which orders events of equal time."""
        self._count += 1
        heapq.heappush(self.events, (event.time, self._count, event))
        return self._count

    def take(self) -> Event:
        """Remove and return the earliest event."""
        return heapq.heappop(self.events)[2]

    @property
    def earliest(self) -> tuple[datetime, int]:
        """Time and arrival number of the earliest event."""
        return self.events[0][:2]

    def __len__(self) -> int:
        return len(self.events)

    @printable
    def __repr__(self) -> str:
        return f"<ReorderBuffer of {len(self)} events>"


@frozen(kw_only=True)
class EventSupply:
    """What an iteration needs of its consumer."""

    buffer: Buffer[Event]
    reordered: ReorderBuffer
    guard: SingleConsumerGuard
    clock: Clock
    commits: Callable[[], CommitTracker | None]
    """Returns the tracker of consumed events, if there is a checkpoint."""
    raise_end: Callable[[], None]
    """Raises StopAsyncIteration, or the error of the stream, once nothing more will come."""


class _Iteration:
    """Common part of `Batches` and `TimeOrdered`. Undelivered events stay in the consumer's buffers."""

    def __init__(self, supply: EventSupply, max_delay: float) -> None:
        if not 0 <= max_delay < float("inf"):
            raise ValueError(f"max_delay must be a number of seconds from 0 on, not {max_delay!r}")
        self._buffer = supply.buffer
        self._reordered = supply.reordered
        self._clock = supply.clock
        self._guard = supply.guard
        self._commits = supply.commits
        self._raise_end = supply.raise_end
        self._max_delay = max_delay

    def __aiter__(self) -> Self:
        return self

    def _begin(self) -> None:
        """Check that no other task iterates, and commit what was delivered before."""
        self._guard.check()
        commits = self._commits()
        if commits is not None:
            commits.autocommit()

    def _deliver(self, event: Event) -> Event:
        commits = self._commits()
        if commits is not None:
            commits.delivered(event)
        return event

    async def _wait(self, due: float | None) -> None:
        """Wait until the buffer may have an event, or until the time `due`."""
        if due is not None and self._clock.monotonic() >= due:
            return
        waiting = self._buffer.filled(self._guard.loop)
        timer: Timer | None = None
        try:
            if due is not None:
                timer = self._clock.call_at(due, self._buffer.wake)
            await waiting
        finally:
            waiting.cancel()
            if timer is not None:
                timer.cancel()


class Batches(_Iteration):
    """Iterator over lists of events, made by `batches`.

    Args:
        supply: The consumer.
        max_size: Events in a batch, at most.
        max_delay: Seconds an event waits for others, at most.
    """

    def __init__(self, supply: EventSupply, max_size: int, max_delay: float) -> None:
        super().__init__(supply, max_delay)
        if max_size < 1:
            raise ValueError(f"a batch holds at least one event, not {max_size}")
        self._max_size = max_size
        self._due: float | None = None

    async def __anext__(self) -> list[Event]:
        """Return the next batch, which is never empty. Cancelling is safe: no event is lost.

        Raises:
            Exception: The same errors as `anext` of the stream.
        """
        self._begin()
        while True:
            pending = len(self._reordered) + len(self._buffer)
            if pending and self._due is None:
                self._due = self._clock.monotonic() + self._max_delay
            over = self._due is not None and self._clock.monotonic() >= self._due
            full = pending >= self._max_size or not self._buffer.has_room
            if (not pending or over or full or self._buffer.ended) and (batch := self._batch()):
                self._due = None
                return batch
            if not pending:
                self._raise_end()
            await self._wait(self._due)

    def _batch(self) -> list[Event]:
        batch: list[Event] = []
        while len(batch) < self._max_size:
            event = self._reordered.take() if self._reordered else self._buffer.take()
            if event is None:
                break
            batch.append(self._deliver(event))
        return batch


class TimeOrdered(_Iteration):
    """Iterator in order of time, made by `ordered`.

    Args:
        supply: The consumer.
        max_delay: Seconds an event waits for earlier ones, at most.
    """

    def __init__(self, supply: EventSupply, max_delay: float) -> None:
        super().__init__(supply, max_delay)
        self._arrivals: deque[tuple[float, tuple[datetime, int]]] = deque()

    async def __anext__(self) -> Event:
        """Return the next event. Cancelling is safe: no event is lost.

        Raises:
            Exception: The same errors as `anext` of the stream.
        """
        self._begin()
        while True:
            self._gather()
            if self._reordered and self._due() <= self._clock.monotonic():
                return self._deliver(self._reordered.take())
            if not self._reordered:
                self._raise_end()
            await self._wait(self._due() if self._reordered else None)

    def _gather(self) -> None:
        """Move events into the reorder buffer, at most one more than the buffer holds."""
        now, capacity = self._clock.monotonic(), self._buffer.capacity
        while len(self._reordered) <= capacity and (event := self._buffer.take()) is not None:
            self._arrivals.append((now, (event.time, self._reordered.put(event))))

    def _due(self) -> float:
        """Return when the earliest event is due: when it, or any later one, has waited `max_delay`."""
        if self._buffer.ended or len(self._reordered) > self._buffer.capacity:
            return float("-inf")
        first = self._reordered.earliest
        while self._arrivals and self._arrivals[0][1] < first:
            self._arrivals.popleft()  # delivered already
        # Events left over from an earlier iteration are due at once.
        return self._arrivals[0][0] + self._max_delay if self._arrivals else float("-inf")


class _Readings:
    """Iterator over the readings of a consumer. A class: cancelling a generator would end it."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            event = await anext(self._consumer)
            if event.kind is Kind.READING:
                return event


class Consumer(ABC):
    """Asynchronous iterator over the events of one subscriber, for one task at a time.

    Cancelling a waiting `anext` is safe: no event is lost.
    """

    def __init__(self, subscriber: Subscriber, clock: Clock) -> None:
        self._subscriber = subscriber
        self._clock = clock
        self._commits: CommitTracker | None = None
        self._reordered = ReorderBuffer()
        self._guard = SingleConsumerGuard()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event. Cancelling is safe: no event is lost.

        Raises:
            StopAsyncIteration: All sources have ended and all events were delivered, or the stream is closed.
            StreamBusy: Another task waits, or the iterator was passed on to it; `subscribe` for each task.
            StreamClosed: The stream was not opened with `async with`.
            SlowConsumer: Under the policy `raise`, the buffer was full for too long.
            EnergyError: The error of the first failed source, with `fail_fast`.
        """
        guard = self._guard
        if guard.task is None or current_task(guard.loop) is not guard.task:
            self._begin()
        commits, buffer = self._commits, self._subscriber.buffer
        if commits is not None:
            commits.autocommit()
        while True:
            event = self._reordered.take() if self._reordered.events else buffer.take()
            if event is not None:
                if commits is not None:
                    commits.delivered(event)
                return event
            if buffer.ended:
                self._raise_end()
            waiting = buffer.filled(guard.loop)
            try:
                await waiting
            finally:
                waiting.cancel()

    def commit(self, event: Event) -> Checkpoint:
        """Mark `event` and all events delivered before it as consumed; return the checkpoint.

        For exactly-once results, store `to_json()` of the checkpoint in the transaction that stores the
        result, and give `checkpoint=Checkpoint.from_json(...)` of it to `merge` or `subscribe` next time.

        Args:
            event: An event that this iterator delivered.

        Raises:
            StreamError: This consumer was made without `checkpoint=`; `Checkpoint()` is an empty one.
            ValueError: This iterator did not deliver the event.
        """
        if self._commits is None:
            raise StreamError("to commit, pass checkpoint=: a store, or Checkpoint() to begin with")
        self._commits.commit(event)
        checkpoint = self._commits.checkpoint()
        self._commits.changed = True  # the caller stores this one; a store of ours still has to
        return checkpoint

    @property
    def pending(self) -> int:
        """Buffered events that this consumer has not got yet."""
        return len(self._subscriber.buffer) + len(self._reordered)

    def readings(self) -> AsyncIterator[Event]:
        """Return an iterator over the readings alone; cancelling its `anext` is safe.

        It skips status, gap, dropped and alarm events: watch `events.status`, or a subscription of its own,
        to notice a source that is stale or has failed.
        """
        return _Readings(self)

    def batches(self, max_size: int = 500, max_delay: float = 1.0) -> Batches:
        """Return an iterator over lists of events, for consumers that write many at once.

        A batch is delivered when it is full, when its first event has waited `max_delay`, when the buffer is
        full, or when the stream has ended. With a checkpoint it is committed when the next one is asked for.

        Args:
            max_size: Events in a batch, at most.
            max_delay: Seconds an event waits for others, at most.

        Raises:
            ValueError: `max_size` is below 1, or `max_delay` negative or infinite.
        """
        return Batches(self._supply(), max_size, max_delay)

    def ordered(self, max_delay: float) -> TimeOrdered:
        """Return an iterator in order of `time` across all sources, which delays events.

        An event that arrives after a later one was delivered comes at once, out of order. When more events
        wait than the buffer holds, the earliest is delivered without waiting.

        Args:
            max_delay: Seconds an event waits for earlier ones, at most.

        Raises:
            ValueError: `max_delay` is negative or infinite.
        """
        return TimeOrdered(self._supply(), max_delay)

    def _supply(self) -> EventSupply:
        return EventSupply(
            buffer=self._subscriber.buffer,
            reordered=self._reordered,
            guard=self._guard,
            clock=self._clock,
            commits=lambda: self._commits,
            raise_end=self._raise_end,
        )

    def _begin(self) -> None:
        """Start iterating in another task than before."""
        self._check_open()
        self._guard.check()

    @abstractmethod
    def _check_open(self) -> None:
        """Raise if this cannot be iterated."""

    def _raise_end(self) -> None:
        """Raise StopAsyncIteration if the stream has ended, or its error the first time."""
        self._check_open()
        buffer = self._subscriber.buffer
        if buffer.ended:
            error, buffer.error = buffer.error, None
            if error is not None:
                raise copy.copy(error) from error.__cause__
            raise StopAsyncIteration


class Subscription(Consumer):
    """An independent consumer of a merged stream, made by `subscribe`.

    It has its own buffer, policy and numbers. It ends with its stream, or with `aclose`, which `async with`
    calls and which frees its buffer.
    """

    def __init__(self, subscriber: Subscriber, fanout: Fanout, check_open: Callable[[], None]) -> None:
        super().__init__(subscriber, fanout.clock)
        self._commits = fanout.trackers.get(subscriber)
        self._fanout = fanout
        self._check_stream_open = check_open

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
    def lost(self) -> int:
        """Readings this consumer was too slow for; under `block` they are fetched again where possible."""
        return self._subscriber.lost

    async def aclose(self) -> None:
        """Close it: a waiting `anext` gets StopAsyncIteration. Call it from any task, or several times."""
        self._fanout.subscribers = tuple(
            each for each in self._fanout.subscribers if each is not self._subscriber
        )
        self._fanout.trackers.pop(self._subscriber, None)
        self._subscriber.close()

    def _check_open(self) -> None:
        if not self._subscriber.buffer.closed:
            self._check_stream_open()

    @printable
    def __repr__(self) -> str:
        return f"<Subscription {self._subscriber.policy}: {self.pending} events pending>"

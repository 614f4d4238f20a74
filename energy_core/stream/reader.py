"""A consumer's side of a stream: events one by one, in batches, or put in order of their times."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from asyncio import current_task
from typing import Self

from energy_core.clock import Clock
from energy_core.stream.event import Event
from energy_core.stream.gather import Batches, EventSupply, ReorderBuffer, SingleConsumerGuard, TimeOrdered
from energy_core.stream.line import Subscriber
from energy_core.stream.progress import CommitTracker


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

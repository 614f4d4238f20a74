"""Consumers that gather: batches for those who write many at once, and events in order of their times."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Self

from attrs import frozen

from energy_core.clock import Clock, Timer
from energy_core.stream.buffer import Buffer
from energy_core.stream.event import Event
from energy_core.stream.progress import Progress


@frozen(kw_only=True)
class Supply:
    """Where the events come from."""

    buffer: Buffer
    clock: Clock
    progress: Callable[[], Progress | None]
    """Who is told what the consumer was handed."""
    look_for_end: Callable[[], None]
    """Raises what the end is told with, if nothing more will come."""


class _Gatherer:
    """What `Batches` and `Ordered` share: they take events before they hand them out."""

    def __init__(self, supply: Supply, max_delay: float) -> None:
        if not 0 <= max_delay < float("inf"):
            raise ValueError(f"max_delay must be a number of seconds from 0 on, not {max_delay!r}")
        self._buffer = supply.buffer
        self._clock = supply.clock
        self._progress = supply.progress
        self._look_for_end = supply.look_for_end
        self._max_delay = max_delay

    def __aiter__(self) -> Self:
        return self

    def _confirm(self) -> None:
        progress = self._progress()
        if progress is not None:
            progress.confirm()

    def _hand_out(self, event: Event) -> Event:
        progress = self._progress()
        if progress is not None:
            progress.hand_out(event)
        return event

    async def _more(self, due: float | None) -> None:
        """Wait until there may be something to take, or `due` has come."""
        timer: Timer | None = None
        if due is not None:
            if self._clock.monotonic() >= due:
                return
            timer = self._clock.call_at(due, self._buffer.wake)
        try:
            await self._buffer.filled()
        finally:
            if timer is not None:
                timer.cancel()


class Batches(_Gatherer):
    """What `batches` returns. Cancelling a wait keeps what was gathered for the next one."""

    def __init__(self, supply: Supply, max_size: int, max_delay: float) -> None:
        super().__init__(supply, max_delay)
        if max_size < 1:
            raise ValueError(f"a batch holds at least one event, not {max_size}")
        self._max_size = max_size
        self._batch: list[Event] = []
        self._due: float | None = None

    async def __anext__(self) -> list[Event]:
        """Return the next batch, which is never empty; raises as the stream's own `anext` does."""
        if not self._batch:
            self._confirm()
        while True:
            batch, take = self._batch, self._buffer.take
            while len(batch) < self._max_size and (event := take()) is not None:
                batch.append(event)
            if not batch:
                self._look_for_end()
            elif self._due is None:
                self._due = self._clock.monotonic() + self._max_delay
            over = self._due is not None and self._clock.monotonic() >= self._due
            if batch and (over or len(batch) >= self._max_size or self._buffer.ended):
                self._batch, self._due = [], None
                for event in batch:
                    self._hand_out(event)
                return batch
            await self._more(self._due)


class Ordered(_Gatherer):
    """What `ordered` returns. Cancelling a wait keeps what is held back for the next one."""

    def __init__(self, supply: Supply, max_delay: float) -> None:
        super().__init__(supply, max_delay)
        self._count = 0
        self._waiting: list[tuple[datetime, int, Event]] = []
        self._arrivals: deque[tuple[float, datetime, int]] = deque()

    async def __anext__(self) -> Event:
        """Return the next event; raises as the stream's own `anext` does."""
        self._confirm()
        while True:
            self._gather()
            if self._waiting and self._due() <= self._clock.monotonic():
                return self._hand_out(heapq.heappop(self._waiting)[2])
            if not self._waiting:
                self._look_for_end()
            await self._more(self._due() if self._waiting else None)

    def _gather(self) -> None:
        now, capacity = self._clock.monotonic(), self._buffer.capacity
        while len(self._waiting) <= capacity and (event := self._buffer.take()) is not None:
            self._count += 1
            heapq.heappush(self._waiting, (event.time, self._count, event))
            self._arrivals.append((now, event.time, self._count))

    def _due(self) -> float:
        """Return when the first may go: as soon as one that stands in line with or behind it has waited."""
        if self._buffer.ended or len(self._waiting) > self._buffer.capacity:
            return float("-inf")
        time, count, _ = self._waiting[0]
        while self._arrivals and (self._arrivals[0][1:] < (time, count)):
            self._arrivals.popleft()  # it has gone
        return self._arrivals[0][0] + self._max_delay

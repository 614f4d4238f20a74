"""The bounded buffer between sources and one consumer; what happens when it is full is a policy's to say."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from energy_core.errors import EnergyError, StreamBusy
from energy_core.printable import printable
from energy_core.stream.event import Dropped, Event, SourceId

BUSY: Final = "this stream has a consumer already; give each further one events.subscribe()"


class Buffer(ABC):
    """Holds at most `capacity` readings for one consumer.

    A consumer that finds it empty waits on one future, made only then; whoever puts an event completes it,
    and the consumer takes all there is in that one wake-up. Events that must not be lost (`keep`) stand in
    line with the readings, but do not count against the capacity and are never dropped.

    Losses are gathered into episodes: an episode begins with the first loss and ends when the consumer has
    worked the buffer down to the low-water mark. Then `on_relief` is told, once per source, what was lost.
    """

    def __init__(self, capacity: int, *, on_relief: Callable[[SourceId, Dropped], None]) -> None:
        if capacity < 1:
            raise ValueError(f"a buffer holds at least one event, not {capacity}")
        self.capacity = capacity
        self.low_water = capacity // 2
        self.ended = False
        self.closed = False
        self.touched = False
        """Whether a consumer has taken an event that was kept, or waited for one."""
        self.error: EnergyError | None = None
        """What the consumer is told once, in place of a plain end."""
        self.losses: dict[SourceId, Dropped] = {}
        self._on_relief = on_relief
        self._readings: deque[Event] = deque()
        # Kept events carry how many readings were put before them: they are due once that many are gone.
        self._kept: deque[tuple[int, Event]] = deque()
        self._gone = 0
        self._tight = False
        self._taker: asyncio.Future[None] | None = None
        self._squeezed: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._readings) + len(self._kept)

    @property
    def roomy(self) -> bool:
        """Whether a reading can be put without losing one."""
        return len(self._readings) < self.capacity or self.ended

    @property
    def pristine(self) -> bool:
        """Whether no consumer has ever asked it for anything."""
        return not (self.touched or self._gone or self.losses)

    @abstractmethod
    def put(self, event: Event) -> Event | None:
        """Add a reading and return the one that is lost for it, if any; it may be the same. Never blocks."""

    def put_all(self, events: Sequence[Event]) -> bool:
        """Add readings, if so many come nowhere near the policy; False: no, each has to be `put`."""
        readings = self._readings
        if len(readings) + len(events) >= self.capacity or self.ended:
            return False
        readings.extend(events)
        if self._taker is not None:
            self.wake()
        return True

    def complete(self, event: Event) -> bool:  # noqa: ARG002  (most policies have no use for it)
        """Add a reading that `put` refused, because the moment it belongs to was taken; False: no."""
        return False

    def keep(self, event: Event) -> None:
        """Add an event that must not be lost. Never blocks."""
        self._kept.append((self._gone + len(self._readings), event))
        if self._taker is not None:
            self.wake()

    def take(self) -> Event | None:
        """Remove and return the next event; None when there is none at this moment."""
        if self._kept and self._kept[0][0] <= self._gone:
            self.touched = True
            return self._kept.popleft()[1]
        readings = self._readings
        if not readings:
            return None
        self._gone += 1
        event = readings.popleft()
        if self._tight and len(readings) <= self.low_water:
            self._relax()
        return event

    def filled(self, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Future[None]:
        """Return what is done when `take` may have something or the buffer has ended.

        Cancelling it loses nothing, and makes place for another consumer. Asking which event loop runs is a
        system call, so whoever knows may say so.

        Raises:
            StreamBusy: another consumer waits already.
        """
        if self._taker is not None and not self._taker.done():
            raise StreamBusy(BUSY)
        self.touched = True
        taker = self._taker = (loop or asyncio.get_running_loop()).create_future()
        return taker

    def wake(self) -> None:
        """Let a waiting consumer look again."""
        taker, self._taker = self._taker, None
        if taker is not None and not taker.done():
            taker.set_result(None)

    async def room(self) -> None:
        """Wait until a reading can be put without losing one. Cancelling it is safe."""
        while not self.roomy:
            await first_relief([self])

    def lose(self, source: SourceId, first: int, last: int, count: int = 1) -> bool:
        """Count what did not get, or stay, in here; tell whether an episode begins."""
        self._tight = True
        loss = self.losses.get(source)
        if loss is not None:
            first, last, count = min(first, loss.first), max(last, loss.last), loss.count + count
        self.losses[source] = Dropped(first=first, last=last, count=count)
        return loss is None

    def settle(self) -> None:
        """End an episode of losses that no `take` will end, because there is hardly anything to take."""
        if self._tight and len(self._readings) <= max(self.low_water, 0):
            self._relax()

    def announce_loss(self, source: SourceId) -> None:
        """Tell `on_relief` now what was lost of one source, because it ends."""
        loss = self.losses.pop(source, None)
        if loss is not None:
            self._on_relief(source, loss)

    def end(self, error: EnergyError | None = None) -> None:
        """No more readings will come; what is here is still handed out, then the error if there is one."""
        self._relax()
        self.ended = True
        self.error = self.error or error
        self.wake()

    def reopen(self) -> None:
        """Go on after an end: a source has been restarted. What is closed stays closed."""
        self.ended = self.closed
        if not self.closed:
            self.error = None

    def close(self) -> None:
        """Hand out nothing more."""
        self.closed = True
        self._readings.clear()
        self._kept.clear()
        self.losses.clear()
        self.end()
        self.error = None

    def _drop_oldest(self) -> Event:
        event = self._readings.popleft()
        self._gone += 1
        self.lose(event.source, event.seq, event.seq)
        return event

    def _relax(self) -> None:
        self._tight = False
        losses, self.losses = self.losses, {}
        for source, loss in losses.items():
            self._on_relief(source, loss)
        squeezed, self._squeezed = self._squeezed, deque()
        for waiter in squeezed:
            if not waiter.done():
                waiter.set_result(None)

    @printable
    def __repr__(self) -> str:
        lost = sum(loss.count for loss in self.losses.values())
        dropping = f", dropping ({lost} so far)" if lost else ""
        pending = f"{len(self._readings)} of {self.capacity} readings, {len(self._kept)} kept"
        return f"<{type(self).__name__} {pending}{dropping}>"


async def first_relief(buffers: list[Buffer]) -> None:
    """Wait until one of these full buffers is down to its low-water mark. Cancelling it is safe."""
    waiter = asyncio.get_running_loop().create_future()
    for buffer in buffers:
        buffer._squeezed.append(waiter)  # noqa: SLF001  (one class in two functions)
        buffer._tight = True  # noqa: SLF001
    try:
        await waiter
    finally:
        for buffer in buffers:
            if waiter in buffer._squeezed:  # noqa: SLF001
                buffer._squeezed.remove(waiter)  # noqa: SLF001

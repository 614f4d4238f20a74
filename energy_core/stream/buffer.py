"""The bounded buffer between sources and the one consumer, and what it does when the consumer is too slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from energy_core.errors import StreamBusy
from energy_core.stream.event import Dropped, Event, SourceId


class DropOldest:
    """Holds at most `capacity` readings; when full, the oldest reading makes place for the newest.

    A consumer that finds it empty waits on one future, made only then; whoever puts an event completes it,
    and the consumer takes all there is in that one wake-up. Events that must not be lost (`keep`) stand in
    line with the readings, but do not count against the capacity and are never dropped.

    Drops are gathered into episodes: an episode begins with the first drop and ends when the consumer has
    worked the buffer down to the low-water mark. Then `on_relief` is told, once per source, what was lost.
    """

    def __init__(self, capacity: int, *, on_relief: Callable[[SourceId, Dropped], None]) -> None:
        if capacity < 1:
            raise ValueError(f"a buffer holds at least one event, not {capacity}")
        self.capacity = capacity
        self.low_water = capacity // 2
        self.ended = False
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

    def put(self, event: Event) -> Event | None:
        """Add a reading and return the one that was dropped for it, if any. Never blocks."""
        readings = self._readings
        dropped = self._drop() if len(readings) >= self.capacity else None
        readings.append(event)
        if self._taker is not None:
            self._wake_taker()
        return dropped

    def keep(self, event: Event) -> None:
        """Add an event that must not be lost. Never blocks."""
        self._kept.append((self._gone + len(self._readings), event))
        if self._taker is not None:
            self._wake_taker()

    def take(self) -> Event | None:
        """Remove and return the next event; None when there is none at this moment."""
        if self._kept and self._kept[0][0] <= self._gone:
            return self._kept.popleft()[1]
        readings = self._readings
        if not readings:
            return None
        self._gone += 1
        event = readings.popleft()
        if self._tight and len(readings) <= self.low_water:
            self._relax()
        return event

    async def filled(self) -> None:
        """Wait until `take` has something or the buffer has ended. Cancelling it loses nothing.

        Raises:
            StreamBusy: another consumer waits already.
        """
        if self._taker is not None:
            raise StreamBusy("this stream has a consumer already; one stream serves one consumer")
        taker = self._taker = asyncio.get_running_loop().create_future()
        try:
            await taker
        finally:
            # `_wake_taker` has let go of it already, and a next consumer may be waiting by now.
            if self._taker is taker:
                self._taker = None

    async def room(self) -> None:
        """Wait until a reading can be put without dropping another. Cancelling it is safe."""
        while len(self._readings) >= self.capacity and not self.ended:
            waiter = asyncio.get_running_loop().create_future()
            self._squeezed.append(waiter)
            self._tight = True
            try:
                await waiter
            finally:
                if waiter in self._squeezed:
                    self._squeezed.remove(waiter)

    def announce_loss(self, source: SourceId) -> None:
        """Tell `on_relief` now what was lost of one source, because it ends."""
        loss = self.losses.pop(source, None)
        if loss is not None:
            self._on_relief(source, loss)

    def end(self) -> None:
        """No more readings will come; what is here is still handed out."""
        self._relax()
        self.ended = True
        self._wake_taker()

    def close(self) -> None:
        """Hand out nothing more."""
        self._readings.clear()
        self._kept.clear()
        self.losses.clear()
        self.end()

    def _drop(self) -> Event:
        event = self._readings.popleft()
        self._gone += 1
        self._tight = True
        loss = self.losses.get(event.source)
        first, count = (loss.first, loss.count + 1) if loss else (event.seq, 1)
        self.losses[event.source] = Dropped(first=first, last=event.seq, count=count)
        return event

    def _relax(self) -> None:
        self._tight = False
        losses, self.losses = self.losses, {}
        for source, loss in losses.items():
            self._on_relief(source, loss)
        while self._squeezed:
            waiter = self._squeezed.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _wake_taker(self) -> None:
        taker, self._taker = self._taker, None
        if taker is not None and not taker.done():
            taker.set_result(None)

    def __repr__(self) -> str:
        lost = sum(loss.count for loss in self.losses.values())
        dropping = f", dropping ({lost} so far)" if lost else ""
        pending = f"{len(self._readings)} of {self.capacity} readings, {len(self._kept)} kept"
        return f"<DropOldest {pending}{dropping}>"

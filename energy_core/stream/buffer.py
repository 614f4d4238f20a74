"""The bounded buffer between sources and one consumer; what happens when it is full is a policy's to say."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, Literal, TypeAlias, TypeVar, get_args

from energy_core.clock import Clock, Timer
from energy_core.errors import EnergyError, SlowConsumer, StreamBusy
from energy_core.printable import printable
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Dropped, SourceId

Item = TypeVar("Item")

BUSY: Final = "this stream has a consumer already; give each further one events.subscribe()"


class Buffer(ABC, Generic[Item]):
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
        self._readings: deque[Item] = deque()
        # Kept events carry how many readings were put before them: they are due once that many are gone.
        self._kept: deque[tuple[int, Item]] = deque()
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
    def put(self, event: Item) -> Item | None:
        """Add a reading and return the one that is lost for it, if any; it may be the same. Never blocks."""

    def put_all(self, events: Sequence[Item]) -> bool:
        """Add readings, if so many come nowhere near the policy; False: no, each has to be `put`."""
        readings = self._readings
        if len(readings) + len(events) >= self.capacity or self.ended:
            return False
        readings.extend(events)
        if self._taker is not None:
            self.wake()
        return True

    def complete(self, event: Item) -> bool:  # noqa: ARG002  (most policies have no use for it)
        """Add a reading that `put` refused, because the moment it belongs to was taken; False: no."""
        return False

    def keep(self, event: Item) -> None:
        """Add an event that must not be lost. Never blocks."""
        self._kept.append((self._gone + len(self._readings), event))
        if self._taker is not None:
            self.wake()

    def take(self) -> Item | None:
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

    def _drop_oldest(self: Buffer[Event]) -> Event:
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


async def first_relief(buffers: Sequence[Buffer[Item]]) -> None:
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


Policy: TypeAlias = Literal["block", "drop_oldest", "coalesce_latest", "raise"]
"""How a consumer wants to be treated when it is too slow."""

POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)

PATIENCE_S: Final = 5.0
"""So long a buffer under `raise` may be full before its consumer is told."""

_HARD_LIMIT: Final = 8
"""So many times its capacity it may hold meanwhile."""


class Block(Buffer[Item]):
    """Takes no reading when full: what does not fit is fetched again by its source, or reported as a gap.

    Only what belongs to a moment that is in here, or was, is taken up to twice the capacity: what is fetched
    again later comes under the name of the first reading of its moment, and would be left out as a repeat.
    """

    def put(self, event: Item) -> Item | None:
        """Add a reading, or return it when there is no room."""
        if len(self._readings) >= self.capacity:
            return event
        self._readings.append(event)
        if self._taker is not None:
            self.wake()
        return None

    def complete(self, event: Item) -> bool:
        """Add another reading of a moment that was taken; False where there is really no room any more."""
        if len(self._readings) >= 2 * self.capacity:
            return False
        self._readings.append(event)
        return True


class DropOldest(Buffer[Event]):
    """Drops the oldest reading for the newest."""

    def put(self, event: Event) -> Event | None:
        """Add a reading and return the oldest if it had to go."""
        readings = self._readings
        dropped = self._drop_oldest() if len(readings) >= self.capacity else None
        readings.append(event)
        if self._taker is not None:
            self.wake()
        return dropped


class CoalesceLatest(Buffer[Event]):
    """Keeps the newest reading of each key, in the place of the one it replaces.

    In its place and not at the end of the line: no key can starve another. A status, gap or dropped event of
    a source stays between its readings, so those before it are not replaced any more. What was replaced is
    announced when the consumer has caught up.
    """

    def __init__(self, capacity: int, *, on_relief: Callable[[SourceId, Dropped], None]) -> None:
        super().__init__(capacity, on_relief=on_relief)
        self.low_water = -1
        self._places: dict[SourceId, int] = {}

    def put(self, event: Event) -> Event | None:
        """Add a reading and return the one it replaced; a late one never replaces a newer."""
        place = self._places.get(event.source, -1) - self._gone
        if place >= 0:
            before = self._readings[place]
            lost = event if event.late else before
            if lost is before:
                self._readings[place] = event
            self.lose(event.source, lost.seq, lost.seq)
            return lost
        dropped = self._drop_oldest() if len(self._readings) >= self.capacity else None
        self._places[event.source] = self._gone + len(self._readings)
        self._readings.append(event)
        if self._taker is not None:
            self.wake()
        return dropped

    def put_all(self, events: Sequence[Event]) -> bool:  # noqa: ARG002  (whatever they are)
        """Every reading has to be looked at."""
        return False

    def keep(self, event: Event) -> None:
        """Add an event that must not be lost, and leave what its source said before it in its place."""
        self._places.pop(event.source, None)
        super().keep(event)

    def take(self) -> Event | None:
        """Remove and return the next event; with nothing else left, what was replaced meanwhile."""
        event = super().take()
        if event is None and self._tight and not self.ended:
            self._relax()
            event = super().take()
        return event


class Raise(Buffer[Event]):
    """Loses nothing for a while; a consumer that stays slow gets SlowConsumer in place of all the rest."""

    def __init__(
        self, capacity: int, *, on_relief: Callable[[SourceId, Dropped], None], clock: Clock
    ) -> None:
        super().__init__(capacity, on_relief=on_relief)
        self._clock = clock
        self._alarm: Timer | None = None

    def put(self, event: Event) -> Event | None:
        """Add a reading; from the capacity on, the consumer has five seconds to catch up."""
        self._readings.append(event)
        if len(self._readings) >= self.capacity:
            if self._alarm is None:
                self._alarm = self._clock.call_at(self._clock.monotonic() + PATIENCE_S, self._lose_patience)
            if len(self._readings) >= self.capacity * _HARD_LIMIT:
                self._lose_patience()
        if self._taker is not None:
            self.wake()
        return None

    def take(self) -> Event | None:
        """Remove and return the next event; below the capacity the five seconds begin anew."""
        event = super().take()
        if self._alarm is not None and len(self._readings) < self.capacity:
            self._call_off()
        return event

    def end(self, error: EnergyError | None = None) -> None:
        """No more readings will come; there is no hurry any more."""
        self._call_off()
        super().end(error)

    def _lose_patience(self) -> None:
        pending = len(self._readings)
        self.close()
        self.error = SlowConsumer(
            f"{pending} readings were pending, {self.capacity} or more of them for {PATIENCE_S:g} s"
        )

    def _call_off(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def buffer_for(
    policy: Policy, capacity: int, *, on_relief: Callable[[SourceId, Dropped], None], clock: Clock
) -> Buffer[Event]:
    """Return an empty buffer.

    Raises:
        ValueError: no such policy, or no room at all.
    """
    match policy:
        case "block":
            return Block(capacity, on_relief=on_relief)
        case "drop_oldest":
            return DropOldest(capacity, on_relief=on_relief)
        case "coalesce_latest":
            return CoalesceLatest(capacity, on_relief=on_relief)
        case "raise":
            return Raise(capacity, on_relief=on_relief, clock=clock)
    raise ValueError(f"the policy must be one of {', '.join(POLICIES)}, not {policy!r}")

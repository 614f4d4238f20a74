"""The bounded buffer of one consumer; one subclass for each overflow policy."""

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
    """Bounded buffer of readings for one consumer; subclasses implement the overflow policies.

    A consumer that finds it empty waits on one future, created only then, and takes everything buffered in
    that one wake-up. Control events (`keep`) keep their place among the readings, do not count against the
    capacity and are never dropped. Items are events; `Block` takes items of any kind.

    An episode of losses begins with the first lost reading and ends when the consumer has taken the buffer
    down to the low-water mark, half the capacity.

    Args:
        capacity: Readings that fit.
        on_relief: Called at the end of an episode, once for each source, with what was lost.
    """

    def __init__(self, capacity: int, *, on_relief: Callable[[SourceId, Dropped], None]) -> None:
        if capacity < 1:
            raise ValueError(f"a buffer holds at least one event, not {capacity}")
        self.capacity = capacity
        self.low_water = capacity // 2
        self.ended = False
        self.closed = False
        self.used = False
        """Whether a consumer has taken a control event, or waited."""
        self.error: EnergyError | None = None
        """Raised to the consumer once, instead of StopAsyncIteration."""
        self.losses: dict[SourceId, Dropped] = {}
        """Losses of the present episode."""
        self._on_relief = on_relief
        self._readings: deque[Item] = deque()
        # Control events, each with the number of readings put before it: due once so many were taken.
        self._control: deque[tuple[int, Item]] = deque()
        self._taken = 0  # readings taken or dropped so far
        self._in_episode = False
        self._consumer: asyncio.Future[None] | None = None
        self._waiting_for_room: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._readings) + len(self._control)

    @property
    def has_room(self) -> bool:
        """Whether a reading fits without losing one."""
        return len(self._readings) < self.capacity or self.ended

    @property
    def unused(self) -> bool:
        """Whether no consumer ever used it and nothing was lost."""
        return not (self.used or self._taken or self.losses)

    @abstractmethod
    def put(self, event: Item) -> Item | None:
        """Add a reading; return the one that was lost, perhaps the same, or None. Never blocks."""

    def put_all(self, events: Sequence[Item]) -> bool:
        """Add readings if all of them fit; otherwise return False and add none: each has to be `put`."""
        readings = self._readings
        if len(readings) + len(events) >= self.capacity or self.ended:
            return False
        readings.extend(events)
        if self._consumer is not None:
            self.wake()
        return True

    def complete(self, event: Item) -> bool:  # noqa: ARG002  (used by `Block` only)
        """Add a refused reading whose time equals that of an accepted one; return whether it was added."""
        return False

    def keep(self, event: Item) -> None:
        """Add a control event, which is never dropped. Never blocks."""
        self._control.append((self._taken + len(self._readings), event))
        if self._consumer is not None:
            self.wake()

    def take(self) -> Item | None:
        """Remove and return the next event; None if there is none."""
        if self._control and self._control[0][0] <= self._taken:
            self.used = True
            return self._control.popleft()[1]
        readings = self._readings
        if not readings:
            return None
        self._taken += 1
        event = readings.popleft()
        if self._in_episode and len(readings) <= self.low_water:
            self._end_episode()
        return event

    def filled(self, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Future[None]:
        """Return a future that is done when `take` may return an event, or the buffer has ended.

        Cancelling it is safe: no event is lost, and another consumer may wait.

        Args:
            loop: The running event loop, if known: looking it up takes a system call.

        Raises:
            StreamBusy: Another consumer is waiting.
        """
        if self._consumer is not None and not self._consumer.done():
            raise StreamBusy(BUSY)
        self.used = True
        waiting = self._consumer = (loop or asyncio.get_running_loop()).create_future()
        return waiting

    def wake(self) -> None:
        """Wake a waiting consumer."""
        waiting, self._consumer = self._consumer, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def room(self) -> None:
        """Wait until a reading fits without losing one. Cancelling is safe."""
        while not self.has_room:
            await first_relief([self])

    def lose(self, source: SourceId, first: int, last: int, count: int = 1) -> bool:
        """Count lost readings, `first` to `last`; return whether an episode of their source begins."""
        self._in_episode = True
        loss = self.losses.get(source)
        if loss is not None:
            first, last, count = min(first, loss.first), max(last, loss.last), loss.count + count
        self.losses[source] = Dropped(first=first, last=last, count=count)
        return loss is None

    def settle(self) -> None:
        """End the episode now if the buffer is below the low-water mark already: no `take` would end it."""
        if self._in_episode and len(self._readings) <= max(self.low_water, 0):
            self._end_episode()

    def announce_loss(self, source: SourceId) -> None:
        """Announce the losses of one source now, because it ends."""
        loss = self.losses.pop(source, None)
        if loss is not None:
            self._on_relief(source, loss)

    def end(self, error: EnergyError | None = None) -> None:
        """Take no more readings. The consumer gets what is buffered, then the error if there is one."""
        self._end_episode()
        self.ended = True
        self.error = self.error or error
        self.wake()

    def reopen(self) -> None:
        """Continue after `end`, because a source was restarted. Has no effect after `close`."""
        self.ended = self.closed
        if not self.closed:
            self.error = None

    def close(self) -> None:
        """Discard everything; deliver nothing more."""
        self.closed = True
        self._readings.clear()
        self._control.clear()
        self.losses.clear()
        self.end()
        self.error = None

    def _drop_oldest(self: Buffer[Event]) -> Event:
        event = self._readings.popleft()
        self._taken += 1
        self.lose(event.source, event.seq, event.seq)
        return event

    def _end_episode(self) -> None:
        self._in_episode = False
        losses, self.losses = self.losses, {}
        for source, loss in losses.items():
            self._on_relief(source, loss)
        waiters, self._waiting_for_room = self._waiting_for_room, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    @printable
    def __repr__(self) -> str:
        lost = sum(loss.count for loss in self.losses.values())
        dropping = f", dropping ({lost} so far)" if lost else ""
        pending = f"{len(self._readings)} of {self.capacity} readings, {len(self._control)} control events"
        return f"<{type(self).__name__} {pending}{dropping}>"


async def first_relief(buffers: Sequence[Buffer[Item]]) -> None:
    """Wait until one of these full buffers is down to its low-water mark. Cancelling is safe."""
    waiter = asyncio.get_running_loop().create_future()
    for buffer in buffers:
        buffer._waiting_for_room.append(waiter)  # noqa: SLF001  (part of the class)
        buffer._in_episode = True  # noqa: SLF001
    try:
        await waiter
    finally:
        for buffer in buffers:
            if waiter in buffer._waiting_for_room:  # noqa: SLF001
                buffer._waiting_for_room.remove(waiter)  # noqa: SLF001


Policy: TypeAlias = Literal["block", "drop_oldest", "coalesce_latest", "raise"]
"""What happens when the buffer of a slow consumer is full; see `merge`."""

POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)

FULL_S: Final = 5.0
"""Seconds a buffer under `raise` may be full before its consumer gets SlowConsumer."""

_HARD_LIMIT: Final = 8
"""Times its capacity that it may hold meanwhile."""


class Block(Buffer[Item]):
    """Policy `block`: refuses readings when full; the source fetches them again, or a gap is reported.

    A reading with the same time as an accepted one is accepted up to twice the capacity: when fetched again
    it would have the id of the first reading of that time, and be dropped as a duplicate.
    """

    def put(self, event: Item) -> Item | None:
        """Add a reading; return it if it does not fit."""
        if len(self._readings) >= self.capacity:
            return event
        self._readings.append(event)
        if self._consumer is not None:
            self.wake()
        return None

    def complete(self, event: Item) -> bool:
        """Add a reading with the time of an accepted one; return False at twice the capacity."""
        if len(self._readings) >= 2 * self.capacity:
            return False
        self._readings.append(event)
        return True


class DropOldest(Buffer[Event]):
    """Policy `drop_oldest`: drops the oldest reading when full."""

    def put(self, event: Event) -> Event | None:
        """Add a reading; return the oldest if it was dropped."""
        readings = self._readings
        dropped = self._drop_oldest() if len(readings) >= self.capacity else None
        readings.append(event)
        if self._consumer is not None:
            self.wake()
        return dropped


class CoalesceLatest(Buffer[Event]):
    """Policy `coalesce_latest`: a new reading takes the place of the pending one of the same device.

    It does not move to the end, so no device can starve another. Readings before a control event of their
    source are not replaced any more, so that the event keeps its place. Replaced readings are announced once
    the consumer has taken everything.
    """

    def __init__(self, capacity: int, *, on_relief: Callable[[SourceId, Dropped], None]) -> None:
        super().__init__(capacity, on_relief=on_relief)
        self.low_water = -1
        self._places: dict[SourceId, int] = {}

    def put(self, event: Event) -> Event | None:
        """Add a reading; return the one it replaced. A late reading never replaces a newer one."""
        place = self._places.get(event.source, -1) - self._taken
        if place >= 0:
            before = self._readings[place]
            lost = event if event.late else before
            if lost is before:
                self._readings[place] = event
            self.lose(event.source, lost.seq, lost.seq)
            return lost
        dropped = self._drop_oldest() if len(self._readings) >= self.capacity else None
        self._places[event.source] = self._taken + len(self._readings)
        self._readings.append(event)
        if self._consumer is not None:
            self.wake()
        return dropped

    def put_all(self, events: Sequence[Event]) -> bool:  # noqa: ARG002  (each is compared)
        """Return False: each reading has to be `put`."""
        return False

    def keep(self, event: Event) -> None:
        """Add a control event; earlier readings of its source are not replaced any more."""
        self._places.pop(event.source, None)
        super().keep(event)

    def take(self) -> Event | None:
        """Remove and return the next event; announces what was replaced when there is no other."""
        event = super().take()
        if event is None and self._in_episode and not self.ended:
            self._end_episode()
            event = super().take()
        return event


class Raise(Buffer[Event]):
    """Policy `raise`: a consumer that stays slow for five seconds gets SlowConsumer instead of the rest."""

    def __init__(
        self, capacity: int, *, on_relief: Callable[[SourceId, Dropped], None], clock: Clock
    ) -> None:
        super().__init__(capacity, on_relief=on_relief)
        self._clock = clock
        self._timer: Timer | None = None

    def put(self, event: Event) -> Event | None:
        """Add a reading; a full buffer starts the timer."""
        self._readings.append(event)
        if len(self._readings) >= self.capacity:
            if self._timer is None:
                self._timer = self._clock.call_at(self._clock.monotonic() + FULL_S, self._give_up)
            if len(self._readings) >= self.capacity * _HARD_LIMIT:
                self._give_up()
        if self._consumer is not None:
            self.wake()
        return None

    def take(self) -> Event | None:
        """Remove and return the next event; below the capacity the timer stops."""
        event = super().take()
        if self._timer is not None and len(self._readings) < self.capacity:
            self._stop_timer()
        return event

    def end(self, error: EnergyError | None = None) -> None:
        """Take no more readings, and stop the timer."""
        self._stop_timer()
        super().end(error)

    def _give_up(self) -> None:
        pending = len(self._readings)
        self.close()
        self.error = SlowConsumer(
            f"{pending} readings were pending, {self.capacity} or more of them for {FULL_S:g} s"
        )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def buffer_for(
    policy: Policy, capacity: int, *, on_relief: Callable[[SourceId, Dropped], None], clock: Clock
) -> Buffer[Event]:
    """Return an empty buffer.

    Args:
        policy: Its overflow policy.
        capacity: Readings that fit.
        on_relief: Called at the end of an episode of losses, once for each source.
        clock: Source of time for the policy `raise`.

    Raises:
        ValueError: The policy is unknown, or the capacity below 1.
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

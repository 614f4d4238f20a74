"""What a full buffer does, by name: `block`, `drop_oldest`, `coalesce_latest` or `raise`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias, get_args

from energy_core.clock import Clock, Timer
from energy_core.errors import EnergyError, SlowConsumer
from energy_core.stream.buffer import Buffer
from energy_core.stream.event import Dropped, Event, SourceId

Policy: TypeAlias = Literal["block", "drop_oldest", "coalesce_latest", "raise"]
"""How a consumer wants to be treated when it is too slow."""

POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)

PATIENCE_S: Final = 5.0
"""So long a buffer under `raise` may be full before its consumer is told."""

_HARD_LIMIT: Final = 8
"""So many times its capacity it may hold meanwhile."""


class Block(Buffer):
    """Takes no reading when full: what does not fit is fetched again by its source, or reported as a gap.

    Only what belongs to a moment that is in here, or was, is taken up to twice the capacity: what is fetched
    again later comes under the name of the first reading of its moment, and would be left out as a repeat.
    """

    def put(self, event: Event) -> Event | None:
        """Add a reading, or return it when there is no room."""
        if len(self._readings) >= self.capacity:
            return event
        self._readings.append(event)
        if self._taker is not None:
            self.wake()
        return None

    def complete(self, event: Event) -> bool:
        """Add another reading of a moment that was taken; False where there is really no room any more."""
        if len(self._readings) >= 2 * self.capacity:
            return False
        self._readings.append(event)
        return True


class DropOldest(Buffer):
    """Drops the oldest reading for the newest."""

    def put(self, event: Event) -> Event | None:
        """Add a reading and return the oldest if it had to go."""
        readings = self._readings
        dropped = self._drop_oldest() if len(readings) >= self.capacity else None
        readings.append(event)
        if self._taker is not None:
            self.wake()
        return dropped


class CoalesceLatest(Buffer):
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


class Raise(Buffer):
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
) -> Buffer:
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

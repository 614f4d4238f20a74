"""Integrates power over time, by local day, and corrects the sums for late readings, revisions and gaps.

All times are whole microseconds since 1970 and all energies whole microjoules. A correction therefore
subtracts exactly the amount that was added before, and the sums do not depend on the order in which readings
arrive.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from itertools import accumulate, pairwise
from math import isnan, nan
from typing import Any, Final

from energy_core.home.days import Days, micros
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Quantity

_MAX_INTERRUPTIONS: Final = 4096
_MARGIN: Final = 1_000_000
"""Microseconds: sources report the ends of a gap in whole seconds."""
_LONG_AGO: Final = -(2**63)


class Interruptions:
    """Ranges across which readings of a source are not joined; sorted, and merged where they overlap."""

    def __init__(self) -> None:
        self.floor = _LONG_AGO
        """The end of the newest interruption that was discarded; nothing before it is changed any more."""
        self._starts, self._ends = array("q"), array("q")

    def separates(self, start: int, end: int, *, backfilled: tuple[bool, bool] = (False, False)) -> bool:
        """Return whether an interruption overlaps the range of two readings.

        Args:
            start: time of the first reading, in microseconds.
            end: time of the second one; later than `start`.
            backfilled: whether each of the two was filled in afterwards. An interruption with such a reading
                inside, more than a second from its ends, does not separate: the source has filled it.
        """
        place = bisect_left(self._starts, end) - 1
        while place >= 0 and (stop := self._ends[place]) > start:
            begin = self._starts[place]
            margin = min(_MARGIN, (stop - begin) // 4)
            inside = (backfilled[0] and start > begin + margin, backfilled[1] and end < stop - margin)
            if not any(inside):
                return True
            place -= 1
        return False

    def add(self, start: int, end: int) -> None:
        """Add an interruption; past 4,096 the oldest is discarded and `floor` rises."""
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = array("q", [start]), array("q", [end])
        if len(self._starts) > _MAX_INTERRUPTIONS:
            self.floor = self._ends.pop(0)
            self._starts.pop(0)

    def state(self) -> list[list[int]]:
        """Return what `restore` needs, as JSON."""
        return [[self.floor], list(self._starts), list(self._ends)]

    def restore(self, state: list[list[int]]) -> None:
        """Continue where `state` was called."""
        (self.floor,), starts, ends = state
        self._starts, self._ends = array("q", starts), array("q", ends)
        both = [each for pair in zip(starts, ends, strict=True) for each in pair]
        _check(all(first <= second for first, second in pairwise(both)))


def _check(consistent: bool) -> None:
    """Raise ValueError if a stored state was damaged."""
    if not consistent:
        raise ValueError("the state of a meter is damaged")


class Bin:
    """The energy of one power of one source in one day."""

    __slots__ = ("end", "measured", "minus", "plus", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        """Beginning and end of the measured time, in microseconds since 1970."""
        self.plus = self.minus = 0
        """Energies of positive and of negative power, in microjoules, both positive numbers."""
        self.measured = 0
        """Microseconds over which the power was integrated."""


class PowerTrack:
    """The readings of one power of one source, and its energy by day.

    Two neighbouring readings are joined when they are at most `max_gap` apart and no interruption separates
    them: by a straight line, or with `hold` by the earlier value. With `hold` a reading without the power
    confirms the value before it.

    Args:
        days: the local days.
        hold: whether the source reports only changes.
        max_gap: microseconds.
        keep: number of readings that stay, so that late ones can be inserted; the energy of older ones is
            final.
    """

    def __init__(self, days: Days, *, hold: bool, max_gap: int, keep: int) -> None:
        self.bins: dict[date, Bin] = {}
        self._days, self._interruptions = days, Interruptions()
        self._hold, self._max_gap, self._keep = hold, max_gap, keep
        # One item for each reading: its time, its value, 1 if it has a value itself (0: it confirms the one
        # before), and 1 if it was filled in afterwards. Arrays take 18 bytes a reading.
        self._times, self._values = array("q"), array("d")
        self._has_value, self._backfilled = bytearray(), bytearray()
        self._revisions: dict[int, int] = {}
        self._has_dropped = False

    def add(self, moment: int, value: float | None, event: Event) -> bool:
        """Insert a reading.

        For one time there is one value: that of the highest revision; of the same revision the last one, but
        a backfilled value does not replace another.

        Args:
            moment: its time in microseconds.
            value: the power in W; None: the reading confirms the value before it.
            event: the event of the reading.

        Returns:
            False if the reading is older than everything that is kept.
        """
        times, place = self._times, bisect_left(self._times, moment)
        if (place == 0 and self._has_dropped) or moment < self._interruptions.floor:
            return False
        known = place < len(times) and times[place] == moment
        if known and (value is None or not self._replaces(place, event)):
            return True
        if place < len(times):  # a newest reading changes no energy that was counted before
            self._subtract(moment, moment)
        if not known:
            times.insert(place, moment)
            self._values.insert(place, nan)
            self._has_value.insert(place, 0)
            self._backfilled.insert(place, event.backfilled or event.late or event.revision > 0)
        if value is not None:
            self._values[place], self._has_value[place] = value, 1
            self._revisions.update({moment: event.revision} if event.revision else {})
        self._count(moment, moment)
        self._drop_oldest()
        return True

    def interrupt(self, start: int, end: int) -> None:
        """Join no readings between `start` and `end`; subtract the energy where they were joined before."""
        self._subtract(start, end)
        self._interruptions.add(start, end)
        self._count(start, end)

    def unmeasured(self, since: int = _LONG_AGO) -> Iterator[tuple[int, int]]:
        """Yield the ranges between kept readings over which no energy was counted.

        Args:
            since: in microseconds; earlier readings are left out.
        """
        start: int | None = None
        first = self._has_value.find(1, bisect_left(self._times, since))
        for place in range(first, len(self._times) - 1) if first >= 0 else ():
            counted = self._joined(place) and self._values[place] == self._values[place]
            if counted and start is not None:
                yield start, self._times[place]
                start = None
            elif not counted and start is None:
                start = self._times[place]
        if start is not None:
            yield start, self._times[-1]

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, as JSON."""
        return {
            "bins": {
                str(day): [each.start, each.end, each.plus, each.minus, each.measured]
                for day, each in self.bins.items()
            },
            "times": [*self._times[:1], *(second - first for first, second in pairwise(self._times))],
            "values": [None if isnan(value) else value for value in self._values],
            "own": "".join(map(str, self._has_value)),
            "backfilled": "".join(map(str, self._backfilled)),
            "revisions": list(self._revisions.items()),
            "dropped": self._has_dropped,
            "interruptions": self._interruptions.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was called.

        Raises:
            ValueError, TypeError, LookupError, OverflowError: it is damaged.
        """
        times, values = state["times"], [nan if value is None else float(value) for value in state["values"]]
        own, backfilled = (bytearray(map(int, state[name])) for name in ("own", "backfilled"))
        _check(len(times) == len(values) == len(own) == len(backfilled))
        _check(all(step > 0 for step in times[1:]) and {*own, *backfilled} <= {0, 1})
        self._times, self._values = array("q", accumulate(times)), array("d", values)
        self._has_value, self._backfilled = own, backfilled
        self._revisions = {int(moment): int(number) for moment, number in state["revisions"]}
        self._has_dropped = bool(state["dropped"])
        self._interruptions.restore(state["interruptions"])
        for day, (start, end, plus, minus, measured) in state["bins"].items():
            entry = self.bins[date.fromisoformat(day)] = Bin(int(start), int(end))
            entry.plus, entry.minus, entry.measured = int(plus), int(minus), int(measured)

    def _subtract(self, start: int, end: int) -> None:
        """Subtract the energy of all pairs that a change between `start` and `end` may affect."""
        for place in self._affected(start, end):
            self._add_energy(place, -1)

    def _count(self, start: int, end: int) -> None:
        """Add the energy of these pairs again, after the change."""
        for place in self._affected(start, end):
            if not self._has_value[place + 1]:
                self._values[place + 1] = self._values[place] if self._joined(place) else nan
            self._add_energy(place, 1)

    def _replaces(self, place: int, event: Event) -> bool:
        known = self._revisions.get(self._times[place], 0)
        if not self._has_value[place] or event.revision != known:
            return not self._has_value[place] or event.revision > known
        return not event.backfilled

    def _affected(self, start: int, end: int) -> range:
        """Return the first readings of the affected pairs; with `hold` a value reaches to the next change."""
        times, last = self._times, len(self._times) - 1
        first = max(bisect_left(times, start) - 1, bisect_left(times, self._interruptions.floor), 0)
        stop = bisect_right(times, end)
        if self._hold and stop <= last:
            next_value = self._has_value.find(1, stop)
            stop = last if next_value < 0 else next_value
        return range(first, min(stop, last))

    def _joined(self, place: int) -> bool:
        start, end = self._times[place], self._times[place + 1]
        backfilled = (self._backfilled[place] == 1, self._backfilled[place + 1] == 1)
        return end - start <= self._max_gap and not self._interruptions.separates(
            start, end, backfilled=backfilled
        )

    def _add_energy(self, place: int, sign: int) -> None:
        start, end = self._times[place], self._times[place + 1]
        value = self._values[place]
        if value != value or not self._joined(place):  # noqa: PLR0124  (NaN: the value is unknown)
            return
        slope = 0.0 if self._hold else (self._values[place + 1] - value) / (end - start)
        for day, begin, stop in self._days.split(start, end):
            plus, minus = _areas(
                value + slope * (begin - start), value + slope * (stop - start), stop - begin
            )
            entry = self.bins.get(day)
            if entry is None:
                entry = self.bins[day] = Bin(begin, stop)
            entry.start, entry.end = min(entry.start, begin), max(entry.end, stop)
            entry.plus += sign * plus
            entry.minus += sign * minus
            entry.measured += sign * (stop - begin)

    def _drop_oldest(self) -> None:
        surplus = len(self._times) - self._keep
        if surplus <= self._keep // 8:  # deleting from the front costs the same for many as for one
            return
        del self._times[:surplus], self._values[:surplus]
        del self._has_value[:surplus], self._backfilled[:surplus]
        self._has_dropped = True
        oldest = self._times[0]
        self._revisions = {moment: n for moment, n in self._revisions.items() if moment >= oldest}


class PowerCurve:
    """All powers of one source, and where its readings were interrupted.

    Args:
        tracks: the powers that are integrated.
        hold: whether the source reports only changes.
    """

    def __init__(self, tracks: Mapping[Quantity, PowerTrack], *, hold: bool) -> None:
        self.tracks = tracks
        self.interrupted = False
        """Whether readings were lost since the newest one: the next one is not joined to it."""
        self._hold = hold
        self._seq: int | None = None
        self._newest: int | None = None

    @property
    def newest(self) -> int | None:
        """Time of the newest reading in microseconds; None before the first."""
        return self._newest

    def check_seq(self, seq: int) -> None:
        """Compare the sequence number of an event with the last one: a jump means dropped readings."""
        self.interrupted |= self._seq is not None and seq not in {self._seq, self._seq + 1}
        self._seq = seq

    def interrupt(self, start: int, end: int, only: Collection[Quantity] = ()) -> None:
        """Join no readings between `start` and `end`; `only` names the powers, empty for all."""
        for power, track in self.tracks.items():
            if start < end and (not only or power in only):
                track.interrupt(start, end)

    def read(self, event: Event, powers: Mapping[Quantity, float]) -> int:
        """Insert the powers of one reading; return how many of them are too late.

        After a loss, the range up to this reading is an interruption. If the reading is backfilled, it is
        not: the source reports a gap for the part that its backfill does not fill.
        """
        moment = micros(event.time)
        if self._newest is None or moment > self._newest:
            if self.interrupted and self._newest is not None and not event.backfilled:
                self.interrupt(self._newest, moment)
            self.interrupted, self._newest = False, moment
        late = 0
        for power, track in self.tracks.items():
            if power in powers or (self._hold and power not in event.values):
                value = powers.get(power)
                late += not track.add(moment, value, event) and value is not None
        return late

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, as JSON."""
        return {
            "seq": self._seq,
            "newest": self._newest,
            "interrupted": self.interrupted,
            "powers": {power.value: track.state() for power, track in self.tracks.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was called. A power without a state begins anew.

        Raises:
            ValueError, TypeError, LookupError, OverflowError: it is damaged.
        """
        self._seq, self._newest = (
            None if state[name] is None else int(state[name]) for name in ("seq", "newest")
        )
        self.interrupted = bool(state["interrupted"])
        for power, each in state["powers"].items():
            track = self.tracks.get(Quantity(power))
            if track is not None:
                track.restore(each)


def _areas(first: float, second: float, width: int) -> tuple[int, int]:
    """Return the areas above and below zero of a straight line, both as positive whole numbers."""
    if first >= 0 <= second:
        return round((first + second) / 2 * width), 0
    if first <= 0 >= second:
        return 0, round(-(first + second) / 2 * width)
    above, below = max(first, second), -min(first, second)
    width_above = width * above / (above + below)
    return round(above / 2 * width_above), round(below / 2 * (width - width_above))

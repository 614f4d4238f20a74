"""Stretches of time in whole microseconds: the days of a place, and where a source was interrupted."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from math import nan
from typing import Final

from energy_core.local_days import EPOCH
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Quantity

_MICROSECOND: Final = timedelta(microseconds=1)
_CUTS_KEPT: Final = 4096
_MARGIN: Final = 1_000_000
"""The ends of a gap are told in whole seconds."""
_LONG_AGO: Final = -(2**63)


def micros(moment: datetime) -> int:
    """Return the microseconds from 1970 to `moment`, exactly."""
    return (moment - EPOCH) // _MICROSECOND


def moment_of(micros: int) -> datetime:
    """Return the moment in UTC that is so many microseconds after 1970."""
    return EPOCH + micros * _MICROSECOND


class Days:
    """The days of one place, which begin at local midnight and may have 23 or 25 hours."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._day, self._begins, self._ends = date.min, 0, 0

    def bounds(self, day: date) -> tuple[int, int]:
        """Return where a day begins and where the next one does."""
        return self._midnight(day), self._midnight(day + timedelta(days=1))

    def split(self, start: int, end: int) -> Iterator[tuple[date, int, int]]:
        """Cut a stretch of time at every midnight."""
        while start < end:
            if not self._begins <= start < self._ends:
                self._turn_to(start)
            stop = min(end, self._ends)
            yield self._day, start, stop
            start = stop

    def _turn_to(self, moment: int) -> None:
        self._day = moment_of(moment).astimezone(self._zone).date()
        self._begins, self._ends = self.bounds(self._day)
        while moment >= self._ends:  # the clock went back over midnight: the new day has begun already
            self._day += timedelta(days=1)
            self._begins, self._ends = self._ends, self.bounds(self._day)[1]

    def _midnight(self, day: date) -> int:
        return micros(datetime.combine(day, time(), self._zone))


class Interruptions:
    """Stretches of time of one source over which nothing is joined, apart from each other and in order."""

    def __init__(self) -> None:
        self.floor = _LONG_AGO
        """What lies before is settled: the cuts there are forgotten."""
        self._starts, self._ends = array("q"), array("q")

    def part(self, start: int, end: int, *, bridged: tuple[bool, bool] = (False, False)) -> bool:
        """Tell whether a cut lies, wholly or partly, between `start` and `end`.

        Args:
            start: Microseconds, as `end` is.
            end: Later than `start`.
            bridged: Whether the reading at `start`, and that at `end`, was filled in later: a cut in which
                such a one lies, and not just where the hole begins or ends, does not part it.
        """
        place = bisect_left(self._starts, end) - 1
        while place >= 0 and (stop := self._ends[place]) > start:
            begin = self._starts[place]
            margin = min(_MARGIN, (stop - begin) // 4)
            inside = (bridged[0] and start > begin + margin, bridged[1] and end < stop - margin)
            if not any(inside):
                return True
            place -= 1
        return False

    def add(self, start: int, end: int) -> None:
        """Cut from `start` to `end`."""
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = array("q", [start]), array("q", [end])
        if len(self._starts) > _CUTS_KEPT:
            self.floor = self._ends.pop(0)
            self._starts.pop(0)


class Bin:
    """What one quantity of one source did in one day."""

    __slots__ = ("end", "measured", "minus", "plus", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        """Nothing was measured outside of these (microseconds since 1970)."""
        self.plus = self.minus = 0
        """Energy of the times of positive and of negative power, microjoules, both positive."""
        self.measured = 0
        """Microseconds over which power was integrated."""


class PowerTrack:
    """The readings of one quantity of one source, and the energy they make.

    Two neighbours are joined when they are no further apart than `max_gap` and no cut lies between them:
    by a straight line, or with `hold` by the earlier value. What was filled in later, in the midst of a cut,
    is joined as if there were none. Only a held quantity has readings that do not mention it; they say that
    the value is still the same, as far back as readings are joined.

    Args:
        days: Where one day ends and the next begins.
        hold: Whether the source tells only changes.
        max_gap: Microseconds.
        keep: How many readings stay, so that late ones find their place; older ones are settled.
    """

    def __init__(self, days: Days, *, hold: bool, max_gap: int, keep: int) -> None:
        self.bins: dict[date, Bin] = {}
        self._days, self._cuts = days, Interruptions()
        self._hold, self._max_gap, self._keep = hold, max_gap, keep
        self._times, self._values, self._said = array("q"), array("d"), bytearray()
        self._filled = bytearray()
        self._revisions: dict[int, int] = {}
        self._settled = False

    def add(self, moment: int, value: float | None, event: Event) -> bool:
        """Put what `event` says in its place; False when everything around it is settled already.

        There is one value for a moment: that of the highest revision, among those the one that came last, but
        a backfilled one does not replace another.
        """
        times, place = self._times, bisect_left(self._times, moment)
        if (place == 0 and self._settled) or moment < self._cuts.floor:
            return False
        known = place < len(times) and times[place] == moment
        if known and (value is None or not self._better(place, event)):
            return True
        if place < len(times):  # otherwise nothing is there yet that it could change
            self._lift(moment, moment)
        if not known:
            times.insert(place, moment)
            self._values.insert(place, nan)
            self._said.insert(place, 0)
            self._filled.insert(place, event.backfilled or event.late or event.revision > 0)
        if value is not None:
            self._values[place], self._said[place] = value, 1
            self._revisions.update({moment: event.revision} if event.revision else {})
        self._lay(moment, moment)
        self._settle()
        return True

    def cut(self, start: int, end: int) -> None:
        """Join nothing between `start` and `end`, not even what was joined before."""
        self._lift(start, end)
        self._cuts.add(start, end)
        self._lay(start, end)

    def holes(self) -> Iterator[tuple[int, int]]:
        """Yield the stretches between kept readings over which nothing was counted."""
        start: int | None = None
        first = self._said.find(1)
        for place in range(first, len(self._times) - 1) if first >= 0 else ():
            counted = self._joined(place) and self._values[place] == self._values[place]
            if counted and start is not None:
                yield start, self._times[place]
                start = None
            elif not counted and start is None:
                start = self._times[place]
        if start is not None:
            yield start, self._times[-1]

    def _lift(self, start: int, end: int) -> None:
        """Take away the energy of all that a change between `start` and `end` can touch."""
        for place in self._touched(start, end):
            self._book(place, -1)

    def _lay(self, start: int, end: int) -> None:
        """Count it again, after the change."""
        for place in self._touched(start, end):
            if not self._said[place + 1]:
                self._values[place + 1] = self._values[place] if self._joined(place) else nan
            self._book(place, 1)

    def _better(self, place: int, event: Event) -> bool:
        known = self._revisions.get(self._times[place], 0)
        if not self._said[place] or event.revision != known:
            return not self._said[place] or event.revision > known
        return not event.backfilled

    def _touched(self, start: int, end: int) -> range:
        """Return the first readings of the pairs around a stretch; a held value reaches to the next one."""
        times, last = self._times, len(self._times) - 1
        first = max(bisect_left(times, start) - 1, bisect_left(times, self._cuts.floor), 0)
        stop = bisect_right(times, end)
        if self._hold and stop <= last:
            told = self._said.find(1, stop)
            stop = last if told < 0 else told
        return range(first, min(stop, last))

    def _joined(self, place: int) -> bool:
        start, end = self._times[place], self._times[place + 1]
        filled = (self._filled[place] == 1, self._filled[place + 1] == 1)
        return end - start <= self._max_gap and not self._cuts.part(start, end, bridged=filled)

    def _book(self, place: int, sign: int) -> None:
        start, end = self._times[place], self._times[place + 1]
        value = self._values[place]
        if value != value or not self._joined(place):  # noqa: PLR0124  (not a number: nothing is known)
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

    def _settle(self) -> None:
        surplus = len(self._times) - self._keep
        if surplus <= self._keep // 8:  # in bulk: moving the rest up costs the same for one as for many
            return
        del self._times[:surplus], self._values[:surplus], self._said[:surplus], self._filled[:surplus]
        self._settled = True
        oldest = self._times[0]
        self._revisions = {moment: n for moment, n in self._revisions.items() if moment >= oldest}


class PowerCurve:
    """What one source measures, and where its readings were interrupted.

    Args:
        tracks: Its powers.
        hold: Whether the source tells only changes.
    """

    def __init__(self, tracks: Mapping[Quantity, PowerTrack], *, hold: bool) -> None:
        self.tracks = tracks
        self.broken = False
        """Whether something was lost since the newest reading: the next one is not joined to it."""
        self._hold = hold
        self._seq: int | None = None
        self._newest: int | None = None

    def number(self, seq: int) -> None:
        """Note the number of an event: where one is missing, readings were dropped."""
        self.broken |= self._seq is not None and seq not in {self._seq, self._seq + 1}
        self._seq = seq

    def cut(self, start: int, end: int, only: Collection[Quantity] = ()) -> None:
        """Join nothing between `start` and `end`, where `only` names powers none of those."""
        for power, track in self.tracks.items():
            if start < end and (not only or power in only):
                track.cut(start, end)

    def read(self, event: Event, powers: Mapping[Quantity, float]) -> int:
        """Put the powers of one reading in their places and return how many of them came too late.

        Something lost is a cut up to the next reading, unless that begins to fill the hole: what it does not
        fill is then a gap event of its own.
        """
        moment = micros(event.time)
        if self._newest is None or moment > self._newest:
            if self.broken and self._newest is not None and not event.backfilled:
                self.cut(self._newest, moment)
            self.broken, self._newest = False, moment
        late = 0
        for power, track in self.tracks.items():
            if power in powers or (self._hold and power not in event.values):
                value = powers.get(power)
                late += not track.add(moment, value, event) and value is not None
        return late


def _areas(first: float, second: float, width: int) -> tuple[int, int]:
    """Return the areas above and below zero of a straight line, both as positive whole numbers."""
    if first >= 0 <= second:
        return round((first + second) / 2 * width), 0
    if first <= 0 >= second:
        return 0, round(-(first + second) / 2 * width)
    above, below = max(first, second), -min(first, second)
    width_above = width * above / (above + below)
    return round(above / 2 * width_above), round(below / 2 * (width - width_above))

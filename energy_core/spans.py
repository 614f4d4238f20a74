"""Stretches of time in whole microseconds: the days of a place, and where a source was interrupted."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CUTS_KEPT: Final = 4096
_MARGIN: Final = 1_000_000
"""The ends of a gap are told in whole seconds."""
_LONG_AGO: Final = -(2**63)


def micros(moment: datetime) -> int:
    """Return the microseconds from 1970 to `moment`, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(micros: int) -> datetime:
    """Return the moment in UTC that is so many microseconds after 1970."""
    return _EPOCH + micros * _MICROSECOND


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

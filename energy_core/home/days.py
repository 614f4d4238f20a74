"""Time in whole microseconds since 1970, divided at local midnights, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from energy_core.local_days import EPOCH

_MICROSECOND: Final = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Return the microseconds from 1970 to `moment`, exactly."""
    return (moment - EPOCH) // _MICROSECOND


def moment_of(micros: int) -> datetime:
    """Return the UTC datetime of so many microseconds since 1970."""
    return EPOCH + micros * _MICROSECOND


class Days:
    """Local days of a time zone; they begin at local midnight and may have 23 or 25 hours."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        # The day of the last split: the next one is usually the same.
        self._day, self._begins, self._ends = date.min, 0, 0

    def bounds(self, day: date) -> tuple[int, int]:
        """Return the beginning of a day and that of the next day."""
        return self._midnight(day), self._midnight(day + timedelta(days=1))

    def split(self, start: int, end: int) -> Iterator[tuple[date, int, int]]:
        """Split a range at every midnight: yield each day with its part of the range."""
        while start < end:
            if not self._begins <= start < self._ends:
                self._select_day(start)
            stop = min(end, self._ends)
            yield self._day, start, stop
            start = stop

    def _select_day(self, moment: int) -> None:
        self._day = moment_of(moment).astimezone(self._zone).date()
        self._begins, self._ends = self.bounds(self._day)
        # Where clocks go back over midnight, a date occurs twice; the second one belongs to the next day.
        while moment >= self._ends:
            self._day += timedelta(days=1)
            self._begins, self._ends = self._ends, self.bounds(self._day)[1]

    def _midnight(self, day: date) -> int:
        return micros(datetime.combine(day, time(), self._zone))


class Undivided(Days):
    """All time as one day, `ALL_TIME`: for sums that never end."""

    ALL_TIME: Final = date.min

    def __init__(self) -> None:
        super().__init__(UTC)

    def split(self, start: int, end: int) -> Iterator[tuple[date, int, int]]:
        """Return the range as it is."""
        yield self.ALL_TIME, start, end

"""Whole local days, weeks, months and years of a site: totals that begin anew at its own midnight.

Pure calendar arithmetic: the caller brings `now`, the calendar knows the zone. A day has 23 or 25 hours where
the clocks change, and begins at the first moment that bears its date, also where midnight itself is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo

from attrs import field, frozen

from energy_core.local_days import CALENDAR_UNITS, first_day, midnight, zone
from energy_core.printable import printable_class


@frozen
class Span:
    """A stretch of time, its end excluded. ``start, end = span`` unpacks it."""

    start: datetime
    """Aware, UTC: the first moment."""
    end: datetime
    """Aware, UTC: the first moment after it."""

    def __iter__(self) -> Iterator[datetime]:
        return iter((self.start, self.end))

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    @property
    def duration(self) -> timedelta:
        """How long it lasts; a local day of 23 or 25 hours says so."""
        return self.end - self.start

    @property
    def hours(self) -> float:
        """The same in hours."""
        return self.duration / timedelta(hours=1)


async def calendar_of(where: str | tzinfo) -> Calendar:
    """Return the calendar of a time zone; the file of a name is read in a thread.

    Raises:
        ValueError, TypeError: as `zone` does.
    """
    return Calendar(await asyncio.to_thread(zone, where) if isinstance(where, str) else where)


@printable_class
@frozen
class Calendar:
    """The days of one time zone. A week begins on Monday.

    Args:
        zone: An IANA name such as ``Europe/Amsterdam``, or a tzinfo.
    """

    zone: tzinfo = field(converter=zone)
    """Where midnight is."""

    def date_of(self, moment: datetime) -> date:
        """Return the local date of an aware moment."""
        if moment.utcoffset() is None:
            raise ValueError("the moment must be an aware datetime: give it a tzinfo")
        return moment.astimezone(self.zone).date()

    def midnight(self, day: date) -> datetime:
        """Return the first moment of a day, in UTC."""
        return midnight(day, self.zone)

    def day(self, day: date) -> Span:
        """Return one whole day."""
        return self._span("days", day, 0)

    def week(self, day: date) -> Span:
        """Return the whole week a day is in."""
        return self._span("weeks", day, 0)

    def month(self, year: int, month: int) -> Span:
        """Return one whole month."""
        return self._span("months", date(year, month, 1), 0)

    def year(self, year: int) -> Span:
        """Return one whole year."""
        return self._span("years", date(year, 1, 1), 0)

    def today(self, now: datetime) -> Span:
        """Return the whole day of `now`, its rest included."""
        return self._span("days", self.date_of(now), 0)

    def yesterday(self, now: datetime) -> Span:
        """Return the day before that of `now`."""
        return self._span("days", self.date_of(now), -1)

    def tomorrow(self, now: datetime) -> Span:
        """Return the day after that of `now`, as a forecast wants it."""
        return self._span("days", self.date_of(now), 1)

    def this_week(self, now: datetime) -> Span:
        """Return the whole week of `now`."""
        return self._span("weeks", self.date_of(now), 0)

    def last_week(self, now: datetime) -> Span:
        """Return the week before that of `now`."""
        return self._span("weeks", self.date_of(now), -1)

    def this_month(self, now: datetime) -> Span:
        """Return the whole month of `now`."""
        return self._span("months", self.date_of(now), 0)

    def last_month(self, now: datetime) -> Span:
        """Return the month before that of `now`."""
        return self._span("months", self.date_of(now), -1)

    def this_year(self, now: datetime) -> Span:
        """Return the whole year of `now`."""
        return self._span("years", self.date_of(now), 0)

    def last_year(self, now: datetime) -> Span:
        """Return the year before that of `now`."""
        return self._span("years", self.date_of(now), -1)

    def each(self, unit: str, span: Span) -> Iterator[Span]:
        """Yield the whole days, weeks, months or years that a span touches, first to last.

        Args:
            unit: days, weeks, months or years.
            span: What they have to cover.
        """
        if unit not in CALENDAR_UNITS:
            raise ValueError(f"unit must be one of {', '.join(CALENDAR_UNITS)}, not {unit!r}")
        begin = self.floor(unit, span.start)
        while begin < span.end:
            after = self.next(unit, begin)
            yield Span(begin, after)
            begin = after

    def floor(self, unit: str, moment: datetime) -> datetime:
        """Return the last beginning of a day, week, month or year at or before a moment, in UTC."""
        return self.midnight(first_day(unit, self.date_of(moment)))

    def next(self, unit: str, moment: datetime) -> datetime:
        """Return the first beginning of a day, week, month or year after a moment, in UTC."""
        day, count = self.date_of(moment), 1
        while (after := self.midnight(first_day(unit, day, count))) <= moment:
            count += 1  # a date that a zone skipped has no length
        return after

    def shift(self, moment: datetime, *, months: int) -> datetime:
        """Return the beginning of the month that lies so many months after that of a moment."""
        return self.midnight(first_day("months", self.date_of(moment), months))

    def _span(self, unit: str, day: date, count: int) -> Span:
        begin, after = (self.midnight(first_day(unit, day, each)) for each in (count, count + 1))
        return Span(begin, after)

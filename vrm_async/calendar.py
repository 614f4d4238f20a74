"""Whole local days, weeks, months and years of a site.

A day begins at the first moment that bears its date, also where clocks skip midnight. It has 23 or 25 hours
where clocks change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo

from attrs import field, frozen

from energy_core.clock import Clock, SystemClock
from energy_core.local_days import CALENDAR_UNITS, first_day, midnight, zone
from energy_core.printable import printable_class


@frozen
class Span:
    """A range of time without its end. ``start, end = span`` unpacks it."""

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
        """The time from start to end: 23 or 25 hours for a day on which clocks change."""
        return self.end - self.start

    @property
    def hours(self) -> float:
        """The duration in hours."""
        return self.duration / timedelta(hours=1)


async def calendar_of(where: str | tzinfo, clock: Clock = SystemClock()) -> Calendar:  # noqa: B008  (stateless)
    """Return the calendar of a time zone; a thread reads the file of a name.

    Raises:
        ValueError, TypeError: as `zone` does.
    """
    return Calendar(await asyncio.to_thread(zone, where) if isinstance(where, str) else where, clock)


@printable_class
@frozen
class Calendar:
    """The days of one time zone. A week begins on Monday.

    Args:
        zone: An IANA name such as ``Europe/Amsterdam``, or a tzinfo.
        clock: What `today` and the other relative methods take the present from.

    Raises:
        ValueError: this machine's time zone database does not have the name.
    """

    zone: tzinfo = field(converter=zone)
    """The time zone whose midnights count."""
    _clock: Clock = field(default=SystemClock(), repr=False, eq=False)

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
        """Return the whole week that contains a day."""
        return self._span("weeks", day, 0)

    def month(self, year: int, month: int) -> Span:
        """Return one whole month."""
        return self._span("months", date(year, month, 1), 0)

    def year(self, year: int) -> Span:
        """Return one whole year."""
        return self._span("years", date(year, 1, 1), 0)

    def today(self) -> Span:
        """Return today, its rest included."""
        return self._span("days", self._today(), 0)

    def yesterday(self) -> Span:
        """Return yesterday."""
        return self._span("days", self._today(), -1)

    def tomorrow(self) -> Span:
        """Return tomorrow, as a forecast wants it."""
        return self._span("days", self._today(), 1)

    def this_week(self) -> Span:
        """Return the present week."""
        return self._span("weeks", self._today(), 0)

    def last_week(self) -> Span:
        """Return the week before the present one."""
        return self._span("weeks", self._today(), -1)

    def this_month(self) -> Span:
        """Return the present month."""
        return self._span("months", self._today(), 0)

    def last_month(self) -> Span:
        """Return the month before the present one."""
        return self._span("months", self._today(), -1)

    def this_year(self) -> Span:
        """Return the present year."""
        return self._span("years", self._today(), 0)

    def last_year(self) -> Span:
        """Return the year before the present one."""
        return self._span("years", self._today(), -1)

    def each(self, unit: str, span: Span) -> Iterator[Span]:
        """Yield the whole days, weeks, months or years that overlap a span, first to last.

        Args:
            unit: days, weeks, months or years.
            span: The range that they cover.
        """
        if unit not in CALENDAR_UNITS:
            raise ValueError(f"unit must be one of {', '.join(CALENDAR_UNITS)}, not {unit!r}")
        begin = self.floor(unit, span.start)
        while begin < span.end:
            after = self.next(unit, begin)
            yield Span(begin, after)
            begin = after

    def floor(self, unit: str, moment: datetime) -> datetime:
        """Return the start of the day, week, month or year that contains a moment, in UTC."""
        return self.midnight(first_day(unit, self.date_of(moment)))

    def next(self, unit: str, moment: datetime) -> datetime:
        """Return the next start of a day, week, month or year after a moment, in UTC."""
        day, count = self.date_of(moment), 1
        while (after := self.midnight(first_day(unit, day, count))) <= moment:
            count += 1  # a date that a zone skipped has no length
        return after

    def shift(self, moment: datetime, *, months: int) -> datetime:
        """Return the start of the month that is `months` after the month of a moment, in UTC."""
        return self.midnight(first_day("months", self.date_of(moment), months))

    def _today(self) -> date:
        return self.date_of(self._clock.utcnow())

    def _span(self, unit: str, day: date, count: int) -> Span:
        begin, after = (self.midnight(first_day(unit, day, each)) for each in (count, count + 1))
        return Span(begin, after)

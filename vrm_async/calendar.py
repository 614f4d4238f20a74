"""Whole local days, weeks, months and years of a site: totals that begin anew at its own midnight.

Pure calendar arithmetic: the caller brings `now`, the calendar knows the zone. A day has 23 or 25 hours where
the clocks change, and begins at the first moment that bears its date, also where midnight itself is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from attrs import field, frozen

from energy_core.printable import printable_class

_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)


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


def zone(value: str | tzinfo) -> tzinfo:
    """Return a time zone: an IANA name, or a zone as it is.

    Raises:
        ValueError: this machine's time zone database does not have the name.
        TypeError: it is neither.
    """
    if isinstance(value, tzinfo):
        return value
    if not isinstance(value, str):
        raise TypeError(f"a time zone must be an IANA name or a tzinfo, not {type(value).__name__}")
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"the time zone {value[:64]!r} is not in this machine's time zone database"
        ) from None


async def calendar_of(where: str | tzinfo) -> Calendar:
    """Return the calendar of a time zone; the file of a name is read in a thread.

    Raises:
        ValueError, TypeError: as `zone` does.
    """
    return Calendar(await asyncio.to_thread(zone, where) if isinstance(where, str) else where)


def midnight(day: date, where: tzinfo) -> datetime:
    """Return the first moment of a local day, in UTC."""
    naive = datetime.combine(day, time())
    first, second = (naive.replace(tzinfo=where, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(where).date() == day and second >= first:
        return first  # the usual case; a midnight that comes twice is the earlier one
    # Midnight is skipped: the day begins inside the gap's two readings, where the clocks jump.
    early, late = sorted((first, second))
    while late - early > _SECOND:
        middle = early + (late - early) // 2
        early, late = (early, middle) if middle.astimezone(where).date() >= day else (middle, late)
    return late.replace(microsecond=0)


def _month(day: date, months: int = 0) -> date:
    years, month = divmod(day.month - 1 + months, 12)
    return date(day.year + years, month + 1, 1)


def _days(day: date, count: int) -> date:
    return day + count * _DAY


def _weeks(day: date, count: int) -> date:
    return day - day.weekday() * _DAY + 7 * count * _DAY


def _years(day: date, count: int) -> date:
    return date(day.year + count, 1, 1)


_STEPS: Final[dict[str, Callable[[date, int], date]]] = {
    "days": _days,
    "weeks": _weeks,
    "months": _month,
    "years": _years,
}


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
        if unit not in _STEPS:
            raise ValueError(f"unit must be one of {', '.join(_STEPS)}, not {unit!r}")
        begin = self.floor(unit, span.start)
        while begin < span.end:
            after = self.next(unit, begin)
            yield Span(begin, after)
            begin = after

    def floor(self, unit: str, moment: datetime) -> datetime:
        """Return the last beginning of a day, week, month or year at or before a moment, in UTC."""
        return self.midnight(_STEPS[unit](self.date_of(moment), 0))

    def next(self, unit: str, moment: datetime) -> datetime:
        """Return the first beginning of a day, week, month or year after a moment, in UTC."""
        day, count = self.date_of(moment), 1
        while (after := self.midnight(_STEPS[unit](day, count))) <= moment:
            count += 1  # a date that a zone skipped has no length
        return after

    def shift(self, moment: datetime, *, months: int) -> datetime:
        """Return the beginning of the month that lies so many months after that of a moment."""
        return self.midnight(_month(self.date_of(moment), months))

    def _span(self, unit: str, day: date, count: int) -> Span:
        step = _STEPS[unit]
        return Span(self.midnight(step(day, count)), self.midnight(step(day, count + 1)))

"""What there is to fetch: months, days and periods of statistics. Pure dates, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from attrs import frozen

from energy_core.local_days import midnight, zone_or_utc
from voltstorage_async import Product
from voltstorage_async.products import Timespan

DAY: Final = timedelta(days=1)
_OLDEST: Final = date(2016, 1, 1)
"""The vendor did not exist before; for products that have no date at all."""
_TICK: Final = timedelta(microseconds=1)


class Day(NamedTuple):
    """A UTC day, or as much of it as has passed."""

    date: date
    end: datetime

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return midnight(self.date, UTC)

    @property
    def whole(self) -> bool:
        """Whether it has passed."""
        return self.end == self.start + DAY


class Month(NamedTuple):
    """A UTC month."""

    year: int
    month: int

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment of the next one."""
        return self.next.start

    @property
    def next(self) -> Month:
        """The month after it."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def days(self, until: datetime) -> list[Day]:
        """Return the days that begin before `until`; the last may be cut by it."""
        found, begin = [], self.start
        while begin < min(self.end, until):
            found.append(Day(begin.date(), min(begin + DAY, until)))
            begin += DAY
        return found

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


class Table(NamedTuple):
    """Statistics of one timespan, as one file."""

    name: str
    timespan: Timespan
    requests: tuple[tuple[datetime, datetime], ...]
    """What is asked for, one period after the other."""
    end: datetime
    """Nothing in the table reaches beyond."""

    @property
    def begin(self) -> datetime:
        """Where it begins."""
        return self.requests[0][0]


@frozen(kw_only=True)
class Scope:
    """One product's whole past, up to a moment."""

    product: Product
    until: datetime

    @property
    def first(self) -> Month:
        """The month of the earliest day at which the product may have measured anything."""
        product = self.product
        dates = [one for one in (product.installation_date, product.manufacturing_date) if one is not None]
        if not dates and product.created_at is not None:
            dates.append(product.created_at.date())
        # A local day may begin a day earlier in UTC.
        begin = max(min(dates, default=_OLDEST), _OLDEST) - DAY
        return Month(begin.year, begin.month)

    @property
    def begun(self) -> bool:
        """Whether the product's past begins before the end; otherwise there is nothing to fetch."""
        return self.first.start < self.until

    @property
    def last_day(self) -> date:
        """The day that is still going on, or has just ended: the next run reads it again."""
        return (self.until - _TICK).date()

    def final(self, end: datetime) -> bool:
        """Whether what ends at `end` is behind the last day, so that it need not be looked at again."""
        return end <= midnight(self.last_day, UTC)

    def months(self) -> Iterator[Month]:
        """Return the months, oldest first."""
        month = self.first
        while month.start < self.until:
            yield month
            month = month.next

    def tables(self) -> Iterator[Table]:
        """Return the statistics, the coarsest first: should the service end tonight, they say the most."""
        begin = self._local(self.first)
        if begin >= self.until:
            return
        for timespan in _COARSE:
            yield Table(f"statistics-{timespan}", timespan, ((begin, self.until),), self.until)
        yield Table("statistics-day", "day", tuple(self._years()), self.until)
        for start, end in self._years():
            name = f"statistics-hour-{start.astimezone(self._zone).year}"
            yield Table(name, "hour", tuple(self._pieces(start, end)), end)

    def _years(self) -> Iterator[tuple[datetime, datetime]]:
        """Cut the past where the product's local years begin."""
        begin = self._local(self.first)
        while begin < self.until:
            end = self._local(Month(begin.astimezone(self._zone).year + 1, 1))
            yield begin, min(end, self.until)
            begin = end

    def _pieces(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Cut a stretch where local months begin: a year of hours would be a large answer."""
        while start < end:
            local = start.astimezone(self._zone)
            following = self._local(Month(local.year, local.month).next)
            yield start, min(following, end)
            start = following

    @property
    def _zone(self) -> tzinfo:
        return zone_or_utc(self.product.timezone)

    def _local(self, month: Month) -> datetime:
        return month.start.replace(tzinfo=self._zone).astimezone(UTC)


_COARSE: Final[tuple[Timespan, ...]] = ("lifetime", "year", "month")

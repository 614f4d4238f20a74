"""Computes what to fetch of a product: months, days, and requests for statistics. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from attrs import frozen

from energy_core.local_days import midnight, zone_or_utc
from voltstorage_async.models import Product
from voltstorage_async.products import Timespan

DAY: Final = timedelta(days=1)
_OLDEST: Final = date(2016, 1, 1)
"""First day of products without a date; the vendor was founded in 2016."""
_TICK: Final = timedelta(microseconds=1)


class Day(NamedTuple):
    """A UTC day, or its beginning up to `end`."""

    date: date
    end: datetime

    @property
    def start(self) -> datetime:
        """Midnight at which it begins."""
        return midnight(self.date, UTC)

    @property
    def whole(self) -> bool:
        """Whether `end` is the end of the day."""
        return self.end == self.start + DAY


class Month(NamedTuple):
    """A UTC month."""

    year: int
    month: int

    @property
    def start(self) -> datetime:
        """Midnight at which it begins."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """Midnight at which the next month begins."""
        return self.next.start

    @property
    def next(self) -> Month:
        """The month that follows."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def days(self, until: datetime) -> list[Day]:
        """Return the days that begin before `until`; the last one ends at `until`."""
        found, begin = [], self.start
        while begin < min(self.end, until):
            found.append(Day(begin.date(), min(begin + DAY, until)))
            begin += DAY
        return found

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


class StatisticsTable(NamedTuple):
    """A file of statistics, and the requests that fill it."""

    name: str
    timespan: Timespan
    requests: tuple[tuple[datetime, datetime], ...]
    """Start and end of each request; they follow each other without gaps."""
    end: datetime
    """End of the last request."""

    @property
    def begin(self) -> datetime:
        """Start of the first request."""
        return self.requests[0][0]


@frozen(kw_only=True)
class ProductPlan:
    """Everything to fetch of one product up to `until`."""

    product: Product
    until: datetime

    @property
    def first(self) -> Month:
        """The first month in which the product may have recorded data."""
        product = self.product
        dates = [one for one in (product.installation_date, product.manufacturing_date) if one is not None]
        if not dates and product.created_at is not None:
            dates.append(product.created_at.date())
        # East of Greenwich a local day begins on the day before in UTC.
        begin = max(min(dates, default=_OLDEST), _OLDEST) - DAY
        return Month(begin.year, begin.month)

    @property
    def begun(self) -> bool:
        """Whether the product may have recorded data before `until`."""
        return self.first.start < self.until

    @property
    def last_day(self) -> date:
        """The day that contains the last moment before `until`; the next run reads it again."""
        return (self.until - _TICK).date()

    def is_final(self, end: datetime) -> bool:
        """Return whether a section that ends at `end` ends before the last day begins."""
        return end <= midnight(self.last_day, UTC)

    def months(self) -> Iterator[Month]:
        """Return the months, oldest first."""
        month = self.first
        while month.start < self.until:
            yield month
            month = month.next

    def tables(self) -> Iterator[StatisticsTable]:
        """Return the statistics' tables, the coarsest first: they cover the most if the service ends soon."""
        begin = self._local(self.first)
        if begin >= self.until:
            return
        for timespan in _COARSE:
            yield StatisticsTable(f"statistics-{timespan}", timespan, ((begin, self.until),), self.until)
        yield StatisticsTable("statistics-day", "day", tuple(self._years()), self.until)
        for start, end in self._years():
            name = f"statistics-hour-{start.astimezone(self._zone).year}"
            yield StatisticsTable(name, "hour", tuple(self._months_of(start, end)), end)

    def _years(self) -> Iterator[tuple[datetime, datetime]]:
        """Return start and end of each local year of the product, up to `until`."""
        begin = self._local(self.first)
        while begin < self.until:
            end = self._local(Month(begin.astimezone(self._zone).year + 1, 1))
            yield begin, min(end, self.until)
            begin = end

    def _months_of(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Return start and end of each local month, because an answer with a year of hours would be large."""
        while start < end:
            local = start.astimezone(self._zone)
            following = self._local(Month(local.year, local.month).next)
            yield start, min(following, end)
            start = following

    @property
    def _zone(self) -> tzinfo:
        return zone_or_utc(self.product.timezone)

    def _local(self, month: Month) -> datetime:
        return midnight(date(month.year, month.month, 1), self._zone)


_COARSE: Final[tuple[Timespan, ...]] = ("lifetime", "year", "month")

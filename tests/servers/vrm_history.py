"""A model of VRM's statistics without a socket: buckets of one kWh, with the service's rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from energy_core.errors import NoData
from energy_core.local_days import EPOCH
from vrm_async import Calendar
from vrm_async.history.chunks import BucketEdges
from vrm_async.models import Series, Stats

DAY = timedelta(days=1)


def ms(moment):
    return (moment - EPOCH) // timedelta(milliseconds=1)


class Service:
    """Answers ranges and records its requests.

    Args:
        calendar: Defines the local days.
        interval: The interval of the buckets.
        since: The time of the first data.
        cap: A longer range gets an empty answer.
        day_of_24_hours: Count days and weeks in hours, ignoring clock changes.
        inclusive: Also answer the bucket that begins at the very end.
    """

    def __init__(
        self,
        calendar=None,
        interval="hours",
        *,
        since=EPOCH,
        cap=None,
        day_of_24_hours=False,
        inclusive=False,
    ):
        self.calendar = calendar or Calendar("UTC")
        self.ruler = BucketEdges(interval, self.calendar)
        self.interval = interval
        self.since = since
        self.cap = cap
        self.day_of_24_hours = day_of_24_hours
        self.inclusive = inclusive
        self.asked = []
        self.codes = ("Pc",)
        self.errors = []

    async def answer(self, start, end, interval):
        return await (self.ask if interval == self.interval else self.ask_hours)(start, end)

    async def ask(self, start, end):
        self.asked.append((start, end))
        if self.errors:
            raise self.errors.pop(0)
        if end <= self.since or (self.cap is not None and end - start > self.cap):
            raise NoData("VRM refused", error_code="no_data")
        times = [ms(edge) for edge in self._edges(start, end)]
        column = [1.0] * len(times)
        return Stats(
            series=tuple(Series(code=c, times_ms=times, value=column, unit="kWh") for c in self.codes)
        )

    async def ask_hours(self, start, end):
        self.asked.append((start, end))
        times = [ms(start + timedelta(hours=hour)) for hour in range((end - start) // timedelta(hours=1))]
        column = [1 / 24] * len(times)
        return Stats(
            series=tuple(Series(code=c, times_ms=times, value=column, unit="kWh") for c in self.codes)
        )

    def _edges(self, start, end):
        edge = start
        while edge < end or (self.inclusive and edge == end):
            if edge >= self.since:
                yield edge
            if self.day_of_24_hours:
                edge += {"days": DAY, "weeks": 7 * DAY}[self.interval]
            else:
                edge = self.ruler.next(edge)


class FixedClock:
    """A wall clock with a fixed time."""

    def __init__(self, now=datetime(2026, 11, 1, tzinfo=UTC)):
        self.now = now

    def utcnow(self):
        return self.now

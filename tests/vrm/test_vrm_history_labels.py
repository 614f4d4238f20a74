"""Buckets begin at the site's midnights, however a server labels them, ends a range or counts days."""

from datetime import UTC, date, datetime, timedelta
from itertools import accumulate, pairwise

import pytest

from energy_core.errors import NoData
from energy_core.local_days import TimeRange
from tests.servers.vrm_history import DAY, FixedClock, ms
from vrm_async import Calendar
from vrm_async.history.base import REREAD
from vrm_async.history.chunks import BucketEdges
from vrm_async.history.stats import SiteFacts, StatsHistory
from vrm_async.models import Series, Stats

HOUR = timedelta(hours=1)
STEP = HOUR / 4
UTC_DAYS = Calendar("UTC")


_WH_OF_SLOT = [slot * 7919 % 1013 for slot in range(1013)]
_WH_BEFORE = [0, *accumulate(_WH_OF_SLOT)]


def energy(begin, end):
    """Return the energy between two moments in kWh, exact to 1 Wh; it differs in each quarter of an hour."""
    first = (begin - datetime(2020, 1, 1, tzinfo=UTC)) // STEP
    after = first + max(0, -((begin - end) // STEP))
    return (_wh_until(after) - _wh_until(first)) / 1000


def _wh_until(slot):
    rounds, rest = divmod(slot, len(_WH_OF_SLOT))
    return rounds * _WH_BEFORE[-1] + _WH_BEFORE[rest]


class Recorder:
    """A service with real sums.

    Args:
        zone: The site's.
        interval: Of the buckets that `ask` answers.
        labels: site (its own midnights), date (its own days, labelled with UTC's midnight of the same date),
            utc (UTC's days), 24 (days of 24 hours from the start on).
        inclusive: Count the hour that begins at the end in.
        hours_since: There are no hours before.
    """

    def __init__(self, zone, interval, labels="site", *, inclusive=False, hours_since=None):
        self.calendar = Calendar(zone)
        self.interval = interval
        self.labels = labels
        self.inclusive = inclusive
        self.hours_since = hours_since
        self.asked = []

    async def ask(self, start, end):
        self.asked.append((start, end))
        end += HOUR if self.inclusive else timedelta()
        return self._stats(start, end, self._cuts(start, end))

    async def answer(self, start, end, interval):
        if interval == self.interval:
            return await self.ask(start, end)
        return await self.ask_finer(start, end, HOUR if interval == "hours" else HOUR / 4)

    async def ask_finer(self, start, end, step=HOUR):
        if self.hours_since is not None and end <= self.hours_since:
            raise NoData("no hours", error_code="no_data")
        assert end - start <= 31 * DAY
        end += HOUR if self.inclusive else timedelta()
        cuts, at = [], max(start, self.hours_since or start)
        while at < end:
            cuts.append((at, at + step, at))
            at += step
        return self._stats(start, end, cuts)

    def _cuts(self, start, end):
        """Yield begin, end and label of each bucket."""
        if self.labels == "24":
            at, length = start, {"days": DAY, "weeks": 7 * DAY}[self.interval]
            while at < end:
                yield at, min(at + length, end), at
                at += length
            return
        ruler = BucketEdges(self.interval, UTC_DAYS if self.labels == "utc" else self.calendar)
        edge = ruler.floor(start)
        while edge < end:
            after = ruler.next(edge)
            label = edge
            if self.labels == "date":
                label = UTC_DAYS.midnight(self.calendar.date_of(edge))
            yield max(edge, start), min(after, end), label
            edge = after

    def _stats(self, start, end, cuts):
        rows = [(ms(label), energy(begin, stop)) for begin, stop, label in cuts]
        codes = {"Pc": 1.0, "Gc": 2.0}
        series = tuple(
            Series(
                code=code,
                unit="kWh",
                times_ms=[time for time, _ in rows],
                value=[value * weight for _, value in rows],
            )
            for code, weight in codes.items()
        )
        sums = {code: energy(start, end) * weight for code, weight in codes.items()}
        return Stats(series=series, totals={**sums, "kwh": sum(sums.values())})


async def read(service, start, end):
    async def find_facts():
        return SiteFacts(calendar=service.calendar)

    history = StatsHistory(
        "test",
        service.answer,
        find_facts,
        interval=service.interval,
        time_range=TimeRange(start, end),
        reread=REREAD,
        checkpoint=None,
        clock=FixedClock(datetime(2030, 1, 1, tzinfo=UTC)),
    )
    return [chunk async for chunk in history]


def right(service, start, end):
    """Return the site's own buckets with their energies."""
    ruler = BucketEdges(service.interval, service.calendar)
    edges = [start]
    while edges[-1] < end:
        edges.append(ruler.next(edges[-1]))
    return {edge: energy(edge, after) for edge, after in pairwise(edges)}


def rows(chunks, code="Pc"):
    """Return all buckets and check that there are no duplicates."""
    found = [(time, value) for chunk in chunks for time, value in chunk.data[code]]
    assert len(dict(found)) == len(found)
    return dict(found)


def assert_totals(chunks):
    """Check that the totals of each chunk are those of its range."""
    for chunk in chunks:
        one = energy(chunk.start, chunk.end)
        assert chunk.data.totals == pytest.approx({"Pc": one, "Gc": 2 * one, "kwh": 3 * one})


ZONES = ["America/New_York", "Pacific/Honolulu", "Europe/Amsterdam", "Pacific/Auckland"]


@pytest.mark.parametrize("inclusive", [False, True], ids=["end out", "end in"])
@pytest.mark.parametrize("labels", ["site", "date", "utc"])
@pytest.mark.parametrize("interval", ["days", "weeks", "months", "years"])
@pytest.mark.parametrize("zone", ZONES)
async def test_buckets_are_the_sites_own(zone, interval, labels, inclusive):
    """This holds west and east of Greenwich, with labels of the site or of UTC, and with the end included."""
    service = Recorder(zone, interval, labels, inclusive=inclusive)
    ruler = BucketEdges(interval, service.calendar)
    start = ruler.floor(service.calendar.midnight(date(2025, 1, 20)))
    end = ruler.ceil(service.calendar.midnight(date(2025, 4, 10)))
    chunks = await read(service, start, end)
    assert rows(chunks) == pytest.approx(right(service, start, end))
    assert rows(chunks, "Gc") == pytest.approx({time: 2 * value for time, value in rows(chunks).items()})
    assert_totals(chunks)


@pytest.mark.parametrize("inclusive", [False, True], ids=["end out", "end in"])
@pytest.mark.parametrize("interval", ["15mins", "hours", "2hours"])
async def test_an_included_end_is_left_out(interval, inclusive):
    """There is no duplicate between chunks, and the totals are those of the chunk."""
    service = Recorder("Europe/Amsterdam", "hours", inclusive=inclusive)
    service.ask = service.ask_finer
    start, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 3, 3, tzinfo=UTC)
    chunks = await read(service, start, end)
    assert len(chunks) > 1
    assert rows(chunks) == pytest.approx(right(service, start, end))
    assert_totals(chunks)


CLOCKS = [
    ("Australia/Lord_Howe", "days"),
    ("Australia/Lord_Howe", "weeks"),
    ("Europe/Amsterdam", "days"),
    ("America/New_York", "weeks"),
    ("Africa/Cairo", "days"),
    ("America/Havana", "days"),
    ("Antarctica/Troll", "days"),
]


@pytest.mark.parametrize(
    ("labels", "inclusive"), [("site", False), ("site", True), ("24", False), ("24", True)]
)
@pytest.mark.parametrize(("zone", "interval"), CLOCKS)
async def test_days_are_the_sites_own_where_its_clocks_change(zone, interval, labels, inclusive):
    """Clocks change by 30, 60 or 120 minutes or at midnight; a server may count days of 24 hours."""
    service = Recorder(zone, interval, labels, inclusive=inclusive)
    start = service.calendar.floor(interval, datetime(2025, 1, 2, tzinfo=UTC))
    end = service.calendar.floor(interval, datetime(2026, 1, 2, tzinfo=UTC))
    chunks = await read(service, start, end)
    assert rows(chunks) == pytest.approx(right(service, start, end))
    assert_totals(chunks)


@pytest.mark.parametrize("labels", ["site", "24", "date", "utc"])
@pytest.mark.parametrize(
    "zone", ["Australia/Adelaide", "America/St_Johns", "Asia/Kolkata", "Australia/Lord_Howe"]
)
async def test_days_that_begin_at_half_past(zone, labels):
    """15 minutes are requested where a day does not begin at a full hour, so no day is half an hour off."""
    service = Recorder(zone, "days", labels)
    start = service.calendar.midnight(date(2025, 1, 2))
    end = service.calendar.midnight(date(2026, 1, 2))
    chunks = await read(service, start, end)
    assert rows(chunks) == pytest.approx(right(service, start, end))
    assert_totals(chunks)


async def test_a_bucket_without_hours_is_requested_alone():
    """A service may have deleted old hours; its days are still returned."""
    since = datetime(2025, 3, 5, 5, tzinfo=UTC)
    service = Recorder("America/New_York", "days", "date", hours_since=since)
    start = service.calendar.midnight(date(2025, 2, 20))
    end = service.calendar.midnight(date(2025, 3, 15))
    chunks = await read(service, start, end)
    assert rows(chunks) == pytest.approx(right(service, start, end))
    assert_totals(chunks)
    whole, steady = 1, 3  # a day of 23 hours lies in it
    assert len(service.asked) == whole + steady + 13


async def test_means_are_averaged_and_extremes_kept():
    """The total of a measurement is not a sum."""
    service = Recorder("America/New_York", "days")
    start = service.calendar.midnight(date(2025, 2, 20))

    async def ask(begin, end):
        label = UTC_DAYS.midnight(date(2025, 2, 20))
        return Stats(series=(power([ms(label)], [1.0]),), totals={"consumption": 5.0})

    async def ask_finer(begin, end, step):
        return Stats(series=(power([ms(begin + hour * HOUR) for hour in range(24)], range(24)),))

    def power(times, values):
        values = [*map(float, values)]
        low, high = [value - 1 for value in values], [value + 1 for value in values]
        return Series(code="consumption", unit="W", times_ms=times, value=values, minimum=low, maximum=high)

    service.ask, service.ask_finer = ask, ask_finer
    (chunk,) = await read(service, start, start + DAY)
    series = chunk.data["consumption"]
    assert (list(series), series.minimum, series.maximum) == ([(start, 11.5)], [-1.0], [24.0])
    assert chunk.data.totals == {"consumption": None}


async def test_running_times_add_up():
    """VRM's table lists them among the energies, although they are none."""
    service = Recorder("America/New_York", "days")
    start = service.calendar.midnight(date(2025, 2, 20))

    async def ask(begin, end):
        label = UTC_DAYS.midnight(date(2025, 2, 20))
        return Stats(series=(Series(code="Tgs", times_ms=[ms(label)], value=[9.0]),), totals={"Tgs": 9.0})

    async def ask_finer(begin, end, step):
        times = [ms(begin + hour * HOUR) for hour in range(24)]
        return Stats(series=(Series(code="Tgs", times_ms=times, value=[0.5] * 24),))

    service.ask, service.ask_finer = ask, ask_finer
    (chunk,) = await read(service, start, start + DAY)
    assert (list(chunk.data["Tgs"]), chunk.data.totals) == ([(start, 12.0)], {"Tgs": 12.0})

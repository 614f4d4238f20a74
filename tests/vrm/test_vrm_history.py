"""Histories of stats against a simulated service: chunks, edges of buckets, caps and checkpoints."""

import asyncio
import json
import tracemalloc
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import BadRequest, DecodeError, NoData, ServerFault
from energy_core.local_days import time_range
from tests.servers.vrm_history import DAY, FixedClock, Service, ms
from vrm_async import Calendar
from vrm_async.history.base import REREAD
from vrm_async.history.chunks import CAPS, BucketEdges
from vrm_async.history.joining import to_one_bucket
from vrm_async.history.stats import SiteFacts, StatsHistory
from vrm_async.models import Series, Stats

AMSTERDAM = Calendar("Europe/Amsterdam")
CASABLANCA = Calendar("Africa/Casablanca")
HOUR = timedelta(hours=1)


def utc(*chunks):
    return datetime(*chunks, tzinfo=UTC)


def plain(*chunks):
    return utc(*chunks).replace(tzinfo=None)


def history(service, start=None, end=None, *, clock=None, created=None, **options):
    async def find_facts():
        return SiteFacts(calendar=service.calendar, created=created)

    options = {"reread": REREAD, "checkpoint": None, "interval": service.interval, **options}
    return StatsHistory(
        "test",
        service.answer,
        find_facts,
        time_range=time_range(start, end, required=False),
        clock=clock or FixedClock(),
        **options,
    )


async def read(service, start, end, **options):
    return [chunk async for chunk in history(service, start, end, **options)]


def times(chunks):
    return [time for chunk in chunks for time, _ in chunk.data["Pc"] if chunk.data.series]


@pytest.mark.parametrize(
    ("calendar", "day", "hours"),
    [
        (AMSTERDAM, date(2026, 3, 29), 23),
        (AMSTERDAM, date(2026, 10, 25), 25),
        (AMSTERDAM, date(2026, 7, 1), 24),
        (CASABLANCA, date(2026, 2, 15), 25),
        (CASABLANCA, date(2026, 3, 22), 23),
        (CASABLANCA, date(2026, 7, 1), 24),
    ],
)
@pytest.mark.parametrize("day_of_24_hours", [False, True], ids=["the site's days", "days of 24 hours"])
async def test_days_have_23_and_25_hours_where_clocks_change(calendar, day, hours, day_of_24_hours):
    """Hours of the day are counted in full, and a month of days has each of them, as long as it was.

    That holds whether VRM follows the site's clocks or counts days of 24 hours.
    """
    span = calendar.day(day)
    by_hour = Service(calendar, "hours")
    assert len(times(await read(by_hour, *span))) == hours
    by_day = Service(calendar, "days", day_of_24_hours=day_of_24_hours)
    month = calendar.month(day.year, day.month)
    chunks = await read(by_day, *month)
    assert times(chunks) == [each.start for each in calendar.each("days", month)]
    lengths = [
        after - before for before, after in zip(times(chunks), [*times(chunks)[1:], month.end], strict=True)
    ]
    assert lengths[day.day - 1] == hours * HOUR
    assert set(lengths) == {24 * HOUR, hours * HOUR}


@pytest.mark.parametrize("calendar", [AMSTERDAM, CASABLANCA, Calendar("Asia/Kolkata")], ids=str)
@pytest.mark.parametrize("interval", CAPS)
async def test_any_range_is_read_in_chunks_within_the_caps(calendar, interval):
    """Eleven years come without gap or duplicate, and no request is longer than its cap."""
    start, end = calendar.year(2015).start, calendar.year(2025).end
    if interval in {"15mins", "hours", "2hours"}:
        start = calendar.year(2024).start
    service = Service(calendar, interval, inclusive=True)
    chunks = await read(service, start, end)
    edges = BucketEdges(interval, calendar)
    edge = edges.floor(start)
    for time in times(chunks):
        assert time == edge
        edge = edges.next(edge)
    assert edge == edges.ceil(end)
    assert [chunk.end for chunk in chunks[:-1]] == [chunk.start for chunk in chunks[1:]]
    cap = CAPS[interval]
    longest = max(stop - begin for begin, stop in service.asked)
    assert longest <= (cap.days * DAY if cap.days else (cap.months // 12 * 365 + 2) * DAY)
    assert len(chunks) <= (end - start) / (longest * 0.9) + 1


async def test_two_buckets_of_one_day_are_aggregated():
    """Energies are added, measurements weighted by duration, minimum and maximum kept."""
    span = AMSTERDAM.day(date(2026, 10, 25))
    moments = [ms(span.start), ms(span.start + DAY)]
    energy = to_one_bucket(Series(code="Pc", unit="kWh", times_ms=moments, value=[5.0, 1.0]), *span)
    assert list(energy) == [(span.start, 6.0)]
    power = Series(
        code="bs",
        times_ms=moments,
        value=[50.0, 75.0],
        minimum=[10.0, None],
        maximum=[80.0, 90.0],
    )
    day = to_one_bucket(power, *span)
    assert (day.value, day.minimum, day.maximum) == ((51.0,), (10.0,), (90.0,))
    nothing = to_one_bucket(
        Series(code="x", times_ms=moments, value=[None, None], minimum=[None, None]), *span
    )
    assert (nothing.value, nothing.minimum) == ((None,), (None,))


async def test_months_never_span_more_than_the_cap_on_any_calendar():
    """24 months from a Ramadan month on are an hour too many in UTC, so the chunk has 23."""
    start = CASABLANCA.month(2023, 3).start
    service = Service(CASABLANCA, "months")
    await read(service, start, CASABLANCA.month(2026, 5).end)
    assert service.asked[0] == (start, CASABLANCA.month(2025, 2).start)
    for begin, stop in service.asked:
        years = (stop.year - begin.year) * 12 + stop.month - begin.month
        assert (years, stop.day, stop.time()) <= (24, begin.day, begin.time())


async def test_a_midnight_at_half_past_may_be_labelled_with_its_hour():
    """VRM keeps whole hours of UTC. India's days begin at half past; each day still comes once."""
    calendar = Calendar("Asia/Kolkata")
    service = Service(calendar, "days", inclusive=True)

    async def ask(start, end):
        found = await Service.ask(service, start, end)
        labels = [time - time % 3_600_000 for time in found["Pc"].times_ms]
        return Stats(series=(Series(code="Pc", times_ms=labels, value=found["Pc"].value),))

    service.ask = ask
    chunks = await read(service, *calendar.year(2025))
    assert [time + HOUR / 2 for time in times(chunks)] == [
        day.start for day in calendar.each("days", calendar.year(2025))
    ]


async def test_a_range_is_widened_to_whole_buckets():
    """A range that begins or ends inside a bucket includes that bucket."""
    service = Service(AMSTERDAM, "months")
    await read(service, utc(2026, 3, 29, 12), utc(2026, 5, 2))
    assert service.asked == [(AMSTERDAM.month(2026, 3).start, AMSTERDAM.month(2026, 5).end)]
    service = Service(AMSTERDAM, "hours")
    await read(service, utc(2026, 3, 29, 12, 7), utc(2026, 3, 29, 13, 1))
    assert service.asked == [(utc(2026, 3, 29, 12), utc(2026, 3, 29, 14))]


async def test_chunks_without_data_are_empty_and_no_error():
    """Chunks before the first data are empty; a month of zeros is not."""
    service = Service(since=utc(2026, 3, 1))
    chunks = await read(service, utc(2026, 1, 1), utc(2026, 4, 1))
    assert [chunk.empty for chunk in chunks] == [True, False, False]
    assert chunks[0].data.series == ()
    assert (chunks[0].start, chunks[-1].end) == (utc(2026, 1, 1), utc(2026, 4, 1))


async def test_weeks_are_requested_with_the_larger_cap_and_then_with_the_stricter():
    """A server with a cap of 140 days answers 140 weeks with no data; the data is found all the same."""
    calendar = Calendar("UTC")
    start, end = utc(2020, 1, 6), utc(2026, 1, 5)
    generous = Service(calendar, "weeks", cap=140 * 7 * DAY)
    assert len(times(await read(generous, start, end))) == 313
    assert len(generous.asked) == 3
    strict = Service(calendar, "weeks", cap=140 * DAY)
    chunks = await read(strict, start, end)
    assert len(times(chunks)) == 313
    assert not any(chunk.empty for chunk in chunks)
    assert max(stop - begin for begin, stop in strict.asked[1:]) == 140 * DAY
    silent = Service(calendar, "weeks", since=utc(2030, 1, 1))
    assert all(chunk.empty for chunk in await read(silent, start, end))


async def test_weeks_are_narrowed_after_a_refusal_of_the_parameters_too():
    """A 422 to the larger cap is not raised; one to the stricter cap is."""
    service = Service(Calendar("UTC"), "weeks")
    service.errors = [BadRequest("too long", status=422)]
    assert len(times(await read(service, utc(2024, 1, 1), utc(2026, 1, 5)))) == 105
    service.errors = [BadRequest("too long", status=422), BadRequest("no", status=422)]
    with pytest.raises(BadRequest, match="no"):
        await read(service, utc(2024, 1, 1), utc(2026, 1, 5))


async def test_buckets_outside_the_range_and_duplicates_are_left_out():
    """Of buckets before the start, at the end, unordered or duplicate, one point each remains, the last."""
    service = Service()

    async def ask(start, end):
        found = await Service.ask(service, start, end)
        series = found["Pc"]
        hour = 3_600_000
        moments = [
            series.times_ms[0] - hour,
            *series.times_ms,
            series.times_ms[0],
            series.times_ms[-1] + hour,
        ]
        values = [9.0, *series.value, 5.0, 9.0]
        return type(found)(series=(type(series)(code="Pc", times_ms=moments, value=values),))

    service.ask = ask
    chunks = await read(service, utc(2026, 1, 1), utc(2026, 1, 1, 3))
    assert list(chunks[0].data["Pc"]) == [
        (utc(2026, 1, 1, 0), 5.0),
        (utc(2026, 1, 1, 1), 1.0),
        (utc(2026, 1, 1, 2), 1.0),
    ]


async def test_a_checkpoint_is_small_and_resumes_the_history():
    """Stored as JSON and given back, it resumes where the reader stopped, and rereads the last days."""
    service, wall = Service(since=utc(2026, 1, 1)), FixedClock(utc(2026, 3, 10, 12, 30))
    first = history(service, utc(2026, 1, 1), clock=wall)
    chunks = [chunk async for chunk in first]
    assert chunks[-1].end == utc(2026, 3, 10, 13)
    assert not any(chunk.overlaps_checkpoint for chunk in chunks)
    stored = json.dumps(first.checkpoint)
    assert len(stored) < 200
    wall.now = utc(2026, 3, 12, 9)
    service.asked.clear()
    second = history(service, utc(2026, 1, 1), clock=wall, checkpoint=json.loads(stored))
    chunks = [chunk async for chunk in second]
    assert service.asked == [(utc(2026, 3, 8, 12), utc(2026, 3, 12, 9))]
    assert chunks[0].overlaps_checkpoint
    assert chunks[0].settled_until == utc(2026, 3, 10, 9)


async def test_a_checkpoint_never_lies_in_the_future():
    """A history that was read at noon to the end of the day resumes from noon."""
    wall = FixedClock(utc(2026, 3, 10, 12))
    day = history(Service(), utc(2026, 3, 10), utc(2026, 3, 11), clock=wall)
    await anext(day)
    assert datetime.fromtimestamp(day.checkpoint["until"], UTC) == wall.now


async def test_the_checkpoint_of_a_chunk_resumes_with_the_next():
    """A reader that stops after any chunk misses nothing and, with reread of 0, gets no duplicate."""
    whole = await read(Service(), utc(2026, 1, 1), utc(2026, 6, 1))
    rest = await read(
        Service(), utc(2026, 1, 1), utc(2026, 6, 1), checkpoint=whole[1].checkpoint, reread=timedelta()
    )
    assert times(whole[:2]) + times(rest) == times(whole)


@pytest.mark.parametrize(
    ("checkpoint", "error"),
    [
        ({}, ValueError),
        ({"v": 2, "of": "test", "until": 1}, ValueError),
        ({"v": 1, "of": "other", "until": 1}, ValueError),
        ({"v": 1, "of": "test", "until": "soon"}, ValueError),
        ({"v": 1, "of": "test", "until": 10**30}, ValueError),
        ({"v": 1, "of": "test", "until": True}, ValueError),
        ("test", TypeError),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(checkpoint, error):
    """It is a ValueError before anything is requested."""
    with pytest.raises(error, match="checkpoint"):
        history(Service(), utc(2026, 1, 1), checkpoint=checkpoint)


async def test_a_failed_step_is_repeated():
    """The next step requests the same chunk: an error makes no gap."""
    service = Service()
    reader = history(service, utc(2026, 1, 1), utc(2026, 3, 1))
    first = await anext(reader)
    service.errors = [ServerFault("down", status=503)]
    with pytest.raises(ServerFault):
        await anext(reader)
    second = await anext(reader)
    assert second.start == first.end
    assert len(service.asked) == 3
    with pytest.raises(StopAsyncIteration):
        await anext(reader)


async def test_two_tasks_share_one_history():
    """Together they get each chunk once."""
    reader = history(Service(), utc(2025, 1, 1), utc(2026, 1, 1))

    async def take():
        return [chunk async for chunk in reader]

    both = [chunk for taken in await asyncio.gather(take(), take()) for chunk in taken]
    alone = await read(Service(), utc(2025, 1, 1), utc(2026, 1, 1))
    assert sorted(chunk.start for chunk in both) == [chunk.start for chunk in alone]


async def test_without_a_start_a_history_begins_on_the_sites_first_day():
    """It is VRM's time of the site's creation; without it a start is required."""
    service = Service(AMSTERDAM, "days")
    created = utc(2026, 10, 20, 15, 33)
    chunks = await read(service, None, None, created=created)
    assert chunks[0].start == AMSTERDAM.midnight(date(2026, 10, 20))
    with pytest.raises(DecodeError, match="pass start"):
        await read(service, None, None)


@pytest.mark.parametrize("created", [utc(1969, 12, 31), utc(1970, 1, 1), utc(1999, 12, 31), utc(2200, 1, 1)])
async def test_an_impossible_first_day_is_an_error(created):
    """The range never silently includes decades without a site, and is never empty."""
    with pytest.raises(DecodeError, match=f"{created.date()}.*pass start"):
        await read(Service(AMSTERDAM, "days"), None, None, created=created)


async def test_buckets_begin_after_1970():
    """The bucket that contains the epoch is not requested if it begins before."""
    reader = history(Service(AMSTERDAM, "days", since=utc(2026, 1, 1)), utc(1970, 1, 1), None)
    chunk = await anext(reader)
    assert chunk.empty
    assert chunk.start == AMSTERDAM.midnight(date(1970, 1, 2))


async def test_rows_are_buckets_with_all_their_codes():
    """They come in order over all chunks; their checkpoint waits for the end of a chunk."""
    service = Service()
    service.codes = ("Pc", "Gc")
    rows = history(service, utc(2026, 1, 1), utc(2026, 2, 2)).rows()
    assert rows.checkpoint is None
    got = [await anext(rows)]
    assert rows.checkpoint is None
    got += [row async for row in rows]
    assert len(got) == 32 * 24
    assert got[0] == (utc(2026, 1, 1), {"Pc": 1.0, "Gc": 1.0})
    assert [time for time, _ in got] == sorted({time for time, _ in got})
    assert rows.checkpoint["until"] == int(utc(2026, 2, 2).timestamp())


async def test_a_year_of_hours_takes_no_more_memory_than_a_month():
    """Ten codes over four years take the memory of one chunk."""
    service = Service()
    service.codes = tuple("abcdefghij")

    async def peak(end):
        service.asked.clear()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        count = 0
        async for chunk in history(service, utc(2022, 1, 1), end):
            count += len(chunk.data["a"])
        return count, tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        await peak(utc(2022, 2, 1))
        _, month = await peak(utc(2022, 3, 1))
        count, years = await peak(utc(2026, 1, 1))
    finally:
        tracemalloc.stop()
    assert count == 1461 * 24
    assert years < 1.3 * month + 50_000


@given(
    st.sampled_from(sorted(CAPS)),
    st.sampled_from(["Europe/Amsterdam", "Africa/Casablanca", "America/Santiago", "Australia/Lord_Howe"]),
    st.datetimes(plain(2000, 1, 1), plain(2030, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(minutes=1), timedelta(days=4000)),
)
def test_every_chunk_ends_at_an_edge_within_its_cap(interval, place, start, length):
    """From any edge, a chunk is longer than 0, ends at an edge, and not after its cap or the end."""
    edges = BucketEdges(interval, Calendar(place))
    begin, end = edges.floor(start), edges.ceil(start + length)
    stop = edges.reach(begin, end, CAPS[interval])
    assert begin < stop <= end
    assert edges.floor(stop) == stop
    days = CAPS[interval].days or CAPS[interval].months // 12 * 365 + 2
    assert stop - begin <= days * DAY


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": plain(2026, 1, 1)}, "aware"),
        ({"start": utc(2026, 1, 2), "end": utc(2026, 1, 1)}, "end must be after start"),
        ({"start": utc(1960, 1, 1)}, "1970"),
        ({"start": utc(2026, 1, 1), "reread": -DAY}, "reread"),
    ],
)
def test_wrong_ranges_are_refused_before_anything_is_sent(options, message):
    """The error names the argument."""
    with pytest.raises(ValueError, match=message):
        history(Service(), **options)


async def test_an_error_other_than_no_data_is_raised():
    """A refusal of permission is not an empty chunk."""
    service = Service()
    service.errors = [BadRequest("wrong type", status=400)]
    with pytest.raises(BadRequest):
        await read(service, utc(2026, 1, 1), utc(2026, 1, 2))
    service.errors = [NoData("none")]
    assert (await read(service, utc(2026, 1, 1), utc(2026, 1, 2)))[0].empty

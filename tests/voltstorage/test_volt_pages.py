"""Long ranges: pages, their seams, their class in the lane, progress, and where they break."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import BadRequest, DecodeError, PermissionDenied, StreamClosed
from energy_core.http.operation import Priority
from energy_core.http.rate_limiter import RateLimiter
from voltstorage_async.export.chunks import ChunkSeam, ExportChunk, ExportChunks
from voltstorage_async.export.csv import CsvRows
from voltstorage_async.models import ExportProgress

START = datetime(2020, 3, 25, tzinfo=UTC)
HOUR = timedelta(hours=1)


def line(at: datetime, *cells: str) -> str:
    return ",".join([at.isoformat(timespec="milliseconds"), *cells]) + "\r\n"


def history(*rows: tuple[datetime, str, str], head: str = "Time,a,b") -> str:
    return f"sep=,\r\n{head}\r\n" + "".join(line(*row) for row in rows)


@pytest.fixture
def recorded(service):
    """A service that holds a row every half hour, ends included, and begins each export with a whole one."""
    every = [START + n * HOUR / 2 for n in range(200)]

    async def export(request: web.Request) -> web.Response:
        begin, end = (
            datetime.fromtimestamp(float(request.query.get(name, "1e10")), UTC) for name in ("from", "to")
        )
        found = [at for at in every if begin <= at <= end]
        rows = [(at, str(every.index(at)), "" if n else "7") for n, at in enumerate(found)]
        return web.Response(text=history(*rows))

    service.export = export
    return every


@given(st.integers(0, 10**7), st.integers(60, 10**6), st.booleans())
def test_pages_cover_the_range(seconds, length, open_end):
    """Each page begins where the one before ends, none is longer than asked, and the last ends the range."""
    end = START + timedelta(seconds=seconds)
    cut = ExportChunks(START, None if open_end else end, timedelta(seconds=length), end)
    found = [cut[at] for at in range(len(cut))]
    assert found[0].start == START
    assert found[-1].end == (None if open_end else end)
    assert all(one.end == two.start for one, two in pairwise(found))
    assert all(timedelta() < page.end - page.start <= cut.length for page in found[:-1])
    assert end - found[-1].start <= cut.length


def test_a_thousand_years_of_pages_cost_nothing():
    """Pages are made when they are asked for."""
    cut = ExportChunks(START, START + timedelta(days=365_250), timedelta(minutes=1), START)
    assert len(cut) == 365_250 * 1440
    assert cut[1] == ExportChunk(START + timedelta(minutes=1), START + timedelta(minutes=2))


async def test_a_long_range_is_read_in_pages(service, served, recorded):
    """Every row comes once, in order, whatever the seams repeat."""
    end = START + 10 * HOUR
    async with served.export.rows(77, START, end, chunk=3 * HOUR) as rows:
        got = [(row.time, row.values["a"]) async for row in rows]
    assert got == [(at, float(n)) for n, at in enumerate(recorded) if at <= end]
    asked = [(float(query["from"]), float(query["to"])) for _, _, query in service.requests]
    assert [begin for begin, _ in asked[1:]] == [end for _, end in asked[:-1]]
    assert len(asked) == 4


async def test_a_day_is_one_request_and_longer_ranges_are_days(service, served, recorded):
    """The default page is a day."""
    for days, requests in ((1, 1), (2, 2), (2.5, 3)):
        service.requests.clear()
        async with served.export.rows(77, START, START + timedelta(days=days)) as rows:
            count = len([row async for row in rows])
        assert (len(service.requests), count) == (requests, days * 48 + 1)


async def test_an_open_range_ends_with_an_open_page(service, served, recorded):
    """The last page of a range without end asks for no end: the service knows best what now is."""
    begin = datetime.now(UTC) - timedelta(hours=30)
    async with served.export.rows(77, begin, chunk=timedelta(days=1)) as rows:
        assert [row async for row in rows] == []
    assert ["to" in query for _, _, query in service.requests] == [True, False]


async def test_an_open_range_is_one_request_unless_pages_are_asked_for(service, served, recorded):
    """However long ago it begins, the vendor's own way to ask for everything until now is kept."""
    async with served.export.rows(77, datetime.now(UTC) - timedelta(days=2000)) as rows:
        assert [row async for row in rows] == []
    assert ["to" in query for _, _, query in service.requests] == [False]


async def test_long_ranges_wait_behind_everything_else(service, served, recorded, monkeypatch):
    """Several pages are background, one is interactive, and the caller has the last word."""
    seen = []
    enter = RateLimiter.try_acquire
    monkeypatch.setattr(
        RateLimiter, "try_acquire", lambda lane, priority: seen.append(priority) or enter(lane, priority)
    )
    for hours, wish, expected in (
        (2, None, Priority.INTERACTIVE),
        (30, None, Priority.BACKGROUND),
        (30, Priority.INTERACTIVE, Priority.INTERACTIVE),
        (2, Priority.BACKGROUND, Priority.BACKGROUND),
    ):
        async with served.export.rows(77, START, START + hours * HOUR, priority=wish) as rows:
            await anext(rows)
            seen.clear()
        async with served.export.rows(77, START, START + hours * HOUR, priority=wish) as rows:
            async for _ in rows:
                pass
        assert set(seen) == {expected}


async def test_progress_says_how_far_it_has_come(served, recorded):
    """Page, rows and the moment before which everything has arrived; the last says the end."""
    told: list[ExportProgress] = []
    end = START + 5 * HOUR
    async with served.export.rows(77, START, end, chunk=2 * HOUR, progress=told.append) as rows:
        async for _ in rows:
            pass
    assert told[-1] == ExportProgress(chunk=3, chunks=3, rows=11, reached=end)
    assert sorted(told) == told
    assert START + 2 * HOUR in {one.reached for one in told}


async def test_columns_are_those_of_all_pages(service, served):
    """Names that come or go over the years are all there, in the order of their coming."""
    heads = iter(["Time,a,b", "Time,b,c c"])

    async def export(request):
        at = datetime.fromtimestamp(float(request.query["from"]) + 1, UTC)
        return web.Response(text=history((at, "1", "2"), head=next(heads)))

    service.export = export
    async with served.export.rows(77, START, START + 2 * HOUR, chunk=HOUR) as rows:
        assert [row.values async for row in rows] == [{"a": 1.0, "b": 2.0}, {"b": 1.0, "c c": 2.0}]
        assert rows.columns == ("a", "b", "c c")


async def test_a_page_that_breaks_off_keeps_what_came_before(service, served):
    """A CSV that ends in the middle of a line: its rows, those of the pages before, then one typed error."""
    good = history((START, "1", "2"), (START + HOUR / 2, "3", "4"))
    bodies = iter([good, history((START + HOUR, "5", "6")) + "2020-03-25T02:0"])

    async def export(request):
        return web.Response(text=next(bodies))

    service.export = export
    rows, got = served.export.rows(77, START, START + 3 * HOUR, chunk=HOUR), []
    with pytest.raises(DecodeError, match="middle of a line") as caught:  # noqa: PT012
        async for row in rows:
            got.append(row.values["a"])  # noqa: PERF401
    assert got == [1.0, 3.0, 5.0]
    assert (caught.value.kind, caught.value.operation) == ("csv", "export.rows")
    with pytest.raises(StreamClosed):
        await anext(rows)


@pytest.mark.parametrize(("status", "error"), [(400, BadRequest), (403, PermissionDenied)])
async def test_a_page_that_is_refused_keeps_what_came_before(service, served, status, error):
    """A refusal on the second page comes after the rows of the first."""
    answers = iter([web.Response(text=history((START, "1", "2"))), web.json_response({}, status=status)])

    async def export(request):
        return next(answers)

    service.export = export
    rows, got = served.export.rows(77, START, START + 2 * HOUR, chunk=HOUR), []
    with pytest.raises(error):  # noqa: PT012
        async for row in rows:
            got.append(row)  # noqa: PERF401
    assert len(got) == 1


async def test_blocks_hold_the_rows(served, recorded):
    """Blocks are the same rows, none empty, and may be taken up after single rows."""
    end = START + 9 * HOUR
    async with served.export.rows(77, START, end, chunk=2 * HOUR) as rows:
        single = [row async for row in rows]
    async with served.export.rows(77, START, end, chunk=2 * HOUR) as rows:
        first = await anext(rows)
        blocks = [block async for block in rows.blocks()]
    assert all(blocks)
    assert [first, *(row for block in blocks for row in block)] == single


async def test_filled_rows_carry_values_over_seams(served, recorded):
    """With forward fill every row has every column, and only the first of each page had it itself."""
    async with served.export.rows(77, START, START + 4 * HOUR, chunk=HOUR) as rows:
        filled = [row async for row in rows.filled()]
    assert all(row.values.keys() == {"a", "b"} for row in filled)
    assert Counter("b" in row.measured for row in filled) == {True: 1, False: 8}


async def test_pages_have_a_least_length(served):
    """A page is a timedelta of at least a minute."""
    with pytest.raises(ValueError, match="chunk"):
        served.export.rows(77, START, chunk=timedelta(0))
    with pytest.raises(TypeError, match="chunk"):
        served.export.rows(77, START, chunk=60)


def test_a_seam_keeps_two_rows_of_one_moment_apart():
    """Only a row that has all cells of an earlier one is that row again."""

    def rows(*cells):
        return CsvRows().feed(history(*((START, *pair) for pair in cells)).encode())

    seam = ChunkSeam()
    seam.keep(rows(("1", ""), ("", "2")))
    again = rows(("1", ""), ("1", "2"), ("", "3"), ("", ""), ("", "2"))
    assert [row.values for row in seam.fresh(again)] == [{"b": 3.0}, {}]


@pytest.mark.parametrize("most", [100, 128, 300])
async def test_a_service_that_gives_only_so_many_rows_is_asked_on(service, served, most):
    """An answer of a round number of rows is asked on from its last row, until one brings nothing new."""
    every = [START + n * timedelta(minutes=1) for n in range(700)]
    asked = []

    async def export(request):
        begin, end = (datetime.fromtimestamp(float(request.query[name]), UTC) for name in ("from", "to"))
        asked.append(begin)
        found = [at for at in every if begin <= at <= end][:most]
        return web.Response(text=history(*((at, str(every.index(at)), "") for at in found)) + "broken\r\n")

    service.export = export
    rows = served.export.rows(77, START, START + 24 * HOUR)
    got = [row async for row in rows]
    assert [row.time for row in got] == every
    assert [row.values["a"] for row in got] == list(range(700))
    assert len(asked) == len(set(asked)) > 700 // most
    assert rows.malformed == len(asked)


async def test_a_round_number_of_rows_may_be_all_there_are(service, served):
    """One more request says so; what it repeats comes once, and is counted once."""
    every = [START + n * timedelta(minutes=1) for n in range(200)]

    async def export(request):
        begin = datetime.fromtimestamp(float(request.query["from"]), UTC)
        found = [at for at in every if begin <= at]
        return web.Response(text=history(*((at, str(every.index(at)), "") for at in found)) + "broken\r\n")

    service.export = export
    rows = served.export.rows(77, START, START + 24 * HOUR)
    assert [row.time async for row in rows] == every
    assert (rows.received, rows.malformed) == (200, 1)
    assert served.drift.counts["ExportRow", "record", "malformed"] == 1


async def test_a_service_that_ignores_the_range_ends_the_export(service, served):
    """The same rows again and again are told once, and not for ever."""
    every = [START + n * timedelta(minutes=1) for n in range(100)]
    body = history(*((at, "1", "") for at in every))

    async def export(request):
        return web.Response(text=body)

    service.export = export
    assert [row.time async for row in served.export.rows(77, START, START + 24 * HOUR)] == every

"""Long exports: chunks, duplicates at their borders, priority, progress and errors."""

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
from voltstorage_async import VoltStorageClient
from voltstorage_async.export.chunks import ChunkSeam, ExportChunk, ExportChunks
from voltstorage_async.export.csv import CsvRows
from voltstorage_async.models import ExportProgress

START = datetime(2020, 3, 25, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


def line(at: datetime, *cells: str) -> str:
    return ",".join([at.isoformat(timespec="milliseconds"), *cells]) + "\r\n"


def history(*rows: tuple[datetime, str, str], head: str = "Time,a,b") -> str:
    return f"sep=,\r\n{head}\r\n" + "".join(line(*row) for row in rows)


@pytest.fixture
def recorded(service):
    """The times of a service with a row every half hour; the first row of each export is complete."""
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
def test_chunks_cover_the_range(seconds, length, open_end):
    """Each chunk begins where the previous one ends; none is longer than requested."""
    end = START + timedelta(seconds=seconds)
    cut = ExportChunks(START, None if open_end else end, timedelta(seconds=length), end)
    found = [cut[at] for at in range(len(cut))]
    assert found[0].start == START
    assert found[-1].end == (None if open_end else end)
    assert all(one.end == two.start for one, two in pairwise(found))
    assert all(timedelta() < chunk.end - chunk.start <= cut.length for chunk in found[:-1])
    assert end - found[-1].start <= cut.length


def test_chunks_are_made_on_demand():
    """A thousand years of minutes need no memory."""
    cut = ExportChunks(START, START + timedelta(days=365_250), timedelta(minutes=1), START)
    assert len(cut) == 365_250 * 1440
    assert cut[1] == ExportChunk(START + timedelta(minutes=1), START + timedelta(minutes=2))


async def test_a_long_range_is_read_in_chunks(service, served, recorded):
    """Each row comes once, in order, although the service includes both ends of a chunk."""
    end = START + 10 * HOUR
    async with served.export.rows(77, START, end, chunk=3 * HOUR) as rows:
        got = [(row.time, row.values["a"]) async for row in rows]
    assert got == [(at, float(n)) for n, at in enumerate(recorded) if at <= end]
    asked = [(float(query["from"]), float(query["to"])) for _, _, query in service.requests]
    assert [begin for begin, _ in asked[1:]] == [end for _, end in asked[:-1]]
    assert len(asked) == 4


async def test_the_default_chunk_is_a_day(service, served, recorded):
    """Longer ranges need several requests."""
    for days, requests in ((1, 1), (2, 2), (2.5, 3)):
        service.requests.clear()
        async with served.export.rows(77, START, START + timedelta(days=days)) as rows:
            count = len([row async for row in rows])
        assert (len(service.requests), count) == (requests, days * 48 + 1)


async def test_an_open_range_ends_with_an_open_chunk(service, noon, recorded):
    """The last request has no end: the service's clock decides."""
    begin = NOON - timedelta(hours=30)
    async with VoltStorageClient(
        email="a@example.com", password="right", base_url=service.base_url, clock=noon
    ) as client:
        assert [row async for row in client.export.rows(77, begin, chunk=timedelta(days=1))] == []
    assert ["to" in query for _, _, query in service.requests] == [True, False]


async def test_an_open_range_without_a_chunk_is_one_request(service, served, recorded):
    """Whenever it begins."""
    async with served.export.rows(77, NOON - timedelta(days=2000)) as rows:
        assert [row async for row in rows] == []
    assert ["to" in query for _, _, query in service.requests] == [False]


async def test_several_chunks_have_background_priority(service, served, recorded, monkeypatch):
    """A single chunk is interactive; the caller may choose otherwise."""
    seen = []
    try_acquire = RateLimiter.try_acquire

    def noted(limiter, priority):
        seen.append(priority)
        return try_acquire(limiter, priority)

    monkeypatch.setattr(RateLimiter, "try_acquire", noted)
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


async def test_progress_is_reported_as_rows_arrive(served, recorded):
    """Chunk, rows, and the moment before which all rows have arrived."""
    reported: list[ExportProgress] = []
    end = START + 5 * HOUR
    async with served.export.rows(77, START, end, chunk=2 * HOUR, progress=reported.append) as rows:
        async for _ in rows:
            pass
    assert reported[-1] == ExportProgress(chunk=3, chunks=3, rows=11, reached=end)
    assert sorted(reported) == reported
    assert START + 2 * HOUR in {one.reached for one in reported}


async def test_columns_are_those_of_all_chunks(service, served):
    """In the order of their first appearance."""
    heads = iter(["Time,a,b", "Time,b,c c"])

    async def export(request):
        at = datetime.fromtimestamp(float(request.query["from"]) + 1, UTC)
        return web.Response(text=history((at, "1", "2"), head=next(heads)))

    service.export = export
    async with served.export.rows(77, START, START + 2 * HOUR, chunk=HOUR) as rows:
        assert [row.values async for row in rows] == [{"a": 1.0, "b": 2.0}, {"b": 1.0, "c c": 2.0}]
        assert rows.columns == ("a", "b", "c c")


async def test_a_chunk_that_ends_within_a_line_raises_after_its_rows(service, served):
    """The rows of earlier chunks and the complete rows come first, then one typed error."""
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
async def test_a_rejected_chunk_raises_after_the_rows_of_earlier_chunks(service, served, status, error):
    """The error has the type of its status."""
    answers = iter([web.Response(text=history((START, "1", "2"))), web.json_response({}, status=status)])

    async def export(request):
        return next(answers)

    service.export = export
    rows, got = served.export.rows(77, START, START + 2 * HOUR, chunk=HOUR), []
    with pytest.raises(error):  # noqa: PT012
        async for row in rows:
            got.append(row)  # noqa: PERF401
    assert len(got) == 1


async def test_blocks_have_the_same_rows(served, recorded):
    """No block is empty; blocks may follow single rows."""
    end = START + 9 * HOUR
    async with served.export.rows(77, START, end, chunk=2 * HOUR) as rows:
        single = [row async for row in rows]
    async with served.export.rows(77, START, end, chunk=2 * HOUR) as rows:
        first = await anext(rows)
        blocks = [block async for block in rows.blocks()]
    assert all(blocks)
    assert [first, *(row for block in blocks for row in block)] == single


async def test_filled_rows_carry_values_over_chunks(served, recorded):
    """Each row has all columns; only the first value of `b` was measured."""
    async with served.export.rows(77, START, START + 4 * HOUR, chunk=HOUR) as rows:
        filled = [row async for row in rows.filled()]
    assert all(row.values.keys() == {"a", "b"} for row in filled)
    assert Counter("b" in row.measured for row in filled) == {True: 1, False: 8}


async def test_a_wrong_chunk_raises(served):
    """A chunk is a timedelta of at least a minute."""
    with pytest.raises(ValueError, match="chunk"):
        served.export.rows(77, START, chunk=timedelta(0))
    with pytest.raises(TypeError, match="chunk"):
        served.export.rows(77, START, chunk=60)


def test_different_rows_of_one_moment_are_kept():
    """A duplicate has all cells of an earlier row."""

    def rows(*cells):
        return CsvRows().feed(history(*((START, *pair) for pair in cells)).encode())

    seam = ChunkSeam()
    seam.keep(rows(("1", ""), ("", "2")))
    again = rows(("1", ""), ("1", "2"), ("", "3"), ("", ""), ("", "2"))
    assert [row.values for row in seam.fresh(again)] == [{"b": 3.0}, {}]


@pytest.mark.parametrize("limit", [100, 128, 300])
async def test_a_row_limit_of_the_service_is_detected(service, served, limit):
    """After a round number of rows the rest is requested, until an answer has no new row."""
    every = [START + n * timedelta(minutes=1) for n in range(700)]
    asked = []

    async def export(request):
        begin, end = (datetime.fromtimestamp(float(request.query[name]), UTC) for name in ("from", "to"))
        asked.append(begin)
        found = [at for at in every if begin <= at <= end][:limit]
        return web.Response(text=history(*((at, str(every.index(at)), "") for at in found)) + "broken\r\n")

    service.export = export
    rows = served.export.rows(77, START, START + 24 * HOUR)
    got = [row async for row in rows]
    assert [row.time for row in got] == every
    assert [row.values["a"] for row in got] == list(range(700))
    assert len(asked) == len(set(asked)) > 700 // limit
    assert rows.malformed == len(asked)


async def test_a_round_number_of_rows_may_be_complete(service, served):
    """One more request shows it; its rows are duplicates."""
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


async def test_a_service_that_ignores_the_range_does_not_repeat_rows(service, served):
    """The export ends after one more request."""
    every = [START + n * timedelta(minutes=1) for n in range(100)]
    body = history(*((at, "1", "") for at in every))

    async def export(request):
        return web.Response(text=body)

    service.export = export
    assert [row.time async for row in served.export.rows(77, START, START + 24 * HOUR)] == every

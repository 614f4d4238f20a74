"""ExportRows over real sockets: streamed, bounded, and honest about its end."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from datetime import UTC, datetime

import pytest
from aiohttp import web

from energy_core.errors import ClientClosed, ConnectionLost, StreamBusy, StreamClosed
from tests.servers.scripted_volt import until
from voltstorage_async import VoltStorageClient

START = datetime(2020, 3, 25, tzinfo=UTC)
END = datetime(2020, 3, 26, tzinfo=UTC)
HEAD = b"sep=,\r\nTime,a,b\r\n"
ROW = b"2020-03-25T12:20:41.562+00:00,-49.8754,0.61\r\n"


def answers(*pieces, then=None):
    async def export(request):
        response = web.StreamResponse(headers={"Content-Type": "text/csv"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if then is not None:
            await then(request)
        return response

    return export


async def test_rows_come_while_the_export_is_still_being_written(service, served):
    """A plain `async for` gets each row as soon as its line is whole."""
    seen = asyncio.Event()
    service.export = answers(HEAD + ROW, then=lambda _: asyncio.wait_for(seen.wait(), 5))
    got = []
    async for row in served.export.rows(77, START, END):
        got.append(row.values)
        seen.set()
    assert got == [{"a": -49.8754, "b": 0.61}]


async def test_leaving_early_lets_go(service, served):
    """Leaving the block in the middle closes the connection; the stream then has nothing more."""
    service.export = answers(HEAD + ROW * 3, then=lambda _: service.quiet.wait())
    async with served.export.rows(77, START, END) as rows:
        await anext(rows)
        assert repr(rows) == "<ExportRows open, 3 rows>"
    with pytest.raises(StopAsyncIteration):
        await anext(rows)
    await rows.aclose()


async def test_a_break_in_the_connection_comes_after_what_had_arrived(service, served):
    """Rows first, then one typed error, and never a quiet end."""

    async def cut(request):
        await asyncio.sleep(0.05)
        request.transport.abort()

    service.export = answers(HEAD + ROW * 2, then=cut)
    rows, got = served.export.rows(77, START, END), []
    with pytest.raises(ConnectionLost) as caught:  # noqa: PT012  (what came before counts)
        async for row in rows:
            got.append(row)  # noqa: PERF401
    assert len(got) == 2
    assert caught.value.operation == "export.rows"
    with pytest.raises(StreamClosed):
        await anext(rows)


async def test_a_last_cell_that_may_have_been_cut_is_left_out(service, served):
    """The row comes without it, and is counted once where everything unreadable is."""
    service.export = answers(HEAD + ROW * 2 + ROW[:-3])  # 0.6
    async with served.export.rows(77, START, END) as rows:
        got = [row.values async for row in rows]
    assert got == [{"a": -49.8754, "b": 0.61}] * 2 + [{"a": -49.8754}]
    assert (rows.received, rows.malformed) == (3, 1)
    assert served.drift.counts["ExportRow", "record", "malformed"] == 1


async def test_a_last_cell_is_kept_where_the_length_proves_the_body_whole(service, served):
    """With Content-Length and as many bytes, a last row without a line end is whole."""

    async def export(request):
        return web.Response(body=HEAD + ROW.rstrip(), content_type="text/csv")

    service.export = export
    async with served.export.rows(77, START, END) as rows:
        assert [row.values async for row in rows] == [{"a": -49.8754, "b": 0.61}]
    assert rows.malformed == 0
    assert not served.drift.counts


async def test_an_export_for_another_spreadsheet_is_numbers(service, served):
    """Decimal commas are numbers; one that may mean thousands is counted in the drift as well."""
    german = ROW.replace(b"-49.8754", b'"-49,8754"').replace(b"0.61", b'"0,61"')
    body = HEAD + german + ROW.replace(b"0.61", b'"1.234,5"')

    async def export(request):
        return web.Response(body=body, content_type="text/csv")

    service.export = export
    async with served.export.rows(77, START, END) as rows:
        got = [row.values async for row in rows]
    assert got == [{"a": -49.8754, "b": 0.61}, {"a": -49.8754}]
    assert served.drift.counts == {("ExportRow", "record", "malformed"): 1}


async def test_a_column_that_comes_twice_is_in_the_drift(service, served):
    """A row has one value a name, the last that is there; that another is left out is said."""
    service.export = answers(HEAD.replace(b"b", b"a") + ROW + ROW.replace(b"0.61", b""))
    async with served.export.rows(77, START, END) as rows:
        assert [row.values async for row in rows] == [{"a": 0.61}, {"a": -49.8754}]
    assert served.drift.counts == {("ExportRow", "a", "a column twice"): 1}


async def test_a_cancelled_wait_ends_the_export_and_says_so(service, served):
    """After a cancelled wait the rest is lost, and asking on is an error instead of an early end."""
    service.export = answers(HEAD + ROW, then=lambda _: service.quiet.wait())
    rows = served.export.rows(77, START, END)
    await anext(rows)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(rows)
    with pytest.raises(StreamClosed):
        await anext(rows)


async def test_one_consumer(service, served):
    """A second consumer gets StreamBusy; closing from elsewhere ends the first one's wait."""
    service.export = answers(HEAD, then=lambda _: service.quiet.wait())
    rows = served.export.rows(77, START, END)
    first = asyncio.ensure_future(anext(rows))
    await until(lambda: rows._state == "open")
    with pytest.raises(StreamBusy):
        await anext(rows)
    await rows.aclose()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(first, 2)


async def test_closing_the_client_ends_an_export_with_an_error(service):
    """An export that a closing client cuts off does not look complete."""
    service.export = answers(HEAD + ROW, then=lambda _: service.quiet.wait())
    client = VoltStorageClient(email="a@example.com", password="right", base_url=service.base_url)
    rows = client.export.rows(77, START, END)
    await anext(rows)
    waiting = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0)
    await client._pool.aclose(grace_s=0.05)
    with pytest.raises(ClientClosed):
        await waiting
    await client.aclose()


async def test_an_export_that_is_left_open_warns(service, served):
    """Dropping it in the middle without `async with` is a ResourceWarning."""
    service.export = answers(HEAD + ROW * 3, then=lambda _: service.quiet.wait())
    rows = served.export.rows(77, START, END)
    await anext(rows)
    opened = rows._open
    with pytest.warns(ResourceWarning, match="left open"):  # noqa: PT031
        del rows
        gc.collect()
    await opened.__aexit__(None, None, None)


async def test_memory_does_not_grow_with_the_export(service, served):
    """A hundred thousand rows pass through a few chunks' worth of memory."""
    service.export = answers(HEAD, *[ROW * 1000] * 100)
    count, peak = 0, 0
    async with served.export.rows(77, START, END) as rows:
        await anext(rows)
        tracemalloc.start()
        try:
            async for _ in rows:
                count += 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert count == 99_999
    assert peak < 8 * 1024 * 1024

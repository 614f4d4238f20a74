"""`client.export.rows`: the request, and rows streamed over real sockets."""

from __future__ import annotations

import asyncio
import gc
import re
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from energy_core.errors import ClientClosed, ConnectionLost, StreamBusy, StreamClosed
from energy_core.http.pool import SessionPool
from energy_core.stream.vocabulary import Quantity
from tests.servers.scripted_volt import BASE, TOKEN, until
from voltstorage_async import FieldMap, VoltStorageClient
from voltstorage_async.models import ExportRow, Product

ANY = re.compile(re.escape(BASE))
START = datetime(2020, 3, 25, tzinfo=UTC)
END = datetime(2020, 3, 26, tzinfo=UTC)
HEAD = b"sep=,\r\nTime,a,b\r\n"
ROW = b"2020-03-25T12:20:41.562+00:00,-49.8754,0.61\r\n"

EXPORT = """sep=,
Time,Power_Grid,Power_Household,inverterPower,Power_PV,Power_Power Electronics,SOC_State of Charge
2020-03-25T12:20:41.562+00:00,-49.8754,815.662,433.105,432.432,433.105,0.611868
2020-03-25T12:20:42.556+00:00,-71.7332,,,,,
2020-03-25T12:20:43.568+00:00,-55.5049,,395.02,,395.02,
2020-03-25T12:20:44.556+00:00,-115.449,,433.105,,433.105,
2020-03-25T12:20:45.556+00:00,-59.1815,,354.98,,354.98,
2020-03-25T12:20:46.556+00:00,-159.164,,433.105,,433.105,
2020-03-25T12:20:47.556+00:00,-63.8346,,315.918,,315.918,
2020-03-25T12:20:48.558+00:00,-43.7003,,273.926,,273.926,0.611709
2020-03-25T12:20:49.556+00:00,-107.55,,315.918,,315.918,0.611693
2020-03-25T12:20:50.556+00:00,-50.5506,,237.061,,237.061,
2020-03-25T12:20:51.556+00:00,-149.313,,313.965,,313.965,
2020-03-25T12:20:52.556+00:00,-53.2505,,196.045,,196.045,
2020-03-25T12:20:53.556+00:00,-152.989,,273.926,,273.926,
2020-03-25T12:20:54.556+00:00,99.0787,,0,,0,
2020-03-25T12:20:55.556+00:00,77.2209,,,,,0.611629
2020-03-25T12:20:56.558+00:00,,,,,,0.611628
2020-03-25T12:21:00.556+00:00,-32.068,404.35,,,,
2020-03-25T12:21:01.556+00:00,-32.3131,404.315,,,,
2020-03-25T12:21:17.556+00:00,-36.2353,,0,,0,
2020-03-25T12:21:18.558+00:00,-14.4772,,,,,
2020-03-25T12:21:19.556+00:00,9.2645,,-45.99,,-45.99,
2020-03-25T12:21:20.556+00:00,-36.9706,,0,,0,
2020-03-25T12:21:27.556+00:00,-38.6866,403.396,,,,
2020-03-25T12:21:28.556+00:00,-78.9317,363.361,,,,
2020-03-25T12:21:29.556+00:00,-79.1768,363.325,,,,
2020-03-25T12:25:06.564+00:00,-139.382,351.129,,490.511,,0.611472
"""

"""The export printed in the vendor's reference."""

G, H, V, P, E, S = (
    "Power_Grid",
    "Power_Household",
    "inverterPower",
    "Power_PV",
    "Power_Power Electronics",
    "SOC_State of Charge",
)

EXPORTED = [
    ("12:20:41.562", {G: -49.8754, H: 815.662, V: 433.105, P: 432.432, E: 433.105, S: 0.611868}),
    ("12:20:42.556", {G: -71.7332}),
    ("12:20:43.568", {G: -55.5049, V: 395.02, E: 395.02}),
    ("12:20:44.556", {G: -115.449, V: 433.105, E: 433.105}),
    ("12:20:45.556", {G: -59.1815, V: 354.98, E: 354.98}),
    ("12:20:46.556", {G: -159.164, V: 433.105, E: 433.105}),
    ("12:20:47.556", {G: -63.8346, V: 315.918, E: 315.918}),
    ("12:20:48.558", {G: -43.7003, V: 273.926, E: 273.926, S: 0.611709}),
    ("12:20:49.556", {G: -107.55, V: 315.918, E: 315.918, S: 0.611693}),
    ("12:20:50.556", {G: -50.5506, V: 237.061, E: 237.061}),
    ("12:20:51.556", {G: -149.313, V: 313.965, E: 313.965}),
    ("12:20:52.556", {G: -53.2505, V: 196.045, E: 196.045}),
    ("12:20:53.556", {G: -152.989, V: 273.926, E: 273.926}),
    ("12:20:54.556", {G: 99.0787, V: 0.0, E: 0.0}),
    ("12:20:55.556", {G: 77.2209, S: 0.611629}),
    ("12:20:56.558", {S: 0.611628}),
    ("12:21:00.556", {G: -32.068, H: 404.35}),
    ("12:21:01.556", {G: -32.3131, H: 404.315}),
    ("12:21:17.556", {G: -36.2353, V: 0.0, E: 0.0}),
    ("12:21:18.558", {G: -14.4772}),
    ("12:21:19.556", {G: 9.2645, V: -45.99, E: -45.99}),
    ("12:21:20.556", {G: -36.9706, V: 0.0, E: 0.0}),
    ("12:21:27.556", {G: -38.6866, H: 403.396}),
    ("12:21:28.556", {G: -78.9317, H: 363.361}),
    ("12:21:29.556", {G: -79.1768, H: 363.325}),
    ("12:25:06.564", {G: -139.382, H: 351.129, P: 490.511, S: 0.611472}),
]

"""Its rows: time and values."""


def requests_of(mocked):
    """Path and query of each request, in order."""
    calls = [url for (_, url), sent in mocked.requests.items() for _ in sent]
    return [(url.path.removeprefix("/rest/"), list(url.query.items())) for url in calls]


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


async def test_each_parameter_is_sent_as_the_vendors_own(mocked, volt):
    """Seconds keep their fraction."""
    mocked.get(ANY, body="Time;a\n")
    rows = volt.export.rows(
        component_id=9,
        start=START + timedelta(seconds=0.5),
        end=START + timedelta(hours=1, seconds=0.5),
        fields=["Power_PV", "SOC_State of Charge"],
        utc_offset_min=60,
        precision=3,
        tolerance=0.01,
        separator=";",
    )
    assert [row async for row in rows] == []
    assert rows.columns == ("a",)
    ((path, query),) = requests_of(mocked)
    assert path == "data/export.csv"
    assert dict(query) == {
        "componentId": "9",
        "from": "1585094400.5",
        "to": "1585098000.5",
        "fields": "Power_PV,SOC_State of Charge",
        "tz": "60",
        "precision": "3",
        "tolerance": "0.01",
        "separator": ";",
    }


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ({"start": "2026-03-29"}, "2026-03-28T23:00+00:00", "2026-03-29T21:59:59.999999+00:00"),
        ({"period": "2026-03-29"}, "2026-03-28T23:00+00:00", "2026-03-29T21:59:59.999999+00:00"),
        ({"last": (6, "hours")}, "2026-03-31T06:00+00:00", "2026-03-31T12:00+00:00"),
        ({"last": (1, "days")}, "2026-03-29T22:00+00:00", "2026-03-31T12:00+00:00"),
    ],
)
async def test_periods_and_last_days_are_those_of_the_products_zone(mocked, noon, asked, start, end):
    """The service includes both ends, so a period ends just before midnight."""
    mocked.get(ANY, body="Time,a\n", repeat=True)
    product = Product(id=7, timezone="Europe/Berlin")
    async with VoltStorageClient(token=TOKEN, clock=noon) as volt:
        assert [row async for row in volt.export.rows(product, chunk=timedelta(days=9), **asked)] == []
    ((_, query),) = requests_of(mocked)
    sent = [float(dict(query)[name]) for name in ("from", "to")]
    assert sent == [datetime.fromisoformat(text).timestamp() for text in (start, end)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
async def test_the_documented_export(mocked, volt, line_end):
    """Each cell is a value; empty cells are absent."""
    mocked.get(re.compile(rf"{BASE}data/export.csv"), body=EXPORT.replace("\n", line_end))
    start = datetime(2020, 3, 25, tzinfo=UTC)
    async with volt.export.rows(77, start, start + timedelta(days=1)) as export:
        rows = [row async for row in export]
        assert export.columns == (G, H, V, P, E, S)
        assert (export.received, export.malformed, export.repaired) == (26, 0, False)
    assert [(row.time, row.values) for row in rows] == [
        (datetime.fromisoformat(f"2020-03-25T{clock}+00:00"), values) for clock, values in EXPORTED
    ]
    assert all(isinstance(row, ExportRow) and row.text == {} for row in rows)


async def test_the_documented_export_in_quantities(mocked, volt):
    """The power of the row balances; the battery discharges (negative)."""
    mocked.get(re.compile(rf"{BASE}data/export.csv"), body=EXPORT)
    start = datetime(2020, 3, 25, tzinfo=UTC)
    async with volt.export.rows(77, start, start + timedelta(days=1)) as export:
        first = await anext(export)
    values, unusable = FieldMap().read_row(first.values)
    assert values == {
        Quantity.GRID_POWER: -49.8754,
        Quantity.CONSUMPTION_POWER: 815.662,
        Quantity.PV_POWER: 432.432,
        Quantity.BATTERY_POWER: -433.105,
        Quantity.BATTERY_SOC: pytest.approx(61.1868),
    }
    assert unusable == 0
    balance = values[Quantity.PV_POWER] + values[Quantity.GRID_POWER] - values[Quantity.BATTERY_POWER]
    assert balance == pytest.approx(values[Quantity.CONSUMPTION_POWER], abs=1)


async def test_a_json_export(mocked, volt):
    """The format is the suffix of the path; a malformed row is counted."""
    mocked.get(ANY, body='[{"Time":"2020-03-25T12:00:00Z","Power_PV":1.5},{"Time":null}]')
    async with volt.export.rows(7, START, START, format="json") as rows:
        assert [row.values async for row in rows] == [{"Power_PV": 1.5}]
        assert rows.malformed == 1
    assert requests_of(mocked)[0][0] == "data/export.json"
    assert volt.drift.counts["ExportRow", "record", "malformed"] == 1


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({}, TypeError, "start"),
        ({"end": START}, TypeError, "start"),
        ({"start": START, "component_id": 8}, ValueError, "component_id"),
        ({"start": START.replace(tzinfo=None)}, ValueError, "start"),
        ({"start": START, "end": START.replace(tzinfo=None)}, ValueError, "end"),
        ({"start": START, "end": START - timedelta(1)}, ValueError, "end"),
        ({"start": 1585137600}, TypeError, "start"),
        ({"start": START, "period": "2020"}, ValueError, "one form"),
        ({"period": "20-03"}, ValueError, "period"),
        ({"last": 30}, TypeError, "last"),
        ({"start": START, "format": "xlsx"}, ValueError, "format"),
        ({"start": START, "fields": ""}, ValueError, "fields"),
        ({"start": START, "utc_offset_min": 1440}, ValueError, "utc_offset_min"),
        ({"start": START, "precision": 0}, ValueError, "precision"),
        ({"start": START, "tolerance": -0.1}, ValueError, "tolerance"),
        ({"start": START, "tolerance": float("nan")}, ValueError, "tolerance"),
        ({"start": START, "separator": ""}, ValueError, "separator"),
        ({"start": START, "separator": "-"}, ValueError, "separator"),
        ({"start": START, "format": "json", "separator": ";"}, ValueError, "separator"),
    ],
)
async def test_a_wrong_argument_raises_before_anything_is_sent(volt, arguments, error, name):
    """The message names it."""
    with pytest.raises(error, match=name):
        volt.export.rows(7, **arguments)


async def test_an_export_is_of_a_product_or_a_component(volt):
    """One of them has to be given."""
    with pytest.raises(ValueError, match="either product or component_id"):
        volt.export.rows(start=START)


async def test_rows_arrive_while_the_export_is_being_sent(service, served):
    """A plain `async for` gets each row when its line is complete."""
    seen = asyncio.Event()
    service.export = answers(HEAD + ROW, then=lambda _: asyncio.wait_for(seen.wait(), 5))
    got = []
    async for row in served.export.rows(77, START, END):
        got.append(row.values)
        seen.set()
    assert got == [{"a": -49.8754, "b": 0.61}]


async def test_leaving_the_block_early_releases_the_connection(service, served):
    """Afterwards the export has no further rows."""
    service.export = answers(HEAD + ROW * 3, then=lambda _: service.quiet.wait())
    async with served.export.rows(77, START, END) as rows:
        await anext(rows)
        assert repr(rows) == "<ExportRows open, 3 rows>"
    with pytest.raises(StopAsyncIteration):
        await anext(rows)
    await rows.aclose()


async def test_a_broken_connection_raises_after_the_rows_that_arrived(service, served):
    """The export never just ends; reading on raises StreamClosed."""
    arrived = asyncio.Event()

    async def cut(request):
        await arrived.wait()
        request.transport.abort()

    service.export = answers(HEAD + ROW * 2, then=cut)
    rows, got = served.export.rows(77, START, END), []
    with pytest.raises(ConnectionLost) as caught:  # noqa: PT012
        async for row in rows:
            got.append(row)
            if len(got) == 2:
                arrived.set()
    assert len(got) == 2
    assert caught.value.operation == "export.rows"
    with pytest.raises(StreamClosed):
        await anext(rows)


async def test_a_last_cell_that_may_have_been_cut_is_left_out(service, served):
    """Without a line end and a Content-Length, 0.6 may have been 0.61; the row is counted as malformed."""
    service.export = answers(HEAD + ROW * 2 + ROW[:-3])  # 0.6
    async with served.export.rows(77, START, END) as rows:
        got = [row.values async for row in rows]
    assert got == [{"a": -49.8754, "b": 0.61}] * 2 + [{"a": -49.8754}]
    assert (rows.received, rows.malformed) == (3, 1)
    assert served.drift.counts["ExportRow", "record", "malformed"] == 1


async def test_a_last_cell_is_kept_if_content_length_proves_the_body_complete(service, served):
    """A last row without a line end is complete then."""

    async def export(request):
        return web.Response(body=HEAD + ROW.rstrip(), content_type="text/csv")

    service.export = export
    async with served.export.rows(77, START, END) as rows:
        assert [row.values async for row in rows] == [{"a": -49.8754, "b": 0.61}]
    assert rows.malformed == 0
    assert not served.drift.counts


async def test_decimal_commas_of_an_export_are_numbers(service, served):
    """An ambiguous number is counted in the drift."""
    german = ROW.replace(b"-49.8754", b'"-49,8754"').replace(b"0.61", b'"0,61"')
    body = HEAD + german + ROW.replace(b"0.61", b'"1.234,5"')

    async def export(request):
        return web.Response(body=body, content_type="text/csv")

    service.export = export
    async with served.export.rows(77, START, END) as rows:
        got = [row.values async for row in rows]
    assert got == [{"a": -49.8754, "b": 0.61}, {"a": -49.8754}]
    assert served.drift.counts == {("ExportRow", "record", "malformed"): 1}


async def test_a_duplicate_column_is_counted_in_the_drift(service, served):
    """A row has the last value of the name."""
    service.export = answers(HEAD.replace(b"b", b"a") + ROW + ROW.replace(b"0.61", b""))
    async with served.export.rows(77, START, END) as rows:
        assert [row.values async for row in rows] == [{"a": 0.61}, {"a": -49.8754}]
    assert served.drift.counts == {("ExportRow", "a", "a column twice"): 1}


async def test_a_cancelled_wait_ends_the_export(service, served):
    """Reading on raises StreamClosed."""
    service.export = answers(HEAD + ROW, then=lambda _: service.quiet.wait())
    rows = served.export.rows(77, START, END)
    await anext(rows)
    waiting = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(StreamClosed):
        await anext(rows)


async def test_only_one_task_reads_an_export(service, served):
    """A second one gets StreamBusy; closing ends the wait of the first."""
    service.export = answers(HEAD, then=lambda _: service.quiet.wait())
    rows = served.export.rows(77, START, END)
    first = asyncio.ensure_future(anext(rows))
    await until(lambda: "open" in repr(rows))
    with pytest.raises(StreamBusy):
        await anext(rows)
    await rows.aclose()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(first, 2)


async def test_closing_the_pool_ends_an_export_with_an_error(service):
    """An export that was cut off does not look complete."""
    service.export = answers(HEAD + ROW, then=lambda _: service.quiet.wait())
    pool = SessionPool()
    client = VoltStorageClient(pool, email="a@example.com", password="right", base_url=service.base_url)
    rows = client.export.rows(77, START, END)
    await anext(rows)
    waiting = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0)
    await pool.aclose(grace_s=0.05)
    with pytest.raises(ClientClosed):
        await waiting
    await client.aclose()


async def test_an_export_left_open_gives_a_resource_warning(service, served):
    """Use it in an `async with` if it is not read to its end."""
    service.export = answers(HEAD + ROW * 3, then=lambda _: service.quiet.wait())
    rows = served.export.rows(77, START, END)
    await anext(rows)
    with pytest.warns(ResourceWarning, match="left open"):  # noqa: PT031
        del rows
        gc.collect()
    await asyncio.sleep(0)  # the connection is closed by a callback


async def test_memory_does_not_grow_with_the_export(service, served):
    """A hundred thousand rows pass through the memory of a few chunks."""
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

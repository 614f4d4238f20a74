"""Backfills of a product's stream: what is requested, what is delivered, and what is reported as a gap."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from aiohttp import web

from energy_core import Checkpoint, Gap, Kind, Quantity, RateLimit, SessionPool, SourceId, State, merge
from energy_core.http.operation import Priority
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.source import StreamPosition
from tests.servers.scripted_volt import frame, until
from voltstorage_async import (
    BackfillConfig,
    FieldMap,
    LatestData,
    ProductGap,
    UnknownProductEvent,
    VoltStorageClient,
)

T = 1_700_000_000
HEADER = "sep=,\r\nTime,Power_Grid,Power_PV,SOC_State of Charge,Status\r\n"


def at(second: int) -> datetime:
    return datetime.fromtimestamp(T + second, UTC)


def row(second: float, *cells: object) -> str:
    stamp = datetime.fromtimestamp(T + second, UTC).isoformat(timespec="milliseconds")
    padded = [*cells, None, None, None, None][: max(4, len(cells))]
    return ",".join([stamp, *("" if cell is None else str(cell) for cell in padded)]) + "\r\n"


def seconds(moment: datetime) -> int:
    return int(moment.timestamp()) - T


def exports(*rows: str, header: str = HEADER):
    """Answer an export with those of the rows that lie within the requested range."""

    async def answer(request):
        start, end = (float(request.query.get(name, "1e12")) for name in ("from", "to"))
        inside = [each for each in rows if start <= time_of(each) <= end]
        return web.Response(text=header + "".join(inside), content_type="text/csv")

    return answer


def time_of(line: str) -> float:
    return datetime.fromisoformat(line.split(",", maxsplit=1)[0]).timestamp()


def refusing(status: int):
    async def answer(request):
        return web.json_response({"errors": ["no"]}, status=status)

    return answer


def plays(service, *frames: str, stay: bool = True):
    async def play(socket):
        for each in frames:
            await socket.send_str(each)
        if stay:
            await service.quiet.wait()

    return play


def cut_after(service, second: int, *resumed: str):
    """Play one connection that ends after its first event, and one that goes on with `resumed`."""
    first = plays(service, frame(T + second, pvPower=1, gridPower=2), stay=False)
    service.plays = [first, plays(service, *resumed)]


async def next_events(stream, count: int) -> list[tuple[object, ...]]:
    """Return the next events, shortened."""
    out: list[tuple[object, ...]] = []
    async with asyncio.timeout(5):
        while len(out) < count:
            event = await anext(stream)
            if isinstance(event, LatestData):
                second = int(event.time.timestamp()) - T
                out.append(("back" if event.backfilled else "live", second, dict(event.data)))
            elif isinstance(event, ProductGap):
                ends = [int(each.timestamp()) - T for each in (event.start, event.end)]
                out.append(("gap", *ends, event.reason.partition(":")[0], set(event.quantities)))
            else:
                out.append(("unknown", event.type))
    return out


async def test_missed_data_is_backfilled_in_time_order(service, served, quick, prompt):
    """Backfilled events are marked, have the keys and signs of live events, and are delivered once."""
    service.export = exports(
        row(98.5, -5, 50, 0.5, 1), row(101.5, -7), row(102.5, None, 60, 0.61, 2), row(104.5, -9)
    )
    cut_after(service, 100, frame(T + 104, pvPower=3, gridPower=4), frame(T + 105, pvPower=5))
    async with served.events(77, socket=quick, backfill=prompt) as stream:
        events = await next_events(stream, 5)
        assert stream.backfilled == 2
        assert stream.gaps == 0
        assert "2 backfilled" in repr(stream)
    assert events == [
        ("live", 100, {"pvPower": 1, "gridPower": 2}),
        ("back", 101, {"gridPower": -7.0}),
        ("back", 102, {"pvPower": 60.0, "soc": 0.61, "Status": 2.0}),
        ("live", 104, {"pvPower": 3, "gridPower": 4}),
        ("live", 105, {"pvPower": 5}),
    ]


async def test_the_requests_of_a_backfill(service, served, quick, prompt):
    """The export from two seconds before the last event, without tolerance; the latest data with time."""
    cut_after(service, 100, frame(T + 104, pvPower=3))
    async with served.events(77, socket=quick, backfill=prompt) as stream:
        await next_events(stream, 2)
    asked = {path.rpartition("/")[2]: query for _, path, query in service.requests}
    query = asked["export.csv"]
    assert (float(query["from"]), float(query["to"])) == (T + 98, T + 105)
    assert (query["productId"], float(query["tolerance"])) == ("77", 0.0)
    assert asked["latest"]["includeTime"] == "true"


async def test_backfills_have_background_priority(service, served, quick, prompt):
    """Requests of a backfill wait in the background class."""
    limiter, seen = served._account.limiter, []
    granted = limiter.try_acquire
    limiter.try_acquire = lambda priority: seen.append(priority) or granted(priority)
    cut_after(service, 100, frame(T + 104, pvPower=3))
    async with served.events(77, socket=quick, backfill=prompt) as stream:
        await next_events(stream, 2)
    assert seen.count(Priority.BACKGROUND) == 2
    assert Priority.INTERACTIVE not in seen


SOON = BackfillConfig(settle_s=0.01, retry_s=(0.02, 0.04, 0.06))


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_permanent_failure_is_a_gap(service, quick, prompt, status):
    """If a retry cannot help, the gap is reported at once, and the stream goes on after it."""
    service.export = refusing(status)
    cut_after(service, 100, frame(T + 104, pvPower=3))
    async with SessionPool(random=lambda: 0.0) as pool:
        client = VoltStorageClient(
            pool,
            email="a@example.com",
            password="right",
            base_url=service.base_url,
            limit=RateLimit(1000, 1000.0, 50),
        )
        async with client.events(77, socket=quick, backfill=prompt) as stream:
            events = await next_events(stream, 3)
        assert pool.stats().in_flight == 0
    assert events[1] == ("gap", 100, 104, "export_failed", set())
    assert events[2] == ("live", 104, {"pvPower": 3})


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_failed_range_is_retried_while_live_events_go_on(service, quick, status):
    """After a transient failure the range is pending, then it arrives late."""
    asked = []

    async def answer(request):
        asked.append(request)
        if len(asked) < 3:
            return web.Response(status=status)
        return await exports(*(row(second + 0.5, second) for second in range(90, 110)))(request)

    service.export = answer
    cut_after(service, 100, frame(T + 104, pvPower=3, gridPower=2))
    async with SessionPool(random=lambda: 0.0, attempts=1) as pool:
        client = VoltStorageClient(pool, email="a@example.com", password="right", base_url=service.base_url)
        async with client.events(77, socket=quick, backfill=SOON) as stream:
            events = await next_events(stream, 2)
            assert [tuple(map(seconds, each)) for each in stream.pending] == [(101, 103)]
            events += await next_events(stream, 3)
            await until(lambda: not stream.pending)
    assert [each[:2] for each in events] == [
        ("live", 100),
        ("live", 104),
        *(("back", second) for second in (101, 102, 103)),
    ]


async def test_after_the_last_retry_a_failed_range_is_a_gap(service, served, quick):
    """The reason of the gap names the failure."""
    service.export = refusing(500)
    cut_after(service, 100, frame(T + 104, pvPower=3, gridPower=2))
    async with SessionPool(random=lambda: 0.0, attempts=1) as pool:
        client = VoltStorageClient(pool, email="a@example.com", password="right", base_url=service.base_url)
        async with client.events(77, socket=quick, backfill=SOON) as stream:
            events = await next_events(stream, 3)
    assert [each[:2] for each in events[:2]] == [("live", 100), ("live", 104)]
    assert events[2] == ("gap", 100, 104, "export_failed", set())


async def test_a_filled_part_is_delivered_and_the_rest_reported(service, served, quick):
    """An export that breaks off repeatedly is delivered as far as it came, then there is a gap."""

    async def answer(request):
        response = web.StreamResponse()
        response.content_type = "text/csv"
        await response.prepare(request)
        begin = float(request.query["from"]) - T
        rows = [row(second + 0.5, second) for second in (98, 99, 101, 102, 103) if second <= begin + 5]
        await response.write((HEADER + "".join(rows)).encode())
        await asyncio.sleep(0.01)
        request.transport.abort()
        return response

    service.export = answer
    cut_after(service, 100, frame(T + 110, pvPower=3, gridPower=4))
    async with served.events(77, socket=quick, backfill=SOON) as stream:
        events = await next_events(stream, 6)
    # The row before the break may be incomplete.
    assert [each[:3] for each in events] == [
        ("live", 100, {"pvPower": 1, "gridPower": 2}),
        ("back", 99, {"gridPower": 99.0}),
        ("back", 101, {"gridPower": 101.0}),
        ("back", 102, {"gridPower": 102.0}),
        ("live", 110, {"pvPower": 3, "gridPower": 4}),
        ("gap", 102, 110),
    ]


async def test_an_export_that_breaks_off_once_is_continued(service, served, quick, prompt):
    """What had arrived is kept, and only the rest is requested again."""
    whole = exports(*(row(second + 0.5, second) for second in range(90, 110)))
    asked: list[float] = []

    async def answer(request):
        asked.append(float(request.query["from"]) - T)
        if len(asked) > 1:
            return await whole(request)
        response = web.StreamResponse()
        response.content_type = "text/csv"
        await response.prepare(request)
        lines = [HEADER, *(row(second + 0.5, second) for second in (98, 101, 102))]
        await response.write("".join(lines).encode() + b"2023-11-14T22:15:03.5")
        await asyncio.sleep(0.01)
        request.transport.abort()
        return response

    service.export = answer
    cut_after(service, 100, frame(T + 104, gridPower=3))
    async with served.events(77, socket=quick, backfill=prompt) as stream:
        events = await next_events(stream, 5)
    assert [each[:2] for each in events] == [
        ("live", 100),
        *(("back", n) for n in (101, 102, 103)),
        ("live", 104),
    ]
    assert asked == [98, 99]


async def test_unreadable_rows_are_a_gap(service, served, quick):
    """A bad row is skipped and counted as drift, and its range is reported."""
    service.export = exports(row(101.5, 1), row(102.5, "x", 3, 4, 5, 6, 7), row(103.5, 3))
    cut_after(service, 100, frame(T + 104, gridPower=3, pvPower=3))
    async with served.events(77, socket=quick, backfill=SOON) as stream:
        events = await next_events(stream, 5)
    assert [each[:2] for each in events if each[0] != "gap"] == [
        ("live", 100),
        ("back", 101),
        ("back", 103),
        ("live", 104),
    ]
    assert ("gap", 101, 103, "export_malformed", set()) in events
    assert served.drift.counts["ExportRow", "record", "malformed"] == 4


async def test_quantities_the_export_does_not_have_are_a_gap_of_their_own(service, served, quick, prompt):
    """A filled gap names what it cannot fill: voltages are only sent live."""
    service.export = exports(row(101.5, 1))
    service.plays = [
        plays(service, frame(T + 100, gridPower=1, dcVoltage=26.3), stay=False),
        plays(service, frame(T + 103, gridPower=2)),
    ]
    async with served.events(77, socket=quick, backfill=prompt) as stream:
        events = await next_events(stream, 4)
    assert events[1:3] == [
        ("back", 101, {"gridPower": 1.0}),
        ("gap", 100, 103, "not_exported", {Quantity.BATTERY_VOLTAGE}),
    ]


async def test_a_long_gap_is_requested_in_pages(service, served, quick):
    """No request is longer than a page, the pages are adjacent, and nothing is repeated where they meet."""
    hours = [row(second + 0.5, second) for second in range(0, 9000, 600)]
    service.export = exports(*hours)
    cut_after(service, 0, frame(T + 9000, gridPower=3))
    async with served.events(77, socket=quick, backfill=BackfillConfig(settle_s=0)) as stream:
        events = await next_events(stream, 16)
    assert [each[1] for each in events] == [0, *range(600, 9000, 600), 9000]
    spans = [
        (float(query["from"]) - T, float(query["to"]) - T)
        for _, path, query in service.requests
        if "export" in path
    ]
    assert spans == [(-2, 3598), (3000, 6600), (6000, 9001)], "each goes on behind the last row"


async def test_data_beyond_the_age_limit_is_a_gap(service, served, quick):
    """The rest is filled."""
    service.export = exports(row(500.5, 1), row(950.5, 2))
    cut_after(service, 0, frame(T + 1000, gridPower=3))
    backfill = BackfillConfig(settle_s=0, max_age_s=100)
    async with served.events(77, socket=quick, backfill=backfill) as stream:
        events = await next_events(stream, 4)
    assert [each[:4] for each in events[1:]] == [
        ("gap", 0, 900, "beyond_cap"),
        ("back", 950, {"gridPower": 2.0}),
        ("live", 1000, {"gridPower": 3}),
    ]


@pytest.mark.parametrize("end", [103, 112, 400])
async def test_an_incomplete_record_becomes_a_gap(service, served, quick, end):
    """If the export ends before the gap does, even by seconds, the rest is not taken for complete."""
    service.export = exports(row(101.5, 1))
    cut_after(service, 100, frame(T + end, gridPower=3, pvPower=1))
    async with served.events(77, socket=quick, backfill=SOON) as stream:
        events = await next_events(stream, 4)
    assert [each[:2] for each in events[:3]] == [("live", 100), ("back", 101), ("live", end)]
    assert events[3][:4] == ("gap", 101, end, "not_recorded")


@pytest.mark.parametrize(
    "odd",
    [
        row(50.5, 9),
        row(9_000.5, 9),
        row(4_000_000_000 - T, 9),
        row(103.5, 9) + row(101.5, 1),
    ],
    ids=["before", "behind", "future", "out of order"],
)
async def test_rows_outside_the_range_are_left_out_and_prove_nothing(service, served, quick, odd):
    """They are counted; the range that they may hide is requested again."""
    asked = []

    async def answer(request):
        asked.append(request)
        rows = [row(second + 0.5, second) for second in (101, 102, 103, 104, 105)]
        if len(asked) == 1:
            rows = [rows[0], odd] if "9" in odd.split(",")[1] and odd.count("\n") == 1 else [odd]
        return web.Response(text=HEADER + "".join(rows), content_type="text/csv")

    service.export = answer
    cut_after(service, 100, frame(T + 104, gridPower=3, pvPower=1))
    async with served.events(77, socket=quick, backfill=SOON) as stream:
        events = await next_events(stream, 5)
        await until(lambda: not stream.pending)
    assert sorted(each[:2] for each in events) == [
        *(("back", second) for second in (101, 102, 103)),
        ("live", 100),
        ("live", 104),
    ]


async def test_live_events_beyond_max_held_are_backfilled(service, served, quick):
    """While a slow export is read, more arrives than may be held; a second fill delivers it, in order."""
    going = asyncio.Event()
    rows = [row(second + 0.5, second) for second in range(101, 130)]
    whole = exports(*rows)

    async def slowly(request):
        await going.wait()
        return await whole(request)

    service.export = slowly
    cut_after(service, 100, *(frame(T + second, gridPower=second) for second in range(105, 121)))
    backfill = BackfillConfig(settle_s=0.01, max_held=3, stale_poll_s=9)
    async with served.events(77, socket=quick, backfill=backfill) as stream:
        await until(lambda: stream.discarded > 10)
        assert stream.status.state is State.BACKFILLING
        going.set()
        events = await next_events(stream, 21)
    assert [each[1] for each in events] == [*range(100, 121)]


async def test_a_slow_consumer_loses_nothing(service, served, quick):
    """Events without room in the buffer are backfilled once there is room."""
    service.export = exports(*(row(second + 0.5, second) for second in range(1, 60)))
    service.plays = [plays(service, *(frame(T + second, gridPower=second) for second in range(1, 51)))]
    async with served.events(
        77, buffer=5, socket=quick, backfill=BackfillConfig(settle_s=0.01, max_held=5)
    ) as stream:
        await until(lambda: stream.received == 50)
        assert stream.discarded > 0
        events = await next_events(stream, 50)
    assert [each[1] for each in events] == [*range(1, 51)]


async def test_a_message_of_unknown_type_is_not_held(service, served, quick):
    """It has no time to be ordered by, and is delivered at once."""
    service.export = exports()
    cut_after(service, 100, frame(T + 104, gridPower=3), '{"type": "firmware"}')
    async with served.events(77, socket=quick, backfill=BackfillConfig(settle_s=0.1)) as stream:
        events = await next_events(stream, 3)
    assert [each[0] for each in events] == ["live", "unknown", "live"]


async def test_unknown_messages_are_bounded_too(service, served, quick):
    """They cannot be backfilled, so those without room in the buffer are counted as dropped."""
    service.plays = [plays(service, *['{"type": "firmware"}'] * 20)]
    async with served.events(77, buffer=5, socket=quick) as stream:
        await until(lambda: stream.received == 20)
        assert stream.dropped == 15
        assert "15 dropped" in repr(stream)
        assert isinstance(await anext(stream), UnknownProductEvent)


# --- stale streams ----------------------------------------------------------------------------------------


@pytest.fixture
def impatient(quick: SocketConfig) -> SocketConfig:
    return SocketConfig(stale_after_s=0.05, first_delay_s=0.02, ping_interval_s=5, max_handshakes=400)


async def test_a_stale_stream_without_newer_data_requests_no_export(service, served, impatient, prompt):
    """If the latest data is no newer than the last event, no export is requested."""
    service.latest = {"time": T + 100, "data": {"gridPower": 2}}
    service.plays = [plays(service, frame(T + 100, gridPower=2))]
    async with served.events(77, socket=impatient, backfill=prompt) as stream:
        await next_events(stream, 1)
        await until(lambda: sum("latest" in path for _, path, _ in service.requests) >= 2)
        assert stream.status.state is State.STALE
    assert not any("export" in path for _, path, _ in service.requests)


async def test_a_stale_stream_with_newer_data_is_backfilled(service, served, impatient, prompt):
    """Data that the server has but did not send is fetched, again and again, and delivered once."""
    rows = [row(second + 0.5, second) for second in range(101, 110)]
    service.export = exports(*rows[:3])
    service.latest = {"time": T + 104, "data": {"gridPower": 104}}
    service.plays = [plays(service, frame(T + 100, gridPower=2))]
    async with served.events(77, socket=impatient, backfill=prompt) as stream:
        events = await next_events(stream, 5)
        assert [each[:2] for each in events[1:]] == [("back", second) for second in (101, 102, 103, 104)]
        service.export = exports(*rows)
        service.latest = {"time": T + 109, "data": {"gridPower": 109}}
        events = await next_events(stream, 5)
        assert [each[:2] for each in events] == [("back", second) for second in range(105, 110)]
        await until(lambda: stream.status.state is State.STALE)


async def test_after_a_stale_period_the_first_event_waits_for_a_backfill(service, served, impatient, prompt):
    """If the server had data that it did not send, the gap before its next event is filled first."""
    again = asyncio.Event()

    async def play(socket):
        await socket.send_str(frame(T + 100, gridPower=1))
        await again.wait()
        await socket.send_str(frame(T + 120, gridPower=9))
        await service.quiet.wait()

    service.plays = [play]
    service.export = exports(row(101.5, 1))
    service.latest = {"time": T + 102, "data": {}}
    async with served.events(77, socket=impatient, backfill=prompt) as stream:
        assert [each[:2] for each in await next_events(stream, 2)] == [("live", 100), ("back", 101)]
        service.latest = {"time": T + 101, "data": {}}
        service.export = exports(*(row(n + 0.5, n) for n in (101, 110)))
        again.set()
        assert [each[:2] for each in await next_events(stream, 2)] == [("back", 110), ("live", 120)]


# --- the unified source -----------------------------------------------------------------------------------


async def test_a_merged_stream_is_backfilled_likewise(service, served, quick, prompt):
    """Backfilled readings are marked, gaps name their quantities, and states come in order."""
    service.export = exports(row(101.5, -7, None, 0.5))
    service.plays = [
        plays(service, frame(T + 100, gridPower=1, dcCurrent=3), stay=False),
        plays(service, frame(T + 103, gridPower=2)),
    ]
    seen = []
    async with merge(served.live(77, socket=quick, backfill=prompt)) as events:
        async for event in events:
            if event.kind is Kind.STATUS:
                seen.append(str(event.detail.state))
            elif event.kind is Kind.GAP:
                seen.append(event.detail)
            else:
                seen.append((event.id, event.backfilled, event.late, dict(event.values)))
            if seen[-1] == "live" and len(seen) > 6:
                break
    assert seen == [
        "connecting",
        "live",
        ("77/1700000100/0", False, False, {Quantity.GRID_POWER: 1.0, Quantity.BATTERY_CURRENT: -3.0}),
        "disconnected",
        "connecting",
        "backfilling",
        ("77/1700000101/0", True, False, {Quantity.GRID_POWER: -7.0, Quantity.BATTERY_SOC: 50.0}),
        Gap(start=at(100), end=at(103), reason="not_exported", quantities=(Quantity.BATTERY_CURRENT,)),
        ("77/1700000103/0", False, False, {Quantity.GRID_POWER: 2.0}),
        "live",
    ]


async def test_a_stream_may_start_in_the_past(service, served, quick, prompt):
    """With `since`, the first connection starts with a backfill."""
    service.export = exports(*(row(n + 0.5, n) for n in (50, 60, 70)))
    service.plays = [plays(service, frame(T + 100, gridPower=2))]
    async with served.events(77, since=at(55), socket=quick, backfill=prompt) as stream:
        events = [each[:2] for each in await next_events(stream, 3)]
    assert events == [("back", 60), ("back", 70), ("live", 100)]
    with pytest.raises(ValueError, match="aware"):
        served.live(77, since=datetime(2026, 1, 1))  # noqa: DTZ001  (that is the point)


async def test_a_source_resumes_where_another_stopped(service, served, quick, prompt):
    """It requests data from the position on; readings have the same ids in any run."""
    service.export = exports(*(row(n + 0.5, n) for n in range(95, 105)))
    service.plays = [plays(service, frame(T + 104, gridPower=2))]
    source, outlet = served.live(77, socket=quick, backfill=prompt), Notes()
    source.resume({source.id: StreamPosition(time=at(100), seq=7, ids=("77/1700000100/0",))})
    running = asyncio.ensure_future(source.run(outlet))
    await until(lambda: len(outlet.readings) == 7)
    running.cancel()
    await asyncio.wait([running])
    assert outlet.readings == [f"77/{T + second}/0" for second in range(98, 105)]
    again = source.again()
    assert again.id == source.id
    assert again is not source


async def test_a_resume_within_a_second_delivers_the_rest_of_it(service, served, quick, prompt):
    """The values of a second message of that second are still delivered."""
    service.export = exports(row(99.5, -1, 10), row(100.5, -2, 20, 0.5), row(103.5, -3))
    service.plays = [plays(service, frame(T + 104, gridPower=2))]
    source = served.live(77, socket=quick, backfill=prompt)
    stopped = StreamPosition(
        time=at(100),
        seq=7,
        ids=("77/1700000100/11", "77/1700000100/12"),
        quantities=frozenset({Quantity.GRID_POWER}),
    )
    seen = []
    async with merge(source, checkpoint=Checkpoint({source.id: {source.id: stopped}})) as events:
        async with asyncio.timeout(5):
            async for event in events:
                if event.kind is Kind.READING:
                    second = int(event.time.timestamp()) - T
                    seen.append((second, event.id.rpartition("/")[2], set(event.values)))
                    if second == 104:
                        break
    assert seen == [
        (100, "13", {Quantity.PV_POWER, Quantity.BATTERY_SOC}),
        (103, "0", {Quantity.GRID_POWER}),
        (104, "0", {Quantity.GRID_POWER}),
    ]


async def test_a_message_from_the_future_does_not_move_the_start_of_gaps(service, served, quick, prompt):
    """It is counted and reported as a gap; the next backfill starts at the last real event."""
    service.export = exports(row(99.5, -1), row(102.5, -2))
    first = [frame(T + 100, gridPower=2), frame(4_000_000_000, gridPower=3)]
    service.plays = [plays(service, *first, stay=False), plays(service, frame(T + 104, gridPower=4))]
    async with served.events(77, socket=quick, backfill=prompt) as stream:
        first, gap, *others = await next_events(stream, 4)
        assert stream.malformed == 1
    assert (gap[0], gap[1], gap[3]) == ("gap", 100, "from_the_future")
    assert [each[:2] for each in (first, *others)] == [("live", 100), ("back", 102), ("live", 104)]


async def test_the_history_of_a_product_has_the_ids_of_its_live_readings(service, served, prompt):
    """Any range can be fetched again; what the export has no column for is stated before its rows."""
    service.export = exports(*(row(n + 0.5, n) for n in range(0, 9000, 1000)))
    source = served.live(77, backfill=prompt)
    first, *rows = [each async for each in source.history(source.id, at(1000), at(8001))]
    assert Quantity.GRID_POWER in first.quantities
    assert [each.id for each in rows] == [f"77/{T + second}/0" for second in range(1000, 8001, 1000)]
    limits = source.history_config
    assert (limits.longest_s, limits.oldest_s) == (int(prompt.page_s), int(prompt.max_age_s))


class Notes:
    """An outlet that keeps what it gets."""

    def __init__(self) -> None:
        self.readings: list[str] = []
        self.gaps: list[tuple[datetime, datetime, str]] = []
        self.roomy = 0

    def reading(self, source, *, time, id, values, raw, backfilled=False, revision=0):  # noqa: A002
        self.readings.append(id)

    def status(self, state, *, reason="", retry_in=None): ...

    def gap(self, source, *, start, end, reason, quantities=()):
        assert isinstance(source, SourceId)
        self.gaps.append((start, end, reason))

    async def room(self):
        self.roomy += 1


# --- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"page_s": 0},
        {"settle_s": -1},
        {"overlap_s": float("nan")},
        {"max_held": 0},
        {"attempts": 0},
        {"max_age_s": float("inf")},
    ],
)
def test_numbers_of_the_backfill_config_are_checked(wrong):
    """A wrong number is rejected at once, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BackfillConfig(**wrong)


def test_columns_have_the_keys_and_signs_of_events():
    """A column gets the name and sign of the event key with the same meaning, exactly where they agree."""
    fields = FieldMap().extended(
        columns={"Battery_Volts": (Quantity.BATTERY_VOLTAGE, 0.001), "Nameless": (Quantity.PV_ENERGY, 1.0)}
    )
    next_events = fields.as_event({"Power_PV": 0.1, "Battery_Volts": 26300.0, "Nameless": 7.0, "Status": 1.0})
    assert next_events == {"pvPower": 0.1, "dcVoltage": pytest.approx(26.3), "Nameless": 7.0, "Status": 1.0}
    data = {"pvPower": 1, "soc": 0.5, "pump": 3}
    assert fields.only(data, {Quantity.BATTERY_SOC}) == {"soc": 0.5, "pump": 3}

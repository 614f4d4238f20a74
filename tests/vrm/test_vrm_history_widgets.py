"""Histories of graphs and changes of state."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from energy_core import SessionPool
from energy_core.http.operation import Priority
from vrm_async import VRMClient

TOKEN = "0123456789abcdef" * 4
PATH = "installations/1039/widgets"
DAY = 86_400
NO_DATA = {"success": False, "error_code": "no_data", "errors": ["nothing"]}


def utc(*chunks):
    return datetime(*chunks, tzinfo=UTC)


@pytest.fixture
async def vrm(fake):
    async with VRMClient(token=TOKEN, base_url=fake.url) as client:
        yield client


def span(asked):
    query = dict(asked.query)
    return int(query["start"]), int(query["end"])


def graph(asked):
    start, end = span(asked)
    points = [[time, 50.0] for time in range(start, end + 1, 3600)]  # the last one is the next window's first
    meta = {"code": "bs", "description": "Battery SOC", "formatWithUnit": "%.1F %%"}
    return 200, {"success": True, "records": {"data": {"144": points}, "meta": {"144": meta}, "instance": 0}}


async def test_a_graph_is_requested_in_windows_of_one_length(fake, vrm):
    """Requests are equally long and begin at round times; points are cut to the range, each comes once."""
    fake.answers("GET", f"{PATH}/Graph", graph)
    start, end = utc(2026, 3, 28, 7, 13), utc(2026, 3, 30, 1)
    history = vrm.widgets.graph_history(1039, attribute_codes=["bs"], start=start, end=end)
    chunks = [chunk async for chunk in history]
    asked = [span(each) for each in fake.asked]
    assert {stop - begin for begin, stop in asked} == {DAY}
    assert {begin % DAY for begin, _ in asked} == {0}
    times = [time for chunk in chunks for time, _ in chunk.data["bs"]]
    assert times[0] == utc(2026, 3, 28, 8)
    assert times[-1] == utc(2026, 3, 30, 0)
    assert {after - before for before, after in pairwise(times)} == {timedelta(hours=1)}
    assert [chunk.end for chunk in chunks] == [utc(2026, 3, 29), utc(2026, 3, 30), end]
    assert chunks[0].data["bs"].unit == "%"


async def test_the_query_of_a_graph(fake, vrm):
    """It has codes with brackets, instance 0, min and max on request, and the caller's window."""
    fake.answers("GET", f"{PATH}/Graph", graph)
    history = vrm.widgets.graph_history(
        1039,
        attribute_codes=["bs", "bv"],
        start=utc(2026, 3, 28),
        end=utc(2026, 3, 28, 5),
        min_max=True,
        window=timedelta(hours=6),
    )
    assert not fake.asked
    await anext(history)
    begin = int(utc(2026, 3, 28).timestamp())
    assert fake.asked[0].query == [
        ("attributeCodes[]", "bs"),
        ("attributeCodes[]", "bv"),
        ("instance", "0"),
        ("useMinMax", "1"),
        ("start", str(begin)),
        ("end", str(begin + 6 * 3600)),
    ]


async def test_a_window_without_data_is_empty(fake, vrm):
    """no_data and an empty answer make an empty chunk; the others follow."""
    silent = {utc(2026, 3, 29).timestamp(): (200, NO_DATA)}
    silent[utc(2026, 3, 30).timestamp()] = (200, {"success": True, "records": {"data": [], "meta": []}})
    fake.answers("GET", f"{PATH}/Graph", lambda asked: silent.get(span(asked)[0]) or graph(asked))
    history = vrm.widgets.graph_history(
        1039, attribute_codes=["bs"], start=utc(2026, 3, 28), end=utc(2026, 4, 1)
    )
    assert [chunk.empty async for chunk in history] == [False, True, True, False]


CHANGES = [(0, 3), (9, 4), (20, 9), (33, 3), (50, 3), (60, 8)]


def states(asked):
    """Answer as VRM documents it: a row of state, start and end for each state, cut to the range."""
    start, end = span(asked)
    origin = int(utc(2026, 3, 28).timestamp())
    begins = [(origin + hour * 3600, state) for hour, state in CHANGES]
    ends = [*(begin for begin, _ in begins[1:]), end]
    rows = [
        [str(state), max(start, begin), min(end, until)]
        for (begin, state), until in zip(begins, ends, strict=True)
        if begin < end and until > start
    ]
    data = {
        "data": {"40": rows},
        "meta": {"40": {"code": "S"}},
        "enums": {"40": {"3": "Bulk", "4": "Absorption"}},
    }
    return 200, {"success": True, "records": data}


async def test_a_state_that_continues_in_the_next_chunk_is_no_change(fake, vrm):
    """After the first state there are only changes, each once."""
    fake.answers("GET", f"{PATH}/VeBusState", states)
    history = vrm.widgets.state_history(1039, "VeBusState", 257, start=utc(2026, 3, 28), end=utc(2026, 3, 31))
    chunks = [chunk async for chunk in history]
    found = [change for chunk in chunks for change in chunk.data["S"]]
    origin = utc(2026, 3, 28)
    hours = [((time - origin) / timedelta(hours=1), number) for time, number in found]
    assert hours == [(0, 3), (9, 4), (20, 9), (33, 3), (60, 8)]
    assert chunks[0].data["S"].names[:2] == ("Bulk", "Absorption")
    assert ("instance", "257") in fake.asked[0].query


HOUR = 3600


async def test_rows_are_stitched_between_chunks(fake, vrm):
    """A state that continues comes once; the same state after a time without one is a change."""
    origin = int(utc(2026, 3, 28).timestamp())
    given = [(3, 0, 30), (4, 30, 40), (3, 41, 50), (3, 52, 60), (9, 60, 72), (9, 100, 110)]

    def rows(asked):
        start, end = span(asked)
        inside = [
            [state, max(start, origin + begin * HOUR), min(end, origin + stop * HOUR)]
            for state, begin, stop in given
            if origin + begin * HOUR < end and origin + stop * HOUR > start
        ]
        return 200, {
            "success": True,
            "records": {
                "data": {"40": inside[0] if len(inside) == 1 else inside},
                "meta": {"40": {"code": "S"}},
                "enums": {"40": {"3": "Bulk", "4": "Absorption"}},
            },
        }

    fake.answers("GET", f"{PATH}/VeBusState", rows)
    history = vrm.widgets.state_history(1039, "VeBusState", start=utc(2026, 3, 28), end=utc(2026, 4, 2))
    chunks = [chunk async for chunk in history]
    found = [
        ((start // 1000 - origin) // HOUR, None if end is None else (end // 1000 - origin) // HOUR, number)
        for chunk in chunks
        for states in chunk.data
        for start, end, number in zip(states.times_ms, states.ends_ms, states.numbers, strict=True)
    ]
    assert found == [(0, 24, 3), (30, 40, 4), (41, 48, 3), (52, 60, 3), (60, 72, 9), (100, 110, 9)]
    assert vrm.drift.total == 0


async def test_the_state_at_the_start_is_known(fake, vrm):
    """A range that begins inside a window begins with the present state and its begin."""
    fake.answers("GET", f"{PATH}/VeBusState", states)
    history = vrm.widgets.state_history(
        1039, "VeBusState", start=utc(2026, 3, 28, 12), end=utc(2026, 3, 28, 23)
    )
    chunk = await anext(history)
    assert [(time.hour, number) for time, number in chunk.data["S"]] == [(9, 4), (20, 9)]


async def test_a_resumed_history_reads_whole_windows_again(fake, vrm):
    """The repeated chunk begins at the edge of a window, so that VRM returns the same timestamps."""
    fake.answers("GET", f"{PATH}/Graph", graph)
    options = {"attribute_codes": ["bs"], "start": utc(2026, 3, 1)}
    first = vrm.widgets.graph_history(1039, end=utc(2026, 3, 9, 15), **options)
    assert [chunk.overlaps_checkpoint async for chunk in first] == [False] * 9
    fake.asked.clear()
    second = vrm.widgets.graph_history(1039, end=utc(2026, 3, 10, 15), checkpoint=first.checkpoint, **options)
    assert [chunk.overlaps_checkpoint async for chunk in second] == [True] * 3 + [False]
    assert span(fake.asked[0])[0] == utc(2026, 3, 7).timestamp()
    with pytest.raises(ValueError, match="the checkpoint is of"):
        vrm.widgets.graph_history(1040, checkpoint=first.checkpoint, **options)


class RecordingPool(SessionPool):
    """A pool that records the operation and priority of each request."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def send(self, request, *rest):
        self.seen.append((request.operation.name, request.priority))
        return super().send(request, *rest)


async def test_history_has_low_priority(fake):
    """Requests of a history are background requests, unless another priority is given."""
    fake.answers("GET", f"{PATH}/Graph", graph)
    fake.answers("GET", f"{PATH}/VeBusState", states)
    records = {"Pc": [[1772323200000, 1.0]]}
    fake.answers("GET", "installations/1039/stats", {"success": True, "records": records, "totals": {}})
    range_ = {"start": utc(2026, 3, 1), "end": utc(2026, 3, 2)}
    async with RecordingPool() as pool, VRMClient(pool, token=TOKEN, base_url=fake.url) as vrm:
        await anext(vrm.stats.history(1039, timezone="UTC", **range_))
        await anext(vrm.widgets.graph_history(1039, attribute_codes=["bs"], **range_))
        await anext(vrm.widgets.state_history(1039, "VeBusState", **range_))
        assert {priority for _, priority in pool.seen} == {Priority.BACKGROUND}
        await anext(vrm.stats.history(1039, timezone="UTC", priority=Priority.INTERACTIVE, **range_))
        assert pool.seen[-1] == ("stats.get", Priority.INTERACTIVE)


@pytest.mark.parametrize("window", [timedelta(minutes=1), timedelta(hours=1, milliseconds=1), timedelta()])
async def test_a_window_is_whole_seconds_and_at_least_an_hour(vrm, window):
    """A shorter one is a ValueError."""
    with pytest.raises(ValueError, match="window"):
        vrm.widgets.graph_history(1039, attribute_codes=["bs"], start=utc(2026, 3, 1), window=window)


async def test_wrong_arguments_send_nothing(fake, vrm):
    """Names, ids and codes are checked before anything is sent."""
    start = utc(2026, 3, 1)
    with pytest.raises(ValueError, match="name"):
        vrm.widgets.state_history(1039, "../admin", start=start)
    with pytest.raises(TypeError, match="site must be a Site"):
        vrm.widgets.graph_history("1039", attribute_codes=["bs"], start=start)
    with pytest.raises(ValueError, match="type"):
        vrm.stats.history(1039, type="custom", start=start)
    with pytest.raises(ValueError, match="interval must be one of"):
        vrm.stats.history(1039, interval="decades", start=start)
    with pytest.raises(ValueError, match="time zone"):
        await anext(vrm.stats.history(1039, timezone="Mars/Olympus", start=start))
    assert not fake.asked

"""The relay's memory: what each policy delivers and reports, and access checks on any input."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from energy_core import Kind, SourceId
from energy_core.clock import SystemClock
from energy_core.secret import Secret
from energy_live.web.access import ListenOptions, RelayAccess
from energy_live.web.event_log import POLICIES, EventLog, EventSelection, Reader, SlowReader
from tests.servers.page_world import Numbered

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SOURCES = [SourceId("vrm", "me", "1"), SourceId("vrm", "me", "2", 3), SourceId("voltstorage", "me", "301")]


def taken(reader):
    """Return everything a reader gets now, as objects."""
    found = []
    while lines := reader.take(400):
        found += [json.loads(line) for _, line in lines]
    return found


def event_of(make, number, kind):
    source, time = SOURCES[number % 3], NOW + timedelta(seconds=number)
    if kind == "gap":
        return make.gap(source, time - timedelta(seconds=5), time)
    if kind == "status":
        return make.status(source, "stale", time)
    return make.reading(source, time, pv_power=number)


@given(
    capacity=st.integers(1, 40),
    steps=st.lists(
        st.tuples(st.sampled_from(["reading"] * 6 + ["gap", "status"]), st.booleans(), st.booleans()),
        max_size=120,
    ),
    policy=st.sampled_from(["block", "drop_oldest", "coalesce_latest"]),
)
def test_delivered_and_reported_is_everything(capacity, steps, policy):
    """Whatever is read when: each reading is delivered once or lies in a reported range, in order."""
    log, make = EventLog("boot", capacity=capacity), Numbered()
    reader = Reader(log, policy=policy)
    log.open(reader)
    sent, got = [], []
    for number, (kind, read, _) in enumerate(steps):
        event = event_of(make, number, kind)
        sent.append(event)
        log.append([event])
        if read:
            got += taken(reader)
    got += taken(reader)
    delivered = {(*each["source"], each["id"]) for each in got}
    ranges = [
        (tuple(each["source"]), each["detail"]["first"], each["detail"]["last"])
        for each in got
        if each["kind"] == "dropped"
    ]
    for event in sent:
        lost = any(
            source == tuple(event.source) and first <= event.seq <= last for source, first, last in ranges
        )
        assert (*event.source, event.id) in delivered or (lost and event.kind is Kind.READING)
    names = [(*each["source"], each["id"]) for each in got if each["kind"] != "dropped"]
    assert len(names) == len(set(names))
    dropped = sum(each["detail"]["count"] for each in got if each["kind"] == "dropped")
    assert dropped + len(names) == len(sent)


@given(
    st.integers(1, 30),
    st.integers(0, 90),
    st.integers(0, 90),
    st.sampled_from(["boot", "other", "", "boot--1", "x-y"]),
)
def test_any_cursor_continues_or_reports(capacity, count, cursor, boot):
    """After a cursor of this log nothing is missing that is not reported; any other one begins anew."""
    log, make = EventLog("boot", capacity=capacity), Numbered()
    log.append(event_of(make, number, "reading") for number in range(count))
    index, resumed = log.position(f"{boot}-{cursor}")
    assert log.first <= index <= log.head
    if boot == "boot" and cursor <= count:
        assert resumed == (cursor >= log.first)
        assert index == max(cursor, log.first)
        reported = log.removed_since(cursor)
        for number in range(cursor, index):
            loss = reported[SOURCES[number % 3]]
            assert loss.start <= NOW + timedelta(seconds=number) <= loss.end
    else:
        assert (index, resumed) == (log.first, False)


def test_many_removed_events_are_summarised():
    """A hundred thousand removed events take 65 summaries, and none of them is forgotten."""
    log, make = EventLog("boot", capacity=10), Numbered()
    for begin in range(0, 100_000, 1000):
        log.append(event_of(make, number, "reading") for number in range(begin, begin + 1000))
    assert len(log._removed) <= 64
    assert sum(loss.count for loss in log.removed_since(0).values()) == 99_990


def test_coalesce_latest_keeps_the_newest_of_each_key():
    """A reader that is behind gets one reading of each device, and every other event."""
    log, make = EventLog("boot"), Numbered()
    reader = Reader(log, policy="coalesce_latest")
    log.append(event_of(make, number, "gap" if number == 4 else "reading") for number in range(30))
    got = taken(reader)
    readings = [each for each in got if each["kind"] == "reading"]
    assert sorted(each["values"]["pv_power"] for each in readings) == [27, 28, 29]
    assert len([each for each in got if each["kind"] == "gap"]) == 1
    assert sum(each["detail"]["count"] for each in got if each["kind"] == "dropped") == 26


def test_raise_gives_up_on_a_slow_reader():
    """More than 1,024 events behind."""
    log, make = EventLog("boot", capacity=5000), Numbered()
    reader = Reader(log, policy="raise")
    log.append(event_of(make, number, "reading") for number in range(1025))
    with pytest.raises(SlowReader):
        reader.take()
    assert set(POLICIES) == {"block", "drop_oldest", "coalesce_latest", "raise"}


def test_losses_of_others_are_not_reported_to_a_selection():
    """Events that a reader did not ask for are not reported as dropped."""
    log, make = EventLog("boot", capacity=5), Numbered()
    reader = Reader(log, EventSelection(sources=(("voltstorage",),)))
    log.open(reader)
    log.append(event_of(make, number, "reading") for number in range(30))
    assert {tuple(each["source"][:1]) for each in taken(reader)} == {("voltstorage",)}


async def test_waiting_readers_wake_up_and_can_be_cancelled():
    """One append wakes all; a cancelled wait leaves nothing."""
    log, make = EventLog("boot"), Numbered()
    waiting = [asyncio.create_task(log.wait(0)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    log.append([event_of(make, 0, "reading")])
    await asyncio.gather(*waiting, return_exceptions=True)
    assert [task.cancelled() for task in waiting] == [True, False, False]
    await log.wait(0)
    log.end()
    await log.wait(99)


header = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@given(host=header, origin=header, authorization=header, cookie=header)
async def test_any_headers_are_answered_and_never_let_in(host, origin, authorization, cookie):
    """No header opens the door but the token's; no header breaks the check."""
    options = ListenOptions(token=Secret("a-long-random-token-0123456789"))
    access = RelayAccess(options, SystemClock())
    headers = {"Host": host, "Origin": origin, "Authorization": authorization, "Cookie": cookie}
    problem = access.problem(make_mocked_request("GET", "/state", headers=headers))
    assert problem is not None
    assert problem[0] in {401, 403, 421, 429}


@given(st.text(max_size=50), st.text(max_size=50))
async def test_no_code_logs_in_but_that_of_a_link(code, other):
    """A link works once, within ten minutes."""

    class Clock(SystemClock):
        now = 0.0

        def monotonic(self):
            return self.now

    access = RelayAccess(ListenOptions(token=Secret("a-long-random-token-0123456789")), Clock())
    assert access.redeem(code) is None
    link = access.new_link().partition("code=")[2]
    assert access.redeem(other) is None or other == link
    assert access.redeem(link) is not None or other == link
    assert access.redeem(link) is None
    late = access.new_link().partition("code=")[2]
    access.clock.now += 601.0
    assert access.redeem(late) is None

"""Alarms in a stream: raised once, cleared once, also over a restart."""

import asyncio
from datetime import timedelta

import pytest

from energy_core import AlarmChange, Checkpoint, Event, Kind, Quantity, SourceId, merge
from energy_core.home import HomeState
from energy_core.sources import OpenAlarm, ReportedAlarm, StreamPosition
from energy_core.stream.alarms import AlarmTracker
from energy_core.stream.commit import CommitTracker
from tests.servers.scripted_sources import MemoryStore, Script
from tests.servers.virtual_time import EPOCH, VirtualClock

SITE = SourceId("test", "me", "a")
LOW = ReportedAlarm("Low battery", "7", "Battery Monitor", 288, EPOCH)


def at(seconds):
    return EPOCH + timedelta(seconds=seconds)


def shown(changes):
    return [(time, change.active, change.alarm) for time, change in changes]


def test_an_alarm_is_raised_once_and_cleared_once():
    """With the vendor's times where it has them."""
    tracker = AlarmTracker()
    assert shown(tracker.changes(SITE, [LOW], at(60))) == [(EPOCH, True, "a/alarm/7")]
    assert tracker.changes(SITE, [LOW], at(120)) == []
    assert shown(tracker.changes(SITE, [LOW._replace(cleared=at(130))], at(180))) == [
        (at(130), False, "a/alarm/7")
    ]
    assert tracker.changes(SITE, [LOW._replace(cleared=at(130))], at(240)) == []
    assert tracker.changes(SITE, [], at(300)) == []


def test_an_alarm_that_is_not_reported_any_more_was_cleared():
    """At the time of the report: the vendor has no other."""
    tracker = AlarmTracker()
    tracker.changes(SITE, [LOW], at(60))
    assert shown(tracker.changes(SITE, [], at(120))) == [(at(120), False, "a/alarm/7")]


def test_a_time_in_the_future_is_now():
    """The vendor's present time is the latest possible one."""
    (found,) = AlarmTracker().changes(SITE, [LOW._replace(started=at(9999))], at(60))
    assert found.time == at(60)


def test_alarms_without_ids_are_recognised_by_their_text():
    """Two of one text are two alarms; a text that is raised again later is another alarm."""
    tracker, text = AlarmTracker(), ReportedAlarm("Grid lost")
    first = tracker.changes(SITE, [text, text], at(0))
    assert len({each.change.alarm for each in first}) == 2
    assert tracker.changes(SITE, [text, text], at(60)) == []
    assert [each.change.active for each in tracker.changes(SITE, [text], at(120))] == [False]
    tracker.changes(SITE, [], at(180))
    (again,) = tracker.changes(SITE, [text], at(240))
    assert again.change.alarm not in {each.change.alarm for each in first}


@pytest.mark.parametrize("first", [ReportedAlarm(LOW.text), LOW], ids=["text first", "id first"])
def test_an_alarm_with_and_without_its_id_is_one(first):
    """A log that was refused, and is readable later, or the other way round, raises nothing anew."""
    tracker = AlarmTracker()
    (raised,) = tracker.changes(SITE, [first], at(0))
    for each in (LOW, ReportedAlarm(LOW.text), LOW):
        assert tracker.changes(SITE, [each], at(60)) == []
    (cleared,) = tracker.changes(SITE, [], at(120))
    assert cleared.change.alarm == raised.change.alarm


def test_old_records_of_a_log_are_not_delivered():
    """What was cleared before the first report is the past; both ends since the last report are delivered."""
    tracker = AlarmTracker()
    old = LOW._replace(cleared=at(10))
    assert tracker.changes(SITE, [old], at(60)) == []
    short = ReportedAlarm("Short", "8", started=at(70), cleared=at(80))
    assert shown(tracker.changes(SITE, [old, short], at(120))) == [
        (at(70), True, "a/alarm/8"),
        (at(80), False, "a/alarm/8"),
    ]
    assert tracker.changes(SITE, [old, short], at(180)) == []


def test_a_resumed_tracker_knows_open_alarms_and_since_when():
    """Positions of all devices of a site count: the newest reading is when the consumer stopped."""
    tracker = AlarmTracker()
    tracker.resume(
        {
            SITE: StreamPosition(time=at(0), seq=1, alarms=(OpenAlarm("a/alarm/7", "Low battery"),)),
            SITE._replace(instance=288): StreamPosition(time=at(100), seq=1),
        }
    )
    before = ReportedAlarm("Before", "8", started=at(50), cleared=at(60))
    missed = ReportedAlarm("Missed", "9", started=at(150), cleared=at(160))
    found = tracker.changes(SITE, [before, missed, LOW], at(200))
    assert [each.change.alarm for each in found] == ["a/alarm/9", "a/alarm/9"]


def script(*reports, read=True):
    """Return a source that reports alarms once a minute."""

    async def play(pen):
        for number, reported in enumerate(reports):
            if read:
                pen.read(at=number)
            pen.outlet.alarms(pen.source, reported)
            await asyncio.sleep(60)

    return Script("a", play)


async def alarms_of(*reports, read=True, **options):
    options = {"include_status": False, "clock": VirtualClock()} | options
    async with merge(script(*reports, read=read), **options) as events:
        return [event async for event in events if event.kind is Kind.ALARM]


@pytest.mark.virtual_time
async def test_alarm_events_have_device_text_and_an_id_for_all_runs():
    """A repeated report is no event; the JSON form is that of the document."""
    raised, cleared = await alarms_of([LOW], [LOW], [])
    assert raised.detail == AlarmChange(
        active=True,
        alarm="a/alarm/7",
        text="Low battery",
        device="Battery Monitor",
        instance=288,
        started=EPOCH,
    )
    assert (raised.source, raised.id, raised.key) == (SITE, "a/alarm/7/raised", f"{SITE}/a/alarm/7")
    assert (cleared.id, cleared.key) == ("a/alarm/7/cleared", raised.key)
    assert not cleared.detail.active
    assert (raised.values, raised.rows()) == ({}, [])
    assert Event.from_json(raised.to_json()) == raised


@pytest.mark.virtual_time
@pytest.mark.parametrize("read", [True, False], ids=["with readings", "without readings"])
async def test_an_alarm_is_delivered_once_over_a_restart(read):
    """The checkpoint has the open alarms; what was cleared or raised meanwhile is delivered."""
    store = MemoryStore()
    assert len(await alarms_of([LOW], read=read, checkpoint=store)) == 1
    assert await alarms_of([LOW], read=read, checkpoint=store) == []
    other = ReportedAlarm("Grid lost", "9")
    found = await alarms_of([other], [other], read=read, checkpoint=store)
    assert {(event.id, event.detail.text) for event in found} == {
        ("a/alarm/7/cleared", "Low battery"),
        ("a/alarm/9/raised", "Grid lost"),
    }
    assert await alarms_of([other], read=read, checkpoint=store) == []


@pytest.mark.virtual_time
async def test_an_alarm_that_was_not_consumed_is_delivered_again():
    """A consumer that stops before the event has not had it."""
    store = MemoryStore()
    async with merge(script([LOW]), include_status=False, clock=VirtualClock(), checkpoint=store) as events:
        assert (await anext(events)).kind is Kind.READING
    assert len(await alarms_of([LOW], checkpoint=store)) == 1


@pytest.mark.virtual_time
async def test_every_consumer_gets_alarms_and_no_policy_drops_them():
    """Also a consumer that keeps only the newest readings."""
    async with merge(script([LOW], []), include_status=False, clock=VirtualClock()) as events:
        mine = events.subscribe(policy="drop_oldest", buffer=1)
        first = [event.id async for event in events if event.kind is Kind.ALARM]
        second = [event.id async for event in mine if event.kind is Kind.ALARM]
    assert first == second == ["a/alarm/7/raised", "a/alarm/7/cleared"]


def change(alarm="a/alarm/7", *, active=True, seq=1):
    return Event(
        SITE, Kind.ALARM, "k", at(seq), at(seq), seq, f"{alarm}/{active}",
        detail=AlarmChange(active=active, alarm=alarm, text="Low battery"),
    )  # fmt: skip


def test_collapsed_commits_keep_every_alarm():
    """A consumer that commits rarely loses no open alarm: each event changes the position."""
    commits = CommitTracker(Checkpoint(), lambda source: source, auto=False)
    events = [change(f"a/alarm/{number}", seq=number) for number in range(1, 101)]
    events += [
        Event(SITE, Kind.READING, "k", at(n), at(n), n, f"{n}", {Quantity.PV_POWER: 1.0})
        for n in range(101, 5001)
    ]
    for event in events:
        commits.delivered(event)
    commits.commit(events[-1])
    assert len(commits.checkpoint().positions[SITE][SITE].alarms) == 100


def test_a_checkpoint_with_open_alarms_is_the_same_after_reading():
    """Positions without alarms are as short as before."""
    position = StreamPosition(time=EPOCH, seq=3, alarms=(OpenAlarm("a/alarm/7", "Tief é", "BMV", 288),))
    checkpoint = Checkpoint({SITE: {SITE: position}})
    assert Checkpoint.from_json(checkpoint.to_json()) == checkpoint
    assert checkpoint.to_json().endswith(',0,[],[["a/alarm/7","Tief é","BMV",288]]]]}]}')


def test_a_home_knows_its_active_alarms():
    """In any order of arrival of different alarms; a cleared one is gone."""
    home = HomeState()
    home.take(change(seq=5))
    home.take(change("a/alarm/8", seq=2))
    assert [event.detail.alarm for event in home.alarms] == ["a/alarm/8", "a/alarm/7"]
    home.take(change("a/alarm/8", active=False, seq=6))
    assert [event.detail.alarm for event in home.alarms] == ["a/alarm/7"]

"""What version 0.1 has stored stays readable: samples of it, which are never changed after its release."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from energy_core import Checkpoint, Event, Kind, Quantity, State
from energy_core.clock import SystemClock
from energy_live.archive.check import check
from energy_live.outputs.sqlite import SqliteOutput
from energy_live.outputs.stored_history import StoredHistory

SAMPLES = Path(__file__).parent / "stored_forms"
VERSION = "0.1"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = SAMPLES / VERSION


class Noon(SystemClock):
    """A clock that stands still, so that nothing of the sample is too old."""

    def utcnow(self):
        return NOON


def test_events():
    """Each kind of event, with every member, and written again as it was."""
    lines = (HERE / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [Event.from_json(line) for line in lines]
    assert [event.kind for event in events] == list(Kind)
    reading, status, gap, dropped, alarm = events
    assert reading.values == {Quantity.BATTERY_POWER: -540.5, Quantity.BATTERY_SOC: 71.25}
    assert (reading.time, reading.revision, reading.backfilled, reading.late) == (NOON, 2, True, True)
    assert reading.raw["bs"]["formattedValue"] == "71 %"
    assert (status.detail.state, status.detail.reason) == (State.STALE, "no log for 16 min")
    assert (gap.detail.reason, gap.detail.quantities) == ("not_recorded", (Quantity.BATTERY_SOC,))
    assert (dropped.detail.first, dropped.detail.last, dropped.detail.count) == (3, 9, 7)
    assert (alarm.detail.active, alarm.detail.text, alarm.detail.instance) == (True, "Low battery", 288)


def test_a_checkpoint():
    """Where a consumer stopped, with what was pending and which alarms were open."""
    [(owner, positions)] = Checkpoint.from_json((HERE / "checkpoint.json").read_text()).positions.items()
    [(source, at)] = positions.items()
    assert (str(owner), str(source)) == ("vrm/home/151001/0", "vrm/home/151001/288")
    assert (at.time, at.seq, at.ids) == (NOON, 7, ("151001/288/1772366400",))
    assert at.seen == {Quantity.BATTERY_POWER, Quantity.BATTERY_SOC}
    assert at.pending == ((NOON - timedelta(hours=1), NOON - timedelta(minutes=50)),)
    assert [each.text for each in at.alarms] == ["Low battery"]


@pytest.fixture
def database(tmp_path):
    """The database that the sample describes."""
    path = tmp_path / "energy.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.executescript((HERE / "energy.sql").read_text(encoding="utf-8"))
    return path


async def test_a_local_database(database):
    """It is read, and written on: what it has is not stored twice."""
    async with StoredHistory(database) as history:
        readings = await history.readings(NOON - timedelta(days=1), NOON + timedelta(days=1))
        kinds = {event.kind for event in await history.events(NOON - timedelta(days=1))}
    assert {(each.quantity, each.value) for each in readings} == {
        (Quantity.BATTERY_POWER, -540.5),
        (Quantity.BATTERY_SOC, 71.25),
    }
    assert {"gap", "alarm"} <= kinds
    output = SqliteOutput(database, clock=Noon())
    position = await output.open()
    events = [Event.from_json(line) for line in (HERE / "events.jsonl").read_text().splitlines()]
    await output.write(events, position)
    await output.close()
    async with StoredHistory(database) as history:
        again = await history.readings(NOON - timedelta(days=1), NOON + timedelta(days=1))
    assert len(again) == len(readings)


def test_an_archive(tmp_path):
    """Its manifest is understood and every file is intact."""
    shutil.copytree(HERE / "archive", tmp_path / "archive")
    found = check(tmp_path / "archive")
    assert len(found.manifest.files) > 5
    assert (found.damage, found.missing) == ([], [])

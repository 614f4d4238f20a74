"""Writes the samples of this version: `python -m tests.docs.stored_forms`, once, before a release.

The samples of a released version are never changed.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.source import OpenAlarm, StreamPosition
from energy_core.stream.vocabulary import AlarmChange, Dropped, Gap, Kind, Quantity, SourceId, State, Status
from energy_live.outputs.sqlite import SqliteOutput
from tests.docs.test_stored_forms import SAMPLES, VERSION, Noon
from tests.servers.archive_run import household, save

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SITE = SourceId("vrm", "home", "151001", 0)
BATTERY = SITE._replace(instance=288)


def event(kind: Kind, name: str, **more: object) -> Event:
    """Return an event of the battery at noon."""
    return Event(BATTERY, kind, f"{BATTERY}/{kind}", NOON, NOON + timedelta(seconds=1), 1, name, **more)


EVENTS = (
    event(
        Kind.READING,
        "151001/288/1772366400",
        values={Quantity.BATTERY_POWER: -540.5, Quantity.BATTERY_SOC: 71.25},
        raw={"bs": {"rawValue": 71.25, "formattedValue": "71 %"}},
        backfilled=True,
        late=True,
        revision=2,
    ),
    event(
        Kind.STATUS, "status:1", detail=Status(state=State.STALE, reason="no log for 16 min", retry_in=None)
    ),
    event(
        Kind.GAP,
        "gap:1",
        detail=Gap(start=NOON, end=NOON, reason="not_recorded", quantities=(Quantity.BATTERY_SOC,)),
    ),
    event(Kind.DROPPED, "dropped:1", detail=Dropped(first=3, last=9, count=7)),
    event(
        Kind.ALARM,
        "151001/alarm/4157/raised",
        detail=AlarmChange(
            active=True, alarm="151001/alarm/4157", text="Low battery", device="Battery Monitor", instance=288
        ),
    ),
)
POSITION = Checkpoint(
    {
        SITE: {
            BATTERY: StreamPosition(
                time=NOON,
                seq=7,
                ids=("151001/288/1772366400",),
                quantities=frozenset({Quantity.BATTERY_SOC}),
                seen=frozenset({Quantity.BATTERY_POWER, Quantity.BATTERY_SOC}),
                pending=((NOON - timedelta(hours=1), NOON - timedelta(minutes=50)),),
                alarms=(OpenAlarm("151001/alarm/4157", "Low battery", "Battery Monitor", 288),),
            )
        }
    }
)


async def write() -> None:
    """Write every sample anew."""
    folder = SAMPLES / VERSION
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("".join(f"{each.to_json()}\n" for each in EVENTS), encoding="utf-8")
    (folder / "checkpoint.json").write_text(POSITION.to_json() + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "energy.sqlite")
        output = SqliteOutput(path, clock=Noon())
        await output.open()
        await output.write(EVENTS, POSITION)
        await output.close()
        with closing(sqlite3.connect(path)) as database:
            pragmas = ("application_id", "user_version")
            numbers = [(each, database.execute(f"PRAGMA {each}").fetchone()[0]) for each in pragmas]
            lines = [*database.iterdump(), *(f"PRAGMA {each} = {number};" for each, number in numbers), ""]
            (folder / "energy.sql").write_text("\n".join(lines), encoding="utf-8")
    async with household(history_days=1, export_step_s=21_600) as simulator:
        await save(simulator, folder / "archive", products=frozenset({301}))


if __name__ == "__main__":
    asyncio.run(write())

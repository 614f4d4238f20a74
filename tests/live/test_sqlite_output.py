"""The local database: each event once, positions in the same transaction, retention, damage, a full disk."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta

import pytest

from energy_core.clock import SystemClock
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.source import StreamPosition
from energy_core.stream.vocabulary import AlarmChange, Dropped, Gap, Kind, Quantity, SourceId, State, Status
from energy_live.outputs.output import OutputError
from energy_live.outputs.sqlite import SqliteOutput
from energy_live.outputs.sqlite_tables import APPLICATION_ID, MIGRATIONS, Retention
from energy_live.outputs.stored_history import StoredHistory

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOME = SourceId("test", "me", "7", 0)
PV, SOC = Quantity.PV_POWER, Quantity.BATTERY_SOC


class Noon(SystemClock):
    """A wall clock that stands still where a test puts it."""

    def __init__(self, now=NOON):
        self.now = now

    def utcnow(self):
        return self.now


def reading(second, values=None, *, source=HOME, name=None, **marks):
    at = NOON + timedelta(seconds=second)
    received = at + timedelta(milliseconds=250)
    name = name or f"7/{second}"
    return Event(source, Kind.READING, "k", at, received, 1, name, values or {PV: float(second)}, **marks)


def other(kind, detail, second=0, name="x"):
    at = NOON + timedelta(seconds=second)
    return Event(HOME, kind, "k", at, at, 1, name, detail=detail)


def position(second):
    return Checkpoint({HOME: {HOME: StreamPosition(time=NOON + timedelta(seconds=second), seq=second)}})


@asynccontextmanager
async def opened(path, **options):
    output = SqliteOutput(path, clock=options.pop("clock", None) or Noon(), **options)
    try:
        output.stored = await output.open()
        yield output
    finally:
        await output.close()


def rows(path, select):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(select).fetchall()


async def test_events_are_stored_with_their_position(tmp_path):
    """The views have the columns of the PostgreSQL output; the next `open` returns the position."""
    path = tmp_path / "new" / "energy.sqlite"
    start, end = NOON, NOON + timedelta(minutes=1)
    async with opened(path) as output:
        assert output.stored == Checkpoint()
        await output.write(
            [
                reading(1, {PV: 5.5, SOC: 50.0}),
                reading(1.25, {PV: 6.0}, backfilled=True, name="7/1/1"),
                other(Kind.GAP, Gap(start=start, end=end, reason="coarse", quantities=(SOC,))),
                other(
                    Kind.ALARM,
                    AlarmChange(active=True, alarm="a", text='Low "battery", é🔋\n'),
                    2,
                    "a/raised",
                ),
                other(Kind.STATUS, Status(state=State.STALE, reason="quiet"), 3),
                other(Kind.DROPPED, Dropped(first=1, last=2, count=2), 4),
            ],
            position(3),
        )
    async with opened(path) as output:
        assert output.stored == position(3)
    assert rows(path, "SELECT * FROM readings ORDER BY time, quantity") == [
        (
            *("2026-03-01T12:00:01.000Z", "test/me/7/0", "battery_soc", 50.0, "%", "7/1", 0),
            *("2026-03-01T12:00:01.250Z", 0, 1772366401.0),
        ),
        (
            *("2026-03-01T12:00:01.000Z", "test/me/7/0", "pv_power", 5.5, "W", "7/1", 0),
            *("2026-03-01T12:00:01.250Z", 0, 1772366401.0),
        ),
        (
            *("2026-03-01T12:00:01.250Z", "test/me/7/0", "pv_power", 6.0, "W", "7/1/1", 0),
            *("2026-03-01T12:00:01.500Z", 1, 1772366401.25),
        ),
    ]
    assert rows(path, "SELECT start_time, end_time, reason, quantities FROM gaps") == [
        (start.isoformat(), end.isoformat(), "coarse", '["battery_soc"]')
    ]
    assert rows(path, "SELECT active, text, device FROM alarms") == [(1, 'Low "battery", é🔋\n', "")]
    assert rows(path, "SELECT state, reason FROM statuses") == [("stale", "quiet")]
    assert oct(path.stat().st_mode & 0o777) == "0o600"


async def test_writing_again_changes_nothing_and_a_revision_is_a_row(tmp_path):
    """The key is (source, id, quantity, revision); `readings_wide` shows the newest of each value."""
    path = tmp_path / "energy.sqlite"
    batch = [reading(n, {PV: float(n), SOC: 50.0}) for n in range(5)]
    async with opened(path) as output:
        for number in range(3):
            await output.write(batch, position(number))
        await output.write(
            [reading(3, {PV: 99.0}, revision=1), reading(3, {PV: 98.0}, revision=1)], position(9)
        )
        await output.write([reading(4, {Quantity.GRID_POWER: -1.0})], position(10))
    assert rows(path, "SELECT count(*) FROM readings") == [(12,)]
    wide = "SELECT id, pv_power, battery_soc, grid_power FROM readings_wide WHERE id >= '7/3' ORDER BY id"
    assert rows(path, wide) == [("7/3", 99.0, 50.0, None), ("7/4", 4.0, 50.0, -1.0)]
    key = "SELECT count(*) FROM readings GROUP BY source, id, quantity, revision HAVING count(*) > 1"
    assert rows(path, key) == []


async def test_a_batch_is_stored_whole_or_not_at_all(tmp_path):
    """After a failure in the middle neither its rows nor its position are there; writing it again works."""
    path = tmp_path / "energy.sqlite"
    async with opened(path) as output:
        with pytest.raises(OutputError):
            await output.write([reading(1), reading(2, {PV: None})], position(2))
        assert rows(path, "SELECT count(*) FROM sources") == [(0,)]
        await output.write([reading(1), reading(2)], position(2))
    assert rows(path, "SELECT count(*) FROM readings") == [(2,)]


async def test_a_cancelled_write_is_finished_before_the_next(tmp_path):
    async with opened(tmp_path / "energy.sqlite") as output:
        for number in range(20):
            task = asyncio.create_task(output.write([reading(number)], position(number)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        await output.write([reading(99)], position(99))
    (found,) = rows(tmp_path / "energy.sqlite", "SELECT count(*) FROM readings")[0]
    assert 1 <= found <= 21


async def test_old_readings_become_minutes_and_hours(tmp_path):
    """The means are those of the newest revisions; nothing is counted twice when it is written again."""
    path, clock = tmp_path / "energy.sqlite", Noon()
    keep = Retention(raw_days=1, minute_days=2, hour_days=30, event_days=1)
    batch = [reading(n * 10, {PV: float(n)}) for n in range(360)]  # one hour
    async with opened(path, retention=keep, clock=clock) as output:
        await output.write([*batch, other(Kind.STATUS, Status(state=State.LIVE))], position(1))
        await output.write([reading(0, {PV: 600.0}, revision=1)], position(2))
        clock.now = NOON + timedelta(days=2)
        for _ in range(5):
            output._thin_at = 0.0
            await output.write([], position(3))
    assert rows(path, "SELECT count(*) FROM readings") == [(0,)]
    assert rows(path, "SELECT count(*) FROM events") == [(0,)]
    minutes = rows(path, "SELECT time, count, mean, least, most FROM minutes ORDER BY time")
    assert len(minutes) == 60
    assert minutes[0][1:] == (6, (600 + 1 + 2 + 3 + 4 + 5) / 6, 1.0, 600.0)
    assert minutes[1][1:] == (6, 8.5, 6.0, 11.0)
    async with opened(path, retention=keep, clock=clock) as output:
        await output.write(batch[:12], position(4))  # again, after their minutes were made
        await output.write([reading(3600, {PV: 1.0}), reading(3600, {PV: 2.0}, revision=1)], position(5))
        for _ in range(5):
            output._thin_at = 0.0
            await output.write([], position(6))
    again = rows(path, "SELECT time, count, mean, least, most FROM minutes ORDER BY time")
    assert again[:60] == minutes
    assert again[60][1:] == (1, 2.0, 2.0, 2.0)
    async with opened(path, retention=keep, clock=clock) as output:
        clock.now = NOON + timedelta(days=2)
        await output.write([reading(3600, {PV: 4.0}, revision=2)], position(7))
        output._thin_at = 0.0
        await output.write([], position(8))
        assert rows(path, "SELECT mean FROM minutes ORDER BY time DESC LIMIT 1") == [(4.0,)]
        clock.now = NOON + timedelta(days=4)
        for _ in range(5):
            output._thin_at = 0.0
            await output.write([], position(9))
    assert rows(path, "SELECT count(*) FROM minutes") == [(0,)]
    assert rows(path, "SELECT count, mean FROM hours ORDER BY time") == [
        (360, pytest.approx((sum(range(360)) + 600) / 360)),
        (1, 4.0),
    ]
    async with opened(path, retention=keep, clock=clock) as output:
        clock.now = NOON + timedelta(days=60)
        for _ in range(5):
            output._thin_at = 0.0
            await output.write([], position(10))
    assert rows(path, "SELECT count(*) FROM hours") == [(0,)]


async def test_the_history_is_read_while_it_is_written(tmp_path):
    """Readings with their newest revision, means of a step, the newest values, events and devices."""
    path = tmp_path / "energy.sqlite"
    away = SourceId("test", "me", "8", 2)
    async with opened(path) as output:
        await output.write([reading(n, {PV: float(n), SOC: 50.0}) for n in range(120)], position(1))
        async with StoredHistory(path) as history:
            await output.write([reading(3, {PV: 33.0}, revision=1), reading(5, source=away)], position(2))
            await output.write([other(Kind.GAP, Gap(start=NOON, end=NOON, reason="coarse"))], position(3))
            some = await history.readings(
                NOON, NOON + timedelta(seconds=5), quantities=["pv_power"], sites=[7]
            )
            assert [each.value for each in some] == [0.0, 1.0, 2.0, 33.0, 4.0]
            minutes = await history.readings(NOON, quantities=[PV], sites=["7"], step_s=60)
            assert [(each.time, each.count, each.least, each.most) for each in minutes] == [
                (NOON, 60, 0.0, 59.0),
                (NOON + timedelta(minutes=1), 60, 60.0, 119.0),
            ]
            assert minutes[0].value == pytest.approx((sum(range(60)) + 30) / 60)
            latest = await history.latest(NOON)
            assert {(each.source, each.quantity): each.value for each in latest} == {
                ("test/me/7/0", "pv_power"): 119.0,
                ("test/me/7/0", "battery_soc"): 50.0,
                ("test/me/8/2", "pv_power"): 5.0,
            }
            (gap,) = await history.events(NOON, kinds=["gap"])
            assert (gap.reason, gap.start, gap.end) == ("coarse", NOON, NOON)
            assert await history.sources() == [HOME, away]
            assert some.to_pandas().columns.tolist()[:3] == ["time", "source", "quantity"]
            with pytest.raises(ValueError, match="aware"):
                await history.readings(datetime(2026, 3, 1))  # noqa: DTZ001
            with pytest.raises(ValueError, match="whole number of seconds"):
                await history.readings(NOON, step_s=0)


async def test_a_missing_file_is_an_error_that_says_what_makes_it(tmp_path):
    with pytest.raises(OutputError, match="does not exist; `energy-live run` makes it"):
        async with StoredHistory(tmp_path / "none.sqlite"):
            pass
    assert list(tmp_path.iterdir()) == []


async def cannot_open(path, **options):
    with pytest.raises(OutputError) as caught:
        async with opened(path, **options):
            pass
    return caught.value


async def test_a_damaged_file_is_refused(tmp_path):
    """The check at the start finds it, and the error says what to do; the file is not changed."""
    path = tmp_path / "energy.sqlite"
    async with opened(path) as output:
        await output.write([reading(n) for n in range(5000)], position(1))
    whole = path.read_bytes()
    damaged = whole[:40960] + b"\x99" * 8192 + whole[49152:]
    path.write_bytes(damaged)
    error = await cannot_open(path)
    assert error.permanent
    assert "is damaged" in str(error)
    assert "move the file away" in str(error)
    path.write_bytes(b"not a database at all, but long enough to be one" * 100)
    assert "is damaged" in str(await cannot_open(path))
    assert path.read_bytes().startswith(b"not a database")


async def test_other_and_newer_databases_are_refused(tmp_path):
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert "of another program; choose another file" in str(await cannot_open(path))
    path = tmp_path / "newer.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    error = await cannot_open(path)
    assert error.permanent
    assert f"of version {len(MIGRATIONS) + 1}" in str(error)
    assert "update energy-live" in str(error)


async def test_a_bad_position_says_which_row(tmp_path):
    path = tmp_path / "energy.sqlite"
    async with opened(path) as output:
        await output.write([reading(1)], position(1))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE positions SET position = '{'")
    error = await cannot_open(path)
    assert "delete the row 'energy-live' of its table positions" in str(error)


async def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    error = await cannot_open(tmp_path / "file" / "energy.sqlite")
    assert error.permanent
    assert str(tmp_path) in str(error)


async def test_a_locked_file_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("energy_live.outputs.sqlite_tables.BUSY_S", 0.05)
    path = tmp_path / "energy.sqlite"
    async with opened(path) as output:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(OutputError, match="locked by another program") as caught:
                await output.write([reading(1)], position(1))
            assert not caught.value.permanent
            connection.execute("ROLLBACK")
        await output.write([reading(1)], position(1))


async def test_a_removed_file_is_made_anew(tmp_path):
    """Rows that would go into a file without a name are an error instead."""
    path = tmp_path / "energy.sqlite"
    async with opened(path) as output:
        await output.write([reading(1)], position(1))
        path.unlink()
        with pytest.raises(OutputError, match="was removed or replaced"):
            await output.write([reading(2)], position(2))
        await output.close()
        assert await output.open() == Checkpoint()
        await output.write([reading(2)], position(2))
    assert rows(path, "SELECT count(*) FROM readings") == [(1,)]


FULL = """
import asyncio, json, resource, signal, sys
from tests.live.test_sqlite_output import opened, reading, position, rows
from energy_live.outputs.output import OutputError

async def main(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    done, failed = 0, []
    async with opened(path) as output:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        for number in range(200):
            batch = [reading(number * 100 + n) for n in range(100)]
            try:
                await output.write(batch, position(number))
            except OutputError as error:
                failed.append([str(error), error.permanent])
                break
            done += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await output.close()
        kept = await output.open()
        before = rows(path, "SELECT count(*) FROM readings")[0][0]
        await output.write(batch, position(number))
    after = rows(path, "SELECT count(*) FROM readings")[0][0]
    print(json.dumps([done, failed, before, after, position(done - 1) == kept]))

asyncio.run(main(sys.argv[1]))
"""


def test_a_full_disk_loses_nothing(tmp_path):
    """What was written before stays whole with its position; the batch is written once there is room."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "energy.sqlite")],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    done, failed, before, after, same_position = json.loads(ran.stdout)
    assert done > 0
    ((message, permanent),) = failed
    assert "disk" in message
    assert not permanent
    assert before == done * 100
    assert after == (done + 1) * 100
    assert same_position


@pytest.mark.parametrize("days", ["raw_days", "minute_days", "hour_days", "event_days"])
def test_a_negative_retention_is_refused(days):
    with pytest.raises(ValueError, match=f"{days} must be 0 or more days, not -1"):
        Retention(**{days: -1})

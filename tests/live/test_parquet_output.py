"""Parquet files of events: whole files only, readable meanwhile, nothing lost where the program is killed."""

import asyncio
import errno
import os
import shutil
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_core import AlarmChange, Checkpoint, Event, Gap, Kind, Quantity, SourceId, State, Status
from energy_live.outputs import parquet_files as parquet
from energy_live.outputs.output import OutputError
from energy_live.outputs.parquet import ParquetOutput
from tests.servers.virtual_time import VirtualClock

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SITE = SourceId("vrm", "me", "151734", 288)
GRID, SOC = Quantity.GRID_POWER, Quantity.BATTERY_SOC


class Clock(VirtualClock):
    """A clock that is moved by hand."""

    now = 0.0

    def monotonic(self):
        return self.now


def reading(number, source=SITE, **changes):
    time = NOON + timedelta(seconds=number)
    one = Event(source, Kind.READING, f"{source}/reading", time, time, number + 1, f"{source.site}/{number}")
    return one._replace(values={GRID: number * 1.5}, **changes)


async def written(root, *batches, clock=None, close=True):
    output = ParquetOutput(root, clock=clock)
    await output.open()
    for batch in batches:
        await output.write(batch, Checkpoint())
    if close:
        await output.close()
    return output


def rows(root):
    """Every row of every visible file."""
    files = sorted(root.rglob("*.parquet"))
    tables = [pq.read_table(each, partitioning=None) for each in files if not each.name.startswith(".")]
    return pa.concat_tables(tables).to_pylist() if tables else []


def ids(root):
    return sorted(row["id"] for row in rows(root))


async def test_every_event_has_a_row(tmp_path):
    """Times to the microsecond, values by quantity with their units, marks, and what else an event says."""
    moment = NOON.replace(microsecond=123456)
    gap = Gap(start=NOON, end=NOON + timedelta(hours=1), reason="not_recorded", quantities=(GRID, SOC))
    alarm = AlarmChange(active=True, alarm="7", text="Low\nbattery")
    both = {GRID: -0.5, SOC: 99.0}
    batch = [
        reading(1, time=moment, revision=2, backfilled=True, late=True)._replace(values=both),
        reading(2),
        reading(3, kind=Kind.GAP, detail=gap)._replace(values={}),
        reading(4, kind=Kind.ALARM, detail=alarm)._replace(values={}),
        reading(5, kind=Kind.STATUS, detail=Status(state=State.STALE, reason="quiet"))._replace(values={}),
    ]
    await written(tmp_path, batch)
    (file,) = tmp_path.rglob("*.parquet")
    assert file.relative_to(tmp_path).as_posix() == "vrm-151734-288/2026-06-01-001.parquet"
    first, second, lost, low, quiet = rows(tmp_path)
    assert {name: value for name, value in first.items() if value is not None} == {
        "time": moment,
        "received_at": NOON + timedelta(seconds=1),
        "kind": "reading",
        "vendor": "vrm",
        "account": "me",
        "site": "151734",
        "instance": 288,
        "id": "151734/1",
        "revision": 2,
        "backfilled": True,
        "late": True,
        "grid_power": -0.5,
        "battery_soc": 99.0,
    }
    assert (second["grid_power"], second["battery_soc"], second["late"]) == (3.0, None, False)
    assert (lost["kind"], lost["time"], lost["until"]) == ("gap", gap.start, gap.end)
    assert (lost["text"], lost["missing"]) == ("not_recorded", "grid_power battery_soc")
    assert (low["kind"], low["state"], low["text"]) == ("alarm", "raised", "Low\nbattery")
    assert (quiet["kind"], quiet["state"], quiet["text"]) == ("status", "stale", "quiet")
    schema = pq.read_schema(file)
    assert [name for name in schema.names if name in list(Quantity)] == ["grid_power", "battery_soc"]
    assert schema.field("grid_power").metadata == {b"unit": b"W"}


async def test_files_by_device_and_day(tmp_path, monkeypatch):
    """A day is a day of UTC; a file that is long is followed by another one."""
    monkeypatch.setattr(parquet, "_FILE_ROWS", 10)
    other = SourceId("voltstorage", "me", "301")
    batch = [reading(each * 3600, source) for source in (SITE, other) for each in range(36)]
    await written(tmp_path, batch[:50], batch[50:])
    names = {each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*.parquet")}
    assert names == {
        f"{folder}/2026-06-0{day}-00{number}.parquet"
        for folder in ("vrm-151734-288", "voltstorage-301-0")
        for day, numbers in ((1, 2), (2, 3))
        for number in range(1, numbers + 1)
    }
    assert ids(tmp_path) == sorted(each.id for each in batch)


async def test_a_reader_sees_whole_files_only(tmp_path):
    """The first batch at once, the rest after five minutes or at the end, never a part of a file."""
    clock = Clock()
    output = await written(tmp_path, [reading(0)], [reading(1)], clock=clock, close=False)
    assert ids(tmp_path) == ["151734/0"]
    clock.now = 299.0
    await output.write([reading(2)], Checkpoint())
    assert ids(tmp_path) == ["151734/0"]
    clock.now = 301.0
    await output.write([], Checkpoint())
    assert ids(tmp_path) == ["151734/0", "151734/1", "151734/2"]
    await output.write([reading(3)], Checkpoint())
    await output.close()
    assert ids(tmp_path)[-1] == "151734/3"
    assert not list(tmp_path.glob(".journal-*"))


async def test_duckdb_reads_while_it_is_written(tmp_path):
    """No query fails, and none sees fewer rows than the one before."""
    clock, done = Clock(), threading.Event()
    output = await written(tmp_path, [reading(0)], clock=clock, close=False)

    def read():
        counts, database = [], duckdb.connect()
        while not done.is_set():
            query = f"SELECT count(DISTINCT id), count(*) FROM read_parquet('{tmp_path}/*/*.parquet')"
            counts.append(database.execute(query).fetchone())
        database.close()
        return counts

    reader = asyncio.ensure_future(asyncio.to_thread(read))
    for number in range(1, 40):
        clock.now = number * 301.0
        await output.write([reading(number)], Checkpoint())
    done.set()
    await output.close()
    counts = await reader
    assert counts == sorted(counts)
    assert all(distinct == every for distinct, every in counts)
    assert len(ids(tmp_path)) == 40


@pytest.mark.parametrize("cut", [0, 1, 200, 100_000])
async def test_a_run_that_was_killed(tmp_path, cut):
    """What `write` has confirmed is there after the next start, wherever the journal was cut behind it."""
    crashed, again = tmp_path / "crashed", tmp_path / "again"
    output = await written(crashed, *([reading(each)] for each in range(20)), clock=Clock(), close=False)
    (journal,) = (each.name for each in crashed.glob(".journal-*"))
    size = (crashed / journal).stat().st_size
    output._files._active._writer.write_batch(parquet.record_batch([(0, reading(99))], output._files._schema))
    output._files._active._file.flush()
    shutil.copytree(crashed, again)
    await output.close()
    os.truncate(again / journal, min(size + cut, (again / journal).stat().st_size))
    await written(again)
    found = ids(again)
    assert set(found) >= {reading(each).id for each in range(20)}
    assert len(found) == len(set(found))


@given(counts=st.lists(st.integers(1, 7), min_size=1, max_size=5), dies=st.sets(st.integers(1, 20)))
@settings(max_examples=12)
async def test_a_kill_while_files_are_written_doubles_nothing(tmp_path_factory, counts, dies):
    """At any rename, several times: the next start goes on where the files say that it stopped."""
    root = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_FILE_ROWS", 3)
        real, count = parquet.rename, 0

        def rename(source, target):
            nonlocal count
            count += 1
            if count in dies:
                raise KeyboardInterrupt
            real(source, target)

        patch.setattr(parquet, "rename", rename)
        numbers = iter(range(1000))
        sources = [SITE, SITE._replace(site="2")]
        batches = [[reading(next(numbers), sources[each % 2]) for each in range(size)] for size in counts]
        confirmed = []
        for batch in batches:
            files = None
            while files is None:
                with suppress(KeyboardInterrupt):
                    files = parquet.ParquetFiles(root)
            with suppress(KeyboardInterrupt):
                files.append(batch)
                confirmed += batch
                files.flush()
            files.release()
        output = None
        while output is None:
            with suppress(KeyboardInterrupt):
                output = parquet.ParquetFiles(root)
        output.close()
    assert ids(root) == sorted(each.id for each in confirmed)


@pytest.mark.parametrize("where", ["journal", "file"])
async def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, where):
    """One line says what and where; once there is room, everything is written."""

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    clock = Clock()
    output = await written(tmp_path, [reading(0)], clock=clock, close=False)
    clock.now = 400.0
    with monkeypatch.context() as patch:
        patch.setattr(*(parquet.os, "fsync") if where == "journal" else (parquet, "rename"), full)
        with pytest.raises(OutputError, match="No space left on device") as caught:
            await output.write([reading(1)], Checkpoint())
        with pytest.raises(OutputError, match="No space left on device"):
            await output.close()
    assert not caught.value.permanent
    await output.open()
    await output.write([reading(1)], Checkpoint())
    await output.close()
    assert sorted(set(ids(tmp_path))) == ["151734/0", "151734/1"]


async def test_a_damaged_file_is_left_alone(tmp_path, caplog):
    """The day goes on in another file."""
    await written(tmp_path, [reading(0)])
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(b"PAR1 this is none")
    await written(tmp_path, [reading(1)])
    assert file.read_bytes() == b"PAR1 this is none"
    assert [row["id"] for row in pq.read_table(file.with_name("2026-06-01-002.parquet")).to_pylist()] == [
        "151734/1"
    ]
    assert "damaged" in caplog.text


async def test_two_programs_do_not_write_into_one_folder(tmp_path):
    """The second one says so."""
    first = await written(tmp_path, [reading(0)], close=False)
    second = ParquetOutput(tmp_path)
    with pytest.raises(OutputError, match="another program writes"):
        await second.open()
    await second.close()
    await first.close()


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "é😀", 'q"uote\n', "*", "1,2", "x" * 400, ""])
async def test_any_id_is_a_folder(tmp_path, name):
    """Whatever a source calls its sites, its files are in the directory, and its name is in them."""
    await written(tmp_path / "out", [reading(0, SourceId("my/vendor", "me", name))])
    (row,) = rows(tmp_path / "out")
    assert (row["vendor"], row["site"]) == ("my/vendor", name)
    (file,) = tmp_path.rglob("*.parquet")
    assert file.parent.parent == tmp_path / "out"


async def test_a_directory_that_cannot_be_made(tmp_path):
    """One line names it."""
    (tmp_path / "file").write_text("")
    output = ParquetOutput(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="file/out: Not a directory"):
        await output.open()
    await output.close()


async def test_without_the_extra(tmp_path, monkeypatch):
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    output = ParquetOutput(tmp_path)
    with pytest.raises(OutputError, match=r'pip install "energy-live\[arrow\]"') as caught:
        await output.open()
    assert caught.value.permanent
    await output.close()

"""Sides compared in `benchmarks.storing`: each output, and its bare driver with the same rows.

The rows of the bare sides are ready before the clock starts. A bare side knows no events, keeps no position,
recognises no duplicate and reports nothing; it stores as durably as the output does.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from time import perf_counter, process_time
from typing import Any, Final, Protocol

from benchmarks.sampling import Sampler
from benchmarks.worker import Cost
from energy_core import Checkpoint, Event, Kind, Quantity, SourceId
from energy_core.home.days import micros
from energy_core.stream.source import StreamPosition
from energy_live.outputs import Output

DEVICES: Final = 40
BATCH: Final = 500
QUANTITIES: Final = (
    Quantity.GRID_POWER,
    Quantity.BATTERY_POWER,
    Quantity.PV_POWER,
    Quantity.BATTERY_SOC,
)
SOURCES: Final = [SourceId("vrm", "home", str(151_000 + number)) for number in range(DEVICES)]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = datetime(2026, 6, 1, tzinfo=UTC)

Row = tuple[Any, ...]


def events(count: int, start: datetime = _DAY) -> list[Event]:
    """Return readings, one a second of each device in turn."""
    made = []
    for number in range(count):
        second, device = divmod(number, DEVICES)
        source, time = SOURCES[device], start + timedelta(seconds=second)
        values = {each: (number * 7 + place) % 5000 / 10 for place, each in enumerate(QUANTITIES)}
        name = f"{source.site}/0/{time.timestamp():.0f}"
        made.append(Event(source, Kind.READING, f"{source}/reading", time, time, second + 1, name, values))
    return made


def batches_of(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut a list."""
    return [items[at : at + size] for at in range(0, len(items), size)]


def position(number: int) -> Checkpoint:
    """Return a position of the size of a real one."""
    at = StreamPosition(time=_DAY + timedelta(seconds=number), seq=number, ids=(f"x/{number}",))
    return Checkpoint({source: {source: at} for source in SOURCES})


class Store(Protocol):
    """One way to store readings; `begin` and `stored` are not timed."""

    async def begin(self, readings: Sequence[Event]) -> Sequence[Sequence[Any]]:
        """Make an empty store, and return the batches to write."""

    async def write(self, batch: Sequence[Any], number: int) -> None:
        """Store one batch durably."""

    async def end(self) -> None:
        """Finish the last batch."""

    async def stored(self) -> int:
        """Return how many values the store has, and remove it."""


class Storing:
    """The side of a store."""

    def __init__(self, store: Store, readings: int) -> None:
        self._store = store
        self._readings = readings
        self._runner = asyncio.Runner()
        self._now = datetime.now(UTC).replace(microsecond=0)

    def check(self) -> Sequence[object]:
        """Store everything once; return how many values the store then has."""
        return [self._runner.run(self._run())[2]]

    def round(self, sampler: Sampler | None = None) -> Cost:
        """Store everything; the cost is wall time, because the server works too."""
        if sampler is not None:
            sampler.start()
        wall_s, cpu_s, _ = self._runner.run(self._run())
        if sampler is not None:
            sampler.stop()
        values = self._readings * len(QUANTITIES)
        return Cost(wall_s / values, {"cpu_us": cpu_s / values * 1e6, "values_per_s": values / wall_s})

    async def _run(self) -> tuple[float, float, int]:
        store = self._store
        self._now += timedelta(hours=1)  # times grow: a broker's state is not published twice
        batches = await store.begin(events(self._readings, self._now))
        wall, cpu = perf_counter(), process_time()
        for number, batch in enumerate(batches):
            await store.write(batch, number)
        await store.end()
        wall, cpu = perf_counter() - wall, process_time() - cpu
        return wall, cpu, await store.stored()


class Ours:
    """An output of ours, written as `OutputFeed` does it.

    Args:
        batch: Events in a batch.
    """

    def __init__(self, batch: int = BATCH) -> None:
        self._batch = batch
        self.output: Output

    async def begin(self, readings: Sequence[Event]) -> Sequence[Sequence[Any]]:
        """Open the output."""
        self.output = await self.opened()
        return batches_of(readings, self._batch)

    async def opened(self) -> Output:
        """Return the output, open and empty."""
        raise NotImplementedError

    async def write(self, batch: Sequence[Any], number: int) -> None:
        """Write one batch with its position."""
        assert not await self.output.write(batch, position(number))

    async def end(self) -> None:
        """Close the output."""
        await self.output.close()


# --- SQLite -------------------------------------------------------------------------------------------------


class _Sqlite:
    def __init__(self, folder: str) -> None:
        self.path = Path(folder, f"{type(self).__name__}.sqlite")

    async def stored(self) -> int:
        connection = sqlite3.connect(self.path)
        (count,) = connection.execute("SELECT count(*) FROM raw_readings").fetchone()
        connection.close()
        for each in self.path.parent.glob(f"{self.path.name}*"):
            each.unlink()
        return int(count)


class OurSqlite(_Sqlite, Ours):
    """`SqliteOutput`."""

    def __init__(self, folder: str) -> None:
        _Sqlite.__init__(self, folder)
        Ours.__init__(self)

    async def opened(self) -> Output:
        """Make a new file."""
        from energy_live.outputs.sqlite import SqliteOutput

        output = SqliteOutput(self.path)
        await output.open()
        return output


class BareSqlite(_Sqlite):
    """`executemany` of ready rows into the same table, a transaction a batch."""

    async def begin(self, readings: Sequence[Event]) -> Sequence[Sequence[Row]]:
        """Make the same tables and ready rows."""
        from energy_live.outputs.sqlite_tables import connect, prepare

        self.connection = connect(self.path, write=True)
        prepare(self.connection, self.path)
        rows = [
            (SOURCES.index(each.source), micros(each.time), each.id, number, 0, value, 0, False)
            for each in readings
            for number, value in enumerate(each.values.values())
        ]
        return batches_of(rows, BATCH * len(QUANTITIES))

    async def write(self, batch: Sequence[Row], number: int) -> None:  # noqa: ARG002
        """Insert a batch."""
        self.connection.execute("BEGIN")
        self.connection.executemany("INSERT INTO raw_readings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch)
        self.connection.execute("COMMIT")

    async def end(self) -> None:
        """Close the file."""
        self.connection.close()


# --- Parquet ------------------------------------------------------------------------------------------------


class _Parquet:
    def __init__(self, folder: str) -> None:
        self.root = Path(folder, type(self).__name__)

    async def stored(self) -> int:
        import pyarrow.parquet as pq

        count = sum(
            pq.read_table(each, partitioning=None, columns=[name]).num_rows
            - pq.read_table(each, partitioning=None, columns=[name])[name].null_count
            for each in self.root.rglob("*.parquet")
            for name in map(str, QUANTITIES)
        )
        rmtree(self.root)
        return int(count)


class OurParquet(_Parquet, Ours):
    """`ParquetOutput`: every batch is durable, and the files can be read meanwhile."""

    def __init__(self, folder: str) -> None:
        _Parquet.__init__(self, folder)
        Ours.__init__(self)

    async def opened(self) -> Output:
        """Make a new directory."""
        from energy_live.outputs.parquet import ParquetOutput

        output = ParquetOutput(self.root)
        await output.open()
        return output


class BareParquet(_Parquet):
    """pyarrow: a `ParquetWriter` for each device, which writes ready rows a batch at a time; one fsync."""

    async def begin(self, readings: Sequence[Event]) -> Sequence[Sequence[tuple[str, list[Row]]]]:
        """Make ready rows by device, with the columns of ours."""
        self.root.mkdir()
        self.writers: dict[str, Any] = {}
        batches = []
        for batch in batches_of(readings, BATCH):
            rows: dict[str, list[Row]] = {}
            for each in batch:
                about = micros(each.time), micros(each.received_at), each.kind.value, *each.source
                marks = each.id, each.revision, each.backfilled, each.late
                rows.setdefault(each.source.site, []).append((*about, *marks, *each.values.values()))
            batches.append(list(rows.items()))
        return batches

    async def write(self, batch: Sequence[tuple[str, list[Row]]], number: int) -> None:  # noqa: ARG002
        """Write a batch."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for site, rows in batch:
            columns = [
                pa.array(cells).cast(pa.timestamp("us", tz="UTC")) if place < 2 else pa.array(cells)
                for place, cells in enumerate(zip(*rows, strict=True))
            ]
            table = pa.table(columns, names=_PARQUET_COLUMNS)
            writer = self.writers.get(site)
            if writer is None:
                path = self.root / f"{site}.parquet"
                writer = self.writers[site] = pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)

    async def end(self) -> None:
        """Finish the files, and sync them once."""
        for site, writer in self.writers.items():
            writer.close()
            descriptor = os.open(self.root / f"{site}.parquet", os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


_PARQUET_COLUMNS: Final = (
    *("time", "received_at", "kind", "vendor", "account", "site", "instance"),
    *("id", "revision", "backfilled", "late"),
    *map(str, QUANTITIES),
)


def local(name: str, readings: int, **options: Any) -> Storing:
    """Return the side of a store by its name."""
    found: dict[str, Any] = {each.__name__: each for each in (OurSqlite, BareSqlite, OurParquet, BareParquet)}
    return Storing(found[name](**options), readings)

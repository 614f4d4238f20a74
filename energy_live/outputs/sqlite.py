"""`SqliteOutput`: stores events in a local file, each exactly once. The default of `energy-live run`.

A batch and the position behind it are one transaction, so a crash or a power cut leaves both or neither. All
work is done in a thread of its own. `StoredHistory` reads the file, also while it is written.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from energy_core.clock import Clock, SystemClock
from energy_core.errors import CheckpointError
from energy_core.printable import printable
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.event_json import detail_members
from energy_core.stream.vocabulary import Kind, Quantity, SourceId
from energy_live.outputs.output import OutputError
from energy_live.outputs.sqlite_tables import Retention, connect, damaged, prepare, thin_out

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_MS: Final = timedelta(milliseconds=1)

_THIN_S: Final = 600.0
"""Seconds between two looks for rows that are too old."""
_FULL_S: Final = 30.0
"""Seconds until the next attempt while the disk is full."""

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FORBIDDEN: Final = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
}

_INSERT: Final = "INSERT INTO raw_readings VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_INSERT_EVENT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_SAVE: Final = """INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT (output)
    DO UPDATE SET position = excluded.position, saved_at = excluded.saved_at"""


class SqliteOutput:
    """Stores events in a file of SQLite, exactly once, and the position in the same transaction.

    docs/how-to/local-history.md has its tables. Readings that are older than the retention become means of
    minutes, later of hours. The folder of the file is made if it does not exist.

    Args:
        path: The file. Two processes must not store into one file.
        retention: How long what is kept.
        name: Names the position in the file.
        clock: Source of time, for tests.
    """

    idempotent = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        retention: Retention | None = None,
        name: str = "energy-live",
        clock: Clock | None = None,
    ) -> None:
        self._path = Path(path)
        self._retention = retention or Retention()
        self._name = name
        self._clock = clock or SystemClock()
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._sources: dict[SourceId, int] = {}
        self._quantities: dict[Quantity, int] = {}
        self._inode = 0
        self._thin_at = 0.0

    async def open(self) -> Checkpoint:
        """Open the file, check it, make or migrate its tables; return the stored position.

        Cancelling is safe: the file is closed by `close`, after what the thread is doing.

        Raises:
            OutputError: It cannot be opened or written, is damaged, of a newer version or of another program.
        """
        position = await self._in_thread(self._open)
        try:
            return Checkpoint() if position is None else Checkpoint.from_json(position)
        except CheckpointError as error:
            what = f"delete the row {self._name!r} of its table positions to start from now"
            raise OutputError(f"{self._path}: {error.fault}; {what}", permanent=True) from None

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> None:
        """Store events and position in one transaction.

        Cancelling is safe: the thread finishes the transaction, or rolls it back, before anything else.

        Raises:
            OutputError: Nothing was stored.
        """
        now = self._clock.utcnow()
        await self._in_thread(lambda: self._write(batch, position, now))
        # One step a batch, so that new readings do not wait.
        due = self._clock.monotonic() >= self._thin_at
        if due and not await self._in_thread(lambda: self._thin_out(now)):
            self._thin_at = self._clock.monotonic() + _THIN_S

    async def close(self) -> None:
        """Close the file and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                await asyncio.get_running_loop().run_in_executor(thread, self._close)
            finally:
                thread.shutdown(wait=False)

    # --- in the thread -------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="energy sqlite")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise self._translated(error) from None
        except OSError as error:
            raise OutputError(f"{self._path}: {error.strerror}", permanent=True) from None

    def _open(self) -> str | None:
        self._close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = not self._path.exists()
        self._connection = connection = connect(self._path, write=True)
        if new:
            self._path.chmod(0o600)
        self._inode = self._path.stat().st_ino
        prepare(connection, self._path)
        self._quantities = {
            Quantity(name): number
            for number, name in connection.execute("SELECT number, quantity FROM quantities")
            if name in Quantity.__members__.values()
        }
        self._sources = {
            SourceId(*row): number
            for number, *row in connection.execute(
                "SELECT number, vendor, account, site, instance FROM sources"
            )
        }
        found = connection.execute(
            "SELECT position FROM positions WHERE output = ?", (self._name,)
        ).fetchone()
        return None if found is None else found[0]

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise OutputError(f"{self._path} is not open")
        return self._connection

    def _write(self, batch: Sequence[Event], position: Checkpoint, now: datetime) -> None:
        connection = self._opened()
        if not self._path.exists() or self._path.stat().st_ino != self._inode:
            raise OutputError(f"{self._path} was removed or replaced; it is opened anew")
        text = position.to_json()
        try:
            connection.execute("BEGIN IMMEDIATE")
            rows, events = self._rows(connection, batch)
            connection.executemany(_INSERT, rows)
            if events:
                connection.executemany(_INSERT_EVENT, events)
            connection.execute(_SAVE, (self._name, text, (now - _EPOCH) // _US))
            connection.execute("COMMIT")
        except BaseException:
            # What was numbered in the transaction is numbered again.
            self._sources.clear()
            self._quantities.clear()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _rows(
        self, connection: sqlite3.Connection, batch: Sequence[Event]
    ) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
        """Return the rows of the readings, and those of other events."""
        rows: list[tuple[object, ...]] = []
        others: list[tuple[object, ...]] = []
        sources, quantities, reading = self._sources, self._quantities, Kind.READING
        for event in batch:
            source = sources.get(event.source) or self._number_source(connection, event.source)
            time = (event.time - _EPOCH) // _US
            if event.kind is reading:
                id_, revision, backfilled = event.id, event.revision, event.backfilled
                delay = (event.received_at - event.time) // _MS
                for quantity, value in event.values.items():
                    number = quantities.get(quantity) or self._number_quantity(connection, quantity)
                    rows.append((source, time, id_, number, revision, value, delay, backfilled))
            elif event.kind is not Kind.DROPPED:  # what was dropped is fetched again, or reported as a gap
                received_at = (event.received_at - _EPOCH) // _US
                detail = json.dumps(detail_members(event.detail), ensure_ascii=False)
                others.append((time, str(event.source), str(event.kind), event.id, received_at, detail))
        return rows, others

    def _number_source(self, connection: sqlite3.Connection, source: SourceId) -> int:
        connection.execute(
            "INSERT INTO sources (source, vendor, account, site, instance) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (str(source), *source),
        )
        select = "SELECT number FROM sources WHERE source = ?"
        number: int = connection.execute(select, (str(source),)).fetchone()[0]
        self._sources[source] = number
        return number

    def _number_quantity(self, connection: sqlite3.Connection, quantity: Quantity) -> int:
        connection.execute(
            "INSERT INTO quantities (quantity, unit) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (str(quantity), quantity.unit),
        )
        select = "SELECT number FROM quantities WHERE quantity = ?"
        number: int = connection.execute(select, (str(quantity),)).fetchone()[0]
        self._quantities[quantity] = number
        return number

    def _thin_out(self, now: datetime) -> bool:
        return thin_out(self._opened(), self._retention, (now - _EPOCH) // _US)

    def _translated(self, error: sqlite3.Error) -> OutputError:
        """Return the error as what the user can do about it."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return OutputError(f"{self._path}: the disk is full; free some space", retry_after=_FULL_S)
        if code in _DAMAGED:
            return damaged(self._path, str(error))
        if code in _FORBIDDEN:
            return OutputError(f"{self._path}: {error}; check the folder and its owner", permanent=True)
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return OutputError(f"{self._path} is locked by another program")
        return OutputError(f"{self._path}: {error}")

    @printable
    def __repr__(self) -> str:
        return f"<SqliteOutput {self._path.name}>"

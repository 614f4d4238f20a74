"""Writes events into Parquet files, a folder a device and a file a day, which any program can read meanwhile.

A batch is appended to a journal, an Arrow stream, and synced; that is when `write` returns. Every five
minutes the journal becomes a row group of the day's file, which is written beside, synced and renamed:
readers see whole files only. A file that has become long is followed by another one of the same day. Every
file says how much of the journal is in it, so that a crash in between doubles nothing here.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from energy_core.atomic_file import open_synced, rename, try_lock
from energy_core.home.days import micros
from energy_core.local_days import EPOCH
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import AlarmChange, Dropped, Gap, Quantity, Status
from energy_live.outputs.output import OutputError

if TYPE_CHECKING:
    import pyarrow as pa

_FILE_ROWS: Final = 10_000
_FILE_GROUPS: Final = 48
"""A file with so many rows or row groups is complete: to go on writing it anew would wear out the disk."""

_JOURNAL: Final = ".journal.arrows"
_TEMPORARY: Final = ".part"
_TAKEN: Final = b"energy_live_journal"
"""Key of a file's metadata: the journal it was written from, and how many rows of it are in files."""

_LONGEST_NAME: Final = 120

_log: Final = logging.getLogger("energy_live.outputs")

_PLACES: Final = 10_000
"""Devices and days that are remembered to have a file."""

_MICROS_A_DAY: Final = 86_400_000_000


class _Place(NamedTuple):
    """The device and day of rows, which are in one file after another."""

    vendor: str
    site: str
    instance: int
    day: int
    """Days since 1970, UTC."""

    @property
    def date(self) -> str:
        """The day as in file names."""
        return (EPOCH + timedelta(days=self.day)).date().isoformat()

    @property
    def folder(self) -> str:
        """The folder's name; any text in an id is safe in it."""
        name = quote(f"{self.vendor}-{self.site}-{self.instance}", safe=" +,=@~()").replace(".", "%2E")
        if len(name) <= _LONGEST_NAME:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        return f"{name[:_LONGEST_NAME]}-{digest}"


class ParquetFiles:
    """The journal and the files of one directory. All methods block."""

    def __init__(self, root: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415  (an extra, and slow to import)
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._pa, self._pq = pa, pq
        self._root = root
        self._schema = _schema()
        self._rows: dict[_Place, list[pa.RecordBatch]] = {}
        self._name = ""
        self._journal: IO[bytes] | None = None
        self._writer: Any = None
        self._written: set[_Place] = set()
        self._seen: dict[_Place, set[str]] = {}
        self.pending = 0
        """Rows that are in the journal only."""
        self.has_new_place = False
        """Whether some of them are of a device and day without a file: those are shown at once."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(root / ".lock")
        try:
            for left in root.glob(f"*/.*{_TEMPORARY}"):
                left.unlink()
            self._replay()
            self.flush()
        except BaseException:
            self._lock.close()
            raise

    def append(self, batch: Iterable[Event]) -> None:
        """Add events to the journal, and sync it.

        Raises:
            OSError: It cannot be written.
        """
        journal = self._journal or self._start_journal()
        groups: dict[_Place, list[tuple[int, Event]]] = {}
        for event in batch:
            detail = event.detail
            time = micros(detail.start if isinstance(detail, Gap) else event.time)
            vendor, _, site, instance = event.source
            place = _Place(vendor, site, instance, time // _MICROS_A_DAY)
            groups.setdefault(place, []).append((time, event))
        for place, events in groups.items():
            rows = self._record_batch(events)
            self._writer.write_batch(rows)
            self._rows.setdefault(place, []).append(rows)
            self.has_new_place |= place not in self._written
            self.pending += rows.num_rows
        journal.flush()
        os.fsync(journal.fileno())

    def flush(self) -> None:
        """Write the rows of the journal into the files of their days, and begin a new journal.

        Raises:
            OSError: A file cannot be written; its rows stay in the journal.
        """
        for place, batches in self._rows.items():
            self._write(place, self._pa.Table.from_batches(batches, self._schema))
        self._end_journal()
        (self._root / _JOURNAL).unlink(missing_ok=True)
        self._written = set(self._rows) if len(self._written) > _PLACES else self._written.union(self._rows)
        self._rows.clear()
        self.pending, self.has_new_place = 0, False

    def close(self) -> None:
        """Flush, and release the directory."""
        try:
            self.flush()
        finally:
            self._end_journal()
            self._lock.close()

    # --- rows ----------------------------------------------------------------------------------------------

    def _record_batch(self, events: Sequence[tuple[int, Event]]) -> pa.RecordBatch:
        pa, count = self._pa, len(events)
        (vendor, account, site, instance), only = events[0][1].source, [event for _, event in events]
        columns: dict[str, Any] = {
            "time": [time for time, _ in events],
            "received_at": [micros(event.received_at) for event in only],
            "kind": [event.kind.value for event in only],
            "id": [event.id for event in only],
            "revision": [event.revision for event in only],
            "backfilled": [event.backfilled for event in only],
            "late": [event.late for event in only],
        }
        for quantity in {quantity for event in only for quantity in event.values}:
            columns[quantity.value] = [event.values.get(quantity) for event in only]
        if any(event.detail is not None for event in only):
            details = [_detail(event) for event in only]
            columns |= dict(zip(_DETAIL, zip(*details, strict=True), strict=True))
        fixed = {"vendor": vendor, "account": account, "site": site, "instance": instance}
        arrays = []
        for field in self._schema:
            if field.name in fixed:
                arrays.append(pa.repeat(pa.scalar(fixed[field.name], field.type), count))
            elif field.name not in columns:
                arrays.append(pa.nulls(count, field.type))
            elif pa.types.is_timestamp(field.type):
                # A tenth of the time that pyarrow needs for aware datetimes.
                arrays.append(pa.array(columns[field.name], pa.int64()).cast(field.type))
            else:
                arrays.append(pa.array(columns[field.name], field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _write(self, place: _Place, rows: pa.Table) -> None:
        folder = self._root / place.folder
        folder.mkdir(mode=0o700, exist_ok=True)
        number, groups, done = self._last_file(folder, place)
        measured = {each for each in _QUANTITIES if rows[each].null_count < rows.num_rows}
        while done < rows.num_rows:
            count = sum(each.num_rows for each in groups)
            names = groups[0].schema.names if groups else self._columns(place, measured)
            more = rows.slice(done, max(0, _FILE_ROWS - count)).select(
                [n for n in names if n in rows.schema.names]
            )
            path = folder / f"{place.date}-{number:03}.parquet"
            fits = more.num_rows and len(groups) < _FILE_GROUPS and measured <= set(more.schema.names)
            taken = json.dumps({"journal": self._name, "rows": done + more.num_rows}).encode()
            if fits and self._save(path, groups, more, {_TAKEN: taken}):
                groups, done = [*groups, more], done + more.num_rows
            else:
                number, groups = number + 1, []

    def _columns(self, place: _Place, measured: set[str]) -> list[str]:
        """Return the columns of a new file: of the quantities, those that the device was seen to measure."""
        seen = self._seen.setdefault(place._replace(day=0), set())
        seen |= measured
        return [name for name in self._schema.names if name in seen or name not in _QUANTITIES]

    def _last_file(self, folder: Path, place: _Place) -> tuple[int, list[pa.Table], int]:
        """Return number and row groups of a day's last file, and the journal's rows that are in files."""
        names = (each.stem for each in folder.glob(f"{place.date}-*.parquet"))
        number = max((int(name[len(place.date) + 1 :]) for name in names), default=0)
        if not number:
            return 1, [], 0
        path = folder / f"{place.date}-{number:03}.parquet"
        try:
            with self._pq.ParquetFile(path) as file:
                groups = [file.read_row_group(each) for each in range(file.num_row_groups)]
                taken = json.loads((file.schema_arrow.metadata or {}).get(_TAKEN, b"{}"))
        except (self._pa.ArrowException, ValueError, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            _log.error("%s is damaged; it is left as it is, and the day goes on in another file", path)
            return number + 1, [], 0
        return number, groups, int(taken["rows"]) if taken.get("journal") == self._name else 0

    def _save(
        self, path: Path, groups: Sequence[pa.Table], more: pa.Table, metadata: dict[bytes, bytes]
    ) -> bool:
        """Replace a file by one with one more row group. Return False, and do nothing, if that is unsafe.

        A program that has read the old footer may read the pages from the new file: DuckDB opens a file
        twice. So the new file has to begin with exactly the bytes of the old one's pages.
        """
        content = io.BytesIO()
        with self._pq.ParquetWriter(
            content, more.schema.with_metadata(metadata), compression="zstd"
        ) as writer:
            for each in (*groups, more):
                writer.write_table(each.replace_schema_metadata(metadata))
        if groups:
            old = path.read_bytes()
            pages = len(old) - 8 - int.from_bytes(old[-8:-4], "little")
            if content.getbuffer()[:pages] != old[:pages]:  # pyarrow was updated
                return False
        temporary = path.with_name(f".{path.name}{_TEMPORARY}")
        with open_synced(temporary) as file:
            file.write(content.getbuffer())
        rename(temporary, path)
        return True

    # --- journal -------------------------------------------------------------------------------------------

    def _start_journal(self) -> IO[bytes]:
        self._name = uuid.uuid4().hex
        descriptor = os.open(self._root / _JOURNAL, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        journal = self._journal = os.fdopen(descriptor, "wb")
        schema = self._schema.with_metadata({_TAKEN: self._name.encode()})
        self._writer = self._pa.ipc.new_stream(journal, schema)
        return journal

    def _end_journal(self) -> None:
        if self._journal is not None:
            with suppress(OSError):  # a full disk; everything that counts was synced before
                self._writer.close()
                self._journal.close()
            self._journal = self._writer = None

    def _replay(self) -> None:
        """Read the journal of a run that was killed, up to where it was cut."""
        path = self._root / _JOURNAL
        if not path.exists():
            return
        with path.open("rb") as file:
            try:
                stream = self._pa.ipc.open_stream(file)
                self._name = (stream.schema.metadata or {}).get(_TAKEN, b"").decode()
                for rows in stream:
                    self._take_back(rows)
            except (self._pa.ArrowException, EOFError) as error:
                _log.info("the journal was cut after %d rows: %s", self.pending, error)

    def _take_back(self, rows: pa.RecordBatch) -> None:
        if not rows.num_rows:
            return
        table = self._pa.concat_tables(
            [self._schema.empty_table(), self._pa.Table.from_batches([rows])], promote_options="default"
        )
        first = rows.slice(0, 1).to_pylist()[0]
        day = micros(first["time"]) // _MICROS_A_DAY
        place = _Place(first["vendor"], first["site"], first["instance"], day)
        self._rows.setdefault(place, []).extend(table.select(self._schema.names).to_batches())
        self.pending += rows.num_rows


def _locked(path: Path) -> IO[str]:
    """Return an open file that no other process has locked.

    Raises:
        OutputError: Another process has.
    """
    file = path.open("a")
    if not try_lock(file.fileno()):
        file.close()
        raise OutputError(f"another program writes to {path.parent}")
    return file


_QUANTITIES: Final = frozenset(each.value for each in Quantity)
_DETAIL: Final = ("until", "state", "text", "missing")


def _schema() -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415  (an extra, and slow to import)

    time, text, flag = pa.timestamp("us", tz="UTC"), pa.string(), pa.bool_()
    source = [("kind", text), ("vendor", text), ("account", text), ("site", text), ("instance", pa.int32())]
    marks = [("id", text), ("revision", pa.int32()), ("backfilled", flag), ("late", flag)]
    values = [pa.field(each.value, pa.float64(), metadata={"unit": each.unit}) for each in Quantity]
    about = [(name, time if name == "until" else text) for name in _DETAIL]
    return pa.schema([("time", time), ("received_at", time), *source, *marks, *values, *about])


def _detail(event: Event) -> tuple[int | None, str | None, str | None, str | None]:
    """Return the columns `until`, `state`, `text` and `missing` of an event."""
    match event.detail:
        case Gap() as gap:
            return micros(gap.end), None, gap.reason, " ".join(gap.quantities)
        case Status() as status:
            return None, status.state.value, status.reason, None
        case AlarmChange() as alarm:
            return None, "raised" if alarm.active else "cleared", alarm.text, None
        case Dropped() as dropped:
            return None, None, f"{dropped.count} readings, {dropped.first} to {dropped.last}", None
    return None, None, None, None

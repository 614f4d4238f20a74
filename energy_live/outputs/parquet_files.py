"""Writes events into Parquet files, a folder a device and a file a day, which any program can read meanwhile.

A batch is appended to a journal, an Arrow stream, and synced; that is when `write` returns. Every five
minutes another journal begins, and the rows of the old one become a row group of each day's file: a few files
with each batch, so that no batch waits long. A file is written beside, synced and renamed: readers see whole
files only. One that has become long is followed by another one of the same day. Every file says how much of
the journal is in it, so that a crash in between doubles nothing here.
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
from energy_live.outputs.output import OutputError
from energy_live.outputs.parquet_rows import QUANTITIES, record_batch, row_micros, row_schema

if TYPE_CHECKING:
    import pyarrow as pa

_FILE_ROWS: Final = 10_000
_FILE_GROUPS: Final = 48
"""A file with so many rows or row groups is complete: to go on writing it anew would wear out the disk."""

_JOURNAL: Final = ".journal-{}.arrows"
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


class _Journal:
    """A journal and its rows, which are not in files yet."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or uuid.uuid4().hex
        """Identifies it in the metadata of files."""
        self.batches: list[pa.RecordBatch] = []
        self.places: dict[_Place, list[int]] = {}
        """By device and day, the numbers of the rows that are not in a file yet."""
        self.count = 0
        """Rows in it."""
        self._file: IO[bytes] | None = None
        self._writer: Any = None

    def start(self, ipc: Any, schema: pa.Schema) -> None:  # noqa: ANN401  (pyarrow has no types)
        """Create the file."""
        descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._writer = ipc.new_stream(self._file, schema.with_metadata({_TAKEN: self.name.encode()}))

    def add(self, rows: pa.RecordBatch, places: Iterable[_Place]) -> None:
        """Append rows, each with its device and day; `sync` makes them durable."""
        if self._writer is not None:
            self._writer.write_batch(rows)
        self.batches.append(rows)
        for number, place in enumerate(places, self.count):
            self.places.setdefault(place, []).append(number)
        self.count += rows.num_rows

    def sync(self) -> None:
        """Write everything to the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def end(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):  # a full disk; everything that counts was synced before
                self._writer.close()
                self._file.close()
            self._file = self._writer = None


class ParquetFiles:
    """The journals and the files of one directory. All methods block."""

    def __init__(self, root: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415  (an extra, and slow to import)
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._pa, self._pq = pa, pq
        self._root = root
        self._schema = row_schema()
        self._active: _Journal | None = None
        self._old: _Journal | None = None
        """The journal whose rows become files now."""
        self._table: pa.Table | None = None
        """All its rows."""
        self._number = 0
        self._written: set[_Place] = set()
        self._seen: dict[_Place, set[str]] = {}
        self.has_new_place = False
        """Whether there are rows of a device and day without a file: those are shown at once."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(root / ".lock")
        try:
            for left in root.glob(f"*/.*{_TEMPORARY}"):
                left.unlink()
            for path in sorted(root.glob(_JOURNAL.format("*"))):
                self._old = self._read(path)
                self._number = int(path.name.split("-")[1].partition(".")[0])
                while self.step():
                    pass
        except BaseException:
            self._lock.close()
            raise

    @property
    def pending(self) -> int:
        """Rows that `begin_flush` would make files of."""
        return 0 if self._active is None else self._active.count

    def append(self, batch: Iterable[Event]) -> None:
        """Add events to the journal, and sync it.

        Raises:
            OSError: It cannot be written.
        """
        journal = self._active
        if journal is None:
            self._number += 1
            journal = self._active = _Journal(self._root / _JOURNAL.format(f"{self._number:010}"))
            journal.start(self._pa.ipc, self._schema)
        events = [(row_micros(event), event) for event in batch]
        places = [
            _Place(vendor, site, instance, time // _MICROS_A_DAY)
            for time, ((vendor, _, site, instance), *_) in events
        ]
        if events:
            journal.add(record_batch(events, self._schema), places)
            self.has_new_place |= not self._written.issuperset(places)
        journal.sync()

    def begin_flush(self) -> None:
        """Begin another journal; the rows of the old one become files with `step`."""
        if self._old is None and self._active is not None:
            self._active.end()
            self._old, self._active = self._active, None
            known = set() if len(self._written) > _PLACES else self._written
            self._written = known | self._old.places.keys()
            self.has_new_place = False

    def step(self) -> bool:
        """Write the rows of one device and day into its file; return whether more of the old journal is left.

        Raises:
            OSError: The file cannot be written; its rows stay in the journal.
        """
        journal = self._old
        if journal is None:
            return False
        if self._table is None:
            self._table = self._pa.Table.from_batches(journal.batches, self._schema)
        for place, numbers in journal.places.items():
            self._write(place, self._table.take(numbers), journal.name)
            del journal.places[place]
            break
        if not journal.places:
            self._table = None
            journal.path.unlink()
            self._old = None
        return self._old is not None

    def flush(self) -> None:
        """Write all rows into files.

        Raises:
            OSError: A file cannot be written; its rows stay in the journal.
        """
        for _ in range(2):
            while self.step():
                pass
            self.begin_flush()
        while self.step():
            pass

    def close(self) -> None:
        """Flush, and release the directory."""
        try:
            self.flush()
        finally:
            self.release()

    def release(self) -> None:
        """Release the directory; what is in a journal is read again by the next program."""
        if self._active is not None:
            self._active.end()
        self._lock.close()

    # --- files ---------------------------------------------------------------------------------------------

    def _write(self, place: _Place, rows: pa.Table, journal: str) -> None:
        folder = self._root / place.folder
        folder.mkdir(mode=0o700, exist_ok=True)
        number, groups, done = self._last_file(folder, place, journal)
        measured = {each for each in QUANTITIES if rows[each].null_count < rows.num_rows}
        while done < rows.num_rows:
            count = sum(each.num_rows for each in groups)
            names = groups[0].schema.names if groups else self._columns(place, measured)
            more = rows.slice(done, max(0, _FILE_ROWS - count)).select(
                [n for n in names if n in rows.schema.names]
            )
            path = folder / f"{place.date}-{number:03}.parquet"
            fits = more.num_rows and len(groups) < _FILE_GROUPS and measured <= set(more.schema.names)
            taken = json.dumps({"journal": journal, "rows": done + more.num_rows}).encode()
            if fits and self._save(path, groups, more, {_TAKEN: taken}):
                groups, done = [*groups, more], done + more.num_rows
            else:
                number, groups = number + 1, []

    def _columns(self, place: _Place, measured: set[str]) -> list[str]:
        """Return the columns of a new file: of the quantities, those that the device was seen to measure."""
        seen = self._seen.setdefault(place._replace(day=0), set())
        seen |= measured
        return [name for name in self._schema.names if name in seen or name not in QUANTITIES]

    def _last_file(self, folder: Path, place: _Place, journal: str) -> tuple[int, list[pa.Table], int]:
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
        return number, groups, int(taken["rows"]) if taken.get("journal") == journal else 0

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

    def _read(self, path: Path) -> _Journal:
        """Read the journal of a run that was killed, up to where it was cut."""
        journal = _Journal(path)
        with path.open("rb") as file:
            try:
                stream = self._pa.ipc.open_stream(file)
                journal.name = (stream.schema.metadata or {}).get(_TAKEN, b"").decode()
                for rows in stream:
                    self._take_back(journal, rows)
            except (self._pa.ArrowException, EOFError) as error:
                _log.info("%s was cut after %d rows: %s", path.name, journal.count, error)
        return journal

    def _take_back(self, journal: _Journal, rows: pa.RecordBatch) -> None:
        table = self._pa.concat_tables(
            [self._schema.empty_table(), self._pa.Table.from_batches([rows])], promote_options="default"
        )
        names = ("vendor", "site", "instance", "time")
        places = [
            _Place(vendor, site, instance, micros(time) // _MICROS_A_DAY)
            for vendor, site, instance, time in zip(*(rows[each].to_pylist() for each in names), strict=True)
        ]
        for each in table.select(self._schema.names).combine_chunks().to_batches():
            journal.add(each, places)


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

"""Staged days: files that hold the days of an unfinished month, so that a killed run loses at most one day.

A staged day is a CSV file with one more line at its end: a JSON object with the number of rows and a checksum
of the whole file. A file that was cut or in which a byte has changed does not match it and counts as absent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, Final

from attrs import frozen

from energy_core.csv_safety import format_line
from energy_live.archive.csv_lines import TIME, RowFormatter, format_time
from energy_live.archive.directory import ArchiveDirectory, sha256_of
from energy_live.archive.plan import Day, Month
from voltstorage_async.export.csv_cells import CsvLayout
from voltstorage_async.models import ExportRow

_MARK: Final = b"\n#"
_CHECKSUM: Final = "sha256"
_BUFFER_BYTES: Final = 1024 * 1024
_TAIL: Final = 1024 * 1024
"""Bytes at the end of a file that contain its last line; column names have at most 64 KiB together."""


class DamagedDay(OSError):
    """A staged day has changed on disk since it was opened."""


@frozen(kw_only=True)
class StagedDay:
    """A staged day: what its last line contains, and where its rows are in the file."""

    name: str
    """Its file."""
    columns: tuple[str, ...] = ()
    """Names of the columns without the time's."""
    text: frozenset[str] = frozenset()
    """Columns with a cell that is not a number."""
    rows: int = 0
    malformed: int = 0
    """Rows that are malformed at the source."""
    first: str | None = None
    """Time of the first row."""
    last: str | None = None
    """Time of the last row."""
    end: str = ""
    """End of the range that was read."""
    begin_at: int = 0
    """Offset of the first row in the file, in bytes."""
    end_at: int = 0
    """Offset behind the last row."""


class StagingArea:
    """The staged days of one product."""

    def __init__(self, directory: ArchiveDirectory, product_id: int) -> None:
        self._directory = directory
        self._prefix = f"product-{product_id}/.stage"

    def name(self, day: Day) -> str:
        """Return the file name of a day."""
        return f"{self._prefix}/{day.date.isoformat()}.csv"

    def read(self, day: Day) -> StagedDay | None:
        """Return a staged day; None if it does not exist or is damaged."""
        name = self.name(day)
        try:
            with self._directory.path(name).open("rb") as file:
                return _read(name, file)
        except (OSError, ValueError, TypeError, LookupError):
            return None

    @contextmanager
    def write(self, day: Day) -> Generator[DayWriter]:
        """Open a day for writing to a temporary file; then call `keep` or `reject`.

        The temporary file is removed if the block raises.
        """
        name = self.name(day)
        try:
            with self._directory.write_temporary(name) as file:
                writer = DayWriter(day, file)
                yield writer
                writer.finish()
        except BaseException:
            self._directory.discard(name)
            raise

    def keep(self, day: Day) -> StagedDay:
        """Rename the temporary file of a day to its name, and return the staged day."""
        # Not durable: after a power failure a lost name costs one request.
        self._directory.commit(self.name(day), durable=False)
        staged = self.read(day)
        if staged is None:  # pragma: no cover  (a failing disk)
            raise OSError(f"{self.name(day)} cannot be read back")
        return staged

    def reject(self, day: Day) -> None:
        """Remove the temporary file of a day; the staged day stays as it was."""
        self._directory.discard(self.name(day))

    def is_unchanged(self, day: Day) -> bool:
        """Return whether the temporary file of a day equals the staged day."""
        name = self.name(day)
        return sha256_of(self._directory.temporary_path(name)) == sha256_of(self._directory.path(name))

    def clear(self, month: Month) -> None:
        """Remove the staged days of a month."""
        for day in month.days(month.end):
            self._directory.path(self.name(day)).unlink(missing_ok=True)
        with suppress(OSError):  # it holds days of another month
            self._directory.path(self._prefix).rmdir()


class DayWriter:
    """Writes the rows of one day to an open file as they arrive."""

    def __init__(self, day: Day, file: IO[bytes]) -> None:
        self._day = day
        self._file = file
        self._formatter: RowFormatter | None = None
        self._digest = hashlib.sha256()
        self.rows = 0
        self.malformed = 0
        """Malformed rows, as counted by the reader of the export."""
        self._first: datetime | None = None
        self._last: datetime | None = None

    @property
    def last(self) -> datetime | None:
        """The time of the last row."""
        return self._last

    def add(self, block: Sequence[ExportRow]) -> int:
        """Write the rows that belong to the day and return their number; the service may send others."""
        start, end = self._day.start, self._day.end
        rows = [row for row in block if start <= row.time < end]
        if not rows:
            return 0
        formatter = self._formatter or self._start(rows[0])
        self._write("".join(formatter.format_rows(rows)).encode())
        self.rows += len(rows)
        self._first = self._first or rows[0].time
        self._last = rows[-1].time
        return len(rows)

    def _start(self, row: ExportRow) -> RowFormatter:
        if not isinstance(row.layout, CsvLayout):
            raise TypeError("only exports in CSV are archived")
        self._formatter = RowFormatter(row.layout)
        self._write(format_line([TIME, *self._formatter.columns]).encode())
        return self._formatter

    def _write(self, content: bytes) -> None:
        self._digest.update(content)
        self._file.write(content)

    def finish(self) -> None:
        """Write the last line, without which the day counts as absent."""
        formatter = self._formatter
        facts = {
            "columns": [] if formatter is None else formatter.columns,
            "text": [] if formatter is None else formatter.text,
            "rows": self.rows,
            "malformed": self.malformed,
            "first": None if self._first is None else format_time(self._first),
            "last": None if self._last is None else format_time(self._last),
            "end": format_time(self._day.end),
        }
        self._file.write(_last_line(facts, self._digest))


def _last_line(facts: dict[str, object], content: hashlib._Hash) -> bytes:
    """Return the last line; its checksum covers the file's content and the other members of the line."""
    checksum = content.copy()
    checksum.update(json.dumps(facts, sort_keys=True).encode())
    return _MARK + json.dumps(facts | {_CHECKSUM: checksum.hexdigest()}, sort_keys=True).encode() + b"\n"


def _read(name: str, file: IO[bytes]) -> StagedDay:
    """Parse the last line of a staged day and verify the checksum.

    Raises:
        ValueError, TypeError, LookupError: The file was cut, or a byte has changed.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    mark = tail.rindex(_MARK)
    facts = json.loads(tail[mark + len(_MARK) :])
    del facts[_CHECKSUM]
    # The line is built again from its members: a change in any byte of it or before it shows.
    if _last_line(facts, _sha256_of_first(file, size - len(tail) + mark)) != tail[mark:]:
        raise ValueError("a byte of a staged day has changed")
    file.seek(0)
    header = file.readline() if facts["rows"] else b""
    return StagedDay(
        name=name,
        columns=tuple(facts["columns"]),
        text=frozenset(facts["text"]),
        rows=facts["rows"],
        malformed=facts["malformed"],
        first=facts["first"],
        last=facts["last"],
        end=facts["end"],
        begin_at=len(header),
        end_at=size - len(tail) + mark,
    )


def _sha256_of_first(file: IO[bytes], length: int) -> hashlib._Hash:
    """Return the SHA-256 of a file's first bytes."""
    checksum = hashlib.sha256()
    file.seek(0)
    while length > 0 and (chunk := file.read(min(length, _BUFFER_BYTES))):
        checksum.update(chunk)
        length -= len(chunk)
    return checksum


def all_columns(days: Sequence[StagedDay]) -> list[str]:
    """Return the columns of all days, in the order in which they first appear."""
    return list(dict.fromkeys(name for day in days for name in day.columns))


def verify_day(source: IO[bytes], day: StagedDay) -> None:
    """Verify that a staged day has not changed since it was read; called when it becomes part of a month.

    Raises:
        DamagedDay: It has changed.
    """
    try:
        intact = _read(day.name, source) == day
    except (ValueError, TypeError, LookupError):
        intact = False
    if not intact:
        raise DamagedDay(f"{day.name} was changed or damaged")


def read_rows(source: IO[bytes], day: StagedDay) -> bytes:
    """Return the lines of a staged day without the header and the last line.

    Raises:
        DamagedDay: The day has changed on disk.
    """
    verify_day(source, day)
    source.seek(day.begin_at)
    return source.read(day.end_at - day.begin_at)

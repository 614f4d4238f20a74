"""Staged days: what was fetched of a month that is not yet whole. They survive any kill, day by day.

A staged day is a file with a header, its lines, and a last line that says what it holds, with a checksum of
it all. That line is written last, so a file without it is none, and neither is one in which a byte changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, Final

from attrs import frozen

from energy_live.archive.csv_lines import TIME, Lines, line, stamp
from energy_live.archive.directory import Folder, digest
from energy_live.archive.plan import Day, Month
from voltstorage_async import ExportRow
from voltstorage_async.export.csv_cells import CsvLayout

_MARK: Final = b"\n#"
_CHECKSUM: Final = "sha256"
_PIECE: Final = 1024 * 1024
_TAIL: Final = 1024 * 1024
"""Bytes from the end among which the last line begins: names of columns have 64 KiB together."""


class DamagedDay(OSError):
    """A staged day has changed on the disk since it was read."""


@frozen(kw_only=True)
class Staged:
    """A day that is there."""

    name: str
    columns: tuple[str, ...] = ()
    text: frozenset[str] = frozenset()
    """Columns in which something is not a number."""
    rows: int = 0
    malformed: int = 0
    """Rows the service sent that cannot be read, or not wholly."""
    first: str | None = None
    last: str | None = None
    end: str = ""
    """Up to when it was read."""
    begin_at: int = 0
    """Where its lines begin in the file, in bytes."""
    end_at: int = 0


class Stage:
    """The staged days of one product."""

    def __init__(self, folder: Folder, product_id: int) -> None:
        self._folder = folder
        self._directory = f"product-{product_id}/.stage"

    def name(self, day: Day) -> str:
        """Return the file of a day."""
        return f"{self._directory}/{day.date.isoformat()}.csv"

    def read(self, day: Day) -> Staged | None:
        """Return a day that is there, or None."""
        name = self.name(day)
        try:
            with self._folder.path(name).open("rb") as file:
                return _read(name, file)
        except (OSError, ValueError, TypeError, LookupError):
            return None

    @contextmanager
    def drafting(self, day: Day) -> Generator[Draft]:
        """Take a day's rows; when the block ends well they await `keep`, otherwise they are gone."""
        name = self.name(day)
        try:
            with self._folder.writing(name) as file:
                draft = Draft(day, file)
                yield draft
                draft.finish()
        except BaseException:
            self._folder.drop(name)
            raise

    def keep(self, day: Day) -> Staged:
        """Put the day that was drafted in its place, and return it."""
        self._folder.promote(self.name(day), lasting=False)  # a name that is lost is a day fetched again
        staged = self.read(day)
        if staged is None:  # pragma: no cover  (the disk is lying)
            raise OSError(f"{self.name(day)} cannot be read back")
        return staged

    def reject(self, day: Day) -> None:
        """Forget the day that was drafted; what was there stays."""
        self._folder.drop(self.name(day))

    def same(self, day: Day) -> bool:
        """Tell whether the drafted day is what is there already."""
        name = self.name(day)
        return digest(self._folder.part(name)) == digest(self._folder.path(name))

    def clear(self, month: Month) -> None:
        """Remove the days of a month that is done."""
        for day in month.days(month.end):
            self._folder.path(self.name(day)).unlink(missing_ok=True)
        with suppress(OSError):  # days of another month are there
            self._folder.path(self._directory).rmdir()


class Draft:
    """A day while it arrives."""

    def __init__(self, day: Day, file: IO[bytes]) -> None:
        self._day = day
        self._file = file
        self._lines: Lines | None = None
        self._digest = hashlib.sha256()
        self.rows = 0
        self.malformed = 0
        """Rows that could not be read, as whoever reads them counts."""
        self._first: datetime | None = None
        self._last: datetime | None = None

    @property
    def last(self) -> datetime | None:
        """The time of the last row."""
        return self._last

    def add(self, block: Sequence[ExportRow]) -> int:
        """Take rows; the service may send some that belong to the days around. Returns how many count."""
        start, end = self._day.start, self._day.end
        rows = [row for row in block if start <= row.time < end]
        if not rows:
            return 0
        lines = self._lines or self._begin(rows[0])
        self._write("".join(lines.write(rows)).encode())
        self.rows += len(rows)
        self._first = self._first or rows[0].time
        self._last = rows[-1].time
        return len(rows)

    def _begin(self, row: ExportRow) -> Lines:
        if not isinstance(row.layout, CsvLayout):
            raise TypeError("only exports in CSV are archived")
        self._lines = Lines(row.layout)
        self._write(line([TIME, *self._lines.columns]).encode())
        return self._lines

    def _write(self, content: bytes) -> None:
        self._digest.update(content)
        self._file.write(content)

    def finish(self) -> None:
        """Write the last line, which makes the day whole."""
        lines = self._lines
        facts = {
            "columns": [] if lines is None else lines.columns,
            "text": [] if lines is None else lines.text,
            "rows": self.rows,
            "malformed": self.malformed,
            "first": None if self._first is None else stamp(self._first),
            "last": None if self._last is None else stamp(self._last),
            "end": stamp(self._day.end),
        }
        self._file.write(_last_line(facts, self._digest))


def _last_line(facts: dict[str, object], content: hashlib._Hash) -> bytes:
    """Return the line that says what a day holds; its checksum is of the content and of these facts."""
    whole = content.copy()
    whole.update(json.dumps(facts, sort_keys=True).encode())
    return _MARK + json.dumps(facts | {_CHECKSUM: whole.hexdigest()}, sort_keys=True).encode() + b"\n"


def _read(name: str, file: IO[bytes]) -> Staged:
    """Read what a day holds.

    Raises:
        ValueError, TypeError, LookupError: it is torn, or a byte of it has changed.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    mark = tail.rindex(_MARK)
    facts = json.loads(tail[mark + len(_MARK) :])
    del facts[_CHECKSUM]
    if _last_line(facts, _digest_of(file, size - len(tail) + mark)) != tail[mark:]:
        raise ValueError("a byte of a staged day has changed")
    file.seek(0)
    header = file.readline() if facts["rows"] else b""
    return Staged(
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


def _digest_of(file: IO[bytes], length: int) -> hashlib._Hash:
    """Return the digest of a file's first bytes."""
    found = hashlib.sha256()
    file.seek(0)
    while length > 0 and (piece := file.read(min(length, _PIECE))):
        found.update(piece)
        length -= len(piece)
    return found


def union(days: Sequence[Staged]) -> list[str]:
    """Return the columns of all days, in the order of their coming."""
    return list(dict.fromkeys(name for day in days for name in day.columns))


def check_day(source: IO[bytes], day: Staged) -> None:
    """Look once more, before it becomes part of a month, that a staged day is what was read of it.

    Raises:
        DamagedDay: it is not.
    """
    try:
        sound = _read(day.name, source) == day
    except (ValueError, TypeError, LookupError):
        sound = False
    if not sound:
        raise DamagedDay(f"{day.name} was changed or damaged")


def body(source: IO[bytes], day: Staged) -> bytes:
    """Return the lines of a staged day without header and last line.

    Raises:
        DamagedDay: the day has changed on the disk.
    """
    check_day(source, day)
    source.seek(day.begin_at)
    return source.read(day.end_at - day.begin_at)

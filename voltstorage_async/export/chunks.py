"""A long export is requested in chunks; their common moments are deduplicated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from attrs import frozen

from voltstorage_async.models import ExportRow

DEFAULT_CHUNK: Final = timedelta(days=1)
"""The length of a chunk if the caller does not set it: about 86,400 rows, or 5 MB of CSV."""

MIN_CHUNK: Final = timedelta(minutes=1)

_MAX_REMEMBERED: Final = 100
"""Rows of one moment that are remembered for deduplication; more are not plausible."""


class ExportChunk(NamedTuple):
    """The range of one request; the service includes both ends."""

    start: datetime
    end: datetime | None
    """None: until now, by the service's clock."""


@frozen
class ExportChunks:
    """A range cut into chunks of one length; only the last may be shorter, and only the last may be open."""

    start: datetime
    end: datetime | None
    length: timedelta
    now: datetime
    """The end of an open range, to count its chunks."""

    def __len__(self) -> int:
        span = (self.now if self.end is None else self.end) - self.start
        return max(1, -(-span // self.length))

    def __getitem__(self, at: int) -> ExportChunk:
        begin = self.start + at * self.length
        return ExportChunk(begin, self.end if at + 1 == len(self) else begin + self.length)


class ChunkSeam:
    """Drops the rows at the beginning of a chunk that the previous chunk ended with.

    The service includes both ends of a range, so the common moment of two chunks comes twice. The first row
    of a chunk may be complete where the last row of the previous one had only the changed cells: a row that
    has all cells of an earlier row of its moment is a duplicate of it.
    """

    def __init__(self) -> None:
        self._time: datetime | None = None
        self._rows: list[ExportRow] = []

    def keep(self, rows: Sequence[ExportRow]) -> None:
        """Remember the rows of the last moment."""
        if not rows:
            return
        time = rows[-1].time
        if time != self._time:
            self._time = time
            self._rows.clear()
        for row in reversed(rows[-_MAX_REMEMBERED:]):
            if row.time != time:
                break
            self._rows.append(row)
        del self._rows[:-_MAX_REMEMBERED]

    def fresh(self, rows: list[ExportRow]) -> list[ExportRow]:
        """Return the rows that are not duplicates of remembered ones."""
        if self._time is None or not rows:
            return rows
        found = [row for row in rows if not self._is_duplicate(row)]
        if rows[-1].time > self._time:
            self._time = None  # later rows cannot be duplicates
        return found

    def _is_duplicate(self, row: ExportRow) -> bool:
        if row.time != self._time:
            return False
        cells = (row.values | row.text).items()
        return any(cells >= (earlier.values | earlier.text).items() for earlier in self._rows)

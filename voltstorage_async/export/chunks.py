"""Pages: a long range of history as requests that the service can bear, and the seams between them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from attrs import frozen

from voltstorage_async.models import ExportRow

PAGE: Final = timedelta(days=1)
"""How much one request asks for when the caller does not say: some 86,400 rows, about 5 MB of CSV."""

SHORTEST: Final = timedelta(minutes=1)


_MOST_AT_ONCE: Final = 100
"""Rows of one moment that are remembered; more are not plausible."""


class ExportChunk(NamedTuple):
    """What one request asks for; both ends belong to it, as the service counts."""

    start: datetime
    end: datetime | None
    """None: until now, which the service knows best."""


class ExportProgress(NamedTuple):
    """How far an export has come."""

    page: int
    """The page that is being read, counted from 1."""
    pages: int
    rows: int
    """Rows that have arrived."""
    reached: datetime
    """What was recorded before this moment has arrived."""


@frozen
class ExportChunks:
    """A range cut into pages of `length`; only the last may be shorter, and only it may be open."""

    start: datetime
    end: datetime | None
    length: timedelta
    now: datetime
    """Where an open range ends when it is cut."""

    def __len__(self) -> int:
        span = (self.now if self.end is None else self.end) - self.start
        return max(1, -(-span // self.length))

    def __getitem__(self, at: int) -> ExportChunk:
        begin = self.start + at * self.length
        return ExportChunk(begin, self.end if at + 1 == len(self) else begin + self.length)


class ChunkSeam:
    """Knows the rows of the last moment, so that the next page, which begins with it, repeats none.

    The first row of a page may be whole where the last of the page before was sparse: a row that holds all of
    another's cells is that row.
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
        for row in reversed(rows[-_MOST_AT_ONCE:]):
            if row.time != time:
                break
            self._rows.append(row)
        del self._rows[:-_MOST_AT_ONCE]

    def fresh(self, rows: list[ExportRow]) -> list[ExportRow]:
        """Return the rows that the page before has not brought."""
        if self._time is None or not rows:
            return rows
        found = [row for row in rows if not self._had(row)]
        if rows[-1].time > self._time:
            self._time = None  # the seam lies behind
        return found

    def _had(self, row: ExportRow) -> bool:
        if row.time != self._time:
            return False
        cells = (row.values | row.text).items()
        return any(cells >= (had.values | had.text).items() for had in self._rows)

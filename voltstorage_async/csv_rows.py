"""Rows out of a CSV export, chunk by chunk: no I/O, no more memory than one chunk and one line.

A block of well-formed lines takes a path that never leaves C per row; anything else is read line by line.
Both give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from itertools import repeat
from math import isfinite
from typing import Final

from attrs import evolve, frozen

from energy_core.errors import BodyTooLarge, DecodeError
from energy_core.http.readers import number
from voltstorage_async.models import ExportRow

LINE_LIMIT: Final = 64 * 1024
"""Longest line in bytes; no total limit."""

_BOM: Final = "\ufeff"
_SEPARATORS: Final = (",", ";", "\t", "|")
TIME_NAMES: Final = {"time", "timestamp"}
_new_row = partial(tuple.__new__, ExportRow)


@frozen
class CsvLayout:
    """The columns of one export and what stands between its cells."""

    columns: tuple[str, ...]
    separator: str
    time_at: int

    def split(self, line: str) -> Sequence[str]:
        """Cut a line into its cells, quoted ones included."""
        cells = line.split(self.separator)
        return _requoted(cells, self.separator) if '"' in line else cells

    def numbers(self, record: object) -> dict[str, float]:
        """The cells that are numbers, the time's excepted."""
        line = str(record)
        if line.isascii() and "_" not in line and '"' not in line:
            cells = line.split(self.separator)
            cells[self.time_at] = ""
            try:
                values = {name: float(cell) for name, cell in zip(self.columns, cells, strict=False) if cell}
            except ValueError:
                pass  # a text among them
            else:
                if isfinite(sum(values.values())):
                    return values
        return {name: value for name, cell in self._cells(line) if (value := number(cell)) is not None}

    def texts(self, record: object) -> dict[str, str]:
        """The cells that are neither empty nor numbers, the time's excepted."""
        return {name: cell for name, cell in self._cells(str(record)) if number(cell) is None}

    def _cells(self, line: str) -> Iterator[tuple[str, str]]:
        cells = enumerate(zip(self.columns, self.split(line), strict=False))
        return ((name, cell) for at, (name, cell) in cells if cell and at != self.time_at)


def _requoted(pieces: Sequence[str], separator: str) -> list[str]:
    """Join what was cut apart inside quotes. A line end inside quotes is not read: a line is a row."""
    cells: list[str] = []
    quoted: list[str] = []
    odd = 0
    for piece in pieces:
        if not quoted and not piece.startswith('"'):
            cells.append(piece)
            continue
        quoted.append(piece)
        odd ^= piece.count('"') & 1
        if not odd:
            cell = separator.join(quoted)
            cells.append(cell[1:-1].replace('""', '"') if cell.endswith('"') else cell)
            quoted.clear()
    return [*cells, *quoted]  # a quote that nobody closes is a character like any other


class CsvRows:
    """Turns the bytes of a CSV export into rows.

    Args:
        separator: What was asked for; the file's own ``sep=`` line and header have the last word.
        offset: The zone of timestamps that name none.
    """

    def __init__(self, *, separator: str = ",", offset: tzinfo = UTC) -> None:
        self.malformed = 0
        """Rows left out because their time or their number of cells cannot be read."""
        self.repaired = False
        """Whether rows were separated otherwise than their header, as exports of 2021 are."""
        self._asked = separator
        self._offset = offset
        self._named: str | None = None
        self._first = True
        self._layout: CsvLayout | None = None
        self._rest = bytearray()

    @property
    def columns(self) -> tuple[str, ...]:
        """The header's names, the time's excepted; empty until the header was read."""
        layout = self._layout
        return (
            () if layout is None else tuple(n for at, n in enumerate(layout.columns) if at != layout.time_at)
        )

    def feed(self, chunk: bytes) -> list[ExportRow]:
        """Take the next bytes and return the rows they complete.

        Raises:
            DecodeError: this is not an export.
            BodyTooLarge: a line is longer than the limit.
        """
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._keep(chunk)
            return []
        block = bytes(self._rest) + chunk[: end - 1]
        self._rest.clear()
        self._keep(chunk[end:])
        return self._read(block)

    def finish(self) -> list[ExportRow]:
        """Return what the last line holds where no line end follows it.

        Raises:
            DecodeError: the export ended before its header.
        """
        rows = self._read(bytes(self._rest)) if self._rest else []
        self._rest.clear()
        if self._layout is None:
            raise DecodeError("the export is empty", kind="empty")
        return rows

    def _keep(self, tail: bytes) -> None:
        self._rest += tail
        if len(self._rest) > LINE_LIMIT:
            raise _line_too_long()

    def _read(self, block: bytes) -> list[ExportRow]:
        if len(block) > LINE_LIMIT and max(map(len, block.split(b"\n"))) > LINE_LIMIT:
            raise _line_too_long()
        text = block.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\r")
        lines = text.split("\n")
        layout = self._layout or self._head(lines)
        if layout is None or not lines:
            return []
        if '"' not in text and layout.time_at == 0:
            rows = _plain(lines, layout)
            if rows is not None:
                return rows
        return [row for line in lines if (row := self._row(line)) is not None]

    def _head(self, lines: list[str]) -> CsvLayout | None:
        """Take the lines up to the header off the block."""
        while lines:
            line = lines.pop(0)
            if self._first:
                line, self._first = line.removeprefix(_BOM), False
            if line[:4].casefold() == "sep=":
                self._named = line[4:] or None
            elif line.strip():
                self._layout = self._header(line)
                return self._layout
        return None

    def _header(self, line: str) -> CsvLayout:
        for separator in (self._named, self._asked, *_SEPARATORS):
            if separator and separator in line:
                break
        else:
            separator = self._named or self._asked
        columns = tuple(CsvLayout((), separator, 0).split(line))
        times = [at for at, name in enumerate(columns) if name.strip().casefold() in TIME_NAMES]
        if not times:
            kind = "html" if line.lstrip().startswith("<") else "csv"
            raise DecodeError("the export has no header with a Time column", kind=kind)
        return CsvLayout(columns, separator, times[0])

    def _row(self, line: str) -> ExportRow | None:
        """Read one line the careful way; None and a count where it cannot be read."""
        line = line.rstrip("\r")
        if not line.strip():
            return None
        layout = self._fitting(line)
        time = None if layout is None else self._time(layout.split(line)[layout.time_at])
        if layout is None or time is None:
            self.malformed += 1
            return None
        return ExportRow(time, line, layout)

    def _fitting(self, line: str) -> CsvLayout | None:
        """The layout with the separator that gives this line as many cells as the header has."""
        layout = self._layout
        if layout is None:
            return None
        for separator in (layout.separator, self._named, self._asked, *_SEPARATORS):
            if separator:
                tried = layout if separator == layout.separator else evolve(layout, separator=separator)
                if len(tried.split(line)) == len(layout.columns):
                    self.repaired |= tried is not layout
                    self._layout = tried  # the next lines will be like this one
                    return tried
        return None

    def _time(self, cell: str) -> datetime | None:
        try:
            time = datetime.fromisoformat(cell.strip())
        except ValueError:
            return None
        return time if time.tzinfo is not None else time.replace(tzinfo=self._offset)


def _plain(lines: list[str], layout: CsvLayout) -> list[ExportRow] | None:
    """Read a whole block of well-formed lines at once; None where any line is not."""
    separator, wanted = layout.separator, len(layout.columns) - 1
    if {line.count(separator) for line in lines} != {wanted}:
        return None
    read = datetime.fromisoformat
    try:
        times = [read(line[: line.index(separator)]) for line in lines]
    except ValueError:
        return None
    if None in [time.tzinfo for time in times]:
        return None
    return list(map(_new_row, zip(times, lines, repeat(layout))))


def _line_too_long() -> BodyTooLarge:
    return BodyTooLarge(f"a line of the export is longer than {LINE_LIMIT} bytes", kind="csv")

"""Rows out of a CSV export, chunk by chunk: no I/O, no more memory than one chunk and one line.

A block of well-formed lines takes a path that never leaves C per row; anything else is read line by line.
Both give the same rows. A row keeps its cells as the text they came as; what they mean is read when asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import Final

from attrs import evolve

from energy_core.errors import BodyTooLarge, DecodeError
from voltstorage_async.export.csv_cells import CsvLayout, Purity, row_time
from voltstorage_async.field_reader import EARLIEST_YEAR, decimal
from voltstorage_async.models import ExportRow

LINE_LIMIT: Final = 64 * 1024
"""Longest line in bytes; no total limit."""

_BOM: Final = "\ufeff"
_SEPARATORS: Final = (",", ";", "\t", "|")
TIME_NAMES: Final = {"time", "timestamp"}
_EARLIEST: Final = str(EARLIEST_YEAR)
"""ISO 8601 text begins with its year."""
_new_row = partial(tuple.__new__, ExportRow)
_first_cell = itemgetter(0)
_zone = attrgetter("tzinfo")

_LETTERS: Final = ("n", "N", "e", "E")
"""What `nan`, `inf` and `1e999` cannot be written without."""
_LONG_NUMBER: Final = 300
"""Digits below which a number cannot be infinite."""


def _split(line: str, separator: str) -> list[str]:
    """Cut a line into its cells, quoted ones included."""
    cells = line.split(separator)
    return _requoted(cells, separator) if '"' in line else cells


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
        """Rows left out because their time or their number of cells cannot be read, rows with a number that
        has several readings, and a last row that lost its last cell (see `finish`)."""
        self.repaired = False
        """Whether rows were separated otherwise than their header, as exports of 2021 are."""
        self._asked = separator
        self._offset = offset
        self._named: str | None = None
        self._first = True
        self._separator = separator
        self._comma = False  # a comma was seen in a number that can only be a decimal point
        self._layout: CsvLayout | None = None
        self._layouts: dict[tuple[Purity, bool], CsvLayout] = {}
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

    def finish(self, *, whole: bool = False) -> list[ExportRow]:
        """Return what the last line holds where no line end follows it.

        Such a line may have been cut in its last cell, and 11 may once have been 1193. So the row comes
        without that cell, and counts as malformed, unless the cell is empty, or it is known that the body is
        whole. A header alone is an empty export, with a line end or without.

        Args:
            whole: Whether as many bytes came as were announced.

        Raises:
            DecodeError: the export ended before its header, or in the middle of a line.
        """
        last = bytes(self._rest)
        self._rest.clear()
        before, open_quote = self.malformed, last.count(b'"') % 2
        rows = self._read(last) if last else []
        if self._layout is None:
            raise DecodeError("the export is empty", kind="empty")
        if (self.malformed > before and not rows) or open_quote:
            self.malformed = before
            raise DecodeError("the export ends in the middle of a line", kind="csv")
        if not whole and not last.endswith(b"\r"):
            rows = self._certain(rows)
            self.malformed = min(self.malformed, before + 1)  # one row, whatever it has lost
        return rows

    def _certain(self, rows: list[ExportRow]) -> list[ExportRow]:
        """Return a last row without the cell that may be the beginning of another."""
        layout = self._layout
        cells = rows[-1].record if rows else None
        if layout is None or not isinstance(cells, list) or not cells[-1]:
            return rows
        self.malformed += 1
        if layout.time_at == len(cells) - 1:  # then it is the time that may be another
            return []
        return [rows[-1]._replace(record=[*cells[:-1], ""])]

    def _keep(self, tail: bytes) -> None:
        self._rest += tail
        if len(self._rest) > LINE_LIMIT:
            raise _line_too_long()

    def _read(self, block: bytes) -> list[ExportRow]:
        text = block.decode("utf-8", "replace").removesuffix("\r")
        lines = _lines(text)
        longest = max(map(len, lines))
        if longest > LINE_LIMIT // 4 and max(map(len, block.split(b"\n"))) > LINE_LIMIT:
            raise _line_too_long()
        layout = self._layout or self._head(lines)
        if layout is None or not lines:
            return []
        if '"' not in text and layout.time_at == 0:
            comma = self._separator != "," and "," in text
            rows = self._plain(lines, self._of(_purity(text, longest), comma=comma))
            if rows is not None:
                return self._counted(rows) if comma else rows
        return [row for line in lines if (row := self._row(line)) is not None]

    def _plain(self, lines: list[str], layout: CsvLayout) -> list[ExportRow] | None:
        """Read a whole block of well-formed lines at once; None where any line is not."""
        records = list(map(str.split, lines, repeat(self._separator)))
        if set(map(len, records)) != {len(layout.columns)}:
            return None
        try:
            times = list(map(datetime.fromisoformat, map(_first_cell, records)))
        except ValueError:
            return None
        if min(map(_first_cell, records)) < _EARLIEST:
            return None
        if None in map(_zone, times):
            return None
        return list(map(_new_row, zip(times, records, repeat(layout))))

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
        line = line.rstrip("\r")
        if "\r" in line:  # then the rows are in it too
            raise DecodeError("the export's lines end with carriage returns alone", kind="csv")
        # Names may hold a separator of another file: what makes a Time column is the one of this file.
        for separator in filter(None, (self._named, self._asked, *_SEPARATORS)):
            columns = tuple(map(str.strip, _split(line, separator)))
            times = [at for at, name in enumerate(columns) if name.casefold() in TIME_NAMES]
            if times:
                break
        else:
            kind = "html" if line.lstrip().startswith("<") else "csv"
            raise DecodeError("the export has no header with a Time column", kind=kind)
        self._separator = separator
        return CsvLayout(columns, times[0])

    def _of(self, purity: Purity, *, comma: bool) -> CsvLayout:
        """The layout of rows that are known to hold no more than that."""
        layout = self._layouts.get((purity, comma))
        if layout is None:
            assert self._layout is not None  # noqa: S101  (rows come after their header)
            layout = self._layouts[purity, comma] = evolve(self._layout, purity=purity, comma=comma)
        return layout

    def _counted(self, rows: list[ExportRow]) -> list[ExportRow]:
        """Count rows in which a number with a comma has no single reading."""
        self.malformed += sum(has_odd_number(row) for row in rows)
        return rows

    def _row(self, line: str) -> ExportRow | None:
        """Read one line the careful way; None and a count where it cannot be read."""
        line = line.rstrip("\r")
        if not line.strip():
            return None
        layout = self._layout
        found = None if layout is None else self._fitting(line, layout)
        if found is None:
            self.malformed += 1
            return None
        time, cells = found
        commas = [cell for cell in cells if "," in cell]
        self._comma |= any(decimal(cell) is not None for cell in commas)
        row = ExportRow(time, cells, self._of("any", comma=self._comma or self._separator != ","))
        if commas:
            self._counted([row])
        return row

    def _fitting(self, line: str, layout: CsvLayout) -> tuple[datetime, list[str]] | None:
        """Cut with the separator that gives as many cells as the header has, and a time among them."""
        for separator in (self._separator, self._named, self._asked, *_SEPARATORS):
            if not separator or len(cells := _split(line, separator)) != len(layout.columns):
                continue
            time = row_time(cells[layout.time_at], self._offset)
            if time is not None:
                self.repaired |= separator != self._separator
                self._separator = separator  # the next lines will be like this one
                return time, cells
        return None


def has_odd_number(row: ExportRow) -> bool:
    """Tell whether a cell looks like a number with a comma and cannot be read as one."""
    return any("," in text and _NUMBER_LIKE.fullmatch(text) for text in row.text.values())


_NUMBER_LIKE: Final = re.compile(r"\s*[-+\u2212]?[0-9][0-9.,'\u2019\s]*")


def _lines(text: str) -> list[str]:
    lines = text.split("\r\n")  # replacing the line ends would cost more than all the cutting
    ends = len(lines) - 1
    if text.count("\n") == ends and text.count("\r") == ends:
        return lines
    return text.replace("\r\n", "\n").split("\n")


def _purity(text: str, longest: int) -> Purity:
    if not text.isascii() or "_" in text:
        return "any"
    return "ascii" if longest >= _LONG_NUMBER or any(map(text.__contains__, _LETTERS)) else "digits"


def _line_too_long() -> BodyTooLarge:
    return BodyTooLarge(f"a line of the export is longer than {LINE_LIMIT} bytes", kind="csv")

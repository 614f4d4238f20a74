"""CsvRows parses a CSV export incrementally: no I/O, and memory for one chunk and one line.

A block of well-formed lines is parsed at once, with no Python code per row; other blocks are parsed line by
line. Both give the same rows. A row keeps its cells as text; `ExportRow.values` parses them at access.
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
"""The longest line, in bytes; the total size is not limited."""

_BOM: Final = "\ufeff"
_SEPARATORS: Final = (",", ";", "\t", "|")
TIME_NAMES: Final = {"time", "timestamp"}
_EARLIEST: Final = str(EARLIEST_YEAR)
"""ISO 8601 text begins with the year, so text can be compared with it."""
_new_row = partial(tuple.__new__, ExportRow)
_first_cell = itemgetter(0)
_zone = attrgetter("tzinfo")

_LETTERS: Final = ("n", "N", "e", "E")
"""Texts that `float` reads as NaN or infinity, such as `nan`, `inf` and `1e999`, have one of these."""
_LONG_NUMBER: Final = 300
"""A number with fewer digits and no exponent is finite."""


def _split(line: str, separator: str) -> list[str]:
    """Return the cells of a line; they may be quoted."""
    cells = line.split(separator)
    return _join_quoted(cells, separator) if '"' in line else cells


def _join_quoted(pieces: Sequence[str], separator: str) -> list[str]:
    """Join the pieces that were split inside quotes. Line ends inside quotes are not supported."""
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
    return [*cells, *quoted]  # an unclosed quote is an ordinary character


class CsvRows:
    """Parses the bytes of a CSV export.

    Args:
        separator: The requested separator; a ``sep=`` line or the header of the file may override it.
        offset: The zone of times without one.
    """

    def __init__(self, *, separator: str = ",", offset: tzinfo = UTC) -> None:
        self.malformed = 0
        """The number of rows left out because of their time or their number of cells, of rows with an
        ambiguous number, and of a last row without its last cell (see `finish`)."""
        self.repaired = False
        """Whether rows had another separator than their header, as in exports of 2021."""
        self._requested = separator
        self._offset = offset
        self._declared: str | None = None  # by a `sep=` line
        self._at_start = True
        self._separator = separator
        self._comma = False  # whether a number had a comma that can only be a decimal point
        self._layout: CsvLayout | None = None
        self._layouts: dict[tuple[Purity, bool], CsvLayout] = {}
        self._unfinished = bytearray()  # a line without its end

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in the header, the time excepted; empty until the header was read."""
        layout = self._layout
        return (
            () if layout is None else tuple(n for at, n in enumerate(layout.columns) if at != layout.time_at)
        )

    def feed(self, chunk: bytes) -> list[ExportRow]:
        """Return the rows that these bytes complete.

        Raises:
            DecodeError: The body is not a CSV export.
            BodyTooLarge: A line is longer than `LINE_LIMIT`.
        """
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._keep_unfinished(chunk)
            return []
        block = bytes(self._unfinished) + chunk[: end - 1]
        self._unfinished.clear()
        self._keep_unfinished(chunk[end:])
        return self._parse(block)

    def finish(self, *, whole: bool = False) -> list[ExportRow]:
        """Return the row of a last line without a line end.

        Such a line may have been cut within its last cell: 11 may have been 1193. Its row is returned without
        that cell and counts as malformed, unless the cell is empty or the body is known to be complete. A
        header alone is an empty export.

        Args:
            whole: Whether as many bytes arrived as were announced.

        Raises:
            DecodeError: The export ends before its header, or in the middle of a line.
        """
        last = bytes(self._unfinished)
        self._unfinished.clear()
        before, open_quote = self.malformed, last.count(b'"') % 2
        rows = self._parse(last) if last else []
        if self._layout is None:
            raise DecodeError("the export is empty", kind="empty")
        if (self.malformed > before and not rows) or open_quote:
            self.malformed = before
            raise DecodeError("the export ends in the middle of a line", kind="csv")
        if not whole and not last.endswith(b"\r"):
            rows = self._without_last_cell(rows)
            self.malformed = min(self.malformed, before + 1)  # one row counts once
        return rows

    def _without_last_cell(self, rows: list[ExportRow]) -> list[ExportRow]:
        """Return the last row without its last cell, which may be incomplete."""
        layout = self._layout
        cells = rows[-1].record if rows else None
        if layout is None or not isinstance(cells, list) or not cells[-1]:
            return rows
        self.malformed += 1
        if layout.time_at == len(cells) - 1:
            return []  # its time may be incomplete
        return [rows[-1]._replace(record=[*cells[:-1], ""])]

    def _keep_unfinished(self, tail: bytes) -> None:
        self._unfinished += tail
        if len(self._unfinished) > LINE_LIMIT:
            raise _line_too_long()

    def _parse(self, block: bytes) -> list[ExportRow]:
        text = block.decode("utf-8", "replace").removesuffix("\r")
        lines = _lines(text)
        longest = max(map(len, lines))
        # A character has at most four bytes, so only lines of a quarter of the limit need to be measured.
        if longest > LINE_LIMIT // 4 and max(map(len, block.split(b"\n"))) > LINE_LIMIT:
            raise _line_too_long()
        layout = self._layout or self._find_header(lines)
        if layout is None or not lines:
            return []
        # Everything else is parsed line by line: quotes, a time in another column, malformed lines.
        if '"' not in text and layout.time_at == 0:
            comma = self._separator != "," and "," in text
            rows = self._parse_block(lines, self._layout_for(_purity(text, longest), comma=comma))
            if rows is not None:
                return self._count_ambiguous(rows) if comma else rows
        return [row for line in lines if (row := self._parse_line(line)) is not None]

    def _parse_block(self, lines: list[str], layout: CsvLayout) -> list[ExportRow] | None:
        """Parse a block of well-formed lines at once; None if one of them is not well-formed."""
        records = list(map(str.split, lines, repeat(self._separator)))
        if set(map(len, records)) != {len(layout.columns)}:
            return None
        # `map` and C functions only: a loop in Python would take several times as long for each row.
        try:
            times = list(map(datetime.fromisoformat, map(_first_cell, records)))
        except ValueError:
            return None
        if min(map(_first_cell, records)) < _EARLIEST:
            return None
        if None in map(_zone, times):
            return None
        return list(map(_new_row, zip(times, records, repeat(layout))))

    def _find_header(self, lines: list[str]) -> CsvLayout | None:
        """Remove the lines up to the header from the block; return the layout of the header."""
        while lines:
            line = lines.pop(0)
            if self._at_start:
                line, self._at_start = line.removeprefix(_BOM), False
            if line[:4].casefold() == "sep=":
                self._declared = line[4:] or None
            elif line.strip():
                self._layout = self._parse_header(line)
                return self._layout
        return None

    def _parse_header(self, line: str) -> CsvLayout:
        line = line.rstrip("\r")
        if "\r" in line:  # the rows are a part of this line then
            raise DecodeError("the export's lines end with carriage returns alone", kind="csv")
        # Names may contain other separators, so the right one is the one that yields a Time column.
        for separator in filter(None, (self._declared, self._requested, *_SEPARATORS)):
            columns = tuple(map(str.strip, _split(line, separator)))
            times = [at for at, name in enumerate(columns) if name.casefold() in TIME_NAMES]
            if times:
                break
        else:
            kind = "html" if line.lstrip().startswith("<") else "csv"
            raise DecodeError("the export has no header with a Time column", kind=kind)
        self._separator = separator
        return CsvLayout(columns, times[0])

    def _layout_for(self, purity: Purity, *, comma: bool) -> CsvLayout:
        """Return the layout for rows of which this much is known."""
        layout = self._layouts.get((purity, comma))
        if layout is None:
            assert self._layout is not None  # noqa: S101  (rows come after their header)
            layout = self._layouts[purity, comma] = evolve(self._layout, purity=purity, comma=comma)
        return layout

    def _count_ambiguous(self, rows: list[ExportRow]) -> list[ExportRow]:
        """Count the rows with an ambiguous number."""
        self.malformed += sum(has_ambiguous_number(row) for row in rows)
        return rows

    def _parse_line(self, line: str) -> ExportRow | None:
        """Parse one line; None if it is empty or malformed, which is counted."""
        line = line.rstrip("\r")
        if not line.strip():
            return None
        layout = self._layout
        found = None if layout is None else self._split_line(line, layout)
        if found is None:
            self.malformed += 1
            return None
        time, cells = found
        commas = [cell for cell in cells if "," in cell]
        self._comma |= any(decimal(cell) is not None for cell in commas)
        row = ExportRow(time, cells, self._layout_for("any", comma=self._comma or self._separator != ","))
        if commas:
            self._count_ambiguous([row])
        return row

    def _split_line(self, line: str, layout: CsvLayout) -> tuple[datetime, list[str]] | None:
        """Split with the first separator that gives as many cells as the header, and a time."""
        # Exports of 2021 have a header with one separator and rows with another.
        for separator in (self._separator, self._declared, self._requested, *_SEPARATORS):
            if not separator or len(cells := _split(line, separator)) != len(layout.columns):
                continue
            time = row_time(cells[layout.time_at], self._offset)
            if time is not None:
                self.repaired |= separator != self._separator
                self._separator = separator  # for the next lines
                return time, cells
        return None


def has_ambiguous_number(row: ExportRow) -> bool:
    """Return whether a cell is a number with a comma that may be either a decimal point or a thousand."""
    return any("," in text and _NUMBER_LIKE.fullmatch(text) for text in row.text.values())


_NUMBER_LIKE: Final = re.compile(r"\s*[-+\u2212]?[0-9][0-9.,'\u2019\s]*")


def _lines(text: str) -> list[str]:
    lines = text.split("\r\n")  # faster than replacing the line ends, if all are CR LF
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

"""Text cells of a CSV file that a spreadsheet would run as formulas, made harmless. No I/O.

Works on bytes, so that no encoding is guessed; rows without such a cell pass as they came, byte for byte.
"""

from __future__ import annotations

import csv
import io
import re
from typing import Final

from energy_core.errors import DecodeError

_LONGEST_ROW: Final = 1024 * 1024
_SEPARATORS: Final = b",;\t"
_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_BOM: Final = b"\xef\xbb\xbf"
# Their full-width forms, as the UTF-8 bytes look in the one-byte encoding that rows are parsed in.
_FULL_WIDTH: Final = tuple(chr(0xFEE0 + ord(sign)).encode().decode("latin-1") for sign in "=+-@")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]+)*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")


class FormulaEscaper:
    """Feed a CSV file as it comes, write what it gives back; one row is held.

    A text that begins with ``= + - @``, a tab, a line break or a full-width form of the signs gets an
    apostrophe before it; numbers stay numbers.
    """

    def __init__(self) -> None:
        self._row = b""
        self._rest = b""
        self._separator: str | None = None

    def feed(self, piece: bytes) -> bytes:
        """Take a piece of the file and return the rows that are whole.

        Raises:
            DecodeError: a row has no end, or is no CSV.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        done = b"".join([self._line(line + b"\n") for line in lines])
        if len(self._row) + len(self._rest) > _LONGEST_ROW:
            raise DecodeError("a row of the file has no end", kind="csv")
        return done

    def finish(self) -> bytes:
        """Return the last row, where the file does not end with a line break."""
        row, self._row, self._rest = self._row + self._rest, b"", b""
        return self._row_done(row) if row else b""

    def _line(self, line: bytes) -> bytes:
        self._row += line
        if self._row.count(b'"') % 2:
            return b""  # a line break inside quotes
        row, self._row = self._row, b""
        return self._row_done(row)

    def _row_done(self, row: bytes) -> bytes:
        bom = _BOM if self._separator is None and row.startswith(_BOM) else b""
        body = row[len(bom) :]
        if self._separator is None:
            self._separator = _separator(body)
        try:
            cells = list(
                csv.reader(io.StringIO(body.decode("latin-1"), newline=""), delimiter=self._separator)
            )
        except csv.Error:
            raise DecodeError("a row of the file cannot be read", kind="csv") from None
        if not any(is_formula(cell) for cells_of_row in cells for cell in cells_of_row):
            return row
        out = io.StringIO(newline="")
        ending = "\r\n" if row.endswith(b"\r\n") else "\n" if row.endswith(b"\n") else ""
        writer = csv.writer(out, delimiter=self._separator, lineterminator=ending)
        writer.writerows([["'" + cell if is_formula(cell) else cell for cell in line] for line in cells])
        return bom + out.getvalue().encode("latin-1")


def is_formula(cell: str) -> bool:
    """Tell whether a spreadsheet may run a cell; a number such as -5.2 is none."""
    bare = cell.lstrip(" ")
    return bare.startswith((*_STARTS, *_FULL_WIDTH)) and not _NUMBER.fullmatch(cell.strip(" "))


def _separator(row: bytes) -> str:
    if row.startswith(b"sep=") and len(row) > 4:
        return chr(row[4])
    outside = re.sub(rb'"[^"]*"', b"", row)
    return max((chr(byte) for byte in _SEPARATORS), key=lambda sign: outside.count(sign.encode()))

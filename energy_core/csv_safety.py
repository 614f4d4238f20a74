"""CSV lines, and text cells that a spreadsheet would run as formulas. No I/O."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Final

from energy_core.errors import DecodeError

_MAX_ROW_BYTES: Final = 1024 * 1024
_SEPARATORS: Final = b",;\t"
_FULL_WIDTH: Final = tuple(chr(0xFEE0 + ord(sign)) for sign in "=+-@")
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", *_FULL_WIDTH)
_FORMULA_STARTS_LATIN1: Final = tuple(start.encode().decode("latin-1") for start in _FORMULA_STARTS)
"""The same in UTF-8 bytes that were decoded as Latin-1."""
_BOM: Final = b"\xef\xbb\xbf"
_QUOTE: Final = '"'
# csv.writer does not quote a lone CR, although csv.reader ends the line there; hence our own.
_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]')
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]+)*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")


def escape_text(text: str) -> str:
    """Return a text cell with an apostrophe in front where a spreadsheet would run it as a formula.

    A formula begins, after any spaces, with ``= + - @``, a tab, a line break or a full-width form of the
    signs. A text that begins with an apostrophe gets another one, so that `unescape_text` restores any text.
    """
    return f"'{text}" if text.lstrip(" ").startswith(("'", *_FORMULA_STARTS)) else text


def unescape_text(text: str) -> str:
    """Return the text that was passed to `escape_text`."""
    return text.removeprefix("'")


def format_line(cells: Iterable[str]) -> str:
    """Return one CSV line with LF at its end; only cells that need quotes get them."""
    written = (
        f'"{cell.replace(_QUOTE, _QUOTE * 2)}"' if _NEEDS_QUOTES.search(cell) else cell for cell in cells
    )
    return ",".join(written) + "\n"


class FormulaEscaper:
    """Escapes formulas in a CSV file that arrives in chunks.

    Pass each chunk to `feed` and write the bytes that it returns; write those of `finish` last. The same
    cells get an apostrophe as in `escape_text`, except numbers such as -5.2, and except texts that begin with
    an apostrophe already. Rows without such a cell are returned byte for byte.

    Rows are parsed as Latin-1, which decodes any bytes, so the file's encoding need not be known. At most one
    row is buffered.
    """

    def __init__(self) -> None:
        self._row = b""  # lines of a row whose quotes are still open
        self._rest = b""  # after the last line break
        self._separator: str | None = None  # known after the first row

    def feed(self, chunk: bytes) -> bytes:
        """Add a chunk of the file and return the rows that are complete.

        Raises:
            DecodeError: a row is longer than 1 MiB, or is not CSV.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        rows = b"".join([self._add_line(line + b"\n") for line in lines])
        if len(self._row) + len(self._rest) > _MAX_ROW_BYTES:
            raise DecodeError("a row of the file has no end", kind="csv")
        return rows

    def finish(self) -> bytes:
        """Return the last row, where the file does not end with a line break.

        Raises:
            DecodeError: the row is not CSV.
        """
        row, self._row, self._rest = self._row + self._rest, b"", b""
        return self._escape_row(row) if row else b""

    def _add_line(self, line: bytes) -> bytes:
        self._row += line
        if self._row.count(b'"') % 2:
            return b""  # the line break is inside quotes
        row, self._row = self._row, b""
        return self._escape_row(row)

    def _escape_row(self, row: bytes) -> bytes:
        bom = _BOM if self._separator is None and row.startswith(_BOM) else b""
        body = row[len(bom) :]
        if self._separator is None:
            self._separator = _separator(body)
        text = io.StringIO(body.decode("latin-1"), newline="")
        try:
            lines = list(csv.reader(text, delimiter=self._separator))
        except csv.Error:
            raise DecodeError("a row of the file cannot be read", kind="csv") from None
        if not any(is_formula(cell) for line in lines for cell in line):
            return row
        out = io.StringIO(newline="")
        ending = "\r\n" if row.endswith(b"\r\n") else "\n" if row.endswith(b"\n") else ""
        writer = csv.writer(out, delimiter=self._separator, lineterminator=ending)
        writer.writerows([["'" + cell if is_formula(cell) else cell for cell in line] for line in lines])
        return bom + out.getvalue().encode("latin-1")


def is_formula(cell: str) -> bool:
    """Return whether a spreadsheet may run a cell (decoded as Latin-1); numbers are not formulas."""
    # Spreadsheets ignore leading spaces.
    return cell.lstrip(" ").startswith(_FORMULA_STARTS_LATIN1) and not _NUMBER.fullmatch(cell.strip(" "))


def _separator(row: bytes) -> str:
    """Return the most frequent separator outside quotes, or the one of an Excel ``sep=`` line."""
    if row.startswith(b"sep=") and len(row) > 4:
        return chr(row[4])
    outside = re.sub(rb'"[^"]*"', b"", row)
    return max((chr(byte) for byte in _SEPARATORS), key=lambda sign: outside.count(sign.encode()))

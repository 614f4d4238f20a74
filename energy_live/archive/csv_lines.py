"""Rows as lines of CSV in one normal form, so that the same row is always the same line.

Numbers stay as the vendor wrote them, except that a decimal comma becomes a point. Times are UTC with
milliseconds. A text that a spreadsheet would take for a formula gets an apostrophe in front; so does one that
begins with an apostrophe, so that taking one off gives back every text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from energy_core.codec.coerce import number
from energy_core.csv_safety import escape_text
from voltstorage_async import ExportRow
from voltstorage_async.export.csv_cells import CsvLayout
from voltstorage_async.field_reader import decimal

TIME: Final = "Time"

_QUOTE: Final = '"'
_QUOTED: Final = re.compile(
    r'[",\r\n]'
)  # Python's own writer leaves a lone CR bare, and its readers end the line there
_NUMBER: Final = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?"
_NORMAL: Final = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}\.[0-9]{{3}}\+00:00(?:,(?:{_NUMBER})?)*+"
)


def stamp(time: datetime) -> str:
    """Return a time as every file of an archive spells it."""
    moment = time.astimezone(UTC)
    return moment.isoformat(timespec="microseconds" if moment.microsecond % 1000 else "milliseconds")


def line(cells: Iterable[str]) -> str:
    """Return one line of CSV, with its end; quotes stand where they are needed, and nowhere else."""
    written = (f'"{cell.replace(_QUOTE, _QUOTE * 2)}"' if _QUOTED.search(cell) else cell for cell in cells)
    return ",".join(written) + "\n"


def cell(value: object) -> str:
    """Return a value of JSON as a cell."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return escape_text(str(value))
    return repr(value) if isinstance(value, int | float) else escape_text(value)


def distinct(names: Iterable[str]) -> list[str]:
    """Return names of columns that differ from each other and from the time's, as files need them."""
    found: list[str] = []
    for given in names:
        name = wanted = escape_text(given.strip()) or "unnamed"
        count = 2
        while name in found or name == TIME:
            name, count = f"{wanted} ({count})", count + 1
        found.append(name)
    return found


class Lines:
    """Writes the rows of one CSV export, which share a header, and notices which columns hold text."""

    def __init__(self, layout: CsvLayout) -> None:
        at = self._time_at = layout.time_at
        self.columns = distinct(layout.columns[:at] + layout.columns[at + 1 :])
        """The header, the time's column excepted."""
        self._text: set[int] = set()

    @property
    def text(self) -> list[str]:
        """The columns in which something is not a number."""
        return [self.columns[at] for at in sorted(self._text)]

    def write(self, rows: Iterable[ExportRow]) -> list[str]:
        """Return the rows as lines, with their ends."""
        normal = _NORMAL.fullmatch if self._time_at == 0 else _never
        # As a rule a line is in the normal form already, and then it may stay as it is.
        return [
            f"{text}\n"
            if normal(text := ",".join(cells)) and text.count(",") == len(cells) - 1  # none is within a cell
            else self._normal(row, cells)
            for row in rows
            if isinstance(cells := row.record, list)
        ]

    def _normal(self, row: ExportRow, cells: Sequence[str]) -> str:
        others = [*cells[: self._time_at], *cells[self._time_at + 1 :]]
        comma = isinstance(row.layout, CsvLayout) and row.layout.comma
        return line([stamp(row.time), *(self._cell(at, cell, comma) for at, cell in enumerate(others))])

    def _cell(self, at: int, text: str, comma: bool) -> str:
        if not text or number(text) is not None:
            return text.strip()
        if decimal(text, comma=comma) is not None:
            return text.strip().replace(",", ".")
        self._text.add(at)
        return escape_text(text)


def _never(_: str) -> None:
    return None

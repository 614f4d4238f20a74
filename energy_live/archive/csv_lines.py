"""Formats rows as normalized CSV lines: the same row always gives the same bytes.

Numbers keep the vendor's digits; a decimal comma becomes a point. Times are UTC with milliseconds. A text
that a spreadsheet would run as a formula gets an apostrophe in front (`energy_core.csv_safety`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from energy_core.codec.coerce import number
from energy_core.csv_safety import escape_text, format_line
from voltstorage_async.export.csv_cells import CsvLayout
from voltstorage_async.field_reader import decimal
from voltstorage_async.models import ExportRow

TIME: Final = "Time"

_NUMBER: Final = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?"
_NORMALIZED: Final = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}\.[0-9]{{3}}\+00:00(?:,(?:{_NUMBER})?)*+"
)


def format_time(time: datetime) -> str:
    """Return a time in UTC as ISO 8601 with milliseconds, or microseconds where they are not zero."""
    moment = time.astimezone(UTC)
    return moment.isoformat(timespec="microseconds" if moment.microsecond % 1000 else "milliseconds")


def format_cell(value: object) -> str:
    """Return a JSON value as a cell."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return escape_text(str(value))
    return repr(value) if isinstance(value, int | float) else escape_text(value)


def unique_names(names: Iterable[str]) -> list[str]:
    """Return column names that differ from each other and from `TIME`; a number is appended where needed."""
    found: list[str] = []
    for given in names:
        name = wanted = escape_text(given.strip()) or "unnamed"
        count = 2
        while name in found or name == TIME:
            name, count = f"{wanted} ({count})", count + 1
        found.append(name)
    return found


class RowFormatter:
    """Formats the rows of one CSV export and records which columns contain text.

    Args:
        layout: The header that the rows share.
    """

    def __init__(self, layout: CsvLayout) -> None:
        at = self._time_at = layout.time_at
        self.columns = unique_names(layout.columns[:at] + layout.columns[at + 1 :])
        """Names of the columns without the time's."""
        self._text: set[int] = set()

    @property
    def text(self) -> list[str]:
        """Names of the columns with a cell that is not a number."""
        return [self.columns[at] for at in sorted(self._text)]

    def format_rows(self, rows: Iterable[ExportRow]) -> list[str]:
        """Return the rows as CSV lines with LF at their ends."""
        is_normalized = _NORMALIZED.fullmatch if self._time_at == 0 else _never
        # Most lines are normalized already: one regular expression is faster than formatting their cells.
        return [
            f"{text}\n"
            if is_normalized(text := ",".join(cells))
            and text.count(",") == len(cells) - 1  # no comma inside a cell
            else self._normalize(row, cells)
            for row in rows
            if isinstance(cells := row.record, list)
        ]

    def _normalize(self, row: ExportRow, cells: Sequence[str]) -> str:
        others = [*cells[: self._time_at], *cells[self._time_at + 1 :]]
        comma = isinstance(row.layout, CsvLayout) and row.layout.comma
        return format_line(
            [format_time(row.time), *(self._cell(at, cell, comma) for at, cell in enumerate(others))]
        )

    def _cell(self, at: int, text: str, comma: bool) -> str:
        if not text or number(text) is not None:
            return text.strip()
        if decimal(text, comma=comma) is not None:
            return text.strip().replace(",", ".")
        self._text.add(at)
        return escape_text(text)


def _never(_: str) -> None:
    return None

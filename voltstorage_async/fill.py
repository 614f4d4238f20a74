"""Forward fill: what an export left out because it had not changed, apart from what it measured."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from voltstorage_async.models import ExportRow


class FilledRow(NamedTuple):
    """A row with the last known value of every column, and which of them are its own."""

    time: datetime
    """As the row's."""
    values: dict[str, float]
    """The last number of each column that had one by then, in the vendor's own units and signs."""
    text: dict[str, str]
    """The same for cells that are not numbers; a column is in one of the two."""
    measured: frozenset[str]
    """The columns this row itself holds; all others are carried forward."""


class ForwardFill:
    """Carries the last known cell of each column from row to row. A call is a row."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._text: dict[str, str] = {}

    def __call__(self, row: ExportRow) -> FilledRow:
        """Return the row, filled."""
        values, text = row.values, row.text
        for name in text.keys() & self._values.keys():
            del self._values[name]
        for name in values.keys() & self._text.keys():
            del self._text[name]
        self._values.update(values)
        self._text.update(text)
        measured = frozenset(values) | frozenset(text)
        return FilledRow(row.time, self._values.copy(), self._text.copy(), measured)

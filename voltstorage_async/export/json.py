"""JsonRows parses a JSON export incrementally: no I/O, and memory for one chunk and one element.

No public document describes the shape. It is parsed as an array of objects, one for each moment, with the
columns as keys and a time as ISO 8601 text or unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final

from attrs import frozen

from energy_core.codec.json import strict_json
from energy_core.errors import BodyTooLarge, DecodeError
from voltstorage_async.export.csv import LINE_LIMIT, TIME_NAMES, has_ambiguous_number
from voltstorage_async.export.csv_cells import row_time
from voltstorage_async.field_reader import decimal
from voltstorage_async.models import ExportRow

_SPACE: Final = b" \t\r\n"
_MARK: Final = re.compile(rb'["\[\]{},]')
_TEXT_MARK: Final = re.compile(rb'["\\]')
_OPENING: Final = (b"[", b"{")
_CLOSING: Final = (b"]", b"}")


@frozen
class JsonLayout:
    """Reads the cells of JSON objects, which name their columns themselves."""

    def numbers(self, record: object) -> dict[str, float]:
        """Return the members that are numbers, the time excepted."""
        return {name: value for name, cell in _cells(record) if (value := decimal(cell)) is not None}

    def texts(self, record: object) -> dict[str, str]:
        """Return the members that are neither empty nor numbers, the time excepted."""
        return {name: str(cell) for name, cell in _cells(record) if decimal(cell) is None}


def _cells(record: object) -> Iterator[tuple[str, object]]:
    if not isinstance(record, Mapping):
        return iter(())
    filled = ((name, cell) for name, cell in record.items() if cell is not None and cell != "")
    return ((name, cell) for name, cell in filled if name.casefold() not in TIME_NAMES)


_LAYOUT: Final = JsonLayout()


class JsonRows:
    """Parses the bytes of a JSON export.

    Args:
        offset: The zone of times without one.
    """

    def __init__(self, *, offset: tzinfo = UTC) -> None:
        self.malformed = 0
        """The number of rows left out because they are not objects or have no time, and of rows with an
        ambiguous number in text."""
        self.repaired = False
        """Always False: only CSV exports are repaired."""
        self._offset = offset
        self._columns: dict[str, None] = {}
        self._splitter = ElementSplitter()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns found so far, the time excepted."""
        return tuple(self._columns)

    def feed(self, chunk: bytes) -> list[ExportRow]:
        """Return the rows that these bytes complete.

        Raises:
            DecodeError: The body is not an array.
            BodyTooLarge: An element is longer than `LINE_LIMIT`.
        """
        return [row for element in self._splitter.feed(chunk) if (row := self._row(element)) is not None]

    def finish(self, *, whole: bool = False) -> list[ExportRow]:  # noqa: ARG002  (an array has an end)
        """Check that the array is complete; there are no further rows.

        Raises:
            DecodeError: The array is not closed.
        """
        self._splitter.finish()
        return []

    def _row(self, element: bytes) -> ExportRow | None:
        try:
            record = strict_json(element)
        except DecodeError:
            record = None
        time = self._time(record) if isinstance(record, dict) else None
        if time is None:
            self.malformed += 1
            return None
        row = ExportRow(time, record, _LAYOUT)
        self.malformed += has_ambiguous_number(row)
        for name, _ in _cells(record):
            if name not in self._columns and len(self._columns) < LINE_LIMIT:
                self._columns[name] = None
        return row

    def _time(self, record: Mapping[str, object]) -> datetime | None:
        value = next((value for name, value in record.items() if name.casefold() in TIME_NAMES), None)
        return row_time(value, self._offset)


class ElementSplitter:
    """Splits a top-level JSON array into the bytes of its elements, without parsing them."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._scanned = 0  # how many pending bytes were scanned
        self._depth = 0  # 0 before the array and after it, 1 between its elements
        self._in_text = False
        self._begun = False
        self._after_comma = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the elements that these bytes complete."""
        self._pending += chunk
        if not self._begun and not self._begin():
            return
        while (mark := self._next_mark()) is not None:
            yield from self._on_mark(mark)
        self._check_size(len(self._pending))

    def finish(self) -> None:
        """Check that the array is closed."""
        if not self._begun:
            raise DecodeError("the export is empty", kind="empty")
        if self._depth:
            raise DecodeError("the export ends in the middle", kind="json")
        if self._pending.strip(_SPACE):
            raise DecodeError("the export goes on after its end", kind="json")

    def _begin(self) -> bool:
        start = self._pending.lstrip(_SPACE)
        self._pending = start
        if not start:
            return False
        if start[:1] != b"[":
            kind = "html" if start[:1] == b"<" else "shape"
            raise DecodeError("the export is not a JSON array", kind=kind)
        del start[:1]
        self._begun, self._depth = True, 1
        return True

    def _next_mark(self) -> bytes | None:
        """Return the next structural byte and move behind it."""
        if not self._depth:
            return None
        found = (_TEXT_MARK if self._in_text else _MARK).search(self._pending, self._scanned)
        if found is None:
            self._scanned = len(self._pending)
            return None
        mark = found[0]
        if mark == b"\\" and found.end() == len(self._pending):
            self._scanned = found.start()  # the escaped byte is in the next chunk
            return None
        self._scanned = found.end() + (mark == b"\\")
        return mark

    def _on_mark(self, mark: bytes) -> Iterator[bytes]:
        if mark == b'"':
            self._in_text = not self._in_text
        elif mark in _OPENING:
            self._depth += 1
        elif mark in _CLOSING:
            self._depth -= 1
        if self._depth == 0 or (self._depth == 1 and mark == b","):
            yield from self._element(last=self._depth == 0)

    def _element(self, *, last: bool) -> Iterator[bytes]:
        """Remove and yield the element before the comma or bracket that was just passed."""
        self._check_size(self._scanned)
        element = bytes(self._pending[: self._scanned - 1]).strip(_SPACE)
        del self._pending[: self._scanned]
        self._scanned = 0
        if (
            element or self._after_comma or not last
        ):  # `[]` has no element; `[,` has an empty one, which is malformed
            yield element
        self._after_comma = not last

    def _check_size(self, length: int) -> None:
        if length > LINE_LIMIT + 1:
            raise BodyTooLarge(f"an element of the export is longer than {LINE_LIMIT} bytes", kind="json")

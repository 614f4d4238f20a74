"""Rows out of a JSON export, chunk by chunk: no I/O, no more memory than one chunk and one element.

The shape is in no public document. Read is a top-level array of objects, one a moment, with the columns as
keys and a time as ISO 8601 text or unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final

from attrs import frozen

from energy_core.codec.json import strict_json
from energy_core.errors import BodyTooLarge, DecodeError
from voltstorage_async.export.csv import LINE_LIMIT, TIME_NAMES, has_odd_number
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
    """Objects speak for themselves."""

    def numbers(self, record: object) -> dict[str, float]:
        """The members that are numbers, the time's excepted."""
        return {name: value for name, cell in _cells(record) if (value := decimal(cell)) is not None}

    def texts(self, record: object) -> dict[str, str]:
        """The members that are neither empty nor numbers, the time's excepted."""
        return {name: str(cell) for name, cell in _cells(record) if decimal(cell) is None}


def _cells(record: object) -> Iterator[tuple[str, object]]:
    if not isinstance(record, Mapping):
        return iter(())
    filled = ((name, cell) for name, cell in record.items() if cell is not None and cell != "")
    return ((name, cell) for name, cell in filled if name.casefold() not in TIME_NAMES)


_LAYOUT: Final = JsonLayout()


class JsonRows:
    """Turns the bytes of a JSON export into rows.

    Args:
        offset: The zone of timestamps that name none.
    """

    def __init__(self, *, offset: tzinfo = UTC) -> None:
        self.malformed = 0
        """Rows left out because they are not JSON, not objects, or have no time, and rows with a number in
        text that has several readings."""
        self.repaired = False
        """Nothing is repaired here; CSV exports are."""
        self._offset = offset
        self._columns: dict[str, None] = {}
        self._cutter = ElementSplitter()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names seen so far, the time's excepted."""
        return tuple(self._columns)

    def feed(self, chunk: bytes) -> list[ExportRow]:
        """Take the next bytes and return the rows they complete.

        Raises:
            DecodeError: this is not an array.
            BodyTooLarge: an element is longer than the limit.
        """
        return [row for element in self._cutter.feed(chunk) if (row := self._row(element)) is not None]

    def finish(self, *, whole: bool = False) -> list[ExportRow]:  # noqa: ARG002  (an array has an end)
        """Say that no more comes.

        Raises:
            DecodeError: the array has no end.
        """
        self._cutter.finish()
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
        self.malformed += has_odd_number(row)
        for name, _ in _cells(record):
            if name not in self._columns and len(self._columns) < LINE_LIMIT:
                self._columns[name] = None
        return row

    def _time(self, record: Mapping[str, object]) -> datetime | None:
        value = next((value for name, value in record.items() if name.casefold() in TIME_NAMES), None)
        return row_time(value, self._offset)


class ElementSplitter:
    """Cuts a top-level JSON array into its elements, without reading them."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._seen = 0  # how far the pending bytes were looked at
        self._depth = 0  # 0 before the array and after it, 1 between its elements
        self._in_text = False
        self._begun = False
        self._after_comma = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the elements these bytes complete."""
        self._pending += chunk
        if not self._begun and not self._begin():
            return
        while (mark := self._next_mark()) is not None:
            yield from self._at(mark)
        self._bound(len(self._pending))

    def finish(self) -> None:
        """Check that the array has come to its end."""
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
        """Find the next byte that matters and step behind it."""
        if not self._depth:
            return None
        found = (_TEXT_MARK if self._in_text else _MARK).search(self._pending, self._seen)
        if found is None:
            self._seen = len(self._pending)
            return None
        mark = found[0]
        if mark == b"\\" and found.end() == len(self._pending):
            self._seen = found.start()  # what it escapes is still to come
            return None
        self._seen = found.end() + (mark == b"\\")
        return mark

    def _at(self, mark: bytes) -> Iterator[bytes]:
        if mark == b'"':
            self._in_text = not self._in_text
        elif mark in _OPENING:
            self._depth += 1
        elif mark in _CLOSING:
            self._depth -= 1
        if self._depth == 0 or (self._depth == 1 and mark == b","):
            yield from self._element(last=self._depth == 0)

    def _element(self, *, last: bool) -> Iterator[bytes]:
        """Cut off what stands before the mark that was just passed."""
        self._bound(self._seen)
        element = bytes(self._pending[: self._seen - 1]).strip(_SPACE)
        del self._pending[: self._seen]
        self._seen = 0
        if element or self._after_comma or not last:  # `[]` has no element; `[,` has an empty, broken one
            yield element
        self._after_comma = not last

    def _bound(self, length: int) -> None:
        if length > LINE_LIMIT + 1:
            raise BodyTooLarge(f"an element of the export is longer than {LINE_LIMIT} bytes", kind="json")

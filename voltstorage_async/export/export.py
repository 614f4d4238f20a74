"""Export: the history of a product or component, as rows that arrive one after the other.

A range of any length is asked for in pages, one after the other, so that the service never has to put
together more than a day at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final, Literal, TypeAlias, get_args

from energy_core.clock import Clock, SystemClock
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation, Priority, Query
from voltstorage_async import validation as given
from voltstorage_async.codec import VENDOR
from voltstorage_async.endpoints import Endpoints
from voltstorage_async.export.chunks import PAGE, SHORTEST, ExportChunk, ExportChunks, ExportProgress
from voltstorage_async.export.csv import CsvRows
from voltstorage_async.export.json import JsonRows
from voltstorage_async.export.rows import ExportRows, RowParser

Format: TypeAlias = Literal["csv", "json"]

_DAY_MIN: Final = 24 * 60

# Rows have a limit each and none together.
_EXPORT: Final = Operation(
    vendor=VENDOR, name="export.rows", method="GET", path="", repeatable=True, body_limit=2**62, total_s=300.0
)


class Export:
    """`client.export`."""

    def __init__(self, api: ApiClient, endpoints: Endpoints, *, clock: Clock = SystemClock()) -> None:  # noqa: B008
        self._api = api
        self._endpoints = endpoints
        self._clock = clock

    def rows(
        self,
        product_id: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        component_id: int | None = None,
        format: Format = "csv",  # noqa: A002  (the vendor's own word)
        fields: str | Sequence[str] | None = None,
        tz: int | None = None,
        precision: int | None = None,
        tolerance: float | None = None,
        separator: str | None = None,
        page: timedelta | None = None,
        priority: Priority | None = None,
        progress: Callable[[ExportProgress], None] | None = None,
    ) -> ExportRows:
        """Iterate over what was recorded, one row a moment, never more than a chunk of it in memory.

        An empty cell means unchanged or not sampled, and is left out; `filled()` of what is returned carries
        the last value forward, and says for each row what was measured.

        Args:
            product_id: Whose data; either this or `component_id`.
            start: First moment, aware; required (`from`).
            end: Last moment, aware; now, where it is None (`to`).
            component_id: Whose data; either this or `product_id`.
            format: csv, or json, whose shape is in no public document.
            fields: Only these columns; all, where it is None.
            tz: Offset of the exported times in minutes east of UTC; the moments are the same.
            precision: Significant digits; the vendor's default is 6.
            tolerance: Leaves out changes smaller than this, relatively; the vendor's default of 0 leaves out
                nothing.
            separator: What stands between two cells of a CSV; the vendor's default is a comma.
            page: The most that one request asks for; a longer range is read in several: a day each, where it
                is None and the range has an end. One without an end is then one request, as the vendor
                has it. Rows at the seams come once; a page's first row may be whole where nothing changed.
            priority: The class to wait in for a turn. Ranges of several pages give way to everything else
                (`Priority.BACKGROUND`) unless this says otherwise.
            progress: Called as rows arrive.
        """
        offset = 0 if tz is None else given.whole("tz", tz, least=1 - _DAY_MIN, most=_DAY_MIN - 1)
        kind = given.choice("format", format, get_args(Format))
        if separator is not None and kind != "csv":
            raise ValueError("separator is for the format csv only")
        path = self._endpoints.export
        pages = self._pages(start, end, page)
        query = [
            *_owner(path, product_id, component_id),
            *given.unplaced(path, format=kind),
            *([] if fields is None else [("fields", given.names("fields", fields))]),
            *([] if tz is None else [("tz", str(tz))]),
            *(
                []
                if precision is None
                else [("precision", str(given.whole("precision", precision, least=1)))]
            ),
            *([] if tolerance is None else [("tolerance", repr(given.ratio("tolerance", tolerance)))]),
            *([] if separator is None else [("separator", _separator(separator))]),
        ]
        zone = timezone(timedelta(minutes=offset))

        def parser() -> RowParser:
            return (
                CsvRows(separator=separator or ",", offset=zone) if kind == "csv" else JsonRows(offset=zone)
            )

        if priority is None and len(pages) > 1:
            priority = Priority.BACKGROUND
        operation = _EXPORT.at(path)
        return ExportRows(
            pages,
            lambda one: self._api.open(
                operation,
                query=[*query, *_range(one)],
                priority=priority,
                productId=product_id or 0,
                format=kind,
            ),
            parser,
            operation=operation,
            drift=self._api.drift,
            progress=progress,
        )

    def _pages(self, start: datetime | None, end: datetime | None, length: timedelta | None) -> ExportChunks:
        if start is None:
            raise TypeError("start is required")
        if length is None:
            length = timedelta.max if end is None else PAGE
        if not isinstance(length, timedelta):
            raise TypeError(f"page must be a timedelta, not {type(length).__name__}")
        if length < SHORTEST:
            raise ValueError(f"page must be at least {SHORTEST}: {length}")
        given.span(start, end)
        return ExportChunks(start, end, length, self._clock.utcnow())


def _owner(path: str, product_id: int | None, component_id: int | None) -> Query:
    if (product_id is None) == (component_id is None):
        raise ValueError("give either product_id or component_id")
    if product_id is not None:
        return given.unplaced(path, productId=given.entity_id("product_id", product_id))
    if "{productId}" in path:
        raise ValueError("component_id cannot be asked for: the path in Endpoints.export is a product's")
    return [("componentId", str(given.entity_id("component_id", component_id)))]


def _range(page: ExportChunk) -> list[tuple[str, str]]:
    ends = (("from", page.start), ("to", page.end))
    return [(name, given.unix(moment)) for name, moment in ends if moment is not None]


def _separator(text: str) -> str:
    given.text("separator", "x" if text == "\t" else text)
    if any(char.isalnum() or char in "\"'+-.:_\r\n" for char in text):
        raise ValueError("separator must not be a part of numbers, times or quoted text")
    return text

"""`client.export`: recorded data of a product or component, as rows.

A long range is requested in chunks, one after the other, so that one request covers at most a day by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Final, Literal, TypeAlias, get_args

from energy_core import checks
from energy_core.clock import Clock
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation, Priority, Query
from energy_core.local_days import TimeRange, time_range
from voltstorage_async import validation
from voltstorage_async.codec import VENDOR
from voltstorage_async.endpoints import Endpoints
from voltstorage_async.export.chunks import DEFAULT_CHUNK, MIN_CHUNK, ExportChunk, ExportChunks
from voltstorage_async.export.csv import CsvRows
from voltstorage_async.export.json import JsonRows
from voltstorage_async.export.rows import ExportRows, RowParser
from voltstorage_async.models import ExportProgress, Product

Format: TypeAlias = Literal["csv", "json"]
"""The format that the service sends."""

_DAY_MIN: Final = 24 * 60

# The total size is not limited: each row has a limit of its own.
_EXPORT: Final = Operation(
    vendor=VENDOR, name="export.rows", method="GET", path="", repeatable=True, body_limit=2**62, total_s=300.0
)


class Export:
    """`client.export`."""

    def __init__(self, api: ApiClient, endpoints: Endpoints, clock: Clock) -> None:
        self._api = api
        self._endpoints = endpoints
        self._clock = clock

    def rows(
        self,
        product: Product | int | None = None,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
        component_id: int | None = None,
        format: Format = "csv",  # noqa: A002  (the vendor's word)
        fields: str | Iterable[str] | None = None,
        utc_offset_min: int | None = None,
        precision: int | None = None,
        tolerance: float | None = None,
        separator: str | None = None,
        chunk: timedelta | None = None,
        priority: Priority | None = None,
        progress: Callable[[ExportProgress], None] | None = None,
    ) -> ExportRows:
        """Return the recorded rows of a range, streamed: at most one chunk of the body is in memory.

        An empty cell means unchanged or not sampled and is left out of a row; `ExportRows.filled()` carries
        the last value forward. Nothing is sent before the first row is asked for.

        Args:
            product: The product, or its id; either this or `component_id`. The days of a `Product` are those
                of its time zone; the days of an id are UTC's.
            start: The first moment, aware; or a period such as ``"2026-05-17"``. Required unless `period` or
                `last` is given (`from`).
            end: The last moment, aware; None means now (`to`).
            period: A year, month or day instead: ``"2026"``, ``"2026-05"``, ``"2026-05-17"``.
            last: A range that ends now instead, such as ``(30, "days")``.
            component_id: The id of a component, instead of a product.
            format: csv, or json, whose shape no public document describes.
            fields: Names of the columns; None for all.
            utc_offset_min: UTC offset of the exported times, in minutes east (`tz`); the moments are the
                same.
            precision: Significant digits; the vendor's default is 6.
            tolerance: Relative size of changes that are left out; the vendor's default is 0 (none).
            separator: Separator of CSV cells; the vendor's default is a comma.
            chunk: The longest range of one request, at least a minute. None: a day, or a single request if
                the range has no end. Rows at the borders of chunks come once; the first row of a chunk may
                repeat unchanged values.
            priority: The priority of the requests at the rate limiter; None: normal for one chunk,
                `Priority.BACKGROUND` for several.
            progress: Called as rows arrive.

        Raises:
            TypeError, ValueError: An argument is wrong, or two forms of the range are given; nothing was
                sent.
        """
        offset = 0
        if utc_offset_min is not None:
            offset = checks.whole("utc_offset_min", utc_offset_min, least=1 - _DAY_MIN, most=_DAY_MIN - 1)
        kind = checks.one_of("format", format, get_args(Format))
        if separator is not None and kind != "csv":
            raise ValueError("separator is for the format csv only")
        path = self._endpoints.export
        asked = time_range(start, end, period=period, last=last, required=False, end_included=True)
        chunks = self._chunks(asked, product, chunk)
        query = [
            *_owner(path, product, component_id),
            *validation.query_without_place(path, format=kind),
            *([] if fields is None else [("fields", validation.names("fields", fields))]),
            *([] if utc_offset_min is None else [("tz", str(offset))]),
            *([] if precision is None else [("precision", _digits(precision))]),
            *([] if tolerance is None else [("tolerance", _tolerance(tolerance))]),
            *([] if separator is None else [("separator", _separator(separator))]),
        ]
        zone = timezone(timedelta(minutes=offset))

        def new_parser() -> RowParser:
            return (
                CsvRows(separator=separator or ",", offset=zone) if kind == "csv" else JsonRows(offset=zone)
            )

        if priority is None and len(chunks) > 1:
            priority = Priority.BACKGROUND
        operation = _EXPORT.at(path)
        product_id = 0 if product is None else validation.product_id(product)
        return ExportRows(
            chunks,
            lambda one: self._api.open(
                operation,
                query=[*query, *_range(one)],
                priority=priority,
                productId=product_id,
                format=kind,
            ),
            new_parser,
            operation=operation,
            drift=self._api.drift,
            progress=progress,
        )

    def _chunks(
        self, asked: TimeRange, product: Product | int | None, length: timedelta | None
    ) -> ExportChunks:
        now = self._clock.utcnow()
        start, end = validation.resolve(asked, product, now, end_included=True)
        if start is None:
            raise TypeError("the range needs start, or period, or last")
        if length is None:
            length = timedelta.max if end is None else DEFAULT_CHUNK
        if not isinstance(length, timedelta):
            raise TypeError(f"chunk must be a timedelta, not {type(length).__name__}")
        if length < MIN_CHUNK:
            raise ValueError(f"chunk must be at least {MIN_CHUNK}: {length}")
        return ExportChunks(start, end, length, now)


def _owner(path: str, product: Product | int | None, component_id: int | None) -> Query:
    if (product is None) == (component_id is None):
        raise ValueError("give either product or component_id")
    if product is not None:
        return validation.query_without_place(path, productId=validation.product_id(product))
    if "{productId}" in path:
        raise ValueError("component_id cannot be used: the path in Endpoints.export is that of a product")
    return [("componentId", str(checks.entity_id("component_id", component_id)))]


def _range(chunk: ExportChunk) -> list[tuple[str, str]]:
    ends = (("from", chunk.start), ("to", chunk.end))
    return [(name, validation.unix(moment)) for name, moment in ends if moment is not None]


def _digits(precision: int) -> str:
    return str(checks.whole("precision", precision, least=1))


def _tolerance(tolerance: float) -> str:
    return repr(validation.not_negative("tolerance", tolerance))


def _separator(text: str) -> str:
    checks.text("separator", "x" if text == "\t" else text)
    if any(char.isalnum() or char in "\"'+-.:_\r\n" for char in text):
        raise ValueError("separator must not be a part of numbers, times or quoted text")
    return text

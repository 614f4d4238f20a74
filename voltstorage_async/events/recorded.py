"""Recorded data of one product: export rows and the latest data, requested at background priority."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from types import TracebackType
from typing import Final, NamedTuple, Self

from attrs import Attribute, field, frozen

from energy_core.codec.lazy_value import resolve
from energy_core.http.operation import Priority
from energy_core.printable import printable_class
from energy_core.stream.source import Reading
from energy_core.stream.vocabulary import Quantity
from voltstorage_async.event_types import LatestData
from voltstorage_async.export.export import Export
from voltstorage_async.export.rows import ExportRows
from voltstorage_async.field_map import FieldMap, ProductFields
from voltstorage_async.models import ExportRow, Latest
from voltstorage_async.products import Products

_ONE_CHUNK: Final = timedelta(days=36_500)
"""Longer than any range: the gap filler cuts ranges into pages itself, by the vendor's time."""


def _not_negative(_: BackfillConfig, attribute: Attribute[float], value: float) -> None:
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"{attribute.name} must be finite and not negative, not {value!r}")


def _count(_: BackfillConfig, attribute: Attribute[int], value: int) -> None:
    if not value >= 1:
        raise ValueError(f"{attribute.name} must be at least 1, not {value!r}")


def _ascending(_: BackfillConfig, attribute: Attribute[tuple[float, ...]], value: tuple[float, ...]) -> None:
    if not value or list(value) != sorted(value) or not all(isfinite(each) and each > 0 for each in value):
        raise ValueError(f"{attribute.name} must be positive and ascending, not {value!r}")


def _positive(_: BackfillConfig, attribute: Attribute[float], value: float) -> None:
    if not (isfinite(value) and value > 0):
        raise ValueError(f"{attribute.name} must be positive and finite, not {value!r}")


@printable_class
@frozen(kw_only=True)
class BackfillConfig:
    """How missed data is backfilled. Most programs keep the defaults."""

    overlap_s: float = field(default=2.0, validator=_not_negative)
    """Seconds before the last event from which on data is requested: part of its second may be missing."""
    settle_s: float = field(default=1.0, validator=_not_negative)
    """Seconds between a reconnect and the export request, so that the newest data has been recorded."""
    page_s: float = field(default=3600.0, validator=_positive)
    """Longest range of one request, in seconds."""
    max_age_s: float = field(default=86_400.0, validator=_not_negative)
    """Oldest data that is requested, in seconds before now. Older data is a gap with reason `beyond_cap`."""
    max_held: int = field(default=256, validator=_count)
    """Live events held while a gap is filled. Further ones are dropped and backfilled by another request."""
    window_s: float = field(default=600.0, validator=_positive)
    """Seconds for which delivered readings are remembered, to recognise duplicates."""
    window_ids: int = field(default=1000, validator=_count)
    """Number of delivered readings remembered for that."""
    retry_s: tuple[float, ...] = field(default=(60.0, 300.0, 900.0), validator=_ascending)
    """Seconds after the first request at which data missing from the export is requested again. After the
    last of them it is reported as a gap."""
    attempts: int = field(default=3, validator=_count)
    """Number of requests for a page whose answers break off; each continues where the last one ended."""
    stale_poll_s: float = field(default=60.0, validator=_positive)
    """Seconds between requests for the latest data of a stale stream, to detect events it missed."""


class RecordedMoment(NamedTuple):
    """The data of one second, live or backfilled."""

    second: int
    """Unix seconds."""
    time: datetime
    data: Mapping[str, object]
    """As `LatestData.data`."""
    raw: Mapping[str, object]
    """As `LatestData.raw`."""
    values: Mapping[Quantity, float]
    """The data as quantities, by the product's `FieldMap`."""
    backfilled: bool = True

    @classmethod
    def of_live(cls, reading: Reading) -> Self:
        """Return a live reading as a moment."""
        time, _, values, lazy, _, _ = reading
        raw = resolve(lazy)
        data: Mapping[str, object] = raw["data"]  # type: ignore[assignment]  # a reading has data
        return cls(int(time.timestamp()), time, data, raw, values, backfilled=False)

    def only(self, quantities: Collection[str], fields: FieldMap) -> RecordedMoment:
        """Return the moment with these quantities alone."""
        values = {each: value for each, value in self.values.items() if each in quantities}
        return self._replace(data=fields.only(self.data, quantities), values=values)

    def event(self, product_id: int) -> LatestData:
        """Return the moment as an event of this product."""
        return LatestData(
            product_id=product_id, time=self.time, data=self.data, raw=self.raw, backfilled=self.backfilled
        )


class RecordedData:
    """Request the recorded and the latest data of one product."""

    def __init__(self, product_id: int, export: Export, products: Products, fields: ProductFields) -> None:
        self._product_id = product_id
        self._export = export
        self._products = products
        self._fields = fields

    async def latest(self) -> RecordedMoment | None:
        """Return the latest data; None if the vendor sends no time with it.

        Raises:
            RequestError: the request failed.
        """
        latest = await self._products.latest(self._product_id, priority=Priority.BACKGROUND)
        return None if latest.time is None else self._as_moment(latest, latest.time)

    def moments(self, start: float, end: float | None) -> RecordedMoments:
        """Return the data recorded from `start` to `end` (unix seconds; None: now), for an ``async with``."""
        rows = self._export.rows(
            self._product_id,
            datetime.fromtimestamp(start, UTC),
            None if end is None else datetime.fromtimestamp(end, UTC),
            tolerance=0.0,
            chunk=_ONE_CHUNK,
            priority=Priority.BACKGROUND,
        )
        return RecordedMoments(rows, self._fields)

    def _as_moment(self, latest: Latest, time: datetime) -> RecordedMoment:
        second = int(time.timestamp())
        values, _, _ = self._fields.read_event(latest.data)
        return RecordedMoment(second, time, latest.data, {"time": second, "data": latest.data}, values)


class RecordedMoments:
    """Iterate over the rows of one export, to the second, in the vendor's order."""

    def __init__(self, rows: ExportRows, fields: ProductFields) -> None:
        self._rows = rows
        self._fields = fields
        self._block: Iterator[ExportRow] = iter(())
        self._blocks = rows.blocks()
        self._malformed_nearby = False

    @property
    def exported(self) -> frozenset[Quantity]:
        """Quantities that the export has columns for."""
        known = self._fields.fields.columns
        return frozenset(known[name].quantity for name in self._rows.columns if name in known)

    @property
    def malformed(self) -> int:
        """Number of rows left out because they cannot be read."""
        return self._rows.malformed

    @property
    def malformed_nearby(self) -> bool:
        """Whether rows next to the last returned one could not be read."""
        return self._malformed_nearby

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._rows.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RecordedMoment:
        """Return the next row.

        Raises:
            RequestError: the request failed.
        """
        for row in self._block:
            return self._read(row)
        malformed = self.malformed
        try:
            self._block = iter(await anext(self._blocks))
        finally:  # it is unknown which rows of the block were malformed
            self._malformed_nearby = self.malformed > malformed
        return self._read(next(self._block))

    def _read(self, row: ExportRow) -> RecordedMoment:
        numbers, texts = row.values, row.text
        # Whole seconds, as in live events: one measurement has one time in both.
        time = row.time.astimezone(UTC).replace(microsecond=0)
        second = int(time.timestamp())
        values, _, _ = self._fields.read_row({**numbers, **texts})
        return RecordedMoment(
            second,
            time,
            self._fields.fields.as_event(numbers) | texts,
            {"Time": row.time.isoformat(), **numbers, **texts},
            values,
        )

"""Asking for a product's past: rows of the export and the present state, at background priority."""

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
from energy_core.stream.event import Reading
from energy_core.stream.vocabulary import Quantity
from voltstorage_async.event_types import LatestData
from voltstorage_async.export.export import Export
from voltstorage_async.export.rows import ExportRows
from voltstorage_async.field_map import FieldMap, ProductFields
from voltstorage_async.models import ExportRow, Latest
from voltstorage_async.products import Products

_ONE_REQUEST: Final = timedelta(days=36_500)
"""Our own paging decides: it knows the service's time."""


def _seconds(_: BackfillConfig, attribute: Attribute[float], value: float) -> None:
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"{attribute.name} must be finite and not negative, not {value!r}")


def _count(_: BackfillConfig, attribute: Attribute[int], value: int) -> None:
    if not value >= 1:
        raise ValueError(f"{attribute.name} must be at least 1, not {value!r}")


def _ascending(_: BackfillConfig, attribute: Attribute[tuple[float, ...]], value: tuple[float, ...]) -> None:
    if not value or list(value) != sorted(value) or not all(isfinite(each) and each > 0 for each in value):
        raise ValueError(f"{attribute.name} must be positive and ascending, not {value!r}")


def _some(_: BackfillConfig, attribute: Attribute[float], value: float) -> None:
    if not (isfinite(value) and value > 0):
        raise ValueError(f"{attribute.name} must be positive and finite, not {value!r}")


@printable_class
@frozen(kw_only=True)
class BackfillConfig:
    """How holes in a stream are filled. The defaults are the promise; tests shorten them."""

    overlap_s: float = field(default=2.0, validator=_seconds)
    """The past is asked for from so long before the last event on: some of its second may be missing."""
    settle_s: float = field(default=1.0, validator=_seconds)
    """The export is asked so long after the link is up: what was just measured must have been recorded."""
    page_s: float = field(default=3600.0, validator=_some)
    """The most one request asks for."""
    furthest_back_s: float = field(default=86_400.0, validator=_seconds)
    """What lies further back is reported as a gap, `beyond_cap`."""
    hold: int = field(default=256, validator=_count)
    """Live events that wait while a hole is filled; what comes beyond is fetched by another fill."""
    window_s: float = field(default=600.0, validator=_some)
    """A moment told within this time is not told again."""
    window_ids: int = field(default=1000, validator=_count)
    """The most events remembered for that."""
    retry_s: tuple[float, ...] = field(default=(60.0, 300.0, 900.0), validator=_ascending)
    """What an export did not bring is asked for again so long after the first time, then it is a gap."""
    attempts: int = field(default=3, validator=_count)
    """How often a page is asked for that breaks off in the middle; each time from where it broke off."""
    silence_s: float = field(default=60.0, validator=_some)
    """While the server says nothing, the latest data is asked for this often: is there really nothing new?"""


class RecordedMoment(NamedTuple):
    """What was measured at one second, live or fetched later."""

    second: int
    """Unix seconds."""
    time: datetime
    data: Mapping[str, object]
    """As `LatestData` has it."""
    raw: Mapping[str, object]
    """Likewise."""
    values: Mapping[Quantity, float]
    """The data in the quantities of `FieldMap`."""
    backfilled: bool = True

    @classmethod
    def of_live(cls, reading: Reading) -> Self:
        """Return what a live reading says."""
        time, _, values, said, _, _ = reading
        raw = resolve(said)
        data: Mapping[str, object] = raw["data"]  # type: ignore[assignment]  # or it would be no reading
        return cls(int(time.timestamp()), time, data, raw, values, backfilled=False)

    def only(self, quantities: Collection[str], fields: FieldMap) -> RecordedMoment:
        """Leave out the other quantities."""
        values = {each: value for each, value in self.values.items() if each in quantities}
        return self._replace(data=fields.only(self.data, quantities), values=values)

    def event(self, product_id: int) -> LatestData:
        """Return it as an event of a product."""
        return LatestData(
            product_id=product_id, time=self.time, data=self.data, raw=self.raw, backfilled=self.backfilled
        )


class RecordedData:
    """What the service knows of one product's past and present."""

    def __init__(self, product_id: int, export: Export, products: Products, fields: ProductFields) -> None:
        self._product_id = product_id
        self._export = export
        self._products = products
        self._fields = fields

    async def present(self) -> RecordedMoment | None:
        """Return the latest data; None where the service does not say of when it is.

        Raises:
            RequestError: as the request itself.
        """
        latest = await self._products.latest(self._product_id, priority=Priority.BACKGROUND)
        return None if latest.time is None else self._as_moment(latest, latest.time)

    def moments(self, start: float, end: float | None) -> RecordedMoments:
        """Return what was recorded from `start` to `end` (unix seconds; None: now), for an ``async with``."""
        rows = self._export.rows(
            self._product_id,
            datetime.fromtimestamp(start, UTC),
            None if end is None else datetime.fromtimestamp(end, UTC),
            tolerance=0.0,
            page=_ONE_REQUEST,
            priority=Priority.BACKGROUND,
        )
        return RecordedMoments(rows, self._fields)

    def _as_moment(self, latest: Latest, time: datetime) -> RecordedMoment:
        second = int(time.timestamp())
        values, _, _ = self._fields.event(latest.data)
        return RecordedMoment(second, time, latest.data, {"time": second, "data": latest.data}, values)


class RecordedMoments:
    """The rows of one export as moments, to the second, in the vendor's order."""

    def __init__(self, rows: ExportRows, fields: ProductFields) -> None:
        self._rows = rows
        self._fields = fields
        self._block: Iterator[ExportRow] = iter(())
        self._blocks = rows.blocks()
        self._doubtful = False

    @property
    def exported(self) -> frozenset[Quantity]:
        """The quantities for which there are columns."""
        known = self._fields.fields.columns
        return frozenset(known[name].quantity for name in self._rows.columns if name in known)

    @property
    def malformed(self) -> int:
        """Rows left out because they cannot be read."""
        return self._rows.malformed

    @property
    def doubtful(self) -> bool:
        """Whether rows near the last moment, or behind it, could not be read."""
        return self._doubtful

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._rows.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RecordedMoment:
        """Return the next moment.

        Raises:
            RequestError: as the request itself.
        """
        for row in self._block:
            return self._read(row)
        malformed = self.malformed
        try:
            self._block = iter(await anext(self._blocks))
        finally:  # which of a block's rows they were is not known
            self._doubtful = self.malformed > malformed
        return self._read(next(self._block))

    def _read(self, row: ExportRow) -> RecordedMoment:
        numbers, texts = row.values, row.text
        # Whole, as a live event's: the same measurement has the same time, however it came here.
        time = row.time.astimezone(UTC).replace(microsecond=0)
        second = int(time.timestamp())
        values, _, _ = self._fields.row({**numbers, **texts})
        return RecordedMoment(
            second,
            time,
            self._fields.fields.as_event(numbers) | texts,
            {"Time": row.time.isoformat(), **numbers, **texts},
            values,
        )

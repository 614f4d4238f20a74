"""The events of a product: data, messages of unknown types, and gaps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from attrs import field, frozen

from energy_core.stream.vocabulary import Quantity


@frozen(kw_only=True)
class LatestData:
    """New data of a product (`"type": "latest-data"`); may hold only the values that changed."""

    product_id: int
    """The product of the stream; the message does not name it."""
    time: datetime
    """`time` (unix seconds, whole), aware, UTC."""
    data: Mapping[str, object]
    """`data`: the vendor's keys, units and signs. In backfilled events, a column has the name and sign of the
    event key with the same meaning in the `FieldMap`; a column without such a key keeps its name."""
    raw: Mapping[str, object] = field(repr=False, eq=False)
    """The whole message as it was sent; if backfilled, the export row or the answer with latest data."""
    backfilled: bool = False
    """Whether it was fetched from the export or the latest data, because the message was missed."""


@frozen(kw_only=True)
class UnknownProductEvent:
    """A message of an undocumented type, or a latest-data message without its time or data."""

    product_id: int
    """The product of the stream."""
    raw: Mapping[str, object]
    """The whole message as it was sent."""

    @property
    def type(self) -> str | None:
        """`type`, if it is a text."""
        kind = self.raw.get("type")
        return kind if isinstance(kind, str) else None


@frozen(kw_only=True)
class ProductGap:
    """A gap: a missing stretch of time, or missing quantities of it, that cannot be backfilled."""

    product_id: int
    """The product of the stream."""
    start: datetime
    """The last delivered moment before the gap."""
    end: datetime
    """The first moment after the gap that is delivered."""
    reason: str
    """`beyond_cap`, `not_exported`, `not_recorded`, `export_malformed`, or `export_failed` with the error
    after a colon."""
    quantities: frozenset[Quantity] = frozenset()
    """The missing quantities; empty: any may be missing."""


ProductEvent: TypeAlias = LatestData | UnknownProductEvent | ProductGap

"""What a product's stream says: the messages of the event WebSocket, and what was missed and is lost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from attrs import field, frozen

from energy_core.stream.vocabulary import Quantity


@frozen(kw_only=True)
class LatestData:
    """New data of a product (`"type": "latest-data"`). It may hold only what changed."""

    product_id: int
    """The product whose stream this is; the frame itself does not say."""
    time: datetime
    """`time` (unix seconds, whole), aware, UTC."""
    data: Mapping[str, object]
    """`data`: the vendor's own keys, units and signs. Backfilled, a column is named and signed like the event
    key that means the same, as `FieldMap` has it; one that no key means keeps its own name."""
    raw: Mapping[str, object] = field(repr=False, eq=False)
    """The whole message, untouched; backfilled, the row of the export or the answer it comes from."""
    backfilled: bool = False
    """Fetched later, from the export or the latest data, because the message was missed."""


@frozen(kw_only=True)
class UnknownProductEvent:
    """A message of a type nobody documented, or a latest-data message without its time or data."""

    product_id: int
    """The product whose stream this is."""
    raw: Mapping[str, object]
    """The whole message, untouched."""

    @property
    def type(self) -> str | None:
        """`type`, when it is a text."""
        kind = self.raw.get("type")
        return kind if isinstance(kind, str) else None


@frozen(kw_only=True)
class ProductGap:
    """A stretch of time that was missed and cannot be fetched, or these quantities of it."""

    product_id: int
    """The product whose stream this is."""
    start: datetime
    """The last moment before it that was delivered."""
    end: datetime
    """The first moment after it that was, or will be, delivered."""
    reason: str
    """`beyond_cap`, `not_exported`, `not_recorded`, `export_malformed`, or `export_failed: ` and why."""
    quantities: frozenset[Quantity] = frozenset()
    """Only these are missing; empty: anything may be."""


ProductEvent: TypeAlias = LatestData | UnknownProductEvent | ProductGap

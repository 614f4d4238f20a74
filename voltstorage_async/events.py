"""What the event WebSocket says about a product."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from attrs import field, frozen


@frozen(kw_only=True)
class LatestData:
    """New data of a product (`"type": "latest-data"`). It may hold only what changed."""

    product_id: int
    """The product whose stream this is; the frame itself does not say."""
    time: datetime
    """`time` (unix seconds, whole), aware, UTC."""
    data: Mapping[str, object]
    """`data`: the vendor's own keys, units and signs."""
    raw: Mapping[str, object] = field(repr=False, eq=False)
    """The whole message, untouched."""


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


ProductEvent: TypeAlias = LatestData | UnknownProductEvent

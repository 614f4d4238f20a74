"""Answers about many sites, and the definitions of data attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from attrs import field, frozen

from vrm_async.models.attribute import Raw, RawValue


@frozen(kw_only=True)
class AttributeDefinition:
    """The definition of a data attribute, from ``data-attributes`` or beside the answer of a fleet query."""

    id: int
    """VRM's idDataAttribute."""
    code: str | None = None
    """Case-sensitive. Attributes of different kinds of devices may share a code."""
    description: str | None = None
    """VRM's name of the attribute."""
    data_type: str | None = None
    """float, enum or string; from dataType."""
    format: str | None = None
    """VRM's sprintf pattern with the unit, such as ``%.2F V``; from formatWithUnit."""
    unit: str | None = None
    """The unit in `format`: V, A, W, kWh, %, degC and the like."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class FleetSite:
    """One site in the answer to a query over all sites."""

    site_id: int
    """VRM's idSite."""
    name: str | None = None
    """The owner's name for the site, from description."""
    last_seen: datetime | None = None
    """Time of the site's newest log, aware, UTC; from lastTimestamp (s or ms)."""
    values: Mapping[str, RawValue | None] = field(factory=dict)
    """The newest value of each requested code, in the attribute's own unit; from ``value_<code>``."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class FleetAnswer:
    """One page of sites that meet the conditions of a query; iterating yields each `FleetSite`."""

    sites: tuple[FleetSite, ...] = ()
    """The sites of this page."""
    attributes: tuple[AttributeDefinition, ...] = ()
    """The attributes used in the conditions."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as VRM sent it."""

    def __iter__(self) -> Iterator[FleetSite]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)


@frozen(kw_only=True)
class FleetOverview:
    """A table of sites whose columns VRM does not document. Iterating yields each row."""

    rows: tuple[Raw, ...] = ()
    """One mapping of column to value for each site, as VRM sent it."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as VRM sent it."""

    def __iter__(self) -> Iterator[Raw]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

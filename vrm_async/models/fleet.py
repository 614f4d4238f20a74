"""Answers about many sites, and the definitions of data attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from attrs import field, frozen

from vrm_async.models.attribute import Raw, RawValue


@frozen(kw_only=True)
class AttributeDefinition:
    """What VRM says of a data attribute."""

    id: int
    """VRM's idDataAttribute."""
    code: str | None = None
    """Case-sensitive; two attributes of different devices may share it."""
    description: str | None = None
    """VRM's name of it."""
    data_type: str | None = None
    """float, enum or string."""
    format: str | None = None
    """VRM's sprintf pattern with the unit."""
    unit: str | None = None
    """The unit in `format`: V, A, W, kWh, %, C and the like."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class FleetSite:
    """One site in the answer to a query over all sites."""

    site_id: int
    """VRM's idSite."""
    name: str | None = None
    """The owner's name for it, from description."""
    last_seen: datetime | None = None
    """The newest log of the site, from lastTimestamp."""
    values: Mapping[str, RawValue | None] = field(factory=dict)
    """The newest value of each code that was asked for, from value_<code>, in the attribute's own unit."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class FleetAnswer:
    """The sites that meet the conditions of a query; iterating yields each `FleetSite`."""

    sites: tuple[FleetSite, ...] = ()
    """The sites of this page."""
    attributes: tuple[AttributeDefinition, ...] = ()
    """The attributes that the conditions are about."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as it came."""

    def __iter__(self) -> Iterator[FleetSite]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)


@frozen(kw_only=True)
class FleetOverview:
    """A table of sites; VRM does not document its columns. Iterating yields each row."""

    rows: tuple[Raw, ...] = ()
    """A row for each site, as it came."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as it came."""

    def __iter__(self) -> Iterator[Raw]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

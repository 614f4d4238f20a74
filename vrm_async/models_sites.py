"""What belongs to a site beside its devices, and what is asked of many sites at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from attrs import field, frozen

from vrm_async.attributes import Raw, RawValue
from vrm_async.models import Tag


@frozen(kw_only=True)
class SiteTags:
    """The tags of a site; iterating yields every `Tag`."""

    groups: Mapping[str, tuple[Tag, ...]] = field(factory=dict)
    """By where they come from: user, team, group, predefined, and what else VRM may send."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as it came."""

    def __iter__(self) -> Iterator[Tag]:
        return (tag for tags in self.groups.values() for tag in tags)

    def __getitem__(self, source: str) -> tuple[Tag, ...]:
        return self.groups.get(source, ())

    def __contains__(self, name: object) -> bool:
        return any(tag.name == name for tag in self)


@frozen(kw_only=True)
class CustomWidget:
    """A panel that somebody put together in VRM's dashboard."""

    id: int | None = None
    """VRM's idCustomWidget."""
    name: str | None = None
    """Its title."""
    only_admins: bool | None = None
    """Whether only administrators of the site see it."""
    y_axis_scaling: object = None
    """How its axis is scaled, as it came."""
    parameters: Mapping[str, object] = field(factory=dict)
    """What it shows, as it came."""
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

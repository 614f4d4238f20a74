"""Answers about many sites, and the definitions of data attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from attrs import field, frozen

from vrm_async.codes import named, unit_of
from vrm_async.models.attribute import Raw, RawValue


@frozen(kw_only=True)
class DataAttribute:
    """A data attribute of VRM: what a code means at one type of device.

    A code is case-sensitive. Two attributes of different device types may share it.
    """

    code: str
    """VRM's short name, such as ``bs``; ``Gc`` and ``gc`` are two."""
    description: str = ""
    """VRM's English name."""
    device_type: str | None = None
    """The type of device, such as ``Battery Monitor``; None where only the service has the row."""
    data_type: str | None = None
    """float, enum or string."""
    energy: bool = False
    """Whether VRM's tables list it among the energy readings, which `stats` adds up."""
    id: int | None = None
    """VRM's idDataAttribute; None in the package's tables."""
    format: str | None = None
    """VRM's sprintf pattern with the unit; None in the package's tables."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it; empty in the package's tables."""

    @property
    def key(self) -> tuple[str | None, str]:
        """Device type and code. Two rows of the fuel cell, ``fcP``, share even these."""
        return self.device_type, self.code

    @property
    def unit(self) -> str | None:
        """The unit in `format`: V, A, W, kWh, %, degC and the like."""
        return named(unit_of(self.format))


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

"""What a poller is given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from attrs import field, frozen

from energy_core.printable import printable_class
from energy_core.stream.detail import SourceId
from energy_core.stream.quantity import Quantity


@printable_class
@frozen(kw_only=True)
class PolledReading:
    """One polled moment of one device."""

    source: SourceId
    """The device it is about; one poller may speak for many."""
    time: datetime
    """When the device or the server says it was, aware."""
    id: str
    """Stable across runs and free of values; an id that was emitted is not emitted again."""
    values: Mapping[Quantity, float]
    """In the units and signs of `Quantity`."""
    raw: Mapping[str, object] = field(repr=False)
    """The vendor's own mapping."""
    bucket_s: float = 0.0
    """Seconds that the values stand for, where a vendor keeps its past in buckets; 0: they are of `time`.
    A moment in the bucket that was told before lends it its time and its id."""
    bucket_at_s: float = 0.0
    """Seconds from the beginning of the bucket to `time`."""
    backfilled: bool = False
    """Whether it was fetched later."""
    revision: int = 0
    """Counts the vendor's changes; a poller finds that out by looking back."""


class Seen(NamedTuple):
    """When a site has logged, as of one answer."""

    newest: datetime | None
    """When the site has logged last; None where that is not known."""
    trouble: str = ""
    """Why there can be no data of it, such as a site that is not in the account's list."""


@frozen(kw_only=True)
class Polled:
    """An answer about several sites, some of which may have nothing new."""

    observations: list[PolledReading]
    sites: Mapping[SourceId, Seen] = field(factory=dict)
    """Every site that was asked for, by its `SourceId` of instance 0."""
    odd: Mapping[str, int] = field(factory=dict)
    """What was left out or decided because it is not as it should be, counted for the notes of the status."""

"""Snapshot: the present values of one site or product, from one answer of its vendor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from attrs import field, frozen

from energy_core.home.state import HomeState, Present
from energy_core.printable import printable
from energy_core.stream.event import Event
from energy_core.stream.polled import PolledReading
from energy_core.stream.vocabulary import READINGS, Kind, Quantity, SourceId
from energy_core.tables.column import TableColumn, with_unit


@frozen(kw_only=True, repr=False)
class Snapshot:
    """The present values of one site or product, as its vendor answered.

    The base of `SiteSnapshot` and `ProductSnapshot`. A value that was not measured is in no mapping; an old
    one is in both, so look at `stale` or at `Present.age_s`.
    """

    source: SourceId
    """The site or product, with instance 0."""
    name: str | None
    """The name of the site, or the serial number of the product."""
    time: datetime | None
    """Time of the newest data, by the vendor's clock, aware; None if there is none."""
    age_s: float | None
    """Seconds from `time` to the answer; None if there is no data."""
    stale: bool
    """Whether `age_s` is more than the `max_age_s` of the call, or there is no data."""
    problem: str = ""
    """Why the vendor returned no values, for people; empty if it returned some or gave no reason."""
    present: Mapping[Quantity, Present] = field(factory=dict)
    """The newest value of each quantity, with its device, time and age."""

    @property
    def values(self) -> Mapping[Quantity, float]:
        """The newest value of each quantity, as in `Event.values`; `Quantity` gives units and signs."""
        return {quantity: present.value for quantity, present in self.present.items()}

    @classmethod
    def columns_of(cls, snapshots: Sequence[Snapshot]) -> Iterator[TableColumn]:
        """Yield the columns of a table of snapshots: one for each quantity, with its unit in its name."""
        # A table has all quantities: its columns are the same whatever was measured.
        yield TableColumn("site", "text", [each.source.site for each in snapshots])
        yield TableColumn("name", "text", [each.name for each in snapshots])
        yield TableColumn("time", "datetime", [each.time for each in snapshots])
        yield TableColumn("age_s", "float", [each.age_s for each in snapshots])
        yield TableColumn("stale", "bool", [each.stale for each in snapshots])
        yield TableColumn("problem", "text", [each.problem for each in snapshots])
        for quantity in READINGS:
            cells = [each.values.get(quantity) for each in snapshots]
            name = with_unit(quantity.value, quantity.unit)
            yield TableColumn(name, "float", cells, about={"unit": quantity.unit})

    def _repr_html_(self) -> str:
        """Return a small table, which notebooks display: each value with its unit and age."""
        from energy_core.tables.html import record_html, text  # noqa: PLC0415  (imported when it is used)

        about = [
            ("source", str(self.source)),
            ("name", self.name),
            ("time", self.time),
            ("stale", self.stale),
        ]
        values = [
            (quantity.value, f"{text(each.value)} {quantity.unit}, {text(each.age_s)} s old")
            for quantity, each in self.present.items()
        ]
        problem = [("problem", self.problem)] if self.problem else []
        return record_html(type(self).__name__, [*about, *values, *problem])

    @printable
    def __repr__(self) -> str:
        held = ", ".join(f"{name}={value!r}" for name, value in self.values.items()) or "no data"
        return f"<{type(self).__name__} {self.name!r} {'stale ' if self.stale else ''}{held}>"


def present_values(
    readings: Iterable[PolledReading], *, at: datetime, max_age_s: float
) -> dict[Quantity, Present]:
    """Return the newest value of each quantity. Of equally fresh devices the one with the smallest id counts.

    Args:
        readings: The readings of all devices of one site or product.
        at: The time to which ages refer, aware.
        max_age_s: Seconds after which a value is stale.
    """
    home = HomeState(max_age_s=max_age_s)
    for number, each in enumerate(readings, 1):
        key = f"{each.source}/{Kind.READING}"
        home.take(Event(each.source, Kind.READING, key, each.time, at, number, each.id, each.values))
    return home.snapshot(at=at)

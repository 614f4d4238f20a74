"""`OutputChoice`: which events of the stream an output gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from attrs import evolve, field, frozen

from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _sites(sites: Iterable[str | int]) -> frozenset[str]:
    return frozenset(map(str, sites))


def _quantities(names: Iterable[str]) -> frozenset[Quantity]:
    return frozenset(map(Quantity, names))


@frozen(kw_only=True)
class OutputChoice:
    """Which events an output gets. The default is all of them.

    Args:
        every: Seconds. Of each quantity of a device, only the first reading of every interval of this length
            is kept, the intervals beginning at multiples of it since 1970 (UTC). 0 keeps all.
        quantities: Keeps only these; empty: all.
        sites: Keeps only these sites and products, by their number; empty: all.

    Raises:
        ValueError: `every` is negative or not finite, or a quantity is unknown.
    """

    every: float = field(default=0.0)
    quantities: frozenset[Quantity] = field(factory=frozenset[Quantity], converter=_quantities)
    sites: frozenset[str] = field(factory=frozenset[str], converter=_sites)

    @every.validator
    def _check_every(self, _: object, value: float) -> None:
        if not 0 <= value < float("inf"):
            raise ValueError(f"every must be a number of seconds from 0 on, not {value!r}")


class ChoiceFilter:
    """Applies an `OutputChoice` to the events of one stream.

    Args:
        choice: What to keep.
    """

    def __init__(self, choice: OutputChoice) -> None:
        self._choice = choice
        self._kept: dict[tuple[SourceId, Quantity, bool], int] = {}
        """The interval of the last reading that was kept; late readings are counted by themselves."""

    def kept(self, events: Iterable[Event]) -> list[Event]:
        """Return the chosen part of the events."""
        choice = self._choice
        if not (choice.sites or choice.quantities or choice.every):
            return list(events)
        return [kept for event in events if (kept := self._kept_part(event)) is not None]

    def _kept_part(self, event: Event) -> Event | None:
        choice = self._choice
        site = event.source.site
        # A status of a whole account is about each of its sites.
        if choice.sites and site not in choice.sites and not (site == "*" and event.kind is Kind.STATUS):
            return None
        if event.kind is Kind.GAP:
            return self._kept_gap(event)
        if event.kind is not Kind.READING:
            return event
        values = event.values
        if choice.quantities:
            values = {each: value for each, value in values.items() if each in choice.quantities}
        if choice.every and not event.revision:  # the first reading of an interval may have been revised
            values = self._first_of_interval(event, values)
        if not values:
            return None
        return event if len(values) == len(event.values) else event._replace(values=values)

    def _kept_gap(self, event: Event) -> Event | None:
        gap = event.detail
        if not self._choice.quantities or not isinstance(gap, Gap) or not gap.quantities:
            return event
        missing = tuple(each for each in gap.quantities if each in self._choice.quantities)
        return event._replace(detail=evolve(gap, quantities=missing)) if missing else None

    def _first_of_interval(self, event: Event, values: Mapping[Quantity, float]) -> Mapping[Quantity, float]:
        interval = int((event.time - _EPOCH).total_seconds() // self._choice.every)
        first = {}
        for quantity, value in values.items():
            key = event.source, quantity, event.late
            if self._kept.get(key) != interval:
                self._kept[key] = interval
                first[quantity] = value
        return first

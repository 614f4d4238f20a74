"""HomeState: what the events of a home, whoever sent them, say about the present."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import isfinite

from attrs import frozen

from energy_core.clock import AHEAD_S
from energy_core.home.preference import SourcePreference, announcer
from energy_core.printable import printable
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State, Status


@frozen(kw_only=True)
class Present:
    """The newest that is known of one quantity."""

    value: float
    """In the unit and sign of the quantity; never computed from others."""
    source: SourceId
    """Who says so."""
    time: datetime
    """When it was measured, by the source's clock."""
    age_s: float
    """Seconds since it was measured, or since it arrived where that is longer: a clock may be ahead."""
    stale: bool
    """Whether it is older than the home's `max_age_s`; then no source had a younger one."""
    state: State | None
    """How the source, or its site, is doing; None when neither has said so."""
    others: tuple[SourceId, ...]
    """Sources that stand at the same place in the preference and have a value as well: name one of them."""


@frozen
class _HeldValue:
    value: float
    time: datetime
    received_at: datetime
    revision: int
    backfilled: bool

    def age_s(self, now: datetime) -> float:
        return max(0.0, (now - self.time).total_seconds(), (now - self.received_at).total_seconds())

    def gives_way_to(self, event: Event) -> bool:
        if not event.backfilled and _ahead_s(self) > AHEAD_S >= _ahead_s(event):
            return True  # a clock was wrong, and is right again
        if (event.time, event.revision) != (self.time, self.revision):
            return (event.time, event.revision) > (self.time, self.revision)
        return self.backfilled or not event.backfilled


def _ahead_s(told: _HeldValue | Event) -> float:
    return (told.time - told.received_at).total_seconds()


class HomeState:
    """Folds events into the present state of one home. Does no I/O and asks nobody for the time.

    A reading may hold only what changed, so each quantity keeps its newest value, and a late reading brings
    only what no later event has said. A value dated far ahead gives way to the next that is
    not. A quantity that no source gave is missing; it is never zero.

    Args:
        prefer: Which source to ask for what. By default any; then the one whose id sorts first, among those
            that have a fresh value, and `Present.others` names the rest.
        max_age_s: A value older than this is stale: a fresh one of the next choice stands in for it, and if
            there is none the youngest stale one is told, as stale.
    """

    def __init__(self, prefer: SourcePreference | None = None, *, max_age_s: float = 900.0) -> None:
        if not max_age_s > 0:
            raise ValueError(f"max_age_s must be a positive number of seconds, not {max_age_s!r}")
        self.unusable = 0
        """Values that were left out because they are not finite numbers."""
        self._prefer = prefer or SourcePreference()
        self._max_age_s = max_age_s
        self._held: dict[Quantity, dict[SourceId, _HeldValue]] = {}
        self._states: dict[SourceId, State] = {}

    def take(self, event: Event) -> None:
        """Fold in one event, of any kind and any source, in any order."""
        if isinstance(event.detail, Status):
            self._states[event.source] = event.detail.state
        elif event.kind is Kind.READING:
            for quantity, value in event.values.items():
                self._fold(event, quantity, value)

    def present(self, quantity: Quantity, *, now: datetime) -> Present | None:
        """Return the newest of one quantity as of `now`; None when no source that is asked ever gave it."""
        offers = [
            (*self._standing(held, now), rank, source)
            for source, held in self._held.get(quantity, {}).items()
            if (rank := self._prefer.rank(source, quantity)) is not None
        ]
        if not offers:
            return None
        best = min(offers)
        stale, _, rank, source = best
        held = self._held[quantity][source]
        return Present(
            value=held.value,
            source=source,
            time=held.time,
            age_s=held.age_s(now),
            stale=stale,
            state=self._state(source),
            others=tuple(sorted(each[-1] for each in offers if each[2] == rank and each is not best)),
        )

    def snapshot(self, *, now: datetime) -> dict[Quantity, Present]:
        """Return everything that is known as of `now`; what is not known is not in it."""
        found = {quantity: self.present(quantity, now=now) for quantity in self._held}
        return {quantity: present for quantity, present in found.items() if present is not None}

    @property
    def states(self) -> Mapping[SourceId, State]:
        """How every source is doing that said so; a copy."""
        return dict(self._states)

    def _fold(self, event: Event, quantity: Quantity, value: float) -> None:
        if not isfinite(value):
            self.unusable += 1
            return
        by_source = self._held.setdefault(quantity, {})
        held = by_source.get(event.source)
        if held is None or held.gives_way_to(event):
            by_source[event.source] = _HeldValue(
                value, event.time, event.received_at, event.revision, event.backfilled
            )

    def _standing(self, held: _HeldValue, now: datetime) -> tuple[bool, float]:
        """Return what comes before the rank: fresh before stale, and among the stale the youngest."""
        age_s = held.age_s(now)
        stale = age_s > self._max_age_s
        return stale, age_s if stale else 0.0

    def _state(self, source: SourceId) -> State | None:
        known = announcer(self._states, source)
        return None if known is None else self._states[known]

    @printable
    def __repr__(self) -> str:
        sources = {source for by_source in self._held.values() for source in by_source}
        return f"<HomeState {len(self._held)} quantities of {len(sources)} sources>"

"""HomeState: the present values of a home, from the events of all its sources."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import isfinite

from attrs import frozen

from energy_core.clock import AHEAD_S, Clock, SystemClock
from energy_core.home.preference import SourcePreference, status_source
from energy_core.printable import printable
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import AlarmChange, Kind, Quantity, SourceId, State, Status


@frozen(kw_only=True)
class Present:
    """The present value of one quantity."""

    value: float
    """In the unit and sign of the quantity; a measured value, never computed from others."""
    source: SourceId
    """The source that measured it."""
    time: datetime
    """Time of the measurement, by the source's clock."""
    age_s: float
    """Seconds since the measurement, or since it arrived if that is longer: a source's clock may be ahead."""
    stale: bool
    """Whether `age_s` is more than the home's `max_age_s`. Then no source has a fresh value."""
    state: State | None
    """State of the source, of its site or of its poller; None if none has reported one."""
    others: tuple[SourceId, ...]
    """Other sources of the same rank with a value. Name one in the preference to make the choice yourself."""


@frozen
class _HeldValue:
    value: float
    time: datetime
    received_at: datetime
    revision: int
    backfilled: bool

    def age_s(self, now: datetime) -> float:
        return max(0.0, (now - self.time).total_seconds(), (now - self.received_at).total_seconds())

    def is_replaced_by(self, event: Event) -> bool:
        if not event.backfilled and _ahead_s(self) > AHEAD_S >= _ahead_s(event):
            return True  # the source's clock was ahead and has been set right
        if (event.time, event.revision) != (self.time, self.revision):
            return (event.time, event.revision) > (self.time, self.revision)
        return self.backfilled or not event.backfilled


def _ahead_s(dated: _HeldValue | Event) -> float:
    return (dated.time - dated.received_at).total_seconds()


class HomeState:
    """Keeps the newest value of each quantity of one home. Does no I/O.

    A reading may contain only values that changed, so each quantity has a time of its own. A late reading
    changes only quantities without a newer value. A value dated in the future is replaced by the next one
    that is not. A quantity that no source delivered is missing; it is never zero.

    Args:
        prefer: which source to prefer for which quantity. By default all are equal. Among equal sources with
            a fresh value the one with the smallest id is chosen, and `Present.others` lists the rest.
        max_age_s: seconds after which a value is stale. A fresh value of a lower rank is preferred to a stale
            one; if all are stale, the youngest is chosen.
        clock: the time for ages; a test may pass its own.

    Raises:
        ValueError: `max_age_s` is not positive.
    """

    def __init__(
        self,
        prefer: SourcePreference | None = None,
        *,
        max_age_s: float = 900.0,
        clock: Clock | None = None,
    ) -> None:
        if not max_age_s > 0:
            raise ValueError(f"max_age_s must be a positive number of seconds, not {max_age_s!r}")
        self.unusable = 0
        """Number of values that were ignored because they are not finite."""
        self._prefer = prefer or SourcePreference()
        self._max_age_s = max_age_s
        self._clock = clock or SystemClock()
        self._held: dict[Quantity, dict[SourceId, _HeldValue]] = {}
        self._states: dict[SourceId, State] = {}
        self._alarms: dict[str, Event] = {}

    def take(self, event: Event) -> None:
        """Add an event of any kind and any source, in any order."""
        if isinstance(event.detail, Status):
            self._states[event.source] = event.detail.state
        elif isinstance(event.detail, AlarmChange):
            self._change_alarm(event, event.detail)
        elif event.kind is Kind.READING:
            for quantity, value in event.values.items():
                self._add(event, quantity, value)

    def present(self, quantity: Quantity, *, at: datetime | None = None) -> Present | None:
        """Return the present value of one quantity; None if no source of the preference has delivered it.

        Args:
            quantity: the quantity.
            at: the time to which ages refer, aware; by default now.
        """
        now = at or self._clock.utcnow()
        candidates = [
            (*self._freshness(held, now), rank, source)
            for source, held in self._held.get(quantity, {}).items()
            if (rank := self._prefer.rank(source, quantity)) is not None
        ]
        if not candidates:
            return None
        best = min(candidates)
        stale, _, rank, source = best
        held = self._held[quantity][source]
        return Present(
            value=held.value,
            source=source,
            time=held.time,
            age_s=held.age_s(now),
            stale=stale,
            state=self._state(source),
            others=tuple(sorted(each[-1] for each in candidates if each[2] == rank and each is not best)),
        )

    def snapshot(self, *, at: datetime | None = None) -> dict[Quantity, Present]:
        """Return the present values of all quantities that were delivered.

        Args:
            at: the time to which ages refer, aware; by default now.
        """
        now = at or self._clock.utcnow()
        found = {quantity: self.present(quantity, at=now) for quantity in self._held}
        return {quantity: present for quantity, present in found.items() if present is not None}

    @property
    def states(self) -> Mapping[SourceId, State]:
        """The state of every source that has reported one; a copy."""
        return dict(self._states)

    @property
    def alarms(self) -> tuple[Event, ...]:
        """The alarm events of all alarms that are active, by the time they were raised."""
        return tuple(sorted(self._alarms.values(), key=lambda event: event.time))

    def _change_alarm(self, event: Event, change: AlarmChange) -> None:
        held = self._alarms.get(change.alarm)
        if change.active and (held is None or event.time >= held.time):
            self._alarms[change.alarm] = event
        elif not change.active:
            self._alarms.pop(change.alarm, None)

    def _add(self, event: Event, quantity: Quantity, value: float) -> None:
        if not isfinite(value):
            self.unusable += 1
            return
        by_source = self._held.setdefault(quantity, {})
        held = by_source.get(event.source)
        if held is None or held.is_replaced_by(event):
            by_source[event.source] = _HeldValue(
                value, event.time, event.received_at, event.revision, event.backfilled
            )

    def _freshness(self, held: _HeldValue, now: datetime) -> tuple[bool, float]:
        """Return the sort key that comes before the rank: fresh first, then stale ones by age."""
        age_s = held.age_s(now)
        stale = age_s > self._max_age_s
        return stale, age_s if stale else 0.0

    def _state(self, source: SourceId) -> State | None:
        known = status_source(self._states, source)
        return None if known is None else self._states[known]

    @printable
    def __repr__(self) -> str:
        sources = {source for by_source in self._held.values() for source in by_source}
        return f"<HomeState {len(self._held)} quantities of {len(sources)} sources>"

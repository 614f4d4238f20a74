"""The states of a source: legal transitions, and `SourceStatus`, the snapshot in `events.status`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from attrs import frozen

from energy_core.errors import EnergyError
from energy_core.printable import printable
from energy_core.stream.vocabulary import State

_ENDS: Final = frozenset({State.AUTH_FAILED, State.FAILED, State.CLOSED})

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.CONNECTING: _ENDS | {State.LIVE, State.BACKFILLING, State.DISCONNECTED},
        State.LIVE: _ENDS | {State.BACKFILLING, State.STALE, State.DISCONNECTED},
        State.BACKFILLING: _ENDS | {State.LIVE, State.STALE, State.DISCONNECTED},
        State.STALE: _ENDS | {State.LIVE, State.BACKFILLING, State.DISCONNECTED},
        State.DISCONNECTED: _ENDS | {State.CONNECTING, State.BACKFILLING, State.LIVE},
        State.AUTH_FAILED: frozenset({State.CONNECTING}),
        State.FAILED: frozenset({State.CONNECTING}),
        State.CLOSED: frozenset({State.CONNECTING}),
    }
)
"""Legal next states of each state. A source begins as `connecting`; repeating a state is not a change.

Only a restart, or adding a source with the same id, leaves the last three.
"""


@frozen(kw_only=True)
class SourceStatus:
    """The state and counters of one source at one moment; an entry of `events.status`."""

    state: State
    since: datetime
    """When the source entered the state, aware."""
    age_s: float = 0.0
    """Seconds since then."""
    reason: str = ""
    """Why, for people."""
    retry_in: float | None = None
    """Seconds until the next attempt; None when there is none."""
    readings: int = 0
    """Readings the source has delivered, including dropped ones."""
    last: datetime | None = None
    """Time of the newest reading."""
    quiet_s: float | None = None
    """Seconds since the last reading arrived; None before the first."""
    backfilled: int = 0
    """Readings that were fetched later to fill a gap."""
    late: int = 0
    """Readings older than one already delivered."""
    dropped: int = 0
    """Readings that consumers were too slow for; under `block` they are fetched again where possible."""
    gaps: int = 0
    """Gaps reported."""
    refused: int = 0
    """Readings dropped because they are dated more than five minutes after the vendor's time, or more than a
    day after ours where that is not known. The first of an episode is reported as a gap."""
    clock_offset_s: float | None = None
    """The vendor's clock minus ours, in seconds, by the last response with a `Date`: positive if ours is
    behind. None without such a response."""
    pending: tuple[tuple[datetime, datetime], ...] = ()
    """Spans (start, end) that the vendor's record did not have yet. They are fetched again after 1, 5 and 15
    minutes and then reported as gaps."""
    restarts: int = 0
    """How often the source was restarted."""
    notes: Mapping[str, int | str] = MappingProxyType({})
    """Counts of what the source left out, and its assumptions, such as the scale of a value."""
    error: EnergyError | None = None
    """The error that ended the source; None otherwise."""


class SourceState:
    """The state of one source or site; rejects changes that `TRANSITIONS` does not have."""

    __slots__ = ("reason", "retry_at", "since", "state")

    def __init__(self, since: datetime, state: State = State.CONNECTING) -> None:
        self.state = state
        self.since = since
        self.reason = ""
        self.retry_at: datetime | None = None

    def move(self, state: State, *, at: datetime, reason: str = "", retry_in: float | None = None) -> bool:
        """Enter a state; return whether it differs from the one before.

        Args:
            state: The new state.
            at: When, aware.
            reason: Why.
            retry_in: Seconds until the next attempt.

        Raises:
            ValueError: The change is not legal: a bug in the source.
        """
        # Leaving a terminal state is legal for a new run of the source only, which has a state of its own.
        changed = state is not self.state
        if changed and (self.state.terminal or state not in TRANSITIONS[self.state]):
            raise ValueError(f"a source cannot go from {self.state} to {state}")
        if changed:
            self.state, self.since = state, at
        self.reason = reason
        # Wall-clock time, unlike every timeout: a snapshot may be taken outside the event loop.
        self.retry_at = None if retry_in is None else at + timedelta(seconds=min(retry_in, 1e9))
        return changed

    @printable
    def __repr__(self) -> str:
        return f"<SourceState {self.state} since {self.since:%H:%M:%S}>"


class SiteState:
    """The state and counters of one of several sites of a source."""

    __slots__ = ("last", "readings", "received_at", "state")

    def __init__(self, since: datetime) -> None:
        self.state = SourceState(since, State.LIVE)
        self.readings = 0
        self.last: datetime | None = None
        self.received_at: datetime | None = None

    def count(self, readings: int, newest: datetime, received_at: datetime) -> None:
        """Count readings that arrived together."""
        self.readings += readings
        self.received_at = received_at
        if self.last is None or newest > self.last:
            self.last = newest

"""How a source may move from state to state, and the snapshot a consumer sees of it."""

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
"""Every legal change of state. A source begins as `connecting`; staying in a state is not a change.

Out of the last three leads only a restart, or a source that is added under the same id.
"""


@frozen(kw_only=True)
class SourceStatus:
    """How one source is doing at this moment."""

    state: State
    since: datetime
    """When it entered the state."""
    age_s: float = 0.0
    """Seconds it has been in the state."""
    reason: str = ""
    retry_in: float | None = None
    """Seconds from now until it tries again, where it will."""
    readings: int = 0
    """Readings it has handed over, dropped ones included."""
    last: datetime | None = None
    """The time of the newest reading."""
    quiet_s: float | None = None
    """Seconds since a reading arrived; None before the first."""
    backfilled: int = 0
    """Readings among them that were fetched later."""
    late: int = 0
    """Readings that were older than one already handed over."""
    dropped: int = 0
    """Readings that consumers were too slow for; under `block` they were fetched again where possible."""
    gaps: int = 0
    """Stretches of time it reported as not deliverable."""
    refused: int = 0
    """Readings set aside because they are dated more than five minutes after the vendor's own time (more than
    a day after ours, where that is not known); the first of an episode is a gap."""
    clock_offset_s: float | None = None
    """Seconds from our clock to the vendor's, as of its last answer with a `Date`: positive where ours is
    behind. None where it has not shown its clock."""
    pending: tuple[tuple[datetime, datetime], ...] = ()
    """Stretches that the vendor's record did not bring yet, start and end: they are asked for again, after 1,
    5 and 15 minutes, then each is a gap."""
    restarts: int = 0
    """How often it was restarted."""
    notes: Mapping[str, int | str] = MappingProxyType({})
    """What the source left out, counted, and what it assumes, such as the scale of a value."""
    error: EnergyError | None = None
    """Why it ended, where it ended by an error."""


class SourceState:
    """The state of one source; refuses a change that `TRANSITIONS` does not have."""

    __slots__ = ("reason", "retry_at", "since", "state")

    def __init__(self, since: datetime, state: State = State.CONNECTING) -> None:
        self.state = state
        self.since = since
        self.reason = ""
        self.retry_at: datetime | None = None

    def move(self, state: State, *, at: datetime, reason: str = "", retry_in: float | None = None) -> bool:
        """Enter `state` and tell whether that is a change.

        Raises:
            ValueError: the change is not legal, which is a fault in the source.
        """
        changed = state is not self.state
        if changed and (self.state.terminal or state not in TRANSITIONS[self.state]):
            raise ValueError(f"a source cannot go from {self.state} to {state}")
        if changed:
            self.state, self.since = state, at
        self.reason = reason
        # No wait goes by this: it is for the snapshot, which may be asked for outside of any event loop.
        self.retry_at = None if retry_in is None else at + timedelta(seconds=min(retry_in, 1e9))
        return changed

    @printable
    def __repr__(self) -> str:
        return f"<Standing {self.state} since {self.since:%H:%M:%S}>"


class Site:
    """How one of several sites of a source is doing, and what has come of it."""

    __slots__ = ("heard", "last", "readings", "standing")

    def __init__(self, since: datetime) -> None:
        self.standing = SourceState(since, State.LIVE)
        self.readings = 0
        self.last: datetime | None = None
        self.heard: datetime | None = None

    def take(self, count: int, newest: datetime, received_at: datetime) -> None:
        """Count readings."""
        self.readings += count
        self.heard = received_at
        if self.last is None or newest > self.last:
            self.last = newest

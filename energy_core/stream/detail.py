"""What an event is about: its kind, where it comes from, and what a status, gap or dropped event says."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import NamedTuple, TypeAlias

from attrs import frozen

from energy_core.stream.quantity import Quantity


class Kind(enum.StrEnum):
    """What an event is about."""

    READING = "reading"
    STATUS = "status"
    GAP = "gap"
    DROPPED = "dropped"


class State(enum.StrEnum):
    """How a source is doing; a status event announces every change."""

    CONNECTING = "connecting"
    LIVE = "live"
    BACKFILLING = "backfilling"
    STALE = "stale"
    DISCONNECTED = "disconnected"
    AUTH_FAILED = "auth_failed"
    FAILED = "failed"
    CLOSED = "closed"

    @property
    def terminal(self) -> bool:
        """Whether the source has ended."""
        return self in {State.AUTH_FAILED, State.FAILED, State.CLOSED}


class SourceId(NamedTuple):
    """Where an event comes from: vendor, account label (never a secret), site or product, device instance."""

    vendor: str
    account: str
    site: str
    instance: int = 0

    def __str__(self) -> str:
        return f"{self.vendor}/{self.account}/{self.site}/{self.instance}"


@frozen(kw_only=True)
class Status:
    """The detail of a status event."""

    state: State
    reason: str = ""
    retry_in: float | None = None
    """Seconds until the source tries again, where it will."""


@frozen(kw_only=True)
class Gap:
    """The detail of a gap event: a stretch of time that could not be delivered."""

    start: datetime
    end: datetime
    reason: str
    quantities: tuple[Quantity, ...] = ()
    """Only these are missing; empty: anything may be."""


@frozen(kw_only=True)
class Dropped:
    """The detail of a dropped event: `count` readings from `first` to `last` (their seq) were dropped."""

    first: int
    last: int
    count: int


Detail: TypeAlias = Status | Gap | Dropped

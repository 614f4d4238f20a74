"""What an event is about: its kind, where it comes from, and what a status, gap or dropped event says."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

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


UNIDENTIFIED: Final = "unidentified-"
"""What the label of an account begins with as long as the vendor has not said whose account it is."""

_LONGEST_LABEL: Final = 64


def account_label(label: str | None) -> str | None:
    """Check the label that a user chose for an account.

    Raises:
        TypeError: it is not a text.
        ValueError: it is empty, longer than 64 characters, or holds a slash or something unprintable.
    """
    if label is None:
        return None
    if not isinstance(label, str):
        raise TypeError(f"account must be a str, not {type(label).__name__}")
    if not label.strip() or len(label) > _LONGEST_LABEL or "/" in label or not label.isprintable():
        raise ValueError(f"account must be 1 to {_LONGEST_LABEL} printable characters without a slash")
    if label.startswith(UNIDENTIFIED):
        raise ValueError(f"account must not begin with {UNIDENTIFIED!r}")
    return label


class SourceId(NamedTuple):
    """Where an event comes from: vendor, account label (never a secret), site or product, device instance."""

    vendor: str
    account: str
    site: str
    instance: int = 0

    @property
    def identified(self) -> bool:
        """Whether the account's label is known."""
        return not self.account.startswith(UNIDENTIFIED)

    def is_like(self, other: SourceId) -> bool:
        """Whether it is the same but for the account's label: ids of sites and products are unique."""
        return (self.vendor, self.site, self.instance) == (other.vendor, other.site, other.instance)

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

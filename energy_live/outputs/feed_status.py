"""The settings of a feed, and its state and counters at one moment."""

from __future__ import annotations

import enum
from datetime import datetime

from attrs import frozen


class OutputState(enum.StrEnum):
    """The state of an output."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    """It is down, and will be tried again."""
    FAILED = "failed"
    """Only the user can help; it is tried again every five minutes."""
    CLOSED = "closed"


@frozen(kw_only=True)
class FeedConfig:
    """Sizes and times of the feed of one output."""

    buffer: int = 8192
    """Readings that may be pending while the output is slow or down. Later ones are fetched again from the
    sources' history when it is back, or reported as gaps."""
    batch: int = 2000
    """Events in one `write`, at most."""
    delay_s: float = 0.1
    """Seconds an event waits for others of its batch, at most."""
    start_s: float = 10.0
    """Seconds that `OutputFeed.open` waits for the output at the start; then it is tried again later."""
    open_s: float = 120.0
    """Seconds `open` may take."""
    write_s: float = 60.0
    """Seconds `write` may take before it is cancelled and tried again."""
    first_retry_s: float = 1.0
    """Seconds the first delay after a failure can reach; it doubles with each further one."""
    longest_retry_s: float = 60.0
    """Seconds no delay exceeds."""
    position_s: float = 5.0
    """Seconds between two saves of the position, at least."""


@frozen(kw_only=True)
class OutputStatus:
    """The state and counters of one output at one moment."""

    state: OutputState
    since: datetime
    """When it entered the state, aware."""
    reason: str = ""
    """Why, for people; without credentials."""
    retry_in: float | None = None
    """Seconds until the next attempt; None when there is none."""
    written: int = 0
    """Readings written."""
    written_at: datetime | None = None
    """When the last batch was written, by our clock; None before the first."""
    newest: datetime | None = None
    """Time of the newest reading written."""
    pending: int = 0
    """Events that wait to be written."""
    waiting_s: float = 0.0
    """How long the oldest of them has waited."""
    lost: int = 0
    """Readings that did not fit into the buffer; fetched again where possible, otherwise reported as gaps."""
    gaps: int = 0
    """Gaps reported to this output."""
    refused: int = 0
    """Events that the store refused one by one; they are set aside in a file."""
    failures: int = 0
    """Attempts that failed."""

"""When to ping, when a link is dead and when a source is stale: decisions without I/O."""

from __future__ import annotations

import enum
from collections import deque
from datetime import datetime
from typing import Final

from energy_core.stream.timing import SocketConfig

_SMOOTHING: Final = 1 / 8

_FLOOR_S: Final = 300.0
_FACTOR: Final = 3.0
_SINGLE_S: Final = 900.0
_LONGEST_S: Final = 86_400.0


class KeepaliveAction(enum.Enum):
    """What a pulse asks for."""

    REST = "rest"
    PING = "ping"
    DEAD = "dead"
    STALE = "stale"


class Keepalive:
    """The life of one connection: any byte is life of the link, only a valid event is life of the source."""

    __slots__ = ("_eventful_at", "_first", "_pinged_at", "_stale", "_timing", "interval")

    def __init__(self, timing: SocketConfig, now: float) -> None:
        self.interval: float | None = None
        """The usual seconds between two events, smoothed; None before the second."""
        self._timing = timing
        self._eventful_at = now
        self._first = True
        self._stale = False
        self._pinged_at: float | None = None

    def events(self, count: int, now: float) -> bool:
        """Note valid events that came together, and tell whether they end a stale spell."""
        if self._first:
            self._first, self._eventful_at = False, now
            count -= 1
        if count:
            passed = now - self._eventful_at
            usual = self.interval
            usual = passed if usual is None else usual + _SMOOTHING * (passed - usual)
            # Between the others there was no time.
            self.interval = usual if count == 1 else usual * (1 - _SMOOTHING) ** (count - 1)
        self._eventful_at = now
        was_stale, self._stale = self._stale, False
        return was_stale

    def check(self, now: float, heard_at: float) -> KeepaliveAction:
        """Decide what is due; call again until it answers REST."""
        if self._pinged_at is not None and heard_at >= self._pinged_at:  # of coarse clocks both are one tick
            self._pinged_at = None
        if self._pinged_at is not None and now >= self._pinged_at + self._timing.ping_timeout_s:
            return KeepaliveAction.DEAD
        if not self._stale and now >= self._stale_at:
            self._stale = True
            return KeepaliveAction.STALE
        if self._pinged_at is None and now >= heard_at + self._timing.ping_interval_s:
            self._pinged_at = now
            return KeepaliveAction.PING
        return KeepaliveAction.REST

    def next_at(self, heard_at: float) -> float:
        """Return when `check` may have something to say, if nothing happens until then."""
        if self._pinged_at is not None and heard_at < self._pinged_at:
            link_at = self._pinged_at + self._timing.ping_timeout_s
        else:
            link_at = heard_at + self._timing.ping_interval_s
        return link_at if self._stale else min(link_at, self._stale_at)

    def silence(self, now: float) -> float:
        """Seconds since the last valid event, or since the connection began."""
        return now - self._eventful_at

    @property
    def _stale_at(self) -> float:
        patience = max(self._timing.stale_floor_s, self._timing.stale_factor * (self.interval or 0.0))
        return self._eventful_at + patience


class Site:
    """When a polled site has logged, and whether that is too long ago: decisions without I/O.

    A site is stale after three of its own intervals, and at least five minutes. Its interval is the median of
    the last eight that polling has seen; a single one counts as 15 minutes at most, as it may be an outage.

    Args:
        newest: When the site has logged last, by its own clock; None where that is not known.
        age_s: Seconds that have passed since.
        now: A monotonic time.
        polled_s: Seconds from one poll to the next: no interval can be seen that is shorter.
    """

    __slots__ = ("_intervals", "_logged_at", "_polled_s", "newest", "stale", "trouble")

    def __init__(self, newest: datetime | None, age_s: float, now: float, *, polled_s: float = 0.0) -> None:
        self.newest = newest
        self.stale = False
        """What was announced."""
        self.trouble = ""
        """Why there can be no data of it."""
        self._logged_at = now - max(0.0, age_s)
        self._polled_s = polled_s
        self._intervals: deque[float] = deque(maxlen=8)

    def note(self, newest: datetime | None, now: float) -> bool:
        """Note what a poll says; tell whether the site has logged since the poll before."""
        if newest is None or newest == self.newest:
            return False
        if self.newest is not None and 0 < (interval := (newest - self.newest).total_seconds()) <= _LONGEST_S:
            self._intervals.append(interval)
        self.newest, self._logged_at = newest, now
        return True

    def reason(self, now: float) -> str:
        """Say why it is stale."""
        if self.trouble:
            return self.trouble
        if self.newest is None:
            return "the site has not logged anything"
        age_s, since = now - self._logged_at, f"{self.newest:%Y-%m-%d %H:%M:%S %Z}"
        return f"the site has not logged for {age_s:.0f} s, since {since}"

    @property
    def stale_at(self) -> float:
        """The monotonic time from which on it is stale."""
        known = sorted(self._intervals)
        usual = known[(len(known) - 1) // 2] if known else 0.0
        if len(known) == 1:
            usual = min(usual, _SINGLE_S)
        return self._logged_at + max(_FLOOR_S, _FACTOR * max(usual, self._polled_s))

"""Rejects readings dated in the future, by the vendor's clock where it is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from energy_core.clock import AHEAD_S, Clock, VendorClock
from energy_core.stream.vocabulary import SourceId

FROM_THE_FUTURE: Final = "from_the_future"
"""Reason of a gap: readings were dropped because they are dated in the future."""

EPISODE_S: Final = 600.0
"""A source without such readings for this long has a new episode with the next one."""

_AHEAD: Final = timedelta(days=1)
_TOLERATED: Final = timedelta(seconds=AHEAD_S)
_NEVER_SET: Final = datetime(2025, 1, 1, tzinfo=UTC)
_NO_LIMIT: Final = datetime.max.replace(tzinfo=UTC)
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)


def latest_allowed(now: datetime) -> datetime:
    """Return the latest time a reading may have by our own clock: a day ahead, because it may be wrong.

    A clock before 2025 was never set, so it limits nothing.
    """
    return now + _AHEAD if now > _NEVER_SET else _NO_LIMIT


class Horizon:
    """Decides which times lie in the future.

    More than five minutes ahead of the vendor's clock, or more than a day ahead of ours where the vendor's is
    not known.

    Args:
        clock: Our own clock.
        vendor_clock: The vendor's clock.
    """

    __slots__ = ("_clock", "_episodes", "_vendor_clock", "latest")

    def __init__(self, clock: Clock, vendor_clock: VendorClock | None = None) -> None:
        self.latest = _BEFORE_ALL
        """The latest allowed time, as of the last call of `is_ahead`: earlier times need no call."""
        self._clock = clock
        self._vendor_clock = vendor_clock
        self._episodes: dict[SourceId | None, float] | None = None  # few sources ever have one

    def now(self) -> datetime:
        """Return the vendor's present time, ours where that is not known."""
        vendor_now = None if self._vendor_clock is None else self._vendor_clock.now()
        return vendor_now or self._clock.utcnow()

    def is_ahead(self, time: datetime) -> bool:
        """Return whether a time lies in the future."""
        if time <= self.latest:
            return False  # time only goes on, so the limit of the last call still holds
        vendor_now = None if self._vendor_clock is None else self._vendor_clock.now()
        self.latest = latest_allowed(self._clock.utcnow()) if vendor_now is None else vendor_now + _TOLERATED
        return time > self.latest

    def begins(self, source: SourceId | None = None) -> bool:
        """Note that a reading was dropped; return whether it is the first of an episode of its source."""
        now, episodes = self._clock.monotonic(), self._episodes or {}
        last, self._episodes = episodes.get(source), {**episodes, source: now}
        return last is None or now - last > EPISODE_S

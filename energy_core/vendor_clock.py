"""VendorClock: what time it is for a vendor, whatever our own clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from energy_core.clock import Clock
from energy_core.printable import printable
from energy_core.retry import parse_http_date

AHEAD_S: Final = 300.0
"""A value dated more than this after the vendor's own time is wrong."""


_EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""A date outside these is no server's clock: one that was never set, or a sentinel."""


class VendorClock:
    """A vendor's clock, by the `Date` headers of its answers; one for all that talk to one origin.

    Between two answers its time passes as ours does. Where our two clocks disagree about how much has passed
    (the wall clock was set, or the machine slept), the larger count is taken: a right value is never
    taken for one from the future.

    Args:
        clock: Our own time.
    """

    __slots__ = ("_clock", "_date", "_elapsed_at", "_text", "_wall_at")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._text: str | None = None
        self._date: datetime | None = None
        self._wall_at = self._elapsed_at = 0.0

    def heard(self, date: str | None, age: str | None = None) -> None:
        """Take the headers of an answer that has just come.

        Args:
            date: Its `Date`; one that cannot be read or meant says nothing.
            age: Its `Age`: a copy out of a cache, whose `Date` says nothing of the present.
        """
        # The first answer of each second says most about when that second began.
        if date is None or date == self._text or age is not None:
            return
        wall = self._clock.utcnow()
        told = parse_http_date(date, now=wall)
        if told is not None and _EARLIEST < told < _LATEST:
            self._text, self._date = date, told
            self._wall_at, self._elapsed_at = wall.timestamp(), self._clock.monotonic()

    def now(self) -> datetime | None:
        """Return the vendor's present moment; None before it has shown its clock. Needs a running loop."""
        if self._date is None:
            return None
        walked = self._clock.utcnow().timestamp() - self._wall_at
        return self._date + timedelta(seconds=max(walked, self._clock.monotonic() - self._elapsed_at))

    @property
    def offset_s(self) -> float | None:
        """Seconds from our clock to the vendor's, at its last answer: positive where ours is behind."""
        return None if self._date is None else self._date.timestamp() - self._wall_at

    @printable
    def __repr__(self) -> str:
        offset = self.offset_s
        return "<VendorClock, not seen>" if offset is None else f"<VendorClock {offset:+.0f} s from ours>"

"""Household time: real time multiplied by a speed, and moved ahead at will."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import format_datetime

from energy_core.clock import Clock


class Timeline:
    """Household time.

    Args:
        clock: Source of real time.
        speed: Household seconds per real second.
        start: Household time at creation, aware; None: the clock's time.
    """

    def __init__(self, clock: Clock, *, speed: float, start: datetime | None) -> None:
        if not speed > 0.0:
            raise ValueError(f"speed must be above 0: {speed}")
        if start is not None and start.tzinfo is None:
            raise ValueError("start must be an aware datetime")
        self.clock = clock
        self.speed = speed
        self.start = (start or clock.utcnow()).timestamp()
        """Household time at creation, in Unix seconds."""
        self._zero = clock.monotonic()
        self._jumps: list[tuple[float, float]] = []
        """Elapsed real seconds at each `advance`, and the household seconds of it."""

    def elapsed(self) -> float:
        """Return the real seconds since creation."""
        return max(0.0, self.clock.monotonic() - self._zero)

    def now(self) -> float:
        """Return the household time, in Unix seconds."""
        return self.at(self.elapsed())

    def at(self, elapsed: float) -> float:
        """Return the household time after a number of real seconds since creation."""
        jumps = sum(seconds for begin, seconds in self._jumps if begin <= elapsed)
        return self.start + elapsed * self.speed + jumps

    def advance(self, seconds: float) -> None:
        """Move the household's clock ahead.

        Raises:
            ValueError: `seconds` is not a number from 0 on.
        """
        if not 0.0 <= seconds < math.inf:
            raise ValueError(f"a clock can only be moved ahead: {seconds}")
        self._jumps.append((self.elapsed(), seconds))

    @property
    def dates(self) -> dict[str, str]:
        """Headers with the household time: `Date`, and `Age` unless the speed is 1.

        Clients ignore the `Date` of an answer with an `Age`, and so do not set their clock by a faster one.
        """
        now = datetime.fromtimestamp(self.now(), UTC)
        date = {"Date": format_datetime(now, usegmt=True)}
        return date if self.speed == 1.0 else {**date, "Age": "0"}

"""The household's time: real time, faster."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from energy_core.clock import Clock


class Timeline:
    """Household time runs from `start` at `speed` times the pace of the clock it is given."""

    def __init__(self, clock: Clock, *, speed: float, start: datetime | None) -> None:
        if not speed > 0.0:
            raise ValueError(f"speed must be above 0: {speed}")
        if start is not None and start.tzinfo is None:
            raise ValueError("start must be an aware datetime")
        self.clock = clock
        self.speed = speed
        self.start = (start or clock.utcnow()).timestamp()
        """Unix seconds at which the household's time began."""
        self._zero = clock.monotonic()

    def elapsed(self) -> float:
        """Real seconds since the start."""
        return max(0.0, self.clock.monotonic() - self._zero)

    def now(self) -> float:
        """Return the household's present moment, unix seconds."""
        return self.start + self.elapsed() * self.speed

    @property
    def dates(self) -> dict[str, str]:
        """The headers in which a server of this household says what time it is.

        Where its time runs faster than ours, no client could go by its `Date` for long: the `Age` says so.
        """
        now = datetime.fromtimestamp(self.now(), UTC)
        date = {"Date": format_datetime(now, usegmt=True)}
        return date if self.speed == 1.0 else {**date, "Age": "0"}

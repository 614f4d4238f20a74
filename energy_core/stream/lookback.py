"""Looking back for late data: when, and over which ranges. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from attrs import Attribute, field, frozen, validators

from energy_core.printable import printable_class

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

SKIPPED: Final = 1.9
"""A site has skipped a log slot when this many times its usual interval has passed."""


def _positive(_: LookbackConfig, attribute: Attribute[float], value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{attribute.name} must be positive and finite, not {value!r}")


@printable_class
@frozen(kw_only=True)
class LookbackConfig:
    """Every number by which a poller looks back."""

    interval_s: float = field(default=3600.0, validator=_positive)
    """Seconds from one look at a device to the next; ranges end on whole multiples of it, and buckets that do
    not divide it are other buckets each time."""
    span_s: float = field(default=6 * 3600.0, validator=_positive)
    """Seconds of the past that one look covers, always as many: servers resample by the length of a range."""
    max_age_s: float = field(default=24 * 3600.0, validator=_positive)
    """The furthest back, for a consumer that was away; what lies before is a gap."""
    settle_s: float = field(default=600.0, validator=_positive)
    """Seconds after which a moment's values are settled, so that a change is a change."""
    timeout_s: float = field(default=60.0, validator=_positive)
    """Seconds a look at one device may take before it has failed."""
    cooldown_s: float = field(default=600.0, validator=_positive)
    """Seconds after a failed look in which a skipped slot of the same device is a gap at once."""
    again_s: tuple[float, ...] = (60.0, 300.0, 900.0)
    """What a look did not bring of a stretch that is missing is asked for again so many seconds after it, and
    is a gap after the last time."""
    max_held: int = field(default=256, validator=validators.ge(1))
    """Newer moments of a device that wait for a look; one more, and the hole before them is a gap."""

    def ranges(self, now: datetime, since: datetime | None = None) -> list[tuple[datetime, datetime]]:
        """Return the ranges to ask for, oldest first: one, or as many as reach back to `since`."""
        step, span = timedelta(seconds=self.interval_s), timedelta(seconds=self.span_s)
        end = EPOCH - (-(now - EPOCH) // step) * step
        wanted = self.reach(now) if since is None or since < self.reach(now) else since
        ranges = [(end - span, end)]
        while since is not None and ranges[0][0] > wanted:
            ranges.insert(0, (ranges[0][0] - span, ranges[0][0]))
        return ranges

    def reach(self, now: datetime) -> datetime:
        """Return the furthest moment that is looked for."""
        return now - timedelta(seconds=self.max_age_s)


class IntervalEstimator:
    """The usual interval between a device's moments."""

    __slots__ = ("_last", "_presumed", "_recent")

    def __init__(self) -> None:
        self._presumed: float | None = None
        self._last: datetime | None = None
        self._recent: deque[float] = deque(maxlen=8)

    @property
    def usual(self) -> float | None:
        """The usual interval in seconds; None as long as it is not known."""
        return min(self._recent) if len(self._recent) > 1 else self._presumed

    def presume(self, times: Iterable[datetime]) -> None:
        """Learn from moments of the past, for the time until enough have been noted."""
        intervals = [(after - before).total_seconds() for before, after in pairwise(sorted(set(times)))]
        self._presumed = min(intervals, default=self._presumed)

    def skipped(self, time: datetime, *, unless_known: bool = False) -> datetime | None:
        """Note a moment; return the one before it if the device has skipped a slot between them.

        Args:
            time: The moment.
            unless_known: What to say as long as nothing is known of the rhythm.
        """
        last = self._last
        if last is None or time > last:
            self._last = time
        if last is None or time <= last:
            return None
        interval = (time - last).total_seconds()
        usual = self.usual
        self._recent.append(interval)
        skipped = unless_known if usual is None else interval > SKIPPED * usual
        return last if skipped else None

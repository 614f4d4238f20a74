"""Looking back for late data: when, over which ranges, and what of it is new. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import Attribute, evolve, field, frozen

from energy_core.stream.detail import SourceId
from energy_core.stream.observation import Observation
from energy_core.stream.revisions import Revisions

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_SKIPPED: Final = 1.9
"""A site has skipped a log slot when this many times its usual interval has passed."""


def _positive(_: Looking, attribute: Attribute[float], value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{attribute.name} must be positive and finite, not {value!r}")


@frozen(kw_only=True)
class Looking:
    """Every number by which a poller looks back."""

    every_s: float = field(default=3600.0, validator=_positive)
    """Seconds from one look to the next; ranges end on whole multiples of it."""
    span_s: float = field(default=6 * 3600.0, validator=_positive)
    """Seconds of the past that one look covers, always as many: servers resample by the length of a range."""
    most_s: float = field(default=24 * 3600.0, validator=_positive)
    """The furthest back, for a consumer that was away; what lies before is a gap."""
    settled_s: float = field(default=600.0, validator=_positive)
    """Seconds after which a moment's values are settled, so that a change is a change."""
    patience_s: float = field(default=60.0, validator=_positive)
    """Seconds a look may take before polling goes on without it."""
    rest_s: float = field(default=600.0, validator=_positive)
    """Seconds after a failed look in which a skipped slot is a gap at once."""

    def ranges(self, now: datetime, since: datetime | None = None) -> list[tuple[datetime, datetime]]:
        """Return the ranges to ask for, oldest first: one, or as many as reach back to `since`."""
        step, span = timedelta(seconds=self.every_s), timedelta(seconds=self.span_s)
        end = EPOCH - (-(now - EPOCH) // step) * step
        wanted = self.reach(now) if since is None or since < self.reach(now) else since
        ranges = [(end - span, end)]
        while since is not None and ranges[0][0] > wanted:
            ranges.insert(0, (ranges[0][0] - span, ranges[0][0]))
        return ranges

    def reach(self, now: datetime) -> datetime:
        """Return the furthest moment that is looked for."""
        return now - timedelta(seconds=self.most_s)


class Rhythm:
    """The usual interval between a device's moments."""

    __slots__ = ("_last", "_recent")

    def __init__(self) -> None:
        self._last: datetime | None = None
        self._recent: deque[float] = deque(maxlen=8)

    def skipped(self, time: datetime) -> datetime | None:
        """Note a moment; return the one before it if the device has skipped a slot between them."""
        last = self._last
        if last is None or time > last:
            self._last = time
        if last is None or time <= last:
            return None
        interval = (time - last).total_seconds()
        usual = min(self._recent) if len(self._recent) > 1 else None
        self._recent.append(interval)
        return last if usual is not None and interval > _SKIPPED * usual else None


class Past:
    """Sifts what looking back has found.

    Moments up to a device's floor, where its consumer began or stopped, are known to it; they only serve as
    what later looks are compared with.
    """

    def __init__(self, start: datetime, floors: Mapping[SourceId, datetime]) -> None:
        self._start = start
        self._floors = dict(floors)
        self._revisions = Revisions()

    def sift(
        self,
        found: Iterable[Observation],
        emitted: Mapping[SourceId, Collection[str]],
        settled: datetime,
    ) -> list[Observation]:
        """Return what is to be emitted, oldest first: moments that are new, and those that have changed.

        Args:
            found: What looking back has brought.
            emitted: The ids emitted before, by device.
            settled: Moments after this may still change without having been changed.
        """
        fresh = []
        for each in sorted(found, key=_moment):
            known = each.time <= self._floors.get(each.source, self._start)
            seen = known or each.id in emitted.get(each.source, ())
            revision: int | None = None if seen else 0
            if each.time <= settled:
                revision = self._revisions.look(each.source, each.id, each.values, emitted=seen)
            if revision is not None:
                fresh.append(evolve(each, backfilled=True, revision=revision))
        return fresh

    def __repr__(self) -> str:
        return f"<Past since {self._start:%Y-%m-%d %H:%M}: {self._revisions!r}>"


def _moment(observation: Observation) -> datetime:
    return observation.time

"""What is known of a device's past, and what of a look at it is news. No I/O, no clock."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from attrs import evolve

from energy_core.printable import printable
from energy_core.stream.detail import SourceId
from energy_core.stream.lookback import EPOCH
from energy_core.stream.observation import PolledReading
from energy_core.stream.revisions import Revisions

COARSE: Final = "coarse"
"""The reason of a gap in a stretch of which the vendor keeps one value for several moments."""

_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)
_LEAST: Final = 32
_MOST: Final = 2048

_Told: TypeAlias = Sequence[tuple[datetime, str]]


class MissingRange(NamedTuple):
    """A stretch of time that cannot be told."""

    start: datetime
    end: datetime
    reason: str


class BucketMatcher:
    """The moments of one device that were told or will be, and what looking back found of them.

    A vendor may keep its past in buckets, whose beginnings are not the moments it told live. A bucket in
    which one known moment lies is that moment; one without any is a moment of its own, once a newer one is
    known; one with several tells nothing of each.

    Moments up to the floor, where the consumer began or stopped, are known to it; they only serve as what
    later looks are compared with. Buckets there serve for nothing: what their moments were called is not
    known.

    Args:
        source: The device.
        floor: Where a consumer stopped; without it the first moment is the floor.
    """

    def __init__(self, source: SourceId, floor: datetime | None = None) -> None:
        self.newest = floor or EPOCH
        """The newest moment that is known."""
        self._source = source
        self._floor = floor
        self._moments: OrderedDict[str, datetime] = OrderedDict()
        self._revisions = Revisions()

    def note(self, id: str, time: datetime) -> None:  # noqa: A002  (the event's own word)
        """Take a moment for known."""
        self._moments[id] = time
        self._moments.move_to_end(id)
        if self._floor is None:
            self._floor = time
        self.newest = max(self.newest, time)

    def has(self, id: str) -> bool:  # noqa: A002
        """Tell whether a moment is known."""
        return id in self._moments

    def between(self, start: datetime, end: datetime) -> list[datetime]:
        """Return the times of the known moments between two others."""
        return [time for time in self._moments.values() if start < time < end]

    def forget(self, answer: int, since: datetime | None) -> None:
        """Forget the moments seen longest ago; what is forgotten lies below the floor from then on.

        Args:
            answer: As many are kept at least.
            since: What is younger is kept, up to a bound; None: nothing for its age.
        """
        least = max(_LEAST, answer)
        while len(self._moments) > least:
            name, time = next(iter(self._moments.items()))
            if since is not None and time >= since and len(self._moments) <= max(_MOST, answer):
                return
            del self._moments[name]
            if self._floor is None or time > self._floor:
                self._floor = time

    def sift(self, found: Iterable[PolledReading], settled: datetime) -> list[PolledReading]:
        """Return what is to be told, oldest first: moments that are new, and those that have changed.

        Args:
            found: What looking back has brought.
            settled: Moments after this may still change without having been changed.
        """
        fresh, placed = [], list(self._placed(found))
        for each, known in placed:
            revision: int | None = None if known else 0
            if each.time <= settled:
                revision = self._revisions.look(self._source, each.id, each.values, emitted=known)
            if revision is not None:
                fresh.append(evolve(each, backfilled=True, revision=revision))
                self.note(each.id, each.time)
        self._revisions.keep(self._source, max(len(placed), len(self._moments)))
        return fresh

    def recall(self, found: Iterable[PolledReading]) -> Iterator[PolledReading | MissingRange]:
        """Return what looking back has brought, oldest first and by the names it was told with."""
        told = self._told()
        for each in sorted(found, key=_moment):
            inside = _inside(each, told)
            if len(inside) > 1:
                yield MissingRange(inside[0][0], inside[-1][0], COARSE)
            elif inside or not each.bucket_s or self._over(each):
                yield _called(each, inside)

    def lacking(
        self, found: Iterable[PolledReading], start: datetime, end: datetime
    ) -> list[tuple[datetime, datetime]]:
        """Return the stretches whose moments are known and not in what looking back has brought."""
        names, buckets = set(), []
        for each in found:
            names.add(each.id)
            if each.bucket_s:
                buckets.append((_begin(each), _end(each)))
        buckets.sort()
        lacking: list[tuple[datetime, datetime]] = []
        whole = True
        for time, name in self._told():
            if start <= time <= end:
                at = bisect_right(buckets, (time, _END_OF_TIME)) - 1
                there = name in names or (at >= 0 and time < buckets[at][1])
                if not there:
                    lacking.append((time if whole else lacking.pop()[0], time))
                whole = there
        return lacking

    def _placed(self, found: Iterable[PolledReading]) -> Iterator[tuple[PolledReading, bool]]:
        """Give each its moment, and tell whether that is known."""
        told, floor = self._told(), self._floor
        for each in sorted(found, key=_moment):
            inside = _inside(each, told)
            below = floor is not None and each.time <= floor
            if not each.bucket_s:
                yield each, below or each.id in self._moments
            elif len(inside) == 1:
                yield _called(each, inside), True
            elif not inside and not below and self._over(each):
                yield each, False

    def _told(self) -> _Told:
        return sorted((time, name) for name, time in self._moments.items())

    def _over(self, bucket: PolledReading) -> bool:
        """Whether a newer moment is known: before that the bucket may be one that is told live."""
        return _end(bucket) <= self.newest

    def __len__(self) -> int:
        return len(self._moments)

    @printable
    def __repr__(self) -> str:
        return f"<Past of {self._source}: {len(self)} moments, {self._revisions!r}>"


def _inside(bucket: PolledReading, told: _Told) -> _Told:
    if not bucket.bucket_s:
        return ()
    # A tuple of a time alone sorts before any moment of that time.
    first, after = (bisect_left(told, (edge,)) for edge in (_begin(bucket), _end(bucket)))
    return told[first:after]


def _called(each: PolledReading, inside: _Told) -> PolledReading:
    if not inside:
        return each
    [(time, name)] = inside
    return evolve(each, time=time, id=name)


def _begin(bucket: PolledReading) -> datetime:
    return bucket.time - timedelta(seconds=bucket.bucket_at_s)


def _end(bucket: PolledReading) -> datetime:
    return _begin(bucket) + timedelta(seconds=bucket.bucket_s)


def _moment(observation: PolledReading) -> datetime:
    return observation.time

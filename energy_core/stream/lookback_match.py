"""What a poller is given."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from attrs import evolve, field, frozen

from energy_core.local_days import EPOCH
from energy_core.printable import printable, printable_class
from energy_core.stream.vocabulary import Quantity, SourceId


@printable_class
@frozen(kw_only=True)
class PolledReading:
    """One polled moment of one device."""

    source: SourceId
    """The device it is about; one poller may speak for many."""
    time: datetime
    """When the device or the server says it was, aware."""
    id: str
    """Stable across runs and free of values; an id that was emitted is not emitted again."""
    values: Mapping[Quantity, float]
    """In the units and signs of `Quantity`."""
    raw: Mapping[str, object] = field(repr=False)
    """The vendor's own mapping."""
    bucket_s: float = 0.0
    """Seconds that the values stand for, where a vendor keeps its past in buckets; 0: they are of `time`.
    A moment in the bucket that was told before lends it its time and its id."""
    bucket_at_s: float = 0.0
    """Seconds from the beginning of the bucket to `time`."""
    backfilled: bool = False
    """Whether it was fetched later."""
    revision: int = 0
    """Counts the vendor's changes; a poller finds that out by looking back."""


class Seen(NamedTuple):
    """When a site has logged, as of one answer."""

    newest: datetime | None
    """When the site has logged last; None where that is not known."""
    trouble: str = ""
    """Why there can be no data of it, such as a site that is not in the account's list."""


@frozen(kw_only=True)
class Polled:
    """An answer about several sites, some of which may have nothing new."""

    observations: list[PolledReading]
    sites: Mapping[SourceId, Seen] = field(factory=dict)
    """Every site that was asked for, by its `SourceId` of instance 0."""
    odd: Mapping[str, int] = field(factory=dict)
    """What was left out or decided because it is not as it should be, counted for the notes of the status."""


_MOST_REVISIONS: Final = 2048


class Revisions:
    """Compares what looking back finds with what looking back found before.

    Never with what was polled: a vendor rounds and resamples its past, and that is no change. So the first
    look at a moment that was emitted is what later looks are compared with.

    Args:
        most: Moments remembered a source; the one looked at longest ago is forgotten first.
    """

    def __init__(self, most: int = _MOST_REVISIONS) -> None:
        self._most = most
        self._seen: dict[SourceId, OrderedDict[str, tuple[int, int]]] = {}

    def look(
        self,
        source: SourceId,
        id: str,  # noqa: A002  (the event's own word)
        values: Mapping[Quantity, float],
        *,
        emitted: bool,
    ) -> int | None:
        """Return the revision to emit this moment with; None when there is nothing new about it.

        Args:
            source: The device.
            id: Names the moment.
            values: What the vendor says of it now.
            emitted: Whether the moment was emitted before, by a poll or by a look.
        """
        seen = self._seen.setdefault(source, OrderedDict())
        told = hash(repr(sorted(values.items())))  # of the text: -1.0 and -2.0 have one hash
        before = seen.pop(id, None)
        revision = before[1] if before is not None else 0
        changed = before is not None and before[0] != told
        seen[id] = told, revision + changed
        while len(seen) > self._most:
            seen.popitem(last=False)
        if changed:
            return revision + 1
        return None if emitted or before is not None else 0

    def keep(self, source: SourceId, most: int) -> None:
        """Forget a source's moments that were looked at longest ago, as far as there are more than `most`."""
        seen = self._seen.get(source, OrderedDict())
        while len(seen) > most:
            seen.popitem(last=False)

    def __len__(self) -> int:
        return sum(map(len, self._seen.values()))

    @printable
    def __repr__(self) -> str:
        return f"<Revisions of {len(self)} moments of {len(self._seen)} sources>"


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

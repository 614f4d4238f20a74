"""BucketMatcher: matches what a look-back returned to what was delivered, and finds revisions. No I/O."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from attrs import evolve

from energy_core.local_days import EPOCH
from energy_core.printable import printable
from energy_core.stream.polled import PolledReading, of_time
from energy_core.stream.vocabulary import Quantity, SourceId

_MAX_REVISIONS: Final = 2048

COARSE: Final = "coarse"
"""Reason of a gap: the vendor keeps one value for several readings of this range."""

_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)
_MIN_KNOWN: Final = 32
_MAX_KNOWN: Final = 2048

_Known: TypeAlias = Sequence[tuple[datetime, str]]
"""Times and ids of known readings, oldest first."""


class Revisions:
    """Find changed readings by comparing what look-backs return with what earlier look-backs returned.

    It never compares with polled values: a vendor rounds and resamples its past, which is not a change. So
    the first look-back that returns a reading sets the values that later ones are compared with.

    Args:
        most: Number of readings remembered for each source; the least recently returned are forgotten first.
    """

    def __init__(self, most: int = _MAX_REVISIONS) -> None:
        self._max_readings = most
        self._readings: dict[SourceId, OrderedDict[str, tuple[int, int]]] = {}  # id -> hash, revision

    def revision_of(
        self,
        source: SourceId,
        id: str,  # noqa: A002  (as in `Event`)
        values: Mapping[Quantity, float],
        *,
        emitted: bool,
    ) -> int | None:
        """Return the revision to deliver this reading with; None if there is nothing new about it.

        Args:
            source: The device.
            id: Id of the reading.
            values: What the vendor returns now.
            emitted: Whether the reading was delivered before, from a poll or a look-back.
        """
        readings = self._readings.setdefault(source, OrderedDict())
        digest = hash(repr(sorted(values.items())))  # of the text: -1.0 and -2.0 have the same hash
        before = readings.pop(id, None)
        revision = before[1] if before is not None else 0
        changed = before is not None and before[0] != digest
        readings[id] = digest, revision + changed
        while len(readings) > self._max_readings:
            readings.popitem(last=False)
        if changed:
            return revision + 1
        return None if emitted or before is not None else 0

    def prune(self, source: SourceId, most: int) -> None:
        """Forget the least recently returned readings of a source beyond `most`."""
        readings = self._readings.get(source, OrderedDict())
        while len(readings) > most:
            readings.popitem(last=False)

    def __len__(self) -> int:
        return sum(map(len, self._readings.values()))

    @printable
    def __repr__(self) -> str:
        return f"<Revisions of {len(self)} readings of {len(self._readings)} sources>"


class MissingRange(NamedTuple):
    """A range of time that cannot be delivered."""

    start: datetime
    end: datetime
    reason: str


class BucketMatcher:
    """The known readings of one device, and what look-backs returned for them.

    A vendor may keep its past in buckets, which do not start at the times of the live readings. A bucket that
    contains one known reading is that reading. A bucket without any is a new reading, once a newer one is
    known. A bucket with several cannot be assigned to one of them.

    Readings up to the floor, where the consumer started or stopped, count as known. They only set the values
    that later look-backs are compared with. Buckets there are ignored, because their readings' ids are
    unknown.

    Args:
        source: The device.
        floor: Where a consumer stopped; None: the first reading is the floor.
    """

    def __init__(self, source: SourceId, floor: datetime | None = None) -> None:
        self.newest = floor or EPOCH
        """Time of the newest known reading."""
        self._source = source
        self._floor = floor
        self._times: OrderedDict[str, datetime] = OrderedDict()
        self._revisions = Revisions()

    def add(self, id: str, time: datetime) -> None:  # noqa: A002  (as in `Event`)
        """Add a known reading."""
        self._times[id] = time
        self._times.move_to_end(id)
        if self._floor is None:
            self._floor = time
        self.newest = max(self.newest, time)

    def has(self, id: str) -> bool:  # noqa: A002
        """Return whether a reading is known."""
        return id in self._times

    @property
    def times(self) -> Iterable[datetime]:
        """The times of the known readings."""
        return self._times.values()

    def between(self, start: datetime, end: datetime) -> list[datetime]:
        """Return the times of the known readings between two times."""
        return [time for time in self._times.values() if start < time < end]

    def prune(self, answer: int, since: datetime | None) -> None:
        """Forget the least recently added readings; the floor rises above them.

        Args:
            answer: Keep at least this many.
            since: Keep readings after this time, up to a limit; None: age does not matter.
        """
        least = max(_MIN_KNOWN, answer)
        while len(self._times) > least:
            id, time = next(iter(self._times.items()))  # noqa: A001
            if since is not None and time >= since and len(self._times) <= max(_MAX_KNOWN, answer):
                return
            del self._times[id]
            if self._floor is None or time > self._floor:
                self._floor = time

    def match(self, found: Iterable[PolledReading], settled: datetime) -> list[PolledReading]:
        """Return the new and the changed readings of a look-back, oldest first.

        Args:
            found: What the look-back returned.
            settled: Values newer than this are still settling; differences there are not revisions.
        """
        news, matched = [], list(self._matched(found))
        for each, known in matched:
            revision: int | None = None if known else 0
            if each.time <= settled:
                revision = self._revisions.revision_of(self._source, each.id, each.values, emitted=known)
            if revision is not None:
                news.append(evolve(each, backfilled=True, revision=revision))
                self.add(each.id, each.time)
        self._revisions.prune(self._source, max(len(matched), len(self._times)))
        return news

    def with_known_ids(self, found: Iterable[PolledReading]) -> Iterator[PolledReading | MissingRange]:
        """Return the readings of a look-back, oldest first, with the ids they were delivered with."""
        known = self._sorted()
        for each in sorted(found, key=of_time):
            inside = _inside(each, known)
            if len(inside) > 1:
                yield MissingRange(inside[0][0], inside[-1][0], COARSE)
            elif inside or not each.bucket_s or self._is_over(each):
                yield _with_id(each, inside)

    def missing(
        self, found: Iterable[PolledReading], start: datetime, end: datetime
    ) -> list[tuple[datetime, datetime]]:
        """Return the ranges whose known readings are not in what a look-back returned."""
        ids, buckets = set(), []
        for each in found:
            ids.add(each.id)
            if each.bucket_s:
                buckets.append((_start(each), _end(each)))
        buckets.sort()
        missing: list[tuple[datetime, datetime]] = []
        previous_found = True
        for time, id in self._sorted():  # noqa: A001
            if start <= time <= end:
                at = bisect_right(buckets, (time, _END_OF_TIME)) - 1
                is_found = id in ids or (at >= 0 and time < buckets[at][1])
                if not is_found:
                    missing.append((time if previous_found else missing.pop()[0], time))
                previous_found = is_found
        return missing

    def _matched(self, found: Iterable[PolledReading]) -> Iterator[tuple[PolledReading, bool]]:
        """Yield each reading with its final time and id, and whether it is known."""
        sorted_known, floor = self._sorted(), self._floor
        for each in sorted(found, key=of_time):
            inside = _inside(each, sorted_known)
            below = floor is not None and each.time <= floor
            if not each.bucket_s:
                yield each, below or each.id in self._times
            elif len(inside) == 1:
                yield _with_id(each, inside), True
            elif not inside and not below and self._is_over(each):
                yield each, False

    def _sorted(self) -> _Known:
        return sorted((time, id) for id, time in self._times.items())  # noqa: A001

    def _is_over(self, bucket: PolledReading) -> bool:
        """Return whether a newer reading is known; until then, the bucket's reading may arrive live."""
        return _end(bucket) <= self.newest

    def __len__(self) -> int:
        return len(self._times)

    @printable
    def __repr__(self) -> str:
        return f"<BucketMatcher of {self._source}: {len(self)} readings, {self._revisions!r}>"


def others(start: int, end: int, taken: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the parts of a closed range of seconds that lie outside others."""
    for since, until in sorted(taken):
        if start < since and start <= end:
            yield start, min(since - 1, end)
        start = max(start, until + 1)
    if start <= end:
        yield start, end


def _inside(bucket: PolledReading, known: _Known) -> _Known:
    """Return the known readings within a bucket."""
    if not bucket.bucket_s:
        return ()
    # A tuple of a time alone sorts before any reading of that time.
    first, after = (bisect_left(known, (edge,)) for edge in (_start(bucket), _end(bucket)))
    return known[first:after]


def _with_id(each: PolledReading, inside: _Known) -> PolledReading:
    """Return a bucket with time and id of the only known reading within it, if there is one."""
    if not inside:
        return each
    [(time, id)] = inside  # noqa: A001
    return evolve(each, time=time, id=id)


def _start(bucket: PolledReading) -> datetime:
    return bucket.time - timedelta(seconds=bucket.bucket_at_s)


def _end(bucket: PolledReading) -> datetime:
    return _start(bucket) + timedelta(seconds=bucket.bucket_s)

"""Looking back for late data: when, and over which ranges. No I/O, no clock."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from attrs import Attribute, field, frozen, validators

from energy_core.clock import Clock
from energy_core.errors import NoData, RequestError
from energy_core.local_days import EPOCH
from energy_core.printable import printable, printable_class
from energy_core.stream.dedupe import NOT_RECORDED
from energy_core.stream.lookback_match import BucketMatcher, MissingRange, PolledReading
from energy_core.stream.source import StreamPosition
from energy_core.stream.vocabulary import SourceId

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


BEYOND_CAP: Final = "beyond_cap"
"""The reason of a gap that lies further back than is looked for."""
HELD_TOO_LONG: Final = "too much came before anyone looked back"
"""The reason of a gap for a hole that had to be given up."""


class Hole(NamedTuple):
    """Something may be missing between these two moments, which are both known."""

    start: datetime
    end: datetime


class Behind(NamedTuple):
    """A stretch that a look has not brought."""

    start: datetime
    end: datetime
    since: float
    """Monotonic time of that look."""
    tries: int
    """How often it was asked for again."""


MOST_BEHIND: Final = 8
"""So many stretches of one device are asked for again; any other is a gap at once."""

Tellable: TypeAlias = PolledReading | MissingRange


class DeviceBackfill:
    """Decides what is told of a device, and when, so that old comes before new.

    A moment that is new is `ready` at once, unless something may be missing before it: then there is a hole,
    and the moment is held, with all that follow, until a look has ended (`begin`, then `done`).

    Args:
        source: The device.
        looking: How it is looked back.
        stopped: Where its consumer stopped.
        due: Monotonic time of the first look that no hole asks for; None: there are no looks.
    """

    def __init__(
        self,
        source: SourceId,
        looking: LookbackConfig,
        stopped: StreamPosition | None = None,
        *,
        due: float | None = None,
    ) -> None:
        self.source = source
        self.due = due
        self.holes: list[Hole] = []
        self.ready: deque[Tellable] = deque()
        """What is to be told next, in this order."""
        self._looking = looking
        self._stopped = stopped.time if stopped else None
        self._past = BucketMatcher(source, self._stopped)
        self._rhythm = IntervalEstimator()
        self._held: list[PolledReading] = []
        self._behind: list[Behind] = []
        self._covered: list[Hole] = []
        self._began = EPOCH
        self._reach = EPOCH
        self._looked: datetime | None = self._stopped
        self._trouble = ""
        """Why the last look failed; empty: it did not."""
        self._rests_until = 0.0
        if stopped is not None:
            for name in stopped.ids:
                self._past.note(name, stopped.time)
            # What is older than the stop cannot be told from what was delivered.
            self.ready.extend(MissingRange(*stretch, NOT_RECORDED) for stretch in stopped.pending)

    @property
    def past(self) -> BucketMatcher:
        """What is known of it."""
        return self._past

    @property
    def pending(self) -> tuple[tuple[datetime, datetime], ...]:
        """The stretches that are asked for again."""
        return tuple((each.start, each.end) for each in self._behind)

    @property
    def again_at(self) -> float | None:
        """Monotonic time at which the next of them is due."""
        return min((self._due(each) for each in self._behind), default=None)

    def take(self, each: PolledReading, now: float) -> None:
        """Take a moment that was polled; one that is known changes nothing."""
        known = self._past.has(each.id) and not each.revision
        self._past.note(each.id, each.time)
        if known:
            return
        self._looked = self._looked or each.time
        since = self._missed(each.time)
        if since is not None:
            self.holes.append(Hole(since, each.time))
        if not self.holes:
            self.ready.append(each)
            return
        self._held.append(each)
        if now < self._rests_until:
            self.give_up(self._trouble)
        elif len(self._held) > self._looking.max_held:
            self.give_up(HELD_TOO_LONG)

    def is_ready(self, until: datetime | None = None) -> bool:
        """Tell whether something is to be told: anything, or something of no later than this."""
        return bool(self.ready) and (until is None or _place(self.ready[0])[0] <= until)

    def answered(self, count: int) -> None:
        """Note that the vendor has told all it tells in one answer, so many moments."""
        since = None
        if self.due is not None and self._looked is not None:
            since = self._looked - timedelta(seconds=self._looking.span_s)
        self._past.forget(count, since)

    def begin(self) -> list[tuple[datetime, datetime]]:
        """Begin a look; return the ranges to ask for, oldest first."""
        newest = self._past.newest
        looking = self._looking
        starts = [hole.start for hole in self.holes] + [each.start for each in self._behind]
        if self._trouble and self._looked is not None:  # what the looks that failed should have covered
            starts.append(self._looked - timedelta(seconds=looking.span_s - looking.interval_s))
        self._covered, self._began = list(self.holes), newest
        ranges = looking.ranges(newest, min(starts, default=None))
        self._reach = ranges[0][0]
        return ranges

    def done(self, found: Iterable[PolledReading], *, now: float) -> None:
        """End a look that succeeded; what it did not bring of the holes is asked for again."""
        mine = [each for each in found if each.source == self.source]
        fresh = self._sifted(mine)
        missing = [*self._beyond(self._reach), *self._ask_again(mine, now)]
        if self._trouble and self._looked is not None and self._reach > self._looked:
            missing.append(MissingRange(self._looked, self._reach, BEYOND_CAP))
        self._looked, self._trouble = self._began, ""
        self._release(fresh, missing)

    def failed(self, found: Iterable[PolledReading], *, since: datetime, trouble: str, now: float) -> None:
        """End a look that has told nothing from `since` on: holes there are gaps."""
        missing = self._beyond(self._reach)
        missing += [
            MissingRange(max(hole.start, since), hole.end, trouble)
            for hole in self.holes
            if hole in self._covered and hole.end > since
        ]
        self._trouble, self._rests_until = trouble, now + self._looking.cooldown_s
        mine = [each for each in found if each.source == self.source]
        fresh = self._sifted(mine)
        self._release(fresh, [*missing, *self._tried(mine, now, trouble)])

    def give_up(self, reason: str) -> None:
        """Say that what may be missing is, and go on; what a look finds later comes late."""
        self._covered = list(self.holes)
        self._release([], [MissingRange(*hole, reason) for hole in self.holes])

    def go_on(self) -> None:
        """Take it that nothing is missing, neither here nor since the stop."""
        self._covered, self._stopped = list(self.holes), None
        self._release([], [])

    def _missed(self, time: datetime) -> datetime | None:
        """Return since when something may be missing before a moment."""
        skipped = self._rhythm.skipped(time, unless_known=bool(self.holes))
        stopped = self._stopped
        if stopped is not None:
            if time <= stopped:
                return None
            self._stopped = None
            return stopped
        return skipped if self.due is not None else None

    def _beyond(self, reach: datetime) -> list[MissingRange]:
        """Return what of the holes lies further back than this look reaches."""
        return [
            MissingRange(hole.start, min(reach, hole.end), BEYOND_CAP)
            for hole in self.holes
            if hole in self._covered and hole.start < reach
        ]

    def _ask_again(self, mine: list[PolledReading], now: float) -> list[MissingRange]:
        """Note what of the holes this look has not brought; return what is given up."""
        missing = self._tried(mine, now, NOT_RECORDED)
        for hole in self.holes:
            if hole in self._covered and self._reach < hole.end:
                for start, end in self._uncovered(max(hole.start, self._reach), hole.end, mine):
                    if len(self._behind) < MOST_BEHIND and self._looking.again_s:
                        self._behind.append(Behind(start, end, now, 0))
                    else:
                        missing.append(MissingRange(start, end, NOT_RECORDED))
        return missing

    def _tried(self, mine: list[PolledReading], now: float, reason: str) -> list[MissingRange]:
        """Take out what a look has brought of the stretches behind; return those that are given up."""
        behind, missing = self._behind, []
        self._behind = []
        for each in behind:
            tries = each.tries + (now >= self._due(each))
            for start, end in self._uncovered(each.start, each.end, mine):
                if tries < len(self._looking.again_s):
                    self._behind.append(Behind(start, end, each.since, tries))
                else:
                    missing.append(MissingRange(start, end, reason))
        return missing

    def _uncovered(
        self, start: datetime, end: datetime, mine: list[PolledReading]
    ) -> list[tuple[datetime, datetime]]:
        """Return what of a stretch no moment and no bucket covers, as far as a device logs more often."""
        known = [(time, time) for time in self._past.between(start, end)]
        for each in mine:
            begins = each.time - timedelta(seconds=each.bucket_at_s)
            known.append((begins, begins + timedelta(seconds=each.bucket_s)))
        inside = sorted(stretch for stretch in known if stretch[1] > start and stretch[0] < end)
        usual = self._rhythm.usual
        if usual is None and inside:
            return []
        least, found, reach = timedelta(seconds=SKIPPED * (usual or 0.0)), [], start
        for begins, ends in (*inside, (end, end)):
            if begins - reach > least:
                found.append((reach, begins))
            reach = max(reach, ends)
        return found

    def _due(self, each: Behind) -> float:
        return each.since + self._looking.again_s[each.tries]

    def _sifted(self, mine: list[PolledReading]) -> list[PolledReading]:
        self._rhythm.presume(each.time for each in mine)
        return self._past.sift(mine, self._began - timedelta(seconds=self._looking.settle_s))

    def _release(self, found: list[PolledReading], missing: list[MissingRange]) -> None:
        """Close the holes that were covered and let go what lies before the next."""
        self.holes = [hole for hole in self.holes if hole not in self._covered]
        self._covered = []
        until = self.holes[0].start if self.holes else None
        readings = sorted([*found, *self._held], key=_moment)
        told = [each for each in readings if until is None or each.time <= until]
        self._held = readings[len(told) :]
        self.ready.extend(sorted([*missing, *told], key=_place))

    @printable
    def __repr__(self) -> str:
        return f"<Device {self.source}: {len(self.holes)} holes, {len(self._held)} held>"


def _moment(observation: PolledReading) -> datetime:
    return observation.time


def _place(each: Tellable) -> tuple[datetime, bool]:
    """A gap comes before the moment it ends with."""
    return (each.end, False) if isinstance(each, MissingRange) else (each.time, True)


LookBack: TypeAlias = Callable[[SourceId, datetime, datetime], Awaitable[Iterable[PolledReading]]]
"""Brings what the vendor says of a stretch of a device's past, at background priority."""

_SPREAD: Final = (5**0.5 - 1) / 2
"""Multiples of it modulo 1 lie evenly between 0 and 1, however many there are."""


class LookbackScheduler:
    """Knows the devices of a poller, and looks back at them in turn.

    Args:
        look_back: Asks the vendor; None: it cannot be asked.
        looking: When and how far.
        clock: Where time comes from.
    """

    def __init__(self, look_back: LookBack | None, looking: LookbackConfig, clock: Clock) -> None:
        self.devices: dict[SourceId, DeviceBackfill] = {}
        self._look_back = look_back
        self._looking = looking
        self._clock = clock

    @property
    def looks(self) -> bool:
        """Whether the vendor can be asked."""
        return self._look_back is not None

    @property
    def holes(self) -> bool:
        """Whether any device has a hole."""
        return any(device.holes for device in self.devices.values())

    def device(self, source: SourceId, stopped: StreamPosition | None = None) -> DeviceBackfill:
        """Return a device, met now if need be. The first looks are spread over the time between two."""
        device = self.devices.get(source)
        if device is None:
            wait_s = self._looking.interval_s * (1 - len(self.devices) * _SPREAD % 1)
            due = self._clock.monotonic() + wait_s if self.looks else None
            device = self.devices[source] = DeviceBackfill(source, self._looking, stopped, due=due)
        return device

    def next(self) -> DeviceBackfill | None:
        """Return the device to look at now: that with the oldest hole, else the one that is due."""
        broken = [device for device in self.devices.values() if device.holes]
        if broken:
            return min(broken, key=lambda device: device.holes[0].start)
        when, device = min(self._due(), default=(0.0, None), key=lambda each: each[0])
        return device if when <= self._clock.monotonic() else None

    def when(self) -> float | None:
        """Return the monotonic time at which the next look is due."""
        return min((when for when, _ in self._due()), default=None)

    async def look(self, device: DeviceBackfill) -> None:
        """Look at a device. A refusal costs it alone: what is about the whole account, the polls find out."""
        now = self._clock.monotonic()
        if device.due is not None and device.due <= now:
            device.due = max(device.due + self._looking.interval_s, now)
        found: list[PolledReading] = []
        ranges = device.begin()
        start = ranges[0][0]
        try:
            async with asyncio.timeout(self._looking.timeout_s):
                for start, end in ranges:
                    found += await self._ask(device.source, start, end)
        except (RequestError, TimeoutError) as error:
            trouble = str(error) or f"looking back took more than {self._looking.timeout_s:g} s"
            device.failed(found, since=start, trouble=trouble, now=self._clock.monotonic())
        else:
            device.done(found, now=self._clock.monotonic())

    async def recall(
        self, source: SourceId, start: datetime, end: datetime
    ) -> tuple[list[Tellable], list[tuple[datetime, datetime]]]:
        """Return what the vendor says of a stretch, oldest first, and what of it the vendor lacks as yet.

        Readings have the names that they were delivered with.
        """
        found: list[PolledReading] = []
        for since, until in self._looking.ranges(end, start):
            found += await self._ask(source, since, until)
        device = self.devices.get(source)
        past = device.past if device else BucketMatcher(source)
        mine = [each for each in found if each.source == source]
        return list(past.recall(mine)), past.lacking(mine, start, end)

    async def _ask(self, source: SourceId, start: datetime, end: datetime) -> Iterable[PolledReading]:
        if self._look_back is not None:
            with suppress(NoData):
                return await self._look_back(source, start, end)
        return ()

    def _due(self) -> Iterator[tuple[float, DeviceBackfill]]:
        for device in self.devices.values():
            for when in (device.due, device.again_at):
                if when is not None:
                    yield when, device

    @printable
    def __repr__(self) -> str:
        broken = sum(bool(device.holes) for device in self.devices.values())
        return f"<Looker at {len(self.devices)} devices, {broken} with holes>"

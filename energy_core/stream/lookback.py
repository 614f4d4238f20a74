"""Look-back for late data of polled devices: when to ask, for which ranges, and what to deliver."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from energy_core.clock import Clock
from energy_core.errors import NoData, RequestError
from energy_core.local_days import EPOCH
from energy_core.printable import printable
from energy_core.stream.dedupe import BEYOND_CAP, NOT_RECORDED
from energy_core.stream.lookback_match import BucketMatcher, MissingRange
from energy_core.stream.polled import SKIPPED, IntervalEstimator, LookbackConfig, PolledReading, of_time
from energy_core.stream.source import Outlet, StreamPosition
from energy_core.stream.vocabulary import SourceId

TOO_MANY_HELD: Final = "too many newer readings were held before the look-back"
"""Reason of a gap: it had to be given up to deliver the readings after it."""

MAX_RETRY_RANGES: Final = 8
"""Number of ranges of one device that are requested again; any other is reported as a gap at once."""

_SPREAD: Final = (5**0.5 - 1) / 2
"""Golden ratio: multiples of it modulo 1 are spread evenly between 0 and 1, for any number of devices."""


class OpenGap(NamedTuple):
    """A range between two known readings in which others may be missing."""

    start: datetime
    end: datetime


class RetryRange(NamedTuple):
    """A range that a look-back did not return."""

    start: datetime
    end: datetime
    since: float
    """Monotonic time of that look-back."""
    tries: int
    """Number of retries so far."""


ReadingOrGap: TypeAlias = PolledReading | MissingRange


class DeviceBackfill:
    """Decide what is delivered of one device, and when, so that readings are in time order. No I/O, no clock.

    A new reading is `ready` at once, unless others may be missing before it. Then there is an open gap, and
    this reading and the following ones are held until a look-back has ended (`begin`, then `done` or
    `failed`).

    Args:
        source: The device.
        config: When and how far to look back.
        stopped: Position where a consumer stopped.
        due: Monotonic time of the first scheduled look-back; None: there are none.
    """

    def __init__(
        self,
        source: SourceId,
        config: LookbackConfig,
        stopped: StreamPosition | None = None,
        *,
        due: float | None = None,
    ) -> None:
        self.source = source
        self.due = due
        """Monotonic time of the next scheduled look-back; None: there is none."""
        self.open_gaps: list[OpenGap] = []
        self.ready: deque[ReadingOrGap] = deque()
        """What can be delivered now, in this order."""
        self.matcher = BucketMatcher(source, stopped.time if stopped else None)
        """The known readings."""
        self._config = config
        self._stopped = stopped.time if stopped else None
        self._intervals = IntervalEstimator()
        self._held: list[PolledReading] = []
        self._retry_ranges: list[RetryRange] = []
        self._covered: list[OpenGap] = []  # open gaps that the current look-back covers
        self._newest_at_begin = EPOCH
        self._range_start = EPOCH  # of the current look-back
        # Newest reading at the last successful look-back.
        self._looked_back_to: datetime | None = self._stopped
        self._failure = ""  # why the last look-back failed; empty: it did not
        self._cooldown_until = 0.0
        if stopped is not None:
            for id in stopped.ids:  # noqa: A001
                self.matcher.add(id, stopped.time)
            # What is older than the stop cannot be distinguished from what was delivered.
            self.ready.extend(MissingRange(*each, NOT_RECORDED) for each in stopped.pending)

    @property
    def pending(self) -> tuple[tuple[datetime, datetime], ...]:
        """The ranges that will be requested again."""
        return tuple((each.start, each.end) for each in self._retry_ranges)

    @property
    def next_retry_at(self) -> float | None:
        """Monotonic time at which the next of them is due."""
        return min((self._retry_at(each) for each in self._retry_ranges), default=None)

    def add(self, each: PolledReading, now: float) -> None:
        """Take a polled reading; a known one changes nothing."""
        known = self.matcher.has(each.id) and not each.revision
        self.matcher.add(each.id, each.time)
        if known:
            return
        self._looked_back_to = self._looked_back_to or each.time
        since = self._missing_since(each.time)
        if since is not None:
            self.open_gaps.append(OpenGap(since, each.time))
        if not self.open_gaps:
            self.ready.append(each)
            return
        self._held.append(each)
        if now < self._cooldown_until:
            self.give_up(self._failure)
        elif len(self._held) > self._config.max_held:
            self.give_up(TOO_MANY_HELD)

    def has_ready(self, until: datetime | None = None) -> bool:
        """Return whether something can be delivered: anything, or something up to this time."""
        return bool(self.ready) and (until is None or _order(self.ready[0])[0] <= until)

    def end_poll(self, count: int) -> None:
        """Note that a poll is complete, and that it returned `count` readings of this device."""
        since = None
        if self.due is not None and self._looked_back_to is not None:
            since = self._looked_back_to - timedelta(seconds=self._config.span_s)
        self.matcher.prune(count, since)

    def begin(self) -> list[tuple[datetime, datetime]]:
        """Begin a look-back; return the ranges to request, oldest first."""
        newest, config = self.matcher.newest, self._config
        starts = [gap.start for gap in self.open_gaps] + [each.start for each in self._retry_ranges]
        if self._failure and self._looked_back_to is not None:
            # What the failed look-backs should have covered.
            starts.append(self._looked_back_to - timedelta(seconds=config.span_s - config.interval_s))
        self._covered, self._newest_at_begin = list(self.open_gaps), newest
        ranges = config.ranges(newest, min(starts, default=None))
        self._range_start = ranges[0][0]
        return ranges

    def done(self, found: Iterable[PolledReading], *, now: float) -> None:
        """End a successful look-back; what it did not return of the open gaps is requested again."""
        own = [each for each in found if each.source == self.source]
        news = self._match(own)
        missing = [*self._out_of_range(self._range_start), *self._schedule_retries(own, now)]
        if self._failure and self._looked_back_to is not None and self._range_start > self._looked_back_to:
            missing.append(MissingRange(self._looked_back_to, self._range_start, BEYOND_CAP))
        self._looked_back_to, self._failure = self._newest_at_begin, ""
        self._release(news, missing)

    def failed(self, found: Iterable[PolledReading], *, since: datetime, reason: str, now: float) -> None:
        """End a look-back that failed.

        Args:
            found: What it returned before it failed.
            since: Open gaps after this time are reported.
            reason: Reason of these gaps.
            now: Monotonic time.
        """
        missing = self._out_of_range(self._range_start)
        missing += [
            MissingRange(max(gap.start, since), gap.end, reason)
            for gap in self.open_gaps
            if gap in self._covered and gap.end > since
        ]
        self._failure, self._cooldown_until = reason, now + self._config.cooldown_s
        own = [each for each in found if each.source == self.source]
        news = self._match(own)
        self._release(news, [*missing, *self._update_retries(own, now, reason)])

    def give_up(self, reason: str) -> None:
        """Report the open gaps and go on; what a look-back finds there later is marked `late`."""
        self._covered = list(self.open_gaps)
        self._release([], [MissingRange(*gap, reason) for gap in self.open_gaps])

    def assume_complete(self) -> None:
        """Close the open gaps without a report: nothing is missing, neither there nor since the stop."""
        self._covered, self._stopped = list(self.open_gaps), None
        self._release([], [])

    def _missing_since(self, time: datetime) -> datetime | None:
        """Return since when readings may be missing before this time; None: nothing is missing."""
        skipped = self._intervals.skipped_since(time, if_unknown=bool(self.open_gaps))
        stopped = self._stopped
        if stopped is not None:
            if time <= stopped:
                return None
            self._stopped = None
            return stopped
        return skipped if self.due is not None else None

    def _out_of_range(self, start: datetime) -> list[MissingRange]:
        """Return the parts of the open gaps that are older than the current look-back."""
        return [
            MissingRange(gap.start, min(start, gap.end), BEYOND_CAP)
            for gap in self.open_gaps
            if gap in self._covered and gap.start < start
        ]

    def _schedule_retries(self, own: list[PolledReading], now: float) -> list[MissingRange]:
        """Schedule retries of what the look-back did not return; return what is given up."""
        missing = self._update_retries(own, now, NOT_RECORDED)
        for gap in self.open_gaps:
            if gap in self._covered and self._range_start < gap.end:
                for start, end in self._uncovered(max(gap.start, self._range_start), gap.end, own):
                    if len(self._retry_ranges) < MAX_RETRY_RANGES and self._config.retry_s:
                        self._retry_ranges.append(RetryRange(start, end, now, 0))
                    else:
                        missing.append(MissingRange(start, end, NOT_RECORDED))
        return missing

    def _update_retries(self, own: list[PolledReading], now: float, reason: str) -> list[MissingRange]:
        """Remove what the look-back returned from the retry ranges; return those that are given up."""
        ranges, missing = self._retry_ranges, []
        self._retry_ranges = []
        for each in ranges:
            tries = each.tries + (now >= self._retry_at(each))
            for start, end in self._uncovered(each.start, each.end, own):
                if tries < len(self._config.retry_s):
                    self._retry_ranges.append(RetryRange(start, end, each.since, tries))
                else:
                    missing.append(MissingRange(start, end, reason))
        return missing

    def _uncovered(
        self, start: datetime, end: datetime, own: list[PolledReading]
    ) -> list[tuple[datetime, datetime]]:
        """Return the parts of a range without a reading or bucket that are longer than a log slot."""
        known = [(time, time) for time in self.matcher.between(start, end)]
        for each in own:
            begins = each.time - timedelta(seconds=each.bucket_at_s)
            known.append((begins, begins + timedelta(seconds=each.bucket_s)))
        inside = sorted(each for each in known if each[1] > start and each[0] < end)
        usual = self._intervals.usual
        if usual is None and inside:
            return []
        least, found, covered_to = timedelta(seconds=SKIPPED * (usual or 0.0)), [], start
        for begins, ends in (*inside, (end, end)):
            if begins - covered_to > least:
                found.append((covered_to, begins))
            covered_to = max(covered_to, ends)
        return found

    def _retry_at(self, each: RetryRange) -> float:
        return each.since + self._config.retry_s[each.tries]

    def _match(self, own: list[PolledReading]) -> list[PolledReading]:
        self._intervals.learn_from_past(each.time for each in own)
        return self.matcher.match(own, self._newest_at_begin - timedelta(seconds=self._config.settle_s))

    def _release(self, found: list[PolledReading], missing: list[MissingRange]) -> None:
        """Close the covered gaps, and make everything before the next open gap ready."""
        self.open_gaps = [gap for gap in self.open_gaps if gap not in self._covered]
        self._covered = []
        until = self.open_gaps[0].start if self.open_gaps else None
        readings = sorted([*found, *self._held], key=of_time)
        released = [each for each in readings if until is None or each.time <= until]
        self._held = readings[len(released) :]
        self.ready.extend(sorted([*missing, *released], key=_order))

    @printable
    def __repr__(self) -> str:
        return f"<DeviceBackfill {self.source}: {len(self.open_gaps)} gaps, {len(self._held)} held>"


def _order(each: ReadingOrGap) -> tuple[datetime, bool]:
    """A gap comes before the reading at its end."""
    return (each.end, False) if isinstance(each, MissingRange) else (each.time, True)


def put(outlet: Outlet, source: SourceId, each: ReadingOrGap) -> None:
    """Hand a reading or a gap to an outlet."""
    if isinstance(each, MissingRange):
        outlet.gap(source, start=each.start, end=each.end, reason=each.reason)
        return
    outlet.reading(
        source,
        time=each.time,
        id=each.id,
        values=each.values,
        raw=each.raw,
        backfilled=each.backfilled,
        revision=each.revision,
    )


FetchRange: TypeAlias = Callable[[SourceId, datetime, datetime], Awaitable[Iterable[PolledReading]]]
"""Fetches the recorded readings of one device from a start to an end, at background priority."""


class LookbackScheduler:
    """Look back at the devices of a poller, one after the other.

    Args:
        fetch_range: Fetches recorded readings; None: the vendor has none.
        config: When and how far to look back.
        clock: Source of time.
    """

    def __init__(self, fetch_range: FetchRange | None, config: LookbackConfig, clock: Clock) -> None:
        self.devices: dict[SourceId, DeviceBackfill] = {}
        self._fetch_range = fetch_range
        self._config = config
        self._clock = clock

    @property
    def enabled(self) -> bool:
        """Whether recorded readings can be fetched."""
        return self._fetch_range is not None

    @property
    def has_gaps(self) -> bool:
        """Whether any device has an open gap."""
        return any(device.open_gaps for device in self.devices.values())

    def device(self, source: SourceId, stopped: StreamPosition | None = None) -> DeviceBackfill:
        """Return a device, added if need be. The first look-backs are spread over an interval."""
        device = self.devices.get(source)
        if device is None:
            wait_s = self._config.interval_s * (1 - len(self.devices) * _SPREAD % 1)
            due = self._clock.monotonic() + wait_s if self.enabled else None
            device = self.devices[source] = DeviceBackfill(source, self._config, stopped, due=due)
        return device

    def next_device(self) -> DeviceBackfill | None:
        """Return the device to look back at now: the one with the oldest gap, else one that is due."""
        with_gaps = [device for device in self.devices.values() if device.open_gaps]
        if with_gaps:
            return min(with_gaps, key=lambda device: device.open_gaps[0].start)
        due, device = min(self._due_times(), default=(0.0, None), key=lambda each: each[0])
        return device if due <= self._clock.monotonic() else None

    def next_due(self) -> float | None:
        """Return the monotonic time at which the next look-back is due."""
        return min((due for due, _ in self._due_times()), default=None)

    async def look_back(self, device: DeviceBackfill) -> None:
        """Look back at one device. A refusal concerns this device only; polls detect one of the account."""
        now = self._clock.monotonic()
        if device.due is not None and device.due <= now:
            device.due = max(device.due + self._config.interval_s, now)
        found: list[PolledReading] = []
        ranges = device.begin()
        start = ranges[0][0]
        try:
            async with asyncio.timeout(self._config.timeout_s):
                for start, end in ranges:
                    found += await self._fetch(device.source, start, end)
        except (RequestError, TimeoutError) as error:
            reason = str(error) or f"looking back took more than {self._config.timeout_s:g} s"
            device.failed(found, since=start, reason=reason, now=self._clock.monotonic())
        else:
            device.done(found, now=self._clock.monotonic())

    async def fetch(
        self, source: SourceId, start: datetime, end: datetime
    ) -> tuple[list[ReadingOrGap], list[tuple[datetime, datetime]]]:
        """Fetch a range of one device again, with the ids its readings were delivered with.

        Returns:
            Readings and gaps, oldest first, and the ranges that the vendor does not have yet.
        """
        found: list[PolledReading] = []
        for first, last in self._config.ranges(end, start):
            found += await self._fetch(source, first, last)
        device = self.devices.get(source)
        matcher = device.matcher if device else BucketMatcher(source)
        own = [each for each in found if each.source == source]
        return list(matcher.with_known_ids(own)), matcher.missing(own, start, end)

    async def _fetch(self, source: SourceId, start: datetime, end: datetime) -> Iterable[PolledReading]:
        if self._fetch_range is not None:
            with suppress(NoData):
                return await self._fetch_range(source, start, end)
        return ()

    def _due_times(self) -> Iterator[tuple[float, DeviceBackfill]]:
        for device in self.devices.values():
            for due in (device.due, device.next_retry_at):
                if due is not None:
                    yield due, device

    @printable
    def __repr__(self) -> str:
        with_gaps = sum(bool(device.open_gaps) for device in self.devices.values())
        return f"<LookbackScheduler of {len(self.devices)} devices, {with_gaps} with gaps>"

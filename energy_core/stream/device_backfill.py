"""What is delivered of one polled device, and in which order, when it has to be looked back at."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from energy_core.local_days import EPOCH, from_unix_second, unix_second
from energy_core.printable import printable
from energy_core.stream.dedupe import BEYOND_CAP, NOT_RECORDED
from energy_core.stream.gap_engine import (
    GapConfig,
    GapEngine,
    GapState,
    RangeRequest,
    ReportedRange,
    ResumePoint,
    TrackedGap,
)
from energy_core.stream.lookback_match import BucketMatcher, MissingRange, others
from energy_core.stream.polled import SKIPPED, IntervalEstimator, LookbackConfig, PolledReading
from energy_core.stream.source import StreamPosition, TimeSpan
from energy_core.stream.vocabulary import SourceId

TOO_MANY_HELD: Final = "too many newer readings were held before the look-back"
"""Reason of a gap: it had to be given up to deliver the readings after it."""

MAX_RETRY_RANGES: Final = 8
"""Number of ranges of one device that are requested again; with more, the oldest is reported as a gap."""

_AHEAD: Final = 1e11
"""Added to monotonic time for the engine, whose `now` must not be older than any reading."""

ReadingOrGap: TypeAlias = PolledReading | MissingRange


class DeviceBackfill:
    """Decide what is delivered of one device, and when, so that readings are in time order. No I/O, no clock.

    A new reading is `ready` at once, unless others may be missing before it. Then there is an open gap, and
    this reading and the following ones are held until a look-back has ended (`begin`, then `done` or
    `failed`). A `GapEngine` holds, orders, retries and reports; this class opens its gaps and passes on
    what a look-back returned and proved.

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
        self.ready: deque[ReadingOrGap] = deque()
        """What can be delivered now, in this order."""
        self.matcher = BucketMatcher(source, stopped.time if stopped else None)
        """The known readings."""
        self._config = config
        self._stopped = stopped.time if stopped else None
        self._intervals = IntervalEstimator()
        limits = GapConfig(
            hold=config.max_held + 1,  # a full hold is reported here before the engine sees it
            settle_s=0,
            chunk_s=sys.maxsize,
            ordered=False,
            max_gap_s=int(config.max_age_s),
            max_pending=MAX_RETRY_RANGES,
            retries_s=config.retry_s,
        )
        point = None if stopped is None else ResumePoint(unix_second(stopped.time), (), 0, -1)
        self._engine: GapEngine[PolledReading] = GapEngine(limits, point)
        self._count = 0  # of the readings that were handed to it
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
    def open_gaps(self) -> list[TimeSpan]:
        """The ranges that a look-back must fill before newer readings are delivered."""
        return [self._span(gap.start, gap.end) for gap in self._engine.gaps if not _is_pending(gap)]

    @property
    def pending(self) -> tuple[TimeSpan, ...]:
        """The ranges that will be requested again."""
        return tuple(self._span(gap.start, gap.end) for gap in self._engine.gaps if _is_pending(gap))

    @property
    def next_retry_at(self) -> float | None:
        """Monotonic time at which the next of them is due."""
        return min((gap.due - _AHEAD for gap in self._engine.gaps if _is_pending(gap)), default=None)

    def add(self, each: PolledReading, now: float) -> None:
        """Take a polled reading; a known one changes nothing."""
        known = self.matcher.has(each.id) and not each.revision
        self.matcher.add(each.id, each.time)
        if known:
            return
        self._looked_back_to = self._looked_back_to or each.time
        engine, at = self._engine, unix_second(each.time)
        if self._is_missing_before(each.time):
            engine.lost(now + _AHEAD)
        elif engine.passes((at,), self._new_unit(), now + _AHEAD):
            self.ready.append(each)
            return
        engine.live(at, self._new_unit(), each, now + _AHEAD)
        if engine.held and now < self._cooldown_until:
            self.give_up(self._failure)
        elif len(engine.held) > self._config.max_held:
            self.give_up(TOO_MANY_HELD)
        self._release()

    def has_ready(self, until: datetime | None = None) -> bool:
        """Return whether something can be delivered: anything, or something up to this time."""
        if not self.ready or until is None:
            return bool(self.ready)
        each = self.ready[0]
        return (each.end if isinstance(each, MissingRange) else each.time) <= until

    def end_poll(self, count: int) -> None:
        """Note that a poll is complete, and that it returned `count` readings of this device."""
        since = None
        if self.due is not None and self._looked_back_to is not None:
            since = self._looked_back_to - timedelta(seconds=self._config.span_s)
        self.matcher.prune(count, since)

    def begin(self) -> list[TimeSpan]:
        """Begin a look-back; return the ranges to request, oldest first."""
        newest, config = self.matcher.newest, self._config
        starts = [from_unix_second(gap.start) for gap in self._engine.gaps]
        if self._failure and self._looked_back_to is not None:
            # What the failed look-backs should have covered.
            starts.append(self._looked_back_to - timedelta(seconds=config.span_s - config.interval_s))
        self._newest_at_begin = newest
        ranges = config.ranges(newest, min(starts, default=None))
        self._range_start = ranges[0][0]
        return ranges

    def done(self, found: Iterable[PolledReading], *, now: float) -> None:
        """End a successful look-back; what it did not return of the open gaps is requested again."""
        if self._failure and self._looked_back_to is not None and self._range_start > self._looked_back_to:
            self.ready.append(MissingRange(self._looked_back_to, self._range_start, BEYOND_CAP))
        self._looked_back_to, self._failure = self._newest_at_begin, ""
        self._take(found, now)

    def failed(self, found: Iterable[PolledReading], *, since: datetime, reason: str, now: float) -> None:
        """End a look-back that failed.

        Args:
            found: What it returned before it failed.
            since: Open gaps after this time are reported.
            reason: Reason of these gaps.
            now: Monotonic time.
        """
        self._failure, self._cooldown_until = reason, now + self._config.cooldown_s
        self._take(found, now, failed_at=unix_second(since))

    def give_up(self, reason: str) -> None:
        """Report the open gaps and go on; what a look-back finds there later is marked `late`."""
        self._engine.end(reason, pending=False)
        self._release()

    def assume_complete(self) -> None:
        """Close the open gaps without a report: nothing is missing, neither there nor since the stop."""
        self._stopped = None
        while (request := self._engine.next_request(_AHEAD)) is not None:
            self._engine.proven(*request)
            self._engine.answered(_AHEAD)
        self._release()

    def _is_missing_before(self, time: datetime) -> bool:
        """Return whether readings may be missing before this time."""
        waits = not self._engine.calm and bool(self.open_gaps)
        skipped = self._intervals.skipped_since(time, if_unknown=waits)
        stopped = self._stopped
        if stopped is not None:
            self._stopped = None if time > stopped else stopped
            return time > stopped
        return skipped is not None and self.due is not None

    def _take(self, found: Iterable[PolledReading], now: float, *, failed_at: int | None = None) -> None:
        """Answer the engine's requests with what a look-back returned, and deliver late what is left."""
        own = [each for each in found if each.source == self.source]
        self._intervals.learn_from_past(each.time for each in own)
        newest = self._newest_at_begin
        first = max(self._range_start, self._config.oldest(newest))
        own = [each for each in own if first <= each.time <= newest]  # newer readings come with a poll
        news = self.matcher.match(own, newest - timedelta(seconds=self._config.settle_s))
        engine, now, last = self._engine, now + _AHEAD, unix_second(newest)
        while True:
            opened = next((gap for gap in engine.gaps if not _is_pending(gap)), None)
            if opened is not None and opened.start >= last:  # since the look-back began
                break
            request = engine.next_request(now)
            if request is None:
                break
            news = self._answer(request, news, own, failed_at)
            error = None if failed_at is None else self._failure
            engine.answered(now, error, final=error is not None and opened is not None)
        self._answer(engine.look_back(unix_second(first), last, now), news, own, failed_at)
        engine.answered(now)
        self._release()

    def _answer(
        self,
        request: RangeRequest,
        news: list[PolledReading],
        own: list[PolledReading],
        failed_at: int | None,
    ) -> list[PolledReading]:
        """Hand the engine the new readings in a range and what is proven there; return the others."""
        start, end = request
        inside = {unix_second(each.time): each for each in news if start <= unix_second(each.time) <= end}
        unproven = [(each, each) for each in inside]
        if failed_at is None or failed_at > end:
            failed_at = end + 1
        unproven += [*self._uncovered(start, failed_at - 1, own), (max(start, failed_at), end)]
        for proven in others(start, end, unproven):
            self._engine.proven(*proven)
        outside = []
        for each in news:  # oldest first
            if start <= unix_second(each.time) <= end:
                self._engine.row(unix_second(each.time), self._new_unit(), each)
            else:
                outside.append(each)
        return outside

    def _uncovered(self, start: int, end: int, own: list[PolledReading]) -> list[tuple[int, int]]:
        """Return the parts of a range in which more than a log slot passes between readings or buckets."""
        since, until = from_unix_second(start), from_unix_second(end + 1)
        known = [(time, time) for time in self.matcher.times]
        for each in own:
            begins = each.time - timedelta(seconds=each.bucket_at_s)
            known.append((begins, begins + timedelta(seconds=each.bucket_s)))
        inside = sorted(each for each in known if each[1] > since and each[0] < until)
        usual = self._intervals.usual
        if usual is None and inside:
            return []
        # The range may begin or end within a slot, where another look-back failed.
        first = max((ends for _, ends in known if ends <= since), default=since)
        last = min((begins for begins, _ in known if begins >= until), default=until)
        least, found, covered_to = timedelta(seconds=SKIPPED * (usual or 0.0)), [], first
        for begins, ends in (*inside, (last, last)):
            if begins - covered_to > least:
                missing_to = unix_second(begins - timedelta(microseconds=1))
                found.append((max(start, unix_second(covered_to)), min(end, missing_to)))
            covered_to = max(covered_to, ends)
        return found

    def _new_unit(self) -> int:
        """Return another unit than those of the last readings: the matcher has left out known ones."""
        self._count += 1
        return 1 << self._count % 1024

    def _span(self, start: int, end: int | None) -> TimeSpan:
        """Return the range between known readings in or beside two seconds."""
        end = start if end is None else end
        first = next((each for each in (start, start - 1) if self._knows(each)), start)
        return from_unix_second(first), from_unix_second(end if self._knows(end) else end + 1)

    def _knows(self, second: int) -> bool:
        time = from_unix_second(second)
        return bool(self.matcher.between(time - timedelta(microseconds=1), time + timedelta(seconds=1)))

    def _release(self) -> None:
        while (each := self._engine.pop()) is not None:
            if isinstance(each, ReportedRange):
                self.ready.append(MissingRange(*self._span(each.start, each.end), each.reason))
            else:
                self.ready.append(each.item)

    @printable
    def __repr__(self) -> str:
        held = len(self._engine.held)
        return f"<DeviceBackfill {self.source}: {len(self.open_gaps)} gaps, {held} held>"


def _is_pending(gap: TrackedGap) -> bool:
    return gap.state is GapState.PENDING

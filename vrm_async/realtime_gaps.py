"""What was delivered of a site in real time, and the filling of its gaps from graphs. No I/O, no clock.

A live reading stands for its second. A bucket of a graph stands for all its seconds: it is delivered if one
of them is missing, once, dated at the later of its start and the start of the gap. Times are Unix seconds.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from energy_core.printable import printable
from energy_core.stream.gap_engine import GapConfig, GapEngine, GapState, RangeRequest, ReportedRange
from energy_core.stream.polled import PolledReading
from energy_core.stream.source import CompleteRange, Reading, TimeSpan
from energy_core.stream.vocabulary import SourceId

MAX_SPANS: Final = 64
"""Stretches of covered time that are remembered; with more, the oldest is forgotten."""
MAX_KNOWN: Final = 256
"""Polled readings and buckets that are remembered."""
BUCKET_S: Final = 60
"""Seconds of a bucket at least: before it is over, no graph has it."""

_ENDLESS: Final = 1 << 40
_LIVE: Final = 1
_POLLED: Final = 2
_BUCKET: Final = 4
_LIMITS: Final = GapConfig(hold=256, settle_s=0, ordered=False)


class Dated(NamedTuple):
    """A reading to deliver."""

    source: SourceId
    reading: Reading


class SiteTimeline:
    """Decides what is delivered of one site, and in which order.

    Take `ready` after each call.
    """

    __slots__ = ("_engine", "_filled", "_known", "_last", "_polled", "_sessions", "_spans", "ready")

    def __init__(self) -> None:
        self.ready: deque[Dated | ReportedRange] = deque()
        """What can be delivered now, in this order."""
        self._engine: GapEngine[Dated] = GapEngine(_LIMITS)
        self._spans: deque[list[int]] = deque(maxlen=MAX_SPANS)
        self._sessions: deque[list[int]] = deque(maxlen=MAX_SPANS)  # whose gaps are reported here
        self._last: int | None = None  # the last second of a polled reading
        self._filled: deque[tuple[int, int]] = deque(maxlen=MAX_KNOWN)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._polled: deque[int] = deque(maxlen=MAX_KNOWN)

    # --- what arrives --------------------------------------------------------------------------------------

    def live(self, each: Dated, second: int, now: float) -> None:
        """Take a reading that has just arrived."""
        self._cover(second)
        self._take(each, second, _LIVE, now)

    def begin(self, now: float) -> None:
        """Note that real time begins: what was missed since the last poll is fetched or reported here."""
        if not self._sessions or self._sessions[-1][1] < _ENDLESS:
            self._sessions.append([int(now) if self._last is None else self._last, _ENDLESS])
        self.lost(now)

    def began_before(self, second: int) -> bool:
        """Return whether real time began at a second or before it; older readings of polls may be held."""
        return bool(self._sessions) and self._sessions[-1][0] <= second

    def unhandled(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a range whose gaps are for polling to report: there was no real time."""
        for first, last in sorted(self._sessions):
            if first < end and last > start:
                if first > start:
                    yield start, first
                start = max(start, last)
        if start < end:
            yield start, end

    def alive(self, second: int, now: float) -> None:
        """Note that the site lives, although no value has changed."""
        self._cover(second)
        self._engine.passes((second,), 0, now)

    def polled(self, each: Dated, second: int, now: float) -> None:
        """Take a reading of a poll, while there is no real time."""
        self._polled.append(second)
        if not each.reading.backfilled:
            self._last = second
            if self._sessions and self._sessions[-1][1] == _ENDLESS and second > self._sessions[-1][0]:
                self._sessions[-1][1] = second
        if each.reading.backfilled:
            self._remember(each.reading.id)
            self.ready.append(each)
        else:
            self._take(each, second, _POLLED, now)

    def lost(self, now: float) -> None:
        """Note that messages may have been missed since the last one."""
        self._engine.lost(now)
        if self._spans and self._spans[-1][0] >= 0:
            self._spans.append([-1, -1])  # the next one begins a new span

    def covers(self, second: int) -> bool:
        """Return whether a second was delivered in real time or by a bucket."""
        return any(start <= second <= end for start, end in (*self._spans, *self._filled))

    def end(self, reason: str) -> None:
        """Report what is missing, because the source ends."""
        self._engine.end(reason)
        self._release()

    def _take(self, each: Dated, second: int, unit: int, now: float) -> None:
        if self._engine.passes((second,), unit, now):
            self.ready.append(each)
            return
        self._engine.live(second, unit, each, max(now, float(second)))
        self._release()

    def _cover(self, second: int) -> None:
        if self._spans and self._spans[-1][0] >= 0:
            self._spans[-1][1] = max(self._spans[-1][1], second)
        else:
            if self._spans:
                self._spans.pop()
            self._spans.append([second, second])

    # --- the record ----------------------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When `request` may have something to ask for."""
        return self._engine.due()

    @property
    def filling(self) -> bool:
        """Whether readings are held until the record has answered."""
        return any(gap.state is GapState.HOLDING for gap in self._engine.gaps)

    @property
    def pending(self) -> tuple[TimeSpan, ...]:
        """The ranges that will be asked for again."""
        return tuple(
            (moment(gap.start), moment((gap.end or gap.start) + 1))
            for gap in self._engine.gaps
            if gap.state is GapState.PENDING
        )

    def request(self, now: float) -> RangeRequest | None:
        """Return the range to ask the record for; `answer` or `failed` must follow."""
        while (request := self._engine.next_request(now)) is not None:
            opened = any(
                gap.state is GapState.OPEN and gap.covers(request.start) for gap in self._engine.gaps
            )
            # Polling ends an open gap for all sites in one request; a bucket that is not over is in no graph.
            if not opened and request.start // BUCKET_S < int(now) // BUCKET_S:
                return request
            self._engine.answered(now)
        self._release()
        return None

    def answer(self, request: RangeRequest, found: Iterable[PolledReading], now: float) -> None:
        """Take the buckets of a graph; what they do not cover is asked for again."""
        for each in sorted(found, key=lambda bucket: bucket.time):
            start = int(each.time.timestamp() - each.bucket_at_s)
            end = start + max(int(each.bucket_s), 1) - 1
            first, last = max(start, request.start), min(end, request.end)
            if first > last or end >= now:
                continue
            if not self._is_known(each.id, start, end):
                self._remember(each.id)
                self._engine.row(first, _BUCKET, _dated(each, first))
            self._engine.proven(first, last)
            self._filled.append((start, end))
        self._engine.answered(now)
        self._release()

    def history(
        self, found: Iterable[PolledReading], first: int, last: int, now: float
    ) -> Iterator[Reading | CompleteRange]:
        """Yield the buckets of a graph for a slow consumer, each with the seconds that it stands for.

        Args:
            found: The buckets.
            first: Start of what the consumer lacks.
            last: Its end, included.
            now: The present time: a bucket that is not over proves nothing.
        """
        for each in sorted(found, key=lambda bucket: bucket.time):
            start = int(each.time.timestamp() - each.bucket_at_s)
            end = start + max(int(each.bucket_s), 1) - 1
            since, until = max(start, first), min(end, last)
            if since > until or end >= now:
                continue
            second = int(each.time.timestamp())
            logged = second in self._polled and first <= second <= last
            yield Reading(moment(second if logged else since), each.id, each.values, each.raw)
            yield CompleteRange(moment(since), moment(until))

    def failed(self, reason: str, now: float, *, final: bool) -> None:
        """Note that the record could not be read; `final`: no repeat can change that."""
        self._engine.answered(now, reason, final=final)
        self._release()

    def _is_known(self, id: str, start: int, end: int) -> bool:  # noqa: A002  (as in `Event`)
        return id in self._known or any(start <= second <= end for second in self._polled)

    def _remember(self, id: str) -> None:  # noqa: A002
        self._known[id] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _release(self) -> None:
        while (each := self._engine.pop()) is not None:
            self.ready.append(each if isinstance(each, ReportedRange) else each.item)

    @printable
    def __repr__(self) -> str:
        gaps, held = len(self._engine.gaps), len(self._engine.held)
        return f"<SiteTimeline: {gaps} gaps, {held} held>"


def _dated(bucket: PolledReading, second: int) -> Dated:
    return Dated(
        bucket.source,
        Reading(moment(second), bucket.id, bucket.values, bucket.raw, backfilled=True),
    )


def moment(second: int) -> datetime:
    """Return a Unix second as an aware time."""
    return datetime.fromtimestamp(second, UTC)

"""Fills the gaps of one source: what is held, fetched, delivered and reported. No I/O, no clock.

A gap is a closed range of whole seconds in which readings may be missing. Its end seconds may have been
delivered in part. Every second outside all gaps is settled: delivered or reported. Times are unix seconds.
Units are bit masks: the quantities of a reading, or one bit for each event of a second. `now` is the
vendor's clock, never behind it. The engine is calm while it has no gap, no held event, no request and no
event dated ahead.

States of a gap:

    OPEN     its end is unknown; the next live event sets it
    HOLDING  its first attempt is not over: live events behind it are held, at most `hold`
    WAITING  a subscriber's buffer is full: nothing is fetched, refused events extend the gap
    PENDING  its first attempt is over: live events are delivered, and rows arrive late

Transitions:

    -        connection lost, silence, resume      OPEN from the position
    -        no room, nothing is held              WAITING from the position to the refused event
    OPEN     live event at or after its start      HOLDING, due after `settle_s`; refused: WAITING
    OPEN     answer                                OPEN; asked again after 60 s, or at once if the answer had
                                                   progress and ends more than 60 s ago
    WAITING  relief                                HOLDING, due now
    HOLDING  answer with progress                  HOLDING behind the last row, due now
    HOLDING  seconds that the answer left behind   PENDING, first retry after 60 s
    HOLDING  no progress (an error: all of it)     PENDING, first retry after 60 s
    HOLDING  more than `hold` held events          PENDING, held events delivered; of a subscriber: extended
                                                   over the held events, which are discarded
    PENDING  answer with progress                  PENDING behind the last row, due now
    PENDING  no progress                           retries 1, 5 and 15 minutes after the first attempt, then
                                                   reported as `not_recorded`
    PENDING  more than 4 pending gaps              the oldest is reported as `too_many_gaps`
    any      longer than a day                     the older part is reported as `beyond_cap`
    any      proven                                removed
    closed   refusal that no repeat can change     reported

What proves that nothing is missing: a row of an ordered record proves the seconds since the row before it
in the same answer, the first row those since the start of the request. It proves its own second only if a
row of a later second follows, or the answer ends without an error. An unreadable row, or one whose date
does not fit the order, breaks the proof: the seconds between its neighbours stay missing. A row of an
unordered record proves its own second; what else it proves, the caller states with `proven`. The end of an
answer, an empty answer and live events prove nothing.

Known limits: a row that the record leaves out between two others, a wrong date that fits the order, a unit
that never arrived before its loss, and a live event that is older than the one before it and not consumed
at a kill cannot be noticed. More than 64 rows in a row with wrong dates leave the seconds before them
settled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Final, Generic, NamedTuple, TypeVar

from attrs import define, evolve, field, frozen

__all__ = [
    "Delivery",
    "GapConfig",
    "GapEngine",
    "GapState",
    "RangeRequest",
    "ReportedRange",
    "ResumePoint",
    "TrackedGap",
]

ItemT = TypeVar("ItemT")

RETRIES_S: Final = (60.0, 300.0, 900.0)
"""Seconds from the first attempt to each further one."""
OPEN_RETRY_S: Final = 60.0
"""Seconds between requests while no live event has come."""
MAX_NOTES: Final = 512
"""Seconds whose delivered units are remembered; with more, the oldest pending gap is reported."""
MAX_LACKING: Final = 8
"""Ranges of `not_exported` that wait for the end of their answer."""
ROWS_KEPT: Final = 64
"""Rows of an answer that can be judged again when later rows show that their dates are wrong."""


class GapState(Enum):
    """States of a gap; the module's docstring has the transitions."""

    OPEN = "open"
    HOLDING = "holding"
    WAITING = "waiting"
    PENDING = "pending"


@frozen(kw_only=True)
class GapConfig:
    """Limits of an engine; shared by all engines of one kind."""

    hold: int = 256
    """The most held events."""
    discards: bool = False
    """Whether a full hold gives held events back to the gap (a subscriber) or delivers them (a source)."""
    settle_s: float = 1.0
    """Seconds after which a second of the record may be asked for: 1 s plus the uncertainty of `now`."""
    chunk_s: int = 3600
    """The longest request, in seconds."""
    ordered: bool = True
    """Whether a row proves what lies before it."""
    max_gap_s: int = 86_400
    """The longest gap, in seconds."""
    max_pending: int = 4
    """The most pending gaps."""
    retries_s: Sequence[float] = RETRIES_S
    """Seconds from the first attempt at a gap to each further one."""


@define(eq=False)
class TrackedGap:
    """A closed range of seconds in which readings may be missing."""

    start: int
    end: int | None
    """None while it is open."""
    state: GapState
    number: int
    """Counts the gaps of an engine; held events wait for the gaps up to theirs."""
    due: float
    first: float | None = None
    """Time of the first attempt."""
    tries: int = 0
    """Attempts without progress."""

    def covers(self, second: int) -> bool:
        """Return whether a second lies in the gap."""
        return self.start <= second and (self.end is None or second <= self.end)

    def overlaps(self, start: int, end: int) -> bool:
        """Return whether the gap and a closed range have a second in common."""
        return self.start <= end and (self.end is None or start <= self.end)


class RangeRequest(NamedTuple):
    """Ask the record for this closed range of seconds."""

    start: int
    end: int


class ResumePoint(NamedTuple):
    """The state of the engine behind one delivered item: what a checkpoint stores."""

    second: int
    """Everything before it is delivered, reported, or in one of `gaps`."""
    units: tuple[tuple[int, int], ...]
    """Delivered units of seconds from `second` on, and of seconds in `gaps`."""
    seen: int
    """All units delivered so far."""
    newest: int
    """The newest delivered second."""
    gaps: tuple[tuple[int, int, int, float | None], ...] = ()
    """Pending gaps that begin before `second`: start, end, tries, and the time of the first attempt."""
    lacking: tuple[tuple[int, int, int], ...] = ()
    """Start, end and units of ranges whose record lacks these units, not reported yet."""


class Delivery(NamedTuple, Generic[ItemT]):
    """Deliver an item."""

    item: ItemT
    backfilled: bool
    late: bool
    """Whether it is older than an item delivered before."""
    units: int
    """The units of the item that are new."""
    position: ResumePoint


class ReportedRange(NamedTuple):
    """Report a closed range of seconds."""

    start: int
    end: int
    reason: str
    units: int
    """The missing units; 0 for all."""
    position: ResumePoint


class _Held(NamedTuple, Generic[ItemT]):
    second: int
    units: int
    item: ItemT
    number: int


class _Row(NamedTuple, Generic[ItemT]):
    second: int
    units: int
    item: ItemT
    torn: bool
    """Whether a row directly before it could not be used."""


@define(eq=False)
class _Answer(Generic[ItemT]):
    """The answer to a request, as far as it was read."""

    request: RangeRequest
    origin: TrackedGap | None
    """A copy of the gap that is asked for; None for a look-back."""
    asked: float
    number: int
    """Gaps with a higher number were opened after the request: the answer proves nothing of them."""
    missing: int
    """Missing seconds of the request when it was sent."""
    frontier: int
    """Seconds before it are proven or left behind."""
    limit: int
    """The last second that the answer can prove."""
    floor: int
    """Seconds before it were reported since."""
    kept: _Row[ItemT] | None = None
    """The last row; delivered when the next one shows that its date fits the order."""
    broken: bool = False
    """Whether a row since the kept one could not be used."""
    passed: bool = False
    """Whether the last row was later than the request."""
    rows: deque[int] = field(factory=lambda: deque(maxlen=ROWS_KEPT))
    """Seconds of the last rows that were delivered or known."""
    forgotten: deque[tuple[int, int]] = field(factory=lambda: deque(maxlen=2 * ROWS_KEPT))
    """Seconds and delivered units without a note, because the answer has settled them."""
    fresh: bool = False
    """Whether a row brought something new."""
    exported: int | None = None
    """The units that the record can have; None for all."""

    @property
    def origin_number(self) -> int:
        """The number of the gap that is asked for; 0 for a look-back."""
        return 0 if self.origin is None else self.origin.number


class GapEngine(Generic[ItemT]):
    """Holds, fetches, orders, retries and reports for one source or one slow subscriber.

    The caller takes `pop` until it is None after each other call; a subscriber while its buffer has room.
    The engine is small while nothing is missing: the rest is created with a gap and dropped when calm.

    Args:
        config: The limits.
        point: Behind which item a subscriber's engine begins, with nothing missing; None for a new source.
    """

    __slots__ = ("_config", "_filling", "_ignored", "_newest", "_position", "_seen", "_units")

    def __init__(self, config: GapConfig | None = None, point: ResumePoint | None = None) -> None:
        self._config = config or GapConfig()
        self._position = None if point is None else point.second
        self._units = 0 if point is None else dict(point.units).get(point.second, 0)
        self._newest = -1 if point is None else point.newest
        self._seen = 0 if point is None else point.seen
        self._ignored = 0
        self._filling: _Filling[ItemT] | None = None

    @property
    def calm(self) -> bool:
        """Whether nothing is missing, held, requested or waiting to be delivered."""
        return self._filling is None

    @property
    def gaps(self) -> Sequence[TrackedGap]:
        """The gaps, oldest first."""
        return () if self._filling is None else tuple(self._filling.gaps)

    @property
    def held(self) -> Sequence[ItemT]:
        """The held events, in order."""
        return () if self._filling is None else tuple(each.item for each in self._filling.held)

    @property
    def lacking(self) -> Sequence[tuple[int, int, int]]:
        """Start, end and units of ranges whose record lacks these units, not reported yet."""
        return () if self._filling is None else tuple(self._filling.lacking)

    @property
    def ignored(self) -> int:
        """Rows outside their request, or with a date that does not fit the order of the answer."""
        return self._ignored + (0 if self._filling is None else self._filling.ignored)

    def passes(self, seconds: Iterable[int], units: int, now: float) -> bool:
        """Note live events of these seconds, each with `units`, if all can be delivered at once.

        Returns:
            False, with nothing noted, if they must go through `live` one by one.
        """
        position = self._position
        if self._filling is not None or position is None:
            return False
        last = position
        for second in seconds:
            if second < last:
                return False
            last = second
        if last > now:
            return False
        self._units = units if last > position else self._units | units
        self._position = self._newest = last
        self._seen |= units
        return True

    def point(self) -> ResumePoint:
        """Return the state behind all that was delivered."""
        if self._filling is not None:
            return self._filling.point()
        second = self._position if self._position is not None else 0
        return ResumePoint(second, ((second, self._units),), self._seen, self._newest)

    def live(self, second: int, units: int, item: ItemT, now: float, *, room: bool = True) -> None:
        """Take a live event. `room` is False if the subscriber's buffer is full."""
        self._leave_calm().live(second, units, item, now, room=room)

    def lost(self, now: float) -> None:
        """Open a gap at the position: the connection was lost, or the source was silent."""
        if self._position is not None or self._filling is not None:
            self._leave_calm().lost(now)

    def relief(self, now: float) -> None:
        """Start to fill the gap of a full buffer: the buffer is half empty."""
        if self._filling is not None:
            self._filling.relief(now)

    def resume(self, point: ResumePoint, now: float) -> None:
        """Continue behind an item that was delivered in an earlier run."""
        self._position, self._newest, self._seen = point.second, point.newest, point.seen
        filling = self._leave_calm()
        filling.notes.update(point.units)
        for start, end, tries, first in point.gaps:
            due = now if first is None else filling.retry_at(first, tries)
            filling.add(TrackedGap(start, end, GapState.PENDING, filling.next_number(), due, first, tries))
        filling.lacking = list(point.lacking)
        filling.lost(now)
        filling.report_lacking()
        filling.bound()

    def due(self) -> float | None:
        """Return when `next_request` may have a request, or None if only an event can lead to one."""
        return None if self._filling is None else self._filling.due()

    def next_request(self, now: float) -> RangeRequest | None:
        """Return the range to ask the record for, and expect its `row`s and `answered`."""
        return None if self._filling is None else self._filling.next_request(now)

    def look_back(self, start: int, end: int, now: float) -> RangeRequest:
        """Return a range to ask an unordered record for; what it does not bring is not missing by that."""
        filling = self._leave_calm()
        filling.answer = filling.new_answer(RangeRequest(start, end), None, now)
        return filling.answer.request

    def proven(self, start: int, end: int) -> None:
        """Note that the unordered record has nothing more in this closed range."""
        if self._filling is not None and self._filling.answer is not None:
            self._filling.settle(start, end, self._filling.answer)

    def columns(self, exported: int) -> None:
        """Note which units the record of this answer can have."""
        if self._filling is not None and self._filling.answer is not None:
            self._filling.answer.exported = exported

    def row(self, second: int, units: int, item: ItemT) -> None:
        """Take the next row of the answer."""
        if self._filling is not None and self._filling.answer is not None:
            self._filling.row(second, units, item, self._filling.answer)

    def unreadable(self) -> None:
        """Note a row that cannot be read, in its place in the answer."""
        if self._filling is not None and self._filling.answer is not None:
            self._filling.answer.broken = True

    def answered(self, now: float, error: str | None = None, *, final: bool = False) -> None:
        """End the answer.

        Args:
            now: The vendor's time.
            error: Why the answer is incomplete, or None; the reason of the report if `final`.
            final: Whether no repeat can change the error.
        """
        if self._filling is not None and self._filling.answer is not None:
            self._filling.answered(self._filling.answer, now, error, final=final)

    def end(self, reason: str, *, pending: bool = True) -> None:
        """Report all gaps, or all that are not pending, and deliver all held events."""
        if self._filling is not None:
            self._filling.end(reason, pending=pending)

    def pop(self) -> Delivery[ItemT] | ReportedRange | None:
        """Return the next item to deliver or range to report, or None."""
        filling = self._filling
        if filling is None:
            return None
        if filling.out:
            return filling.out.popleft()
        if filling.is_calm():
            self._position, self._newest, self._seen = filling.position, filling.newest, filling.seen
            self._units = filling.notes.get(self._position if self._position is not None else -1, 0)
            self._ignored += filling.ignored
            self._filling = None
        return None

    def _leave_calm(self) -> _Filling[ItemT]:
        filling = self._filling
        if filling is None:
            filling = self._filling = _Filling(self._config, self._position, self._newest, self._seen)
            if self._position is not None and self._units:
                filling.notes[self._position] = self._units
        return filling


class _Filling(Generic[ItemT]):
    """All that an engine needs while it is not calm."""

    def __init__(self, config: GapConfig, position: int | None, newest: int, seen: int) -> None:
        self.config = config
        self.position = position
        """The newest second that arrived live, never later than the vendor's clock."""
        self.newest = newest
        self.seen = seen
        self.number = 0
        self.gaps: list[TrackedGap] = []
        self.held: deque[_Held[ItemT]] = deque()
        self.held_units: dict[int, int] = {}
        self.oldest_held: int | None = None
        """The oldest second of a held event: older than the gap before it, if it came out of order."""
        self.notes: dict[int, int] = {}
        """Delivered units of seconds that are not settled or may become missing again."""
        self.out: deque[Delivery[ItemT] | ReportedRange] = deque()
        self.answer: _Answer[ItemT] | None = None
        self.lacking: list[tuple[int, int, int]] = []
        self.ignored = 0

    def is_calm(self) -> bool:
        if self.gaps or self.held or self.out or self.answer is not None:
            return False
        self.trim()
        return not self.notes.keys() - {self.position} and self.newest <= (self.position or 0)

    # --- live events ---------------------------------------------------------------------------------------

    def live(self, second: int, units: int, item: ItemT, now: float, *, room: bool) -> None:
        reached = min(second, int(now))
        holding = self.in_state(GapState.HOLDING)
        if self.in_state(GapState.WAITING) or not (room or holding):
            self.refuse(second, reached)
        elif (gap := self.open_gap()) is not None and reached >= gap.start:
            gap.end, gap.state, gap.due = reached, GapState.HOLDING, now + self.config.settle_s
            holding.append(gap)
        if self.position is None or reached > self.position:
            self.position = reached
            self.trim()
        if self.in_state(GapState.WAITING) or not (room or holding):
            return
        if not holding:
            self.deliver(second, units, item, backfilled=False)
            return
        self.held_units[second] = self.held_units.get(second, 0) | units
        self.oldest_held = min(self.held_units)
        self.held.append(_Held(second, units, item, max(gap.number for gap in holding)))
        if len(self.held) > self.config.hold:
            self.hold_is_full(holding, now)

    def lost(self, now: float) -> None:
        if self.position is not None and self.open_gap() is None:
            self.add(TrackedGap(self.position, None, GapState.OPEN, self.next_number(), now))

    def relief(self, now: float) -> None:
        for gap in self.in_state(GapState.WAITING):
            gap.state, gap.due = GapState.HOLDING, now

    def refuse(self, second: int, reached: int) -> None:
        """Add an event to the gap of a full buffer; alone, if it is older than the gap or dated ahead."""
        if self.answer is not None:
            self.answer.limit = min(self.answer.limit, reached - 1)  # the record may have been read before
        waiting, opened = self.in_state(GapState.WAITING), self.open_gap()
        start = waiting[0].start if waiting else opened.start if opened is not None else self.position
        if second > reached or (start is not None and second < start):
            if not any(gap.covers(second) for gap in self.gaps if gap.end is not None):
                self.report_range(second, second, "slow_consumer")
        elif waiting:
            self.gaps = [gap for gap in self.gaps if gap is not opened]  # it begins in the waiting one
            waiting[0].end = max(waiting[0].end or reached, reached)
        elif opened is not None:
            opened.end, opened.state = reached, GapState.WAITING
        else:
            start = reached if start is None else start
            self.add(TrackedGap(start, reached, GapState.WAITING, self.next_number(), 0.0))

    def hold_is_full(self, holding: list[TrackedGap], now: float) -> None:
        if not self.config.discards:
            for gap in holding:
                gap.state, gap.due = GapState.PENDING, min(gap.due, now)
            self.release_held()
            self.bound()
            return
        # Only the gap before the first held event grows: behind it nothing but held events arrived.
        number = self.held[0].number
        gap = [each for each in holding if each.number <= number][-1]
        # Not further than the position: the next gap begins there.
        gap.end = max(min(each.second, self.position or 0) for each in self.held)
        self.gaps = [each for each in self.gaps if each not in holding or each.number <= number]
        held, self.held, self.held_units, self.oldest_held = self.held, deque(), {}, None
        if self.answer is not None:
            # As with a refused event: the record may have been read before.
            self.answer.limit = min(self.answer.limit, min(each.second for each in held) - 1)
        for second in {each.second for each in held}:
            if not any(each.covers(second) for each in self.gaps if each.end is not None):
                self.report_range(second, second, "slow_consumer")

    def release_held(self) -> None:
        """Deliver the held events that no gap holds any more."""
        first = min((gap.number for gap in self.gaps if gap.state is GapState.HOLDING), default=None)
        while self.held and (first is None or self.held[0].number < first):
            second, units, item, _ = self.held.popleft()
            self.held_units[second] &= ~units
            if not self.held_units[second]:
                del self.held_units[second]
            self.oldest_held = min(self.held_units, default=None)
            self.deliver(second, units, item, backfilled=False)

    # --- the record ----------------------------------------------------------------------------------------

    def due(self) -> float | None:
        if self.answer is not None:
            return None
        return min((max(gap.due, gap.start + self.config.settle_s) for gap in self.askable()), default=None)

    def next_request(self, now: float) -> RangeRequest | None:
        if self.answer is not None:
            return None
        settled = int(now - self.config.settle_s)
        self.cap(int(now))
        for gap in self.askable():
            if gap.due <= now and gap.start <= settled:
                end = min(settled, gap.start + self.config.chunk_s - 1)
                request = RangeRequest(gap.start, end if gap.end is None else min(end, gap.end))
                self.answer = self.new_answer(request, gap, now)
                return request
        return None

    def new_answer(self, request: RangeRequest, gap: TrackedGap | None, now: float) -> _Answer[ItemT]:
        start, end = request
        answer: _Answer[ItemT] = _Answer(request, gap and evolve(gap), now, self.number, 0, start, end, start)
        answer.missing = self.missing_in(answer)
        return answer

    def row(self, second: int, units: int, item: ItemT, answer: _Answer[ItemT]) -> None:
        request, kept = answer.request, answer.kept
        if second < request.start:
            answer.broken |= kept is not None
            self.ignored += 1
            return
        if second > request.end:
            answer.passed = True
            self.ignored += 1
            return
        torn, answer.broken, answer.passed = answer.broken or answer.passed, False, False
        if not self.config.ordered:
            self.leave_behind(second - 1, answer)
            self.take(second, units, item, answer)
            self.settle(second, second, answer)
            answer.frontier = max(answer.frontier, second + 1)
            self.release_held()
            return
        if kept is not None and second < kept.second:
            self.ignored += 1
            torn = True
            if answer.rows:
                self.unprove(second, answer)
        elif kept is not None:
            self.confirm(kept, answer, whole=second > kept.second and not torn)
        answer.kept = _Row(second, units, item, torn)

    def answered(self, answer: _Answer[ItemT], now: float, error: str | None, *, final: bool) -> None:
        if answer.kept is not None and error is None:
            self.confirm(answer.kept, answer, whole=not answer.broken)
        elif answer.kept is not None and answer.rows:
            self.unprove(answer.rows[-1], answer)  # the date of the row kept back is not known to be right
        self.answer = None
        self.report_lacking()
        progress = answer.fresh or self.missing_in(answer) < answer.missing
        frontier = min(answer.frontier, answer.limit + 1)
        for gap in self.gaps[:]:
            if gap.number != answer.origin_number or not gap.overlaps(*answer.request):
                continue
            if gap.state is GapState.OPEN:
                behind = progress and gap.start + OPEN_RETRY_S < now
                gap.due = now if behind else now + OPEN_RETRY_S
            elif gap.first == answer.asked and gap.tries == 1:
                continue  # left behind in this answer
            elif final:
                self.report(gap, error or "refused")
            elif progress and gap.start >= frontier:
                gap.due = now
            else:
                self.attempt_failed(gap, answer.request.end if error is None else None, now)
        self.bound()
        self.trim()
        self.release_held()

    def attempt_failed(self, gap: TrackedGap, asked_to: int | None, now: float) -> None:
        """Count an attempt without progress for the part of a gap that was asked for."""
        if asked_to is not None and gap.end is not None and gap.end > asked_to:
            self.add(evolve(gap, start=asked_to + 1, due=now))
            gap.end = asked_to
        gap.state = GapState.PENDING
        gap.first = now if gap.first is None else gap.first
        gap.tries += 1
        if gap.tries > len(self.config.retries_s):
            self.report(gap, "not_recorded")
        else:
            gap.due = self.retry_at(gap.first, gap.tries)

    def confirm(self, row: _Row[ItemT], answer: _Answer[ItemT], *, whole: bool) -> None:
        """Deliver a row whose date fits the order, and settle what it proves; its own second if `whole`."""
        second = row.second
        self.take(second, row.units, row.item, answer)
        answer.rows.append(second)
        if row.torn:
            self.leave_behind(second, answer)
            answer.frontier = max(answer.frontier, second + 1)
        else:
            last = second if whole else second - 1
            if last >= answer.frontier:
                self.settle(answer.frontier, last, answer)
                answer.frontier = last + 1
        self.release_held()

    def take(self, second: int, units: int, item: ItemT, answer: _Answer[ItemT]) -> None:
        """Deliver the units of a row that are missing."""
        fresh = units & ~(self.notes.get(second, 0) | self.held_units.get(second, 0))
        if fresh and (answer.origin is None or any(gap.covers(second) for gap in self.gaps)):
            answer.fresh = True
            self.deliver(second, fresh, item, backfilled=True)

    def settle(self, start: int, end: int, answer: _Answer[ItemT]) -> None:
        """Remove a closed range of seconds from the gaps that the answer is about."""
        end = min(end, answer.limit)
        left: list[TrackedGap] = []
        settled: list[tuple[int, int]] = []
        for gap in self.gaps:
            if end < start or gap.number > answer.number or not gap.overlaps(start, end):
                left.append(gap)
                continue
            last = end if gap.end is None else min(end, gap.end)
            settled.append((max(start, gap.start), last))
            if gap.start < start:
                left.append(evolve(gap, end=start - 1, state=_closed(gap.state)))
            if gap.end is None or gap.end > end:
                gap.start = end + 1
                left.append(gap)
        self.gaps = left
        for since, last in settled:
            self.note_lacking(since, last, answer)
        self.trim()

    def leave_behind(self, until: int, answer: _Answer[ItemT]) -> None:
        """End the attempt for the missing seconds up to `until`: the answer goes on behind them."""
        for gap in self.gaps[:]:
            if gap.number != answer.origin_number or not gap.overlaps(answer.request.start, until):
                continue
            if gap.end is None or gap.end > until:
                self.add(evolve(gap, start=until + 1))
                gap.end = until
            if gap.state is not GapState.PENDING:
                gap.state, gap.first, gap.tries = GapState.PENDING, answer.asked, 1
                gap.due = self.retry_at(answer.asked, 1)
        self.bound()

    def unprove(self, second: int, answer: _Answer[ItemT]) -> None:
        """Several rows were dated wrongly: what they proved after `second` is missing again."""
        rows, forgotten = answer.rows, len(answer.rows) == ROWS_KEPT
        oldest = rows[0]
        while rows and rows[-1] > second:
            rows.pop()
        start = rows[-1] if rows else oldest if forgotten else answer.request.start
        start = max(start, answer.floor)
        self.lacking = list(_before(self.lacking, start))
        # Held events wait for it only if they wait for the rest of the gap.
        waits = any(
            gap.state is not GapState.PENDING and gap.number == answer.origin_number for gap in self.gaps
        )
        assert answer.origin is not None  # noqa: S101
        state = _closed(answer.origin.state) if waits else GapState.PENDING
        for gap in (*self.gaps, TrackedGap(answer.frontier, None, state, 0, 0.0)):
            end = min(gap.start, answer.frontier) - 1
            if start <= end:
                self.add(evolve(answer.origin, start=start, end=end, state=state))
            start = max(start, answer.frontier if gap.end is None else gap.end + 1)
        for each, units in answer.forgotten:
            if any(gap.covers(each) for gap in self.gaps):
                self.notes[each] = self.notes.get(each, 0) | units
        answer.frontier = max(second, answer.floor)

    # --- output --------------------------------------------------------------------------------------------

    def deliver(self, second: int, units: int, item: ItemT, *, backfilled: bool) -> None:
        late = second < self.newest
        self.newest = max(self.newest, second)
        self.seen |= units
        if second >= self.floor() or any(gap.covers(second) for gap in self.gaps):
            self.notes[second] = self.notes.get(second, 0) | units
        elif self.answer is not None:
            self.answer.forgotten.append((second, units))
        self.out.append(Delivery(item, backfilled, late, units, self.point()))

    def report(self, gap: TrackedGap, reason: str, until: int | None = None) -> None:
        """Report a gap, or its part up to `until`; in pieces that end at seconds delivered in part."""
        end = until if until is not None else gap.end
        end = max(gap.start, self.position or 0) if end is None else end
        if self.answer is not None and gap.overlaps(*self.answer.request):
            self.answer.floor = max(self.answer.floor, end + 1)
        for cut in sorted(each for each in self.notes.keys() | self.held_units if gap.start < each < end):
            start, gap.start = gap.start, cut
            self.report_range(start, cut, reason)
        start = gap.start
        if until is None:
            self.gaps.remove(gap)
        else:
            gap.start = until + 1
        self.report_range(start, end, reason)

    def report_range(self, start: int, end: int, reason: str) -> None:
        self.out.append(ReportedRange(start, end, reason, 0, self.point()))

    def note_lacking(self, start: int, end: int, answer: _Answer[ItemT]) -> None:
        """Remember that the record of a settled range cannot have some units."""
        units = 0 if answer.exported is None else self.seen & ~answer.exported
        if not units:
            return
        if self.lacking and self.lacking[-1][2] == units:
            if self.lacking[-1][1] >= end:
                return
            if self.lacking[-1][1] == start - 1:
                start = self.lacking.pop()[0]
        for second in sorted(self.notes.keys() | self.held_units):
            delivered = self.notes.get(second, 0) | self.held_units.get(second, 0)
            if start < second <= end and delivered & units:
                self.lacking.append((start, second, units))
                start = second
        self.lacking.append((start, end, units))  # also where it is one second: the next range begins there
        while len(self.lacking) > MAX_LACKING:
            answer.floor = max(answer.floor, self.lacking[0][1] + 1)
            self.report_lacking(1)

    def report_lacking(self, count: int | None = None) -> None:
        """Report the oldest ranges whose record lacks units; all of them when their answer is over."""
        for start, end, units in self.lacking[:count]:
            del self.lacking[0]
            self.out.append(ReportedRange(start, end, "not_exported", units, self.point()))

    def end(self, reason: str, *, pending: bool) -> None:
        self.answer = None
        self.report_lacking()
        for gap in self.gaps[:]:
            if pending or gap.state is not GapState.PENDING:
                self.report(gap, reason)
                self.release_held()
        self.release_held()

    def point(self) -> ResumePoint:
        """Return the state behind the item that is delivered now."""
        second = self.floor()
        gaps = tuple(
            (gap.start, min(gap.end or second, second), gap.tries, gap.first)
            for gap in self.gaps
            if gap.state is GapState.PENDING and gap.start < second
        )
        lacking = tuple(_before(self.lacking, second))
        return ResumePoint(second, tuple(self.notes.items()), self.seen, self.newest, gaps, lacking)

    # --- gaps and notes ------------------------------------------------------------------------------------

    def in_state(self, state: GapState) -> list[TrackedGap]:
        return [gap for gap in self.gaps if gap.state is state]

    def open_gap(self) -> TrackedGap | None:
        return next((gap for gap in self.gaps if gap.state is GapState.OPEN), None)

    def askable(self) -> list[TrackedGap]:
        """Return the first gap that is not pending, then the pending ones."""
        first = [gap for gap in self.gaps if gap.state is not GapState.PENDING][:1]
        return [gap for gap in first if gap.state is not GapState.WAITING] + self.in_state(GapState.PENDING)

    def retry_at(self, first: float, tries: int) -> float:
        return first + self.config.retries_s[tries - 1] if tries else first

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def add(self, gap: TrackedGap) -> None:
        self.gaps.append(gap)
        self.gaps.sort(key=lambda each: (each.start, each.number))

    def missing_in(self, answer: _Answer[ItemT]) -> int:
        start, end = answer.request
        return sum(
            (end if gap.end is None else min(end, gap.end)) - max(start, gap.start) + 1
            for gap in self.gaps
            if gap.number <= answer.number and gap.overlaps(start, end)
        )

    def cap(self, now: int) -> None:
        """Report the older part of gaps that are longer than the cap."""
        for gap in self.gaps:
            start = (now if gap.end is None else gap.end) - self.config.max_gap_s
            if start > gap.start:
                self.report(gap, "beyond_cap", start - 1)

    def bound(self) -> None:
        """Join pending neighbours, and report the oldest pending gaps if there are too many."""
        for before, after in zip(self.gaps[:-1], self.gaps[1:], strict=True):
            both = before.state is after.state is GapState.PENDING and before.tries == after.tries
            if both and before.end == after.start - 1 and not {before.end, after.start} & self.notes.keys():
                self.gaps.remove(before)
                after.start, after.first = before.start, before.first
        pending = self.in_state(GapState.PENDING)
        for gap in pending[: max(len(pending) - self.config.max_pending, len(self.notes) > MAX_NOTES)]:
            self.report(gap, "too_many_gaps")

    def floor(self) -> int:
        """Return the second before which all is delivered, reported or in a pending gap."""
        first = next(
            (gap.start for gap in self.gaps if gap.state is not GapState.PENDING), self.position or 0
        )
        return first if self.oldest_held is None else min(first, self.oldest_held)

    def trim(self) -> None:
        """Forget notes of settled seconds."""
        floor = self.floor()
        for second in list(self.notes):
            if second < floor and not any(gap.covers(second) for gap in self.gaps):
                units = self.notes.pop(second)
                if self.answer is not None:
                    self.answer.forgotten.append((second, units))


def _closed(state: GapState) -> GapState:
    """Return the state of the older piece of a gap: it has an end."""
    return GapState.HOLDING if state is GapState.OPEN else state


def _before(ranges: Iterable[tuple[int, int, int]], second: int) -> Iterator[tuple[int, int, int]]:
    """Yield the parts of ranges before a second."""
    return ((start, min(end, second - 1), units) for start, end, units in ranges if start < second)

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
    OPEN     no live event for `quiet_s`           OPEN; the record is asked
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
                                                   reported as `not_recorded`, or with the last error
    PENDING  more than 4 pending gaps              the oldest is reported as `too_many_gaps`
    any      longer than a day                     the older part is reported as `beyond_cap`
    any      proven                                removed
    closed   refusal that no repeat can change     reported

What proves that nothing is missing: a row of an ordered record proves the seconds since the row before it
in the same answer, the first row those since the start of the request. It proves its own second only if a
row of a later second follows, or the answer ends without an error. An unreadable row, or one whose date
does not fit the order, breaks the proof: the seconds between its neighbours stay missing. A row of an
unordered record proves its own second, if those of one second come together; what else it proves, the caller
states with `proven`. The end of an answer, an empty answer and live events prove nothing.

Known limits: a row that the record leaves out between two others, a wrong date that fits the order, a unit
that never arrived before its loss, and a live event that is older than the one before it and not consumed
at a kill cannot be noticed. More than 64 rows in a row with wrong dates leave the seconds before them
settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Final, Generic, NamedTuple, TypeVar

from attrs import evolve

from energy_core.stream.dedupe import NOT_RECORDED
from energy_core.stream.gap_answer import Answer, RangeRequest, TrustedRow
from energy_core.stream.gap_list import GapConfig, GapList, GapState, TrackedGap
from energy_core.stream.gap_notes import MAX_LACKING, MAX_NOTES, RECENT_S, Lack, ResumePoint, UnitNotes

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

OPEN_RETRY_S: Final = 60.0
"""Seconds between requests while no live event has come."""


class Delivery(NamedTuple, Generic[ItemT]):
    """Deliver an item."""

    item: ItemT
    backfilled: bool
    late: bool
    """Whether it is older than an item delivered before."""
    units: int
    """The units of the item that are new."""
    position: ResumePoint
    ordinal: int
    """Tells the items of one second apart: the number of those delivered before; where that is not known any
    more, a number from `UNKNOWN_ORDINAL` on."""


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


class GapEngine(Generic[ItemT]):
    """Holds, fetches, orders, retries and reports for one source or one slow subscriber.

    The caller takes `pop` until it is None after each other call; a subscriber while its buffer has room.

    Args:
        config: The limits.
        point: Behind which item a subscriber's engine begins, with nothing missing; None for a new source.
    """

    __slots__ = (
        *("_answer", "_config", "_events", "_gaps", "_held", "_ignored", "_notes", "_out", "_seen"),
        *("_units", "calm", "duplicates", "newest", "position"),
    )

    def __init__(self, config: GapConfig | None = None, point: ResumePoint | None = None) -> None:
        self.calm = True
        """Whether nothing is missing, held, requested or waiting to be delivered."""
        self._config = config or GapConfig()
        self.position = -1 if point is None else point.second
        """The newest second that arrived live, never later than the vendor's clock; -1: none."""
        self.newest = -1 if point is None else point.newest
        """The newest delivered second; -1: none."""
        self.duplicates = 0
        """Live events that are not delivered because rows had all their units."""
        # Units and events of the position while calm, then in `_notes`.
        here = [each for each in point.units if each[0] == point.second] if point is not None else ()
        self._units, self._events = here[0][1:] if here else (0, 0)
        self._seen = 0 if point is None else point.seen
        self._ignored = 0
        self._gaps = GapList(self._config)
        self._held: list[_Held[ItemT]] = []
        self._notes = UnitNotes(self.position - 1)
        self._out: list[Delivery[ItemT] | ReportedRange] = []
        self._answer: Answer[ItemT] | None = None

    @property
    def gaps(self) -> Sequence[TrackedGap]:
        """The gaps, oldest first."""
        return tuple(self._gaps)

    @property
    def held(self) -> Sequence[ItemT]:
        """The held events, in order."""
        return tuple(each.item for each in self._held)

    @property
    def lacking(self) -> Sequence[Lack]:
        """Start, end and units of ranges whose record lacks these units, not reported yet."""
        return tuple(self._notes.lacking)

    @property
    def ignored(self) -> int:
        """Rows outside their request, or with a date that does not fit the order of the answer."""
        return self._ignored + (0 if self._answer is None else self._answer.ignored)

    @property
    def ready(self) -> int:
        """Number of items that `pop` returns now."""
        return len(self._out)

    def point(self) -> ResumePoint:
        """Return the state behind all that was delivered."""
        second = self._floor()
        gaps = tuple(
            (gap.start, gap.last_in(second), gap.tries, gap.first)
            for gap in self._gaps.in_state(GapState.PENDING)
            if gap.start < second
        )
        lacking = tuple(self._notes.lacking_before(second))
        notes = self._notes
        units = (
            ((second, self._units, self._events),)
            if self.calm
            else tuple((each, units, notes.events[each]) for each, units in notes.delivered.items())
        )
        return ResumePoint(second, units, self._seen, self.newest, gaps, lacking)

    def has_notes(self, second: int) -> bool:
        """Return whether units of a second are remembered as delivered or held."""
        return self._notes.known(second) != 0

    # --- live events ---------------------------------------------------------------------------------------

    def passes(self, seconds: Iterable[int], units: int, now: float) -> bool:
        """Note live events of these seconds, each with `units`, if all can be delivered at once.

        Returns:
            False, with nothing noted, if they must go through `live` one by one.
        """
        position, notes = self.position, self._notes
        if not self.calm or position < 0:
            return False
        last, events, before = position, self._events, notes.forgotten_to
        for second in seconds:
            if second > last:
                before, last, events = last, second, 1
            elif second == last and not notes.recorded:
                events += 1
            else:
                return False
        if last > now:
            return False
        self._units = units if last > position else self._units | units
        self.position, self.newest, self._events, notes.forgotten_to = last, last, events, before
        self._seen |= units
        if notes.recorded:
            notes.forget_recorded(last)
        return True

    def live(self, second: int, units: int, item: ItemT, now: float, *, room: bool = True) -> int:
        """Take a live event. `room` is False if the subscriber's buffer is full.

        Returns:
            How many live events were given back to the gap, or reported, for lack of room.
        """
        self._leave_calm()
        reached = min(second, int(now))
        fresh = units & ~self._notes.recorded.get(second, 0)
        holding = self._gaps.in_state(GapState.HOLDING)
        refused = bool(self._gaps.in_state(GapState.WAITING)) or not (room or holding)
        if refused:
            self._refuse(second, reached)
        elif (gap := self._gaps.opened) is not None and reached >= gap.start:
            gap.end, gap.state, gap.due = reached, GapState.HOLDING, now + self._config.settle_s
            holding.append(gap)
        if reached > self.position:
            self.position = reached
            self._trim()
            self._notes.forget_recorded(reached)
        if refused:
            return 1
        if units and not fresh:
            self.duplicates += 1
        elif not holding:
            self._deliver(second, fresh, item, backfilled=False)
        else:
            self._notes.hold(second, fresh)
            self._held.append(_Held(second, fresh, item, max(gap.number for gap in holding)))
        return self._hold_is_full(holding, now) if len(self._held) > self._config.hold else 0

    def lost(self, now: float) -> None:
        """Open a gap at the position: the connection was lost, or the source was silent."""
        if self.position >= 0 and self._gaps.opened is None:
            self._leave_calm()
            self._gaps.begin(self.position, None, GapState.OPEN, now + self._config.quiet_s)

    def miss(self, start: int, end: int, now: float) -> None:
        """Add a gap of a subscriber that joins late: others had readings until `end`."""
        self._leave_calm()
        self._gaps.begin(start, end, GapState.HOLDING, now)
        self.position = max(self.position, end)

    def relief(self, now: float) -> None:
        """Start to fill the gap of a full buffer: the buffer is half empty."""
        for gap in self._gaps.in_state(GapState.WAITING):
            gap.state, gap.due = GapState.HOLDING, now

    def resume(self, point: ResumePoint, now: float) -> None:
        """Continue behind an item that was delivered in an earlier run."""
        self.position, self.newest, self._seen = point.second, point.newest, point.seen
        self._leave_calm()
        self._notes.forgotten_to = point.second - 1
        self._notes.delivered = {second: units for second, units, _ in point.units}
        self._notes.events = {second: events for second, _, events in point.units}
        for start, end, tries, first in point.gaps:
            gap = self._gaps.begin(start, end, GapState.PENDING, now)
            if first is not None:
                gap.due, gap.first, gap.tries = self._gaps.retry_at(first, tries), first, tries
        self._notes.lacking = list(point.lacking)
        self.lost(now)
        self._report_lacking()
        self._bound()

    def end(self, reason: str, *, pending: bool = True) -> None:
        """Report all gaps, or all that are not pending, and deliver all held events."""
        if self.calm:
            return
        self._close_answer()
        self._report_lacking()
        for gap in self._gaps:
            if pending or gap.state is not GapState.PENDING:
                self._report(gap, reason)
                self._release_held()
        self._release_held()

    def _refuse(self, second: int, reached: int) -> None:
        """Add an event to the gap of a full buffer; alone, if it is older than the gap or dated ahead."""
        if self._answer is not None:  # the record may have been read before
            self._answer.limit = min(self._answer.limit, reached - 1)
        waiting, opened = self._gaps.in_state(GapState.WAITING), self._gaps.opened
        start = waiting[0].start if waiting else self.position if opened is None else opened.start
        if second > reached or second < start:
            if not self._gaps.covers(second, closed=True):
                self._report_range(second, second, "slow_consumer")
        elif waiting:
            if opened is not None:
                self._gaps.remove(opened)  # it begins in the waiting one
            waiting[0].end = max(waiting[0].end or reached, reached)
        elif opened is not None:
            opened.end, opened.state = reached, GapState.WAITING
        else:
            self._gaps.begin(start if start >= 0 else reached, reached, GapState.WAITING, 0.0)

    def _hold_is_full(self, holding: list[TrackedGap], now: float) -> int:
        """Give up the hold; return how many events were given back to the gap."""
        if not self._config.discards:
            for gap in holding:
                gap.state, gap.due = GapState.PENDING, min(gap.due, now)
            self._release_held()
            self._bound()
            return 0
        # Only the gap before the first held event grows: behind it nothing but held events arrived.
        number, held = self._held[0].number, self._held
        gap = [each for each in holding if each.number <= number][-1]
        # Not further than the position: the next gap begins there.
        gap.end = max(gap.end or 0, *(min(each.second, self.position) for each in held))
        for each in holding:
            if each.number > number:
                self._gaps.remove(each)
        self._held, self._notes.held = [], {}
        if self._answer is not None:  # as with a refused event
            self._answer.limit = min(self._answer.limit, min(each.second for each in held) - 1)
        for second in {each.second for each in held}:
            if not self._gaps.covers(second, closed=True):
                self._report_range(second, second, "slow_consumer")
        return len(held)

    def _release_held(self) -> None:
        """Deliver the held events that no gap holds any more."""
        first = min((gap.number for gap in self._gaps.in_state(GapState.HOLDING)), default=None)
        while self._held and (first is None or self._held[0].number < first):
            second, units, item, _ = self._held.pop(0)
            others = (each.units for each in self._held if each.second == second)
            self._notes.release(second, reduce(or_, others, 0))
            self._deliver(second, units, item, backfilled=False)

    # --- the record ----------------------------------------------------------------------------------------

    def due(self) -> float | None:
        """Return when `next_request` may have a request, or None if only an event can lead to one."""
        if self._answer is not None:
            return None
        gaps = self._gaps.askable()
        return min((max(gap.due, self._asked_to(gap) + self._config.settle_s) for gap in gaps), default=None)

    def next_request(self, now: float) -> RangeRequest | None:
        """Return the range to ask the record for, and expect its `row`s and `answered`."""
        if self._answer is not None:
            return None
        settled = int(now - self._config.settle_s)
        for gap in self._gaps:  # longer than the cap
            oldest = gap.last_in(int(now)) - self._config.max_gap_s
            if oldest > gap.start:
                self._report(gap, "beyond_cap", oldest - 1)
        for gap in self._gaps.askable():
            if gap.due <= now and self._asked_to(gap) <= settled:
                end = gap.last_in(min(settled, gap.start + self._config.chunk_s - 1))
                return self._ask(RangeRequest(gap.start, end), evolve(gap), now)
        return None

    def _asked_to(self, gap: TrackedGap) -> int:
        """Return the second that has to have settled before a gap is asked for.

        Of an open gap the first. Of another the last of the request: if it were asked for in two parts, no
        row might prove the second.
        """
        return gap.start if gap.end is None else gap.last_in(gap.start + self._config.chunk_s - 1)

    def look_back(self, start: int, end: int, now: float) -> RangeRequest:
        """Return a range to ask an unordered record for; what it does not bring is not missing by that."""
        self._leave_calm()
        return self._ask(RangeRequest(start, end), None, now)

    def proven(self, start: int, end: int, reason: str = "") -> None:
        """Note that the record has nothing more in this closed range; with a reason, it is reported."""
        if self._answer is not None:
            self._judge(self._answer.complete(start, end), self._answer)
            self._settle(start, end, self._answer, reason)

    def columns(self, exported: int) -> None:
        """Note which units the record of this answer can have."""
        if self._answer is not None:
            self._answer.exported = exported

    def row(self, second: int, units: int, item: ItemT) -> None:
        """Take the next row of the answer."""
        if self._answer is not None:
            self._judge(self._answer.read(second, units, item), self._answer)

    def unreadable(self) -> None:
        """Note a row that cannot be read, in its place in the answer."""
        if self._answer is not None:
            self._answer.unreadable()

    def answered(self, now: float, error: str | None = None, *, final: bool = False) -> None:
        """End the answer.

        Args:
            now: The vendor's time.
            error: Why the answer is incomplete, or None; the reason of the report if `final`.
            final: Whether no repeat can change the error.
        """
        answer = self._answer
        if answer is None:
            return
        self._judge(answer.end(error), answer)
        self._close_answer()
        self._report_lacking()
        start, end = answer.request
        progress = answer.fresh or self._gaps.missing_in(start, end, answer.number) < answer.missing
        frontier = min(answer.frontier, answer.limit + 1)
        for gap in self._gaps:
            if gap.number != answer.origin_number or not gap.overlaps(start, end):
                continue
            if gap.state is GapState.OPEN:
                behind = progress and gap.start + OPEN_RETRY_S < now
                gap.due = now if behind else now + OPEN_RETRY_S
            elif gap.first == answer.asked and gap.tries == 1:
                continue  # left behind in this answer
            elif final:
                self._report(gap, error or "refused")
            elif progress and gap.start >= frontier:
                gap.due = now
            else:
                self._gaps.attempt_failed(gap, end if error is None else None, now)
        self._bound(error)
        self._trim()
        self._release_held()

    def _ask(self, request: RangeRequest, origin: TrackedGap | None, now: float) -> RangeRequest:
        number = self._gaps.number
        self._answer = Answer(
            request,
            origin,
            asked=now,
            number=number,
            missing=self._gaps.missing_in(*request, number),
            ordered=self._config.ordered,
        )
        return request

    def _close_answer(self) -> None:
        if self._answer is not None:
            self._ignored += self._answer.ignored
            self._answer = None

    def _judge(self, found: TrustedRow[ItemT] | int | None, answer: Answer[ItemT]) -> None:
        """Deliver a row that is trusted, with what it proves; or withdraw what wrong dates proved."""
        if found is None:
            return
        if isinstance(found, int):
            self._distrust(found, answer)
            return
        second, units, item, proven, left_behind = found
        fresh = self._notes.fresh(second, units)
        if fresh and (answer.origin is None or self._gaps.covers(second)):
            answer.fresh = True
            if second >= self.position - RECENT_S:
                self._notes.record(second, fresh)
            self._deliver(second, fresh, item, backfilled=True)
        if proven is not None:
            self._settle(*proven, answer)
        if left_behind is not None:
            range_left = answer.request.start, left_behind
            for gap in self._gaps.cut(*range_left, lambda each: each.number == answer.origin_number):
                self._gaps.end_first_attempt(gap, answer.asked)
            self._bound()
        self._release_held()

    def _settle(self, start: int, end: int, answer: Answer[ItemT], reason: str = "") -> None:
        """Remove a closed range of seconds from the gaps of the answer; report it if there is a reason."""
        lacks = 0 if answer.exported is None else self._seen & ~answer.exported
        for gap in self._gaps.cut(start, min(end, answer.limit), lambda each: each.number <= answer.number):
            if reason:
                self._report(gap, reason)
                continue
            self._gaps.remove(gap)
            self._notes.lack(gap.start, gap.last_in(end), lacks)
            while len(self._notes.lacking) > MAX_LACKING:
                answer.floor = max(answer.floor, self._notes.lacking[0][1] + 1)
                self._report_lacking(1)
        self._trim()

    def _distrust(self, second: int, answer: Answer[ItemT]) -> None:
        """Several rows were dated wrongly: what they proved after `second` is missing again."""
        again = answer.distrust(second)
        self._notes.lacking = self._notes.lacking_before(again.start)
        # Held events wait for it only if they wait for the rest of the gap.
        waits = any(
            gap.state is not GapState.PENDING and gap.number == answer.origin_number for gap in self._gaps
        )
        assert answer.origin is not None  # noqa: S101
        state = answer.origin.state.closed if waits else GapState.PENDING
        for start, end in self._gaps.missing_piece(again.start, again.stop - 1):
            self._gaps.add(evolve(answer.origin, start=start, end=end, state=state))
        self._notes.restore(each for each in answer.forgotten if self._gaps.covers(each[0]))

    # --- output --------------------------------------------------------------------------------------------

    def pop(self) -> Delivery[ItemT] | ReportedRange | None:
        """Return the next item to deliver or range to report, or None."""
        if self._out:
            return self._out.pop(0)
        if not (self.calm or self._gaps or self._held) and self._answer is None:
            self._trim()
            notes, position = self._notes, self.position
            if self.newest <= max(position, 0) and not notes.delivered.keys() - {position}:
                self.calm = True
                self._units, self._events = notes.delivered.pop(position, 0), notes.events.pop(position, 0)
        return None

    def _deliver(self, second: int, units: int, item: ItemT, *, backfilled: bool) -> None:
        late, notes = second < self.newest, self._notes
        if notes.lacking and not backfilled:
            notes.cut_lacking(second, units)
        self.newest = max(self.newest, second)
        self._seen |= units
        ordinal = notes.ordinal(second, missing=self._gaps.covers(second))
        if second >= self._floor() or self._is_open(second):
            notes.deliver(second, units, ordinal + 1)
        else:
            notes.forgotten_to = max(notes.forgotten_to, second)
            if self._answer is not None:
                self._answer.forgotten.append((second, units, ordinal + 1))
        self._out.append(Delivery(item, backfilled, late, units, self.point(), ordinal))

    def _report(self, gap: TrackedGap, reason: str, until: int | None = None) -> None:
        """Report a gap, or its part up to `until`; in pieces that end at seconds delivered in part."""
        end = until if until is not None else gap.end
        end = max(gap.start, self.position) if end is None else end
        if self._answer is not None and gap.overlaps(*self._answer.request):
            self._answer.floor = max(self._answer.floor, end + 1)
        for cut in self._notes.within(gap.start, end):
            start, gap.start = gap.start, cut
            self._report_range(start, cut, reason)
        start = gap.start
        if until is None:
            self._gaps.remove(gap)
        else:
            gap.start = until + 1
        self._report_range(start, end, reason)

    def _report_range(self, start: int, end: int, reason: str, units: int = 0) -> None:
        self._out.append(ReportedRange(start, end, reason, units, self.point()))

    def _report_lacking(self, count: int | None = None) -> None:
        """Report the oldest ranges whose record lacks units; all of them when their answer is over."""
        for start, end, units in self._notes.lacking[:count]:
            del self._notes.lacking[0]
            self._report_range(start, end, "not_exported", units)

    # --- bounds --------------------------------------------------------------------------------------------

    def _leave_calm(self) -> None:
        if self.calm:
            self.calm = False
            if self._events:
                self._notes.deliver(self.position, self._units, self._events)

    def _bound(self, error: str | None = None) -> None:
        """Join pending neighbours; report those after their last attempt, and the oldest of too many."""
        self._gaps.join(self._notes.delivered.keys())
        for gap in self._gaps.exhausted():
            self._report(gap, error or NOT_RECORDED)
        pending = self._gaps.in_state(GapState.PENDING)
        for gap in pending[
            : max(len(pending) - self._config.max_pending, len(self._notes.delivered) > MAX_NOTES)
        ]:
            self._report(gap, "too_many_gaps")

    def _floor(self) -> int:
        """Return the second before which all is delivered, reported or in a pending gap."""
        first = next((gap.start for gap in self._gaps if gap.state is not GapState.PENDING), self.position)
        return min(first, min(self._notes.held, default=first))

    def _is_open(self, second: int) -> bool:
        """Return whether more of a second may follow: it lies in a gap, or is the position."""
        return second == self.position or self._gaps.covers(second)

    def _trim(self) -> None:
        """Forget notes of settled seconds."""
        for each in self._notes.forget(self._floor(), keep=self._is_open):
            if self._answer is not None:
                self._answer.forgotten.append(each)

"""GapFiller: decides what a stream delivers, and when, so that nothing is lost or delivered twice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final, Generic, NamedTuple, TypeVar

from energy_core.printable import printable
from energy_core.stream.dedupe import (
    NOT_EXPORTED,
    NOT_RECORDED,
    TOO_MANY_GAPS,
    DeliveredIndex,
    Emit,
    Missing,
    QuantityBits,
)

Item = TypeVar("Item")


class OpenEndedGap(NamedTuple):
    """A gap that ends at the next live event."""

    start: int
    reason: str
    bits: int


class OutputQueue(Generic[Item]):
    """Output queue of a `GapFiller`: readings and gaps, in order.

    Args:
        keys: Converts quantities to bit masks.
        accounted_to: Unix second up to which everything is delivered or reported; None: not known.
    """

    __slots__ = ("_keys", "accounted_to", "open_ended", "ready")

    def __init__(self, keys: QuantityBits, *, accounted_to: int | None) -> None:
        self.ready: list[Emit[Item] | Missing] = []
        """What can be delivered now. Usually one item at most, so a list takes less memory than a deque."""
        self.accounted_to = accounted_to
        """Unix second up to which everything was delivered or reported as missing."""
        self._keys = keys
        self.open_ended: list[OpenEndedGap] = []
        """Gaps whose end is not known yet."""

    def report(self, start: int, end: int | None, reason: str, bits: int = 0) -> None:
        """Report a gap, or a gap of the quantities `bits`, as soon as its end is known."""
        if end is None:
            self.open_ended.append(OpenEndedGap(start, reason, bits))
            return
        self.ready.append(Missing(start, max(start, end), reason, self._keys.names(bits)))
        if not bits:
            self.accounted_to = max(end, self.accounted_to or end)

    def close_at(self, end: int) -> None:
        """Report the open-ended gaps: they end at a live event."""
        if self.open_ended:
            pending, self.open_ended = self.open_ended, []
            for start, reason, bits in pending:
                self.report(start, end, reason, bits)

    def reconsider(self, position: int) -> None:
        """Withdraw the open-ended gaps before another request; quantities without a record remain missing."""
        pending, self.open_ended = self.open_ended, []
        for start, reason, bits in pending:
            if bits and position > start:
                self.report(start, position, reason, bits)

    @printable
    def __repr__(self) -> str:
        return f"<OutputQueue of {len(self.ready)}, {len(self.open_ended)} gaps without an end>"


T = TypeVar("T")

_MAX_AHEAD_S: Final = 330
"""A live event may be dated this far ahead. One that is older than the newest by more is itself misdated."""

_MAX_PENDING: Final = 4
_MAX_JOINED_S: Final = 3600
_MAX_PARTS: Final = 8
_MAX_GAPS_OF_PART: Final = 64


class _Held(NamedTuple, Generic[T]):
    second: int
    keys: Collection[str]
    bits: int
    item: T
    gap: int = 0
    """Number of the gap before it; 0: there is none."""


class PendingRange:
    """Seconds that a request did not prove to be complete; they are requested again."""

    __slots__ = ("check_columns", "first_asked_at", "parts", "reason", "retry_at", "tries")

    def __init__(
        self, start: int, end: int, reason: str, first_asked_at: float, *, check_columns: bool
    ) -> None:
        self.parts = [(start, end)]
        """The ranges in order, both ends included; the seconds between two of them are settled."""
        self.reason = reason
        """Reason of the gap, if the range is never filled."""
        self.first_asked_at = first_asked_at
        """Monotonic time of the first request."""
        self.retry_at = first_asked_at
        """Monotonic time of the next request."""
        self.tries = 0
        self.check_columns = check_columns
        """Whether quantities missing from the record are still to be reported."""

    @property
    def start(self) -> int:
        """First second."""
        return self.parts[0][0]

    @property
    def end(self) -> int:
        """Last second."""
        return self.parts[-1][1]

    def contains(self, second: int) -> bool:
        """Return whether a second belongs to the range."""
        return any(start <= second <= end for start, end in self.parts)

    def add(self, start: int, end: int) -> None:
        """Append a range; beyond a limit it is joined with the one before it."""
        if start <= end:
            more = len(self.parts) >= _MAX_PARTS
            self.parts.append((self.parts.pop()[0] if more else start, end))

    def drop_verified(self, verified_to: int, unreliable: tuple[int, int] | None) -> None:
        """Remove the seconds that were verified, except those in the unreliable range."""
        kept: list[tuple[int, int]] = []
        for start, end in self.parts:
            if unreliable is not None:
                kept.append((max(start, unreliable[0]), min(end, unreliable[1], verified_to)))
            kept.append((max(start, verified_to + 1), end))
        self.parts = [each for each in kept if each[0] <= each[1]]

    @printable
    def __repr__(self) -> str:
        return f"<PendingRange for {self.parts}, tried {self.tries} times>"


class GapFiller(Generic[T]):
    """Decide which events a stream delivers, and when. It does no I/O and reads no clock.

    Without a gap, `on_live` returns its event at once. After `open_gap`, live events are held: call `begin`,
    request the recorded data, pass each row to `on_history`, then call `done` or `fail`. Deliver what `pop`
    returns, at any time.

    The record may be behind, and an answer may be incomplete. So a row only verifies the seconds between it
    and the row before it in the same answer; the last row verifies its own second too. Seconds that are not
    verified become a `PendingRange`, while live events go on. When it is due: `begin_retry`, then
    `on_retry_row` for each row, then `end_retry`. After the last retry the rest is reported as a gap.

    Args:
        since: Unix second from which on the first connection has a gap; None: the stream starts with its
            first event.
        max_held: Live events that are held; further ones are discarded, which opens another gap.
        overlap_s: Seconds before the last event from which on data is requested.
        retry_s: Seconds after the first request at which a pending range is requested again.
        window_s: Seconds for which deliveries are remembered, to recognise duplicates.
        window_ids: Number of events that are remembered.
        keys: Converts quantities to bit masks; may be shared by many streams.
    """

    __slots__ = (
        *("_closed_at", "_covered_to", "_dated_ahead", "_delivered", "_fill_start", "_fillable_gaps"),
        *("_held", "_held_gaps", "_keys", "_last_bits", "_last_keys", "_last_row", "_latest"),
        *("_latest_second", "_live_bits", "_max_held", "_nothing_missing", "_open_gap", "_output"),
        *("_overlap_s", "_retry_s", "_retrying", "_unreliable", "_unverified_tail", "_verified_to"),
        *("discarded", "duplicates", "filling", "gap_count", "newest", "pending"),
    )

    def __init__(
        self,
        *,
        since: int | None = None,
        max_held: int = 256,
        overlap_s: float = 2.0,
        retry_s: Sequence[float] = (60.0, 300.0, 900.0),
        window_s: float = 600.0,
        window_ids: int = 1000,
        keys: QuantityBits | None = None,
    ) -> None:
        self.newest: int | None = None
        """Newest unix second that was delivered."""
        # Newest second, and the second of the last live event that was older.
        self._dated_ahead = -1, 0
        self.discarded = 0
        """Number of live events that were discarded for lack of room; they are backfilled."""
        self.duplicates = 0
        """Number of live events that a backfill had delivered completely."""
        self.filling = False
        """Whether a fill runs: between `begin` and `done` or `fail`."""
        self._max_held = max_held
        self._overlap_s = overlap_s
        self._retry_s = retry_s
        self.pending: list[PendingRange] = []
        """Ranges that will be requested again, oldest first."""
        self._retrying: PendingRange | None = None
        self._unverified_tail: PendingRange | None = None  # unverified seconds up to the next live event
        self._verified_to = 0  # the current request has verified everything up to here
        self._last_row = 0  # second of its last row
        self._unreliable: tuple[int, int] | None = None  # range in which its rows could not be read
        self._delivered = DeliveredIndex(window_s=window_s, most=window_ids)
        self._keys = keys or QuantityBits()
        self._last_keys: Collection[str] = ()  # quantities of the last event that passed through ...
        self._last_bits = 0  # ... and their bit mask
        self._live_bits = 0  # every quantity that was sent live
        self._held: list[_Held[T]] = []
        self._output: OutputQueue[T] = OutputQueue(self._keys, accounted_to=since)
        self.gap_count = 0
        """Number of gaps so far; gaps are identified by this number."""
        self._nothing_missing = False  # nothing missing, held or queued, at the last check
        self._open_gap = 0  # number of the gap before the next live event; 0: none
        self._held_gaps = 0  # number of held events with a gap before them
        self._fillable_gaps = 0  # the current fill can fill gaps up to this number
        self._fill_start = 0  # where the current fill began ...
        self._covered_to = 0  # ... and what it has reached
        self._closed_at: int | None = None  # second of the live event after the last gap that it filled
        self._latest: _Held[T] | None = None  # the latest data until it is delivered ...
        self._latest_second: int | None = None  # ... and its second

    def resume(self, second: int, keys: Collection[str], count: int) -> None:
        """Continue after a run that delivered `count` events of this second, with these keys."""
        bits = self._keys.bits(keys)
        for _ in range(count):
            self._delivered.add_live(second, bits)
        self._live_bits |= bits
        self.newest = second

    def note_quantities(self, keys: Collection[str]) -> None:
        """Note quantities that the stream sends."""
        self._live_bits |= self._keys.bits(keys)

    def resume_pending(self, start: int, end: int, now: float) -> None:
        """Add a pending range of an earlier run."""
        pending = PendingRange(start, end, NOT_RECORDED, now, check_columns=True)
        self.pending.append(pending)
        self._pin_index()

    # --- live events -------------------------------------------------------------------------------------

    def try_pass_through(self, seconds: Sequence[int], keys: Collection[str]) -> bool:
        """Take live events that can be delivered as they are, which is the usual case.

        That is so if each is newer than all before it, and nothing is missing, held or pending. Then they are
        to be delivered, each as the first of its second. Otherwise nothing changes, and each goes to
        `on_live`.

        Args:
            seconds: Their unix seconds, increasing.
            keys: The quantities that every one of them has.

        Returns:
            Whether they can be delivered as they are.
        """
        newest = self.newest
        if (
            newest is None
            or seconds[0] <= newest
            or not (self._nothing_missing or self._check_nothing_missing())
        ):
            return False
        if keys is not self._last_keys:
            self._last_keys, self._last_bits = keys, self._keys.bits(keys)
            self._live_bits |= self._last_bits
        self._delivered.add_run(seconds, self._last_bits)
        self.newest = seconds[-1]
        return True

    def on_live(self, second: int, keys: Collection[str], item: T, *, room: bool = True) -> Emit[T] | None:
        """Take a live event; return it if it is to be delivered now, or hold it while there is a gap.

        Args:
            second: Its unix second.
            keys: Its quantities.
            item: The event itself.
            room: Whether the consumer has room; if not, the event is discarded, which opens a gap.
        """
        bits = self._keys.bits(keys)
        self._live_bits |= bits
        if not (self._open_gap or self._held_gaps):
            self._output.close_at(second)
            if self._unverified_tail is not None and not self.filling:
                self._close_tail(second, bits)
        ends = self._ends_gap(second)
        if (self._open_gap and ends) or self._held or self._output.ready or self.filling:
            self._hold_event(_Held(second, keys, bits, item, self._open_gap if ends else 0))
            return None
        if room:
            return self._emit_live(second, keys, bits, item)
        self._discard()
        return None

    def _ends_gap(self, second: int) -> bool:
        """Return whether a gap ends at a live event: only one that is newer than those before it shows that.

        If the newest event was dated ahead, as later events show, the event is compared with the last of
        these.
        """
        newest, last = self._dated_ahead
        return self.newest is None or second > (last if newest == self.newest else self.newest)

    def correct_start(self, now: int, offset_s: float) -> None:
        """Correct a start that lies after `now` by the offset of the clock that it was taken from."""
        since = self._output.accounted_to
        if self.newest is None and since is not None and since > now:
            self._output.accounted_to = min(now, int(since + offset_s))

    def open_gap(self) -> None:
        """Open a gap before the next live event, unless this is the start of a stream without `since`."""
        if self.newest is not None or self._output.accounted_to is not None:
            self._open_new_gap()

    @property
    def has_gap(self) -> bool:
        """Whether a gap waits for a fill."""
        return not self.filling and (self._open_gap > 0 or self._held_gaps > 0)

    # --- a fill ------------------------------------------------------------------------------------------

    def begin(self, known_gaps: int, latest: int | None = None) -> float:
        """Begin a fill; return the unix second from which on recorded data is needed.

        Args:
            known_gaps: The `gap_count` of a moment before which everything must have been recorded by now.
                Later gaps are left to another fill.
            latest: Second of the latest data, if known.
        """
        self.filling, self._nothing_missing = True, False
        self._fillable_gaps = known_gaps
        self._fill_start = self._covered_to = position = self._delivered_until(latest)
        self._verified_to = self._last_row = position - 1
        self._unreliable = self._unverified_tail = None
        self._pin_index()
        self._closed_at = self._latest = self._latest_second = None
        self._output.reconsider(position)
        overlap_s = 0.0 if self.newest is None else self._overlap_s
        return max(position - overlap_s, self._output.accounted_to or 0)

    @property
    def held(self) -> int:
        """Number of live events that are held."""
        return len(self._held)

    @property
    def covered_to(self) -> int:
        """Unix second that the fill has reached."""
        return self._covered_to

    def skip(self, until: int, reason: str) -> None:
        """Report everything before `until` as a gap."""
        self._output.report(self._fill_start, until, reason)
        self._fill_start = self._covered_to = until
        self._verified_to = self._last_row = until - 1

    def on_latest(self, second: int, keys: Collection[str], item: T) -> None:
        """Take the latest data; it is delivered at its place in time unless a live event covers it."""
        self._latest = _Held(second, keys, self._keys.bits(keys), item)
        self._latest_second = second

    @property
    def newest_known(self) -> int | None:
        """Newest time reported by the server so far, in unix seconds."""
        known = [held.second for held in (self._latest, *self._held[-1:]) if held is not None]
        return max(known, default=None)

    @property
    def needed_until(self) -> int | None:
        """Last unix second that is needed; None: everything up to now."""
        if self._open_gap or not self._held_gaps:
            return None
        return max(held.second for held in self._held if held.gap)

    def on_history(
        self, second: int, keys: Collection[str], item: T, *, full_row: bool = False, unreliable: bool = False
    ) -> bool:
        """Take a recorded row, in time order; return False once no more are needed.

        Args:
            second: Its unix second.
            keys: Its quantities.
            item: The reading; what was not delivered of it will be.
            full_row: The row may repeat unchanged values, as the first row of an answer does.
            unreliable: Rows next to it could not be read, so it verifies nothing.
        """
        self._verify_to(second, unreliable=unreliable)
        closed = self._closed_at
        if closed is not None and second > closed and not (self._open_gap or self._held_gaps):
            return False
        while self._held and self._held[0].second <= second:
            # The rows have reached these events, so no gap is left before them.
            self._release_held()
        self._emit_latest(before=second)
        if not (full_row and self.newest is not None and second < self._fill_start):
            self._emit_backfilled(second, self._keys.bits(keys), item)
        self._covered_to = max(self._covered_to, second)
        return True

    @property
    def verified_to(self) -> int:
        """Unix second up to which the current request has verified that nothing is missing."""
        return self._verified_to

    def on_request(self, start: int) -> None:
        """Note the first second of the next answer: its rows verify nothing before that."""
        if start > self._verified_to + 1:
            self._mark_unreliable(self._verified_to + 1, start)
            self._verified_to = start - 1

    def _mark_unreliable(self, start: int, end: int) -> None:
        known = self._unreliable
        self._unreliable = (start, end) if known is None else (min(start, known[0]), max(end, known[1]))

    def distrust_after(self, second: int) -> None:
        """Note that rows after this second were out of order: they have verified nothing."""
        self._verified_to = min(self._verified_to, second)

    def _verify_to(self, second: int, *, unreliable: bool) -> None:
        """Note how far a row verifies that nothing is missing."""
        if unreliable:
            self._mark_unreliable(self._last_row, max(second, self._last_row))
        self._last_row = max(self._last_row, second)
        self._verified_to = max(self._verified_to, second - 1)
        if self._unreliable is None and not self.pending:
            self._delivered.keep_since = int(self._verified_to - self._overlap_s)  # as in `_pin_index`

    def done(self, exported: Collection[str], now: float = 0.0, *, reason: str = NOT_RECORDED) -> None:
        """End the fill: the record was read to its end.

        Args:
            exported: Quantities that the record has columns for.
            now: Monotonic seconds.
            reason: Reason of the gaps that remain, should they never be filled.
        """
        self._verified_to = max(self._verified_to, self._last_row)
        closing = [held.second for held in self._held if 0 < held.gap <= self._fillable_gaps]
        self._closed_at = max(closing, default=self._closed_at)
        later = max(self._open_gap, *(held.gap for held in self._held), 0) > self._fillable_gaps
        end = max(self._closed_at or 0, self._covered_to) if later else self._gap_end
        self._report_unrecorded(self._fill_start, end, exported)
        if end is not None and end < self._covered_to:  # the latest data was delivered in between
            self._report_unrecorded(end, self._covered_to, exported)
        if self._open_gap <= self._fillable_gaps:
            self._open_gap = 0
        runs = self._live_runs()
        self._end_fill(self._fillable_gaps)
        self._keep_unverified(end, reason, now, check_columns=False, runs=runs)
        self._pin_index()

    def fail(
        self,
        reason: str,
        exported: Collection[str] | None = None,
        now: float = 0.0,
        *,
        final: bool = True,
    ) -> None:
        """End the fill: the request failed.

        Args:
            reason: Reason of the gap.
            exported: Quantities that the record has columns for, if known.
            now: Monotonic seconds.
            final: A retry cannot help.
        """
        reached = self._covered_to
        if exported is not None and reached > self._fill_start:
            self._report_unrecorded(self._fill_start, reached, exported)
        unreliable, self._unreliable = (self._unreliable, None) if final else (None, self._unreliable)
        if unreliable is not None:
            first, last = max(unreliable[0], self._fill_start), min(unreliable[1], reached)
            self._add_pending(PendingRange(first, last, reason, now, check_columns=True))
        if not final:
            if self._held:  # if no gap precedes them, only the last row may be incomplete
                end: int | None = self._held[0].second if self._held[0].gap else self._last_row
            else:
                end = self._gap_end
                self._open_gap = 0
                if end is None:
                    self._latest = None
            self._end_fill(self._held[0].gap if self._held else 0)
            self._keep_unverified(end, reason, now, check_columns=True)
            self._pin_index()
            return
        if not self._held:
            end = self._gap_end
            self._output.report(reached, end, reason)
            if end is None:
                self._latest = None  # it lies within the gap
            self._open_gap = 0
        elif self._held[0].gap:
            first = self._held[0].second
            if self._latest is not None and reached < self._latest.second < first:
                self._output.report(reached, self._latest.second, reason)
                reached = self._latest.second
                self._emit_latest(before=first)
            self._output.report(reached, first, reason)
        self._end_fill(self._held[0].gap if self._held else 0)
        self._pin_index()

    # --- retries of pending ranges -----------------------------------------------------------------------

    @property
    def next_retry_at(self) -> float | None:
        """Monotonic time at which a pending range is due; None: there is none."""
        return min((each.retry_at for each in self.pending), default=None)

    def begin_retry(self, now: float) -> PendingRange | None:
        """Return the pending range that is due, if there is one, and begin its retry."""
        due = min(self.pending, key=lambda each: each.retry_at, default=None)
        if due is None or due.retry_at > now:
            return None
        self._verified_to, self._last_row, self._unreliable = due.start - 1, due.start - 1, None
        self._retrying = due
        return due

    def on_retry_row(
        self, pending: PendingRange, second: int, keys: Collection[str], item: T, *, unreliable: bool = False
    ) -> bool:
        """Take a row of a retry, as `on_history` does; return False once no more are needed."""
        self._verify_to(second, unreliable=unreliable)
        if pending.contains(second):
            bits = self._keys.bits(keys)
            fresh = self._delivered.undelivered(second, bits)
            if fresh:
                ordinal = self._delivered.add_backfilled(second, fresh)
                emit = Emit(item, second, ordinal, self._keys.names(fresh), backfilled=True)
                self._output.ready.append(emit)
        return second <= pending.end

    def end_retry(
        self,
        pending: PendingRange,
        exported: Collection[str] | None,
        *,
        error: str = "",
        final: bool = False,
    ) -> None:
        """End a retry.

        Args:
            pending: The range that `begin_retry` returned.
            exported: Quantities that the record has columns for, if known.
            error: Why the request failed; empty: it did not.
            final: A further retry cannot help.
        """
        self.pending.remove(pending)
        self._retrying = None
        if not error:
            self._verified_to = max(self._verified_to, self._last_row)
        if pending.check_columns and exported is not None and self._last_row >= pending.start:
            pending.check_columns = False
            self._report_unrecorded(pending.start - 1, pending.end, exported)
        pending.reason = error or pending.reason
        pending.drop_verified(self._verified_to, self._unreliable)
        if pending.parts:
            if final or pending.tries >= len(self._retry_s):
                self._report_pending(pending, pending.reason)
            else:
                self._add_pending(pending)
        self._pin_index()

    def give_up_pending(self) -> list[Missing]:
        """Remove the pending ranges and return them as gaps, because the stream ends."""
        missing = [each for one in self.pending for each in self._missing_in(one, one.reason)]
        self.pending.clear()
        self._pin_index()
        return missing

    def _live_runs(self) -> list[tuple[int, int]]:
        """Return first and last second of each run of held events that is released now."""
        runs: list[tuple[int, int]] = []
        for held in self._held:
            if held.gap > self._fillable_gaps:
                break
            if not runs:
                runs.append((held.second if held.gap else self._fill_start, held.second))
            elif held.gap:
                runs.append((held.second, held.second))
            else:
                runs[-1] = runs[-1][0], max(runs[-1][1], held.second)
        return runs

    def _keep_unverified(
        self,
        end: int | None,
        reason: str,
        now: float,
        *,
        check_columns: bool,
        runs: Collection[tuple[int, int]] = (),
    ) -> None:
        """Make a pending range of what the fill has not verified."""
        unreliable, self._unreliable = self._unreliable, None
        if unreliable is not None:
            first, last = max(unreliable[0], self._fill_start), min(unreliable[1], end or unreliable[1])
            self._add_pending(PendingRange(first, last, reason, now, check_columns=check_columns))
        start = max(self._verified_to + 1, self._fill_start)
        if start == self._fill_start and self._is_complete(start):
            start += 1
        rest = PendingRange(start, start, reason, now, check_columns=check_columns)
        rest.parts.clear()
        for first, last in runs:
            rest.add(start, first - self._is_complete(first))
            start = max(start, last + self._is_complete(last))
        if end is None:
            if not self._open_gap and not self._held:
                self._unverified_tail = PendingRange(start, start, reason, now, check_columns=check_columns)
        elif all(last < end for _, last in runs):
            rest.add(start, end - self._is_complete(end))
        if rest.parts:
            self._add_pending(rest)

    def _close_tail(self, second: int, bits: int) -> None:
        tail, self._unverified_tail = self._unverified_tail, None
        if tail is not None:
            full_row = self._live_bits and not self._live_bits & ~bits
            tail.parts = [(tail.start, second - 1 if full_row else second)]
            self._add_pending(tail)

    def _is_complete(self, second: int) -> bool:
        """Return whether every quantity that the stream sends was delivered for a second."""
        return bool(self._live_bits) and not self._delivered.undelivered(second, self._live_bits)

    def _is_recorded(self, second: int) -> bool:
        """Return whether a backfill delivered something for a second, or it is complete."""
        return self._delivered.has_backfilled(second) or self._is_complete(second)

    def _add_pending(self, pending: PendingRange) -> None:
        if pending.start > pending.end:
            return
        pending.retry_at = pending.first_asked_at + self._retry_s[pending.tries]
        pending.tries += 1
        self.pending.append(pending)
        self.pending.sort(key=lambda each: each.start)
        if len(self.pending) > _MAX_PENDING:
            self._join_closest()
        self._pin_index()

    def _join_closest(self) -> None:
        """Join the two closest pending ranges, except the one being requested."""
        free = [each for each in self.pending if each is not self._retrying]
        before, after = min(pairwise(free), key=lambda pair: pair[1].start - pair[0].end)
        before.parts = sorted([*before.parts, *after.parts])
        if after.first_asked_at > before.first_asked_at:  # the younger range keeps all its retries
            before.first_asked_at, before.retry_at, before.tries = (
                after.first_asked_at,
                after.retry_at,
                after.tries,
            )
        before.check_columns |= after.check_columns
        self.pending.remove(after)
        while len(before.parts) > _MAX_PARTS or before.end - before.start > _MAX_JOINED_S:
            part = before.parts.pop(0)
            self._output.ready.extend(self._missing_in_part(part, TOO_MANY_GAPS))

    def _report_pending(self, pending: PendingRange, reason: str) -> None:
        self._output.ready.extend(self._missing_in(pending, reason))

    def _missing_in(self, pending: PendingRange, reason: str) -> list[Missing]:
        return [each for part in pending.parts for each in self._missing_in_part(part, reason)]

    def _missing_in_part(self, part: tuple[int, int], reason: str) -> list[Missing]:
        """Return the gaps within a range: the stretches between deliveries."""
        start, end = part
        edges = [start - 1, *self._delivered.between(start, end), end + 1]
        missing = [(before, after) for before, after in pairwise(edges) if after - before > 1]
        if not missing:  # but the first and last second may be incomplete
            ends = {start, end}
            return [Missing(each, each, reason) for each in sorted(ends) if not self._is_recorded(each)]
        if len(missing) > _MAX_GAPS_OF_PART:
            return [Missing(start, end, reason)]
        return [Missing(before, after, reason) for before, after in missing]

    def _pin_index(self) -> None:
        """Keep deliveries in memory for the seconds that are requested, now or later."""
        starts = [each.start for each in (*self.pending, self._unverified_tail) if each is not None]
        if self.filling:  # there may be many held events or rows
            unproven = (
                self._verified_to if self._unreliable is None else min(self._verified_to, self._unreliable[0])
            )
            starts.append(int(unproven - self._overlap_s))
        self._delivered.keep_since = min(starts, default=None)

    # --- deliveries --------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether `pop` has something."""
        return bool(self._output.ready) or (not self.filling and bool(self._held) and not self._held[0].gap)

    def pop(self) -> Emit[T] | Missing | None:
        """Return what is to be delivered next; None if there is nothing now."""
        while self.ready:
            if self._output.ready:
                return self._output.ready.pop(0)
            self._release_held()
        return None

    def _hold_event(self, held: _Held[T]) -> None:
        if len(self._held) >= self._max_held:
            self._discard()
            return
        self._held.append(held)
        if held.gap:
            self._held_gaps += 1
            self._open_gap = 0

    def _discard(self) -> None:
        self.discarded += 1
        self._open_new_gap()

    def _check_nothing_missing(self) -> bool:
        """Return whether events may pass through: nothing is missing, held or waiting to be delivered."""
        output = self._output
        waits = output.ready or output.open_ended or self._unverified_tail
        self._nothing_missing = not (self._open_gap or self._held or self.filling or waits)
        return self._nothing_missing

    def _open_new_gap(self) -> None:
        self._nothing_missing = False
        self.gap_count += 1
        self._open_gap = self.gap_count

    def _delivered_until(self, latest: int | None) -> int:
        """Return the second up to which everything was delivered or reported.

        An event may be dated ahead. If a gap ends before the newest event, it begins at the newest before
        that end.
        """
        newest = self.newest
        ends = [held.second for held in self._held if held.gap] + ([] if latest is None else [latest])
        if newest is not None and ends and newest > max(ends):
            newest = self._delivered.newest_until(max(ends)) or max(ends)
        accounted = self._output.accounted_to
        if newest is None and ends and accounted is not None and accounted > max(ends):
            accounted = self._output.accounted_to = max(ends)  # taken from a local clock that was ahead
        return max(place for place in (newest, accounted, 0) if place is not None)

    @property
    def _gap_end(self) -> int | None:
        """Where the last gap ends, if that is known before the next live event."""
        if not self._open_gap:
            return self._closed_at
        return self._latest_second if self._open_gap <= self._fillable_gaps else None

    def _emit_live(self, second: int, keys: Collection[str], bits: int, item: T) -> Emit[T] | None:
        fresh, ordinal = self._delivered.add_live(second, bits)
        if bits and not fresh:
            self.duplicates += 1
            return None
        if self.newest is None or second > self.newest:
            self.newest = second
        elif self.newest - second <= _MAX_AHEAD_S or self._delivered.newest_until(self.newest - 1) == second:
            # Nothing lies between the two, so the newest one was dated ahead.
            self._dated_ahead = self.newest, second
        return Emit(item, second, ordinal, keys if fresh == bits else self._keys.names(fresh))

    def _emit_backfilled(self, second: int, bits: int, item: T) -> None:
        fresh = self._delivered.undelivered(second, bits)
        if fresh:
            ordinal = self._delivered.add_backfilled(second, fresh)
            self.newest = second if self.newest is None else max(self.newest, second)
            self._output.ready.append(Emit(item, second, ordinal, self._keys.names(fresh), backfilled=True))

    def _release_held(self) -> None:
        """Release the first held event."""
        second, keys, bits, item, gap = self._held.pop(0)
        if gap:
            self._held_gaps -= 1
            self._closed_at = second
        self._emit_latest(before=second)
        emit = self._emit_live(second, keys, bits, item)
        if emit is not None:
            self._output.ready.append(emit)

    def _emit_latest(self, before: float) -> None:
        latest = self._latest
        if latest is not None and latest.second < before:
            self._latest = None
            if self.newest is None or latest.second >= self.newest:
                self._emit_backfilled(latest.second, latest.bits, latest.item)

    def _end_fill(self, closed: int) -> None:
        """End the fill: gaps up to number `closed` are filled or reported."""
        alive = bool(self._held) or self._closed_at is not None
        newest = max((held.second for held in self._held), default=self.newest or 0)
        while self._held and self._held[0].gap <= closed:
            self._release_held()
        ahead = alive and self._latest is not None and self._latest.second > newest
        if ahead or self._held or self._open_gap:
            # Later data comes from the live connection, or from the next fill.
            self._latest = None
        self._emit_latest(before=float("inf"))
        self.filling = False

    def _report_unrecorded(self, start: int, end: int | None, exported: Collection[str]) -> None:
        unknown = self._live_bits & ~self._keys.bits(exported)
        if unknown:
            self._output.report(start, end, NOT_EXPORTED, unknown)

    @printable
    def __repr__(self) -> str:
        doing = "filling" if self.filling else "open" if self.has_gap else "full_row"
        return f"<GapFiller {doing}, {len(self._held)} held, {self.discarded} discarded, at {self.newest}>"

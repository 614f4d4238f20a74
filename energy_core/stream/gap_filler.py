"""What is to be handed over next: readings, and the word that something is missing, in their order."""

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


class Pending(NamedTuple):
    """A stretch that is missing up to the next live event, whenever that comes."""

    start: int
    reason: str
    bits: int


class OutputQueue(Generic[Item]):
    """Gathers what a `GapFiller` has decided to tell.

    Args:
        keys: Knows the quantities by their bits.
        accounted: The unix second up to which nothing is owed; None: nobody has said.
    """

    __slots__ = ("_keys", "accounted", "pending", "ready")

    def __init__(self, keys: QuantityBits, *, accounted: int | None) -> None:
        self.ready: list[Emit[Item] | Missing] = []
        """Seldom more than one; and where there are thousands of these, a deque each would be too much."""
        self.accounted = accounted
        """Up to here, what was not handed over was said to be missing."""
        self._keys = keys
        self.pending: list[Pending] = []
        """What has no end yet."""

    def miss(self, start: int, end: int | None, reason: str, bits: int = 0) -> None:
        """Say that a stretch is missing, or these quantities of it, as soon as its end is known."""
        if end is None:
            self.pending.append(Pending(start, reason, bits))
            return
        self.ready.append(Missing(start, max(start, end), reason, self._keys.names(bits)))
        if not bits:
            self.accounted = max(end, self.accounted or end)

    def settle(self, end: int) -> None:
        """Say that a live event has come: what was missing before it ends there."""
        if self.pending:
            pending, self.pending = self.pending, []
            for start, reason, bits in pending:
                self.miss(start, end, reason, bits)

    def reconsider(self, position: int) -> None:
        """Take back what was not said yet, to ask once more; quantities that nobody records stay missing."""
        pending, self.pending = self.pending, []
        for start, reason, bits in pending:
            if bits and position > start:
                self.miss(start, position, reason, bits)

    @printable
    def __repr__(self) -> str:
        return f"<Outbox of {len(self.ready)}, {len(self.pending)} gaps without an end>"


T = TypeVar("T")

_BELIEVED_S: Final = 330
"""An event may be dated so far ahead and be believed; one that is older than that is itself dated wrongly."""

_MOST_WAITING: Final = 4
_LONGEST_JOINED: Final = 3600
_MOST_PARTS: Final = 8
_MOST_PIECES: Final = 64


class _Held(NamedTuple, Generic[T]):
    second: int
    keys: Collection[str]
    bits: int
    item: T
    hole: int = 0
    """The number of the hole before it; 0: it follows without one."""


class Waiting:
    """Seconds that a fill did not prove to be whole; they are asked for again."""

    __slots__ = ("due", "first", "lacks", "parts", "reason", "tries")

    def __init__(self, start: int, end: int, reason: str, first: float, *, lacks: bool) -> None:
        self.parts = [(start, end)]
        """In order, both ends included; what lies between two of them is settled."""
        self.reason = reason
        """Why it is a gap, if it never is filled."""
        self.first = first
        """When it was asked for first."""
        self.due = first
        """When it is asked for again."""
        self.tries = 0
        self.lacks = lacks
        """Whether the quantities that the record lacks are still to be reported."""

    @property
    def start(self) -> int:
        """Its first second."""
        return self.parts[0][0]

    @property
    def end(self) -> int:
        """Its last second."""
        return self.parts[-1][1]

    def has(self, second: int) -> bool:
        """Return whether a second belongs to it."""
        return any(start <= second <= end for start, end in self.parts)

    def add(self, start: int, end: int) -> None:
        """Let a stretch behind the others belong to it too; past a bound, with what lies before it."""
        if start <= end:
            more = len(self.parts) >= _MOST_PARTS
            self.parts.append((self.parts.pop()[0] if more else start, end))

    def keep(self, proven: int, doubt: tuple[int, int] | None) -> None:
        """Leave out what was proved; what is doubted was not."""
        kept: list[tuple[int, int]] = []
        for start, end in self.parts:
            if doubt is not None:
                kept.append((max(start, doubt[0]), min(end, doubt[1], proven)))
            kept.append((max(start, proven + 1), end))
        self.parts = [each for each in kept if each[0] <= each[1]]

    @printable
    def __repr__(self) -> str:
        return f"<Waiting for {self.parts}, tried {self.tries} times>"


class GapFiller(Generic[T]):
    """Decides what a stream hands over, and when, so that nothing is lost in silence or told twice.

    Without a hole `live` returns its event at once. With one (`open`): `begin` a fill, ask for the past and
    give it to `row`, then say `done` or `fail`. Meanwhile and afterwards, hand over what `pop` returns.

    A record may be behind, and an answer may lack anything, so nothing is whole because an answer ended: a
    row proves the seconds between it and the row before it in the same answer, the last one its own too.
    What is not proved waits (`waiting`) until it is `due` again, while live events go on: `ask_again`, then
    `late_row`, then `answered`. After the last try it is missing.

    Args:
        since: Unix second from which on a first connection presumes a hole; None: the stream begins with its
            first event.
        hold: Live events that are held; past it they are discarded, and the hole is open again.
        overlap_s: How far before the last event the past is asked for.
        retry_s: When what was not proved is asked for again, in seconds since it was asked for first.
        window_s: Seconds in which a repeated moment is known as such.
        window_ids: The most events of that window.
        keys: Knows the quantities; a program with thousands of streams need not have as many of these.
    """

    __slots__ = (
        *(
            "_alike",
            "_base",
            "_behind",
            "_bits",
            "_broken",
            "_calm",
            "_closed_at",
            "_covered",
            "_delivered",
        ),
        *("_held", "_hold", "_keys", "_latest", "_open", "_outbox", "_overlap_s", "_present"),
        *(
            "_asking",
            "_doubt",
            "_proven",
            "_reach",
            "_retry_s",
            "_row",
            "_spoken",
            "_tail",
            "discarded",
            "filling",
        ),
        *("holes", "newest", "repeated", "waiting"),
    )

    def __init__(
        self,
        *,
        since: int | None = None,
        hold: int = 256,
        overlap_s: float = 2.0,
        retry_s: Sequence[float] = (60.0, 300.0, 900.0),
        window_s: float = 600.0,
        window_ids: int = 1000,
        keys: QuantityBits | None = None,
    ) -> None:
        self.newest: int | None = None
        """The newest second handed over."""
        self._behind = -1, 0  # the newest second, and that of the last live event that was not newer
        self.discarded = 0
        """Live events that found no place; a fill brings what they told."""
        self.repeated = 0
        """Live events that came after a fill had told all they hold."""
        self.filling = False
        """Between `begin` and `done` or `fail`."""
        self._hold = hold
        self._overlap_s = overlap_s
        self._retry_s = retry_s
        self.waiting: list[Waiting] = []
        """What waits to be asked for again, oldest first."""
        self._asking: Waiting | None = None
        self._tail: Waiting | None = None  # the same, up to the next live event
        self._proven = 0  # up to here the fill under way has proved that nothing is missing
        self._row = 0  # the second of its last row
        self._doubt: tuple[int, int] | None = None  # where rows of it could not be read
        self._delivered = DeliveredIndex(window_s=window_s, most=window_ids)
        self._keys = keys or QuantityBits()
        self._alike: Collection[str] = ()  # the quantities of the last event that passed ...
        self._bits = 0  # ... and their number
        self._spoken = 0  # every quantity that came live so far
        self._held: list[_Held[T]] = []
        self._outbox: OutputQueue[T] = OutputQueue(self._keys, accounted=since)
        self.holes = 0
        """How many holes there were so far; they are known by their numbers."""
        self._calm = False  # nothing is missing, held, fetched or still to be told, as far as anybody looked
        self._open = 0  # the hole before the next live event
        self._broken = 0  # how many held events have a hole before them
        self._covered = 0  # up to which hole the fill under way can close them
        self._base = 0  # where the fill under way began ...
        self._reach = 0  # ... and how far it has come
        self._closed_at: int | None = None  # the live event behind the last hole it has closed
        self._latest: _Held[T] | None = None  # the present state, as long as it was not told ...
        self._present: int | None = None  # ... and its second

    def resume(self, second: int, keys: Collection[str], count: int) -> None:
        """Go on after a run that stopped in this second, of which it told `count` events with these keys."""
        bits = self._keys.bits(keys)
        for _ in range(count):
            self._delivered.live(second, bits)
        self._spoken |= bits
        self.newest = second

    def heard(self, keys: Collection[str]) -> None:
        """Note quantities that have come live."""
        self._spoken |= self._keys.bits(keys)

    def resume_waiting(self, start: int, end: int, now: float) -> None:
        """Ask again for what an earlier run was waiting for."""
        waiting = Waiting(start, end, NOT_RECORDED, now, lacks=True)
        self.waiting.append(waiting)
        self._pin()

    # --- live events ---------------------------------------------------------------------------------------

    def try_pass_through(self, seconds: Sequence[int], keys: Collection[str]) -> bool:
        """Take live events about which there is nothing to decide, as nearly all of them are.

        Each is newer than all before it, and nothing is missing, held or waiting: they are to be handed over
        as they are, each the first of its second. Otherwise nothing is done, and `live` decides.

        Args:
            seconds: Their times, each later than the one before.
            keys: The quantities that every one of them holds.
        """
        newest = self.newest
        if newest is None or seconds[0] <= newest or not (self._calm or self._calms_down()):
            return False
        if keys is not self._alike:
            self._alike, self._bits = keys, self._keys.bits(keys)
            self._spoken |= self._bits
        self._delivered.run(seconds, self._bits)
        self.newest = seconds[-1]
        return True

    def on_live(self, second: int, keys: Collection[str], item: T, *, room: bool = True) -> Emit[T] | None:
        """Take a live event: return it to be handed over now, or hold it while a hole is open.

        Args:
            second: Its time.
            keys: The quantities it holds.
            item: The event itself.
            room: Whether the consumer has room for it; without, there is a hole in its place.
        """
        bits = self._keys.bits(keys)
        self._spoken |= bits
        if not (self._open or self._broken):
            self._outbox.settle(second)
            if self._tail is not None and not self.filling:
                self._end_tail(second, bits)
        ends = self._ends_a_hole(second)
        if (self._open and ends) or self._held or self._outbox.ready or self.filling:
            self._keep(_Held(second, keys, bits, item, self._open if ends else 0))
            return None
        if room:
            return self._live(second, keys, bits, item)
        self._discard()
        return None

    def _ends_a_hole(self, second: int) -> bool:
        """Tell whether a hole ends with an event: one dated no later than those before says nothing of that.

        Where the newest was dated ahead, as later events show, the last of these counts.
        """
        newest, last = self._behind
        return self.newest is None or second > (last if newest == self.newest else self.newest)

    def correct_start(self, now: int, offset_s: float) -> None:
        """Move a start that is later than `now` by the offset of the clock that it was taken from."""
        since = self._outbox.accounted
        if self.newest is None and since is not None and since > now:
            self._outbox.accounted = min(now, int(since + offset_s))

    def open_gap(self) -> None:
        """Presume a hole before the next live event. Before the first event of a run there is none."""
        if self.newest is not None or self._outbox.accounted is not None:
            self._break()

    @property
    def open(self) -> bool:
        """Whether a hole waits to be filled."""
        return not self.filling and (self._open > 0 or self._broken > 0)

    # --- a fill --------------------------------------------------------------------------------------------

    def begin(self, known: int, present: int | None = None) -> float:
        """Begin to fill; return the unix second from which on the past is wanted.

        Args:
            known: `holes` so long ago that what fell into them must have been recorded by now. Later ones are
                left to another fill.
            present: The second of the present state, where it is known.
        """
        self.filling, self._calm = True, False
        self._covered = known
        self._base = self._reach = position = self._position_before(present)
        self._proven = self._row = position - 1
        self._doubt = self._tail = None
        self._pin()
        self._closed_at = self._latest = self._present = None
        self._outbox.reconsider(position)
        overlap_s = 0.0 if self.newest is None else self._overlap_s
        return max(position - overlap_s, self._outbox.accounted or 0)

    @property
    def covered_to(self) -> int:
        """The second up to which the fill has come."""
        return self._reach

    def skip(self, until: int, reason: str) -> None:
        """Give up what lies before `until`."""
        self._outbox.miss(self._base, until, reason)
        self._base = self._reach = until
        self._proven = self._row = until - 1

    def on_latest(self, second: int, keys: Collection[str], item: T) -> None:
        """Take the present state; it is handed over in its place, unless live events say more."""
        self._latest = _Held(second, keys, self._keys.bits(keys), item)
        self._present = second

    @property
    def until(self) -> int | None:
        """The present moment of those who tell, as far as they have told it."""
        known = [held.second for held in (self._latest, *self._held[-1:]) if held is not None]
        return max(known, default=None)

    @property
    def horizon(self) -> int | None:
        """The last second that is wanted; None for all there is."""
        if self._open or not self._broken:
            return None
        return max(held.second for held in self._held if held.hole)

    def on_history(
        self, second: int, keys: Collection[str], item: T, *, whole: bool = False, doubt: bool = False
    ) -> bool:
        """Take a moment of the past, in order; return False once no more is wanted.

        Args:
            second: Its time.
            keys: The quantities it holds.
            item: What is handed over, as far as it is fresh.
            whole: It may repeat what has not changed, as the first row of an answer does.
            doubt: There are rows near it that could not be read: it proves nothing.
        """
        self._prove(second, doubt=doubt)
        closed = self._closed_at
        if closed is not None and second > closed and not (self._open or self._broken):
            return False
        while self._held and self._held[0].second <= second:
            # The past has come this far without a break, so no hole is left before these.
            self._release()
        self._tell_latest(before=second)
        if not (whole and self.newest is not None and second < self._base):
            self._filled(second, self._keys.bits(keys), item)
        self._reach = max(self._reach, second)
        return True

    @property
    def proven(self) -> int:
        """The second up to which what was asked for last is whole."""
        return self._proven

    def asked(self, start: int) -> None:
        """Say from which second on the next answer is: its rows prove nothing before that."""
        if start > self._proven + 1:
            self._distrust(self._proven + 1, start)
            self._proven = start - 1

    def _distrust(self, start: int, end: int) -> None:
        known = self._doubt
        self._doubt = (start, end) if known is None else (min(start, known[0]), max(end, known[1]))

    def doubt_since(self, second: int) -> None:
        """Say that rows after this second were dated wrongly: they have proved nothing."""
        self._proven = min(self._proven, second)

    def _prove(self, second: int, *, doubt: bool) -> None:
        """Note how far a row proves that nothing is missing."""
        if doubt:
            self._distrust(self._row, max(second, self._row))
        self._row = max(self._row, second)
        self._proven = max(self._proven, second - 1)
        if self._doubt is None and not self.waiting:
            self._delivered.since = int(self._proven - self._overlap_s)  # as `_pin` does

    def done(self, exported: Collection[str], now: float = 0.0, *, reason: str = NOT_RECORDED) -> None:
        """End the fill: the past was read to its end.

        Args:
            exported: The quantities it knows.
            now: Monotonic seconds.
            reason: Why what is not there is a gap, should it never come.
        """
        self._proven = max(self._proven, self._row)
        closing = [held.second for held in self._held if 0 < held.hole <= self._covered]
        self._closed_at = max(closing, default=self._closed_at)
        later = max(self._open, *(held.hole for held in self._held), 0) > self._covered
        end = max(self._closed_at or 0, self._reach) if later else self._end
        self._miss_unknown(self._base, end, exported)
        if end is not None and end < self._reach:  # the present state was told in between
            self._miss_unknown(end, self._reach, exported)
        if self._open <= self._covered:
            self._open = 0
        runs = self._runs()
        self._finish(self._covered)
        self._wait_for_rest(end, reason, now, lacks=False, runs=runs)
        self._pin()

    def fail(
        self,
        reason: str,
        exported: Collection[str] | None = None,
        now: float = 0.0,
        *,
        final: bool = True,
    ) -> None:
        """End the fill: the past cannot be had from here on.

        Args:
            reason: Why.
            exported: The quantities it knows, where that is known.
            now: Monotonic seconds.
            final: It cannot be had later either.
        """
        reached = self._reach
        if exported is not None and reached > self._base:
            self._miss_unknown(self._base, reached, exported)
        doubt, self._doubt = (self._doubt, None) if final else (None, self._doubt)
        if doubt is not None:
            first, last = max(doubt[0], self._base), min(doubt[1], reached)
            self._wait(Waiting(first, last, reason, now, lacks=True))
        if not final:
            if self._held:  # without a hole before the first, its last row may have been cut, no more
                end: int | None = self._held[0].second if self._held[0].hole else self._row
            else:
                end = self._end
                self._open = 0
                if end is None:
                    self._latest = None
            self._finish(self._held[0].hole if self._held else 0)
            self._wait_for_rest(end, reason, now, lacks=True)
            self._pin()
            return
        if not self._held:
            end = self._end
            self._outbox.miss(reached, end, reason)
            if end is None:
                self._latest = None  # it lies somewhere within what is missing
            self._open = 0
        elif self._held[0].hole:
            first = self._held[0].second
            if self._latest is not None and reached < self._latest.second < first:
                self._outbox.miss(reached, self._latest.second, reason)
                reached = self._latest.second
                self._tell_latest(before=first)
            self._outbox.miss(reached, first, reason)
        self._finish(self._held[0].hole if self._held else 0)
        self._pin()

    # --- what is asked for again ---------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When something is to be asked for again, monotonic seconds; None: nothing waits."""
        return min((each.due for each in self.waiting), default=None)

    def ask_again(self, now: float) -> Waiting | None:
        """Begin to ask for what is due."""
        due = min(self.waiting, key=lambda each: each.due, default=None)
        if due is None or due.due > now:
            return None
        self._proven, self._row, self._doubt = due.start - 1, due.start - 1, None
        self._asking = due
        return due

    def late_row(
        self, waiting: Waiting, second: int, keys: Collection[str], item: T, *, doubt: bool = False
    ) -> bool:
        """Take a moment of what was asked for again, as `row` does. Seconds outside are settled."""
        self._prove(second, doubt=doubt)
        if waiting.has(second):
            bits = self._keys.bits(keys)
            fresh = self._delivered.fresh(second, bits)
            if fresh:
                ordinal = self._delivered.filled(second, fresh)
                take = Emit(item, second, ordinal, self._keys.names(fresh), backfilled=True)
                self._outbox.ready.append(take)
        return second <= waiting.end

    def answered(
        self,
        waiting: Waiting,
        exported: Collection[str] | None,
        *,
        trouble: str = "",
        final: bool = False,
    ) -> None:
        """End what `ask_again` has begun.

        Args:
            waiting: What it returned.
            exported: The quantities the record knows, where that is known.
            trouble: Why it broke off; empty: it did not.
            final: It cannot be had later either.
        """
        self.waiting.remove(waiting)
        self._asking = None
        if not trouble:
            self._proven = max(self._proven, self._row)
        if waiting.lacks and exported is not None and self._row >= waiting.start:
            waiting.lacks = False
            self._miss_unknown(waiting.start - 1, waiting.end, exported)
        waiting.reason = trouble or waiting.reason
        waiting.keep(self._proven, self._doubt)
        if waiting.parts:
            if final or waiting.tries >= len(self._retry_s):
                self._give_up(waiting, waiting.reason)
            else:
                self._wait(waiting)
        self._pin()

    def give_up_waiting(self) -> list[Missing]:
        """Return the waiting stretches as missing: the stream ends and asks no more."""
        missing = [each for one in self.waiting for each in self._missing(one, one.reason)]
        self.waiting.clear()
        self._pin()
        return missing

    def _runs(self) -> list[tuple[int, int]]:
        """Return the first and the last second of what came live, and is let go of now, between holes."""
        runs: list[tuple[int, int]] = []
        for held in self._held:
            if held.hole > self._covered:
                break
            if not runs:
                runs.append((held.second if held.hole else self._base, held.second))
            elif held.hole:
                runs.append((held.second, held.second))
            else:
                runs[-1] = runs[-1][0], max(runs[-1][1], held.second)
        return runs

    def _wait_for_rest(
        self,
        end: int | None,
        reason: str,
        now: float,
        *,
        lacks: bool,
        runs: Collection[tuple[int, int]] = (),
    ) -> None:
        """Let wait what the fill that has just ended has not proved."""
        doubt, self._doubt = self._doubt, None
        if doubt is not None:
            first, last = max(doubt[0], self._base), min(doubt[1], end or doubt[1])
            self._wait(Waiting(first, last, reason, now, lacks=lacks))
        start = max(self._proven + 1, self._base)
        if start == self._base and self._is_whole(start):
            start += 1
        rest = Waiting(start, start, reason, now, lacks=lacks)
        rest.parts.clear()
        for first, last in runs:
            rest.add(start, first - self._is_whole(first))
            start = max(start, last + self._is_whole(last))
        if end is None:
            if not self._open and not self._held:
                self._tail = Waiting(start, start, reason, now, lacks=lacks)
        elif all(last < end for _, last in runs):
            rest.add(start, end - self._is_whole(end))
        if rest.parts:
            self._wait(rest)

    def _end_tail(self, second: int, bits: int) -> None:
        tail, self._tail = self._tail, None
        if tail is not None:
            whole = self._spoken and not self._spoken & ~bits
            tail.parts = [(tail.start, second - 1 if whole else second)]
            self._wait(tail)

    def _is_whole(self, second: int) -> bool:
        """Tell whether everything that ever came was delivered of a second."""
        return bool(self._spoken) and not self._delivered.fresh(second, self._spoken)

    def _is_told(self, second: int) -> bool:
        """Tell whether the record told a second, or all that ever came was delivered of it."""
        return self._delivered.was_filled(second) or self._is_whole(second)

    def _wait(self, waiting: Waiting) -> None:
        if waiting.start > waiting.end:
            return
        waiting.due = waiting.first + self._retry_s[waiting.tries]
        waiting.tries += 1
        self.waiting.append(waiting)
        self.waiting.sort(key=lambda each: each.start)
        if len(self.waiting) > _MOST_WAITING:
            self._join()
        self._pin()

    def _join(self) -> None:
        """Join the two closest stretches that are not being fetched."""
        free = [each for each in self.waiting if each is not self._asking]
        before, after = min(pairwise(free), key=lambda pair: pair[1].start - pair[0].end)
        before.parts = sorted([*before.parts, *after.parts])
        if after.first > before.first:  # the younger has all its tries
            before.first, before.due, before.tries = after.first, after.due, after.tries
        before.lacks |= after.lacks
        self.waiting.remove(after)
        while len(before.parts) > _MOST_PARTS or before.end - before.start > _LONGEST_JOINED:
            part = before.parts.pop(0)
            self._outbox.ready.extend(self._missing_of(part, TOO_MANY_GAPS))

    def _give_up(self, waiting: Waiting, reason: str) -> None:
        self._outbox.ready.extend(self._missing(waiting, reason))

    def _missing(self, waiting: Waiting, reason: str) -> list[Missing]:
        return [each for part in waiting.parts for each in self._missing_of(part, reason)]

    def _missing_of(self, part: tuple[int, int], reason: str) -> list[Missing]:
        """Return what is missing of a stretch: not what was delivered within it."""
        start, end = part
        edges = [start - 1, *self._delivered.between(start, end), end + 1]
        missing = [(before, after) for before, after in pairwise(edges) if after - before > 1]
        if not missing:  # but of a second that a hole begins or ends in, some may be
            ends = {start, end}
            return [Missing(each, each, reason) for each in sorted(ends) if not self._is_told(each)]
        if len(missing) > _MOST_PIECES:
            return [Missing(start, end, reason)]
        return [Missing(before, after, reason) for before, after in missing]

    def _pin(self) -> None:
        """Keep in memory what was delivered of the seconds that are asked for, now or later."""
        starts = [each.start for each in (*self.waiting, self._tail) if each is not None]
        if self.filling:  # held events, or rows, may be many
            unproven = self._proven if self._doubt is None else min(self._proven, self._doubt[0])
            starts.append(int(unproven - self._overlap_s))
        self._delivered.since = min(starts, default=None)

    # --- what is handed over -------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether `pop` has something."""
        return bool(self._outbox.ready) or (not self.filling and bool(self._held) and not self._held[0].hole)

    def pop(self) -> Emit[T] | Missing | None:
        """Return what is to be handed over next, if anything is."""
        while self.ready:
            if self._outbox.ready:
                return self._outbox.ready.pop(0)
            self._release()
        return None

    def _keep(self, held: _Held[T]) -> None:
        if len(self._held) >= self._hold:
            self._discard()
            return
        self._held.append(held)
        if held.hole:
            self._broken += 1
            self._open = 0

    def _discard(self) -> None:
        self.discarded += 1
        self._break()

    def _calms_down(self) -> bool:
        """Look whether there is nothing to decide about; there is not, until a hole is presumed or filled."""
        outbox = self._outbox
        waits = outbox.ready or outbox.pending or self._tail
        self._calm = not (self._open or self._held or self.filling or waits)
        return self._calm

    def _break(self) -> None:
        self._calm = False
        self.holes += 1
        self._open = self.holes

    def _position_before(self, present: int | None) -> int:
        """Return the second up to which everything was handed over or accounted for.

        An event may be dated ahead. A hole that ends before it begins with the newest before that.
        """
        newest = self.newest
        ends = [held.second for held in self._held if held.hole] + ([] if present is None else [present])
        if newest is not None and ends and newest > max(ends):
            newest = self._delivered.newest_until(max(ends)) or max(ends)
        accounted = self._outbox.accounted
        if newest is None and ends and accounted is not None and accounted > max(ends):
            accounted = self._outbox.accounted = max(ends)  # noted by a clock of ours that was ahead
        return max(place for place in (newest, accounted, 0) if place is not None)

    @property
    def _end(self) -> int | None:
        """Where the last hole ends, if that is known before the next live event."""
        if not self._open:
            return self._closed_at
        return self._present if self._open <= self._covered else None

    def _live(self, second: int, keys: Collection[str], bits: int, item: T) -> Emit[T] | None:
        fresh, ordinal = self._delivered.live(second, bits)
        if bits and not fresh:
            self.repeated += 1
            return None
        if self.newest is None or second > self.newest:
            self.newest = second
        elif self.newest - second <= _BELIEVED_S or self._delivered.newest_until(self.newest - 1) == second:
            # Nothing lies between the two: it is the newest that was dated ahead, however far.
            self._behind = self.newest, second
        return Emit(item, second, ordinal, keys if fresh == bits else self._keys.names(fresh))

    def _filled(self, second: int, bits: int, item: T) -> None:
        fresh = self._delivered.fresh(second, bits)
        if fresh:
            ordinal = self._delivered.filled(second, fresh)
            self.newest = second if self.newest is None else max(self.newest, second)
            self._outbox.ready.append(Emit(item, second, ordinal, self._keys.names(fresh), backfilled=True))

    def _release(self) -> None:
        """Let go of the first held event."""
        second, keys, bits, item, hole = self._held.pop(0)
        if hole:
            self._broken -= 1
            self._closed_at = second
        self._tell_latest(before=second)
        take = self._live(second, keys, bits, item)
        if take is not None:
            self._outbox.ready.append(take)

    def _tell_latest(self, before: float) -> None:
        latest = self._latest
        if latest is not None and latest.second < before:
            self._latest = None
            if self.newest is None or latest.second >= self.newest:
                self._filled(latest.second, latest.bits, latest.item)

    def _finish(self, closed: int) -> None:
        """End the fill: holes up to the number `closed` are closed, or said to be missing."""
        alive = bool(self._held) or self._closed_at is not None
        newest = max((held.second for held in self._held), default=self.newest or 0)
        while self._held and self._held[0].hole <= closed:
            self._release()
        ahead = alive and self._latest is not None and self._latest.second > newest
        if ahead or self._held or self._open:
            # The link is up and tells by itself what comes after its last event, or another fill comes first.
            self._latest = None
        self._tell_latest(before=float("inf"))
        self.filling = False

    def _miss_unknown(self, start: int, end: int | None, exported: Collection[str]) -> None:
        unknown = self._spoken & ~self._keys.bits(exported)
        if unknown:
            self._outbox.miss(start, end, NOT_EXPORTED, unknown)

    @printable
    def __repr__(self) -> str:
        doing = "filling" if self.filling else "open" if self.open else "whole"
        return f"<Mender {doing}, {len(self._held)} held, {self.discarded} discarded, at {self.newest}>"

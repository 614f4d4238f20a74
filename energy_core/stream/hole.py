"""Holes in a stream: what is held meanwhile, what is told afterwards, what stays missing. No I/O, no clock.

A hole is presumed wherever something may have been missed: a link was down, a server fell silent, a consumer
had no room. It lies between the last event handed over and the next live one. While it is open, live events
are held; moments of the past are handed over before them, each with those quantities of its second that were
not delivered yet. What cannot be had is handed over as `Missing`.

Times are whole unix seconds, the grain in which a moment of the past and its live twin can be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Generic, NamedTuple, TypeVar

from energy_core.printable import printable
from energy_core.stream.delivered import NOT_EXPORTED, NOT_RECORDED, Delivered, Keys, Missing, Take
from energy_core.stream.outbox import Outbox

T = TypeVar("T")


class _Held(NamedTuple, Generic[T]):
    second: int
    keys: Collection[str]
    bits: int
    item: T
    hole: int = 0
    """The number of the hole before it; 0: it follows without one."""


class Mender(Generic[T]):
    """Decides what a stream hands over, and when, so that nothing is lost in silence or told twice.

    Without a hole `live` returns its event at once. With one (`open`): `begin` a fill, ask for the past and
    give it to `row`, then say `done` or `fail`. Meanwhile and afterwards, hand over what `pop` returns.

    Args:
        since: Unix second from which on a first connection presumes a hole; None: the stream begins with its
            first event.
        hold: Live events that are held; past it they are discarded, and the hole is open again.
        overlap_s: How far before the last event the past is asked for.
        lag_s: A record that ends more than this before its hole does has a hole itself.
        window_s: Seconds in which a repeated moment is known as such.
        window_ids: The most events of that window.
        expected: Quantities a live event may hold, for a hole before the first of them.
        keys: Knows the quantities; a program with thousands of streams need not have as many of these.
    """

    __slots__ = (
        *(
            "_alike",
            "_base",
            "_bits",
            "_broken",
            "_calm",
            "_closed_at",
            "_covered",
            "_delivered",
            "_expected",
        ),
        *("_held", "_hold", "_keys", "_lag_s", "_latest", "_open", "_outbox", "_overlap_s", "_present"),
        *("_reach", "_spoken", "discarded", "filling", "holes", "newest", "repeated"),
    )

    def __init__(
        self,
        *,
        since: int | None = None,
        hold: int = 256,
        overlap_s: float = 2.0,
        lag_s: float = 60.0,
        window_s: float = 600.0,
        window_ids: int = 1000,
        expected: Collection[str] = (),
        keys: Keys | None = None,
    ) -> None:
        self.newest: int | None = None
        """The newest second handed over."""
        self.discarded = 0
        """Live events that found no place; a fill brings what they told."""
        self.repeated = 0
        """Live events that came after a fill had told all they hold."""
        self.filling = False
        """Between `begin` and `done` or `fail`."""
        self._hold = hold
        self._overlap_s = overlap_s
        self._lag_s = lag_s
        self._delivered = Delivered(window_s=window_s, most=window_ids)
        self._keys = keys or Keys()
        self._alike: Collection[str] = ()  # the quantities of the last event that passed ...
        self._bits = 0  # ... and their number
        self._expected = self._keys.bits(expected)
        self._spoken = 0  # every quantity that came live so far
        self._held: list[_Held[T]] = []
        self._outbox: Outbox[T] = Outbox(self._keys, accounted=since)
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
        self.newest = second

    # --- live events ---------------------------------------------------------------------------------------

    def passes(self, seconds: Sequence[int], keys: Collection[str]) -> bool:
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

    def live(self, second: int, keys: Collection[str], item: T, *, room: bool = True) -> Take[T] | None:
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
        if self._open or self._held or self._outbox.ready or self.filling:
            self._keep(_Held(second, keys, bits, item, self._open))
            return None
        if room:
            return self._live(second, keys, bits, item)
        self._discard()
        return None

    def hole(self) -> None:
        """Presume a hole before the next live event. Before the first event of a run there is none."""
        if self.newest is not None or self._outbox.accounted is not None:
            self._break()

    @property
    def open(self) -> bool:
        """Whether a hole waits to be filled."""
        return not self.filling and (self._open > 0 or self._broken > 0)

    # --- a fill --------------------------------------------------------------------------------------------

    def begin(self, known: int) -> float:
        """Begin to fill; return the unix second from which on the past is wanted.

        Args:
            known: `holes` so long ago that what fell into them must have been recorded by now. Later ones are
                left to another fill.
        """
        self.filling, self._calm = True, False
        self._covered = known
        self._base = self._reach = position = self._position
        self._closed_at = self._latest = self._present = None
        self._outbox.reconsider(position)
        overlap_s = 0.0 if self.newest is None else self._overlap_s
        return max(position - overlap_s, self._outbox.accounted or 0)

    @property
    def reach(self) -> int:
        """The second up to which the fill has come."""
        return self._reach

    def skip(self, until: int, reason: str) -> None:
        """Give up what lies before `until`."""
        self._outbox.miss(self._position, until, reason)
        self._base = self._reach = until

    def latest(self, second: int, keys: Collection[str], item: T) -> None:
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

    def row(self, second: int, keys: Collection[str], item: T, *, whole: bool = False) -> bool:
        """Take a moment of the past, in order; return False once no more is wanted.

        Args:
            second: Its time.
            keys: The quantities it holds.
            item: What is handed over, as far as it is fresh.
            whole: It may repeat what has not changed, as the first row of an answer does.
        """
        closed = self._closed_at
        if closed is not None and second > closed and not (self._open or self._broken):
            return False
        while self._held and self._held[0].second <= second:
            # The past has come this far without a break, so no hole is left before these.
            self._release()
        self._tell_latest(before=second)
        if not (whole and self.newest is not None and second < self.newest):
            self._filled(second, self._keys.bits(keys), item)
        self._reach = max(self._reach, second)
        return True

    def damaged(self, start: int, reason: str) -> None:
        """Say that the rows since `start` are not all there."""
        self._outbox.miss(start, self._reach, reason)

    def done(self, exported: Collection[str]) -> None:
        """End the fill: the past was read to its end. It knows the quantities `exported`."""
        closing = [held.second for held in self._held if 0 < held.hole <= self._covered]
        self._closed_at = max(closing, default=self._closed_at)
        later = max(self._open, *(held.hole for held in self._held), 0) > self._covered
        end = max(self._closed_at or 0, self._reach) if later else self._end
        if end is not None and end - self._reach > self._lag_s:
            self._outbox.miss(self._reach, end, NOT_RECORDED)
        self._miss_unknown(self._base, end, exported)
        if end is not None and end < self._reach:  # the present state was told in between
            self._miss_unknown(end, self._reach, exported)
        if self._open <= self._covered:
            self._open = 0
        self._finish(self._covered)

    def fail(self, reason: str, exported: Collection[str] | None = None) -> None:
        """End the fill: the past cannot be had from here on. `exported` as for `done`, where it is known."""
        reached = max(self._position, self._reach)
        if exported is not None and reached > self._base:
            self._miss_unknown(self._base, reached, exported)
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

    # --- what is handed over -------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether `pop` has something."""
        return bool(self._outbox.ready) or (not self.filling and bool(self._held) and not self._held[0].hole)

    def pop(self) -> Take[T] | Missing | None:
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
        self._broken += held.hole > 0
        self._open = 0

    def _discard(self) -> None:
        self.discarded += 1
        self._break()

    def _calms_down(self) -> bool:
        """Look whether there is nothing to decide about; there is not, until a hole is presumed or filled."""
        outbox = self._outbox
        self._calm = not (self._open or self._held or self.filling or outbox.ready or outbox.pending)
        return self._calm

    def _break(self) -> None:
        self._calm = False
        self.holes += 1
        self._open = self.holes

    @property
    def _position(self) -> int:
        """The second up to which everything was handed over or accounted for."""
        return max(place for place in (self.newest, self._outbox.accounted, 0) if place is not None)

    @property
    def _end(self) -> int | None:
        """Where the last hole ends, if that is known before the next live event."""
        if not self._open:
            return self._closed_at
        return self._present if self._open <= self._covered else None

    def _live(self, second: int, keys: Collection[str], bits: int, item: T) -> Take[T] | None:
        fresh, ordinal = self._delivered.live(second, bits)
        if bits and not fresh:
            self.repeated += 1
            return None
        if self.newest is None or second > self.newest:
            self.newest = second
        return Take(item, second, ordinal, keys if fresh == bits else self._keys.names(fresh))

    def _filled(self, second: int, bits: int, item: T) -> None:
        fresh = self._delivered.fresh(second, bits)
        if fresh:
            ordinal = self._delivered.filled(second, fresh)
            self.newest = second if self.newest is None else max(self.newest, second)
            self._outbox.ready.append(Take(item, second, ordinal, self._keys.names(fresh), backfilled=True))

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
        unknown = (self._spoken or self._expected) & ~self._keys.bits(exported)
        if unknown:
            self._outbox.miss(start, end, NOT_EXPORTED, unknown)

    @printable
    def __repr__(self) -> str:
        doing = "filling" if self.filling else "open" if self.open else "whole"
        return f"<Mender {doing}, {len(self._held)} held, {self.discarded} discarded, at {self.newest}>"

"""Which readings were delivered lately, so that a backfill does not bring them twice."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from energy_core.printable import printable
from energy_core.stream.event import Reading

REMEMBERED: Final = 1000
"""Ids remembered a source: more than ten minutes at a reading a second."""


class RecentIds:
    """The last thousand (id, revision) of one source, eight bytes each.

    Remembers hashes of 64 bits, which `hash` keys anew in every process; a window is never saved.
    """

    __slots__ = ("_hashes", "_next")

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._hashes = array("q")
        self._next = 0
        for each in ids:
            self.add(each)

    def add(self, id: str, revision: int = 0) -> None:  # noqa: A002  (the event's own word)
        """Remember one; beyond the thousand, forget the one that was added first."""
        key = hash((id, revision)) if revision else hash(id)
        hashes = self._hashes
        if len(hashes) < REMEMBERED:
            hashes.append(key)
        else:
            hashes[self._next] = key
            self._next = (self._next + 1) % REMEMBERED

    def add_all(self, readings: Iterable[Reading]) -> None:
        """Remember readings of revision 0."""
        hashes = self._hashes
        for each in readings:
            if len(hashes) < REMEMBERED:
                hashes.append(hash(each[1]))
            else:
                hashes[self._next] = hash(each[1])
                self._next = (self._next + 1) % REMEMBERED

    def has(self, id: str, revision: int = 0) -> bool:  # noqa: A002
        """Tell whether it was added lately."""
        return (hash((id, revision)) if revision else hash(id)) in self._hashes

    def recent(self, count: int) -> RecentIds:
        """Return a window of the last `count` alone."""
        window, place = RecentIds(), self._next
        window._hashes = (self._hashes[place:] + self._hashes[:place])[-count:]
        return window

    def __len__(self) -> int:
        return len(self._hashes)

    @printable
    def __repr__(self) -> str:
        return f"<Window of {len(self)} ids>"


T = TypeVar("T")

_MOST_SETS: Final = 32

NOT_EXPORTED: Final = "not_exported"
"""The record of the past does not know these quantities."""
NOT_RECORDED: Final = "not_recorded"
"""The record of the past ends before the hole does."""
TOO_MANY_GAPS: Final = "too_many_gaps"
"""More gaps wait to be asked for again than can be kept apart."""
BEYOND_CAP: Final = "beyond_cap"
"""Further back than is asked for."""


class Emit(NamedTuple, Generic[T]):
    """Hand this over now."""

    item: T
    second: int
    ordinal: int
    """Tells events of one second apart."""
    keys: Collection[str]
    """What of it was not delivered yet."""
    backfilled: bool = False


class Missing(NamedTuple):
    """Say that this stretch of time is missing; at both its ends something was delivered."""

    start: int
    end: int
    reason: str
    keys: frozenset[str] = frozenset()
    """Only these quantities are missing; empty: anything may be."""


class QuantityBits:
    """Sets of quantities as numbers, a bit each: small, quick to compare, and many of them are kept.

    Args:
        known: What is known from the beginning; where that is all there is, any number of streams may share
            it, on any thread.
    """

    __slots__ = ("_known", "_sets")

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known: dict[str, int] = {}
        self._sets: dict[tuple[str, ...], int] = {}
        self._learn(tuple(known))

    def bits(self, names: Collection[str]) -> int:
        """Return the number of a set."""
        known = tuple(names)
        bits = self._sets.get(known)
        return self._learn(known) if bits is None else bits

    def names(self, bits: int) -> frozenset[str]:
        """Return the set of a number."""
        return frozenset(name for name, bit in self._known.items() if bit & bits)

    def _learn(self, names: tuple[str, ...]) -> int:
        bits = 0
        for name in names:
            bits |= self._known.setdefault(name, 1 << len(self._known))
        if len(self._sets) < _MOST_SETS:  # most events of a stream hold the same quantities
            self._sets[names] = bits
        return bits

    @printable
    def __repr__(self) -> str:
        return f"<Keys {', '.join(self._known)}>"


_BITS: Final = 20
"""More than there are quantities."""
_SET: Final = (1 << _BITS) - 1
_ONE: Final = 1 << 2 * _BITS

_SLACK: Final = 16
_BOUND: Final = 2 * 8 * 1024
"""Whatever waits to be asked for again, no more seconds than half of this are remembered for it."""


class DeliveredIndex:
    """What was delivered of late: for each second how many events, and which quantities came live or later.

    Quantities are the bits of `QuantityBits`. A stream remembers ten minutes and a program may have thousands
    of streams, so a second takes sixteen bytes of one array: itself, and a number that is the count of its
    events, the quantities that came later and those that came live, one behind the other.

    Args:
        window_s: Seconds of which something is remembered.
        most: Events of which something is remembered.
    """

    __slots__ = ("_enough", "_events", "_log", "_long", "_most", "_window_s", "since")

    def __init__(self, *, window_s: float, most: int) -> None:
        self._window_s = window_s
        self._most = most
        # Of live events a little more is remembered, so that forgetting is not a matter of each of them.
        self._enough = most + most // _SLACK
        self._long = window_s + window_s / _SLACK
        self.since: int | None = None
        """What was delivered from this second on is not forgotten, within a bound."""
        self._log = array("q")  # second, number, second, number ...
        self._events = 0

    def live(self, second: int, bits: int) -> tuple[int, int]:
        """Note a live event; return what of it no backfill has delivered, and its ordinal."""
        log = self._log
        if not log or second > log[-2]:
            self.run((second,), bits)
            return bits, 0
        at = self._place(second)
        told = log[at + 1]
        fresh = bits & ~(told >> _BITS & _SET)
        if fresh or not bits:
            self._note(at, fresh)
        return fresh, told >> 2 * _BITS

    def run(self, seconds: Sequence[int], bits: int) -> None:
        """Note live events of the same quantities, each newer than all before it."""
        log, number = self._log, _ONE | bits
        for second in seconds:  # mostly one, for which this is the quickest way
            log.append(second)
            log.append(number)
        self._events += len(seconds)
        # The earliest is far from the latest in memory, and a matter of minutes.
        if self._events > self._enough or (not len(log) & 15 and log[0] < log[-2] - self._long):
            self._forget(len(log) - 2)

    def filled(self, second: int, bits: int) -> int:
        """Note an event of a backfill; return its ordinal."""
        at = self._place(second)
        count = self._log[at + 1] >> 2 * _BITS
        self._note(at, bits << _BITS)
        return count

    def fresh(self, second: int, bits: int) -> int:
        """Return what was not delivered yet, live or otherwise."""
        at = self._find(second)
        if at == len(self._log) or self._log[at] != second:
            return bits
        told = self._log[at + 1]
        return bits & ~(told | told >> _BITS) & _SET

    def was_filled(self, second: int) -> bool:
        """Tell whether a backfill delivered something of a second."""
        at = self._find(second)
        return at < len(self._log) and self._log[at] == second and bool(self._log[at + 1] >> _BITS & _SET)

    def between(self, start: int, end: int) -> list[int]:
        """Return the seconds from `start` to `end` of which something was delivered."""
        first, after = self._find(start), self._find(end + 1)
        return list(self._log[first:after:2])

    def newest_until(self, second: int) -> int | None:
        """Return the newest second not later than this of which something was delivered."""
        at = self._find(second + 1)
        return self._log[at - 2] if at else None

    def _find(self, second: int) -> int:
        """Return where a second stands, or would."""
        log = self._log
        return 2 * bisect_left(range(len(log) // 2), second, key=lambda pair: log[2 * pair])

    def _place(self, second: int) -> int:
        """Return where a second stands among the others."""
        log, at = self._log, self._find(second)
        if at == len(log) or log[at] != second:
            log[at:at] = array("q", (second, 0))
        return at

    def _note(self, at: int, bits: int) -> None:
        log = self._log
        log[at + 1] = (log[at + 1] | bits) + _ONE
        self._events += 1
        if self._events > self._most or log[0] < log[-2] - self._window_s:
            self._forget(at)

    def _forget(self, told: int) -> None:
        """Forget the earliest; what is told now is never forgotten at once, however far back it lies."""
        log, gone = self._log, 0
        since = log[-2] - self._window_s
        kept = log[-2] + 1 if self.since is None or len(log) >= _BOUND else self.since
        while gone < told and log[gone] < kept and (self._events > self._most or log[gone] < since):
            self._events -= log[gone + 1] >> 2 * _BITS
            gone += 2
        del log[:gone]

    def __len__(self) -> int:
        return self._events

    @printable
    def __repr__(self) -> str:
        return f"<Delivered {self._events} events in {len(self._log) // 2} seconds>"

"""What a stream tells and has told of late, so that the past is not told twice. Values are never compared."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

_MOST_SETS: Final = 32

NOT_EXPORTED: Final = "not_exported"
"""The record of the past does not know these quantities."""
NOT_RECORDED: Final = "not_recorded"
"""The record of the past ends before the hole does."""
BEYOND_CAP: Final = "beyond_cap"
"""Further back than is asked for."""


class Take(NamedTuple, Generic[T]):
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


class Keys:
    """Sets of quantities as numbers, a bit each: small, quick to compare, and many of them are kept."""

    __slots__ = ("_known", "_sets")

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._sets: dict[tuple[str, ...], int] = {}

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

    def __repr__(self) -> str:
        return f"<Keys {', '.join(self._known)}>"


_NOTHING: Final = (0, 0, 0)


class Delivered:
    """What was delivered of late: for each second how many events, and which quantities came live or later.

    Quantities are the bits of `Keys`: a stream remembers ten minutes, and a program may have many streams.

    Args:
        window_s: Seconds of which something is remembered.
        most: Events of which something is remembered.
    """

    __slots__ = ("_events", "_most", "_newest", "_order", "_seconds", "_window_s")

    def __init__(self, *, window_s: float, most: int) -> None:
        self._window_s = window_s
        self._most = most
        self._seconds: dict[int, tuple[int, int, int]] = {}
        self._order: list[int] = []  # short, and an empty deque takes up 760 bytes
        self._events = 0
        self._newest = 0

    def live(self, second: int, bits: int) -> tuple[int, int]:
        """Note a live event; return what of it no backfill has delivered, and its ordinal."""
        count, live, filled = self._seconds.get(second, _NOTHING)
        fresh = bits & ~filled if filled else bits
        if fresh or not bits:
            self._note(second, count + 1, live | fresh, filled)
        return fresh, count

    def filled(self, second: int, bits: int) -> int:
        """Note an event of a backfill; return its ordinal."""
        count, live, filled = self._seconds.get(second, _NOTHING)
        self._note(second, count + 1, live, filled | bits)
        return count

    def fresh(self, second: int, bits: int) -> int:
        """Return what was not delivered yet, live or otherwise."""
        _, live, filled = self._seconds.get(second, _NOTHING)
        return bits & ~(live | filled)

    def _note(self, second: int, count: int, live: int, filled: int) -> None:
        if count == 1:
            self._order.append(second)
            self._newest = max(self._newest, second)
        self._seconds[second] = (count, live, filled)
        self._events += 1
        order = self._order
        # What is told now is never forgotten at once, however far back it lies.
        while (self._events > self._most or order[0] < self._newest - self._window_s) and len(order) > 1:
            self._events -= self._seconds.pop(order.pop(0))[0]

    def __len__(self) -> int:
        return self._events

    def __repr__(self) -> str:
        return f"<Delivered {self._events} events in {len(self._seconds)} seconds>"

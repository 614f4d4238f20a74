"""Recently delivered readings, used to drop duplicates from backfills."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from energy_core.printable import printable
from energy_core.stream.source import Reading

MAX_RECENT_IDS: Final = 1000
"""Ids remembered for each source: more than ten minutes at one reading a second."""


class RecentIds:
    """The last 1,000 (id, revision) pairs of one source, eight bytes each.

    They are stored as 64-bit hashes. `hash` is keyed anew in every process, so the hashes are never saved.
    """

    __slots__ = ("_hashes", "_next")

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._hashes = array("q")
        self._next = 0
        for each in ids:
            self.add(each)

    def add(self, id: str, revision: int = 0) -> None:  # noqa: A002  (the event's own word)
        """Remember an id; beyond 1,000 the oldest is forgotten."""
        key = hash((id, revision)) if revision else hash(id)
        hashes = self._hashes
        if len(hashes) < MAX_RECENT_IDS:
            hashes.append(key)
        else:
            hashes[self._next] = key
            self._next = (self._next + 1) % MAX_RECENT_IDS

    def add_all(self, readings: Iterable[Reading]) -> None:
        """Remember the ids of readings of revision 0."""
        hashes = self._hashes
        for each in readings:
            if len(hashes) < MAX_RECENT_IDS:
                hashes.append(hash(each[1]))
            else:
                hashes[self._next] = hash(each[1])
                self._next = (self._next + 1) % MAX_RECENT_IDS

    def has(self, id: str, revision: int = 0) -> bool:  # noqa: A002
        """Return whether the id is remembered."""
        return (hash((id, revision)) if revision else hash(id)) in self._hashes

    def recent(self, count: int) -> RecentIds:
        """Return a copy with the last `count` ids."""
        window, place = RecentIds(), self._next
        window._hashes = (self._hashes[place:] + self._hashes[:place])[-count:]
        return window

    def __len__(self) -> int:
        return len(self._hashes)

    @printable
    def __repr__(self) -> str:
        return f"<RecentIds {len(self)} ids>"


T = TypeVar("T")

_MAX_CACHED_SETS: Final = 32

NOT_EXPORTED: Final = "not_exported"
"""Reason of a gap: the export has no column for these quantities."""
NOT_RECORDED: Final = "not_recorded"
"""Reason of a gap: the vendor's record does not hold this range."""
TOO_MANY_GAPS: Final = "too_many_gaps"
"""Reason of a gap: more pending ranges than can be kept apart."""
BEYOND_CAP: Final = "beyond_cap"
"""Reason of a gap: older than the age limit of backfills."""


class Emit(NamedTuple, Generic[T]):
    """A reading to be delivered now."""

    item: T
    second: int
    ordinal: int
    """Distinguishes readings of the same second."""
    keys: Collection[str]
    """Quantities that were not delivered before."""
    backfilled: bool = False


class Missing(NamedTuple):
    """A gap to be reported, in unix seconds. Something was delivered at both of its ends."""

    start: int
    end: int
    reason: str
    keys: frozenset[str] = frozenset()
    """Only these quantities are missing; empty: any of them may be."""


class QuantityBits:
    """Converts sets of quantities to bit masks, which are small and quick to compare.

    Args:
        known: The quantities known from the start. If no others follow, one object may serve any number of
            streams and threads.
    """

    __slots__ = ("_known", "_sets")

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known: dict[str, int] = {}
        self._sets: dict[tuple[str, ...], int] = {}
        self._add(tuple(known))

    def bits(self, names: Collection[str]) -> int:
        """Return the bit mask of a set."""
        known = tuple(names)
        bits = self._sets.get(known)
        return self._add(known) if bits is None else bits

    def names(self, bits: int) -> frozenset[str]:
        """Return the set of a bit mask."""
        return frozenset(name for name, bit in self._known.items() if bit & bits)

    def _add(self, names: tuple[str, ...]) -> int:
        bits = 0
        for name in names:
            bits |= self._known.setdefault(name, 1 << len(self._known))
        if len(self._sets) < _MAX_CACHED_SETS:  # a stream sends few different sets
            self._sets[names] = bits
        return bits

    @printable
    def __repr__(self) -> str:
        return f"<QuantityBits {', '.join(self._known)}>"


_QUANTITY_BITS: Final = 20
"""More bits than there are quantities."""
_QUANTITY_MASK: Final = (1 << _QUANTITY_BITS) - 1
_ONE_EVENT: Final = 1 << 2 * _QUANTITY_BITS

_SLACK_SHARE: Final = 16
_MAX_LOG: Final = 2 * 8 * 1024
"""Limit of the log, in numbers: at most half as many seconds are kept for pending ranges."""


class DeliveredIndex:
    """Index of recently delivered (second, quantity) pairs, used to drop duplicates from backfill.

    A second takes sixteen bytes of one array: the second itself, and a number that packs the count of its
    events, the bit mask of backfilled quantities and that of live quantities. A program may have thousands of
    streams with ten minutes of seconds each, so smaller is better.

    Args:
        window_s: Seconds for which deliveries are remembered.
        most: Number of events that are remembered.
    """

    __slots__ = (
        *("_events", "_log", "_max_events", "_prune_above", "_prune_after_s", "_window_s", "keep_since"),
    )

    def __init__(self, *, window_s: float, most: int) -> None:
        self._window_s = window_s
        self._max_events = most
        # Keep 1/16 more than needed so that pruning is amortised.
        self._prune_above = most + most // _SLACK_SHARE
        self._prune_after_s = window_s + window_s / _SLACK_SHARE
        self.keep_since: int | None = None
        """Unix second from which on nothing is forgotten, up to a limit; None: no such second."""
        self._log = array("q")  # second, packed number, second, packed number ...
        self._events = 0

    def add_live(self, second: int, bits: int) -> tuple[int, int]:
        """Add a live event; return the quantities of it that no backfill has delivered, and its ordinal."""
        log = self._log
        if not log or second > log[-2]:
            self.add_run((second,), bits)
            return bits, 0
        at = self._insert(second)
        known = log[at + 1]
        fresh = bits & ~(known >> _QUANTITY_BITS & _QUANTITY_MASK)
        if fresh or not bits:
            self._record(at, fresh)
        return fresh, known >> 2 * _QUANTITY_BITS

    def add_run(self, seconds: Sequence[int], bits: int) -> None:
        """Add live events of the same quantities, each newer than all before it."""
        log, number = self._log, _ONE_EVENT | bits
        for second in seconds:  # usually one; a loop is fastest for that
            log.append(second)
            log.append(number)
        self._events += len(seconds)
        # Check the age only every 8th event: touching the oldest entry is a cache miss.
        if self._events > self._prune_above or (not len(log) & 15 and log[0] < log[-2] - self._prune_after_s):
            self._prune(len(log) - 2)

    def add_backfilled(self, second: int, bits: int) -> int:
        """Add a backfilled event; return its ordinal."""
        at = self._insert(second)
        count = self._log[at + 1] >> 2 * _QUANTITY_BITS
        self._record(at, bits << _QUANTITY_BITS)
        return count

    def undelivered(self, second: int, bits: int) -> int:
        """Return those of the quantities `bits` that were not delivered for this second."""
        at = self._index(second)
        if at == len(self._log) or self._log[at] != second:
            return bits
        known = self._log[at + 1]
        return bits & ~(known | known >> _QUANTITY_BITS) & _QUANTITY_MASK

    def has_backfilled(self, second: int) -> bool:
        """Return whether a backfill delivered anything for this second."""
        at = self._index(second)
        return (
            at < len(self._log)
            and self._log[at] == second
            and bool(self._log[at + 1] >> _QUANTITY_BITS & _QUANTITY_MASK)
        )

    def between(self, start: int, end: int) -> list[int]:
        """Return the seconds from `start` to `end` with deliveries."""
        first, after = self._index(start), self._index(end + 1)
        return list(self._log[first:after:2])

    def newest_until(self, second: int) -> int | None:
        """Return the newest second up to `second` with deliveries."""
        at = self._index(second + 1)
        return self._log[at - 2] if at else None

    def _index(self, second: int) -> int:
        """Return the position of a second in the log, or where it belongs."""
        log = self._log
        return 2 * bisect_left(range(len(log) // 2), second, key=lambda pair: log[2 * pair])

    def _insert(self, second: int) -> int:
        """Return the position of a second in the log, which is added if it is not there."""
        log, at = self._log, self._index(second)
        if at == len(log) or log[at] != second:
            log[at:at] = array("q", (second, 0))
        return at

    def _record(self, at: int, bits: int) -> None:
        log = self._log
        log[at + 1] = (log[at + 1] | bits) + _ONE_EVENT
        self._events += 1
        if self._events > self._max_events or log[0] < log[-2] - self._window_s:
            self._prune(at)

    def _prune(self, keep_from: int) -> None:
        """Forget the oldest seconds, but not position `keep_from` or later."""
        log, pruned = self._log, 0
        since = log[-2] - self._window_s
        kept = log[-2] + 1 if self.keep_since is None or len(log) >= _MAX_LOG else self.keep_since
        while (
            pruned < keep_from
            and log[pruned] < kept
            and (self._events > self._max_events or log[pruned] < since)
        ):
            self._events -= log[pruned + 1] >> 2 * _QUANTITY_BITS
            pruned += 2
        del log[:pruned]

    def __len__(self) -> int:
        return self._events

    @printable
    def __repr__(self) -> str:
        return f"<DeliveredIndex {self._events} events in {len(self._log) // 2} seconds>"

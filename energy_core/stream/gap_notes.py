"""What a gap engine knows of single seconds: which units were delivered, are held, or cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

__all__ = ["MAX_NOTES", "ResumePoint", "UnitNotes"]

MAX_NOTES: Final = 512
"""Seconds whose delivered units are remembered; with more, the oldest pending gap is reported."""
UNKNOWN_ORDINAL: Final = 1000
RECENT_S: Final = 16
"""A live event may come this much later than a row of its second."""
MAX_LACKING: Final = 8
"""Ranges of `not_exported` that wait for the end of their answer."""

Lack = tuple[int, int, int]
"""Start, end and units of a range whose record lacks these units."""

Forgotten = tuple[int, int, int]
"""Second, delivered units and number of events of a note that was forgotten."""


class ResumePoint(NamedTuple):
    """The state of an engine behind one delivered item: what a checkpoint stores."""

    second: int
    """Everything before it is delivered, reported, or in one of `gaps`."""
    units: tuple[tuple[int, int, int], ...]
    """Second, delivered units and number of events, of seconds from `second` on and of seconds in `gaps`."""
    seen: int
    """All units delivered so far."""
    newest: int
    """The newest delivered second."""
    gaps: tuple[tuple[int, int, int, float | None], ...] = ()
    """Pending gaps that begin before `second`: start, end, tries, and the time of the first attempt."""
    lacking: tuple[Lack, ...] = ()
    """Ranges whose record lacks units, not reported yet."""


class UnitNotes:
    """Units by second: of seconds in gaps, and of those that are not settled."""

    __slots__ = ("_unknown", "delivered", "events", "forgotten_to", "held", "lacking", "recorded")

    def __init__(self, forgotten_to: int = -1) -> None:
        self.delivered: dict[int, int] = {}
        """Delivered units of seconds that are not settled or may become missing again."""
        self.events: dict[int, int] = {}
        """Number of delivered events of these seconds, and of those in `recorded`."""
        self.recorded: dict[int, int] = {}
        """Units of rows of the last seconds: their live events may still arrive."""
        self.forgotten_to = forgotten_to
        """The newest second whose note was forgotten."""
        self._unknown = 0
        self.held: dict[int, int] = {}
        """Units of held events."""
        self.lacking: list[Lack] = []
        """Ranges whose record lacks units, not reported yet."""

    def fresh(self, second: int, units: int) -> int:
        """Return which units are neither delivered nor held."""
        return units & ~self.known(second)

    def known(self, second: int) -> int:
        """Return which units are delivered or held."""
        return self.delivered.get(second, 0) | self.held.get(second, 0)

    def deliver(self, second: int, units: int, events: int) -> None:
        """Note delivered units, and that so many events of the second were delivered."""
        self.delivered[second] = self.delivered.get(second, 0) | units
        self.events[second] = max(self.events.get(second, 0), events)

    def ordinal(self, second: int, *, missing: bool) -> int:
        """Return the ordinal of an event that is delivered now; `missing`: its second lies in a gap."""
        known = missing or second > self.forgotten_to or second in self.events
        if not known:
            self._unknown += 1
            return UNKNOWN_ORDINAL + self._unknown
        ordinal = self.events.get(second, 0)
        if second in self.events:
            self.events[second] += 1
        return ordinal

    def restore(self, forgotten: Iterable[Forgotten]) -> None:
        """Note again what was forgotten."""
        for second, units, events in forgotten:
            self.deliver(second, units, events)

    def record(self, second: int, units: int) -> None:
        """Note units of a row whose live event may still arrive."""
        self.recorded[second] = self.recorded.get(second, 0) | units
        if len(self.recorded) > MAX_NOTES:
            self._drop_recorded(next(iter(self.recorded)))

    def forget_recorded(self, position: int) -> None:
        """Forget rows whose live events do not arrive any more."""
        for second in sorted(self.recorded):
            if second >= position - RECENT_S:
                break
            self._drop_recorded(second)

    def _drop_recorded(self, second: int) -> None:
        del self.recorded[second]
        if second not in self.delivered:
            self.events.pop(second, None)
            self.forgotten_to = max(self.forgotten_to, second)

    def hold(self, second: int, units: int) -> None:
        """Note units of a held event."""
        self.held[second] = self.held.get(second, 0) | units

    def release(self, second: int, left: int) -> None:
        """Note that a held event is held no more; `left` are the units of the others of its second."""
        self.held[second] = left
        if not left:
            del self.held[second]

    def within(self, start: int, end: int) -> list[int]:
        """Return the noted seconds between two, without them, in order."""
        return sorted(second for second in self.delivered.keys() | self.held if start < second < end)

    def forget(self, floor: int, *, keep: Callable[[int], bool]) -> Iterator[Forgotten]:
        """Forget seconds before `floor` that are not to be kept; yield them with their units and events."""
        for second in [each for each in self.delivered if each < floor and not keep(each)]:
            events = self.events[second]
            if second not in self.recorded:
                del self.events[second]
                self.forgotten_to = max(self.forgotten_to, second)
            yield second, self.delivered.pop(second), events

    def lack(self, start: int, end: int, units: int) -> None:
        """Remember that the record lacks units in a closed range; in pieces that end where some came live."""
        if not units:
            return
        if self.lacking and self.lacking[-1][2] == units:
            if self.lacking[-1][1] >= end:
                return
            if self.lacking[-1][1] == start - 1:
                start = self.lacking.pop()[0]
        for second in self.within(start, end + 1):
            if self.known(second) & units:
                self.lacking.append((start, second, units))
                start = second
        self.lacking.append((start, end, units))  # also where it is one second: the next range begins there

    def cut_lacking(self, second: int, units: int) -> None:
        """Cut the ranges at a second of which lacking units arrived live after all."""
        pieces: list[Lack] = []
        for start, end, lack in self.lacking:
            cut = start < second <= end and units & lack
            pieces += [(start, second, lack), (second, end, lack)] if cut else [(start, end, lack)]
        self.lacking = pieces

    def lacking_before(self, second: int) -> list[Lack]:
        """Return the parts of lacking ranges before a second."""
        return [(start, min(end, second - 1), units) for start, end, units in self.lacking if start < second]

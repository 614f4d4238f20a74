"""What a gap engine knows of single seconds: which units were delivered, are held, or cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

__all__ = ["MAX_NOTES", "ResumePoint", "UnitNotes"]

MAX_NOTES: Final = 512
"""Seconds whose delivered units are remembered; with more, the oldest pending gap is reported."""
MAX_LACKING: Final = 8
"""Ranges of `not_exported` that wait for the end of their answer."""

Lack = tuple[int, int, int]
"""Start, end and units of a range whose record lacks these units."""


class ResumePoint(NamedTuple):
    """The state of an engine behind one delivered item: what a checkpoint stores."""

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
    lacking: tuple[Lack, ...] = ()
    """Ranges whose record lacks units, not reported yet."""


class UnitNotes:
    """Units by second: of seconds in gaps, and of those that are not settled."""

    __slots__ = ("delivered", "held", "lacking")

    def __init__(self) -> None:
        self.delivered: dict[int, int] = {}
        """Delivered units of seconds that are not settled or may become missing again."""
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

    def deliver(self, second: int, units: int) -> None:
        """Note delivered units."""
        self.delivered[second] = self.delivered.get(second, 0) | units

    def hold(self, second: int, units: int) -> None:
        """Note units of a held event."""
        self.held[second] = self.held.get(second, 0) | units

    def release(self, second: int, units: int) -> None:
        """Note that a held event is held no more."""
        self.held[second] &= ~units
        if not self.held[second]:
            del self.held[second]

    def within(self, start: int, end: int) -> list[int]:
        """Return the noted seconds between two, without them, in order."""
        return sorted(second for second in self.delivered.keys() | self.held if start < second < end)

    def forget(self, floor: int, *, keep: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
        """Forget delivered units of seconds before `floor` that are not to be kept; yield them."""
        for second in [each for each in self.delivered if each < floor and not keep(each)]:
            yield second, self.delivered.pop(second)

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

    def lacking_before(self, second: int) -> list[Lack]:
        """Return the parts of lacking ranges before a second."""
        return [(start, min(end, second - 1), units) for start, end, units in self.lacking if start < second]

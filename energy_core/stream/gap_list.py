"""The gaps of one source: where readings may be missing, and when each range is asked for again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView, Sequence
from enum import Enum
from math import inf
from typing import Final

from attrs import define, evolve, frozen

__all__ = ["RETRIES_S", "GapConfig", "GapList", "GapState", "TrackedGap"]

RETRIES_S: Final = (60.0, 300.0, 900.0)
"""Seconds from the first attempt to each further one."""


class GapState(Enum):
    """States of a gap; the docstring of `gap_engine` has the transitions."""

    OPEN = "open"
    HOLDING = "holding"
    WAITING = "waiting"
    PENDING = "pending"

    @property
    def closed(self) -> GapState:
        """The state of a piece of a gap that has an end."""
        return GapState.HOLDING if self is GapState.OPEN else self


@frozen(kw_only=True)
class GapConfig:
    """Limits of an engine; shared by all engines of one kind."""

    hold: int = 256
    """The most held events."""
    discards: bool = False
    """Whether a full hold gives held events back to the gap (a subscriber) or delivers them (a source)."""
    quiet_s: float = 0.0
    """Seconds for which an open gap waits for a live event before the record is asked."""
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

    def last_in(self, end: int) -> int:
        """Return the last second of the gap up to `end`."""
        return end if self.end is None else min(end, self.end)


class GapList:
    """The gaps of one engine, oldest first. They overlap in their end seconds at most.

    Args:
        config: The limits.
    """

    __slots__ = ("_all", "_config", "number")

    def __init__(self, config: GapConfig) -> None:
        self._all: list[TrackedGap] = []
        self._config = config
        self.number = 0
        """The number of the newest gap."""

    def __iter__(self) -> Iterator[TrackedGap]:
        """Return an iterator over the gaps of this moment, oldest first."""
        return iter(tuple(self._all))

    def __len__(self) -> int:
        return len(self._all)

    @property
    def opened(self) -> TrackedGap | None:
        """The open gap."""
        return next((gap for gap in self._all if gap.state is GapState.OPEN), None)

    def in_state(self, state: GapState) -> list[TrackedGap]:
        """Return the gaps in a state."""
        return [gap for gap in self._all if gap.state is state]

    def askable(self) -> list[TrackedGap]:
        """Return the first gap that is not pending, unless it is waiting, then the pending ones."""
        first = [gap for gap in self._all if gap.state is not GapState.PENDING][:1]
        return [gap for gap in first if gap.state is not GapState.WAITING] + self.in_state(GapState.PENDING)

    def covers(self, second: int, *, closed: bool = False) -> bool:
        """Return whether a second lies in a gap, or in one that is not open."""
        return any(gap.covers(second) for gap in self._all if gap.end is not None or not closed)

    def missing_in(self, start: int, end: int, number: int) -> int:
        """Return how many seconds of a closed range are missing, in gaps up to a number."""
        gaps = (gap for gap in self._all if gap.number <= number and gap.overlaps(start, end))
        return sum(gap.last_in(end) - max(start, gap.start) + 1 for gap in gaps)

    def missing_piece(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a closed range that lie in no gap."""
        for gap in (*self._all, TrackedGap(end + 1, None, GapState.OPEN, 0, 0.0)):
            if start <= min(gap.start - 1, end):
                yield start, min(gap.start - 1, end)
            start = max(start, gap.last_in(end) + 1)

    # --- changes -------------------------------------------------------------------------------------------

    def begin(self, start: int, end: int | None, state: GapState, due: float) -> TrackedGap:
        """Add a new gap."""
        self.number += 1
        gap = TrackedGap(start, end, state, self.number, due)
        self.add(gap)
        return gap

    def add(self, gap: TrackedGap) -> None:
        """Add a gap, or a piece of one, in its place."""
        self._all.append(gap)
        self._all.sort(key=lambda each: (each.start, each.number))

    def remove(self, gap: TrackedGap) -> None:
        """Remove a gap."""
        self._all.remove(gap)

    def cut(self, start: int, end: int, where: Callable[[TrackedGap], bool]) -> list[TrackedGap]:
        """Cut some of the gaps at the ends of a closed range of seconds; return the pieces inside it."""
        inside = []
        for gap in self:
            if end < start or not (gap.overlaps(start, end) and where(gap)):
                continue
            if gap.start < start:
                self.add(evolve(gap, end=start - 1, state=gap.state.closed))
                gap.start = start
            if gap.end is None or gap.end > end:
                self.add(evolve(gap, start=end + 1))
                gap.end, gap.state = end, gap.state.closed
            inside.append(gap)
        return inside

    def end_first_attempt(self, gap: TrackedGap, asked: float) -> None:
        """Let a gap whose first attempt was made at `asked` be pending."""
        if gap.state is not GapState.PENDING:
            gap.state, gap.first, gap.tries = GapState.PENDING, asked, 1
            gap.due = self.retry_at(asked, 1)

    def attempt_failed(self, gap: TrackedGap, asked_to: int | None, now: float) -> None:
        """Count an attempt without progress for a gap, or its part up to `asked_to`."""
        if asked_to is not None and gap.end is not None and gap.end > asked_to:
            self.add(evolve(gap, start=asked_to + 1, due=now))
            gap.end = asked_to
        gap.state = GapState.PENDING
        gap.first = now if gap.first is None else gap.first
        gap.tries += 1
        gap.due = self.retry_at(gap.first, gap.tries)

    def exhausted(self) -> list[TrackedGap]:
        """Return the gaps that are not asked for any more, except before the rest of the same gap."""
        last = len(self._config.retries_s)
        rests = [(gap.start - 1, gap.first) for gap in self._all if 0 < gap.tries <= last]
        return [gap for gap in self._all if gap.tries > last and (gap.end, gap.first) not in rests]

    def retry_at(self, first: float, tries: int) -> float:
        """Return when the attempt after `tries` is due; infinite after the last."""
        delays = (0.0, *self._config.retries_s)
        return first + delays[tries] if tries < len(delays) else inf

    def join(self, noted: KeysView[int]) -> None:
        """Join pending neighbours with equal tries, except at seconds of which something was delivered."""
        for before, after in zip(self._all[:-1], self._all[1:], strict=True):
            both = before.state is after.state is GapState.PENDING and before.tries == after.tries
            if (
                both
                and before.end == after.start - 1
                and before.end not in noted
                and after.start not in noted
            ):
                self._all.remove(before)
                after.start, after.first = before.start, before.first

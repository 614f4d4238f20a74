"""The answer to a request for a range of the record, while it is read: what its rows prove."""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, NamedTuple, TypeVar

from energy_core.stream.gap_list import TrackedGap
from energy_core.stream.gap_notes import Forgotten

__all__ = ["Answer", "RangeRequest", "TrustedRow"]

ItemT = TypeVar("ItemT")

ROWS_KEPT: Final = 64
"""Rows of an answer that can be judged again when later rows show that their dates are wrong."""


class RangeRequest(NamedTuple):
    """Ask the record for this closed range of seconds."""

    start: int
    end: int


class TrustedRow(NamedTuple, Generic[ItemT]):
    """A row whose date fits the order of its answer."""

    second: int
    units: int
    item: ItemT
    proven: tuple[int, int] | None
    """The closed range of seconds in which nothing else can be missing."""
    left_behind: int | None
    """The answer has nothing more up to this second, which proves nothing of it."""


class _Row(NamedTuple, Generic[ItemT]):
    second: int
    units: int
    item: ItemT
    torn: bool
    """Whether a row directly before it could not be used."""


class Answer(Generic[ItemT]):
    """The answer to one request, as far as it was read.

    Args:
        request: The range.
        origin: A copy of the gap that is asked for; None for a look-back.
        asked: Time of the request.
        number: Number of the newest gap: the answer proves nothing of those opened after the request.
        missing: Missing seconds of the request when it was sent.
        ordered: Whether the rows come in order.
    """

    __slots__ = (
        *("_broken", "_kept", "_ordered", "_passed", "asked", "exported", "floor", "forgotten", "fresh"),
        *("frontier", "ignored", "limit", "missing", "number", "origin", "request", "rows"),
    )

    def __init__(
        self,
        request: RangeRequest,
        origin: TrackedGap | None,
        *,
        asked: float,
        number: int,
        missing: int,
        ordered: bool,
    ) -> None:
        self.request = request
        self.origin = origin
        self.asked = asked
        self.number = number
        self.missing = missing
        self._ordered = ordered
        self.frontier = request.start
        """Seconds before it are proven or left behind."""
        self.limit = request.end
        """The last second that the answer can prove."""
        self.floor = request.start
        """Seconds before it were reported since."""
        self.rows: deque[int] = deque(maxlen=ROWS_KEPT)
        """Seconds of the last trusted rows."""
        self.forgotten: deque[Forgotten] = deque(maxlen=2 * ROWS_KEPT)
        """Notes of seconds that the answer has settled."""
        self.fresh = False
        """Whether a row brought something new."""
        self.exported: int | None = None
        """The units that the record can have; None for all."""
        self.ignored = 0
        """Rows outside the request, or with a date that does not fit the order."""
        self._kept: _Row[ItemT] | None = None  # the last row; trusted when the next one fits the order
        self._broken = False  # whether a row since the kept one could not be used
        self._passed = False  # whether the last row was later than the request

    @property
    def origin_number(self) -> int:
        """The number of the gap that is asked for; 0 for a look-back."""
        return 0 if self.origin is None else self.origin.number

    def read(self, second: int, units: int, item: ItemT) -> TrustedRow[ItemT] | int | None:
        """Read the next row.

        Returns:
            A row that is trusted now; the second of this one, if it shows that trusted rows behind it had
            wrong dates (see `distrust`); or None.
        """
        kept = self._kept
        if second < self.request.start:
            self._broken |= kept is not None
            self.ignored += 1
            return None
        if second > self.request.end:
            self._passed = True
            self.ignored += 1
            return None
        torn, self._broken, self._passed = self._broken or self._passed, False, False
        if not self._ordered:
            self.frontier = max(self.frontier, second + 1)
            proven = None
            if kept is not None and kept.second == second:
                torn |= kept.torn
            elif kept is not None and not (torn or kept.torn):
                proven = kept.second, kept.second  # its rows come together
            self._kept = _Row(second, units, item, torn)
            return TrustedRow(second, units, item, proven, second - 1)
        found: TrustedRow[ItemT] | int | None = None
        if kept is not None and second < kept.second:
            self.ignored += 1
            torn = True
            found = second if self.rows else None
        elif kept is not None:
            found = self._trust(kept, whole=second > kept.second and not torn)
        self._kept = _Row(second, units, item, torn)
        return found

    def unreadable(self) -> None:
        """Note a row that cannot be read, in its place."""
        self._broken = True

    def complete(self, start: int, end: int) -> TrustedRow[ItemT] | int | None:
        """Note that no further row lies in a closed range of seconds; returns as `read`."""
        kept = self._kept
        over = kept is not None and kept.second <= end and (self._ordered or start <= kept.second)
        return self.end(None) if over else None

    def end(self, error: str | None) -> TrustedRow[ItemT] | int | None:
        """End the answer; returns as `read`. After an error, the date of the last row cannot be trusted."""
        kept, self._kept = self._kept, None
        if kept is not None and error is None and not self._ordered:
            own = None if self._broken or kept.torn else (kept.second, kept.second)
            return TrustedRow(kept.second, 0, kept.item, own, None)
        if kept is not None and error is None:
            return self._trust(kept, whole=not self._broken)
        return self.rows[-1] if kept is not None and self.rows else None

    def distrust(self, second: int) -> range:
        """Withdraw the proofs of rows dated behind `second`; return the seconds that are missing again."""
        rows, was_full = self.rows, len(self.rows) == ROWS_KEPT
        oldest = rows[0]
        while rows and rows[-1] > second:
            rows.pop()
        start = rows[-1] if rows else oldest if was_full else self.request.start
        again = range(max(start, self.floor), self.frontier)
        self.frontier = max(second, self.floor)
        return again

    def _trust(self, row: _Row[ItemT], *, whole: bool) -> TrustedRow[ItemT]:
        """Return the row with what it proves: its own second too if `whole`."""
        second, units, item, torn = row
        self.rows.append(second)
        proven, last = None, second if whole else second - 1
        if torn:
            self.frontier = max(self.frontier, second + 1)
        elif last >= self.frontier:
            proven, self.frontier = (self.frontier, last), last + 1
        return TrustedRow(second, units, item, proven, second if torn else None)

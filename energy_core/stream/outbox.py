"""What is to be handed over next: readings, and the word that something is missing, in their order."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from energy_core.printable import printable
from energy_core.stream.delivered import Emit, Missing, QuantityBits

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

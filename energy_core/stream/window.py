"""Which readings were delivered lately, so that a backfill does not bring them twice."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

from energy_core.printable import printable
from energy_core.stream.event import Said

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

    def add_all(self, readings: Iterable[Said]) -> None:
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

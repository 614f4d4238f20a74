"""Which moments of the past are new, and which have changed since they were looked at. Pure and bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from energy_core.printable import printable
from energy_core.stream.detail import SourceId
from energy_core.stream.quantity import Quantity

_MOST_REVISIONS: Final = 2048


class Revisions:
    """Compares what looking back finds with what looking back found before.

    Never with what was polled: a vendor rounds and resamples its past, and that is no change. So the first
    look at a moment that was emitted is what later looks are compared with.

    Args:
        most: Moments remembered a source; the one looked at longest ago is forgotten first.
    """

    def __init__(self, most: int = _MOST_REVISIONS) -> None:
        self._most = most
        self._seen: dict[SourceId, OrderedDict[str, tuple[int, int]]] = {}

    def look(
        self,
        source: SourceId,
        id: str,  # noqa: A002  (the event's own word)
        values: Mapping[Quantity, float],
        *,
        emitted: bool,
    ) -> int | None:
        """Return the revision to emit this moment with; None when there is nothing new about it.

        Args:
            source: The device.
            id: Names the moment.
            values: What the vendor says of it now.
            emitted: Whether the moment was emitted before, by a poll or by a look.
        """
        seen = self._seen.setdefault(source, OrderedDict())
        told = hash(repr(sorted(values.items())))  # of the text: -1.0 and -2.0 have one hash
        before = seen.pop(id, None)
        revision = before[1] if before is not None else 0
        changed = before is not None and before[0] != told
        seen[id] = told, revision + changed
        while len(seen) > self._most:
            seen.popitem(last=False)
        if changed:
            return revision + 1
        return None if emitted or before is not None else 0

    def keep(self, source: SourceId, most: int) -> None:
        """Forget a source's moments that were looked at longest ago, as far as there are more than `most`."""
        seen = self._seen.get(source, OrderedDict())
        while len(seen) > most:
            seen.popitem(last=False)

    def __len__(self) -> int:
        return sum(map(len, self._seen.values()))

    @printable
    def __repr__(self) -> str:
        return f"<Revisions of {len(self)} moments of {len(self._seen)} sources>"

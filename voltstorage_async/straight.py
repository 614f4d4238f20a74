"""Messages straight into quantities, at a glance: those that look like one that was read in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from energy_core.http import bounded
from energy_core.http.request import JSON
from energy_core.printable import printable
from voltstorage_async.pattern import by_pattern
from voltstorage_async.shape import by_shape
from voltstorage_async.translator import FieldReader, Glance

_MEMBERS: Final = frozenset({"type", "time", "data"})
_KINDS: Final = {int: "number", float: "number", str: "text", bool: "switch", type(None): "nothing"}
_COUNTED: Final = frozenset({"text", "switch"})
"""Where a number belongs, these count as unusable, and somebody has to look."""
_MOST_KEYS: Final = 64
_LONGEST: Final = 4096
_LESSONS: Final = 128
"""So often something is made that reads at a glance, which takes hundreds of times as long as to read so."""


class FastReaders:
    """Knows what messages look like.

    Args:
        translator: Knows what their keys mean.
    """

    __slots__ = ("_glances", "_lessons", "_translator")

    def __init__(self, translator: FieldReader) -> None:
        self._translator = translator
        self._glances: dict[tuple[object, ...], Glance] = {}
        self._lessons = 0

    def like(self, message: bytes, raw: Mapping[str, JSON], data: Mapping[str, JSON]) -> Glance | None:
        """Return what reads messages that look like this one; None where they have to be read in full.

        Args:
            message: The text of the message.
            raw: What it says.
            data: The data in it.
        """
        if raw.keys() != _MEMBERS or len(data) > _MOST_KEYS or len(message) > _LONGEST:
            return None
        kinds = {key: _KINDS.get(type(value)) for key, value in data.items()}
        if any(
            kind is None or (kind in _COUNTED and self._translator.means(key)) for key, kind in kinds.items()
        ):
            return None
        look = (tuple(raw), *kinds.items())
        glance = self._glances.get(look)
        # The same look may have been spelled otherwise before.
        if (glance is None or glance(message) is None) and self._lessons < _LESSONS:
            self._lessons += 1
            glance = self._learn(message, raw, data)
            if glance is not None:
                self._glances[look] = glance
        return glance

    def _learn(self, message: bytes, raw: Mapping[str, JSON], data: Mapping[str, JSON]) -> Glance | None:
        chosen = self._translator.chosen([key for key, value in data.items() if value is not None])
        if bounded.bounded_parser is not None:
            return by_shape(data, chosen)
        return by_pattern(message, raw, data, chosen)

    @printable
    def __repr__(self) -> str:
        return f"<Straight, {len(self._glances)} looks known, {self._lessons} lessons>"

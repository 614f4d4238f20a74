"""Messages straight into quantities, at a glance: those that look like one that was read in full."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from energy_core.http import bounded
from energy_core.http.request import JSON
from voltstorage_async.pattern import by_pattern
from voltstorage_async.shape import by_shape
from voltstorage_async.translator import Glance, Translator

_MEMBERS: Final = frozenset({"type", "time", "data"})
_KINDS: Final = frozenset({int, float, str, bool, type(None)})
_MOST_LOOKS: Final = 64
_MOST_KEYS: Final = 64


class Straight:
    """Knows what messages look like.

    Args:
        translator: Knows what their keys mean.
    """

    __slots__ = ("_looks", "_translator")

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self._looks: dict[tuple[Sequence[str], ...], Glance | None] = {}

    def like(self, message: bytes, raw: Mapping[str, JSON], data: Mapping[str, JSON]) -> Glance | None:
        """Return what reads messages that look like this one; None where they have to be read in full.

        Args:
            message: The text of the message.
            raw: What it says.
            data: The data in it.
        """
        numbers = tuple([key for key, value in data.items() if type(value) is float or type(value) is int])
        look = (tuple(raw), tuple(data), numbers)
        if look not in self._looks and len(self._looks) < _MOST_LOOKS:  # most messages look the same
            self._looks[look] = self._learn(message, raw, data, numbers)
        return self._looks.get(look)

    def _learn(
        self, message: bytes, raw: Mapping[str, JSON], data: Mapping[str, JSON], numbers: Collection[str]
    ) -> Glance | None:
        if (
            raw.keys() != _MEMBERS
            or len(data) > _MOST_KEYS
            or any(type(each) not in _KINDS for each in data.values())
        ):
            return None
        if any(isinstance(value, str | bool) and self._translator.means(key) for key, value in data.items()):
            return None  # these are counted
        chosen = self._translator.chosen(numbers)
        if bounded.bounded_parser is not None:
            return by_shape(data, chosen)
        return by_pattern(message, raw, data, chosen)

    def __repr__(self) -> str:
        return f"<Straight, {len(self._looks)} looks known>"

"""A mapping that is read when somebody looks at it: most consumers never look at what the vendor sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MemberDescriptorType
from typing import TypeAlias, cast


class Unread(partial[object]):
    """What makes the mapping, and of what: `Unread(parse, text)`. It must be known that it can be made."""

    __slots__ = ()


Raw: TypeAlias = Mapping[str, object] | Unread
"""A vendor's own mapping, read or not."""


def look(raw: Raw) -> Mapping[str, object]:
    """Return the mapping itself."""
    return cast("Mapping[str, object]", raw()) if isinstance(raw, Unread) else raw


def look_late(cls: type, name: str) -> Callable[[object, Raw], None]:
    """Have a slot of a class read what is unread in it when somebody looks there, once.

    Returns:
        What fills the slot as quickly as can be.
    """
    slot = vars(cls)[name]
    if not isinstance(slot, MemberDescriptorType):
        raise TypeError(f"{cls.__name__}.{name} is not a slot")
    setattr(cls, name, _LateSlot(slot))
    return slot.__set__


class _LateSlot:
    __slots__ = ("_slot",)

    def __init__(self, slot: MemberDescriptorType) -> None:
        self._slot = slot

    def __get__(self, of: object, kind: type | None = None) -> object:
        if of is None:
            return self
        raw: object = self._slot.__get__(of)
        if isinstance(raw, Unread):
            raw = raw()
            self._slot.__set__(of, raw)
        return raw

    def __set__(self, of: object, raw: Raw) -> None:
        self._slot.__set__(of, raw)

"""Objects made without their constructor, where that does nothing but store: it costs twice as much."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from types import MemberDescriptorType
from typing import Any, TypeAlias, TypeVar

import attrs

S = TypeVar("S")

SlotWriter: TypeAlias = Callable[[object, object], None]
"""Fills a slot of an object."""


def slot_writers(cls: type, *names: str) -> tuple[SlotWriter, ...]:
    """Return what fills the slots of a `cls` made without its constructor, for a hook written by hand.

    Raises:
        TypeError: the constructor does more than to store these, or there are other fields too.
    """
    if different := stored_fields(cls).keys() ^ set(names):
        raise TypeError(f"{cls.__name__} has other fields than that: {', '.join(sorted(different))}")
    return tuple(slot_writer(cls, name) for name in names)


def create_empty(cls: type[S], count: int) -> list[S]:
    """Make so many of a slotted class, with nothing in their slots."""
    create: Callable[[type[S]], S] = object.__new__
    return list(map(create, repeat(cls, count)))


def fill_slot(put: SlotWriter, made: Iterable[object], values: Iterable[object]) -> None:
    """Fill one slot of each, in a loop that is the interpreter's own."""
    deque(map(put, made, values), maxlen=0)


def maker(
    cls: type[S], names: Iterable[str], via: Mapping[str, Callable[[Any], object]]
) -> Callable[[Any], S]:
    """Return what makes a `cls` and fills slots of it from the attributes, of the same names, of its source.

    It is written out, name by name, and fills a twin of the class that is not frozen, whose class is then
    changed: storing in the slots of a frozen one takes more than twice as long.

    Args:
        cls: a slotted attrs class whose constructor does nothing but store, and whose base has the slot
            ``__weakref__``: Python 3.11 knows no twin of another.
        names: of the slots; the others stay empty.
        via: what is done to the value of an attribute on its way.

    Raises:
        TypeError: there is no twin of the class, its constructor does more, or there is no such slot.
    """
    stored_fields(cls)
    twin = type(cls.__name__, cls.__bases__, {"__slots__": cls.__slots__})  # type: ignore[attr-defined]
    twin().__class__ = cls
    known: dict[str, Any] = {"cls": cls, "twin": twin}
    lines = ["def make(source):", "made = twin()"]
    for name in names:
        slot_writer(cls, name)
        value = f"source.{name}"
        if name in via:
            known[f"via_{name}"] = via[name]
            value = f"via_{name}({value})"
        lines.append(f"made.{name} = {value}")
    exec("\n    ".join([*lines, "made.__class__ = cls", "return made"]), known)  # noqa: S102  (as attrs does)
    make: Callable[[Any], S] = known["make"]
    return make


def slot_writer(cls: type, name: str) -> SlotWriter:
    """Return what fills one slot, or raise TypeError if there is no such slot."""
    slot = getattr(cls, name, None)
    if not isinstance(slot, MemberDescriptorType):
        raise TypeError(f"{cls.__name__}.{name} is not a slot")
    return slot.__set__


def stored_fields(cls: type) -> dict[str, attrs.Attribute[object]]:
    """Return the fields of a class whose constructor does nothing but store them."""
    if not attrs.has(cls):
        raise TypeError(f"{cls.__name__} is not an attrs class")
    if hasattr(cls, "__attrs_post_init__") or hasattr(cls, "__attrs_pre_init__"):
        raise TypeError(f"{cls.__name__} has an init hook, which filling its slots would skip")
    fields: dict[str, attrs.Attribute[object]] = attrs.fields_dict(attrs.resolve_types(cls))
    for field in fields.values():
        if field.converter is not None or field.validator is not None:
            raise TypeError(
                f"{cls.__name__}.{field.name} has a converter or validator; reading belongs into the codec"
            )
    return fields

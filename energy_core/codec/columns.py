"""Objects made without their constructor, where that does nothing but store: it costs twice as much."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from types import MemberDescriptorType, NoneType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import attrs

from energy_core.codec.coerce import Reader, flag, moment, number, seconds, seconds_or_never
from energy_core.codec.drift import current_drift

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


T = TypeVar("T")
MIN_RECORDS: Final = 8
"""Fewer records are read one by one as quickly."""

MISSING: Final = object()
"""Stands for the value of a key that is not there."""


class FieldColumn(NamedTuple):
    """How one field of every record is read."""

    put: SlotWriter
    key: str
    ready: frozenset[object]
    """The exact types of values that go in as they are."""
    read: Reader
    """The reader of everything else, `MISSING` included."""
    plain: Reader | None
    """The reader by itself, where null and a missing key both mean None."""
    default: Callable[[], object] | None
    """What a missing key means, where there is a default."""
    required: bool


def structure_columns(
    cls: type[T], records: list[object], columns: Sequence[FieldColumn], raw: SlotWriter | None
) -> list[T] | None:
    """Make a `cls` of each record; None if they have to be read one by one.

    Args:
        cls: a slotted class.
        records: what came.
        columns: its fields, the required ones first, so that there are no notes yet when one is missing.
        raw: fills the slot of the record itself.
    """
    drift = current_drift()
    if set(map(type, records)) != {dict}:
        return None
    if drift is not None and drift.strict:
        return None
    get: Callable[..., object] = dict.get
    made = create_empty(cls, len(records))
    for column in columns:
        found = _read(column, list(map(get, records, repeat(column.key), repeat(_absent(column)))))
        if found is None:
            return None
        fill_slot(column.put, made, found)
    if raw is not None:
        fill_slot(raw, made, records)
    if drift is not None:
        every: list[dict[str, object]] = records  # type: ignore[assignment]
        for key in set().union(*every).difference(column.key for column in columns):
            drift.note_unknown(cls.__name__, key)
    return made


def _absent(column: FieldColumn) -> object:
    """Return what stands for a key that is not there."""
    return None if column.plain else MISSING


def _read(column: FieldColumn, values: Sequence[object]) -> Sequence[object] | None:
    kinds = set(map(type, values))
    ready = column.ready | {NoneType} if column.plain else column.ready
    if kinds <= ready:
        return values
    whole = _WHOLE.get(column.plain)
    if whole is not None:
        kinds.discard(NoneType)
        result = whole(values, kinds)
        if result is not None:
            return result
    if column.required:
        return None
    read, default = column.read, column.default
    if default is None:
        return [value if type(value) in ready else read(value) for value in values]
    return [
        value if type(value) in ready else default() if value is MISSING else read(value) for value in values
    ]


# --- readers of columns: of numbers or None, as documented; anything else is left to the readers of values -


def _moments(values: Sequence[Any], kinds: set[type]) -> list[object] | None:
    if kinds != {int}:
        return None
    made = datetime.fromtimestamp
    try:
        if None not in values:
            return list(map(made, values, repeat(UTC)))
        return [value if value is None else made(value, UTC) for value in values]
    except (OverflowError, OSError, ValueError):
        return None


def _moments_or_never(values: Sequence[Any], kinds: set[type]) -> list[object] | None:
    if 0 in values:
        values = [value or None for value in values]
    return _moments(values, kinds) if kinds == {int} else None


def _numbers(values: Sequence[Any], kinds: set[type]) -> list[object] | None:
    if not kinds <= {int, float}:
        return None
    try:
        return [value if value is None else float(value) for value in values]
    except OverflowError:
        return None


def _flags(values: Sequence[Any], kinds: set[type]) -> list[object] | None:
    if not kinds <= {int, bool} or not set(values) <= _FLAGS.keys():
        return None
    return list(map(_FLAGS.get, values))


_FLAGS: Final = {0: False, 1: True, None: None}  # a boolean is its number
_WHOLE: Final[dict[Reader | None, Callable[[Sequence[Any], set[type]], list[object] | None]]] = {
    seconds: _moments,
    moment: _moments,
    seconds_or_never: _moments_or_never,
    number: _numbers,
    flag: _flags,
}

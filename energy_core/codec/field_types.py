"""Readers for the types of fields, tolerant of the spellings that vendors use.

A type is looked up through one cattrs `Converter`, once for each field and never for each record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Final, TypeAlias, Union, get_args, get_origin

from cattrs import Converter

from energy_core.codec.coerce import NOTHING, Reader, day, flag, integer, is_nothing, moment, number, text
from energy_core.codec.drift import report
from energy_core.errors import DecodeError

_Hook: TypeAlias = Callable[[object, object], object]

_SCALARS: Final[Mapping[object, Reader]] = {
    bool: flag,
    int: integer,
    float: number,
    str: text,
    datetime: moment,
    date: day,
}
_JSON_SCALARS: Final = (bool, int, float, str)
_JSON: Final = frozenset({bool, int, float, str, list, dict, NoneType})


class MalformedRecord(DecodeError):
    """A record is not an object or lacks a required field; `records` leaves it out."""

    def __init__(self, message: str = "", **facts: object) -> None:
        facts["kind"] = "shape"
        super().__init__(message, **facts)  # type: ignore[arg-type]


def reader_of(kind: object) -> Reader:
    """Return the reader of a type.

    Raises:
        TypeError: the type has no tolerant reader.
    """
    if kind in _SCALARS:  # called most often, and the hook's second argument is not needed
        return _SCALARS[kind]
    hook: _Hook = converter.get_structure_hook(kind)
    return lambda value: hook(value, kind)


def passthrough_types(kind: object) -> frozenset[object]:
    """Return the exact types of JSON values that a field of this type stores as they are."""
    if kind is object:
        return _JSON
    if kind in _JSON_SCALARS:
        return frozenset({kind})
    if _is_union(kind):
        return frozenset(get_args(kind))
    if _is_mapping(kind) and _value_type(kind) is object:
        return frozenset({dict})
    return frozenset()


def without_none(kind: object) -> tuple[object, bool]:
    """Split ``X | None`` into X and True; return any other type with False."""
    members = get_args(kind) if _is_union(kind) else ()
    rest = tuple(member for member in members if member is not NoneType)
    if len(rest) == len(members):
        return kind, False
    return Union[rest], True  # noqa: UP007  (`|` cannot unpack a tuple)


def name_of(kind: object) -> str:
    """Return the spelling of a type for a drift report, such as ``tuple[int, ...]``, without modules."""
    if kind is Ellipsis:
        return "..."
    inner = [name_of(argument) for argument in get_args(kind)]
    if _is_union(kind):
        return " | ".join(inner)
    own = str(getattr(get_origin(kind) or kind, "__name__", kind))
    return f"{own}[{', '.join(inner)}]" if inner else own


def tolerant(read: Reader, model: str, field: str, wanted: str) -> Reader:
    """Wrap a reader: the result of an unreadable value is None, and the problem is reported as drift.

    Args:
        read: the reader; it may raise anything.
        model: the name of the class in the report.
        field: the name of the field in the report.
        wanted: the type in the report.

    Raises:
        DecodeError: drift is strict.
    """

    def attempt(value: object) -> object:
        try:
            result = read(value)
        except MalformedRecord:
            problem = "malformed"
        except DecodeError:
            raise  # strict drift
        except Exception:  # noqa: BLE001  (a reader may fail in any way on a value nothing documents)
            problem = f"unreadable {type(value).__name__}"
        else:
            if result is NOTHING:
                return None
            if result is not None or is_nothing(value):
                return result
            problem = f"{type(value).__name__} instead of {wanted}"
        # Outside the handlers, so that a strict error has no `__context__` that could hold the value.
        report(model, field, problem)
        return None

    return attempt


def items_of(value: object, fields: frozenset[str] = frozenset()) -> list[object] | None:
    """Return the elements of a list, also where PHP has encoded it in another way.

    PHP encodes a list whose indices have gaps as an object, and an empty one as an empty text or false. Some
    endpoints return the only element instead of a list.

    Args:
        value: any JSON value.
        fields: the keys of an element; an object that has one of them is the only element. Without `fields`,
            an object is the only element if its keys are names and not all of its values are objects.

    Returns:
        The elements, or None where the value is not a list in any encoding.
    """
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, Mapping):
        return [] if is_nothing(value) else None
    items = list(value.values())
    if fields:
        return items if fields.isdisjoint(value) else [value]
    listed = all(map(_is_position, value)) or all(isinstance(item, Mapping) for item in items)
    return items if listed else [value]


def _is_position(key: object) -> bool:
    return isinstance(key, str) and key.isdecimal()


def _is_union(kind: object) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _is_tuple(kind: object) -> bool:
    return get_origin(kind) is tuple


def _is_mapping(kind: object) -> bool:
    return kind in (Mapping, dict) or get_origin(kind) in (Mapping, dict)


def _value_type(kind: object) -> object:
    return get_args(kind)[1] if get_args(kind) else object


def _element_reader(kind: object) -> tuple[Reader, Callable[[object], bool]]:
    """Return the reader of a container's elements, and a function that says which results to keep."""
    element, optional = without_none(kind)
    name = name_of(element)
    read = tolerant(reader_of(element), name, "[]", name)
    keeps_none = optional or element is object
    return read, lambda result: keeps_none or result is not None


def _tuple_of(kind: object) -> _Hook:
    arguments = get_args(kind)
    if len(arguments) != 2 or arguments[1] is not Ellipsis:
        raise TypeError(f"{kind} has no tolerant reader; tuple[X, ...] has")
    read, kept = _element_reader(arguments[0])

    def structure(value: object, _: object) -> object:
        items = items_of(value)
        return None if items is None else tuple(filter(kept, map(read, items)))

    return structure


def _mapping_of(kind: object) -> _Hook:
    if get_args(kind) and get_args(kind)[0] is not str:
        raise TypeError(f"{kind} has no tolerant reader; the keys of a JSON object are str")
    read, kept = _element_reader(_value_type(kind))

    def structure(value: object, _: object) -> object:
        if isinstance(value, list):  # PHP encodes an array with the keys 0, 1, 2... as a list
            value = {str(index): item for index, item in enumerate(value)}
        if not isinstance(value, Mapping):
            return {} if is_nothing(value) else None
        made = {key: read(item) for key, item in value.items()}
        return {key: result for key, result in made.items() if kept(result)}

    return structure


def _union_of(kind: object) -> _Hook:
    members = get_args(kind)
    if any(member not in _JSON_SCALARS for member in members):
        raise TypeError(f"{kind} has no tolerant reader; a union of bool, int, float and str has")

    def structure(value: object, _: object) -> object:
        if type(value) in members:  # not isinstance: a boolean is an instance of int
            return value
        return number(value) if type(value) is int and float in members else None

    return structure


def _unsupported(kind: object) -> _Hook:
    raise TypeError(f"{kind} has no tolerant reader; give the field a reader of its own")


def _make_converter() -> Converter:
    made = Converter(detailed_validation=False)
    # cattrs tries the latest registration first.
    made.register_structure_hook_factory(lambda _: True, _unsupported)
    made.register_structure_hook_factory(_is_union, _union_of)
    made.register_structure_hook_factory(_is_mapping, _mapping_of)
    made.register_structure_hook_factory(_is_tuple, _tuple_of)
    made.register_structure_hook_factory(lambda kind: kind is object, lambda _: lambda value, _: value)
    return made


converter: Final = _make_converter()

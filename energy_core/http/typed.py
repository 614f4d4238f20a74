"""A type to its tolerant reader, through one cattrs `Converter` asked once per field, never per record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Final, TypeAlias, Union, get_args, get_origin

from cattrs import Converter

from energy_core.errors import DecodeError
from energy_core.http.drift import report
from energy_core.http.readers import NOTHING, Reader, day, flag, integer, is_nothing, moment, number, text

_Hook: TypeAlias = Callable[[object, object], object]

_SCALARS: Final[Mapping[object, Reader]] = {
    bool: flag,
    int: integer,
    float: number,
    str: text,
    datetime: moment,
    date: day,
}
_AS_THEY_COME: Final = (bool, int, float, str)
_JSON: Final = frozenset({bool, int, float, str, list, dict, NoneType})


class MalformedRecord(DecodeError):
    """A record of the wrong shape, or without a field it needs. `records` counts it and leaves it out."""

    def __init__(self, message: str = "", **facts: object) -> None:
        facts["kind"] = "shape"
        super().__init__(message, **facts)  # type: ignore[arg-type]


def reader_of(kind: object) -> Reader:
    """Return the reader of a type.

    Raises:
        TypeError: there is no tolerant reading of it.
    """
    if kind in _SCALARS:  # no need to pass the type along, and these are the readers that are called most
        return _SCALARS[kind]
    hook: _Hook = converter.get_structure_hook(kind)
    return lambda value: hook(value, kind)


def passthrough_types(kind: object) -> frozenset[object]:
    """Return the exact types of values that are already what a field of this type holds."""
    if kind is object:
        return _JSON
    if kind in _AS_THEY_COME:
        return frozenset({kind})
    if _is_union(kind):
        return frozenset(get_args(kind))
    if _is_mapping(kind) and _value_type(kind) is object:
        return frozenset({dict})
    return frozenset()


def without_none(kind: object) -> tuple[object, bool]:
    """Split ``X | None`` into X and True; any other type is given back with False."""
    members = get_args(kind) if _is_union(kind) else ()
    rest = tuple(member for member in members if member is not NoneType)
    if len(rest) == len(members):
        return kind, False
    return Union[rest], True  # noqa: UP007  (made of a tuple)


def name_of(kind: object) -> str:
    """Return a type as a codec spells it, without modules, for a drift report."""
    if kind is Ellipsis:
        return "..."
    inner = [name_of(argument) for argument in get_args(kind)]
    if _is_union(kind):
        return " | ".join(inner)
    own = str(getattr(get_origin(kind) or kind, "__name__", kind))
    return f"{own}[{', '.join(inner)}]" if inner else own


def tolerant(read: Reader, model: str, field: str, wanted: str) -> Reader:
    """Return a reader that never fails for a value: what it cannot read is None and noted."""

    def attempt(value: object) -> object:
        try:
            result = read(value)
        except MalformedRecord:
            problem = "malformed"
        except DecodeError:
            raise  # a strict Drift has spoken
        except Exception:  # noqa: BLE001  (a codec's own reader may fail in any way on what a vendor invents)
            problem = f"unreadable {type(value).__name__}"
        else:
            if result is NOTHING:
                return None
            if result is not None or is_nothing(value):
                return result
            problem = f"{type(value).__name__} instead of {wanted}"
        # Outside the handlers, so that a strict error has no context that could hold the value.
        report(model, field, problem)
        return None

    return attempt


def items_of(value: object, fields: frozenset[str] = frozenset()) -> list[object] | None:
    """Return the elements of a list, or of what PHP makes of a list with holes, of one element or of none.

    Args:
        value: Any JSON value.
        fields: The keys an element has: an object that has one of them is the list's only element. Without
            them an object is one if its keys are names, and not all of its values are objects.
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


def _elements_of(kind: object) -> tuple[Reader, Callable[[object], bool]]:
    """Return the reader of a container's elements, and which results are kept."""
    element, optional = without_none(kind)
    name = name_of(element)
    read = tolerant(reader_of(element), name, "[]", name)
    keeps_none = optional or element is object
    return read, lambda result: keeps_none or result is not None


def _tuple_of(kind: object) -> _Hook:
    arguments = get_args(kind)
    if len(arguments) != 2 or arguments[1] is not Ellipsis:
        raise TypeError(f"{kind} has no tolerant reading; tuple[X, ...] has")
    read, kept = _elements_of(arguments[0])

    def structure(value: object, _: object) -> object:
        items = items_of(value)
        return None if items is None else tuple(filter(kept, map(read, items)))

    return structure


def _mapping_of(kind: object) -> _Hook:
    if get_args(kind) and get_args(kind)[0] is not str:
        raise TypeError(f"{kind} has no tolerant reading; the keys of a JSON object are str")
    read, kept = _elements_of(_value_type(kind))

    def structure(value: object, _: object) -> object:
        if isinstance(value, list):  # PHP writes an array whose keys are 0, 1, 2... as a list
            value = {str(index): item for index, item in enumerate(value)}
        if not isinstance(value, Mapping):
            return {} if is_nothing(value) else None
        made = {key: read(item) for key, item in value.items()}
        return {key: result for key, result in made.items() if kept(result)}

    return structure


def _union_of(kind: object) -> _Hook:
    members = get_args(kind)
    if any(member not in _AS_THEY_COME for member in members):
        raise TypeError(f"{kind} has no tolerant reading; a union of bool, int, float and str has")

    def structure(value: object, _: object) -> object:
        if type(value) in members:  # exactly: to isinstance a boolean is an int
            return value
        return number(value) if type(value) is int and float in members else None

    return structure


def _unsupported(kind: object) -> _Hook:
    raise TypeError(f"{kind} has no tolerant reading; give the field a reader of its own")


def _make_converter() -> Converter:
    made = Converter(detailed_validation=False)
    # The latest registration is asked first.
    made.register_structure_hook_factory(lambda _: True, _unsupported)
    made.register_structure_hook_factory(_is_union, _union_of)
    made.register_structure_hook_factory(_is_mapping, _mapping_of)
    made.register_structure_hook_factory(_is_tuple, _tuple_of)
    made.register_structure_hook_factory(lambda kind: kind is object, lambda _: lambda value, _: value)
    return made


converter: Final = _make_converter()

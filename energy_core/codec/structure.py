"""A type to its tolerant reader, through one cattrs `Converter` asked once per field, never per record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, Generic, TypeAlias, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter

from energy_core.codec.coerce import (
    NOTHING,
    Reader,
    day,
    flag,
    integer,
    is_nothing,
    iso,
    millis,
    moment,
    number,
    seconds,
    seconds_or_never,
    text,
)
from energy_core.codec.columns import (
    MIN_RECORDS,
    MISSING,
    FieldColumn,
    SlotWriter,
    slot_writer,
    stored_fields,
    structure_columns,
)
from energy_core.codec.drift import current_drift, report
from energy_core.errors import DecodeError

__all__ = [
    "MalformedRecord",
    "Reader",
    "day",
    "flag",
    "integer",
    "iso",
    "millis",
    "model",
    "moment",
    "number",
    "records",
    "seconds",
    "seconds_or_never",
    "text",
]


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


T = TypeVar("T")
_Step: TypeAlias = tuple[SlotWriter, str, frozenset[object], Reader]
"""What is needed of a `Column` for one record: a plain tuple, because a named one is slower to unpack."""

_create: Final[Callable[[Any], Any]] = object.__new__
_NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
_NO_READERS: Final[Mapping[str, Reader]] = MappingProxyType({})


class RecordHook(Generic[T]):
    """The hook of a model: called with a record it returns a `T`. Made by `model`."""

    def __init__(self, cls: type[T], columns: Mapping[str, FieldColumn], raw: SlotWriter | None) -> None:
        self.cls = cls
        self.keys = frozenset(column.key for column in columns.values())
        """The keys its fields are read from."""
        self.columns = columns
        """How each of its fields is read."""
        self._required_first = sorted(columns.values(), key=lambda column: not column.required)
        self._plan: tuple[_Step, ...] = tuple((c.put, c.key, c.ready, c.read) for c in columns.values())
        self._raw = raw

    def __call__(self, record: object) -> T:
        """Read a record.

        Raises:
            MalformedRecord: it is no mapping or lacks a required field.
            DecodeError: a strict `Drift` has something to note.
        """
        cls, put_raw = self.cls, self._raw
        if type(record) is not dict and not isinstance(record, Mapping):
            raise MalformedRecord(f"{cls.__name__} must come as an object, not as {type(record).__name__}")
        made: T = _create(cls)
        get = record.get
        for put, key, ready, reader in self._plan:
            value = get(key, MISSING)
            put(made, value if type(value) in ready else reader(value))
        if put_raw is not None:
            put_raw(made, record)
        _note_unknown(cls.__name__, record, self.keys)
        return made

    def all(self, records: list[object]) -> list[T] | None:
        """Read many records at once, or return None where that must be done one by one."""
        return (
            structure_columns(self.cls, records, self._required_first, self._raw)
            if len(records) >= MIN_RECORDS
            else None
        )

    def read(self, name: str, record: Mapping[str, object]) -> object:
        """Read one field of a record, by the field's name, as it is read with the others."""
        column = self.columns[name]
        value = record.get(column.key, MISSING)
        return value if type(value) in column.ready else column.read(value)


def model(
    cls: type[T], *, wire: Mapping[str, str] = _NO_NAMES, read: Mapping[str, Reader] = _NO_READERS
) -> RecordHook[T]:
    """Make the hook that turns a record into a `cls`; other models may then have fields of that type.

    The hook raises `MalformedRecord` for what is no mapping or lacks a required field, and the `DecodeError`
    of a strict `Drift`; nothing else.

    Args:
        cls: a slotted attrs class. Its field `raw`, if there is one, receives the record as it came.
        wire: the vendor's key of each field that is not called the same.
        read: how a field is read where its type does not say it; gets any JSON value, returns None at a loss.

    Raises:
        TypeError: the class, the type of a field or a name in the tables does not fit.
    """
    fields = stored_fields(cls)
    if stray := (wire.keys() | read.keys()) - (fields.keys() - {"raw"}):
        raise TypeError(f"{cls.__name__} has no field to read called {', '.join(sorted(stray))}")
    put_raw = slot_writer(cls, "raw") if fields.pop("raw", None) else None
    hook = RecordHook(
        cls,
        {name: _column(cls, field, wire.get(name, name), read.get(name)) for name, field in fields.items()},
        put_raw,
    )
    converter.register_structure_hook(cls, lambda record, _: None if is_nothing(record) else hook(record))
    return hook


def records(hook: Callable[[object], T], name: str) -> Callable[[object], tuple[T, ...]]:
    """Make the hook that reads a list of records, or PHP's object for one, leaving out malformed ones.

    Where a list of one record comes as that record, it is recognised by its keys.

    It raises `MalformedRecord` only for what is no list at all.
    """
    fields = hook.keys if isinstance(hook, RecordHook) else frozenset()

    def structure(value: object) -> tuple[T, ...]:
        items = items_of(value, fields)
        if items is None:
            raise MalformedRecord(f"{name} must come as a list, not as {type(value).__name__}")
        at_once = hook.all(items) if isinstance(hook, RecordHook) else None
        if at_once is not None:
            return tuple(at_once)
        made: list[T] = []
        malformed = 0
        for item in items:
            try:
                made.append(hook(item))
            except MalformedRecord:
                malformed += 1
        for _ in range(malformed):
            report(name, "record", "malformed")
        return tuple(made)

    return structure


def _column(cls: type, field: attrs.Attribute[object], key: str, custom: Reader | None) -> FieldColumn:
    kind, optional = without_none(field.type)
    ready = frozenset[object]() if custom else passthrough_types(kind) | ({NoneType} if optional else set())
    own = custom or reader_of(kind)
    default = _default(field)
    empty = None if optional else _empty(own)
    required = not optional and default is None and empty is None
    plain = optional and default is not None and default() is None and _empty(own) is None
    read = _with_fallback(cls.__name__, field, key, own)
    return FieldColumn(
        slot_writer(cls, field.name), key, ready, read, own if plain else None, default, required
    )


def _with_fallback(owner: str, field: attrs.Attribute[object], key: str, read: Reader) -> Reader:
    """Return the reader for what is not ready as it is: absent, spelled otherwise, or broken."""
    kind, optional = without_none(field.type)
    attempt = tolerant(read, owner, field.name, name_of(kind))
    default = _default(field)
    empty = None if optional else _empty(read)
    required = not optional and default is None and empty is None

    def reader(value: object) -> object:
        if value is MISSING:
            if default is not None:
                return default()
            if not required:
                report(owner, field.name, "missing")
            value = None
        result = attempt(value)
        if result is not None or optional:
            return result
        if required:
            raise MalformedRecord(f"{owner} came without a readable {key}")
        return empty if default is None else default()

    return reader


def _default(field: attrs.Attribute[object]) -> Callable[[], object] | None:
    default = field.default
    if default is attrs.NOTHING:
        return None
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class, whatever its stub says
        if default.takes_self:  # type: ignore[attr-defined]
            raise TypeError(f"{field.name} has a default that needs the instance, which is not complete yet")
        factory: Callable[[], object] = default.factory  # type: ignore[attr-defined]
        return factory
    return lambda: default


def _empty(read: Reader) -> object:
    """Return what a reader makes of nothing: an empty tuple or mapping, or None."""
    try:
        return read(None)
    except Exception:  # noqa: BLE001  (a reader that fails on nothing has nothing to offer)
        return None


def _note_unknown(owner: str, record: Mapping[str, object], known: frozenset[str]) -> None:
    drift = current_drift()
    if drift is not None and not record.keys() <= known:
        for key in record.keys() - known:
            drift.note_unknown(owner, key)


def _structure_nested(cls: type) -> Callable[[object, object], object]:
    """Read a model nobody declared, by its own field names."""
    hook: Callable[[object], object] = model(cls)
    return lambda record, _: None if is_nothing(record) else hook(record)


converter.register_structure_hook_factory(attrs.has, _structure_nested)

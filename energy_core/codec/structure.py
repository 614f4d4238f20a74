"""Models: from a JSON object to an attrs object, and from a list of JSON objects to a tuple of these.

`model` makes the hook of a class, `records` the hook of a list. A value that cannot be read becomes None or
the field's default and is reported as drift. A record without a required field is left out of its list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, NoneType
from typing import Final, Generic, TypeAlias, TypeVar

import attrs

from energy_core.codec.coerce import Reader, is_nothing
from energy_core.codec.columns import (
    MIN_RECORDS,
    MISSING,
    FieldColumn,
    SlotWriter,
    create_one,
    slot_writer,
    stored_fields,
    structure_columns,
)
from energy_core.codec.drift import current_drift, report
from energy_core.codec.field_types import (
    MalformedRecord,
    converter,
    items_of,
    name_of,
    passthrough_types,
    reader_of,
    tolerant,
    without_none,
)

__all__ = ["MalformedRecord", "RecordHook", "items_of", "model", "records"]

T = TypeVar("T")
_Step: TypeAlias = tuple[SlotWriter, str, frozenset[object], Reader]
"""Part of a `FieldColumn`, for one record: a plain tuple is faster to unpack than a named one."""

_NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
_NO_READERS: Final[Mapping[str, Reader]] = MappingProxyType({})


class RecordHook(Generic[T]):
    """Decodes records of one class: ``hook(record)`` returns a `T`. Made by `model`."""

    def __init__(self, cls: type[T], columns: Mapping[str, FieldColumn], raw: SlotWriter | None) -> None:
        self.cls = cls
        self.keys = frozenset(column.key for column in columns.values())
        """The keys of the documented fields."""
        self.columns = columns
        """How each field is decoded, by its name."""
        self._required_first = sorted(columns.values(), key=lambda column: not column.required)
        self._plan: tuple[_Step, ...] = tuple(
            (c.write, c.key, c.passthrough, c.read) for c in columns.values()
        )
        self._raw = raw

    def __call__(self, record: object) -> T:
        """Decode a record.

        Raises:
            MalformedRecord: it is not an object or lacks a required field.
            DecodeError: drift is strict, and there is some.
        """
        cls, write_raw = self.cls, self._raw
        if type(record) is not dict and not isinstance(record, Mapping):
            raise MalformedRecord(f"{cls.__name__} must be an object, not {type(record).__name__}")
        made: T = create_one(cls)
        get = record.get
        for write, key, passthrough, read in self._plan:
            value = get(key, MISSING)
            write(made, value if type(value) in passthrough else read(value))
        if write_raw is not None:
            write_raw(made, record)
        _report_unknown(cls.__name__, record, self.keys)
        return made

    def all(self, records: list[object]) -> list[T] | None:
        """Decode many records at once, or return None where they must be decoded one by one."""
        return (
            structure_columns(self.cls, records, self._required_first, self._raw)
            if len(records) >= MIN_RECORDS
            else None
        )

    def read(self, name: str, record: Mapping[str, object]) -> object:
        """Decode one field of a record, by the field's name, with the same result as in the whole record."""
        column = self.columns[name]
        value = record.get(column.key, MISSING)
        return value if type(value) in column.passthrough else column.read(value)


def model(
    cls: type[T], *, wire: Mapping[str, str] = _NO_NAMES, read: Mapping[str, Reader] = _NO_READERS
) -> RecordHook[T]:
    """Return the hook that decodes a record to a `cls`.

    Other models may have fields of this class afterwards.

    The hook raises `MalformedRecord` for a value that is not an object or lacks a required field, and
    `DecodeError` where drift is strict; nothing else.

    Args:
        cls: a slotted attrs class. Its field `raw`, if it has one, is the record itself.
        wire: the vendor's key of each field whose key differs from its name.
        read: readers of fields for which the type is not enough. They get any JSON value and return None for
            one that they cannot read.

    Raises:
        TypeError: the class or the type of a field has no tolerant reader, or a name in `wire` or `read` is
            not a field.
    """
    fields = stored_fields(cls)
    if stray := (wire.keys() | read.keys()) - (fields.keys() - {"raw"}):
        raise TypeError(f"{cls.__name__} has no field to read called {', '.join(sorted(stray))}")
    write_raw = slot_writer(cls, "raw") if fields.pop("raw", None) else None
    hook = RecordHook(
        cls,
        {name: _column(cls, field, wire.get(name, name), read.get(name)) for name, field in fields.items()},
        write_raw,
    )
    converter.register_structure_hook(cls, lambda record, _: None if is_nothing(record) else hook(record))
    return hook


def records(hook: Callable[[object], T], name: str) -> Callable[[object], tuple[T, ...]]:
    """Return the hook that decodes a list of records, in any of PHP's encodings, to a tuple.

    Malformed records are left out and reported as drift. The only element of a list that came instead of the
    list is recognised by its keys. The hook raises `MalformedRecord` for a value that is not a list at all.

    Args:
        hook: decodes one record; usually made by `model`.
        name: the name of the list in errors and drift.
    """
    fields = hook.keys if isinstance(hook, RecordHook) else frozenset()

    def structure(value: object) -> tuple[T, ...]:
        items = items_of(value, fields)
        if items is None:
            raise MalformedRecord(f"{name} must be a list, not {type(value).__name__}")
        made_at_once = hook.all(items) if isinstance(hook, RecordHook) else None
        if made_at_once is not None:
            return tuple(made_at_once)
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
    none_type = {NoneType} if optional else set()
    passthrough = frozenset[object]() if custom else passthrough_types(kind) | none_type
    own = custom or reader_of(kind)
    default = _default(field)
    empty = None if optional else _empty(own)
    required = not optional and default is None and empty is None
    null_is_missing = optional and default is not None and default() is None and _empty(own) is None
    read = _with_fallback(cls.__name__, field, key, own)
    return FieldColumn(
        slot_writer(cls, field.name),
        key,
        passthrough,
        read,
        own if null_is_missing else None,
        default,
        required,
    )


def _with_fallback(owner: str, field: attrs.Attribute[object], key: str, read: Reader) -> Reader:
    """Return the reader for a value that is missing, spelled in another way, or unreadable."""
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
            raise MalformedRecord(f"{owner} has no readable {key}")
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
    """Return the result of a reader for null: an empty tuple or mapping, or None."""
    try:
        return read(None)
    except Exception:  # noqa: BLE001  (a reader that fails for None has no empty value)
        return None


def _report_unknown(owner: str, record: Mapping[str, object], known: frozenset[str]) -> None:
    drift = current_drift()
    if drift is not None and not record.keys() <= known:
        for key in record.keys() - known:
            drift.note_unknown(owner, key)


def _structure_nested(cls: type) -> Callable[[object, object], object]:
    """Return the cattrs hook of a class without a `model` call: its keys are the names of its fields."""
    hook: Callable[[object], object] = model(cls)
    return lambda record, _: None if is_nothing(record) else hook(record)


converter.register_structure_hook_factory(attrs.has, _structure_nested)

"""Mappings to frozen attrs models, tolerantly: what cannot be read becomes None or the default, and is noted.

A vendor's codec declares one hook per model, at import::

    site = model(Site, wire={"id": "idSite", "pv_max_w": "pvMax"}, read={"last_seen": seconds})
    sites = records(site, "Site")

Nothing (null, false, and empty text, list or object: PHP's shapes of it) is silent where it is allowed. A
field that is neither optional nor has a default, and cannot be empty, is required: without it the record is
malformed. Keys that no field names are noted once each, and stay in `raw`.

A field's type is looked up through one cattrs `Converter`, once, when the hook is made. Reading a record is
then one loop over a plan that fills the slots directly. That takes less than half of cattrs' own time,
because the constructor of a frozen class costs more than everything else together; generated code was
measured to be no faster than the loop. What a constructor could do besides storing (converters, validators,
init hooks) is therefore refused when the hook is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, NoneType
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs

from energy_core.http.batch import MIN_RECORDS, MISSING, FieldColumn, structure_columns
from energy_core.http.drift import current_drift, report
from energy_core.http.readers import (
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
from energy_core.http.slots import SlotWriter, slot_writer, stored_fields
from energy_core.http.typed import (
    MalformedRecord,
    converter,
    items_of,
    name_of,
    passthrough_types,
    reader_of,
    tolerant,
    without_none,
)

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

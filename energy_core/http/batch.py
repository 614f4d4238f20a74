"""Many records at once, column by column, so that the loops are the interpreter's own.

The results, and what is noted in `Drift`, are those of reading one record after the other. Where that would
take more than a look at the types (a record that is no object or lacks what it needs, a strict `Drift`,
which complains about the first of them), there is no result, and nothing noted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import repeat
from types import NoneType
from typing import Any, Final, NamedTuple, TypeVar

from energy_core.http.drift import current_drift
from energy_core.http.readers import Reader, flag, moment, number, seconds, seconds_or_never
from energy_core.http.slots import SlotWriter, create_empty, fill_slot

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

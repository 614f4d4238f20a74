"""Points of series to columns.

A point is ``[time, value]``, ``[time, mean, min]`` or ``[time, mean, min, max]``, its time in s or ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from energy_core.codec.coerce import number
from energy_core.codec.drift import report

MILLISECONDS_FROM: Final = 10**11
"""VRM sends s and ms: timestamps from here on (1973 in ms) are ms, smaller ones s (up to the year 5138)."""
LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, the last moment of a datetime."""

_CLEAN: Final = frozenset({int, float, type(None)})

Column: TypeAlias = Sequence[float | None]


class Columns(NamedTuple):
    """The columns of a `Series`."""

    times_ms: Sequence[int] = ()
    value: Column = ()
    minimum: Column | None = None
    maximum: Column | None = None


def columns(value: object) -> Columns:
    """Read a list of points; false, null, [] and {} are empty, a malformed point is reported and left out."""
    if isinstance(value, Mapping):  # PHP sends a sparse list as an object
        value = list(value.values())
    if _is_point(value):  # and a list of one point as that point
        value = [value]
    if not isinstance(value, list):
        if value not in (None, False, ""):
            report("Series", "points", "not a list")
        return Columns()
    return _at_once(value) or _one_by_one(value)


def _is_point(value: object) -> bool:
    """Whether a list is one point and not a list of points."""
    if not isinstance(value, list) or not 2 <= len(value) <= _LONGEST_POINT:
        return False
    moment = time_ms(value[0])
    is_time = moment is not None and moment >= _FIRST_MS
    return is_time and not any(isinstance(cell, list | Mapping) for cell in value)


_LONGEST_POINT: Final = 4
_FIRST_MS: Final = 10**11
"""1973 in milliseconds: a smaller first number is a value, not a time."""


def _at_once(rows: list[object]) -> Columns | None:
    """Transpose rows in one pass; None unless all rows have one length and only numbers and null."""
    transpose = _TRANSPOSE.get(len(rows[0])) if rows and isinstance(rows[0], list) else None
    if transpose is None:
        return None
    try:
        times, *values = transpose(rows)
    except (TypeError, ValueError):  # a row is not a list, or has another length
        return None
    # Text and objects unpack like lists too; their items are text, which fails this check.
    if not all(set(map(type, column)) <= _CLEAN for column in values):
        return None
    times_ms = _times(times)
    return None if times_ms is None else Columns(times_ms, *values)


# One list comprehension for each column: unpacking checks the length of the rows, and it takes half the time
# of zip(*rows), whose iterators (one a row) trigger the garbage collector.
_TRANSPOSE: Final[Mapping[int, Callable[[list[Any]], Sequence[tuple[Any, ...]]]]] = {
    2: lambda rows: (tuple([time for time, _ in rows]), tuple([value for _, value in rows])),
    3: lambda rows: (
        tuple([time for time, _, _ in rows]),
        tuple([mean for _, mean, _ in rows]),
        tuple([least for _, _, least in rows]),
    ),
    4: lambda rows: (
        tuple([time for time, _, _, _ in rows]),
        tuple([mean for _, mean, _, _ in rows]),
        tuple([least for _, _, least, _ in rows]),
        tuple([most for _, _, _, most in rows]),
    ),
}


def _times(column: Sequence[Any]) -> Sequence[int] | None:
    kinds = set(map(type, column))
    if not kinds <= {int, float}:
        return None
    # Times are usually in order; then sorting takes a third of the time of min and max.
    ordered = sorted(column)
    first, last = ordered[0], ordered[-1]
    if first >= MILLISECONDS_FROM and last <= LAST_MS:
        return column if kinds == {int} else tuple(map(int, column))
    if first >= 0 and last < MILLISECONDS_FROM:
        return tuple([round(time * 1000) for time in column])
    return None


def time_ms(value: object) -> int | None:
    """Return one timestamp in ms; it may be s or ms, a number or text. None for anything else."""
    time = number(value)
    if time is None or not 0 <= time <= LAST_MS:
        return None
    return round(time) if time >= MILLISECONDS_FROM else round(time * 1000)


def _one_by_one(rows: list[object]) -> Columns:
    """Read rows of several widths, numbers as text, false for a value, and malformed rows."""
    read: list[tuple[int, float | None, float | None, float | None]] = []
    width = 2
    for each in rows:
        row = list(each.values()) if isinstance(each, Mapping) else each
        time = time_ms(row[0]) if isinstance(row, list) and len(row) > 1 else None
        if time is None or not isinstance(row, list):
            report("Series", "point", "malformed")
            continue
        width = max(width, min(len(row), 4))
        read.append((time, *_three([_value(cell) for cell in row[1:4]])))
    if not read:
        return Columns()
    times_ms, values, minimum, maximum = zip(*read, strict=True)
    return Columns(times_ms, values, minimum if width > 2 else None, maximum if width > 3 else None)


def _three(values: list[float | None]) -> tuple[float | None, float | None, float | None]:
    first, second, third = [*values, None, None][:3]
    return first, second, third


def _value(cell: object) -> float | None:
    value = number(cell)
    if value is None and cell not in (None, False, ""):
        report("Series", "value", "not a number")
    return value

"""VRM's points to columns: a time in s or ms, then mean, or mean and min, or mean, min and max."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from energy_core.http.drift import note
from energy_core.http.readers import number

MILLISECONDS_FROM: Final = 10**11
"""Above it a timestamp counts milliseconds (1973), below it seconds (5138): VRM sends both."""
LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, beyond which there are no datetimes."""

_CLEAN: Final = frozenset({int, float, type(None)})

Column: TypeAlias = Sequence[float | None]


class Columns(NamedTuple):
    """The columns of a `Series`."""

    times_ms: Sequence[int] = ()
    mean: Column = ()
    minimum: Column | None = None
    maximum: Column | None = None


def columns(value: object) -> Columns:
    """Read a list of points; false, null, [] and {} are none, and a damaged one is noted and left out."""
    if isinstance(value, Mapping):  # PHP's spelling of a list with holes
        value = list(value.values())
    if not isinstance(value, list):
        if value not in (None, False, ""):
            note("Series", "points", "not a list")
        return Columns()
    return _whole(value) or _one_by_one(value)


def _whole(rows: list[object]) -> Columns | None:
    """Turn rows into columns at once, when every row is of the same, clean kind."""
    if set(map(type, rows)) != {list}:
        return None
    cells: list[list[Any]] = rows  # type: ignore[assignment]
    widths = set(map(len, cells))
    width = widths.pop()
    if widths or not 2 <= width <= 4:
        return None
    # Not by zip(*rows): its iterator for every row wakes the garbage collector again and again.
    flat = tuple(chain.from_iterable(cells))
    turned = [flat[at::width] for at in range(width)]
    if not set(map(type, flat)) <= _CLEAN:
        return None
    times_ms = _times(turned[0])
    return None if times_ms is None else Columns(times_ms, *turned[1:])


def _times(column: Sequence[int | float | None]) -> Sequence[int] | None:
    kinds = set(map(type, column))
    if not kinds <= {int, float}:
        return None
    first, last = min(column), max(column)  # type: ignore[type-var]
    if first >= MILLISECONDS_FROM and last <= LAST_MS:  # type: ignore[operator]
        return column if kinds == {int} else tuple(map(int, column))  # type: ignore[arg-type,return-value]
    if first >= 0 and last < MILLISECONDS_FROM:  # type: ignore[operator]
        return tuple(round(time * 1000) for time in column)  # type: ignore[operator]
    return None


def time_ms(value: object) -> int | None:
    """Read one timestamp in s or ms, also from text."""
    time = number(value)
    if time is None or not 0 <= time <= LAST_MS:
        return None
    return round(time) if time >= MILLISECONDS_FROM else round(time * 1000)


def _one_by_one(rows: list[object]) -> Columns:
    """Read what `_whole` cannot: rows of several widths, numbers in text, false for a value, damaged rows."""
    read: list[tuple[int, float | None, float | None, float | None]] = []
    width = 2
    for row in rows:
        time = time_ms(row[0]) if isinstance(row, list) and len(row) > 1 else None
        if time is None or not isinstance(row, list):
            note("Series", "point", "malformed")
            continue
        width = max(width, min(len(row), 4))
        read.append((time, *_three([_value(cell) for cell in row[1:4]])))
    if not read:
        return Columns()
    times_ms, mean, minimum, maximum = zip(*read, strict=True)
    return Columns(times_ms, mean, minimum if width > 2 else None, maximum if width > 3 else None)


def _three(values: list[float | None]) -> tuple[float | None, float | None, float | None]:
    first, second, third = [*values, None, None][:3]
    return first, second, third


def _value(cell: object) -> float | None:
    value = number(cell)
    if value is None and cell not in (None, False, ""):
        note("Series", "value", "not a number")
    return value

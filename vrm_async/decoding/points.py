"""VRM's points to columns: a time in s or ms, then mean, or mean and min, or mean, min and max."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from energy_core.codec.coerce import number
from energy_core.codec.drift import report

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
    if _is_point(value):  # and of a list of one
        value = [value]
    if not isinstance(value, list):
        if value not in (None, False, ""):
            report("Series", "points", "not a list")
        return Columns()
    return _whole(value) or _one_by_one(value)


def _is_point(value: object) -> bool:
    """Tell whether a list is a time and numbers, not a list of such."""
    if not isinstance(value, list) or not 2 <= len(value) <= _LONGEST_POINT:
        return False
    moment = time_ms(value[0])
    is_time = moment is not None and moment >= _FIRST_MS
    return is_time and not any(isinstance(cell, list | Mapping) for cell in value)


_LONGEST_POINT: Final = 4
_FIRST_MS: Final = 10**11
"""1973 in milliseconds: a smaller number beside others is a value, not a time."""


def _whole(rows: list[object]) -> Columns | None:
    """Turn rows into columns at once, when every row is of the same, clean kind."""
    turn = _TURN.get(len(rows[0])) if rows and isinstance(rows[0], list) else None
    if turn is None:
        return None
    try:
        times, *values = turn(rows)
    except (TypeError, ValueError):  # a row that is no list, or is of another length
        return None
    # Text and objects can be unpacked like a list, but what comes out of them is text and never clean.
    if not all(set(map(type, column)) <= _CLEAN for column in values):
        return None
    times_ms = _times(times)
    return None if times_ms is None else Columns(times_ms, *values)


# A loop for each column, unpacking the rows: it checks their length in passing, and takes half the time of
# zip(*rows), whose iterator for every row wakes the garbage collector again and again, or of one flat list.
_TURN: Final[Mapping[int, Callable[[list[Any]], Sequence[tuple[Any, ...]]]]] = {
    2: lambda rows: (tuple([time for time, _ in rows]), tuple([mean for _, mean in rows])),
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
    # They come in order, and then sorting takes a third of looking for both ends.
    ordered = sorted(column)
    first, last = ordered[0], ordered[-1]
    if first >= MILLISECONDS_FROM and last <= LAST_MS:
        return column if kinds == {int} else tuple(map(int, column))
    if first >= 0 and last < MILLISECONDS_FROM:
        return tuple([round(time * 1000) for time in column])
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
    times_ms, mean, minimum, maximum = zip(*read, strict=True)
    return Columns(times_ms, mean, minimum if width > 2 else None, maximum if width > 3 else None)


def _three(values: list[float | None]) -> tuple[float | None, float | None, float | None]:
    first, second, third = [*values, None, None][:3]
    return first, second, third


def _value(cell: object) -> float | None:
    value = number(cell)
    if value is None and cell not in (None, False, ""):
        report("Series", "value", "not a number")
    return value

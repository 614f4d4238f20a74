"""Converts one JSON value to one Python type, or returns None. These functions never raise."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeAlias

from energy_core.local_days import EPOCH

Reader: TypeAlias = Callable[[object], object]
"""Converts any JSON value to the value of a field. None: the value is empty (`is_nothing`) or unreadable."""

NOTHING: Final = object()
"""A reader returns this for a value by which a vendor means null: the field is None, without drift."""

_INT64: Final = 2**63
_INT64_CHARS: Final = 20
_SECOND: Final = timedelta(seconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_FLAGS: Final = {"0": False, "1": True, "false": False, "true": True}


def is_nothing(value: object) -> bool:
    """Return whether PHP may mean null: null, false, or an empty text, list or object."""
    return value is None or value is False or (isinstance(value, str | list | dict) and not value)


def number(value: object) -> float | None:
    """Convert a number or a text such as ``"52.7"``; None for a boolean, NaN and infinity."""
    if isinstance(value, str):
        if not value.isascii() or "_" in value:  # float() accepts more spellings than vendors use
            return None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if math.isfinite(read) else None


def integer(value: object) -> int | None:
    """Convert a whole number of at most 64 bits, also from text or from a float without a fraction."""
    whole = _whole(value)
    return whole if whole is not None and -_INT64 <= whole < _INT64 else None


def _whole(value: object) -> int | None:
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if isinstance(value, str) and value.isascii() and value.strip().removeprefix("-").isdigit():
        # Text of digits is converted exactly: a float would be rounded beyond 2**53.
        return int(value) if len(value) <= _INT64_CHARS else None
    read = number(value)
    return int(read) if read is not None and read.is_integer() else None


def text(value: object) -> str | None:
    """Convert text; a number is formatted as Python does."""
    if isinstance(value, str):
        return value
    return None if isinstance(value, bool) or not isinstance(value, int | float) else str(value)


def flag(value: object) -> bool | None:
    """Convert a boolean, 0 or 1, or the text of one of these."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _FLAGS.get(value.lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def seconds(value: object) -> datetime | None:
    """Convert Unix seconds, as number or text, to UTC."""
    return _since_epoch(value, _SECOND)


def seconds_or_never(value: object) -> datetime | object | None:
    """Convert Unix seconds like `seconds`, where 0 means never: the result is `NOTHING`."""
    return NOTHING if number(value) == 0 else seconds(value)


def millis(value: object) -> datetime | None:
    """Convert Unix milliseconds, as number or text, to UTC."""
    return _since_epoch(value, _MILLISECOND)


def _since_epoch(value: object, unit: timedelta) -> datetime | None:
    count = number(value)
    if count is None:
        return None
    try:
        return EPOCH + count * unit
    except OverflowError:
        return None


def iso(value: object) -> datetime | None:
    """Convert ISO 8601 text to UTC; a text without an offset is in UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def moment(value: object) -> datetime | None:
    """Convert Unix seconds or ISO 8601 text to UTC."""
    since_epoch = seconds(value)
    return iso(value) if since_epoch is None else since_epoch


def day(value: object) -> date | None:
    """Convert ISO 8601 text to a calendar day; of a date with a time, the day in its own offset."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value.strip()).date()
    except ValueError:
        return None

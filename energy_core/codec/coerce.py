"""One JSON value to one type, or None; never an exception. What becomes of a None is decided by who asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeAlias

from energy_core.local_days import EPOCH

Reader: TypeAlias = Callable[[object], object]
"""Any JSON value to what a field holds; None is nothing, or not readable if the value was something."""

NOTHING: Final = object()
"""What a reader returns for a value that is how a vendor writes nothing: None, and no deviation."""

_INT64: Final = 2**63
_INT64_CHARS: Final = 20
_SECOND: Final = timedelta(seconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_FLAGS: Final = {"0": False, "1": True, "false": False, "true": True}


def is_nothing(value: object) -> bool:
    """Tell the shapes PHP makes of nothing: null, false, and empty text, list or object."""
    return value is None or value is False or (isinstance(value, str | list | dict) and not value)


def number(value: object) -> float | None:
    """Read a finite number, also from text such as ``"52.7"``; a boolean is none."""
    if isinstance(value, str):
        if not value.isascii() or "_" in value:  # float() takes more spellings than any vendor means
            return None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if math.isfinite(read) else None


def integer(value: object) -> int | None:
    """Read a whole number of at most 64 bits, also from text and from a float without a fraction."""
    whole = _whole(value)
    return whole if whole is not None and -_INT64 <= whole < _INT64 else None


def _whole(value: object) -> int | None:
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if isinstance(value, str) and value.isascii() and value.strip().removeprefix("-").isdigit():
        # Digits by themselves are read exactly: as a float they would be rounded beyond 2**53.
        return int(value) if len(value) <= _INT64_CHARS else None
    read = number(value)
    return int(read) if read is not None and read.is_integer() else None


def text(value: object) -> str | None:
    """Read text; a number is taken as Python writes it."""
    if isinstance(value, str):
        return value
    return None if isinstance(value, bool) or not isinstance(value, int | float) else str(value)


def flag(value: object) -> bool | None:
    """Read a boolean, also from 0 and 1 and from their spellings as text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _FLAGS.get(value.lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def seconds(value: object) -> datetime | None:
    """Read a moment from Unix seconds, numbers or text."""
    return _since_epoch(value, _SECOND)


def seconds_or_never(value: object) -> datetime | object | None:
    """Read a moment from Unix seconds, where 0 is how a vendor writes never."""
    return NOTHING if number(value) == 0 else seconds(value)


def millis(value: object) -> datetime | None:
    """Read a moment from Unix milliseconds, numbers or text."""
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
    """Read a moment from ISO 8601 text, in UTC; without an offset it is taken as UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def moment(value: object) -> datetime | None:
    """Read a moment from Unix seconds or else from ISO 8601 text."""
    since_epoch = seconds(value)
    return iso(value) if since_epoch is None else since_epoch


def day(value: object) -> date | None:
    """Read a calendar day from ISO 8601 text; of a moment, the day it was written with."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value.strip()).date()
    except ValueError:
        return None

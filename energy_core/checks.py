"""Checks of a caller's arguments, shared by both vendors.

A wrong argument raises at once, before anything is sent. These checks are never applied to a server's data.
Each takes the argument's name first, for the message, and returns the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from math import isfinite
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def whole(name: str, value: object, *, least: int = 0, most: int | None = None) -> int:
    """Return an int within its bounds; bool and float are rejected.

    Raises:
        TypeError: `value` is not an int.
        ValueError: it is smaller than `least` or larger than `most`.
    """
    # bool is a subclass of int: True would be sent as the id 1.
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if most is None and least == 0 and value < 0:
        raise ValueError(f"{name} must not be negative: {value}")
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least}..{most}"
        raise ValueError(f"{name} must be {bounds}: {value}")
    return value


def entity_id(name: str, value: object, kind: type | None = None) -> int:
    """Return a vendor's id: a non-negative int, or the `id` of a model object.

    Args:
        name: The argument's name.
        value: The id, or an object of `kind`.
        kind: The model whose objects have an `id`; without one only an int is accepted.
    """
    if kind is None:
        return whole(name, value)
    if isinstance(value, kind):
        return whole(f"{name}.id", getattr(value, "id", None))
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a {kind.__name__} or its id (an int), not {type(value).__name__}")
    return whole(name, value)


def ids(name: str, values: object, kind: type | None = None) -> list[int]:
    """Return several ids, at least one; `values` is any iterable of ids (or objects of `kind`), not a str."""
    listed = [entity_id(name, value, kind) for value in several(name, values)]
    if not listed:
        raise ValueError(f"{name} must not be empty")
    return listed


def several(name: str, values: object) -> Iterable[object]:
    """Return an iterable as it is; a str or bytes is rejected, since its characters are never meant."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(
            f"{name} must be several values in a list or another iterable, not one {_kind(values)}"
        )
    return values


def _kind(value: object) -> str:
    return type(value).__name__


def finite(name: str, value: object) -> float:
    """Return a finite int or float; bool is rejected."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {_kind(value)}")
    if not isfinite(value):
        raise ValueError(f"{name} must be finite: {value}")
    return value


def boolean(name: str, value: object) -> bool:
    """Return a bool; 0 and 1 are rejected, so that a count in the wrong place is noticed."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {_kind(value)}")
    return value


def string(name: str, value: object) -> str:
    """Return a str of any length, the empty one included."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {_kind(value)}")
    return value


def text(name: str, value: object) -> str:
    """Return a str that has more than white space."""
    if not string(name, value).strip():
        raise ValueError(f"{name} must not be empty")
    return str(value)


def one_line(name: str, value: object, *, longest: int = 256) -> str:
    """Return a non-empty str of at most `longest` characters without line breaks or control characters."""
    value = text(name, value)
    if _CONTROL.search(value) or len(value) > longest:
        raise ValueError(f"{name} must be one line of at most {longest} characters")
    return value


def one_of(name: str, value: object, allowed: Iterable[str]) -> str:
    """Return a str of a closed list."""
    listed = tuple(allowed)
    if string(name, value) not in listed:
        raise ValueError(f"{name} must be one of {', '.join(listed)}, not {value!r}")
    return str(value)


def aware(name: str, value: object) -> datetime:
    """Return an aware datetime; a naive one is rejected, since its time zone would be a guess."""
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {_kind(value)}")
    if value.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime: give it a tzinfo, such as datetime.UTC")
    return value

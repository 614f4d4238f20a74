"""What a caller may pass: a wrong argument fails here, at once and by its name, before anything is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import isfinite
from typing import Final

from attrs import frozen

from energy_core.codec.json import JSON
from energy_core.printable import printable_class

_CODE: Final = re.compile(r"[!-~]{1,64}")
_WIDGET: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_HINTS: Final[dict[tuple[str, type], str]] = {("site_id", str): "; users.site_id() finds it for a portal id"}

ACCESS_LEVELS: Final = (0, 1, 2)
"""0 monitoring, 1 full control, 2 technician."""


@printable_class
@frozen
class Unlisted:
    """A value that goes to VRM as it is, although its documents do not list it: ``Unlisted("new_type")``."""

    value: str | int


def whole(name: str, value: int) -> int:
    """Return an id or instance: 0 or more. A bool or a float is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        hint = _HINTS.get((name, type(value)), "")
        raise TypeError(f"{name} must be an int, not {type(value).__name__}{hint}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value}")
    return value


def moment_s(name: str, value: datetime) -> int:
    """Return an aware datetime as the Unix seconds that VRM wants."""
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime: give it a tzinfo")
    if value.timestamp() < 0:
        raise ValueError(f"{name} must not lie before 1970: {value.isoformat()}")
    return int(value.timestamp())


def span(start: datetime, end: datetime) -> list[tuple[str, str]]:
    """Return a range as query parameters."""
    start_s, end_s = moment_s("start", start), moment_s("end", end)
    if end_s <= start_s:
        raise ValueError(f"end must be after start: {start.isoformat()} to {end.isoformat()}")
    return [("start", str(start_s)), ("end", str(end_s))]


def open_span(start: datetime | None, end: datetime | None) -> list[tuple[str, str]]:
    """Return a range of which either side may be left to VRM: the last day."""
    if start is not None and end is not None:
        return span(start, end)
    sides = (("start", start), ("end", end))
    return [(name, str(moment_s(name, value))) for name, value in sides if value is not None]


def codes(attribute_codes: Iterable[str]) -> list[tuple[str, str]]:
    """Return attribute codes as VRM's repeated query parameter, literal brackets and all."""
    if isinstance(attribute_codes, str):
        raise TypeError(f"attribute_codes must be several codes, such as [{attribute_codes!r}], not one str")
    listed = list(attribute_codes)
    if not listed:
        raise ValueError("attribute_codes must not be empty")
    for code in listed:
        if not isinstance(code, str):
            raise TypeError(f"attribute_codes must hold str, not {type(code).__name__}")
        if not is_code(code):
            raise ValueError(
                "attribute_codes must hold codes of 1 to 64 printable ASCII characters without spaces"
            )
    return [("attributeCodes[]", code) for code in listed]


def is_code(value: str) -> bool:
    """Tell whether a text can be an attribute's code."""
    return _CODE.fullmatch(value) is not None


def instance(value: int | None) -> list[tuple[str, str]]:
    """Return a device instance as a query parameter; 0 is an instance, None leaves the choice to VRM."""
    return [] if value is None else [("instance", str(whole("instance", value)))]


def one_of(name: str, value: str | Unlisted, allowed: Iterable[str]) -> str:
    """Return a value of a closed list, or one that was explicitly said to be outside it."""
    if isinstance(value, Unlisted):
        return str(value.value)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def widget(name: str) -> str:
    """Return a widget's name: the list is open, its spelling is not."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not _WIDGET.fullmatch(name):
        raise ValueError("name must be a widget's name, such as BatterySummary: letters and digits only")
    return name


def access_level(value: int | Unlisted) -> int:
    """Return what somebody may do at a site."""
    if isinstance(value, Unlisted) and isinstance(value.value, int):
        return value.value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"access_level must be an int, not {type(value).__name__}")
    if value not in ACCESS_LEVELS:
        raise ValueError(f"access_level must be 0 (monitoring), 1 (full control) or 2 (technician): {value}")
    return value


def line(name: str, value: str, *, longest: int = 256) -> str:
    """Return one line of text that says something."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name} must not be empty")
    if _CONTROL.search(value) or len(value) > longest:
        raise ValueError(f"{name} must be one line of at most {longest} characters")
    return value


def words(name: str, value: str) -> str:
    """Return text of any length, empty and of several lines too."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return value


def switch(name: str, value: bool) -> bool:
    """Return a bool; 0 and 1 are none, so that a count in the wrong place is noticed."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return value


def finite(name: str, value: float) -> float:
    """Return a number that JSON can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not isfinite(value):
        raise ValueError(f"{name} must be finite: {value}")
    return value


def members(name: str, value: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a JSON object."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    try:
        json.dumps(made := dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must hold what JSON can hold: {error}") from None
    return made


def several(name: str, values: Iterable[int]) -> list[int]:
    """Return ids, at least one."""
    if isinstance(values, str | bytes):
        raise TypeError(f"{name} must be several int, not one {type(values).__name__}")
    listed = [whole(name, value) for value in values]
    if not listed:
        raise ValueError(f"{name} must not be empty")
    return listed

"""What a caller may pass: a wrong argument fails here, at once and by its name, before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

_CODE: Final = re.compile(r"[!-~]{1,64}")
_WIDGET: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")


def whole(name: str, value: int) -> int:
    """Return an id or instance: 0 or more. A bool or a float is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
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
        if not _CODE.fullmatch(code):
            raise ValueError(
                "attribute_codes must hold codes of 1 to 64 printable ASCII characters without spaces"
            )
    return [("attributeCodes[]", code) for code in listed]


def instance(value: int | None) -> list[tuple[str, str]]:
    """Return a device instance as a query parameter; 0 is an instance, None leaves the choice to VRM."""
    return [] if value is None else [("instance", str(whole("instance", value)))]


def one_of(name: str, value: str, allowed: Iterable[str]) -> str:
    """Return a value of a closed list."""
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

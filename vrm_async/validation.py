"""Checks of arguments that only VRM has; the others are in `energy_core.checks`.

A wrong argument raises before anything is sent. Several checks return query parameters: name and value pairs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, TypeAlias

from attrs import frozen

from energy_core import checks
from energy_core.codec.json import JSON
from energy_core.local_days import EPOCH, TimeRange
from energy_core.printable import printable_class
from vrm_async.models.site import Site

ResolveRange: TypeAlias = Callable[
    [Site | int, TimeRange], Awaitable[tuple[datetime | None, datetime | None]]
]
"""Turns a range into two moments, in the time zone of a site; an open side is None."""

CODES: Final = "attributeCodes[]"
"""VRM's query parameter for a code, repeated for several."""
_CODE: Final = re.compile(r"[!-~]{1,64}")
_WIDGET: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")

ACCESS_LEVELS: Final = (0, 1, 2)
"""0 monitoring, 1 full control, 2 technician."""


@printable_class
@frozen
class Unlisted:
    """A value that is sent although VRM's documents do not list it: ``Unlisted("new_type")``."""

    value: str | int


def site_id(site: Site | int) -> int:
    """Return the idSite of a site or of its id."""
    if isinstance(site, str):
        raise TypeError(
            "site must be a Site or its id (an int), not str; users.site_id() finds it for a portal id"
        )
    return checks.entity_id("site", site, Site)


def site_ids(sites: Iterable[Site | int]) -> list[int]:
    """Return the idSites of several sites, at least one."""
    return checks.ids("sites", sites, Site)


def unix_s(name: str, value: datetime) -> int:
    """Return an aware datetime as Unix seconds, as VRM wants it."""
    if checks.aware(name, value) < EPOCH:
        raise ValueError(f"{name} must not lie before 1970: {value.isoformat()}")
    return int(value.timestamp())


def range_query(start: datetime | None, end: datetime | None) -> list[tuple[str, str]]:
    """Return a range as query parameters in whole seconds; an open side is left to VRM.

    Raises:
        ValueError: the range is empty, or shorter than a second.
    """
    # VRM takes whole seconds, so a range of less than one is empty.
    sides = [(name, value) for name, value in (("start", start), ("end", end)) if value is not None]
    stamps = [(name, unix_s(name, value)) for name, value in sides]
    if start is not None and end is not None and stamps[1][1] <= stamps[0][1]:
        raise ValueError(f"end must be after start: {start.isoformat()} to {end.isoformat()}")
    return [(name, str(stamp)) for name, stamp in stamps]


def not_in_future(start: datetime | None, now: datetime | None) -> None:
    """Check the range of an answer without data.

    Args:
        start: Where the range begins, aware.
        now: The present by VRM's clock; None if it is not known. A clock of this machine may be wrong.

    Raises:
        ValueError: the range begins in the future.
    """
    if start is not None and now is not None and start > now:
        raise ValueError(
            f"the range begins in the future, at {start.isoformat()}: VRM has data up to now"
            f" ({now.isoformat(timespec='seconds')}), and forecasts with type='forecast'"
        )


def named_codes(query: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the attribute codes in a query."""
    return tuple(value for name, value in query if name == CODES)


def codes(attribute_codes: Iterable[str]) -> list[tuple[str, str]]:
    """Return attribute codes as VRM's repeated query parameter, with literal brackets."""
    # A str is iterable: "bs" would become the codes b and s.
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
    return [(CODES, code) for code in listed]


def is_code(value: str) -> bool:
    """Whether a text can be an attribute's code."""
    return _CODE.fullmatch(value) is not None


def instance(value: int | None) -> list[tuple[str, str]]:
    """Return a device instance as a query parameter; 0 is an instance, None leaves the choice to VRM."""
    return [] if value is None else [("instance", str(checks.whole("instance", value)))]


def one_of(name: str, value: str | Unlisted, allowed: Iterable[str]) -> str:
    """Return a value of a closed list, or the one inside `Unlisted`."""
    return str(value.value) if isinstance(value, Unlisted) else checks.one_of(name, value, allowed)


def widget(name: str) -> str:
    """Return a widget's name; any name of letters and digits is accepted."""
    if not _WIDGET.fullmatch(checks.string("name", name)):
        raise ValueError("name must be a widget's name, such as BatterySummary: letters and digits only")
    return name


def access_level(value: int | Unlisted) -> int:
    """Return one of `ACCESS_LEVELS`, or the number inside `Unlisted`."""
    if isinstance(value, Unlisted) and isinstance(value.value, int):
        return value.value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"access_level must be an int, not {type(value).__name__}")
    if value not in ACCESS_LEVELS:
        raise ValueError(f"access_level must be 0 (monitoring), 1 (full control) or 2 (technician): {value}")
    return value


def json_object(name: str, value: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a mapping as a JSON object."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    try:  # allow_nan=False: NaN and Infinity are not JSON
        json.dumps(made := dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must hold only JSON values: {error}") from None
    return made


def page_size(value: int, largest: int) -> str:
    """Return a number of records a page."""
    return str(checks.whole("page_size", value, least=1, most=largest))

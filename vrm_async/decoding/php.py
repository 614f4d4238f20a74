"""PHP's arrays: VRM sends the same array as a list or as an object, depending on its keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from energy_core.codec.coerce import integer, is_nothing, number, text
from energy_core.codec.drift import report
from energy_core.codec.field_types import items_of


def by_key(value: object) -> dict[str, object]:
    """Return an array as a dict; the keys of a list are its positions, anything else is an empty dict."""
    if isinstance(value, list):
        return {str(index): item for index, item in enumerate(value)}
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def items(value: object) -> tuple[object, ...]:
    """Return the items of an array without keys; a single record is an array of one."""
    return tuple(items_of(value) or ())


def by_number(value: object) -> dict[int, object]:
    """Return an array by integer keys, such as device instances; other keys are reported and left out."""
    found = {}
    for key, item in by_key(value).items():
        numeral = integer(key)
        if numeral is None:
            report("Attribute", "instances", "a key is not a number")
        else:
            found[numeral] = item
    return found


def numbers(value: object) -> dict[str, float | None]:
    """Read a mapping of code to number; false means None."""
    return {code: _number_of(code, item) for code, item in by_key(value).items()}


def _number_of(code: str, value: object) -> float | None:
    if type(value) is float or type(value) is int:  # nearly always; numbers in JSON are finite
        return float(value)
    if value is False:
        return None
    found = number(value)
    if found is None and not is_nothing(value):
        report("Totals", code, "not a number")
    return found


def enum_names(value: object) -> dict[int, str]:
    """Read ``[{"nameEnum": ..., "valueEnum": ...}]``; two numbers may share a name."""
    try:
        found: dict[int, str] = {item["valueEnum"]: item["nameEnum"] for item in value}  # type: ignore[attr-defined]
    except (TypeError, KeyError):
        pass  # not as documented: read each item below
    else:
        # The lengths differ if two keys are equal, such as 1 and 1.0 or true.
        if len(found) == len(value) and _are(int, found) and _are(str, found.values()):  # type: ignore[arg-type]
            return found
    names = {}
    for item in items(value):
        numeral = integer(item.get("valueEnum")) if isinstance(item, Mapping) else None
        name = text(item.get("nameEnum")) if isinstance(item, Mapping) else None
        if numeral is None or name is None:
            report("Attribute", "enum", "malformed")
        else:
            names[numeral] = name
    return names


def _are(kind: type, values: Iterable[object]) -> bool:
    return set(map(type, values)) <= {kind}

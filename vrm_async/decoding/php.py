"""VRM's shapes, folded: what PHP sends as a list one time and as an object the next becomes one mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from energy_core.codec.coerce import integer, is_nothing, number, text
from energy_core.codec.drift import report
from energy_core.codec.structure import items_of


def by_key(value: object) -> dict[str, object]:
    """Fold PHP's list-or-object: a list's keys are its positions; nothing is an empty mapping."""
    if isinstance(value, list):
        return {str(index): item for index, item in enumerate(value)}
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def items(value: object) -> tuple[object, ...]:
    """Return what is in PHP's list-or-object, without its keys; a record by itself is a list of one."""
    return tuple(items_of(value) or ())


def by_number(value: object) -> dict[int, object]:
    """The same for keys that are numbers, such as device instances; other keys are noted and left out."""
    found = {}
    for key, item in by_key(value).items():
        numeral = integer(key)
        if numeral is None:
            report("Attribute", "instances", "a key is not a number")
        else:
            found[numeral] = item
    return found


def numbers(value: object) -> dict[str, float | None]:
    """Read a mapping of code to number, where false is no number."""
    return {code: _number_of(code, item) for code, item in by_key(value).items()}


def _number_of(code: str, value: object) -> float | None:
    found = number(value)
    if found is None and not is_nothing(value):
        report("Totals", code, "not a number")
    return found


def enum_names(value: object) -> dict[int, str]:
    """Read ``[{"nameEnum": ..., "valueEnum": ...}]``; two numbers may share a name."""
    try:
        found: dict[int, str] = {item["valueEnum"]: item["nameEnum"] for item in value}  # type: ignore[attr-defined]
    except (TypeError, KeyError):
        pass  # not as documented: read what can be read
    else:
        # Of equal length, so that no number stands for another one that only equals it.
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

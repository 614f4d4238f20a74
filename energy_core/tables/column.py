"""`TableColumn`: one column of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

ColumnKind: TypeAlias = Literal["time", "datetime", "date", "float", "int", "bool", "text"]

_NOTHING: Final[Mapping[str, str | None]] = MappingProxyType({})


class TableColumn(NamedTuple):
    """One column of a table. A missing value is None."""

    name: str
    """The column's name, unique in its table."""
    kind: ColumnKind
    """`time` (int, ms since the epoch), `datetime` (aware), `date`, `float`, `int`, `bool` or `text`."""
    cells: Sequence[object]
    """One value for each row."""
    timezone: str = "UTC"
    """IANA name of the zone in which times are shown; the moments are the same."""
    about: Mapping[str, str | None] = _NOTHING
    """Metadata of the Arrow field, such as the unit; None values are left out."""


_SUFFIXES: Final[Mapping[str, str]] = MappingProxyType({"%": "percent"})


def with_unit(name: str, unit: str | None) -> str:
    """Return the name of a column of values in a unit: ``battery_soc_percent`` of ``battery_soc`` in %."""
    return name if unit is None else f"{name}_{_SUFFIXES.get(unit, unit.lower())}"


def unique_name(name: str, taken: Iterable[str], *endings: str) -> str:
    """Return a name that is not taken: with the first ending that makes it unique, or with a number."""
    used = set(taken)
    numbers = (f"_{count}" for count in range(2, len(used) + 3))
    candidates = (name + ending for ending in ("", *endings, *numbers))
    return next(each for each in candidates if each not in used)

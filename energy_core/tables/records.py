"""`Records`: a tuple of model objects that is also a table, with one row for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Final, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from energy_core.tables.column import ColumnKind, TableColumn, unique_name
from energy_core.tables.table import Table

if TYPE_CHECKING:
    from attrs import AttrsInstance

T = TypeVar("T")

_KINDS: Final[Mapping[object, ColumnKind]] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "text",
    datetime: "datetime",
    date: "date",
}


class Records(Table, tuple[T, ...]):  # noqa: SLOT001  (a tuple's subclass has no slots of its own)
    """A tuple of model objects, such as the sites of an account; as a table it has one row for each.

    The columns are the fields that hold a text, a number, a bool, a time or a date. A field that maps names
    to such values has a column for each name. Other fields (`raw`, nested objects) are left out. A class with
    a class method `columns_of` yields the columns of its records itself.

    Args:
        records: The objects.
        of: Their class, so that an empty list has its columns too.
    """

    of: type[T] | None
    """The class of the records; None if it was not given."""

    def __new__(cls, records: Iterable[T] = (), of: type[T] | None = None) -> Self:
        """Make the tuple."""
        made = super().__new__(cls, records)
        made.of = of
        return made

    def _table_columns(self) -> Iterable[TableColumn]:
        return record_columns(self, self.of)

    def _table_title(self) -> str:
        kind = class_of(self, self.of)
        return "Records" if kind is None else f"{kind.__name__} records"

    def _html_columns(self) -> Iterable[TableColumn]:
        kind = class_of(self, self.of)
        hidden = set() if kind is None else {each.name for each in attrs.fields(kind) if each.repr is False}
        columns = {column.name: column for column in self._table_columns() if column.name not in hidden}
        shown = getattr(kind, "shown_fields", columns)
        # Most records lack many fields; a column without any value says nothing on a screen.
        return [
            column
            for name in shown
            if (column := columns.get(name)) is not None
            and not (self and all(cell is None for cell in column.cells))
        ]


def class_of(records: Sequence[object], of: type[object] | None) -> type[AttrsInstance] | None:
    """Return the class of the records; None if it is not a model."""
    kind = type(records[0]) if of is None and records else of
    return kind if kind is not None and attrs.has(kind) else None


def record_columns(records: Sequence[object], of: type[object] | None) -> Iterable[TableColumn]:
    """Yield the columns of a list of model objects of one class.

    Args:
        records: The objects.
        of: Their class; by default that of the first one.
    """
    kind = class_of(records, of)
    if kind is not None and hasattr(kind, "columns_of"):
        yield from kind.columns_of(records)
        return
    taken: list[str] = []
    for name, types in {} if kind is None else _scalar_fields(kind).items():
        values = [getattr(record, name) for record in records]
        if types is not None:
            taken.append(name)
            yield _column(name, types, values)
            continue
        for key in dict.fromkeys(key for value in values for key in value):
            column = unique_name(str(key), taken)
            taken.append(column)
            yield _column(column, (str, float), [value.get(key) for value in values])


def _column(name: str, types: tuple[object, ...], values: list[object]) -> TableColumn:
    if len(types) == 1:
        kind = _KINDS[types[0]]
        return TableColumn(name, kind, values)
    # A value that comes as number or text: numbers, unless one of them is a text.
    if all(isinstance(value, int | float | NoneType) for value in values) and any(
        value is not None for value in values
    ):
        return TableColumn(name, "float", values)
    return TableColumn(name, "text", [None if value is None else str(value) for value in values])


@lru_cache(maxsize=64)
def _scalar_fields(kind: type[AttrsInstance]) -> Mapping[str, tuple[object, ...] | None]:
    """Return the types of each field of single values; None for a mapping of names to single values."""
    hints = get_type_hints(kind)
    found: dict[str, tuple[object, ...] | None] = {}
    for each in attrs.fields(kind):
        hint = hints[each.name]
        if get_origin(hint) is not None and get_origin(hint) not in {Union, UnionType}:
            arguments = get_args(hint)
            if arguments and arguments[0] is str and _scalars(arguments[-1]):
                found[each.name] = None
        elif types := _scalars(hint):
            found[each.name] = types
    return found


def _scalars(hint: object) -> tuple[object, ...]:
    """Return the types of a single value, None left out; empty if it may be anything else."""
    types = tuple(each for each in get_args(hint) or (hint,) if each is not NoneType)
    return types if all(each in _KINDS for each in types) else ()

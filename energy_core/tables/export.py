"""Exports columns: Arrow tables, data frames, CSV and Parquet files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from importlib import import_module
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast

from energy_core.atomic_file import check_target, replace_file
from energy_core.csv_safety import escape_text, format_line
from energy_core.local_days import EPOCH, zone_or_utc
from energy_core.tables.column import TableColumn

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

MakeColumns = Callable[[], Iterable[TableColumn]]
"""Makes the columns; called after the import of an optional library, which may fail."""

_MS: Final = timedelta(milliseconds=1)


def optional(module: str, extra: str) -> ModuleType:
    """Import a library that an extra installs.

    Raises:
        ModuleNotFoundError: it is not installed; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != root:
            raise  # the library is installed, and one that it needs is not
        raise ModuleNotFoundError(
            f"this needs {root}, which is not installed: pip install 'energy-live[{extra}]'", name=root
        ) from None


def to_arrow(columns: MakeColumns, extra: str = "arrow") -> pa.Table:
    """Return the columns as a `pyarrow.Table`."""
    arrow = optional("pyarrow", extra)
    listed = list(columns())
    schema = arrow.schema([_field(arrow, column) for column in listed])
    return arrow.Table.from_arrays([_array(arrow, column) for column in listed], schema=schema)


def to_polars(columns: MakeColumns) -> pl.DataFrame:
    """Return the columns as a `polars.DataFrame`."""
    library = optional("polars", "polars")
    frame: pl.DataFrame = library.DataFrame(to_arrow(columns, "polars"))
    return frame


def to_pandas(columns: MakeColumns) -> pd.DataFrame:
    """Return the columns as a `pandas.DataFrame`."""
    optional("pandas", "pandas")
    return to_arrow(columns, "pandas").to_pandas()


def write_csv(columns: Iterable[TableColumn], path: str | PathLike[str]) -> None:
    """Write the columns to a CSV file; see `Table.to_csv`."""
    target = check_target(path)
    listed = list(columns)
    header = format_line(escape_text(column.name) for column in listed)
    lines = map(format_line, zip(*map(_cells, listed), strict=True))
    replace_file(target, "".join((header, *lines)).encode())


def write_parquet(columns: MakeColumns, path: str | PathLike[str]) -> None:
    """Write the columns to a Parquet file; see `Table.to_parquet`."""
    target = check_target(path)
    table = to_arrow(columns)
    file = io.BytesIO()
    optional("pyarrow.parquet", "arrow").write_table(table, file, compression="zstd")
    replace_file(target, file.getvalue())


def moment(value: object, where: tzinfo = UTC) -> datetime:
    """Return a value of a column of times as an aware datetime in that zone."""
    utc = EPOCH + value * _MS if isinstance(value, int) else cast("datetime", value)
    return utc.astimezone(where)


def _field(arrow: ModuleType, column: TableColumn) -> object:
    metadata = {name: value for name, value in column.about.items() if value is not None}
    return arrow.field(column.name, _type(arrow, column), metadata=metadata or None)


def _type(arrow: ModuleType, column: TableColumn) -> object:
    match column.kind:
        case "time":
            return arrow.timestamp("ms", tz=str(zone_or_utc(column.timezone)))
        case "datetime":
            return arrow.timestamp("us", tz=str(zone_or_utc(column.timezone)))
    kinds = {
        "float": arrow.float64,
        "int": arrow.int64,
        "bool": arrow.bool_,
        "date": arrow.date32,
        "text": arrow.string,
    }
    return kinds[column.kind]()


def _array(arrow: ModuleType, column: TableColumn) -> object:
    cells = column.cells
    if column.kind == "float" and int in set(map(type, cells)):
        # VRM sends 5 for 5.0, and Arrow rejects integers that a float cannot hold exactly.
        cells = [None if value is None else float(value) for value in cells]  # type: ignore[arg-type]
    return arrow.array(cells, type=_type(arrow, column))


def _cells(column: TableColumn) -> Iterator[str]:
    if column.kind in {"time", "datetime"}:
        where = zone_or_utc(column.timezone)
        return ("" if value is None else _iso(moment(value, where)) for value in column.cells)
    return map(_cell, column.cells)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="auto" if time.microsecond % 1000 else _PRECISION[bool(time.microsecond)])


_PRECISION: Final = {False: "seconds", True: "milliseconds"}


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case date():
            return value.isoformat()
    return escape_text(str(value))

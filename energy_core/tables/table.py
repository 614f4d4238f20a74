"""`Table`: the base class of values that are tables, with their exports and their display in notebooks.

Writing files and making HTML are imported at their first use; pyarrow, polars and pandas are optional.
"""

# ruff: noqa: PLC0415  (imported when it is used)

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Protocol

from energy_core.tables.column import TableColumn

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class ArrowStream(Protocol):
    """A capsule of the Arrow PyCapsule interface; only the consuming library reads it."""


class Table:
    """Base class of values that are tables. A subclass yields its columns in `_table_columns`.

    The methods block: in a service call those that write files in a thread, for example
    ``await asyncio.to_thread(stats.to_csv, path)``.
    """

    __slots__ = ()

    def _table_columns(self) -> Iterable[TableColumn]:
        """Yield the columns, all of the same length."""
        raise NotImplementedError

    def _table_title(self) -> str:
        """Return the caption of the HTML table."""
        return type(self).__name__

    def _html_columns(self) -> Iterable[TableColumn]:
        """Yield the columns of the HTML table."""
        return self._table_columns()

    def _html_footer(self) -> Mapping[str, object]:
        """Return the last row of the HTML table: a value by the name of its column."""
        return {}

    def to_arrow(self) -> pa.Table:
        """Return a `pyarrow.Table`. Units are in the metadata of its fields.

        Raises:
            ModuleNotFoundError: pyarrow is not installed; the message has the command that installs it.
        """
        from energy_core.tables.export import to_arrow

        return to_arrow(self._table_columns)

    def to_polars(self) -> pl.DataFrame:
        """Return a `polars.DataFrame`.

        Raises:
            ModuleNotFoundError: polars or pyarrow is not installed; the message has the command.
        """
        from energy_core.tables.export import to_polars

        return to_polars(self._table_columns)

    def to_pandas(self) -> pd.DataFrame:
        """Return a `pandas.DataFrame`.

        Raises:
            ModuleNotFoundError: pandas or pyarrow is not installed; the message has the command.
        """
        from energy_core.tables.export import to_pandas

        return to_pandas(self._table_columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> ArrowStream:
        """Export the table to any library that reads Arrow, such as duckdb: ``polars.DataFrame(table)``.

        Raises:
            ModuleNotFoundError: pyarrow is not installed; the message has the command that installs it.
        """
        capsule: ArrowStream = self.to_arrow().__arrow_c_stream__(requested_schema)
        return capsule

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write a CSV file: UTF-8, commas, a header line, times as ISO 8601 with their UTC offset.

        A missing value is an empty cell. A text that a spreadsheet would run as a formula gets an apostrophe
        in front. The file is written beside its path and renamed (mode 0600), so that `path` holds the old
        file or the new one, never a part.

        Raises:
            OSError: the file cannot be written.
        """
        from energy_core.tables.export import write_csv

        write_csv(self._table_columns(), path)

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write a Parquet file with zstd compression, in the same way as `to_csv`.

        Raises:
            ModuleNotFoundError: pyarrow is not installed; the message has the command that installs it.
            OSError: the file cannot be written.
        """
        from energy_core.tables.export import write_parquet

        write_parquet(self._table_columns, path)

    def _repr_html_(self) -> str:
        """Return a table of at most 20 rows, which notebooks display."""
        from energy_core.tables.html import table_html

        return table_html(self._html_columns(), self._table_title(), self._html_footer())

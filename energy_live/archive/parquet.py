"""Writes Parquet with pyarrow: numbers as doubles, times as UTC timestamps, one row group a day."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from energy_core.codec.coerce import number
from energy_core.csv_safety import format_line, unescape_text
from energy_live.archive.csv_lines import TIME, format_cell, format_time
from energy_live.archive.staging import StagedDay, all_columns, read_rows

_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


class ParquetArchiveWriter:
    """Writes Parquet. A null means unchanged, never zero."""

    suffix = "parquet"

    def month(self, days: Sequence[StagedDay], root: Path, file: IO[bytes]) -> None:
        """Write the days. A column that has text on any day is a text column for the whole month."""
        texts = frozenset().union(*(day.text for day in days))
        schema = _schema(all_columns(days), texts)
        # One day at a time: memory use does not depend on the length of the month.
        with pq.ParquetWriter(file, schema, compression="zstd") as out:
            for day in days:
                if day.rows:
                    with (root / day.name).open("rb") as source:
                        out.write_table(_to_table(read_rows(source, day), day.columns, schema))

    def table(self, columns: Sequence[str], rows: Sequence[Mapping[str, str]], file: IO[bytes]) -> None:
        """Write the table. A column with a cell that is not a number is a text column."""
        texts = {
            name
            for name in columns[1:]
            if any((cell := row.get(name)) and number(cell) is None for row in rows)
        }
        text = "".join(format_line(row.get(name, "") for name in columns) for row in rows)
        schema = _schema(columns[1:], texts)
        with pq.ParquetWriter(file, schema, compression="zstd") as out:
            out.write_table(_to_table(text.encode(), columns[1:], schema))

    def read_table(self, path: Path) -> Iterator[Mapping[str, str]]:
        """Return the rows of a table."""
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                time = format_time(row.pop(TIME))
                yield {TIME: time} | {name: format_cell(value) for name, value in row.items()}


def _schema(columns: Sequence[str], texts: frozenset[str] | set[str]) -> pa.Schema:
    kinds = [(unescape_text(name), pa.string() if name in texts else pa.float64()) for name in columns]
    return pa.schema([(TIME, _TIMESTAMP), *kinds])


def _to_table(lines: bytes, columns: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Parse CSV lines to a table with all columns of the schema."""
    names = [TIME, *map(unescape_text, columns)]
    try:
        table = _parse_with_arrow(lines, names, schema)
    except pa.ArrowInvalid:  # pyarrow rejects numbers such as +5
        table = _parse_with_python(lines, names, schema)
    arrays = [
        table[field.name] if field.name in names else pa.nulls(table.num_rows, field.type) for field in schema
    ]
    return pa.table([_unescaped(array) for array in arrays], schema=schema)


def _parse_with_arrow(lines: bytes, names: Sequence[str], schema: pa.Schema) -> pa.Table:
    return pa_csv.read_csv(
        pa.BufferReader(lines),
        read_options=pa_csv.ReadOptions(
            column_names=list(names), use_threads=False, block_size=max(1, len(lines))
        ),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: schema.field(name).type for name in names},
            timestamp_parsers=[pa_csv.ISO8601],
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _parse_with_python(lines: bytes, names: Sequence[str], schema: pa.Schema) -> pa.Table:
    cells = zip(*csv.reader(io.StringIO(lines.decode(), newline="")), strict=True)
    arrays = []
    for name, column in zip(names, cells, strict=True):
        kind = schema.field(name).type
        values: list[object] = [None if not cell else _value(cell, kind) for cell in column]
        arrays.append(pa.array(values, kind))
    return pa.table(arrays, names=list(names))


def _value(cell: str, kind: pa.DataType) -> object:
    if kind == _TIMESTAMP:
        return datetime.fromisoformat(cell)
    return number(cell) if kind == pa.float64() else cell


def _unescaped(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Remove the apostrophes that `escape_text` added."""
    return pc.replace_substring_regex(array, "^'", "") if array.type == pa.string() else array

"""A month's file out of its staged days, and a table's file out of its records: CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final, Protocol

from energy_live.archive.csv_lines import TIME, line
from energy_live.archive.manifest import Format
from energy_live.archive.staging import Staged, body, check_day, union

_COPIED: Final = 1024 * 1024


def has_parquet() -> bool:
    """Tell whether Parquet can be written here."""
    return find_spec("pyarrow") is not None


class Writer(Protocol):
    """Writes one format. The same data gives the same bytes."""

    suffix: str
    """Of the files' names."""

    def month(self, days: Sequence[Staged], root: Path, file: IO[bytes]) -> None:
        """Write the days of a month, in their order, each with the columns it has."""

    def table(self, columns: Sequence[str], rows: Sequence[Mapping[str, str]], file: IO[bytes]) -> None:
        """Write a table of cells, as `lines` writes them; the first column is the time."""


def writer(kind: Format) -> Writer:
    """Return the writer of a format."""
    if kind == "csv":
        return CsvWriter()
    # pyarrow is an extra, and slow to load.
    from energy_live.archive.parquet import ParquetWriter  # noqa: PLC0415

    return ParquetWriter()


class CsvWriter:
    """Comma, UTF-8, one header, line ends of one character; an empty cell means unchanged, never zero."""

    suffix = "csv"

    def month(self, days: Sequence[Staged], root: Path, file: IO[bytes]) -> None:
        """Write the days; those that have the month's columns are copied as they are."""
        columns = union(days)
        file.write(line([TIME, *columns]).encode())
        for day in days:
            with (root / day.name).open("rb") as source:
                if list(day.columns) == columns:
                    _copy(source, day, file)
                else:
                    for text in _widened(source, day, columns):
                        file.write(text.encode())

    def table(self, columns: Sequence[str], rows: Sequence[Mapping[str, str]], file: IO[bytes]) -> None:
        """Write the records."""
        file.write(line(columns).encode())
        for row in rows:
            file.write(line(row.get(name, "") for name in columns).encode())


def _copy(source: IO[bytes], day: Staged, target: IO[bytes]) -> None:
    check_day(source, day)
    source.seek(day.begin_at)
    left = day.end_at - day.begin_at
    while left > 0 and (piece := source.read(min(left, _COPIED))):
        target.write(piece)
        left -= len(piece)


def _widened(source: IO[bytes], day: Staged, columns: Sequence[str]) -> Iterator[str]:
    """Return a day's lines with the month's columns."""
    places = [1 + day.columns.index(name) if name in day.columns else None for name in columns]
    text = io.StringIO(body(source, day).decode(), newline="")
    for cells in csv.reader(text):
        yield line([cells[0], *("" if place is None else cells[place] for place in places)])

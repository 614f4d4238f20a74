"""File formats of an archive: the writer protocol and CSV. Parquet is in `parquet`, which needs pyarrow."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final, Protocol

from energy_core.csv_safety import format_line, unescape_text
from energy_live.archive.csv_lines import TIME
from energy_live.archive.manifest import Format
from energy_live.archive.staging import StagedDay, all_columns, read_rows, verify_day

_BUFFER_BYTES: Final = 1024 * 1024


def has_parquet() -> bool:
    """Return whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


class ArchiveWriter(Protocol):
    """Writes one file format. The same data gives the same bytes."""

    suffix: str
    """Extension of the files, without a dot."""

    def month(self, days: Sequence[StagedDay], root: Path, file: IO[bytes]) -> None:
        """Write the file of a month: its days in their order, with the columns of all of them.

        Raises:
            DamagedDay: A staged day has changed on disk.
        """

    def table(self, columns: Sequence[str], rows: Sequence[Mapping[str, str]], file: IO[bytes]) -> None:
        """Write a table of cells; the first column is the time."""

    def read_table(self, path: Path) -> Iterator[Mapping[str, str]]:
        """Return the rows of a table without text columns, as `table` got them, but with plain names."""


def writer_for(kind: Format) -> ArchiveWriter:
    """Return the writer of a format."""
    if kind == "csv":
        return CsvArchiveWriter()
    # Imported here: pyarrow is an extra and slow to import.
    from energy_live.archive.parquet import ParquetArchiveWriter  # noqa: PLC0415

    return ParquetArchiveWriter()


class CsvArchiveWriter:
    """Writes CSV: comma, UTF-8, one header, lines end with LF. An empty cell means unchanged, never zero."""

    suffix = "csv"

    def month(self, days: Sequence[StagedDay], root: Path, file: IO[bytes]) -> None:
        """Write the days; a day with the month's columns is copied byte for byte."""
        columns = all_columns(days)
        file.write(format_line([TIME, *columns]).encode())
        for day in days:
            with (root / day.name).open("rb") as source:
                if list(day.columns) == columns:
                    _copy(source, day, file)
                else:
                    for line in _with_columns(source, day, columns):
                        file.write(line.encode())

    def table(self, columns: Sequence[str], rows: Sequence[Mapping[str, str]], file: IO[bytes]) -> None:
        """Write the table."""
        file.write(format_line(columns).encode())
        for row in rows:
            file.write(format_line(row.get(name, "") for name in columns).encode())

    def read_table(self, path: Path) -> Iterator[Mapping[str, str]]:
        """Return the rows of a table."""
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            names = [unescape_text(name) for name in next(lines)]
            for cells in lines:
                yield dict(zip(names, cells, strict=True))


def _copy(source: IO[bytes], day: StagedDay, target: IO[bytes]) -> None:
    verify_day(source, day)
    source.seek(day.begin_at)
    left = day.end_at - day.begin_at
    while left > 0 and (chunk := source.read(min(left, _BUFFER_BYTES))):
        target.write(chunk)
        left -= len(chunk)


def _with_columns(source: IO[bytes], day: StagedDay, columns: Sequence[str]) -> Iterator[str]:
    """Return a day's lines with the month's columns; cells of a column that the day lacks are empty."""
    positions = [1 + day.columns.index(name) if name in day.columns else None for name in columns]
    text = io.StringIO(read_rows(source, day).decode(), newline="")
    for cells in csv.reader(text):
        yield format_line([cells[0], *("" if at is None else cells[at] for at in positions)])

"""Readers compared in `benchmarks.exporting`: the bytes of an export to rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.worker import Work

CHUNK: Final = 64 * 1024


def _chunks(body: bytes) -> Iterator[bytes]:
    return (body[at : at + CHUNK] for at in range(0, len(body), CHUNK))


def _values(made: Any) -> list[object]:
    return [[time.isoformat(), dict(values)] for time, values in made]


def reader(path: str, rows: int) -> Work:
    """`csv.reader`: lists of cells. They are converted only for the check."""
    body = Path(path).read_bytes()

    def do() -> list[list[str]]:
        return list(csv.reader(io.StringIO(body.decode())))

    def values(made: Any) -> Sequence[object]:
        head = made[1]
        return _values((datetime.fromisoformat(row[0]), _numbers(head, row)) for row in made[2:])

    return Work(do, values, units=rows)


def _numbers(head: list[str], row: list[str]) -> dict[str, float]:
    return {name: float(cell) for name, cell in zip(head[1:], row[1:], strict=True) if cell}


def reader_typed(path: str, rows: int) -> Work:
    """`csv.reader`, then a datetime and a dict of floats for each row, without empty cells."""
    body = Path(path).read_bytes()

    def do() -> list[object]:
        lines = csv.reader(io.StringIO(body.decode()))
        next(lines)
        head = next(lines)
        return [(datetime.fromisoformat(row[0]), _numbers(head, row)) for row in lines]

    return Work(do, _values, units=rows)


def ours(path: str, rows: int) -> Work:
    """Ours: validated rows with aware times; values are lazy."""
    return _ours(path, rows, read=False)


def ours_read(path: str, rows: int) -> Work:
    """Ours, with the values of every row read."""
    return _ours(path, rows, read=True)


def ours_streamed(path: str, rows: int) -> Work:
    """Ours, each row freed after it was read, as in a long export."""
    from voltstorage_async.export.csv import CsvRows

    body = Path(path).read_bytes()

    def do() -> list[object]:
        parser, seen = CsvRows(), 0
        for chunk in _chunks(body):
            seen += sum(len(row.values) for row in parser.feed(chunk))
        return [seen + sum(len(row.values) for row in parser.finish())]

    return Work(do, list, units=rows)  # type: ignore[arg-type]


def _ours(path: str, rows: int, *, read: bool) -> Work:
    from voltstorage_async.export.csv import CsvRows

    body = Path(path).read_bytes()

    def do() -> list[object]:
        parser = CsvRows()
        made: list[Any] = []
        for chunk in _chunks(body):
            made += parser.feed(chunk)
        made += parser.finish()
        return [(row.time, row.values) for row in made] if read else made

    def values(made: Any) -> list[object]:
        return _values(made if read else ((row.time, row.values) for row in made))

    return Work(do, values, units=rows)

"""Rows by the million: in constant memory, and at no less than half the speed of Python's own reader.

ENERGY_LIVE_CSV_ROWS says how many rows; from a million on the speed is compared too, for it takes a quiet
machine.
"""

from __future__ import annotations

import csv
import gc
import io
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import psutil
import pytest

from voltstorage_async.export.csv import CsvRows
from voltstorage_async.export.rows import PARSE_BYTES

ROWS = int(os.environ.get("ENERGY_LIVE_CSV_ROWS", "200000"))
MIB = 1024 * 1024
NAMES = b"Power_Grid,Power_Household,inverterPower,Power_PV,Power_Power Electronics,SOC_State of Charge"
HEAD = b"sep=,\r\nTime," + NAMES + b"\r\n"
DAY = 10_000


def day() -> bytes:
    """Some rows as sparse as the vendor's."""
    chance = random.Random(1)
    lines = []
    for second in range(DAY):
        cells = [f"{chance.uniform(-500, 500):.6g}" if chance.random() < 0.55 else "" for _ in range(6)]
        clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{chance.randrange(1000):03}"
        lines.append(f"2020-03-25T{clock}+00:00,{','.join(cells)}\r\n")
    return "".join(lines).encode()


def pieces(rows: int) -> Iterator[bytes]:
    """The export as it arrives: its head, and a day again and again."""
    body = day()
    for text in (HEAD, *[body] * (rows // DAY)):
        yield from (text[at : at + PARSE_BYTES] for at in range(0, len(text), PARSE_BYTES))


def python_reads(export: bytes) -> None:
    for _ in csv.reader(io.TextIOWrapper(io.BytesIO(export), encoding="utf-8", newline="")):
        pass


def we_read(parts: Iterable[bytes]) -> int:
    parser, count = CsvRows(), 0
    for part in parts:
        count += len(parser.feed(part))
    return count + len(parser.finish())


def we_read_values(parts: Iterable[bytes]) -> int:
    parser, count = CsvRows(), 0
    for part in parts:
        for row in parser.feed(part):
            count += len(row.values)
    return count


def test_memory_is_constant():
    """However many rows pass through, the process does not grow by more than 64 MiB."""
    we_read_values(pieces(DAY))
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    assert we_read(pieces(ROWS)) == ROWS // DAY * DAY
    we_read_values(pieces(ROWS))
    assert process.memory_info().rss - before < 64 * MIB


@pytest.mark.skipif(ROWS < 1_000_000, reason="needs a quiet machine: set ENERGY_LIVE_CSV_ROWS to 10000000")
def test_speed_against_pythons_own_reader(capsys):
    """Rows take at most twice the time of Python's own reader, which reads no time and no number."""
    parts = list(pieces(ROWS // 10))
    export = b"".join(parts)
    took: dict[Callable[[], object], list[float]] = {
        lambda: python_reads(export): [],
        lambda: we_read(parts): [],
        lambda: we_read_values(parts): [],
    }
    for _ in range(10):
        for reads, times in took.items():
            begun = time.process_time()
            reads()
            times.append(time.process_time() - begun)
    python, rows, values = (sorted(times)[len(times) // 2] for times in took.values())
    with capsys.disabled():
        sys.stdout.write(f"\nrows {python / rows:.2f}x, with values {python / values:.2f}x of csv.reader\n")
    assert python / rows >= 0.5
    assert python / values >= 0.4

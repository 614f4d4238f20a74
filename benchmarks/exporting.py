"""CSV exports to rows: ours against csv.reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import samples
from benchmarks.rounds import Side, Table, compare

READER: Final = "csv.reader, lists of cells"
TYPED: Final = "csv.reader, then datetimes and floats"
ROWS: Final = "energy-live, rows"
READ: Final = "energy-live, rows and their values"


def exporting(count: int, rounds: int) -> Table:
    """Compare the readers on an export of that many rows."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "export.csv")
        path.write_bytes(samples.export(count))
        return compare(
            f"exporting-{count}",
            f"An export of {count:,} rows in CSV, 7 columns",
            "benchmarks.exporters",
            (
                Side(READER, "reader"),
                Side(TYPED, "reader_typed"),
                Side(ROWS, "ours"),
                Side(READ, "ours_read"),
            ),
            base=TYPED,
            unit="row",
            rounds=rounds,
            options={"path": str(path), "rows": count},
        )


def tables(rounds: int = 7) -> Iterator[Table]:
    """Run the comparison."""
    yield exporting(100_000, rounds)


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)

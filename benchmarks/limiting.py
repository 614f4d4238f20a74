"""Limiters: what an acquisition costs, and what they make of a restart on a used quota."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.rounds import Table, Who, compare

LANE: Final = "energy-live's lane"
AIOLIMITER: Final = "aiolimiter"
PYRATE: Final = "pyrate-limiter"


def alone(rounds: int = 9) -> Table:
    """Measure an acquisition that need not wait."""
    return compare(
        "limiting-alone",
        "Acquiring without waiting",
        "benchmarks.limiters",
        (Who(AIOLIMITER, "alone_aiolimiter"), Who(LANE, "alone_lane"), Who(PYRATE, "alone_pyrate")),
        base=AIOLIMITER,
        unit="acquisition",
        rounds=rounds,
        options={"size": 50_000},
    )


def crowd(waiters: int, rounds: int = 5) -> Table:
    """Measure many who wait at once."""
    return compare(
        f"limiting-crowd-{waiters}",
        f"{waiters:,} tasks waiting for one limiter (10 at once, 100/s), in virtual time",
        "benchmarks.limiters",
        (Who(AIOLIMITER, "crowd_aiolimiter"), Who(LANE, "crowd_lane"), Who(PYRATE, "crowd_pyrate")),
        base=AIOLIMITER,
        unit="waiter",
        rounds=rounds,
        options={"size": waiters},
    )


def tables() -> Iterator[Table]:
    """Measure what is measured in seconds; `benchmarks.restart` counts."""
    yield alone()
    yield crowd(1000)


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)

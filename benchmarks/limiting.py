"""Rate limiters: the cost of an acquisition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.rounds import Side, Table, compare

OURS: Final = "energy-live's rate limiter"
AIOLIMITER: Final = "aiolimiter"
PYRATE: Final = "pyrate-limiter"


def alone(rounds: int = 9) -> Table:
    """Compare an acquisition that does not wait."""
    return compare(
        "limiting-alone",
        "Acquiring without waiting",
        "benchmarks.limiters",
        (Side(AIOLIMITER, "alone_aiolimiter"), Side(OURS, "alone_ours"), Side(PYRATE, "alone_pyrate")),
        base=AIOLIMITER,
        unit="acquisition",
        rounds=rounds,
        options={"size": 50_000},
    )


def crowd(waiters: int, rounds: int = 5) -> Table:
    """Compare many tasks that wait at the same time."""
    return compare(
        f"limiting-crowd-{waiters}",
        f"{waiters:,} tasks waiting for one limiter (10 at once, 100/s), in virtual time",
        "benchmarks.limiters",
        (Side(AIOLIMITER, "crowd_aiolimiter"), Side(OURS, "crowd_ours"), Side(PYRATE, "crowd_pyrate")),
        base=AIOLIMITER,
        unit="waiter",
        rounds=rounds,
        options={"size": waiters},
    )


def tables() -> Iterator[Table]:
    """Run all comparisons that are measured in seconds; `benchmarks.restart` counts requests."""
    yield alone()
    yield crowd(1000)


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)

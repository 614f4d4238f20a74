"""All benchmarks: tables on stdout, `results.json`, plots and the tables of docs/performance.md.

`python -m benchmarks decoding guard` measures only those parts again and keeps the rest of the results.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import perf_counter

from benchmarks import (
    asking,
    decoding,
    document,
    exporting,
    growth,
    guard,
    limiting,
    plots,
    receiving,
    restart,
    results,
    starting,
    storing,
)
from benchmarks.results import Results
from benchmarks.rounds import ROOT, Refused
from benchmarks.targets import targets

MODULES = {
    "decoding": decoding,
    "receiving": receiving,
    "limiting": limiting,
    "asking": asking,
    "starting": starting,
    "exporting": exporting,
    "growth": growth,
    "storing": storing,
}
PARTS = (*MODULES, "restart", "guard")


def measured(parts: Sequence[str]) -> Results:
    """Measure the given parts; keep the results of the last run for the others.

    Raises:
        Refused: two sides of a comparison delivered different values.
    """
    found = results.read() if set(parts) < set(PARTS) else Results()
    tables = [table for table in found.tables if table.id.partition("-")[0] not in parts]
    for name in (part for part in parts if part in MODULES):
        for table in MODULES[name].tables():
            tables.append(table)
            print(table, end="\n\n", flush=True)
    order = list(MODULES)
    tables.sort(key=lambda table: order.index(table.id.partition("-")[0]))
    restarts, guarded = found.restarts, found.guarded
    if "restart" in parts:
        restarts = restart.outcomes()
        print(restart.shown(restarts), end="\n\n", flush=True)
    if "guard" in parts:
        guarded = guard.measured({})
    return Results(tables, restarts, guarded)


def main(parts: Sequence[str]) -> int:
    """Run benchmarks; return 0, 1 if a comparison failed, or 2 for an unknown part."""
    if unknown := set(parts) - set(PARTS):
        print(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    started = perf_counter()
    try:
        found = measured(parts or PARTS)
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1
    results.write(found)
    if {table.id.partition("-")[0] for table in found.tables} == set(MODULES) and found.restarts:
        judged = targets(found.tables, found.restarts)
        print("\nTargets", *judged, sep="\n")
        plots.draw(found.tables, found.restarts, ROOT / "docs")
        document.write(found.tables, found.restarts, judged, results.machine())
    print(f"\n{perf_counter() - started:.0f} s; results.json, docs/performance*.md and the plots are written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

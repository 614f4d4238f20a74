"""Imports and the command line: CPU of whole interpreters, each started afresh, in turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.rounds import ROOT, Refused, Row, Table, spread

EMPTY: Final = "an empty interpreter"
PEER: Final = "import victron_vrm"
VRM: Final = "import vrm_async"

_IMPORTS: Final = {
    EMPTY: "pass",
    PEER: "import victron_vrm",
    VRM: "import vrm_async",
    "import voltstorage_async": "import voltstorage_async",
    "import aiohttp": "import aiohttp",
}
HELP: Final = "energy-live --help"


def cpu_of(command: Sequence[str]) -> float:
    """Return the CPU seconds of a program, from its start to its end.

    Raises:
        Refused: it failed.
    """
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Refused(f"{command[1:]} failed")
    return usage.ru_utime + usage.ru_stime


def tables(rounds: int = 9) -> Iterator[Table]:
    """Measure both."""
    commands = {name: [sys.executable, "-c", code] for name, code in _IMPORTS.items()}
    commands[HELP] = [str(Path(sys.executable).with_name("energy-live")), "--help"]
    costs: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        cpu_of(command)  # compiles what is not compiled yet
    for _ in range(rounds):
        for name, command in commands.items():
            costs[name].append(cpu_of(command))
    empty = costs[EMPTY]
    imports = {
        name: [max(cost - floor, 1e-4) for cost, floor in zip(costs[name], empty, strict=True)]
        for name in _IMPORTS
        if name != EMPTY
    }
    yield _table("starting-imports", "Imports, above an empty interpreter", "import", imports, PEER)
    whole = {EMPTY: empty, HELP: costs[HELP]}
    yield _table("starting-help", "The command line's help, interpreter and all", "start", whole, EMPTY)


def _table(id: str, title: str, unit: str, costs: dict[str, list[float]], base: str) -> Table:  # noqa: A002
    rows = []
    for name, own in costs.items():
        ratios = [theirs / mine for theirs, mine in zip(costs[base], own, strict=True)]
        rows.append(Row(name, *spread(own), *spread(ratios), {}))
    return Table(id, title, unit, base, tuple(rows))


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)

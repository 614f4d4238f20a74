"""Imports and the command line: CPU of fresh interpreters, in turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.rounds import ROOT, Refused, Row, Table, spread
from benchmarks.sampling import MOST, REST

EMPTY: Final = "an empty interpreter"
PEER: Final = "import victron_vrm"
VRM: Final = "import vrm_async"

PEER_READY: Final = "victron_vrm's client, made"
READY: Final = "vrm_async's client, made"

_IMPORTS: Final = {
    EMPTY: "pass",
    PEER: "import victron_vrm",
    VRM: "import vrm_async",
    "import voltstorage_async": "import voltstorage_async",
    "import aiohttp": "import aiohttp",
}
_TOKEN: Final = "(token='0' * 64)"
_READY: Final = {
    PEER_READY: f"from victron_vrm import VictronVRMClient; VictronVRMClient{_TOKEN}",
    READY: f"from vrm_async import VRMClient; VRMClient{_TOKEN}",
    "the same, users, installations and stats looked at": (
        f"from vrm_async import VRMClient; c = VRMClient{_TOKEN}; c.users, c.installations, c.stats"
    ),
    "voltstorage_async's client, made": (
        f"from voltstorage_async import VoltStorageClient; VoltStorageClient{_TOKEN}"
    ),
}
"""For a package with lazy imports, the import alone says little: a client is made as well."""
HELP: Final = "energy-live --help"


def cpu_of(command: Sequence[str]) -> float:
    """Return the CPU seconds of a whole program.

    Raises:
        Refused: the program failed.
    """
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Refused(f"{command[1:]} failed")
    return usage.ru_utime + usage.ru_stime


def parts_of(code: str) -> Mapping[str, float]:
    """Return the share of each package's own code in the time of an import."""
    command = [sys.executable, "-X", "importtime", "-c", code]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    own: Counter[str] = Counter()
    for line in told.splitlines()[1:]:
        spent, _, module = line.removeprefix("import time:").split("|")
        package = module.strip().partition(".")[0]
        own["the standard library" if package in sys.stdlib_module_names else package] += int(spent)
    shares = {name: spent / own.total() for name, spent in own.most_common(MOST)}
    return {**shares, REST: max(0.0, 1.0 - sum(shares.values()))}


def tables(rounds: int = 9) -> Iterator[Table]:
    """Run both comparisons."""
    commands = {name: [sys.executable, "-c", code] for name, code in {**_IMPORTS, **_READY}.items()}
    commands[HELP] = [str(Path(sys.executable).with_name("energy-live")), "--help"]
    costs: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        cpu_of(command)  # writes missing .pyc files
    for _ in range(rounds):
        for name, command in commands.items():
            costs[name].append(cpu_of(command))
    empty = costs[EMPTY]
    above = {
        name: [max(cost - floor, 1e-4) for cost, floor in zip(costs[name], empty, strict=True)]
        for name in commands
    }
    imports = {name: above[name] for name in _IMPORTS if name != EMPTY}
    yield _table("starting-imports", "Imports, above an empty interpreter", "import", imports, PEER)
    ready = {name: above[name] for name in _READY}
    title = "A client that can ask, above an empty interpreter"
    made = _table("starting-ready", title, "start", ready, PEER_READY)
    yield made._replace(profile=parts_of(_READY[READY]))
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

"""Rounds of several sides in turn: first equal values, then costs, then medians of paired ratios.

Each side runs in its own process (`benchmarks.worker`), free of another's garbage, imports and event loop.
The sides take turns, one round each, and a ratio is taken within a round, so that other load on the machine
affects both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from types import MappingProxyType, TracebackType
from typing import Final, NamedTuple, Self

ROOT: Final = Path(__file__).resolve().parent.parent
SPEED: Final = ("orjson", "msgspec", "uvloop")
"""The packages of the extra `speed`; a side without it runs in a process that cannot import them."""


class Refused(Exception):
    """A side delivered different values than the others, or none: there is no result."""


class Side(NamedTuple):
    """One side of a comparison."""

    name: str
    make: str
    """The function of the benchmark's module that builds it."""
    speed: bool = True
    """Whether it may import the extra `speed`."""
    options: Mapping[str, object] = MappingProxyType({})
    """Options of this side only."""
    units: int = 1
    """Units of work in one of its results."""
    collector: bool = True
    """Whether Python's garbage collector runs meanwhile."""
    swept: bool = False
    """Whether the processor's caches are emptied before each repetition."""


class Row(NamedTuple):
    """The result of one side: seconds for one unit of work, and the speed relative to the base."""

    side: str
    cost_s: float
    low_s: float
    high_s: float
    ratio: float
    ratio_low: float
    ratio_high: float
    facts: Mapping[str, float]


class Table(NamedTuple):
    """One comparison."""

    id: str
    title: str
    unit: str
    base: str
    rows: tuple[Row, ...]
    profile: Mapping[str, float] = MappingProxyType({})
    """The share of each file in the time of one side."""

    def row(self, side: str) -> Row:
        """Return the row of a side."""
        return next(row for row in self.rows if row.side == side)

    def against(self, side: str, base: str) -> float:
        """Return the speed of a side relative to `base`, by their medians."""
        return self.row(base).cost_s / self.row(side).cost_s

    def __str__(self) -> str:
        scale, name = scaled(min(row.cost_s for row in self.rows))
        lines = [f"{self.title}  [{name} per {self.unit}; x: times as fast as {self.base}]"]
        for row in self.rows:
            facts = "  ".join(f"{key}={value:,.4g}" for key, value in row.facts.items())
            spread = f"{row.low_s * scale:8.2f} ..{row.high_s * scale:8.2f}"
            ratio = f"{row.ratio:6.2f}x ({row.ratio_low:.2f}..{row.ratio_high:.2f})"
            lines.append(f"  {row.side:<46}{row.cost_s * scale:9.2f}  {spread}   {ratio}  {facts}".rstrip())
        return "\n".join(lines)


class Worker:
    """The process of a side: it reports its values, then runs a round for each command."""

    def __init__(self, module: str, who: Side, options: Mapping[str, object]) -> None:
        self.name = who.name
        self.units = who.units
        wish = {
            "make": who.make,
            "options": {**options, **who.options},
            "without": () if who.speed else SPEED,
            "collector": who.collector,
            "swept": who.swept,
        }
        told = json.dumps(wish)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", module, told],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONHASHSEED": "0",
            },  # the hash seed changes dict collisions, worth ten percent
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str) -> dict[str, object]:
        """Send one command and return its answer.

        Raises:
            Refused: the process failed.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            print(what, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise Refused(f"{self.name} failed at {what}; see above") from None
        answer = self._process.stdout.readline()
        if not answer:
            raise Refused(f"{self.name} failed at {what}; see above")
        said: dict[str, object] = json.loads(answer)
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # unread output is discarded with the process
                    pipe.close()


def compare(
    id: str,  # noqa: A002  (the field of the table)
    title: str,
    module: str,
    sides: Sequence[Side],
    *,
    base: str,
    unit: str,
    rounds: int,
    options: Mapping[str, object],
    alike: bool = True,
    profile: str = "",
) -> Table:
    """Check that all sides deliver equal values (unless `alike` is false), then measure them in turn.

    Finally the side named by `profile` is profiled.

    Raises:
        Refused: the values differ.
    """
    workers = [Worker(module, who, options) for who in sides]
    costs: dict[str, list[float]] = {who.name: [] for who in sides}
    facts: dict[str, dict[str, list[float]]] = {who.name: {} for who in sides}
    try:
        _agree(workers, alike=alike)
        for turn in range(rounds):
            for worker in workers[turn % len(workers) :] + workers[: turn % len(workers)]:
                said = worker.ask("round")
                costs[worker.name].append(_number(said["cost_s"]) / worker.units)
                for name, value in dict(said["facts"]).items():  # type: ignore[call-overload]
                    one = worker.units if name.endswith("_kb") else 1
                    facts[worker.name].setdefault(name, []).append(_number(value) / one)
        shares: dict[str, float] = {}
        for worker in workers:
            if worker.name == profile:
                shares = worker.ask("profile")["shares"]  # type: ignore[assignment]
    finally:
        for worker in workers:
            worker.__exit__(None, None, None)
    rows = tuple(_row(who.name, costs, base, facts[who.name]) for who in sides)
    return Table(id, title, unit, base, rows, shares)


def _agree(workers: Sequence[Worker], *, alike: bool) -> None:
    """Raise `Refused` if the sides deliver different values or none."""
    said = [worker.ask("check") for worker in workers]
    if not all(one["count"] for one in said):
        raise Refused("a side delivered nothing")
    if not alike:
        return
    for worker, one in zip(workers, said, strict=True):
        if one["count"] != said[0]["count"]:
            raise Refused(f"{worker.name} delivered {one['count']}, {workers[0].name} {said[0]['count']}")
        if one["digest"] != said[0]["digest"]:
            raise Refused(
                f"{worker.name} decoded other values than {workers[0].name}:\n"
                f"  {one['sample']}\n  {said[0]['sample']}"
            )


def _row(side: str, costs: Mapping[str, list[float]], base: str, facts: Mapping[str, list[float]]) -> Row:
    ratios = [theirs / own for theirs, own in zip(costs[base], costs[side], strict=True)]
    middle = {name: median(values) for name, values in facts.items()}
    return Row(side, *spread(costs[side]), *spread(ratios), middle)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and both quartiles."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return middle, low, high


def scaled(seconds: float) -> tuple[float, str]:
    """Return a factor for seconds and the name of the resulting unit."""
    for scale, name in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * scale >= 1:
            return scale, name
    return 1e6, "us"


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)

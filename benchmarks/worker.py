"""The process of one side: blocks what it must not import, prepares it, and measures round after round."""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from time import process_time
from typing import Final, NamedTuple, Protocol, cast

from benchmarks.sampling import Sampler

SWEPT: Final = 32 * 1024 * 1024
"""Bytes; more than the caches of the processor hold for one of its cores."""

LEAST_S: Final = 0.1
"""A round of work that is quick is repeated until it takes so long."""

COLD_LEAST_S: Final = 0.02
"""Likewise where caches are swept before each repetition, which takes longer than the work itself."""

_NOTHING: Final[Mapping[str, float]] = {}


PROFILED_S: Final = 2.0
"""So much CPU is looked at to see where it goes."""


class Cost(NamedTuple):
    """What a round cost."""

    cost_s: float
    """CPU seconds for one unit of work."""
    facts: Mapping[str, float] = _NOTHING
    """What else was seen."""


class Side(Protocol):
    """What a benchmark's `make` functions return."""

    def check(self) -> Sequence[object]:
        """Do the work once and return the values it delivered, as plain JSON."""

    def round(self, sampler: Sampler | None = None) -> Cost:
        """Do the work and say what it cost; a sampler looks at nothing but that."""


class Work:
    """A side whose work is a plain function.

    Args:
        do: the work.
        values: turns what `do` returns into plain values, outside of the measurement.
        units: how many units of work one call does.
    """

    def __init__(
        self, do: Callable[[], object], values: Callable[[object], Sequence[object]], *, units: int = 1
    ) -> None:
        self._do = do
        self._values = values
        self._units = units
        self._times = 1
        self._dirt: bytes | None = None
        self._memory: Mapping[str, float] = {}

    def sweep_first(self) -> None:
        """Have each repetition find the processor's caches cold, as work that is done once a minute does."""
        self._dirt = b"x" * SWEPT

    def check(self) -> Sequence[object]:
        """Do the work until its speed is known, and return what it delivered."""
        least = LEAST_S if self._dirt is None else COLD_LEAST_S
        while (took := self._run()) < least:
            self._times = min(self._times * 10, max(self._times + 1, int(self._times * least / took) + 1))
        tracemalloc.start()
        made = self._do()
        kept, peak = (size / 1024 / self._units for size in tracemalloc.get_traced_memory())
        tracemalloc.stop()
        self._memory = {"kept_kb": kept, "peak_kb": peak}
        return self._values(made)

    def round(self, sampler: Sampler | None = None) -> Cost:
        """Do the work so many times and say what one unit cost."""
        if sampler is not None:
            sampler.start()
            self._run()
            sampler.stop()
        return Cost(self._run() / self._times / self._units, self._memory)

    def _run(self) -> float:
        do = self._do
        gc.collect()
        if self._dirt is not None:
            return max(sum(self._run_swept(self._dirt) for _ in range(self._times)), 1e-9)
        started = process_time()
        for _ in range(self._times):
            do()
        return max(process_time() - started, 1e-9)

    def _run_swept(self, dirt: bytes) -> float:
        dirt.find(b"y")  # looks at all of it
        started = process_time()
        self._do()
        return process_time() - started


def _profile(side: Side) -> Mapping[str, float]:
    """Do rounds and say where their time went."""
    sampler, started = Sampler(), process_time()
    while process_time() < started + PROFILED_S:
        side.round(sampler)
    return sampler.shares()


def main(module: str, told: str) -> None:
    """Prepare the side and do what the lines on stdin say."""
    wish = json.loads(told)
    for name in wish["without"]:
        sys.modules[name] = None  # type: ignore[assignment]  # what makes an import fail
    make: Callable[..., Side] = getattr(importlib.import_module(module), wish["make"])
    side = make(**wish["options"])
    if not wish["collector"]:
        gc.disable()
    if wish["swept"]:
        cast("Work", side).sweep_first()
    for line in sys.stdin:
        if line.strip() == "check":
            values = list(side.check())
            text = json.dumps(values)
            digest = hashlib.sha256(text.encode()).hexdigest()
            answer = {"count": len(values), "digest": digest, "sample": text[:300]}
        elif line.strip() == "profile":
            answer = {"shares": dict(_profile(side))}
        else:
            gc.collect()
            cost = side.round()
            answer = {"cost_s": cost.cost_s, "facts": dict(cost.facts)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

"""The process of one side: blocks packages it must not import, builds the side, and measures each round."""

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
"""In bytes; more than the processor's caches hold for one core."""

LEAST_S: Final = 0.1
"""Short work is repeated until a round takes this long."""

COLD_LEAST_S: Final = 0.02
"""The same where caches are emptied before each repetition."""

_NOTHING: Final[Mapping[str, float]] = {}


PROFILED_S: Final = 2.0
"""The CPU time to profile."""


class Cost(NamedTuple):
    """The cost of a round."""

    cost_s: float
    """CPU seconds for one unit of work."""
    facts: Mapping[str, float] = _NOTHING
    """Further figures, by name."""


class Side(Protocol):
    """The protocol of a benchmark's `make` functions."""

    def check(self) -> Sequence[object]:
        """Do the work once and return its values as plain JSON."""

    def round(self, sampler: Sampler | None = None) -> Cost:
        """Do the work and return its cost; a sampler runs only meanwhile."""


class Work:
    """A side whose work is a function.

    Args:
        do: the work.
        values: converts the result of `do` to plain values, outside of the measurement.
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
        """Empty the processor's caches before each repetition."""
        self._dirt = b"x" * SWEPT

    def check(self) -> Sequence[object]:
        """Find the number of repetitions for a round, and return the values."""
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
        """Repeat the work and return the cost of one unit."""
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
        dirt.find(b"y")  # reads the whole block
        started = process_time()
        self._do()
        return process_time() - started


def _profile(side: Side) -> Mapping[str, float]:
    """Run rounds and return the share of each file in their time."""
    sampler, started = Sampler(), process_time()
    while process_time() < started + PROFILED_S:
        side.round(sampler)
    return sampler.shares()


def main(module: str, told: str) -> None:
    """Build the side and run the commands on stdin."""
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

"""The guard: a minute of benchmarks that fails when we fall behind the bare libraries by a quarter or more.

Each figure is how many times as fast we are as the bare library in the same run, on the same machine; the
committed ones are in `results.json`. What seems to have fallen is measured once more before it counts.
`python -m benchmarks guard` writes today's ratios there; commit the lowest of a few runs, one of them beside
other work, since a busy machine is no fault of the code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import decoding, event_server, exporting, http_server, receiving, results, samples
from benchmarks.asking import FAST as ASKED
from benchmarks.asking import RAW
from benchmarks.limiting import AIOLIMITER, LANE
from benchmarks.rounds import Refused, Who, compare

ALLOWED: Final = 0.75
"""Of the committed ratio."""

Measure = Callable[[], float]


def _against(module: str, own: Who, bare: Who, rounds: int, options: Mapping[str, object]) -> float:
    table = compare("guard", "", module, (bare, own), base=bare.name, unit="", rounds=rounds, options=options)
    return table.row(own.name).ratio


def measures(folder: Path, events: int, url: str) -> Iterator[tuple[str, Measure]]:
    """Return what is guarded, by name."""
    for kind, body in (
        ("event", samples.product_event(7)),
        ("stats", samples.stats(1000)),
        ("diagnostics", samples.diagnostics(300)),
        ("sites", samples.installations(40)),
    ):
        path = folder / kind
        path.write_bytes(body)
        options = {"case": kind, "path": str(path)}
        for name, speed, bare in (
            (decoding.FAST, True, "plain_orjson"),
            (decoding.PLAIN, False, "plain_json"),
        ):
            own = Who(name, "ours", speed)
            yield (
                f"{kind}, {name} against {bare.removeprefix('plain_')}",
                lambda own=own, bare=bare, options=options: _against(  # type: ignore[misc]
                    "benchmarks.decoders", own, Who("bare", bare), 3, options
                ),
            )
    burst = {"port": events, "sockets": 1, "each": 5000, "interval_ms": 0}
    for name, own in (
        ("burst against bare websockets", Who(receiving.FAST, "merged")),
        ("burst, without [speed], against bare websockets", Who(receiving.PLAIN, "merged", speed=False)),
    ):
        yield (
            name,
            lambda own=own: _against(  # type: ignore[misc]
                "benchmarks.receivers", own, Who("bare", "bare"), 5, burst
            ),
        )
    asked = {"url": url, "case": "me", "times": 200}
    yield (
        "request against aiohttp",
        lambda: _against("benchmarks.askers", Who(ASKED, "ours"), Who(RAW, "raw"), 7, asked),
    )
    acquired = {"size": 30_000}
    yield (
        "acquiring against aiolimiter",
        lambda: _against(
            "benchmarks.limiters", Who(LANE, "alone_lane"), Who(AIOLIMITER, "alone_aiolimiter"), 7, acquired
        ),
    )
    export = folder / "export"
    export.write_bytes(samples.export(20_000))
    rows = {"path": str(export), "rows": 20_000}
    yield (
        "export against csv.reader",
        lambda: _against(
            "benchmarks.exporters", Who(exporting.READ, "ours_read"), Who("bare", "reader"), 5, rows
        ),
    )


def measured(committed: Mapping[str, float]) -> dict[str, float]:
    """Measure everything that is guarded."""
    with TemporaryDirectory() as folder, event_server.running() as events, http_server.running() as url:
        return weighed(committed, measures(Path(folder), events, url))


def weighed(committed: Mapping[str, float], each: Iterable[tuple[str, Measure]]) -> dict[str, float]:
    """Measure what there is, and once more what seems to have fallen: something else may have run then."""
    found = {}
    for name, measure in each:
        ratio = measure()
        if fallen(committed, {name: ratio}):
            ratio = max(ratio, measure())
        found[name] = ratio
        told = f"{committed[name]:6.3f}x" if name in committed else "   none"
        verdict = "FALLEN" if fallen(committed, {name: ratio}) else "ok"
        print(f"{verdict:<7}{name:<52}{ratio:6.3f}x  committed {told}", flush=True)
    return found


def fallen(committed: Mapping[str, float], found: Mapping[str, float]) -> list[str]:
    """Return what is more than a quarter behind what is committed."""
    return [name for name, ratio in found.items() if ratio < committed.get(name, 0.0) * ALLOWED]


def verdict(committed: Mapping[str, float], found: Mapping[str, float]) -> int:
    """Return the exit status: 0 only where everything that is committed was measured, and has held."""
    unmatched = sorted(committed.keys() ^ found.keys())
    if unmatched:
        print(f"committed and not measured, or measured and not committed: {', '.join(unmatched)}")
    return int(bool(unmatched or fallen(committed, found)))


def main() -> int:
    """Compare with what is committed; 1 where something has fallen, or there is nothing to report."""
    committed = results.read().guarded
    try:
        return verdict(committed, measured(committed))
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

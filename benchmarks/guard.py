"""A minute of benchmarks that fails when a ratio falls by a quarter or more.

Each ratio compares our speed with the bare library's in the same run on the same machine. The committed
ratios are in `results.json`. A ratio that seems to have fallen is measured a second time before it counts.
`python -m benchmarks guard` writes the present ratios; commit the lowest of a few runs, one of them on a busy
machine.
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
from benchmarks.limiting import AIOLIMITER, OURS
from benchmarks.rounds import Refused, Side, compare

ALLOWED: Final = 0.75
"""The share of the committed ratio that must be reached."""

Measure = Callable[[], float]


def _against(module: str, own: Side, bare: Side, rounds: int, options: Mapping[str, object]) -> float:
    table = compare("guard", "", module, (bare, own), base=bare.name, unit="", rounds=rounds, options=options)
    return table.row(own.name).ratio


def measures(folder: Path, events: int, url: str) -> Iterator[tuple[str, Measure]]:
    """Yield the guarded ratios by name."""
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
            own = Side(name, "ours", speed)
            yield (
                f"{kind}, {name} against {bare.removeprefix('plain_')}",
                lambda own=own, bare=bare, options=options: _against(  # type: ignore[misc]
                    "benchmarks.decoders", own, Side("bare", bare), 3, options
                ),
            )
    burst = {"port": events, "sockets": 1, "each": 5000, "interval_ms": 0}
    for name, own in (
        ("burst against bare websockets", Side(receiving.FAST, "merged")),
        ("burst, without [speed], against bare websockets", Side(receiving.PLAIN, "merged", speed=False)),
    ):
        yield (
            name,
            lambda own=own: _against(  # type: ignore[misc]
                "benchmarks.receivers", own, Side("bare", "bare"), 5, burst
            ),
        )
    asked = {"url": url, "case": "me", "times": 200}
    yield (
        "request against aiohttp",
        lambda: _against("benchmarks.askers", Side(ASKED, "ours"), Side(RAW, "raw"), 7, asked),
    )
    acquired = {"size": 30_000}
    yield (
        "acquiring against aiolimiter",
        lambda: _against(
            "benchmarks.limiters", Side(OURS, "alone_ours"), Side(AIOLIMITER, "alone_aiolimiter"), 7, acquired
        ),
    )
    export = folder / "export"
    export.write_bytes(samples.export(20_000))
    rows = {"path": str(export), "rows": 20_000}
    yield (
        "export against csv.reader",
        lambda: _against(
            "benchmarks.exporters", Side(exporting.READ, "ours_read"), Side("bare", "reader"), 5, rows
        ),
    )


def measured(committed: Mapping[str, float]) -> dict[str, float]:
    """Measure all guarded ratios."""
    with TemporaryDirectory() as folder, event_server.running() as events, http_server.running() as url:
        return weighed(committed, measures(Path(folder), events, url))


def weighed(committed: Mapping[str, float], each: Iterable[tuple[str, Measure]]) -> dict[str, float]:
    """Measure all ratios, and a second time those that seem to have fallen."""
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
    """Return the ratios that are more than a quarter below the committed ones."""
    return [name for name, ratio in found.items() if ratio < committed.get(name, 0.0) * ALLOWED]


def verdict(committed: Mapping[str, float], found: Mapping[str, float]) -> int:
    """Return the exit status: 0 if every committed ratio was measured and reached."""
    unmatched = sorted(committed.keys() ^ found.keys())
    if unmatched:
        print(f"committed and not measured, or measured and not committed: {', '.join(unmatched)}")
    return int(bool(unmatched or fallen(committed, found)))


def main() -> int:
    """Compare with the committed ratios. Returns 1 if one has fallen or a comparison failed."""
    committed = results.read().guarded
    try:
        return verdict(committed, measured(committed))
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

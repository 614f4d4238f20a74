"""Bytes to objects: product events, statistics, diagnostics, installations.

Ours includes all that the client does with an answer: strict JSON, the success flag, frozen models, schema
drift. Plain json, orjson and msgspec's own types check less or nothing; they are the lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from benchmarks import samples
from benchmarks.rounds import Side, Table, compare

PEER: Final = "victron-vrm"
FAST: Final = "energy-live[speed]"
PLAIN: Final = "energy-live"

SIDES: Final = (
    Side(PEER, "peer"),
    Side(FAST, "ours"),
    Side(PLAIN, "ours", speed=False),
    Side("json, no types", "plain_json"),
    Side("orjson, no types", "plain_orjson"),
    Side("msgspec, types by hand", "typed_msgspec"),
)


class Case(NamedTuple):
    """One body to decode."""

    id: str
    title: str
    kind: str
    body: Callable[[], bytes]


CASES: Final = (
    Case("event-2", "Product event, 2 fields", "event", lambda: samples.product_event(7, 2)),
    Case("event-8", "Product event, 8 fields", "event", lambda: samples.product_event(7)),
    Case("stats-1000", "Statistics, 1,000 points", "stats", lambda: samples.stats(1000)),
    Case("stats-10000", "Statistics, 10,000 points", "stats", lambda: samples.stats(10_000)),
    Case("diagnostics", "Diagnostics, 1,000 records", "diagnostics", lambda: samples.diagnostics(1000)),
    Case("sites", "Extended installations, 500 sites", "sites", lambda: samples.installations(500)),
    Case(
        "attributes",
        "The same, every attribute of every site read",
        "attributes",
        lambda: samples.installations(500),
    ),
)


def tables(rounds: int = 7) -> Iterator[Table]:
    """Run all comparisons."""
    with TemporaryDirectory() as folder:
        for case in CASES:
            path = Path(folder, case.id)
            path.write_bytes(case.body())
            title = case.title if case.kind != "event" else f"{case.title} (peer: json and pydantic)"
            yield compare(
                f"decoding-{case.id}",
                title,
                "benchmarks.decoders",
                SIDES,
                base=PEER,
                unit="answer",
                rounds=rounds,
                options={"case": case.kind, "path": str(path)},
                profile=FAST,
            )


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)

"""The same work at 1x, 10x and 100x the size: the cost of a unit must not grow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import event_server, samples
from benchmarks.rounds import Side, Table, compare
from vrm_async.resources.installations import LARGEST_PAGE

SIZES: Final = (1, 10, 100)
ALONE: Final = " (orjson alone)"
"""The growth of the parser alone: the effect of the processor's caches and the collector."""
COLD: Final = " (caches swept)"
"""With cold caches, as in a program that polls once a minute. Not judged: cold code makes small sizes
slow."""
HELD: Final = " (all held at once)"
"""For a program that keeps every attribute of every site: memory, and the collector's passes over it."""
UNCOLLECTED: Final = " (collector off)"
"""Without the passes of the collector, each of which also visits all older objects."""

_BODIES: Final[tuple[tuple[str, str, int, int, Callable[[int], bytes]], ...]] = (
    ("stats", "points of statistics", 100, sys.maxsize, samples.stats),
    ("diagnostics", "records of diagnostics", 30, LARGEST_PAGE, samples.diagnostics),
    ("attributes", "extended sites, all read", 5, sys.maxsize, samples.installations),
)
"""A case: its name, smallest size, the most units one answer holds, and a function that makes the answer."""


def tables(rounds: int = 5) -> Iterator[Table]:
    """Run all comparisons."""
    with TemporaryDirectory() as folder:
        for kind, what, least, most, body in _BODIES:
            ours, parser = [], []
            for size in SIZES:
                count = least * size
                page = min(count, most)
                path = Path(folder, f"{kind}-{size}")
                path.write_bytes(body(page))
                options = {"case": kind, "path": str(path), "pages": count // page}
                ours.append(Side(f"{count:,}", "ours", options=options, units=count))
                parser.append(Side(f"{count:,}{ALONE}", "plain_orjson", options=options, units=count))
            held = _held(ours) if kind == "attributes" else []
            sides = [*ours, *held, *_uncollected(ours), *_swept(ours), *parser]
            yield _table(kind, what, "benchmarks.decoders", sides, rounds)
        sides = []
        for size in SIZES:
            path = Path(folder, f"export-{size}")
            path.write_bytes(samples.export(1000 * size))
            sides.append(
                Side(f"{1000 * size:,}", "ours_streamed", options={"path": str(path), "rows": 1000 * size})
            )
        sides = [*sides, *_uncollected(sides), *_swept(sides)]
        yield _table("export", "rows of an export", "benchmarks.exporters", sides, rounds)
    sides = [Side(f"{100 * size:,}", "crowd_ours", options={"size": 100 * size}) for size in SIZES]
    both = [*sides, *_uncollected(sides)]
    yield _table("waiters", "tasks waiting for one rate limiter", "benchmarks.limiters", both, rounds)
    with event_server.running() as port:
        yield _table(
            "sockets",
            "sockets, 1,000 events a second in all",
            "benchmarks.receivers",
            _sockets(port),
            4 * rounds,  # the comparison with the most noise
        )


def _uncollected(sides: Sequence[Side]) -> list[Side]:
    return [who._replace(name=f"{who.name}{UNCOLLECTED}", collector=False) for who in sides]


def _held(sides: Sequence[Side]) -> list[Side]:
    case = {"case": "attributes held"}
    return [who._replace(name=f"{who.name}{HELD}", options={**who.options, **case}) for who in sides]


def _swept(sides: Sequence[Side]) -> list[Side]:
    return [who._replace(name=f"{who.name}{COLD}", swept=True) for who in sides]


def _sockets(port: int) -> list[Side]:
    """Return sides that receive the same number of events through 10, 100 and 1,000 sockets."""
    shapes = [(10 * size, 300 // size, 10 * size) for size in SIZES]
    return [
        Side(
            f"{sockets:,}",
            "merged",
            options={"port": port, "sockets": sockets, "each": each, "interval_ms": interval_ms},
        )
        for sockets, each, interval_ms in shapes
    ]


def _table(kind: str, what: str, module: str, sides: Sequence[Side], rounds: int) -> Table:
    return compare(
        f"growth-{kind}",
        f"Growth: {what}",
        module,
        sides,
        base=sides[0].name,
        unit="unit",
        rounds=rounds,
        options={},
        alike=False,
        profile=sides[2].name,
    )


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)

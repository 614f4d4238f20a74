"""The same at 1x, 10x and 100x: nothing may cost more for each unit because there are more of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import event_server, samples
from benchmarks.rounds import Table, Who, compare
from vrm_async.resources.installations import LARGEST_PAGE

SIZES: Final = (1, 10, 100)
ALONE: Final = " (orjson alone)"
"""What the machine's caches and the collector make of growth by themselves."""
COLD: Final = " (caches swept)"
"""As a program finds them that asks once a minute. Not what is judged: cold code makes small sizes dear."""
HELD: Final = " (all held at once)"
"""By who keeps every attribute of every site: memory that is taken, and the collector's passes over it."""
UNCOLLECTED: Final = " (collector off)"
"""What is left without the passes of the collector, each of which also looks at all that was there before."""

_BODIES: Final[tuple[tuple[str, str, int, int, Callable[[int], bytes]], ...]] = (
    ("stats", "points of statistics", 100, sys.maxsize, samples.stats),
    ("diagnostics", "records of diagnostics", 30, LARGEST_PAGE, samples.diagnostics),
    ("attributes", "extended sites, all read", 5, sys.maxsize, samples.installations),
)
"""What there is more and more of, how much at the least, the most that one answer holds, and the answer."""


def tables(rounds: int = 5) -> Iterator[Table]:
    """Measure everything."""
    with TemporaryDirectory() as folder:
        for kind, what, least, most, body in _BODIES:
            ours, parser = [], []
            for size in SIZES:
                count = least * size
                page = min(count, most)
                path = Path(folder, f"{kind}-{size}")
                path.write_bytes(body(page))
                options = {"case": kind, "path": str(path), "pages": count // page}
                ours.append(Who(f"{count:,}", "ours", options=options, units=count))
                parser.append(Who(f"{count:,}{ALONE}", "plain_orjson", options=options, units=count))
            held = _held(ours) if kind == "attributes" else []
            sides = [*ours, *held, *_uncollected(ours), *_swept(ours), *parser]
            yield _table(kind, what, "benchmarks.decoders", sides, rounds)
        sides = []
        for size in SIZES:
            path = Path(folder, f"export-{size}")
            path.write_bytes(samples.export(1000 * size))
            sides.append(
                Who(f"{1000 * size:,}", "ours_streamed", options={"path": str(path), "rows": 1000 * size})
            )
        sides = [*sides, *_uncollected(sides), *_swept(sides)]
        yield _table("export", "rows of an export", "benchmarks.exporters", sides, rounds)
    sides = [Who(f"{100 * size:,}", "crowd_lane", options={"size": 100 * size}) for size in SIZES]
    both = [*sides, *_uncollected(sides)]
    yield _table("waiters", "tasks waiting in one lane", "benchmarks.limiters", both, rounds)
    with event_server.running() as port:
        yield _table(
            "sockets",
            "sockets, 1,000 events a second in all",
            "benchmarks.receivers",
            _sockets(port),
            4 * rounds,  # the noisiest there is
        )


def _uncollected(sides: Sequence[Who]) -> list[Who]:
    return [who._replace(name=f"{who.name}{UNCOLLECTED}", collector=False) for who in sides]


def _held(sides: Sequence[Who]) -> list[Who]:
    case = {"case": "attributes held"}
    return [who._replace(name=f"{who.name}{HELD}", options={**who.options, **case}) for who in sides]


def _swept(sides: Sequence[Who]) -> list[Who]:
    return [who._replace(name=f"{who.name}{COLD}", swept=True) for who in sides]


def _sockets(port: int) -> list[Who]:
    """Return sides that get the same number of events through more and more sockets."""
    shapes = [(10 * size, 300 // size, 10 * size) for size in SIZES]
    return [
        Who(
            f"{sockets:,}",
            "merged",
            options={"port": port, "sockets": sockets, "each": each, "interval_ms": interval_ms},
        )
        for sockets, each, interval_ms in shapes
    ]


def _table(kind: str, what: str, module: str, sides: Sequence[Who], rounds: int) -> Table:
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

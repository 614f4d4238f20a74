"""What we aim for: each target as a ratio measured in one run, met or missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from benchmarks import asking, decoding, limiting, receiving, starting
from benchmarks.restart import Outcome
from benchmarks.rounds import Table


class Target(NamedTuple):
    """One figure to reach."""

    table: str
    """The table it is read from."""
    number: int
    what: str
    unit: str
    measured: float
    wanted: float
    moonshot: float | None
    at_most: bool
    """Whether less is better."""

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        verdict = "pass" if self.met else "MISS"
        return (
            f"  {self.number}. {self.what:<64}{shown(self.measured, self.unit):>10}"
            f"   {sign} {shown(self.wanted, self.unit):<9}{verdict}"
        )


def shown(value: float, unit: str) -> str:
    """Return a figure as it is read best."""
    if unit == "%":
        return f"{value:.1%}"
    return f"{value:.2f}{unit}" if unit == "x" else f"{value:,.0f} {unit}".strip()


GROWTH: Final = 1.1
"""Ten times as much may cost eleven times as much, so a unit a tenth more."""
CROWD: Final = 4 / 3
"""What O(log n) comes to for each of ten thousand who wait, compared with each of a thousand."""


def targets(tables: Sequence[Table], restarts: Sequence[Outcome]) -> list[Target]:
    """Judge what was measured."""
    by_id = {table.id: table for table in tables}
    found = (*_receiving(by_id), *_decoding(by_id), *_the_rest(by_id, restarts), *_growth(tables))
    return sorted(found, key=lambda target: target.number)


def _receiving(by_id: Mapping[str, Table]) -> Iterator[Target]:
    burst, many = by_id["receiving-burst"], by_id["receiving-paced-5000"]
    fast, plain = burst.row(receiving.FAST).ratio, burst.row(receiving.PLAIN).ratio
    yield Target(burst.id, 1, "burst against bare websockets, with [speed]", "x", fast, 0.9, 1.1, False)
    yield Target(burst.id, 1, "burst against bare websockets, without", "x", plain, 0.65, 0.8, False)
    row = many.row(receiving.FAST)
    what = "CPU of 5,000 paced sockets against queues by hand"
    yield Target(many.id, 2, what, "x", 1 / row.ratio, 0.9, 0.7, True)
    memory = row.facts["rss_kb_per_socket"]
    yield Target(many.id, 2, "memory of a plain connection", "kB", memory, 16, None, True)


def _decoding(by_id: Mapping[str, Table]) -> Iterator[Target]:
    for case, what, fast, moonshot, plain in (
        ("diagnostics", "diagnostics", 8.0, None, 1.5),
        ("sites", "extended installations", 5.0, 14.0, 1.0),
        ("stats-10000", "statistics of 10,000 points", 3.0, 13.0, 0.65),
    ):
        table = by_id[f"decoding-{case}"]
        measured = table.row(decoding.FAST).ratio
        against = f"{what} against victron-vrm"
        yield Target(table.id, 3, f"{against}, with [speed]", "x", measured, fast, moonshot, False)
        measured = table.row(decoding.PLAIN).ratio
        yield Target(table.id, 3, f"{against}, without", "x", measured, plain, None, False)


def _the_rest(by_id: Mapping[str, Table], restarts: Sequence[Outcome]) -> Iterator[Target]:
    asked = by_id["asking-me"].row(asking.FAST)
    what = "a typed, limited request against aiohttp"
    yield Target("asking-me", 4, what, "x", 1 / asked.ratio, 1.0, 0.9, True)
    acquired = by_id["limiting-alone"].row(limiting.LANE)
    yield Target(
        "limiting-alone", 5, "acquiring against aiolimiter", "x", 1 / acquired.ratio, 0.5, None, True
    )
    own = [each for each in restarts if each.client == "energy-live"]
    refusals, lost = max(each.refusals for each in own), max(each.lost for each in own)
    yield Target("", 5, "restart on a used quota: 429s, worse reading", "", refusals, 8, None, True)
    yield Target("", 5, "restart on a used quota: polls lost", "", lost, 0, None, True)
    used = min(each.used for each in own)
    yield Target("", 5, "restart on a used quota: allowance used", "%", used, 0.99, None, False)
    imported = by_id["starting-imports"].row(starting.VRM)
    what = "import vrm_async against victron_vrm"
    yield Target("starting-imports", 6, what, "x", 1 / imported.ratio, 0.6, None, True)
    # The packages load lazily, so an import alone says little: this is what a program pays that asks.
    made = by_id["starting-ready"].row(starting.READY)
    what = "the same, with a client made"
    yield Target("starting-ready", 6, what, "x", 1 / made.ratio, 0.6, None, True)
    helped = by_id["starting-help"].row(starting.HELP).cost_s * 1000
    yield Target("starting-help", 6, "CPU of energy-live --help", "ms", helped, 150, None, True)


def _growth(tables: Sequence[Table]) -> Iterator[Target]:
    for table in tables:
        if table.id.startswith("growth-"):
            small, middle, large = table.rows[:3]
            worst = max(middle.cost_s / small.cost_s, large.cost_s / middle.cost_s)
            what = f"at ten times as many {table.title.removeprefix('Growth: ')}"
            number, wanted = (5, CROWD) if table.id == "growth-waiters" else (7, GROWTH)
            yield Target(table.id, number, f"a unit's CPU {what}", "x", worst, wanted, None, True)
            if "kept_kb" in large.facts:
                # From the middle on: what CPython keeps in its free lists would hide half of a small answer.
                more = large.facts["kept_kb"] / middle.facts["kept_kb"]
                yield Target(table.id, 7, f"a unit's memory {what}", "x", more, GROWTH, None, True)

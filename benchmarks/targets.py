"""Targets: each a ratio measured in one run, with its limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from benchmarks import asking, decoding, limiting, receiving, starting, storing
from benchmarks.restart import Outcome
from benchmarks.rounds import Table


class Target(NamedTuple):
    """One measured figure and its limit."""

    table: str
    """The id of the table it is read from."""
    number: int
    what: str
    unit: str
    measured: float
    wanted: float
    at_most: bool
    """Whether smaller is better."""

    @property
    def met(self) -> bool:
        """Whether the limit is kept."""
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        verdict = "pass" if self.met else "MISS"
        return (
            f"  {self.number}. {self.what:<64}{shown(self.measured, self.unit):>10}"
            f"   {sign} {shown(self.wanted, self.unit):<9}{verdict}"
        )


def shown(value: float, unit: str) -> str:
    """Return a figure with its unit."""
    if unit == "%":
        return f"{value:.1%}"
    return f"{value:.2f}{unit}" if unit == "x" else f"{value:,.0f} {unit}".strip()


GROWTH: Final = 1.1
"""A unit may cost a tenth more at ten times the size."""
CROWD: Final = 4 / 3
"""O(log n) for each of ten thousand waiters, compared with each of a thousand."""


def targets(tables: Sequence[Table], restarts: Sequence[Outcome]) -> list[Target]:
    """Return all targets for these results."""
    by_id = {table.id: table for table in tables}
    found = (
        *_receiving(by_id),
        *_decoding(by_id),
        *_the_rest(by_id, restarts),
        *_growth(tables),
        *_storing(by_id),
    )
    return sorted(found, key=lambda target: target.number)


def _receiving(by_id: Mapping[str, Table]) -> Iterator[Target]:
    burst, many = by_id["receiving-burst"], by_id["receiving-paced-5000"]
    fast, plain = burst.row(receiving.FAST).ratio, burst.row(receiving.PLAIN).ratio
    yield Target(burst.id, 1, "burst against bare websockets, with [speed]", "x", fast, 0.9, False)
    yield Target(burst.id, 1, "burst against bare websockets, without", "x", plain, 0.55, False)
    read = burst.row(f"{receiving.FAST}{receiving.RAW_TOO}").ratio
    yield Target(burst.id, 1, "the same with [speed], raw read too", "x", read, 0.75, False)
    row = many.row(receiving.FAST)
    what = "CPU of 5,000 paced sockets against queues by hand"
    yield Target(many.id, 2, what, "x", 1 / row.ratio, 0.95, True)
    memory = row.facts["rss_kb_per_socket"]
    yield Target(many.id, 2, "memory of a plain connection", "kB", memory, 16, True)


def _decoding(by_id: Mapping[str, Table]) -> Iterator[Target]:
    for case, what, fast, plain in (
        ("diagnostics", "diagnostics", 4.0, 1.5),
        ("sites", "extended installations", 3.0, 1.0),
        ("stats-10000", "statistics of 10,000 points", 2.5, 0.65),
    ):
        table = by_id[f"decoding-{case}"]
        measured = table.row(decoding.FAST).ratio
        against = f"{what} against victron-vrm"
        yield Target(table.id, 3, f"{against}, with [speed]", "x", measured, fast, False)
        measured = table.row(decoding.PLAIN).ratio
        yield Target(table.id, 3, f"{against}, without", "x", measured, plain, False)


def _the_rest(by_id: Mapping[str, Table], restarts: Sequence[Outcome]) -> Iterator[Target]:
    asked = by_id["asking-me"].row(asking.FAST)
    what = "a typed, limited request against aiohttp"
    yield Target("asking-me", 4, what, "x", 1 / asked.ratio, 1.1, True)
    peer = asked.cost_s / by_id["asking-me"].row(asking.PEER).cost_s
    yield Target("asking-me", 4, "the same against victron-vrm", "x", peer, 1.0, True)
    acquired = by_id["limiting-alone"].row(limiting.OURS)
    yield Target("limiting-alone", 5, "acquiring against aiolimiter", "x", 1 / acquired.ratio, 0.5, True)
    own = [each for each in restarts if each.client == "energy-live"]
    refusals, lost = max(each.refusals for each in own), max(each.lost for each in own)
    yield Target("", 5, "restart on a used quota: 429s, worse reading", "", refusals, 8, True)
    yield Target("", 5, "restart on a used quota: polls lost", "", lost, 0, True)
    used = min(each.used for each in own)
    yield Target("", 5, "restart on a used quota: allowance used", "%", used, 0.99, False)
    imported = by_id["starting-imports"].row(starting.VRM)
    what = "import vrm_async against victron_vrm"
    yield Target("starting-imports", 6, what, "x", 1 / imported.ratio, 0.6, True)
    # The packages load lazily: only a program that makes a client loads most of them.
    made = by_id["starting-ready"].row(starting.READY)
    what = "the same, with a client made"
    yield Target("starting-ready", 6, what, "x", 1 / made.ratio, 0.75, True)
    helped = by_id["starting-help"].row(starting.HELP).cost_s * 1000
    yield Target("starting-help", 6, "CPU of energy-live --help", "ms", helped, 150, True)


def _growth(tables: Sequence[Table]) -> Iterator[Target]:
    for table in tables:
        if table.id.startswith("growth-"):
            small, middle, large = table.rows[:3]
            worst = max(middle.cost_s / small.cost_s, large.cost_s / middle.cost_s)
            what = f"at ten times as many {table.title.removeprefix('Growth: ')}"
            number, wanted = (5, CROWD) if table.id == "growth-waiters" else (7, GROWTH)
            yield Target(table.id, number, f"a unit's CPU {what}", "x", worst, wanted, True)
            if "kept_kb" in large.facts:
                # From the middle size on: CPython's free lists would hide half of a small answer.
                more = large.facts["kept_kb"] / middle.facts["kept_kb"]
                yield Target(table.id, 7, f"a unit's memory {what}", "x", more, GROWTH, True)


_STORES: Final[Mapping[str, tuple[str, float]]] = {
    "sqlite": ("SQLite against executemany", 0.7),
    "postgres": ("PostgreSQL against COPY", 0.7),
    "influx": ("InfluxDB lines against aiohttp", 0.8),
    "mqtt": ("MQTT against aiomqtt", 0.8),
    "parquet": ("Parquet against pyarrow", 0.8),
}


def _storing(by_id: Mapping[str, Table]) -> Iterator[Target]:
    """Yield the targets of the stores that were there."""
    for name, (what, wanted) in _STORES.items():
        if (table := by_id.get(f"storing-{name}")) is not None:
            yield Target(table.id, 8, what, "x", table.row(storing.OURS).ratio, wanted, False)
    if (table := by_id.get("storing-together")) is not None:
        slowest = table.row(storing.TOGETHER).cost_s * 1000
        yield Target(table.id, 8, "p99 of four outputs while a fifth is down", "ms", slowest, 250, True)
    if (table := by_id.get("storing-outage")) is not None:
        held_mb = table.row(storing.AN_HOUR).facts["held_kb"] / 1024
        yield Target(table.id, 8, "memory of an output that is down for an hour", "MB", held_mb, 32, True)

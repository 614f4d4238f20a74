"""Requests over loopback: a typed, rate-limited request beside raw aiohttp and victron-vrm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks import http_server
from benchmarks.rounds import Side, Table, compare

FAST: Final = "energy-live[speed]"
PLAIN: Final = "energy-live"
RAW: Final = "aiohttp and r.json()"
PEER: Final = "victron-vrm"

SIDES: Final = (
    Side(RAW, "raw"),
    Side(FAST, "ours"),
    Side(PLAIN, "ours", speed=False),
    Side(PEER, "peer"),
)
TITLES: Final = {"me": "Asking for the account", "sites": "Asking for 4 sites, extended"}


def asking(url: str, case: str, rounds: int, times: int) -> Table:
    """Compare the clients on one request."""
    return compare(
        f"asking-{case}",
        TITLES[case],
        "benchmarks.askers",
        SIDES,
        base=RAW,
        unit="request",
        rounds=rounds,
        options={"url": url, "case": case, "times": times},
        profile=FAST,
    )


def tables(rounds: int = 9) -> Iterator[Table]:
    """Run all comparisons."""
    with http_server.running() as url:
        yield asking(url, "me", rounds, 400)
        yield asking(url, "sites", rounds, 200)


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)

"""Messages of WebSockets to events: one socket in a burst, and a thousand that speak once a second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks import event_server
from benchmarks.rounds import Table, Who, compare

FAST: Final = "energy-live[speed], merged"
PLAIN: Final = "energy-live, merged"
BARE: Final = "websockets, recv and orjson"
BARE_JSON: Final = "websockets, recv and json"
QUEUES: Final = "a task and a queue per stream, orjson"
OBVIOUS: Final = "websockets, async for and json to dicts"
LOOKED_AT: Final = ", its raw message looked at too"
LEAST: Final = "the least of a typed event"
FLAT: Final = "all that an event goes through, in one function"
AIOHTTP: Final = "aiohttp's client and orjson"

ON_UVLOOP: Final = {"uvloop": True}
"""Both sides, as far as uvloop goes: an event loop is the application's choice, not a library's."""

BURST: Final = 20_000


def burst(port: int, rounds: int, count: int = BURST) -> Table:
    """Measure one socket that gets all at once."""
    return compare(
        "receiving-burst",
        f"One socket, {count:,} events of 8 fields in a burst",
        "benchmarks.receivers",
        (
            Who(BARE, "bare"),
            Who(BARE_JSON, "bare_json"),
            Who(OBVIOUS, "obvious"),
            Who(AIOHTTP, "aiohttp_client"),
            Who(QUEUES, "queues"),
            Who(LEAST, "least"),
            Who(FLAT, "flat"),
            Who(f"{FLAT}, without [speed]", "flat", speed=False),
            Who(FAST, "merged"),
            Who(PLAIN, "merged", speed=False),
            Who(f"{FAST}{LOOKED_AT}", "merged_raw"),
            Who(f"{PLAIN}{LOOKED_AT}", "merged_raw", speed=False),
            Who(f"{BARE}, on uvloop", "bare", options=ON_UVLOOP),
            Who(f"{FAST}, on uvloop", "merged", options=ON_UVLOOP),
        ),
        base=BARE,
        unit="event",
        rounds=rounds,
        options={"port": port, "sockets": 1, "each": count, "interval_ms": 0},
        profile=FAST,
    )


def paced(port: int, rounds: int, sockets: int, seconds: int) -> Table:
    """Measure many sockets that get one event a second each."""
    sides = [Who(QUEUES, "queues"), Who(FAST, "merged"), Who(BARE, "bare"), Who(LEAST, "least")]
    if sockets <= 1000:
        sides += [
            Who(PLAIN, "merged", speed=False),
            Who(OBVIOUS, "obvious"),
            Who(AIOHTTP, "aiohttp_client"),
            Who(f"{QUEUES}, on uvloop", "queues", options=ON_UVLOOP),
            Who(f"{FAST}, on uvloop", "merged", options=ON_UVLOOP),
        ]
    return compare(
        f"receiving-paced-{sockets}",
        f"{sockets:,} sockets, one event a second each",
        "benchmarks.receivers",
        sides,
        base=QUEUES,
        unit="event",
        rounds=rounds,
        options={"port": port, "sockets": sockets, "each": seconds, "interval_ms": 1000},
        profile=FAST if sockets > 1000 else "",
    )


def tables(rounds: int = 7) -> Iterator[Table]:
    """Measure everything."""
    with event_server.running() as port:
        yield burst(port, rounds)
        yield paced(port, 3, 1000, 4)
        yield paced(port, 9, 5000, 4)  # no other ratio differs so much from round to round


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)

"""WebSocket messages to events: one socket in a burst, and thousands that get one message a second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks import event_server
from benchmarks.rounds import Side, Table, compare

FAST: Final = "energy-live[speed], merged"
PLAIN: Final = "energy-live, merged"
BARE: Final = "websockets, recv and orjson"
BARE_JSON: Final = "websockets, recv and json"
QUEUES: Final = "a task and a queue per stream, orjson"
OBVIOUS: Final = "websockets, async for and json to dicts"
RAW_TOO: Final = ", raw read too"
AIOHTTP: Final = "aiohttp's client and orjson"

ON_UVLOOP: Final = {"uvloop": True}
"""uvloop on both sides: the event loop is the application's choice, not a library's."""

BURST: Final = 20_000


def burst(port: int, rounds: int, count: int = BURST) -> Table:
    """Compare the receivers on one socket that gets all messages at once."""
    return compare(
        "receiving-burst",
        f"One socket, {count:,} events of 8 fields in a burst",
        "benchmarks.receivers",
        (
            Side(BARE, "bare"),
            Side(BARE_JSON, "bare_json"),
            Side(OBVIOUS, "obvious"),
            Side(AIOHTTP, "aiohttp_client"),
            Side(QUEUES, "queues"),
            Side(FAST, "merged"),
            Side(PLAIN, "merged", speed=False),
            Side(f"{FAST}{RAW_TOO}", "merged_raw"),
            Side(f"{PLAIN}{RAW_TOO}", "merged_raw", speed=False),
            Side(f"{BARE}, on uvloop", "bare", options=ON_UVLOOP),
            Side(f"{FAST}, on uvloop", "merged", options=ON_UVLOOP),
        ),
        base=BARE,
        unit="event",
        rounds=rounds,
        options={"port": port, "sockets": 1, "each": count, "interval_ms": 0},
        profile=FAST,
    )


def paced(port: int, rounds: int, sockets: int, seconds: int) -> Table:
    """Compare the receivers on many sockets that get one event a second each."""
    sides = [Side(QUEUES, "queues"), Side(FAST, "merged"), Side(BARE, "bare")]
    if sockets <= 1000:
        sides += [
            Side(PLAIN, "merged", speed=False),
            Side(OBVIOUS, "obvious"),
            Side(AIOHTTP, "aiohttp_client"),
            Side(f"{QUEUES}, on uvloop", "queues", options=ON_UVLOOP),
            Side(f"{FAST}, on uvloop", "merged", options=ON_UVLOOP),
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
    """Run all comparisons."""
    with event_server.running() as port:
        yield burst(port, rounds)
        yield paced(port, 3, 1000, 4)
        yield paced(port, 9, 5000, 4)  # this ratio varies most from round to round


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)

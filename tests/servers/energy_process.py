"""A program that tests kill: it counts energies, writes Parquet files, keeps a ledger of what it publishes.

Its source has a complete past: reading n is at n times ten seconds, and its powers are known functions of n.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from energy_core import FileCheckpoint, Quantity, SourceId, State, merge
from energy_core.stream.source import CompleteRange, Reading
from energy_live.outputs import FeedConfig, OutputFeed
from energy_live.outputs.energy_counters import EnergyCounters
from energy_live.outputs.parquet import ParquetOutput

START = datetime(2026, 6, 1, tzinfo=UTC)
STEP_S = 10
SITE = SourceId("test", "me", "7")


def powers(number):
    """Whole watts, so that an energy is exact: into and out of the grid in turns, PV without the nights."""
    return {
        Quantity.GRID_POWER: float((number * 37) % 2001 - 1000),
        Quantity.PV_POWER: float(max(0, 500 - abs(number % 8640 - 4320) // 8)),
    }


def reading(number):
    return Reading(START + timedelta(seconds=number * STEP_S), f"7/0/{number}/r", powers(number), {})


class Known:
    """The source."""

    id = SITE

    def __init__(self, count):
        self._count, self._next = count, 0

    def resume(self, positions):
        if SITE in positions and positions[SITE].ids:
            self._next = int(positions[SITE].ids[-1].split("/")[2]) + 1

    async def run(self, outlet):
        outlet.status(State.LIVE)
        for number in range(self._next, self._count):
            await outlet.room()
            outlet.readings(SITE, [reading(number)])
            if number % 8 == 0:
                await asyncio.sleep(0.001)
        await asyncio.Event().wait()

    async def history(self, source, start, end):
        for number in range(self._count):
            one = reading(number)
            if start <= one.time <= end:
                yield one
        yield CompleteRange(start, end)


class Ledger:
    """An output that appends every event to a file: at least once."""

    idempotent = False

    def __init__(self, path):
        self._path, self._file = path, None

    async def open(self):
        self._file = self._path.open("ab", buffering=0)

    async def write(self, batch, position):
        self._file.write(b"".join(event._replace(raw={}).to_json().encode() + b"\n" for event in batch))
        os.fsync(self._file.fileno())

    async def close(self):
        if self._file is not None:
            self._file.close()


async def main(folder, count):
    counters = EnergyCounters(folder / "energies.sqlite")
    fast = FeedConfig(delay_s=0.02, position_s=0.1, buffer=256)
    outputs = {"ledger": Ledger(folder / "ledger.jsonl"), "files": ParquetOutput(folder / "files")}
    feeds = [OutputFeed("energies", counters, config=fast)]
    feeds += [
        OutputFeed(name, output, config=fast, positions=FileCheckpoint(folder / f"{name}.json"))
        for name, output in outputs.items()
    ]
    stream = merge(Known(count), counters.source)
    for feed in feeds:
        await feed.open(stream)
    async with stream:
        for feed in feeds:
            feed.start()
        sys.stdout.write("started\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        for feed in feeds:
            await feed.aclose(30.0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))

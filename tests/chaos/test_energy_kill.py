"""A program that counts energies and writes files is killed (SIGKILL) at random moments.

`ENERGY_LIVE_KILLS=50` runs the long form.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from random import Random

import pyarrow.parquet as pq

from energy_core import Event, Kind, Quantity
from energy_core.home import EnergyMeter
from tests.servers.command_line import DEADLINE_S, environment
from tests.servers.energy_process import SITE, START, reading

KILLS = int(os.environ.get("ENERGY_LIVE_KILLS", "3"))
COUNT = 1000 * min(KILLS, 50)
PROGRAM = Path(__file__).parents[1] / "servers" / "energy_process.py"
ENERGIES = {
    Quantity.GRID_IMPORT_ENERGY: "grid_import_kwh",
    Quantity.GRID_EXPORT_ENERGY: "grid_export_kwh",
    Quantity.PV_ENERGY: "pv_kwh",
}


POSITIONS = ("ledger.json", "files.json")


async def wait_until(condition):
    """Wait until another process has made the condition true."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  (another process cannot set an event)
            await asyncio.sleep(0.05)


def ledger(folder, *, last=None):
    """The events of all complete lines, or those in the last bytes; a kill may have cut a line."""
    path, found = folder / "ledger.jsonl", []
    text = path.read_bytes() if path.exists() else b""
    for line in text[-last:].split(b"\n")[1:] if last else text.split(b"\n"):
        start = max(line.rfind(b'{"v"'), 0)  # what follows a cut line is behind it
        if line.endswith(b"}"):
            found.append(Event.from_json(line[start:]))
    return found


def is_complete(folder):
    newest = [event for event in ledger(folder, last=20_000) if Quantity.PV_ENERGY in event.values]
    return bool(newest) and newest[-1].time >= reading(COUNT - 1 - (COUNT - 1) % 6).time


async def lives(folder, seed):
    """Start and kill the program; let the last run finish."""
    random = Random(seed)
    for run in range(KILLS + 1):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(PROGRAM), str(folder), str(COUNT)),
            env=environment(),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert await process.stdout.readline() == b"started\n", (await process.communicate())[1]
        if run < KILLS:
            if run == 0:  # before its first position an output is a new one
                await wait_until(lambda: all((folder / name).exists() for name in POSITIONS))
            await asyncio.sleep(random.uniform(0.01, 0.7))
            assert process.returncode is None, (await process.communicate())[1]
            process.kill()
            await process.communicate()
        else:
            await wait_until(lambda: is_complete(folder))
            _, said = await process.communicate(b"\n")
            assert (process.returncode, said) == (0, b"")


async def test_energies_neither_fall_nor_jump(tmp_path):
    """What is published is the exact energy at its time, in order; the files have every reading; no gap."""
    await lives(tmp_path, seed=1)
    events = ledger(tmp_path)
    assert [(str(event.source), event.detail) for event in events if event.kind is Kind.GAP] == []
    readings = [event for event in events if event.kind is Kind.READING and event.source != SITE]
    energies = {event.time: event.values for event in readings}
    meter, expected = EnergyMeter(START.tzinfo), {}
    for number in range(COUNT):
        one = reading(number)
        meter.take(Event(SITE, Kind.READING, "k", one.time, one.time, number + 1, one.id, one.values))
        total = meter.total()
        if number and (number % 6 == 0 or number == 1):
            expected[one.time] = {each: getattr(total, name) for each, name in ENERGIES.items()}
    assert sorted(energies) == sorted(expected)
    for time, values in energies.items():
        for each, kwh in expected[time].items():
            assert abs(values[each] - kwh) <= 2e-6, (time, each)
    # In the order of the ledger: a kill may repeat some, but never leads back further than that.
    first_seen = list(dict.fromkeys(event.time for event in readings))
    assert first_seen == sorted(first_seen)
    assert {event.id for event in events if event.source == SITE and event.kind is Kind.READING} == {
        reading(number).id for number in range(COUNT)
    }
    stored = set()
    for file in (tmp_path / "files").glob("test-7-0/*.parquet"):
        table = pq.read_table(file, partitioning=None, columns=["id", "kind"])
        stored |= {row["id"] for row in table.to_pylist() if row["kind"] == "reading"}
    assert stored == {reading(number).id for number in range(COUNT)}

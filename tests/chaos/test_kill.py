"""`kill -9` of a consuming program at random moments, against the simulator.

`ENERGY_LIVE_KILLS=200` runs the long form.
"""

import asyncio
import json
import os
import random
import sys
from pathlib import Path

from energy_core.stream.event import Event, Kind
from energy_live.simulator import Simulator
from energy_live.simulator.export import EXPORTED, Extract
from tests.live.command_line import environment

KILLS = int(os.environ.get("ENERGY_LIVE_KILLS", "10"))
PACE = 20.0
FRAME_S = 0.05
CHECKPOINT_S = 0.3
STARTING_S = 2.0
PROGRAM = Path(__file__).with_name("consumer.py")


async def until(there, deadline_s=20.0):
    async with asyncio.timeout(deadline_s):
        while not there():  # noqa: ASYNC110  (another process is waited for)
            await asyncio.sleep(0.02)


def events(ledger):
    """Every whole line; the last one may have been cut by the kill."""
    if not ledger.exists():
        return []
    return [Event.from_json(line) for line in ledger.read_bytes().split(b"\n")[:-1] if line]


async def lives(simulator, folder, chance):
    """Start the program and kill it, again and again; return how much each life has written."""
    ledger, checkpoint = folder / "ledger.jsonl", folder / "position.json"
    written = []
    for life in range(KILLS + 1):
        before = len(events(ledger))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            str(PROGRAM),
            str(checkpoint),
            str(ledger),
            env=environment(simulator.environment() | {"CHECKPOINT_S": str(CHECKPOINT_S)}),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            if life < KILLS:
                if life == 0:
                    await until(checkpoint.exists)
                else:
                    await asyncio.sleep(chance.uniform(0.2, 1.2))
            else:  # the last one may catch up
                await until(lambda before=before: live_again(events(ledger)[before:]))
            assert process.returncode is None, (await process.communicate())[1]
        finally:
            process.kill()
            await process.communicate()
        with ledger.open("r+b") as file:  # a line cut by the kill is no line
            whole = file.read()
            file.truncate(whole.rfind(b"\n") + 1)
        written.append(events(ledger)[before:])
    return written


def record(simulator, start, end):
    """Return every second in which something changed at home, whether or not anyone was connected."""
    product = next(each for each in simulator._live.cast.products if each.id == 301)
    rows = Extract(product=product, start=start, end=end + 1.0, fields=EXPORTED).rows()
    return {int(moment) for moment, _ in rows}


def facts(event):
    """Return what a reading tells, without the values: of which moment and which quantities."""
    return {(event.time, quantity) for quantity in event.values}


def live_again(seen):
    return sum(event.kind is Kind.READING and not event.backfilled for event in seen) >= 3


async def test_a_program_that_is_killed_again_and_again_loses_nothing(tmp_path):
    """After every kill the next life goes on where the checkpoint is.

    Every second the household lived through is there, or lies in a reported gap; what comes twice lies within
    one checkpoint interval and carries the id it had; the checkpoint can be read after every kill.
    """
    chance = random.Random(20260301)
    async with Simulator(speed=PACE, frame_s=FRAME_S) as simulator:
        written = await lives(simulator, tmp_path, chance)
        seen = [event for life in written for event in life]
        told = {int(event.time.timestamp()) for event in seen if event.kind is Kind.READING}
        recorded = record(simulator, min(told), max(told))
    assert [event.detail for event in seen if event.kind is Kind.GAP and not event.detail.quantities] == []
    assert len(recorded) > 5 * len(written)  # every life had something to lose
    assert recorded - told == set()
    known, recounted = set(), set()
    for life in written:
        mine = [event for event in life if event.kind is Kind.READING]
        names = [event.id for event in mine]
        assert len(names) == len(set(names))
        again = [event for event in mine if event.id in known]
        assert [event for event in mine if event.id not in known and recounted & facts(event)] == []
        if again:
            stretch = again[-1].time - again[0].time
            assert stretch.total_seconds() <= (CHECKPOINT_S + STARTING_S) * PACE
            assert again == mine[: len(again)]
        known.update(names)
        recounted.update(*map(facts, mine))
    position = json.loads((tmp_path / "position.json").read_text())
    assert position["v"] == 1
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".json"] == ["position.json"]

"""`kill -9` of a consuming program at random moments, against the simulator.

`ENERGY_LIVE_KILLS=200` runs the long form.
"""

import asyncio
import json
import os
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Kind
from energy_live.simulator import Simulator
from energy_live.simulator.voltstorage.export import ExportRequest
from energy_live.simulator.voltstorage.products import EXPORTED
from tests.servers.command_line import environment

KILLS = int(os.environ.get("ENERGY_LIVE_KILLS", "10"))
PACE = 20.0
FRAME_S = 0.05
NOON = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
CHECKPOINT_S = 0.3
SAVING_S = 0.5
LOGGED_EVERY_S = 60
PROGRAM = Path(__file__).parents[1] / "servers" / "consumer_process.py"


async def until(there, deadline_s=20.0):
    async with asyncio.timeout(deadline_s):
        while not there():  # noqa: ASYNC110  (another process is waited for)
            await asyncio.sleep(0.02)


def events(ledger):
    """Every whole line; the last one may have been cut by the kill."""
    if not ledger.exists():
        return []
    return [Event.from_json(line) for line in ledger.read_bytes().split(b"\n")[:-1] if line]


def dated_at_home(checkpoint):
    """Tell whether every position is a reading's, and none is the start that our own clock has dated."""
    if not checkpoint.exists():
        return False
    positions = Checkpoint.from_json(checkpoint.read_text()).positions.values()
    return all(at.time < NOON + timedelta(days=1) for each in positions for at in each.values())


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
            str(simulator.site_ids[0]),
            env=environment(simulator.environment() | {"CHECKPOINT_S": str(CHECKPOINT_S)}),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            if life < KILLS:
                if life == 0:
                    await until(lambda: dated_at_home(checkpoint))
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
    product = next(each for each in simulator.world.products if each.id == 301)
    rows = ExportRequest(product=product, start=start, end=end + 1.0, fields=EXPORTED).rows()
    return {int(moment) for moment, _ in rows}


def readings(seen):
    return [event for event in seen if event.kind is Kind.READING]


def of(vendor, seen):
    return [event for event in readings(seen) if event.source.vendor == vendor]


def facts(event):
    """Return what a reading tells, without the values: of which moment and which quantities."""
    return {(event.time, quantity) for quantity in event.values}


def live_again(seen):
    live = [event for event in readings(seen) if not event.backfilled]
    return sum(event.source.vendor == "voltstorage" for event in live) >= 3


def check_repeats(lives):
    """Check what one source told in each life: what comes again has the id it had, and comes first.

    It was told for the last time within one checkpoint interval: what had been told before that was saved.
    """
    known, recounted = {}, set()
    for life in lives:
        names = [event.id for event in life]
        assert len(names) == len(set(names))
        again = [event for event in life if event.id in known]
        assert [event for event in life if event.id not in known and recounted & facts(event)] == []
        in_turn = [event for event in life if not event.late]  # what a record had too late comes when it may
        repeated = [event for event in again if not event.late]
        assert repeated == in_turn[: len(repeated)]
        if again:
            told = [known[event.id].received_at for event in again]
            assert (max(told) - min(told)).total_seconds() <= CHECKPOINT_S + SAVING_S
        known |= {event.id: event for event in life}
        recounted.update(*map(facts, life))


async def test_a_program_that_is_killed_again_and_again_loses_nothing(tmp_path):
    """After every kill the next life goes on where the checkpoint is, with both vendors.

    Every second the battery lived through and every log of the site is there, or lies in a reported gap; what
    comes twice lies within one checkpoint interval and carries the id it had; the checkpoint can be read.
    """
    chance = random.Random(20260301)
    async with Simulator(speed=PACE, frame_s=FRAME_S, start=NOON) as simulator:
        written = await lives(simulator, tmp_path, chance)
        seen = [event for life in written for event in life]
        told = {int(event.time.timestamp()) for event in of("voltstorage", seen)}
        recorded = record(simulator, min(told), max(told))
    assert [event.detail for event in seen if event.kind is Kind.GAP and not event.detail.quantities] == []
    assert len(recorded) > 5 * len(written)  # every life had something to lose
    assert recorded - told == set()
    slots = {int(event.time.timestamp()) // LOGGED_EVERY_S for event in of("vrm", seen)}
    assert slots == set(range(min(slots), max(slots) + 1))
    assert len(slots) > len(written) / 10
    for source in {event.source for event in readings(seen)}:
        check_repeats([[event for event in readings(life) if event.source == source] for life in written])
    position = json.loads((tmp_path / "position.json").read_text())
    assert position["v"] == 1
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".json"] == ["position.json"]

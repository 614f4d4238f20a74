"""A consuming program is killed (SIGKILL) at random times and started again, against the simulator.

`ENERGY_LIVE_KILLS=200` runs the long form.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Kind
from energy_live.simulator import Simulator
from energy_live.simulator.voltstorage.export import ExportRequest
from energy_live.simulator.voltstorage.products import EXPORTED
from tests.servers.command_line import DEADLINE_S, environment

KILLS = int(os.environ.get("ENERGY_LIVE_KILLS", "3"))
PACE = 20.0
FRAME_S = 0.05
NOON = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
CHECKPOINT_S = 0.3
LOGGED_EVERY_S = 60
PROGRAM = Path(__file__).parents[1] / "servers" / "consumer_process.py"


async def wait_until(condition):
    """Wait until another process has made the condition true."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  (another process cannot set an event)
            await asyncio.sleep(0.02)


def events(output):
    """Return the events of all complete lines; the kill may have cut the last one."""
    if not output.exists():
        return []
    return [Event.from_json(line) for line in output.read_bytes().split(b"\n")[:-1] if line]


def has_positions_of_readings(checkpoint):
    """Return whether all positions are those of readings, not of the program's start."""
    if not checkpoint.exists():
        return False
    positions = Checkpoint.from_json(checkpoint.read_text()).positions.values()
    return all(at.time < NOON + timedelta(days=1) for each in positions for at in each.values())


async def runs(simulator, folder, random):
    """Start and kill the program; return the events of each run, and the saved positions before it."""
    output, checkpoint = folder / "events.jsonl", folder / "position.json"
    written, saved = [], []
    for run in range(KILLS + 1):
        before = len(events(output))
        saved.append(positions(checkpoint))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            str(PROGRAM),
            str(checkpoint),
            str(output),
            str(simulator.site_ids[0]),
            env=environment(simulator.environment() | {"CHECKPOINT_S": str(CHECKPOINT_S)}),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            if run < KILLS:
                if run == 0:
                    await wait_until(lambda: has_positions_of_readings(checkpoint))
                else:
                    await asyncio.sleep(random.uniform(0.2, 1.2))
            else:  # the last run may catch up
                await wait_until(lambda before=before: is_live(events(output)[before:]))
            assert process.returncode is None, (await process.communicate())[1]
        finally:
            process.kill()
            await process.communicate()
        with output.open("r+b") as file:  # remove a line that the kill has cut
            whole = file.read()
            file.truncate(whole.rfind(b"\n") + 1)
        written.append(events(output)[before:])
    return written, saved


def positions(checkpoint):
    """Return the saved `seq` of each device."""
    if not checkpoint.exists():
        return {}
    saved = Checkpoint.from_json(checkpoint.read_text()).positions.values()
    return {device: at.seq for each in saved for device, at in each.items()}


def recorded_seconds(simulator, start, end):
    """Return every second in which a value of the product changed."""
    product = next(each for each in simulator.world.products if each.id == 301)
    rows = ExportRequest(product=product, start=start, end=end + 1.0, fields=EXPORTED).rows()
    return {int(moment) for moment, _ in rows}


def readings(seen):
    return [event for event in seen if event.kind is Kind.READING]


def of(vendor, seen):
    return [event for event in readings(seen) if event.source.vendor == vendor]


def keys(event):
    """Return time and quantity of each value of a reading."""
    return {(event.time, quantity) for quantity in event.values}


def is_live(seen):
    live = [event for event in readings(seen) if not event.backfilled]
    return sum(event.source.vendor == "voltstorage" for event in live) >= 3


def check_repeats(runs, saved):
    """Check the readings of one source in each run.

    Repeated readings have the same ids, come first, and were not saved in the checkpoint before the run.
    """
    known, delivered = {}, set()
    for run, positions_before in zip(runs, saved, strict=True):
        ids = [event.id for event in run]
        assert len(ids) == len(set(ids))
        again = [event for event in run if event.id in known]
        assert [event for event in run if event.id not in known and delivered & keys(event)] == []
        in_order = [event for event in run if not event.late]
        repeated = [event for event in again if not event.late]
        assert repeated == in_order[: len(repeated)]
        assert [event for event in again if known[event.id].seq <= positions_before[event.source]] == []
        known |= {event.id: event for event in run}
        delivered.update(*map(keys, run))


async def test_a_killed_program_loses_nothing(tmp_path):
    """After each kill the next run resumes from the checkpoint, for both vendors.

    Every second in which the battery's values changed and every log of the site is delivered. Readings are
    only repeated if they were not saved yet, with the same ids. The checkpoint is always readable.
    """
    chance = Random(20260301)
    async with Simulator(speed=PACE, frame_s=FRAME_S, start=NOON) as simulator:
        written, saved = await runs(simulator, tmp_path, chance)
        seen = [event for run in written for event in run]
        delivered = {int(event.time.timestamp()) for event in of("voltstorage", seen)}
        recorded = recorded_seconds(simulator, min(delivered), max(delivered))
    assert [event.detail for event in seen if event.kind is Kind.GAP and not event.detail.quantities] == []
    assert len(recorded) > 5 * len(written)  # every run had events
    assert recorded - delivered == set()
    slots = {int(event.time.timestamp()) // LOGGED_EVERY_S for event in of("vrm", seen)}
    assert slots == set(range(min(slots), max(slots) + 1))
    assert len(slots) > len(written) / 10
    for source in {event.source for event in readings(seen)}:
        check_repeats(
            [[event for event in readings(run) if event.source == source] for run in written], saved
        )
    position = json.loads((tmp_path / "position.json").read_text())
    assert position["v"] == 1
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".json"] == ["position.json"]

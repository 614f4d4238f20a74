"""Hours of a merged stream in virtual time: memory, tasks and timers do not grow.

`ENERGY_LIVE_HOURS=168` runs the long form.
"""

import asyncio
import gc
import os
import tracemalloc
from datetime import timedelta

import pytest

from energy_core.stream.merge import merge
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time

HOURS = int(os.environ.get("ENERGY_LIVE_HOURS", "2"))
RECONNECT_S = 300


class MemoryCheckpoint:
    text = None

    async def load(self):
        return self.text

    async def save(self, text):
        self.text = text


class Product:
    """Three events a second; every five minutes it reconnects and backfills three events."""

    id = SourceId("soak", "me", "301")

    async def run(self, outlet):
        n = 0
        while True:
            outlet.status(State.LIVE)
            for _ in range(3 * RECONNECT_S):
                await asyncio.sleep(1 / 3)
                n += 1
                self.put(outlet, n)
            outlet.status(State.DISCONNECTED, reason="soak", retry_in=1.0)
            await asyncio.sleep(1)
            outlet.status(State.BACKFILLING)
            for missed in (n, n + 1, n + 2):
                self.put(outlet, missed, backfilled=True)
            n += 2

    def put(self, outlet, n, **marks):
        outlet.reading(
            self.id,
            time=EPOCH + timedelta(milliseconds=334 * n),
            id=f"301/{n}",
            values={Quantity.PV_POWER: float(n)},
            raw={"n": n},
            **marks,
        )


async def test_memory_tasks_and_timers_do_not_grow():
    """After the first hour the number of objects is constant, as are those of tasks and timers.

    In the long form (12 hours and more) traced memory grows by less than 1 KB an hour.
    """
    loop = asyncio.get_running_loop()
    levels, objects, tasks, timers = [], [], set(), set()
    async with merge(Product(), checkpoint=MemoryCheckpoint(), clock=VirtualClock()) as events:
        display = events.subscribe(policy="coalesce_latest")
        tracemalloc.start()
        try:
            hour, readings = 1, 0
            async for event in events:
                readings += event.kind is Kind.READING
                if loop.time() >= 3600 * hour:
                    while display.pending:
                        await anext(display)
                    gc.collect()
                    objects.append(len(gc.get_objects()))
                    levels.append(tracemalloc.get_traced_memory()[0])
                    tasks.add(len(asyncio.all_tasks()))
                    timers.add(len(loop._scheduled))
                    hour += 1
                    if hour > HOURS:
                        break
        finally:
            tracemalloc.stop()
    assert readings >= 3 * 3500 * HOURS
    assert len(tasks) == 1
    assert max(timers) <= 3
    assert objects[-1] - objects[0] <= 10, objects
    if HOURS >= 12:
        assert (levels[-1] - levels[1]) / (HOURS - 2) < 1024, levels

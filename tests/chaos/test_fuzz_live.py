"""Live sources with mutated answers: no source ends, and all data that was not mutated is delivered.

`ENERGY_LIVE_INPUTS=100000` runs the long form; each run has a thousand inputs and its own seed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random as jitter
from random import Random

import aiohttp
import pytest

from energy_core import Event, Gap, Kind, SessionPool, SourceStatus, merge
from energy_core.clock import SystemClock
from energy_core.stream.vocabulary import SourceId
from tests.servers.fuzzed_volt import PRODUCT, STEP_S, FuzzedVolt
from tests.servers.fuzzed_volt import truth as measured
from tests.servers.fuzzed_vrm import BATTERY, EVERY_S, SITES, START, FuzzedVRM, Slot, truth
from tests.servers.memory_network import MemoryConnector, run_inline, web_sockets
from tests.servers.virtual_time import VirtualClock
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

INPUTS_A_RUN = 1000
FIRST = int(os.environ.get("ENERGY_LIVE_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + max(1, int(os.environ.get("ENERGY_LIVE_INPUTS", "1000")) // (2 * INPUTS_A_RUN)))
WANTED = ((), (2, 3), (2,))
TAIL_S = 3 * 3600.0
"""Time for the hourly look-back to fetch missing data."""

pytestmark = pytest.mark.virtual_time


class Received:
    """Events that a consumer received."""

    def __init__(self) -> None:
        self.readings: dict[tuple[SourceId, str], list[Event]] = {}
        self.gaps: dict[SourceId, list[Gap]] = {}
        self.statuses: dict[SourceId, SourceStatus] = {}

    async def consume(self, events) -> None:
        async for event in events:
            if event.kind is Kind.READING:
                self.readings.setdefault((event.source, event.id), []).append(event)
            elif isinstance(event.detail, Gap):
                self.gaps.setdefault(event.source, []).append(event.detail)

    def reported(self, source: SourceId, second: int) -> bool:
        """Return whether a second is in a reported gap."""
        return any(
            gap.start.timestamp() <= second <= gap.end.timestamp() for gap in self.gaps.get(source, ())
        )

    def internal_errors(self, caplog) -> list[str]:
        """Return log messages and gap reasons about exceptions in our own code."""
        messages = [record.getMessage() for record in caplog.records]
        messages += [gap.reason for gaps in self.gaps.values() for gap in gaps]
        return [each for each in messages if "fault in its own code" in each]


def check_running(events) -> None:
    """Check that no source has ended."""
    for status in events.status.values():
        assert not status.state.terminal, (status.reason, repr(status.error and status.error.__cause__))


async def fuzz(events, server, caplog) -> tuple[Received, float]:
    """Consume events until the server has sent its inputs and missing data was requested again."""
    caplog.set_level(logging.ERROR)
    received, clock = Received(), VirtualClock()
    consuming = asyncio.create_task(received.consume(events))
    await asyncio.sleep(300)
    server.fuzzing = True
    while server.inputs < INPUTS_A_RUN:
        await asyncio.sleep(600)
        check_running(events)
    server.fuzzing = False
    await asyncio.sleep(TAIL_S)
    check_running(events)
    until, received.statuses = clock.monotonic(), dict(events.status)
    await events.aclose()
    await consuming
    assert received.internal_errors(caplog) == []
    return received, until


@pytest.mark.parametrize("seed", SEEDS)
async def test_vrm(seed, caplog):
    """Mutated lists of sites, graphs, users, statuses and headers of VRM."""
    run_inline(asyncio.get_running_loop())
    clock, random, wanted = VirtualClock(), Random(seed), WANTED[seed % len(WANTED)]
    jitter.seed(seed)
    vrm = FuzzedVRM(random, clock.monotonic, wanted)
    async with (
        aiohttp.ClientSession(connector=MemoryConnector(vrm.answer)) as session,
        SessionPool(session, clock=clock, random=random.random) as pool,
        VRMClient(pool, token="x", base_url="http://127.0.0.1:1/v2/", clock=clock) as client,
    ):
        source = client.live(*wanted, interval_s=EVERY_S)
        async with merge(source, clock=clock) as events:
            received, until = await fuzz(events, vrm, caplog)
    slots = [
        Slot(site, instance, stamp)
        for site in wanted or SITES
        for instance in (0, BATTERY)
        for stamp in range(START + site + 180, int(START + until) - 600, EVERY_S)
    ]
    missing, wrong = [], []
    for slot in slots:
        device = SourceId("vrm", "22", str(slot.site), slot.instance)
        found = received.readings.get((device, slot.id), [])
        if slot in vrm.touched:
            continue
        if not found and (slot in vrm.sent or not received.reported(device, slot.stamp)):
            missing.append(slot)
        wrong += [
            (slot, event.values)
            for event in found
            if not event.backfilled and dict(event.values) != pytest.approx(truth(slot))
        ]
    assert (missing[:9], wrong[:9]) == ([], [])
    counted = client.drift.counts
    assert sum(counted[key] for key in counted if key[1:] == ("record", "malformed")) >= vrm.unreadable > 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_voltstorage(seed, caplog, monkeypatch):
    """Mutated frames, handshakes, exports, latest values, statuses and headers of VoltStorage."""
    loop = asyncio.get_running_loop()
    run_inline(loop)
    clock, random = VirtualClock(), Random(seed)
    jitter.seed(seed)
    monkeypatch.setattr(SystemClock, "utcnow", lambda _: clock.utcnow())
    volt = FuzzedVolt(random, clock.monotonic)
    monkeypatch.setattr(loop, "create_connection", web_sockets(volt.handshake, volt.opened, clock.utcnow))
    async with (
        aiohttp.ClientSession(connector=MemoryConnector(volt.answer)) as session,
        SessionPool(session, clock=clock, random=random.random) as pool,
        VoltStorageClient(
            pool,
            email="a@example.com",
            password="x",
            base_url="http://127.0.0.1:1/rest/",
            soc_scale="ratio",  # otherwise one mutated value decides the scale
        ) as client,
    ):
        measuring = asyncio.create_task(volt.measure())
        source = client.live(PRODUCT)
        async with merge(source, clock=clock) as events:
            received, until = await fuzz(events, volt, caplog)
        if measuring.done():
            await measuring
        measuring.cancel()
        await asyncio.wait([measuring])
    missing, wrong = [], []
    for second in range(START + 300, int(START + until) - 900, STEP_S):
        found = received.readings.get((source.id, f"{PRODUCT}/{second}/0"), [])
        if second in volt.touched:
            continue
        if not found and (second in volt.sent or not received.reported(source.id, second)):
            missing.append(second - START)
        wrong += [
            (second - START, event.values)
            for event in found
            if dict(event.values) != pytest.approx(measured(second))
        ]
    assert (missing[:9], wrong[:9]) == ([], [])
    live = sum(not event.backfilled for found in received.readings.values() for event in found)
    (status,) = received.statuses.values()
    counted = live + source.unknown + source.malformed + status.refused
    assert counted >= len(volt.sent) + volt.odd

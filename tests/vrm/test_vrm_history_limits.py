"""Histories of 500 sites through one limiter, against a model of VRM's limit, in virtual time."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from energy_core.clock import SystemClock
from energy_core.http.operation import Priority
from energy_core.http.rate_limiter import RateLimiter
from energy_core.local_days import TimeRange
from tests.servers.vrm_history import FixedClock, Service
from tests.servers.vrm_limit_model import VRMLimitModel
from vrm_async.client import LIMIT
from vrm_async.history.base import REREAD
from vrm_async.history.stats import SiteFacts, StatsHistory

pytestmark = pytest.mark.virtual_time

START = datetime(2025, 1, 1, tzinfo=UTC)


class Wire:
    """The limiter of an account, and VRM's limit behind it."""

    def __init__(self, *, used=0):
        self.clock = SystemClock()
        self.server = VRMLimitModel(start=self.clock.monotonic(), used=used)
        self.chance = random.Random(7)
        self.lane = RateLimiter(LIMIT, random=self.chance.random, max_queue_wait_s=1e9)
        self.waited = []

    async def ask(self, priority):
        asked_at = self.clock.monotonic()
        while True:
            async with self.lane.slot(priority):
                sent_at = self.clock.monotonic()
                await self.clock.sleep(0.2 * self.chance.random())
                retry_after = self.server.ask(self.clock.monotonic())
            if retry_after is None:
                self.waited.append((priority, self.clock.monotonic() - asked_at))
                return
            self.lane.on_throttled(sent_at, float(retry_after))


def site_history(wire, end):
    service = Service(interval="hours")

    async def ask(start, stop, _):
        await wire.ask(Priority.BACKGROUND)
        return await service.ask(start, stop)

    async def find_facts():
        return SiteFacts(calendar=service.calendar)

    options = {"interval": "hours", "reread": REREAD, "checkpoint": None, "clock": FixedClock()}
    return StatsHistory("test", ask, find_facts, time_range=TimeRange(START, end), **options)


async def read(history):
    return [(chunk.start, chunk.end) async for chunk in history]


@pytest.mark.parametrize("used", [0, 150], ids=["fresh", "restarted"])
async def test_the_history_of_500_sites_uses_the_limit_and_keeps_to_it(used):
    """1,500 requests at once get hardly a 429 and use 97 % of the limit."""
    wire = Wire(used=used)
    end = START + timedelta(days=3 * 31)
    pieces = await asyncio.gather(*(read(site_history(wire, end)) for _ in range(500)))
    assert {len(piece) for piece in pieces} == {3}
    assert len(wire.server.accepted) == 1500
    assert len(wire.server.refused) <= (0 if used == 0 else 8)
    assert wire.server.share_used(wire.clock.monotonic(), with_free=200 - used) >= 0.97


async def test_live_polls_pass_the_history_of_500_sites():
    """A poll every ten seconds is answered within seconds while 1,000 background requests wait."""
    wire = Wire()
    end = START + timedelta(days=3 * 31)

    async def poll():
        while True:
            await wire.ask(Priority.INTERACTIVE)
            await wire.clock.sleep(10.0)

    polling = asyncio.ensure_future(poll())
    await asyncio.gather(*(read(site_history(wire, end)) for _ in range(500)))
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    polls = [waited for priority, waited in wire.waited if priority is Priority.INTERACTIVE]
    assert len(polls) > 30
    assert max(polls) < 5.0
    assert len(wire.server.refused) <= 8
    assert wire.server.share_used(wire.clock.monotonic(), with_free=200) >= 0.97

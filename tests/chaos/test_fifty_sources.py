"""An hour of fifty sources that fail all the time, in virtual time.

`ENERGY_LIVE_SEEDS=100` runs the long form.
"""

import asyncio
import logging
import math
import os
import random
from collections import defaultdict
from datetime import timedelta

import pytest

from energy_core.errors import AuthFailed, ConnectError, ServerFault
from energy_core.stream.merge import merge
from energy_core.stream.poll import Poller
from energy_core.stream.polled import LookbackConfig, PolledReading
from energy_core.stream.source import Reading
from energy_core.stream.status import TRANSITIONS
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time

SEEDS = int(os.environ.get("ENERGY_LIVE_SEEDS", "1"))
SOURCES = 50
HOUR = 3600.0


def now():
    return asyncio.get_running_loop().time()


class Device:
    """A device that measures every `every_s` seconds; the n-th value is n."""

    def __init__(self, site, every_s):
        self.id, self.every_s = SourceId("chaos", "me", site), every_s

    def last(self):
        return math.floor(now() / self.every_s + 1e-9)

    def time(self, n):
        return EPOCH + timedelta(milliseconds=round(n * self.every_s * 1000))

    def number(self, time):
        return round((time - EPOCH).total_seconds() / self.every_s)

    def polled_reading(self, n):
        values = {Quantity.PV_POWER: float(n)}
        return PolledReading(
            source=self.id, time=self.time(n), id=f"{self.id.site}/{n}", values=values, raw={}
        )


class PushSource:
    """A push source that fails every 0.5 to 30 seconds in several ways, and backfills afterwards."""

    def __init__(self, device, rng, *, fails, faulty):
        self.id, self._device, self._rng = device.id, device, rng
        self._fails, self._faulty = fails, faulty
        self._delivered = None

    def resume(self, positions):
        self._delivered = self._device.number(positions[self.id].time) - math.ceil(2 / self._device.every_s)

    def again(self):
        return PushSource(self._device, self._rng, fails=self._fails, faulty=self._faulty)

    async def run(self, outlet):
        await asyncio.sleep(self._rng.uniform(0, 1))
        if self._delivered is not None:
            await self._backfill(outlet)
        else:
            self._delivered = self._device.last()
        while True:
            outlet.status(State.LIVE)
            await self._live(outlet, until=now() + self._rng.uniform(0.5, 30))
            await self._fail(outlet)
            await self._backfill(outlet)

    async def _live(self, outlet, until):
        while True:
            due = (self._delivered + 1) * self._device.every_s
            if due > until:
                await asyncio.sleep(max(0.0, until - now()))
                return
            await asyncio.sleep(max(0.0, due - now()))
            self._delivered += 1
            self._put(outlet, self._delivered)

    async def _fail(self, outlet):
        match self._rng.randrange(0 if self._fails else 3, 10):
            case 0:
                raise ServerFault("chaos", status=503)
            case 1:
                raise AuthFailed("chaos")
            case 2:
                raise ZeroDivisionError
            case 3:
                outlet.status(State.STALE)
                await asyncio.sleep(self._rng.uniform(0, 30))
            case _:
                outlet.status(State.DISCONNECTED, reason="chaos", retry_in=1.0)
                await asyncio.sleep(self._rng.uniform(0, 30))

    async def _backfill(self, outlet):
        outlet.status(State.BACKFILLING)
        while self._delivered < self._device.last():
            first, last = self._delivered + 1, self._device.last()
            await asyncio.sleep(self._rng.uniform(0, 3))
            if self._faulty and self._rng.random() < 0.3:
                start, end = self._device.time(first), self._device.time(last)
                outlet.gap(self.id, start=start, end=end, reason="chaos")
                self._delivered = last
            while self._delivered < last:
                await outlet.room()
                self._delivered += 1
                self._put(outlet, self._delivered, backfilled=True)

    async def history(self, source, start, end):
        assert source == self.id
        await asyncio.sleep(self._rng.uniform(0, 10))
        if self._faulty and self._rng.random() < 0.3:
            raise self._rng.choice([ServerFault("chaos"), ValueError("chaos")])
        for n in range(self._device.number(start), self._device.number(end) + 1):
            seen = self._device.polled_reading(n)
            yield Reading(seen.time, seen.id, seen.values)

    def _put(self, outlet, n, **marks):
        seen = self._device.polled_reading(n)
        outlet.reading(self.id, time=seen.time, id=seen.id, values=seen.values, raw={}, **marks)


def poll_source(device, rng, *, faulty, **_):
    """Return a poller whose requests fail sometimes, with a look-back."""

    async def ask():
        await asyncio.sleep(rng.uniform(0, 2))
        if rng.random() < 0.2:
            raise rng.choice([ConnectError("chaos"), ServerFault("chaos", status=502)])
        return [device.polled_reading(device.last())] if device.last() else []

    async def look_back(source, start, end):
        assert source == device.id
        await asyncio.sleep(rng.uniform(0, 2))
        if faulty and rng.random() < 0.3:
            raise ServerFault("chaos", status=503)
        first, last = device.number(start), min(device.number(end), device.last())
        return [device.polled_reading(n) for n in range(max(1, first), last + 1)]

    lookback = LookbackConfig(interval_s=300, span_s=600, cooldown_s=1.0)
    clock = VirtualClock()
    return Poller(
        device.id,
        ask,
        interval_s=device.every_s / 2,
        fetch_range=look_back,
        lookback=lookback,
        clock=clock,
        random=rng.random,
    )


async def supervise(events, rng):
    """Restart sources that have ended."""
    while True:
        await asyncio.sleep(rng.uniform(1, 10))
        for source, status in events.status.items():
            if status.state in {State.FAILED, State.AUTH_FAILED}:
                await events.restart(source)


async def run(seed, *, fails, faulty):
    """Return the devices, the events that an often slow consumer received, and the statuses."""
    rng = random.Random(seed)
    devices = [
        Device(str(n), rng.choice([2.0, 4.0, 8.0, 16.0] if n % 3 else [20.0, 40.0])) for n in range(SOURCES)
    ]
    sources = [
        (PushSource if n % 3 else poll_source)(
            device, random.Random(f"{seed}/{n}"), fails=fails, faulty=faulty
        )
        for n, device in enumerate(devices)
    ]
    seen = []
    async with merge(*sources, buffer=96, clock=VirtualClock()) as events:
        supervisor = asyncio.create_task(supervise(events, rng))
        async for event in events:
            seen.append(event)
            if now() > HOUR + 120:
                break
            if now() < HOUR and rng.random() < 0.001:
                await asyncio.sleep(rng.uniform(1, 60))
        supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)
        await events.drain()
        seen += [event async for event in events]
        status = events.status
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return devices, seen, status


def check(device, events):
    """Check the events of one device; return the numbers of lost values and the gaps."""
    delivered, later, newest, number = set(), set(), 0, 0
    jumps = announced = 0
    gaps = []
    state = None
    for event in events:
        assert event.seq > number, "out of order"
        jumps += event.seq - number - 1
        number = event.seq
        match event.kind:
            case Kind.READING:
                n = device.number(event.time)
                assert n not in delivered, "twice"
                assert event.id == f"{device.id.site}/{n}"
                assert event.late == (n < newest)
                assert not event.late or event.backfilled
                delivered.add(n)
                later |= {n} if event.late or event.backfilled else set()
                newest = max(newest, n)
            case Kind.GAP:
                gaps.append((device.number(event.detail.start), device.number(event.detail.end)))
            case Kind.DROPPED:
                announced += event.detail.count
            case Kind.STATUS:
                assert state is None or event.detail.state in TRANSITIONS[state]
                state = event.detail.state
    assert jumps == announced, "a jump of seq without a dropped event"
    first = min(delivered)
    covered = {n for start, end in gaps for n in range(start, end + 1)}
    lost = set(range(first, max(delivered | covered) + 1)) - delivered
    assert lost <= covered, f"lost without a gap: {sorted(lost - covered)[:5]}"
    for start, end in gaps:  # a restart or a later look-back may backfill some of a gap
        inside = sorted(set(range(start + 1, end)) & (delivered - later))
        assert not inside, f"delivered although reported missing from {start} to {end}: {inside[:5]}"
    return lost, gaps


@pytest.mark.parametrize(
    ("fails", "faulty"),
    [(False, False), (True, False), (True, True)],
    ids=["disconnects", "sources-fail", "backfills-fail"],
)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_every_value_is_delivered_once_and_in_order_or_in_a_gap(seed, fails, faulty, caplog):
    """Every value is delivered once and in order, or is in a reported gap without live values.

    There is no gap while backfills succeed and no source fails.
    """
    caplog.set_level(logging.CRITICAL)
    devices, seen, status = await run(seed, fails=fails, faulty=faulty)
    by_device = defaultdict(list)
    for event in seen:
        by_device[event.source].append(event)
    lost = gaps = 0
    for device in devices:
        missing, reported = check(device, by_device[device.id])
        lost += len(missing)
        gaps += len(reported)
        assert len([event for event in by_device[device.id] if event.kind is Kind.READING]) > 20
    assert any(event.kind is Kind.DROPPED for event in seen)
    assert fails == (sum(each.restarts for each in status.values()) > 50)
    if not fails:
        assert (lost, gaps) == (0, 0)
    if faulty:
        assert lost > 0

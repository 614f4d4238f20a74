"""An hour of fifty sources in constant trouble, in virtual time.

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
from energy_core.stream.status import TRANSITIONS
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time

SEEDS = int(os.environ.get("ENERGY_LIVE_SEEDS", "3"))
SOURCES = 50
HOUR = 3600.0


def now():
    return asyncio.get_running_loop().time()


class Truth:
    """What a device measures: its n-th moment is `n * every_s` seconds after the beginning."""

    def __init__(self, site, every_s):
        self.id, self.every_s = SourceId("chaos", "me", site), every_s

    def last(self):
        return math.floor(now() / self.every_s + 1e-9)

    def time(self, n):
        return EPOCH + timedelta(milliseconds=round(n * self.every_s * 1000))

    def number(self, time):
        return round((time - EPOCH).total_seconds() / self.every_s)

    def observation(self, n):
        values = {Quantity.PV_POWER: float(n)}
        return PolledReading(
            source=self.id, time=self.time(n), id=f"{self.id.site}/{n}", values=values, raw={}
        )


class Pushed:
    """A link that breaks every half to thirty seconds, in several ways, and heals as the real ones do."""

    def __init__(self, truth, chance, *, fails, faulty):
        self.id, self._truth, self._chance = truth.id, truth, chance
        self._fails, self._faulty = fails, faulty
        self._told = None

    def resume(self, positions):
        self._told = self._truth.number(positions[self.id].time) - math.ceil(2 / self._truth.every_s)

    def again(self):
        return Pushed(self._truth, self._chance, fails=self._fails, faulty=self._faulty)

    async def run(self, outlet):
        await asyncio.sleep(self._chance.uniform(0, 1))
        if self._told is not None:
            await self._heal(outlet)
        else:
            self._told = self._truth.last()
        while True:
            outlet.status(State.LIVE)
            await self._live(outlet, until=now() + self._chance.uniform(0.5, 30))
            await self._trouble(outlet)
            await self._heal(outlet)

    async def _live(self, outlet, until):
        while True:
            due = (self._told + 1) * self._truth.every_s
            if due > until:
                await asyncio.sleep(max(0.0, until - now()))
                return
            await asyncio.sleep(max(0.0, due - now()))
            self._told += 1
            self._put(outlet, self._told)

    async def _trouble(self, outlet):
        match self._chance.randrange(0 if self._fails else 3, 10):
            case 0:
                raise ServerFault("chaos", status=503)
            case 1:
                raise AuthFailed("chaos")
            case 2:
                raise ZeroDivisionError
            case 3:
                outlet.status(State.STALE)
                await asyncio.sleep(self._chance.uniform(0, 30))
            case _:
                outlet.status(State.DISCONNECTED, reason="chaos", retry_in=1.0)
                await asyncio.sleep(self._chance.uniform(0, 30))

    async def _heal(self, outlet):
        outlet.status(State.BACKFILLING)
        while self._told < self._truth.last():
            first, last = self._told + 1, self._truth.last()
            await asyncio.sleep(self._chance.uniform(0, 3))
            if self._faulty and self._chance.random() < 0.3:
                start, end = self._truth.time(first), self._truth.time(last)
                outlet.gap(self.id, start=start, end=end, reason="chaos")
                self._told = last
            while self._told < last:
                await outlet.room()
                self._told += 1
                self._put(outlet, self._told, backfilled=True)

    async def refill(self, outlet, source, start, end):
        assert source == self.id
        await asyncio.sleep(self._chance.uniform(0, 10))
        if self._faulty and self._chance.random() < 0.3:
            raise self._chance.choice([ServerFault("chaos"), ValueError("chaos")])
        for n in range(self._truth.number(start), self._truth.number(end) + 1):
            await outlet.room()
            self._put(outlet, n)

    def _put(self, outlet, n, **marks):
        seen = self._truth.observation(n)
        outlet.reading(self.id, time=seen.time, id=seen.id, values=seen.values, raw={}, **marks)


def polled(truth, chance, *, faulty, **_):
    """A poller whose vendor fails now and then, and knows the past."""

    async def ask():
        await asyncio.sleep(chance.uniform(0, 2))
        if chance.random() < 0.2:
            raise chance.choice([ConnectError("chaos"), ServerFault("chaos", status=502)])
        return [truth.observation(truth.last())] if truth.last() else []

    async def look_back(source, start, end):
        assert source == truth.id
        await asyncio.sleep(chance.uniform(0, 2))
        if faulty and chance.random() < 0.3:
            raise ServerFault("chaos", status=503)
        first, last = truth.number(start), min(truth.number(end), truth.last())
        return [truth.observation(n) for n in range(max(1, first), last + 1)]

    lookback = LookbackConfig(interval_s=300, span_s=600, cooldown_s=1.0)
    clock = VirtualClock()
    return Poller(
        truth.id,
        ask,
        interval_s=truth.every_s / 2,
        fetch_range=look_back,
        lookback=lookback,
        clock=clock,
        random=chance.random,
    )


async def supervise(events, chance):
    """Restart whatever has ended, as an operator would."""
    while True:
        await asyncio.sleep(chance.uniform(1, 10))
        for source, status in events.status.items():
            if status.state in {State.FAILED, State.AUTH_FAILED}:
                await events.restart(source)


async def an_hour(seed, *, fails, faulty):
    """Return the truths and everything a consumer got that dozes off now and then."""
    chance = random.Random(seed)
    truths = [
        Truth(str(n), chance.choice([2.0, 4.0, 8.0, 16.0] if n % 3 else [20.0, 40.0])) for n in range(SOURCES)
    ]
    sources = [
        (Pushed if n % 3 else polled)(truth, random.Random(f"{seed}/{n}"), fails=fails, faulty=faulty)
        for n, truth in enumerate(truths)
    ]
    seen = []
    async with merge(*sources, buffer=96, clock=VirtualClock()) as events:
        operator = asyncio.create_task(supervise(events, chance))
        async for event in events:
            seen.append(event)
            if now() > HOUR + 120:
                break
            if now() < HOUR and chance.random() < 0.001:
                await asyncio.sleep(chance.uniform(1, 60))
        operator.cancel()
        await asyncio.gather(operator, return_exceptions=True)
        await events.drain()
        seen += [event async for event in events]
        status = events.status
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return truths, seen, status


def account_for(truth, events):
    """Check one source's events against its truth; return its lost moments and its gaps."""
    told, later, newest, number = set(), set(), 0, 0
    jumps = announced = 0
    gaps = []
    state = None
    for event in events:
        assert event.seq > number, "out of order"
        jumps += event.seq - number - 1
        number = event.seq
        match event.kind:
            case Kind.READING:
                n = truth.number(event.time)
                assert n not in told, "twice"
                assert event.id == f"{truth.id.site}/{n}"
                assert event.late == (n < newest)
                assert not event.late or event.backfilled
                told.add(n)
                later |= {n} if event.late or event.backfilled else set()
                newest = max(newest, n)
            case Kind.GAP:
                gaps.append((truth.number(event.detail.start), truth.number(event.detail.end)))
            case Kind.DROPPED:
                announced += event.detail.count
            case Kind.STATUS:
                assert state is None or event.detail.state in TRANSITIONS[state]
                state = event.detail.state
    assert jumps == announced, "a jump that nobody has told"
    first = min(told)
    covered = {n for start, end in gaps for n in range(start, end + 1)}
    lost = set(range(first, max(told | covered) + 1)) - told
    assert lost <= covered, f"lost in silence: {sorted(lost - covered)[:5]}"
    for start, end in gaps:  # a restart or a later look may still bring some of what was missing
        there = sorted(set(range(start + 1, end)) & (told - later))
        assert not there, f"told although reported missing from {start} to {end}: {there[:5]}"
    return lost, gaps


@pytest.mark.parametrize(
    ("fails", "faulty"),
    [(False, False), (True, False), (True, True)],
    ids=["links-break", "sources-fail-too", "and-the-past-is-faulty"],
)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_nothing_is_lost_in_silence_nor_twice_nor_out_of_order(seed, fails, faulty, caplog):
    """Whatever breaks: every moment is told once, in order, or lies in a reported gap, where nothing is live.

    As long as the past can be had and no source fails, there is no gap at all.
    """
    caplog.set_level(logging.CRITICAL)
    truths, seen, status = await an_hour(seed, fails=fails, faulty=faulty)
    mine = defaultdict(list)
    for event in seen:
        mine[event.source].append(event)
    lost = gaps = 0
    for truth in truths:
        missing, reported = account_for(truth, mine[truth.id])
        lost += len(missing)
        gaps += len(reported)
        assert len([event for event in mine[truth.id] if event.kind is Kind.READING]) > 20
    assert any(event.kind is Kind.DROPPED for event in seen)
    assert fails == (sum(each.restarts for each in status.values()) > 50)
    if not fails:
        assert (lost, gaps) == (0, 0)
    if faulty:
        assert lost > 0

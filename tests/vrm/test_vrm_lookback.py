"""Late data of VRM with the whole client on real sockets, against the simulator."""

import asyncio
from itertools import groupby

import pytest

from energy_core.clock import SystemClock
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.stream.checkpoint import FileCheckpoint
from energy_core.stream.merge import merge
from energy_core.stream.polled import LookbackConfig
from energy_core.stream.vocabulary import Kind, Quantity, State
from energy_live.simulator import Simulator, faults
from tests.servers.scripted_sources import of_kind, readings
from vrm_async import VRMClient

SPEED = 300.0
MINUTE_S = 60 / SPEED
OFFSETS = {"151001": 13.0, "151002": 41.0}
"""Seconds after the full minute at which the sites log."""
LOOKBACK = LookbackConfig(interval_s=900, settle_s=120, cooldown_s=60)


class HouseholdClock(SystemClock):
    """A clock that waits in the time of a simulator that runs faster."""

    def monotonic(self):
        return super().monotonic() * SPEED

    async def sleep(self, seconds):
        await super().sleep(seconds / SPEED)

    def call_at(self, when, callback):
        return super().call_at(when / SPEED, callback)


@pytest.fixture
async def simulator():
    async with Simulator(speed=SPEED, window=100_000) as running:
        yield running


@pytest.fixture
async def vrm(simulator):
    limit = RateLimit(10_000, 1000.0, 6)
    async with (
        SessionPool() as pool,
        VRMClient(
            pool,
            token=simulator.vrm_token,
            base_url=simulator.vrm_url,
            limit=limit,
            account="me",
            clock=HouseholdClock(),
        ) as client,
    ):
        yield client


def source(vrm, *site_ids):
    return vrm.live(*site_ids, interval_s=40.0, lookback=LOOKBACK)


async def watch(vrm, plan, *site_ids, **options):
    """Run until every site has delivered live the minute that `plan` returns once all have started."""
    seen, begun, reached, goal = [], set(), set(), None
    async with asyncio.timeout(60), merge(source(vrm, *site_ids), buffer=10_000, **options) as events:
        async for event in events:
            seen.append(event)
            if event.kind is not Kind.READING or event.backfilled:
                continue
            begun.add(event.source.site)
            if goal is None and len(begun) == len(site_ids):
                goal = plan(int(event.time.timestamp() // 60))
            if goal is not None and event.time.timestamp() // 60 >= goal:
                reached.add(event.source.site)
            if len(reached) == len(site_ids):
                break
        await events.drain()
        return seen + [event async for event in events]


def slots(events):
    """Return the delivered minutes by device, in order of delivery."""
    mine = sorted(readings(events), key=lambda event: event.source)
    return {
        device: [int(event.time.timestamp() // 60) for event in delivered]
        for device, delivered in groupby(mine, key=lambda event: event.source)
    }


async def test_a_consumer_resumes_where_it_stopped(vrm, simulator, tmp_path):
    """Every minute that a device logged in between is delivered once, in order, with stable ids."""
    store = FileCheckpoint(tmp_path / "position.json")
    lives = []
    for away in (3, 20, 7):
        lives.append(await watch(vrm, lambda now: now + 5, *simulator.site_ids, checkpoint=store))
        await asyncio.sleep(away * MINUTE_S)
    seen = [event for life in lives for event in life]
    delivered, begun = slots(seen), slots(lives[0])
    assert {device.site for device in delivered} == set(map(str, simulator.site_ids))
    for device, minutes in delivered.items():
        mine = minutes[len(begun[device]) - 1 :]  # before that its interval is not known
        assert mine == list(range(mine[0], mine[-1] + 1)), device
        assert mine[-1] - mine[0] > 30
    assert of_kind(seen, Kind.GAP) == []
    assert not any(event.late for event in readings(seen))
    assert any(event.backfilled for event in readings(seen))
    names = [event.id for event in readings(seen)]
    assert len(names) == len(set(names))


async def test_missing_minutes_come_before_newer_ones(vrm, simulator):
    """When a site was without a network, its missing minutes are delivered first, in order."""
    site, other = simulator.site_ids
    kept = set()

    def plan(now):
        first, last = now + 10, now + 18
        simulator.delay_logs(site, first * 60, last * 60, last * 60)
        kept.update(range(first, last - 1))  # the last of them may be delivered live
        return last + 6

    seen = await watch(vrm, plan, site, other)
    for minutes in slots(seen).values():
        assert minutes[3:] == list(range(minutes[3], minutes[-1] + 1))
    filled = [event for event in readings(seen) if event.source.site == str(site) and event.backfilled]
    assert kept <= {int(event.time.timestamp() // 60) for event in filled}
    assert not any(event.late or event.revision for event in readings(seen))
    assert of_kind(seen, Kind.GAP) == []
    states = [event.detail.state for event in seen if event.kind is Kind.STATUS]
    assert State.LIVE in states[states.index(State.BACKFILLING) :]


async def test_late_minutes_come_with_the_next_look_back(vrm, simulator):
    """Minutes that VRM did not have yet come late, backfilled, once, with a stable id."""
    site = simulator.site_ids[0]
    missed = []

    def plan(now):
        first, last, arrives = now + 6, now + 9, now + 16
        simulator.delay_logs(site, first * 60, last * 60, arrives * 60)
        missed.extend(range(first, last))
        return arrives + LOOKBACK.interval_s / 60 + 10

    seen = await watch(vrm, plan, site)
    late = [event for event in readings(seen) if int(event.time.timestamp() // 60) in missed]
    logged = [each * 60 + OFFSETS[str(site)] for each in missed]
    assert [event.time.timestamp() for event in late] == logged
    assert [event.id for event in late] == [f"{site}/0/{each:.0f}" for each in logged]
    assert all(event.backfilled and event.late for event in late)
    assert all(len(minutes) == len(set(minutes)) for minutes in slots(seen).values())
    assert [event for event in readings(seen) if event.revision] == []


async def test_backfilled_readings_have_the_live_quantities(vrm, simulator):
    """A backfilled reading has the same quantities, including powers that are sums of parts."""
    sites = simulator.site_ids

    def plan(now):
        for site in sites:
            simulator.delay_logs(site, (now + 6) * 60, (now + 10) * 60, (now + 10) * 60)
        return now + 14

    seen = readings(await watch(vrm, plan, *sites))
    for device in {event.source for event in seen}:
        mine = [event for event in seen if event.source == device]
        live_quantities = {frozenset(event.values) for event in mine if not event.backfilled}
        filled = [event for event in mine if event.backfilled]
        assert {frozenset(event.values) for event in filled} == live_quantities
        household = simulator.household(int(device.site))
        for event in filled:
            log = household.at(event.time.timestamp())
            assert event.values[Quantity.GRID_POWER] == pytest.approx(log.grid_w, abs=0.3)
            assert event.values[Quantity.PV_POWER] == pytest.approx(log.pv_w, abs=0.3)
            assert event.values[Quantity.BATTERY_VOLTAGE] == log.voltage_v


async def test_a_failed_graph_is_a_gap(vrm, simulator):
    """The gap is reported with its reason; held readings follow it, and polling continues."""
    simulator.faults.add(faults.outage(503), path="installations/*/widgets/Graph", times=None)
    site = simulator.site_ids[0]
    kept = set()

    def plan(now):
        simulator.delay_logs(site, (now + 8) * 60, (now + 12) * 60, (now + 12) * 60)
        kept.update(range(now + 8, now + 11))
        return now + 30

    seen = await watch(vrm, plan, site)
    gaps = [event.detail for event in seen if event.kind is Kind.GAP]
    [delivered] = slots(seen).values()
    missing = set(range(delivered[0], delivered[-1] + 1)) - set(delivered)
    assert kept <= missing
    for each in missing:
        at = each * 60 + OFFSETS[str(site)]
        assert any(gap.start.timestamp() < at < gap.end.timestamp() for gap in gaps)
    assert all("503" in gap.reason for gap in gaps)
    assert delivered == sorted(delivered)

"""A product's events through a network that fails all the time, compared with the simulator.

An event of the simulator, which is a household second, comes every 1.4 ms. `ENERGY_LIVE_SEEDS=100` runs the
long form, an hour of household time for each seed; otherwise it is half an hour.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

import pytest

from energy_core import Gap, Kind, Quantity, RateLimit, SessionPool, State, Timeouts, merge
from energy_core.stream.reconnect import SocketConfig
from energy_live.simulator import Simulator
from energy_live.simulator.voltstorage.products import event_fields
from tests.servers.network_faults import Moody, Weather
from tests.servers.tcp_proxy import TcpProxy, proxied
from voltstorage_async import BackfillConfig, FieldMap, LatestData, ProductGap, VoltStorageClient

SEEDS = range(int(os.environ.get("ENERGY_LIVE_SEEDS", "1")))
HOUSEHOLD_S = 3600.0 if len(SEEDS) > 10 else 1800.0
SPEED = 720.0
NOON = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
FIELDS = FieldMap()

TIMING = SocketConfig(
    open_timeout_s=0.4,
    close_timeout_s=0.02,
    ping_interval_s=0.1,
    ping_timeout_s=0.1,
    first_delay_s=0.05,
    backoff_base_s=0.02,
    backoff_cap_s=0.1,
    try_again_later_s=0.05,
    stale_after_s=0.15,
    healthy_after_s=0.5,
    healthy_after_event_s=0.05,
    max_handshakes=10_000,
    max_undocumented_closes=1000,
)

Key = tuple[int, Quantity]
"""Second and quantity of a value."""


class Received:
    """Events that one consumer received, in their order."""

    def __init__(self) -> None:
        self.readings: list[tuple[int, dict[Quantity, float], bool, bool, str]] = []
        self.gaps: list[tuple[int, int, frozenset[Quantity], str]] = []
        self.state: Callable[[], State] = lambda: State.CONNECTING
        self.pending: Callable[[], object] = tuple

    def is_caught_up(self, after: int) -> bool:
        """Return whether events are live again and no backfill is running."""
        second, _, backfilled, *_ = self.readings[-1]
        return second > after and not (backfilled or self.pending()) and self.state() is State.LIVE

    def is_in_gap(self, key: Key) -> bool:
        """Return whether a value is in a reported gap."""
        second, quantity = key
        return any(
            start <= second <= end and (not only or quantity in only) for start, end, only, _ in self.gaps
        )


async def listen_merged(
    client: VoltStorageClient, product: int, backfill: BackfillConfig, received: Received
) -> None:
    source = client.live(product, socket=TIMING, backfill=backfill)
    async with merge(source) as events:
        received.state = lambda: events.status[source.id].state
        received.pending = lambda: events.status[source.id].pending
        async for event in events:
            if event.kind is Kind.READING:
                at = int(event.time.timestamp())
                received.readings.append((at, dict(event.values), event.backfilled, event.late, event.id))
            elif isinstance(event.detail, Gap):
                start, end = (int(each.timestamp()) for each in (event.detail.start, event.detail.end))
                received.gaps.append((start, end, frozenset(event.detail.quantities), event.detail.reason))


async def listen_typed(
    client: VoltStorageClient, product: int, backfill: BackfillConfig, received: Received
) -> None:
    newest = 0
    async with client.events(product, socket=TIMING, backfill=backfill) as stream:
        received.state = lambda: stream.status.state
        received.pending = lambda: stream.pending
        async for event in stream:
            if isinstance(event, LatestData):
                at, name = int(event.time.timestamp()), str(len(received.readings))
                values, _ = FIELDS.read_event(event.data)
                received.readings.append((at, values, event.backfilled, at < newest, name))
                newest = max(at, newest)
            elif isinstance(event, ProductGap):
                start, end = int(event.start.timestamp()), int(event.end.timestamp())
                received.gaps.append((start, end, event.quantities, event.reason))


def true_values(simulator: Simulator, product: int, second: int) -> dict[Quantity, float]:
    return FIELDS.read_event(event_fields(simulator.household(product).at(second)))[0]


def check(simulator: Simulator, product: int, received: Received, until: int) -> dict[str, int]:
    """Compare the received events with the simulator; return counts."""
    first = received.readings[0][0]
    live: list[Key] = []
    later: list[Key] = []
    for second, values, backfilled, _, _ in received.readings:
        truth = true_values(simulator, product, second)
        for quantity, value in values.items():
            assert value == pytest.approx(truth[quantity], rel=1e-5, abs=1e-9), (second, quantity)
            (later if backfilled else live).append((second, quantity))
    delivered = {*live, *later}

    changes = set[Key]()
    before = true_values(simulator, product, first)
    for second in range(first + 1, until + 1):
        now = true_values(simulator, product, second)
        changes |= {(second, each) for each in now if now[each] != before[each]}
        before = now
    lost = changes - delivered
    unexplained = sorted(each for each in lost if not received.is_in_gap(each))
    assert not unexplained, f"{len(unexplained)} lost without a gap, among them {unexplained[:5]}"

    assert len(later) == len(set(later)), "backfilled twice"
    assert not set(later) & set(live), "delivered live and backfilled"
    assert len({name for *_, name in received.readings}) == len(received.readings)

    in_order = [second for second, _, _, late, _ in received.readings if not late]
    assert in_order == sorted(in_order)

    for start, end, only, reason in received.gaps:
        if not only:
            inside = [each for each in delivered if start < each[0] < end]
            assert not inside, f"delivered although reported as {reason} from {start} to {end}: {inside[:5]}"
    return {
        "live": len(live),
        "backfilled": len(later),
        "lost": len(lost),
        "late": sum(late for *_, late, _ in received.readings),
        "gaps": sum(not only for _, _, only, _ in received.gaps),
        "changes": len(changes),
    }


async def run(seed: int, *, export_fails: bool) -> list[dict[str, int]]:
    random = Random(f"{seed}/{export_fails}")
    simulator = Simulator(seed=seed, speed=SPEED, frame_s=1 / SPEED, start=NOON)
    backfill = BackfillConfig(
        settle_s=random.choice([0.01, 0.03]),
        retry_s=(0.05, 0.2, 0.6),
        page_s=random.choice([60.0, 3600.0]),
        max_held=random.choice([48, 256, 10_000]),
        stale_poll_s=0.1,
    )
    consumers = [Received(), Received()]
    async with simulator, proxied("127.0.0.1", int(simulator.voltstorage_url.split(":")[2][:-6])) as proxy:
        if export_fails:
            simulator.faults.rules.append(Moody(random, "data/export.*", share=0.7))
            simulator.faults.rules.append(Moody(random, "products/*/data/latest", share=0.3))
        until = await with_network_faults(simulator, proxy, random, backfill, consumers)
        return [check(simulator, simulator.product_ids[0], received, until) for received in consumers]


async def with_network_faults(
    simulator: Simulator, proxy: TcpProxy, random: Random, backfill: BackfillConfig, consumers: list[Received]
) -> int:
    product = simulator.product_ids[0]
    weather = Weather(random, proxy, simulator.faults, every_s=0.25)
    pool = SessionPool(timeouts=Timeouts(connect_s=0.3, read_timeout_s=0.3), random=random.random, attempts=2)
    async with pool:
        client = VoltStorageClient(
            pool,
            email=simulator.volt_email,
            password=simulator.volt_password,
            base_url=f"http://127.0.0.1:{proxy.port}/rest/",
            limit=RateLimit(1000, 1000.0, 50),
        )
        tasks = [
            asyncio.create_task(listen(client, product, backfill, received))
            for listen, received in zip((listen_merged, listen_typed), consumers, strict=True)
        ]
        await until_true(lambda: all(received.readings for received in consumers))
        faults = asyncio.create_task(weather.blow())
        await asyncio.sleep(HOUSEHOLD_S / SPEED)
        faults.cancel()
        await asyncio.wait([faults])
        until = int(simulator.now())
        await until_true(
            lambda: (
                any(task.done() for task in tasks)
                or all(received.is_caught_up(until) for received in consumers)
            )
        )
        for task in tasks:
            assert not task.done(), task.result()
            task.cancel()
        await asyncio.wait(tasks)
    return until


async def until_true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  (a condition over two streams)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", SEEDS)
async def test_network_faults_lose_nothing(seed):
    """Every change of a value is delivered, or in a reported gap; none twice, and in order."""
    for counts in await run(seed, export_fails=False):
        assert counts["live"] > 100
        assert counts["backfilled"] > 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_with_a_failing_export_only_reported_gaps_are_lost(seed):
    """If the export fails too, every missing value is in a reported gap."""
    for counts in await run(seed, export_fails=True):
        assert counts["live"] > 100

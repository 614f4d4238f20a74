"""Many devices behind one poller: a look-back at one delays no other, and the rate limit is kept."""

import asyncio
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest

from energy_core.errors import ServerFault
from energy_core.http.operation import Priority
from energy_core.http.rate_limiter import RateLimiter
from energy_core.http.token_bucket import RateLimit
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.merge import merge
from energy_core.stream.poll import Poller
from energy_core.stream.polled import LookbackConfig, PolledReading
from energy_core.stream.source import Reading, StreamPosition
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.scripted_sources import moments, of_kind, readings, seconds
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time

FLEET = SourceId("vrm", "me", "*")
MINUTE, HOUR = 60, 3600
LIMIT = 200, 3.0


def device(n):
    return SourceId("vrm", "me", str(n))


def now():
    return asyncio.get_running_loop().time()


class Fleet:
    """Sites that log each minute, each at its own second, behind one rate limiter; the past is in buckets."""

    def __init__(self, count):
        self.limiter = RateLimiter(RateLimit(*LIMIT, 6), clock=VirtualClock(), random=lambda: 0.5)
        self.count = count
        self.sent = []
        self.asked = []
        self.look_backs = []
        self.silent = {}  # device -> minutes that it logged but delivered late
        self.changed = {}  # (device, minute) -> current value at the vendor
        self.slow_s = 0.0
        self.refuses = set()

    def phase(self, n):
        return (7 * n) % 60

    def reading(self, n, minute, *, bucket=False):
        second = MINUTE * minute + (0 if bucket else self.phase(n))
        return PolledReading(
            source=device(n),
            time=EPOCH + timedelta(seconds=second),
            id=f"{n}/{second}",
            values={Quantity.PV_POWER: self.changed.get((n, minute), float(minute))},
            raw={},
            bucket_s=60.0 if bucket else 0.0,
        )

    def last(self, n):
        return int((now() - self.phase(n)) // MINUTE)

    async def ask(self):
        self.asked.append(now())
        async with self.limiter.slot(Priority.INTERACTIVE):
            self.sent.append(now())
            await asyncio.sleep(0.5)
        newest = []
        for n in range(self.count):
            minute = self.last(n)
            while minute in self.silent.get(n, ()):
                minute -= 1
            newest += [self.reading(n, minute)] if minute > 0 else []
        return newest

    async def fetch_range(self, source, start, end):
        n = int(source.site)
        async with self.limiter.slot(Priority.BACKGROUND):
            self.sent.append(now())
            self.look_backs.append((now(), n))
            await asyncio.sleep(self.slow_s or 0.3)
        if n in self.refuses:
            raise ServerFault("no graph", status=503)
        first, last = max(1, seconds(start) // MINUTE), min(seconds(end) // MINUTE - 1, self.last(n))
        return [self.reading(n, minute, bucket=True) for minute in range(first, last + 1)]


def poller(fleet, **options):
    lookback = options.pop("lookback", LookbackConfig())
    return Poller(
        FLEET,
        fleet.ask,
        interval_s=30.0,
        fetch_range=fleet.fetch_range,
        lookback=lookback,
        clock=VirtualClock(),
    )


async def watch(fleet, until, *, lookback=None, **options):
    """Return the events, and when each arrived."""
    seen, arrived = [], {}
    source = poller(fleet, lookback=lookback or LookbackConfig())
    async with merge(source, buffer=100_000, clock=VirtualClock(), **options) as events:

        async def end():
            await asyncio.sleep(until - now())
            await events.drain()

        ending = asyncio.create_task(end())
        async for event in events:
            seen.append(event)
            arrived[id(event)] = now()
        await ending
    return seen, arrived


def keeps_to(limit, sent):
    """Return whether the requests kept the rate limit: its burst, and then its rate."""
    burst, rate = limit
    more = 2 * burst
    return all(
        after - before >= (more - burst) / rate - 1e-6
        for before, after in zip(sent, sent[more:], strict=False)
    )


def by_device(seen):
    found = {}
    for event in seen:
        found.setdefault(event.source, []).append(event)
    return found


async def test_three_hundred_devices_are_polled_on_time_within_the_rate_limit():
    """Look-backs are spread over the hour, one for each device, and no poll waits for them."""
    fleet = Fleet(300)
    await asyncio.sleep(2 * HOUR)
    began = now()
    seen, _ = await watch(fleet, began + 2 * HOUR)
    assert max(abs(after - before - 30) for before, after in pairwise(fleet.asked)) < 0.01
    assert {Counter(n for at, n in fleet.look_backs if at <= began + HOUR + 5)[n] for n in range(300)} == {1}
    minutes = Counter(int((at - began) // MINUTE) for at, _ in fleet.look_backs)
    assert max(minutes.values()) <= 8
    assert keeps_to(LIMIT, fleet.sent)
    assert of_kind(seen, Kind.GAP) == []
    assert not any(event.backfilled or event.revision for event in readings(seen))
    for delivered in by_device(readings(seen)).values():
        assert [seconds(event.time) // MINUTE for event in delivered] == list(
            range(seconds(delivered[0].time) // MINUTE, seconds(delivered[0].time) // MINUTE + len(delivered))
        )


async def test_a_gap_of_one_device_delays_no_other():
    """While one device waits for its look-back, the others are delivered; then it follows, in time order."""
    fleet = Fleet(20)
    fleet.slow_s = 45.0
    await asyncio.sleep(HOUR)
    fleet.silent[3] = set(range(70, 76))
    seen, arrived = await watch(fleet, HOUR + 30 * MINUTE)
    for source, delivered in by_device(readings(seen)).items():
        waits = [arrived[id(event)] - seconds(event.time) for event in delivered[1:]]
        if source == device(3):
            assert 6 * MINUTE < max(waits) < 10 * MINUTE
        else:
            assert max(waits) <= 31
        minutes = [seconds(event.time) // MINUTE for event in delivered]
        assert minutes == list(range(minutes[0], minutes[-1] + 1))
        assert not any(event.late for event in delivered)
    assert {int(event.source.site) for event in readings(seen) if event.backfilled} == {3}


async def test_after_a_stop_the_devices_are_filled_one_after_the_other():
    """After a stop each of 300 devices is backfilled, within the rate limit, while polls stay on time."""
    fleet = Fleet(300)
    await asyncio.sleep(3 * HOUR)
    stop = {
        device(n): StreamPosition(time=fleet.reading(n, 110).time, seq=9, ids=(fleet.reading(n, 110).id,))
        for n in range(300)
    }
    seen, _ = await watch(fleet, 3 * HOUR + 20 * MINUTE, checkpoint=Checkpoint({FLEET: stop}))
    assert max(abs(after - before - 30) for before, after in pairwise(fleet.asked)) < 0.01
    for delivered in by_device(readings(seen)).values():
        minutes = [seconds(event.time) // MINUTE for event in delivered]
        assert minutes == list(range(111, minutes[-1] + 1))
        assert minutes[-1] >= 198
    assert len(by_device(readings(seen))) == 300
    assert len(fleet.look_backs) <= 300 + 100  # the scheduled ones of these twenty minutes
    assert keeps_to(LIMIT, fleet.sent)
    assert of_kind(seen, Kind.GAP) == []
    states = [event.detail.state for event in seen if event.kind is Kind.STATUS]
    assert states == [State.CONNECTING, State.BACKFILLING, State.LIVE, State.CLOSED]


async def test_a_failed_look_back_affects_its_device_only():
    """It becomes a gap, followed by the held readings; the gaps of other devices are filled."""
    fleet = Fleet(4)
    fleet.refuses = {1}
    await asyncio.sleep(HOUR)
    fleet.silent = {1: {70, 71, 72}, 2: {70, 71, 72}}
    seen, _ = await watch(fleet, 2 * HOUR)
    delivered = {int(source.site): moments(events) for source, events in by_device(readings(seen)).items()}
    assert {70, 71, 72} <= {each // MINUTE for each in delivered[2]}
    assert delivered[2] == sorted(delivered[2])
    assert delivered[1] == sorted(delivered[1])
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start) // MINUTE, seconds(gap.end) // MINUTE) == (69, 73)
    assert "no graph" in gap.reason
    place = next(n for n, event in enumerate(seen) if event.kind is Kind.GAP)
    assert all(event.time >= gap.end for event in readings(seen[place:]) if event.source == device(1))


async def test_held_readings_are_bounded():
    """A device that waits too long for its look-back is delivered again, with a gap."""
    fleet = Fleet(3)
    fleet.slow_s = 5000.0
    await asyncio.sleep(HOUR)
    fleet.silent[1] = {70, 71}
    lookback = LookbackConfig(max_held=5, timeout_s=4900)
    seen, _ = await watch(fleet, HOUR + 40 * MINUTE, lookback=lookback)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start) // MINUTE, seconds(gap.end) // MINUTE) == (69, 72)
    delivered = [each // MINUTE for each in moments(by_device(readings(seen))[device(1)])]
    assert delivered == [
        each for each in range(delivered[0], delivered[-1] + 1) if each not in fleet.silent[1]
    ]
    assert delivered[-1] >= 98


async def test_a_changed_bucket_revises_the_delivered_reading():
    """A revision has the id and time of the live reading, and is delivered once for each change."""
    fleet = Fleet(2)
    await asyncio.sleep(HOUR)
    asyncio.get_running_loop().call_at(3.2 * HOUR, fleet.changed.update, {(1, 90): -5.0})
    asyncio.get_running_loop().call_at(5.2 * HOUR, fleet.changed.update, {(1, 90): -6.0})
    seen, _ = await watch(fleet, 7.5 * HOUR)
    delivered = [event for event in readings(seen) if event.id == fleet.reading(1, 90).id]
    assert [(event.revision, event.values[Quantity.PV_POWER]) for event in delivered] == [
        (0, 90.0),
        (1, -5.0),
        (2, -6.0),
    ]
    assert len({event.time for event in delivered}) == 1
    assert [event for event in readings(seen) if event.revision and event.id != delivered[0].id] == []


async def test_a_refill_has_the_delivered_ids():
    """Refetched readings have the ids and times of the live ones."""
    fleet = Fleet(3)
    await asyncio.sleep(HOUR)
    source = poller(fleet)
    async with merge(source, buffer=10_000, clock=VirtualClock()) as events:
        await asyncio.sleep(HOUR)
        await events.drain()
        delivered = [event async for event in events]
    mine = [event for event in readings(delivered) if event.source == device(2)]
    found = [each async for each in source.history(device(2), mine[10].time, mine[30].time)]
    taken = [(each.id, each.time) for each in found if isinstance(each, Reading)]
    assert taken == [(event.id, event.time) for event in mine[10:31]]


async def test_failing_polls_postpone_look_backs():
    """While polls fail there are no look-backs, and the source is disconnected."""
    fleet = Fleet(5)
    failing = False
    ask = fleet.ask

    async def answer():
        if failing:
            raise ServerFault("down", status=503)
        return await ask()

    fleet.ask = answer
    await asyncio.sleep(HOUR)
    async with merge(poller(fleet), clock=VirtualClock()) as events:
        await asyncio.sleep(10 * MINUTE)
        failing, look_backs = True, len(fleet.look_backs)
        await asyncio.sleep(2 * HOUR)
        assert len(fleet.look_backs) == look_backs
        assert events.status[FLEET].state is State.DISCONNECTED
        failing = False
        await asyncio.sleep(10 * MINUTE)
        assert events.status[FLEET].state is State.LIVE
        await events.drain()
        seen = [event async for event in events]
    for delivered in by_device(readings(seen)).values():
        minutes = [seconds(event.time) // MINUTE for event in delivered]
        assert minutes == list(range(minutes[0], minutes[-1] + 1))
    assert of_kind(seen, Kind.GAP) == []


async def test_nothing_is_left_behind_in_any_state():
    """Closed while polling, looking back, idle or waiting for room, a poller leaves no task."""
    for wait_s in (0.1, 0.6, 1.0, 29.0, 30.6, 200.0):
        fleet = Fleet(10)
        await asyncio.sleep(HOUR)
        stop = {
            device(n): StreamPosition(time=EPOCH + timedelta(seconds=now() - 1800), seq=1) for n in range(10)
        }
        async with merge(poller(fleet), buffer=4, clock=VirtualClock(), checkpoint=Checkpoint({FLEET: stop})):
            await asyncio.sleep(wait_s)
        assert asyncio.all_tasks() == {asyncio.current_task()}

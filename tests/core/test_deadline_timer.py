"""Many deadlines on one timer of the event loop, on virtual time."""

import asyncio

import pytest

from energy_core.clock import DeadlineTimer
from tests.servers.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time

TIMEOUT_S = 30.0


class CountingClock(VirtualClock):
    """Counts the timers that are set."""

    def __init__(self):
        super().__init__()
        self.timers = 0

    def call_at(self, when, callback):
        self.timers += 1
        return super().call_at(when, callback)


@pytest.fixture
def clock():
    return CountingClock()


@pytest.fixture
def expired():
    """Keys that expired, with the time."""
    return []


@pytest.fixture
def deadlines(clock, expired):
    return DeadlineTimer(clock, lambda key, now: expired.append((key, now)))


async def test_a_missed_deadline_expires_once(deadlines, expired, clock):
    """The callback runs once, at the deadline; the key is then gone."""
    deadlines.set("one", TIMEOUT_S)
    await clock.sleep(10 * TIMEOUT_S)
    assert expired == [("one", pytest.approx(TIMEOUT_S, abs=0.01))]
    assert not deadlines.discard("one")


async def test_setting_a_deadline_again_moves_it(deadlines, expired, clock):
    """Each piece of data starts a new timeout; only the last one, which no data follows, expires."""
    for _ in range(5):
        deadlines.set("one", clock.monotonic() + TIMEOUT_S)
        await clock.sleep(TIMEOUT_S - 1)
        assert deadlines.discard("one")
    deadlines.set("one", clock.monotonic() + TIMEOUT_S)
    await clock.sleep(2 * TIMEOUT_S)
    assert expired == [("one", pytest.approx(5 * (TIMEOUT_S - 1) + TIMEOUT_S, abs=0.01))]


async def test_met_deadlines_share_one_timer(deadlines, expired, clock):
    """A thousand deadlines that are met set one timer in all."""
    for number in range(1000):
        deadlines.set(number, clock.monotonic() + TIMEOUT_S)
        await clock.sleep(0.001)
        deadlines.discard(number)
    assert clock.timers == 1
    await clock.sleep(10 * TIMEOUT_S)
    assert (clock.timers, expired) == (1, [])


async def test_each_key_has_its_own_deadline(deadlines, expired, clock):
    """A key that was set later expires later, and a discarded one never."""
    deadlines.set("first", clock.monotonic() + TIMEOUT_S)
    await clock.sleep(10)
    deadlines.set("second", clock.monotonic() + TIMEOUT_S)
    await clock.sleep(10)
    deadlines.set("third", clock.monotonic() + TIMEOUT_S)
    deadlines.discard("first")
    await clock.sleep(10 * TIMEOUT_S)
    assert [(key, round(at)) for key, at in expired] == [("second", 40), ("third", 50)]


async def test_deadlines_set_in_any_order_expire_in_theirs(deadlines, expired, clock):
    """A deadline before all others moves the timer forward."""
    for when in (50.0, 10.0, 30.0):
        deadlines.set(when, when)
    await clock.sleep(60)
    assert [key for key, _ in expired] == [10.0, 30.0, 50.0]


async def test_data_that_was_read_in_time_counts(deadlines, expired, clock):
    """If the loop reads data and finds a missed deadline in one step, the waiting task runs first."""
    arrived = asyncio.get_running_loop().create_future()

    async def read():
        deadlines.set("one", clock.monotonic() + TIMEOUT_S)
        await arrived
        return deadlines.discard("one")

    reading = asyncio.create_task(read())
    await clock.sleep(0)
    clock.call_at(TIMEOUT_S - 1e-10, lambda: arrived.set_result(None))  # the same step of the loop
    assert await reading
    await clock.sleep(1)
    assert expired == []


async def test_a_callback_may_set_its_key_again(clock):
    """A deadline that is extended by its callback expires again at the new time."""
    times = []

    def extend(key, now):
        times.append(round(now))
        if len(times) < 3:
            deadlines.set(key, now + TIMEOUT_S)

    deadlines = DeadlineTimer(clock, extend)
    deadlines.set("one", TIMEOUT_S)
    await clock.sleep(10 * TIMEOUT_S)
    assert times == [30, 60, 90]


async def test_a_callback_may_discard_another_key(clock):
    """A key that an earlier callback discarded does not expire in the same step."""
    called = []

    def discard_others(key, _now):
        called.append(key)
        deadlines.clear()

    deadlines = DeadlineTimer(clock, discard_others)
    deadlines.set("one", 1.0)
    deadlines.set("two", 1.0)
    await clock.sleep(5)
    assert called == ["one"]


async def test_clearing_leaves_no_timer(deadlines, expired, clock):
    """After clearing nothing expires."""
    deadlines.set("one", TIMEOUT_S)
    assert "one" in deadlines
    deadlines.clear()
    await clock.sleep(10 * TIMEOUT_S)
    assert expired == []

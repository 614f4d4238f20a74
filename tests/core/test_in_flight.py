"""Deadlines of calls, and how closing a pool ends what is in flight."""

import asyncio

import pytest

from energy_core.clock import SystemClock
from energy_core.errors import ClientClosed, DeadlineExceeded
from energy_core.http.call import CallDeadline, InFlight

pytestmark = pytest.mark.virtual_time


class CountingClock(SystemClock):
    """Counts the timers it makes."""

    made = 0

    def call_at(self, when, callback):
        self.made += 1
        return super().call_at(when, callback)


async def call(in_flight, seconds, work):
    """Await some work under a deadline; return the error if the deadline or closing ended it, or None."""
    loop, deadline = asyncio.get_running_loop(), CallDeadline(in_flight)
    in_flight.add(deadline)
    deadline.start(loop.time(), seconds)
    try:
        await work
    except asyncio.CancelledError:
        if not deadline.was_cancelled_by_us():
            raise
        return deadline.error()
    finally:
        deadline.was_cancelled_by_us()
        deadline.stop(loop.time())
        in_flight.discard(deadline)
    return None


async def test_a_thousand_calls_share_one_timer():
    """A call that ends in time needs no timer of its own."""
    in_flight = InFlight(clock := CountingClock())
    for _ in range(1000):
        assert await call(in_flight, 60.0, asyncio.sleep(0)) is None
    assert clock.made == 1


async def test_each_call_ends_at_its_own_deadline():
    """Whatever the order of their starts, no call ends early and none is forgotten."""
    in_flight, loop = InFlight(CountingClock()), asyncio.get_running_loop()

    async def ended_at(seconds):
        assert isinstance(await call(in_flight, seconds, asyncio.sleep(1000)), DeadlineExceeded)
        return loop.time()

    start, deadlines = loop.time(), [5.0, 1.0, 3.0, 1.0, 60.0]
    ends = await asyncio.gather(*map(ended_at, deadlines))
    assert [end - start for end in ends] == pytest.approx(deadlines, abs=1e-3)
    assert len(in_flight) == 0


async def test_a_stopped_deadline_does_not_expire():
    """The deadline runs only while the request is on the wire."""
    in_flight, loop = InFlight(CountingClock()), asyncio.get_running_loop()
    deadline = CallDeadline(in_flight)
    deadline.start(loop.time(), 1.0)
    assert deadline.stop(loop.time()) == 0.0
    await asyncio.sleep(5.0)
    assert not deadline.was_cancelled_by_us()


async def test_a_cancellation_from_outside_passes_through():
    """A task that is cancelled from outside is cancelled, even at the moment of its deadline."""
    in_flight = InFlight(CountingClock())
    task = asyncio.create_task(call(in_flight, 1.0, asyncio.sleep(1000)))
    asyncio.get_running_loop().call_later(1.0, task.cancel)
    await asyncio.wait([task])
    assert task.cancelled()


async def test_closing_aborts_calls_that_outlast_the_grace():
    """A call on the wire may finish within the grace; then it is aborted with `ClientClosed`."""
    in_flight, loop = InFlight(CountingClock()), asyncio.get_running_loop()
    soon = asyncio.create_task(call(in_flight, 60.0, asyncio.sleep(1.0)))
    never = asyncio.create_task(call(in_flight, 60.0, asyncio.sleep(1000)))
    await asyncio.sleep(0)
    start = loop.time()
    await in_flight.end(2.0)
    assert loop.time() - start < 2.5
    assert await soon is None
    assert isinstance(await never, ClientClosed)

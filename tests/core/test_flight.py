"""Deadlines of calls: one timer for all of them, and a cancellation from outside is nobody else's."""

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


async def fly(departures, seconds, work):
    """Do some work on the wire; return what the flight's own end means, or None."""
    loop, flight = asyncio.get_running_loop(), CallDeadline(departures)
    departures.add(flight)
    flight.start(loop.time(), seconds)
    try:
        await work
    except asyncio.CancelledError:
        if not flight.was_cancelled_by_us():
            raise
        return flight.error()
    finally:
        flight.was_cancelled_by_us()
        flight.stop(loop.time())
        departures.discard(flight)
    return None


async def test_a_thousand_calls_share_one_timer():
    """A call that ends in time has cost no timer of its own."""
    departures = InFlight(clock := CountingClock())
    for _ in range(1000):
        assert await fly(departures, 60.0, asyncio.sleep(0)) is None
    assert clock.made == 1


async def test_each_call_ends_at_its_own_deadline():
    """Whatever order they began in, none ends early and none is forgotten."""
    departures, loop = InFlight(CountingClock()), asyncio.get_running_loop()

    async def ended_at(seconds):
        assert isinstance(await fly(departures, seconds, asyncio.sleep(1000)), DeadlineExceeded)
        return loop.time()

    began, deadlines = loop.time(), [5.0, 1.0, 3.0, 1.0, 60.0]
    ends = await asyncio.gather(*map(ended_at, deadlines))
    assert [end - began for end in ends] == pytest.approx(deadlines, abs=1e-3)
    assert len(departures) == 0


async def test_a_call_that_has_landed_does_not_expire():
    """The deadline runs on the wire only."""
    departures, loop = InFlight(CountingClock()), asyncio.get_running_loop()
    flight = CallDeadline(departures)
    flight.start(loop.time(), 1.0)
    assert flight.stop(loop.time()) == 0.0
    await asyncio.sleep(5.0)
    assert not flight.was_cancelled_by_us()


async def test_a_cancellation_from_outside_passes_through():
    """Whoever cancels the task gets its cancellation, even in the moment the deadline ends."""
    departures = InFlight(CountingClock())
    task = asyncio.create_task(fly(departures, 1.0, asyncio.sleep(1000)))
    asyncio.get_running_loop().call_later(1.0, task.cancel)
    await asyncio.wait([task])
    assert task.cancelled()


async def test_closing_ends_what_does_not_end_in_its_grace():
    """A call on the wire has the grace to finish; then it is told that the client is closed."""
    departures, loop = InFlight(CountingClock()), asyncio.get_running_loop()
    soon = asyncio.create_task(fly(departures, 60.0, asyncio.sleep(1.0)))
    never = asyncio.create_task(fly(departures, 60.0, asyncio.sleep(1000)))
    await asyncio.sleep(0)
    began = loop.time()
    await departures.end(2.0)
    assert loop.time() - began < 2.5
    assert await soon is None
    assert isinstance(await never, ClientClosed)

"""The fast way to read a clock is the clock's own time, whatever loop runs and whoever made the clock."""

from __future__ import annotations

import asyncio

from energy_core.clock import SystemClock, monotonic_reader
from tests.servers.virtual_time import VirtualTimeLoop


class Stopped(SystemClock):
    """Another clock than the loop's."""

    def monotonic(self) -> float:
        return 7.0


async def test_it_is_the_time_of_the_running_loop():
    """What it returns lies between two readings of the loop."""
    loop, now = asyncio.get_running_loop(), monotonic_reader(SystemClock())
    assert loop.time() <= now() <= loop.time()


async def test_a_loop_whose_time_was_replaced_is_asked(monkeypatch):
    """A loop may be told another time; only asyncio's own way of reading it is cut short."""
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: 42.0)
        assert monotonic_reader(SystemClock())() == 42.0


def test_a_loop_of_its_own_time_is_asked():
    """Virtual time stays virtual."""

    async def read() -> float:
        await asyncio.sleep(3600)
        return monotonic_reader(SystemClock())()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(read()) == 3600.0


async def test_another_clock_is_asked_itself():
    """Only the system's clock is the loop's."""
    assert monotonic_reader(Stopped())() == 7.0

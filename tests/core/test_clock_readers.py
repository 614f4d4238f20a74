"""The fast functions that read a clock return the clock's own time, on any loop."""

from __future__ import annotations

import asyncio

from energy_core.clock import SystemClock, monotonic_reader
from tests.servers.virtual_time import VirtualTimeLoop


class Stopped(SystemClock):
    """A clock that differs from the loop's."""

    def monotonic(self) -> float:
        return 7.0


async def test_it_is_the_time_of_the_running_loop():
    """The value lies between two readings of the loop."""
    loop, now = asyncio.get_running_loop(), monotonic_reader(SystemClock())
    assert loop.time() <= now() <= loop.time()


async def test_a_loop_whose_time_was_replaced_is_used(monkeypatch):
    """The shortcut is taken only for asyncio's own `time`."""
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: 42.0)
        assert monotonic_reader(SystemClock())() == 42.0


def test_a_virtual_loop_is_used():
    """Virtual time stays virtual."""

    async def read() -> float:
        await asyncio.sleep(3600)
        return monotonic_reader(SystemClock())()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(read()) == 3600.0


async def test_another_clock_is_used_itself():
    """The shortcut is taken only for the system clock."""
    assert monotonic_reader(Stopped())() == 7.0

"""The ground the time tests stand on."""

import asyncio

import pytest

pytestmark = pytest.mark.virtual_time


async def test_waiting_a_year_takes_no_time():
    """A sleep moves the clock by exactly its length."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(31_536_000)
    assert loop.time() == pytest.approx(31_536_000)

"""The past of a device that was not polled yet: its record is asked for after its first reading."""

import asyncio
from datetime import timedelta

import pytest

from energy_core.stream.lookback import LookbackScheduler
from energy_core.stream.polled import LookbackConfig
from energy_core.stream.source import CompleteRange
from energy_core.stream.vocabulary import SourceId
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time

DEVICE = SourceId("test", "me", "7")
END = EPOCH + timedelta(minutes=5)


def scheduler(asked):
    async def fetch_range(source, start, end):
        asked.append((source, start, end))
        return []

    return LookbackScheduler(fetch_range, LookbackConfig(), VirtualClock())


async def test_it_waits_for_the_first_reading():
    """What a record has is known from a reading; only then may an empty answer prove anything."""
    asked = []
    made = scheduler(asked)
    waiting = asyncio.create_task(made.history(DEVICE, EPOCH, END))
    await asyncio.sleep(60.0)
    made.device(DEVICE._replace(instance=1))
    await asyncio.sleep(60.0)
    assert asked == []
    made.device(DEVICE)
    assert await waiting == [CompleteRange(EPOCH, END)]
    assert [source for source, _, _ in asked] == [DEVICE]


async def test_a_device_that_does_not_come_proves_nothing():
    """After five minutes nothing is proved, so that the range is asked for again."""
    asked = []
    assert await scheduler(asked).history(DEVICE, EPOCH, END) == []
    assert asyncio.get_running_loop().time() == 300.0
    assert asked == []

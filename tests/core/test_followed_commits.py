"""A source whose server keeps events until they are acknowledged learns what the consumer has committed."""

import asyncio
from datetime import timedelta

import pytest

from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.merge import merge
from energy_core.stream.vocabulary import Quantity, SourceId
from tests.servers.virtual_time import EPOCH

pytestmark = pytest.mark.virtual_time

ID = SourceId("test", "me", "1")


class Acknowledged:
    """Delivers ten readings."""

    id = ID

    def __init__(self) -> None:
        self.committed: list[str] = []
        self.followed = 0

    def resume(self, positions) -> None:
        """Nothing was missed."""

    def follow_commits(self):
        self.followed += 1
        return lambda event: self.committed.append(event.id)

    def again(self):
        successor = Acknowledged()
        successor.committed = self.committed
        return successor

    async def run(self, outlet) -> None:
        for n in range(10):
            time = EPOCH + timedelta(seconds=n)
            outlet.reading(ID, time=time, id=f"r{n}", values={Quantity.PV_POWER: 1.0}, raw={})
        await asyncio.Event().wait()


async def test_each_committed_event_once_and_in_order():
    source = Acknowledged()
    async with merge(source, checkpoint=Checkpoint(), autocommit=False, include_status=False) as events:
        taken = [await anext(events) for _ in range(6)]
        assert source.committed == []
        events.commit(taken[3])
        assert source.committed == ["r0", "r1", "r2", "r3"]
        events.commit(taken[3])
        events.commit(taken[5])
        assert source.committed == [f"r{n}" for n in range(6)]


async def test_without_a_checkpoint_the_source_is_not_asked():
    source = Acknowledged()
    async with merge(source, include_status=False) as events:
        await anext(events)
    assert source.followed == 0


async def test_a_source_that_is_added_or_restarted_follows_too():
    first = Acknowledged()
    first.id = ID._replace(site="2")
    source = Acknowledged()
    async with merge(first, checkpoint=Checkpoint(), autocommit=False, include_status=False) as events:
        events.add(source)
        await events.restart(ID)
        assert source.followed == 1
        events.commit(await anext(events))
        assert source.committed == ["r0"]

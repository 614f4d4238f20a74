"""Readings delivered together have the same effect as one by one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core import merge
from energy_core.stream.buffer import POLICIES, Buffer
from energy_core.stream.source import Reading
from energy_core.stream.vocabulary import Quantity, SourceId
from tests.servers.scripted_sources import Script
from tests.servers.virtual_time import EPOCH, VirtualClock, VirtualTimeLoop

HOME = SourceId("test", "me", "a")


def reading(second, *, backfilled=False, revision=0):
    values = {Quantity.PV_POWER: float(second)}
    return Reading(EPOCH + timedelta(seconds=second), f"a-{second}", values, {}, backfilled, revision)


plans = st.lists(
    st.builds(
        reading,
        st.one_of(st.integers(0, 12), st.integers(13, 40), st.just(200_000)),
        backfilled=st.sampled_from([False, False, False, True]),
        revision=st.sampled_from([0, 0, 0, 1]),
    ),
    max_size=24,
)
"""In any order, with duplicates, and one from the future."""


async def outcome(parts, *, policy, buffer, others, together):
    """Return the events of every consumer, taken between the parts, and the counters of the source."""

    async def play(pen):
        for part in parts:
            if together:
                pen.outlet.readings(HOME, part)
            else:
                for each in part:
                    pen.outlet.reading(HOME, **each._asdict())
            await clock.sleep(1)

    clock = VirtualClock()
    async with merge(Script("a", play), policy=policy, buffer=buffer, clock=clock) as events:
        consumers = [events, *(events.subscribe(policy=policy, buffer=size) for size in others)]
        events.batches()  # with subscriptions, the stream itself is a consumer only if it is iterated too
        got = [[] for _ in consumers]
        for _ in range(len(parts) + 2):
            await clock.sleep(1)
            for each, seen in zip(consumers, got, strict=True):
                seen.extend(await taken(each))
        status = events.status[HOME]
    return got, status.readings, status.last, status.late, status.backfilled, status.dropped, status.refused


def in_virtual_time(work):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


async def taken(consumer):
    events = []
    while consumer.pending:
        events.append((await anext(consumer)).to_json())
    return events


@given(
    parts=st.lists(plans, max_size=6),
    policy=st.sampled_from(POLICIES),
    buffer=st.sampled_from([1, 3, 8, 64]),
    others=st.lists(st.sampled_from([2, 64]), max_size=2),
)
def test_together_has_the_same_effect_as_one_by_one(parts, policy, buffer, others):
    """Any readings, cut into any parts, for any policy and any number of consumers.

    The reference puts each reading by itself, without the fast path.
    """
    facts = {"policy": policy, "buffer": buffer, "others": others}
    with patch.object(Buffer, "put_all", return_value=False):
        one_by_one = in_virtual_time(outcome(parts, together=False, **facts))
    assert in_virtual_time(outcome(parts, together=True, **facts)) == one_by_one


@pytest.mark.virtual_time
async def test_one_invalid_reading_rejects_all_of_them():
    """If one of several readings is invalid, none is delivered, and the source fails."""

    async def play(pen):
        broken = reading(2)._replace(values={Quantity.PV_POWER: float("nan")})
        pen.outlet.readings(HOME, [reading(1), broken])

    async with merge(Script("a", play), include_status=False, clock=VirtualClock()) as events:
        assert [event async for event in events] == []
        assert "ValueError" in events.status[HOME].reason
        assert events.status[HOME].readings == 0


@pytest.mark.virtual_time
async def test_consumers_share_events():
    """Two consumers with the same numbers get the same event objects."""

    async def play(pen):
        pen.outlet.readings(HOME, [reading(1), reading(2)])

    async with merge(Script("a", play), include_status=False, clock=VirtualClock()) as events:
        events.batches()
        other = events.subscribe()
        mine = [event async for event in events]
        assert list(map(id, mine)) == [id(event) async for event in other]
        assert [event.seq for event in mine] == [1, 2]

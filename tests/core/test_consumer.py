import asyncio
from contextlib import suppress
from itertools import chain

import pytest

from energy_core.errors import StreamBusy
from energy_core.stream.merge import merge
from energy_core.stream.vocabulary import Kind
from tests.servers.scripted_sources import Recorder, Script, moments, readings, seconds
from tests.servers.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time


def merged(*sources, **options):
    return merge(*sources, include_status=False, clock=VirtualClock(), **options)


async def test_a_batch_is_delivered_when_it_is_full():
    """With many events pending, every batch has its full size at once."""
    async with merged(Recorder(every_s=0.001, moments=1000)) as events:
        await asyncio.sleep(2)
        batches = [batch async for batch in events.batches(max_size=300, max_delay=60)]
    assert [len(batch) for batch in batches] == [300, 300, 300, 100]
    assert moments(chain.from_iterable(batches)) == list(range(1, 1001))


async def test_a_batch_is_delivered_after_max_delay():
    """An event waits at most max_delay for others; without events there is no batch."""
    loop = asyncio.get_running_loop()
    async with merged(Recorder(every_s=4.0, moments=6)) as events:
        seen = [(loop.time(), moments(batch)) async for batch in events.batches(max_delay=9.0)]
    assert seen == [(13, [1, 2, 3]), (24, [4, 5, 6])]


async def test_a_cancelled_batch_loses_nothing():
    """A consumer that cancels its waits again and again gets every event once."""
    seen = []
    async with merged(Recorder(every_s=0.1, moments=100)) as events:
        batches = events.batches(max_size=7, max_delay=1.0)
        while True:
            try:
                async with asyncio.timeout(0.25):
                    seen += await anext(batches)
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
    assert moments(seen) == list(range(1, 101))


async def test_batches_of_a_subscription():
    """Subscriptions have batches too."""
    async with merged(Recorder(moments=10)) as events:
        mine = events.subscribe()
        assert [len(batch) async for batch in mine.batches(max_size=4, max_delay=99)] == [4, 4, 2]


@pytest.mark.parametrize(("size", "delay"), [(0, 1.0), (-1, 1.0), (1, -1.0), (1, float("nan"))])
async def test_a_batch_has_a_size_and_a_time(size, delay):
    """A size below one and an invalid delay are rejected."""
    with pytest.raises(ValueError, match=r"batch|max_delay"):
        merged(Recorder()).batches(size, delay)


def delivering(*plan):
    """Return a source that delivers a reading of time `at` after so many seconds."""

    async def play(pen):
        for after, at in plan:
            await asyncio.sleep(after)
            pen.read(at=at)

    return play


async def test_ordered_puts_all_sources_in_order_of_time():
    """Events that arrive less than the delay too late are put in order."""
    fast = Script("fast", delivering((1, 1), (1, 2), (1, 3), (1, 4)))
    slow = Script("slow", delivering((2.5, 1), (1, 2), (1, 3), (1, 4)))
    async with merged(fast, slow) as events:
        seen = [(seconds(event.time), event.source.site) async for event in events.ordered(max_delay=2.0)]
    assert [time for time, _ in seen] == sorted(time for time, _ in seen)
    assert len(seen) == 8


async def test_ordered_waits_no_longer_than_max_delay():
    """Each event is delayed by max_delay; at the end of the stream none waits."""
    loop = asyncio.get_running_loop()
    async with merged(Recorder(moments=5)) as events:
        times = [loop.time() async for _ in events.ordered(max_delay=3.0)]
    assert times == [4, 5, 5, 5, 5]


async def test_an_event_that_is_too_late_is_not_held():
    """An event that arrives after later ones were delivered is delivered at once."""
    loop = asyncio.get_running_loop()
    source = Script("a", delivering((1, 10), (5, 2), (1, 11), (9, 12)))
    async with merged(source) as events:
        seen = [(loop.time(), seconds(event.time)) async for event in events.ordered(max_delay=2.0)]
    assert seen == [(3, 10), (6, 2), (9, 11), (16, 12)]


async def test_events_of_a_cancelled_batch_are_not_lost():
    """Cancelled batches take no events out of the stream."""
    async with merged(Recorder(moments=30)) as events:
        for _ in range(4):
            with suppress(TimeoutError):
                async with asyncio.timeout(2.5):
                    await anext(events.batches(100, max_delay=100.0))
        seen = [event async for event in events]
    assert moments(seen) == list(range(1, 31))


async def test_the_delay_of_a_batch_counts_from_its_first_event():
    """The delay counts from the first event of the batch, not from the last wait."""
    async with merged(Recorder(moments=30)) as events:
        batches = events.batches(100, max_delay=4.0)
        for _ in range(3):
            with suppress(TimeoutError):
                async with asyncio.timeout(1.5):
                    await anext(batches)
        assert asyncio.get_running_loop().time() == pytest.approx(4.5)
        assert moments(await anext(batches)) == [1, 2, 3, 4, 5]


async def test_events_held_for_ordering_are_not_lost():
    """After a break out of `ordered`, plain iteration begins with the events held for ordering."""
    async with merged(Recorder("a", moments=20), Recorder("b", moments=20)) as events:
        async for event in events.ordered(max_delay=5.0):
            if event.kind is Kind.READING and event.id == "a-3":
                break
        seen = [event async for event in events]
        got = {event.id for event in readings(seen)} | {"a-1", "a-2", "a-3", "b-1", "b-2", "b-3"}
    assert got == {f"{site}-{n}" for site in "ab" for n in range(1, 21)}
    assert len(readings(seen)) in {34, 35}


async def test_two_tasks_that_iterate_alternately_get_stream_busy():
    """Two tasks that iterate alternately get StreamBusy; passing the iterator on once is allowed."""
    async with merged(Recorder(moments=100)) as events:
        await anext(events)

        async def consume(count):
            for _ in range(count):
                await anext(events)
                await asyncio.sleep(1)

        await asyncio.create_task(consume(3))  # handed on, and back
        await anext(events)
        first, second = asyncio.create_task(consume(50)), asyncio.create_task(consume(50))
        await asyncio.wait([first, second], return_when=asyncio.FIRST_EXCEPTION)
        assert [type(task.exception()) for task in (first, second) if task.done()] == [StreamBusy]
        for task in (first, second):
            task.cancel()
        await asyncio.wait([first, second])


async def test_ordered_holds_no_more_than_the_buffer():
    """When more events wait than the buffer holds, the earliest is delivered without delay."""
    async with merged(Recorder(every_s=0.001, moments=1000), buffer=50) as events:
        ordered = events.ordered(max_delay=3600.0)
        seen = [await anext(ordered) for _ in range(900)]
        assert moments(seen) == list(range(1, 901))
        assert events.pending <= 2 * 50 + 1


async def test_ordering_can_be_cancelled():
    """Cancelling a wait of `ordered` loses no event."""
    seen = []
    async with merged(Recorder(moments=20)) as events:
        ordered = events.ordered(max_delay=2.5)
        while True:
            try:
                async with asyncio.timeout(0.3):
                    seen.append(await anext(ordered))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
    assert moments(seen) == list(range(1, 21))
    assert {event.kind for event in seen} == {Kind.READING}


async def test_readings_skips_all_other_events():
    """Status and gap events stay in the plain stream; readings come in their order, one by one."""
    async with merge(Recorder(moments=5), clock=VirtualClock()) as events:
        mine = events.subscribe()
        assert moments([event async for event in events.readings()]) == [1, 2, 3, 4, 5]
        kinds = {event.kind async for event in mine}
    assert kinds == {Kind.READING, Kind.STATUS}


async def test_cancelled_readings_lose_nothing():
    """A consumer that cancels its waits again and again gets every reading once, from one iterator."""
    seen = []
    async with merged(Recorder(every_s=0.3, moments=20)) as events:
        readings_only = events.readings()
        while True:
            try:
                async with asyncio.timeout(0.25):
                    seen.append(await anext(readings_only))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
    assert moments(seen) == list(range(1, 21))

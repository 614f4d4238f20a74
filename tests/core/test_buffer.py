import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import StreamBusy
from energy_core.stream.buffer import DropOldest
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Kind, SourceId

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOME = SourceId("test", "me", "home")


def an_event(seq, kind=Kind.READING, source=HOME):
    return Event(source=source, kind=kind, key="", time=NOON, received_at=NOON, seq=seq, id=str(seq))


@pytest.fixture
def announced():
    return []


@pytest.fixture
def buffer(announced):
    return DropOldest(4, on_relief=lambda source, loss: announced.append((source, loss)))


def drain(buffer):
    events = []
    while (event := buffer.take()) is not None:
        events.append(event.seq)
    return events


def test_events_come_out_in_the_order_they_went_in(buffer):
    """Readings and control events are taken in the order in which they were put."""
    for seq, kind in enumerate(
        [Kind.STATUS, Kind.READING, Kind.STATUS, Kind.READING, Kind.READING, Kind.STATUS]
    ):
        put = buffer.put if kind is Kind.READING else buffer.keep
        put(an_event(seq, kind))
    assert drain(buffer) == [0, 1, 2, 3, 4, 5]


def test_a_full_buffer_drops_the_oldest_reading(buffer, announced):
    """The newest readings remain; the dropped ones are announced once, when the consumer has caught up."""
    dropped = [buffer.put(an_event(seq)) for seq in range(10)]
    assert [event.seq for event in dropped if event] == [0, 1, 2, 3, 4, 5]
    assert announced == []
    assert drain(buffer) == [6, 7, 8, 9]
    [(source, loss)] = announced
    assert (source, loss.first, loss.last, loss.count) == (HOME, 0, 5, 6)


def test_control_events_are_never_dropped(buffer):
    """Control events are delivered in their place, however many readings arrive."""
    buffer.keep(an_event(100, Kind.STATUS))
    for seq in range(50):
        buffer.put(an_event(seq))
    buffer.keep(an_event(101, Kind.STATUS))
    assert drain(buffer) == [100, 46, 47, 48, 49, 101]


def test_a_second_episode_needs_the_low_water_mark_between(buffer, announced):
    """Drops count as one episode until half the buffer is free."""
    for seq in range(6):
        buffer.put(an_event(seq))
    buffer.take()
    for seq in range(6, 9):
        buffer.put(an_event(seq))
    assert announced == []
    drain(buffer)
    assert [loss.count for _, loss in announced] == [4]
    for seq in range(9, 15):
        buffer.put(an_event(seq))
    drain(buffer)
    assert [loss.count for _, loss in announced] == [4, 2]


def test_losses_are_announced_for_each_source(buffer, announced):
    """An episode that affects several sources is announced once for each."""
    away = SourceId("test", "me", "away")
    for seq in range(6):
        buffer.put(an_event(seq, source=HOME if seq % 2 else away))
    drain(buffer)
    assert {source.site: (loss.first, loss.last, loss.count) for source, loss in announced} == {
        "away": (0, 0, 1),
        "home": (1, 1, 1),
    }


def test_a_capacity_below_one_is_rejected():
    """A capacity below one is rejected."""
    with pytest.raises(ValueError, match="not 0"):
        DropOldest(0, on_relief=lambda *_: None)


def test_the_repr_shows_level_and_losses(buffer):
    """The repr shows how full the buffer is and whether it drops."""
    assert repr(buffer) == "<DropOldest 0 of 4 readings, 0 control events>"
    for seq in range(6):
        buffer.put(an_event(seq))
    assert repr(buffer) == "<DropOldest 4 of 4 readings, 0 control events, dropping (2 so far)>"


@given(
    st.lists(st.sampled_from(["put", "keep", "take"]), max_size=200),
    st.integers(min_value=1, max_value=6),
)
def test_every_reading_is_delivered_or_counted(steps, capacity):
    """In any order of steps, each reading is delivered in order or counted as dropped."""
    announced = []
    buffer = DropOldest(capacity, on_relief=lambda _, loss: announced.append(loss))
    went_in, control, came_out, dropped = 0, [], [], []
    for step in steps:
        if step == "take":
            event = buffer.take()
            if event is not None:
                came_out.append(event.seq)
        elif step == "keep":
            buffer.keep(an_event(went_in, Kind.STATUS))
            control.append(went_in)
            went_in += 1
        else:
            lost = buffer.put(an_event(went_in))
            went_in += 1
            if lost is not None:
                dropped.append(lost.seq)
        assert len(buffer) <= capacity + len(control)
    came_out += drain(buffer)
    buffer.end()
    assert came_out == sorted(came_out)
    assert sorted(came_out + dropped) == list(range(went_in))
    assert set(control) <= set(came_out)
    assert sum(loss.count for loss in announced) == len(dropped)
    if announced:
        assert (announced[0].first, announced[-1].last) == (dropped[0], dropped[-1])


@pytest.mark.virtual_time
async def test_a_waiting_consumer_is_woken_once_for_all_there_is(buffer):
    """Three events put together wake the consumer once."""
    wakes = 0

    async def consume():
        nonlocal wakes
        await buffer.filled()
        wakes += 1
        return drain(buffer)

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(0)
    for seq in range(3):
        buffer.put(an_event(seq))
    assert await consumer == [0, 1, 2]
    assert wakes == 1


@pytest.mark.virtual_time
async def test_two_consumers_cannot_wait(buffer):
    """A second waiting consumer is rejected at once; the first goes on waiting."""
    first = buffer.filled()
    with pytest.raises(StreamBusy):
        buffer.filled()
    buffer.put(an_event(0))
    await first


@pytest.mark.virtual_time
async def test_a_cancelled_wait_does_not_block_the_next(buffer):
    """After a cancelled wait another consumer may wait, and gets the event."""
    buffer.filled().cancel()
    second = buffer.filled()
    buffer.put(an_event(0))
    await second
    assert drain(buffer) == [0]


@pytest.mark.virtual_time
async def test_room_comes_with_the_low_water_mark(buffer):
    """Waiting for room ends when half the buffer is free; cancelled waits are forgotten."""
    await buffer.room()
    for seq in range(4):
        buffer.put(an_event(seq))
    waiters = [asyncio.create_task(buffer.room()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[1].cancel()
    buffer.take()
    await asyncio.sleep(0)
    assert [waiter.done() for waiter in waiters] == [False, True, False]
    buffer.take()
    await asyncio.sleep(0)
    assert [waiter.done() for waiter in waiters] == [True, True, True]


@pytest.mark.virtual_time
async def test_the_end_wakes_all_waiting_tasks(buffer):
    """When the buffer ends, waits for room and for events end."""
    for seq in range(4):
        buffer.put(an_event(seq))
    squeezed = asyncio.create_task(buffer.room())
    await asyncio.sleep(0)
    drain_later = buffer.take
    buffer.end()
    await squeezed
    assert drain_later().seq == 0
    buffer.close()
    assert buffer.take() is None

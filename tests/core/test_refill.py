"""Slow consumers of sources whose record is late, partial, broken or silent: no loss without a gap."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_core.errors import ConnectError, PermissionDenied, ServerFault
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.merge import merge
from energy_core.stream.source import (
    CompleteRange,
    HistoryConfig,
    Reading,
    RecordedQuantities,
    UnreadableRow,
)
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.scripted_sources import Script, of_kind, readings, seconds
from tests.servers.virtual_time import EPOCH, VirtualClock, VirtualTimeLoop

ME = SourceId("test", "me", "a")
POWER, CHARGE = Quantity.PV_POWER, Quantity.BATTERY_SOC


def reading(n, every_s=1.0, values=None):
    return Reading(EPOCH + timedelta(seconds=n * every_s), str(n), values or {POWER: float(n)})


class Meter:
    """A source whose n-th reading is at n * every_s; `answer(meter, first, last)` is its history."""

    id = ME

    def __init__(self, answer, *, until, every_s=1.0, config=None, delays=lambda: 0, rest_s=3000):
        self._answer, self.until, self.every_s, self.sent = answer, until, every_s, 0
        self._rest_s = rest_s
        self._delays = delays  # how many readings later one is delivered, as backfilled; 0: live
        self.history_config = config or HistoryConfig()
        self.asked = []

    async def run(self, outlet):
        outlet.status(State.LIVE)
        delayed = {}
        while self.sent < self.until:
            await asyncio.sleep(self.every_s)
            self.sent += 1
            due = self.sent + (self._delays() if self.sent > 1 else 0)
            delayed.setdefault(due, []).append(self.sent)
            for n in sorted(delayed.pop(self.sent, [])):
                outlet.readings(ME, [reading(n, self.every_s)._replace(backfilled=n < self.sent)])
        for n in sorted(n for each in delayed.values() for n in each):
            outlet.readings(ME, [reading(n, self.every_s)._replace(backfilled=True)])
        await asyncio.sleep(self._rest_s)

    async def history(self, source, start, end):
        assert source == ME
        self.asked.append((seconds(start), seconds(end)))
        numbers = [n for n in range(1, self.sent + 1) if start <= reading(n, self.every_s).time <= end]
        async for each in self._answer(self, numbers):
            yield each


async def whole(meter, numbers):
    for n in numbers:
        yield reading(n, meter.every_s)


async def slow_consumer(meter, *, buffer=4, pause_s=20.0):
    """Return the events of a consumer that pauses once."""
    async with merge(meter, buffer=buffer, include_status=False, clock=VirtualClock()) as events:
        await asyncio.sleep(pause_s + 0.1)
        return [event async for event in events]


def numbers(events):
    return [int(event.id) for event in readings(events)]


@pytest.mark.virtual_time
@pytest.mark.parametrize("every_s", [0.25, 1.0, 2.0, 7.0])
async def test_any_interval_is_filled_without_a_gap(every_s):
    """Several readings a second, or none in most seconds: each comes once and in order."""
    meter = Meter(whole, until=60, every_s=every_s)
    seen = await slow_consumer(meter, pause_s=20 * every_s)
    assert numbers(seen) == list(range(1, 61))
    assert not of_kind(seen, Kind.GAP)


@pytest.mark.virtual_time
async def test_a_record_that_settles_late_is_asked_for_later():
    """`settles_after` counts from the last second that is asked for."""
    asked = []

    async def answer(meter, numbers):
        asked.append((asyncio.get_running_loop().time(), numbers[-1]))
        async for each in whole(meter, numbers):
            yield each

    seen = await slow_consumer(Meter(answer, until=60, config=HistoryConfig(settles_after=9.0)))
    assert numbers(seen) == list(range(1, 61))
    assert all(at >= last + 9 for at, last in asked)


@pytest.mark.virtual_time
@pytest.mark.parametrize("error", [ServerFault("down"), ConnectError("no network")])
async def test_an_error_is_tried_again_and_live_readings_go_on(error):
    """What it hid comes late, a minute later, and there is no gap."""

    async def answer(meter, numbers):
        if len(meter.asked) == 1:
            raise error
        async for each in whole(meter, numbers):
            yield each

    meter = Meter(answer, until=300)
    seen = await slow_consumer(meter)
    assert sorted(numbers(seen)) == list(range(1, 301))
    assert len(seen) == 301  # and the dropped event
    late = [int(event.id) for event in readings(seen) if event.late]
    assert late
    assert late == sorted(late)


@pytest.mark.virtual_time
async def test_a_refusal_is_a_gap_at_once():
    """A repeat cannot change it; the held readings follow."""

    async def answer(_, __):
        raise PermissionDenied("not yours")
        yield

    meter = Meter(answer, until=60)
    seen = await slow_consumer(meter)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end), gap.reason) == (4, 20, "not yours")
    assert numbers(seen) == [*range(1, 5), *range(21, 61)]
    assert len(meter.asked) == 1


@pytest.mark.virtual_time
async def test_an_iterator_without_an_answer_is_left_after_a_minute():
    """It is closed, and the range is asked for again."""
    closed = []

    async def answer(meter, numbers):
        try:
            if len(meter.asked) == 1:
                await asyncio.sleep(10_000)
            async for each in whole(meter, numbers):
                yield each
        finally:
            closed.append(len(meter.asked))

    seen = await slow_consumer(Meter(answer, until=400))
    assert sorted(numbers(seen)) == list(range(1, 401))
    assert closed[0] == 1
    assert not of_kind(seen, Kind.GAP)


@pytest.mark.virtual_time
async def test_what_a_record_cannot_have_is_reported_before_its_rows():
    """A consumer that has the rows knows what they lack."""

    async def answer(_, numbers):
        yield RecordedQuantities(frozenset({CHARGE}))
        for n in numbers:
            yield reading(n, values={CHARGE: 50.0})

    seen = await slow_consumer(Meter(answer, until=60))
    assert numbers(seen) == list(range(1, 61))
    gaps = of_kind(seen, Kind.GAP)
    assert {gap.reason for gap in gaps} == {"not_exported"}
    assert {gap.quantities for gap in gaps} == {(POWER,)}
    first_gap = next(at for at, event in enumerate(seen) if event.kind is Kind.GAP)
    assert not any(event.backfilled for event in seen[:first_gap])


@pytest.mark.virtual_time
async def test_a_source_states_what_it_cannot_have():
    """`CompleteRange` with a reason is a gap at once; without one it is the proof that nothing is missing."""

    async def answer(_, numbers):
        for n in numbers:
            if n not in {10, 11, 12}:
                yield reading(n)
        yield CompleteRange(reading(10).time, reading(12).time, "overwritten")

    meter = Meter(answer, until=60, config=HistoryConfig(ordered=False))
    seen = await slow_consumer(meter)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end), gap.reason) == (10, 12, "overwritten")
    assert sorted(numbers(seen)) == [n for n in range(1, 61) if n not in {10, 11, 12}]


@pytest.mark.virtual_time
async def test_a_reading_that_has_no_room_and_is_out_of_order_is_a_gap():
    """What was delivered of its second is not known any more."""

    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.read(4)
        pen.read(at=2)
        await asyncio.sleep(100)

    async with merge(Script("a", play), buffer=4, include_status=False, clock=VirtualClock()) as events:
        await asyncio.sleep(1)
        seen = [event async for event in events]
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end), gap.reason) == (2, 2, "slow_consumer")


@pytest.mark.virtual_time
async def test_pending_ranges_of_a_slow_consumer_are_in_its_checkpoint():
    """The next run fetches them; the status shows them until then."""

    async def answer(_, __):
        return
        yield

    meter = Meter(answer, until=200)
    async with merge(
        meter, buffer=4, include_status=False, checkpoint=Checkpoint(), clock=VirtualClock()
    ) as events:
        await asyncio.sleep(20.1)
        async for event in events:
            if int(event.id) > 30 if event.kind is Kind.READING else False:
                [span] = events.status[ME].pending
                assert (seconds(span[0]), seconds(span[1])) == (4, 20)
                stored = events.commit(event)
                break
    [position] = [each for sources in stored.positions.values() for each in sources.values()]
    assert [(seconds(start), seconds(end)) for start, end in position.pending] == [(4, 20)]


@pytest.mark.virtual_time
async def test_a_refill_that_is_over_does_not_end_the_next():
    """Its task may still wait for room when the buffer is full again."""

    class Refusing(Script):
        async def history(self, *_):
            asked.append(0)
            if len(asked) > 1:
                await asyncio.sleep(10_000)
            raise PermissionDenied("not yours")
            yield

    pens, asked = [], []

    async def play(pen):
        pens.append(pen)
        pen.outlet.status(State.LIVE)
        await asyncio.sleep(70)

    async with merge(Refusing("a", play), buffer=4, include_status=False, clock=VirtualClock()) as events:
        seen = []

        async def take(count):
            while len(readings(seen)) < count:
                seen.append(await anext(events))

        await asyncio.sleep(0.1)
        [pen] = pens
        pen.read(5)  # the fifth has no room
        await take(2)
        pen.read(4)  # held
        await asyncio.sleep(20)  # refused: two of them have room, the task waits with the others
        await take(6)
        pen.read(3)  # in the same step; the last has no room
        await asyncio.sleep(20)
        await take(10)
        await asyncio.sleep(20)  # the source ends while the second request runs
        seen += [event async for event in events]
    assert [seconds(event.time) for event in readings(seen)] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert [(seconds(gap.start), seconds(gap.end)) for gap in of_kind(seen, Kind.GAP)] == [(4, 5), (11, 12)]


@pytest.mark.virtual_time
@pytest.mark.parametrize("every_s", [0.5, 1.0, 7.0])
async def test_a_consumer_that_joins_late_gets_what_it_lacks(every_s):
    """It continues at its own checkpoint: what others had since then comes first, and nothing twice."""
    meter = Meter(whole, until=60, every_s=every_s)
    async with merge(meter, checkpoint=Checkpoint(), include_status=False, clock=VirtualClock()) as events:
        first = [await anext(events) for _ in range(10)]
        stored = events.commit(first[-1])
        others = [await anext(events) for _ in range(20)]
        late = events.subscribe(checkpoint=stored)
        seen = [event async for event in late]
        others += [event async for event in events]
    assert numbers(others) == list(range(11, 61))
    assert numbers(seen) == list(range(11, 61))
    assert not of_kind(seen, Kind.GAP)
    assert [event.backfilled for event in readings(seen)] == [True] * 20 + [False] * 30


@pytest.mark.virtual_time
async def test_held_readings_of_a_source_that_ends_are_delivered():
    """They are in hand: the gap before them is reported, and they follow although the buffer is full."""

    class Silent(Script):
        async def history(self, *_):
            await asyncio.sleep(10_000)
            yield

    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.read(5)  # the fifth has no room
        await asyncio.sleep(20)
        pen.read(4)  # held
        await asyncio.sleep(20)

    async with merge(Silent("a", play), buffer=4, clock=VirtualClock()) as events:
        await asyncio.sleep(10)
        seen = [await anext(events) for _ in range(4)]  # two states and two readings
        await asyncio.sleep(100)
        seen += [event async for event in events]
    assert [seconds(event.time) for event in readings(seen)] == [1, 2, 3, 4, 6, 7, 8, 9]
    assert [(seconds(gap.start), seconds(gap.end)) for gap in of_kind(seen, Kind.GAP)] == [(4, 5)]
    assert seen[-1].kind is Kind.STATUS


# --- any record, any consumer ------------------------------------------------------------------------------


def spoiled(chance):  # noqa: C901
    """Return a history that answers in any of the ways in which a record can be wrong, and later right."""

    async def answer(meter, numbers):
        how = chance.choice(
            ["whole", "whole", "behind", "cut", "error", "silent", "unreadable", "empty", "refused"]
        )
        if len(meter.asked) > 6:
            how = "whole"
        await asyncio.sleep(chance.choice([0.0, 0.3, 5.0]))
        if how == "error":
            raise ServerFault("down")
        if how == "refused":
            raise PermissionDenied("not yours")
        if how == "silent":
            await asyncio.sleep(100)
        if how == "behind":
            last = int(meter.sent * meter.every_s) - 15  # a record has all readings of a second, or none
            numbers = [n for n in numbers if n * meter.every_s < last]
        if how == "empty":
            numbers = []
        for n in numbers:
            if how == "cut" and chance.random() < 0.2:
                raise ConnectError("broken off")
            if how == "unreadable" and chance.random() < 0.2:
                yield UnreadableRow()
            else:
                yield reading(n, meter.every_s)

    return answer


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_reading_is_delivered_once_or_reported(seed):
    """For any interval, pauses, buffer and spoiled answers; and the numbers have no unannounced jump."""
    chance = random.Random(seed)
    every_s = chance.choice([0.25, 0.5, 1.0, 3.0])
    config = HistoryConfig(ordered=chance.random() < 0.8, longest_s=chance.choice([10, 86_400]))
    delays = chance.choice([lambda: 0, lambda: chance.choice([0] * 19 + [7])])
    meter = Meter(
        spoiled(chance),
        until=chance.randint(20, 200),
        every_s=every_s,
        config=config,
        delays=delays,
        rest_s=chance.choice([0, 3, 3000]),
    )

    async def consume():
        seen = []
        async with merge(
            meter, buffer=chance.choice([1, 2, 5, 16]), include_status=False, clock=VirtualClock()
        ) as events:
            async for event in events:
                seen.append(event)
                if chance.random() < 0.15:
                    await asyncio.sleep(chance.choice([1, 5, 20]) * every_s)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return seen

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        seen = runner.run(consume())
    delivered = numbers(seen)
    assert len(delivered) == len(set(delivered))
    gaps = of_kind(seen, Kind.GAP)
    for n in set(range(1, meter.until + 1)) - set(delivered):
        time = reading(n, every_s).time
        assert any(gap.start <= time <= gap.end for gap in gaps), f"{n} is lost"
    jumps = sum(after.seq - before.seq - 1 for before, after in pairwise(seen))
    assert jumps == sum(each.count for each in of_kind(seen, Kind.DROPPED))
    newest = 0
    for event in readings(seen):
        assert event.late == (int(event.id) < newest)
        newest = max(newest, int(event.id))

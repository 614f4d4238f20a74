import asyncio
import logging
from collections import Counter
from datetime import timedelta

import pytest

from energy_core.errors import ServerFault, SlowConsumer
from energy_core.stream.buffer import POLICIES
from energy_core.stream.merge import merge
from energy_core.stream.vocabulary import Kind, State
from tests.servers.scripted_sources import Recorder, Script, moments, of_kind, readings, seconds, states
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time


def flood(site="a", n=100, *, rest_s=0.0):
    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.read(n)
        await asyncio.sleep(rest_s)

    return Script(site, play)


async def slowly(events, until, *, pause_s=0.0):
    """Take events until a reading of the second `until`."""
    seen = []
    async for event in events:
        seen.append(event)
        if event.kind is Kind.READING and seconds(event.time) >= until:
            return seen
        await asyncio.sleep(pause_s)
    return seen


@pytest.mark.parametrize("policy", POLICIES)
async def test_no_policy_affects_a_fast_consumer(policy):
    """A fast consumer gets everything in order under every policy."""
    async with merge(Recorder(moments=200), policy=policy, buffer=5, clock=VirtualClock()) as events:
        seen = [event async for event in events]
    assert moments(seen) == list(range(1, 201))
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert {event.kind for event in seen} == {Kind.READING, Kind.STATUS}


async def test_block_has_the_source_fetch_what_did_not_fit():
    """After a pause of a hundred seconds the consumer gets all readings, in order and none twice."""
    recorder = Recorder(moments=150)
    async with merge(recorder, buffer=10, clock=VirtualClock()) as events:
        await asyncio.sleep(100.5)
        seen = [event async for event in events]
    assert moments(seen) == list(range(1, 151))
    [loss] = of_kind(seen, Kind.DROPPED)
    assert (loss.count, loss.last - loss.first + 1) == (90, 90)
    assert recorder.asked == [(10, 100)]
    assert [event.backfilled for event in readings(seen)] == [False] * 10 + [True] * 90 + [False] * 50
    assert not any(event.late for event in seen)
    assert of_kind(seen, Kind.GAP) == []


async def test_block_accepts_further_readings_of_an_accepted_time():
    """Further readings of an accepted time are accepted up to a limit; the rest is a gap."""

    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.read(4)
        pen.read(3, at=4)
        pen.read(1, at=5)
        pen.read(9, at=4)

    async with merge(Script("a", play), buffer=4, clock=VirtualClock()) as events:
        await asyncio.sleep(1)
        seen = [event async for event in events]
    assert moments(seen) == [1, 2, 3, 4, 4, 4, 4]
    assert [loss.count for loss in of_kind(seen, Kind.DROPPED)] == [10]


async def test_live_readings_are_held_during_a_refill():
    """Live readings that arrive during a slow refill are delivered after it."""
    recorder = Recorder(moments=150, refill_s=20.0)
    async with merge(recorder, buffer=30, clock=VirtualClock()) as events:
        await asyncio.sleep(100.5)
        seen = [event async for event in events]
    assert moments(seen) == list(range(1, 151))
    assert len(recorder.asked) == 1


async def test_live_readings_that_cannot_be_held_are_refilled_too():
    """If more readings arrive than may be held, they are refilled too, until the consumer has caught up."""
    recorder = Recorder(moments=400, refill_s=40.0)
    async with merge(recorder, buffer=30, clock=VirtualClock()) as events:
        await asyncio.sleep(100.5)
        recorder.refill_s, first = 5.0, recorder.refill_s
        assert first > 30
        seen = [event async for event in events]
    assert moments(seen) == list(range(1, 401))
    assert [event.seq for event in seen] == sorted(event.seq for event in seen)


async def test_a_consumer_that_stays_too_slow_is_behind_and_loses_nothing():
    """At half the pace of its source, a consumer gets every reading once and in order."""
    async with merge(Recorder(), buffer=10, clock=VirtualClock()) as events:
        seen = await slowly(events, 300, pause_s=2.0)
    assert moments(seen) == list(range(1, 301))


async def test_a_source_that_cannot_fetch_again_leaves_a_gap():
    """Readings that do not fit are counted by `dropped`, and their time is reported as a gap."""
    recorder = Recorder(moments=40, resumable=False)
    async with merge(recorder, buffer=10, clock=VirtualClock()) as events:
        await asyncio.sleep(30.5)
        seen = [event async for event in events]
        status = events.status[recorder.id]
    assert moments(seen) == [*range(1, 11), *range(31, 41)]
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end), gap.reason) == (10, 30, "slow_consumer")
    assert (status.dropped, status.gaps, of_kind(seen, Kind.DROPPED)[0].count) == (20, 1, 20)
    kinds = [event.kind for event in seen if event.kind is not Kind.STATUS]
    assert kinds == [Kind.READING] * 10 + [Kind.DROPPED, Kind.GAP] + [Kind.READING] * 10


@pytest.mark.parametrize("trouble", [ServerFault("down", status=503), ZeroDivisionError("oops")])
async def test_a_fetch_that_fails_is_a_gap_and_the_stream_goes_on(trouble, caplog):
    """A refill that fails leaves a gap with the reason; the held readings follow."""
    recorder = Recorder(moments=60, refill_s=3.0)
    recorder.trouble = trouble
    async with merge(recorder, buffer=10, clock=VirtualClock()) as events:
        await asyncio.sleep(30.5)
        seen = [event async for event in events]
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end)) == (10, 30)
    assert ("down" if isinstance(trouble, ServerFault) else "ZeroDivisionError") in gap.reason
    assert moments(seen) == [*range(1, 11), *range(31, 61)]
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == isinstance(
        trouble, ZeroDivisionError
    )


async def test_a_source_that_ends_reports_its_gap_first():
    """`dropped` and the gap come before the last status of the source."""
    events = []
    async with merge(flood(n=25), buffer=10, clock=VirtualClock()) as stream:
        await asyncio.sleep(1)
        events = [event async for event in stream]
    assert [event.kind for event in events][-3:] == [Kind.DROPPED, Kind.GAP, Kind.STATUS]
    assert states(events, "a")[-1] is State.CLOSED
    assert len(readings(events)) == 10


async def test_a_running_refill_ends_with_its_source():
    """A source that fails during a refill leaves a gap and no task."""
    recorder = Recorder(moments=38, refill_s=3600.0)
    async with merge(recorder, buffer=10, clock=VirtualClock()) as events:
        await asyncio.sleep(30.5)
        seen = [event async for event in events]
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end)) == (10, 30)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_drop_oldest_keeps_the_newest():
    """Of a hundred readings the last ten arrive, and one event announces the others."""
    async with merge(flood(), policy="drop_oldest", buffer=10, clock=VirtualClock()) as events:
        await asyncio.sleep(1)
        seen = [event async for event in events]
    assert moments(seen) == list(range(91, 101))
    [loss] = of_kind(seen, Kind.DROPPED)
    assert (loss.first, loss.last, loss.count) == (3, 92, 90)


async def test_coalesce_latest_keeps_the_newest_of_each_key():
    """A slow display gets one reading per device; the replaced ones are announced when it is idle."""

    async def play(pen):
        for _ in range(50):
            await asyncio.sleep(1)
            pen.read(instance=1)
            pen.read(instance=2)
        await asyncio.sleep(10)

    async with merge(Script("a", play), policy="coalesce_latest", buffer=10, clock=VirtualClock()) as events:
        await asyncio.sleep(50.5)
        seen = [event async for event in events]
    assert [(event.source.instance, seconds(event.time)) for event in readings(seen)] == [(1, 99), (2, 100)]
    assert [loss.count for loss in of_kind(seen, Kind.DROPPED)] == [49, 49]


async def test_coalescing_starves_no_key():
    """With a hundred devices that change all the time, a slow display gets each of them in turn."""

    async def play(pen):
        for _ in range(100):
            await asyncio.sleep(1)
            for instance in range(100):
                pen.read(instance=instance)

    async with merge(Script("a", play), policy="coalesce_latest", clock=VirtualClock()) as events:
        shown = Counter()
        for _ in range(1000):
            event = await anext(events)
            shown[event.source.instance] += event.kind is Kind.READING
            await asyncio.sleep(0.05)
    assert len(shown) == 100
    assert max(shown.values()) - min(shown.values()) <= 2


async def test_coalescing_never_moves_a_reading_past_a_status():
    """A reading before a status is not replaced by one after it."""

    async def play(pen):
        pen.read(3)
        pen.outlet.status(State.LIVE)
        pen.read(3)

    async with merge(Script("a", play), policy="coalesce_latest", clock=VirtualClock()) as events:
        await asyncio.sleep(1)
        seen = [event async for event in events]
    contents = [
        event.detail.state if event.kind is Kind.STATUS else seconds(event.time)
        for event in seen
        if event.kind is not Kind.DROPPED
    ]
    assert contents == [State.CONNECTING, 3, State.LIVE, 6, State.CLOSED]
    assert [event.seq for event in seen] == sorted(event.seq for event in seen)


async def test_coalescing_never_shows_the_older_of_two():
    """A late reading does not replace a newer pending one."""

    async def play(pen):
        pen.read(at=10)
        pen.read(at=5)

    async with merge(Script("a", play), policy="coalesce_latest", clock=VirtualClock()) as events:
        await asyncio.sleep(1)
        assert moments([event async for event in events]) == [10]


async def test_raise_gives_a_consumer_five_seconds():
    """After five seconds with a full buffer the consumer gets SlowConsumer instead of the rest."""
    async with merge(Recorder(), policy="raise", buffer=10, clock=VirtualClock()) as events:
        await asyncio.sleep(14.5)
        for _ in range(10):
            await anext(events)
        await asyncio.sleep(14.9)
        with pytest.raises(SlowConsumer, match="10 or more"):
            await anext(events)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_raise_has_a_hard_limit():
    """At most eight times the buffer is held, however fast readings arrive."""
    async with merge(flood(n=1000, rest_s=60), policy="raise", buffer=10, clock=VirtualClock()) as events:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(SlowConsumer, match="80 readings"):
            await anext(events)


async def test_raise_affects_no_other_consumer():
    """The other consumers of the stream are not affected."""
    async with merge(Recorder(moments=60), clock=VirtualClock()) as stream:
        slow, fast = stream.subscribe(policy="raise", buffer=5), stream.subscribe()
        seen = [event async for event in fast]
        with pytest.raises(SlowConsumer):
            await anext(slow)
    assert moments(seen) == list(range(1, 61))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("resumable", [True, False])
async def test_ten_minutes_of_a_consumer_a_thousand_times_too_slow(policy, resumable):
    """Memory stays bounded, the source never waits, and every reading is delivered or counted."""
    recorder = Recorder(every_s=0.01, moments=20_000, resumable=resumable)
    delivered, raised = [], False
    async with merge(
        recorder, policy=policy, buffer=64, include_status=False, clock=VirtualClock()
    ) as events:
        stream = aiter(events)
        try:
            while True:
                event = await anext(stream)
                delivered.append(event)
                assert events.pending <= 64 * 9
                if asyncio.get_running_loop().time() < 200:
                    await asyncio.sleep(10)
        except SlowConsumer:
            raised = True
        except StopAsyncIteration:
            pass
        status = events.status[recorder.id]
    assert recorder.sent == 20_000 or raised
    lost = sum(loss.count for loss in of_kind(delivered, Kind.DROPPED))
    live = [event for event in readings(delivered) if not event.backfilled]
    if policy == "raise":
        assert raised
    else:
        assert len(live) + lost == status.readings == 20_000
        assert lost == status.dropped
    delivered_times = set(moments(delivered))
    if policy == "block":
        gaps = of_kind(delivered, Kind.GAP)
        covered = {n for gap in gaps for n in range(seconds(gap.start), seconds(gap.end) + 1)}
        assert delivered_times | covered == set(range(1, 20_001))
        assert len(delivered_times) == len(readings(delivered))


async def test_subscribers_are_independent():
    """Each has its own numbers; a slow one changes neither the events of the others nor their time."""
    recorder = Recorder(moments=100)
    async with merge(recorder, clock=VirtualClock()) as stream:
        fast = stream.subscribe()
        lossy = stream.subscribe(policy="drop_oldest", buffer=5)
        blocked = stream.subscribe(buffer=5)
        times = []

        async def at_once():
            async for event in fast:
                times.append(asyncio.get_running_loop().time())
                yield event

        seen = [event async for event in at_once()]
        late = [event async for event in lossy], [event async for event in blocked]
    for mine in (seen, *late):
        numbers = [event.seq for event in mine]
        assert numbers == sorted(set(numbers))
    assert [event.seq for event in seen] == list(range(1, 104))
    assert times == [0, 0, *range(1, 101), 100]
    assert moments(late[0]) == list(range(96, 101))
    assert moments(late[1])[:5] == list(range(1, 6))
    assert (lossy.lost, blocked.lost) == (95, 95)


async def test_a_slow_subscriber_does_not_hold_up_a_poller():
    """`room` waits until any consumer has room."""
    asked = []

    async def play(pen):
        for _ in range(100):
            await pen.outlet.room()
            asked.append(asyncio.get_running_loop().time())
            pen.read()
            await asyncio.sleep(1)

    async with merge(Script("a", play), clock=VirtualClock()) as stream:
        fast, _slow = stream.subscribe(), stream.subscribe(buffer=3)
        assert len(readings([event async for event in fast])) == 100
    assert asked == list(range(100))


async def test_a_refill_is_delivered_to_one_consumer():
    """A refill is delivered to the consumer that lacked it."""
    async with merge(Recorder(moments=60), clock=VirtualClock()) as stream:
        fast, slow = stream.subscribe(), stream.subscribe(buffer=5)
        task = asyncio.create_task(anext(slow))
        seen = []
        async for event in fast:
            seen.append(event)
            if len(seen) == 40:
                task_two = asyncio.create_task(slowly(slow, 60))
        first, rest = await task, await task_two
    assert moments(seen) == list(range(1, 61))
    assert not any(event.backfilled for event in seen)
    assert moments([first, *rest]) == list(range(1, 61))


async def test_a_stream_that_is_not_iterated_buffers_nothing():
    """A stream that is not iterated buffers nothing for itself; iterating it later begins with new events."""
    async with merge(Recorder(moments=50), buffer=5, clock=VirtualClock()) as stream:
        one = stream.subscribe()
        await asyncio.sleep(20.5)
        assert stream.pending == 0
        task = asyncio.create_task(slowly(stream, 50))
        assert moments([event async for event in one]) == list(range(1, 51))
        assert moments(await task) == list(range(21, 51))


async def test_a_subscription_ends_by_itself():
    """Closing a subscription wakes its consumer, and nothing is buffered for it afterwards."""
    async with merge(Recorder(moments=30), clock=VirtualClock()) as stream:
        one, two = stream.subscribe(), stream.subscribe()
        async with one:
            waiting = asyncio.create_task(slowly(one, 99))
            await asyncio.sleep(10.5)
        assert moments(await waiting) == list(range(1, 11))
        assert [event async for event in one] == []
        assert moments([event async for event in two]) == list(range(1, 31))
        assert one.pending == 0


async def test_backfilled_and_late_duplicates_are_dropped_and_live_ones_never():
    """Backfilled and late duplicates are dropped; live ones and revisions are not."""

    async def play(pen):
        def put(at, name, **marks):
            pen.outlet.reading(
                pen.source, time=EPOCH + timedelta(seconds=at), id=name, values={}, raw={}, **marks
            )

        put(1, "one")
        put(1, "one")
        put(2, "two")
        put(1, "one")
        put(2, "two", backfilled=True)
        put(2, "two", backfilled=True, revision=1)
        put(2, "two", backfilled=True, revision=1)
        put(3, "three", backfilled=True)

    async with merge(Script("a", play), include_status=False, clock=VirtualClock()) as events:
        seen = [(event.id, event.revision) async for event in events]
    assert seen == [("one", 0), ("one", 0), ("two", 0), ("two", 1), ("three", 0)]


async def test_the_last_thousand_ids_are_remembered():
    """Exactly the last thousand ids of a source are remembered."""

    async def play(pen):
        pen.read(1500)
        for n in (501, 500, 1500):
            pen.count = n - 1
            pen.read(backfilled=True)

    async with merge(Script("a", play), buffer=9999, include_status=False, clock=VirtualClock()) as events:
        seen = [event async for event in events]
    assert [event.id for event in seen[1500:]] == ["a-500"]


@pytest.mark.parametrize("policy", ["Block", "", "drop", None])
async def test_an_unknown_policy_is_refused(policy):
    """An unknown policy is a ValueError that names the known ones."""
    with pytest.raises(ValueError, match="coalesce_latest"):
        merge(Recorder(), policy=policy)


@pytest.mark.parametrize("refill_s", [0.5, 3.0, 6.0, 9.0])
async def test_readings_lost_during_a_refill_are_refilled_while_the_consumer_waits(refill_s):
    """Readings lost during a refill are refilled even if their loss was announced before it ended."""
    async with merge(
        Recorder(moments=200, refill_s=refill_s), policy="block", buffer=4, clock=VirtualClock()
    ) as events:
        await asyncio.sleep(10)
        seen = []
        async with asyncio.timeout(2000):
            while len(readings(seen)) < 150:
                seen.append(await anext(events))
    assert moments(seen) == list(range(1, 151))

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from energy_core.errors import (
    AuthFailed,
    InternalError,
    PermissionDenied,
    StreamBusy,
    StreamClosed,
)
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.merge import merge
from energy_core.stream.source import StreamPosition
from energy_core.stream.status import TRANSITIONS
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.scripted_sources import Recorder, Script, moments, of_kind, readings, states
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time

A = SourceId("test", "me", "a")


def refused(site="a", error=None, after_s=1.0):
    async def play(pen):
        pen.read()
        await asyncio.sleep(after_s)
        raise error or AuthFailed("no")

    return Script(site, play)


async def take(events, count):
    return [await anext(events) for _ in range(count)]


async def test_a_source_can_join_and_leave_while_the_stream_runs():
    """An added source delivers from then on; a removed one ends, and its buffered events are delivered."""
    async with merge(Recorder("a"), clock=VirtualClock()) as events:
        await asyncio.sleep(3.5)
        events.add(Recorder("b"))
        await asyncio.sleep(3)
        await events.remove(A)
        assert set(events.status) == {SourceId("test", "me", "b")}
        await asyncio.sleep(2.5)
        await events.drain()
        seen = [event async for event in events]
    assert states(seen, "a") == [State.CONNECTING, State.LIVE, State.CLOSED]
    assert moments([event for event in seen if event.source.site == "a"]) == list(range(1, 7))
    assert moments([event for event in seen if event.source.site == "b"]) == list(range(1, 6))


async def test_the_numbers_of_a_source_go_on_when_it_comes_back():
    """A source that is removed and added again continues its numbers."""
    async with merge(Recorder("a"), Recorder("b"), clock=VirtualClock()) as events:
        await asyncio.sleep(2.5)
        await events.remove(A)
        events.add(Recorder("a", moments=2))
        await asyncio.sleep(3)
        await events.drain()
        numbers = [event.seq async for event in events if event.source == A]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_what_cannot_be_added_or_removed():
    """An existing id, a used source, an unknown id and a stream that is not open raise."""
    used = Recorder("a")
    stream = merge(used, clock=VirtualClock())
    with pytest.raises(StreamClosed):
        stream.add(Recorder("b"))
    async with stream as events:
        with pytest.raises(ValueError, match="already"):
            events.add(Recorder("a"))
        with pytest.raises(KeyError):
            await events.remove(SourceId("test", "me", "b"))
        await events.remove(A)
        with pytest.raises(ValueError, match="used already"):
            events.add(used)
    with pytest.raises(StreamClosed):
        stream.add(Recorder("c"))


async def test_a_failed_source_is_restarted_by_a_fresh_one():
    """It stays auth_failed until it is restarted; then it connects and continues its numbers."""
    async with merge(refused(), Recorder("b"), clock=VirtualClock()) as events:
        await asyncio.sleep(10.5)
        assert events.status[A].state is State.AUTH_FAILED
        await events.restart(Recorder("a", moments=3))
        assert (events.status[A].state, events.status[A].restarts) == (State.CONNECTING, 1)
        await asyncio.sleep(5)
        await events.drain()
        seen = [event async for event in events if event.source == A]
    assert [event.detail.state for event in seen if event.kind is Kind.STATUS] == [
        State.CONNECTING,
        State.AUTH_FAILED,
        State.CONNECTING,
        State.LIVE,
        State.CLOSED,
    ]
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))


async def test_a_restart_by_id_delivers_what_happened_meanwhile():
    """A restartable source is restarted by its id and delivers what happened meanwhile."""
    recorder = Recorder("a")
    async with merge(recorder, Recorder("b"), clock=VirtualClock()) as events:
        await asyncio.sleep(5.5)
        await events.restart(A)
        await asyncio.sleep(4.6)
        await events.drain()
        seen = [event async for event in events if event.source == A]
    assert moments(seen) == list(range(1, 10))
    assert states(seen, "a")[-3:] == [State.CONNECTING, State.LIVE, State.CLOSED]


async def test_the_only_source_is_restarted_under_a_waiting_consumer():
    """The stream does not end during the restart; the consumer gets the events of the successor."""
    async with merge(Recorder("a", moments=12), clock=VirtualClock()) as events:

        async def consume():
            return [event async for event in events]

        consumer = asyncio.create_task(consume())
        await asyncio.sleep(3.5)
        await events.restart(A)
        seen = await consumer
    assert moments(seen) == list(range(1, 13))


async def test_a_restart_of_a_stream_that_is_closed_meanwhile_starts_nothing():
    """Closing during a restart starts nothing and leaves nothing running."""
    async with merge(Recorder("a"), clock=VirtualClock()) as events:
        await asyncio.sleep(1.5)
        restarting = asyncio.create_task(events.restart(A))
        await asyncio.sleep(0)
        await events.aclose()
        with pytest.raises(StreamClosed):
            await restarting
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_source_that_is_added_again_repeats_nothing_that_is_buffered():
    """A source that is added again resumes behind what was delivered into buffers, consumed or not."""
    start = Checkpoint({A: {A: StreamPosition(time=EPOCH, seq=0)}})
    async with merge(Recorder("a"), Recorder("b"), checkpoint=start, clock=VirtualClock()) as events:
        await asyncio.sleep(10.5)
        await take(events, 5)
        await events.remove(A)
        events.add(Recorder("a", moments=14))
        await asyncio.sleep(10)
        await events.drain()
        rest = [event async for event in events]
    mine = [event.id for event in readings(rest) if event.source == A]
    assert len(mine) == len(set(mine))
    assert mine[-4:] == [f"a-{n}" for n in range(11, 15)]


async def test_a_slow_subscriber_causes_no_duplicates_for_others():
    """After a restart all resume where the source stopped; a subscriber that was behind gets a gap."""
    async with merge(Recorder("a", every_s=0.01), Recorder("b"), clock=VirtualClock()) as events:
        slow, fast = events.subscribe(buffer=16), events.subscribe(buffer=10_000)
        await asyncio.sleep(30)
        await events.restart(A)
        await asyncio.sleep(1)
        await events.drain()
        seen = [event.id async for event in fast if event.kind is Kind.READING and event.source == A]
        held_up = [event async for event in slow if event.source == A]
    assert len(seen) == len(set(seen)) > 3000
    assert of_kind(held_up, Kind.GAP)


async def test_what_failed_fast_and_was_restarted_is_forgotten():
    """A stream that continues after an error does not end with that error later."""
    async with merge(refused(), Recorder("b"), fail_fast=True, clock=VirtualClock()) as events:
        await asyncio.sleep(2)
        await events.restart(Recorder("a", moments=3))
        assert 3 in moments([event async for event in events])


async def test_a_restarted_source_gets_the_ids_and_quantities_of_the_newest_time():
    """The successor gets the ids and quantities of all readings with the newest time."""

    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.read(3)
        pen.read(1, at=3)
        raise PermissionDenied("no more")

    fresh = Recorder("a", moments=3)
    async with merge(Script("a", play), Recorder("b"), clock=VirtualClock()) as events:
        await asyncio.sleep(1)
        await events.restart(fresh)
        await asyncio.sleep(1)
    assert fresh.since.time == EPOCH + timedelta(seconds=3)
    assert fresh.since.ids == ("a-3", "a-4")
    assert fresh.since.quantities == {Quantity.PV_POWER}


async def test_a_source_that_cannot_resume_leaves_a_gap_over_a_restart():
    """The time between the last reading and the restart is reported."""
    async with merge(refused(), Recorder("b"), clock=VirtualClock()) as events:
        await asyncio.sleep(10)
        await events.restart(Recorder("a", moments=0, resumable=False))
        await asyncio.sleep(1)
        await events.drain()
        [gap] = [event.detail async for event in events if event.kind is Kind.GAP]
    assert (gap.start, gap.end) == (EPOCH + timedelta(seconds=1), EPOCH + timedelta(seconds=10))


async def test_a_restart_without_a_fresh_source_says_what_is_missing():
    """A source without `again` needs a new source; a used one is rejected."""
    script = refused()
    async with merge(script, Recorder("b"), clock=VirtualClock()) as events:
        await asyncio.sleep(5)
        with pytest.raises(ValueError, match=r"has no again\(\)"):
            await events.restart(A)
        with pytest.raises(ValueError, match="used already"):
            await events.restart(script)
        with pytest.raises(KeyError):
            await events.restart(SourceId("test", "me", "x"))


async def test_a_restart_revives_a_stream_whose_last_source_had_failed():
    """A stream that ended with its only source continues after a restart."""
    async with merge(refused(), clock=VirtualClock()) as events:
        assert len([event async for event in events]) == 3
        await events.restart(Recorder("a", moments=3))
        seen = [event async for event in events]
        assert moments(seen) == [2, 3]  # the first was delivered before
        assert states(seen, "a")[0] is State.CONNECTING


async def collect(consumer, seen):
    async for event in consumer:
        seen.append(event)


async def test_failing_fast_ends_everything_with_the_error():
    """The first failure ends the stream: buffered events are delivered, then the error is raised."""
    async with merge(Recorder("b"), refused(after_s=3.5), fail_fast=True, clock=VirtualClock()) as events:
        subscriber = events.subscribe()
        await asyncio.sleep(0)
        for consumer in (events, subscriber):
            seen = []
            with pytest.raises(AuthFailed):
                await collect(consumer, seen)
            assert asyncio.get_running_loop().time() == 3.5
            assert [event async for event in consumer] == []
            if consumer is subscriber:
                assert moments([event for event in seen if event.source.site == "b"]) == [1, 2, 3]
                assert states(seen, "a")[-1] is State.AUTH_FAILED
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_source_that_just_ends_is_no_failure():
    """A source that returns does not trigger fail_fast."""
    sources = Recorder("a", moments=1), Recorder("b", moments=5)
    async with merge(*sources, fail_fast=True, clock=VirtualClock()) as events:
        assert len(readings([event async for event in events])) == 6


async def test_draining_delivers_what_is_there():
    """After `drain` no source delivers; everything buffered is delivered, then the stream ends."""
    async with merge(Recorder("a"), Recorder("b"), clock=VirtualClock()) as events:
        await asyncio.sleep(20.5)
        await events.drain()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        seen = [event async for event in events]
    assert [len(moments([event for event in seen if event.source.site == site])) for site in "ab"] == [20, 20]
    assert states(seen, "a")[-1] is states(seen, "b")[-1] is State.CLOSED


async def test_draining_reports_what_did_not_fit():
    """What did not fit is reported as a gap, because no source can refill it any more."""
    async with merge(Recorder("a"), buffer=5, clock=VirtualClock()) as events:
        await asyncio.sleep(20.5)
        await events.drain()
        seen = [event async for event in events]
    assert moments(seen) == [1, 2, 3, 4, 5]
    assert len(of_kind(seen, Kind.GAP)) == len(of_kind(seen, Kind.DROPPED)) == 1


async def test_the_snapshot_has_ages_counters_and_the_next_attempt():
    """It has the age of the state, the time since the last reading, and the time of the next attempt."""

    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.read(3)
        pen.read(at=1)
        pen.read(at=9, backfilled=True)
        await asyncio.sleep(10)
        pen.outlet.status(State.DISCONNECTED, reason="gone", retry_in=30.0)
        pen.outlet.gap(pen.source, start=EPOCH, end=EPOCH, reason="test")
        await asyncio.sleep(60)

    async with merge(Script("a", play), clock=VirtualClock()) as events:
        assert events.status[A].quiet_s is None
        await asyncio.sleep(15)
        status = events.status[A]
    assert (status.state, status.reason, status.age_s, status.retry_in) == (
        State.DISCONNECTED,
        "gone",
        5.0,
        25.0,
    )
    assert (status.readings, status.backfilled, status.late, status.gaps) == (5, 1, 1, 1)
    assert (status.quiet_s, status.last) == (15.0, EPOCH + timedelta(seconds=9))
    assert status.notes == {}


async def test_the_snapshot_has_the_notes_of_a_source():
    """The notes of a source are in its status, as of the time of the snapshot."""

    async def play(pen):
        source.notes = {"malformed": 1, "battery_soc": "0..1 assumed"}
        await asyncio.sleep(60)

    source = Script("a", play)
    async with merge(source, clock=VirtualClock()) as events:
        await asyncio.sleep(1)
        status = events.status[A]
        source.notes["malformed"] = 2
        assert status.notes == {"malformed": 1, "battery_soc": "0..1 assumed"}
        assert events.status[A].notes["malformed"] == 2


@pytest.mark.parametrize("state", State)
async def test_a_source_can_make_legal_transitions_only(state):
    """Only the transitions of the table are accepted; any other fails the source with an InternalError."""

    async def play(pen):
        for step in path_to(state):
            pen.outlet.status(step)
        for forbidden in set(State) - TRANSITIONS[state] - {state}:
            with pytest.raises(ValueError, match=r"cannot go|does not announce"):
                pen.outlet.status(forbidden)
        pen.read()

    if state.terminal:
        return
    async with merge(Script("a", play), clock=VirtualClock()) as events:
        seen = [event async for event in events]
    passed = states(seen, "a")
    assert all(after in TRANSITIONS[before] for before, after in pairwise(passed))
    assert len(readings(seen)) == 1


def path_to(state):
    ways = {State.CONNECTING: []}
    while state not in ways:
        for known, way in list(ways.items()):
            for after in TRANSITIONS[known]:
                ways.setdefault(after, [*way, after])
    return ways[state]


@pytest.mark.parametrize("nonsense", ["time", "values", "nothing"])
async def test_a_source_of_the_wrong_kind_is_contained_and_named(nonsense):
    """A source that delivers invalid objects, or has no usable `run`, fails alone and is named."""

    class Odd:
        id = SourceId("test", "me", "odd")

        async def run(self, outlet):
            if nonsense == "nothing":
                raise TypeError("not a source")
            when = "noon" if nonsense == "time" else EPOCH
            outlet.reading(self.id, time=when, id=7 if nonsense == "values" else "x", values={}, raw={})
            await asyncio.sleep(1)
            raise LookupError

    async with merge(Odd(), Recorder("b", moments=3), clock=VirtualClock()) as events:
        seen = [event async for event in events]
        status = events.status[Odd.id]
    assert isinstance(status.error, InternalError)
    assert "test/me/odd/0" in str(status.error)
    assert moments([event for event in seen if event.source.site == "b"]) == [1, 2, 3]


async def test_the_error_of_a_second_consumer_mentions_subscribe():
    """Two loops over one iterator get an error that mentions subscribe()."""
    async with merge(Recorder("a"), include_status=False, clock=VirtualClock()) as events:
        first = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        with pytest.raises(StreamBusy, match="subscribe"):
            await anext(events)
        with pytest.raises(StreamBusy, match="subscribe"):
            await anext(events.batches())
        await first


async def test_a_failing_source_delays_no_other():
    """Of fifty sources half fail in every way; the others deliver on time."""
    clock = VirtualClock()
    arrived = []

    async def hang(pen):
        await asyncio.sleep(10**6)

    async def gushing(pen):
        pen.read(500)
        raise PermissionDenied("no")

    broken = [hang, gushing, lambda pen: 1 / 0, lambda pen: refused()._play(pen)]
    sources = [
        Script(f"bad-{n}", broken[n % 4]) if n % 2 else Recorder(f"good-{n}", moments=20) for n in range(50)
    ]
    async with merge(*sources, buffer=20_000, clock=clock) as events:
        async for event in events:
            if event.kind is Kind.READING and event.source.site.startswith("good"):
                arrived.append((event.received_at - event.time, clock.utcnow() - event.received_at))
            if len(arrived) == 25 * 20:
                break
    assert set(arrived) == {(timedelta(), timedelta())}

import asyncio
import logging
from collections import defaultdict
from datetime import timedelta

import pytest

from energy_core.errors import (
    AnswerError,
    AuthFailed,
    ClientClosed,
    InternalError,
    InvalidCredentials,
    NotFound,
    PermissionDenied,
    StreamBusy,
    StreamClosed,
)
from energy_core.stream.merge import merge
from energy_core.stream.poll import Poller
from energy_core.stream.polled import PolledReading
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.scripted_sources import Script
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time


def steady(site, n=5, every_s=1.0):
    async def play(pen):
        for _ in range(n):
            await asyncio.sleep(every_s)
            pen.read()

    return Script(site, play)


def forever(site="forever"):
    async def play(pen):
        pen.outlet.status(State.LIVE)
        while True:
            await asyncio.sleep(1)
            pen.read()

    return Script(site, play)


def raising(site, error):
    async def play(pen):
        pen.read()
        await asyncio.sleep(0.5)
        raise error

    return Script(site, play)


def readings(events):
    return [event for event in events if event.kind is Kind.READING]


def states(events, site):
    return [event.detail.state for event in events if event.kind is Kind.STATUS and event.source.site == site]


async def everything(*sources, **options):
    async with merge(*sources, clock=VirtualClock(), **options) as events:
        return [event async for event in events]


async def test_many_sources_become_one_stream_in_order_of_arrival():
    """Events come in the order of arrival, numbered per source; the stream ends with its last source."""
    events = await everything(steady("a", 3, 1.0), steady("b", 2, 1.2))
    assert [event.id for event in readings(events)] == ["a-1", "b-1", "a-2", "b-2", "a-3"]
    numbers = defaultdict(list)
    for event in events:
        numbers[event.source].append(event.seq)
    assert [seqs == list(range(1, len(seqs) + 1)) for seqs in numbers.values()] == [True, True]
    assert states(events, "a") == [State.CONNECTING, State.CLOSED]


async def test_a_source_may_have_many_devices():
    """Each device of a source is numbered by itself."""

    async def play(pen):
        for _ in range(3):
            pen.read(instance=1)
            pen.read(instance=2)

    events = await everything(Script("a", play), include_status=False)
    assert [(event.source.instance, event.seq) for event in events] == [
        (1, 1),
        (2, 1),
        (1, 2),
        (2, 2),
        (1, 3),
        (2, 3),
    ]


async def test_an_event_has_what_the_source_delivered():
    """Values, raw mapping and times are unchanged; key and arrival time are added."""
    [event] = await everything(steady("a", 1), include_status=False)
    assert event.values == {Quantity.PV_POWER: 1.0}
    assert event.raw == {"n": 1}
    assert event.key == "test/me/a/0/reading"
    assert (event.time, event.received_at) == (EPOCH + timedelta(seconds=1), EPOCH + timedelta(seconds=1))
    assert (event.late, event.backfilled, event.revision) == (False, False, 0)


async def test_an_older_reading_is_marked_late():
    """A reading is late if it is older than the newest of the same device."""

    async def play(pen):
        for at in (10, 20, 15, 20, 21):
            pen.read(at=at)
        pen.read(at=1, instance=7)

    async with merge(Script("a", play), include_status=False) as events:
        seen = [(event.source.instance, event.seq, event.late) async for event in events]
        assert seen == [
            (0, 1, False),
            (0, 2, False),
            (0, 3, True),
            (0, 4, False),
            (0, 5, False),
            (7, 1, False),
        ]
        assert events.status[SourceId("test", "me", "a")].late == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (PermissionDenied("no", status=403), State.FAILED),
        (NotFound("no", status=404), State.FAILED),
        (AnswerError("odd"), State.FAILED),
        (AuthFailed("no"), State.AUTH_FAILED),
        (InvalidCredentials("no"), State.AUTH_FAILED),
        (ClientClosed("bye"), State.CLOSED),
        (ZeroDivisionError("oops"), State.FAILED),
        (InternalError("oops"), State.FAILED),
    ],
)
async def test_an_error_ends_its_own_source_only(error, state):
    """Each error leads to its terminal state and is in the snapshot; the other source delivers everything."""
    async with merge(raising("bad", error), steady("good"), clock=VirtualClock()) as events:
        seen = [event async for event in events]
        status = events.status[SourceId("test", "me", "bad")]
    assert states(seen, "bad") == [State.CONNECTING, state]
    assert [event.id for event in readings(seen)] == ["bad-1", *(f"good-{n}" for n in range(1, 6))]
    assert status.state is state
    if isinstance(error, ZeroDivisionError):
        assert isinstance(status.error, InternalError)
        assert status.error.__cause__ is error
    else:
        assert status.error is error


async def test_a_bug_in_a_source_is_logged_once(caplog):
    """A bug in a source is an InternalError, logged once with its traceback."""
    await everything(raising("bad", ZeroDivisionError("oops")))
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "test/me/bad/0" in record.getMessage()
    assert record.exc_info[1].__cause__.args == ("oops",)


async def test_a_refusal_is_not_logged_as_an_error(caplog):
    """A vendor's refusal is an event and no error in the log."""
    await everything(raising("bad", PermissionDenied("no")))
    assert caplog.records == []


async def test_a_source_that_cancels_itself_has_failed():
    """A source that cancels itself has failed; the cancellation does not spread."""
    events = await everything(raising("bad", asyncio.CancelledError()), steady("good"))
    assert states(events, "bad")[-1] is State.FAILED
    assert len(readings(events)) == 6


async def test_an_illegal_change_of_state_fails_the_source():
    """A change of state outside `TRANSITIONS` fails the source."""

    async def play(pen):
        pen.outlet.status(State.STALE)

    events = await everything(Script("bad", play))
    assert states(events, "bad") == [State.CONNECTING, State.FAILED]


@pytest.mark.parametrize("state", [State.CLOSED, State.FAILED, State.AUTH_FAILED])
async def test_a_source_does_not_announce_its_own_end(state):
    """Only the stream may report terminal states."""

    async def play(pen):
        pen.outlet.status(state)

    events = await everything(Script("bad", play))
    assert states(events, "bad") == [State.CONNECTING, State.FAILED]


async def test_a_naive_time_fails_the_source():
    """A reading without a time zone fails its source."""

    async def play(pen):
        pen.outlet.reading(pen.source, time=EPOCH.replace(tzinfo=None), id="1", values={}, raw={})

    async with merge(Script("bad", play)) as events:
        seen = [event async for event in events]
        assert "ValueError" in events.status[SourceId("test", "me", "bad")].reason
    assert readings(seen) == []


async def test_nothing_follows_the_end_of_a_source():
    """A source that has ended can deliver nothing more."""
    kept = []

    async def play(pen):
        kept.append(pen)

    async with merge(Script("a", play), forever()) as events:
        while events.status[SourceId("test", "me", "a")].state is not State.CLOSED:
            await anext(events)
        with pytest.raises(StreamClosed):
            kept[0].read()
        with pytest.raises(StreamClosed):
            kept[0].outlet.status(State.LIVE)


async def test_repeating_a_state_is_no_event():
    """Repeating a state updates the snapshot and is no event."""

    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.outlet.status(State.DISCONNECTED, reason="first", retry_in=1)
        pen.outlet.status(State.DISCONNECTED, reason="second", retry_in=2)
        await asyncio.sleep(3600)

    async with merge(Script("a", play), clock=VirtualClock()) as events:
        seen = [(await anext(events)).detail for _ in range(3)]
        status = events.status[SourceId("test", "me", "a")]
        assert (status.reason, status.retry_in, status.since) == ("second", 2, EPOCH)
    assert [detail.state for detail in seen] == [State.CONNECTING, State.LIVE, State.DISCONNECTED]
    assert (seen[2].reason, seen[2].retry_in) == ("first", 1)


async def test_without_status_events_the_numbers_have_no_jumps():
    """Omitted status events are not numbered, so a jump always means a drop."""
    events = await everything(steady("a"), steady("b", 2), include_status=False)
    assert {event.kind for event in events} == {Kind.READING}
    assert [event.seq for event in events if event.source.site == "a"] == [1, 2, 3, 4, 5]


async def test_a_gap_is_an_event():
    """A source can report a time span that it cannot deliver."""

    async def play(pen):
        pen.outlet.gap(pen.source, start=EPOCH, end=EPOCH + timedelta(hours=2), reason="beyond_cap")

    async with merge(Script("a", play), include_status=False) as events:
        [event] = [event async for event in events]
        assert events.status[SourceId("test", "me", "a")].gaps == 1
    assert (event.kind, event.detail.reason, event.time) == (Kind.GAP, "beyond_cap", event.detail.end)


async def test_a_flood_is_announced_once_and_adds_up():
    """A consumer that was slow gets the newest readings and one event with the number of dropped ones."""

    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.read(5000)
        await asyncio.sleep(10)
        pen.read(3)

    events = await everything(Script("a", play), policy="drop_oldest", buffer=100)
    [loss] = [event for event in events if event.kind is Kind.DROPPED]
    delivered = [event.seq for event in readings(events)]
    assert loss.detail.count + len(delivered) == 5003
    assert (loss.detail.first, loss.detail.last) == (3, 4902)
    assert delivered == [*range(4903, 5003), *range(5004, 5007)]
    assert loss.seq == 5003
    assert states(events, "a") == [State.CONNECTING, State.LIVE, State.CLOSED]


async def test_each_flood_is_an_episode_of_its_own():
    """After the consumer has caught up, further drops are announced again."""

    async def play(pen):
        for _ in range(3):
            pen.read(25)
            await asyncio.sleep(1)

    events = await everything(Script("a", play), policy="drop_oldest", buffer=10)
    assert [event.detail.count for event in events if event.kind is Kind.DROPPED] == [15, 15, 15]


@pytest.mark.parametrize("include_status", [True, False])
async def test_a_consumer_a_hundred_times_too_slow_can_account_for_everything(include_status):
    """For ten minutes the buffer stays bounded, the source never waits, and sent = delivered + dropped."""
    sent = 0

    async def play(pen):
        nonlocal sent
        pen.outlet.status(State.LIVE)
        for _ in range(600 * 10):
            await asyncio.sleep(0.1)
            pen.read(10)
            sent += 10

    delivered = announced = 0
    async with merge(
        Script("a", play), buffer=64, include_status=include_status, clock=VirtualClock()
    ) as events:
        async for event in events:
            delivered += event.kind is Kind.READING
            announced += event.detail.count if event.kind is Kind.DROPPED else 0
            if asyncio.get_running_loop().time() < 600:
                await asyncio.sleep(1)
        status = events.status[SourceId("test", "me", "a")]
    assert sent == 60_000
    assert delivered + announced == sent
    assert (status.dropped, status.readings) == (announced, sent)


async def test_dropping_is_logged_when_it_begins(caplog):
    """The first drop is logged at once; the event comes when the consumer has caught up."""

    async def play(pen):
        pen.read(50)

    await everything(Script("a", play), buffer=10)
    [record] = caplog.records
    assert (record.levelno, "too slow" in record.getMessage()) == (logging.WARNING, True)


async def test_status_events_survive_any_flood():
    """Many readings of one source drop no status event of another."""

    async def flapping(pen):
        for _ in range(20):
            pen.outlet.status(State.DISCONNECTED, reason="x")
            pen.outlet.status(State.CONNECTING)

    async def flood(pen):
        pen.read(1000)

    events = await everything(Script("flapping", flapping), Script("flood", flood), buffer=5)
    assert len(states(events, "flapping")) == 1 + 40 + 1
    assert len(readings(events)) == 5


async def test_a_poller_waits_for_room_where_a_push_would_drop():
    """A poller that waits for room loses nothing, however slow the consumer is."""
    asked = 0

    async def ask():
        nonlocal asked
        asked += 1
        return [
            PolledReading(source=SourceId("t", "me", "p"), time=EPOCH, id=f"{asked}-{n}", values={}, raw={})
            for n in range(50)
        ]

    poller = Poller(SourceId("t", "me", "p"), ask, interval_s=1)
    async with merge(poller, buffer=10, include_status=False) as events:
        seen = []
        async for event in events:
            seen.append(event)
            await asyncio.sleep(0.5)
            if len(seen) == 200:
                break
    assert [event.seq for event in seen] == list(range(1, 201))
    assert asked <= 5


async def test_a_second_consumer_is_refused():
    """While one consumer waits, a second one gets StreamBusy, and the first its event."""
    async with merge(forever(), include_status=False) as events:
        first = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        with pytest.raises(StreamBusy):
            await anext(events)
        assert (await first).seq == 1


async def test_a_cancelled_anext_loses_nothing():
    """A consumer that cancels its waits again and again gets every event once."""
    seen = []
    async with merge(steady("a", 50, 0.1), include_status=False) as events:
        while len(seen) < 50:
            try:
                async with asyncio.timeout(0.03):
                    seen.append((await anext(events)).seq)
            except TimeoutError:
                continue
    assert seen == list(range(1, 51))


async def test_a_closed_wait_does_not_block_the_next():
    """A waiting anext that is closed, as a discarded coroutine is, does not block others."""
    async with merge(steady("a", 1, 0.1), include_status=False) as events:
        waiting = anext(events)
        waiting.send(None)
        waiting.close()
        assert (await anext(events)).seq == 1


async def test_a_cancel_at_the_moment_of_an_event_loses_nothing():
    """An event that arrives in the step of a cancellation is delivered to the next anext."""

    async def play(pen):
        await asyncio.sleep(1)
        pen.read()
        consumer.cancel()
        await asyncio.sleep(1)

    async with merge(Script("a", play), include_status=False) as events:
        consumer = asyncio.create_task(anext(events))
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert (await anext(events)).seq == 1


async def test_aclose_from_another_task_ends_a_waiting_loop():
    """A waiting loop ends without an error, and so does every later one."""
    async with merge(forever(), clock=VirtualClock()) as events:
        closer = asyncio.get_running_loop().call_later(
            3.5, lambda: closing.append(asyncio.ensure_future(events.aclose()))
        )
        closing = []
        seen = [event async for event in events]
        await asyncio.gather(*closing)
        assert [event async for event in events] == []
        assert events.status[SourceId("test", "me", "forever")].state is State.CLOSED
    assert len(readings(seen)) == 3
    assert closer.when() == 3.5


async def test_aclose_may_be_called_again_and_by_a_source():
    """Closing is idempotent, and a source may close its own stream."""

    async def play(pen):
        await asyncio.sleep(1)
        await events.aclose()

    async with merge(Script("a", play), forever()) as events:
        assert [event.seq async for event in events] != []
        await asyncio.gather(events.aclose(), events.aclose())
    await events.aclose()


async def test_a_closed_stream_delivers_nothing_more():
    """Buffered events are discarded by `aclose`."""

    async def play(pen):
        pen.read(5)
        await asyncio.sleep(3600)

    async with merge(Script("a", play), include_status=False) as events:
        assert (await anext(events)).seq == 1
        await events.aclose()
        assert [event async for event in events] == []


async def test_closing_before_the_first_step_leaves_nothing():
    """A stream closed as soon as it is opened never runs its sources."""
    async with merge(forever()) as events:
        pass
    assert [status.state for status in events.status.values()] == [State.CLOSED]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("leave", ["break", "raise", "cancel"])
async def test_no_task_remains_however_the_consumer_ends(leave):
    """After `async with` no task remains, however it ended, and the sources have cleaned up."""
    cleaned = []

    async def play(pen):
        try:
            while True:
                await asyncio.sleep(1)
                pen.read()
        finally:
            cleaned.append(pen.source.site)

    async def consume():
        async with merge(Script("a", play), Script("b", play)) as events:
            async for event in events:
                if event.kind is Kind.READING and leave == "break":
                    break
                if event.kind is Kind.READING and leave == "raise":
                    raise KeyError("mine")
                if event.kind is Kind.READING:
                    asyncio.current_task().cancel()

    [outcome] = await asyncio.gather(consume(), return_exceptions=True)
    assert type(outcome) is {"break": type(None), "raise": KeyError, "cancel": asyncio.CancelledError}[leave]
    assert sorted(cleaned) == ["a", "b"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_source_that_will_not_stop_does_not_hold_up_the_close(caplog):
    """A source that ignores its cancellation is left behind after the grace time, with a logged error."""
    released = asyncio.Event()

    async def play(pen):
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    async def consume():
        seen = [event.kind async for event in events]
        return seen, asyncio.get_running_loop().time()

    async with merge(Script("stubborn", play)) as events:
        consumer = asyncio.create_task(consume())
        await asyncio.sleep(1)
        await events.aclose(grace_s=2)
        assert asyncio.get_running_loop().time() == pytest.approx(3)
        assert await consumer == ([Kind.STATUS], pytest.approx(1))
        released.set()
    assert "stubborn" in caplog.text


async def test_a_stream_is_used_inside_async_with():
    """The error of an unopened stream says how to open it; a stream is opened once."""
    stream = merge(steady("a"))
    with pytest.raises(StreamClosed, match="async with"):
        await anext(stream)
    async with stream:
        pass
    with pytest.raises(StreamClosed, match="once"):
        await stream.__aenter__()


async def test_a_forgotten_stream_warns_and_stops_its_sources():
    """A stream that is garbage collected while open warns, and its tasks end."""
    held = [merge(forever())]
    await held[0].__aenter__()
    await anext(held[0])
    with pytest.warns(ResourceWarning, match="never closed"):
        held.clear()
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_sources_are_distinct_and_used_once():
    """Two sources with one id, one source twice, and a used source are rejected by name."""
    with pytest.raises(ValueError, match="test/me/a/0"):
        merge(steady("a"), steady("a"))
    source = steady("b")
    with pytest.raises(ValueError, match="test/me/b/0"):
        merge(source, source)
    await everything(source)
    with pytest.raises(ValueError, match="used already"):
        merge(source)
    with pytest.raises(ValueError, match="at least one"):
        merge()
    with pytest.raises(ValueError, match="at least one"):
        merge(steady("c"), buffer=0)


async def test_the_snapshot_does_not_change():
    """A snapshot of the status never changes; a later one differs."""
    async with merge(forever(), clock=VirtualClock()) as events:
        first = events.status
        [(source, before)] = first.items()
        async for event in events:
            if event.seq == 5:
                break
        assert first[source] is before
        assert (before.state, before.readings) == (State.CONNECTING, 0)
        assert (events.status[source].state, events.status[source].readings) == (State.LIVE, 3)


async def test_the_repr_counts_states_and_pending_events():
    """The repr counts states and pending events."""
    stream = merge(forever("a"), forever("b"))
    assert repr(stream) == "<MergedStream of 2 sources, not opened>"
    async with stream as events:
        await asyncio.sleep(1.5)
        assert repr(events) == "<MergedStream open: 2 live; 6 events pending>"
    assert repr(events).startswith("<MergedStream closed: 2 closed;")


async def test_a_thousand_sources_stay_in_order():
    """Each of a thousand sources keeps its order, and nothing is lost."""
    events = await everything(*(steady(str(n), 3, 0.001 * (n % 7 + 1)) for n in range(1000)), buffer=10_000)
    numbers = defaultdict(list)
    for event in events:
        numbers[event.source].append(event.seq)
    assert len(numbers) == 1000
    assert all(seqs == [1, 2, 3, 4, 5] for seqs in numbers.values())

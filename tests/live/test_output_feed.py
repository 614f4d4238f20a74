"""The feed of one output: positions, backoff, what is fetched again, what is chosen."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from energy_core import merge
from energy_core.errors import CheckpointError
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId
from energy_live.outputs import (
    FeedConfig,
    OutputChoice,
    OutputError,
    OutputFeed,
    OutputState,
)
from energy_live.outputs.choice import ChoiceFilter
from tests.servers.scripted_sources import MemoryStore, Recorder, Script, moments, readings
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time

FAST = FeedConfig(buffer=50, batch=20, delay_s=0.5, first_retry_s=2.0, longest_retry_s=8.0)


class Shelf:
    """What an output has stored; outlives the program."""

    def __init__(self):
        self.events, self.position, self.trouble = [], None, None


class Keeper:
    """An output in memory, with or without a position of its own."""

    idempotent = False

    def __init__(self, shelf, *, transactional=True):
        self.shelf, self.transactional = shelf, transactional
        self.opened = self.closed = 0
        self.batches = []
        self.delay_s = 0.0

    async def open(self):
        self.opened += 1
        if self.shelf.trouble is not None:
            raise self.shelf.trouble
        if not self.transactional:
            return None
        return Checkpoint() if self.shelf.position is None else Checkpoint.from_json(self.shelf.position)

    async def write(self, batch, position):
        if self.shelf.trouble is not None:
            raise self.shelf.trouble
        await asyncio.sleep(self.delay_s)
        self.batches.append(len(batch))
        self.shelf.events += batch
        self.shelf.position = position.to_json()

    async def close(self):
        self.closed += 1


@asynccontextmanager
async def fed(sources, *feeds):
    """Open feeds and their stream; at the end close the feeds first, as after a crash of the stream."""
    stream = merge(*sources, clock=VirtualClock())
    for feed in feeds:
        await feed.open(stream)
    async with stream:
        for feed in feeds:
            feed.start()
        try:
            yield stream
        finally:
            for feed in feeds:
                await feed.aclose()


def feed_of(output, **options):
    return OutputFeed("test", output, config=FAST, clock=VirtualClock(), random=lambda: 1.0, **options)


async def test_an_output_gets_every_event_and_its_position():
    """Batches arrive in order; the end of the stream is written too, and nothing is left behind."""
    shelf = Shelf()
    feed = feed_of(output := Keeper(shelf))
    async with fed([Recorder(every_s=0.1, moments=45)], feed) as stream:
        await asyncio.sleep(3.0)
        assert feed.status.state is OutputState.LIVE
        await asyncio.sleep(1.6)
        await stream.drain()
    assert moments(shelf.events) == list(range(1, 46))
    assert max(output.batches) < 20
    assert feed.status.state is OutputState.CLOSED
    assert (feed.status.written, feed.status.pending, feed.status.lost) == (45, 0, 0)
    assert feed.status.newest == EPOCH + timedelta(seconds=45)
    assert output.closed == 1


async def test_an_output_that_is_down_holds_nobody_back_and_gets_the_rest_from_the_history():
    """After an outage longer than its buffer it gets what is missing; the other one notices nothing."""
    down, up = Shelf(), Shelf()
    first, second = feed_of(Keeper(down)), feed_of(Keeper(up))
    async with fed([Recorder(every_s=1.0)], first, second):
        await asyncio.sleep(10.1)
        down.trouble = OutputError("gone")
        await asyncio.sleep(300.0)
        state = first.status
        assert state.state is OutputState.WAITING
        assert state.reason == "gone"
        assert 0 <= state.retry_in <= 8
        assert 50 <= state.pending <= 53
        assert 200 < state.lost <= 250
        assert state.waiting_s > 200
        assert moments(up.events)[-1] >= 308
        down.trouble = None
        await asyncio.sleep(20.0)
    assert sorted(moments(down.events)) == moments(up.events)
    assert first.status.gaps == 0


async def test_what_cannot_be_fetched_again_is_a_gap():
    """A source without a history gives a gap to the output that was down, and to no other."""
    down, up = Shelf(), Shelf()
    first, second = feed_of(Keeper(down)), feed_of(Keeper(up))
    async with fed([Recorder(every_s=1.0, resumable=False)], first, second):
        down.trouble = OutputError("gone")
        await asyncio.sleep(200.0)
        down.trouble = None
        await asyncio.sleep(20.0)
    missing = set(moments(up.events)) - set(moments(down.events))
    gaps = [event.detail for event in down.events if event.kind is Kind.GAP]
    seconds = {EPOCH + timedelta(seconds=each) for each in missing if each < max(moments(down.events))}
    assert len(missing) > 100
    assert all(any(gap.start <= each <= gap.end for gap in gaps) for each in seconds)
    assert first.status.gaps == len(gaps)
    assert [event for event in up.events if event.kind is Kind.GAP] == []


@pytest.mark.parametrize("transactional", [True, False])
async def test_each_output_continues_where_it_stopped(transactional):
    """After a restart an output that was behind gets what it lacks, and the other one nothing twice."""
    behind, ahead, stores = Shelf(), Shelf(), [MemoryStore(), MemoryStore()]

    def feeds():
        keepers = [Keeper(shelf, transactional=transactional) for shelf in (behind, ahead)]
        return [feed_of(each, positions=store) for each, store in zip(keepers, stores, strict=True)]

    source = Recorder(every_s=1.0)
    async with fed([source], *feeds()):
        await asyncio.sleep(10.1)
        behind.trouble = OutputError("gone")
        await asyncio.sleep(30.0)
    behind.trouble = None
    last = moments(ahead.events)[-1]
    await asyncio.sleep(5.0)  # the program does not run
    async with fed([source.again()], *feeds()):
        await asyncio.sleep(10.1)
    assert moments(ahead.events)[-1] > last + 10
    assert sorted(moments(ahead.events)) == list(range(1, moments(ahead.events)[-1] + 1))
    assert sorted(moments(behind.events)) == sorted(moments(ahead.events))
    assert [event for event in behind.events if event.kind is Kind.GAP] == []


async def test_a_store_that_was_down_at_the_start_continues_at_its_own_position():
    """Without a saved position beside it, the position in the store counts once it is up."""
    shelf = Shelf()
    source = Recorder(every_s=1.0)
    async with fed([source], feed_of(Keeper(shelf))):
        await asyncio.sleep(10.1)
    shelf.trouble = OutputError("gone")
    again = feed_of(Keeper(shelf))
    async with fed([source.again()], again):
        await asyncio.sleep(20.0)
        shelf.trouble = None
        await asyncio.sleep(30.0)
    assert sorted(moments(shelf.events)) == list(range(1, max(moments(shelf.events)) + 1))
    assert max(moments(shelf.events)) > 50


async def test_only_the_user_can_help():
    """A permanent error is tried again every five minutes, and the status says what to do."""
    shelf = Shelf()
    shelf.trouble = OutputError("wrong password: set PGPASSWORD", permanent=True)
    feed = feed_of(output := Keeper(shelf))
    async with fed([Recorder(every_s=60.0)], feed):
        await asyncio.sleep(1000.0)
        assert feed.status.state is OutputState.FAILED
        assert feed.status.reason == "wrong password: set PGPASSWORD"
        assert output.opened == feed.status.failures == 4


async def test_retry_after_is_obeyed():
    shelf = Shelf()
    shelf.trouble = OutputError("busy", retry_after=90.0)
    feed = feed_of(output := Keeper(shelf))
    async with fed([Recorder(every_s=60.0)], feed):
        await asyncio.sleep(89.0)
        assert output.opened == 1
        await asyncio.sleep(2.0)
        assert output.opened == 2


async def test_a_write_that_hangs_is_cancelled_and_repeated():
    shelf = Shelf()
    feed = feed_of(output := Keeper(shelf))
    async with fed([Recorder(every_s=10.0, moments=6)], feed):
        output.delay_s = 1000.0
        await asyncio.sleep(75.0)
        assert feed.status.reason == "no answer within 60 s"
        output.delay_s = 0.0
        await asyncio.sleep(60.0)
    assert moments(shelf.events) == [1, 2, 3, 4, 5, 6]


async def test_a_fault_of_an_output_is_logged_once_and_waited_for(caplog):
    shelf = Shelf()
    feed = feed_of(Keeper(shelf))
    async with fed([Recorder(every_s=1.0)], feed):
        await asyncio.sleep(3.0)
        shelf.trouble = KeyError("column")
        await asyncio.sleep(60.0)
        assert "raised KeyError" in feed.status.reason
        shelf.trouble = None
        await asyncio.sleep(10.0)
    assert sum("unexpected error" in each.message for each in caplog.records) == 1
    assert sorted(moments(shelf.events)) == list(range(1, max(moments(shelf.events)) + 1))


async def test_the_position_is_saved_after_the_batch_and_at_the_end():
    """It never runs ahead of what is written, and follows within five seconds when nothing else comes."""
    shelf, store = Shelf(), MemoryStore()
    feed = feed_of(Keeper(shelf, transactional=False), positions=store)

    async def play(pen):
        pen.read(3)
        await asyncio.sleep(1.0)
        pen.read(2)
        await asyncio.sleep(1e6)

    async with fed([Script("a", play)], feed):
        await asyncio.sleep(10.0)
        saved = Checkpoint.from_json(store.text).positions
        (position,) = saved[SourceId("test", "me", "a")].values()
        assert position.time == EPOCH + timedelta(seconds=5)
        assert len(store.saves) <= 3


async def test_a_position_that_cannot_be_saved_is_saved_later(caplog):
    shelf, store = Shelf(), MemoryStore()
    feed = feed_of(Keeper(shelf, transactional=False), positions=store)
    store.trouble = CheckpointError("no space", kind="unwritable")
    async with fed([Recorder(every_s=1.0)], feed):
        await asyncio.sleep(20.0)
        assert store.text is None
        store.trouble = None
        await asyncio.sleep(10.0)
        assert store.text is not None
    assert "no space" in caplog.text


async def test_closing_while_the_output_is_down_takes_no_grace():
    shelf = Shelf()
    feed = feed_of(Keeper(shelf))
    async with fed([Recorder(every_s=1.0)], feed):
        shelf.trouble = OutputError("gone", retry_after=1000.0)
        await asyncio.sleep(30.0)
        before = asyncio.get_running_loop().time()
        await feed.aclose()
        assert asyncio.get_running_loop().time() - before < 1.0


def reading(second, values, *, site="1", **marks):
    source = SourceId("test", "me", site)
    at = EPOCH + timedelta(seconds=second)
    return Event(source, Kind.READING, "k", at, at, second, f"{second}", values, **marks)


def gap(*quantities):
    event = reading(0, {})
    detail = Gap(start=EPOCH, end=EPOCH, reason="x", quantities=quantities)
    return event._replace(kind=Kind.GAP, detail=detail)


PV, SOC = Quantity.PV_POWER, Quantity.BATTERY_SOC


def test_every_keeps_the_first_of_each_interval_and_quantity():
    """Late readings have intervals of their own, and revisions always pass."""
    chosen = ChoiceFilter(OutputChoice(every=10))
    events = [
        reading(1, {PV: 1.0}),
        reading(3, {PV: 2.0, SOC: 50.0}),
        reading(9, {PV: 3.0}),
        reading(10, {PV: 4.0}),
        reading(2, {PV: 5.0}, late=True),
        reading(3, {PV: 6.0}, late=True),
        reading(9, {PV: 7.0}, revision=1),
    ]
    kept = [dict(event.values) for event in chosen.kept(events)]
    assert kept == [{PV: 1.0}, {SOC: 50.0}, {PV: 4.0}, {PV: 5.0}, {PV: 7.0}]


def test_quantities_and_sites():
    """Gaps of other quantities are left out; a reading keeps the chosen ones only."""
    chosen = ChoiceFilter(OutputChoice(quantities=["pv_power"], sites=[1]))
    events = [
        reading(1, {PV: 1.0, SOC: 50.0}),
        reading(2, {SOC: 50.0}),
        reading(3, {PV: 1.0}, site="2"),
        gap(),
        gap(SOC),
        gap(PV, SOC),
    ]
    kept = chosen.kept(events)
    assert [dict(event.values) for event in readings(kept)] == [{PV: 1.0}]
    assert [event.detail.quantities for event in kept if event.kind is Kind.GAP] == [(), (PV,)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"every": -1}, "from 0 on, not -1"),
        ({"every": float("nan")}, "not nan"),
        ({"quantities": ["volts"]}, "'volts' is not a valid Quantity"),
    ],
)
def test_a_wrong_choice_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        OutputChoice(**wrong)

import asyncio
import copy
import json
import logging
import os
import stat
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.atomic_file import replace_file
from energy_core.errors import CheckpointError, StreamError
from energy_core.stream.checkpoint import Checkpoint, FileCheckpoint
from energy_core.stream.commit import CommitTracker
from energy_core.stream.event import Event
from energy_core.stream.merge import merge
from energy_core.stream.source import StreamPosition
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.scripted_sources import MemoryStore, Recorder, Script, moments, of_kind, readings
from tests.servers.virtual_time import EPOCH, VirtualClock

UNREFERENCED = 3
"""References to an event of a list in a loop: the list, the loop's variable, and an argument."""

A = SourceId("test", "me", "a")
PRODUCT = SourceId("voltstorage", "home", "301")
SITE = SourceId("vrm", "home", "151734")

virtual = pytest.mark.virtual_time


def position(second=100, seq=7, ids=("a-100",)):
    return StreamPosition(time=EPOCH + timedelta(seconds=second), seq=seq, ids=ids)


def at(text):
    return Checkpoint.from_json(text).positions[A][A]


texts = st.text(st.characters(exclude_categories=["Cs"]))
ids = st.builds(SourceId, texts, texts, texts, st.integers(min_value=0, max_value=2**31))
positions = st.builds(
    StreamPosition,
    time=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    seq=st.integers(min_value=0, max_value=2**53 - 1),
    ids=st.lists(st.text(max_size=20), max_size=8).map(tuple),
    quantities=st.frozensets(st.sampled_from(Quantity)),
)


@given(st.dictionaries(ids, positions, max_size=4))
def test_what_is_written_is_what_is_read(found):
    """Every checkpoint is equal after `to_json` and `from_json`, with any ids and labels."""
    own = {SITE: {source._replace(vendor="vrm", account="home"): each for source, each in found.items()}}
    checkpoint = Checkpoint(own)
    read = Checkpoint.from_json(checkpoint.to_json())
    assert read == checkpoint


def test_a_checkpoint_is_small():
    """At a reading a second, a product takes at most 200 bytes and a site of forty devices at most 4 kB."""
    stamp = 1_772_366_400
    product = StreamPosition(
        time=EPOCH + timedelta(microseconds=123456),
        seq=10**9,
        ids=tuple(f"301/{stamp + n // 3}/{n % 3}" for n in range(8)),
        quantities=frozenset(Quantity),
    )
    devices = {
        SITE._replace(instance=instance): StreamPosition(
            time=EPOCH, seq=10**7, ids=(f"151734/{instance}/{stamp}",)
        )
        for instance in range(250, 290)
    }
    base = len(Checkpoint().to_json())
    assert len(Checkpoint({PRODUCT: {PRODUCT: product}}).to_json()) - base <= 200
    assert len(Checkpoint({SITE: devices}).to_json()) - base <= 4096


def test_quantities_keep_their_places():
    """The bits of stored quantities never change their meaning."""
    text = (
        '{"v":1,"sources":[{"id":["voltstorage","home","301",0],'
        '"at":[[null,0,"2026-03-01T12:00:00+00:00",7,"",[],16483]]}]}'
    )
    (stopped,) = Checkpoint.from_json(text).positions[PRODUCT].values()
    assert stopped.quantities == {
        Quantity.GRID_POWER,
        Quantity.BATTERY_POWER,
        Quantity.BATTERY_SOC,
        Quantity.BATTERY_VOLTAGE,
        Quantity.BATTERY_DISCHARGE_ENERGY,
    }
    assert Checkpoint.from_json(text).to_json() == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "corrupt"),
        ("{", "corrupt"),
        ("null", "corrupt"),
        ("[" * 100_000, "corrupt"),
        ('{"sources":[]}', "corrupt"),
        ('{"v":true,"sources":[]}', "corrupt"),
        ('{"v":0,"sources":[]}', "corrupt"),
        ('{"v":1}', "corrupt"),
        ('{"v":1,"sources":{}}', None),
        ('{"v":1,"sources":[{"id":["a","b","c"],"at":[]}]}', "corrupt"),
        ('{"v":1,"sources":[{"id":["a","b","c",0],"at":7}]}', "corrupt"),
        ('{"v":1,"sources":[{"id":["a","b","c",0],"at":[[null,0,"noon",1,"",[],0]]}]}', "corrupt"),
        (
            '{"v":1,"sources":[{"id":["a","b","c",0],"at":[[null,0,"2026-03-01T12:00:00",1,"",[],0]]}]}',
            "corrupt",
        ),
        (
            '{"v":1,"sources":[{"id":["a","b","c",0],"at":[[null,0,"2026-03-01T12:00:00Z",-1,"",[],0]]}]}',
            "corrupt",
        ),
        (
            '{"v":1,"sources":[{"id":["a","b","c",0],"at":[[null,0,"2026-03-01T12:00:00Z",1,"",[5],0]]}]}',
            "corrupt",
        ),
        (
            '{"v":1,"sources":[{"id":["a","b","c",0],"at":[[null,0,"2026-03-01T12:00:00Z",1,"",[],-1]]}]}',
            "corrupt",
        ),
        (
            '{"v":1,"sources":[{"id":["a","b","c",0],"at":[[null,0,"2026-03-01T12:00:00Z",1,"",[],1e9]]}]}',
            "corrupt",
        ),
        ('{"v":2,"what":"ever"}', "version"),
        (" \n", "corrupt"),
        ("\0" * 200, "corrupt"),
    ],
)
def test_damage_and_newer_versions_have_their_own_kinds(text, kind):
    """Unreadable text raises CheckpointError with a kind; nothing else is ever raised."""
    if kind is None:
        assert Checkpoint.from_json(text) == Checkpoint()
        return
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.from_json(text)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, True),
        (0, "\ud800"),
        (1, True),
        (1, 2**60),
        (2, 1772366400),
        (2, "0001-01-01T00:00:00+00:00"),
        (2, "0001-01-01T00:00:00+23:59"),
        (2, "1969-12-31T23:59:59Z"),
        (2, "9999-12-31T23:59:59-23:59"),
        (2, "2026-03-32T12:00:00Z"),
        (3, True),
        (3, 1.0),
        (3, 2**53),
        (3, 10**4000),
        (4, "\udfff"),
        (4, None),
        (5, ["\udfff"]),
        (6, 2**70),
        (6, False),
    ],
)
def test_an_impossible_part_of_a_position_is_damage(place, value):
    """A time out of range, a negative count and half a surrogate pair are rejected as damage."""
    entry = [None, 0, "2026-03-01T12:00:00+00:00", 1, "", ["x"], 0]
    text = json.dumps({"v": 1, "sources": [{"id": list(A), "at": [entry]}]})
    assert Checkpoint.from_json(text).positions[A][A].seq == 1
    entry[place] = value
    with pytest.raises(CheckpointError, match="damaged") as caught:
        Checkpoint.from_json(json.dumps({"v": 1, "sources": [{"id": list(A), "at": [entry]}]}))
    assert caught.value.kind == "corrupt"


@given(st.data())
def test_no_mutilation_raises_anything_else(data):
    """Changed or removed bytes are either read or raise CheckpointError."""
    text = Checkpoint({PRODUCT: {PRODUCT: position()}}).to_json()
    start, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 9))
    broken = text[:start] + data.draw(st.text(max_size=3)) + text[start + length :]
    with suppress(CheckpointError):
        Checkpoint.from_json(broken)


async def test_a_file_is_replaced_as_a_whole_and_only_its_owner_reads_it(tmp_path):
    """The file has the text saved last and mode 0600; no temporary file remains."""
    path = tmp_path / "position.json"
    store = FileCheckpoint(path)
    assert await store.load() is None
    for text in ("one", "two"):
        await store.save(text)
        assert await FileCheckpoint(path).load() == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["position.json"]


async def test_a_save_that_fails_leaves_the_file_before_it(tmp_path, monkeypatch):
    """If writing fails, the old file is unchanged."""
    path = tmp_path / "position.json"
    store = FileCheckpoint(path)
    await store.save("good")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left") as caught:
        await store.save("better")
    assert caught.value.kind == "unwritable"
    assert await store.load() == "good"
    assert [each.name for each in tmp_path.iterdir()] == ["position.json"]


async def test_an_unreadable_file_is_a_checkpoint_error(tmp_path):
    """A directory, and bytes that are not text, raise CheckpointError."""
    with pytest.raises(CheckpointError) as caught:
        await FileCheckpoint(tmp_path).load()
    assert caught.value.kind == "unreadable"
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError) as caught:
        await FileCheckpoint(tmp_path / "binary").load()
    assert caught.value.kind == "corrupt"


async def test_files_are_read_and_written_off_the_event_loop(tmp_path, monkeypatch):
    """Loading and saving do not block the event loop."""
    threads = {}
    store = FileCheckpoint(tmp_path / "position.json")

    def noted(name):
        work = getattr(store, name)

        def run(*args):
            threads[name] = threading.get_ident()
            return work(*args)

        monkeypatch.setattr(store, name, run)

    noted("_replace")
    noted("_read")
    await store.save("x")
    assert await store.load() == "x"
    assert threads.keys() == {"_replace", "_read"}
    assert threading.get_ident() not in threads.values()


@virtual
async def test_a_resumed_stream_goes_on_where_its_consumer_stopped():
    """No reading is missing, none of the last two seconds comes twice, and numbers continue."""
    store = MemoryStore()
    seen = []
    async with merge(Recorder(), checkpoint=store, clock=VirtualClock()) as events:
        async for event in events:
            if event.kind is Kind.READING and event.id == "a-12":
                break
            seen.append(event)
    assert at(store.text).ids == ("a-9", "a-10", "a-11")
    await asyncio.sleep(30)
    async with merge(Recorder(), checkpoint=store, clock=VirtualClock()) as events:
        async for event in events:
            seen.append(event)
            if len(readings(seen)) == 60:
                break
    assert moments(seen) == list(range(1, 61))
    numbers = [event.seq for event in seen]
    assert numbers == sorted(set(numbers))


@virtual
async def test_what_was_not_consumed_comes_again():
    """A delivered event is consumed when the next one is asked for, and not before."""
    store = MemoryStore()
    async with merge(Recorder(), checkpoint=store, include_status=False, clock=VirtualClock()) as events:
        assert (await anext(events)).id == "a-1"
        assert (await anext(events)).id == "a-2"
    async with merge(Recorder(), checkpoint=store, include_status=False, clock=VirtualClock()) as events:
        assert (await anext(events)).id == "a-2"


@virtual
async def test_the_last_event_of_a_stream_that_ended_is_consumed():
    """A consumer that has reached the end has consumed everything."""
    store = MemoryStore()
    async with merge(Recorder(moments=3), checkpoint=store, clock=VirtualClock()) as events:
        assert len([event async for event in events]) == 6
    assert at(store.text).seq == 6


@virtual
async def test_it_is_saved_every_five_seconds_while_anything_happens():
    """It is saved at the start, with the first event of each source, and then every five seconds."""
    store = MemoryStore()
    async with merge(
        Recorder(moments=8), Recorder("b", every_s=100), checkpoint=store, clock=VirtualClock()
    ) as events:
        async for event in events:
            if event.source.site == "b" and event.id == "b-2":
                break
    assert store.saves == [0, 1, 6, 11, 100]


@virtual
async def test_a_failing_store_does_not_stop_the_stream(caplog):
    """A store that raises is tried again and logged once; the stream goes on."""
    store = MemoryStore()
    store.trouble = OSError("disk")
    async with merge(Recorder(moments=60), checkpoint=store, clock=VirtualClock()) as events:
        seen = []
        async for event in events:
            seen.append(event)
            if len(readings(seen)) == 30:
                store.trouble = None
    assert len(readings(seen)) == 60
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert at(store.text).time == EPOCH + timedelta(seconds=60)


@virtual
async def test_a_store_that_hangs_does_not_hold_up_the_close(caplog):
    """Closing ends within its grace time even if the last checkpoint cannot be saved."""
    store = MemoryStore()
    store.delay_s = 10**6
    async with merge(Recorder(), checkpoint=store, clock=VirtualClock()) as events:
        for _ in range(5):
            await anext(events)
        before = asyncio.get_running_loop().time()
        await events.aclose(grace_s=2.0)
        assert asyncio.get_running_loop().time() - before <= 2.5
        await asyncio.sleep(0)
    assert "could not be saved" in caplog.text


@virtual
async def test_committing_gives_the_checkpoint_for_ones_own_transaction():
    """Only `commit` moves the position; the returned checkpoint is where the next run resumes."""
    kept = Checkpoint()
    async with merge(Recorder(), checkpoint=kept, include_status=False, clock=VirtualClock()) as events:
        handed = [await anext(events) for _ in range(10)]
        first = events.commit(handed[3])
        assert first.positions[A][A].seq == 4
        assert events.commit(handed[1]) == first
        kept = Checkpoint.from_json(events.commit(handed[6]).to_json())
    async with merge(Recorder(), checkpoint=kept, include_status=False, clock=VirtualClock()) as events:
        seen = [await anext(events) for _ in range(5)]
    assert moments(seen) == [8, 9, 10, 11, 12]
    assert [event.seq for event in seen] == [8, 9, 10, 11, 12]


@virtual
async def test_a_store_without_autocommit_waits_for_commits():
    """Without autocommit, delivering events does not move the position."""
    store = MemoryStore()
    async with merge(
        Recorder(), checkpoint=store, autocommit=False, include_status=False, clock=VirtualClock()
    ) as events:
        handed = [await anext(events) for _ in range(20)]
        assert (at(store.text).time, at(store.text).seq) == (EPOCH, 0), "where the stream was opened"
        events.commit(handed[4])
    assert at(store.text).seq == 5


@virtual
async def test_batches_are_consumed_when_the_next_is_asked_for():
    """The position moves by whole batches."""
    store = MemoryStore()
    async with merge(Recorder(), checkpoint=store, include_status=False, clock=VirtualClock()) as events:
        batches = events.batches(max_size=4, max_delay=60)
        await anext(batches)
        await anext(batches)
    assert at(store.text).seq == 4


@virtual
async def test_committing_needs_a_checkpoint():
    """`commit` without checkpoint= raises an error that says what to pass."""
    async with merge(Recorder(), clock=VirtualClock()) as events:
        with pytest.raises(StreamError, match="Checkpoint\\(\\)"):
            events.commit(await anext(events))


@virtual
async def test_a_source_that_cannot_resume_leaves_a_gap():
    """A gap from the position to the start is reported for every device of the source."""
    start = Checkpoint({A: {A: position(), A._replace(instance=3): position(50)}})
    await asyncio.sleep(200)
    async with merge(Recorder(moments=0, resumable=False), checkpoint=start, clock=VirtualClock()) as events:
        seen = [event async for event in events]
    assert [(gap.start, gap.end, gap.reason) for gap in of_kind(seen, Kind.GAP)] == [
        (EPOCH + timedelta(seconds=100), EPOCH + timedelta(seconds=200), "not_resumable"),
        (EPOCH + timedelta(seconds=50), EPOCH + timedelta(seconds=200), "not_resumable"),
    ]
    assert next(event.seq for event in seen if event.source == A) == 8


@virtual
@pytest.mark.parametrize(
    "text",
    [
        "rubbish",
        '{"v":99}',
        Checkpoint({SITE: {SITE: position()}}).to_json(),
    ],
)
async def test_a_checkpoint_that_cannot_be_used_is_an_error_or_a_start_from_now(text, caplog):
    """By default nothing starts or is overwritten; `latest` starts from now, logs it, and saves again."""
    store = MemoryStore(text)
    with pytest.raises(CheckpointError):
        async with merge(Recorder(), checkpoint=store, clock=VirtualClock()):
            pass
    assert store.text == text
    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with merge(Recorder(), checkpoint=store, on_corrupt="latest", clock=VirtualClock()) as events:
        for _ in range(5):
            await anext(events)
    assert at(store.text).time == EPOCH + timedelta(seconds=2)
    assert "starting from now" in caplog.text


@virtual
@pytest.mark.parametrize("ending", ["by itself", "drained", "too slow"])
async def test_what_a_consumer_failed_on_comes_again_however_the_stream_ended(ending):
    """An event is not consumed if its consumer raised, even if it was the last one."""
    store = MemoryStore()
    policy = "raise" if ending == "too slow" else "block"
    recorder = Recorder(moments=10**6 if ending == "too slow" else 3)

    async def consume():
        async with merge(recorder, checkpoint=store, policy=policy, buffer=4, clock=VirtualClock()) as events:
            async for event in events:
                if event.kind is Kind.READING and event.id == "a-3":
                    await (events.drain() if ending == "drained" else asyncio.sleep(60))
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await consume()
    assert at(store.text).time == EPOCH + timedelta(seconds=2)


@virtual
async def test_only_events_of_the_stream_itself_can_be_committed():
    """Events of a subscription, and copies of events, cannot be committed."""
    async with merge(Recorder(moments=9), checkpoint=Checkpoint(), clock=VirtualClock()) as events:
        display = events.subscribe()
        await asyncio.sleep(5.5)
        theirs = [await anext(display) for _ in range(4)][-1]
        with pytest.raises(ValueError, match="own iterator"):
            events.commit(theirs)
        mine = [await anext(events) for _ in range(4)]
        assert events.commit(mine[2]).positions[A][A].seq == mine[2].seq
        assert events.commit(mine[0]).positions[A][A].seq == mine[2].seq
        with pytest.raises(ValueError, match="own iterator"):
            events.commit(Event.from_json(mine[3].to_json()))


@virtual
async def test_a_cancelled_close_leaves_nothing_running():
    """Cancelling `aclose` stops the saver too."""

    class Stubborn(Recorder):
        async def run(self, outlet):
            try:
                await super().run(outlet)
            finally:
                await asyncio.sleep(3)

    events = await merge(Stubborn("a"), checkpoint=MemoryStore(), clock=VirtualClock()).__aenter__()
    await asyncio.sleep(1)
    closing = asyncio.create_task(events.aclose())
    await asyncio.sleep(1)
    closing.cancel()
    await asyncio.wait([closing])
    await events.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
async def test_positions_of_sources_that_are_not_merged_now_are_kept():
    """A source that is not merged for a while resumes when it is merged or added later."""
    store = MemoryStore(
        Checkpoint({A: {A: position(3, ids=("a-1", "a-2", "a-3"))}, SITE: {SITE: position()}}).to_json()
    )
    await asyncio.sleep(10)
    async with merge(Recorder(moments=12), checkpoint=store, clock=VirtualClock()) as events:
        seen = [event async for event in events]
    assert moments(seen) == list(range(4, 13))
    assert Checkpoint.from_json(store.text).positions[SITE][SITE] == position()


@virtual
async def test_a_forgotten_stream_with_a_checkpoint_warns_and_stops():
    """A stream that is garbage collected while open warns, and stops its sources and its saver."""
    held = [merge(Recorder(), checkpoint=MemoryStore(), clock=VirtualClock())]
    await held[0].__aenter__()
    await anext(held[0])
    with pytest.warns(ResourceWarning, match="never closed"):
        held.clear()
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def an_event(seq, name="x", *, second=None, source=A):
    time = EPOCH + timedelta(seconds=seq if second is None else second)
    return Event(
        source=source, kind=Kind.READING, key="", time=time, received_at=time, seq=seq, id=f"{name}-{seq}"
    )


def test_a_consumer_that_never_commits_costs_little():
    """At most 4,200 uncommitted events are referenced, and every commit is correct."""
    progress = CommitTracker(Checkpoint(), lambda source: source, auto=False)
    events = [an_event(n) for n in range(1, 50_001)]
    for event in events:
        progress.delivered(event)
    assert sum(sys.getrefcount(event) > UNREFERENCED for event in events) <= 4200
    progress.commit(events[100])
    assert progress.positions(A) == {}
    progress.commit(events[-2])
    assert progress.positions(A)[A].seq == 49_999
    progress.commit(events[-1])
    assert progress.positions(A)[A] == StreamPosition(
        time=events[-1].time, seq=50_000, ids=("x-49998", "x-49999", "x-50000")
    )


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_the_ids_of_a_position_are_those_near_its_time(seconds):
    """A position has the newest time and at most eight ids of the two seconds before it."""
    progress = CommitTracker(Checkpoint(), lambda source: source, auto=True)
    events = [an_event(n, second=second) for n, second in enumerate(seconds, 1)]
    for event in events:
        progress.delivered(event)
    progress.autocommit()
    reached = progress.positions(A)[A]
    newest = max(event.time for event in events)
    near = {event.id for event in events if event.time >= newest - timedelta(seconds=2)}
    assert reached.time == newest
    assert reached.seq == len(events)
    assert set(reached.ids) <= near
    assert len(reached.ids) <= 8
    if len(near) <= 4:
        assert {event.id for event in events if event.time == newest} <= set(reached.ids)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the checkpoint is empty"),
        ("\0" * 64, "the checkpoint is not JSON"),
        ('{"v":1,"sources":[{"id":["test","me","a",0],"at":[[null,0,"now",1,"",[],0]]}]}', "is damaged"),
        ('{"v":2}', "is of version 2"),
        ('{"v":1,"sources":[{"id":["test","me","z",0],"at":[]}]}', "is of other sources"),
        (b"\xff\xfe", "is not text"),
        (None, "cannot be read"),
        (
            '{"v":1,"sources":[{"id":["test","me","a",0],"at":[[null,0,"2199-03-03T12:00:00Z",1,"",[],0]]}]}',
            "is from the future",
        ),
    ],
)
async def test_the_error_of_an_unusable_file_names_it_and_the_remedy(tmp_path, caplog, text, fault):
    """The error names the file and the remedy; the file is unchanged, and `latest` skips it."""
    path = tmp_path / "position.json"
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for _ in range(2):
        with pytest.raises(CheckpointError, match=fault) as caught:
            async with merge(Recorder(), checkpoint=FileCheckpoint(path)):
                pass
        assert str(path) in str(caught.value)
        assert "on_corrupt='latest'" in str(caught.value)
        assert copy.copy(caught.value).path == caught.value.path == str(path)
    new = Recorder(every_s=0.001)
    async with merge(new, checkpoint=FileCheckpoint(path), on_corrupt="latest") as events:
        assert len(readings([await anext(events) for _ in range(5)])) == 3
    assert fault in caplog.text
    assert path.is_dir() == (text is None)
    if text is not None:
        assert at(path.read_text()).seq > 3


@virtual
async def test_a_clock_that_was_never_set_makes_no_position_a_future_one():
    """A machine whose clock is at 1970 accepts any checkpoint."""
    store = MemoryStore(Checkpoint({A: {A: position()}}).to_json())

    class Unset(VirtualClock):
        def utcnow(self):
            return super().utcnow().replace(year=1971)

    async with merge(Recorder(), checkpoint=store, clock=Unset()) as events:
        assert events.status[A].state is not State.FAILED


@virtual
@pytest.mark.parametrize("life_s", [0.5, 1.5, 2.5, 7.5])
async def test_a_program_that_is_killed_again_and_again_loses_nothing(life_s):
    """It is saved at the start and with the first event, so every run resumes from the one before."""
    store, seen, lives = MemoryStore(), [], 0
    recorder = Recorder()
    while lives < 8:
        lives += 1
        killed = asyncio.get_running_loop().time() + life_s
        stream = merge(recorder, checkpoint=store, clock=VirtualClock())
        await stream.__aenter__()
        try:
            async with asyncio.timeout_at(killed):
                while True:
                    seen.append(await anext(stream))
        except TimeoutError:
            pass
        saved, store.trouble = store.text, OSError("killed")  # nothing is saved in the end
        await stream.aclose()
        store.text, store.trouble = saved, None
        await asyncio.sleep(3)
        recorder = recorder.again()
    end = moments(seen)[-1] if moments(seen) else 0
    assert end > 8 * 3 - 5
    assert set(moments(seen)) >= set(range(1, end + 1))


@virtual
async def test_a_source_that_cannot_resume_reports_what_was_missed_since_the_stream_opened():
    """The gap begins when the earlier run started, even if that run had no reading."""
    store = MemoryStore()
    async with merge(Recorder(every_s=100, resumable=False), checkpoint=store, clock=VirtualClock()):
        await asyncio.sleep(1)
    await asyncio.sleep(9)
    source = Recorder(moments=1, resumable=False)
    async with merge(source, checkpoint=store, clock=VirtualClock()) as events:
        gaps = of_kind([event async for event in events], Kind.GAP)
    assert [(gap.start, gap.end) for gap in gaps] == [(EPOCH, EPOCH + timedelta(seconds=10))]


STRETCH = (EPOCH + timedelta(seconds=2), EPOCH + timedelta(seconds=4))


@virtual
async def test_pending_spans_are_in_the_checkpoint_until_their_readings_are_consumed():
    """Pending spans are in the status and in checkpoints until their readings are consumed."""
    resumed = []

    async def play(pen):
        pen.read(5)
        pen.outlet.pending(pen.source, [STRETCH])
        pen.read(at=6)
        await asyncio.sleep(10)
        pen.read(at=3, backfilled=True)
        pen.outlet.pending(pen.source, [])
        await asyncio.sleep(10)

    source = Script("a", play)
    source.resume = resumed.append
    async with merge(source, checkpoint=Checkpoint(), include_status=False, clock=VirtualClock()) as events:
        handed = [await anext(events) for _ in range(6)]
        assert events.status[A].pending == (STRETCH,)
        await asyncio.sleep(15)
        handed.append(await anext(events))
        assert events.status[A].pending == ()
        before = events.commit(handed[5])
        after = events.commit(handed[6])
    assert before.positions[A][A].pending == (STRETCH,)
    assert after.positions[A][A].pending == ()
    stored = Checkpoint.from_json(before.to_json())
    assert stored == before
    source = Script("a", play)
    source.resume = resumed.append
    async with merge(source, checkpoint=stored, clock=VirtualClock()):
        pass
    assert resumed[-1][A].pending == (STRETCH,)


def test_a_position_holds_earlier_quantities_and_pending_spans():
    """A position has seven members, and nine with pending spans or earlier quantities; both are read."""
    full = StreamPosition(
        time=EPOCH,
        seq=7,
        ids=("a/1",),
        quantities=frozenset({Quantity.PV_POWER}),
        seen=frozenset({Quantity.GRID_POWER}),
        pending=(STRETCH,),
    )
    text = Checkpoint({A: {A: full}}).to_json()
    assert Checkpoint.from_json(text).positions[A][A] == full
    [entry] = json.loads(text)["sources"][0]["at"]
    assert len(entry) == 9
    assert len(json.dumps(entry, separators=(",", ":"))) < 250


async def test_a_cancelled_save_never_overwrites_the_next_one(tmp_path, monkeypatch):
    """A later save waits for the thread of a cancelled one, so the file has the newer text."""
    store, go_on, begun = FileCheckpoint(tmp_path / "position"), threading.Event(), threading.Event()

    def slowly(path, content):
        begun.set()
        if content == b"old":
            go_on.wait(10)
        replace_file(path, content)

    monkeypatch.setattr("energy_core.stream.checkpoint.replace_file", slowly)
    old = asyncio.create_task(store.save("old"))
    await asyncio.to_thread(begun.wait, 10)
    old.cancel()
    with pytest.raises(asyncio.CancelledError):
        await old
    new = asyncio.create_task(store.save("new"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not new.done()
    go_on.set()
    await new
    assert await store.load() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["position"]


def test_a_device_of_another_vendor_and_account_keeps_its_id():
    """A source that passes on what another program received has devices of several vendors and accounts."""
    owner, device = SourceId("relay", "attic:8080", "*"), SourceId("vrm", "home", "151734", 3)
    position = StreamPosition(time=datetime(2026, 6, 1, tzinfo=UTC), seq=7, ids=("a/1", "a/2"))
    checkpoint = Checkpoint({owner: {device: position}})
    assert Checkpoint.from_json(checkpoint.to_json()).positions == checkpoint.positions

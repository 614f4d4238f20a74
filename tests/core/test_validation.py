"""Wrong readings and gaps end the source that delivered them, and no other."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from energy_core.errors import InternalError
from energy_core.stream.event import Event
from energy_core.stream.merge import merge
from energy_core.stream.validation import latest_allowed
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.scripted_sources import MemoryStore, Recorder, Script, moments, of_kind
from tests.servers.virtual_time import EPOCH, VirtualClock

virtual = pytest.mark.virtual_time

A, B = SourceId("test", "me", "a"), SourceId("test", "me", "b")
GOOD = {"time": EPOCH, "id": "a-1", "values": {Quantity.PV_POWER: 1.0}, "raw": {}}


class Nowhere(tzinfo):
    """A time zone without an offset."""

    def __repr__(self) -> str:
        return "Nowhere()"

    def utcoffset(self, _):
        return None


def delivering(**wrong):
    source = wrong.pop("source", A)

    async def play(pen):
        pen.outlet.reading(source, **{**GOOD, **wrong})
        await asyncio.sleep(3600)

    return Script("a", play)


@virtual
@pytest.mark.parametrize(
    "wrong",
    [
        {"source": "roof"},
        {"source": None},
        {"id": 7},
        {"time": "noon"},
        {"time": EPOCH.replace(tzinfo=None)},
        {"time": EPOCH.replace(tzinfo=Nowhere())},
        {"values": None},
        {"values": [1.0]},
        {"values": {Quantity.PV_POWER: "1"}},
        {"values": {Quantity.PV_POWER: None}},
        {"values": {"pv_power": 1.0}},
        {"values": {Quantity.PV_POWER: float("nan")}},
        {"values": {Quantity.PV_POWER: float("inf"), Quantity.GRID_POWER: float("-inf")}},
        {"raw": None},
        {"raw": "text"},
    ],
    ids=repr,
)
async def test_a_wrong_reading_ends_its_source_and_no_other(wrong, caplog):
    """The error names the source. The other source goes on, and its checkpoint is saved."""
    caplog.set_level(logging.CRITICAL)
    store = MemoryStore()
    async with merge(
        delivering(**wrong), Recorder("b", moments=20), checkpoint=store, clock=VirtualClock()
    ) as events:
        seen = [event async for event in events]
        assert events.status[A].state is State.FAILED
        assert isinstance(events.status[A].error, InternalError)
    assert moments(seen) == list(range(1, 21))
    assert store.saves
    assert all(Event.from_json(event.to_json()) == event for event in seen)


@virtual
@pytest.mark.parametrize(
    "wrong",
    [
        {"start": EPOCH.replace(tzinfo=None), "end": EPOCH},
        {"start": EPOCH, "end": EPOCH - timedelta(seconds=1)},
    ],
)
async def test_an_invalid_gap_ends_its_source(wrong, caplog):
    """A gap needs two aware times in order."""
    caplog.set_level(logging.CRITICAL)

    async def play(pen):
        pen.outlet.gap(A, **wrong, reason="broken")

    async with merge(Script("a", play), clock=VirtualClock()) as events:
        assert of_kind([event async for event in events], Kind.GAP) == []
        assert events.status[A].state is State.FAILED


@virtual
async def test_large_numbers_are_numbers():
    """Finite values are accepted even if their sum is infinite."""
    huge = {Quantity.PV_POWER: 1.7e308, Quantity.GRID_POWER: 1.7e308}
    async with merge(delivering(values=huge), clock=VirtualClock()) as events:
        await anext(events)
        assert (await anext(events)).values == huge


@virtual
async def test_an_error_in_resume_fails_its_source_only(caplog):
    """An exception in `resume` fails its source; the stream opens and the other sources run."""
    caplog.set_level(logging.CRITICAL)
    store = MemoryStore()
    async with merge(
        Recorder("a", moments=3), Recorder("b", moments=3), checkpoint=store, clock=VirtualClock()
    ) as events:
        assert len(moments([event async for event in events])) == 6

    def broken(positions):
        raise ZeroDivisionError

    source = Recorder("a")
    source.resume = broken
    async with merge(source, Recorder("b", moments=9), checkpoint=store, clock=VirtualClock()) as events:
        assert moments([event async for event in events]) == list(range(4, 10))
        assert events.status[A].state is State.FAILED


@virtual
async def test_a_reading_from_the_future_is_dropped_and_reported_as_a_gap(caplog):
    """It is dropped, and reported as a gap once per episode; later readings are not late."""

    async def play(pen):
        pen.outlet.status(State.LIVE)
        await asyncio.sleep(1)
        pen.read()
        pen.read(2, at=4_000_000_000)
        pen.read(1, at=3600)
        pen.read(1, at=3601)

    async with merge(Script("a", play), clock=VirtualClock()) as events:
        seen = [event async for event in events]
        assert events.status[A].refused == 2
        assert events.status[A].late == 0
    assert moments(seen) == [1, 3600, 3601]
    [gap] = of_kind(seen, Kind.GAP)
    assert (gap.start, gap.end, gap.reason) == (
        EPOCH + timedelta(seconds=1),
        EPOCH + timedelta(seconds=1),
        "from_the_future",
    )
    assert len([record for record in caplog.records if "dropping such readings" in record.message]) == 1


def test_a_clock_that_was_never_set_rejects_nothing():
    """A machine whose clock is at 1970 rejects no reading."""
    assert latest_allowed(datetime(1970, 1, 1, tzinfo=UTC)) > datetime(2096, 1, 1, tzinfo=UTC)
    assert latest_allowed(datetime(2026, 6, 1, tzinfo=UTC)) == datetime(2026, 6, 2, tzinfo=UTC)

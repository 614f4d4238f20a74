"""The vendor's `Date` decides which clock is wrong; readings from the future are dropped."""

import asyncio
from datetime import timedelta
from email.utils import format_datetime

import pytest

from energy_core.clock import VendorClock
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.merge import merge
from energy_core.stream.poll import Poller
from energy_core.stream.polled import PolledReading
from energy_core.stream.source import StreamPosition
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId, State, Status
from tests.servers.scripted_sources import Script, moments, of_kind
from tests.servers.virtual_time import EPOCH, VirtualClock
from vrm_async.live import read_sites

A = SourceId("test", "me", "a")
HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)

pytestmark = pytest.mark.virtual_time


def date(moment):
    return format_datetime(moment, usegmt=True)


def timed(source, clock, *, off=timedelta()):
    """Give a source a vendor clock that differs by `off` from the true time."""
    source.vendor_clock = VendorClock(clock)
    source.vendor_clock.observe(date(EPOCH + off))
    return source


async def test_a_vendor_clock_advances_between_responses():
    """Its time is that of the last response plus the time since, even if our clock is set meanwhile."""
    clock = VirtualClock(skew=-YEAR)
    vendor = VendorClock(clock)
    assert vendor.now() is None
    assert vendor.offset_s is None
    vendor.observe("yesterday")
    vendor.observe(None)
    assert vendor.now() is None
    vendor.observe(date(EPOCH))
    assert vendor.offset_s == YEAR.total_seconds()
    await asyncio.sleep(600)
    clock.skew -= HOUR
    assert vendor.now() == EPOCH + timedelta(seconds=600)
    vendor.observe(date(EPOCH), age="599")
    assert vendor.now() == EPOCH + timedelta(seconds=600), "what comes out of a cache says nothing"
    vendor.observe(date(EPOCH + timedelta(seconds=590)))
    assert vendor.now() == EPOCH + timedelta(seconds=590)


async def test_the_vendor_clock_is_right_after_the_machine_slept():
    """If the wall clock counts more time than the monotonic clock, the wall clock is used."""
    clock = VirtualClock()
    vendor = VendorClock(clock)
    vendor.observe(date(EPOCH))
    clock.skew += HOUR
    assert vendor.now() == EPOCH + HOUR


@pytest.mark.parametrize("ahead", [timedelta(seconds=301), HOUR, DAY, YEAR])
@pytest.mark.parametrize("skew", [timedelta(), -DAY, HOUR, YEAR])
async def test_readings_after_the_vendors_time_are_dropped(ahead, skew):
    """They are counted and reported by one gap per episode; later readings are delivered and not late."""
    clock = VirtualClock(skew)

    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.read(at=0)
        for _ in range(3):
            await asyncio.sleep(1)
            now = clock.monotonic()
            pen.read(at=now + ahead.total_seconds())
            pen.read(at=now)
        await asyncio.sleep(3600)
        pen.read(at=clock.monotonic() + ahead.total_seconds())

    async with merge(timed(Script("a", play), clock), clock=clock) as events:
        seen = [event async for event in events]
        status = events.status[A]
    assert moments(seen) == [0, 1, 2, 3]
    assert not [event for event in seen if event.late]
    assert status.refused == 4
    assert status.last == EPOCH + timedelta(seconds=3)
    gaps = of_kind(seen, Kind.GAP)
    assert [gap.reason for gap in gaps] == ["from_the_future"] * 2
    assert (gaps[0].start, gaps[0].end) == (EPOCH, EPOCH + timedelta(seconds=1))
    assert isinstance(gaps[0], Gap)


@pytest.mark.parametrize("skew", [-YEAR, -DAY, -HOUR, HOUR, DAY, YEAR])
async def test_our_own_clock_may_be_wrong(skew):
    """Readings keep the vendor's time; one status reports the difference, and one that it is gone."""
    clock = VirtualClock(skew)

    async def play(pen):
        for _ in range(3):
            pen.outlet.status(State.LIVE)
            pen.read(at=clock.monotonic())
            await asyncio.sleep(60)
        clock.skew = timedelta()
        source.vendor_clock.observe(date(EPOCH + timedelta(seconds=clock.monotonic())))
        pen.outlet.status(State.LIVE)

    source = timed(Script("a", play), clock)
    async with merge(source, clock=clock) as events:
        seen = [event async for event in events]
        assert events.status[A].clock_offset_s == 0
    assert moments(seen) == [0, 60, 120]
    reasons = [each.reason for each in of_kind(seen, Kind.STATUS) if "clock" in each.reason]
    seconds = f"{abs(skew).total_seconds():.0f} s"
    assert reasons == [
        f"our clock is {seconds} {'behind' if skew < timedelta() else 'ahead of'} the vendor's",
        "our clock is right again",
    ]
    assert all(isinstance(each, Status) for each in of_kind(seen, Kind.STATUS))


async def test_small_differences_are_ignored():
    """A difference of less than a minute is neither reported nor a reason to drop readings."""
    clock = VirtualClock(timedelta(seconds=30))

    async def play(pen):
        pen.outlet.status(State.LIVE)
        pen.read(at=290)

    async with merge(timed(Script("a", play), clock), clock=clock) as events:
        seen = [event async for event in events]
        assert events.status[A].clock_offset_s == -30
        assert events.status[A].refused == 0
    assert moments(seen) == [290]
    assert not [each for each in of_kind(seen, Kind.STATUS) if "clock" in each.reason]


async def test_a_polled_reading_from_the_future_is_reported_once_and_never_delivered():
    """It is not delivered even when its time has come; other readings are, and no gap is measured from it."""
    clock = VirtualClock()
    vendor = VendorClock(clock)
    leftover = int(EPOCH.timestamp()) + 3630
    asked = []

    async def ask():
        now = int(clock.utcnow().timestamp())
        vendor.observe(date(clock.utcnow()))
        return [observed(now), observed(leftover)]

    async def look_back(source, start, end):
        asked.append((start, end))
        return []

    poller = Poller(
        A, ask, interval_s=60, fetch_range=look_back, clock=clock, random=lambda: 0.0, vendor_clock=vendor
    )
    async with merge(poller, clock=clock) as events:
        seen = []
        async for event in events:
            seen.append(event)
            if event.time > EPOCH + timedelta(hours=2) and event.kind is Kind.READING:
                break
        assert events.status[A].refused == 1
        assert events.status[A].late == 0
    times = [event.time for event in seen if event.kind is Kind.READING]
    assert times == [EPOCH + timedelta(minutes=each) for each in range(122)]
    assert [gap.reason for gap in of_kind(seen, Kind.GAP)] == ["from_the_future"]
    assert all(end <= EPOCH + timedelta(hours=3) for _, end in asked)


def observed(second):
    return PolledReading(
        source=A,
        time=EPOCH + timedelta(seconds=second - EPOCH.timestamp()),
        id=f"a/{second}",
        values={Quantity.PV_POWER: 1.0},
        raw={},
    )


@pytest.mark.parametrize(
    "date",
    [
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 1999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "yesterday",
    ],
)
async def test_an_impossible_date_is_ignored(date):
    """An impossible `Date` is ignored; the one of an earlier response stays valid."""
    clock = VendorClock(VirtualClock())
    clock.observe("Sun, 01 Mar 2026 12:00:00 GMT")
    clock.observe(date)
    await asyncio.sleep(60)
    assert clock.now() == EPOCH + timedelta(seconds=60)


async def test_devices_of_a_run_without_readings_are_backfilled_from_its_start():
    """A poller that was stopped before its first response backfills all devices from its start."""
    clock, asked = VirtualClock(), []

    async def ask():
        return [observed(int(clock.utcnow().timestamp()))]

    async def look_back(source, start, end):
        asked.append((start, end))
        return [observed(int(EPOCH.timestamp()) + second) for second in (60, 120, 180)]

    begun = Checkpoint({A: {A: StreamPosition(time=EPOCH, seq=0)}})
    await asyncio.sleep(240)
    poller = Poller(A, ask, interval_s=60, fetch_range=look_back, clock=clock, random=lambda: 0.0)
    async with merge(poller, checkpoint=begun, include_status=False, clock=clock) as events:
        seen = [await anext(events) for _ in range(4)]
    assert asked
    assert moments(seen) == [60, 120, 180, 240]


async def test_a_site_has_not_logged_later_than_now():
    """Values dated ahead are ignored; a last log dated ahead does not make the others outdated."""
    now = int(EPOCH.timestamp())
    record = {
        "idSite": 1,
        "last_timestamp": now + 3600,
        "extended": [
            {"code": "bs", "rawValue": 60, "instance": 0, "timestamp": now},
            {"code": "bs", "rawValue": 10, "instance": 0, "timestamp": now + 7200},
        ],
    }
    found = read_sites({"success": True, "records": [record]}, set(), "me", latest_s=now + 300)
    assert [each.reading.values for each in found.readings] == [{Quantity.BATTERY_SOC: 60.0}]
    assert found.sites[SourceId("vrm", "me", "1")].newest == EPOCH

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from attrs import evolve

from energy_core.clock import VendorClock
from energy_core.errors import (
    AuthFailed,
    BadRequest,
    ConnectError,
    DecodeError,
    NoData,
    NotFound,
    PermissionDenied,
    RateLimited,
    RequestError,
    ServerFault,
    TwoFactorRequired,
    UnexpectedRedirect,
)
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.device_backfill import DeviceBackfill
from energy_core.stream.merge import merge
from energy_core.stream.poll import Poller
from energy_core.stream.polled import LookbackConfig, Polled, PolledReading, SiteFreshness, SiteReport
from energy_core.stream.source import StreamPosition
from energy_core.stream.vocabulary import Kind, SourceId, State
from tests.servers.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time

SITE = SourceId("vrm", "home", "151734")


def seen_at(second, *, instance=0):
    return PolledReading(
        source=SITE._replace(instance=instance),
        time=EPOCH + timedelta(seconds=second),
        id=f"{instance}/{second}",
        values={},
        raw={"at": second},
    )


class Vendor:
    """Returns the answers in turn; an exception is raised, the last answer is repeated."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked_at = []

    async def __call__(self):
        self.asked_at.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def watch(vendor, *, interval_s=60.0, seconds=600.0, random=lambda: 0.5, **options):
    """Poll for some (virtual) seconds and return all events."""
    clock = VirtualClock()
    poller = Poller(SITE, vendor, interval_s=interval_s, clock=clock, random=random)
    events = []
    async with merge(poller, clock=clock, **options) as stream:
        asyncio.get_running_loop().call_later(
            seconds, lambda: closing.append(asyncio.ensure_future(stream.aclose()))
        )
        closing = []
        events = [event async for event in stream]
        await asyncio.gather(*closing)
    return events


def ids(events):
    return [event.id for event in events if event.kind is Kind.READING]


def details(events):
    return [event.detail for event in events if event.kind is Kind.STATUS]


async def test_it_polls_at_its_interval_from_the_start():
    """The first poll is sent at once, the next ones a whole interval apart."""
    vendor = Vendor([])
    await watch(vendor, seconds=200)
    assert vendor.asked_at == [0, 60, 120, 180]


async def test_the_time_an_answer_takes_is_part_of_the_interval():
    """A slow answer does not shift the polls; one slower than the interval is followed by a poll at once."""
    asked_at = []

    async def ask():
        asked_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(10 if len(asked_at) < 3 else 90)
        return []

    await watch(ask, seconds=250)
    assert asked_at == [0, 60, 120, 210]


async def test_a_delivered_reading_is_not_delivered_again():
    """An id is delivered once for each device, however often the vendor repeats it."""
    vendor = Vendor(
        [seen_at(1)],
        [seen_at(1)],
        [seen_at(1), seen_at(2)],
        [],
        [seen_at(3), seen_at(2), seen_at(1), seen_at(1, instance=9)],
    )
    assert ids(await watch(vendor)) == ["0/1", "0/2", "9/1", "0/3"]


async def test_an_answer_is_delivered_in_time_order():
    """Whatever order the vendor chose, older readings come first, and none of them is late."""
    events = await watch(Vendor([seen_at(3), seen_at(1), seen_at(2)]))
    assert ids(events) == ["0/1", "0/2", "0/3"]
    assert not any(event.late for event in events)


async def test_what_a_poller_remembers_is_never_less_than_an_answer():
    """After a thousand short answers, a long answer that is repeated is delivered once."""
    long = [seen_at(second) for second in range(500)]
    vendor = Vendor(*([seen_at(1000 + n)] for n in range(1000)), long, long, long)
    async with merge(Poller(SITE, vendor, interval_s=1), include_status=False) as events:
        for _ in range(1500):
            await anext(events)
        await asyncio.sleep(10)
        assert events.status[SITE].readings == 1500


def test_what_a_device_remembers_is_bounded():
    """A thousand short answers leave a handful of ids; an answer of 500 readings leaves 500."""
    device = DeviceBackfill(SITE, LookbackConfig())
    for n in range(1000):
        device.add(seen_at(1000 + n), 0.0)
        device.end_poll(1)
    assert len(device.matcher) <= 32
    for second in range(500):
        device.add(seen_at(second), 0.0)
    device.end_poll(500)
    assert len(device.matcher) == 500


async def test_no_data_is_nothing_new():
    """A vendor without data is not an error."""
    events = await watch(Vendor(NoData("nothing")))
    assert [detail.state for detail in details(events)] == [State.CONNECTING, State.LIVE]


@pytest.mark.parametrize(
    "failure",
    [
        ConnectError("no", kind="refused"),
        ServerFault("no", status=502),
        BadRequest("no", status=400),
        DecodeError("no", kind="html"),
        UnexpectedRedirect("no", status=302),
        RateLimited("no", status=429),
    ],
)
async def test_failures_are_reported_once_and_retried(failure):
    """Three failures in a row make one status event with reason and delay; then the source is live."""
    vendor = Vendor([seen_at(1)], failure, failure, failure, [seen_at(2)])
    events = await watch(vendor)
    assert [detail.state for detail in details(events)] == [
        State.CONNECTING,
        State.LIVE,
        State.DISCONNECTED,
        State.LIVE,
        State.STALE,  # nothing new for five minutes
    ]
    assert details(events)[2].reason == str(failure)
    assert details(events)[2].retry_in == pytest.approx(1.0)
    assert ids(events) == ["0/1", "0/2"]


async def test_delays_grow_with_full_jitter_up_to_a_limit():
    """The delays double up to twice the interval, so failing polls are on average as frequent as others."""
    vendor = Vendor(ServerFault("no", status=503))
    await watch(vendor, seconds=1000, random=lambda: 1.0)
    waits = [b - a for a, b in zip(vendor.asked_at, vendor.asked_at[1:], strict=False)]
    assert waits == [2, 4, 8, 16, 32, 64, 120, 120, 120, 120, 120, 120, 120]


async def test_retry_after_is_kept():
    """Retry-After is waited out in full, plus jitter, but never more than an hour."""
    vendor = Vendor(
        RateLimited("later", retry_after=100.0), RateLimited("later", retry_after=1e9), [seen_at(1)]
    )
    events = await watch(vendor, seconds=5000)
    assert vendor.asked_at[:3] == [0, pytest.approx(105), pytest.approx(105 + 3600)]
    assert details(events)[1].retry_in == pytest.approx(105)


async def test_the_status_shows_the_current_delay():
    """While polls fail, the snapshot has each new delay and reason."""
    clock = VirtualClock()
    vendor = Vendor(ServerFault("first", status=503), ServerFault("second", status=502))
    poller = Poller(SITE, vendor, interval_s=60, clock=clock, random=lambda: 0.5)
    async with merge(poller, clock=clock) as stream:
        await clock.sleep(0.5)
        assert (stream.status[SITE].reason, stream.status[SITE].retry_in) == ("first, status 503", 0.5)
        await clock.sleep(1.0)
        assert (stream.status[SITE].reason, stream.status[SITE].retry_in) == ("second, status 502", 1.5)
        assert repr(poller) == "<Poller vrm/home/151734/0 every 60 s: asked 2 times, failed 2 times in a row>"


@pytest.mark.parametrize(
    ("refusal", "state"),
    [
        (AuthFailed("no"), State.AUTH_FAILED),
        (PermissionDenied("no", status=403), State.FAILED),
        (NotFound("no", status=404), State.FAILED),
        (TypeError("a fault of ours"), State.FAILED),
    ],
)
async def test_permanent_failures_end_the_source(refusal, state):
    """Three refusals in a row, a minute apart, end it; a bug ends it at once."""
    vendor = Vendor([seen_at(1)], refusal)
    events = await watch(vendor)
    assert details(events)[-1].state is state
    assert vendor.asked_at == ([0, 60, 120, 180] if isinstance(refusal, RequestError) else [0, 60])


def page(kind, status):
    """Return a refusal sent by a proxy."""
    error = kind("no", status=status)
    error.body_format = "html"
    return error


@pytest.mark.parametrize(
    "odd",
    [
        page(AuthFailed, 401),
        page(PermissionDenied, 403),
        page(NotFound, 404),
        DecodeError("the list is empty", kind="shape"),
    ],
    ids=str,
)
async def test_only_the_vendors_refusals_end_the_source(odd):
    """A proxy's page or an empty list, however often, is counted and retried."""
    clock = VirtualClock()
    vendor = Vendor([seen_at(1)], *[odd] * 30, [seen_at(2)])
    poller = Poller(SITE, vendor, interval_s=60, clock=clock, random=lambda: 0.5)
    async with merge(poller, clock=clock) as stream:
        await clock.sleep(3600)
        status = stream.status[SITE]
    assert status.readings == 2
    assert status.notes == {"failed polls": 30}


@pytest.mark.parametrize(
    "between", [[seen_at(2)], ServerFault("no", status=502), page(NotFound, 404)], ids=str
)
async def test_only_refusals_in_a_row_end_the_source(between):
    """An answer, or a failure of another kind, resets the count."""
    no = PermissionDenied("no", status=403)
    vendor = Vendor(no, no, between, no, no, between, no, no, no)
    events = await watch(vendor, interval_s=1.0, seconds=3600)
    assert details(events)[-1].state is State.FAILED
    assert len(vendor.asked_at) == 9
    refused_at = [at for at, n in zip(vendor.asked_at, range(9), strict=True) if n not in {2, 5}]
    assert all(later - at >= 60 for at, later in pairwise(refused_at))


async def test_a_required_one_time_code_is_not_retried():
    """Each login would send another code."""
    vendor = Vendor(TwoFactorRequired("VRM wants a code"))
    events = await watch(vendor)
    assert details(events)[-1].state is State.AUTH_FAILED
    assert vendor.asked_at == [0]


# --- states of sites --------------------------------------------------------------------------------------

FLEET = SITE._replace(site="*")


class Fleet:
    """Sites that log at an interval until they stop."""

    def __init__(self, *sites, problem=""):
        self.sites = sites  # (number, interval, [periods in which it logs])
        self.problem = problem

    async def __call__(self):
        now = asyncio.get_running_loop().time()
        moments = {
            SITE._replace(site=str(number)): max(
                second
                for start, end in spells
                for second in range(start, end, interval)
                if second <= now or second == spells[0][0]
            )
            for number, interval, spells in self.sites
        }
        return Polled(
            readings=[
                evolve(seen_at(second), source=site, id=f"{site.site}/{second}")
                for site, second in moments.items()
            ],
            sites={site: SiteReport(EPOCH + timedelta(seconds=second)) for site, second in moments.items()}
            | ({SITE._replace(site="999"): SiteReport(None, self.problem)} if self.problem else {}),
        )


async def watch_fleet(fleet, *, seconds, source=FLEET, interval_s=60.0):
    clock = VirtualClock()
    poller = Poller(source, fleet, interval_s=interval_s, clock=clock, random=lambda: 0.5)
    async with merge(poller, clock=clock, buffer=10_000) as stream:
        await clock.sleep(seconds)
        status = stream.status
        await stream.drain()
        events = [event async for event in stream]
    states = [
        (event.source.site, (event.received_at - EPOCH).total_seconds(), str(event.detail.state))
        for event in events
        if event.kind is Kind.STATUS and event.detail.state in {State.STALE, State.LIVE}
    ]
    return states, status, events


async def test_a_site_that_stops_logging_is_stale_and_live_again():
    """It becomes stale within five minutes, alone; its next reading follows the status that it is live."""
    fleet = Fleet((1, 60, [(0, 10_000)]), (2, 60, [(0, 601), (1800, 10_000)]))
    states, status, events = await watch_fleet(fleet, seconds=3000)
    assert states == [("*", 0, "live"), ("2", 900, "stale"), ("2", 1800, "live")]
    [stale] = [event for event in events if event.kind is Kind.STATUS and event.detail.state is State.STALE]
    assert stale.source == SITE._replace(site="2")
    assert stale.detail.reason == "the site has not logged for 300 s, since 2026-03-01 12:10:00 UTC"
    after = next(event for event in events if event.id == "2/1800")
    live = next(
        event for event in events if event.source.site == "2" and event.detail and event.seq > stale.seq
    )
    assert after.seq == live.seq + 1
    assert {source.site: str(each.state) for source, each in status.items()} == {
        "*": "live",
        "1": "live",
        "2": "live",
    }
    first = status[SITE._replace(site="1")]
    assert (first.readings, first.last, first.quiet_s) == (50, EPOCH + timedelta(seconds=2940), 60)


async def test_the_status_of_a_stale_site_has_its_age():
    """The age is current in the snapshot, without an event for each poll."""
    fleet = Fleet((1, 60, [(0, 10_000)]), (2, 60, [(0, 601)]))
    states, status, _ = await watch_fleet(fleet, seconds=3030)
    assert states == [("*", 0, "live"), ("2", 900, "stale")]
    found = status[SITE._replace(site="2")]
    assert (found.state, found.age_s) == (State.STALE, 2130)
    assert found.reason == "the site has not logged for 2400 s, since 2026-03-01 12:10:00 UTC"
    assert found.last == EPOCH + timedelta(seconds=600)


async def test_a_site_is_stale_after_three_of_its_own_intervals():
    """A site that logs every 15 minutes is not stale in between, once its interval is known."""
    fleet = Fleet((1, 900, [(0, 9001)]), (2, 60, [(0, 20_000)]))
    states, _, _ = await watch_fleet(fleet, seconds=15_000)
    assert states == [
        ("*", 0, "live"),
        ("1", 300, "stale"),
        ("1", 900, "live"),
        ("1", 9000 + 2700, "stale"),
    ]


async def test_staleness_does_not_wait_for_the_next_poll():
    """A slow poller reports it when it is due."""
    fleet = Fleet((1, 600, [(0, 1201)]), (2, 600, [(0, 20_000)]))
    states, _, _ = await watch_fleet(fleet, seconds=6000, interval_s=700.0)
    assert states == [("*", 0, "live"), ("1", 1400 + 3 * 700, "stale")]


async def test_an_outage_of_the_vendor_makes_no_site_stale():
    """While polls fail the source is disconnected, and so is every site in the snapshot."""
    clock, fleet, down = VirtualClock(), Fleet((1, 60, [(0, 10_000)]), (2, 60, [(0, 10_000)])), False

    async def ask():
        if down:
            raise ServerFault("no", status=502)
        return await fleet()

    async with merge(Poller(FLEET, ask, interval_s=60, clock=clock), clock=clock) as stream:
        await clock.sleep(100)
        down = True
        await clock.sleep(1000)
        assert {each.state for each in stream.status.values()} == {State.DISCONNECTED}
        down = False
        await clock.sleep(200)
        assert {each.state for each in stream.status.values()} == {State.LIVE}
        await stream.drain()
        events = [event async for event in stream]
    assert not any(event.detail.state is State.STALE for event in events if event.kind is Kind.STATUS)


async def test_a_site_that_has_stopped_long_ago_is_stale_from_the_start():
    """Its age is known from its last log."""
    states, _, events = await watch_fleet(Fleet((1, 60, [(-4000, -3900)]), (2, 60, [(0, 9000)])), seconds=100)
    assert states == [("*", 0, "live"), ("1", 0, "stale")]
    assert [event.id for event in events if event.source.site == "1" and not event.detail] == ["1/-3940"]


@pytest.mark.parametrize("skew_h", [-48, -5, 0, 5, 48])
async def test_the_age_of_a_site_is_by_the_vendors_clock(skew_h):
    """The local clock may be days off: a site that logs is not stale, and one that has stopped is."""
    clock = VirtualClock(timedelta(hours=skew_h))
    vendor_clock = VendorClock(clock)
    vendor_clock.observe(format_datetime(EPOCH, usegmt=True))
    fleet = Fleet((1, 60, [(0, 10_000)]), (2, 60, [(-4000, -3900)]))
    poller = Poller(FLEET, fleet, interval_s=60, clock=clock, vendor_clock=vendor_clock)
    async with merge(poller, clock=clock) as stream:
        await clock.sleep(30)
        states = {source.site: str(each.state) for source, each in stream.status.items()}
        reason = stream.status[SITE._replace(site="2")].reason
    assert states == {"*": "live", "1": "live", "2": "stale"}
    assert reason == "the site has not logged for 3940 s, since 2026-03-01 10:54:20 UTC"


async def test_a_log_from_the_future_does_not_count():
    """A site whose gateway clock is ahead is not fresh until that time, and continues with correct times."""
    clock = VirtualClock()
    vendor = Vendor([seen_at(86_400 * 30)], [seen_at(86_400 * 30), seen_at(60)], [seen_at(120)])
    poller = Poller(SITE._replace(site="*"), vendor, interval_s=60, clock=clock)
    async with merge(poller, clock=clock) as stream:
        await clock.sleep(30)
        assert stream.status[SITE].state is State.STALE
        await clock.sleep(100)
        assert stream.status[SITE].state is State.LIVE
        assert stream.status[SITE].last == EPOCH + timedelta(seconds=120)


async def test_a_missing_site_is_reported_and_the_others_go_on():
    """Its status contains the reason."""
    fleet = Fleet((1, 60, [(0, 10_000)]), problem="the list does not have 999")
    states, status, _ = await watch_fleet(fleet, seconds=1000)
    assert states == [("*", 0, "live"), ("999", 0, "stale")]
    assert status[SITE._replace(site="999")].reason == "the list does not have 999"


async def test_the_state_of_a_single_site_is_that_of_its_source():
    """There is one status, under one id."""
    one = SITE._replace(site="1")
    states, status, _ = await watch_fleet(
        Fleet((1, 60, [(0, 601), (1800, 10_000)])), seconds=2000, source=one
    )
    assert states == [("1", 0, "live"), ("1", 900, "stale"), ("1", 1800, "live")]
    assert set(status) == {one}


async def test_the_usual_interval_is_a_median():
    """One interval during an outage, or one short one, does not change a site's usual interval."""
    site = SiteFreshness(EPOCH, 0.0, 0.0)
    now = 0.0
    for interval in (86_000, 60, 5, 60, 60):
        now += interval
        assert site.update(EPOCH + timedelta(seconds=now), now)
    assert site.stale_at == now + 300
    assert not site.update(EPOCH + timedelta(seconds=now), now + 5)
    fresh = SiteFreshness(EPOCH, 0.0, 0.0)
    fresh.update(EPOCH + timedelta(seconds=86_000), 86_000.0)
    assert fresh.stale_at == 86_000 + 3 * 900
    assert SiteFreshness(None, float("inf"), 0.0).stale_at < 0


async def test_cancelling_works_in_every_wait():
    """During a poll, between polls and after a failure: closing the stream ends the wait at once."""

    async def slow():
        await asyncio.sleep(3600)

    for vendor in (slow, Vendor([]), Vendor(ServerFault("no"))):
        await watch(vendor, seconds=1.5)
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("interval_s", [0, -1, float("nan"), float("inf")])
async def test_an_interval_is_a_positive_number(interval_s):
    """A poller that would never or always poll is rejected."""
    with pytest.raises(ValueError, match="interval_s"):
        Poller(SITE, Vendor([]), interval_s=interval_s)


async def test_a_failing_poller_delays_no_other():
    """A hundred pollers, half of them failing: the others poll exactly at their interval."""
    clock = VirtualClock()
    vendors = [Vendor(ServerFault("no")) if n % 2 else Vendor([]) for n in range(100)]
    pollers = [
        Poller(SITE._replace(site=str(n)), vendor, interval_s=10, clock=clock)
        for n, vendor in enumerate(vendors)
    ]
    async with merge(*pollers, clock=clock):
        await clock.sleep(95)
    assert all(vendor.asked_at == list(range(0, 100, 10)) for vendor in vendors[::2])


@pytest.mark.parametrize("ahead_h", [0, 5, 24 * 200])
async def test_a_start_by_a_local_clock_that_is_ahead_is_corrected(ahead_h):
    """A program that was killed before its first reading continues from its start."""
    clock = VirtualClock(timedelta(hours=ahead_h))
    vendor_clock = VendorClock(clock)

    async def look_back(_source, _start, _end):
        return [replaced(seen_at(second)) for second in range(0, int(clock.monotonic()) + 1, 60)]

    def replaced(reading):
        return evolve(reading, source=FLEET._replace(site="1"))

    async def ask():
        vendor_clock.observe(format_datetime(EPOCH + timedelta(seconds=clock.monotonic()), usegmt=True))
        return [replaced(seen_at(int(clock.monotonic()) // 60 * 60))]

    begun = StreamPosition(time=clock.utcnow() + timedelta(seconds=600), seq=0)
    await clock.sleep(1800)
    poller = Poller(FLEET, ask, interval_s=60, fetch_range=look_back, clock=clock, vendor_clock=vendor_clock)
    async with merge(poller, clock=clock, checkpoint=Checkpoint({FLEET: {FLEET: begun}})) as stream:
        await clock.sleep(30)
        await stream.drain()
        events = [event async for event in stream]
    seconds = [int((event.time - EPOCH).total_seconds()) for event in events if event.kind is Kind.READING]
    assert seconds == list(range(660, 1801, 60))

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import AuthFailed, NoData, NotFound, PermissionDenied, ServerFault
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.lookback_match import Revisions
from energy_core.stream.merge import merge
from energy_core.stream.poll import Poller
from energy_core.stream.polled import IntervalEstimator, LookbackConfig, PolledReading
from energy_core.stream.source import StreamPosition
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.scripted_sources import moments, of_kind, readings, seconds
from tests.servers.virtual_time import EPOCH, VirtualClock

virtual = pytest.mark.virtual_time
SITE = SourceId("vrm", "home", "151734", 258)
LIST = SourceId("vrm", "home", "*")
MINUTE, HOUR = 60, 3600


class Vendor:
    """A site that logs every minute; what it logged can be late, and can change."""

    def __init__(self):
        self.late = {}  # second -> second at which it reaches the vendor
        self.changes = {}  # second -> [(second from which on, value)]
        self.never = set()
        self.behind = {}  # second -> second at which its record has it
        self.asked, self.look_backs = [], []
        self.error = None
        self.look_s = 0.0

    def now(self):
        return asyncio.get_running_loop().time()

    def known(self, second):
        return second not in self.never and self.late.get(second, second) <= self.now()

    def moment(self, second):
        value = float(second)
        for since, changed in self.changes.get(second, []):
            if self.now() >= since:
                value = changed
        return PolledReading(
            source=SITE,
            time=EPOCH + timedelta(seconds=second),
            id=f"151734/258/{second}",
            values={Quantity.PV_POWER: value},
            raw={},
        )

    async def ask(self):
        self.asked.append(self.now())
        newest = int(self.now() // MINUTE) * MINUTE
        while newest > 0 and not self.known(newest):
            newest -= MINUTE
        return [self.moment(newest)] if newest > 0 else []

    async def fetch_range(self, source, start, end):
        assert source == SITE
        self.look_backs.append((seconds(start), seconds(end)))
        await asyncio.sleep(self.look_s)
        if self.error is not None:
            raise self.error
        first, last = seconds(start), min(seconds(end), int(self.now()))
        found = [self.moment(each) for each in range(max(first, MINUTE), last + 1) if not each % MINUTE]
        return [
            each
            for each in reversed(found)
            if self.known(seconds(each.time)) and self.behind.get(seconds(each.time), 0) <= self.now()
        ]


def poller(vendor, **options):
    lookback = options.pop("lookback", LookbackConfig())
    return Poller(
        LIST,
        vendor.ask,
        interval_s=30.0,
        fetch_range=vendor.fetch_range,
        lookback=lookback,
        clock=VirtualClock(),
    )


async def watch(source, until, **options):
    async with merge(source, buffer=10_000, clock=VirtualClock(), **options) as events:
        await asyncio.sleep(until - asyncio.get_running_loop().time())
        await events.drain()
        return [event async for event in events]


@virtual
async def test_it_looks_back_each_hour_over_aligned_ranges_of_equal_length():
    """The ranges end at full hours and are six hours long, whenever polls are sent."""
    vendor = Vendor()
    await asyncio.sleep(700)
    await watch(poller(vendor), 4 * HOUR)
    assert [end % HOUR for _, end in vendor.look_backs] == [0] * 3
    assert {end - start for start, end in vendor.look_backs} == {6 * HOUR}


@virtual
async def test_late_data_is_backfilled_once():
    """Readings that reach the vendor an hour late are delivered then, and never again."""
    vendor = Vendor()
    vendor.late = dict.fromkeys(range(HOUR, HOUR + 600, MINUTE), 2 * HOUR + 300)
    seen = await watch(poller(vendor), 6 * HOUR)
    late = [event for event in readings(seen) if event.backfilled]
    assert moments(late) == list(range(HOUR, HOUR + 600, MINUTE))
    assert all(event.late and event.revision == 0 for event in late)
    assert sorted(moments(seen)) == list(range(MINUTE, 6 * HOUR, MINUTE))


@virtual
async def test_a_changed_past_is_a_revision():
    """A value that changes after a look-back is delivered as revision 1, changed again as revision 2."""
    vendor = Vendor()
    vendor.changes[HOUR] = [(2.5 * HOUR, -1.0), (4.5 * HOUR, -2.0)]
    seen = await watch(poller(vendor), 7 * HOUR)
    delivered = [event for event in readings(seen) if seconds(event.time) == HOUR]
    assert [(event.revision, event.values[Quantity.PV_POWER]) for event in delivered] == [
        (0, float(HOUR)),
        (1, -1.0),
        (2, -2.0),
    ]
    assert len({event.id for event in delivered}) == 1


@virtual
async def test_rounding_by_the_vendor_is_not_a_revision():
    """Values of a look-back are compared with an earlier look-back, never with a poll."""
    vendor = Vendor()
    vendor.changes = {second: [(second + 300, round(second, -2))] for second in range(0, 5 * HOUR, MINUTE)}
    seen = await watch(poller(vendor), 5 * HOUR)
    assert {event.revision for event in readings(seen)} == {0}
    assert moments(seen) == list(range(MINUTE, 5 * HOUR, MINUTE))


@virtual
async def test_a_skipped_slot_is_fetched_before_newer_readings():
    """When polls miss a reading, it is fetched and delivered first, in time order."""
    vendor = Vendor()
    vendor.late = {1200: 1255, 1260: 1310}
    seen = await watch(poller(vendor), 1800)
    assert moments(seen) == list(range(MINUTE, 1800, MINUTE))
    assert not any(event.late for event in seen)
    assert [event.backfilled for event in readings(seen)].count(True) >= 1
    assert State.BACKFILLING in {event.detail.state for event in seen if event.kind is Kind.STATUS}


@virtual
async def test_a_skipped_slot_that_cannot_be_fetched_is_a_gap():
    """If the vendor does not answer, the range is reported and the stream goes on."""
    vendor = Vendor()
    vendor.never = {1200, 1260}
    vendor.error = ServerFault("down", status=503)
    seen = await watch(poller(vendor), 1800)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end)) == (1140, 1320)
    assert "down" in gap.reason
    assert moments(seen)[-1] == 1740


@virtual
async def test_a_look_back_that_hangs_does_not_stop_the_polls():
    """It ends after its timeout, and is repeated after a cooldown."""
    vendor = Vendor()
    vendor.look_s = 10**6
    seen = await watch(poller(vendor), 3 * HOUR)
    assert 2 <= len(vendor.look_backs) <= 20
    waits = [after - before for before, after in pairwise(vendor.asked)]
    assert max(waits) <= 120
    assert len(readings(seen)) >= 150


@virtual
async def test_a_look_back_covers_the_ranges_of_failed_ones():
    """Late data is found even if every look-back fails for longer than one of them covers."""
    vendor = Vendor()
    vendor.late = dict.fromkeys(range(HOUR, HOUR + 600, MINUTE), 2 * HOUR)
    vendor.error = ServerFault("down", status=503)
    asyncio.get_running_loop().call_at(15 * HOUR, lambda: setattr(vendor, "error", None))
    seen = await watch(poller(vendor), 17 * HOUR)
    assert set(range(HOUR, HOUR + 600, MINUTE)) <= set(moments(seen))
    assert len(moments(seen)) == len(set(moments(seen)))


@virtual
@pytest.mark.parametrize("refusal", [AuthFailed("no", status=401), NotFound("no", status=404)], ids=str)
async def test_a_refused_look_back_ends_nothing(refusal):
    """A refusal about one site's past is a gap of the device where readings are missing."""
    vendor = Vendor()
    vendor.error = refusal
    vendor.never = {1200, 1260}
    seen = await watch(poller(vendor), 3 * HOUR)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end)) == (1140, 1320)
    assert seen[-1].detail.state is State.CLOSED
    assert moments(seen) == [each for each in range(MINUTE, 3 * HOUR, MINUTE) if each not in vendor.never]


@virtual
async def test_a_bug_in_fetch_range_ends_the_source():
    """Any other exception ends the source as a bug in its code, with the cause."""
    vendor = Vendor()
    vendor.error = ZeroDivisionError("oops")
    source = poller(vendor)
    async with merge(source, buffer=10_000, clock=VirtualClock()) as events:
        await asyncio.sleep(3 * HOUR)
        status = events.status[LIST]
    assert status.state is State.FAILED
    assert isinstance(status.error.__cause__, ZeroDivisionError)


@virtual
async def test_a_forbidden_look_back_is_a_gap():
    """It affects the gaps of its device only; polls go on."""
    vendor = Vendor()
    vendor.error = PermissionDenied("no", status=403)
    vendor.never = {1200, 1260}
    seen = await watch(poller(vendor), 3 * HOUR)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end)) == (1140, 1320)
    assert moments(seen) == [each for each in range(MINUTE, 3 * HOUR, MINUTE) if each not in vendor.never]


async def watch_pending(vendor, until, times, **options):
    """Watch, and return the events and the pending ranges at some times, in seconds."""
    found, source = {}, poller(vendor, **options)
    async with merge(source, buffer=10_000, clock=VirtualClock()) as events:
        for second in times:
            await asyncio.sleep(second - asyncio.get_running_loop().time())
            pending = events.status[LIST].pending
            found[second] = [(seconds(start), seconds(end)) for start, end in pending]
        await asyncio.sleep(until - asyncio.get_running_loop().time())
        await events.drain()
        return [event async for event in events], found


@virtual
async def test_an_incomplete_record_is_requested_again():
    """Missing readings are pending and arrive late, after 1, 5 or 15 minutes; live readings go on."""
    vendor = Vendor()
    vendor.late = {1200: 1500, 1260: 1500, 1320: 1500}
    seen, pending = await watch_pending(vendor, 3 * HOUR, [1380, 1410, 1500, 1800])
    assert pending == {1380: [], 1410: [(1140, 1380)], 1500: [(1140, 1380)], 1800: []}
    assert of_kind(seen, Kind.GAP) == []
    late = [event for event in readings(seen) if event.late]
    assert [(seconds(event.time), event.backfilled) for event in late] == [
        (s, True) for s in (1200, 1260, 1320)
    ]
    assert all(
        1680 <= seconds(event.received_at) <= 1720 for event in late
    )  # five minutes after the first look-back
    on_time = [seconds(event.time) for event in readings(seen) if not event.late]
    assert on_time == [each for each in range(MINUTE, 3 * HOUR, MINUTE) if each not in vendor.late]


@virtual
async def test_after_the_last_retry_the_range_is_a_gap():
    """It is reported once, without the parts that arrived meanwhile."""
    vendor = Vendor()
    vendor.never = {1260, 1320, 1380}
    vendor.late = {1200: 1440 + 200}
    seen, pending = await watch_pending(vendor, 3 * HOUR, [1470, 1800, 2400])
    assert pending == {1470: [(1140, 1440)], 1800: [(1200, 1440)], 2400: []}
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end), gap.reason) == (1200, 1440, "not_recorded")
    assert sorted(moments(seen)) == [
        each for each in range(MINUTE, 3 * HOUR, MINUTE) if each not in vendor.never
    ]


@virtual
@pytest.mark.parametrize(("has_it_at", "gaps"), [(HOUR + 200, []), (2 * HOUR, [(1200, 1260)])])
async def test_an_incomplete_refill_is_requested_again_too(has_it_at, gaps):
    """A record without the readings is requested again after 1, 5 and 15 minutes; then it is a gap."""
    vendor = Vendor()
    vendor.behind = dict.fromkeys((1200, 1260), has_it_at)
    seen = []
    async with merge(poller(vendor), clock=VirtualClock(), include_status=False) as events:
        slow = events.subscribe(buffer=4)

        async def fast():
            async for _ in events:  # polls go on for a consumer that keeps up
                pass

        async with asyncio.TaskGroup() as tasks, slow:
            reading = tasks.create_task(fast())
            await asyncio.sleep(HOUR)
            async for event in slow:
                seen.append(event)
                if event.kind is Kind.READING and seconds(event.time) > 2 * HOUR:
                    break
            reading.cancel()
    expected = [each for each in range(MINUTE, 2 * HOUR, MINUTE) if not gaps or each not in vendor.behind]
    delivered = {seconds(event.time) for event in readings(seen)}
    assert [each for each in expected if each not in delivered] == []
    assert [(seconds(gap.start), seconds(gap.end)) for gap in of_kind(seen, Kind.GAP)] == gaps


@virtual
async def test_a_resume_with_an_incomplete_record_loses_nothing():
    """The recorded readings come first; the others arrive late or are reported."""
    vendor = Vendor()
    vendor.never = set(range(2 * HOUR, 3 * HOUR, MINUTE))
    start = Checkpoint(
        {LIST: {SITE: StreamPosition(time=EPOCH + timedelta(seconds=MINUTE), seq=1, ids=("151734/258/60",))}}
    )
    await asyncio.sleep(4 * HOUR)
    seen = await watch(poller(vendor), 5 * HOUR - 30, checkpoint=start)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end)) == (2 * HOUR - MINUTE, 3 * HOUR)
    expected = [each for each in range(2 * MINUTE, 5 * HOUR, MINUTE) if each not in vendor.never]
    assert moments(seen) == expected


@virtual
async def test_what_was_pending_at_a_stop_is_a_gap():
    """Older readings cannot be distinguished from delivered ones, so a pending range is reported."""
    vendor = Vendor()
    moments_of = [EPOCH + timedelta(seconds=each) for each in (600, 900, HOUR)]
    stopped = StreamPosition(time=moments_of[2], seq=60, pending=((moments_of[0], moments_of[1]),))
    await asyncio.sleep(HOUR + 90)
    start = Checkpoint({LIST: {SITE: stopped}})
    seen = await watch(poller(vendor), HOUR + 1000, checkpoint=start)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end), gap.reason) == (600, 900, "not_recorded")
    assert moments(seen) == list(range(HOUR + MINUTE, HOUR + 1000, MINUTE))


@virtual
async def test_no_data_is_an_answer():
    """A vendor without data for a range is neither a failure nor a gap."""
    vendor = Vendor()
    vendor.error = NoData("nothing")
    seen = await watch(poller(vendor), 3 * HOUR)
    assert of_kind(seen, Kind.GAP) == []
    assert moments(seen) == list(range(MINUTE, 3 * HOUR, MINUTE))


@virtual
@pytest.mark.parametrize("away", [600, 5 * HOUR, 20 * HOUR])
async def test_a_resumed_poller_delivers_what_was_missed(away):
    """From the checkpoint on every reading is delivered, in order and once, after any absence."""
    vendor = Vendor()
    await asyncio.sleep(HOUR + away)
    stopped = StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60, ids=(f"151734/258/{HOUR}",))
    start = Checkpoint({LIST: {SITE: stopped}})
    seen = await watch(poller(vendor), HOUR + away + 1800, checkpoint=start)
    assert moments(seen) == list(range(HOUR + MINUTE, HOUR + away + 1800, MINUTE))
    assert not any(event.late for event in seen)
    assert {end - start for start, end in vendor.look_backs} == {6 * HOUR}


@virtual
async def test_a_look_back_that_fails_half_way_is_used_in_part():
    """What was found before the failure is delivered, the rest is a gap, then newer readings follow."""
    vendor = Vendor()
    await asyncio.sleep(21 * HOUR)
    look_back = vendor.fetch_range

    async def sometimes(source, start, end):
        if len(vendor.look_backs) == 2:
            vendor.error = ServerFault("down", status=503)
        return await look_back(source, start, end)

    vendor.fetch_range = sometimes
    start = Checkpoint({LIST: {SITE: StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60)}})
    seen = await watch(poller(vendor), 21 * HOUR + 300, checkpoint=start)
    [gap] = of_kind(seen, Kind.GAP)
    failed = vendor.look_backs[2][0]
    delivered = moments(seen)
    assert (seconds(gap.start), seconds(gap.end)) == (failed, 21 * HOUR)
    assert delivered == [
        *range(HOUR + MINUTE, failed + 1, MINUTE),
        *range(21 * HOUR, 21 * HOUR + 300, MINUTE),
    ]
    places = [event.kind for event in seen if event.kind is not Kind.STATUS]
    assert places.index(Kind.GAP) == len(range(HOUR + MINUTE, failed + 1, MINUTE))


@virtual
async def test_a_look_back_that_fails_at_once_is_reported_completely():
    """The range beyond the age limit and the failed range are two adjacent gaps."""
    vendor = Vendor()
    vendor.error = ServerFault("down", status=503)
    await asyncio.sleep(49 * HOUR)
    stopped = StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60)
    seen = await watch(poller(vendor), 49 * HOUR + 300, checkpoint=Checkpoint({LIST: {SITE: stopped}}))
    beyond, failed = of_kind(seen, Kind.GAP)
    assert (seconds(beyond.start), beyond.reason) == (HOUR, "beyond_cap")
    assert beyond.end == failed.start
    assert (seconds(failed.end), "down" in failed.reason) == (49 * HOUR, True)


@virtual
async def test_data_beyond_the_age_limit_is_a_gap():
    """A consumer that was away for two days gets the last day, and a gap for the one before."""
    vendor = Vendor()
    await asyncio.sleep(49 * HOUR)
    stopped = StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60)
    seen = await watch(poller(vendor), 49 * HOUR + 300, checkpoint=Checkpoint({LIST: {SITE: stopped}}))
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), gap.reason) == (HOUR, "beyond_cap")
    delivered = moments(seen)
    assert min(delivered) <= seconds(gap.end) + MINUTE
    assert delivered == sorted(set(delivered))


@virtual
async def test_a_poller_without_look_back_reports_a_gap_when_resumed():
    """It reports the time since the stop, unless that is a single interval."""
    vendor = Vendor()
    await asyncio.sleep(2 * HOUR)
    stopped = StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60)
    source = Poller(LIST, vendor.ask, interval_s=30.0, clock=VirtualClock())
    seen = await watch(source, 2 * HOUR + 300, checkpoint=Checkpoint({LIST: {SITE: stopped}}))
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end), gap.reason) == (HOUR, 2 * HOUR, "not_resumable")


@virtual
async def test_a_restarted_poller_has_the_same_arguments():
    """`again` returns a poller that looks back and identifies itself as the first did."""
    vendor = Vendor()
    async with merge(poller(vendor), buffer=10_000, clock=VirtualClock()) as events:
        await asyncio.sleep(1800.5)
        await events.restart(LIST)
        await asyncio.sleep(1800)
        await events.drain()
        assert moments([event async for event in events]) == list(range(MINUTE, 3541, MINUTE))


@given(
    st.integers(0, 10**8),
    st.none() | st.integers(0, 10**8),
    st.sampled_from([900.0, 3600.0]),
    st.sampled_from([3600.0, 21600.0]),
)
def test_ranges_are_aligned_equal_and_adjacent(now, before, every_s, span_s):
    """At any time: ranges of one length that end at multiples, oldest first, reaching back far enough."""
    lookback = LookbackConfig(interval_s=every_s, span_s=span_s)
    moment = EPOCH + timedelta(seconds=now)
    since = None if before is None else moment - timedelta(seconds=before)
    ranges = lookback.ranges(moment, since)
    assert {(end - start).total_seconds() for start, end in ranges} == {span_s}
    assert all(end.timestamp() % every_s == 0 for _, end in ranges)
    assert all(one[1] == two[0] for one, two in pairwise(ranges))
    assert timedelta() <= ranges[-1][1] - moment < timedelta(seconds=every_s)
    if since is None:
        assert len(ranges) == 1
    else:
        assert ranges[0][0] <= max(since, moment - timedelta(days=1))
        assert len(ranges) <= 1 + 86400 / span_s + 1


def test_the_usual_interval_is_known_after_three_readings():
    """A slot is skipped when nearly twice the usual interval has passed; slower logging becomes usual."""
    rhythm = IntervalEstimator()
    skips = [
        second
        for second in (0, 60, 120, 300, 360, 300, 420, 900)
        if rhythm.skipped_since(EPOCH + timedelta(seconds=second)) is not None
    ]
    assert skips == [300, 900]


def test_the_usual_interval_can_be_learned_from_the_past():
    """An interval from a look-back counts until the device's own readings show one."""
    rhythm = IntervalEstimator()
    rhythm.learn_from_past(EPOCH + timedelta(seconds=each) for each in (300, 60, 0, 120))
    skips = [
        second
        for second in (0, 180, 480, 780, 1400)
        if rhythm.skipped_since(EPOCH + timedelta(seconds=second)) is not None
    ]
    assert skips == [180, 480, 1400]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=60))
def test_revisions_count_changes_and_nothing_else(looks):
    """Revisions of a reading count up by one for each change; unchanged values are not revision."""
    revisions = Revisions()
    first, last, count = set(), {}, {}
    for moment, value in looks:
        revision = revisions.revision_of(SITE, str(moment), {Quantity.PV_POWER: float(value)}, emitted=False)
        if moment not in first:
            assert revision == 0
            first.add(moment)
            count[moment] = 0
        elif last[moment] == value:
            assert revision is None
        else:
            count[moment] += 1
            assert revision == count[moment]
        last[moment] = value


def test_memory_of_revisions_is_bounded():
    """However many readings are compared, a site needs a bounded amount of memory."""
    revisions = Revisions(most=100)
    for moment in range(1000):
        revisions.revision_of(SITE, str(moment), {}, emitted=True)
    assert len(revisions) == 100


@pytest.mark.parametrize("wrong", [{"interval_s": 0}, {"span_s": -1.0}, {"max_age_s": float("inf")}])
def test_numbers_of_the_config_are_checked(wrong):
    """Every number of `LookbackConfig` is a positive, finite time."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LookbackConfig(**wrong)

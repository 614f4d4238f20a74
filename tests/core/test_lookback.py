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
        self.late = {}  # second -> second at which the vendor learns of it
        self.changes = {}  # second -> [(second from which on, value)]
        self.never = set()
        self.behind = {}  # second -> second at which its record has it
        self.asked, self.looked = [], []
        self.trouble = None
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

    async def look_back(self, source, start, end):
        assert source == SITE
        self.looked.append((seconds(start), seconds(end)))
        await asyncio.sleep(self.look_s)
        if self.trouble is not None:
            raise self.trouble
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
        fetch_range=vendor.look_back,
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
    """The ranges end on full hours and are six hours long, however the polls fall."""
    vendor = Vendor()
    await asyncio.sleep(700)
    await watch(poller(vendor), 4 * HOUR)
    assert [end % HOUR for _, end in vendor.looked] == [0] * 3
    assert {end - start for start, end in vendor.looked} == {6 * HOUR}


@virtual
async def test_late_data_comes_backfilled_and_once():
    """Moments the vendor learns of an hour later are emitted when they are there, and never again."""
    vendor = Vendor()
    vendor.late = dict.fromkeys(range(HOUR, HOUR + 600, MINUTE), 2 * HOUR + 300)
    seen = await watch(poller(vendor), 6 * HOUR)
    late = [event for event in readings(seen) if event.backfilled]
    assert moments(late) == list(range(HOUR, HOUR + 600, MINUTE))
    assert all(event.late and event.revision == 0 for event in late)
    assert sorted(moments(seen)) == list(range(MINUTE, 6 * HOUR, MINUTE))


@virtual
async def test_a_changed_past_is_a_revision():
    """A value that changes after it was looked at comes as revision 1, changed again as revision 2."""
    vendor = Vendor()
    vendor.changes[HOUR] = [(2.5 * HOUR, -1.0), (4.5 * HOUR, -2.0)]
    seen = await watch(poller(vendor), 7 * HOUR)
    told = [event for event in readings(seen) if seconds(event.time) == HOUR]
    assert [(event.revision, event.values[Quantity.PV_POWER]) for event in told] == [
        (0, float(HOUR)),
        (1, -1.0),
        (2, -2.0),
    ]
    assert len({event.id for event in told}) == 1


@virtual
async def test_a_vendor_that_rounds_its_past_has_changed_nothing():
    """What looking back says is compared with an earlier look, never with what was polled."""
    vendor = Vendor()
    vendor.changes = {second: [(second + 300, round(second, -2))] for second in range(0, 5 * HOUR, MINUTE)}
    seen = await watch(poller(vendor), 5 * HOUR)
    assert {event.revision for event in readings(seen)} == {0}
    assert moments(seen) == list(range(MINUTE, 5 * HOUR, MINUTE))


@virtual
async def test_a_skipped_slot_is_looked_for_before_anything_newer():
    """When polls jump over a moment it is fetched first, so that old comes before new."""
    vendor = Vendor()
    vendor.late = {1200: 1255, 1260: 1310}
    seen = await watch(poller(vendor), 1800)
    assert moments(seen) == list(range(MINUTE, 1800, MINUTE))
    assert not any(event.late for event in seen)
    assert [event.backfilled for event in readings(seen)].count(True) >= 1
    assert State.BACKFILLING in {event.detail.state for event in seen if event.kind is Kind.STATUS}


@virtual
async def test_a_skipped_slot_that_cannot_be_looked_for_is_a_gap():
    """If the vendor does not answer, the stretch between is reported and the stream goes on."""
    vendor = Vendor()
    vendor.never = {1200, 1260}
    vendor.trouble = ServerFault("down", status=503)
    seen = await watch(poller(vendor), 1800)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end)) == (1140, 1320)
    assert "down" in gap.reason
    assert moments(seen)[-1] == 1740


@virtual
async def test_a_look_that_hangs_does_not_stop_the_polling():
    """After its patience a look is given up, and tried again after a rest."""
    vendor = Vendor()
    vendor.look_s = 10**6
    seen = await watch(poller(vendor), 3 * HOUR)
    assert 2 <= len(vendor.looked) <= 20
    waits = [after - before for before, after in pairwise(vendor.asked)]
    assert max(waits) <= 120
    assert len(readings(seen)) >= 150


@virtual
async def test_what_failed_looks_should_have_covered_is_covered_by_the_next():
    """Late data is found even if every look fails for longer than the span of one."""
    vendor = Vendor()
    vendor.late = dict.fromkeys(range(HOUR, HOUR + 600, MINUTE), 2 * HOUR)
    vendor.trouble = ServerFault("down", status=503)
    asyncio.get_running_loop().call_at(15 * HOUR, lambda: setattr(vendor, "trouble", None))
    seen = await watch(poller(vendor), 17 * HOUR)
    assert set(range(HOUR, HOUR + 600, MINUTE)) <= set(moments(seen))
    assert len(moments(seen)) == len(set(moments(seen)))


@virtual
@pytest.mark.parametrize("refusal", [AuthFailed("no", status=401), NotFound("no", status=404)], ids=str)
async def test_a_look_that_is_refused_ends_nothing(refusal):
    """A refusal about one site's past is a gap of its device where something was missing, and no end."""
    vendor = Vendor()
    vendor.trouble = refusal
    vendor.never = {1200, 1260}
    seen = await watch(poller(vendor), 3 * HOUR)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end)) == (1140, 1320)
    assert seen[-1].detail.state is State.CLOSED
    assert moments(seen) == [each for each in range(MINUTE, 3 * HOUR, MINUTE) if each not in vendor.never]


@virtual
async def test_a_fault_in_looking_back_is_reported_as_what_it_is():
    """Whatever else a look raises ends the source as a fault in its code, with the cause."""
    vendor = Vendor()
    vendor.trouble = ZeroDivisionError("oops")
    source = poller(vendor)
    async with merge(source, buffer=10_000, clock=VirtualClock()) as events:
        await asyncio.sleep(3 * HOUR)
        status = events.status[LIST]
    assert status.state is State.FAILED
    assert isinstance(status.error.__cause__, ZeroDivisionError)


@virtual
async def test_a_past_that_may_not_be_seen_is_a_gap_and_no_end():
    """A look that is forbidden costs its own device's holes; what is polled goes on."""
    vendor = Vendor()
    vendor.trouble = PermissionDenied("no", status=403)
    vendor.never = {1200, 1260}
    seen = await watch(poller(vendor), 3 * HOUR)
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end)) == (1140, 1320)
    assert moments(seen) == [each for each in range(MINUTE, 3 * HOUR, MINUTE) if each not in vendor.never]


async def watch_pending(vendor, until, times, **options):
    """Watch, and return the events and what was pending at some times, in seconds."""
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
async def test_a_record_that_is_behind_is_asked_for_again():
    """What a look does not bring is pending and comes late, after 1, 5 or 15 minutes; live readings go on."""
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
    )  # five minutes after the first look
    on_time = [seconds(event.time) for event in readings(seen) if not event.late]
    assert on_time == [each for each in range(MINUTE, 3 * HOUR, MINUTE) if each not in vendor.late]


@virtual
async def test_what_no_record_brings_is_a_gap_in_the_end():
    """After the last time the stretch is reported, once; a part that came meanwhile is not in it."""
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
async def test_what_a_slow_consumer_missed_is_asked_for_again_too(has_it_at, gaps):
    """A record that does not have it yet is asked after 1, 5 and 15 minutes; then it is a gap."""
    vendor = Vendor()
    vendor.behind = dict.fromkeys((1200, 1260), has_it_at)
    seen = []
    async with merge(poller(vendor), clock=VirtualClock(), include_status=False) as events:
        slow = events.subscribe(buffer=4)

        async def fast():
            async for _ in events:  # polling goes on for a consumer that keeps up
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
    told = {seconds(event.time) for event in readings(seen)}
    assert [each for each in expected if each not in told] == []
    assert [(seconds(gap.start), seconds(gap.end)) for gap in of_kind(seen, Kind.GAP)] == gaps


@virtual
async def test_a_stop_whose_record_is_behind_loses_nothing():
    """What the record has of the time away comes first; the rest comes late or is reported."""
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
    """Older readings cannot be told from delivered ones, so a stretch that still waited is reported."""
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
    """A vendor with nothing to say about a stretch is no trouble, and no gap."""
    vendor = Vendor()
    vendor.trouble = NoData("nothing")
    seen = await watch(poller(vendor), 3 * HOUR)
    assert of_kind(seen, Kind.GAP) == []
    assert moments(seen) == list(range(MINUTE, 3 * HOUR, MINUTE))


@virtual
@pytest.mark.parametrize("away", [600, 5 * HOUR, 20 * HOUR])
async def test_a_resumed_poller_brings_what_was_missed(away):
    """From the checkpoint on every moment comes, in order and once, however long the consumer was away."""
    vendor = Vendor()
    await asyncio.sleep(HOUR + away)
    stopped = StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60, ids=(f"151734/258/{HOUR}",))
    start = Checkpoint({LIST: {SITE: stopped}})
    seen = await watch(poller(vendor), HOUR + away + 1800, checkpoint=start)
    assert moments(seen) == list(range(HOUR + MINUTE, HOUR + away + 1800, MINUTE))
    assert not any(event.late for event in seen)
    assert {end - start for start, end in vendor.looked} == {6 * HOUR}


@virtual
async def test_a_look_that_fails_in_the_middle_is_filled_in_part():
    """What was found before the trouble is told, the rest of the hole is a gap, then comes what is newer."""
    vendor = Vendor()
    await asyncio.sleep(21 * HOUR)
    look_back = vendor.look_back

    async def sometimes(source, start, end):
        if len(vendor.looked) == 2:
            vendor.trouble = ServerFault("down", status=503)
        return await look_back(source, start, end)

    vendor.look_back = sometimes
    start = Checkpoint({LIST: {SITE: StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60)}})
    seen = await watch(poller(vendor), 21 * HOUR + 300, checkpoint=start)
    [gap] = of_kind(seen, Kind.GAP)
    failed = vendor.looked[2][0]
    told = moments(seen)
    assert (seconds(gap.start), seconds(gap.end)) == (failed, 21 * HOUR)
    assert told == [*range(HOUR + MINUTE, failed + 1, MINUTE), *range(21 * HOUR, 21 * HOUR + 300, MINUTE)]
    places = [event.kind for event in seen if event.kind is not Kind.STATUS]
    assert places.index(Kind.GAP) == len(range(HOUR + MINUTE, failed + 1, MINUTE))


@virtual
async def test_a_look_that_fails_at_once_leaves_nothing_untold():
    """What lies too far back and what could not be had are two gaps without a seam."""
    vendor = Vendor()
    vendor.trouble = ServerFault("down", status=503)
    await asyncio.sleep(49 * HOUR)
    stopped = StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60)
    seen = await watch(poller(vendor), 49 * HOUR + 300, checkpoint=Checkpoint({LIST: {SITE: stopped}}))
    beyond, failed = of_kind(seen, Kind.GAP)
    assert (seconds(beyond.start), beyond.reason) == (HOUR, "beyond_cap")
    assert beyond.end == failed.start
    assert (seconds(failed.end), "down" in failed.reason) == (49 * HOUR, True)


@virtual
async def test_what_lies_too_far_back_is_a_gap():
    """A consumer that was away for two days gets the last day, and a gap for the one before."""
    vendor = Vendor()
    await asyncio.sleep(49 * HOUR)
    stopped = StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60)
    seen = await watch(poller(vendor), 49 * HOUR + 300, checkpoint=Checkpoint({LIST: {SITE: stopped}}))
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), gap.reason) == (HOUR, "beyond_cap")
    told = moments(seen)
    assert min(told) <= seconds(gap.end) + MINUTE
    assert told == sorted(set(told))


@virtual
async def test_a_poller_that_cannot_look_back_says_what_it_may_have_missed():
    """Resumed without `look_back`, it reports the time since the stop, unless that is one interval."""
    vendor = Vendor()
    await asyncio.sleep(2 * HOUR)
    stopped = StreamPosition(time=EPOCH + timedelta(seconds=HOUR), seq=60)
    source = Poller(LIST, vendor.ask, interval_s=30.0, clock=VirtualClock())
    seen = await watch(source, 2 * HOUR + 300, checkpoint=Checkpoint({LIST: {SITE: stopped}}))
    [gap] = of_kind(seen, Kind.GAP)
    assert (seconds(gap.start), seconds(gap.end), gap.reason) == (HOUR, 2 * HOUR, "not_resumable")


@virtual
async def test_a_restarted_poller_asks_the_same():
    """`again` gives a poller that knows as much as its first did."""
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
def test_ranges_are_aligned_equal_and_without_holes(now, before, every_s, span_s):
    """Whatever the moment: ranges of one length, ending on multiples, oldest first, reaching far enough."""
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


def test_a_rhythm_is_known_after_three_moments():
    """A slot is skipped when nearly twice the usual interval has passed; slower logging becomes the rule."""
    rhythm = IntervalEstimator()
    skips = [
        second
        for second in (0, 60, 120, 300, 360, 300, 420, 900)
        if rhythm.skipped_since(EPOCH + timedelta(seconds=second)) is not None
    ]
    assert skips == [300, 900]


def test_a_rhythm_can_be_presumed_from_the_past():
    """What looking back has shown counts until a device has shown its own rhythm."""
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
    """A moment's revisions count up by one a change; a look that finds the same emits nothing."""
    revisions = Revisions()
    first, last, count = set(), {}, {}
    for moment, value in looks:
        told = revisions.revision_of(SITE, str(moment), {Quantity.PV_POWER: float(value)}, emitted=False)
        if moment not in first:
            assert told == 0
            first.add(moment)
            count[moment] = 0
        elif last[moment] == value:
            assert told is None
        else:
            count[moment] += 1
            assert told == count[moment]
        last[moment] = value


def test_what_is_remembered_of_the_past_is_bounded():
    """However many moments are looked at, a site costs so much and no more."""
    revisions = Revisions(most=100)
    for moment in range(1000):
        revisions.revision_of(SITE, str(moment), {}, emitted=True)
    assert len(revisions) == 100


@pytest.mark.parametrize("wrong", [{"interval_s": 0}, {"span_s": -1.0}, {"max_age_s": float("inf")}])
def test_numbers_that_are_no_times_are_refused(wrong):
    """Every number of `LookbackConfig` is a positive, finite time."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LookbackConfig(**wrong)

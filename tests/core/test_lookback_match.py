"""BucketMatcher: which known reading a look-back returned, whether it is new, and whether it has changed."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.stream.lookback_match import COARSE, BucketMatcher, MissingRange
from energy_core.stream.polled import PolledReading
from energy_core.stream.vocabulary import Quantity, SourceId
from tests.servers.scripted_sources import seconds
from tests.servers.virtual_time import EPOCH

SITE = SourceId("vrm", "home", "151734", 258)
NOW = EPOCH + timedelta(days=1)


def at(second):
    return EPOCH + timedelta(seconds=second)


def bucket(second, value=1.0, *, length=60.0):
    return PolledReading(
        source=SITE,
        time=at(second),
        id=f"s/258/{second}",
        values={Quantity.PV_POWER: value},
        raw={},
        bucket_s=length,
    )


def past(*delivered, floor=None):
    known = BucketMatcher(SITE, None if floor is None else at(floor))
    for second in delivered:
        known.add(f"s/258/{second}", at(second))
    return known


def facts(found):
    return [(each.id, seconds(each.time), each.revision) for each in found]


def test_a_bucket_with_one_known_reading_is_that_reading():
    """It is not new; its later changes are revisions with the id and time of the reading."""
    known = past(13, 73, 133)
    assert known.match([bucket(60, 5.0)], NOW) == []
    assert known.match([bucket(60, 5.0)], NOW) == []
    assert facts(known.match([bucket(60, 6.0)], NOW)) == [("s/258/73", 73, 1)]
    assert facts(known.match([bucket(60, 7.0)], NOW)) == [("s/258/73", 73, 2)]


def test_a_bucket_without_a_known_reading_is_new_once():
    """It gets the id of its start; later changes are its revisions."""
    known = past(13, 193)
    assert facts(known.match([bucket(120), bucket(60)], NOW)) == [("s/258/60", 60, 0), ("s/258/120", 120, 0)]
    assert known.match([bucket(60), bucket(120)], NOW) == []
    assert facts(known.match([bucket(60, 2.0), bucket(120)], NOW)) == [("s/258/60", 60, 1)]


def test_the_edges_of_a_bucket():
    """A bucket includes its first second and ends before its last."""
    known = past(0, 60, 300)
    assert facts(known.match([bucket(60), bucket(120)], NOW)) == [("s/258/120", 120, 0)]
    known = past(0, 119, 300)
    assert facts(known.match([bucket(60), bucket(120)], NOW)) == [("s/258/120", 120, 0)]
    known = past(0, 180, 300)
    assert facts(known.match([bucket(120)], NOW)) == [("s/258/120", 120, 0)]


def test_a_bucket_that_is_not_over_waits():
    """Its reading may still arrive live: it is new only when a newer reading is known."""
    known = past(13, 73)
    assert known.match([bucket(120)], NOW) == []
    known.add("s/258/179", at(179))
    assert known.match([bucket(120)], NOW) == []
    known = past(13, 73, 193)
    assert facts(known.match([bucket(120)], NOW)) == [("s/258/120", 120, 0)]


def test_a_bucket_before_the_floor_is_known():
    """What a consumer had before it stopped, or before it started, is neither new nor a revision."""
    known = past(613, floor=313)
    assert facts(known.match([bucket(each) for each in range(0, 660, 60)], NOW)) == [
        (f"s/258/{each}", each, 0) for each in range(360, 600, 60)
    ]
    assert known.match([bucket(each, 9.0) for each in range(0, 360, 60)], NOW) == []


def test_a_bucket_of_several_readings_is_ignored():
    """It is neither new nor a revision; a refill reports a gap instead."""
    known = past(13, 73, 133, 193, 400)
    assert known.match([bucket(0, length=300.0)], NOW) == []
    assert known.match([bucket(0, 5.0, length=300.0)], NOW) == []
    assert list(known.with_known_ids([bucket(0, length=300.0)])) == [MissingRange(at(13), at(193), COARSE)]


def test_a_refilled_reading_keeps_its_id():
    """A refill returns the ids that were delivered; a bucket that is not over is left to live readings."""
    known = past(13, 73, 193)
    found = known.with_known_ids([bucket(180), bucket(120), bucket(60), bucket(240)])
    assert facts(found) == [("s/258/73", 73, 0), ("s/258/120", 120, 0), ("s/258/193", 193, 0)]


def test_what_has_not_settled_may_change():
    """A value that changes before it has settled is not a revision."""
    known = past(13, 73, 133)
    assert known.match([bucket(60, 1.0)], at(0)) == []
    assert known.match([bucket(60, 2.0)], at(100)) == []
    assert facts(known.match([bucket(60, 3.0)], at(100))) == [("s/258/73", 73, 1)]


def test_memory_is_bounded_and_a_forgotten_reading_is_not_new():
    """Old readings are forgotten by age and number, and lie below the floor from then on."""
    known = past(*range(13, 60 * 5000, 60))
    known.prune(1, at(60 * 4900))
    assert len(known) == 100
    assert known.match([bucket(each) for each in range(0, 60 * 4990, 60)], NOW) == []
    known = past(*range(13, 60 * 5000, 60))
    known.prune(1, at(0))
    assert len(known) == 2048
    known.prune(1, None)
    assert len(known) == 32


@given(
    st.sets(st.integers(0, 39)),
    st.lists(st.sets(st.integers(0, 39)), max_size=5),
    st.integers(0, 59),
    st.sampled_from([60, 300]),
)
def test_nothing_is_delivered_twice_and_nothing_is_lost(live, looks, phase, length):
    """Whatever arrived live, however many look-backs run: each minute is delivered at most once."""
    known = past(*(60 * each + phase for each in sorted(live)), floor=-1)
    delivered = sorted(live)
    for look in looks:
        logged = sorted({each * 60 // length * length for each in live | look})
        fresh = known.match([bucket(each, length=float(length)) for each in logged], NOW)
        assert all(each.revision == 0 for each in fresh)
        delivered += [seconds(each.time) // 60 for each in fresh]
    assert len(delivered) == len(set(delivered))
    if length == 60 and live:
        assert set(delivered) == live | {
            each for look in looks for each in look if each * 60 + 60 <= max(live) * 60 + phase
        }


@pytest.mark.parametrize("length", [0.0, 60.0])
def test_nothing_is_known_of_a_device_that_was_never_polled(length):
    """A reading is new, a bucket is not over."""
    found = BucketMatcher(SITE).match([bucket(60, length=length)], NOW)
    assert facts(found) == ([] if length else [("s/258/60", 60, 0)])

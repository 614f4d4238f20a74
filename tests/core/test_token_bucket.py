import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.http.token_bucket import AdaptiveRate, TokenBucket

moments = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


def test_a_new_bucket_is_full():
    """A bucket is full at its first moment, be that 0, a million or below zero."""
    for now in (0.0, 1e6, -5.0):
        assert TokenBucket(200, 3.0).level(now) == 200


def test_it_fills_with_time_and_no_further_than_its_burst():
    """Tokens come at the given rate until the bucket is full."""
    bucket = TokenBucket(10, 2.0)
    bucket.take(0.0, 10)
    assert bucket.level(1.5) == 3.0
    assert bucket.level(1000.0) == 10


def test_ready_at_is_when_one_token_is_there():
    """`ready_at` is the first moment at which a token can be taken."""
    bucket = TokenBucket(5, 3.0)
    assert bucket.ready_at(7.0) == 7.0
    bucket.take(7.0, 5)
    ready = bucket.ready_at(7.0)
    assert ready == pytest.approx(7.0 + 1 / 3)
    assert not bucket.has_token(ready - 0.001)
    assert bucket.has_token(ready)


@given(level=st.floats(0, 0.999), now=st.floats(0, 1e6), rate=st.floats(0.001, 100))
def test_waiting_until_ready_is_enough_despite_rounding(level, now, rate):
    """A caller that waits exactly until `ready_at` gets a token: no second, tiny wait follows."""
    bucket = TokenBucket(1, rate)
    bucket.take(now, 1 - level)
    assert bucket.has_token(bucket.ready_at(now))


def test_a_debt_is_paid_first():
    """A negative level delays the next token accordingly."""
    bucket = TokenBucket(2, 1.0)
    bucket.take(0.0, 5)
    assert bucket.level(0.0) == -3
    assert bucket.ready_at(0.0) == pytest.approx(4.0)


def test_draining_removes_tokens_and_keeps_a_debt():
    """After `drain` there are no tokens, and a negative level is unchanged."""
    bucket = TokenBucket(20, 1.0)
    bucket.drain(0.0)
    assert bucket.level(0.0) == 0
    bucket.take(0.0, 3)
    bucket.drain(0.0)
    assert bucket.level(0.0) == -3


def test_giving_back_never_overfills():
    """A token that is put back can be taken again; a full bucket stays full."""
    bucket = TokenBucket(3, 1.0)
    bucket.take(0.0)
    bucket.give_back()
    bucket.give_back()
    assert bucket.level(0.0) == 3


@pytest.mark.parametrize("step", [1.0, 3600.0, 86_400.0])
def test_a_clock_that_steps_back_changes_nothing(step):
    """The level is the same after the clock steps back, and the next token comes no later."""
    bucket = TokenBucket(200, 3.0)
    bucket.take(100_000.0, 199.5)
    assert bucket.level(100_000.0 - step) == 0.5
    assert bucket.ready_at(100_000.0 - step) - (100_000.0 - step) == pytest.approx(0.5 / 3.0)
    assert bucket.level(100_000.0 - step + 1.0) == pytest.approx(3.5)


@given(st.lists(moments, min_size=1, max_size=50))
def test_no_sequence_of_moments_gives_more_than_time_passed(times):
    """However the clock jumps, tokens never exceed the burst plus the rate times the steps forward."""
    bucket, taken = TokenBucket(5, 2.0), 0
    for now in times:
        while bucket.has_token(now):
            bucket.take(now)
            taken += 1
    forward = sum(max(0.0, later - sooner) for sooner, later in pairwise(times))
    assert taken <= 5 + 2.0 * forward + 0.001


def test_another_rate_counts_from_now_on():
    """Tokens gained at the old rate stay; later ones come at the new rate."""
    bucket = TokenBucket(100, 1.0)
    bucket.take(0.0, 100)
    bucket.set_rate(10.0, 5.0)
    assert bucket.level(12.0) == pytest.approx(20.0)


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf])
def test_invalid_arguments_are_refused(bad):
    """Neither size nor rate may be zero, negative or not a number."""
    with pytest.raises(ValueError, match="burst"):
        TokenBucket(bad, 1.0)
    with pytest.raises(ValueError, match="per_second"):
        TokenBucket(1, bad)
    with pytest.raises(ValueError, match="per_second"):
        TokenBucket(1, 1.0).set_rate(0.0, bad)
    with pytest.raises(ValueError, match="ceiling"):
        AdaptiveRate(bad)


def test_a_cut_rate_recovers_fast_then_slowly_up_to_its_ceiling():
    """Three tenths less at once, nine tenths of the old rate after 30 s, then 0.001 more each second."""
    rate = AdaptiveRate(3.0)
    assert rate.at(50.0) == 3.0
    rate.cut(50.0)
    assert rate.at(50.0) == pytest.approx(2.1)
    assert rate.at(65.0) == pytest.approx(2.4)
    assert rate.at(80.0) == pytest.approx(2.7)
    assert rate.at(180.0) == pytest.approx(2.8)
    assert rate.lowered
    assert rate.at(381.0) == 3.0
    assert not rate.lowered


def test_cuts_multiply_from_where_the_rate_is():
    """A second cut starts from the rate that had been regained."""
    rate = AdaptiveRate(3.0)
    rate.cut(0.0)
    rate.cut(130.0)
    assert rate.at(130.0) == pytest.approx(2.8 * 0.7)
    assert rate.at(160.0) == pytest.approx(2.8 * 0.9)
    rate.cut(160.0)
    rate.cut(160.0)
    assert rate.at(160.0) == pytest.approx(2.8 * 0.9 * 0.7 * 0.7)


def test_the_rate_has_a_floor():
    """After any number of cuts requests are still sent."""
    rate = AdaptiveRate(3.0)
    for _ in range(1000):
        rate.cut(0.0)
    assert rate.at(0.0) == pytest.approx(0.03)


def test_a_clock_stepping_back_does_not_lower_the_rate():
    """A recovering rate is at least the rate right after the cut."""
    rate = AdaptiveRate(3.0)
    rate.cut(1000.0)
    assert rate.at(-5000.0) == pytest.approx(2.1)

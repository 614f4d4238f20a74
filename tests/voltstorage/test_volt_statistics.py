"""merge_statistics: sums add up, means are weighted, and what nobody measured stays unknown."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voltstorage_async import merge_statistics
from voltstorage_async.codec import statistics
from voltstorage_async.models import Sampled, Statistics, Weighted

numbers = st.floats(0, 1e9)
counts = st.integers(0, 10_000)
sampled = st.none() | st.builds(
    lambda value, count: Sampled(value=value if count else None, n_samples=count), numbers, counts
)
weighted = st.none() | st.builds(
    lambda value, weight: Weighted(value=value if weight else None, total_weight=weight), numbers, numbers
)
periods = st.builds(
    Statistics,
    start=st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    pv_total_j=st.none() | numbers,
    max_temperature=st.none() | st.floats(-20, 80),
    dc_capacity_j=sampled,
    self_sufficiency=weighted,
)


def alike(one: object, other: object) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)
    return one == other


def same(one: Statistics, other: Statistics) -> bool:
    flat = [
        (each.start, each.pv_total_j, each.max_temperature)
        + (() if (mean := each.dc_capacity_j) is None else (mean.value, mean.n_samples))
        + (() if (share := each.self_sufficiency) is None else (share.value, share.total_weight))
        for each in (one, other)
    ]
    return len(flat[0]) == len(flat[1]) and all(map(alike, *flat))


@pytest.mark.parametrize("start", [1584835200, "1584835200", 1584835200000, "2020-03-22T01:00:00+01:00"])
def test_a_period_may_begin_in_any_spelling_of_a_time(start):
    """As in events, latest data and rows: seconds, milliseconds, text."""
    (period,) = statistics([{"timespan_start": start}])
    assert period.start == datetime(2020, 3, 22, tzinfo=UTC)


def test_means_are_weighted_by_their_samples():
    """An hour with three times the samples counts three times."""
    merged = merge_statistics(
        [
            Statistics(dc_efficiency=Sampled(value=0.8, n_samples=30), pv_total_j=1.0),
            Statistics(dc_efficiency=Sampled(value=0.4, n_samples=10), pv_total_j=2.5),
        ]
    )
    assert merged.dc_efficiency == Sampled(value=pytest.approx(0.7), n_samples=40)
    assert merged.pv_total_j == 3.5


def test_shares_are_weighted_by_their_weight():
    """Self-sufficiency counts by the energy it was a share of."""
    merged = merge_statistics(
        [
            Statistics(self_sufficiency=Weighted(value=1.0, total_weight=1e6)),
            Statistics(self_sufficiency=Weighted(value=0.5, total_weight=3e6)),
        ]
    )
    assert merged.self_sufficiency == Weighted(value=pytest.approx(0.625), total_weight=4e6)


def test_no_samples_are_not_zero():
    """A period without samples changes no mean, and without any there is none."""
    empty = Statistics(dc_efficiency=Sampled(value=None, n_samples=0))
    some = Statistics(dc_efficiency=Sampled(value=0.8, n_samples=3))
    assert merge_statistics([empty, some, empty]).dc_efficiency == Sampled(value=0.8, n_samples=3)
    assert merge_statistics([empty, empty]).dc_efficiency == Sampled(value=None, n_samples=0)
    nothing = merge_statistics([Statistics(), Statistics()])
    assert nothing == Statistics()
    assert nothing.pv_total_kwh is None


def test_a_mean_of_unknown_weight_cannot_be_joined():
    """Where one part does not say how much it weighs, nobody knows the mean of all."""
    unsaid = Statistics(pump_temp=Sampled(value=30.0))
    some = Statistics(pump_temp=Sampled(value=40.0, n_samples=3))
    assert merge_statistics([unsaid, some]).pump_temp == Sampled(value=None, n_samples=None)


def test_energies_add_up_over_the_periods_that_have_them():
    """A period that does not say its energy adds nothing, and a sum of nothing is nothing."""
    merged = merge_statistics([Statistics(pv_total_j=3.6e6), Statistics(consumption_total_j=1.0)])
    assert (merged.pv_total_kwh, merged.consumption_total_j) == (1.0, 1.0)
    assert merged.storage_total_stored_j is None


def test_the_whole_begins_with_its_first_part_and_keeps_its_hottest_moment():
    """The start is the earliest, the highest temperature the highest; an undocumented figure is dropped."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    merged = merge_statistics(
        [
            Statistics(start=late, max_temperature=31.0, pv_activity=0.5),
            Statistics(start=early, max_temperature=35.0, pv_activity=0.7),
        ]
    )
    assert (merged.start, merged.max_temperature, merged.pv_activity) == (early, 35.0, None)


def test_one_period_is_itself_and_none_is_an_error():
    """There is nothing to join in one, and nothing at all in none."""
    only = Statistics(pv_activity=0.5, raw={"pv-activity": 0.5})
    assert merge_statistics([only]) is only
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_statistics([])


@given(st.lists(periods, min_size=3, max_size=6), st.integers(1, 2))
def test_it_does_not_matter_how_periods_are_joined(parts, cut):
    """Days joined to weeks and weeks to a month give what the days joined at once give, in any order."""
    whole = merge_statistics(parts)
    nested = merge_statistics([merge_statistics(parts[:cut]), merge_statistics(parts[cut:])])
    assert same(whole, nested)
    assert same(whole, merge_statistics(reversed(parts)))

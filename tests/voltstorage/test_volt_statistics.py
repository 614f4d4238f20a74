"""`client.products.statistics`, and merge_statistics."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.drift import Drift, collect_drift
from tests.servers.scripted_volt import BASE, TOKEN
from voltstorage_async import VoltStorageClient, merge_statistics
from voltstorage_async.codec import statistics
from voltstorage_async.models import Product, Sampled, Statistics, Weighted

ANY = re.compile(re.escape(BASE))
START = datetime(2020, 3, 25, 12, 0, 0, 500000, UTC)

STATISTICS = """[{"timespan_start": 1584835200, "pv-total": 0, "pv-activity": 0, "consumption-total": 1538060,
"storage-total-released": 22079844, "storage-total-stored": 21982919, "max-temperature": 35.9471,
"own-consumption": {"nSamples": 1438, "value": 0},
"electrolyte-temp": {"nSamples": 1438, "value": 34.1388342837275},
"pump-temp": {"nSamples": 1438, "value": 38.67160097357442},
"dc-capacity": {"nSamples": 1438, "value": 18154876.06536853},
"ac-capacity": {"nSamples": 1438, "value": 15697997.574408904},
"dc-efficiency": {"nSamples": 1438, "value": 0.9184715034770791},
"ac-efficiency": {"nSamples": 1438, "value": 0.7138800556328048},
"self-sufficiency": {"totalWeight": 1538060, "value": 0.455623577171242}}]"""

"""The statistics printed in the vendor's reference."""

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


def queries_of(mocked):
    """The query of each request, in order."""
    return [dict(url.query) for (_, url), sent in mocked.requests.items() for _ in sent]


async def test_a_range_is_sent_in_unix_seconds(mocked, volt):
    """In any zone; an open side is left out."""
    mocked.get(ANY, payload=[], repeat=True)
    assert await volt.products.statistics(7, START, START + timedelta(days=1), timespan="hour") == ()
    await volt.products.statistics(7, timespan="lifetime")
    assert queries_of(mocked) == [
        {"productId": "7", "tstart": "1585137600", "tend": "1585224000", "timespan": "hour"},
        {"productId": "7", "timespan": "lifetime"},
    ]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ({"start": "2026-03"}, "2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00"),
        ({"period": "2026-03-29"}, "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        ({"last": (30, "days")}, "2026-03-01T00:00+01:00", "2026-03-31T12:00+00:00"),
        ({"last": (6, "hours")}, "2026-03-31T06:00+00:00", "2026-03-31T12:00+00:00"),
    ],
)
async def test_periods_and_last_days_are_those_of_the_products_zone(mocked, noon, asked, start, end):
    """With the id alone they are UTC's."""
    mocked.get(ANY, payload=[], repeat=True)
    async with VoltStorageClient(token=TOKEN, clock=noon) as volt:
        await volt.products.statistics(Product(id=7, timezone="Europe/Berlin"), **asked)
        await volt.products.statistics(7, period="2026-03-29")
    berlin, utc = queries_of(mocked)
    moments = [datetime.fromisoformat(text).timestamp() for text in (start, end)]
    assert [float(berlin["tstart"]), float(berlin["tend"])] == moments
    assert (utc["tstart"], utc["tend"]) == ("1774742400", "1774828800")


async def test_the_documented_statistics(mocked, volt):
    """Values are as sent; energies are in kWh as well."""
    mocked.get(re.compile(rf"{BASE}data/statistics"), body=STATISTICS)
    (day,) = await volt.products.statistics(77)
    assert day.start == datetime(2020, 3, 22, tzinfo=UTC)
    assert day.pv_total_j == 0
    assert day.pv_total_kwh == 0
    assert day.pv_activity == 0
    assert day.consumption_total_j == 1538060
    assert day.consumption_total_kwh == pytest.approx(0.427238889)
    assert day.storage_total_released_j == 22079844
    assert day.storage_total_released_kwh == pytest.approx(6.13329)
    assert day.storage_total_stored_j == 21982919
    assert day.storage_total_stored_kwh == pytest.approx(6.106366389)
    assert day.max_temperature == 35.9471
    assert day.own_consumption == Sampled(value=0, n_samples=1438)
    assert day.electrolyte_temp == Sampled(value=34.1388342837275, n_samples=1438)
    assert day.pump_temp == Sampled(value=38.67160097357442, n_samples=1438)
    assert day.dc_capacity_j == Sampled(value=18154876.06536853, n_samples=1438)
    assert day.dc_capacity_kwh == pytest.approx(5.043021129)
    assert day.ac_capacity_j == Sampled(value=15697997.574408904, n_samples=1438)
    assert day.ac_capacity_kwh == pytest.approx(4.360554882)
    assert day.dc_efficiency == Sampled(value=0.9184715034770791, n_samples=1438)
    assert day.ac_efficiency == Sampled(value=0.7138800556328048, n_samples=1438)
    assert day.self_sufficiency == Weighted(value=0.455623577171242, total_weight=1538060)
    assert day.raw["pv-total"] == 0
    assert volt.drift.total == 0


async def test_a_mean_without_samples_is_none(mocked, volt):
    """Never zero; missing and malformed values are None, malformed records are counted."""
    mocked.get(
        ANY,
        payload=[
            {
                "timespan_start": 0,
                "dc-efficiency": {"nSamples": 0, "value": 0},
                "ac-efficiency": {"nSamples": None, "value": 0.5},
                "pump-temp": {"nSamples": 3, "value": None},
                "self-sufficiency": {"totalWeight": 0, "value": 0},
                "own-consumption": 0,
            },
            "broken",
        ],
    )
    (day,) = await volt.products.statistics(7)
    assert day.dc_efficiency == Sampled(value=None, n_samples=0)
    assert day.ac_efficiency == Sampled()
    assert day.pump_temp == Sampled(n_samples=3)
    assert day.self_sufficiency.value is None
    assert day.own_consumption is None
    assert day.dc_capacity_kwh is None
    assert day.ac_capacity_kwh is None
    assert day.pv_total_kwh is None
    assert volt.drift.counts["Statistics", "record", "malformed"] == 1


@pytest.mark.parametrize("time", [0, -5, 35, "0", "1970-01-01T00:00:35Z", -1e12])
def test_a_period_before_2000_has_no_start(time):
    """A device without a clock sends such times; the drift counts them."""
    drift = Drift()
    with collect_drift(drift):
        (period,) = statistics([{"timespan_start": time, "pv-total": 5}])
    assert (period.start, period.pv_total_j) == (None, 5.0)
    assert drift.total == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"timespan": "week"}, "timespan"),
        ({"start": START, "end": START - timedelta(1)}, "end"),
        ({"start": START, "period": "2026"}, "one form"),
        ({"period": "May"}, "period"),
        ({"last": (3, "minutes")}, "last"),
    ],
)
async def test_a_wrong_argument_raises_before_anything_is_sent(volt, options, name):
    """The message names it."""
    with pytest.raises(ValueError, match=name):
        await volt.products.statistics(7, **options)


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
def test_the_start_of_a_period_may_be_seconds_milliseconds_or_text(start):
    """As in events, latest data and rows."""
    (period,) = statistics([{"timespan_start": start}])
    assert period.start == datetime(2020, 3, 22, tzinfo=UTC)


def test_merged_means_are_weighted_by_their_samples():
    """A period with three times the samples counts three times."""
    merged = merge_statistics(
        [
            Statistics(dc_efficiency=Sampled(value=0.8, n_samples=30), pv_total_j=1.0),
            Statistics(dc_efficiency=Sampled(value=0.4, n_samples=10), pv_total_j=2.5),
        ]
    )
    assert merged.dc_efficiency == Sampled(value=pytest.approx(0.7), n_samples=40)
    assert merged.pv_total_j == 3.5


def test_merged_ratios_are_weighted_by_their_weight():
    """Self-sufficiency is weighted by the consumption."""
    merged = merge_statistics(
        [
            Statistics(self_sufficiency=Weighted(value=1.0, total_weight=1e6)),
            Statistics(self_sufficiency=Weighted(value=0.5, total_weight=3e6)),
        ]
    )
    assert merged.self_sufficiency == Weighted(value=pytest.approx(0.625), total_weight=4e6)


def test_a_period_without_samples_does_not_change_a_mean():
    """Without any samples the merged mean is None, not zero."""
    empty = Statistics(dc_efficiency=Sampled(value=None, n_samples=0))
    some = Statistics(dc_efficiency=Sampled(value=0.8, n_samples=3))
    assert merge_statistics([empty, some, empty]).dc_efficiency == Sampled(value=0.8, n_samples=3)
    assert merge_statistics([empty, empty]).dc_efficiency == Sampled(value=None, n_samples=0)
    nothing = merge_statistics([Statistics(), Statistics()])
    assert nothing == Statistics()
    assert nothing.pv_total_kwh is None


def test_a_mean_of_unknown_weight_makes_the_merged_mean_unknown():
    """The value and the number of samples are None."""
    unsaid = Statistics(pump_temp=Sampled(value=30.0))
    some = Statistics(pump_temp=Sampled(value=40.0, n_samples=3))
    assert merge_statistics([unsaid, some]).pump_temp == Sampled(value=None, n_samples=None)


def test_merged_energies_are_sums_over_the_periods_that_have_them():
    """A sum without any value is None."""
    merged = merge_statistics([Statistics(pv_total_j=3.6e6), Statistics(consumption_total_j=1.0)])
    assert (merged.pv_total_kwh, merged.consumption_total_j) == (1.0, 1.0)
    assert merged.storage_total_stored_j is None


def test_a_merged_period_has_the_earliest_start_and_the_highest_temperature():
    """`pv_activity`, which is undocumented, is None."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    merged = merge_statistics(
        [
            Statistics(start=late, max_temperature=31.0, pv_activity=0.5),
            Statistics(start=early, max_temperature=35.0, pv_activity=0.7),
        ]
    )
    assert (merged.start, merged.max_temperature, merged.pv_activity) == (early, 35.0, None)


def test_merging_one_period_returns_it_and_merging_none_raises():
    """`raw` is kept for one period."""
    only = Statistics(pv_activity=0.5, raw={"pv-activity": 0.5})
    assert merge_statistics([only]) is only
    with pytest.raises(ValueError, match="periods is empty"):
        merge_statistics([])


@given(st.lists(periods, min_size=3, max_size=6), st.integers(1, 2))
def test_periods_may_be_merged_in_any_order_and_in_steps(parts, cut):
    """Days merged to weeks and then to a month equal the days merged at once."""
    whole = merge_statistics(parts)
    nested = merge_statistics([merge_statistics(parts[:cut]), merge_statistics(parts[cut:])])
    assert same(whole, nested)
    assert same(whole, merge_statistics(reversed(parts)))

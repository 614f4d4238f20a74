"""The simulated household: powers balance, are a function of the seed, and add up to its energies."""

from __future__ import annotations

import statistics
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from energy_live.simulator.household.day_curves import SLOT_S
from energy_live.simulator.household.household import Household
from energy_live.simulator.world import FLAT, HARBOUR, HOME, RIAD

SUMMER = date(2025, 6, 20)
WINTER = date(2025, 12, 20)


def home(seed: int = 1) -> Household:
    return Household(config=evolve(HOME, seed=seed))


moments = st.floats(
    min_value=datetime(2019, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp(), max_value=2_000_000_000.0
)
configs = st.sampled_from([HOME, RIAD, FLAT, HARBOUR])


@given(moment=moments, config=configs, seed=st.integers(0, 50))
def test_powers_balance_exactly(moment, config, seed):
    """Grid power plus PV power minus battery power equals the load exactly."""
    at = Household(config=evolve(config, seed=seed)).at(moment)
    assert at.grid_w + at.pv_w - at.battery_w == at.consumption_w


@given(moment=moments, config=configs, seed=st.integers(0, 50))
def test_values_are_within_their_limits(moment, config, seed):
    """PV power and load are not negative; battery power and state of charge are within their limits."""
    at = Household(config=evolve(config, seed=seed)).at(moment)
    assert at.pv_w >= 0.0
    assert at.consumption_w > 0.0
    assert config.floor - 1e-5 <= at.soc <= 1.0
    assert abs(at.battery_w) <= 1.07 * config.battery_power_w / config.efficiency
    assert 45.0 < at.voltage_v < 58.0
    assert -20.0 < at.temperature_c < 50.0


def test_the_same_seed_gives_the_same_home():
    """Two households of one seed have the same values; another seed has others."""
    noon = home().midnight(SUMMER) + 43_200.0
    assert home(3).at(noon) == home(3).at(noon)
    assert home(3).at(noon) != home(4).at(noon)


def test_values_do_not_depend_on_earlier_calls():
    """Values do not depend on earlier calls."""
    moment = home(8).midnight(date(2020, 2, 29)) + 30_000.0
    first = home(8).at(moment)
    for day in range(20):
        home(8).at(moment + day * 86_400.0)
    assert home(8).at(moment) == first


@pytest.mark.parametrize("start", [SUMMER, WINTER, date(2025, 3, 29), date(2025, 10, 25)])
def test_the_charge_is_continuous_at_midnight(start):
    """The state of charge is continuous at midnight, also when the clocks change."""
    for offset in range(6):
        day = start + timedelta(days=offset)
        ends = home().plan(day).soc[-1]
        begins = home().plan(day + timedelta(days=1)).soc[0]
        assert begins == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize(
    ("config", "day", "hours"),
    [
        (HOME, date(2025, 3, 30), 23),
        (HOME, date(2025, 10, 26), 25),
        (RIAD, date(2025, 2, 23), 25),
        (RIAD, date(2025, 4, 6), 23),
        (HOME, date(2025, 6, 1), 24),
    ],
)
def test_a_local_day_has_the_hours_its_clock_shows(config, day, hours):
    """Days on which the clocks change have 23 or 25 hours; in Morocco they change for Ramadan."""
    plan = Household(config=config).plan(day)
    assert (plan.end - plan.start) / 3600.0 == hours
    assert len(plan.pv) == hours * 3600 / SLOT_S


@pytest.mark.parametrize("day", [SUMMER, WINTER, date(2025, 10, 26)])
def test_energies_are_what_the_powers_add_up_to(day):
    """Each energy of a day equals the integral of its power within 0.1 %."""
    house = home()
    plan = house.plan(day)
    seconds = [house.at(plan.start + second) for second in range(int(plan.end - plan.start))]
    energy = house.energy(plan.start, plan.end)
    joules = 3_600_000.0
    assert energy.pv == pytest.approx(sum(at.pv_w for at in seconds) / joules, rel=1e-3, abs=1e-3)
    assert energy.consumption == pytest.approx(sum(at.consumption_w for at in seconds) / joules, rel=1e-3)
    assert energy.grid_import - energy.grid_export == pytest.approx(
        sum(at.grid_w for at in seconds) / joules, abs=0.02
    )
    assert energy.charged - energy.discharged == pytest.approx(
        sum(at.battery_w for at in seconds) / joules, abs=0.02
    )


@given(
    start=st.integers(1_600_000_000, 1_760_000_000),
    first=st.integers(1, 400_000),
    second=st.integers(1, 400_000),
)
def test_energies_of_neighbouring_ranges_add_up(start, first, second):
    """The energies of a range are the sums of those of its parts."""
    house = home()
    middle, end = start + first, start + first + second
    parts = zip(house.energy(start, middle), house.energy(middle, end), strict=True)
    for whole, (left, right) in zip(house.energy(start, end), parts, strict=True):
        assert whole == pytest.approx(left + right, abs=1e-6)
        assert whole >= -1e-9


def test_energies_balance():
    """Energies from PV, grid and battery equal energies to load, grid and battery."""
    house = home()
    energy = house.energy(house.midnight(SUMMER), house.midnight(SUMMER + timedelta(days=30)))
    given_ = energy.pv + energy.grid_import + energy.discharged
    taken = energy.consumption + energy.grid_export + energy.charged
    assert given_ == pytest.approx(taken, rel=1e-9)


def test_the_battery_loses_what_its_efficiency_says():
    """Over a month the battery returns the charged energy less its losses and the change of its charge."""
    house = home()
    begin, end = house.midnight(SUMMER), house.midnight(SUMMER + timedelta(days=30))
    energy = house.energy(begin, end)
    stored = (house.at(end).soc - house.at(begin).soc) * HOME.battery_wh / 1000.0
    expected = energy.charged * HOME.efficiency - energy.discharged / HOME.efficiency
    assert stored == pytest.approx(expected, abs=0.01)


def test_pv_power_follows_day_season_and_weather():
    """PV power is zero at night, higher in summer, and differs from day to day."""
    house = home()
    assert house.at(house.midnight(SUMMER) + 3600.0).pv_w == 0.0
    yields = {
        month: [
            house.energy(house.midnight(day), house.midnight(day + timedelta(days=1))).pv
            for day in (date(2025, month, 1) + timedelta(days=add) for add in range(28))
        ]
        for month in (6, 12)
    }
    assert statistics.mean(yields[6]) > 4 * statistics.mean(yields[12])
    assert max(yields[6]) > 2 * min(yields[6])


def test_values_change_at_their_own_intervals():
    """Some values change from one second to the next, most within a minute."""
    house = home()
    noon = house.midnight(SUMMER) + 43_200.0
    steps = [(house.at(noon + second), house.at(noon + second + 1.0)) for second in range(300)]
    changed = [
        sum(one != two for one, two in zip(before[1:5], after[1:5], strict=True)) for before, after in steps
    ]
    assert 0 in changed
    assert max(changed) >= 2
    assert house.at(noon).consumption_w != house.at(noon + 60.0).consumption_w


def test_any_year_is_fast():
    """Values of ten years ago need the plan of one day."""
    house = home(77)
    old, new = house.midnight(date(2016, 5, 5)) + 40_000.0, house.midnight(date(2026, 5, 5)) + 40_000.0
    assert house.at(old).pv_w != house.at(new).pv_w
    assert house.energy(old, old) == house.energy(new, new - 5.0)


def test_an_empty_range_holds_nothing():
    """All energies of an empty range are 0."""
    assert set(home().energy(1_700_000_000.0, 1_700_000_000.0)) == {0.0}

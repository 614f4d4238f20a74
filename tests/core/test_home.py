import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core import Quantity
from energy_core.home import HomeState, SourceFilter, SourcePreference
from energy_core.home.preference import announcer
from energy_core.stream.vocabulary import SourceId, State
from tests.servers.home_events import HOME, START, Teller, at

SYSTEM = SourceId("vrm", "me", "151734", 0)
MONITOR = SourceId("vrm", "me", "151734", 512)
STORE = SourceId("voltstorage", "me", "301")
SOC, GRID = Quantity.BATTERY_SOC, Quantity.GRID_POWER


def told(events, *, prefer=None, now=10.0, max_age_s=900.0, quantity=SOC):
    home = HomeState(prefer, max_age_s=max_age_s)
    for event in events:
        home.take(event)
    return home.present(quantity, now=at(now))


def test_a_quantity_that_nobody_gave_is_missing():
    """What no event held is None, and not in the snapshot; a zero that was measured is a zero."""
    home = HomeState()
    assert home.present(SOC, now=START) is None
    home.take(Teller().reading(0, {GRID: 0.0}))
    assert home.present(SOC, now=at(1)) is None
    assert {quantity: each.value for quantity, each in home.snapshot(now=at(1)).items()} == {GRID: 0.0}


def test_a_reading_that_holds_only_what_changed_leaves_the_rest():
    """Each quantity keeps its own newest value, time and age."""
    teller, home = Teller(), HomeState()
    home.take(teller.reading(0, {SOC: 50.0, GRID: 100.0}))
    home.take(teller.reading(60, {GRID: -20.0}))
    now = at(90)
    soc, grid = home.present(SOC, now=now), home.present(GRID, now=now)
    assert (soc.value, soc.time, soc.age_s) == (50.0, at(0), 90.0)
    assert (grid.value, grid.time, grid.age_s) == (-20.0, at(60), 30.0)


def test_an_old_value_is_told_as_stale():
    """A value is fresh up to and including the greatest age, and stale from then on; it does not vanish."""
    event = Teller(STORE).reading(0, {SOC: 50.0})
    assert not told([event], now=900.0).stale
    for age in (900.001, 1e7):
        present = told([event], now=age)
        assert (present.value, present.stale, present.age_s) == (50.0, True, age)


def test_the_first_choice_is_told_while_it_is_fresh():
    """A stale first choice gives way to a fresh second one, and comes back with its next value."""
    first, second = Teller(STORE), Teller(MONITOR)
    prefer = SourcePreference(SourceFilter("voltstorage"), SourceFilter("vrm"))
    events = [first.reading(0, {SOC: 50.0}), second.reading(800, {SOC: 51.0})]
    assert told(events, prefer=prefer, now=850.0).source == STORE
    assert told(events, prefer=prefer, now=950.0).source == MONITOR
    assert told([*events, first.reading(940, {SOC: 52.0})], prefer=prefer, now=950.0).value == 52.0


def test_of_stale_values_the_youngest_is_told():
    """With nothing fresh, age decides before the preference does."""
    prefer = SourcePreference(SourceFilter("voltstorage"), SourceFilter("vrm"))
    events = [Teller(STORE).reading(0, {SOC: 50.0}), Teller(MONITOR).reading(100, {SOC: 51.0})]
    present = told(events, prefer=prefer, now=5000.0)
    assert (present.source, present.stale) == (MONITOR, True)


def test_a_source_outside_the_preference_is_not_asked():
    """An order for a quantity replaces the general one, and what is in neither is missing."""
    events = [Teller(SYSTEM).reading(0, {SOC: 50.0, GRID: 5.0}), Teller(STORE).reading(0, {SOC: 60.0})]
    prefer = SourcePreference(
        SourceFilter("vrm", site=151734), by_quantity={SOC: [SourceFilter("voltstorage", site="301")]}
    )
    assert told(events, prefer=prefer).value == 60.0
    assert told(events, prefer=prefer, quantity=GRID).value == 5.0
    assert told(events, prefer=SourcePreference(SourceFilter("vrm", site="other"))) is None


@pytest.mark.parametrize("order", [(SYSTEM, MONITOR), (MONITOR, SYSTEM)])
def test_a_tie_is_broken_the_same_way_each_time_and_told(order):
    """Of two sources at one place the id that sorts first is told, and the other one named."""
    present = told([Teller(source).reading(0, {SOC: 50.0}) for source in order])
    assert (present.source, present.others) == (SYSTEM, (MONITOR,))
    named = told(
        [Teller(source).reading(0, {SOC: 50.0}) for source in order],
        prefer=SourcePreference(SourceFilter("vrm", instance=512), SourceFilter("vrm")),
    )
    assert (named.source, named.others) == (MONITOR, ())


def test_a_late_reading_brings_only_what_nobody_has_said_since():
    """An older value never replaces a newer one, whatever came last."""
    teller = Teller()
    events = [teller.reading(100, {GRID: 1.0}), teller.reading(50, {GRID: 2.0, SOC: 70.0})]
    assert told(events, now=100.0, quantity=GRID).value == 1.0
    assert told(events, now=100.0).value == 70.0


def test_a_revision_replaces_and_a_backfill_does_not():
    """For one moment the higher revision counts; a live value stands against a backfilled one."""
    teller = Teller()
    live = teller.reading(0, {SOC: 50.0})
    revised = teller.reading(0, {SOC: 51.0}, revision=1, backfilled=True)
    rounded = teller.reading(0, {SOC: 50.1}, backfilled=True)
    assert told([live, revised, rounded]).value == 51.0
    assert told([revised, live]).value == 51.0
    assert told([live, rounded]).value == told([rounded, live]).value == 50.0


def test_a_clock_that_is_ahead_does_not_keep_a_value_young():
    """The age counts from the arrival where the device's time lies in the future."""
    event = Teller().reading(7200, {SOC: 50.0}, received_s=0)
    present = told([event], now=1000.0)
    assert (present.age_s, present.stale) == (1000.0, True)
    assert told([event], now=-5.0).age_s == 0.0


def test_values_that_are_no_numbers_are_counted_and_left_out():
    """Neither NaN nor infinity replaces a value."""
    teller, home = Teller(), HomeState()
    for seconds, value in enumerate([50.0, math.nan, math.inf]):
        home.take(teller.reading(seconds, {SOC: value}))
    assert (home.present(SOC, now=at(5)).value, home.unusable) == (50.0, 2)


def test_a_site_has_a_state_of_its_own_while_its_poller_is_live():
    """A stale site is stale for all its devices; where the poller is not connected, no site is better."""
    home = HomeState()
    devices = [SourceId("vrm", "me", site, instance) for site in ("1", "2") for instance in (0, 288)]
    every, first = SourceId("vrm", "me", "*"), SourceId("vrm", "me", "1")

    def states():
        known = [announcer(home.states, device) for device in devices]
        return [None if each is None else str(home.states[each]) for each in known]

    assert states() == [None] * 4
    for source, state, expected in (
        (every, State.LIVE, ["live"] * 4),
        (first, State.STALE, ["stale", "stale", "live", "live"]),
        (every, State.DISCONNECTED, ["disconnected"] * 4),
        (every, State.BACKFILLING, ["stale", "stale", "backfilling", "backfilling"]),
        (first, State.LIVE, ["live", "live", "backfilling", "backfilling"]),
    ):
        home.take(Teller(source).status(state))
        assert states() == expected
    home.take(Teller(devices[1]).reading(1, {SOC: 50.0}))
    assert home.present(SOC, now=at(1)).state is State.LIVE


def test_the_state_of_a_source_is_told_with_its_values():
    """A poller's status speaks for the devices of its sites, and for no others."""
    home = HomeState()
    for source in (SYSTEM, MONITOR, STORE):
        home.take(Teller(source).reading(0, {SOC: 50.0}))
    home.take(Teller(SourceId("vrm", "me", "151734,99")).status(State.DISCONNECTED))
    home.take(Teller(SourceId("voltstorage", "me", "302")).status(State.FAILED))
    assert home.present(SOC, now=at(1)).state is None  # voltstorage sorts first
    home.take(Teller(STORE).status(State.LIVE))
    assert home.present(SOC, now=at(1)).state is State.LIVE
    vrm = HomeState(SourcePreference(SourceFilter("vrm")))
    vrm.take(Teller(MONITOR).reading(0, {SOC: 50.0}))
    vrm.take(Teller(SourceId("vrm", "me", "*")).status(State.STALE))
    assert vrm.present(SOC, now=at(1)).state is State.STALE
    assert vrm.states == {SourceId("vrm", "me", "*"): State.STALE}


@pytest.mark.parametrize("max_age_s", [0, -1.0, math.nan])
def test_an_age_that_is_no_age_is_refused(max_age_s):
    """The greatest age is positive."""
    with pytest.raises(ValueError, match="max_age_s"):
        HomeState(max_age_s=max_age_s)


moments = st.tuples(st.integers(0, 50), st.sampled_from([SOC, GRID]), st.sampled_from([HOME, STORE, MONITOR]))


@given(
    st.lists(moments, unique=True, max_size=20).flatmap(
        lambda each: st.tuples(st.just(each), st.permutations(each))
    )
)
def test_the_order_of_events_does_not_matter(orders):
    """The present is a function of what was said, not of when it arrived."""
    snapshots = []
    for order in orders:
        home = HomeState(max_age_s=20.0)
        for seconds, quantity, source in order:
            home.take(Teller(source).reading(seconds, {quantity: float(seconds)}, received_s=50))
        snapshots.append(home.snapshot(now=START + timedelta(seconds=50)))
    assert snapshots[0] == snapshots[1]
    assert all(each.stale == (each.age_s > 20.0) for each in snapshots[0].values())


def test_a_value_dated_ahead_gives_way_to_the_next_that_is_not():
    """A clock that was wrong does not keep what came of it in place until its time has come."""
    teller = Teller()
    wrong = teller.reading(7200, {SOC: 1.0}, received_s=0)
    right = teller.reading(2, {SOC: 50.0}, received_s=2)
    assert right.late
    present = told([wrong, right], now=3)
    assert (present.value, present.time) == (50.0, at(2))


def test_of_a_clock_of_ours_that_is_behind_nothing_is_wrong():
    """All that comes live is dated ahead then; what was fetched later, and is older, changes nothing."""
    teller = Teller()
    live = teller.reading(7200, {SOC: 50.0}, received_s=0)
    old = teller.reading(2, {SOC: 1.0}, received_s=3, backfilled=True)
    newer = teller.reading(7201, {SOC: 51.0}, received_s=4)
    assert told([live, old], now=3).value == 50.0
    assert told([live, old, newer], now=4).value == 51.0

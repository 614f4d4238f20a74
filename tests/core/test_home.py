import math
from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core import Quantity
from energy_core.home import HomeState, SourceFilter, SourcePreference
from energy_core.home.preference import status_source
from energy_core.stream.vocabulary import SourceId, State
from tests.servers.home_events import HOME, START, EventMaker, at

SYSTEM = SourceId("vrm", "me", "151734", 0)
MONITOR = SourceId("vrm", "me", "151734", 512)
STORE = SourceId("voltstorage", "me", "301")
SOC, GRID = Quantity.BATTERY_SOC, Quantity.GRID_POWER


def present_after(events, *, prefer=None, now=10.0, max_age_s=900.0, quantity=SOC):
    """Return the present value `now` seconds after the start."""
    home = HomeState(prefer, max_age_s=max_age_s)
    for event in events:
        home.take(event)
    return home.present(quantity, at=at(now))


def test_a_quantity_that_was_never_delivered_is_missing():
    """`present` returns None and the snapshot lacks it; a measured zero is a zero."""
    home = HomeState()
    assert home.present(SOC, at=START) is None
    home.take(EventMaker().reading(0, {GRID: 0.0}))
    assert home.present(SOC, at=at(1)) is None
    assert {quantity: each.value for quantity, each in home.snapshot(at=at(1)).items()} == {GRID: 0.0}


def test_a_reading_that_holds_only_what_changed_leaves_the_rest():
    """Each quantity keeps its own newest value, time and age."""
    maker, home = EventMaker(), HomeState()
    home.take(maker.reading(0, {SOC: 50.0, GRID: 100.0}))
    home.take(maker.reading(60, {GRID: -20.0}))
    now = at(90)
    soc, grid = home.present(SOC, at=now), home.present(GRID, at=now)
    assert (soc.value, soc.time, soc.age_s) == (50.0, at(0), 90.0)
    assert (grid.value, grid.time, grid.age_s) == (-20.0, at(60), 30.0)


def test_ages_refer_to_now_by_default():
    """Without `at` the time is that of the clock."""
    home = HomeState(clock=SimpleNamespace(utcnow=lambda: at(90)))
    home.take(EventMaker().reading(0, {SOC: 50.0}))
    assert home.present(SOC).age_s == home.snapshot()[SOC].age_s == 90.0


def test_an_old_value_is_stale():
    """A value is fresh up to and including `max_age_s` and stale afterwards; it stays present."""
    event = EventMaker(STORE).reading(0, {SOC: 50.0})
    assert not present_after([event], now=900.0).stale
    for age in (900.001, 1e7):
        present = present_after([event], now=age)
        assert (present.value, present.stale, present.age_s) == (50.0, True, age)


def test_the_first_choice_is_used_while_it_is_fresh():
    """A fresh second choice replaces a stale first one until the first has a fresh value again."""
    first, second = EventMaker(STORE), EventMaker(MONITOR)
    prefer = SourcePreference(SourceFilter("voltstorage"), SourceFilter("vrm"))
    events = [first.reading(0, {SOC: 50.0}), second.reading(800, {SOC: 51.0})]
    assert present_after(events, prefer=prefer, now=850.0).source == STORE
    assert present_after(events, prefer=prefer, now=950.0).source == MONITOR
    assert present_after([*events, first.reading(940, {SOC: 52.0})], prefer=prefer, now=950.0).value == 52.0


def test_of_stale_values_the_youngest_is_used():
    """Without a fresh value, age decides before the preference."""
    prefer = SourcePreference(SourceFilter("voltstorage"), SourceFilter("vrm"))
    events = [EventMaker(STORE).reading(0, {SOC: 50.0}), EventMaker(MONITOR).reading(100, {SOC: 51.0})]
    present = present_after(events, prefer=prefer, now=5000.0)
    assert (present.source, present.stale) == (MONITOR, True)


def test_a_source_outside_the_preference_is_not_used():
    """An order for a quantity replaces the general one; a source that matches no filter is ignored."""
    events = [
        EventMaker(SYSTEM).reading(0, {SOC: 50.0, GRID: 5.0}),
        EventMaker(STORE).reading(0, {SOC: 60.0}),
    ]
    prefer = SourcePreference(
        SourceFilter("vrm", site=151734), by_quantity={SOC: [SourceFilter("voltstorage", site="301")]}
    )
    assert present_after(events, prefer=prefer).value == 60.0
    assert present_after(events, prefer=prefer, quantity=GRID).value == 5.0
    assert present_after(events, prefer=SourcePreference(SourceFilter("vrm", site="other"))) is None


@pytest.mark.parametrize("order", [(SYSTEM, MONITOR), (MONITOR, SYSTEM)])
def test_of_equal_sources_the_smallest_id_is_used(order):
    """`others` lists the other one, unless the preference separates them."""
    present = present_after([EventMaker(source).reading(0, {SOC: 50.0}) for source in order])
    assert (present.source, present.others) == (SYSTEM, (MONITOR,))
    named = present_after(
        [EventMaker(source).reading(0, {SOC: 50.0}) for source in order],
        prefer=SourcePreference(SourceFilter("vrm", instance=512), SourceFilter("vrm")),
    )
    assert (named.source, named.others) == (MONITOR, ())


def test_a_late_reading_changes_only_quantities_without_a_newer_value():
    """An older value never replaces a newer one, in whatever order they arrive."""
    maker = EventMaker()
    events = [maker.reading(100, {GRID: 1.0}), maker.reading(50, {GRID: 2.0, SOC: 70.0})]
    assert present_after(events, now=100.0, quantity=GRID).value == 1.0
    assert present_after(events, now=100.0).value == 70.0


def test_a_revision_replaces_and_a_backfill_does_not():
    """For one time the higher revision counts; a backfilled value does not replace a live one."""
    maker = EventMaker()
    live = maker.reading(0, {SOC: 50.0})
    revised = maker.reading(0, {SOC: 51.0}, revision=1, backfilled=True)
    rounded = maker.reading(0, {SOC: 50.1}, backfilled=True)
    assert present_after([live, revised, rounded]).value == 51.0
    assert present_after([revised, live]).value == 51.0
    assert present_after([live, rounded]).value == present_after([rounded, live]).value == 50.0


def test_a_clock_that_is_ahead_does_not_keep_a_value_young():
    """The age counts from the arrival where the device's time is in the future."""
    event = EventMaker().reading(7200, {SOC: 50.0}, received_s=0)
    present = present_after([event], now=1000.0)
    assert (present.age_s, present.stale) == (1000.0, True)
    assert present_after([event], now=-5.0).age_s == 0.0


def test_values_that_are_not_finite_are_counted_and_ignored():
    """Neither NaN nor infinity replaces a value."""
    maker, home = EventMaker(), HomeState()
    for seconds, value in enumerate([50.0, math.nan, math.inf]):
        home.take(maker.reading(seconds, {SOC: value}))
    assert (home.present(SOC, at=at(5)).value, home.unusable) == (50.0, 2)


def test_a_site_has_a_state_of_its_own_while_its_poller_is_live():
    """A site's state applies to all its devices, except while its poller is not connected."""
    home = HomeState()
    devices = [SourceId("vrm", "me", site, instance) for site in ("1", "2") for instance in (0, 288)]
    every, first = SourceId("vrm", "me", "*"), SourceId("vrm", "me", "1")

    def states():
        known = [status_source(home.states, device) for device in devices]
        return [None if each is None else str(home.states[each]) for each in known]

    assert states() == [None] * 4
    for source, state, expected in (
        (every, State.LIVE, ["live"] * 4),
        (first, State.STALE, ["stale", "stale", "live", "live"]),
        (every, State.DISCONNECTED, ["disconnected"] * 4),
        (every, State.BACKFILLING, ["stale", "stale", "backfilling", "backfilling"]),
        (first, State.LIVE, ["live", "live", "backfilling", "backfilling"]),
    ):
        home.take(EventMaker(source).status(state))
        assert states() == expected
    home.take(EventMaker(devices[1]).reading(1, {SOC: 50.0}))
    assert home.present(SOC, at=at(1)).state is State.LIVE


def test_a_present_value_has_the_state_of_its_source():
    """A poller's status applies to the devices of its sites and to no others."""
    home = HomeState()
    for source in (SYSTEM, MONITOR, STORE):
        home.take(EventMaker(source).reading(0, {SOC: 50.0}))
    home.take(EventMaker(SourceId("vrm", "me", "151734,99")).status(State.DISCONNECTED))
    home.take(EventMaker(SourceId("voltstorage", "me", "302")).status(State.FAILED))
    assert home.present(SOC, at=at(1)).state is None  # voltstorage sorts first
    home.take(EventMaker(STORE).status(State.LIVE))
    assert home.present(SOC, at=at(1)).state is State.LIVE
    vrm = HomeState(SourcePreference(SourceFilter("vrm")))
    vrm.take(EventMaker(MONITOR).reading(0, {SOC: 50.0}))
    vrm.take(EventMaker(SourceId("vrm", "me", "*")).status(State.STALE))
    assert vrm.present(SOC, at=at(1)).state is State.STALE
    assert vrm.states == {SourceId("vrm", "me", "*"): State.STALE}


@pytest.mark.parametrize("max_age_s", [0, -1.0, math.nan])
def test_max_age_must_be_positive(max_age_s):
    """Zero, a negative number and NaN are refused."""
    with pytest.raises(ValueError, match="max_age_s"):
        HomeState(max_age_s=max_age_s)


moments = st.tuples(st.integers(0, 50), st.sampled_from([SOC, GRID]), st.sampled_from([HOME, STORE, MONITOR]))


@given(
    st.lists(moments, unique=True, max_size=20).flatmap(
        lambda each: st.tuples(st.just(each), st.permutations(each))
    )
)
def test_the_order_of_events_does_not_matter(orders):
    """The same events in any order give the same snapshot."""
    snapshots = []
    for order in orders:
        home = HomeState(max_age_s=20.0)
        for seconds, quantity, source in order:
            home.take(EventMaker(source).reading(seconds, {quantity: float(seconds)}, received_s=50))
        snapshots.append(home.snapshot(at=START + timedelta(seconds=50)))
    assert snapshots[0] == snapshots[1]
    assert all(each.stale == (each.age_s > 20.0) for each in snapshots[0].values())


def test_a_value_dated_in_the_future_is_replaced_by_the_next_that_is_not():
    """A value of a wrong clock does not stay until its time has come."""
    maker = EventMaker()
    wrong = maker.reading(7200, {SOC: 1.0}, received_s=0)
    right = maker.reading(2, {SOC: 50.0}, received_s=2)
    assert right.late
    present = present_after([wrong, right], now=3)
    assert (present.value, present.time) == (50.0, at(2))


def test_a_local_clock_that_is_behind_changes_nothing():
    """Then all live values are dated in the future; an older backfilled value does not replace them."""
    maker = EventMaker()
    live = maker.reading(7200, {SOC: 50.0}, received_s=0)
    old = maker.reading(2, {SOC: 1.0}, received_s=3, backfilled=True)
    newer = maker.reading(7201, {SOC: 51.0}, received_s=4)
    assert present_after([live, old], now=3).value == 50.0
    assert present_after([live, old, newer], now=4).value == 51.0

"""ProductState: events with changes only, folded into the current state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from energy_core import Quantity
from voltstorage_async import LatestData, ProductGap, ProductState, UnknownProductEvent
from voltstorage_async.models import Latest

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(second: int, *, backfilled: bool = False, product: int = 77, **data: object) -> LatestData:
    time = NOON + timedelta(seconds=second)
    return LatestData(product_id=product, time=time, data=data, raw={}, backfilled=backfilled)


def gap(start: int, end: int, **facts: object) -> ProductGap:
    moments = [NOON + timedelta(seconds=second) for second in (start, end)]
    return ProductGap(product_id=77, start=moments[0], end=moments[1], reason="x", **facts)


def folded(*events: object) -> ProductState:
    state = ProductState(product_id=77)
    for event in events:
        state = state.folded(event)
    return state


def test_a_missing_key_keeps_its_value():
    """A key that an event leaves out keeps its last value and time."""
    state = folded(event(1, pvPower=400, soc=0.5), event(2, pvPower=410))
    assert dict(state.data) == {"pvPower": 410, "soc": 0.5}
    assert state.times["soc"] == NOON + timedelta(seconds=1)
    assert state.time == NOON + timedelta(seconds=2)


def test_a_state_is_immutable():
    """Folding returns a new state; the one before stays as it was."""
    before = folded(event(1, pvPower=400))
    after = before.folded(event(2, pvPower=410))
    assert (before.data["pvPower"], after.data["pvPower"]) == (400, 410)
    assert before.folded(event(0, pvPower=1)) is before


def test_the_past_does_not_replace_the_present():
    """A late or backfilled value counts only for keys without a newer one."""
    state = folded(event(5, pvPower=400), event(3, backfilled=True, pvPower=1, soc=0.4))
    assert dict(state.data) == {"pvPower": 400, "soc": 0.4}
    assert state.time == NOON + timedelta(seconds=5)


def test_of_one_second_the_live_value_counts():
    """Of two messages of one second the later one counts; a backfill of that second does not."""
    assert folded(event(5, pvPower=1), event(5, pvPower=2)).data["pvPower"] == 2
    assert folded(event(5, pvPower=1), event(5, backfilled=True, pvPower=2)).data["pvPower"] == 1


def test_after_a_gap_the_old_values_are_doubtful():
    """Values from before a gap may have changed within it; those that are sent again are certain."""
    state = folded(event(1, pvPower=1, soc=0.5), gap(1, 9))
    assert state.doubtful == {"pvPower", "soc"}
    assert state.folded(event(9, pvPower=2)).doubtful == {"soc"}
    only = gap(1, 9, quantities=frozenset({Quantity.BATTERY_VOLTAGE}))
    assert folded(event(1, pvPower=1), only).doubtful == set()


def test_other_events_change_nothing():
    """Messages of undocumented types, and those of other products, do not change the state."""
    state = folded(event(1, pvPower=1))
    assert state.folded(UnknownProductEvent(product_id=77, raw={})) is state
    assert state.folded(event(2, product=78, pvPower=2)) is state


def test_a_state_may_begin_with_the_latest_data():
    """With their time they are replaced by newer events only, without it by any."""
    timed = ProductState.of(Latest(product_id=77, time=NOON, data={"pvPower": 1, "soc": 0.5}))
    assert timed.folded(event(-5, pvPower=2)).data["pvPower"] == 1
    untimed = ProductState.of(Latest(product_id=77, data={"pvPower": 1, "soc": 0.5}))
    assert dict(untimed.folded(event(-5, pvPower=2)).data) == {"pvPower": 2, "soc": 0.5}


@given(st.permutations([(second, key) for second in range(4) for key in "abc"]))
def test_the_order_of_arrival_does_not_matter(arrivals):
    """In whatever order values arrive, the newest of each key counts in the end."""
    state = folded(*(event(second, **{key: second}) for second, key in arrivals))
    assert dict(state.data) == dict.fromkeys("abc", 3)

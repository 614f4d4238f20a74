"""ProductState: events that hold only what changed, folded into what is known now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from energy_core import Quantity
from voltstorage_async import LatestData, ProductGap, ProductState, UnknownProductEvent
from voltstorage_async.models import Latest

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def told(second: int, *, backfilled: bool = False, product: int = 77, **data: object) -> LatestData:
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


def test_what_does_not_change_stays():
    """A key that an event leaves out keeps its last value, and the time at which it was told."""
    state = folded(told(1, pvPower=400, soc=0.5), told(2, pvPower=410))
    assert dict(state.data) == {"pvPower": 410, "soc": 0.5}
    assert state.times["soc"] == NOON + timedelta(seconds=1)
    assert state.time == NOON + timedelta(seconds=2)


def test_a_state_is_a_value():
    """Folding returns a new state; the one before stays what it was."""
    before = folded(told(1, pvPower=400))
    after = before.folded(told(2, pvPower=410))
    assert (before.data["pvPower"], after.data["pvPower"]) == (400, 410)
    assert before.folded(told(0, pvPower=1)) is before


def test_the_past_does_not_replace_the_present():
    """A late or backfilled value counts only for what nothing newer was told of."""
    state = folded(told(5, pvPower=400), told(3, backfilled=True, pvPower=1, soc=0.4))
    assert dict(state.data) == {"pvPower": 400, "soc": 0.4}
    assert state.time == NOON + timedelta(seconds=5)


def test_of_one_second_the_live_value_counts():
    """Two frames of one second: the later one. A backfill of that second: not."""
    assert folded(told(5, pvPower=1), told(5, pvPower=2)).data["pvPower"] == 2
    assert folded(told(5, pvPower=1), told(5, backfilled=True, pvPower=2)).data["pvPower"] == 1


def test_after_a_gap_the_old_values_are_doubtful():
    """What was told before a gap may have changed within it; what is told again is certain."""
    state = folded(told(1, pvPower=1, soc=0.5), gap(1, 9))
    assert state.doubtful == {"pvPower", "soc"}
    assert state.folded(told(9, pvPower=2)).doubtful == {"soc"}
    only = gap(1, 9, quantities=frozenset({Quantity.BATTERY_VOLTAGE}))
    assert folded(told(1, pvPower=1), only).doubtful == set()


def test_other_events_change_nothing():
    """Messages of unknown types, and other products, are not this product's state."""
    state = folded(told(1, pvPower=1))
    assert state.folded(UnknownProductEvent(product_id=77, raw={})) is state
    assert state.folded(told(2, product=78, pvPower=2)) is state


def test_a_state_may_begin_with_the_latest_data():
    """With their time they are replaced by newer events only, without it by any."""
    timed = ProductState.of(Latest(product_id=77, time=NOON, data={"pvPower": 1, "soc": 0.5}))
    assert timed.folded(told(-5, pvPower=2)).data["pvPower"] == 1
    untimed = ProductState.of(Latest(product_id=77, data={"pvPower": 1, "soc": 0.5}))
    assert dict(untimed.folded(told(-5, pvPower=2)).data) == {"pvPower": 2, "soc": 0.5}


@given(st.permutations([(second, key) for second in range(4) for key in "abc"]))
def test_the_order_of_arrival_does_not_matter(arrivals):
    """Whatever order values of different times come in, the newest of each key is known in the end."""
    state = folded(*(told(second, **{key: second}) for second, key in arrivals))
    assert dict(state.data) == dict.fromkeys("abc", 3)

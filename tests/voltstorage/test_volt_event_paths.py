from __future__ import annotations

import json

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.drift import Drift, collect_drift
from energy_core.errors import DecodeError
from tests.servers.json_backends import standard_library_only
from voltstorage_async.codec import latest, product_event, statistics
from voltstorage_async.event_types import LatestData

FRAME = {"type": "latest-data", "time": 1_780_000_000, "data": {"pvPower": 1, "dcVoltage": 48.5, "on": True}}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
frames = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["latest-data", "other", None, 1]),
        "time": st.integers() | st.floats() | st.sampled_from(["1780000000", "soon", None, 10**20, True]),
        "data": st.dictionaries(st.text(max_size=3), values, max_size=3) | values,
        "more": values,
    },
)


def outcome(frame):
    try:
        event = product_event(7, frame)
    except DecodeError as error:
        return str(error), error.kind
    return [(field.name, repr(getattr(event, field.name))) for field in fields(type(event))]


@given(frame=frames.map(lambda one: json.dumps(one).encode()) | st.binary(max_size=8))
def test_a_frame_is_the_same_on_both_paths(frame):
    """Whatever a frame holds, the event or the error does not depend on what is installed."""
    fast = outcome(frame)
    with standard_library_only():
        assert outcome(frame) == fast


@pytest.mark.parametrize("at", ["product_id", "time", "data", "raw", "backfilled"])
def test_an_event_is_complete(at):
    """An event made without its constructor has what the constructor would have stored."""
    event = product_event(7, json.dumps(FRAME).encode())
    twin = LatestData(product_id=7, time=event.time, data=FRAME["data"], raw=FRAME)
    assert getattr(event, at) == getattr(twin, at)
    assert event == twin
    assert repr(event) == repr(twin)


@pytest.mark.parametrize("time", [0, -5, 35, "0", "1970-01-01T00:00:35Z", -1e12])
def test_no_answer_is_of_1970(time):
    """A device that does not know the time says so; its data arrive without one, and the drift counts it."""
    drift = Drift()
    with collect_drift(drift):
        told = latest(7)({"time": time, "data": {"soc": 0.5}})
        (period,) = statistics([{"timespan_start": time, "pv-total": 5}])
    assert (told.time, told.data) == (None, {"soc": 0.5})
    assert (period.start, period.pv_total_j) == (None, 5.0)
    assert drift.counts["Latest", "time", "unreadable"] == 1
    assert sum(drift.counts.values()) == 2

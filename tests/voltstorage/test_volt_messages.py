"""Messages of the event WebSocket, decoded to events."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import DecodeError
from energy_core.stream.vocabulary import Quantity
from tests.servers.json_backends import standard_library_only
from voltstorage_async import FieldMap, LatestData, UnknownProductEvent
from voltstorage_async.codec import product_event

EVENT = '{"type": "latest-data", "time": 1575154800, "data": {"pvPower": 421, "dcVoltage": 26.3}}'

"""The message printed in the vendor's reference."""

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


def test_the_documented_message():
    """It is a `LatestData` with the vendor's keys; `FieldMap` converts them."""
    event = product_event(77, EVENT.encode())
    assert event == LatestData(
        product_id=77,
        time=datetime(2019, 11, 30, 23, 0, tzinfo=UTC),
        data={"pvPower": 421, "dcVoltage": 26.3},
        raw={},
    )
    assert event.raw == json.loads(EVENT)
    assert not event.backfilled
    converted = {Quantity.PV_POWER: 421.0, Quantity.BATTERY_VOLTAGE: 26.3}
    assert FieldMap().read_event(event.data) == (converted, 0)


def outcome(frame):
    try:
        event = product_event(7, frame)
    except DecodeError as error:
        return str(error), error.kind
    return [(field.name, repr(getattr(event, field.name))) for field in fields(type(event))]


@given(frame=frames.map(lambda one: json.dumps(one).encode()) | st.binary(max_size=8))
def test_events_do_not_depend_on_the_installed_json_parsers(frame):
    """Any message is the same event, or the same error."""
    fast = outcome(frame)
    with standard_library_only():
        assert outcome(frame) == fast


@given(st.binary(max_size=100) | frames.map(lambda message: json.dumps(message).encode()))
def test_any_message_is_an_event_or_a_decode_error(message):
    """The values of an event are finite and in the vocabulary."""
    try:
        event = product_event(7, message)
    except DecodeError:
        return
    assert isinstance(event, LatestData | UnknownProductEvent)
    assert event.product_id == 7
    if isinstance(event, LatestData):
        assert event.time.tzinfo is not None
        values, _ = FieldMap().read_event(event.data)
        assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())

"""FieldMap and the messages it translates."""

from __future__ import annotations

import json
import math
import tracemalloc

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import DecodeError
from energy_core.stream.vocabulary import Quantity
from voltstorage_async import FieldMap, FieldMeaning, LatestData, UnknownProductEvent
from voltstorage_async.codec import product_event
from voltstorage_async.field_map import ProductFields


@pytest.mark.parametrize(
    ("key", "sent", "quantity", "meant"),
    [
        ("pvPower", 421, Quantity.PV_POWER, 421.0),
        ("pvPower", -2, Quantity.PV_POWER, -2.0),
        ("gridPower", -50.5, Quantity.GRID_POWER, -50.5),
        ("consumption", 815, Quantity.CONSUMPTION_POWER, 815.0),
        ("batteryPower", -433, Quantity.BATTERY_POWER, 433.0),
        ("soc", 0.605, Quantity.BATTERY_SOC, 60.5),
        ("dcVoltage", 26.3, Quantity.BATTERY_VOLTAGE, 26.3),
        ("dcCurrent", -16.5, Quantity.BATTERY_CURRENT, 16.5),
        ("batteryTemperature", 34.1, Quantity.BATTERY_TEMPERATURE, 34.1),
    ],
)
def test_every_event_key(key, sent, quantity, meant):
    """Each key has its quantity, unit and sign."""
    assert FieldMap().read_event({key: sent}) == ({quantity: meant}, 0)


@pytest.mark.parametrize(
    ("column", "sent", "quantity", "meant"),
    [
        ("Power_Grid", -49.8754, Quantity.GRID_POWER, -49.8754),
        ("Power_Household", 815.662, Quantity.CONSUMPTION_POWER, 815.662),
        ("Power_PV", 432.432, Quantity.PV_POWER, 432.432),
        ("Power_Power Electronics", -45.99, Quantity.BATTERY_POWER, 45.99),
        ("SOC_State of Charge", 0.61, Quantity.BATTERY_SOC, 61.0),
    ],
)
def test_every_export_column(column, sent, quantity, meant):
    """Each column has its quantity, unit and sign."""
    assert FieldMap().read_row({column: sent, "elsewhere": 1.0}) == ({quantity: pytest.approx(meant)}, 0)
    assert FieldMap().read_event({column: sent, "elsewhere": 1.0}) == ({quantity: pytest.approx(meant)}, 0)


def test_the_inverter_repeats_the_power_electronics():
    """In the printed export both columns hold the same; one of them is enough, and the other is no second."""
    assert FieldMap().read_row({"inverterPower": 433.105}) == ({Quantity.BATTERY_POWER: -433.105}, 0)
    both = {"inverterPower": 1.0, "Power_Power Electronics": 433.105}
    assert FieldMap().read_row(both) == ({Quantity.BATTERY_POWER: -433.105}, 0)
    assert FieldMap().as_event(both) == {"inverterPower": 1.0, "batteryPower": 433.105}


def test_guesses_are_marked():
    """Only the documented keys are not guesses."""
    known = FieldMap()
    assert {key for key, meaning in known.events.items() if not meaning.guess} == {"pvPower", "dcVoltage"}
    documented = {"Power_Grid", "Power_Household", "Power_PV", "SOC_State of Charge"}
    assert {key for key, meaning in known.columns.items() if not meaning.guess} == documented


def test_a_map_of_the_users_own():
    """A map is replaced as a whole or extended; plain pairs will do, and the first of two keys wins."""
    own = FieldMap(events={"solarKw": (Quantity.PV_POWER, 1000)})
    assert own.read_event({"solarKw": 0.5, "pvPower": 1}) == ({Quantity.PV_POWER: 500.0}, 0)
    more = FieldMap().extended(events={"soc": (Quantity.BATTERY_SOC, 1.0), "pv2": ("pv_power", 1)})
    assert more.read_event({"soc": 60.5, "pv2": 2, "pvPower": 1}) == (
        {Quantity.PV_POWER: 1.0, Quantity.BATTERY_SOC: 60.5},
        0,
    )
    assert more.events["soc"] == FieldMeaning(Quantity.BATTERY_SOC, 1.0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        own.events = {}
    with pytest.raises(TypeError):
        own.events["x"] = FieldMeaning(Quantity.PV_POWER)


def test_very_long_keys_are_read_and_not_remembered():
    """A server that invents keys cannot fill the memory."""
    fields = FieldMap()
    data = [{"pvPower": 1, f"{number:05}" * 10_000: 1} for number in range(200)]
    tracemalloc.start()
    try:
        for each in data:
            assert fields.read_event(each) == ({Quantity.PV_POWER: 1.0}, 0)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "meaning",
    [
        Quantity.PV_POWER,
        ("pv", 1),
        (Quantity.PV_POWER, 0),
        (Quantity.PV_POWER, math.nan),
        (Quantity.PV_POWER, "x"),
    ],
)
def test_a_wrong_meaning_fails_at_once_and_by_name(meaning):
    """The message names the key."""
    with pytest.raises((ValueError, TypeError), match="solar"):
        FieldMap(events={"solar": meaning})


@pytest.mark.parametrize("value", ["421", True, [1], {"value": 1}, 1e308, "nan"])
def test_a_value_that_is_not_a_number_is_left_out_and_counted(value):
    """Nothing is guessed, and nothing becomes infinite."""
    assert FieldMap().read_event({"soc": value}) == ({}, 1)


def test_no_value_is_no_value():
    """Null is absent, and no fault."""
    assert FieldMap().read_event({"soc": None}) == ({}, 0)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
messages = st.dictionaries(
    st.sampled_from(["type", "time", "data", "x"]),
    st.just("latest-data")
    | json_values
    | st.dictionaries(st.sampled_from(["pvPower", "soc", "dcCurrent", "x"]), json_values),
)


@given(st.binary(max_size=100) | messages.map(lambda message: json.dumps(message).encode()))
def test_any_frame_is_an_event_or_a_decode_error(frame):
    """Whatever arrives becomes an event with finite values in the vocabulary, or one typed error."""
    try:
        event = product_event(7, frame)
    except DecodeError:
        return
    assert isinstance(event, LatestData | UnknownProductEvent)
    assert event.product_id == 7
    if isinstance(event, LatestData):
        assert event.time.tzinfo is not None
        values, _ = FieldMap().read_event(event.data)
        assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("100.5", 100.5),
        (" -3 ", -3.0),
        ("1e2", 100.0),
        ("0,57", 0.57),
        ("-12,5", -12.5),
        ("0,611", 0.611),
        ("1234,567", 1234.567),
        ("12,5e1", 125.0),
        ("", None),
        ("1,234", None),  # may be a thousand
        ("815,662", None),
        ("1.234,5", None),
        ("1,2,3", None),
        ("12 W", None),
        ("nan", None),
        ("1_000", None),
        ("--", None),
        (True, None),
    ],
)
def test_numbers_as_text(text, meant):
    """Text is a number where it has one reading; anything else is counted, and nothing is empty."""
    expected = {} if meant is None else {Quantity.PV_POWER: pytest.approx(meant)}
    unusable = int(meant is None and text != "")
    assert FieldMap().read_event({"pvPower": text}) == (expected, unusable)
    assert FieldMap().read_row({"Power_PV": text}) == (expected, unusable)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["soc", "SOC_State of Charge", "pvPower"]),
            st.floats(-10, 200)
            | st.floats(0, 1)
            | st.integers(-5, 120)
            | st.sampled_from(["57", "0,5", "x"]),
        ),
        max_size=20,
    ),
    st.sampled_from(["auto", "ratio", "percent"]),
)
def test_no_charge_outside_its_range_is_ever_read(datas, scale):
    """Whatever the service sends, in whichever order, a state of charge is 0..100 % or missing."""
    product = ProductFields(FieldMap(), scale=scale)
    for data in datas:
        for values, quantities, _ in (product.read_event(data), product.read_row(data)):
            assert 0.0 <= values.get(Quantity.BATTERY_SOC, 0.0) <= 100.0
            assert tuple(values) == quantities
        assert 0.0 <= FieldMap().read_event(data)[0].get(Quantity.BATTERY_SOC, 0.0) <= 100.0


def test_a_backfilled_charge_is_named_and_counted_as_the_events_are():
    """Events in percent, an export of ratios: the column becomes the event's key on the event's scale."""
    product = ProductFields(FieldMap())
    assert product.read_event({"soc": 57})[0] == {Quantity.BATTERY_SOC: 57.0}
    row = {"SOC_State of Charge": 0.5}
    assert product.read_row(row)[0] == {Quantity.BATTERY_SOC: 50.0}
    assert product.fields.as_event(row) == {"soc": 50.0}


def test_a_meaning_of_the_users_own_decides_the_scale():
    """Who says what a key means is not second-guessed; values outside 0..100 % are left out all the same."""
    own = FieldMap().extended(events={"soc": (Quantity.BATTERY_SOC, 100.0)})
    product = ProductFields(own)
    assert product.read_event({"soc": 57}) == ({}, (), 1)
    assert product.read_event({"soc": 0.57})[0] == {Quantity.BATTERY_SOC: pytest.approx(57.0)}
    assert product.scale_changes == 0


@pytest.mark.parametrize("scale", ["per cent", None, 1])
def test_a_scale_is_one_of_three(scale):
    """A scale nobody knows is refused by name."""
    with pytest.raises(ValueError, match="soc_scale must be one of auto, ratio, percent"):
        ProductFields(FieldMap(), scale=scale)

"""FieldMap and ProductFields: from the vendor's keys and columns to quantities."""

from __future__ import annotations

import math
import tracemalloc

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.stream.vocabulary import Quantity
from voltstorage_async import FieldMap, FieldMeaning
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
def test_each_event_key_is_converted(key, sent, quantity, meant):
    """To its quantity, unit and sign."""
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
def test_each_column_is_converted(column, sent, quantity, meant):
    """In rows and in events."""
    assert FieldMap().read_row({column: sent, "elsewhere": 1.0}) == ({quantity: pytest.approx(meant)}, 0)
    assert FieldMap().read_event({column: sent, "elsewhere": 1.0}) == ({quantity: pytest.approx(meant)}, 0)


def test_the_inverter_column_repeats_the_power_electronics():
    """Both mean battery power, so one of them is read."""
    assert FieldMap().read_row({"inverterPower": 433.105}) == ({Quantity.BATTERY_POWER: -433.105}, 0)
    both = {"inverterPower": 1.0, "Power_Power Electronics": 433.105}
    assert FieldMap().read_row(both) == ({Quantity.BATTERY_POWER: -433.105}, 0)
    assert FieldMap().as_event(both) == {"inverterPower": 1.0, "batteryPower": 433.105}


def test_guesses_are_marked():
    """Only documented keys and columns are not guesses."""
    known = FieldMap()
    assert {key for key, meaning in known.events.items() if not meaning.guess} == {"pvPower", "dcVoltage"}
    documented = {"Power_Grid", "Power_Household", "Power_PV", "SOC_State of Charge"}
    assert {key for key, meaning in known.columns.items() if not meaning.guess} == documented


def test_a_map_may_be_replaced_or_extended():
    """Meanings may be plain pairs; the first of two keys for one quantity is read."""
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
def test_a_wrong_meaning_raises(meaning):
    """The message names the key."""
    with pytest.raises((ValueError, TypeError), match="solar"):
        FieldMap(events={"solar": meaning})


@pytest.mark.parametrize("value", ["421", True, [1], {"value": 1}, 1e308, "nan"])
def test_a_value_that_is_not_a_number_is_left_out_and_counted(value):
    """Neither texts, booleans and containers nor values that overflow are converted."""
    assert FieldMap().read_event({"soc": value}) == ({}, 1)


def test_null_is_absent():
    """It is not counted as unusable."""
    assert FieldMap().read_event({"soc": None}) == ({}, 0)


@pytest.mark.parametrize(
    ("text", "converted"),
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
def test_numbers_as_text(text, converted):
    """Text is a number if it has one reading; other text is counted, empty text is absent."""
    expected = {} if converted is None else {Quantity.PV_POWER: pytest.approx(converted)}
    unusable = int(converted is None and text != "")
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
def test_a_state_of_charge_is_within_its_range_or_missing(datas, scale):
    """For any values in any order, on any scale."""
    product = ProductFields(FieldMap(), scale=scale)
    for data in datas:
        for values, quantities, _ in (product.read_event(data), product.read_row(data)):
            assert 0.0 <= values.get(Quantity.BATTERY_SOC, 0.0) <= 100.0
            assert tuple(values) == quantities
        assert 0.0 <= FieldMap().read_event(data)[0].get(Quantity.BATTERY_SOC, 0.0) <= 100.0


def test_a_backfilled_state_of_charge_has_the_scale_of_the_events():
    """Events in percent, exports as ratios: the column gets the event's key and scale."""
    product = ProductFields(FieldMap())
    assert product.read_event({"soc": 57})[0] == {Quantity.BATTERY_SOC: 57.0}
    row = {"SOC_State of Charge": 0.5}
    assert product.read_row(row)[0] == {Quantity.BATTERY_SOC: 50.0}
    assert product.fields.as_event(row) == {"soc": 50.0}


def test_a_meaning_given_by_the_user_keeps_its_scale():
    """Values outside 0..100 % are left out."""
    own = FieldMap().extended(events={"soc": (Quantity.BATTERY_SOC, 100.0)})
    product = ProductFields(own)
    assert product.read_event({"soc": 57}) == ({}, (), 1)
    assert product.read_event({"soc": 0.57})[0] == {Quantity.BATTERY_SOC: pytest.approx(57.0)}
    assert product.scale_changes == 0


@pytest.mark.parametrize("scale", ["per cent", None, 1])
def test_a_scale_is_one_of_three(scale):
    """The message lists them."""
    with pytest.raises(ValueError, match="soc_scale must be one of auto, ratio, percent"):
        ProductFields(FieldMap(), scale=scale)

"""From a gateway's topics to quantities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.stream.vocabulary import Quantity
from vrm_async.realtime_values import (
    FILTERS,
    BadPayload,
    Counters,
    CounterValue,
    SiteValues,
    SystemValue,
    meaning,
    read_number,
)

GRID = [f"system/0/Ac/Grid/L{phase}/Power" for phase in (1, 2, 3)]


def take(values, **topics):
    """Take values by topic; `Ac_Grid_L1_Power` stands for `system/0/Ac/Grid/L1/Power`."""
    for name, value in topics.items():
        values.take(meaning(f"system/0/{name.replace('_', '/')}"), value)


def published(values, **topics):
    """Take a full publish."""
    values.begin_publish()
    take(values, **topics)
    values.end_publish()


def test_signs_and_sums_are_those_of_polling():
    """Phases are added, the DC loads belong to the consumption, all PV to the PV power."""
    values = SiteValues()
    published(
        values,
        Ac_Grid_L1_Power=-100.0,
        Ac_Grid_L2_Power=50.5,
        Ac_Grid_L3_Power=None,
        Ac_Consumption_L1_Power=400.0,
        Dc_System_Power=25.0,
        Dc_Pv_Power=1000.0,
        Ac_PvOnOutput_L1_Power=200.0,
        Ac_PvOnGrid_L1_Power=30.0,
        Ac_PvOnGrid_L2_Power=3.0,
        Ac_Genset_L1_Power=None,
        Dc_Battery_Power=-20.0,
        Dc_Battery_Soc=99.5,
    )
    assert values.changed() == {
        Quantity.GRID_POWER: -49.5,
        Quantity.GRID_L1_POWER: -100.0,
        Quantity.GRID_L2_POWER: 50.5,
        Quantity.CONSUMPTION_POWER: 425.0,
        Quantity.CONSUMPTION_AC_POWER: 400.0,
        Quantity.CONSUMPTION_DC_POWER: 25.0,
        Quantity.CONSUMPTION_L1_POWER: 400.0,
        Quantity.PV_POWER: 1233.0,
        Quantity.PV_DC_POWER: 1000.0,
        Quantity.PV_AC_POWER: 233.0,
        Quantity.PV_L1_POWER: 230.0,
        Quantity.PV_L2_POWER: 3.0,
        Quantity.BATTERY_POWER: -20.0,
        Quantity.BATTERY_SOC: 99.5,
    }


def test_a_sum_waits_for_the_full_publish_that_names_its_parts():
    """Before it, other phases may exist; a single value is known at once."""
    values = SiteValues()
    values.begin_publish()
    take(values, Ac_Grid_L1_Power=100.0)
    assert values.changed() == {Quantity.GRID_L1_POWER: 100.0}
    take(values, Ac_Grid_L2_Power=1.0)
    values.end_publish()
    assert values.changed() == {Quantity.GRID_L2_POWER: 1.0, Quantity.GRID_POWER: 101.0}


def test_a_phase_that_becomes_null_makes_the_sum_missing_until_a_full_publish_says_that_it_is_gone():
    """Two of three phases are not the site's power; a device that was removed is."""
    values = SiteValues()
    three = {f"Ac_Grid_L{phase}_Power": 100.0 for phase in (1, 2, 3)}
    published(values, **three)
    assert values.changed()[Quantity.GRID_POWER] == 300.0
    take(values, Ac_Grid_L3_Power=None, Ac_Grid_L1_Power=90.0)
    assert values.uncertain
    assert values.changed() == {Quantity.GRID_L1_POWER: 90.0}
    published(values, Ac_Grid_L1_Power=90.0, Ac_Grid_L2_Power=100.0, Ac_Grid_L3_Power=None)
    assert not values.uncertain
    assert values.changed() == {Quantity.GRID_POWER: 190.0}


def test_the_number_of_phases_that_the_gateway_names_must_be_there():
    """A meter of three phases that sends one has no sum."""
    values = SiteValues()
    published(values, Ac_Grid_L1_Power=5.0, Ac_Grid_NumberOfPhases=3.0)
    assert Quantity.GRID_POWER not in values.changed()
    take(values, Ac_Grid_NumberOfPhases=1.0)
    assert values.changed() == {Quantity.GRID_POWER: 5.0}


def test_a_phase_above_a_missing_one_makes_the_sum_missing():
    """L1 and L3 without L2 are not the site's power."""
    values = SiteValues()
    published(values, Ac_Grid_L1_Power=5.0, Ac_Grid_L3_Power=5.0)
    assert Quantity.GRID_POWER not in values.changed()


def test_only_what_has_changed_is_returned_again():
    """Another client's full publish repeats everything, and brings nothing new."""
    values = SiteValues()
    topics = {"Ac_Grid_L1_Power": 5.0, "Dc_Battery_Soc": 50.0}
    published(values, **topics)
    assert values.changed()
    take(values, **topics)
    assert values.changed() == {}
    assert values.everything() == {
        Quantity.GRID_POWER: 5.0,
        Quantity.GRID_L1_POWER: 5.0,
        Quantity.BATTERY_SOC: 50.0,
    }


def test_chargers_of_cars_are_added_up():
    """Each instance is one charger."""
    values = SiteValues()
    values.begin_publish()
    for instance, power in ((40, 3600.0), (41, 7200.0)):
        values.take(meaning(f"evcharger/{instance}/Ac/Power"), power)
    values.end_publish()
    assert values.changed() == {Quantity.EV_CHARGER_POWER: 10800.0}
    values.take(meaning("evcharger/40/Ac/Power"), None)
    assert values.changed() == {}


def test_an_impossible_state_of_charge_is_missing():
    """Percent lie between 0 and 100."""
    values = SiteValues()
    published(values, Dc_Battery_Soc=120.0, Dc_Battery_Power=1.0)
    assert values.changed() == {Quantity.BATTERY_POWER: 1.0}


@pytest.mark.parametrize(
    ("topic", "means"),
    [
        ("system/0/Dc/Pv/Power", SystemValue("Dc/Pv/Power", (Quantity.PV_POWER, Quantity.PV_DC_POWER))),
        (
            "grid/30/Ac/Energy/Forward",
            CounterValue(30, Quantity.GRID_IMPORT_ENERGY, "grid/30/Ac/Energy/Forward"),
        ),
        ("system/1/Dc/Pv/Power", None),
        ("system/0/Ac/Grid/Total/Power", None),
        ("system/0", None),
        ("grid/x/Ac/Energy/Forward", None),
        ("grid/99999999999/Ac/Energy/Forward", None),
        ("", None),
    ],
)
def test_topics_nobody_knows_mean_nothing(topic, means):
    """A topic is a quantity's part, a counter, or nothing."""
    assert meaning(topic) == means


def test_every_filter_matches_a_topic_that_means_something():
    """Nothing is subscribed to in vain."""
    for each in FILTERS[3:]:
        name = "L1" if "system/0" in each else "7"
        assert meaning(each.replace("+", name)) is not None


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        (b'{"value": 936}', 936.0),
        (b'{"value":-0.5}', -0.5),
        (b'{"value": 936, "min": 0, "max": 1000}', 936.0),
        (b'{"value": 1e3}', 1000.0),
        (b'{"value": null}', None),
        (b'{ "value" : null }', None),
        (b"", None),
    ],
)
def test_numbers_nulls_and_empty_payloads_are_read(payload, number):
    """A null and the empty payload of a device that went away are missing values, never zeros."""
    assert read_number(payload) == number


@pytest.mark.parametrize(
    "payload",
    [
        b"936",
        b"text",
        b"\xff\xfe",
        b'{"value": "936"}',
        b'{"value": true}',
        b'{"value": [1, 2]}',
        b'{"value": {"value": 1}}',
        b'{"value": NaN}',
        b'{"value": Infinity}',
        b'{"value": 1e300}',
        b'{"other": 1}',
        b"[" * 4000,
        b'{"value": 1, "x": "' + b"y" * 5000 + b'"}',
    ],
)
def test_other_payloads_are_refused(payload):
    """Text, lists, nested, huge and not finite ones are counted by the caller, and never a value."""
    with pytest.raises(BadPayload):
        read_number(payload)


@given(st.binary(max_size=64))
def test_no_payload_raises_anything_else(payload):
    """Whatever arrives is a number, missing, or refused."""
    try:
        value = read_number(payload)
    except BadPayload:
        return
    assert value is None or -1e15 <= value <= 1e15


FORWARD = CounterValue(30, Quantity.GRID_IMPORT_ENERGY, "grid/30/Ac/Energy/Forward")


def test_a_counter_that_falls_is_confirmed_before_it_is_believed():
    """One wrong message is left out; a second one of the kind is a reset, and is counted."""
    counters = Counters()
    counters.take(FORWARD, 5000.0)
    assert counters.changed() == {30: {Quantity.GRID_IMPORT_ENERGY: 5000.0}}
    counters.take(FORWARD, 0.0)
    counters.take(FORWARD, 5000.1)
    assert counters.changed() == {30: {Quantity.GRID_IMPORT_ENERGY: 5000.1}}
    assert counters.resets == 0
    counters.take(FORWARD, 0.0)
    assert counters.uncertain
    assert counters.changed() == {}
    counters.take(FORWARD, 0.2)
    assert counters.changed() == {30: {Quantity.GRID_IMPORT_ENERGY: 0.2}}
    assert counters.resets == 1


def test_counters_of_different_devices_are_not_added_up():
    """Each has the instance of its device; of two kinds with one instance, one is delivered."""
    counters = Counters()
    for path, value in (("pvinverter/21/Ac/Energy/Forward", 9.0), ("solarcharger/279/Yield/System", 7.0)):
        counters.take(meaning(path), value)
    assert counters.changed() == {21: {Quantity.PV_ENERGY: 9.0}, 279: {Quantity.PV_ENERGY: 7.0}}
    counters.take(meaning("solarcharger/21/Yield/System"), 5.0)
    assert counters.changed() == {}


def test_a_flood_of_devices_is_bounded():
    """Instances that exist only by mistake take no memory."""
    counters, values = Counters(), SiteValues()
    for instance in range(1000):
        counters.take(meaning(f"grid/{instance}/Ac/Energy/Forward"), 1.0)
        values.take(meaning(f"evcharger/{instance}/Ac/Power"), 1.0)
    assert len(counters.changed()) == 64
    assert "1 values" not in repr(values)
    assert int(repr(values).split()[2]) < 200

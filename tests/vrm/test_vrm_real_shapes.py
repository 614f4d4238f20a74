"""Decoding of the shapes that VRM sends: lists for objects, false for none, translated text."""

import contextlib
import copy
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.drift import Drift, collect_drift
from energy_core.errors import DecodeError, EnergyError
from vrm_async.codes import unit_of
from vrm_async.decoding import attributes, login, series, widgets
from vrm_async.decoding import sites as decoding_sites
from vrm_async.resources import tokens

NOW = 1776515873


def utc(seconds):
    return datetime.fromtimestamp(seconds, UTC)


BATTERY_STATE = {
    "idDataAttribute": 215,
    "code": "bst",
    "description": "Battery state",
    "formatWithUnit": "%s",
    "dataType": "enum",
    "idDeviceType": 6,
    "textValue": "idle",
    "instance": 0,
    "timestamp": NOW,
    "dbusServiceType": "system",
    "dbusPath": "/Dc/Battery/State",
    "rawValue": 0,
    "formattedValue": "Inativo",
    "dataAttributeEnumValues": [
        {"nameEnum": "Idle", "valueEnum": 0},
        {"nameEnum": "Charging", "valueEnum": 1},
    ],
}
TANK_LEVEL = {
    "idDataAttribute": 330,
    "code": "tl",
    "description": "Tank level",
    "formatWithUnit": "%.0F %%",
    "dataType": "float",
    "timestamp": NOW,
    "instances": {
        "20": {"rawValue": 79, "formattedValue": "79 %", "textValue": None, "timestamp": NOW},
        "21": {"rawValue": "60", "formattedValue": "60 %", "textValue": None, "timestamp": NOW - 60},
    },
}
GENERATOR_ALARM = {
    "idDataAttribute": 441,
    "code": "gaNG",
    "rawValue": 0,
    "instance": 1,
    "timestamp": 1662724449,
    "instances": [{"rawValue": 1, "timestamp": 1662724449}, {"rawValue": 0, "timestamp": 1662724449}],
}
LATITUDE = {"idDataAttribute": 4, "code": "lt", "rawValue": 44.7155, "timestamp": None, "instance": 0}
CONSUMPTION = {
    "rawValue": 118,
    "formatWithUnit": "%.0F W",
    "consistsOfAttributeCodes": ["a1", "a2", "a3", "dc"],
    "dataAttributes": [{"instance": 0, "idDataAttribute": 131, "code": "a1"}],
    "timestamp": NOW,
    "idDataAttribute": None,
    "code": "consumption",
    "description": "Consumption",
    "textValue": None,
    "formattedValue": "118 W",
}
SOC_STATUS = {
    "code": "soc_status",
    "description": "SOC Status",
    "rawValue": 75,
    "textValue": "Carregar",
    "idDataAttribute": None,
}
SITE = {
    "idSite": 151734,
    "accessLevel": 0,
    "owner": True,
    "name": "35ft Yacht",
    "identifier": "d41243cd7c66",
    "idUser": 22,
    "pvMax": 0,
    "timezone": "Africa/Casablanca",
    "phonenumber": 31501234567,
    "geofence": '{"id":"geofence","type":"circle","coords":[{"lng":5.2,"lat":52.3}]}',
    "geofenceEnabled": 0,
    "hasMains": 1,
    "hasGenerator": "0",
    "syscreated": 1643115186,
    "favorite": 0,
    "alarm": False,
    "last_timestamp": NOW,
    "tags": [{"idTag": 41, "name": "No alarm", "automatic": True, "source": "predefined"}],
    "images": False,
    "view_permissions": [],
    "current_alarms": [],
    "last_location_timestamp": False,
    "avatar_url": None,
    "currency": {"idCurrency": 1, "code": "EUR"},
    "brandNewField": {"nobody": "knows"},
    "extended": [BATTERY_STATE, TANK_LEVEL, GENERATOR_ALARM, LATITUDE, CONSUMPTION, SOC_STATUS],
}


@pytest.fixture
def site():
    (decoded,) = decoding_sites.sites({"success": True, "records": [SITE]})
    return decoded


def test_numbers_for_booleans_and_text_for_numbers_are_read(site):
    """0 and 1 are booleans in boolean fields, and a phone number may be a number."""
    assert (site.has_mains, site.has_generator, site.favorite, site.geofence_enabled) == (
        True,
        False,
        False,
        False,
    )
    assert site.phone_number == "31501234567"
    assert site.pv_max_w == 0
    assert site.created == utc(1643115186)


def test_false_means_none(site):
    """No images, no location, no permissions: false is neither an error nor 0."""
    assert site.images == ()
    assert site.last_location is None
    assert site.view_permissions == {}
    assert site.current_alarms == ()
    assert site.avatar_url is None


def test_a_fence_inside_a_text_is_read(site):
    """The geofence is JSON in a text."""
    assert site.geofence["type"] == "circle"
    assert decoding_sites.sites({"records": [{"idSite": 1, "geofence": "no json"}]})[0].geofence is None


def test_an_enum_is_named_by_its_number(site):
    """Only the number decides, not the two translated texts."""
    state = site.extended.get("bst")
    assert (state.enum_name, state.text, state.formatted) == ("Idle", "idle", "Inativo")
    assert state.enum == {0: "Idle", 1: "Charging"}


def test_instances_are_a_mapping_from_a_list_or_an_object(site):
    """An object keeps its keys, a list counts from 0, and an item may have only instances."""
    tank, alarm = site.extended.get("tl"), site.extended.get("gaNG")
    assert {key: (each.raw_value, each.time) for key, each in tank.instances.items()} == {
        20: (79, utc(NOW)),
        21: ("60", utc(NOW - 60)),
    }
    assert (tank.raw_value, tank.instance, tank.number) == (None, None, None)
    assert {key: each.raw_value for key, each in alarm.instances.items()} == {0: 1, 1: 0}


def test_a_sum_has_no_id_but_parts(site):
    """VRM's sums name the attributes they consist of."""
    total = site.extended.get("consumption")
    assert (total.id, total.number, total.instance) == (None, 118.0, None)
    assert total.consists_of == ("a1", "a2", "a3", "dc")
    assert total.parts[0]["code"] == "a1"
    assert site.extended.get("soc_status").format is None


def test_a_private_position_has_no_time(site):
    """The time of a position may be null."""
    assert site.extended.get("lt").time is None


def test_unknown_members_are_in_raw_and_counted():
    """An unknown member is in `raw` and in the drift."""
    drift = Drift()
    with collect_drift(drift):
        (site,) = decoding_sites.sites({"records": [SITE]})
    assert site.raw["brandNewField"] == {"nobody": "knows"}
    assert ("Site", "brandNewField", "unknown") in drift.counts


def test_attributes_are_decoded_at_first_access():
    """Their deviations are then counted in the drift of the answer they came with."""
    drift = Drift()
    with collect_drift(drift):
        (site,) = decoding_sites.sites(
            {"records": [{"idSite": 1, "extended": [BATTERY_STATE, "damaged", {"no": "code"}]}]}
        )
    assert "bst" not in repr(site)
    assert drift.total == 0
    assert [attribute.code for attribute in site.extended] == ["bst"]
    assert drift.counts["Attribute", "record", "malformed"] == 2
    assert repr(site.extended) == "<Attributes bst>"
    assert site.extended[0:1] == (site.extended[0],)


def test_a_site_can_be_copied_and_pickled(site):
    """Lazy attributes are decoded for it."""
    assert pickle.loads(pickle.dumps(site)) == site
    assert copy.deepcopy(site) == site


def test_a_strict_drift_raises_at_once():
    """It decodes attributes while the answer is read."""
    with collect_drift(Drift(strict=True)), pytest.raises(DecodeError):
        decoding_sites.sites({"records": [{"idSite": 1, "extended": ["damaged"]}]})


def test_one_malformed_site_affects_no_other():
    """A record that is not an object, or has no id, is counted and left out."""
    drift = Drift()
    with collect_drift(drift):
        sites = decoding_sites.sites({"records": ["damaged", {"name": "no id"}, {"idSite": "7"}, None]})
    assert [site.id for site in sites] == [7]
    assert drift.counts["Site", "record", "malformed"] == 3


def test_a_sparse_list_is_a_list():
    """PHP sends an object with positions or ids as keys; a malformed item does not make it a record."""
    assert [
        site.id for site in decoding_sites.sites({"records": {"0": {"idSite": 1}, "2": {"idSite": 3}}})
    ] == [1, 3]


@pytest.mark.parametrize("nothing", [False, None, [], {}])
def test_empty_records_are_empty(nothing):
    """false, null, [] and {} are an empty answer, wherever records are expected."""
    answer = {"success": True, "records": nothing}
    assert decoding_sites.sites(answer) == ()
    assert decoding_sites.system_overview(answer).devices == ()
    assert attributes.diagnostics_page(answer).records == ()
    assert len(series.stats(answer)) == 0
    assert len(series.graph(answer)) == 0
    assert len(widgets.summary("Status", 0)(answer)) == 0
    assert len(widgets.states("VeBusState", 0)(answer)) == 0
    assert series.overall(answer).today.totals == {}


@pytest.mark.parametrize("answer", [None, 5, "text", [], True, {}, {"success": True}])
def test_an_answer_without_records_is_an_error(answer):
    """The missing half of an answer is not invented."""
    for read in (
        decoding_sites.sites,
        decoding_sites.user,
        decoding_sites.system_overview,
        series.stats,
        series.graph,
        tokens.read_tokens,
    ):
        with pytest.raises(DecodeError):
            read(answer)


def test_a_device_that_never_connected():
    """Its last connection is false; instance 0 is a valid instance."""
    overview = decoding_sites.system_overview(
        {"records": {"devices": [{"name": "Solar Charger", "lastConnection": False, "instance": 0}]}}
    )
    assert (overview.devices[0].last_connection, overview.devices[0].instance) == (None, 0)


def test_units_are_read_from_patterns():
    """A sprintf pattern is not applied; only its unit is read."""
    patterns = {
        "%.2F V": "V",
        "%.1F %%": "%",
        "%.1F %": "%",
        "%.1F °C": "°C",
        "%s": None,
        "": None,
        "%d": None,
    }
    assert {pattern: unit_of(pattern) for pattern in patterns} == patterns
    assert unit_of(None) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(name=st.sampled_from(sorted(SITE)), value=JSON)
def test_no_value_of_any_field_of_a_site_breaks_it(name, value):
    """Any value in any field: the site is decoded, or left out without an id."""
    with collect_drift(Drift()):
        sites = decoding_sites.sites({"records": [{**SITE, name: value}]})
        assert len(sites) == (1 if name != "idSite" or sites else 0)
        for site in sites:
            assert len(site.extended) >= 0


@given(name=st.sampled_from(sorted({*BATTERY_STATE, *TANK_LEVEL, *CONSUMPTION})), value=JSON)
def test_no_value_of_any_field_of_an_attribute_breaks_it(name, value):
    """Any value in any field: the attribute is decoded, and its number is finite or None."""
    (site,) = decoding_sites.sites({"records": [{"idSite": 1, "extended": [{**BATTERY_STATE, name: value}]}]})
    for attribute in site.extended:
        assert attribute.number is None or abs(attribute.number) < float("inf")
        assert attribute.enum_name is None or isinstance(attribute.enum_name, str)


READERS = [
    decoding_sites.user,
    decoding_sites.sites,
    decoding_sites.system_overview,
    attributes.diagnostics_page,
    tokens.read_tokens,
    tokens.read_new_token,
    tokens.read_removed,
    login.login,
    series.stats,
    series.overall,
    series.graph,
    widgets.summary("Status", None),
    widgets.states("VeBusState", None),
]


@given(
    read=st.sampled_from(READERS),
    answer=JSON
    | st.fixed_dictionaries(
        {"records": JSON, "totals": JSON, "user": JSON, "token": JSON, "data": JSON, "tokens": JSON}
    ),
)
def test_no_answer_raises_anything_but_our_errors(read, answer):
    """Any JSON is read or refused with an `EnergyError`."""
    with collect_drift(Drift()), contextlib.suppress(EnergyError):
        read(answer)

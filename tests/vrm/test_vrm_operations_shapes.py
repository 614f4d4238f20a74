"""What the new operations make of VRM's answers, clean and dirty."""

import importlib
import inspect
import pkgutil
from datetime import UTC, datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

import vrm_async
from energy_core.codec.drift import Drift, collect_drift
from energy_core.codec.structure import RecordHook
from energy_core.errors import DecodeError, EnergyError
from vrm_async import responses
from vrm_async.decoding import alarms as decoding_alarms
from vrm_async.decoding import attributes as decoding_attributes
from vrm_async.decoding import login, series, sites, widgets
from vrm_async.models import Alarm, PriceSchedule, PriceSpan, Tag
from vrm_async.resources import (
    access,
    catalogue,
    custom_widgets,
    dynamic_ess,
    fleet,
    forecasts,
    tags,
    tokens,
    users,
)

"""How many answers each property is tried on; thousands in a long run."""

SEEN = 1772366400
SEEN_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ABOVE = {
    "AlarmEnabled": 1,
    "NotifyAfterSeconds": "60",
    "highAlarm": 30,
    "highAlarmHysteresis": 2.5,
    "idDataAttribute": 450,
    "instance": 41,
    "lowAlarm": None,
    "lowAlarmHysteresis": None,
}
ON_STATES = {
    "idDataAttribute": 40,
    "instance": 0,
    "enumValues": [2, {"nameEnum": "Fault", "valueEnum": 9}],
    "alarmEnabled": False,
    "notifyAfterSeconds": 0,
}
PAYLOADS = {
    "user": (
        sites.user,
        {
            "success": True,
            "user": {
                "id": 22,
                "name": "Jo",
                "email": "j@x.org",
                "country": "NL",
                "accessLevel": 1,
                "idAccessToken": 5,
            },
        },
    ),
    "sites": (
        sites.sites,
        {
            "success": True,
            "records": [
                {
                    "idSite": 1,
                    "name": "Home",
                    "geofence": '{"id": 1}',
                    "tags": [{"idTag": 1, "name": "x"}],
                    "images": False,
                    "extended": [
                        {
                            "code": "bs",
                            "rawValue": "5",
                            "instances": {"1": {"rawValue": 5}},
                            "dataAttributeEnumValues": [{"nameEnum": "Off", "valueEnum": 0}],
                            "consistsOfAttributeCodes": ["a1"],
                        }
                    ],
                }
            ],
        },
    ),
    "system_overview": (
        sites.system_overview,
        {
            "success": True,
            "records": {
                "devices": [{"name": "Gateway", "lastConnection": SEEN}],
                "unconfigured_devices": False,
            },
        },
    ),
    "diagnostics": (
        decoding_attributes.diagnostics_page,
        {
            "success": True,
            "records": [{"idDataAttribute": 1, "Device": "x", "bitmask": 0, "timestamp": SEEN}],
            "num_records": 1,
        },
    ),
    "access_tokens": (
        tokens.read_tokens,
        {"success": True, "tokens": [{"idAccessToken": "50", "createdOn": "1508415114", "expires": None}]},
    ),
    "new_access_token": (tokens.read_new_token, {"success": True, "token": "ab", "idAccessToken": 1}),
    "removed": (tokens.read_removed, {"success": True, "data": {"removed": 3}}),
    "login": (login.login, {"token": "ab", "idUser": 2, "verification_mode": "sms"}),
    "stats": (
        series.stats,
        {"success": True, "records": {"Pc": [[1772366400000, 1.5]]}, "totals": {"Pc": 1.5, "kwh": False}},
    ),
    "stats by instance": (
        series.stats,
        {
            "records": [{"instance": 0, "stats": {"bs": [[1772366400000, 1, 2, 3]]}}],
            "totals": [{"instance": 0, "totals": {"bs": False}}],
        },
    ),
    "overall": (
        series.overall,
        {"records": {"today": {"totals": {"Pc": 1.0}, "percentages": {"Pc": 10}}, "week": False}},
    ),
    "graph": (
        series.graph,
        {
            "records": {
                "data": {"143": [[SEEN, 52.1]]},
                "meta": {"143": {"code": "bv", "formatWithUnit": "%.2F V"}},
                "instance": 0,
            }
        },
    ),
    "summary": (
        widgets.summary("Status", 0),
        {
            "records": {
                "data": {
                    "81": {"code": "V", "value": "50", "secondsAgo": {"value": 3}},
                    "hasOldData": False,
                    "secondsAgo": {"value": 9},
                },
                "meta": {"81": {"description": "Voltage"}},
                "attributeOrder": [81],
            }
        },
    ),
    "state": (
        widgets.states("VeBusState", 0),
        {
            "records": {
                "data": {
                    "40": [["3", SEEN, SEEN + 60], ["4", SEEN + 60, SEEN + 90]],
                    "41": {"0": "1", "1": SEEN, "2": SEEN + 90},
                },
                "meta": {"40": {"code": "S", "description": "VE.Bus state", "formatWithUnit": "%s"}},
                "enums": {"40": {"3": "Bulk", "4": "Absorption"}},
                "sort": {"40": {"3": 0, "4": 1}},
                "buckets": {"40": {"resampled": False}},
            }
        },
    ),
    "alarms": (
        decoding_alarms.alarms,
        {
            "success": True,
            "rateLimited": False,
            "alarms": [ABOVE, ON_STATES],
            "devices": [
                {"deviceName": "Tank", "instance": "20", "lastConnection": False},
                {
                    "idSite": 32223,
                    "instance": 0,
                    "lastConnection": SEEN,
                    "secondsAgo": 27,
                    "isValid": 1,
                    "idDeviceType": 0,
                    "deviceName": "Gateway",
                    "productIdAsReceived": 2,
                    "productName": "Color Control GX",
                    "customProductName": "My GX",
                    "firmwareVersion": "v3.00~29",
                    "connection": None,
                    "customName": None,
                    "identifier": "000000a0a000",
                },
            ],
            "users": [
                {"idUser": 22, "receivesAlarmNotifications": 1, "muted": False},
                {
                    "idUser": 23,
                    "idSite": 32223,
                    "accessLevel": 0,
                    "receivesAlarmNotifications": 0,
                    "receivesReports": 1,
                    "email": "j@x.org",
                    "name": "Jo",
                    "avatar_url": "https://x.org/a",
                    "muted": True,
                },
            ],
            "attributes": [
                {"idDataAttribute": 450, "enumValues": [{"nameEnum": "Off", "valueEnum": 0}]},
                {
                    "idDataAttribute": 1215,
                    "code": "bPOR",
                    "description": "Off reason",
                    "targetTable": "logData",
                    "idDeviceType": 33,
                    "formatWithUnit": "%s",
                    "dataType": "enum",
                    "enumValues": [],
                },
            ],
        },
    ),
    "alarm log": (
        decoding_alarms.log,
        {"records": [{"idAlarm": 7, "started": SEEN, "cleared": None, "instance": 0}]},
    ),
    "users": (
        access.read_users,
        {
            "users": [{"idUser": 22, "name": "Jo", "accessLevel": 1}],
            "invites": [
                {"idInvite": 42, "email": "x@x.org", "name": "X", "accessLevel": "2", "created": SEEN}
            ],
            "pending": [{"idUser": 5678, "name": "P", "email": "p@x.org"}],
            "userGroups": [{"idUserGroup": 31, "accessLevel": 0}],
            "siteGroups": [{"idSiteGroup": 3, "name": "Fleet A", "idOwner": 22, "adminName": "Jo"}],
        },
    ),
    "invites": (
        users.read_invites,
        {
            "data": {
                "invitesSiteGroups": [
                    {
                        "idSiteGroup": 1234,
                        "siteGroupName": "Group 1",
                        "personalMessage": "Welcome",
                        "inviteKey": "ab12",
                        "inviterName": "Jo",
                        "inviteTimestamp": SEEN,
                    }
                ],
                "invitesUserGroups": [],
                "requestsInstallations": {"5": {"idSite": 4321, "installationName": "Main"}},
            }
        },
    ),
    "search": (
        users.read_search,
        {"count": 1, "results": [{"site_id": 1, "site_name": "Home", "highlight": {"a": ["b"]}}]},
    ),
    "site_id": (users.read_site_id, {"records": {"site_id": "5"}}),
    "settings": (
        dynamic_ess.read_settings,
        {
            "data": {
                "isOn": True,
                "batteryCapacity": 9.6,
                "gridSell": 1,
                "buyPriceSchedule": [
                    {"days": [0, 6], "schedule": [{"from": "00:00", "to": "06:00", "price": 0.2}]}
                ],
                "idBiddingZone": "26",
                "mode": 1,
            }
        },
    ),
    "saved": (dynamic_ess.read_saved, {"success": True, "data": {"isOn": True}}),
    "plan": (dynamic_ess.read_plan, {"schedule": [{"start": SEEN, "soc": 40}]}),
    "tags": (
        tags.read_tags,
        {"tags": {"user": ["home", "plain"], "team": [], "predefined": False}},
    ),
    "custom_widget": (
        custom_widgets.read_widget,
        {"widget": {"idCustomWidget": 9, "name": "W", "onlyAdmins": 0, "parameters": {"a": 1}}},
    ),
    "custom_widget_id": (custom_widgets.read_widget_id, {"success": True, "idCustomWidget": 9}),
    "last_reset": (forecasts.read_last_reset, {"last_reset": SEEN}),
    "fleet": (
        fleet.read_page,
        {
            "records": [
                {"idSite": 1, "description": "Home", "lastTimestamp": SEEN, "value_bs": 52.5, "value_S": "x"}
            ],
            "attributes": [{"idDataAttribute": 144, "code": "bs", "formatWithUnit": "%.1F %%"}],
        },
    ),
    "definitions": (
        catalogue.read_catalogue,
        {"144": {"code": "bs", "dataType": "float", "description": "SOC", "formatWithUnit": "%.1F %%"}},
    ),
    "overview": (fleet.read_overview, {"data": {"1": {"Installation name": "Home", "Load": "118 W"}}}),
    "gps": (
        widgets.position,
        {
            "records": {
                "data": {
                    "attributes": {
                        "4": {"code": "lt", "idDataAttribute": "4", "value": "52.09", "secondsAgo": "5"},
                        "5": {"code": "lg", "idDataAttribute": "5", "value": "5.12", "secondsAgo": "5"},
                        "hasOldData": False,
                    },
                    "geofence": '{"id": 1}',
                    "geofenceEnabled": "1",
                },
                "meta": {"4": {"code": "lt", "description": "Latitude"}},
            }
        },
    ),
    "hours_of_ac": (widgets.hours_of_ac, {"records": {"data": "12.5"}}),
    "alarm widget": (widgets.alarms, {"records": {"data": {"alarms": [{"idAlarm": 7}]}}}),
    "widget": (widgets.widget("X", None), {"records": {"data": {"1": 2}, "meta": []}}),
}


def read(name, payload=None):
    reader, sample = PAYLOADS[name]
    return reader(sample if payload is None else payload)


# --- clean answers --------------------------------------------------------------------------------------


def test_rules_of_both_kinds_are_one_model():
    """PascalCase and camelCase give the same fields; what is missing is None."""
    above, on_states = read("alarms").alarms
    assert evolve(above, raw={}) == Alarm(
        attribute_id=450, instance=41, enabled=True, notify_after_s=60, high=30.0, high_hysteresis=2.5
    )
    assert not above.on_states
    assert evolve(on_states, raw={}) == Alarm(
        attribute_id=40, enabled=False, notify_after_s=0, enum_values=(2, 9)
    )
    assert on_states.on_states
    assert (above.raw, on_states.raw) == (ABOVE, ON_STATES)


def test_a_rule_that_was_read_can_be_written():
    """What is written is what was read, in the case of its kind, without null."""
    above, on_states = read("alarms").alarms
    assert decoding_alarms.body(above) == {
        "idDataAttribute": 450,
        "instance": 41,
        "AlarmEnabled": 1,
        "NotifyAfterSeconds": 60,
        "highAlarm": 30.0,
        "highAlarmHysteresis": 2.5,
    }
    assert decoding_alarms.body(on_states) == {
        "idDataAttribute": 40,
        "instance": 0,
        "enumValues": [2, 9],
        "alarmEnabled": 0,
        "notifyAfterSeconds": 0,
    }


def test_what_alarms_are_made_of():
    """Devices, users and attributes come along; a rule is found by what it watches."""
    alarms = read("alarms")
    assert alarms.find(450, 41) is alarms.alarms[0]
    assert alarms.find(450) is None
    assert alarms.devices[0].instance == 20
    assert alarms.devices[0].last_connection is None
    assert (alarms.users[0].id, alarms.users[0].notified, alarms.users[0].muted) == (22, True, False)
    assert alarms.attributes[0].enum == {0: "Off"}


def test_every_documented_member_of_an_alarm_has_a_field():
    """The document's examples are read without drift."""
    with collect_drift(Drift(strict=True)):
        alarms = read("alarms")
    device, user, attribute = alarms.devices[1], alarms.users[1], alarms.attributes[1]
    assert (device.site_id, device.seconds_ago, device.is_valid, device.product_id) == (32223, 27.0, True, 2)
    assert (device.custom_product_name, device.firmware_version) == ("My GX", "v3.00~29")
    assert (device.identifier, device.connection) == ("000000a0a000", None)
    assert (user.site_id, user.gets_reports, user.avatar_url) == (32223, True, "https://x.org/a")
    assert (attribute.target_table, attribute.enum) == ("logData", {})


def test_every_documented_member_of_a_sites_users_has_a_field():
    """Invitations say when they were made, groups of sites who owns them."""
    with collect_drift(Drift(strict=True)):
        users = read("users")
    assert (users.invites[0].id, users.invites[0].created) == (42, SEEN_AT)
    assert (users.pending[0].id, users.pending[0].name) == (5678, "P")
    group = users.site_groups[0]
    assert (group.id, group.name, group.owner_id, group.admin_name) == (3, "Fleet A", 22, "Jo")


def test_a_log_of_alarms():
    """An alarm without an end lasts; the list may be called records, alarms or data."""
    (raised,) = read("alarm log")
    assert (raised.id, raised.started, raised.active) == (7, SEEN_AT, True)
    for place in ("alarms", "data"):
        assert read("alarm log", {place: [{"idAlarm": 7, "cleared": SEEN}]})[0].active is False
    assert read("alarm log", {}) == ()


def test_tags_in_groups():
    """Each tag knows its group; a plain text is a tag; an empty group stays."""
    tags = read("tags")
    assert [tag.name for tag in tags] == ["home", "plain"]
    assert tags["user"][0] == Tag(name="home", source="user", raw=tags["user"][0].raw)
    (numbered,) = read("tags", {"tags": {"team": [{"idTag": 1, "name": "x"}]}})["team"]
    assert (numbered.id, numbered.name, numbered.source) == (1, "x", "team")
    assert (tags["team"], tags["predefined"], tags["no such"]) == ((), (), ())
    assert "plain" in tags
    assert "team" in tags.groups


def test_tags_in_a_list():
    """The older document's list is grouped by the tags' own source."""
    tags = read("tags", {"tags": [{"name": "a", "source": "team"}, {"name": "b"}, "c"]})
    assert {source: [tag.name for tag in group] for source, group in tags.groups.items()} == {
        "team": ["a"],
        "user": ["b", "c"],
    }
    assert list(read("tags", {"tags": []})) == []


def test_settings_of_dynamic_ess():
    """VRM's kWh and kW stay, switches that count become bools, schedules become values."""
    ess = read("settings")
    assert (ess.is_on, ess.grid_sell, ess.battery_capacity_kwh, ess.bidding_zone_id) == (True, True, 9.6, 26)
    assert ess.buy_price_schedule == (
        PriceSchedule(days=(0, 6), spans=(PriceSpan(start="00:00", end="06:00", price=0.2),)),
    )
    assert ess.sell_price_formula is None
    assert dynamic_ess.read_saved({"success": True}) is None


def test_values_of_the_fleet():
    """value_<code> becomes a mapping by code; the newest log is aware, in whichever unit it came."""
    (site,) = read("fleet").page.records
    assert dict(site.values) == {"bs": 52.5, "S": "x"}
    assert (site.site_id, site.name, site.last_seen) == (1, "Home", SEEN_AT)
    assert read("fleet").attributes[0].unit == "%"
    records = [{"idSite": 1, "lastTimestamp": SEEN * 1000, "value_bs": False}]
    (late,) = read("fleet", {"records": records}).page.records
    assert late.last_seen == SEEN_AT
    assert late.values == {"bs": None}


def test_definitions_by_id():
    """The id is the key, or in the record."""
    assert [(row.id, row.code) for row in read("definitions")] == [(144, "bs")]
    listed = {"records": [{"idDataAttribute": 5, "code": "x"}]}
    assert [row.id for row in catalogue.read_catalogue(listed)] == [5]


def test_where_a_site_is():
    """Values are found by code, whether they are filed under it or under their id."""
    position = read("gps")
    assert (position.latitude_deg, position.longitude_deg, position.seconds_ago) == (52.09, 5.12, 5.0)
    assert position.geofence == {"id": 1}
    by_id = {"4": {"code": "lt", "rawValue": 1}, "5": {"rawValue": "2"}}
    position = read("gps", {"records": {"data": by_id, "meta": {"5": {"code": "lg"}}}})
    assert (position.latitude_deg, position.longitude_deg) == (1.0, 2.0)
    assert read("gps", {"records": {"data": []}}).latitude_deg is None


def gps(attributes, **beside):
    data = {"attributes": attributes, "geofence": None, "geofenceAlarmActive": None, "geofenceEnabled": "0"}
    meta = {
        "4": {
            "code": "lt",
            "description": "Latitude",
            "formatValueOnly": "%.5F",
            "formatWithUnit": "%.5F LAT",
        },
        "5": {
            "code": "lg",
            "description": "Longitude",
            "formatValueOnly": "%.5F",
            "formatWithUnit": "%.5F LNG",
        },
    }
    answer = {"success": True, "records": {"data": {**data, **beside}, "meta": meta}}
    with collect_drift(Drift(strict=True)):
        return widgets.position(answer)


AGE = {"hasOldData": False, "secondsAgo": {"value": "10", "valueFormattedWithUnit": "10 s"}}
PLACE = {
    "4": {
        "code": "lt",
        "dataAttributeName": "Latitude",
        "dataType": "float",
        "hasOldData": False,
        "dbusPath": "/Position/Latitude",
        "dbusServiceType": "gps",
        "formatValueOnly": "%.5F",
        "formatWithUnit": "%.5F LAT",
        "formattedValue": "52.72370 LAT",
        "idDataAttribute": "4",
        "instance": 0,
        "isKeyDataAttribute": "1",
        "isValid": "1",
        "nameEnum": None,
        "rawValue": "52.7237",
        "secondsAgo": "12",
        "secondsToNextLog": "60",
        "value": "52.7237",
        "valueEnum": None,
        "valueFloat": "52.7237",
        "valueFormattedValueOnly": "52.72370",
        "valueFormattedWithUnit": "52.72370 LAT",
        "valueString": None,
    },
    "5": {
        "code": "lg",
        "idDataAttribute": "5",
        "rawValue": "-7.0896",
        "valueFloat": None,
        "secondsAgo": "14",
    },
}


def test_where_a_site_is_as_documented():
    """Attributes are one level down, keyed by their id; every documented member is known."""
    position = gps({**PLACE, **AGE}, geofence='{"id": 1}', geofenceAlarmActive="1", geofenceEnabled="1")
    assert (position.latitude_deg, position.longitude_deg) == (52.7237, -7.0896)
    assert (position.seconds_ago, position.has_old_data, position.time) == (10.0, False, None)
    assert (position.geofence, position.geofence_enabled, position.geofence_alarm_active) == (
        {"id": 1},
        True,
        True,
    )
    assert [value.code for value in position.values] == ["lt", "lg"]


def test_a_position_without_codes_a_list_and_nothing():
    """VRM's ids are enough; PHP may write a list; no attributes are no position and no drift."""
    bare = {"4": {"rawValue": 1}, "5": {"rawValue": 2}}
    answer = {"records": {"data": {"attributes": bare}, "meta": []}}
    found = widgets.position(answer)
    assert (found.latitude_deg, found.longitude_deg) == (1.0, 2.0)
    found = gps([PLACE["4"], PLACE["5"]])
    assert (found.latitude_deg, found.longitude_deg, found.seconds_ago) == (52.7237, -7.0896, 14.0)
    for nothing in ([], {}, dict(AGE)):
        assert gps(nothing).latitude_deg is None


def test_a_position_whose_age_is_a_time():
    """VRM's document calls it a Unix timestamp, and it is no age of fifty years."""
    found = gps(
        {**PLACE, "hasOldData": True, "secondsAgo": {"value": str(SEEN), "valueFormattedWithUnit": "x"}}
    )
    assert found.time == datetime.fromtimestamp(SEEN, UTC)
    assert found.seconds_ago == 14.0


def test_hours_of_ac():
    """Text that is a number is one; null is no data; other text stays text."""
    assert (read("hours_of_ac").hours, read("hours_of_ac").text) == (12.5, "12.5")
    assert read("hours_of_ac", {"records": {"data": None}}).text is None
    assert read("hours_of_ac", {"records": {"data": "12 h"}}).hours is None
    assert read("hours_of_ac", {"records": {"data": "12 h"}}).text == "12 h"


def test_custom_widgets_in_every_place():
    """VRM does not document where they are; data, records and the top level are looked at."""
    for payload in (
        {"data": {"idCustomWidget": 9}},
        {"records": [{"idCustomWidget": "9"}]},
        {"idCustomWidget": 9, "name": "W"},
        {"widget": {"idCustomWidget": 9}},
    ):
        assert custom_widgets.read_widget({"success": True, **payload}).id == 9
    assert custom_widgets.read_widget_id({"success": True}) is None
    with pytest.raises(DecodeError, match="custom widget"):
        custom_widgets.read_widget({"success": True, "data": []})


def test_a_summary_keeps_the_order_of_display():
    """`attributeOrder` lists ids."""
    data = {str(number): {"code": f"c{number}"} for number in (5, 81, 7)}
    ordered = {"records": {"data": data, "attributeOrder": [81, "7", 5]}}
    assert [value.code for value in read("summary", ordered)] == ["c81", "c7", "c5"]


# --- dirty answers --------------------------------------------------------------------------------------

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["", "1e400", "-1", "0", "NaN", "٣", "1_0", "{", "[]", '{"a":'])
)
json = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


def places(value, path=()):
    """Every path into a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(value, path, new):
    """The same value with another one at a path."""
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: put(value[key], rest, new)}
    return [put(inner, rest, new) if number == key else inner for number, inner in enumerate(value)]


def looked_at(value):
    """Use a model as programs do: print it, walk through it, ask its properties."""
    repr(value)
    for name in dir(type(value)):
        if isinstance(getattr(type(value), name), property):
            getattr(value, name)
    if hasattr(value, "__iter__") and not isinstance(value, str | dict):
        for inner in value:
            looked_at(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            looked_at(inner)


@pytest.mark.parametrize("name", PAYLOADS)
@given(data=st.data())
def test_any_value_in_any_field(name, data):
    """It is read, or there is an `EnergyError`; nothing else comes out, in strict mode either."""
    reader, sample = PAYLOADS[name]
    path = data.draw(st.sampled_from(list(places(sample))))
    payload = put(sample, path, data.draw(json))
    for strict in (False, True):
        try:
            with collect_drift(Drift(strict=strict)):
                looked_at(reader(payload))
        except EnergyError:
            pass


def hooks():
    """Every reader of a record that the package makes, and the keys it knows."""
    found = {}
    for module in pkgutil.walk_packages(vrm_async.__path__, "vrm_async."):
        waiting = list(vars(importlib.import_module(module.name)).values())
        while waiting:
            value = waiting.pop()
            if isinstance(value, RecordHook):
                found[value.cls.__name__, module.name] = (value, value.keys)
            elif inspect.isfunction(value) and value.__closure__:
                waiting += inspect.getclosurevars(value).nonlocals.values()
    return found


HOOKS = hooks()


def test_all_models_are_found():
    """The readers of sites, alarms and prices are among them."""
    models = {name for name, _ in HOOKS}
    assert models >= {"Site", "Attribute", "Alarm", "PriceSpan", "SiteUser", "FleetSite", "CustomWidget"}
    assert len(models) >= 28


@pytest.mark.parametrize("model", HOOKS, ids=str)
@given(data=st.data())
def test_any_value_in_every_field(model, data):
    """A record whose fields hold anything is read, or it is malformed; nothing else comes out."""
    reader, known = HOOKS[model]
    record = data.draw(st.dictionaries(st.sampled_from(sorted(known)), json))
    for strict in (False, True):
        try:
            with collect_drift(Drift(strict=strict)):
                looked_at(reader(record))
        except EnergyError:
            pass


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_strict_client_reads_the_clean_answer(name):
    """The samples are what the documents say, but for keys they do not name."""
    drift = Drift()
    with collect_drift(drift):
        looked_at(read(name))
    assert [key for key in drift.counts if key[2] != "unknown"] == []


@pytest.mark.parametrize(
    ("name", "payload", "noted"),
    [
        ("alarms", {"alarms": [{"highAlarm": 1}, ABOVE, 5]}, ("Alarm", "record", "malformed")),
        ("alarms", {"alarms": [{**ON_STATES, "enumValues": ["x"]}]}, ("Alarm", "enum_values", "malformed")),
        ("users", {"users": [{"name": "x"}]}, ("SiteUser", "record", "malformed")),
        ("users", {"users": [{"idUser": 1, "new": 2}]}, ("SiteUser", "new", "unknown")),
        ("tags", {"tags": {"user": [5]}}, ("Tag", "record", "malformed")),
        ("fleet", {"records": [{"idSite": 1, "value_x": [1]}]}, ("FleetSite", "value", "unreadable list")),
        ("settings", {"data": {"isOn": "perhaps"}}, ("DynamicEssSettings", "is_on", "str instead of bool")),
        ("hours_of_ac", {"records": {"data": [1]}}, ("HoursOfAc", "data", "list instead of str")),
        ("last_reset", {"last_reset": "x"}, ("Forecasts", "last_reset", "not a time")),
        ("custom_widget_id", {"success": True}, ("CustomWidget", "id", "missing")),
    ],
)
def test_what_drifts_is_counted(name, payload, noted):
    """One bad record or field is noted, the rest is read; a strict client raises."""
    drift = Drift()
    with collect_drift(drift):
        read(name, payload)
    assert drift.counts[noted] >= 1
    with collect_drift(Drift(strict=True)), pytest.raises(DecodeError, match=noted[1]):
        read(name, payload)


@pytest.mark.parametrize("name", ["search", "settings", "definitions", "overview", "tags", "fleet"])
def test_an_answer_without_its_part(name):
    """What VRM always sends is not taken for empty where it is missing."""
    for payload in ({"success": True}, {"success": True, "idSite": 5}):
        with pytest.raises(DecodeError, match="has no"):
            PAYLOADS[name][0](payload)


@pytest.mark.parametrize("payload", [None, [], "x", 5, True])
def test_an_answer_that_is_no_object(payload):
    """Every reader says that it is none."""
    for name in PAYLOADS:
        if name in {"overview", "stats", "stats by instance", "login"}:
            continue
        with pytest.raises(DecodeError):
            read(name, payload) if payload is not None else PAYLOADS[name][0](None)
    with pytest.raises(DecodeError, match="not an object"):
        responses.content(payload)

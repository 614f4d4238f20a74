"""Decoding of the shapes in VRM's documents: every documented member has a field."""

from datetime import UTC, datetime

import attrs
import pytest

from energy_core.codec.drift import Drift, collect_drift
from energy_core.errors import DecodeError
from vrm_async.decoding import alarms, attributes, series, sites, widgets
from vrm_async.models.site import Device
from vrm_async.resources import access, custom_widgets, dynamic_ess, fleet, tags, users

SEEN = 1772366400
SEEN_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEVICE = {
    "name": "VE.Bus System",
    "customName": "Shed",
    "productCode": "2624",
    "productName": "MultiPlus-II 48/5000/70-50",
    "idSite": 151001,
    "firmwareVersion": "v502",
    "lastConnection": str(SEEN),
    "class": "device-vebus",
    "connection": "VE.Bus",
    "instance": 0,
    "idDeviceType": 1,
    "settings": [
        {
            "description": "Mode",
            "enumData": [{"nameEnum": "On", "valueEnum": 3, "values": {"79": 3}}],
            "idDataAttribute": "79",
            "idDeviceType": "1",
            "idSite": "151001",
            "idUser": None,
            "loggedTimestamp": str(SEEN),
            "loggedValue": 3,
            "timestamp": None,
            "user_name": None,
            "value": None,
            "attributes": [79],
            "values": {"79": {"loggedValue": "3", "value": "3"}},
        }
    ],
    "signalRSSI": "-70 dBm",
    "signalSNR": "9 dB",
    "signalFrequency": "868 MHz",
    "antennaType": "Internal",
    "networkName": "LoRa",
    "loggingInterval": 900,
    "identifier": "c0619ab00001",
    "lastPowerUpOrRestart": str(SEEN),
    "machineSerialNumber": "HQ2203ABCDE",
    "remoteOnLan": "192.168.1.20",
    "autoUpdate": "Check",
    "updateTo": "Official release",
    "vncSshAuth": True,
    "vncStatus": "Enabled",
    "vncPort": 5900,
    "twoWayCommunication": True,
    "remoteSupportEnabled": False,
    "remoteSupportPort": 4711,
    "remoteSupportIp": "10.0.0.1",
    "remoteSupport": "disabled",
    "productId": "2624",
    "vmc": "VE.Bus",
    "vid": {"enumValue": "Single unit", "devicesPerPhase": {"L1": 1, "L2": 0, "L3": 0}},
    "tempSensorConnected": False,
    "froniusDeviceType": "Symo",
    "pL": "AC output",
    "pdV": "3.1",
    "inputType": "Door",
    "inputState": "Closed",
}
NOTHING_OF_IT = {
    "loggingInterval": False,
    "lastConnection": False,
    "lastPowerUpOrRestart": False,
    "remoteSupportPort": False,
    "productId": False,
    "vmc": False,
    "pL": False,
    "inputType": False,
    "inputState": False,
    "customName": None,
    "machineSerialNumber": None,
}


@pytest.fixture(autouse=True)
def strict():
    """Make any deviation an error."""
    with collect_drift(Drift(strict=True)) as drift:
        yield drift


def test_every_documented_member_of_a_device_is_known():
    """Each member has a field with its value."""
    overview = sites.system_overview({"success": True, "records": {"devices": [DEVICE]}})
    (device,) = overview.devices
    filled = {
        field.name for field in attrs.fields(Device) if getattr(device, field.name) not in (None, (), {})
    }
    assert filled == {field.name for field in attrs.fields(Device)}
    assert (device.site_id, device.instance, device.last_connection) == (151001, 0, SEEN_AT)
    assert (device.remote_support_port, device.vebus_connection) == (4711, "VE.Bus")
    assert device.vebus_configuration["devicesPerPhase"] == {"L1": 1, "L2": 0, "L3": 0}
    assert device.settings == (DEVICE["settings"][0],)


def test_false_means_none_for_a_device():
    """VRM documents false for a value that a device does not have."""
    (device,) = sites.system_overview({"records": {"devices": [{**DEVICE, **NOTHING_OF_IT}]}}).devices
    absent = (
        device.logging_interval_s,
        device.last_connection,
        device.remote_support_port,
        device.product_id,
    )
    assert absent == (None,) * 4
    assert (device.vebus_connection, device.position, device.input_type) == (None, None, None)


ALARMS = {
    "success": True,
    "rateLimited": False,
    "alarms": [
        {"AlarmEnabled": 1, "NotifyAfterSeconds": 60, "highAlarm": 2, "idDataAttribute": 630, "instance": 0}
    ],
    "devices": [
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
            "customProductName": "Color Control GX",
            "firmwareVersion": "v3.00~29",
            "connection": None,
            "customName": None,
            "identifier": "000000a0a000",
        }
    ],
    "users": [
        {
            "idUser": 174862,
            "idSite": 32223,
            "accessLevel": 0,
            "receivesAlarmNotifications": 0,
            "receivesReports": 1,
            "email": "user@example.com",
            "name": "John Doe",
            "avatar_url": "https://example.com/a",
            "muted": False,
        }
    ],
    "attributes": [
        {
            "idDataAttribute": 1215,
            "code": "bPOR",
            "description": "Off reason",
            "targetTable": "logData",
            "idDeviceType": 33,
            "formatWithUnit": "%s",
            "dataType": "enum",
            "enumValues": {"nameEnum": "None", "valueEnum": 0},
        }
    ],
}


def test_the_documented_members_of_alarms_are_known():
    """Devices, users and attributes have all their documented members."""
    found = alarms.alarms(ALARMS)
    assert (found.devices[0].product_id, found.devices[0].seconds_ago, found.devices[0].is_valid) == (
        2,
        27,
        True,
    )
    assert (found.users[0].gets_reports, found.users[0].site_id) == (True, 32223)
    assert (found.attributes[0].target_table, found.attributes[0].enum) == ("logData", {0: "None"})


USERS = {
    "success": True,
    "users": [{"idUser": 1, "name": "A", "email": "a@example.com", "accessLevel": 1}],
    "invites": [{"idInvite": 42, "email": "n@example.com", "name": "N", "accessLevel": 0, "created": SEEN}],
    "pending": [{"idUser": 5, "name": "P", "email": "p@example.com"}],
    "userGroups": [{"idUserGroup": 10, "name": "Team", "accessLevel": 0}],
    "siteGroups": [{"idSiteGroup": 3, "name": "Fleet A", "idOwner": 1234, "adminName": "Andrew"}],
}


def test_the_documented_members_of_access_are_known():
    """Invitations have their time, groups of sites their owner."""
    found = access.read_users(USERS)
    assert (found.invites[0].id, found.invites[0].created) == (42, SEEN_AT)
    assert (found.site_groups[0].owner_id, found.site_groups[0].admin_name) == (1234, "Andrew")


RECORD = {
    "idSite": 1,
    "timestamp": SEEN,
    "Device": "Gateway",
    "instance": 0,
    "idDataAttribute": 1,
    "description": "gatewayID",
    "formatWithUnit": "%s",
    "dbusServiceType": None,
    "dbusPath": None,
    "code": "p",
    "bitmask": 0,
    "formattedValue": "Venus",
    "rawValue": "0",
    "id": 1,
    "dataAttributeEnumValues": [{"nameEnum": "Venus", "valueEnum": 0}],
}
HIT = {
    "site_id": 1,
    "site_identifier": "abcdef1234",
    "site_name": "foobar",
    "avatar_url": "",
    "highlight": [],
}
INVITE = {"idSiteGroup": 1234, "siteGroupName": "Group", "inviteTimestamp": SEEN}
ONE = {
    "diagnostics": (
        lambda one: attributes.diagnostics_page({"records": one, "num_records": 1}).records,
        RECORD,
    ),
    "devices": (lambda one: sites.system_overview({"records": {"devices": one}}).devices, DEVICE),
    "sites": (lambda one: sites.sites({"success": True, "records": one}), {"idSite": 1, "name": "x"}),
    "site tags": (
        lambda one: sites.sites({"success": True, "records": [{"idSite": 1, "tags": one}]})[0].tags,
        {"idTag": 1, "name": "x", "automatic": True},
    ),
    "images": (
        lambda one: sites.sites({"success": True, "records": [{"idSite": 1, "images": one}]})[0].images,
        {"idSiteImage": 1, "imageName": "x", "url": "y"},
    ),
    "search": (lambda one: users.read_search({"count": 1, "results": one}).hits, HIT),
    "invites": (lambda one: users.read_invites({"data": {"invitesSiteGroups": one}}).site_groups, INVITE),
    "tags": (lambda one: tuple(tags.read_tags({"tags": {"user": one}})), {"idTag": 1, "name": "x"}),
    "tag": (lambda one: tuple(tags.read_tags({"tags": {"user": one}})), "x"),
    "rules": (lambda one: alarms.alarms({"alarms": one}).alarms, ALARMS["alarms"][0]),
    "states of a rule": (
        lambda one: alarms.rule({"idDataAttribute": 40, "enumValues": one}).enum_values,
        {"nameEnum": "Off", "valueEnum": 0},
    ),
    "plan": (
        lambda one: dynamic_ess.read_plan({"success": True, "schedule": one}).entries,
        {"start": 1, "soc": 5},
    ),
    "fleet": (
        lambda one: fleet.read_page({"records": one, "attributes": []}).page.records,
        {"idSite": 1, "description": "x", "lastTimestamp": SEEN, "value_bs": 5},
    ),
    "fleet attributes": (
        lambda one: fleet.read_page({"records": [], "attributes": one}).attributes,
        {"idDataAttribute": 1, "code": "bs", "dataType": "float", "formatWithUnit": "%.1F %%"},
    ),
    "overview": (lambda one: fleet.read_overview({"records": one}).rows, {"name": "Home"}),
    "stats": (
        lambda one: series.stats({"records": one, "totals": []}).series,
        {"instance": 258, "stats": {"Pc": [[SEEN * 1000, 1.5]]}},
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_a_list_of_one_may_come_as_its_item(name):
    """PHP sends it so, and VRM's document has such lists: the result is the same as with the list."""
    read, one = ONE[name]
    assert read(one) == read([one])
    assert len(read(one)) == 1


def test_a_sparse_list_is_a_list():
    """PHP sends an object with positions or ids as keys; a malformed item does not make it a record."""
    with collect_drift(Drift()) as drift:
        holes = {"3": HIT, "9": {**HIT, "site_id": 2}, "10": False}
        assert [hit.site_id for hit in users.read_search({"count": 2, "results": holes}).hits] == [1, 2]
    assert drift.counts == {("SearchHit", "record", "malformed"): 1}


def test_a_time_of_zero_is_none():
    """VRM sends 0 for an unknown time; this holds for one record and for many."""
    site = {
        "idSite": 1,
        "syscreated": 0,
        "last_timestamp": 0,
        "last_location_timestamp": 0,
        "invalidVRMAuthTokenUsedInLogRequest": 0,
    }
    later = {**site, "idSite": 2, "invalidVRMAuthTokenUsedInLogRequest": SEEN}
    one, other = sites.sites({"success": True, "records": [site, later]})
    assert (one.created, one.last_seen, one.last_location, one.invalid_token_used) == (None,) * 4
    assert other.invalid_token_used == SEEN_AT
    with collect_drift(Drift()) as drift:
        many = sites.sites({"success": True, "records": [site, later] * 8})
    assert [each.invalid_token_used for each in many] == [None, SEEN_AT] * 8
    assert drift.total == 0
    (device,) = sites.system_overview({"records": {"devices": [{**DEVICE, "lastConnection": "0"}]}}).devices
    assert device.last_connection is None
    (raised,) = alarms.log({"alarms": [{"idAlarm": 1, "started": SEEN, "cleared": 0}]})
    assert (raised.started, raised.active) == (SEEN_AT, True)
    assert attributes.diagnostics_page({"records": [{**RECORD, "timestamp": 0}]}).records[0].time is None
    found = fleet.read_page({"records": [{"idSite": 1, "lastTimestamp": 0}], "attributes": []})
    assert found.page.records[0].last_seen is None


@pytest.mark.parametrize(
    "records",
    [
        [{"idAlarm": 1}],
        {"idAlarm": 1},
        {"1": {"idAlarm": 1}},
        {"alarms": [{"idAlarm": 1}]},
        {"data": [{"idAlarm": 1}]},
        {"data": {"1": {"idAlarm": 1}}},
        {"data": {"alarms": {"idAlarm": 1}}},
    ],
)
def test_alarms_of_the_widget_are_found_in_each_place(records):
    """Their place in the answer is not documented."""
    assert [alarm.id for alarm in widgets.alarms({"records": records}).alarms] == [1]


def test_missing_devices_are_counted():
    """A bare list of devices is valid; an answer without devices is drift."""
    assert len(sites.system_overview({"records": [DEVICE]}).devices) == 1
    with collect_drift(Drift()) as drift:
        assert sites.system_overview({"records": {"unconfigured_devices": False}}).devices == ()
    assert drift.counts == {("SystemOverview", "devices", "missing"): 1}


def test_a_custom_widget_is_read_from_its_documented_place():
    """It is in `widget`; without it there is an error."""
    assert custom_widgets.read_widget({"success": True, "widget": {"parameters": {"a": 1}}}).parameters == {
        "a": 1
    }
    assert custom_widgets.read_widget({"success": True, "widget": {}}).id is None
    with pytest.raises(DecodeError):
        custom_widgets.read_widget({"success": True})

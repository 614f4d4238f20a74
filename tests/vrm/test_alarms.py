"""Alarm rules and the alarm log."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.drift import Drift, collect_drift
from tests.servers.vrm_cases import (
    check_any_value,
    check_clean,
    check_drift,
    check_hostile_id,
    check_no_object,
    check_request,
    check_wrong,
    read_answer,
)
from vrm_async.decoding import alarms as decoding_alarms
from vrm_async.models import Alarm

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)

RULE = Alarm(attribute_id=143, low=46.0)

HOUR_S = 1772366400

SITE = "installations/5"

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

REQUESTS = {
    "alarms.rules": (lambda v: v.alarms.rules(5), "GET", f"{SITE}/alarms", [], None),
    "alarms.add, above": (
        lambda v: v.alarms.add(5, Alarm(attribute_id=143, instance=256, high=30.5)),
        "POST",
        f"{SITE}/alarms",
        [],
        {
            "idDataAttribute": 143,
            "instance": 256,
            "AlarmEnabled": 1,
            "NotifyAfterSeconds": 0,
            "highAlarm": 30.5,
            "highAlarmHysteresis": 0,
        },
    ),
    "alarms.add, states": (
        lambda v: v.alarms.add(5, Alarm(attribute_id=40, enum_values=(2, 9), notify_after_s=60)),
        "POST",
        f"{SITE}/alarms",
        [],
        {
            "idDataAttribute": 40,
            "instance": 0,
            "enumValues": [2, 9],
            "alarmEnabled": 1,
            "notifyAfterSeconds": 60,
        },
    ),
    "alarms.update": (
        lambda v: v.alarms.update(
            5,
            Alarm(attribute_id=143, enabled=False, notify_after_s=5, low=-1, low_hysteresis=0.5, limit_id=9),
            raw={"note": "x"},
        ),
        "PUT",
        f"{SITE}/alarms",
        [],
        {
            "idDataAttribute": 143,
            "instance": 0,
            "AlarmEnabled": 0,
            "NotifyAfterSeconds": 5,
            "lowAlarm": -1,
            "lowAlarmHysteresis": 0.5,
            "note": "x",
        },
    ),
    "alarms.delete": (
        lambda v: v.alarms.delete(5, 143, 0),
        "DELETE",
        f"{SITE}/alarms",
        [],
        {"idDataAttribute": 143, "instance": 0},
    ),
    "alarms.clear": (lambda v: v.alarms.clear(5, 7), "POST", f"{SITE}/clear-alarm", [], {"alarmId": 7}),
    "alarms.log": (
        lambda v: v.alarms.log(5, HOUR),
        "GET",
        f"{SITE}/alarm-log",
        [("start", str(HOUR_S))],
        None,
    ),
}

WRONG = {
    "a rule that is none": (lambda v: v.alarms.add(1, {"idDataAttribute": 1}), TypeError, "alarm"),
    "a rule of both kinds": (
        lambda v: v.alarms.add(1, Alarm(attribute_id=1, high=1.0, enum_values=(1,))),
        ValueError,
        "enum_values has no thresholds",
    ),
    "a threshold that is no number": (
        lambda v: v.alarms.add(1, Alarm(attribute_id=1, high="30")),
        TypeError,
        "high",
    ),
    "a threshold without end": (
        lambda v: v.alarms.update(1, Alarm(attribute_id=1, low=float("nan"))),
        ValueError,
        "low",
    ),
    "a switch that counts": (
        lambda v: v.alarms.add(1, Alarm(attribute_id=1, enabled=1)),
        TypeError,
        "enabled",
    ),
    "a range backwards": (lambda v: v.alarms.log(1, HOUR, HOUR), ValueError, "end must be after start"),
}

NUMBERS = {
    "attribute_id": lambda v, i: v.alarms.delete(1, i),
    "instance": lambda v, i: v.alarms.delete(1, 1, i),
    "attribute_id ": lambda v, i: v.alarms.add(1, evolve(RULE, attribute_id=i)),
    "instance ": lambda v, i: v.alarms.add(1, evolve(RULE, instance=i)),
    "alarm_id": lambda v, i: v.alarms.clear(1, i),
}

ANSWERS = {
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
}


def read(name, payload=None):
    """Read a clean answer of `ANSWERS`, or another one."""
    return read_answer(ANSWERS[name], payload)


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
    """The body equals the record that was read, in the case of its kind, without null."""
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


def test_devices_users_and_attributes_of_alarms():
    """Devices, users and attributes are in the answer; `find` returns the rule on an attribute."""
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


def test_a_log_of_alarms():
    """An alarm without an end is active. The list may be named records, alarms or data."""
    (raised,) = read("alarm log")
    assert (raised.id, raised.started, raised.active) == (7, SEEN_AT, True)
    for place in ("alarms", "data"):
        assert read("alarm log", {place: [{"idAlarm": 7, "cleared": SEEN}]})[0].active is False
    assert read("alarm log", {}) == ()


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests(client, fake, name):
    """One request, with the documented members and no other."""
    await check_request(client, fake, REQUESTS[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_is_named(vrm, name):
    """The message has the argument, and the allowed values where there is a list."""
    await check_wrong(vrm, WRONG[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", NUMBERS)
async def test_a_wrong_number_is_named(vrm, name):
    """An id is a non-negative int; the message has the argument."""
    await check_hostile_id(vrm, name, NUMBERS[name])


@pytest.mark.parametrize("name", ANSWERS)
def test_a_clean_answer_has_no_drift(name):
    """Also for a strict client, but for keys that the documents do not have."""
    check_clean(ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_any_value_at_any_place(name, data):
    """The answer is read, or an `EnergyError` is raised; in strict mode too."""
    check_any_value(ANSWERS[name], data)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_not_an_object(name):
    """It raises `DecodeError`."""
    check_no_object(ANSWERS[name])


@pytest.mark.parametrize(
    ("name", "payload", "noted"),
    [
        ("alarms", {"alarms": [{"highAlarm": 1}, ABOVE, 5]}, ("Alarm", "record", "malformed")),
        ("alarms", {"alarms": [{**ON_STATES, "enumValues": ["x"]}]}, ("Alarm", "enum_values", "malformed")),
    ],
)
def test_drift_is_counted(name, payload, noted):
    """One bad record or field is counted and the rest is read; a strict client raises."""
    check_drift(ANSWERS[name], payload, noted)

"""Request bodies of the simulated VRM: only those that the OpenAPI document allows are accepted."""

from __future__ import annotations

from datetime import UTC, datetime

import aiohttp
import pytest

from energy_live.simulator import Simulator
from tests.servers.vrm_shapes import ESS_SENT

NOON = datetime(2025, 6, 20, 11, 0, 30, tzinfo=UTC)
RULE = {"idDataAttribute": 143, "instance": 0, "AlarmEnabled": 1, "NotifyAfterSeconds": 0, "lowAlarm": 46.0}


@pytest.fixture
async def ask():
    """Return a function that sends a request for the first site and returns status and body."""
    async with Simulator(start=NOON, speed=1.0) as sim, aiohttp.ClientSession() as session:

        async def asking(method: str, path: str, body: object = None) -> tuple[int, dict]:
            there = path if path.startswith("/") else f"installations/{sim.site_ids[0]}/{path}"
            headers = {"X-Authorization": f"Token {sim.vrm_token}"}
            url = sim.vrm_url + there.removeprefix("/")
            async with session.request(method, url, json=body, headers=headers) as response:
                return response.status, await response.json()

        yield asking


@pytest.mark.parametrize(
    ("method", "path", "body", "wrong"),
    [
        ("POST", "alarms", {}, "idDataAttribute"),
        ("POST", "alarms", {**RULE, "alarmEnabled": 1}, "alarmEnabled"),
        ("POST", "alarms", {**RULE, "highAlarm": None}, "highAlarm"),
        ("POST", "alarms", {**RULE, "enumValues": [1]}, "AlarmEnabled"),
        ("POST", "alarms", {**RULE, "idDataAttribute": 99_999}, "idDataAttribute"),
        ("DELETE", "alarms", {**RULE}, "AlarmEnabled"),
        ("POST", "clear-alarm", {"alarmId": "5"}, "alarmId"),
        ("PUT", "tags", {"tag": "x"}, "source"),
        ("PUT", "tags", {"tag": "x", "source": "all"}, "source"),
        ("POST", "favorite", {"favorite": True}, "favorite"),
        ("POST", "settings", {"name": "x"}, "name"),
        ("POST", "settings", {"notes": None}, "notes"),
        ("POST", "settings", {"geofence": "{}"}, "geofence"),
        ("POST", "settings", {"favorite": True}, "favorite"),
        ("POST", "settings", {"noDataAlarmTimeout": 1.5}, "noDataAlarmTimeout"),
        ("POST", "invite", {"name": "x", "email": "x", "accessLevel": 3}, "accessLevel"),
        ("POST", "user-rights", {"idUser": [1, 2], "accessLevel": [1]}, "accessLevel"),
        ("POST", "user-rights", {"idUser": 1, "accessLevel": 1}, "idUser"),
        ("POST", "link-user-groups", {"userGroups": [{"idUserGroup": 1}]}, "accessLevel"),
        ("POST", "dynamic-ess-settings", {"isOn": True}, "batteryCapacity"),
        ("POST", "dynamic-ess-settings", {**ESS_SENT, "gridSell": 2}, "gridSell"),
        (
            "POST",
            "dynamic-ess-settings",
            {**ESS_SENT, "batteryFlowRestriction": "x"},
            "batteryFlowRestriction",
        ),
        ("POST", "dynamic-ess-settings", {**ESS_SENT, "buyPriceSchedule": [{"days": [0]}]}, "schedule"),
        (
            "POST",
            "dynamic-ess-settings",
            {**ESS_SENT, "sellPriceSchedule": [{"days": [0], "schedule": [{"from": "00:00"}]}]},
            "price",
        ),
        ("POST", "custom-widget", {"name": "x"}, "parameters"),
        ("POST", "custom-widget", {"name": "x", "parameters": {}, "onlyAdmins": True}, "onlyAdmins"),
        ("POST", "custom-widget", {"name": "x", "parameters": {}, "yAxisScaling": "auto"}, "yAxisScaling"),
        ("PATCH", "custom-widget", {"name": "x"}, "idCustomWidget"),
        ("POST", "/users/me/addsite", {"identifier": "x"}, "installation_identifier"),
        (
            "POST",
            "adjust-consumption",
            {"vrm_consumption_fc_adj": [{"timestamp": 5, "value": 1}]},
            "vrm_consumption_fc_adj",
        ),
    ],
)
async def test_a_body_that_does_not_fit_is_422(ask, method, path, body, wrong):
    """The error 422 names the wrong member."""
    status, answer = await ask(method, path, body)
    assert (status, answer["success"]) == (422, False)
    assert wrong in answer["errors"]


@pytest.mark.parametrize("name", ["columns", "siteIds", "onlyVisible", "jsonResponse"])
async def test_an_overview_needs_all_four_members(ask, name):
    """A missing member or one of another type is answered 400."""
    whole = {"columns": {}, "siteIds": [], "onlyVisible": False, "jsonResponse": True}
    for body in ({key: whole[key] for key in whole if key != name}, {**whole, name: "x"}):
        status, answer = await ask("POST", "/installation-overview-download", body)
        assert (status, answer["success"], list(answer["errors"])) == (400, False, [name])


async def test_a_search_has_at_most_five_conditions(ask):
    """More than five conditions, or a malformed one, are answered 422."""
    for query in ("bs,bv,bc,bp,S,V", "bs>=", "&"):
        status, _ = await ask("GET", f"/installation-data-attributes?query={query}")
        assert status == 422
    status, answer = await ask("GET", "/installation-data-attributes?query=bs>=0,bv=(1,2)&count=1000&page=1")
    assert (status, answer["records"]) == (200, [])


async def test_dynamic_ess_without_settings(ask):
    """Dynamic ESS without settings is an error with status 200, a list of texts, and no error_code."""
    status, answer = await ask("GET", "dynamic-ess-settings")
    assert (status, answer) == (200, {"success": False, "errors": ["No settings found for this site"]})


async def test_unlink_removes_access(ask):
    """After `unlink` the site is not in the list, and its endpoints are answered 403."""
    assert (await ask("POST", "unlink"))[0] == 200
    assert (await ask("GET", "system-overview"))[0] == 403
    assert len((await ask("GET", "/users/me/installations"))[1]["records"]) == 1

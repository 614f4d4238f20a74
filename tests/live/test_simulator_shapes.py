"""Answers and errors of the simulator have the shapes of VRM's documents and of captured answers."""

from __future__ import annotations

import aiohttp
import pytest

from energy_live.simulator import Simulator, evidence
from energy_live.simulator.evidence import EvidenceSource
from energy_live.simulator.vrm import widgets
from tests.servers.vrm_shapes import (
    ALARM_SENT,
    ALARMS,
    ASKED,
    ATTRIBUTE,
    CHARGE_STATUS,
    COMPUTED,
    DEFINITION,
    DEVICE,
    DIAGNOSTIC,
    ESS,
    ESS_SENT,
    EXTENDED_SITE,
    GPS,
    IDENTIFIER,
    INVITED,
    META,
    NONE,
    NOW,
    NUMBER,
    OVERVIEW_SENT,
    PERIOD,
    RANGE,
    ROW,
    RULE,
    SITE,
    START,
    STATES,
    TAG_CHANGED,
    TEXT,
    WIDGET,
    Either,
    misfits,
)

CASES = [
    (
        "GET",
        "users/me",
        None,
        {
            "user": {
                "id": int,
                "name": str,
                "email": str,
                "country": str,
                "idAccessToken": (int, NONE),
                "accessLevel": int,
            }
        },
    ),
    ("GET", "users/me/installations", None, {"records": [SITE]}),
    ("GET", "users/me/installations?extended=1", None, {"records": [EXTENDED_SITE]}),
    ("POST", "users/me/accesstokens/create", {"name": "n"}, {"token": str, "idAccessToken": int}),
    (
        "GET",
        "users/me/accesstokens/list",
        None,
        {
            "tokens": [
                {
                    **dict.fromkeys(("name", "idAccessToken", "createdOn", "scope"), str),
                    **dict.fromkeys(("expires", "last_seen", "last_successful_auth"), (int, NONE)),
                }
            ]
        },
    ),
    ("DELETE", "users/me/accesstokens/*", None, {"data": {"removed": int}}),
    ("POST", "users/me/addsite", IDENTIFIER, {"records": {"site_id": str}}),
    (
        "POST",
        "users/me/get-site-id",
        IDENTIFIER,
        {"records": {"site_id": str}},
    ),
    (
        "GET",
        "users/me/search?query=elm",
        None,
        {
            "count": int,
            "results": [
                {
                    "site_id": int,
                    "site_identifier": str,
                    "site_name": str,
                    "avatar_url": str,
                    "highlight": {...: [str]},
                }
            ],
        },
    ),
    (
        "GET",
        "users/me/invites",
        None,
        {
            "data": {
                "invitesSiteGroups": [{"idSiteGroup": int, "siteGroupName": str, **INVITED}],
                "invitesUserGroups": [{"idUserGroup": int, "userGroupName": str, **INVITED}],
                "requestsUserGroups": [{"idUserGroup": int, "userGroupName": str, **ASKED}],
                "requestsInstallations": [{"idSite": int, "installationName": str, **ASKED}],
            }
        },
    ),
    ("GET", "SITE/alarms", None, ALARMS),
    ("POST", "SITE/alarms", ALARM_SENT, {"idSite": int, "data": RULE}),
    ("DELETE", "SITE/alarms", {"idDataAttribute": 144, "instance": 0}, {"idSite": int}),
    ("PUT", "SITE/alarms", {**ALARM_SENT, "idDataAttribute": 144}, {"idSite": int, "data": RULE}),
    ("POST", "SITE/clear-alarm", {"alarmId": 5}, {"idSite": str}),
    ("GET", "SITE/system-overview", None, {"records": {"devices": [DEVICE], "unconfigured_devices": bool}}),
    ("GET", "SITE/diagnostics", None, {"records": [DIAGNOSTIC], "num_records": int}),
    ("POST", "SITE/dynamic-ess-settings", ESS_SENT, {"idSite": int, "data": ESS}),
    ("GET", "SITE/tags", None, {"tags": {...: [str]}}),
    ("PUT", "SITE/tags", {"tag": "x", "source": "user"}, TAG_CHANGED),
    ("DELETE", "SITE/tags", {"tag": "home", "source": "user"}, TAG_CHANGED),
    (
        "GET",
        f"SITE/stats?type=kwh&{RANGE}",
        None,
        {"records": {...: Either([[NUMBER]], bool)}, "totals": {...: (int, float, bool)}},
    ),
    (
        "GET",
        "SITE/overallstats",
        None,
        {"records": dict.fromkeys(("year", "month", "week", "today"), PERIOD)},
    ),
    ("GET", "SITE/overallstats?type=kwh", None, {"records": {...: PERIOD}}),
    ("POST", "SITE/settings", {"description": "New"}, {"idSite": int, "data": {"description": str}}),
    ("POST", "SITE/favorite", {"favorite": 1}, {"idSite": int, "data": [{"favorite": int}]}),
    (
        "POST",
        "SITE/invite",
        {"name": "A", "email": "a@example.com", "accessLevel": 1},
        {
            "user": bool,
            "data": {
                **dict.fromkeys(("idUser", "idSite", "created", "accessLevel", "idInvite"), int),
                "name": str,
                "email": str,
            },
        },
    ),
    (
        "GET",
        "SITE/users",
        None,
        {
            "users": [{"idUser": int, "name": str, "email": str, "accessLevel": int}],
            "invites": [{"idInvite": int, "email": str, "name": str, "accessLevel": int, "created": int}],
            "pending": [{"idUser": int, "name": str, "email": str}],
            "userGroups": [{"idUserGroup": int, "name": str, "accessLevel": int}],
            "siteGroups": [{"idSiteGroup": int, "name": str, "idOwner": int, "adminName": str}],
        },
    ),
    ("POST", "SITE/unlink-user", {"idUser": 1077}, {"idSite": int}),
    ("POST", "SITE/unlink", None, {"idSite": int}),
    ("POST", "SITE/user-rights", {"idUser": [1077], "accessLevel": [2]}, {}),
    (
        "POST",
        "SITE/invite-rights",
        {"email": ["x@example.com"], "accessLevel": [2]},
        {"records": {...: bool}},
    ),
    ("POST", "SITE/link-user-groups", {"userGroups": [{"idUserGroup": 40, "accessLevel": 0}]}, {}),
    ("POST", "SITE/user-group-access-level", {"idUserGroup": 31, "accessLevel": None}, {}),
    ("POST", "SITE/reset-forecasts", {"resetType": 0}, {}),
    ("GET", "SITE/reset-forecasts?resetType=0", None, {"last_reset": int}),
    (
        "GET",
        "installation-data-attributes?query=bs>=0,S",
        None,
        {
            "records": [
                {
                    "idSite": int,
                    "description": str,
                    "lastTimestamp": int,
                    "value_bs": NUMBER,
                    "value_S": NUMBER,
                }
            ],
            "attributes": [{"idDataAttribute": int, "code": str, "dataType": str, "formatWithUnit": str}],
        },
    ),
    (
        "GET",
        f"SITE/widgets/Graph?attributeCodes[]=bs&{RANGE}",
        None,
        {"records": {"data": {...: [[NUMBER]]}, "meta": META, "instance": int}},
    ),
    ("POST", "installation-overview-download", OVERVIEW_SENT, {"data": {...: ROW}}),
    ("GET", "data-attributes", None, {...: DEFINITION}),
    ("GET", "SITE/widgets/HoursOfAc", None, {"records": {"data": TEXT}}),
    ("GET", "SITE/widgets/HoursOfAC?instance=288", None, {"records": {"data": TEXT}}),
    ("GET", "SITE/widgets/GPS", None, {"records": GPS}),
    ("GET", "SITE/widgets/VeBusState", None, {"records": STATES}),
    ("GET", "SITE/widgets/MPPTState?instance=279", None, {"records": STATES}),
    ("GET", "SITE/widgets/BatteryMonitorWarningsAndAlarms", None, {"records": STATES}),
    ("GET", "SITE/widgets/GeneratorState", None, {"records": STATES}),
]
EMPTY_SEARCH = "No search string has been provided."
NO_STATS = "Site has no stats for this period."


@pytest.fixture
async def ask():
    """Return a function that sends a request (SITE is the first site) and returns status, type and body."""
    async with Simulator(start=START, speed=1.0) as sim, aiohttp.ClientSession() as session:

        async def asking(method: str, path: str, body: object = None) -> tuple[int, dict]:
            there = path.replace("SITE", f"installations/{sim.site_ids[0]}")
            headers = {"X-Authorization": f"Token {sim.vrm_token}"}
            async with session.request(method, sim.vrm_url + there, json=body, headers=headers) as response:
                return response.status, await response.json()

        yield asking


@pytest.mark.parametrize(("method", "path", "body", "shape"), CASES, ids=[f"{m} {p}" for m, p, *_ in CASES])
async def test_an_answer_has_its_documented_shape(ask, method, path, body, shape):
    """The answer has exactly the documented members with the documented types."""
    status, answer = await ask(method, path, body)
    assert status == 200
    # Only the list of attributes has no envelope.
    assert answer.pop("success", None) is (None if path == "data-attributes" else True)
    assert list(misfits(shape, answer)) == []


ELSEWHERE = {
    *("GET /v2/auth/loginAsDemo", "POST /v2/auth/logout"),
    "GET /v2/users/{user}/accesstokens/{which}/revoke",
    *("GET /v2/installations/{site}/gps-download", "GET /v2/installations/{site}/data-download"),
    "GET /v2/installations/{site}/dynamic-ess-settings",
    *(f"{method} /v2/installations/{{site}}/custom-widget" for method in ("GET", "POST", "PATCH", "DELETE")),
    *(f"GET /v2/installations/{{site}}/widgets/{name}" for name in widgets.STATES),
}
"""Routes that other tests compare: tokens, files, writes, and state widgets, which share one shape."""


def test_every_answer_with_a_source_has_its_shape_here():
    """Every answer with a source is compared with it."""
    asked = {f"{method} /v2/{path.partition('?')[0]}" for method, path, *_ in CASES}
    routes = {
        one.replace("SITE", "installations/{site}")
        .replace("users/me/", "users/{user}/")
        .replace("*", "{which}")
        for one in asked
    }
    sourced = {route for route, found in evidence.VRM.items() if found.source is not EvidenceSource.GUESS}
    assert sourced - ELSEWHERE - routes == set()
    assert routes - sourced == set()


async def test_what_was_written_is_read_back_in_its_documented_place(ask):
    """A rule, a widget, settings and an invitation can be read at their documented place."""
    await ask("POST", "SITE/alarms", ALARM_SENT)
    rules = (await ask("GET", "SITE/alarms"))[1]["alarms"]
    assert [rule["idDataAttribute"] for rule in rules] == [144, 143]
    assert rules[1].items() >= ALARM_SENT.items()
    await ask("POST", "SITE/dynamic-ess-settings", ESS_SENT)
    assert (await ask("GET", "SITE/dynamic-ess-settings"))[1]["data"].items() >= ESS_SENT.items()
    sent = {"name": "W", "parameters": {"a": 1}, "yAxisScaling": 1}
    number = (await ask("POST", "SITE/custom-widget", sent))[1]["idCustomWidget"]
    answer = (await ask("GET", f"SITE/custom-widget?idCustomWidget={number}"))[1]
    assert list(misfits({"success": bool, "widget": WIDGET}, answer)) == []
    await ask("POST", "SITE/invite", {"name": "A", "email": "a@example.com", "accessLevel": 1})
    await ask("POST", "SITE/invite-rights", {"email": ["a@example.com"], "accessLevel": [2]})
    (invited,) = (await ask("GET", "SITE/users"))[1]["invites"]
    assert (invited["email"], invited["accessLevel"]) == ("a@example.com", 2)


async def test_extended_attributes_are_of_three_kinds(ask):
    """`extended=1` has attributes, computed values and the `soc_status`, as captured."""
    for record in (await ask("GET", "users/me/installations?extended=1"))[1]["records"]:
        for item in record["extended"]:
            computed = "consistsOfAttributeCodes" in item
            shape = CHARGE_STATUS if item["code"] == "soc_status" else COMPUTED if computed else ATTRIBUTE
            assert list(misfits(shape, item, item["code"])) == []
        codes = {item["code"] for item in record["extended"]}
        assert codes & {"bp", "a1", "a2", "a3", "g1", "g2", "g3", "P", "Pdc"} == set()


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (
            ("GET", "users/me/search", None),
            (400, {"success": False, "error_code": "empty_search", "error": [EMPTY_SEARCH]}),
        ),
        (("POST", "SITE/reset-forecasts", {}), (400, {"success": False})),
        (
            ("GET", "SITE/dynamic-ess-settings", None),
            (200, {"success": False, "errors": ["No settings found for this site"]}),
        ),
        (
            ("GET", f"SITE/stats?interval=15mins&start={NOW - 32 * 86_400}&end={NOW}", None),
            (200, {"success": False, "errors": [NO_STATS], "error_code": "no_data"}),
        ),
    ],
    ids=["search", "reset-forecasts", "dynamic-ess-settings", "stats"],
)
async def test_errors_are_as_documented(ask, asked, answer):
    """Errors equal those of the documents and of captured answers."""
    assert await ask(*asked) == answer


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("user-rights", {"idUser": [1001], "accessLevel": [0]}, "min_one_admin_required"),
        ("user-rights", {"idUser": [1001]}, "accesslevel_and_user_required"),
        ("invite-rights", {"accessLevel": [0]}, "accesslevel_and_invite_keys_required"),
        ("unlink-user", {"idUser": 1001}, "min_one_admin_required"),
        ("unlink-user", {"idUser": 5}, "user_not_unlinked"),
    ],
)
async def test_a_change_of_rights_is_refused_under_status_200(ask, path, body, code):
    """The error has status 200, a code, and a list of texts."""
    status, answer = await ask("POST", f"SITE/{path}", body)
    assert (status, answer["success"], answer["error_code"]) == (200, False, code)
    assert list(misfits([str], answer["errors"])) == []
    users = (await ask("GET", "SITE/users"))[1]["users"]
    assert {user["idUser"]: user["accessLevel"] for user in users} == {1001: 1, 1077: 0}


async def test_a_search_of_the_fleet_counts_nothing_when_it_is_refused(ask):
    """The error of a search has a list of messages and a count of 0."""
    status, answer = await ask("GET", "installation-data-attributes?query=bs,bv,bc,P,S,V")
    assert status == 422
    shape = {"success": bool, "error_code": str, "errors": [str], "num_records": int}
    assert list(misfits(shape, answer)) == []
    assert answer["num_records"] == 0


@pytest.mark.parametrize(
    "path",
    [
        "SITE/gps-download",
        f"SITE/gps-download?start={NOW}",
        "SITE/reset-forecasts",
        "SITE/stats?start=yesterday",
        "SITE/stats?type=nonsense",
        "SITE/stats?interval=minutes",
        "SITE/overallstats?type=nonsense",
        "SITE/overallstats?type=forecast",
        "SITE/diagnostics?count=all",
        "SITE/widgets/Graph?attributeIds[]=bs",
        "SITE/widgets/Graph?attributeCodes[]=bs&width=wide",
        "SITE/widgets/Graph?attributeCodes[]=bs&pointsPerPixel=nan",
        "SITE/data-download?format=pdf",
        "SITE/data-download?async=perhaps",
        "users/me/installations?extended=yes",
    ],
)
async def test_a_parameter_that_the_document_does_not_allow_is_refused(ask, path):
    """A missing or malformed parameter is answered 400 with the error envelope."""
    status, answer = await ask("GET", path)
    assert (status, answer["success"]) == (400, False)
    assert list(misfits({"success": bool, "errors": {...: str}, "error_code": str}, answer)) == []


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("csv", "text/csv"),
        ("xls", "application/vnd.ms-excel"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("html", "text/html"),
    ],
)
async def test_a_download_has_the_type_of_its_format(form, content_type):
    """A download is base64 with the Content-Type of its format."""
    async with Simulator(start=START, speed=1.0) as sim, aiohttp.ClientSession() as session:
        url = f"{sim.vrm_url}installations/{sim.site_ids[0]}/data-download?format={form}&{RANGE}"
        async with session.get(url, headers={"X-Authorization": f"Token {sim.vrm_token}"}) as response:
            assert (response.status, response.content_type) == (200, content_type)


async def test_a_graph_has_as_many_points_as_its_width_allows(ask):
    """`width` times `pointsPerPixel` is the maximum number of points of a series."""
    path = f"SITE/widgets/Graph?attributeCodes[]=bs&{RANGE}&width=50&pointsPerPixel=2"
    points = (await ask("GET", path))[1]["records"]["data"]["144"]
    assert 50 < len(points) <= 100

"""The simulator's answers and refusals are those of VRM's documents and of captured answers."""

from __future__ import annotations

import aiohttp
import pytest

from energy_live.simulator import Simulator
from tests.live.vrm_shapes import (
    ALARM_SENT,
    ATTRIBUTE,
    CASES,
    CHARGE_STATUS,
    COMPUTED,
    ESS_SENT,
    NOW,
    RANGE,
    START,
    WIDGET,
    misfits,
)

EMPTY_SEARCH = "No search string has been provided."
NO_STATS = "Site has no stats for this period."


@pytest.fixture
async def ask():
    """Ask the simulator, SITE being its first site; returns status, type and body."""
    async with Simulator(start=START, speed=1.0) as sim, aiohttp.ClientSession() as session:

        async def asking(method: str, path: str, body: object = None) -> tuple[int, dict]:
            there = path.replace("SITE", f"installations/{sim.site_ids[0]}")
            headers = {"X-Authorization": f"Token {sim.vrm_token}"}
            async with session.request(method, sim.vrm_url + there, json=body, headers=headers) as response:
                return response.status, await response.json()

        yield asking


@pytest.mark.parametrize(("method", "path", "body", "shape"), CASES, ids=[f"{m} {p}" for m, p, *_ in CASES])
async def test_an_answer_has_its_documented_shape(ask, method, path, body, shape):
    """Each member is there, of the documented type, and no member is invented."""
    status, answer = await ask(method, path, body)
    assert (status, answer.pop("success")) == (200, True)
    assert list(misfits(shape, answer)) == []


async def test_what_was_written_is_read_back_in_its_documented_place(ask):
    """A rule, a widget, settings and an invitation are found where the documents say they are."""
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
    """Attributes, values that the portal computes, and the state of charge in words, as captured."""
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
async def test_a_refusal_is_worded_as_documented(ask, asked, answer):
    """Where a document or a captured answer shows a refusal, the simulator repeats it."""
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
    """The code says why, and the errors are a list of text."""
    status, answer = await ask("POST", f"SITE/{path}", body)
    assert (status, answer["success"], answer["error_code"]) == (200, False, code)
    assert list(misfits([str], answer["errors"])) == []
    users = (await ask("GET", "SITE/users"))[1]["users"]
    assert {user["idUser"]: user["accessLevel"] for user in users} == {1001: 1, 1077: 0}


async def test_a_search_of_the_fleet_counts_nothing_when_it_is_refused(ask):
    """422 has a list of messages and a count of 0."""
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
    """A missing or unreadable parameter is 400 with the envelope of a refusal."""
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
    """The file is base64 in any of the formats."""
    async with Simulator(start=START, speed=1.0) as sim, aiohttp.ClientSession() as session:
        url = f"{sim.vrm_url}installations/{sim.site_ids[0]}/data-download?format={form}&{RANGE}"
        async with session.get(url, headers={"X-Authorization": f"Token {sim.vrm_token}"}) as response:
            assert (response.status, response.content_type) == (200, content_type)


async def test_a_graph_has_as_many_points_as_its_width_allows(ask):
    """`width` times `pointsPerPixel` bounds the points of a series."""
    path = f"SITE/widgets/Graph?attributeCodes[]=bs&{RANGE}&width=50&pointsPerPixel=2"
    points = (await ask("GET", path))[1]["records"]["data"]["144"]
    assert 50 < len(points) <= 100

"""The account: its user, its sites, searching, invitations."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import BadRequest, DecodeError, NotFound, PermissionDenied
from tests.servers import vrm_samples as printed
from tests.servers.vrm_cases import (
    OK,
    check_any_value,
    check_clean,
    check_missing_part,
    check_no_object,
    check_returned,
    check_wrong,
)
from vrm_async.decoding import sites
from vrm_async.resources import users

ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")

SEEN = 1772366400

RETURNS = {
    "users.add_site": (
        lambda v: v.users.add_site("c061"),
        ("POST", "users/22/addsite", [], {"installation_identifier": "c061"}),
        {"records": {"site_id": "9"}},
        9,
    ),
    "users.site_id": (
        lambda v: v.users.site_id("c061"),
        ("POST", "users/22/get-site-id", [], {"installation_identifier": "c061"}),
        {"records": {"site_id": "9"}},
        9,
    ),
}

WRONG = {
    "an empty identifier": (lambda v: v.users.add_site(" "), ValueError, "identifier"),
    "an empty search": (lambda v: v.users.search(""), ValueError, "text"),
}

ANSWERS = {
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
}


def asked(mocked):
    """Return every request as (method, path, query as sorted pairs)."""
    return [
        (method, str(url.path).removeprefix("/v2/"), sorted(url.query.items()))
        for (method, url), calls in mocked.requests.items()
        for _ in calls
    ]


async def test_me(vrm, mocked):
    """`users.me` returns the account; other members of the answer stay in `raw`."""
    user = {
        "id": 22,
        "name": "demo",
        "email": "d@example.com",
        "country": "NL",
        "idAccessToken": None,
        "accessLevel": 0,
    }
    mocked.get(ANYTHING, payload={"success": True, "user": {**user, "new": 1}})
    me = await vrm.users.me()
    assert (me.id, me.name, me.email, me.country) == (22, "demo", "d@example.com", "NL")
    assert (me.access_token_id, me.access_level) == (None, 0)
    assert me.raw["new"] == 1
    assert "d@example.com" not in repr(me)
    assert asked(mocked) == [("GET", "users/me", [])]


async def test_sites_request_the_user_id_once(vrm, mocked, me):
    """The account's id is requested once."""
    mocked.get(ANYTHING, body=printed.INSTALLATIONS, repeat=True)
    assert [site.id for site in await vrm.sites()] == [100]
    await vrm.sites(extended=True)
    assert (await vrm.site(100, extended=True)).id == 100
    assert asked(mocked) == [
        ("GET", "users/me", []),
        ("GET", "users/22/installations", []),
        ("GET", "users/22/installations", [("extended", "1")]),
        ("GET", "users/22/installations", [("extended", "1"), ("idSite", "100")]),
    ]


async def test_sites_of_another_user(vrm, mocked):
    """With a user id, the own id is not requested."""
    mocked.get(ANYTHING, body=printed.INSTALLATIONS)
    await vrm.sites(user_id=7)
    assert asked(mocked) == [("GET", "users/7/installations", [])]


async def test_invites_and_search(client, fake):
    """Both are requested under the account's id; the text is a query parameter."""
    fake.answers("GET", "users/22/invites", {**OK, "data": {"invitesSiteGroups": [{"idSiteGroup": 3}]}})
    fake.answers("GET", "users/22/search", {**OK, "count": 1, "results": [{"site_id": 5}]})
    assert len((await client.users.invites()).site_groups) == 1
    assert [hit.site_id for hit in (await client.users.search("elm 5")).hits] == [5]
    assert [(seen.path, seen.query) for seen in fake.asked[1:]] == [
        ("users/22/invites", []),
        ("users/22/search", [("query", "elm 5")]),
    ]


async def test_an_account_without_an_id(client, fake):
    """It raises `DecodeError`: every path of the account needs the id."""
    fake.answers("GET", "users/me", {**OK, "user": {"id": 0}})
    with pytest.raises(DecodeError, match="user's id"):
        await client.users.id()


async def test_a_site_that_the_account_does_not_have(client, fake):
    """`site` raises `NotFound`, also if VRM answers with other sites."""
    for records in ([], [{"idSite": 6}]):
        fake.answers("GET", "users/22/installations", {**OK, "records": records})
        with pytest.raises(NotFound, match="list of sites does not have 5"):
            await client.site(5)
    assert fake.asked[-1].query == [("idSite", "5")]


async def test_an_unknown_identifier(client, fake):
    """Status 200 with success: false raises `NotFound`."""
    fake.answers("POST", "users/22/get-site-id", {"success": False, "errors": "unknown"})
    with pytest.raises(NotFound):
        await client.users.site_id("c061")
    fake.answers("POST", "users/22/get-site-id", {"success": False, "errors": "unknown"}, status=403)
    with pytest.raises(PermissionDenied):
        await client.users.site_id("c061")


async def test_a_search_that_is_refused(client, fake):
    """The search has `error` where other answers have `errors`; both are quoted."""
    fake.answers("GET", "users/22/search", {"success": False, "error": "Invalid query"}, status=400)
    with pytest.raises(BadRequest, match="Invalid query"):
        await client.users.search("x")


@pytest.mark.parametrize("name", RETURNS)
async def test_returned_values(client, fake, name):
    """A plain value of the answer."""
    await check_returned(client, fake, RETURNS[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_is_named(vrm, name):
    """The message has the argument, and the allowed values where there is a list."""
    await check_wrong(vrm, WRONG[name])


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


@pytest.mark.parametrize("name", ["search"])
def test_an_answer_without_its_part(name):
    """A missing member is not taken for an empty one."""
    check_missing_part(ANSWERS[name])

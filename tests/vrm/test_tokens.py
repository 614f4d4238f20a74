"""Personal access tokens."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import AnswerError, BadRequest, NotFound, PermissionDenied, ServerFault
from tests.servers import vrm_samples as printed
from tests.servers.vrm_cases import (
    OK,
    check_any_value,
    check_clean,
    check_no_object,
)
from vrm_async.resources import tokens

NAIVE = datetime(2026, 3, 1)  # noqa: DTZ001  (that is the point)

ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")

END = datetime(2026, 3, 2, tzinfo=UTC)

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)

HOUR_S = 1772366400

ANSWERS = {
    "access_tokens": (
        tokens.read_tokens,
        {"success": True, "tokens": [{"idAccessToken": "50", "createdOn": "1508415114", "expires": None}]},
    ),
    "new_access_token": (tokens.read_new_token, {"success": True, "token": "ab", "idAccessToken": 1}),
    "removed": (tokens.read_removed, {"success": True, "data": {"removed": 3}}),
}


def asked(mocked):
    """Return every request as (method, path, query as sorted pairs)."""
    return [
        (method, str(url.path).removeprefix("/v2/"), sorted(url.query.items()))
        for (method, url), calls in mocked.requests.items()
        for _ in calls
    ]


@pytest.mark.usefixtures("nothing_is_sent")
async def test_a_new_token_needs_a_name(vrm):
    """An empty name and a naive expiry are refused."""
    with pytest.raises(ValueError, match="name"):
        await vrm.tokens.create(" ")
    with pytest.raises(TypeError, match="name"):
        await vrm.tokens.create(5)
    with pytest.raises(ValueError, match="expires"):
        await vrm.tokens.create("x", expires=NAIVE)


async def test_tokens(vrm, mocked, me):
    """Tokens are created, listed and revoked under the account's id."""
    mocked.post(ANYTHING, body=printed.TOKEN_CREATED)
    mocked.get(ANYTHING, body=printed.TOKEN_LIST)
    mocked.delete(ANYTHING, body=printed.TOKEN_REVOKED, repeat=True)
    assert (await vrm.tokens.create("Token #1", expires=END)).id == 123
    assert len(await vrm.tokens.list()) == 3
    assert await vrm.tokens.revoke(50) == 3
    assert await vrm.tokens.revoke(all=True) == 3
    assert [(method, path) for method, path, _ in asked(mocked)] == [
        ("GET", "users/me"),
        ("POST", "users/22/accesstokens/create"),
        ("GET", "users/22/accesstokens/list"),
        ("DELETE", "users/22/accesstokens/50"),
        ("DELETE", "users/22/accesstokens/*"),
    ]


async def test_every_token_is_revoked_only_on_purpose(vrm, mocked, me):
    """Without arguments, or with both, `revoke` raises."""
    for wrong in ({}, {"token_id": 5, "all": True}, {"all": False}, {"all": 1}):
        with pytest.raises(ValueError, match="all=True"):
            await vrm.tokens.revoke(**wrong)
    assert asked(mocked) == []


async def test_tokens_at_the_first_path(client, fake):
    """The second paths are not used if VRM knows the first."""
    fake.answers("POST", "users/22/accesstokens/create", {**OK, "token": "ab", "idAccessToken": 5})
    fake.answers("GET", "users/22/accesstokens/list", {**OK, "tokens": []})
    fake.answers("DELETE", "users/22/accesstokens/5", {**OK, "data": {"removed": 1}})
    assert (await client.tokens.create("x", expires=HOUR)).id == 5
    assert await client.tokens.list() == ()
    assert await client.tokens.revoke(5) == 1
    assert [(seen.method, seen.path, seen.json) for seen in fake.asked[1:]] == [
        ("POST", "users/22/accesstokens/create", {"name": "x", "expiry": HOUR_S}),
        ("GET", "users/22/accesstokens/list", None),
        ("DELETE", "users/22/accesstokens/5", None),
    ]


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (404, {"success": False, "errors": "no"}),
        (405, {"success": False, "errors": "no"}),
        (422, {"success": False, "errors": "no"}),
        (404, b"<html>Not Found</html>"),
        (200, {"success": False, "errors": "Could not find requested resource"}),
        (400, {"success": False, "errors": ["Unknown endpoint"]}),
        (400, {"success": False, "errors": "no", "error_code": "path_not_found"}),
        (200, {"success": False, "errors": "Method not allowed", "error_code": None}),
        (400, {"message": "Not Found"}),
    ],
)
async def test_tokens_at_the_second_path(client, fake, status, refusal):
    """The second paths are used if VRM does not know the first."""
    fake.answers("POST", "users/22/accesstokens/create", refusal, status=status)
    fake.answers("GET", "users/22/accesstokens/list", refusal, status=status)
    fake.answers("DELETE", "users/22/accesstokens/*", refusal, status=status)
    fake.answers("POST", "users/22/accesstokens", {**OK, "token": "ab", "idAccessToken": "5"})
    fake.answers("GET", "users/22/accesstokens", {**OK, "tokens": [{"idAccessToken": "5"}]})
    fake.answers("GET", "users/22/accesstokens/*/revoke", {**OK, "data": {"removed": 3}})
    assert (await client.tokens.create("x")).id == 5
    assert len(await client.tokens.list()) == 1
    assert await client.tokens.revoke(all=True) == 3


async def test_a_token_that_is_not_there(client, fake):
    """If both paths answer 404, the error is `NotFound`."""
    with pytest.raises(NotFound):
        await client.tokens.revoke(50)
    assert [seen.method for seen in fake.asked[1:]] == ["DELETE", "GET"]


async def test_a_token_that_is_not_accepted(client, fake):
    """If VRM does not know the second path either, the first refusal is raised."""
    refusal = {"success": False, "errors": {"name": "taken"}, "error_code": "name_taken"}
    fake.answers("POST", "users/22/accesstokens/create", refusal, status=422)
    with pytest.raises(BadRequest, match="taken") as caught:
        await client.tokens.create("x")
    assert caught.value.error_code == "name_taken"


@pytest.mark.parametrize(
    ("status", "errors", "kind"),
    [
        (403, "Could not find requested resource", PermissionDenied),
        (400, {"name": ["has already been taken"]}, BadRequest),
        (400, "An invalid name", BadRequest),
        (200, "Token not found", AnswerError),
        (500, "Not Found", ServerFault),
    ],
)
async def test_another_refusal_is_raised_at_once(client, fake, status, errors, kind):
    """Any refusal but an unknown path is raised without a second request."""
    fake.answers("POST", "users/22/accesstokens/create", {"success": False, "errors": errors}, status=status)
    with pytest.raises(kind):
        await client.tokens.create("x")
    assert len(fake.asked) == 2


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

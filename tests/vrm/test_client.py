"""The client: its credentials and settings, its poller, requests by path."""

from __future__ import annotations

import pytest

from energy_core import RateLimit, SessionPool
from tests.servers.vrm_cases import (
    check_returned,
)
from vrm_async import VRMClient, operations

TOKEN = "0123456789abcdef" * 4

WAYS_OUT = [
    "",
    "/users/me",
    "//example.com/x",
    "https://example.com/v2/users/me",
    "../admin",
    "users/../../admin",
    "users/./me",
    "users/%2e%2e/x",
    "users%2fme",
    "users%5C..",
    "users//me",
    "users/me?x=1",
    "users/me#x",
    "users/me\r\nHost: x",
    "users/{idUser}",
    "users/ü",
    "users\\me",
    "users me",
]

RETURNS = {
    "request": (
        lambda v: v.request("PUT", "a/b", query=[("x[]", 1), ("x[]", "é&")], json=[1]),
        ("PUT", "a/b", [("x[]", "1"), ("x[]", "é&")], [1]),
        {"any": 1},
        {"success": True, "any": 1},
    ),
}


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "token"),
        ({"token": ""}, "token"),
        ({"token": "  \n"}, "token"),
        ({"token": "two words"}, "token"),
        ({"token": "line\r\nbreak"}, "token"),
        ({"token": "é" * 64}, "token"),
        ({"username": "anna"}, "password"),
        ({"password": "secret-pass"}, "username"),
        ({"username": "", "password": "secret-pass"}, "username"),
        ({"username": "anna", "password": ""}, "password"),
        ({"username": "anna", "password": "secret-pass", "sms_token": " "}, "sms_token"),
        ({"sms_token": "123456"}, "username"),
        ({"token": TOKEN, "username": "anna"}, "username"),
        ({"token": TOKEN, "username": "anna", "password": "secret-pass"}, "password"),
        ({"token": TOKEN, "sms_token": "123456"}, "sms_token"),
        ({"token": TOKEN, "demo": True}, "demo"),
        ({"demo": True, "username": "anna", "password": "secret-pass"}, "demo"),
        ({"token": TOKEN, "base_url": "http://example.com/v2/"}, "base URL"),
        ({"token": TOKEN, "base_url": "https://user:pw@example.com/v2/"}, "URL"),
        ({"token": TOKEN, "base_url": "https://example.com/v2/?x=1"}, "URL"),
    ],
)
def test_a_wrong_combination_is_named(arguments, named):
    """The message names the argument and never repeats a value."""
    with pytest.raises(ValueError, match=named) as wrong:
        VRMClient(**arguments)
    for secret in (TOKEN, "secret-pass", "123456", "line", "pw"):
        assert secret not in str(wrong.value).replace("password", "")


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(
    "arguments",
    [
        {"token": 5},
        {"token": b"x"},
        {"username": 1, "password": "x"},
        {"demo": "yes"},
        {"token": TOKEN, "limit": (200, 3.0)},
        {"token": TOKEN, "base_url": 5},
    ],
)
def test_an_argument_of_another_type_is_refused(arguments):
    """A credential is a str, `demo` a bool, `limit` a `RateLimit`."""
    with pytest.raises(TypeError):
        VRMClient(**arguments)


@pytest.mark.usefixtures("nothing_is_sent")
def test_a_token_in_the_place_of_the_pool_is_noticed():
    """The first argument is the pool: the message has the right argument and not the token."""
    with pytest.raises(TypeError, match="pool must be a SessionPool") as wrong:
        VRMClient(TOKEN)
    assert TOKEN not in str(wrong.value)


@pytest.mark.usefixtures("nothing_is_sent")
async def test_two_limits_for_one_account_are_refused():
    """Two clients of one account share a rate limiter, which has one limit."""
    async with SessionPool() as pool:
        VRMClient(pool, token=TOKEN)
        VRMClient(pool, token=f" {TOKEN} ")
        VRMClient(pool, token=TOKEN[:-1])
        with pytest.raises(ValueError, match="Limit"):
            VRMClient(pool, token=TOKEN, limit=RateLimit(10, 1.0))


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("interval_s", [0, -1.0, float("nan"), float("inf")])
def test_a_poll_needs_an_interval(vrm, interval_s):
    """The interval is a positive, finite number."""
    with pytest.raises(ValueError, match="interval_s"):
        vrm.live(1, interval_s=interval_s)


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("path", WAYS_OUT)
async def test_a_path_cannot_leave_the_api(vrm, path):
    """A path of `request` is relative, and written in URL characters."""
    with pytest.raises(ValueError, match=r"path|URL"):
        await vrm.request("GET", path)


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"method": "TRACE"}, ValueError),
        ({"method": "get"}, ValueError),
        ({"method": "GET\r\n"}, ValueError),
        ({"method": 1}, TypeError),
        ({"path": b"users/me"}, TypeError),
        ({"query": {"x": True}}, TypeError),
        ({"query": {"x": None}}, TypeError),
        ({"query": {1: "x"}}, TypeError),
        ({"query": {"": "x"}}, ValueError),
        ({"query": [("x", "a\r\nb")]}, ValueError),
    ],
)
async def test_a_request_is_checked(vrm, arguments, expected):
    """There are five methods; a query is pairs of str, or of str and int."""
    with pytest.raises(expected):
        await vrm.request(**{"method": "GET", "path": "users/me", **arguments})


@pytest.mark.usefixtures("nothing_is_sent")
def test_a_request_for_a_login_is_named_one():
    """Errors never quote the answer of a login, also of one sent by `request`."""
    assert operations.operation("POST", "auth/login", repeatable=False, body_limit=1).name == "auth.request"
    assert operations.operation("GET", "users/me", repeatable=True, body_limit=1).name == "request"


@pytest.mark.parametrize("name", RETURNS)
async def test_returned_values(client, fake, name):
    """A plain value of the answer."""
    await check_returned(client, fake, RETURNS[name])

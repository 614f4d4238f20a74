"""Logins: credentials, lifetimes, renewals, errors, and the account's name."""

from __future__ import annotations

import asyncio
import pickle
import re
import traceback

import pytest
from aioresponses import CallbackResult
from hypothesis import given
from hypothesis import strategies as st

from energy_core import SourceId, merge
from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    DecodeError,
    EnergyError,
    InvalidCredentials,
    PermissionDenied,
)
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.secret import Secret
from tests.servers.scripted_volt import BASE, TOKEN, jwt
from voltstorage_async import DEFAULT_LIMIT, VoltStorageClient
from voltstorage_async.auth import token_lifetime

PASSWORD = "sentinel-pa55word"


async def ids(client):
    return [product.id async for product in client.products.list()]


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"iat": 1000, "exp": 4600}, 3600),
        ({"iat": 1000.5, "exp": 1001.0}, 0.5),
        ({"iat": 4102444800, "exp": 4102444860}, 60),
        ({"iat": 1000, "exp": 1000}, 0),
        ({"iat": 1000}, 77),
        ({"exp": 1000}, 77),
        ({"iat": 1000, "exp": 999}, 77),
        ({"iat": 0, "exp": 10**18}, 77),
        ({"iat": True, "exp": 5}, 77),
        ({"iat": "x", "exp": 5}, 77),
    ],
)
def test_the_lifetime_of_a_token_is_exp_minus_iat(claims, expected):
    """Independent of the local clock; without usable claims it is the requested validity."""
    assert token_lifetime(Secret(jwt(**claims)), 77) == expected


@given(st.text() | st.binary().map(lambda data: "a." + data.decode("latin-1") + ".b"))
def test_any_token_has_a_lifetime(token):
    """A token that cannot be parsed has the requested one; nothing is raised."""
    assert 0 <= token_lifetime(Secret(token), 77) <= 31_622_400


@pytest.mark.parametrize("token", [f"{TOKEN}", "a.e30.b", "a.W10.b", "a.bnVsbA.b", "...", ""])
def test_a_token_without_exp_has_the_requested_lifetime(token):
    """The documented token has no `exp`."""
    assert token_lifetime(Secret(token), 86400) == 86400


async def test_the_claims_of_a_token_override_the_requested_validity(service, served):
    """A token whose `exp` equals its `iat` has expired at once, whatever was requested."""
    service.lifetime = 0
    with pytest.raises(AuthFailed):
        await ids(served)


async def test_wrong_credentials_are_sent_once(service):
    """All waiting calls raise InvalidCredentials; no text or pickle of it has the password."""
    async with VoltStorageClient(
        email="a@example.com", password=PASSWORD, base_url=service.base_url, limit=RateLimit(100, 100.0)
    ) as client:
        results = await asyncio.gather(*(ids(client) for _ in range(20)), return_exceptions=True)
        assert {type(result) for result in results} == {InvalidCredentials}
        assert {(result.status, result.vendor, result.operation) for result in results} == {
            (400, "voltstorage", "login")
        }
        for text in (
            "".join(traceback.format_exception(results[0])),
            repr(results[0]),
            repr(client),
            repr(client.auth),
        ):
            assert PASSWORD not in text
        assert PASSWORD.encode() not in pickle.dumps(results[0])
    assert service.logins == 1
    assert service.requests == []


async def test_a_rejected_token_brings_one_login(service, served):
    """Each of the calls succeeds with the new token."""
    await ids(served)
    service.valid.clear()
    assert await asyncio.gather(*(ids(served) for _ in range(100))) == [[77]] * 100
    assert service.logins == 2


async def test_clients_of_one_account_share_login_and_rate_limit(service):
    """The case of the email does not matter; another credential or limit is an error."""
    async with SessionPool() as pool:

        def client(email="a@example.com", password="right", **options):
            return VoltStorageClient(
                pool, email=email, password=password, base_url=service.base_url, **options
            )

        first, second = client(), client(email=" A@Example.com")
        assert await ids(first) == await ids(second) == [77]
        assert service.logins == 1
        with pytest.raises(ValueError, match="another credential"):
            client(password="wrong")
        with pytest.raises(InvalidCredentials):
            await ids(client(password="wrong", account="other"))
        with pytest.raises(ValueError, match="RateLimit"):
            client(limit=RateLimit(1, 1.0))
        await first.aclose()
        assert await ids(second) == [77]


async def test_login_replaces_the_token(service, served):
    """A client with a token cannot log in."""
    await served.auth.login()
    await served.auth.login()
    assert await ids(served) == [77]
    assert service.logins == 2
    async with VoltStorageClient(token=TOKEN) as fixed:
        with pytest.raises(ValueError, match="token"):
            await fixed.auth.login()


@pytest.mark.parametrize("validity", [0, 60, 31_622_400])
async def test_the_validity_is_sent(mocked, validity):
    """A login that expires at once is an error, not a loop."""
    mocked.post(f"{BASE}login/password", payload={"token": "opaque"}, repeat=True)
    mocked.get(f"{BASE}products?count=100&page=1", payload=[])
    async with VoltStorageClient(email="a@example.com", password="x", validity=validity) as client:
        if validity:
            assert await ids(client) == []
        else:
            with pytest.raises(AuthFailed):
                await ids(client)
    (login,) = [calls for (method, _), calls in mocked.requests.items() if method == "POST"]
    assert [call.kwargs["json"]["validity"] for call in login] == [validity]


@pytest.mark.parametrize("answer", [{}, {"token": None}, {"token": ""}, {"token": "a\nb"}, [], "x"])
async def test_a_login_answer_without_a_token_is_a_decode_error(mocked, answer):
    """It names the operation `login`."""
    mocked.post(f"{BASE}login/password", payload=answer, repeat=True)
    async with VoltStorageClient(email="a@example.com", password="x") as client:
        with pytest.raises(DecodeError) as caught:
            await ids(client)
    assert caught.value.operation == "login"


async def test_an_outage_of_the_login_is_not_a_wrong_password(mocked):
    """The error has the status of the answer."""
    mocked.post(f"{BASE}login/password", status=501, repeat=True)
    async with VoltStorageClient(email="a@example.com", password="x") as client:
        with pytest.raises(EnergyError) as caught:
            await ids(client)
    assert not isinstance(caught.value, InvalidCredentials)
    assert caught.value.status == 501


@pytest.mark.parametrize("status", [404, 405, 410, 415])
@pytest.mark.parametrize("body", ['{"errors": ["no"]}', "<html></html>", "no", ""])
async def test_a_login_that_is_not_offered_is_not_a_wrong_password(mocked, status, body):
    """The message says what to do instead."""
    mocked.post(f"{BASE}login/password", status=status, body=body, repeat=True)
    async with VoltStorageClient(email="a@example.com", password="x") as client:
        for ask in (client.auth.login, lambda: ids(client)):
            with pytest.raises(AnswerError, match="does not offer this login: pass a token") as gone:
                await ask()
            assert (gone.value.status, gone.value.operation) == (status, "login")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, '{"errors": ["no"]}', InvalidCredentials),
        (401, "no", InvalidCredentials),
        (403, "", InvalidCredentials),
        (200, '{"message": "Unknown user"}', InvalidCredentials),
        (403, "<html>The proxy says no</html>", PermissionDenied),
        (400, "<html>The proxy says no</html>", BadRequest),
        (409, '{"errors": ["no"]}', AnswerError),
    ],
)
async def test_only_the_vendors_rejection_is_about_the_credentials(mocked, status, body, error):
    """A proxy's page or another status is not."""
    mocked.post(f"{BASE}login/password", status=status, body=body, repeat=True)
    async with VoltStorageClient(email="a@example.com", password="x") as client:
        with pytest.raises(error) as refused:
            await client.auth.login()
    assert type(refused.value) is error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"errors": ["validity must be a number"]}', "validity must be a number"),
        ("Too long", "Too long"),
        (f'{{"message": "{PASSWORD} is wrong"}}', "*** is wrong"),
        (f'{{"message": "{PASSWORD[2:9]} is no password"}}', ""),
    ],
)
async def test_a_rejected_login_has_the_vendors_message_without_the_password(mocked, body, words):
    """The vendor answers missing parameters and a wrong password with one status."""
    mocked.post(f"{BASE}login/password", status=400, body=body, repeat=True)
    async with VoltStorageClient(email="a@example.com", password=PASSWORD) as client:
        with pytest.raises(InvalidCredentials) as refused:
            await client.auth.login()
    assert refused.value.vendor_message == words
    assert words in str(refused.value)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "words"), [('{"message": "Token expired"}', "Token expired"), ("No entry", "No entry")]
)
async def test_a_rejected_token_has_the_vendors_message(mocked, body, words):
    """With a fixed token as with a renewed login, from JSON as from text."""
    mocked.post(f"{BASE}login/password", payload={"token": TOKEN}, repeat=True)
    mocked.get(f"{BASE}products?count=100&page=1", status=401, body=body, repeat=True)
    for means in ({"token": TOKEN}, {"email": "a@example.com", "password": "x"}):
        async with VoltStorageClient(**means) as client:
            with pytest.raises(AuthFailed, match=words) as refused:
                await ids(client)
            assert (refused.value.status, refused.value.operation) == (401, "products.list")


def test_a_client_can_be_made_without_a_running_loop():
    """Its repr names the account, not the secret."""
    client = VoltStorageClient(token=TOKEN)
    assert TOKEN not in repr(client)
    assert "default" in repr(client)
    assert client.live(1).id == SourceId("voltstorage", "default", "1")
    assert RateLimit(10, 1.0, 4) == DEFAULT_LIMIT


def test_the_account_keeps_its_name_when_the_credential_changes():
    """Sources are named by `account`."""
    ids = {
        VoltStorageClient(account="home", **facts).live(301).id
        for facts in ({"token": TOKEN}, {"token": "other"}, {"email": "a@example.com", "password": "x"})
    }
    assert ids == {SourceId("voltstorage", "home", "301")}
    with pytest.raises(ValueError, match="account must"):
        VoltStorageClient(token=TOKEN, account="")


async def test_two_accounts_need_two_names():
    """In one pool and in one merge; clients of one account share its rate limit."""
    async with SessionPool() as pool:
        first = VoltStorageClient(pool, token=TOKEN)
        again = VoltStorageClient(pool, token=TOKEN)
        with pytest.raises(ValueError, match="'default'"):
            VoltStorageClient(pool, token="other")
        await first.aclose()
        with pytest.raises(ValueError, match="'default'"):
            VoltStorageClient(pool, token="other")
        await again.aclose()
        VoltStorageClient(pool, token="other")
        assert len(pool.stats().limiters) == 1
    merge(VoltStorageClient(token=TOKEN).live(1), VoltStorageClient(token=TOKEN).live(2))
    with pytest.raises(ValueError, match="label 'default'"):
        merge(VoltStorageClient(token=TOKEN).live(1), VoltStorageClient(token="other").live(2))


async def test_a_source_can_be_used_once():
    """A new one of the same client is another source."""
    async with VoltStorageClient(token=TOKEN, base_url="http://127.0.0.1:1") as client:
        source = client.live(1)
        async with merge(source):
            with pytest.raises(ValueError, match="used already"):
                merge(source)
        with pytest.raises(ValueError, match="used already"):
            merge(source)
        async with merge(client.live(1)) as events:
            with pytest.raises(ValueError, match="used already"):
                await events.restart(source)


async def test_the_documented_login(mocked, volt_login):
    """The next request carries its token."""
    headers = []

    def answer(url, **kwargs):
        headers.append(kwargs["headers"])
        return CallbackResult(payload=[])

    mocked.post(f"{BASE}login/password", payload={"token": TOKEN})
    mocked.get(re.compile(rf"{BASE}products"), callback=answer)
    assert [product async for product in volt_login.products.list()] == []
    ((_, calls),) = [item for item in mocked.requests.items() if item[0][0] == "POST"]
    assert calls[0].kwargs["json"] == {
        "email": "anybody@example.com",
        "password": "Password123!",
        "validity": 86400,
    }
    assert headers[0]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, ValueError),
        ({"email": "a@example.com"}, ValueError),
        ({"password": "x"}, ValueError),
        ({"token": TOKEN, "email": "a@example.com", "password": "x"}, ValueError),
        ({"token": TOKEN, "password": "x"}, ValueError),
        ({"token": " "}, ValueError),
        ({"token": "a\r\nb"}, ValueError),
        ({"token": Secret("x")}, TypeError),
        ({"email": "no address", "password": "x"}, ValueError),
        ({"email": "a@example.com", "password": ""}, ValueError),
        ({"email": "a@example.com", "password": "x", "validity": -1}, ValueError),
        ({"email": "a@example.com", "password": "x", "validity": 31_622_401}, ValueError),
        ({"email": "a@example.com", "password": "x", "validity": 1.5}, TypeError),
        ({"token": TOKEN, "base_url": "http://api.example.com/"}, ValueError),
        ({"token": TOKEN, "base_url": "https://u:p@api.example.com/"}, ValueError),
    ],
)
def test_a_client_needs_a_token_or_an_email_with_its_password(given, error):
    """Anything else raises, and the message does not repeat the secret."""
    with pytest.raises(error) as caught:
        VoltStorageClient(**given)
    assert TOKEN not in str(caught.value)

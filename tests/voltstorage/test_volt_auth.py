"""Logging in, staying logged in, and never saying the secret."""

from __future__ import annotations

import asyncio
import pickle
import traceback

import pytest
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
from energy_core.http.rate_limit import RateLimit
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
def test_a_tokens_life_is_the_servers_own_difference(claims, expected):
    """`exp - iat` counts, whatever our clock says; without a usable pair, the validity that was asked for."""
    assert token_lifetime(Secret(jwt(**claims)), 77) == expected


@given(st.text() | st.binary().map(lambda data: "a." + data.decode("latin-1") + ".b"))
def test_any_token_has_a_life(token):
    """What cannot be parsed lives as long as was asked for; nothing is raised."""
    assert 0 <= token_lifetime(Secret(token), 77) <= 31_622_400


@pytest.mark.parametrize("token", [f"{TOKEN}", "a.e30.b", "a.W10.b", "a.bnVsbA.b", "...", ""])
def test_tokens_without_a_life_of_their_own(token):
    """The printed token has no `exp`; neither have broken ones."""
    assert token_lifetime(Secret(token), 86400) == 86400


async def test_the_login_gives_the_token_its_life(service, served):
    """What the server's token says about itself is when it will be renewed."""
    await ids(served)
    issued = await served._account.credential.get()
    assert issued.grant.lifetime_s == service.lifetime


async def test_wrong_credentials_are_invalid_credentials_and_asked_once(service):
    """The vendor's 400 is InvalidCredentials for all who wait, after one login, without the password."""
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


async def test_many_refused_requests_log_in_once(service, served):
    """A token that ends in the middle costs one login, and every call succeeds."""
    await ids(served)
    service.valid.clear()
    assert await asyncio.gather(*(ids(served) for _ in range(100))) == [[77]] * 100
    assert service.logins == 2


async def test_clients_of_one_account_share_login_and_lane(service):
    """The email's case does not matter; another password is another account, another limit an error."""
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
        with pytest.raises(ValueError, match="Limit"):
            client(limit=RateLimit(1, 1.0))
        await first.aclose()
        assert await ids(second) == [77]


async def test_logging_in_ahead_of_time(service, served):
    """`auth.login` replaces the token in use."""
    await served.auth.login()
    await served.auth.login()
    assert await ids(served) == [77]
    assert service.logins == 2
    async with VoltStorageClient(token=TOKEN) as fixed:
        with pytest.raises(ValueError, match="token"):
            await fixed.auth.login()


@pytest.mark.parametrize("validity", [0, 60, 31_622_400])
async def test_the_validity_is_the_callers(mocked, validity):
    """It is sent as given; a token that is dead on arrival is an error and no loop."""
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
async def test_a_login_without_a_token_is_one_error(mocked, answer):
    """An answer that holds no usable token is a DecodeError of the login."""
    mocked.post(f"{BASE}login/password", payload=answer, repeat=True)
    async with VoltStorageClient(email="a@example.com", password="x") as client:
        with pytest.raises(DecodeError) as caught:
            await ids(client)
    assert caught.value.operation == "login"


async def test_a_login_that_is_down_is_not_a_wrong_password(mocked):
    """Trouble at the vendor stays what it is."""
    mocked.post(f"{BASE}login/password", status=501, repeat=True)
    async with VoltStorageClient(email="a@example.com", password="x") as client:
        with pytest.raises(EnergyError) as caught:
            await ids(client)
    assert not isinstance(caught.value, InvalidCredentials)
    assert caught.value.status == 501


@pytest.mark.parametrize("status", [404, 405, 410, 415])
@pytest.mark.parametrize("body", ['{"errors": ["no"]}', "<html></html>", "no", ""])
async def test_a_login_that_is_no_longer_offered_is_no_wrong_password(mocked, status, body):
    """The error says what to do instead."""
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
async def test_what_a_login_answers_has_one_meaning(mocked, status, body, error):
    """Only a refusal of the vendor is about the credentials."""
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
async def test_a_refused_login_has_the_words_that_repeat_no_secret(mocked, body, words):
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
async def test_the_words_of_a_refused_token_are_in_the_error(mocked, body, words):
    """With a fixed token as after a renewed login, from JSON as from text."""
    mocked.post(f"{BASE}login/password", payload={"token": TOKEN}, repeat=True)
    mocked.get(f"{BASE}products?count=100&page=1", status=401, body=body, repeat=True)
    for means in ({"token": TOKEN}, {"email": "a@example.com", "password": "x"}):
        async with VoltStorageClient(**means) as client:
            with pytest.raises(AuthFailed, match=words) as refused:
                await ids(client)
            assert (refused.value.status, refused.value.operation) == (401, "products.list")


def test_a_client_needs_no_running_loop():
    """It can be made anywhere, and says who it is without the secret."""
    client = VoltStorageClient(token=TOKEN)
    assert TOKEN not in repr(client)
    assert "default" in repr(client)
    assert client.live(1).id == SourceId("voltstorage", "default", "1")
    assert RateLimit(10, 1.0, 4) == DEFAULT_LIMIT


def test_the_account_is_what_the_user_calls_it():
    """No label comes of a credential: an exchanged one changes nothing."""
    ids = {
        VoltStorageClient(account="home", **facts).live(301).id
        for facts in ({"token": TOKEN}, {"token": "other"}, {"email": "a@example.com", "password": "x"})
    }
    assert ids == {SourceId("voltstorage", "home", "301")}
    with pytest.raises(ValueError, match="account must"):
        VoltStorageClient(token=TOKEN, account="")


async def test_two_accounts_need_two_labels():
    """In one pool and in one merge; clients of one account share its lane."""
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


async def test_a_source_is_used_once():
    """By one stream, and not after that; a fresh one of the same client is another."""
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

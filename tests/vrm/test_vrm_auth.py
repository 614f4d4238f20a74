"""Credentials, logins, one-time codes and logouts."""

import asyncio
import copy
import logging
import pickle
import warnings

import pytest

from energy_core import RateLimit, SessionPool
from energy_core.errors import (
    AnswerError,
    AuthFailed,
    DecodeError,
    EnergyError,
    InvalidCredentials,
    NotFound,
    PermissionDenied,
    ServerFault,
    TwoFactorRequired,
)
from vrm_async import VRMClient
from vrm_async.auth import LOGIN, LOGIN_WITH_CODE, LOGOUT

TOKEN = "0123456789abcdef" * 4
LIMIT = RateLimit(2000, 1000.0, 6)


def login_client(fake, pool=None, **kwargs):
    facts = {"username": "anna@example.com", "password": "s3cret-pass", **kwargs}
    with pytest.warns(DeprecationWarning, match="token="):
        return VRMClient(pool, base_url=fake.url, limit=LIMIT, **facts)


def knows_token(token):
    """Answer users/me for one bearer token; refuse every other token."""

    def answer(asked):
        if asked.authorization == f"Bearer {token}":
            return 200, {"success": True, "user": {"id": 22}}
        return 401, {"success": False, "errors": "Token is invalid", "error_code": "invalid_token"}

    return answer


@pytest.fixture
def logins(fake):
    """A VRM that returns a new bearer token at each login and accepts only the newest."""
    given = []

    def log_in(asked):
        given.append(f"bearer-{len(given) + 1}")
        fake.answers("GET", "users/me", knows_token(given[-1]))
        return 200, {
            "token": given[-1],
            "idUser": 22,
            "verification_mode": "password",
            "verification_sent": False,
        }

    fake.answers("POST", "auth/login", log_in)
    fake.answers("GET", "users/me", knows_token("none yet"))
    return given


@pytest.fixture
def two_factor(fake):
    """A VRM that requires the code 123456 with the password and accepts each code once."""
    codes = ["123456", "654321"]
    given = []

    def log_in(asked):
        if asked.json.get("sms_token") in codes:
            codes.remove(asked.json["sms_token"])
            given.append(f"bearer-{len(given) + 1}")
            fake.answers("GET", "users/me", knows_token(given[-1]))
            return 200, {
                "token": given[-1],
                "idUser": 22,
                "verification_mode": "sms",
                "verification_sent": False,
            }
        if "sms_token" in asked.json:
            return 401, {
                "success": False,
                "errors": {"sms_token": ["Wrong code"]},
                "error_code": "invalid_sms_token",
            }
        return 200, {"token": None, "idUser": 22, "verification_mode": "sms", "verification_sent": True}

    fake.answers("POST", "auth/login", log_in)
    fake.answers("GET", "users/me", knows_token("none yet"))
    return given


async def test_an_access_token_is_sent_in_its_header(fake):
    """The header is `X-Authorization: Token ...`; white space around the token is removed."""
    async with VRMClient(token=f"  {TOKEN}\n", base_url=fake.url) as vrm:
        await vrm.users.me()
    assert [asked.authorization for asked in fake.asked] == [f"Token {TOKEN}"]


async def test_an_access_token_may_be_of_any_length(fake):
    """A token is refused only if it is invalid in a header."""
    async with VRMClient(token="short", base_url=fake.url) as vrm:
        await vrm.users.me()
    assert fake.asked[0].authorization == "Token short"


async def test_a_refused_access_token_is_an_auth_failure_at_once(fake):
    """An access token cannot be renewed: there is one request and one `AuthFailed`."""
    fake.answers("GET", "users/me", {"success": False, "error_code": "invalid_token"}, status=401)
    async with VRMClient(token=TOKEN, base_url=fake.url) as vrm:
        with pytest.raises(AuthFailed) as failed:
            await vrm.users.me()
    assert failed.value.status == 401
    assert len(fake.asked) == 1


async def test_an_access_token_makes_no_warning(fake):
    """Only logins are deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await VRMClient(token=TOKEN, base_url=fake.url).aclose()


async def test_a_login_warns_once_and_where_the_client_is_made(fake, logins):
    """The DeprecationWarning points to the line that makes the client, and comes once."""
    with pytest.warns(DeprecationWarning, match=r"VRMClient\(token=...\)") as seen:
        vrm = VRMClient(username="anna@example.com", password="s3cret-pass", base_url=fake.url)
    assert seen[0].filename == __file__
    async with vrm:
        await vrm.users.me()
        fake.answers("GET", "users/me", knows_token("forgotten"))
        await vrm.users.me()
    assert len(seen) == 1


async def test_a_login_happens_by_itself_and_gives_a_bearer_token(fake, logins):
    """The first call logs in; later calls send `X-Authorization: Bearer ...`."""
    async with login_client(fake) as vrm:
        await vrm.users.me()
        await vrm.users.me()
    assert [(asked.path, asked.authorization) for asked in fake.asked] == [
        ("auth/login", None),
        ("users/me", "Bearer bearer-1"),
        ("users/me", "Bearer bearer-1"),
    ]
    assert fake.asked[0].json == {"username": "anna@example.com", "password": "s3cret-pass"}


async def test_many_refusals_make_one_login(fake, logins):
    """1,000 calls that are refused at the same time share one login."""
    async with login_client(fake) as vrm:
        await vrm.users.me()
        fake.answers("GET", "users/me", knows_token("forgotten"))
        await asyncio.gather(*(vrm.users.me() for _ in range(1000)))
    assert len(logins) == 2
    assert len(fake.asked_for("users/me")) <= 2001


async def test_two_clients_of_one_account_share_the_login(fake, logins):
    """Clients of one pool with the same user name and password are one account."""
    async with SessionPool() as pool:
        one, two = login_client(fake, pool), login_client(fake, pool)
        await one.users.me()
        await two.users.me()
    assert len(logins) == 1


async def test_another_password_does_not_share_a_login(fake, logins):
    """A client with another password logs in itself."""
    async with SessionPool() as pool:
        one, two = login_client(fake, pool), login_client(fake, pool, password="another-pass")
        await one.users.me()
        await two.users.me()
    assert len(logins) == 2


async def test_a_wrong_password_is_invalid_credentials(fake):
    """A refused login is `InvalidCredentials`, not an expired token, and is not repeated."""
    fake.answers("POST", "auth/login", {"success": False, "errors": "Wrong s3cret-pass"}, status=401)
    async with login_client(fake) as vrm:
        for _ in range(3):
            with pytest.raises(InvalidCredentials) as refused:
                await vrm.users.me()
    assert "s3cret-pass" not in str(refused.value)
    assert len(fake.asked_for("auth/login")) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"success": False, "errors": "no"}, InvalidCredentials),
        (400, {"success": False, "errors": "no"}, InvalidCredentials),
        (403, {"success": False, "errors": "no"}, InvalidCredentials),
        (422, b"", InvalidCredentials),
        (403, b"<html>The proxy says no</html>", PermissionDenied),
        (401, b"<html>The proxy says no</html>", AuthFailed),
        (409, {"success": False}, AnswerError),
        (404, {"success": False}, NotFound),
        (500, {"success": False}, ServerFault),
        (200, {"success": True}, DecodeError),
        (200, {"token": "with\r\nbreak"}, DecodeError),
        (200, {"token": 5}, DecodeError),
    ],
)
async def test_an_answer_to_a_login_has_one_error(fake, status, body, expected):
    """Refusals, faults of the server and unreadable answers are different errors."""
    fake.answers("POST", "auth/login", body, status=status)
    async with SessionPool(attempts=1) as pool:
        with pytest.raises(expected):
            await login_client(fake, pool).auth.login()


@pytest.mark.parametrize("status", [404, 405, 410, 415])
@pytest.mark.parametrize("body", [{"success": False, "errors": "no"}, b"<html></html>", b"no", b""])
async def test_a_login_that_is_no_longer_offered_is_no_wrong_password(fake, status, body):
    """The error of a login by password, with a code, or of the demo names the access token instead."""
    fake.answers("POST", "auth/login", body, status=status)
    fake.answers("GET", "auth/loginAsDemo", body, status=status)
    with pytest.warns(DeprecationWarning, match="token="):
        demo = VRMClient(demo=True, base_url=fake.url)
    async with login_client(fake, sms_token="123456") as vrm, demo:
        for client in (vrm, vrm, demo):
            with pytest.raises(AnswerError, match=r"logging in is gone: .*token=") as gone:
                await client.users.me()
            assert gone.value.status == status
    assert gone.value.operation == "auth.login_as_demo"


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (400, {"success": False, "errors": "no"}, "refused the demo login"),
        (200, {"token": None}, "no token for the demo login"),
    ],
)
async def test_a_refused_demo_is_not_a_wrong_password(fake, status, answer, words):
    """The error of the demo login does not name a user name, password or code."""
    fake.answers("GET", "auth/loginAsDemo", answer, status=status)
    with pytest.warns(DeprecationWarning, match="token="):
        demo = VRMClient(demo=True, base_url=fake.url)
    async with demo:
        with pytest.raises(InvalidCredentials, match=words):
            await demo.users.me()


@pytest.mark.parametrize(
    ("body", "words"),
    [({"success": False, "errors": "Token is invalid"}, "Token is invalid"), (b"No entry", "No entry")],
)
async def test_the_text_of_a_refused_token_is_in_the_error(fake, logins, body, words):
    """This holds for access tokens and renewed logins, for JSON and plain text."""
    fake.answers("GET", "installations/5/tags", body, status=401)
    async with VRMClient(token=TOKEN, base_url=fake.url) as fixed, login_client(fake) as renewed:
        for vrm in (fixed, renewed):
            with pytest.raises(AuthFailed, match=words) as refused:
                await vrm.tags.get(5)
            assert (refused.value.status, refused.value.operation) == (401, "tags.get")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"success": False, "errors": {"username": ["is required"]}}, "username: is required"),
        (b"Too short", "Too short"),
        ({"success": False, "errors": "Wrong S3CRET-PASS for anna"}, "Wrong *** for anna"),
        (b"you sent s3cret-", ""),
    ],
)
async def test_the_text_of_a_refused_login_is_in_the_error_without_secrets(fake, body, words):
    """VRM's text about the request is quoted; secrets in it are masked."""
    fake.answers("POST", "auth/login", body, status=400)
    async with login_client(fake) as vrm:
        with pytest.raises(InvalidCredentials) as refused:
            await vrm.users.me()
    assert refused.value.vendor_message == words
    assert str(refused.value).count("'") == (2 if words else 0)
    assert "s3cret" not in str(refused.value).casefold()


async def test_a_second_factor_is_required(fake, two_factor):
    """Without a code the login raises `TwoFactorRequired`; with the code the client continues."""
    async with login_client(fake) as vrm:
        with pytest.raises(TwoFactorRequired) as wanted:
            await vrm.users.me()
        assert wanted.value.sent is True
        assert wanted.value.operation is not None
        result = await vrm.auth.login(sms_token=" 123456 ")
        assert (result.user_id, result.verification_mode) == (22, "sms")
        assert (await vrm.users.me()).id == 22
    assert fake.asked_for("auth/login")[-1].json["sms_token"] == "123456"


async def test_a_code_is_used_once(fake, two_factor):
    """A later login requires a new code; the old one is not sent again."""
    async with login_client(fake, sms_token="123456") as vrm:
        assert (await vrm.users.me()).id == 22
        fake.answers("GET", "users/me", knows_token("forgotten"))
        with pytest.raises(TwoFactorRequired):
            await vrm.users.me()
        await vrm.auth.login(sms_token="654321")
        assert (await vrm.users.me()).id == 22
    sent = [asked.json.get("sms_token") for asked in fake.asked_for("auth/login")]
    assert sent == ["123456", None, "654321"]


async def test_a_wrong_code_is_invalid_credentials(fake, two_factor):
    """A refused code is `InvalidCredentials`, not `TwoFactorRequired`."""
    async with login_client(fake, sms_token="000000") as vrm:
        with pytest.raises(InvalidCredentials):
            await vrm.users.me()


async def test_a_refusal_after_a_used_code_requires_a_new_one(fake, two_factor):
    """If VRM refuses a login without a code after one with a code, the error is `TwoFactorRequired`."""
    async with login_client(fake, sms_token="123456") as vrm:
        await vrm.users.me()
        fake.answers("GET", "users/me", knows_token("forgotten"))
        fake.answers("POST", "auth/login", {"success": False, "errors": "no"}, status=401)
        with pytest.raises(TwoFactorRequired) as wanted:
            await vrm.users.me()
    assert wanted.value.sent is False


async def test_the_demo_logs_in_without_a_name(fake):
    """The demo login is a GET; its token is a bearer token."""
    fake.answers("GET", "auth/loginAsDemo", {"token": "demo-token"})
    with pytest.warns(DeprecationWarning, match="token="):
        vrm = VRMClient(demo=True, base_url=fake.url)
    async with vrm:
        await vrm.users.me()
    assert fake.asked[-1].authorization == "Bearer demo-token"


async def test_logout_is_a_post_and_else_a_get(fake, logins):
    """VRM's documents name both; GET is sent if POST is not allowed."""
    fake.answers("POST", "auth/logout", {"success": False}, status=405)
    fake.answers("GET", "auth/logout", {"token": None})
    async with login_client(fake) as vrm:
        await vrm.users.me()
        await vrm.auth.logout()
    assert [asked.method for asked in fake.asked_for("auth/logout")] == ["POST", "GET"]
    assert {asked.authorization for asked in fake.asked_for("auth/logout")} == {"Bearer bearer-1"}


async def test_logout_sends_one_request(fake, logins):
    """A successful POST is the only request; without a login nothing is sent."""
    fake.answers("POST", "auth/logout", {"success": True})
    async with login_client(fake) as vrm:
        await vrm.auth.logout()
        assert fake.asked == []
        await vrm.users.me()
        await vrm.auth.logout()
        await vrm.auth.logout()
    assert [asked.method for asked in fake.asked_for("auth/logout")] == ["POST"]


async def test_after_a_logout_the_old_token_is_never_sent_again(fake, logins):
    """Later calls of all clients of the account log in, even if VRM would accept the old token."""
    fake.answers("POST", "auth/logout", {"success": True})
    async with SessionPool() as pool:
        one, two = login_client(fake, pool), login_client(fake, pool)
        await one.users.me()
        await one.auth.logout()
        await asyncio.gather(two.users.me(), one.users.me(), two.users.me())
    assert [asked.authorization for asked in fake.asked_for("users/me")] == [
        "Bearer bearer-1",
        "Bearer bearer-2",
        "Bearer bearer-2",
        "Bearer bearer-2",
    ]


@pytest.mark.parametrize(
    ("status", "body", "forgotten"),
    [
        (403, {"success": False, "errors": "no"}, False),
        (501, b"", False),
        (200, {"success": False, "errors": "no"}, False),
        (200, b"", True),
        (200, b"<html></html>", True),
    ],
)
async def test_a_logout_that_failed(fake, logins, status, body, forgotten):
    """It raises. The token is kept if VRM refused the logout, and dropped if it may be revoked."""
    fake.answers("POST", "auth/logout", body, status=status)
    async with SessionPool(attempts=1) as pool:
        vrm = login_client(fake, pool)
        await vrm.users.me()
        with pytest.raises(EnergyError):
            await vrm.auth.logout()
        await vrm.users.me()
    assert fake.asked_for("users/me")[-1].authorization == f"Bearer bearer-{2 if forgotten else 1}"


async def test_an_access_token_neither_logs_in_nor_out(fake):
    """Login and logout of a client with an access token are ValueErrors."""
    async with VRMClient(token=TOKEN, base_url=fake.url) as vrm:
        with pytest.raises(ValueError, match="access token"):
            await vrm.auth.login()
        with pytest.raises(ValueError, match="access token"):
            await vrm.auth.logout()
    assert fake.asked == []


async def test_no_secret_is_shown(fake, two_factor, caplog):
    """Log, repr, errors and pickles contain no password, code or token."""
    caplog.set_level(logging.DEBUG)
    secrets = ("s3cret-pass", "123456", "bearer-1")
    seen = []
    async with SessionPool() as pool:
        vrm = login_client(fake, pool, sms_token="123456")
        await vrm.users.me()
        fake.answers("GET", "users/me", knows_token("forgotten"))
        with pytest.raises(TwoFactorRequired) as wanted:
            await vrm.users.me()
        error = wanted.value
        seen += [
            repr(vrm),
            repr(vars(vrm)),
            repr(vars(vrm.auth)),
            repr(pool),
            repr(pool.stats()),
            caplog.text,
        ]
        seen += [
            str(error),
            repr(error),
            repr(vars(error)),
            repr(pickle.dumps(error)),
            repr(copy.copy(error)),
        ]
        seen += [repr(error.__cause__), repr(error.__context__)]
    for text in seen:
        for secret in secrets:
            assert secret not in text


def test_only_repeatable_operations_are_declared_repeatable():
    """A login with a one-time code and a logout are not repeatable."""
    assert LOGIN.repeatable
    assert not LOGIN_WITH_CODE.repeatable
    assert not LOGOUT.repeatable

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aioresponses import aioresponses
from attrs import evolve

from energy_core.codec.drift import report
from energy_core.codec.json import JSON, TypedDecoder
from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    DecodeError,
    InvalidCredentials,
    NoData,
    NotFound,
    RateLimited,
    RequestError,
    ServerFault,
    UnexpectedRedirect,
)
from energy_core.http.client import ApiClient
from energy_core.http.credential import Credential, Grant
from energy_core.http.operation import Operation, Response
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.secret import Secret
from energy_core.url import parse_base_url

URL = "https://api.acme.example/v2/"
LIMIT = RateLimit(100, 10.0)
GET = Operation(vendor="acme", name="things.get", method="GET", path="things/{id}", repeatable=True)
POST = Operation(vendor="acme", name="things.create", method="POST", path="things", repeatable=False)


def envelope(response: Response, answer: JSON, _operation: Operation) -> None:
    """The invented vendor's rule: `success: false` is a refusal whatever the status is."""
    if isinstance(answer, dict) and answer.get("success") is False:
        code = str(answer.get("error_code"))
        kinds: dict[str, type[RequestError]] = {"no_data": NoData, "bad_login": InvalidCredentials}
        raise kinds.get(code, AnswerError)("the vendor said no", error_code=code)


def token() -> Credential:
    return Credential(grant=Grant(token=Secret("t"), headers={"X-Authorization": Secret("Token t")}))


@pytest.fixture
async def pool() -> AsyncIterator[SessionPool]:
    async with SessionPool(random=lambda: 0.0) as pool:
        yield pool


@pytest.fixture
def client(pool: SessionPool) -> ApiClient:
    base = parse_base_url(URL)
    return ApiClient(pool, pool.account(base.origin, "me", LIMIT, token), base, vendor="acme", check=envelope)


def as_it_is(answer: JSON) -> JSON:
    return answer


async def test_call(client: ApiClient, mocked: aioresponses) -> None:
    """A call fills path and query, authenticates the request and passes the answer to the model."""
    mocked.get(f"{URL}things/7?a%5B%5D=x&a%5B%5D=y", payload={"records": [1, 2]})
    records = await client.call(
        GET, lambda answer: answer["records"], query=[("a[]", "x"), ("a[]", "y")], id=7
    )  # type: ignore[index,call-overload]
    assert records == [1, 2]
    ((_, sent),) = mocked.requests.items()
    assert sent[0].kwargs["headers"]["X-Authorization"] == "Token t"
    assert sent[0].kwargs["allow_redirects"] is False


async def test_call_with_a_body(client: ApiClient, mocked: aioresponses) -> None:
    """A JSON body is sent as it was given."""
    mocked.post(f"{URL}things", payload={"id": 1})
    assert await client.call(POST, as_it_is, json={"name": "new"}) == {"id": 1}
    ((_, sent),) = mocked.requests.items()
    assert sent[0].kwargs["json"] == {"name": "new"}


@pytest.mark.parametrize("status", [200, 400, 404])
async def test_envelope_comes_before_the_status(client: ApiClient, mocked: aioresponses, status: int) -> None:
    """The vendor's envelope counts more than the status, with 200 as with 404."""
    mocked.get(f"{URL}things/7", status=status, payload={"success": False, "error_code": "no_data"})
    with pytest.raises(NoData) as caught:
        await client.call(GET, as_it_is, id=7)
    error = caught.value
    assert (error.vendor, error.operation, error.method, error.path) == (
        "acme",
        "things.get",
        "GET",
        "things/{id}",
    )
    assert (error.status, error.error_code, error.attempts) == (status, "no_data", 1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (404, NotFound), (405, AnswerError), (410, AnswerError), (422, BadRequest)],
)
async def test_status_without_an_envelope(
    client: ApiClient, mocked: aioresponses, status: int, kind: type[RequestError]
) -> None:
    """A refusal in HTML, or in JSON that the envelope rule accepts, is judged by its status."""
    for options in ({"body": "<html>", "content_type": "text/html"}, {"payload": {"message": "no"}}):
        mocked.get(f"{URL}things/7", status=status, **options)
        with pytest.raises(kind) as caught:
            await client.call(GET, as_it_is, id=7)
        assert type(caught.value) is kind
        assert caught.value.status == status


async def test_fault_of_the_server(client: ApiClient, mocked: aioresponses) -> None:
    """Three 503s are one error; two and a 200 are a result."""
    mocked.get(f"{URL}things/7", status=503, repeat=2)
    mocked.get(f"{URL}things/7", payload={"fine": True})
    assert await client.call(GET, as_it_is, id=7) == {"fine": True}
    mocked.get(f"{URL}things/7", status=503, repeat=3)
    with pytest.raises(ServerFault):
        await client.call(GET, as_it_is, id=7)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (aiohttp.ServerDisconnectedError(), "ConnectionLost"),
        (aiohttp.ClientPayloadError(), "ConnectionLost"),
        (TimeoutError(), "DeadlineExceeded"),
        (aiohttp.ClientError(), "ConnectionLost"),
        (OSError(), "ConnectionLost"),
        (KeyError("odd"), "TransportError"),
    ],
)
async def test_exceptions_become_ours(
    client: ApiClient, mocked: aioresponses, failure: Exception, kind: str
) -> None:
    """Any exception of aiohttp arrives as one of our errors, without a chain."""
    mocked.get(f"{URL}things/7", exception=failure, repeat=True)
    with pytest.raises(RequestError) as caught:
        await client.call(GET, as_it_is, id=7)
    assert type(caught.value).__name__ == kind
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


async def test_an_error_of_the_model_gets_the_context(client: ApiClient, mocked: aioresponses) -> None:
    """A DecodeError of the model gets operation, path and status of the call."""

    def refusing(_answer: JSON) -> None:
        raise DecodeError("no list where one must be", kind="shape")

    mocked.get(f"{URL}things/7", payload={})
    with pytest.raises(DecodeError) as caught:
        await client.call(GET, refusing, id=7)
    assert (caught.value.kind, caught.value.operation, caught.value.status) == ("shape", "things.get", 200)


async def test_drift_is_collected(client: ApiClient, mocked: aioresponses) -> None:
    """Drift that a model reports is counted in the client of the call."""

    def noting(_answer: JSON) -> str:
        report("Thing", "size", "a string for a number")
        return "read"

    mocked.get(f"{URL}things/7", payload={}, repeat=True)
    assert await client.call(GET, noting, id=7) == "read"
    await client.call(GET, noting, id=7)
    assert client.drift.counts == {("Thing", "size", "a string for a number"): 2}


async def test_strict_client(pool: SessionPool, mocked: aioresponses) -> None:
    """A strict client raises on drift and on duplicate keys."""
    base = parse_base_url(URL)
    account = pool.account(base.origin, "me", LIMIT, token)
    strict = ApiClient(pool, account, base, vendor="acme", strict=True)
    mocked.get(f"{URL}things/7", payload={})
    with pytest.raises(DecodeError) as caught:
        await strict.call(GET, lambda _: report("Thing", "size", "odd"), id=7)
    assert (caught.value.kind, caught.value.vendor) == ("drift", "acme")
    mocked.get(f"{URL}things/7", body='{"a": 1, "a": 2}')
    with pytest.raises(DecodeError) as caught:
        await strict.call(GET, as_it_is, id=7)
    assert caught.value.kind == "duplicate_key"


async def test_masking_stops_after_64_kib(client: ApiClient, mocked: aioresponses) -> None:
    """An error quotes the beginning of a refusal only, so texts after 64 KiB are replaced altogether."""
    seen: list[JSON] = []

    def noting(_response: Response, answer: JSON, _operation: Operation) -> None:
        seen.append(answer)
        raise AnswerError("no")

    client.check = noting
    client.account.credential.mask_secret(Secret("hunter2"))
    errors = ["of hunter2", *(["x" * 84] * 5000)]
    mocked.get(f"{URL}things/7", status=400, payload={"errors": errors, "success": False, "error_code": "y"})
    with pytest.raises(AnswerError):
        await client.call(GET, as_it_is, id=7)
    (answer,) = seen
    assert isinstance(answer, dict)
    assert (answer["success"], answer["error_code"]) == (False, "y")
    assert answer["errors"][:2] == ["of ***", "x" * 84]  # type: ignore[index, call-overload]
    assert set(answer["errors"][700:]) == {"***"}  # type: ignore[index, call-overload]


async def test_large_answers_are_read_off_the_loop(client: ApiClient, mocked: aioresponses) -> None:
    """Above one MiB parsing and structuring run in a thread; drift and errors arrive as usual."""

    def noting(_answer: JSON) -> int:
        report("Thing", "size", "large")
        return threading.get_ident()

    mocked.get(f"{URL}things/7", body='"' + "x" * 1_100_000 + '"')
    mocked.get(f"{URL}things/7", body='"small"')
    mocked.get(f"{URL}things/7", body='"' + "x" * 1_100_000)
    assert await client.call(GET, noting, id=7) != threading.get_ident()
    assert await client.call(GET, noting, id=7) == threading.get_ident()
    assert client.drift.total == 2
    with pytest.raises(DecodeError) as caught:
        await client.call(GET, noting, id=7)
    assert caught.value.operation == "things.get"


async def test_an_answer_of_brackets_is_refused(client: ApiClient, mocked: aioresponses) -> None:
    """A large answer of little but brackets is refused before any decoder sees it."""

    def never(_answer: object) -> None:
        raise AssertionError("a crowded answer was read")

    mocked.get(f"{URL}things/7", body=b"[" + b"[]," * 300_000 + b"1]")
    with pytest.raises(DecodeError) as caught:
        await client.call(GET, TypedDecoder(never, never), id=7)
    assert (caught.value.kind, caught.value.operation) == ("containers", "things.get")


async def test_open(client: ApiClient, mocked: aioresponses) -> None:
    """`open` returns the body in pieces, and raises a refusal before the block is entered."""
    mocked.get(f"{URL}things/7", body=b"a;b\r\n1;2\r\n", content_type="text/csv")
    async with client.open(GET, id=7) as download:
        assert await download.read() == b"a;b\r\n1;2\r\n"
        assert await download.read() == b""
    mocked.get(f"{URL}things/7", status=400, payload={"success": False, "error_code": "no_data"})
    with pytest.raises(NoData) as caught:
        await client.open(GET, id=7).__aenter__()
    assert caught.value.status == 400


async def test_open_without_entering_sends_nothing(client: ApiClient) -> None:
    """An `open` that is never entered sends nothing and leaves nothing."""
    opening = client.open(GET, id=7)
    await opening.__aexit__(None, None, None)


@pytest.mark.parametrize(("status", "kind"), [(307, UnexpectedRedirect), (429, RateLimited)])
async def test_redirects_and_429s_do_not_reach_the_envelope_rule(
    client: ApiClient, mocked: aioresponses, status: int, kind: type[RequestError]
) -> None:
    """The pool raises their errors itself."""
    mocked.get(f"{URL}things/7", status=status, headers={"Retry-After": "999"}, payload={"success": False})
    with pytest.raises(kind):
        await client.call(GET, as_it_is, id=7)


@pytest.mark.parametrize(
    ("options", "form", "words"),
    [
        ({"payload": {"success": False, "error_code": "expired"}}, "json", "the vendor said no"),
        ({"payload": {"message": "unread by the rule"}}, "json", "the server refused"),
        (
            {"body": "No entry", "content_type": "text/plain"},
            "text",
            "the server refused: 'No entry'",
        ),
        ({"body": "<html>Who are you?</html>", "content_type": "text/html"}, "html", "the server refused"),
        ({"body": ""}, "empty", "the server refused"),
    ],
)
async def test_a_refusal_has_the_vendors_message_and_its_format(
    client: ApiClient, mocked: aioresponses, options: dict[str, object], form: str, words: str
) -> None:
    """JSON is read by the envelope rule, plain text is quoted, HTML is not; with a 401 as with a 400."""
    for status, kind in ((401, AuthFailed), (400, BadRequest)):
        mocked.get(f"{URL}things/7", status=status, **options)
        with pytest.raises(RequestError) as caught:
            await client.call(GET, as_it_is, id=7)
        error = pickle.loads(pickle.dumps(caught.value))
        assert (error.body_format, error.message, error.status) == (form, words, status)
        assert error.vendor_message == ("No entry" if form == "text" else "")
        assert isinstance(error, AnswerError if words == "the vendor said no" else kind)


async def test_a_login_is_never_quoted(pool: SessionPool, mocked: aioresponses) -> None:
    """A server's answer to a login may repeat the password."""
    base = parse_base_url(URL)
    client = ApiClient(pool, pool.account(base.origin, "me", LIMIT, token), base, vendor="acme")
    mocked.get(f"{URL}things/7", status=400, body="wrong hunter2", content_type="text/plain", repeat=True)
    for facts in ({"authenticated": False}, {"name": "auth.request"}, {"hides": (Secret("Hunter2"),)}):
        with pytest.raises(BadRequest) as caught:
            await client.call(evolve(GET, **facts), as_it_is, id=7)
        assert (caught.value.message, caught.value.vendor_message) == ("the server refused", "")


@pytest.mark.parametrize(
    ("words", "secrets", "quoted"),
    [
        ("validity must be a number", ["hunter2"], True),
        ("wrong password", ["hunter2"], True),
        ("wrong HUNTER2", ["hunter2"], False),
        ("ends with nter", ["hunter2"], False),
        ("hun***", ["hunter2"], True),
        ("the code 123456 is wrong", ["hunter2", "123456"], False),
        ("anything", ["abc"], False),
        ("anything", [""], False),
    ],
)
def test_messages_that_share_characters_with_a_secret_are_not_quoted(
    words: str, secrets: list[str], *, quoted: bool
) -> None:
    """Four shared characters are too many; a shorter secret counts as contained."""
    login = evolve(GET, authenticated=False, hides=tuple(map(Secret, secrets)))
    assert login.quote(words) == (words if quoted else "")
    assert "hunter2" not in repr(login)


async def test_accounts_are_shared(pool: SessionPool) -> None:
    """All clients of an account share its rate limiter, credential and budget."""
    made: list[Credential] = []

    def make() -> Credential:
        made.append(token())
        return made[-1]

    first = pool.account("https://a.example", "me", LIMIT, make)
    assert pool.account("https://a.example", "me", RateLimit(100, 10.0), make) is first
    assert pool.account("https://b.example", "me", LIMIT, make).limiter is not first.limiter
    assert pool.account("https://a.example", "you", LIMIT, make).credential is not first.credential
    assert len(made) == 3
    with pytest.raises(ValueError, match="already has"):
        pool.account("https://a.example", "me", RateLimit(100, 11.0), make)
    assert set(pool.stats().limiters) == {
        ("https://a.example", "me"),
        ("https://b.example", "me"),
        ("https://a.example", "you"),
    }


@pytest.mark.virtual_time
async def test_handshakes_are_spread() -> None:
    """A hundred streams that reconnect at once are admitted ten a second; that costs no request."""
    pool = SessionPool(random=lambda: 0.0)
    account = pool.account("https://a.example", "me", RateLimit(1000, 1000.0), token)
    clock = asyncio.get_running_loop().time
    admitted: list[float] = []

    async def come_back() -> None:
        await pool.admit(account)
        admitted.append(clock())

    await asyncio.gather(*(come_back() for _ in range(100)))
    assert sum(at < 0.05 for at in admitted) <= 11
    assert 8.5 < max(admitted) < 9.5
    assert account.limiter.stats().granted == 0
    await pool.aclose()


def test_zero_attempts_are_refused() -> None:
    """A pool needs at least one attempt."""
    with pytest.raises(ValueError, match="attempts"):
        SessionPool(attempts=0)


async def test_reprs(client: ApiClient, pool: SessionPool) -> None:
    """Client and pool show account, address and state."""
    assert repr(client) == f"<ApiClient of acme, account 'me' at {URL}>"
    assert repr(pool) == "<SessionPool open, 1 accounts, 0 calls in flight>"

from __future__ import annotations

import asyncio
import copy
import gzip
import html
import io
import json
import logging
import pickle
import re
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

import aiohttp
import pytest
from attrs import evolve

from energy_core.errors import AuthFailed, ClientClosed, DecodeError, EnergyError, RequestError
from energy_core.http.client import ApiClient
from energy_core.http.credential import Credential, Grant
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.secret import Secret, masked
from energy_core.url import parse_base_url
from tests.faults.conftest import Connect, Serve
from tests.servers.fault_server import (
    CLOCK,
    Act,
    Conversation,
    FaultServer,
    always,
    answer,
    drip,
    hang,
    head,
    raw,
    reset,
)
from tests.servers.invented_vendor import CREATE, FAST, READ, REVOKE, SENTINEL, WIDE, as_it_is, fixed_token
from voltstorage_async import VoltStorageClient
from voltstorage_async.websocket import ProductEndpoint
from vrm_async import VRMClient

IMPATIENT = evolve(FAST, read_timeout_s=0.1, min_bytes_per_s=10_000.0, slow_after_s=0.05)
PASSWORD = SENTINEL + "-password"


def echoing(status: int, where: str) -> Act:
    """An answer that repeats everything it was sent: as body, header, reason or redirect."""

    async def act(talk: Conversation) -> bool:
        text = f"{talk.request.target} {talk.request.headers['x-authorization']} {talk.request.body.decode()}"
        if where == "reason":
            await talk.send(f"HTTP/1.1 {status} {text}\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        headers = [("Location", text), ("X-Said", text)] if where == "header" else []
        return await answer(status, text if where == "body" else None, headers)(talk)

    return act


FAULTS: dict[str, Act] = {
    **{
        f"status {status}": answer(status)
        for status in (101, 204, 301, 400, 401, 403, 404, 409, 429, 500, 503)
    },
    **{
        f"echo in the {where} of {status}": echoing(status, where)
        for where in ("body", "header", "reason")
        for status in (200, 307, 400, 401, 429, 502)
    },
    "reset": reset(),
    "closed": raw(b""),
    "hang": hang(),
    "reset in the head": raw(b"HTTP/1.1 200 OK\r\nContent-", "reset"),
    "reset in the body": raw(head(200, length=99) + b"{", "reset"),
    "short body": raw(head(200, length=99) + b"{"),
    "silence in the body": raw(head(200, length=99) + b"{", "hang"),
    "trickle": drip(head(200, length=10**6)),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "bad status line": raw(b"HTTP/1.1 abc OK\r\n\r\n"),
    "bad chunk": raw(head(200, [("Transfer-Encoding", "chunked")]) + b"zz\r\n"),
    "bad length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
    "endless header": raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n"),
    "header bomb": raw(head(200, [(f"X-{number}", "y") for number in range(5000)], length=0)),
    "truncated JSON": answer(200, '{"a": '),
    "HTML": answer(200, "<html>", content_type="text/html"),
    "empty": answer(200, ""),
    "bad gzip": raw(head(200, [("Content-Encoding", "gzip")], length=4) + b"oops"),
    "gzip bomb": answer(200, gzip.compress(b" " * 4_000_000), [("Content-Encoding", "gzip")]),
    "unknown encoding": answer(200, headers=[("Content-Encoding", "br")]),
    "announced too large": raw(head(200, length=10**10) + b"x"),
    "cookies": answer(200, "[", [("Set-Cookie", f"session={SENTINEL}")]),
}

OPERATIONS = {
    "repeatable": evolve(READ, total_s=0.15),
    "unrepeatable": evolve(REVOKE, total_s=0.15),
    "post": evolve(CREATE, total_s=0.15, path="things/{id}"),
}


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """The root logger at DEBUG, and the event loop in debug mode, with every callback logged as slow."""
    sink = io.StringIO()
    handler = logging.StreamHandler(sink)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield sink
    root.removeHandler(handler)
    root.setLevel(before)


async def outcome_of(call: Awaitable[object]) -> BaseException | None:
    try:
        await call
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  (whatever it is, it is looked through)
        return error
    return None


def texts_of(error: BaseException | None, seen: set[int] | None = None) -> Iterator[str]:
    """All texts that an exception and its chain can produce."""
    seen = set() if seen is None else seen
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield f"{error} {error!r} {vars(error)!r} {error.args!r} {copy.copy(error)!r}"
    yield repr(pickle.dumps(error))
    printed = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=True)
    yield "".join(printed.format())
    yield from texts_of(error.__cause__, seen)
    yield from texts_of(error.__context__, seen)


def texts_about(client: ApiClient) -> str:
    pool, account = client.pool, client.account
    things = (
        client,
        vars(client),
        pool,
        vars(pool),
        account,
        account.credential,
        account.limiter,
        pool.stats(),
    )
    return " ".join(f"{thing} {thing!r}" for thing in things) + repr(vars(account.credential))


def assert_no_secret(text: str) -> None:
    where = text.find(SENTINEL)
    assert where < 0, text[max(0, where - 400) : where + 100]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_failures_show_no_secret(
    serve: Serve, connect: Connect, everything_logged: io.StringIO, fault: str, operation: str
) -> None:
    """After any failure, token and password are in no message, repr, local variable, pickle or log line."""
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 0.0
    server = await serve(always(FAULTS[fault]))
    client = connect(server, max_retry_after_s=0.01, timeouts=IMPATIENT)
    body = {"password": PASSWORD} if operation == "post" else None
    error = await outcome_of(client.call(OPERATIONS[operation], as_it_is, json=body, id=7))
    assert isinstance(error, RequestError) or (
        error is None and fault in {"status 204", "echo in the header of 200"}
    )
    for text in texts_of(error):
        assert_no_secret(text)
    streamed = await outcome_of(opened(client, operation))
    for text in texts_of(streamed):
        assert_no_secret(text)
    assert_no_secret(texts_about(client))
    assert_no_secret(everything_logged.getvalue())
    assert any(SENTINEL in str(request) for request in server.requests)


async def opened(client: ApiClient, operation: str) -> None:
    async with client.open(OPERATIONS[operation], id=7) as download:
        async for _ in download.chunks():
            assert_no_secret(repr(download) + repr(download.chunks()))


async def cancelled(client: ApiClient) -> None:
    call = asyncio.create_task(client.call(READ, as_it_is, id=7))
    await CLOCK.sleep(0.03)
    call.cancel()
    await call


async def closed_under_way(client: ApiClient) -> None:
    call = asyncio.create_task(client.call(READ, as_it_is, id=7))
    await CLOCK.sleep(0.03)
    await client.pool.aclose(grace_s=0.0)
    await call


async def held_too_long(client: ApiClient) -> None:
    client.account.limiter.hold(500.0)
    await client.call(READ, as_it_is, id=7)


async def closed_before(client: ApiClient) -> None:
    await client.pool.aclose()
    await client.call(READ, as_it_is, id=7)


async def model_that_breaks(client: ApiClient) -> None:
    def broken(_answer: object) -> None:
        raise ZeroDivisionError

    await client.call(READ, broken, id=7)


LIFE: dict[str, tuple[Callable[[ApiClient], Awaitable[None]], Act]] = {
    "cancelled waiting": (cancelled, hang()),
    "cancelled reading": (cancelled, drip(head(200, length=10**6))),
    "closed under way": (closed_under_way, hang()),
    "held too long": (held_too_long, answer()),
    "closed before": (closed_before, answer()),
    "a fault in the model": (model_that_breaks, answer()),
}


@pytest.mark.parametrize("event", LIFE)
async def test_ordinary_use_shows_no_secret(
    serve: Serve, connect: Connect, everything_logged: io.StringIO, event: str
) -> None:
    """Cancelling, closing, holding and an exception in a model show no secret either."""
    live, act = LIFE[event]
    server = await serve(always(act))
    client = connect(server)
    error = await outcome_of(live(client))
    assert error is not None
    for text in texts_of(error):
        assert_no_secret(text)
    assert_no_secret(texts_about(client) + everything_logged.getvalue())


async def test_unreachable_servers_show_no_secret(
    serve: Serve, connect: Connect, everything_logged: io.StringIO
) -> None:
    """Neither does a refused connection, an unknown name, nor a server without TLS."""
    server = await serve(always(answer()))
    urls = [f"https://127.0.0.1:{server.port}/", "https://nowhere.invalid/"]
    clients = [connect(server, url=url) for url in urls]
    await server.__aexit__()
    clients.append(connect(server))
    for client in clients:
        error = await outcome_of(client.call(READ, as_it_is, id=7))
        assert isinstance(error, EnergyError)
        for text in texts_of(error):
            assert_no_secret(text)
    assert_no_secret(everything_logged.getvalue())


async def test_logins_show_no_password(
    serve: Serve, connect: Connect, everything_logged: io.StringIO
) -> None:
    """A login that fails in any way shows neither its password nor the token it returned."""
    login_operation = evolve(CREATE, path="login", authenticated=False)
    secret = Secret(PASSWORD)
    for fault in ("status 400", "status 500", "reset", "echo", "truncated JSON", "short body"):
        echo = answer(400, f'{{"errors": ["{PASSWORD}"]}}')
        server = await serve(always(FAULTS.get(fault, echo)))
        clients: list[ApiClient] = []

        async def login(clients: list[ApiClient] = clients) -> Grant:
            token = await clients[0].call(
                login_operation, lambda _: secret, json={"password": secret.reveal()}
            )
            return Grant(token=token)

        clients.append(connect(server, credential=lambda login=login: Credential(login=login)))
        error = await outcome_of(clients[0].call(READ, as_it_is, id=7))
        assert isinstance(error, RequestError)
        for text in texts_of(error):
            assert_no_secret(text)
        assert_no_secret(texts_about(clients[0]))
    assert_no_secret(everything_logged.getvalue())


async def test_middleware_that_fails(serve: Serve, everything_logged: io.StringIO) -> None:
    """A middleware that raises with the whole request in its message still shows nothing."""

    async def failing(
        request: aiohttp.ClientRequest, _handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        raise ValueError(f"cannot send {request.url} with {request.headers}")

    server = await serve(always(answer()))
    async with (
        aiohttp.ClientSession(middlewares=[failing]) as session,
        SessionPool(session, timeouts=FAST) as pool,
    ):
        base = parse_base_url(server.url)
        client = ApiClient(pool, pool.account(base.origin, "tester", WIDE, fixed_token), base, vendor="acme")
        error = await outcome_of(client.call(READ, as_it_is, id=7))
    assert isinstance(error, EnergyError)
    for text in texts_of(error):
        assert_no_secret(text)
    assert_no_secret(everything_logged.getvalue())
    assert not server.requests


async def test_the_search_finds_a_secret(serve: Serve) -> None:
    """The search itself works: aiohttp's own exception shows the token in several of these places."""
    async with FaultServer(always(answer(404))) as server, aiohttp.ClientSession() as session:
        error = await outcome_of(session.get(f"{server.url}?token={SENTINEL}", raise_for_status=True))
    assert sum(SENTINEL in text for text in unpickled(error)) >= 2


def unpickled(error: BaseException | None) -> Iterator[str]:
    assert error is not None
    yield f"{error} {error!r}"
    printed = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=True)
    yield "".join(printed.format())


def test_limits_of_the_account_are_public() -> None:
    """A limit shows its numbers: they are no secret."""
    assert repr(RateLimit(10, 1.0)) == "RateLimit(burst=10, per_second=1.0, in_flight=6)"
    assert issubclass(ClientClosed, EnergyError)


# --- refusals that repeat what was sent, by the real clients -----------------------------------------------

ODD = 's3nt/t0ken+"0f<n0>&0ne='
HIDDEN_PASSWORD = "pa$s/w0rd & %more"

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent-encoded in lower case": lambda text: "".join(f"%{ord(char):02x}" for char in text),
    "in a query": quote_plus,
    "JSON in a text": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "unicode escapes": lambda text: "".join(f"\\u{ord(char):04X}" for char in text),
    "HTML": html.escape,
    "HTML by number": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "a Python repr": lambda text: repr(text)[1:-1],
}

PLACES: dict[str, Callable[[str], tuple[str, str]]] = {
    "errors": lambda text: (json.dumps({"success": False, "errors": f"no access for {text}"}), JSON_TYPE),
    "nested errors": lambda text: (json.dumps({"success": False, "errors": {"a": [text]}}), JSON_TYPE),
    "a key": lambda text: (json.dumps({"success": False, "errors": {f"Bearer {text}": "no"}}), JSON_TYPE),
    "error_code": lambda text: (json.dumps({"success": False, "error_code": text}), JSON_TYPE),
    "a message": lambda text: (json.dumps({"message": f"invalid token {text}"}), JSON_TYPE),
    "cut off": lambda text: (json.dumps({"success": False, "errors": "x " * 92 + text}), JSON_TYPE),
    "far away": lambda text: (json.dumps({"errors": " " * 1990 + text}), JSON_TYPE),
    "a list": lambda text: (json.dumps([text]), JSON_TYPE),
    "text": lambda text: (f"Token {text} is not valid", "text/plain"),
    "text far away": lambda text: (" " * 1990 + text, "text/plain"),
    "a page": lambda text: (f"<html>{text}</html>", "text/html"),
    "broken JSON": lambda text: (f'{{"errors": "{text}', JSON_TYPE),
}
JSON_TYPE = "application/json"

Client = VRMClient | VoltStorageClient


def unescaped(text: str) -> str:
    """A text with every way of escaping undone."""
    for _ in range(3):
        text = html.unescape(unquote(text))
        text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text).replace("\\", "")
    return text.lower()


def assert_hidden(text: str, *secrets: str) -> None:
    plain = unescaped(text)
    for secret in secrets:
        for part in (secret[:6], secret[-6:]):
            where = plain.find(part.lower())
            assert where < 0, plain[max(0, where - 300) : where + 100]


async def first_page(client: Client) -> None:
    async for _ in client.products.list():
        return


REQUESTS: dict[str, Callable[[Client, Path], Awaitable[object]]] = {
    "vrm, a call": lambda client, _: client.users.me(),
    "vrm, a write": lambda client, _: client.installations.set_favorite(7, favorite=True),
    "vrm, anything": lambda client, _: client.request("GET", "things"),
    "vrm, a download": lambda client, folder: client.downloads.overview(folder / "x", sites=[7]),
    "volt, a call": lambda client, _: client.products.latest(7),
    "volt, a list": lambda client, _: first_page(client),
}


def sending(server: FaultServer, pool: SessionPool, request_name: str) -> Client:
    if request_name.startswith("vrm"):
        return VRMClient(pool, token=ODD, base_url=server.url, limit=WIDE)
    return VoltStorageClient(pool, token=ODD, base_url=server.url, limit=WIDE)


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_refusal_that_repeats_the_token(
    serve: Serve, everything_logged: io.StringIO, tmp_path: Path, request_name: str, spelling: str
) -> None:
    """However a refusal repeats the token, no message, local variable, pickle or log shows it."""
    text = SPELLINGS[spelling](ODD)
    for place, where in PLACES.items():
        for status in (200, 400, 401, 403, 404, 429, 500):
            body, kind = where(text)
            server = await serve(always(answer(status, body, content_type=kind)))
            async with SessionPool(timeouts=FAST, attempts=1, random=lambda: 0.0) as pool:
                error = await outcome_of(
                    REQUESTS[request_name](sending(server, pool, request_name), tmp_path)
                )
            assert isinstance(error, RequestError) or (error is None and status == 200), place
            for text in texts_of(error):
                assert_hidden(text, ODD)
    assert_hidden(everything_logged.getvalue(), ODD)


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_refused_handshake_that_repeats_the_token(spelling: str) -> None:
    """The error of a rejected handshake or a close frame contains no token, however it is written."""
    base = parse_base_url("https://volt.example/rest/")
    grant = Grant(token=Secret(ODD))
    async with SessionPool() as pool:
        account = pool.account(base.origin, "me", WIDE, lambda: Credential(grant=grant))
        link = ProductEndpoint(pool, account, "wss://volt.example/events", header=False)
        for where in PLACES.values():
            body, _ = where(SPELLINGS[spelling](ODD))
            assert_hidden(repr(link.refusal_text(body.encode())), ODD)
        assert link.refusal_text(f"no access for {ODD}".encode()).text == "no access for ***"


async def test_content_type_that_repeats_the_token(serve: Serve) -> None:
    """An error quotes the content type without a token in it, whole or truncated."""
    for before in ("text/plain", "x" * 90):
        server = await serve(always(answer(200, "{", content_type=f"{before}-{SENTINEL}")))
        async with VRMClient(token=SENTINEL, base_url=server.url) as client:
            error = await outcome_of(client.users.me())
        assert isinstance(error, DecodeError)
        assert error.content_type == f"{before}-***"
        for text in texts_of(error):
            assert_no_secret(text)


@pytest.mark.parametrize("vendor", ["vrm", "volt"])
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_refused_login_that_repeats_the_password(
    serve: Serve, everything_logged: io.StringIO, vendor: str, spelling: str
) -> None:
    """A login, explicit or automatic, shows neither password nor one-time code."""
    text = SPELLINGS[spelling](HIDDEN_PASSWORD)
    for where in PLACES.values():
        for status in (200, 400, 401, 403, 404, 429, 500):
            body, kind = where(text)
            server = await serve(always(answer(status, body, content_type=kind)))
            async with SessionPool(timeouts=FAST, attempts=1, random=lambda: 0.0) as pool:
                with warnings.catch_warnings(action="ignore"):
                    client: Client = (
                        VRMClient(
                            pool, username="a@b.c", password=HIDDEN_PASSWORD, base_url=server.url, limit=WIDE
                        )
                        if vendor == "vrm"
                        else VoltStorageClient(
                            pool, email="a@b.c", password=HIDDEN_PASSWORD, base_url=server.url, limit=WIDE
                        )
                    )
                by_hand = await outcome_of(client.auth.login())
                by_itself = await outcome_of(
                    client.users.me() if isinstance(client, VRMClient) else client.products.latest(7)
                )
            for error in (by_hand, by_itself):
                assert isinstance(error, RequestError)
                for text in texts_of(error):
                    assert_hidden(text, HIDDEN_PASSWORD)
    assert_hidden(everything_logged.getvalue(), HIDDEN_PASSWORD)


async def test_old_token_is_hidden_too(serve: Serve, connect: Connect) -> None:
    """After a renewal the previous token is masked too."""
    tokens = iter([SENTINEL, "an0ther-t0ken"])

    async def login() -> Grant:
        return Grant(token=Secret(next(tokens)))

    server = await serve(always(answer(401, f"neither {SENTINEL} nor an0ther-t0ken")))
    error = await outcome_of(
        connect(server, credential=lambda: Credential(login=login)).call(READ, as_it_is, id=7)
    )
    assert isinstance(error, AuthFailed)
    assert "an0ther-t0ken" not in "".join(texts_of(error))
    for text in texts_of(error):
        assert_no_secret(text)


def test_masking_leaves_the_rest_of_a_text() -> None:
    """The text around a secret stays; a text too short to be a secret is not masked."""
    secrets = [Secret("t0ken"), Secret("Bearer t0ken"), Secret("a")]
    assert (
        masked("no access for Bearer t0ken, or T0KEN; a t0k%65n", secrets)
        == "no access for ***, or ***; a ***"
    )
    long = "eyJ" + "x1" * 200
    assert masked(f"is {long[:150]}, not {long!r}.", [Secret(long)]) == "is *** not '***'."
    assert masked("nothing", []) == "nothing"

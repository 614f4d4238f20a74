from __future__ import annotations

import ipaddress
from pathlib import Path

import aiohttp
import pytest
from attrs import evolve

from energy_core.errors import EnergyError, TransportError
from energy_core.http.client import ApiClient
from energy_core.http.credential import Credential, Grant
from energy_core.http.pool import SessionPool
from energy_core.secret import Secret
from energy_core.url import origin_of, parse_base_url
from tests.faults.conftest import Connect, Serve
from tests.servers.fault_server import always, answer
from tests.servers.invented_vendor import READ, REVOKE, SENTINEL, WIDE, as_it_is, fixed_token

BAD_BASES = [
    "http://api.example.com/",
    "http://10.0.0.1/",
    "http://169.254.169.254/latest/",
    "http://0.0.0.0/",
    "http://127.1/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://localhost.example.com/",
    "http://[::ffff:10.0.0.1]/",
    "ftp://api.example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:70/",
    "javascript:alert(1)",
    "wss://api.example.com/",
    "//api.example.com/",
    "api.example.com",
    "https://",
    "https:///path",
    "https://user@api.example.com/",
    "https://user:word@api.example.com/",
    "https://api.example.com@evil.example/",
    "https://api.example.com\\@evil.example/",
    "https://api.example.com/?a=1",
    "https://api.example.com/?",
    "https://api.example.com/#part",
    "https://api.example.com/a/../b/",
    "https://api.example.com/%2e%2e/",
    "https://api.example.com/a//b/",
    "https://api.example.com/a%2Fb/",
    "https://api.example.com/a%5cb/",
    "https://api.example.com/%252e%252e/",
    "https://api.example.com/a%252Fb/",
    "https://api.example.com/..;x/",
    "https://api.example.com/%c0%ae%c0%ae/",
    "https://api.example.com/a%0d%0ab/",
    "https://api.example.com/a b/",
    "https://api.example.com/\r\nX-Evil: 1",
    "https://api.example.com\t/",
    " https://api.example.com/",
    "https://api.example.com:0/",
    "https://api.example.com:65536/",
    "https://api.example.com:port/",
    "https://\u0430pi.example.com/",
    "https://api.example.com/%",
    "https://[::1/",
    "https://exa_mple..com|x/",
    "",
]

BAD_PATHS = [
    "https://evil.example/",
    "//evil.example/",
    "/absolute",
    "/",
    "../other",
    "a/../../b",
    "a/%2e%2e/b",
    "a/%2E./b",
    "a/%2f/b",
    "a%2Fb",
    "a%5Cb",
    "a/..%2f..%2fb",
    "a/%252e%252e/b",
    "a/%25252e%25252e/b",
    "a%252Fb",
    "a/%2e%2e;x/b",
    "a/%c0%ae%c0%ae/b",
    "a/%C0%AFb",
    "a/b%00",
    "a/b%0d%0aX-Evil:%201",
    "a/%" + "25" * 9 + "2fb",
    "./a",
    "a//b",
    "a?b=c",
    "a#b",
    "a\\b",
    "a b",
    "a\r\nX-Evil: 1",
    "a\x00b",
    "\u0430",
    "a/%zz",
]

BAD_IDS = [
    1.0,
    7.5,
    -1,
    True,
    None,
    [],
    b"7",
    "",
    ".",
    "..",
    "a b",
    "7\r\nX-Evil: 1",
    "7\x00",
    "\x7f",
    float("nan"),
    "../8",
    "a/b",
    "a\\b",
    "https://evil.example/",
    "//evil.example",
    "%2e%2e",
    "%252e%252e",
    "..;x",
    "a%2Fb",
    "a%252fb",
    "a%5Cb",
    "7%00",
    "%c0%af",
    "%" + "25" * 9 + "2f",
]

ODD_IDS = [
    "7?x=1",
    "7#x",
    "\u0661",
    "@evil",
    "100%",
    "50%25",
    "a;b",
    "..a",
]


@pytest.mark.parametrize("text", BAD_BASES)
def test_base_url_is_refused(text: str) -> None:
    """A base URL is https to a host, or http on the loopback interface; the text is not repeated."""
    with pytest.raises(ValueError, match=r"URL|path") as caught:
        parse_base_url(text)
    assert "example" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "origin", "path"),
    [
        ("https://api.example.com/v2/", "https://api.example.com", "/v2/"),
        ("https://API.Example.com:443/v2", "https://api.example.com", "/v2/"),
        ("HTTPS://api.example.com", "https://api.example.com", "/"),
        ("https://api.example.com:8443/rest///", "https://api.example.com:8443", "/rest/"),
        ("http://127.0.0.1:80/v2/", "http://127.0.0.1", "/v2/"),
        ("http://localhost:8080", "http://localhost:8080", "/"),
        ("http://[::1]:8080/x", "http://[::1]:8080", "/x/"),
        ("https://[2001:DB8::1]/", "https://[2001:db8::1]", "/"),
    ],
)
def test_base_url_has_one_form(text: str, origin: str, path: str) -> None:
    """Spellings of one place become one: lower case, no default port, exactly one slash at the end."""
    base = parse_base_url(text)
    assert (base.origin, base.path) == (origin, path)
    assert parse_base_url(str(base)) == base
    assert origin_of(base.join("a/b", [("q", "https://x@y/?#")])) == origin


@pytest.mark.parametrize("path", BAD_PATHS)
async def test_path_cannot_leave_the_base(serve: Serve, connect: Connect, path: str) -> None:
    """An absolute or climbing path is a ValueError before anything is sent, percent-encoded or not."""
    server = await serve(always(answer()))
    with pytest.raises(ValueError, match="path"):
        await connect(server).call(READ.at(path), as_it_is)
    assert server.connections == 0


@pytest.mark.parametrize("value", BAD_IDS)
async def test_bad_id_is_never_sent(serve: Serve, connect: Connect, value: object) -> None:
    """An id that is a float, negative, empty, or could change the path raises in the call itself.

    Slashes, backslashes, dots and control characters change the path, however often they are percent-encoded.
    """
    server = await serve(always(answer()))
    with pytest.raises((TypeError, ValueError), match="id"):
        await connect(server).call(REVOKE, as_it_is, id=value)  # type: ignore[arg-type]
    assert server.connections == 0


@pytest.mark.parametrize("value", ODD_IDS)
async def test_odd_id_stays_one_part_of_the_path(serve: Serve, connect: Connect, value: str) -> None:
    """Whatever a text id contains, it arrives as one quoted part of the path and nothing else."""
    server = await serve(always(answer()))
    await connect(server).call(READ, as_it_is, id=value)
    assert server.requests[0].path.startswith("/v2/things/")
    assert server.requests[0].path.count("/") == 3
    assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"


async def test_query_cannot_break_out(serve: Serve, connect: Connect) -> None:
    """Line breaks and separators in a query arrive as data."""
    server = await serve(always(answer()))
    await connect(server).call(READ, as_it_is, query=[("a[]", "1&b=2\r\nX-Evil: 1#")], id=7)
    assert "a%5B%5D=1%26b%3D2%0D%0AX-Evil%3A+1%23" in server.requests[0].target
    assert "x-evil" not in server.requests[0].headers


async def test_credential_goes_to_its_own_origin_only(serve: Serve) -> None:
    """With another origin an authenticated operation is not sent, and any other without the credential."""
    home, elsewhere = await serve(always(answer())), await serve(always(answer()))
    async with SessionPool() as pool:
        account = pool.account(parse_base_url(home.url).origin, "tester", WIDE, fixed_token)
        client = ApiClient(pool, account, parse_base_url(elsewhere.url), vendor="acme")
        with pytest.raises(ValueError, match="origin"):
            await client.call(READ, as_it_is, id=7)
        assert elsewhere.connections == 0
        await client.call(evolve(READ, authenticated=False), as_it_is, id=7)
    assert SENTINEL not in str(elsewhere.requests[0])


async def test_middleware_cannot_change_the_origin(serve: Serve) -> None:
    """If a middleware of an injected session changes the target, nothing is sent."""
    home, elsewhere = await serve(always(answer())), await serve(always(answer()))

    async def meddling(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.url = request.url.with_port(elsewhere.port)
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=[meddling]) as session, SessionPool(session) as pool:
        base = parse_base_url(home.url)
        client = ApiClient(pool, pool.account(base.origin, "tester", WIDE, fixed_token), base, vendor="acme")
        for operation in (READ, REVOKE):
            with pytest.raises(TransportError, match="origin") as caught:
                await client.call(operation, as_it_is, id=7)
            assert type(caught.value) is TransportError
    assert home.requests == elsewhere.requests == []


async def test_only_the_given_server_is_connected_to(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proxies of the environment and a .netrc are not used, and no cookie is kept."""
    proxy = await serve(always(answer()))
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password from-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.origin)
    server = await serve(
        always(answer(headers=[("Set-Cookie", "session=abc; Path=/"), ("Set-Cookie", "x=y")]))
    )
    client = connect(server)
    for _ in range(2):
        await client.call(READ, as_it_is, id=7)
    assert proxy.connections == 0
    assert len(server.requests) == 2
    for request in server.requests:
        assert "cookie" not in request.headers
        assert "authorization" not in request.headers
        assert request.headers["x-authorization"] == f"Token {SENTINEL}"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00", "\u00e4", "\u2028"])
async def test_token_that_cannot_be_a_header(serve: Serve, connect: Connect, value: str) -> None:
    """A token with a line break is a ValueError that does not repeat it, and is never sent."""
    server = await serve(always(answer()))
    secret = Secret(value)
    client = connect(
        server, credential=lambda: Credential(grant=Grant(token=secret, headers={"X-Auth": secret}))
    )
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        await client.call(READ, as_it_is, id=7)
    assert not isinstance(caught.value, EnergyError)
    assert value not in str(caught.value)
    assert server.connections == 0


def test_loopback_is_an_address() -> None:
    """The whole loopback network counts as this machine, for plain http."""
    assert parse_base_url("http://127.8.9.1:1234/").origin == "http://127.8.9.1:1234"
    assert ipaddress.ip_address("127.8.9.1").is_loopback

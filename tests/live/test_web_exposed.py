"""The relay where others can reach it: TLS, and behind a reverse proxy."""

import ssl

import aiohttp
import pytest
import trustme

from energy_core.secret import Secret
from energy_live.runner import UsageError
from energy_live.web.access import ListenOptions
from energy_live.web.homes import Homes
from energy_live.web.serve import parse_home
from energy_live.web.server import WebServer

TOKEN = "a-long-random-token-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PUBLIC = "https://energy.example.org"


@pytest.fixture
def certificate(tmp_path):
    """A certificate of 127.0.0.1, and a context that trusts it."""
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), context


async def test_with_tls_and_a_token_others_may_be_let_in(certificate):
    """All addresses of the machine; without the token nothing but the health."""
    cert, key, context = certificate
    options = ListenOptions(host="0.0.0.0", port=0, token=Secret(TOKEN), tls_cert=cert, tls_key=key)
    async with WebServer(options, Homes()) as server, aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{server.port}/"
        for headers, status in (({}, 401), (BEARER, 200)):
            async with session.get(url + "state", headers=headers, ssl=context) as answer:
                assert answer.status == status
        async with session.ws_connect(url + "events", headers=BEARER, ssl=context) as socket:
            assert (await socket.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT
        async with session.get(
            url + "state", headers=BEARER | {"Host": "evil.example"}, ssl=context
        ) as answer:
            assert answer.status == 421


async def test_a_missing_certificate_is_an_error_before_listening(tmp_path):
    """The file is named by the system's error."""
    options = ListenOptions(port=0, tls_cert=str(tmp_path / "none.pem"), tls_key=str(tmp_path / "none.key"))
    with pytest.raises(FileNotFoundError):
        async with WebServer(options, Homes()):
            pass


async def test_behind_a_proxy_only_the_public_name_is_known():
    """`Host` and `Origin` are those of the public address; the links lead there."""
    options = ListenOptions(port=0, token=Secret(TOKEN), behind_proxy=True, public_url=PUBLIC)
    async with WebServer(options, Homes()) as server, aiohttp.ClientSession() as session:
        assert server.url == f"{PUBLIC}/"
        own = f"http://127.0.0.1:{server.port}/"
        for headers, status in (
            ({}, 421),
            ({"Host": "energy.example.org"}, 200),
            ({"Host": "energy.example.org:443"}, 200),
            ({"Host": "energy.example.org", "Origin": PUBLIC}, 200),
            ({"Host": "energy.example.org", "Origin": "http://energy.example.org:1"}, 403),
            ({"Host": "energy.example.org.evil.example"}, 421),
        ):
            async with session.get(own + "state", headers=BEARER | headers) as answer:
                assert answer.status == status, headers
        headers = BEARER | {"Host": "energy.example.org"}
        async with session.post(own + "link", headers=headers) as answer:
            assert (await answer.json())["url"].startswith(f"{PUBLIC}/login?code=")


async def test_behind_a_proxy_requests_are_limited_by_the_real_address():
    """The last entry of `X-Forwarded-For` is the proxy's; what a client writes before it does not count."""
    options = ListenOptions(port=0, token=Secret(TOKEN), behind_proxy=True, public_url=PUBLIC, max_requests=2)
    async with WebServer(options, Homes()) as server, aiohttp.ClientSession() as session:
        statuses = []
        for address in ("1.1.1.1, 9.9.9.9", "2.2.2.2, 9.9.9.9", "3.3.3.3, 9.9.9.9", "9.9.9.9, 8.8.8.8"):
            headers = BEARER | {"Host": "energy.example.org", "X-Forwarded-For": address}
            async with session.get(f"http://127.0.0.1:{server.port}/healthz", headers=headers) as answer:
                statuses.append(answer.status)
    assert statuses == [200, 200, 429, 200]


@pytest.mark.parametrize("text", ["Haus", "=vrm/1", "Haus=vrm", "Haus=vrm/1/2", "Haus=vrm/1,", "Haus=/1"])
def test_a_wrong_home_is_a_usage_error(text):
    """The message shows the form."""
    with pytest.raises(UsageError, match="--home"):
        parse_home(text)

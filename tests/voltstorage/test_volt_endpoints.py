"""Endpoints: the paths of the service and the address of the WebSocket."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from energy_core.errors import DecodeError
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.stream.endpoint import RefusalText
from energy_core.url import parse_base_url
from tests.servers.scripted_volt import BASE, TOKEN
from voltstorage_async import Endpoints, VoltStorageClient
from voltstorage_async.auth import check_credentials, make_credential
from voltstorage_async.websocket import ProductEndpoint, events_url

START = datetime(2020, 3, 25, tzinfo=UTC)


def requests_of(mocked):
    """Path and query of each request, in order."""
    calls = [url for (_, url), sent in mocked.requests.items() for _ in sent]
    return [(url.path.removeprefix("/rest/"), list(url.query.items())) for url in calls]


async def test_paths_of_the_users_own(mocked):
    """A path may have places for id and format; a value without a place is sent as a query parameter."""
    own = Endpoints(latest="now", statistics="p/{productId}/stats", export="p/{productId}/history")
    mocked.get(re.compile(re.escape(BASE)), payload={}, repeat=True)
    mocked.get(re.compile(rf"{BASE}p/7/stats"), payload=[])
    async with VoltStorageClient(token=TOKEN, endpoints=own) as volt:
        await volt.products.latest(7)
        with pytest.raises(DecodeError):
            await volt.products.statistics(7)
        with pytest.raises(DecodeError):
            await anext(volt.export.rows(7, START, START))
        with pytest.raises(ValueError, match="component_id"):
            volt.export.rows(component_id=7, start=START)
    (now, query), (stats, _), (history, sent) = requests_of(mocked)
    assert (now, dict(query)["productId"]) == ("now", "7")
    assert stats == "p/7/stats"
    assert (history, dict(sent)["format"]) == ("p/7/history", "csv")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "wss://api.voltstorage.com/rest/products/events?productId=7"),
        ({"events": "ws/{productId}"}, "wss://api.voltstorage.com/rest/ws/7"),
        (
            {"events_url": "wss://live.example.com"},
            "wss://live.example.com/rest/products/events?productId=7",
        ),
        (
            {"events_url": "wss://live.example.com:8443/"},
            "wss://live.example.com:8443/rest/products/events?productId=7",
        ),
        ({"events_url": "wss://live.example.com/socket"}, "wss://live.example.com/socket?productId=7"),
        ({"events_url": "ws://127.0.0.1:9/a/{productId}/b"}, "ws://127.0.0.1:9/a/7/b"),
    ],
)
def test_the_address_of_the_events(options, expected):
    """It is at the base URL's origin, at another origin, or complete; an id without a place is added."""
    assert events_url(parse_base_url(BASE), Endpoints(**options), 7) == expected


def product_endpoint(pool, token, url="wss://x.example/events", **options):
    """The endpoint of a client with this token."""
    credentials = check_credentials(email=None, password=None, token=token, validity=0)
    account = pool.account(
        "https://x.example",
        "default",
        RateLimit(1, 1.0),
        lambda: make_credential(credentials, Endpoints(), lambda: None),
        owner=credentials.owner,
        user=credentials,
    )
    return ProductEndpoint(pool, account, url, **options)


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("wss://x.example/events", f"wss://x.example/events?token={TOKEN}"),
        ("wss://x.example/events?productId=7", f"wss://x.example/events?productId=7&token={TOKEN}"),
    ],
)
async def test_the_token_is_added_to_the_address(url, full):
    """A header with it is sent only if `Endpoints.events_header` says so; the repr hides it."""
    async with SessionPool() as pool:
        endpoint = product_endpoint(pool, TOKEN, url, header=False)
        address = await endpoint.address()
        assert (address.url, address.headers) == (full, {})
        endpoint = product_endpoint(pool, TOKEN, url, header=True)
        assert (await endpoint.address()).headers == {"Authorization": f"Bearer {TOKEN}"}
        assert TOKEN not in repr(endpoint)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"errors": ["productId must be yours"]}', RefusalText("productId must be yours", envelope=True)),
        (b'{"message": "jwt expired"}', RefusalText("jwt expired", envelope=True)),
        (b'"No token was provided."', RefusalText("No token was provided.", envelope=True)),
        (b"No authorization token\nwas provided.", RefusalText("No authorization token was provided.")),
        (b"<html><body>403 Forbidden</body></html>", RefusalText(page=True)),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE html>", RefusalText(page=True)),
        (b"", RefusalText()),
        (b"{}", RefusalText()),
        (b"[]", RefusalText()),
        (b'{"message": "token: abcdefgh12345678 expired"}', RefusalText("*** expired", envelope=True)),
        (b'{"message": "s3ntinel has expired"}', RefusalText("*** has expired", envelope=True)),
        (b"s3ntinel has expired", RefusalText("*** has expired")),
    ],
)
async def test_the_text_of_a_rejected_handshake(body, words):
    """From JSON and plain text, not from a page of markup; without the token."""
    async with SessionPool() as pool:
        endpoint = product_endpoint(pool, "s3ntinel", header=False)
        assert not endpoint.renewable
        await endpoint.address()
        assert endpoint.refusal_text(body) == words


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "//evil.example",
        "https://evil.example/",
        "../a",
        "a/../b",
        "a?b",
        "a#b",
        "a b",
        "a\\b",
        "%2e%2e/a",
        "{id}",
    ],
)
def test_a_path_stays_below_the_base_url(path):
    """Only relative paths with known places are accepted."""
    with pytest.raises(ValueError, match="latest"):
        Endpoints(latest=path)


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example",
        "ws://x.example",
        "x",
        "wss://u:p@x.example",
        "wss://x.example/?a=b",
        "wss://x.example/a b",
    ],
)
def test_a_wrong_address_of_the_events_raises(url):
    """Only wss without a user or a query is accepted; the message does not repeat it."""
    with pytest.raises(ValueError, match="events_url") as caught:
        VoltStorageClient(token=TOKEN, endpoints=Endpoints(events_url=url))
    assert "u:p" not in str(caught.value)


def test_a_path_is_text():
    """Anything else raises, and the message names the field."""
    with pytest.raises(TypeError, match="latest"):
        Endpoints(latest=7)

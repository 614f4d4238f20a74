"""What every operation asks, over mocked answers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from energy_core.errors import (
    AnswerError,
    BadRequest,
    DecodeError,
    NotFound,
    PermissionDenied,
    ServerFault,
)
from energy_core.secret import Secret
from energy_core.stream.endpoint import RefusalText
from tests.servers.scripted_volt import BASE, TOKEN
from voltstorage_async import Endpoints, VoltStorageClient
from voltstorage_async.models import Latest, Sampled

ANY = re.compile(re.escape(BASE))
START = datetime(2020, 3, 25, 12, 0, 0, 500000, UTC)


def asked(mocked):
    """Path and query of every request, in order."""
    calls = [url for (_, url), sent in mocked.requests.items() for _ in sent]
    return [(url.path.removeprefix("/rest/"), list(url.query.items())) for url in calls]


async def everything(pages):
    return [product.id async for product in pages]


async def test_every_filter_of_the_product_list(mocked, volt):
    """Each argument becomes the vendor's own parameter."""
    mocked.get(ANY, payload=[])
    pages = volt.products.list(
        page_size=5,
        page=3,
        search="AA",
        group_id=64,
        installed=True,
        ids=[1, 2],
        owner_id=7,
        sort=["installationDate", "-id"],
    )
    assert await everything(pages) == []
    ((path, query),) = asked(mocked)
    assert path == "products"
    assert sorted(query) == sorted(
        [
            ("count", "5"),
            ("page", "3"),
            ("q", "AA"),
            ("groupId", "64"),
            ("installationDate", "true"),
            ("ids", "1"),
            ("ids", "2"),
            ("ownerId", "7"),
            ("sort", "installationDate,-id"),
        ]
    )


@pytest.mark.parametrize(
    ("pages", "count", "asks"),
    [
        ([[1, 2], [3], []], 2, 3),
        ([[1, 2], [3, 4], []], 2, 3),
        ([[1, 2], [1, 2]], 2, 2),
        ([[1, 2], [2, 3], [4], []], 2, 4),
        ([[]], None, 1),
        ([[1, 2, 3], []], None, 2),
        ([[1, 2], [3, 4], [5], []], 100, 4),  # a server that gives two a page, whatever it is asked for
    ],
)
async def test_pages_end_at_an_empty_or_a_repeated_one(mocked, volt, pages, count, asks):
    """Every product comes once; a page shorter than asked for is no end of the list."""
    for page in pages:
        mocked.get(ANY, payload=[{"id": number} for number in page])
    assert await everything(volt.products.list(page_size=count)) == sorted(
        {n for page in pages for n in page}
    )
    assert [dict(query)["page"] for _, query in asked(mocked)] == [str(n + 1) for n in range(asks)]


async def test_a_page_of_unreadable_records_is_no_end(mocked, volt):
    """One odd record is a whole page where pages are short; the same unreadable page again is the end."""
    for page in ([{"id": 1}], [{"id": None}], [{"id": 3}], [{"id": []}], [{"id": []}]):
        mocked.get(ANY, payload=page)
    assert await everything(volt.products.list(page_size=1)) == [1, 3]
    assert len(asked(mocked)) == 5


async def test_only_the_page_that_was_asked_for(mocked, volt):
    """With `page`, a full page is not followed by another."""
    mocked.get(ANY, payload=[{"id": 1}, {"id": 2}])
    assert await everything(volt.products.list(page_size=2, page=4)) == [1, 2]
    assert len(asked(mocked)) == 1


async def test_a_malformed_product_loses_no_other(mocked, volt):
    """Records that cannot be read are left out and counted."""
    mocked.get(
        ANY, payload=[{"id": 1, "online": "maybe"}, {"id": "x"}, 7, {"id": 2, "group": {"name": "no id"}}]
    )
    mocked.get(ANY, payload=[{"id": 3}])
    mocked.get(ANY, payload=[])
    products = [product async for product in volt.products.list(page_size=4)]
    assert [product.id for product in products] == [1, 2, 3]
    assert products[0].online is None
    assert products[1].group is None
    assert volt.drift.counts["Product", "record", "malformed"] == 2


async def test_the_time_is_asked_for_or_not(mocked, volt):
    """`include_time` is sent as the vendor spells it."""
    mocked.get(ANY, payload={"time": None, "data": None}, repeat=True)
    assert await volt.products.latest(7) == Latest(product_id=7)
    await volt.products.latest(7, include_time=False)
    assert [dict(query) for _, query in asked(mocked)] == [{"includeTime": "true"}, {"includeTime": "false"}]


async def test_the_range_of_statistics(mocked, volt):
    """Moments go as unix seconds, whatever zone they are in; what is open is left out."""
    mocked.get(ANY, payload=[], repeat=True)
    assert await volt.products.statistics(7, START, START + timedelta(days=1), timespan="hour") == ()
    await volt.products.statistics(7, timespan="lifetime")
    assert [dict(query) for _, query in asked(mocked)] == [
        {"productId": "7", "tstart": "1585137600", "tend": "1585224000", "timespan": "hour"},
        {"productId": "7", "timespan": "lifetime"},
    ]


async def test_no_samples_are_no_value(mocked, volt):
    """A mean over nothing is None and never zero; what is missing is None."""
    mocked.get(
        ANY,
        payload=[
            {
                "timespan_start": 0,
                "dc-efficiency": {"nSamples": 0, "value": 0},
                "ac-efficiency": {"nSamples": None, "value": 0.5},
                "pump-temp": {"nSamples": 3, "value": None},
                "self-sufficiency": {"totalWeight": 0, "value": 0},
                "own-consumption": 0,
            },
            "broken",
        ],
    )
    (day,) = await volt.products.statistics(7)
    assert day.dc_efficiency == Sampled(value=None, n_samples=0)
    assert day.ac_efficiency == Sampled()
    assert day.pump_temp == Sampled(n_samples=3)
    assert day.self_sufficiency.value is None
    assert day.own_consumption is None
    assert day.dc_capacity_kwh is None
    assert day.ac_capacity_kwh is None
    assert day.pv_total_kwh is None
    assert volt.drift.counts["Statistics", "record", "malformed"] == 1


async def test_every_parameter_of_an_export(mocked, volt):
    """Each argument becomes the vendor's own parameter; seconds keep their fraction."""
    mocked.get(ANY, body="Time;a\n")
    rows = volt.export.rows(
        component_id=9,
        start=START,
        end=START + timedelta(hours=1),
        fields=["Power_PV", "SOC_State of Charge"],
        utc_offset_min=60,
        precision=3,
        tolerance=0.01,
        separator=";",
    )
    assert [row async for row in rows] == []
    assert rows.columns == ("a",)
    ((path, query),) = asked(mocked)
    assert path == "data/export.csv"
    assert dict(query) == {
        "componentId": "9",
        "from": "1585137600.5",
        "to": "1585141200.5",
        "fields": "Power_PV,SOC_State of Charge",
        "tz": "60",
        "precision": "3",
        "tolerance": "0.01",
        "separator": ";",
    }


async def test_a_json_export(mocked, volt):
    """The format is the path's suffix, and one broken row is counted."""
    mocked.get(ANY, body='[{"Time":"2020-03-25T12:00:00Z","Power_PV":1.5},{"Time":null}]')
    async with volt.export.rows(7, START, START, format="json") as rows:
        assert [row.values async for row in rows] == [{"Power_PV": 1.5}]
        assert rows.malformed == 1
    assert asked(mocked)[0][0] == "data/export.json"
    assert volt.drift.counts["ExportRow", "record", "malformed"] == 1


async def test_paths_of_the_users_own(mocked):
    """A path may have places for id and format; what has no place goes as a query parameter."""
    mine = Endpoints(
        latest="now",
        statistics="p/{productId}/stats",
        export="p/{productId}/history",
        events="ws/{productId}",
    )
    mocked.get(ANY, payload={}, repeat=True)
    mocked.get(re.compile(rf"{BASE}p/7/stats"), payload=[])
    async with VoltStorageClient(token=TOKEN, endpoints=mine) as volt:
        await volt.products.latest(7)
        with pytest.raises(DecodeError):
            await volt.products.statistics(7)
        with pytest.raises(DecodeError):
            await anext(volt.export.rows(7, START, START))
        with pytest.raises(ValueError, match="component_id"):
            volt.export.rows(component_id=7, start=START)
        address = await volt._endpoint(7).address()
    assert address.url == f"wss://api.voltstorage.com/rest/ws/7?token={TOKEN}"
    (now, query), (stats, _), (history, asked_for) = asked(mocked)
    assert (now, dict(query)["productId"]) == ("now", "7")
    assert stats == "p/7/stats"
    assert (history, dict(asked_for)["format"]) == ("p/7/history", "csv")


@pytest.mark.parametrize(
    ("events_url", "expected"),
    [
        (None, "wss://api.voltstorage.com/rest/products/events?productId=7"),
        ("wss://live.example.com", "wss://live.example.com/rest/products/events?productId=7"),
        ("wss://live.example.com:8443/", "wss://live.example.com:8443/rest/products/events?productId=7"),
        ("wss://live.example.com/socket", "wss://live.example.com/socket?productId=7"),
        ("ws://127.0.0.1:9/a/{productId}/b", "ws://127.0.0.1:9/a/7/b"),
    ],
)
async def test_where_the_events_are(events_url, expected):
    """At the base URL's origin, at another, or anywhere: the token and an id without a place are added."""
    async with VoltStorageClient(token=TOKEN, endpoints=Endpoints(events_url=events_url)) as volt:
        address = await volt._endpoint(7).address()
    joint = "&" if "?" in expected else "?"
    assert address.url == f"{expected}{joint}token={TOKEN}"
    assert address.headers == {}


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((400, {"errors": ["from lies in the future"]}), BadRequest, "from lies in the future"),
        ((403, {"errors": ["not yours"]}), PermissionDenied, "not yours"),
        ((404, "nothing here"), NotFound, "nothing here"),
        ((404, {}), NotFound, ""),
        ((422, {"message": "no such field"}), BadRequest, "no such field"),
        ((409, {"errors": ["odd"]}), AnswerError, "odd"),
        ((501, {"message": "not yet"}), ServerFault, "not yet"),
        ((501, {}), ServerFault, ""),
        ((200, {"errors": ["what"]}), AnswerError, "what"),
        ((200, {"success": False}), AnswerError, ""),
        ((200, {"data": 5}), DecodeError, "not an array"),
    ],
)
async def test_a_refusal_is_one_typed_error_in_the_vendors_words(mocked, volt, answer, error, said):
    """Status and reason arrive as an error that says vendor, operation and path, and no token."""
    status, body = answer
    mocked.get(ANY, payload=body, status=status, repeat=True)
    with pytest.raises(error) as caught:
        await volt.products.statistics(7)
    raised = caught.value
    assert said in str(raised)
    assert (raised.vendor, raised.operation, raised.status) == ("voltstorage", "products.statistics", status)
    assert raised.path == "data/statistics"
    assert TOKEN not in repr(raised) + str(raised)


async def test_a_refused_export_is_one_typed_error(mocked, volt):
    """A future range is the vendor's 400, raised when the first row is asked for."""
    mocked.get(ANY, payload={"errors": ["future"]}, status=400)
    rows = volt.export.rows(7, START, START)
    with pytest.raises(BadRequest, match="future"):
        await anext(rows)


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("end", ["", "\n"])
async def test_an_export_refused_with_200_is_an_error_in_the_vendors_words(mocked, volt, kind, end):
    """It has no rows, and its error says why."""
    mocked.get(ANY, body='{"errors": ["The product is being migrated."]}' + end, repeat=True)
    rows = volt.export.rows(7, START, START, format=kind)
    with pytest.raises(DecodeError, match="being migrated") as refused:
        await anext(rows)
    assert (refused.value.kind, refused.value.operation) == ("envelope", "export.rows")


WRONG = [
    (lambda v: v.products.list(page_size=0), ValueError, "page_size"),
    (lambda v: v.products.list(page_size=True), TypeError, "page_size"),
    (lambda v: v.products.list(page=0), ValueError, "page"),
    (lambda v: v.products.list(search=""), ValueError, "search"),
    (lambda v: v.products.list(search=7), TypeError, "search"),
    (lambda v: v.products.list(group_id=-1), ValueError, "group_id"),
    (lambda v: v.products.list(installed=1), TypeError, "installed"),
    (lambda v: v.products.list(ids=[]), ValueError, "ids"),
    (lambda v: v.products.list(ids="12"), TypeError, "ids"),
    (lambda v: v.products.list(ids=[1, -2]), ValueError, "ids"),
    (lambda v: v.products.list(owner_id=1.0), TypeError, "owner_id"),
    (lambda v: v.products.list(sort=[]), ValueError, "sort"),
    (lambda v: v.export.rows(7), TypeError, "start"),
    (lambda v: v.export.rows(start=START), ValueError, "product"),
    (lambda v: v.export.rows(7, START, component_id=8), ValueError, "component_id"),
    (lambda v: v.export.rows(-7, START), ValueError, "product"),
    (lambda v: v.export.rows(7, START.replace(tzinfo=None)), ValueError, "start"),
    (lambda v: v.export.rows(7, START, START.replace(tzinfo=None)), ValueError, "end"),
    (lambda v: v.export.rows(7, START, START - timedelta(1)), ValueError, "end"),
    (lambda v: v.export.rows(7, 1585137600), TypeError, "start"),
    (lambda v: v.export.rows(7, START, format="xlsx"), ValueError, "format"),
    (lambda v: v.export.rows(7, START, fields=""), ValueError, "fields"),
    (lambda v: v.export.rows(7, START, utc_offset_min=1440), ValueError, "utc_offset_min"),
    (lambda v: v.export.rows(7, START, precision=0), ValueError, "precision"),
    (lambda v: v.export.rows(7, START, tolerance=-0.1), ValueError, "tolerance"),
    (lambda v: v.export.rows(7, START, tolerance=float("nan")), ValueError, "tolerance"),
    (lambda v: v.export.rows(7, START, separator=""), ValueError, "separator"),
    (lambda v: v.export.rows(7, START, separator="-"), ValueError, "separator"),
    (lambda v: v.export.rows(7, START, format="json", separator=";"), ValueError, "separator"),
    (lambda v: v.events(-1), ValueError, "product"),
    (lambda v: v.events(1, buffer=0), ValueError, "buffer"),
    (lambda v: v.live("1"), TypeError, "product"),
]


@pytest.mark.parametrize(("call", "error", "name"), WRONG)
async def test_a_wrong_argument_fails_at_once_and_by_name(volt, call, error, name):
    """Nothing is sent, and the message names the argument."""
    with pytest.raises(error, match=name):
        call(volt)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"timespan": "week"}, ValueError), ({"start": START, "end": START - timedelta(1)}, ValueError)],
)
async def test_wrong_statistics_fail_before_anything_is_sent(volt, options, error):
    """Nothing is sent for a span nobody knows or a range that runs backwards."""
    with pytest.raises(error):
        await volt.products.statistics(7, **options)


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
def test_a_path_cannot_lead_elsewhere(path):
    """Only relative paths with known places are endpoints."""
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
def test_an_event_address_cannot_be_anything(url):
    """Only wss, without a user or a query; the message does not repeat it."""
    with pytest.raises(ValueError, match="events_url") as caught:
        VoltStorageClient(token=TOKEN, endpoints=Endpoints(events_url=url))
    assert "u:p" not in str(caught.value)


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
        ({"email": "nobody", "password": "x"}, ValueError),
        ({"email": "a@example.com", "password": ""}, ValueError),
        ({"email": "a@example.com", "password": "x", "validity": -1}, ValueError),
        ({"email": "a@example.com", "password": "x", "validity": 31_622_401}, ValueError),
        ({"email": "a@example.com", "password": "x", "validity": 1.5}, TypeError),
        ({"token": TOKEN, "base_url": "http://api.example.com/"}, ValueError),
        ({"token": TOKEN, "base_url": "https://u:p@api.example.com/"}, ValueError),
    ],
)
def test_a_client_wants_exactly_one_way_in(given, error):
    """A token, or an email with its password; anything else is refused and not repeated."""
    with pytest.raises(error) as caught:
        VoltStorageClient(**given)
    assert TOKEN not in str(caught.value)


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
async def test_the_words_of_a_refused_handshake(body, words):
    """JSON and plain text are words, a page of markup is none; only JSON is the vendor's own envelope."""
    async with VoltStorageClient(token="s3ntinel") as client:
        link = client._endpoint(77)
        assert not link.renewable
        await link.address()
        assert link.refusal_text(body) == words

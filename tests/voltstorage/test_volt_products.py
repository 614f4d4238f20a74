"""`client.products`: the list of products and their latest data."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest

from energy_core.codec.drift import Drift, collect_drift
from energy_core.errors import DecodeError
from tests.servers.scripted_volt import BASE
from voltstorage_async import codec
from voltstorage_async.models import Latest, Owner, Product, ProductGroup, ProductType

ANY = re.compile(re.escape(BASE))

PRODUCTS = """[{"id": 77, "ownerName": null, "serialNumber": "AA0024", "hardwareVersion": "5.4",
"manufacturingDate": "2019-05-21", "installationDate": null, "timezone": "Europe/Berlin",
"createdAt": "2019-05-21T08:24:43.357Z", "updatedAt": "2020-03-23T10:18:37.065Z", "typeId": 6, "groupId": 64,
"type": {"id": 6, "name": "VoltStorage SMART", "startOfProduction": "2018-08-20", "baseType": "storage"},
"group": {"id": 64, "ownerId": 1, "name": "Clustering Test", "latitude": null, "longitude": null,
"owner": {"id": 1, "name": "David Bauske", "email": "david.bauske@voltstorage.com", "demo": false}},
"errors": ["nonDefaultStrategy"], "online": true}]"""

"""The product list printed in the vendor's reference."""

LATEST = '{"time": 1575154800, "data": {"pvPower": 421, "dcVoltage": 26.3}}'

"""The latest data printed in the vendor's reference."""


def requests_of(mocked):
    """Path and query of each request, in order."""
    calls = [url for (_, url), sent in mocked.requests.items() for _ in sent]
    return [(url.path.removeprefix("/rest/"), list(url.query.items())) for url in calls]


async def ids_of(pages):
    return [product.id async for product in pages]


async def test_each_filter_is_sent_as_the_vendors_parameter(mocked, volt):
    """Names and spellings are those of the vendor's reference."""
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
    assert await ids_of(pages) == []
    ((path, query),) = requests_of(mocked)
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
        ([[1, 2], [3, 4], [5], []], 100, 4),  # a server that sends at most two
    ],
)
async def test_a_list_ends_with_a_page_without_a_new_product(mocked, volt, pages, count, asks):
    """Each product comes once; a short page does not end the list."""
    for page in pages:
        mocked.get(ANY, payload=[{"id": number} for number in page])
    assert await ids_of(volt.products.list(page_size=count)) == sorted({n for page in pages for n in page})
    assert [dict(query)["page"] for _, query in requests_of(mocked)] == [str(n + 1) for n in range(asks)]


async def test_a_list_can_be_awaited(mocked, volt):
    """`await` returns a tuple of all products of all pages."""
    for page in ([{"id": 1}], [{"id": 2}], []):
        mocked.get(ANY, payload=page)
    products = await volt.products.list(page_size=1)
    assert [product.id for product in products] == [1, 2]


async def test_page_requests_one_page_only(mocked, volt):
    """A full page is not followed by the next one."""
    mocked.get(ANY, payload=[{"id": 1}, {"id": 2}])
    assert await ids_of(volt.products.list(page_size=2, page=4)) == [1, 2]
    assert len(requests_of(mocked)) == 1


async def test_products_are_chosen_by_object_or_id(mocked, volt):
    """`ids` takes one product or several, each as a `Product` or its id."""
    mocked.get(ANY, payload=[], repeat=True)
    for chosen in (7, Product(id=7), [Product(id=7), 8]):
        await volt.products.list(ids=chosen)
    sent = [[value for name, value in query if name == "ids"] for _, query in requests_of(mocked)]
    assert sent == [["7"], ["7"], ["7", "8"]]


async def test_the_documented_product(mocked, volt):
    """Each field of the vendor's sample is typed; the record is kept in `raw`."""
    mocked.get(ANY, body=PRODUCTS)
    mocked.get(ANY, body="[]")
    (product,) = await volt.products.list()
    assert product == Product(
        id=77,
        serial_number="AA0024",
        hardware_version="5.4",
        manufacturing_date=date(2019, 5, 21),
        timezone="Europe/Berlin",
        created_at=datetime(2019, 5, 21, 8, 24, 43, 357000, UTC),
        updated_at=datetime(2020, 3, 23, 10, 18, 37, 65000, UTC),
        type_id=6,
        group_id=64,
        type=ProductType(
            id=6, name="VoltStorage SMART", start_of_production=date(2018, 8, 20), base_type="storage"
        ),
        group=ProductGroup(
            id=64,
            owner_id=1,
            name="Clustering Test",
            owner=Owner(id=1, name="David Bauske", email="david.bauske@voltstorage.com", demo=False),
        ),
        errors=("nonDefaultStrategy",),
        online=True,
    )
    assert product.raw["serialNumber"] == "AA0024"
    assert volt.drift.total == 0


async def test_malformed_products_are_left_out_and_counted(mocked, volt):
    """The other products of the page arrive; a malformed part is None."""
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


async def test_a_page_of_malformed_products_does_not_end_the_list(mocked, volt):
    """The same malformed page twice in a row ends it."""
    for page in ([{"id": 1}], [{"id": None}], [{"id": 3}], [{"id": []}], [{"id": []}]):
        mocked.get(ANY, payload=page)
    assert await ids_of(volt.products.list(page_size=1)) == [1, 3]
    assert len(requests_of(mocked)) == 5


@pytest.mark.parametrize("shape", [LATEST, '{"pvPower": 421, "dcVoltage": 26.3}'])
async def test_the_documented_latest_data(mocked, volt, shape):
    """With its time, or without it as the bare object."""
    mocked.get(re.compile(rf"{BASE}products/77/data/latest"), body=shape)
    latest = await volt.products.latest(77, include_time=shape is LATEST)
    assert latest.product_id == 77
    assert latest.time == (datetime(2019, 11, 30, 23, 0, tzinfo=UTC) if shape is LATEST else None)
    assert latest.data == {"pvPower": 421, "dcVoltage": 26.3}
    assert volt.drift.total == 0


async def test_include_time_is_sent_as_the_vendors_parameter(mocked, volt):
    """`latest` takes a product or its id; without data the answer is empty."""
    mocked.get(ANY, payload={"time": None, "data": None}, repeat=True)
    assert await volt.products.latest(Product(id=7)) == Latest(product_id=7)
    await volt.products.latest(7, include_time=False)
    assert [dict(query) for _, query in requests_of(mocked)] == [
        {"includeTime": "true"},
        {"includeTime": "false"},
    ]


@pytest.mark.parametrize("body", [[], 7, "soc"])
async def test_latest_data_that_is_not_an_object_is_a_decode_error(mocked, volt, body):
    """The error names the operation."""
    mocked.get(ANY, payload=body)
    with pytest.raises(DecodeError, match="not an object") as malformed:
        await volt.products.latest(7)
    assert malformed.value.operation == "products.latest"


@pytest.mark.parametrize("time", [0, -5, 35, "0", "1970-01-01T00:00:35Z", -1e12])
def test_latest_data_before_2000_has_no_time(time):
    """A device without a clock sends such times; the drift counts them."""
    drift = Drift()
    with collect_drift(drift):
        decoded = codec.latest(7)({"time": time, "data": {"soc": 0.5}})
    assert decoded == Latest(product_id=7, data={"soc": 0.5})
    assert drift.counts == {("Latest", "time", "unreadable"): 1}


@pytest.mark.parametrize("data", [{}, None])
def test_a_product_without_data_has_no_time_and_that_is_no_drift(data):
    drift = Drift()
    with collect_drift(drift):
        decoded = codec.latest(7)({"time": None, "data": data})
    assert decoded == Latest(product_id=7)
    assert not drift.counts


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"page_size": 0}, ValueError, "page_size"),
        ({"page_size": True}, TypeError, "page_size"),
        ({"page": 0}, ValueError, "page"),
        ({"search": ""}, ValueError, "search"),
        ({"search": 7}, TypeError, "search"),
        ({"group_id": -1}, ValueError, "group_id"),
        ({"installed": 1}, TypeError, "installed"),
        ({"ids": []}, ValueError, "ids"),
        ({"ids": "12"}, TypeError, "ids"),
        ({"ids": [1, -2]}, ValueError, "ids"),
        ({"owner_id": 1.0}, TypeError, "owner_id"),
        ({"sort": []}, ValueError, "sort"),
    ],
)
async def test_a_wrong_filter_raises_before_anything_is_sent(volt, arguments, error, name):
    """The message names the argument."""
    with pytest.raises(error, match=name):
        volt.products.list(**arguments)


@pytest.mark.parametrize(
    ("product", "error"),
    [(-1, ValueError), ("1", TypeError), (1.0, TypeError), (True, TypeError), (None, TypeError)],
)
async def test_a_product_is_a_product_or_an_id(volt, product, error):
    """Every method that takes one rejects anything else, before anything is sent."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for call in (volt.products.latest, volt.products.statistics):
        with pytest.raises(error, match="product"):
            await call(product)
    for make in (volt.events, volt.live):
        with pytest.raises(error, match="product"):
            make(product)
    if product is not None:
        with pytest.raises(error, match="product"):
            volt.export.rows(product, start)


async def test_streams_and_sources_take_a_product(volt):
    """A `Product` and its id mean the same."""
    assert volt.live(Product(id=7)).id == volt.live(7).id
    assert volt.events(Product(id=7)).product_id == 7
    with pytest.raises(ValueError, match="buffer"):
        volt.events(7, buffer=0)

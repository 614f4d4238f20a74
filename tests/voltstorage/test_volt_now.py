"""`volt.now()`: the present values of every product."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from energy_core import Quantity
from energy_core.errors import AuthFailed, NotFound
from energy_core.stream.vocabulary import SourceId
from tests.servers.scripted_volt import BASE, TOKEN
from voltstorage_async import VoltStorageClient

LIST = re.compile(re.escape(BASE) + r"products\?.*")
NOON = int(datetime(2026, 3, 31, 12, tzinfo=UTC).timestamp())


@pytest.fixture
async def volt(noon):
    async with VoltStorageClient(token=TOKEN, account="home", clock=noon) as client:
        yield client


def latest_of(number):
    return re.compile(re.escape(BASE) + rf"products/{number}/data/latest.*")


def serve(mocked, products, latest):
    """Answer one request for the list, and one for each product that it has."""
    mocked.get(LIST, payload=products)
    mocked.get(LIST, payload=[])
    for number, answer in latest.items():
        mocked.get(latest_of(number), **answer)


def data(seconds_ago=30, **values):
    return {"payload": {"time": NOON - seconds_ago, "data": values}}


async def test_every_product_has_its_values(mocked, volt):
    """By quantity, in its unit and sign, with the age of the data."""
    serve(
        mocked,
        [{"id": 1, "serialNumber": "AA1", "online": True}, {"id": 2, "serialNumber": "AA2"}],
        {1: data(pvPower=421, dcVoltage=26.3), 2: data(seconds_ago=3600, pvPower=0)},
    )
    first, second = await volt.now()
    assert first.values == {Quantity.PV_POWER: 421.0, Quantity.BATTERY_VOLTAGE: 26.3}
    assert first.source == SourceId("voltstorage", "home", "1")
    assert (first.id, first.name, first.age_s, first.stale) == (1, "AA1", 30.0, False)
    assert first.product.online
    assert (second.values, second.age_s, second.stale) == ({Quantity.PV_POWER: 0.0}, 3600.0, True)
    assert second.present[Quantity.PV_POWER].stale


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 404, "payload": {"errors": ["no such product"]}}, "no such product"),
        ({"payload": [1, 2]}, "not an object"),
        ({"payload": {"pvPower": 5}}, "no time"),
        (data(seconds_ago=-86_400, pvPower=5), "future"),
    ],
)
async def test_one_product_without_data_does_not_hide_the_others(mocked, volt, answer, reason):
    """It has no values, and says why."""
    serve(mocked, [{"id": 1}, {"id": 2}], {1: answer, 2: data(pvPower=5)})
    broken, fine = await volt.now()
    assert (broken.values, broken.time, broken.stale) == ({}, None, True)
    assert reason in broken.problem
    assert (fine.values, fine.problem) == ({Quantity.PV_POWER: 5.0}, "")


async def test_a_refused_credential_is_an_error(mocked, volt):
    """It concerns every product."""
    serve(mocked, [{"id": 1}], {1: {"status": 401, "payload": {"errors": ["no"]}}})
    with pytest.raises(AuthFailed):
        await volt.now()


async def test_many_products_are_read_once_each(mocked, volt):
    """Nine products: one list, nine requests, in the order of the list."""
    numbers = range(1, 10)
    serve(mocked, [{"id": each} for each in numbers], {each: data(pvPower=each) for each in numbers})
    found = [each async for each in volt.now()]
    assert [(each.id, each.values[Quantity.PV_POWER]) for each in found] == [(n, n) for n in numbers]
    assert sum(len(sent) for (_, url), sent in mocked.requests.items() if "latest" in url.path) == 9


async def test_products_are_chosen_by_id(mocked, volt):
    """In the order of the caller, also where the service ignores the filter; a missing one is named."""
    listed = [{"id": 1}, {"id": 2}, {"id": 3}]
    serve(mocked, listed, {1: data(pvPower=1), 3: data(pvPower=3)})
    assert [each.id for each in await volt.now(3, 1)] == [3, 1]
    serve(mocked, listed, {})
    with pytest.raises(NotFound, match="does not have 4; it has 1, 2, 3"):
        await volt.now(4)


async def test_an_account_without_products_has_no_values(mocked, volt):
    """An empty tuple."""
    mocked.get(LIST, payload=[])
    assert await volt.now() == ()


def test_an_age_is_positive(noon):
    """Nothing is sent."""
    with pytest.raises(ValueError, match="max_age_s"):
        VoltStorageClient(token=TOKEN, clock=noon).now(max_age_s=timedelta(0).total_seconds())

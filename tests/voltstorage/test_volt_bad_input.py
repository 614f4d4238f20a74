"""Questions that have no answer, and answers that are broken: one typed error or one counted skip each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from energy_core import RateLimit
from energy_core.errors import AuthFailed, BadRequest, DecodeError, InvalidCredentials, PermissionDenied
from energy_live.simulator import Simulator, faults
from voltstorage_async import VoltStorageClient

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLENTY = RateLimit(1000, 1000.0, 50)


@pytest.fixture
async def simulator():
    async with Simulator(start=NOON, speed=1.0) as running:
        yield running


@pytest.fixture
async def owner(simulator):
    async with VoltStorageClient(
        email=simulator.volt_email,
        password=simulator.volt_password,
        base_url=simulator.voltstorage_url,
        limit=PLENTY,
    ) as client:
        yield client


def with_token(simulator, token):
    return VoltStorageClient(token=token, base_url=simulator.voltstorage_url, limit=PLENTY)


async def rows_of(rows):
    return [row async for row in rows]


async def test_a_range_in_the_future(simulator, owner):
    """The service refuses it, and the error says which operation it was about."""
    with pytest.raises(BadRequest, match="future") as caught:
        await rows_of(owner.export.rows(simulator.product_ids[0], NOON + timedelta(days=9)))
    assert (caught.value.operation, caught.value.status) == ("export.rows", 400)


async def test_a_field_that_does_not_exist(simulator, owner):
    """The service names it, and so does the error."""
    rows = owner.export.rows(simulator.product_ids[0], NOON - timedelta(minutes=1), fields="Power_Moon")
    with pytest.raises(BadRequest, match="Power_Moon"):
        await rows_of(rows)


async def test_a_product_of_somebody_else(simulator, owner):
    """Every operation on it is not permitted, the stream included, and nobody logs in again for that."""
    foreign = next(one for one in simulator.world.products if one.id not in simulator.product_ids).id
    with pytest.raises(PermissionDenied):
        await owner.products.latest(foreign)
    with pytest.raises(PermissionDenied):
        await owner.products.statistics(foreign)
    with pytest.raises(PermissionDenied):
        await rows_of(owner.export.rows(foreign, NOON - timedelta(minutes=1)))
    async with owner.events(foreign) as stream:
        with pytest.raises(PermissionDenied):
            await anext(stream)
    assert simulator.counters["logins"] == 1


async def test_an_expired_login_is_renewed_once(simulator, owner):
    """The call that found out is repeated with the new token and succeeds."""
    await owner.products.latest(simulator.product_ids[0])
    simulator.expire_tokens()
    assert (await owner.products.latest(simulator.product_ids[0])).time is not None
    assert simulator.counters["logins"] == 2


@pytest.mark.parametrize("token", ["expired", "foreign", "nonsense"])
async def test_a_token_that_is_no_good(simulator, token):
    """A token of the user's own cannot be renewed: it fails as such, and is not in the message."""
    world = simulator.world
    secret = {
        "expired": lambda: simulator.volt_token(0),
        "foreign": lambda: simulator.volt_server.accounts.issue(world.stranger, 60),
        "nonsense": lambda: "eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl",
    }[token]()
    error = PermissionDenied if token == "foreign" else AuthFailed
    async with with_token(simulator, secret) as client:
        with pytest.raises(error) as caught:
            await client.products.latest(simulator.product_ids[0])
        async with client.events(simulator.product_ids[0]) as stream:
            with pytest.raises(error):
                await anext(stream)
    assert secret not in str(caught.value)


async def test_a_wrong_password(simulator):
    """VoltStorage's 400 at the login is a refusal of the credentials, and asked once."""
    async with VoltStorageClient(
        email=simulator.volt_email, password="wrong", base_url=simulator.voltstorage_url
    ) as client:
        for _ in range(3):
            with pytest.raises(InvalidCredentials):
                await client.products.latest(simulator.product_ids[0])
    assert simulator.counters["failed_logins"] == 1


async def test_a_csv_that_ends_in_the_middle_of_a_line(simulator, owner):
    """What came before is kept, then there is one error."""
    simulator.faults.add(faults.truncated(0.51), path="data/export.csv")
    rows, kept = owner.export.rows(simulator.product_ids[0], NOON - timedelta(minutes=2)), []

    async def read():
        async for row in rows:
            kept.append(row)  # noqa: PERF401  (what came before the error is wanted)

    with pytest.raises(DecodeError) as caught:
        await read()
    assert caught.value.kind == "csv"
    assert len(kept) == rows.received > 10
    assert kept[-1].time > kept[0].time


async def test_a_json_export_with_one_broken_row(simulator, owner):
    """It is left out and counted; the others are there."""
    body = '[{"Time": 1772366400, "Power_PV": 1}, {"Time": "soon", "Power_PV": 2}, {"Time": 1772366402}]'
    simulator.faults.add(faults.answer(200, body), path="data/export.json")
    rows = owner.export.rows(simulator.product_ids[0], NOON - timedelta(minutes=2), format="json")
    assert [row.values for row in await rows_of(rows)] == [{"Power_PV": 1.0}, {}]
    assert rows.malformed == 1
    assert owner.drift.counts["ExportRow", "record", "malformed"] == 1

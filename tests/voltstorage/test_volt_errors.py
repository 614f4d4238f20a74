"""Errors of the service: one typed error with the vendor's message, or one counted record each."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from energy_core import RateLimit
from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    DecodeError,
    InvalidCredentials,
    NotFound,
    PermissionDenied,
    ServerFault,
)
from energy_live.simulator import Simulator, faults
from tests.servers.scripted_volt import BASE, TOKEN
from voltstorage_async import VoltStorageClient

ANY = re.compile(re.escape(BASE))
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


@pytest.mark.parametrize(
    ("answer", "error", "words"),
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
async def test_an_error_answer_is_a_typed_error_with_the_message(mocked, volt, answer, error, words):
    """It names vendor, operation and path, and never the token."""
    status, body = answer
    mocked.get(ANY, payload=body, status=status, repeat=True)
    with pytest.raises(error) as caught:
        await volt.products.statistics(7)
    raised = caught.value
    assert words in str(raised)
    assert (raised.vendor, raised.operation, raised.status) == ("voltstorage", "products.statistics", status)
    assert raised.path == "data/statistics"
    assert TOKEN not in repr(raised) + str(raised)


async def test_a_rejected_export_raises_at_the_first_row(mocked, volt):
    """The vendor answers 400 to a range in the future."""
    mocked.get(ANY, payload={"errors": ["future"]}, status=400)
    rows = volt.export.rows(7, NOON, NOON)
    with pytest.raises(BadRequest, match="future"):
        await anext(rows)


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("end", ["", "\n"])
async def test_an_export_rejected_with_status_200_is_an_error(mocked, volt, kind, end):
    """It carries the vendor's message."""
    mocked.get(ANY, body='{"errors": ["The product is being migrated."]}' + end, repeat=True)
    rows = volt.export.rows(7, NOON, NOON, format=kind)
    with pytest.raises(DecodeError, match="being migrated") as refused:
        await anext(rows)
    assert (refused.value.kind, refused.value.operation) == ("envelope", "export.rows")


async def test_a_range_in_the_future_is_a_bad_request(simulator, owner):
    """The error names the operation."""
    with pytest.raises(BadRequest, match="future") as caught:
        await rows_of(owner.export.rows(simulator.product_ids[0], NOON + timedelta(days=9)))
    assert (caught.value.operation, caught.value.status) == ("export.rows", 400)


async def rows_of(rows):
    return [row async for row in rows]


async def test_an_unknown_column_is_a_bad_request(simulator, owner):
    """The error names the column."""
    rows = owner.export.rows(simulator.product_ids[0], NOON - timedelta(minutes=1), fields="Power_Moon")
    with pytest.raises(BadRequest, match="Power_Moon"):
        await rows_of(rows)


async def test_a_product_of_another_account_is_not_permitted(simulator, owner):
    """Neither calls nor streams log in again because of it."""
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
    """The call is repeated with the new token."""
    await owner.products.latest(simulator.product_ids[0])
    simulator.expire_tokens()
    assert (await owner.products.latest(simulator.product_ids[0])).time is not None
    assert simulator.counters["logins"] == 2


@pytest.mark.parametrize("token", ["expired", "foreign", "nonsense"])
async def test_a_rejected_token_raises(simulator, token):
    """A token cannot be renewed; the message does not repeat it."""
    world = simulator.world
    secret = {
        "expired": lambda: simulator.volt_token(0),
        "foreign": lambda: simulator.volt_server.accounts.issue(world.stranger, 60),
        "nonsense": lambda: "eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl",
    }[token]()
    error = PermissionDenied if token == "foreign" else AuthFailed
    async with VoltStorageClient(token=secret, base_url=simulator.voltstorage_url, limit=PLENTY) as client:
        with pytest.raises(error) as caught:
            await client.products.latest(simulator.product_ids[0])
        async with client.events(simulator.product_ids[0]) as stream:
            with pytest.raises(error):
                await anext(stream)
    assert secret not in str(caught.value)


async def test_a_wrong_password_is_sent_once(simulator):
    """VoltStorage answers 400; further calls raise without a request."""
    async with VoltStorageClient(
        email=simulator.volt_email, password="wrong", base_url=simulator.voltstorage_url
    ) as client:
        for _ in range(3):
            with pytest.raises(InvalidCredentials):
                await client.products.latest(simulator.product_ids[0])
    assert simulator.counters["failed_logins"] == 1


async def test_a_csv_export_that_ends_within_a_line_raises_after_its_rows(simulator, owner):
    """The complete rows come first."""
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


async def test_a_malformed_row_of_a_json_export_is_counted(simulator, owner):
    """The other rows arrive."""
    body = '[{"Time": 1772366400, "Power_PV": 1}, {"Time": "soon", "Power_PV": 2}, {"Time": 1772366402}]'
    simulator.faults.add(faults.answer(200, body), path="data/export.json")
    rows = owner.export.rows(simulator.product_ids[0], NOON - timedelta(minutes=2), format="json")
    assert [row.values for row in await rows_of(rows)] == [{"Power_PV": 1.0}, {}]
    assert rows.malformed == 1
    assert owner.drift.counts["ExportRow", "record", "malformed"] == 1

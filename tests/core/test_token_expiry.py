"""The warning of a token that expires soon: its text, when it is read, and where it appears."""

import asyncio
import json
import logging
import time
from datetime import timedelta

import pytest
from attrs import evolve

from energy_core import Kind, SessionPool, merge, token_expiry
from energy_core.errors import ConnectError
from energy_core.token_expiry import CHECK_S, TokenExpiry, expiry_warning
from energy_live.simulator import Simulator
from tests.servers.virtual_time import EPOCH, VirtualClock
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (None, ""),
        (14 * DAY, ""),
        (14 * DAY - timedelta(seconds=1), "in 13 days: create a new one in time"),
        (2 * DAY, "in 2 days"),
        (DAY, "within two days"),
        (timedelta(hours=3), "within a day"),
        (timedelta(), "expired 2026-01-01 00:00 UTC: create a new one"),
        (-3 * DAY, "expired"),
    ],
)
def test_warned_in_the_last_two_weeks(left, words):
    """Two weeks ahead, and after the end; not for a token that does not expire."""
    now = EPOCH.replace(year=2026, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    warning = expiry_warning(None if left is None else now + left, now)
    assert words in warning
    assert bool(warning) is bool(words)


@pytest.mark.virtual_time
async def test_read_and_logged_once_a_day(caplog):
    """Sources that share a check cause one request a day, and one line in the log a day."""
    clock, reads = VirtualClock(), []

    async def read():
        reads.append(clock.monotonic())
        return clock.utcnow() + 10 * DAY

    expiry = TokenExpiry("vrm", read, clock)
    assert expiry.notes == {}
    with caplog.at_level(logging.WARNING):
        await asyncio.gather(*(expiry.check() for _ in range(5)))
        await clock.sleep(CHECK_S - 1)
        await expiry.check()
        assert len(reads) == len(caplog.records) == 1
        await clock.sleep(1)
        await expiry.check()
    assert len(reads) == len(caplog.records) == 2
    assert caplog.messages[0].startswith("vrm: the access token expires ")
    assert "token" in expiry.notes


@pytest.mark.virtual_time
async def test_a_failed_request_is_no_warning(caplog):
    """What is not known is not warned of, and what was known stays."""
    clock = VirtualClock()
    answers = [clock.utcnow() + DAY, ConnectError("no route")]

    async def read():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    expiry = TokenExpiry("vrm", read, clock)
    await expiry.check()
    first = expiry.notes
    await clock.sleep(CHECK_S)
    await expiry.check()
    assert list(first) == ["token"] == list(expiry.notes)
    assert "expired" in expiry.notes["token"]


@pytest.fixture
async def simulator():
    async with Simulator(speed=60.0) as simulator:
        yield simulator


async def noted(events, source):
    """Return the note `token` of the source's status, once it has one."""
    async with asyncio.timeout(30):
        async for event in events:
            if event.kind is Kind.READING and "token" in events.status[source.id].notes:
                return events.status[source.id].notes["token"]
    raise AssertionError("the stream ended")


async def test_a_running_stream_of_vrm_warns(simulator, caplog, monkeypatch):
    """In the status of the source and in the log, without the token itself."""
    monkeypatch.setattr(token_expiry, "FIRST_S", 0.05)
    (token,) = simulator.tokens
    accounts = simulator.vrm_server.accounts
    accounts.tokens[token.id] = evolve(token, expires=int(time.time()) + 5 * 86_400)
    environment = simulator.environment()
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token=environment["VRM_TOKEN"], base_url=environment["VRM_BASE_URL"])
        source = vrm.live(interval_s=0.05)
        async with merge(source) as events:
            assert "create a new one in time" in await noted(events, source)
            document = json.dumps(vrm.diagnostics(events))
    assert "create a new one in time" in document
    assert environment["VRM_TOKEN"] not in document + caplog.text
    assert "vrm: the access token expires" in caplog.text


async def test_a_running_stream_of_voltstorage_warns(simulator, caplog):
    """Of a given token that states when it expires; its products share one line in the log."""
    environment, token = simulator.environment(), simulator.volt_token(5 * 86_400.0)
    async with SessionPool() as pool:
        volt = VoltStorageClient(pool, token=token, base_url=environment["VOLTSTORAGE_BASE_URL"])
        products = await volt.products.list()
        sources = [volt.live(product) for product in products]
        async with merge(*sources) as events:
            assert "create a new one in time" in await noted(events, sources[0])
    assert caplog.text.count("voltstorage: the access token expires") == 1
    assert token not in caplog.text


async def test_a_login_is_not_warned_of(simulator):
    """It is renewed by itself."""
    environment = simulator.environment()
    async with SessionPool() as pool:
        volt = VoltStorageClient(
            pool,
            email=environment["VOLTSTORAGE_EMAIL"],
            password=environment["VOLTSTORAGE_PASSWORD"],
            base_url=environment["VOLTSTORAGE_BASE_URL"],
        )
        assert volt._token_expiry is None

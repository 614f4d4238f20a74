"""Clients with mocked answers, and clients of a scripted server on a loopback socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from energy_core.clock import SystemClock
from energy_core.http.token_bucket import RateLimit
from energy_core.stream.reconnect import SocketConfig
from tests.servers.scripted_volt import TOKEN, Service, serving
from voltstorage_async import BackfillConfig, VoltStorageClient


class Noon(SystemClock):
    """A clock that stands still at noon (UTC) of 31 March 2026."""

    def utcnow(self) -> datetime:
        return datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.fixture
def noon() -> Noon:
    return Noon()


@pytest.fixture
async def volt() -> AsyncIterator[VoltStorageClient]:
    async with VoltStorageClient(token=TOKEN) as client:
        yield client


@pytest.fixture
async def volt_login() -> AsyncIterator[VoltStorageClient]:
    async with VoltStorageClient(email="anybody@example.com", password="Password123!") as client:
        yield client


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as running:
        yield running


@pytest.fixture
async def served(service: Service) -> AsyncIterator[VoltStorageClient]:
    limit = RateLimit(1000, 1000.0, 50)
    async with VoltStorageClient(
        email="anybody@example.com", password="right", base_url=service.base_url, limit=limit
    ) as client:
        yield client


@pytest.fixture
def prompt() -> BackfillConfig:
    return BackfillConfig(settle_s=0, stale_poll_s=0.05)


@pytest.fixture
def quick() -> SocketConfig:
    return SocketConfig(
        open_timeout_s=2,
        close_timeout_s=0.05,
        first_delay_s=0.02,
        backoff_base_s=0.02,
        backoff_cap_s=0.05,
        try_again_later_s=0.05,
        max_handshakes=400,
    )

"""Clients for a server with scripted faults, with short timings and a high rate limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from energy_core.http.client import ApiClient
from energy_core.http.credential import Credential
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.url import parse_base_url
from tests.servers.fault_server import FaultServer, Script
from tests.servers.invented_vendor import FAST, WIDE, fixed_token

Serve = Callable[[Script], Awaitable[FaultServer]]
Connect = Callable[..., ApiClient]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers that stop with the test."""
    async with AsyncExitStack() as stack:

        async def start(script: Script, **options: object) -> FaultServer:
            return await stack.enter_async_context(FaultServer(script, **options))  # type: ignore[arg-type]

        yield start


def promptly() -> asyncio.Timeout:
    """Limit a block that must not wait: half a minute, where waiting in vain would take ten or for ever."""
    return asyncio.timeout(30.0)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Builds clients whose pools close with the test."""
    pools: list[SessionPool] = []

    def make(
        server: FaultServer,
        *,
        limit: RateLimit = WIDE,
        credential: Callable[[], Credential] = fixed_token,
        url: str | None = None,
        **options: object,
    ) -> ApiClient:
        options = {"timeouts": FAST, "random": lambda: 0.0, **options}
        pool = SessionPool(**options)  # type: ignore[arg-type]
        pools.append(pool)
        base = parse_base_url(url or server.url)
        return ApiClient(pool, pool.account(base.origin, "tester", limit, credential), base, vendor="acme")

    yield make
    for pool in pools:
        await pool.aclose(grace_s=0.2)

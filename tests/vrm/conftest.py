from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.servers.scripted_vrm import FakeVRM, serving
from vrm_async import VRMClient

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
async def vrm() -> AsyncIterator[VRMClient]:
    """A client with mocked answers."""
    async with VRMClient(token=TOKEN) as client:
        yield client


@pytest.fixture
async def fake() -> AsyncIterator[FakeVRM]:
    """A scripted VRM server on a real socket."""
    async with serving() as server:
        server.answers("GET", "users/me", {"success": True, "user": {"id": 22}})
        yield server

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

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


@pytest.fixture
async def client(fake) -> AsyncIterator[VRMClient]:
    """A client of the scripted VRM server."""
    async with VRMClient(token=TOKEN, base_url=fake.url) as opened:
        yield opened


@pytest.fixture
def nothing_is_sent(mocked) -> Iterator[None]:
    """A call with a wrong argument sends nothing."""
    yield
    assert mocked.requests == {}


@pytest.fixture
def me(mocked) -> None:
    """The answer to the request for the account's user id."""
    mocked.get("https://vrmapi.victronenergy.com/v2/users/me", payload={"success": True, "user": {"id": 22}})

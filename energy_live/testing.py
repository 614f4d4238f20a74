"""pytest fixtures: a simulator of both services, and clients connected to it.

For tests of your own program. Needs pytest and pytest-asyncio. Add one line to `conftest.py`:

    pytest_plugins = ["energy_live.testing"]

Then a test takes the fixtures that it needs:

    async def test_battery_is_shown(vrm, voltstorage, simulator):
        async with merge(vrm.live(simulator.site_ids[0], interval_s=0.1)) as events:
            ...

    async def test_outage_is_retried(vrm, simulator):
        simulator.faults.add(outage(503), path="users/me")
        assert (await vrm.users.me()).id == simulator.vrm_user_id

To start the simulator with other settings, such as its clock's speed, override `simulator_options` in
`conftest.py`:

    @pytest.fixture
    def simulator_options():
        return {"speed": 60.0, "start": datetime(2026, 6, 1, 12, tzinfo=UTC)}
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from energy_core import SessionPool
from energy_live.simulator import Simulator
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

__all__ = ["simulator", "simulator_environment", "simulator_options", "simulator_pool", "voltstorage", "vrm"]


@pytest.fixture
def simulator_options() -> Mapping[str, object]:
    """Keyword arguments of `Simulator`; override this fixture to change them."""
    return {}


@pytest_asyncio.fixture
async def simulator(simulator_options: Mapping[str, object]) -> AsyncIterator[Simulator]:
    """Run a simulator of VRM and VoltStorage on free ports of 127.0.0.1."""
    async with Simulator(**simulator_options) as running:  # type: ignore[arg-type]
        yield running


@pytest.fixture
def simulator_environment(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Set VRM_TOKEN, VOLTSTORAGE_EMAIL and the other variables to the simulator's; return them.

    For programs that read their credentials and base URLs from the environment.
    """
    variables = simulator.environment()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest_asyncio.fixture
async def simulator_pool() -> AsyncIterator[SessionPool]:
    """Open the session pool that the fixtures `vrm` and `voltstorage` share."""
    async with SessionPool() as pool:
        yield pool


@pytest.fixture
def vrm(simulator: Simulator, simulator_pool: SessionPool) -> VRMClient:
    """Return a VRM client that is connected to the simulator with an access token."""
    return VRMClient(simulator_pool, token=simulator.vrm_token, base_url=simulator.vrm_url)


@pytest.fixture
def voltstorage(simulator: Simulator, simulator_pool: SessionPool) -> VoltStorageClient:
    """Return a VoltStorage client that is connected to the simulator with e-mail address and password."""
    return VoltStorageClient(
        simulator_pool,
        email=simulator.volt_email,
        password=simulator.volt_password,
        base_url=simulator.voltstorage_url,
    )

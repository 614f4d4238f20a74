"""pytest fixtures: a simulator of both services, and clients connected to it.

For tests of your own program. Needs pytest-asyncio; pytest finds the fixtures by itself:

    async def test_battery_is_shown(energy_services, vrm):
        site, _ = await vrm.now()
        ...

    async def test_an_outage_is_retried(energy_services, vrm):
        energy_services.faults.add(outage(503), path="users/me")
        assert (await vrm.users.me()).id == energy_services.vrm_user_id

To start the simulator with other settings, such as its clock, override `energy_services_options` in
`conftest.py`:

    @pytest.fixture
    def energy_services_options():
        return {"speed": 1e-6, "start": datetime(2024, 6, 1, 12, tzinfo=UTC)}

pytest imports this module in every run of an environment that has energy-live: all else is imported by the
fixtures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import pytest

try:
    import pytest_asyncio
except ImportError:  # a run of pytest that does not use these fixtures must not fail
    _async_fixture = pytest.fixture
else:
    _async_fixture = pytest_asyncio.fixture  # type: ignore[assignment]

if TYPE_CHECKING:
    from energy_core import SessionPool
    from energy_live.simulator import Simulator
    from voltstorage_async import VoltStorageClient
    from vrm_async import VRMClient

__all__ = [
    "energy_services",
    "energy_services_environment",
    "energy_services_options",
    "energy_services_pool",
    "voltstorage",
    "vrm",
]


@pytest.fixture
def energy_services_options() -> Mapping[str, object]:
    """Keyword arguments of `Simulator`; override this fixture to change them."""
    return {}


@_async_fixture
async def energy_services(energy_services_options: Mapping[str, object]) -> AsyncIterator[Simulator]:
    """Run a simulator of VRM and VoltStorage on free ports of 127.0.0.1."""
    from energy_live.simulator import Simulator  # noqa: PLC0415

    async with Simulator(**energy_services_options) as running:  # type: ignore[arg-type]
        yield running


@pytest.fixture
def energy_services_environment(
    energy_services: Simulator, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """Set VRM_TOKEN, VOLTSTORAGE_EMAIL and the other variables to the simulator's; return them.

    For programs that read their credentials and base URLs from the environment.
    """
    variables = energy_services.environment()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@_async_fixture
async def energy_services_pool() -> AsyncIterator[SessionPool]:
    """Open the session pool that the fixtures `vrm` and `voltstorage` share."""
    from energy_core import SessionPool  # noqa: PLC0415

    async with SessionPool() as pool:
        yield pool


@pytest.fixture
def vrm(energy_services: Simulator, energy_services_pool: SessionPool) -> VRMClient:
    """Return a VRM client that is connected to the simulator with an access token."""
    from vrm_async import VRMClient  # noqa: PLC0415

    return VRMClient(energy_services_pool, token=energy_services.vrm_token, base_url=energy_services.vrm_url)


@pytest.fixture
def voltstorage(energy_services: Simulator, energy_services_pool: SessionPool) -> VoltStorageClient:
    """Return a VoltStorage client that is connected to the simulator with e-mail address and password."""
    from voltstorage_async import VoltStorageClient  # noqa: PLC0415

    return VoltStorageClient(
        energy_services_pool,
        email=energy_services.volt_email,
        password=energy_services.volt_password,
        base_url=energy_services.voltstorage_url,
    )

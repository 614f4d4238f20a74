"""`energy_live.testing`: pytest fixtures for programs that use the clients."""

import os
import subprocess
import sys
import textwrap

from energy_live.simulator.faults import outage
from energy_live.testing import *  # noqa: F403  (as `pytest_plugins` does)
from tests.servers.command_line import DEADLINE_S, environment


async def test_clients_are_connected_to_the_simulator(simulator, vrm, voltstorage):
    """`vrm` and `voltstorage` answer with the simulator's own user and products."""
    assert (await vrm.users.me()).id == simulator.vrm_user_id
    assert tuple([product.id async for product in voltstorage.products.list()]) == simulator.product_ids


async def test_faults_can_be_injected(simulator, vrm):
    """A fault of the simulator reaches the client, which retries."""
    simulator.faults.add(outage(503), path="users/me")
    assert (await vrm.users.me()).id == simulator.vrm_user_id
    assert simulator.counters["faults"] == 1


def test_environment_names_the_simulator(simulator, simulator_environment):
    """`simulator_environment` sets the variables for programs that read them."""
    assert os.environ["VRM_BASE_URL"] == simulator.vrm_url == simulator_environment["VRM_BASE_URL"]


def test_a_project_needs_one_line_in_its_conftest(tmp_path):
    """`pytest_plugins` makes the fixtures available, also in pytest-asyncio's strict mode."""
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(
            """
            import pytest

            pytest_plugins = ["energy_live.testing"]

            @pytest.fixture
            def simulator_options():
                return {"speed": 60.0}
            """
        )
    )
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent(
            """
            import pytest

            @pytest.mark.asyncio
            async def test_battery(simulator, vrm):
                assert simulator.speed == 60.0
                assert (await vrm.users.me()).id == simulator.vrm_user_id
            """
        )
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        command, env=environment(), cwd=tmp_path, timeout=DEADLINE_S, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode()
    assert b"1 passed" in done.stdout

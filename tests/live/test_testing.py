"""`energy_live.testing`: pytest fixtures for programs that use the clients."""

import os
import re
import subprocess
import sys
import textwrap

from energy_live.simulator.faults import outage
from energy_live.testing import *  # noqa: F403  (as `pytest_plugins` does)
from tests.servers.command_line import DEADLINE_S, ROOT, environment


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


def test_a_project_of_its_own_uses_the_fixtures(tmp_path):
    """The tests of docs/testing.md pass in a project of their own, in strict mode of pytest-asyncio."""
    plugins, tests, _ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/testing.md").read_text(), re.DOTALL)
    options = '\n\n@pytest.fixture\ndef simulator_options():\n    return {"speed": 60.0}\n'
    (tmp_path / "conftest.py").write_text(f"import pytest\n\n{plugins}{options}")
    (tmp_path / "test_mine.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        command, env=environment(), cwd=tmp_path, timeout=DEADLINE_S, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode()
    assert b"2 passed" in done.stdout


async def test_the_simulator_is_a_context_manager(capsys):
    """The last snippet of docs/testing.md prints the simulator's user."""
    *_, snippet = re.findall(r"```python\n(.*?)```", (ROOT / "docs/testing.md").read_text(), re.DOTALL)
    names = {}
    exec(f"async def work():\n{textwrap.indent(snippet, '    ')}", names)
    await names["work"]()
    assert "1001" in capsys.readouterr().out

"""`energy_live.testing`: pytest fixtures for programs that use the clients."""

import os
import re
import subprocess
import sys
import textwrap
import tomllib

import pytest

from energy_live.simulator.faults import outage
from energy_live.testing import *  # noqa: F403  (as the plugin does)
from tests.servers.command_line import DEADLINE_S, ROOT, environment

DOCUMENT = (ROOT / "docs/testing.md").read_text()


def snippets():
    return re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


def pytest_run(folder, *options):
    """Run pytest with the plugin, as it is in an environment that has energy-live."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)]
    return subprocess.run(
        command, env=environment(), cwd=folder, timeout=DEADLINE_S, capture_output=True, check=False
    )


async def test_clients_are_connected_to_the_simulator(energy_services, vrm, voltstorage):
    """`vrm` and `voltstorage` answer with the simulator's own user and products."""
    assert (await vrm.users.me()).id == energy_services.vrm_user_id
    products = [product.id async for product in voltstorage.products.list()]
    assert tuple(products) == energy_services.product_ids


async def test_faults_can_be_injected(energy_services, vrm):
    """A fault of the simulator reaches the client, which retries."""
    energy_services.faults.add(outage(503), path="users/me")
    assert (await vrm.users.me()).id == energy_services.vrm_user_id
    assert energy_services.counters["faults"] == 1


def test_environment_names_the_simulator(energy_services, energy_services_environment):
    """`energy_services_environment` sets the variables for programs that read them."""
    url = energy_services.vrm_url
    assert os.environ["VRM_BASE_URL"] == url == energy_services_environment["VRM_BASE_URL"]


def test_pytest_finds_the_plugin():
    """The entry point has the module's name, so that naming it in `pytest_plugins` too is harmless."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"energy_live.testing": "energy_live.testing"}


def test_a_project_of_its_own_uses_the_fixtures(tmp_path):
    """The tests of docs/testing.md pass in a project of their own, in strict mode of pytest-asyncio."""
    fixtures, tests, clock, _ = snippets()
    (tmp_path / "conftest.py").write_text(fixtures)
    (tmp_path / "test_mine.py").write_text(tests + clock)
    done = pytest_run(tmp_path, "-p", "energy_live.testing")
    assert done.returncode == 0, done.stdout.decode()
    assert b"3 passed" in done.stdout


def test_the_plugin_costs_other_projects_nothing(tmp_path):
    """A run that uses no fixture of it imports no client and no simulator, and needs no pytest-asyncio."""
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n\ndef test_nothing():\n"
        "    assert not {'aiohttp', 'vrm_async', 'energy_live.simulator'} & set(sys.modules)\n"
    )
    (tmp_path / "pytest_asyncio.py").write_text("raise ImportError\n")
    options = ("-p", "no:asyncio", "-p", "no:aiohttp", "-p", "energy_live.testing")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(tmp_path)],
        env=environment({"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
        | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=tmp_path,
        timeout=DEADLINE_S,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()


async def test_the_simulator_is_a_context_manager(capsys):
    """The last snippet of docs/testing.md prints the simulator's user."""
    *_, snippet = snippets()
    names = {}
    exec(f"async def work():\n{textwrap.indent(snippet, '    ')}", names)
    await names["work"]()
    assert "1001" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
async def test_the_clock_only_moves_ahead(energy_services, seconds):
    """A wrong number of seconds is an error and moves nothing."""
    with pytest.raises(ValueError, match="ahead"):
        energy_services.advance(seconds)

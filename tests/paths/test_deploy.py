"""examples/deploy: the unit, the Dockerfile and the service, as one would install them."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from energy_live.simulator import Simulator
from tests.paths.snippets import ROOT, document, snippets_of
from tests.servers.command_line import DEADLINE_S, environment

DEPLOY = ROOT / "examples/deploy"
SOURCES = (
    "energy_core",
    "vrm_async",
    "voltstorage_async",
    "energy_live",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


def steps():
    """Return the instructions of the Dockerfile, such as ("RUN", "python -m venv venv")."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An empty folder in which the steps of the Dockerfile were run."""
    root = tmp_path_factory.mktemp("image")
    folder = root / "opt"
    folder.mkdir()
    for step, arguments in steps():
        if step == "COPY":
            source, target = arguments.split()
            copy(source, folder / target)
        elif step == "RUN":
            command = arguments.replace("/state", str(root / "state")).replace("chown 65532", "true")
            command = re.sub(r"^python ", f"{sys.executable} ", command)
            done = subprocess.run(
                ["sh", "-ec", command],
                cwd=folder,
                env=environment({"PYTHONPATH": ""}),
                capture_output=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stderr.decode()
    return root


def copy(source, target):
    """Copy what the build context has, by Dockerfile.dockerignore."""
    if source != ".":
        shutil.copy(ROOT / source, target)
        return
    target.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, target / name)


@pytest.fixture
async def simulator():
    """The simulator; a gateway logs every 0.2 seconds."""
    async with Simulator(speed=300.0) as running:
        yield running


async def service(image, simulator, *, readings):
    """Run the image's command until it has printed some readings; end it with SIGTERM; return its events."""
    (command,) = (json.loads(arguments) for step, arguments in steps() if step == "CMD")
    extra = simulator.environment() | {"PYTHONPATH": "", "STATE_DIRECTORY": str(image / "state")}
    process = await asyncio.create_subprocess_exec(
        str(image / "opt" / command[0]),
        *command[1:],
        cwd=image / "opt",
        env=environment(extra),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    events = []
    try:
        async with asyncio.timeout(DEADLINE_S):
            while sum(event["kind"] == "reading" for event in events) < readings:
                line = await process.stdout.readline()
                assert line, (await process.stderr.read()).decode()
                events.append(json.loads(line))
            process.send_signal(signal.SIGTERM)
            rest, problems = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, problems.decode()) == (0, "")
    return events + [json.loads(line) for line in rest.splitlines()]


async def test_the_steps_of_the_dockerfile_make_a_service(image, simulator):
    """In an empty folder the steps install the service; it prints events, ends on SIGTERM, and continues."""
    first = await service(image, simulator, readings=2)
    assert (image / "state/position.json").stat().st_mode & 0o077 == 0
    second = await service(image, simulator, readings=2)
    readings = [event for event in first + second if event["kind"] == "reading"]
    source = next(event["source"] for event in second if event["kind"] == "reading")
    events = [event for event in first + second if event["kind"] != "status"]  # alarms are numbered, too
    mine = [event for event in events if event["source"] == source]
    assert mine[0] in first
    assert [event["seq"] for event in mine] == list(range(1, len(mine) + 1))
    times = [datetime.fromisoformat(event["time"]) for event in mine if event["kind"] == "reading"]
    # The gateway logs once a minute: what it logged while the service was down is there too.
    assert {after - before for before, after in pairwise(times)} == {timedelta(minutes=1)}
    ids = [event["id"] for event in readings]
    assert len(ids) == len(set(ids))
    assert simulator.vrm_token not in json.dumps(first + second)


def test_the_build_context_has_only_what_is_installed():
    """Dockerfile.dockerignore lets in what the steps copy, and nothing else: no credentials, no tests."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert lines[0] == "*"
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert kept == {*SOURCES, "examples/deploy/service.py"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path):
    """`systemd-analyze verify` has no complaint, once the program exists."""
    unit = (DEPLOY / "energy-live.service").read_text()
    program = "/opt/energy-live/venv/bin/python"
    assert program in unit
    path = tmp_path / "energy-live.service"
    path.write_text(unit.replace(program, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_the_page_shows_the_example():
    """docs/how-to/run-a-service.md has service.py as it is."""
    (snippet,) = snippets_of(document("docs/how-to/run-a-service.md"))
    assert snippet in (DEPLOY / "service.py").read_text()

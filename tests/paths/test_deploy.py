"""examples/deploy: the unit, the Dockerfile and the service, as one would install them."""

import asyncio
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import aiohttp
import pytest

from energy_live.service.config import load_config
from energy_live.simulator import Simulator
from tests.paths.snippets import ROOT, document, snippets_of
from tests.servers.command_line import DEADLINE_S, environment
from tests.servers.real_programs import free_port, until

DEPLOY = ROOT / "examples/deploy"
SOURCES = (
    "energy_core",
    "vrm_async",
    "voltstorage_async",
    "energy_live",
    "pyproject.toml",
    "hatch_build.py",
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


async def started(image, simulator, *arguments):
    """Start the image's command, with another address of its health."""
    (command,) = (json.loads(arguments) for step, arguments in steps() if step == "CMD")
    port = free_port()
    words = [str(image / "opt" / command[0]), *command[1:]]
    words[words.index("0.0.0.0:9180")] = f"127.0.0.1:{port}"
    extra = simulator.environment() | {"PYTHONPATH": "", "STATE_DIRECTORY": str(image / "state")}
    process = await asyncio.create_subprocess_exec(
        *words,
        *arguments,
        cwd=image / "opt",
        env=environment(extra),
        stderr=asyncio.subprocess.PIPE,
    )
    return process, port


async def run(image, simulator, *, readings):
    """Run it until the database has so many readings; end it with SIGTERM."""
    process, port = await started(image, simulator, "--interval", "0.2", "--site", "151001")
    try:
        await until(lambda: len(stored(image)) >= readings, DEADLINE_S)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/healthz") as answer,
        ):
            assert (answer.status, await answer.text()) == (200, "ok\n")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            _, problems = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert (process.returncode, problems.decode()) == (0, "")


def stored(image):
    """Return id and minute of each reading of the site in the database."""
    path = image / "state" / "energy.sqlite"
    if not path.exists():
        return []
    columns = "id, CAST(unix_time AS INTEGER) / 60"
    select = f"SELECT {columns} FROM readings WHERE source LIKE 'vrm/%' AND quantity = 'pv_power'"
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
        return connection.execute(select).fetchall()
    return []


async def test_the_steps_of_the_dockerfile_make_a_service(image, simulator):
    """In an empty folder the steps install the service; it stores readings, ends, and continues."""
    await run(image, simulator, readings=2)
    first = len(stored(image))
    assert (image / "state/energy.sqlite").stat().st_mode & 0o077 == 0
    await run(image, simulator, readings=first + 3)
    ids, minutes = zip(*stored(image), strict=True)
    assert len(ids) == len(set(ids))
    # The gateway logs once a minute: what it logged while the service was down is there too.
    assert sorted(minutes) == list(range(min(minutes), max(minutes) + 1))
    kept = [path for path in (image / "state").rglob("*") if path.is_file()]
    assert [path for path in kept if simulator.vrm_token.encode() in path.read_bytes()] == []


def test_the_build_context_has_only_what_is_installed():
    """Dockerfile.dockerignore lets in what the steps copy, and nothing else: no credentials, no tests."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert lines[0] == "*"
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert kept == set(SOURCES)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path):
    """`systemd-analyze verify` has no complaint, once the program exists."""
    unit = (DEPLOY / "energy-live.service").read_text()
    program = "/opt/energy-live/venv/bin/energy-live"
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


def test_the_settings_are_valid():
    """The service accepts the file, and what the page says of its options."""
    config = load_config(DEPLOY / "energy-live.toml")
    assert [each.to for each in config.output] == ["sqlite:energy.sqlite"]


def test_the_page_shows_the_example():
    """docs/how-to/run-a-service.md has service.py as it is."""
    (snippet,) = snippets_of(document("docs/how-to/run-a-service.md"))
    assert snippet in (DEPLOY / "service.py").read_text()

"""Every example runs as a user runs it, with credentials from the environment, against the simulator."""

import ast
import asyncio
import csv
import os
import sys
from datetime import datetime
from pathlib import Path

import pytest

from energy_core.stream.vocabulary import READINGS
from energy_live.simulator import Simulator

ROOT = Path(__file__).parents[2]
# The longer examples have their own tests.
EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").glob("*.py"))
    if not (ROOT / "tests" / "paths" / f"test_{path.stem}.py").exists()
]


@pytest.fixture
async def simulator():
    """The simulator, with short intervals."""
    async with Simulator(speed=60.0, frame_s=0.1) as running:
        yield running


@pytest.fixture
def ours(simulator):
    """The environment with the credentials of the simulator's accounts."""
    foreign = {
        name: value for name, value in os.environ.items() if not name.startswith(("VRM_", "VOLTSTORAGE_"))
    }
    return foreign | {"PYTHONPATH": str(ROOT)} | simulator.environment()


async def run(name, environment, *, typed="", warnings="error"):
    """Run one example to its end and return its lines."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", warnings, str(ROOT / "examples" / f"{name}.py")),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(typed.encode()), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode().splitlines()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_explained(path):
    """An example has at most thirty lines, a docstring and no private names."""
    text = path.read_text()
    assert len(text.splitlines()) <= 30
    assert ast.get_docstring(ast.parse(text))
    assert "._" not in text


def test_every_example_is_run_here():
    """Every example has a test."""
    assert [path.stem for path in EXAMPLES] == ["export", "follow", "login", "merge", "poll"]


async def test_merge(ours):
    """merge.py prints twenty readings, of both vendors, with unified quantities."""
    lines = await run("merge", ours)
    assert len(lines) == 20
    assert {line.split()[2].partition("/")[0] for line in lines} == {"vrm", "voltstorage"}
    vocabulary = {str(quantity) for quantity in READINGS}
    assert {pair.partition("=")[0] for line in lines for pair in line.split()[3:]} <= vocabulary


async def test_poll(ours):
    """poll.py prints a state of charge for each site, by its name."""
    lines = await run("poll", ours)
    assert {line.rpartition(":")[0][10:] for line in lines} == {"Elm Street 12", "Dar Atlas"}
    assert all(0 <= float(line.split()[-2]) <= 100 for line in lines)


async def test_follow(ours):
    """follow.py prints ten events with the vendor's own names."""
    lines = await run("follow", ours)
    assert len(lines) == 10
    assert all("{'" in line for line in lines)
    assert any("'pvPower': " in line for line in lines)


async def test_export(ours):
    """export.py prints rows that a CSV reader understands, in order, an hour at most."""
    header, *rows = csv.reader(await run("export", ours))
    assert header[0] == "time"
    assert "Power_PV" in header
    times = [datetime.fromisoformat(row[0]) for row in rows]
    assert len(rows) > 100
    assert times == sorted(times)
    assert (times[-1] - times[0]).total_seconds() <= 3600
    assert {len(row) for row in rows} == {len(header)}
    assert all(cell == "" or float(cell) is not None for row in rows for cell in row[1:])


async def test_login_with_a_token(ours):
    """login.py takes the access token where there is one."""
    (line,) = await run("login", ours)
    assert "user 1001" in line
    assert ours["VRM_TOKEN"] not in line


async def test_login_with_a_password(ours, simulator):
    """login.py logs in with a password where there is no token; VRM's deprecation is only a warning."""
    del ours["VRM_TOKEN"]
    named = ours | {"VRM_USERNAME": simulator.vrm_username, "VRM_PASSWORD": simulator.vrm_password}
    (line,) = await run("login", named, warnings="ignore")
    assert "user 1001" in line
    assert simulator.vrm_password not in line


async def test_login_with_a_code(ours, simulator):
    """login.py asks for the one-time code and uses it."""
    del ours["VRM_TOKEN"]
    named = ours | {"VRM_USERNAME": simulator.sms_username, "VRM_PASSWORD": simulator.sms_password}
    (line,) = await run("login", named, typed=f"{simulator.sms_token}\n", warnings="ignore")
    assert line.startswith("The code in the SMS: ")
    assert "user 1002" in line

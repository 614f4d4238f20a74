"""`energy-live history --local` reads what `energy-live run` has stored."""

import json

import pytest

from tests.live.test_sqlite_output import PV, SOC, opened, position, reading
from tests.servers.command_line import run


@pytest.fixture
async def file(tmp_path):
    path = tmp_path / "energy-live" / "energy.sqlite"
    async with opened(path) as output:
        await output.write([reading(n, {PV: float(n), SOC: 50.0}) for n in range(0, 3700, 10)], position(1))
    return path


def rows(*arguments, env=None):
    done = run("history", "7", "--period", "2026-03-01", "--format", "json", *arguments, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_the_stored_means_are_a_table(file):
    """One row an interval and device; it needs no credential, and no service is asked."""
    hours = rows("--local", str(file), "--interval", "hours")
    assert [each["pv_power_w"] for each in hours] == [1795.0, 3645.0]
    assert [each["battery_soc_percent"] for each in hours] == [50.0, 50.0]
    assert {each["source"] for each in hours} == {"test/me/7/0"}
    quarters = rows("--local", str(file), "--interval", "15mins", "--code", "pv_power")
    assert len(quarters) == 5
    assert set(quarters[0]) == {"time", "source", "pv_power_w"}


async def test_the_file_of_the_service_is_found(file):
    """Without a name it is that in the state folder of the user."""
    state = {"XDG_STATE_HOME": str(file.parents[1])}
    assert len(rows("--interval", "hours", "--local", env=state)) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--local", "/nowhere.sqlite"), 1, "/nowhere.sqlite does not exist; `energy-live run` makes it"),
        (("--local", "x", "--interval", "months"), 2, "--local has the intervals 15mins, hours"),
        (("--local", "x", "--code", "bs"), 2, "--local has the quantities grid_power"),
        (("--local", "x", "--start", "soon"), 2, "soon"),
        (("--local", "x", "--out", "x.csv"), 2, "--local prints only"),
    ],
)
def test_a_mistake_is_one_line(arguments, code, said):
    done = run("history", "7", *arguments)
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert said in line

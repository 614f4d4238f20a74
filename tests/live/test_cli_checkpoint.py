import asyncio
import json
import stat
from datetime import datetime, timedelta

import pytest

from energy_core import SessionPool
from energy_live.environment import Accounts
from tests.servers.command_line import events, readings, run, simulated

OPTIONS = ("--format", "jsonl", "--interval", "0.5")
PATIENCE_S = 120.0
"""A program takes its time to start where others want the processor too."""
FRAMES = timedelta(seconds=2 * 20)
"""Two events of a product, in the household's time at the speed of these tests."""


@pytest.fixture(scope="module")
def services():
    """The environment that points at a simulated pair of services."""
    with simulated("--speed", "20") as variables:
        yield variables


@pytest.fixture
def position(tmp_path):
    return tmp_path / "position.json"


def of(vendor, text):
    return [event for event in events(text) if event["source"][0] == vendor]


async def lived_until(services, moment):
    """Wait until the household has told something of this moment, as its product's own stream has it."""
    async with (
        SessionPool() as pool,
        Accounts.from_environment(services).voltstorage(pool).events(301) as stream,
    ):
        async for event in stream:
            if event.time >= moment:
                return


def test_watch_goes_on_where_it_stopped(services, position):
    """A second run brings what happened in between, backfilled, and nothing of the first; numbers go on."""
    watching = ("watch", "--product", "301", *OPTIONS, "--checkpoint", str(position))
    first = run(*watching, "--events", "5", env=services, timeout=PATIENCE_S)
    assert (first.returncode, first.stderr) == (0, "")
    assert stat.S_IMODE(position.stat().st_mode) == 0o600
    # A second run that begins before the next event has missed none, and fetches nothing.
    last = datetime.fromisoformat(readings(first.stdout)[-1]["time"])
    asyncio.run(asyncio.wait_for(lived_until(services, last + FRAMES), PATIENCE_S))
    second = run(*watching, "--events", "8", env=services, timeout=PATIENCE_S)
    assert (second.returncode, second.stderr) == (0, "")
    before, after = readings(first.stdout), readings(second.stdout)
    assert after[0]["backfilled"]
    assert not {event["id"] for event in before} & {event["id"] for event in after}
    numbers = [event["seq"] for event in events(first.stdout) + events(second.stdout)]
    assert numbers == sorted(set(numbers))
    for name in ("VRM_TOKEN", "VOLTSTORAGE_PASSWORD", "VOLTSTORAGE_EMAIL"):
        assert services[name] not in position.read_text()


def test_the_demo_takes_up_its_household_again(position):
    """A second demo begins a few household minutes after the first has ended, and fetches them."""
    for _ in range(2):
        done = run("demo", "--events", "12", "--format", "jsonl", "--checkpoint", str(position))
        assert (done.returncode, done.stderr) == (0, "")
    assert "backfilling" in {
        event["detail"]["state"] for event in events(done.stdout) if event["kind"] == "status"
    }
    assert of("voltstorage", done.stdout)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("rubbish", "not JSON"),
        ('{"v":7}', "version 7"),
        (json.dumps({"v": 1, "sources": [{"id": ["a", "b", "c", 0], "at": []}]}), "other sources"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_one_line(services, position, text, said):
    """Exit code 1, one line that says why, and the file as it was."""
    position.write_text(text)
    done = run("watch", *OPTIONS, "--events", "1", "--checkpoint", str(position), env=services)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert str(position) in done.stderr
    assert "--from-now" in done.stderr
    assert position.read_text() == text


def test_from_now_begins_with_what_is_new(services, position):
    """Whatever the file held, nothing of before is fetched, and the file is good afterwards."""
    position.write_text("")
    watching = ("watch", "--product", "301", *OPTIONS, "--checkpoint", str(position), "--events", "3")
    for _ in range(2):
        done = run(*watching, "--from-now", env=services, timeout=PATIENCE_S)
        assert (done.returncode, done.stderr) == (0, "")
        assert not any(event["backfilled"] for event in readings(done.stdout))
    assert run(*watching, env=services, timeout=PATIENCE_S).returncode == 0

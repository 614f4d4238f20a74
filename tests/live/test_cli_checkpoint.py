import asyncio
import json
import stat
from datetime import datetime, timedelta

import pytest

from energy_core import SessionPool
from energy_live.environment import Accounts
from tests.servers.command_line import DEADLINE_S, events, readings, run, simulated

OPTIONS = ("--format", "jsonl", "--interval", "0.5")
FRAMES = timedelta(seconds=2 * 20)
"""Household time of two events of a product at the speed of these tests."""


@pytest.fixture(scope="module")
def services():
    """Environment variables of a running simulator."""
    with simulated("--speed", "20") as variables:
        yield variables


@pytest.fixture
def position(tmp_path):
    return tmp_path / "position.json"


def of(vendor, text):
    return [event for event in events(text) if event["source"][0] == vendor]


async def wait_for_event_at(services, moment):
    """Wait until the product's own stream has an event at this time or later."""
    async with (
        SessionPool() as pool,
        Accounts.from_environment(services).voltstorage(pool).events(301) as stream,
    ):
        async for event in stream:
            if event.time >= moment:
                return


def test_watch_resumes_from_the_checkpoint(services, position):
    """A second run backfills the events between both runs, repeats none of the first, and continues `seq`."""
    watching = ("watch", "--product", "301", *OPTIONS, "--checkpoint", str(position))
    first = run(*watching, "--events", "3", env=services)
    assert (first.returncode, first.stderr) == (0, "")
    assert stat.S_IMODE(position.stat().st_mode) == 0o600
    # There is something to backfill only after the next event.
    last = datetime.fromisoformat(readings(first.stdout)[-1]["time"])
    asyncio.run(asyncio.wait_for(wait_for_event_at(services, last + FRAMES), DEADLINE_S))
    second = run(*watching, "--events", "5", env=services)
    assert (second.returncode, second.stderr) == (0, "")
    before, after = readings(first.stdout), readings(second.stdout)
    assert after[0]["backfilled"]
    assert not {event["id"] for event in before} & {event["id"] for event in after}
    numbers = [event["seq"] for event in events(first.stdout) + events(second.stdout)]
    assert numbers == sorted(set(numbers))
    for name in ("VRM_TOKEN", "VOLTSTORAGE_PASSWORD", "VOLTSTORAGE_EMAIL"):
        assert services[name] not in position.read_text()


def test_the_demo_resumes_its_household(position):
    """A second demo starts five household minutes after the end of the first, and backfills them."""
    for _ in range(2):
        done = run(
            "demo", "--speed", "60", "--events", "12", "--format", "jsonl", "--checkpoint", str(position)
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert "backfilling" in {
        event["detail"]["state"] for event in events(done.stdout) if event["kind"] == "status"
    }
    assert of("voltstorage", done.stdout)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("rubbish", "not JSON"),
        ('{"v":7}', "version 7"),
        (json.dumps({"v": 1, "sources": [{"id": ["a", "b", "c", 0], "at": []}]}), "other sources"),
    ],
)
def test_an_unusable_checkpoint_is_one_line(services, position, text, expected):
    """One line with the reason, exit code 1; the file is not changed."""
    position.write_text(text)
    done = run("watch", *OPTIONS, "--events", "1", "--checkpoint", str(position), env=services)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert expected in done.stderr
    assert str(position) in done.stderr
    assert "--from-now" in done.stderr
    assert position.read_text() == text


def test_from_now_replaces_the_checkpoint(services, position):
    """--from-now backfills nothing, also with an unusable file, and leaves a usable file."""
    position.write_text("")
    watching = ("watch", "--product", "301", *OPTIONS, "--checkpoint", str(position), "--events", "2")
    for _ in range(2):
        done = run(*watching, "--from-now", env=services)
        assert (done.returncode, done.stderr) == (0, "")
        assert not any(event["backfilled"] for event in readings(done.stdout))
    assert run(*watching, env=services).returncode == 0

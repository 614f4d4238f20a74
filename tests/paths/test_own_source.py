"""examples/own_source.py and docs/sources.md: a source for a third vendor."""

import ast
import asyncio
import contextlib
import os
import re
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from energy_core import Kind, Quantity, SourceId, State, merge
from energy_core.stream.source import Outlet, Source

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_source.py"
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sources.md").read_text(), re.DOTALL)


class AcmeMeter:
    """The invented device: sends its count each second, and closes on request."""

    def __init__(self):
        self.second = 1_780_000_000
        self.connections = 0
        self.port = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, _reader, writer):
        self.connections += 1
        with contextlib.suppress(OSError), contextlib.closing(writer):
            for _ in range(3):
                self.second += 1
                writer.write(f"{self.second} {self.second % 7 - 3}.5\n".encode())
                await writer.drain()


@pytest.fixture
async def acme():
    """A meter that closes the connection after every third line."""
    async with AcmeMeter() as meter:
        yield meter


async def test_the_example_prints_what_the_meter_says_and_does(acme):
    """It follows the meter over a lost connection, printing readings and states, until SIGINT."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "METER_PORT": str(acme.port)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-W", "error", str(EXAMPLE)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    lines = []
    try:
        async with asyncio.timeout(20):
            while sum(" reading " in line for line in lines) < 6:
                lines.append((await process.stdout.readline()).decode())
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 20)
    told = [line.split()[1] for line in lines]
    assert told == ["status", "status", *["reading"] * 3, "status", "status", *["reading"] * 3]
    assert all("grid_power" in line for line in lines if " reading " in line)
    assert "the meter is not reachable" in lines[5]


def test_the_example_is_short_and_builds_on_public_names():
    """The example has under forty lines, a docstring and no private names."""
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < 40
    assert ast.get_docstring(ast.parse(text))
    assert "._" not in text


def test_every_snippet_has_its_test():
    """A new snippet in docs/sources.md needs a test of its own."""
    assert len(SNIPPETS) == 4


async def test_a_history_has_what_was_recorded():
    """The fourth snippet returns the readings of a range, oldest first, with the ids of `run`."""
    start = datetime(2026, 6, 1, 12, tzinfo=UTC)
    times = [start + timedelta(seconds=second) for second in range(5)]
    meter = defined(SNIPPETS[3])["Meter"](dict(zip(reversed(times), (5.0, 4.0, 3.0, 2.0, 1.0), strict=True)))
    source = SourceId("acme", "home", "meter-1")
    found = [each async for each in meter.history(source, times[1], times[3])]
    assert [(each.time, each.id, each.values) for each in found] == [
        (time, str(time), {Quantity.GRID_POWER: watts})
        for time, watts in zip(times[1:4], (2.0, 3.0, 4.0), strict=True)
    ]
    assert meter.history_config.settles_after == 5.0


def defined(snippet):
    names = {}
    exec(compile(snippet, "docs/sources.md", "exec"), names)
    return names


async def first(events, count):
    found = []
    async for event in events:
        found.append(event)
        if sum(each.kind is Kind.READING for each in found) == count:
            return found
    return found


async def test_numbers_are_a_source():
    """The first snippet turns an async iterator of numbers into readings, and ends with it."""
    names = defined(SNIPPETS[0])

    async def watts():
        for number in (1.0, -2.0, 3.5):
            yield number

    source: Source = names["Numbers"](watts())
    async with merge(source) as events:
        found = [event async for event in events]
    readings = [event for event in found if event.kind is Kind.READING]
    assert [event.values for event in readings] == [{Quantity.PV_POWER: each} for each in (1.0, -2.0, 3.5)]
    assert [event.detail.state for event in found if event.kind is Kind.STATUS][-1] is State.CLOSED
    assert len({event.id for event in readings}) == 3


async def test_a_question_is_a_source():
    """The second snippet polls; a repeated reading is delivered once."""
    names = defined(SNIPPETS[1])
    answers = iter(
        [{"at": 1_780_000_000, "w": 5}, {"at": 1_780_000_000, "w": 5}, {"at": 1_780_000_060, "w": 7}]
    )

    async def get():
        return next(answers)

    async with merge(names["plug"](get, interval_s=0.01)) as events:
        found = await first(events, 2)
    assert [event.values[Quantity.CONSUMPTION_POWER] for event in found if event.values] == [5.0, 7.0]


async def test_a_hole_that_cannot_be_filled_is_told():
    """The third snippet reports a gap between two connections."""
    gaps = []

    class Paper:
        def gap(self, source, *, start, end, reason):
            gaps.append((source, end - start, reason))

        def reading(self, source, **said):
            pass

    names = defined(SNIPPETS[2])
    outlet: Outlet = Paper()
    meter = names["Meter"](names["SourceId"]("acme", "home", "meter-1"), outlet)
    meter.on_reading(1_780_000_000, 5.0)
    meter.on_reading(1_780_000_001, 5.0)
    meter.on_reconnect()
    meter.on_reading(1_780_000_031, 6.0)
    meter.on_reading(1_780_000_032, 6.0)
    ((source, length, reason),) = gaps
    assert (source.vendor, length.total_seconds(), reason) == ("acme", 30.0, "the meter keeps no history")

"""Runs the commands of docs/reference/cli.md; as a program it writes their output anew."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from energy_core.clock import SystemClock
from energy_live.simulator import Simulator
from tests.servers.command_line import end, run_code, started

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
NOW = datetime(2026, 6, 1, 10, 30, 30, tzinfo=UTC)

FROZEN = f"""
import os, sys
from datetime import datetime
from energy_core import clock
now = datetime.fromisoformat("{NOW.isoformat()}")
clock.SystemClock.utcnow = lambda self: now
clock.VendorClock.now = lambda self: now
os.chdir(os.environ["FOLDER"])
from energy_live.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""The command line at one moment, so that ages and dates are the same in every run."""

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


class StoppedClock(SystemClock):
    """A clock at one moment, so that the simulated household does not change."""

    def utcnow(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def household() -> Simulator:
    """Return the simulator of the document, not started."""
    return Simulator(
        start=NOW, speed=1.0, clock=StoppedClock(), history_days=5, export_step_s=60, window=10_000
    )


def sessions(text: str) -> list[tuple[str, str]]:
    """Return each command of a document with the output that is printed there."""
    found = []
    for block in _BLOCK.findall(text):
        for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = session.partition("\n")
            found.append((command, output))
    return found


async def output_of(command: str, env: Mapping[str, str], folder: Path) -> str:
    """Run a command to its end and return what it prints; `simulate` is stopped with Ctrl-C."""
    arguments = shlex.split(command)[1:]
    if arguments[0] == "simulate":
        return await asyncio.to_thread(_simulate)
    done = await asyncio.to_thread(run_code, FROZEN, *arguments, env={**env, "FOLDER": str(folder)})
    output = public(done.stdout + done.stderr)
    output = output.replace("http://127.0.0.1:40001/", "https://vrmapi.victronenergy.com/")
    return output.replace("http://127.0.0.1:40002/", "https://api.voltstorage.com/")


def _simulate() -> str:
    with started("simulate") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        _, _, err = end(process, signal.SIGINT)
    return public("".join(lines) + err)


def public(output: str) -> str:
    """Return the output without what differs from machine to machine."""
    output = re.sub(r"127.0.0.1:\d+/v2/", "127.0.0.1:40001/v2/", output)
    output = re.sub(r"127.0.0.1:\d+/rest/", "127.0.0.1:40002/rest/", output)
    output = re.sub(r"127.0.0.1:\d+/$", "127.0.0.1:40003/", output, flags=re.MULTILINE)
    output = re.sub(r"answered in \d+ ms", "answered in 42 ms", output)
    return "".join(line.rstrip() + "\n" for line in output.splitlines())


async def rewritten(text: str) -> str:
    """Return the document with the output of its commands as it is now."""
    with tempfile.TemporaryDirectory() as folder:
        async with household() as simulator:
            env = simulator.environment()
            for command, output in sessions(text):
                new = await output_of(command, env, Path(folder))
                text = text.replace(f"$ {command}\n{output}", f"$ {command}\n{new}", 1)
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(asyncio.run(rewritten(DOCUMENT.read_text())))
    sys.stdout.write(f"{DOCUMENT} is written\n")

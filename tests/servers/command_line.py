"""Runs the command line in its own process, with a deadline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-W", "error")
COMMAND = (*PYTHON, "-m", "energy_live")

DEADLINE_S = 60.0
"""The deadline, which also suffices on a busy machine."""

# All variables that the SDK reads: the machine may have real credentials. COLUMNS and LINES would override
# the size of a test's terminal.
_LEFT_OUT = ("VRM_", "VOLTSTORAGE_", "COLUMNS", "LINES")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | dict(extra or {})


def run(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    timeout: float = DEADLINE_S,
    command: tuple[str, ...] = COMMAND,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; raise after the deadline."""
    return subprocess.run(
        [*command, *arguments],
        env=environment(env),
        cwd=ROOT,
        timeout=timeout,
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        check=False,
    )


@contextmanager
def started(*arguments: str, env: Mapping[str, str] | None = None) -> Generator[subprocess.Popen[str]]:
    """A running command, killed on exit if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(env),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def end(process: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    """Send a signal; return the exit code and the rest of both outputs."""
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


def events(text: str) -> list[dict]:
    """Parse the output: every line is one JSON object."""
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def readings(text: str) -> list[dict]:
    return [event for event in events(text) if event["kind"] == "reading"]


@contextmanager
def simulated(*arguments: str) -> Generator[dict[str, str]]:
    """The simulator in its own process; yields the environment of its clients."""
    with started("simulate", *arguments) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        yield dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)

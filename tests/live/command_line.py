"""Runs the command line as its users do: as a process of its own, with a deadline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-W", "error")
COMMAND = (*PYTHON, "-m", "energy_live")

# Everything the SDK reads; the machine that runs the tests may have real credentials.
_OURS = ("VRM_", "VOLTSTORAGE_")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | dict(extra or {})


def run(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    command: tuple[str, ...] = COMMAND,
) -> subprocess.CompletedProcess[str]:
    """Run to the end; the deadline is the test's failure."""
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
    """A running command; killed at the end if it still runs."""
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
        process.communicate(timeout=10)


def end(process: subprocess.Popen[str], signal: int) -> tuple[int, str, str, float]:
    """Send a signal; return exit code, the rest of both outputs, and how many seconds it took."""
    begun = time.monotonic()
    process.send_signal(signal)
    out, err = process.communicate(timeout=15)
    return process.returncode, out, err, time.monotonic() - begun


def events(text: str) -> list[dict]:
    """Every line is one JSON object, the last one too."""
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def readings(text: str) -> list[dict]:
    return [event for event in events(text) if event["kind"] == "reading"]


@contextmanager
def simulated(*arguments: str) -> Generator[dict[str, str]]:
    """Both services in a process of their own; what is yielded points clients at them."""
    with started("simulate", *arguments) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        yield dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)

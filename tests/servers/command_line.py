"""Runs `energy-live` and other programs as processes, with a timeout."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.servers.fork_server import ForkServer

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-W", "error")
COMMAND = (*PYTHON, "-m", "energy_live")

DEADLINE_S = 60.0
"""Timeout of a process; enough for a busy machine."""

# The machine may have real credentials, or a terminal size that would overrule that of a test.
_REMOVED = ("VRM_", "VOLTSTORAGE_", "COLUMNS", "LINES")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child process: without credentials, with the variables of `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_REMOVED)}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | dict(extra or {})


@cache
def _fork_server(options: tuple[str, ...]) -> ForkServer:
    server = ForkServer(options, environment())
    atexit.register(server.close)
    return server


@dataclass(frozen=True)
class Finished:
    """A program that has ended."""

    returncode: int
    """Negative for a signal."""
    stdout: str
    stderr: str


def run(*arguments: str, env: Mapping[str, str] | None = None, timeout: float = DEADLINE_S) -> Finished:
    """Run the command line to its end, in a forked process of its own; a timeout fails the test."""
    server = _fork_server(("-W", "error"))
    return Finished(*server.run(arguments, env=environment(env), timeout=timeout))


def run_code(
    code: str,
    *arguments: str,
    options: tuple[str, ...] = ("-W", "error"),
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program to its end, in a forked process of its own that has imported all packages."""
    server = _fork_server(options)
    return Finished(*server.run(arguments, code=code, env=environment(env), timeout=DEADLINE_S))


def run_python(
    *arguments: str, env: Mapping[str, str] | None = None, timeout: float = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    """Run a new interpreter to its end, for tests of what a program imports."""
    return subprocess.run(
        [*PYTHON, *arguments],
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
    """Start the command line in a new interpreter; kill it at the end of the block."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(env),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=reset_sigint,  # noqa: PLW1509  (one system call)
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def reset_sigint() -> None:
    """Let Ctrl-C interrupt a child process even if this one ignores it, as background jobs of a shell do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def end(process: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    """Send a signal and return exit code, and the rest of stdout and stderr."""
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


def events(text: str) -> list[dict]:
    """Parse lines of JSON; every line must be complete."""
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def readings(text: str) -> list[dict]:
    """Return the readings among the events."""
    return [event for event in events(text) if event["kind"] == "reading"]


@contextmanager
def simulated(*arguments: str) -> Generator[dict[str, str]]:
    """Run the simulator in a process; yield the environment variables of its services."""
    with started("simulate", *arguments) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        yield dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)

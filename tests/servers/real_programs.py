"""Real servers for `tests/real`: found on this machine, started on free ports, stopped with their test."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

START_S = 60.0
"""Seconds a server may take to answer."""


def lacking(what: str, remedy: str) -> None:
    """Skip the module or test with one line; where CI is set, fail instead."""
    line = f"{what} is missing: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(line, pytrace=False)
    pytest.skip(line, allow_module_level=True)


def need_program(name: str, package: str, *, folders: tuple[str, ...] = ()) -> str:
    """Return the path of a program; without it the test is skipped, or fails in CI.

    Args:
        name: Its file name.
        package: The Debian package that has it.
        folders: Where else to look, as glob patterns; the last match counts.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    for folder in folders:
        for each in sorted(Path("/").glob(folder.lstrip("/"))):
            found = shutil.which(name, path=str(each)) or found
    if found is None:
        lacking(name, f"apt-get install {package}")
    return str(found)


def need_module(name: str, extra: str) -> None:
    """Skip the test, or fail in CI, if a module of an extra is not installed."""
    if importlib.util.find_spec(name) is None:
        lacking(name, f"pip install 'energy-live[{extra}]'")


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Return whether something listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class RealProgram:
    """A program that runs while the context is open; it may be stopped and started again meanwhile.

    Args:
        command: The program and its arguments.
        ready: Returns whether it can be used; asked until it is true. It may be a coroutine function.
        log: File for what it prints; shown when it does not start.
        stop: The signal that ends it.
    """

    def __init__(
        self,
        *command: str,
        ready: Callable[[], object],
        log: Path,
        stop: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._command, self._ready, self._log, self._stop = command, ready, log, stop
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                stdout=log,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_S):
                while not await self._is_ready():
                    if self.process.returncode is not None:
                        break
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass
        if self.process.returncode is not None or not await self._is_ready():
            await self.kill()
            text = self._log.read_text(errors="replace")[-2000:]
            pytest.fail(f"{self._command[0]} does not start:\n{text}", pytrace=False)

    async def _is_ready(self) -> bool:
        answer = self._ready()
        return bool(await answer if asyncio.iscoroutine(answer) else answer)

    async def stop(self) -> None:
        """End it, and wait for that."""
        await self._end(self._stop)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), START_S)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


async def until(condition: Callable[[], object], seconds: float = 60.0) -> object:
    """Wait until a condition (a function or coroutine function) is true; return what it returned."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            answer = await answer if asyncio.iscoroutine(answer) else answer
            if answer:
                return answer
            await asyncio.sleep(0.05)

"""A Python process that has imported the packages and forks a child for each program.

Forking takes milliseconds; a new interpreter that imports both clients takes most of a second. Each program
still has a process, an environment, pipes and an interpreter exit of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from energy_core import preload
from energy_live.runner import faster_loop

ROOT = Path(__file__).parents[2]
PRELOADED = (
    "energy_live.cli",
    "energy_live.demo",
    "energy_live.archive.command",
    "energy_live.display.live_table",
    "energy_live.reports.alarms",
    "energy_live.reports.doctor",
    "energy_live.reports.history",
    "energy_live.reports.sites",
)
_REQUEST_BYTES = 100_000


class ForkServer:
    """Runs programs one after the other, each in a forked child.

    Args:
        options: Options of the interpreter, such as `-W error`.
        env: Environment of the server; each program has its own.
    """

    def __init__(self, options: Sequence[str], env: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *options, "-m", "tests.servers.fork_server", str(theirs.fileno())],
                env=env,
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._process.wait()

    def run(
        self, arguments: Sequence[str], *, code: str | None = None, env: Mapping[str, str], timeout: float
    ) -> tuple[int, str, str]:
        """Run a program to its end and return exit code (negative for a signal), stdout and stderr.

        Args:
            arguments: `sys.argv` without the program's name.
            code: Source of the program; the command line by default.
            env: Environment of the program.
            timeout: Seconds after which the program is killed.

        Raises:
            TimeoutError: The program was killed.
        """
        request = json.dumps({"arguments": arguments, "code": code, "env": dict(env)}).encode()
        with self._lock:
            pipes = [os.pipe(), os.pipe()]
            with os.fdopen(pipes[0][0], "rb") as out, os.fdopen(pipes[1][0], "rb") as err:
                socket.send_fds(self._socket, [request], [pipes[0][1], pipes[1][1]])
                os.close(pipes[0][1])
                os.close(pipes[1][1])
                pid = int(self._socket.recv(100))
                finished, texts = _read([out.fileno(), err.fileno()], timeout)
                if not finished:
                    os.kill(pid, signal.SIGKILL)
                status = int(self._socket.recv(100))
        if not finished:
            raise TimeoutError(f"killed after {timeout} s: {texts}")
        return status, *texts


def _read(descriptors: Sequence[int], timeout: float) -> tuple[bool, tuple[str, str]]:
    """Read pipes to their ends; return whether they ended, and their texts."""
    found = dict.fromkeys(descriptors, b"")
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        deadline = time.monotonic() + timeout
        while selector.get_map():
            ready = selector.select(deadline - time.monotonic())
            for key, _ in ready:
                if part := os.read(key.fd, 65536):
                    found[key.fd] += part
                else:
                    selector.unregister(key.fd)
            if not ready:
                break
        out, err = (text.decode() for text in found.values())
        return not selector.get_map(), (out, err)


def _serve(connection: socket.socket) -> str:
    """Fork a child for each request.

    Returns:
        In a child, the source of its program; in the server, when the other end is closed, an empty program.
    """
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 2)
        if not request:
            return ""
        pid = os.fork()
        if pid == 0:
            return _prepare(json.loads(request), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _prepare(program: dict[str, Any], descriptors: Sequence[int]) -> str:
    """Give this child the program's output, environment and arguments; return its source."""
    gc.unfreeze()
    for target, descriptor in zip((1, 2), descriptors, strict=True):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(program["env"])
    sys.argv = ["-c", *program["arguments"]]
    command_line = "import sys; from energy_live.__main__ import main; sys.exit(main(sys.argv[1:]))"
    return program["code"] or command_line


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for background jobs
    for name in PRELOADED:
        importlib.import_module(name)
    preload()
    faster_loop()  # imports uvloop where it is installed
    gc.freeze()  # children do not copy what they never change
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        source = _serve(requests)
    exec(source)  # at the top level, as `python -c` does: its names live until the interpreter's exit

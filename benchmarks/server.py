"""A benchmark's server: its own process, which ends with its parent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from asyncio import Protocol
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from benchmarks.rounds import ROOT


@contextmanager
def running(module: str) -> Iterator[int]:
    """Run a module that calls `serve`; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def serve(protocol: Callable[[], Protocol]) -> None:
    """Serve on a free loopback port, print the port, and stop when stdin is closed."""
    Thread(target=_end_with_stdin, daemon=True).start()
    asyncio.run(_serve(protocol))


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


async def _serve(protocol: Callable[[], Protocol]) -> None:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(protocol, "127.0.0.1", 0, backlog=4096)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()

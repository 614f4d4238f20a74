"""Receivers of `benchmarks.receiving`: each reads the same messages and keeps or counts values.

Every receiver gets the same `Task`, opens its sockets, starts the server, and measures from the first message
to the last. Receivers written by hand switch off compression and keepalive pings; ours has no compression and
keeps its keepalive.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from time import perf_counter, process_time
from typing import Any

from benchmarks.event_server import go
from benchmarks.sampling import Sampler
from benchmarks.worker import Cost


class Meter:
    """Counts messages, and the time from the first to the last of them."""

    def __init__(self, *, keep: bool) -> None:
        self.kept: list[object] | None = [] if keep else None
        self.cpu_s = self.wall_s = 0.0
        self.sampler: Sampler | None = None
        self.facts: dict[str, float] = {}

    def begin(self) -> None:
        """Start the clock at the first counted message."""
        self._cpu, self._wall = process_time(), perf_counter()
        if self.sampler is not None:
            self.sampler.start()

    def end(self) -> None:
        """Stop the clock at the last message."""
        self.cpu_s, self.wall_s = process_time() - self._cpu, perf_counter() - self._wall
        if self.sampler is not None:
            self.sampler.stop()


class Task:
    """The work of one receiver, and the server's port."""

    def __init__(self, port: int, sockets: int, each: int, interval_ms: int, *, keep: bool) -> None:
        self.port = port
        self.sockets = sockets
        self.count = sockets * each
        self.unmeasured = sockets if interval_ms and each > 1 else 0
        """The messages before counting starts: with thousands of sockets, the first of each allocates
        memory."""
        self.order = f"paced {each} {interval_ms}" if interval_ms else f"burst {each}"
        self.meter = Meter(keep=keep)

    def urls(self) -> list[str]:
        """Return the URL for the sockets."""
        return [f"ws://127.0.0.1:{self.port}/rest/products/events?productId={n}" for n in range(self.sockets)]

    async def begin(self) -> None:
        """Start the server: every socket is open."""
        await go(self.port, self.order)


Receive = Callable[[Task], Awaitable[None]]


class Receiver:
    """One receiver of the comparison."""

    def __init__(
        self, receive: Receive, port: int, sockets: int, each: int, interval_ms: int, *, uvloop: bool = False
    ) -> None:
        self._receive = receive
        self._uvloop = uvloop
        self._shape = (port, sockets, each, interval_ms)
        self._first: dict[str, float] = {}

    def check(self) -> Sequence[object]:
        """Receive fewer messages and return their values."""
        port, sockets, each, interval_ms = self._shape
        task = self._run(
            Task(port, sockets, min(each, 2000) if not interval_ms else 1, interval_ms, keep=True)
        )
        self._first = task.meter.facts  # memory grows in a fresh process only
        assert task.meter.kept is not None
        return sorted(task.meter.kept, key=str)

    def round(self, sampler: Sampler | None = None) -> Cost:
        """Receive all messages and return the cost."""
        task = Task(*self._shape, keep=False)
        task.meter.sampler = sampler
        self._run(task)
        cpu_s, wall_s = task.meter.cpu_s, task.meter.wall_s
        measured = task.count - task.unmeasured
        facts = {"events_per_s": measured / wall_s, "cpu_share": cpu_s / wall_s, **self._first}
        return Cost(cpu_s / measured, facts)

    def _run(self, task: Task) -> Task:
        async def bounded() -> None:
            async with asyncio.timeout(120):
                await self._receive(task)

        with asyncio.Runner(loop_factory=_uvloop() if self._uvloop else None) as runner:
            runner.run(bounded())
        return task


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    make: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return make


# --- websockets by hand ------------------------------------------------------------------------------------


def bare(loads: str = "orjson", **shape: int) -> Receiver:
    """Websockets and a parser, one task for each socket; untyped, not merged, not supervised."""
    parse = _parser(loads)

    async def read(socket: Any, count: Countdown) -> None:
        recv, handle = socket.recv, count.handle
        while True:
            handle(parse(await recv(decode=False)))

    return Receiver(partial(_by_websockets, read), **shape)


def bare_json(**shape: int) -> Receiver:
    """Websockets and the standard library's parser."""
    return bare("json", **shape)


def obvious(**shape: int) -> Receiver:
    """Websockets with `async for`, json and dicts, one task for each socket."""

    async def read(socket: Any, count: Countdown) -> None:
        async for message in socket:
            count.handle(json.loads(message))

    return Receiver(partial(_by_websockets, read), **shape)


async def _by_websockets(read: Callable[[Any, Countdown], Any], task: Task) -> None:
    from websockets.asyncio.client import connect

    count = Countdown(task)
    async with AsyncExitStack() as stack:
        opening = [connect(url, compression=None, ping_interval=None) for url in task.urls()]
        sockets = [await stack.enter_async_context(each) for each in opening]
        await read_all(task, count, [read(socket, count) for socket in sockets])


def merged(**shape: int) -> Receiver:
    """Ours; imported here so that the other processes do not load it."""
    from benchmarks.our_receiver import merged as make

    return make(**shape)


def merged_raw(**shape: int) -> Receiver:
    """Ours, for a consumer that also reads `raw`; imported here likewise."""
    from benchmarks.our_receiver import merged_raw as make

    return make(**shape)


def aiohttp_client(loads: str = "orjson", **shape: int) -> Receiver:
    """Aiohttp's client, one task for each socket."""
    parse = _parser(loads)

    async def receive(task: Task) -> None:
        import aiohttp

        count = Countdown(task)
        async with AsyncExitStack() as stack:
            connector = aiohttp.TCPConnector(limit=0)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            sockets = [await stack.enter_async_context(session.ws_connect(url)) for url in task.urls()]

            async def read(socket: Any) -> None:
                async for message in socket:
                    count.handle(parse(message.data))

            await read_all(task, count, [read(socket) for socket in sockets])

    return Receiver(receive, **shape)


def queues(loads: str = "orjson", **shape: int) -> Receiver:
    """One reading task, one asyncio.Queue and one consuming task for each stream."""
    parse = _parser(loads)

    async def receive(task: Task) -> None:
        from websockets.asyncio.client import connect

        count = Countdown(task)
        async with AsyncExitStack() as stack:
            lines: list[asyncio.Queue[Any]] = []
            sockets = []
            for url in task.urls():
                socket = connect(url, compression=None, ping_interval=None)
                sockets.append(await stack.enter_async_context(socket))
                lines.append(asyncio.Queue(1024))

            async def read(socket: Any, line: asyncio.Queue[Any]) -> None:
                while True:
                    await line.put(parse(await socket.recv(decode=False)))

            async def take(line: asyncio.Queue[Any]) -> None:
                while True:
                    count.handle(await line.get())

            jobs = [read(socket, line) for socket, line in zip(sockets, lines, strict=True)]
            jobs += [take(line) for line in lines]
            await read_all(task, count, jobs)

    return Receiver(receive, **shape)


class Countdown:
    """Counts handled messages up to the last of a task."""

    def __init__(self, task: Task) -> None:
        self.keeps = task.meter.kept is not None
        self._left = task.count
        self._begin = task.count - task.unmeasured
        self._meter = task.meter
        self.over = asyncio.Event()

    def handle(self, data: Any) -> None:
        """Count one message."""
        if self._meter.kept is not None:
            self._meter.kept.append(_plain(data))
        if self._left == self._begin:
            self._meter.begin()
        self._left -= 1
        if not self._left:
            self._meter.end()
            self.over.set()


async def read_all(task: Task, count: Countdown, jobs: Sequence[Any]) -> None:
    """Run the readers until all messages are counted."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    await task.begin()
    await count.over.wait()
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _parser(name: str) -> Callable[[bytes], Any]:
    if name == "json":
        return json.loads
    import orjson

    return orjson.loads


def _plain(data: Any) -> list[object]:
    return [data["time"], *data["data"].values()]

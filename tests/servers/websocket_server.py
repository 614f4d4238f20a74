"""Fixtures for tests of the reconnecting socket: endpoint provider, listener, short timings, servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.utils import accept_key

from energy_core.stream.endpoint import Endpoint, RefusalText
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.socket import ReconnectingSocket
from energy_core.stream.vocabulary import State

TOKEN = "s3ntinel-t0ken-in-the-query"
HEADER = "s3ntinel-in-the-header"

FAST = SocketConfig(
    open_timeout_s=2.0,
    first_delay_s=0.01,
    backoff_base_s=0.01,
    backoff_cap_s=0.03,
    try_again_later_s=0.05,
    max_handshakes=1000,
)


class FakeEndpoint:
    """Returns an address and counts the calls."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.generation = 0
        self.admitted = 0
        self.held: list[float] = []
        self.renewed: list[int] = []
        self.admit_error: list[Exception] = []
        self.address_error: list[Exception] = []
        self.renew_error: list[Exception] = []
        self.renewable = True

    def refusal_text(self, body: bytes) -> RefusalText:
        text = body.decode("utf-8", "replace").replace(TOKEN, "***")
        return RefusalText(text, envelope=text.startswith("{"), page=text.startswith("<"))

    async def admit(self) -> None:
        self.admitted += 1
        if self.admit_error:
            raise self.admit_error.pop(0)

    def hold(self, seconds: float) -> None:
        self.held.append(seconds)

    async def address(self) -> Endpoint:
        if self.address_error:
            raise self.address_error.pop(0)
        url = f"{self.url}?productId=7&token={TOKEN}-{self.generation}"
        return Endpoint(url=url, headers={"X-Authorization": f"Token {HEADER}"}, generation=self.generation)

    async def renew(self, generation: int) -> None:
        self.renewed.append(generation)
        if self.renew_error:
            raise self.renew_error.pop(0)
        self.generation = generation + 1


class Listener:
    """Records every frame and state; a frame that begins with `bad` is invalid."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.changes: list[tuple[State, str, float | None]] = []
        self._news = asyncio.Event()

    def on_frame(self, frame: bytes) -> bool:
        self.frames.append(frame)
        self._news.set()
        return not frame.startswith(b"bad")

    def on_messages(self, messages: list[bytes]) -> int:
        return sum(map(self.on_frame, messages))

    def on_state(self, state: State, reason: str, retry_in: float | None) -> None:
        self.changes.append((state, reason, retry_in))
        self._news.set()

    @property
    def states(self) -> list[State]:
        return [state for state, _, _ in self.changes]

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.changes if reason]

    async def until(self, true: Callable[[], bool], *, within_s: float = 30.0) -> None:
        async with asyncio.timeout(within_s):
            while not true():
                self._news.clear()
                await self._news.wait()


class Rig:
    """A running `ReconnectingSocket`."""

    def __init__(self, socket: ReconnectingSocket, listener: Listener, task: asyncio.Task[None]) -> None:
        self.socket, self.listener, self.task = socket, listener, task
        self.frames, self.until = listener.frames, listener.until

    async def over(self) -> None:
        """Wait for the end of the source; raise its error."""
        async with asyncio.timeout(5):
            await self.task

    async def live(self, times: int = 1) -> None:
        await self.until(lambda: self.listener.states.count(State.LIVE) >= times)


@contextlib.asynccontextmanager
async def running(link: FakeEndpoint, config: SocketConfig = FAST, **options: object) -> AsyncIterator[Rig]:
    """Run a socket; cancel it on exit."""
    listener = Listener()
    socket = ReconnectingSocket(
        link,
        on_messages=listener.on_messages,
        on_state=listener.on_state,
        config=config,
        **options,  # type: ignore[arg-type]
    )
    task = asyncio.create_task(socket.run(), name="socket under test")
    try:
        yield Rig(socket, listener, task)
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # the test has already seen its error


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[ServerConnection], Awaitable[None]], **options: object
) -> AsyncIterator[tuple[FakeEndpoint, Server]]:
    """Run a WebSocket server on loopback; yields its endpoint provider."""
    options = {"ping_interval": None, "close_timeout": 0.5} | options
    async with serve(handler, "127.0.0.1", 0, **options) as server:  # type: ignore[arg-type]
        scheme = "wss" if options.get("ssl") else "ws"
        yield FakeEndpoint(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/events"), server


@contextlib.asynccontextmanager
async def raw_server(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[FakeEndpoint]:
    """Run a server that sends any bytes."""
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.transport.abort()
        talks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield FakeEndpoint(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/events")
    finally:
        server.close()
        for task in talks:
            task.cancel()
        if talks:
            await asyncio.wait(talks)
        await server.wait_closed()


def accepted(key: str) -> bytes:
    """Return the answer of a server that accepts a handshake."""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
    )


async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a handshake as a server does."""
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = dict(line.split(": ", 1) for line in request.split("\r\n")[1:] if ": " in line)
    writer.write(accepted(lines["Sec-WebSocket-Key"]))
    await writer.drain()

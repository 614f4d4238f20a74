"""A server on a raw loopback socket with scripted faults, which records the requests it receives."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from energy_core.clock import SystemClock

CLOCK = SystemClock()


@dataclass(frozen=True)
class WireRequest:
    """One request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass
class Conversation:
    """One request and the socket to answer it on."""

    request: WireRequest
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()


Act = Callable[[Conversation], Awaitable[bool]]
"""Answers one request; returns whether the connection stays open."""

Script = Callable[[WireRequest, int], Act]
"""Chooses the answer to a request by its number, from 0."""


@dataclass
class FaultServer:
    """`async with FaultServer(script) as server`: listens on 127.0.0.1 until the block ends."""

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[WireRequest] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls, backlog=2048)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v2/"

    def count(self, path: str) -> int:
        return sum(request.path == path for request in self.requests)

    async def arrived(self, number: int) -> None:
        """Wait until `count` requests have arrived."""
        while len(self.requests) < number:
            await CLOCK.sleep(0.002)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                while await self._answer_one(reader, writer):
                    pass
        finally:
            self.open_connections -= 1
            writer.close()
            with suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS hello on a plain HTTP port
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        at = asyncio.get_running_loop().time()
        request = WireRequest(method, target, headers, body, at)
        self.requests.append(request)
        act = self.script(request, len(self.requests) - 1)
        return await act(Conversation(request, reader, writer))


def always(act: Act) -> Script:
    return lambda _request, _number: act


def in_turn(*acts: Act) -> Script:
    """One answer for each request; the last one repeats."""
    return lambda _request, number: acts[min(number, len(acts) - 1)]


def head(status: int, headers: Iterable[tuple[str, str]] = (), *, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers)]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(
    status: int = 200,
    body: bytes | str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    *,
    json_body: object = None,
    content_type: str = "application/json",
) -> Act:
    """A well-formed answer."""
    data = body.encode() if isinstance(body, str) else body
    if data is None:
        data = json.dumps({"success": True} if json_body is None else json_body).encode()
    bodyless = status in {204, 304} or status < 200
    given = [("Content-Type", content_type), *headers]
    whole = head(status, given, length=None if bodyless else len(data)) + (b"" if bodyless else data)

    async def act(talk: Conversation) -> bool:
        await talk.send(whole)
        return True

    return act


def raw(data: bytes, then: str = "close") -> Act:
    """Send exactly these bytes, then `close`, `reset` or `hang`."""

    async def act(talk: Conversation) -> bool:
        if data:
            await talk.send(data)
        if then == "reset":
            await CLOCK.sleep(0.01 if data else 0.0)  # send the bytes before the reset
            reset_now(talk.writer)
        if then == "hang":
            await talk.reader.read(1)  # until the other end closes
        return False

    return act


def reset() -> Act:
    """Reset the connection instead of answering."""
    return raw(b"", "reset")


def hang() -> Act:
    """Read the request and never answer."""
    return raw(b"", "hang")


def drip(opening: bytes, byte: bytes = b" ", every_s: float = 0.01) -> Act:
    """Send a beginning, then one byte at a time for ever."""

    async def act(talk: Conversation) -> bool:
        await talk.send(opening)
        while not talk.writer.is_closing():
            await talk.send(byte)
            await CLOCK.sleep(every_s)
        return False

    return act


def reset_now(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

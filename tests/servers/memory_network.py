"""A network in memory for virtual time: real clients of aiohttp and websockets, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from websockets.server import ServerProtocol


class Asked(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a query parameter."""
        return [value for key, value in self.query if key == name]


Handler = Callable[[Asked], "bytes | float"]
"""Returns the bytes of an answer, or the seconds after which the connection ends without one."""


def http(
    status: int,
    body: bytes,
    kind: str = "application/json",
    *,
    headers: tuple[tuple[str, str], ...] = (),
    now: datetime | None = None,
    length: int | None = None,
) -> bytes:
    """Return an HTTP answer as bytes; `headers` and `length` may be wrong on purpose."""
    lines = [
        f"HTTP/1.1 {status} x",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body) if length is None else length}",
        *(f"{name}: {value}" for name, value in headers),
        *([f"Date: {format_datetime(now, usegmt=True)}"] if now and "Date" not in dict(headers) else []),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class _Transport(asyncio.Transport):
    """One side of a connection; written bytes go to `peer`."""

    def __init__(self, protocol: asyncio.BaseProtocol, take: Callable[[bytes], None]) -> None:
        super().__init__()
        self.protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._take = take
        self._closing = False

    def write(self, data: Any) -> None:
        if not self._closing:
            self._loop.call_soon(self._take, bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Ignored: there is no flow control."""

    def resume_reading(self) -> None:
        """Ignored: there is no flow control."""

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def deliver(self, data: bytes) -> None:
        """Pass bytes to the protocol, as a selector does."""
        protocol = self.protocol
        if self._closing:
            return
        if isinstance(protocol, asyncio.BufferedProtocol):
            while data:
                surface = protocol.get_buffer(-1)
                count = min(len(surface), len(data))
                memoryview(surface)[:count] = data[:count]
                protocol.buffer_updated(count)
                data = data[count:]
        elif isinstance(protocol, asyncio.Protocol):
            protocol.data_received(data)


class MemoryConnector(aiohttp.BaseConnector):
    """Connects every request to a handler.

    Args:
        handler: Answers the requests.
        latency_s: Seconds from a request to its answer.
    """

    def __init__(self, handler: Handler, *, latency_s: float = 0.0) -> None:
        super().__init__(limit=0)
        self._handler = handler
        self._latency_s = latency_s

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109  (aiohttp's)
        protocol = self._factory()
        server = _HttpServer(self._handler, self._latency_s)
        server.transport = transport = _Transport(protocol, server.take)
        protocol.connection_made(transport)
        return protocol


class _HttpServer:
    def __init__(self, handler: Handler, latency_s: float) -> None:
        self.transport: _Transport | None = None
        self._handler = handler
        self._latency_s = latency_s
        self._waiting = b""

    def take(self, data: bytes) -> None:
        self._waiting += data
        head, end, rest = self._waiting.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._waiting = b""
        method, target, _ = first.split(" ", 2)
        parts = urlsplit(target)
        query = parse_qsl(parts.query, keep_blank_values=True)
        answer = self._handler(Asked(method, parts.path, query, headers, rest[:length]))
        assert self.transport is not None
        if isinstance(answer, float):
            asyncio.get_running_loop().call_later(answer, self.transport.close)
            return
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._deliver, answer)
        else:
            self._deliver(answer)

    def _deliver(self, answer: bytes) -> None:
        assert self.transport is not None
        self.transport.deliver(answer)
        said = answer.partition(b"\r\n\r\n")
        honest = f"content-length: {len(said[2])}".encode()
        if honest not in said[0].lower():  # the announced bytes will never come
            self.transport.close()


class MemorySocket:
    """The server's side of one WebSocket connection."""

    def __init__(
        self,
        protocol: asyncio.BaseProtocol,
        answer: Callable[[Asked], bytes | None],
        now: Callable[[], datetime],
    ) -> None:
        self.open = False
        self._now = now
        self.on_open: Callable[[MemorySocket], None] = lambda _: None
        self._answer = answer
        self._server = ServerProtocol(max_size=None)
        self.transport = _Transport(protocol, self._take)

    def send(self, data: bytes, *, binary: bool = False) -> None:
        """Send a message, however odd."""
        if self.open:
            (self._server.send_binary if binary else self._server.send_text)(data)
            self._flush()

    def raw(self, data: bytes) -> None:
        """Send any bytes."""
        if self.open:
            self.transport.deliver(data)

    def close(self, code: int | None = None) -> None:
        """End the connection, with a close code or without a close frame."""
        if self.open and code is not None:
            self._server.send_close(code)
            self._flush()
        self.open = False
        self.transport.close()

    def _take(self, data: bytes) -> None:
        self._server.receive_data(data)
        for event in self._server.events_received():
            if hasattr(event, "path"):
                self._accept(event)
        self._flush()

    def _accept(self, request: Any) -> None:
        parts = urlsplit(request.path)
        asked = Asked("GET", parts.path, parse_qsl(parts.query), dict(request.headers.raw_items()), b"")
        refusal = self._answer(asked)
        if refusal is not None:
            self.transport.deliver(refusal)
            self.transport.close()
            return
        response = self._server.accept(request)
        del response.headers["Date"]  # of the real world
        response.headers["Date"] = format_datetime(self._now(), usegmt=True)
        self._server.send_response(response)
        self._flush()
        self.open = True
        self.on_open(self)

    def _flush(self) -> None:
        for data in self._server.data_to_send():
            if data:
                self.transport.deliver(data)
            else:
                self.open = False
                self.transport.close()


def web_sockets(
    answer: Callable[[Asked], bytes | None],
    on_open: Callable[[MemorySocket], None],
    now: Callable[[], datetime],
) -> Callable[..., Any]:
    """Return a replacement of the loop's `create_connection`.

    Args:
        answer: Returns the answer that refuses a handshake, or None to accept it.
        on_open: Called with every connection after its handshake.
        now: The server's time.
    """

    async def create_connection(factory: Callable[[], Any], *_: Any, **__: Any) -> Any:
        protocol = factory()
        socket = MemorySocket(protocol, answer, now)
        socket.on_open = on_open
        protocol.connection_made(socket.transport)
        return socket.transport, protocol

    return create_connection


def run_inline(loop: asyncio.AbstractEventLoop) -> None:
    """Run `run_in_executor` calls immediately: virtual time does not wait for threads."""

    def run_in_executor(_executor: Any, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        done = loop.create_future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001  (handed on)
            done.set_exception(error)
        return done

    loop.run_in_executor = run_in_executor  # type: ignore[method-assign, assignment]

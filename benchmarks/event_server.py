"""A process that accepts WebSockets and sends what a control line requests.

Frames are built once, so that the server uses little CPU. A connection that begins with ``GO`` is the control
connection: ``GO burst <count>`` sends that many messages to every open socket as fast as it accepts them,
``GO paced <each> <ms>`` sends each socket that many messages, one every <ms> milliseconds, with the sockets
spread evenly over the interval.
"""

from __future__ import annotations

import asyncio
from asyncio import Protocol, Transport
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

from benchmarks import samples, server

SLICE_S: Final = 0.005


def frame(payload: bytes) -> bytes:
    """Return an unmasked text frame."""
    size = len(payload)
    head = bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
    return head + payload


class Socket(Protocol):
    """One connection."""

    def __init__(self, everybody: Server) -> None:
        self._everybody = everybody
        self._head = b""
        self._open = False
        self.room = asyncio.Event()
        self.room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer the handshake, run a control line, or close."""
        if self._open:
            if data[0] == 0x88:
                self.transport.write(b"\x88\x00")
                self.transport.close()
            return
        self._head += data
        if self._head.startswith(b"GO ") and b"\n" in self._head:
            self._everybody.go(self._head.decode().split()[1:], self.transport)
        elif self._head.endswith(b"\r\n\r\n") and b"upgrade: websocket" not in self._head.lower():
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()
        elif self._head.endswith(b"\r\n\r\n"):
            self._open = True
            self.transport.write(_accepted(self._head))
            self._everybody.sockets.add(self)

    def pause_writing(self) -> None:
        """Pause: the write buffer is full."""
        self.room.clear()

    def resume_writing(self) -> None:
        """Resume: the write buffer was drained."""
        self.room.set()

    def connection_lost(self, _: Exception | None) -> None:
        """Remove the connection."""
        self._everybody.sockets.discard(self)
        self.room.set()


def _accepted(head: bytes) -> bytes:
    from websockets.utils import accept_key

    key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(key.partition(b":")[2].strip().decode()).encode() + b"\r\n\r\n"
    )


class Server:
    """All open sockets."""

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        self._frames: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def go(self, words: list[str], control: Transport) -> None:
        """Start sending and confirm it on the control connection."""
        control.write(b"going\n")
        control.close()
        numbers = [int(word) for word in words[1:]]
        sending = self._burst(*numbers) if words[0] == "burst" else self._paced(*numbers)
        task = asyncio.get_running_loop().create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _first(self, count: int) -> list[bytes]:
        while len(self._frames) < count:
            self._frames.append(frame(samples.product_event(len(self._frames))))
        return self._frames[:count]

    async def _burst(self, count: int) -> None:
        frames = self._first(count)
        pieces = [b"".join(frames[at : at + 250]) for at in range(0, count, 250)]
        await asyncio.gather(*(self._pour(socket, pieces) for socket in tuple(self.sockets)))

    async def _pour(self, socket: Socket, pieces: list[bytes]) -> None:
        for piece in pieces:
            await socket.room.wait()
            socket.transport.write(piece)

    async def _paced(self, each: int, interval_ms: int) -> None:
        frames = self._first(each)
        sockets = tuple(self.sockets)
        loop = asyncio.get_running_loop()
        interval = interval_ms / 1000
        started, sent = loop.time(), 0
        while sent < each * len(sockets):
            due = int((loop.time() - started) / interval * len(sockets)) + 1
            for number in range(sent, min(due, each * len(sockets))):
                sockets[number % len(sockets)].transport.write(frames[number // len(sockets)])
            sent = max(sent, min(due, each * len(sockets)))
            await asyncio.sleep(SLICE_S if len(sockets) > 50 else SLICE_S / 5)


async def go(port: int, order: str) -> None:
    """Send a control line to the server on `port` and wait for its confirmation."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GO {order}\n".encode())
    await reader.read()
    writer.close()


@contextmanager
def running() -> Iterator[int]:
    """Run the server in its own process; yields its port."""
    with server.running("benchmarks.event_server") as port:
        yield port


def _main() -> None:
    everybody = Server()
    server.serve(lambda: Socket(everybody))


if __name__ == "__main__":
    _main()

"""A TCP proxy that breaks connections in the ways networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator


class TcpProxy:
    """Runs between a client and a server on loopback; every setting can change meanwhile.

    `swallow_up` and `swallow_down` black-hole one direction each (towards the server, towards the client):
    bytes are taken and never passed on, while TCP stays up. `delay_s` holds back every chunk, `chunk` limits
    its size, `cut_after` cuts the connection after so many bytes towards the client. `down` drops every new
    connection.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.swallow_up = self.swallow_down = self.down = False
        self.delay_s = 0.0
        self.chunk = 65_536
        self.cut_after: int | None = None
        self.accepted = 0
        self._target = (host, port)
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            if not self.down:
                await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # by aclose; the stream's own callback fails for a cancelled task
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    def cut(self) -> None:
        """Close every connection to both sides without a close frame."""
        for pair in self._pairs:
            for writer in pair:
                writer.transport.abort()

    def reset(self) -> None:
        """End every connection with a TCP reset towards the client."""
        for client, _ in self._pairs:
            raw = client.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    def half_close(self) -> None:
        """Close only the direction towards the client."""
        for client, _ in self._pairs:
            client.write_eof()

    async def aclose(self) -> None:
        """Close everything and wait for it."""
        self.cut()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        pumps = {
            asyncio.ensure_future(self._pump(reader, far_writer, down=False)),
            asyncio.ensure_future(self._pump(far_reader, writer, down=True)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            far_writer.transport.abort()
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while chunk := await reader.read(self.chunk):
                if self.swallow_down if down else self.swallow_up:
                    continue
                if down and self.cut_after is not None and passed + len(chunk) >= self.cut_after:
                    writer.write(chunk[: max(0, self.cut_after - passed)])
                    await writer.drain()
                    return
                passed += len(chunk)
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(chunk)
                await writer.drain()


@contextlib.asynccontextmanager
async def proxied(host: str, port: int) -> AsyncIterator[TcpProxy]:
    """Run a proxy in front of a server; `proxy.port` is where to connect."""
    proxy = TcpProxy(host, port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()
        await server.wait_closed()

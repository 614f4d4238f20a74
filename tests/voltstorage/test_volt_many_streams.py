"""A thousand streams whose server restarts: they reconnect soon, but not all at once. In virtual time."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest
from aioresponses import CallbackResult

from energy_core import SessionPool, State
from energy_core.stream import socket
from energy_core.stream.connection import HandshakeRejected
from energy_core.stream.reconnect import SocketConfig
from tests.servers.scripted_volt import BASE, frame, jwt
from voltstorage_async import LatestData, ProductGap, VoltStorageClient

STREAMS = 1000
EMPTY_EXPORT = "sep=,\r\nTime,Power_Grid\r\n"
EVENTLESS = SocketConfig(stale_after_s=1e6)


class Server:
    """Knows the valid tokens, the connections, and the times of all attempts."""

    def __init__(self) -> None:
        self.tokens: set[str] = set()
        self.logins = 0
        self.down = False
        self.attempts: list[float] = []
        self.opened: list[float] = []
        self.connections: set[Connection] = set()

    def login(self, url: object, **_: object) -> str:
        self.logins += 1
        token = jwt(sub=self.logins, iat=0, exp=86_400)
        self.tokens.add(token)
        return token

    async def open(self, connection: Connection, url: str) -> None:
        now = asyncio.get_running_loop().time()
        self.attempts.append(now)
        await asyncio.sleep(0.05)
        if self.down:
            raise ConnectionRefusedError
        if parse_qs(urlsplit(url).query)["token"][0] not in self.tokens:
            raise HandshakeRejected(401)
        self.opened.append(now)
        self.connections.add(connection)

    def crash(self) -> None:
        self.down = True
        self.tokens.clear()
        for connection in self.connections:
            connection.gone.set_result(None)
        self.connections.clear()


class Connection:
    """Takes the place of a real connection; its first message is an event."""

    callback_error = None
    close_code = 1006
    close_reason = ""

    def __init__(self, server: Server, on_open, on_messages) -> None:
        self._server = server
        self._on_open, self._on_messages = on_open, on_messages
        self.gone = asyncio.get_running_loop().create_future()

    @property
    def received_at(self) -> float:
        return asyncio.get_running_loop().time()

    async def open(self, address, tls) -> None:
        await self._server.open(self, address.url)
        self._on_open(self.received_at)
        greeting = frame(1_700_000_000 + len(self._server.opened), gridPower=1).encode()
        self._on_messages([greeting], self.received_at)

    async def wait_closed(self, timeout_s: float) -> bool:
        await asyncio.wait([self.gone], timeout=timeout_s)
        return self.gone.done()

    def ping(self) -> None: ...

    async def close(self, code: int) -> None: ...


def busiest(moments: list[float], within_s: float = 0.1) -> int:
    """Return the largest number of times within any period of that length."""
    moments, begin, most = sorted(moments), 0, 0
    for end, moment in enumerate(moments):
        while moments[begin] < moment - within_s:
            begin += 1
        most = max(most, end - begin + 1)
    return most


@pytest.mark.virtual_time
async def test_a_thousand_streams_return_to_a_restarted_server(monkeypatch, mocked):
    """At most 20 handshakes in 100 ms, all connected within 180 s, one login, and every gap accounted for."""
    server = Server()

    def wire(address, *, on_open, on_messages, **_) -> Connection:
        return Connection(server, on_open, on_messages)

    monkeypatch.setattr(socket, "Connection", wire)
    mocked.post(BASE + "login/password", callback=answer_login(server), repeat=True)
    mocked.get(re.compile(r".*/data/latest.*"), payload={"time": None, "data": {}}, repeat=True)
    mocked.get(re.compile(r".*/data/export.*"), body=EMPTY_EXPORT, content_type="text/csv", repeat=True)
    delivered: Counter[type] = Counter()
    async with SessionPool(ssl_context=ssl.create_default_context()) as pool:
        client = VoltStorageClient(pool, email="anybody@example.com", password="right")
        streams = [client.events(number, socket=EVENTLESS) for number in range(STREAMS)]
        readers = [asyncio.create_task(count(stream, delivered)) for stream in streams]
        await until(lambda: len(server.connections) == STREAMS)
        assert busiest(server.attempts) <= 20

        server.attempts.clear()
        server.crash()
        crashed = asyncio.get_running_loop().time()
        await asyncio.sleep(10.0)
        server.down = False
        await until(lambda: len(server.connections) == STREAMS)
        assert asyncio.get_running_loop().time() - crashed <= 180.0
        assert busiest(server.attempts) <= 20
        assert server.logins == 2
        await until(lambda: delivered[LatestData] + delivered[ProductGap] >= 2 * STREAMS)
        await until(lambda: all(stream.status.state is State.LIVE for stream in streams))
        await client.aclose()
        await asyncio.wait(readers)
    assert delivered[LatestData] == 2 * STREAMS


def answer_login(server: Server):
    return lambda url, **sent: CallbackResult(
        body=json.dumps({"token": server.login(url)}), content_type="application/json"
    )


async def count(stream, delivered: Counter[type]) -> None:
    async with stream:
        async for event in stream:
            delivered[type(event)] += 1


async def until(true) -> None:
    async with asyncio.timeout(3000):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)

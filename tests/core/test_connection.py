"""Single connections, in cases that a reconnecting socket does not show."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading

import pytest
import trustme

from energy_core.clock import SystemClock
from energy_core.stream.connection import Connection
from energy_core.stream.endpoint import Endpoint
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.socket import ReconnectingSocket
from energy_core.stream.vocabulary import State
from tests.servers.websocket_server import FAST, FakeEndpoint, Listener, accepted, raw_server

MESSAGES = 300


class Burst(threading.Thread):
    """A TLS server in its own thread that sends many messages at once and disconnects."""

    def __init__(self, tls, *, polite):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"wss://127.0.0.1:{self.listener.getsockname()[1]}/events"
        self.sent = threading.Event()
        self._tls, self._polite = tls, polite

    def run(self):
        link = self._tls.wrap_socket(self.listener.accept()[0], server_side=True)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += link.recv(4096)
        lines = dict(line.split(": ", 1) for line in request.decode().split("\r\n")[1:] if ": " in line)
        link.sendall(accepted(lines["Sec-WebSocket-Key"]))
        message = b"\x82\x7e" + struct.pack("!H", 500) + bytes(500)
        link.sendall(message * MESSAGES + b"\x88\x02" + struct.pack("!H", 4000))
        if self._polite:
            link.setblocking(False)
            with contextlib.suppress(ssl.SSLError, OSError):
                link.unwrap()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(link, socket.SHUT_WR)
        self.sent.set()
        self.listener.accept()[0].close()  # the client has reconnected
        link.close()
        self.listener.close()


@pytest.mark.parametrize("polite", [True, False], ids=["with a TLS goodbye", "without"])
async def test_data_sent_over_tls_before_a_disconnect_is_read_completely(polite):
    """More messages than one read holds, a close frame and the end arrive at once: nothing is lost."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(ours)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    server, listener = Burst(theirs, polite=polite), Listener()
    server.start()

    def on_state(state, reason, retry_in):
        if state is State.LIVE:
            server.sent.wait(5)  # keeps the event loop busy until everything has arrived
        listener.on_state(state, reason, retry_in)

    reconnecting = ReconnectingSocket(
        FakeEndpoint(server.url),
        on_messages=listener.on_messages,
        on_state=on_state,
        config=FAST,
        ssl_context=ours,
    )
    task = asyncio.create_task(reconnecting.run())
    await listener.until(lambda: listener.states.count(State.DISCONNECTED) >= 2)
    task.cancel()
    await asyncio.wait([task])
    server.join(5)
    assert len(listener.frames) == MESSAGES
    assert listener.reasons[0] == "the server closed with 4000"


class Flood(threading.Thread):
    """A server in its own thread that sends everything at once, faster than it is read."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}/events"

    def run(self):
        with self.listener, self.listener.accept()[0] as link:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += link.recv(4096)
            key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
            link.sendall(accepted(key) + (b"\x81\x64" + b"x" * 100) * (30 * MESSAGES))
            link.recv(4096)


def test_consumers_run_between_two_reads_on_any_event_loop():
    """An event loop that would read everything available lets consumers run between two reads."""
    uvloop = pytest.importorskip("uvloop")
    server, received, at_once, done = Flood(), [0], [], asyncio.Event()
    server.start()

    def take(messages, _):
        if not received[0]:
            asyncio.get_running_loop().call_soon(turn)
        received[0] += len(messages)

    def turn():
        at_once.append(received[0])
        received[0] = 0
        if sum(at_once) >= 30 * MESSAGES:
            done.set()

    async def listen():
        address = Endpoint(url=server.url)
        connection = Connection(
            address, on_open=lambda _: None, on_messages=take, clock=SystemClock(), config=SocketConfig()
        )
        await connection.open(address, None)
        async with asyncio.timeout(20):
            await done.wait()
        await connection.close(1000)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(listen())
    server.join(5)
    assert sum(at_once) == 30 * MESSAGES
    assert max(at_once) <= 24 * 1024 // 100


class Nowhere(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.requested = asyncio.Event()

    def write(self, data):
        self.written += data
        self.requested.set()

    def abort(self):
        pass

    def is_closing(self):
        return False


async def test_messages_after_a_cancelled_open_are_not_delivered(monkeypatch):
    """The handshake may succeed in the same turn in which `open` is cancelled: nothing is delivered."""
    delivered, transport = [], Nowhere()

    async def connect(factory, *_, **__):
        factory().connection_made(transport)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect, raising=False)
    address = Endpoint(url="ws://127.0.0.1:9/events")
    connection = Connection(
        address,
        on_open=delivered.append,
        on_messages=lambda messages, _: delivered.append(messages),
        clock=SystemClock(),
        config=SocketConfig(),
    )
    opening = asyncio.create_task(connection.open(address, None))
    await transport.requested.wait()
    opening.cancel()
    key = transport.written.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
    sent = accepted(key) + b"\x81\x02hi"
    connection.get_buffer(-1)[: len(sent)] = sent
    connection.buffer_updated(len(sent))
    assert delivered == []
    connection.connection_lost(None)
    with pytest.raises(asyncio.CancelledError):
        await opening


@pytest.mark.parametrize("value", ["Bearer s3cret\nx", "Bearer s3cret€"])
async def test_a_header_that_cannot_be_sent_is_not_in_the_error(value):
    """Neither the error nor its cause contains the header."""

    class Careless(FakeEndpoint):
        async def address(self):
            return Endpoint(url=self.url, headers={"Authorization": value})

    async def talk(reader, writer):
        await reader.read()

    async with raw_server(talk) as server:
        reconnecting = ReconnectingSocket(
            Careless(server.url), on_messages=len, on_state=Listener().on_state, config=FAST
        )
        with pytest.raises(ValueError, match="a header that cannot be sent") as caught:
            await reconnecting.run()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None

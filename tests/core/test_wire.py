"""One connection, where only its inside shows what must not go wrong."""

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
from tests.servers.websocket_server import FAST, FakeLink, Listener, accepted, raw_server

MESSAGES = 300


class Burst(threading.Thread):
    """A TLS server in a thread of its own that says a lot at once and leaves."""

    def __init__(self, tls, *, polite):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"wss://127.0.0.1:{self.listener.getsockname()[1]}/events"
        self.said = threading.Event()
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
        self.said.set()
        self.listener.accept()[0].close()  # the client is back
        link.close()
        self.listener.close()


@pytest.mark.parametrize("polite", [True, False], ids=["with a TLS goodbye", "without"])
async def test_what_a_server_says_over_tls_before_it_leaves_is_read_to_its_end(polite):
    """More than one read holds, the close code behind it and the end, all there at once: nothing is lost."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(ours)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    server, listener = Burst(theirs, polite=polite), Listener()
    server.start()

    def on_state(state, reason, retry_in):
        if state is State.LIVE:
            server.said.wait(5)  # the event loop is busy until all is there
        listener.on_state(state, reason, retry_in)

    reconnecting = ReconnectingSocket(
        FakeLink(server.url),
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
    """A server in a thread of its own that says all it has to say at once, faster than anybody reads."""

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


def test_no_event_loop_reads_a_socket_on_and_on():
    """A loop that would read all there is lets consumers have their turn between two pieces."""
    uvloop = pytest.importorskip("uvloop")
    server, heard, at_once, done = Flood(), [0], [], asyncio.Event()
    server.start()

    def take(messages, _):
        if not heard[0]:
            asyncio.get_running_loop().call_soon(turn)
        heard[0] += len(messages)

    def turn():
        at_once.append(heard[0])
        heard[0] = 0
        if sum(at_once) >= 30 * MESSAGES:
            done.set()

    async def listen():
        address = Endpoint(url=server.url)
        wire = Connection(
            address, on_open=lambda _: None, on_messages=take, clock=SystemClock(), config=SocketConfig()
        )
        await wire.open(address, None)
        async with asyncio.timeout(20):
            await done.wait()
        await wire.close(1000)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(listen())
    server.join(5)
    assert sum(at_once) == 30 * MESSAGES
    assert max(at_once) <= 24 * 1024 // 100


class Nowhere(asyncio.Transport):
    """Takes what is written."""

    def write(self, data):
        pass

    def abort(self):
        pass

    def is_closing(self):
        return False


async def test_what_comes_with_the_handshake_of_a_cancelled_socket_is_not_told():
    """No message is handed over where nobody was told that the connection is open."""
    told = []
    wire = Connection(
        Endpoint(url="ws://127.0.0.1:9/events"),
        on_open=told.append,
        on_messages=lambda messages, _: told.append(messages),
        clock=SystemClock(),
        config=SocketConfig(),
    )
    wire.connection_made(Nowhere())
    wire._handshake_done.cancel()
    said = accepted(wire._protocol.key) + b"\x81\x02hi"
    wire.get_buffer(-1)[: len(said)] = said
    wire.buffer_updated(len(said))
    assert told == []
    wire.connection_lost(None)


@pytest.mark.parametrize("value", ["Bearer s3cret\nx", "Bearer s3cret€"])
async def test_a_header_that_cannot_be_sent_is_refused_unsaid(value):
    """The complaint holds neither the header nor the error that does."""

    class Careless(FakeLink):
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

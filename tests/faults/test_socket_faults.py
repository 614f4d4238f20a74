import asyncio
import contextlib
import random

import pytest
from attrs import evolve

from energy_core.stream.vocabulary import State
from tests.servers.tcp_proxy import proxied
from tests.servers.websocket_server import FAST, FakeEndpoint, raw_server, running, serving, shake_hands

BEAT = evolve(FAST, ping_interval_s=0.2, ping_timeout_s=0.2)
"""The default ping times divided by 100: 40 s become 0.4 s."""
PATIENT = evolve(FAST, ping_interval_s=0.1, ping_timeout_s=1.0)
"""For connections that must be kept, also on a busy machine."""


@contextlib.asynccontextmanager
async def through_a_proxy(handler, config=BEAT, **options):
    """Run a server, a proxy before it, and a socket that connects through both."""
    async with (
        serving(handler, **options) as (_, server),
        proxied(*server.sockets[0].getsockname()) as proxy,
        running(FakeEndpoint(f"ws://127.0.0.1:{proxy.port}/events"), config) as rig,
    ):
        yield proxy, rig


async def quiet(connection):
    await connection.wait_closed()


def talking(every_s=0.02):
    async def handler(connection):
        with contextlib.suppress(Exception):
            for n in range(100_000):
                await connection.send(str(n))
                await asyncio.sleep(every_s)

    return handler


@pytest.mark.parametrize("direction", ["up", "down", "both"])
async def test_a_black_hole_is_found(direction):
    """A quiet connection that loses bytes one way or both, while TCP stays up, is dropped and reopened."""
    async with through_a_proxy(quiet) as (proxy, rig):
        await rig.live()
        proxy.swallow_up, proxy.swallow_down = direction != "down", direction != "up"
        await rig.until(lambda: State.DISCONNECTED in rig.listener.states)
        assert "no sign of life" in rig.listener.reasons[0]
        proxy.swallow_up = proxy.swallow_down = False
        await rig.live(2)


async def test_a_server_that_sends_events_is_alive_without_pongs():
    """Events count as data: a connection that loses our pings but delivers events is kept."""
    async with through_a_proxy(talking(), PATIENT) as (proxy, rig):
        await rig.live()
        proxy.swallow_up = True
        await rig.until(lambda: rig.socket.events > 100)  # takes longer than the ping timeout
        assert rig.listener.states == [State.CONNECTING, State.LIVE]


async def test_pings_keep_a_quiet_connection():
    """A server without events is kept as long as it answers pings."""
    enough = asyncio.Event()

    async def talk(reader, writer):
        await shake_hands(reader, writer)
        pings = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readexactly(6):  # a masked ping without payload
                pings += 1
                if pings > 2:  # takes longer than the ping timeout
                    enough.set()
                writer.write(b"\x8a\x00")

    async with raw_server(talk) as endpoint, running(endpoint, PATIENT) as rig:
        await asyncio.wait_for(enough.wait(), 30)
        assert rig.listener.states == [State.CONNECTING, State.LIVE]


async def test_a_slow_message_keeps_a_connection():
    """A message that takes longer than the ping times is received while its bytes keep arriving."""

    async def handler(connection):
        await connection.send("x" * 600)
        await quiet(connection)

    async with through_a_proxy(handler, PATIENT) as (proxy, rig):
        proxy.chunk, proxy.delay_s = 8, 0.02
        await rig.until(lambda: bool(rig.frames))
        assert rig.frames == [b"x" * 600]
        assert rig.socket.handshakes == 1


@pytest.mark.parametrize("fault", ["cut", "reset", "half_close"])
async def test_a_broken_connection_is_replaced(fault):
    """However TCP ends, the drop is reported and the next connection delivers events again."""
    async with through_a_proxy(talking()) as (proxy, rig):
        for times in range(1, 4):
            await rig.live(times)
            before = len(rig.frames)
            await rig.until(lambda before=before: len(rig.frames) > before + 2)
            getattr(proxy, fault)()
        await rig.live(4)
        assert set(rig.listener.reasons) == {"the connection dropped"}


async def test_a_server_that_is_down_is_retried():
    """While connections break before the handshake, the socket retries; then it is live."""
    async with through_a_proxy(talking()) as (proxy, rig):
        await rig.live()
        proxy.down = True
        proxy.cut()
        await rig.until(lambda: rig.listener.states.count(State.DISCONNECTED) > 5)
        proxy.down = False
        await rig.live(2)


async def test_after_a_cut_at_any_byte_it_reconnects():
    """Whatever byte is the last, only complete messages are delivered and the socket reconnects."""

    async def handler(connection):
        await connection.send("first")
        await connection.send("second, somewhat longer")
        await quiet(connection)

    async with through_a_proxy(handler) as (proxy, rig):
        for cut_after in range(0, 260, 11):
            proxy.cut_after = cut_after
            proxy.cut()
            before = rig.listener.states.count(State.DISCONNECTED)
            await rig.until(lambda before=before: rig.listener.states.count(State.DISCONNECTED) > before + 1)
        proxy.cut_after = None
        proxy.cut()
        before = len(rig.frames)
        await rig.until(lambda: len(rig.frames) >= before + 2)
        assert set(rig.frames) == {b"first", b"second, somewhat longer"}
        assert not rig.task.done()


async def test_random_faults_never_end_the_source():
    """After random faults the socket still runs, and events arrive."""
    dice = random.Random(7)
    async with through_a_proxy(talking(0.005)) as (proxy, rig):
        for _ in range(40):
            fault = dice.choice(["cut", "reset", "half_close", "swallow", "down", "slow"])
            if fault in {"cut", "reset", "half_close"}:
                getattr(proxy, fault)()
            proxy.swallow_up = fault == "swallow" and dice.random() < 0.5
            proxy.swallow_down = fault == "swallow"
            proxy.down = fault == "down"
            proxy.delay_s = 0.02 if fault == "slow" else 0.0
            await asyncio.sleep(dice.uniform(0.01, 0.1))
        proxy.swallow_up = proxy.swallow_down = proxy.down = False
        proxy.delay_s = 0.0
        assert not rig.task.done()
        before = rig.socket.events
        await rig.until(lambda: rig.socket.events > before + 20)


async def test_a_server_that_accepts_and_closes_is_not_flooded():
    """A server that accepts and drops connections at once sees no more handshakes than the limit."""

    async def handler(connection):
        connection.transport.abort()

    config = evolve(BEAT, max_handshakes=10, handshake_window_s=600.0)
    async with through_a_proxy(handler, config) as (proxy, rig):
        await rig.until(lambda: any((wait or 0.0) > 300 for _, _, wait in rig.listener.changes))
        assert proxy.accepted == 10

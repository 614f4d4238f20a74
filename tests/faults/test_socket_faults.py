import asyncio
import contextlib
import random

import pytest
from attrs import evolve

from energy_core.stream.vocabulary import State
from tests.servers.tcp_proxy import proxied
from tests.servers.websocket_server import FAST, FakeLink, running, serving

BEAT = evolve(FAST, ping_interval_s=0.2, ping_timeout_s=0.2)
"""The default timings divided by 100: what takes 40 s there takes 0.4 s here."""


@contextlib.asynccontextmanager
async def through_a_proxy(handler, config=BEAT, **options):
    """A server, a proxy before it, and a running socket that goes through both."""
    async with (
        serving(handler, **options) as (_, server),
        proxied(*server.sockets[0].getsockname()) as proxy,
        running(FakeLink(f"ws://127.0.0.1:{proxy.port}/events"), config) as rig,
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


async def until_dead(rig):
    started = asyncio.get_running_loop().time()
    await rig.until(lambda: State.DISCONNECTED in rig.listener.states)
    return asyncio.get_running_loop().time() - started


@pytest.mark.parametrize("direction", ["up", "down", "both"])
async def test_a_black_hole_is_found(direction):
    """A quiet link that swallows bytes one way or both, TCP staying up, is given up in time, and heals."""
    async with through_a_proxy(quiet) as (proxy, rig):
        await rig.live()
        await asyncio.sleep(0.25)
        proxy.swallow_up, proxy.swallow_down = direction != "down", direction != "up"
        assert 0.15 < await until_dead(rig) < 0.8  # 0.4 by the timings; the rest is for a busy machine
        assert "no sign of life" in rig.listener.reasons[0]
        proxy.swallow_up = proxy.swallow_down = False
        await rig.live(2)


async def test_a_talking_server_is_alive_even_if_it_cannot_hear():
    """Events count as life: a link that loses our pings but brings events is kept."""
    async with through_a_proxy(talking()) as (proxy, rig):
        await rig.live()
        proxy.swallow_up = True
        await asyncio.sleep(1.0)
        assert rig.listener.states == [State.CONNECTING, State.LIVE]
        assert rig.socket.events > 20


async def test_pings_keep_a_quiet_link():
    """A server without anything to say is kept as long as it answers pings."""
    async with through_a_proxy(quiet) as (_, rig):
        await rig.live()
        await asyncio.sleep(1.0)
        assert rig.listener.states == [State.CONNECTING, State.LIVE]


async def test_a_trickle_of_one_message_is_life():
    """A message that takes longer than the whole patience is received as long as its bytes keep coming."""

    async def handler(connection):
        await connection.send("x" * 300)
        await quiet(connection)

    async with through_a_proxy(handler) as (proxy, rig):
        proxy.chunk, proxy.delay_s = 8, 0.02
        await rig.until(lambda: bool(rig.frames))
        assert rig.frames == [b"x" * 300]
        assert rig.socket.handshakes == 1


@pytest.mark.parametrize("fault", ["cut", "reset", "half_close"])
async def test_a_broken_connection_is_replaced(fault):
    """However TCP ends, the drop is announced and the next connection brings events again."""
    async with through_a_proxy(talking()) as (proxy, rig):
        for times in range(1, 4):
            await rig.live(times)
            before = len(rig.frames)
            await rig.until(lambda before=before: len(rig.frames) > before + 2)
            getattr(proxy, fault)()
        await rig.live(4)
        assert set(rig.listener.reasons) == {"the connection dropped"}


async def test_a_server_that_is_away_is_waited_for():
    """While connections break before the handshake, the socket goes on trying; then it is live."""
    async with through_a_proxy(talking()) as (proxy, rig):
        await rig.live()
        proxy.down = True
        proxy.cut()
        await rig.until(lambda: rig.listener.states.count(State.DISCONNECTED) > 5)
        proxy.down = False
        await rig.live(2)


async def test_a_cut_at_any_byte_is_healed():
    """Whatever byte is the last, only whole messages are delivered and the socket heals."""

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
    """Seconds of every fault at random: the socket is never over nor hung, and events flow in the end."""
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


async def test_a_server_that_accepts_and_closes_is_spared():
    """A server that accepts and drops at once is not hit in a loop: the handshakes stay within the budget."""

    async def handler(connection):
        connection.transport.abort()

    config = evolve(BEAT, max_handshakes=10, handshake_window_s=1.0)
    async with through_a_proxy(handler, config) as (proxy, _):
        await asyncio.sleep(1.5)
        assert 10 <= proxy.accepted <= 20

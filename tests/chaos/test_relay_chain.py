"""A relay read by a relay, under cuts, restarts and small memories: truth = delivered + reported."""

import asyncio
import os
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from energy_core import Kind, Quantity, SocketConfig, SourceId, State, merge
from energy_live import relay
from energy_live.web.access import ListenOptions
from energy_live.web.homes import Homes
from energy_live.web.server import WebServer
from tests.servers.scripted_sources import MemoryStore
from tests.servers.tcp_proxy import TcpProxy

SEEDS = range(int(os.environ.get("ENERGY_LIVE_SEEDS", "3")))
STEPS = 60
QUICK = SocketConfig(
    first_delay_s=0.01,
    backoff_base_s=0.01,
    backoff_cap_s=0.05,
    max_handshakes=100_000,
    ping_interval_s=0.3,
    ping_timeout_s=0.3,
)
DEVICES = [SourceId("vrm", "home", "1"), SourceId("vrm", "home", "2", 5), SourceId("voltstorage", "x", "301")]


class Devices:
    """A source that delivers what the test says, and knows everything it has delivered."""

    id = SourceId("vrm", "home", "*")

    def __init__(self, start):
        self.truth = {}
        self._outlet = None
        self._start = start
        self._second = 0

    async def run(self, outlet):
        self._outlet = outlet
        outlet.status(State.LIVE)
        await asyncio.get_running_loop().create_future()

    @property
    def running(self):
        return self._outlet is not None

    def read(self, device, *, back=0, backfilled=False):
        self._second += 1
        time = self._start + timedelta(seconds=self._second - back)
        name = f"{device.site}/{self._second}"
        self.truth[name] = (device, time, float(self._second))
        self._outlet.reading(
            device,
            time=time,
            id=name,
            values={Quantity.PV_POWER: float(self._second)},
            raw={},
            backfilled=backfilled,
        )


class Served:
    """A merged stream and its relay; the relay can be stopped and started on the same port."""

    def __init__(self, capacity):
        self.server = None
        self.port = 0
        self._capacity = capacity
        self._feed = None

    async def start(self, events, *, continues=False):
        listen = ListenOptions(port=self.port, max_requests=100_000)
        self.server = WebServer(listen, Homes(), capacity=self._capacity, continues=continues)
        await self.server.__aenter__()
        self.port = self.server.port
        self._feed = asyncio.create_task(self._publish(events))

    async def _publish(self, events):
        async for batch in events.batches(max_size=50, max_delay=0.0):
            self.server.publish(batch)

    async def stop(self):
        self._feed.cancel()
        await asyncio.gather(self._feed, return_exceptions=True)
        await self.server.__aexit__()


class Chain:
    """Devices, relay A, relay B (with a checkpoint), and the consumer at the end."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.devices = Devices(datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6))
        self.got, self.gaps = [], []
        self.a, self.b = Served(self.random.choice([15, 60])), Served(self.random.choice([15, 60, 1000]))
        self.store = MemoryStore()

    async def run(self):
        async with AsyncExitStack() as stack:
            self.first = await stack.enter_async_context(merge(self.devices))
            await until(lambda: self.devices.running)
            await self.a.start(self.first)
            self.proxies = [await self._proxy(stack, self.a.port)]
            self.second = await self._open_b()
            self.proxies.append(await self._proxy(stack, self.b.port))
            last = merge(relay(self._url(1), account="b", socket=QUICK))
            events = await stack.enter_async_context(last)
            collector = asyncio.create_task(self._collect(events))
            await until(lambda: self.a.server.clients == 1 and self.b.server.clients == 1)
            for _ in range(STEPS):
                await self._step()
            await self._end()
            collector.cancel()
            await asyncio.gather(collector, return_exceptions=True)
            await self.b.stop()
            await self.second.aclose()
            await self.a.stop()

    def _url(self, number):
        return f"http://127.0.0.1:{self.proxies[number].port}/"

    async def _proxy(self, stack, port):
        proxy = TcpProxy("127.0.0.1", port)
        listening = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
        proxy.port = listening.sockets[0].getsockname()[1]
        stack.push_async_callback(proxy.aclose)
        stack.callback(listening.close)
        return proxy

    async def _open_b(self):
        """Start program B: its stream continues from the checkpoint of the last one."""
        stream = merge(relay(self._url(0), account="a", socket=QUICK), checkpoint=self.store)
        await stream.__aenter__()
        await self.b.start(stream, continues=True)
        return stream

    async def _collect(self, events):
        async for event in events:
            if event.kind is Kind.READING:
                self.got.append(event)
            elif event.kind is Kind.GAP:
                self.gaps.append((event.source, event.detail.start, event.detail.end))

    async def _step(self):
        proxy = self.random.choice(self.proxies)
        match self.random.randrange(10):
            case 0:
                self.random.choice([proxy.cut, proxy.reset])()
            case 1:
                proxy.down = not proxy.down
                proxy.cut()
            case 2:  # a black hole, until the pings find out; TCP loses bytes only together with a connection
                proxy.swallow_down = not proxy.swallow_down
                if not proxy.swallow_down:
                    proxy.cut()
            case 3:
                await self._restart()
            case chosen:
                self._read(late=chosen == 4)
        for _ in range(self.random.randrange(30)):
            await asyncio.sleep(0)
        if not self.random.randrange(4):
            await asyncio.sleep(0.01)

    def _read(self, *, late):
        for _ in range(3 if late else self.random.randint(1, 25)):
            back = self.random.randint(2, 600) if late else 0
            self.devices.read(self.random.choice(DEVICES), back=back, backfilled=late)

    async def _restart(self):
        """Restart one of the two programs, while no late reading is on its way.

        A relay that is killed loses the late readings that it has received and not passed on yet: nothing at
        the other side knows of them.
        """
        await self._settled()
        self.random.choice(self.proxies).down = True  # so that some of what follows is lost
        for proxy in self.proxies:
            proxy.cut()
        self._read(late=False)
        for _ in range(self.random.randrange(30)):
            await asyncio.sleep(0)
        if self.random.randrange(2):
            await self.a.stop()
            await self.a.start(self.first)
        else:
            await self.b.stop()
            await self.second.aclose()
            self.second = await self._open_b()

    def missing(self):
        """Return the readings that were neither delivered nor lie in a reported gap."""
        delivered = {event.id for event in self.got}
        return [
            name
            for name, (device, time, _) in self.devices.truth.items()
            if name not in delivered
            and not any(source == device and start <= time <= end for source, start, end in self.gaps)
        ]

    async def _settled(self):
        """Wait until everything is accounted for."""
        for proxy in self.proxies:
            if proxy.swallow_down:
                proxy.cut()
            proxy.down = proxy.swallow_down = False
        for device in DEVICES:
            self.devices.read(device)
        await until(lambda: not self.missing())

    async def _end(self):
        await self._settled()
        for device in DEVICES:
            self.devices.read(device)
        newest = max(self.devices.truth, key=lambda name: self.devices.truth[name][1])
        await until(lambda: not self.missing() and newest in {event.id for event in self.got})


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  (real sockets)
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_a_chain_of_relays_delivers_and_reports_is_the_truth(seed):
    """Every reading arrives unchanged or lies in a reported gap; none is invented; order and ids hold."""
    chain = Chain(seed)
    await chain.run()
    for event in chain.got:
        device, time, value = chain.devices.truth[event.id]
        assert (event.source, event.time, event.values) == (device, time, {Quantity.PV_POWER: value})
    newest = {}
    for event in chain.got:
        if not event.late:
            assert event.time >= newest.get(event.source, event.time)
            newest[event.source] = event.time
    names = [event.id for event in chain.got]
    assert len(names) == len(set(names))

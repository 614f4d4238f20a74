"""Gateways, a broker and VRM's record without sockets, and the truth about every second."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from datetime import timedelta

from energy_core.errors import ConnectError
from energy_core.stream.poll import Poller
from energy_core.stream.polled import LookbackConfig, Polled, PolledReading, SiteReport
from energy_core.stream.reconnect import TransientFailure
from energy_core.stream.vocabulary import Kind, Quantity, SourceId
from energy_live.simulator.vrm.gateways import SimulatedGateway
from tests.servers.virtual_time import EPOCH, VirtualClock
from vrm_async.decoding.gateways import Gateway
from vrm_async.realtime_link import LinkLost, Login
from vrm_async.realtime_site import RealtimeConfig
from vrm_async.realtime_source import RealtimeSource

START = int(EPOCH.timestamp())
LOGGED_AT_S = 13
"""The second of a minute at which each gateway logs."""


class WorldSite:
    """A site whose grid power is the second of its measurement, so that each value names its own second."""

    def __init__(self, world, number):
        self.world = world
        self.id = SourceId("vrm", "me", str(number))
        self.gateway = SimulatedGateway(portal_id=f"c0619ab{number:05d}", values=self._values)
        self.obstacle = ""
        self.logs = {}  # minute -> when VRM has it
        self.logs_to_vrm = True

    def _values(self):
        return {
            "system/0/Ac/Grid/L1/Power": float(self.world.second),
            "system/0/Ac/Grid/NumberOfPhases": 1,
        }

    def log(self, minute, available_at):
        """Let VRM have the log of a minute from a time on."""
        self.logs[minute] = available_at

    def reading(self, minute, *, bucket=False):
        """Return the log of a minute."""
        second = minute * 60 + LOGGED_AT_S
        return PolledReading(
            source=self.id,
            time=EPOCH + timedelta(seconds=second - START),
            id=f"{self.id.site}/0/{second}",
            values={Quantity.GRID_POWER: float(second)},
            raw={"g1": {"resolution": 60.0}},
            bucket_s=60.0 if bucket else 0.0,
            bucket_at_s=float(LOGGED_AT_S) if bucket else 0.0,
        )


class WorldLink:
    """A connection to the world's broker."""

    def __init__(self, world, take):
        self.retained = 0
        self._world = world
        self.take = take
        self.lost = asyncio.get_running_loop().create_future()

    async def open(self, login, timeout_s):
        world = self._world
        world.connections.append(world.now)
        await asyncio.sleep(world.connect_s)
        if world.down:
            raise LinkLost(TransientFailure("down"), "cannot connect to the broker")
        world.links.add(self)

    async def subscribe(self, filters):
        portal_ids = {each.split("/")[1] for each in filters}
        return not portal_ids & self._world.forbidden

    async def unsubscribe(self, filters):
        """Take less."""

    async def keepalive(self, portal_id, payload, *, confirmed):
        world = self._world
        if self not in world.links:
            raise LinkLost(TransientFailure("lost"), "the connection is lost")
        world.keepalives.append((world.now, portal_id, payload))
        for site in world.sites:
            if site.gateway.portal_id == portal_id:
                for topic, body in site.gateway.keepalive(payload, world.now, world.now + START):
                    world.send(topic, body)
        return True

    async def wait_lost(self):
        return await asyncio.shield(self.lost)

    async def close(self):
        self._world.links.discard(self)
        if not self.lost.done():
            self.lost.set_result(None)


class FixedLogin:
    """A login that is always the same."""

    renewable = False

    async def get(self):
        return Login("me", "secret")

    async def renew(self):
        """Nothing."""


class World:
    """Everything behind a source in real time, on virtual time.

    Args:
        sites: How many.
        latency_s: Seconds from a gateway to the client.
        seed: Of the client's jitter.
    """

    def __init__(self, sites, *, latency_s=0.05, seed=0):
        self._random = random.Random(f"world/{seed}").random
        self.clock = VirtualClock()
        self.sites = [WorldSite(self, number) for number in range(1, sites + 1)]
        self.links = set()
        self.down = False
        self.api_down = False
        self.connect_s = 0.1
        self.forbidden = set()
        self.connections = []
        self.keepalives = []
        self.graphs = []
        self._latency_s = latency_s

    @property
    def now(self):
        """Virtual seconds since the start."""
        return asyncio.get_running_loop().time()

    @property
    def second(self):
        """The present Unix second."""
        return START + int(self.now + 1e-6)

    def source(self, *, interval_s=60.0, **options):
        """Return a source of all sites."""
        name = ",".join(site.id.site for site in self.sites)

        def make_poller(*, on_gateways):
            async def poll():
                if self.api_down:
                    raise ConnectError("no route to VRM")
                on_gateways({site.id: self._gateway(site) for site in self.sites}, self.graph)
                readings, reports = [], {}
                for site in self.sites:
                    known = [minute for minute, at in site.logs.items() if at <= self.now]
                    reports[site.id] = SiteReport(None)
                    if known:
                        readings.append(site.reading(max(known)))
                        reports[site.id] = SiteReport(readings[-1].time)
                return Polled(readings=readings, sites=reports)

            return Poller(
                SourceId("vrm", "me", name),
                poll,
                interval_s=interval_s,
                fetch_range=self.graph,
                clock=self.clock,
                random=lambda: 0.5,
            )

        config = RealtimeConfig(url="ws://127.0.0.1:9/mqtt", **options.pop("config", {}))
        return RealtimeSource(
            make_poller,
            FixedLogin(),
            config,
            lookback=LookbackConfig(),
            clock=self.clock,
            random=self._random,
            open_link=lambda address, context, take: WorldLink(self, take),
            **options,
        )

    def _gateway(self, site):
        return Gateway(site.gateway.portal_id, None, site.obstacle)

    async def graph(self, source, start, end):
        """Return the buckets that VRM has of a site."""
        self.graphs.append((self.now, source, start, end))
        await asyncio.sleep(0.2)
        if self.api_down:
            raise ConnectError("no route to VRM")
        site = next(each for each in self.sites if each.id == source)
        found = [site.reading(minute, bucket=True) for minute, at in site.logs.items() if at <= self.now]
        return [each for each in found if start <= each.time <= end]

    def send(self, topic, payload):
        """Deliver a message to all connections, after the latency."""
        for link in tuple(self.links):
            self.clock.call_at(
                self.now + self._latency_s, lambda link=link: self._arrive(link, topic, payload)
            )

    def _arrive(self, link, topic, payload):
        if link in self.links:
            link.take(topic, payload)

    def drop(self):
        """Break all connections."""
        for link in tuple(self.links):
            self.links.discard(link)
            if not link.lost.done():
                link.lost.set_result(LinkLost(TransientFailure("dropped"), "the connection is lost"))

    async def run(self):
        """Let gateways publish every second and log every minute; cancel it to end the world."""
        while True:
            for site in self.sites:
                for topic, body in site.gateway.tick(self.now, self.now + START):
                    self.send(topic, body)
                if self.second % 60 == LOGGED_AT_S and site.logs_to_vrm:
                    site.log(self.second // 60, self.now + 2.0)
            await asyncio.sleep(1.0 - (self.now + 1e-6) % 1.0)


class Account:
    """What a consumer got of each site, and whether that is the truth."""

    def __init__(self):
        self.live = defaultdict(list)  # the seconds of readings in real time
        self.minutes = defaultdict(list)  # the minutes of polls and buckets
        self.gaps = defaultdict(list)
        self.states = defaultdict(list)
        self.events = []

    def take(self, event):
        """Note an event."""
        self.events.append(event)
        if event.kind is Kind.READING and "/rt/" in event.id:
            # Of the phase: the sum is missing while another phase may be gone.
            if Quantity.GRID_L1_POWER in event.values:
                self.live[event.source].append(int(event.values[Quantity.GRID_L1_POWER]))
        elif event.kind is Kind.READING and not event.revision:
            self.minutes[event.source].append(int(event.id.rpartition("/")[2]) // 60)
        elif event.kind is Kind.GAP:
            self.gaps[event.source].append((event.detail.start.timestamp(), event.detail.end.timestamp()))
        elif event.kind is Kind.STATUS:
            self.states[event.source].append((event.detail.state, event.detail.reason))

    def missing(self, site, last):
        """Return the seconds up to `last` that were neither delivered nor reported.

        Minutes without a log between two polled ones are not counted: that is the promise of the poller,
        which has tests of its own.
        """
        live, minutes = set(self.live[site.id]), set(self.minutes[site.id])
        first = min([*live, *(minute * 60 + LOGGED_AT_S for minute in minutes)])
        found, since, polled = [], [], False
        for second in range(first, last):
            if second in live:
                found, since, polled = found + since, [], False
            elif second // 60 in minutes:
                found, since, polled = found + (since if not polled else []), [], True
            elif not any(start <= second <= end for start, end in self.gaps[site.id]):
                since.append(second)
        return found + since

    def doubled(self, site):
        """Return the ids and minutes that were delivered twice; a full publish may repeat a value."""
        ids = Counter((each.id, each.revision) for each in self.events if each.source == site.id)
        minutes = Counter(self.minutes[site.id])
        twice = [id for (id, _), count in ids.items() if count > 1 and "/rt/" in id]  # noqa: A001
        return twice + [minute for minute, count in minutes.items() if count > 1]

    def reported_and_live(self, site):
        """Return the seconds strictly inside a reported gap that were delivered in real time."""
        return [
            second
            for second in self.live[site.id]
            if any(start < second - 1 and second + 1 < end for start, end in self.gaps[site.id])
        ]

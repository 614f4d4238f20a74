"""A merged stream compared with a plain reference: lists, no buffers, no tasks."""

import asyncio
from collections import defaultdict

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from energy_core.errors import SlowConsumer
from energy_core.stream.buffer import POLICIES
from energy_core.stream.merge import merge
from energy_core.stream.vocabulary import Kind, SourceId, State
from tests.servers.scripted_sources import Pen
from tests.servers.virtual_time import VirtualClock, VirtualTimeLoop

SITES = ("a", "b")


class Puppet:
    """A source that is driven by the rules."""

    def __init__(self, site, pens):
        self.id, self._pens = SourceId("test", "me", site), pens

    def resume(self, positions):
        pass

    def again(self):
        return Puppet(self.id.site, self._pens)

    async def run(self, outlet):
        pen = self._pens.get(self.id.site)
        if pen is None:
            pen = self._pens[self.id.site] = Pen(self.id, outlet)
        pen.outlet = outlet
        await asyncio.get_running_loop().create_future()


class Reference:
    """The events that one consumer should get."""

    def __init__(self, policy, capacity):
        self.policy, self.capacity = policy, capacity
        self.items = []  # (kind, site, what)
        self.lost = {}
        self.missing = set()
        self.dead = False

    def pending(self):
        return [item for item in self.items if item[0] is Kind.READING]

    def push(self, site, name):
        if self.dead:
            return
        full = len(self.pending()) >= self.capacity
        if self.policy == "block" and (full or site in self.missing):
            self.lost[site] = self.lost.get(site, 0) + 1
            self.missing.add(site)
            return
        if self.policy == "coalesce_latest":
            mine = [n for n, item in enumerate(self.items) if item[1] == site]
            if mine and self.items[mine[-1]][0] is Kind.READING:
                self.items[mine[-1]] = (Kind.READING, site, name)
                self.lost[site] = self.lost.get(site, 0) + 1
                return
        if full and self.policy in {"drop_oldest", "coalesce_latest"}:
            gone = self.pending()[0]
            self.items.remove(gone)
            self.lost[gone[1]] = self.lost.get(gone[1], 0) + 1
        self.items.append((Kind.READING, site, name))
        if self.policy == "raise" and len(self.pending()) >= 8 * self.capacity:
            self.dead = True

    def keep(self, site, state):
        if not self.dead:
            self.items.append((Kind.STATUS, site, state))

    def relieve(self, sites=None):
        for site in [each for each in self.lost if sites is None or each in sites]:
            self.items.append((Kind.DROPPED, site, self.lost.pop(site)))
            if site in self.missing:
                self.missing.discard(site)
                self.items.append((Kind.GAP, site, "slow_consumer"))

    def take(self):
        if not self.items and self.policy == "coalesce_latest":
            self.relieve()
        if not self.items:
            return None
        item = self.items.pop(0)
        taken = item[0] is Kind.READING and self.policy != "coalesce_latest"
        if taken and len(self.pending()) <= self.capacity // 2:
            self.relieve()
        return item


def content(event):
    match event.kind:
        case Kind.READING:
            what = event.id
        case Kind.STATUS:
            what = event.detail.state
        case Kind.DROPPED:
            what = event.detail.count
        case Kind.GAP:
            what = event.detail.reason
    return event.kind, event.source.site, what


class Streams(RuleBasedStateMachine):
    """Drives merge, subscribe, policies, cancel, close and restart."""

    consumers = Bundle("consumers")

    def __init__(self):
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.pens, self.references, self.numbers = {}, {}, defaultdict(dict)
        self.stream = None

    def run(self, work):
        return self.loop.run_until_complete(work)

    @initialize(target=consumers, policy=st.sampled_from(POLICIES), capacity=st.integers(1, 6))
    def open(self, policy, capacity):
        async def opening():
            self.stream = merge(
                *(Puppet(site, self.pens) for site in SITES),
                policy=policy,
                buffer=capacity,
                clock=VirtualClock(),
            )
            await self.stream.__aenter__()
            self.stream.batches()  # makes the stream buffer for its own iterator
            await asyncio.sleep(0)

        self.run(opening())
        reference = self.references[self.stream] = Reference(policy, capacity)
        for site in SITES:
            reference.keep(site, State.CONNECTING)
        return self.stream

    @rule(target=consumers, policy=st.sampled_from(POLICIES), capacity=st.integers(1, 6))
    def subscribe(self, policy, capacity):
        subscription = self.stream.subscribe(policy=policy, buffer=capacity)
        self.references[subscription] = Reference(policy, capacity)
        return subscription

    @rule(site=st.sampled_from(SITES), count=st.integers(1, 9))
    def push(self, site, count):
        async def pushing():
            for _ in range(count):
                pen = self.pens[site]
                pen.read()
                for reference in self.references.values():
                    reference.push(site, f"{site}-{pen.count}")

        self.run(pushing())

    @rule(site=st.sampled_from(SITES))
    def flap(self, site):
        async def flapping():
            states = [State.DISCONNECTED, State.LIVE]
            if self.stream.status[SourceId("test", "me", site)].state is State.CONNECTING:
                states.insert(0, State.LIVE)
            for state in states:
                self.pens[site].outlet.status(state)
                for reference in self.references.values():
                    reference.keep(site, state)

        self.run(flapping())

    @rule(consumer=consumers, count=st.integers(1, 12))
    def take(self, consumer, count):
        async def taking():
            for _ in range(count):
                await self._take_one(consumer)

        self.run(taking())

    async def _take_one(self, consumer):
        reference = self.references[consumer]
        if reference.dead:
            try:
                event = await anext(consumer)
            except (SlowConsumer, StopAsyncIteration):
                return
            raise AssertionError(f"after its end: {event}")
        expected = reference.take()
        if expected is None:
            waiting = asyncio.ensure_future(anext(consumer))
            await asyncio.sleep(0)
            assert not waiting.done(), waiting
            waiting.cancel()
            await asyncio.wait([waiting])
            return
        event = await anext(consumer)
        assert content(event) == expected
        numbers = self.numbers[consumer]
        assert event.seq > numbers.get(event.source, 0)
        numbers[event.source] = event.seq

    @rule(consumer=consumers, site=st.sampled_from(SITES))
    def cancel_as_it_comes(self, consumer, site):
        """A wait that is cancelled in the step in which its event arrives loses nothing."""

        async def racing():
            reference = self.references[consumer]
            waiting = asyncio.ensure_future(anext(consumer))
            await asyncio.sleep(0)
            if waiting.done():
                event = waiting.exception() or waiting.result()
                if not reference.dead:
                    assert content(event) == reference.take()
                    self.numbers[consumer][event.source] = event.seq
                return
            assert reference.take() is None
            self.pens[site].read()
            for each in self.references.values():
                each.push(site, f"{site}-{self.pens[site].count}")
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()

        self.run(racing())

    @rule(site=st.sampled_from(SITES))
    def restart(self, site):
        async def restarting():
            await self.stream.restart(SourceId("test", "me", site))
            await asyncio.sleep(0)

        self._ends(site)
        self.run(restarting())
        for reference in self.references.values():
            reference.keep(site, State.CONNECTING)

    @rule(site=st.sampled_from(SITES))
    def leave_and_come_back(self, site):
        async def replacing():
            await self.stream.remove(SourceId("test", "me", site))
            self.stream.add(Puppet(site, self.pens))
            await asyncio.sleep(0)

        self._ends(site)
        self.run(replacing())
        for reference in self.references.values():
            reference.keep(site, State.CONNECTING)

    def _ends(self, site):
        for reference in self.references.values():
            if not reference.dead:
                reference.relieve({site})
                reference.keep(site, State.CLOSED)

    @rule(consumer=consumers)
    @precondition(lambda self: len(self.references) > 1)
    def close_one(self, consumer):
        if consumer is self.stream or self.references[consumer].dead:
            return
        self.run(consumer.aclose())
        self.references[consumer].items.clear()
        self.references[consumer].dead = True

    @invariant()
    def nothing_grows(self):
        for consumer, reference in self.references.items():
            if consumer is not None:
                assert consumer.pending == len(reference.items) or reference.dead

    def teardown(self):
        async def ending():
            await self.stream.drain()
            for site in sorted(SITES):
                self._ends(site)
            for consumer, reference in self.references.items():
                if reference.dead:
                    continue
                seen = sorted(content(event) for event in [event async for event in consumer])
                assert seen == sorted(reference.items)
            await self.stream.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        try:
            if self.stream is not None:
                self.run(ending())
        finally:
            self.loop.close()


Streams.TestCase.settings = settings(
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
TestStreams = Streams.TestCase

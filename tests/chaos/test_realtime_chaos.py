"""Sites in real time with a fault every 0.5 to 30 s, in virtual time and without sockets.

`ENERGY_LIVE_REALTIME_HOURS=5` runs the long form; `nox -s chaos -- realtime` does, and the one on a broker.
"""

import asyncio
import os
import random

import pytest

from energy_core.stream.merge import merge
from energy_core.stream.vocabulary import Kind, State
from tests.servers.realtime_world import Account, World

pytestmark = pytest.mark.virtual_time

HOURS = float(os.environ.get("ENERGY_LIVE_REALTIME_HOURS", "0.4"))
SEEDS = int(os.environ.get("ENERGY_LIVE_SEEDS", "2")) if HOURS < 1 else 1
HEALING_S = 1500.0


class Faults:
    """Makes one fault after the other, each of which ends by itself."""

    def __init__(self, world, rng):
        self._world, self._rng = world, rng
        self._tasks = set()

    async def run(self):
        """Make faults until cancelled; then wait until all of them are over.

        None is cut short: an interruption behind the broker of less than 5 s cannot be noticed.
        """
        kinds = [
            *(self.drop, self.drop, self.broker_down, self.offline, self.offline, self.boot),
            *(self.nonsense, self.null, self.api_down, self.obstacle, self.replaced, self.forbidden),
            self.late_logs,
        ]
        try:
            while True:
                await asyncio.sleep(self._rng.uniform(0.5, 30.0))
                task = asyncio.create_task(self._rng.choice(kinds)())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            await asyncio.gather(*self._tasks)

    def _site(self):
        return self._rng.choice(self._world.sites)

    async def drop(self):
        self._world.drop()

    async def broker_down(self):
        self._world.down = True
        self._world.drop()
        try:
            await asyncio.sleep(self._rng.uniform(0.5, 90.0))
        finally:
            self._world.down = False

    async def offline(self):
        """A gateway without internet; VRM gets its logs later, or never."""
        site, begun = self._site(), self._world.second
        site.gateway.online, site.logs_to_vrm = False, False
        try:
            await asyncio.sleep(self._rng.uniform(8.0, 300.0))
        finally:
            site.gateway.online, site.logs_to_vrm = True, True
            if self._rng.random() < 0.6:
                arrives = self._world.now + self._rng.uniform(1.0, 200.0)
                for minute in range(begun // 60, self._world.second // 60 + 1):
                    if begun <= minute * 60 + 13 <= self._world.second and minute not in site.logs:
                        site.log(minute, arrives)

    async def boot(self):
        site = self._site()
        site.gateway.online = False
        try:
            await asyncio.sleep(self._rng.uniform(8.0, 40.0))
        finally:
            site.gateway.online = True
            for topic, body in site.gateway.boot():
                self._world.send(topic, body)

    async def nonsense(self):
        portal_id = self._site().gateway.portal_id
        for path, body in (
            ("system/0/Ac/Grid/L1/Power", b"text"),
            ("system/0/Ac/Grid/L1/Power", b'{"value": [1]}'),
            ("settings/0/Secret", b'{"value": 1}'),
            ("heartbeat", b'{"value": 5}'),
            ("full_publish_completed", b'{"value": 1, "full-publish-completed-echo": "another"}'),
            ("x" * 500, b"y" * 100_000),
        ):
            self._world.send(f"N/{portal_id}/{path}", body)
        self._world.send("N/stranger/system/0/Dc/Pv/Power", b'{"value": 1}')

    async def null(self):
        """A second phase appears, and goes away."""
        overrides = self._site().gateway.overrides
        overrides["system/0/Ac/Grid/L2/Power"] = 0.0
        try:
            await asyncio.sleep(self._rng.uniform(1.0, 60.0))
        finally:
            overrides["system/0/Ac/Grid/L2/Power"] = None

    async def api_down(self):
        self._world.api_down = True
        try:
            await asyncio.sleep(self._rng.uniform(1.0, 300.0))
        finally:
            self._world.api_down = False

    async def obstacle(self):
        site = self._site()
        site.obstacle = "real time is switched off for this site in VRM"
        try:
            await asyncio.sleep(self._rng.uniform(60.0, 200.0))
        finally:
            site.obstacle = ""

    async def replaced(self):
        self._site().gateway.portal_id = f"c0619a{self._rng.randrange(10**6):06d}"

    async def forbidden(self):
        portal_id = self._site().gateway.portal_id
        self._world.forbidden.add(portal_id)
        self._world.drop()
        try:
            await asyncio.sleep(self._rng.uniform(1.0, 60.0))
        finally:
            self._world.forbidden.discard(portal_id)
            self._world.drop()  # otherwise the topics are asked for again after 15 minutes

    async def late_logs(self):
        site = self._site()
        site.logs_to_vrm = False
        begun = self._world.second
        try:
            await asyncio.sleep(self._rng.uniform(30.0, 200.0))
        finally:
            site.logs_to_vrm = True
            for minute in range(begun // 60, self._world.second // 60 + 1):
                if begun <= minute * 60 + 13 <= self._world.second and minute not in site.logs:
                    site.log(minute, self._world.now + self._rng.uniform(1.0, 500.0))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_truth_is_what_was_delivered_and_what_was_reported(seed):
    """Every second of every site is delivered, covered by a minute of VRM's record, or inside a gap event.

    Nothing is delivered twice, nothing that was delivered is reported, the source never ends.
    """
    rng = random.Random(f"realtime/{seed}")
    world, account = World(3, seed=seed), Account()
    running = asyncio.create_task(world.run())
    faults = asyncio.create_task(Faults(world, rng).run())
    async with merge(world.source(), clock=world.clock) as events:

        async def read():
            async for event in events:
                account.take(event)

        reading = asyncio.create_task(read())
        await asyncio.sleep(HOURS * 3600.0)
        faults.cancel()
        await asyncio.wait([faults])
        await asyncio.sleep(HEALING_S)
        end = world.second
        status = events.status
        for task in (reading, running):
            task.cancel()
        await asyncio.wait([reading, running])
    for site in world.sites:
        assert account.missing(site, end - 5) == []
        assert account.doubled(site) == []
        assert account.reported_and_live(site) == []
        assert len(account.live[site.id]) > 0.2 * HOURS * 3600.0
    assert {each.state for each in status.values()} == {State.LIVE}
    assert not any(each.pending for each in status.values())
    assert all(len(at) for at in (account.states, account.minutes))
    seqs = {}
    for event in account.events:
        assert event.seq == seqs.get(event.source, 0) + 1
        seqs[event.source] = event.seq
    late = [each for each in account.events if each.kind is Kind.READING]
    newest = {}
    for event in late:
        assert event.late or event.time >= newest.get(event.source, event.time)
        newest[event.source] = max(newest.get(event.source, event.time), event.time)
    assert {payload[:20] for _, _, payload in world.keepalives} == {b'{"keepalive-options"'}

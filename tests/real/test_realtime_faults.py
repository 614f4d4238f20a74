"""Sites in real time on a real mosquitto, over TLS and WebSocket, with faults all the time.

`ENERGY_LIVE_REALTIME_MINUTES=20` is the long form, a fault every 0.5 to 30 s: `nox -s chaos -- realtime`.
"""

import asyncio
import json
import os
import random
import signal
import threading

from energy_core import Kind
from energy_core.stream.vocabulary import State
from energy_live.simulator.faults import answer
from tests.real.test_realtime import FAST, authority, followed, realtime, simulated, trusting  # noqa: F401  (fixtures)
from tests.servers.real_programs import until
from vrm_async.realtime_values import meaning

MINUTES = float(os.environ.get("ENERGY_LIVE_REALTIME_MINUTES", "0.13"))
LONG = MINUTES >= 1.0
PAUSE_S = 30.0 if LONG else 1.0


class Faults:
    """Makes one fault after the other on a running simulator."""

    def __init__(self, simulator, rng):
        self._simulator, self._rng = simulator, rng
        self.made = []

    async def run(self, seconds):
        """Make faults for some time; all of them are over at the end."""
        kinds = [self.restart, self.pause, self.offline, self.boot, self.flood, self.nonsense, self.api]
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        turn = 0
        while loop.time() < end:
            await asyncio.sleep(self._rng.uniform(0.5, PAUSE_S))
            kind = kinds[turn % len(kinds)] if not LONG else self._rng.choice(kinds)
            turn += 1
            self.made.append(kind.__name__)
            await kind()

    def _gateway(self):
        return self._rng.choice([self._simulator.gateways.by_site[each] for each in self._simulator.site_ids])

    async def restart(self):
        broker = self._simulator.broker
        await broker.stop()
        await asyncio.sleep(self._rng.uniform(0.1, 5.0 if LONG else 0.5))
        await broker.start()

    async def pause(self):
        self._simulator.broker.pause(signal.SIGSTOP)
        await asyncio.sleep(self._rng.uniform(0.2, 8.0 if LONG else 1.0))
        self._simulator.broker.pause(signal.SIGCONT)

    async def offline(self):
        gateway = self._gateway()
        gateway.online = False
        await asyncio.sleep(self._rng.uniform(6.0, 40.0) if LONG else 1.0)
        gateway.online = True

    async def boot(self):
        gateway = self._gateway()
        gateway.online = False
        await asyncio.sleep(self._rng.uniform(6.0, 20.0) if LONG else 1.0)
        gateway.online = True
        self._simulator.gateways.publish(gateway.boot())

    async def flood(self):
        """Other clients ask for everything, too."""
        loop, gateway = asyncio.get_running_loop(), self._gateway()
        for _ in range(20):
            self._simulator.gateways.publish(gateway.keepalive(b"", loop.time(), self._simulator.now()))
            await asyncio.sleep(0.02)

    async def nonsense(self):
        portal_id = self._gateway().portal_id
        self._simulator.gateways.publish(
            (f"N/{portal_id}/{path}", body)
            for path, body in (
                ("system/0/Ac/Grid/L1/Power", b'{"value": "text"}'),
                ("system/0/Dc/Battery/Soc", b"[1, 2]"),
                ("system/0/Dc/Pv/Power", b'{"value": 1, "x": "' + b"y" * 100_000 + b'"}'),
                ("heartbeat", b'{"value": {"a": 1}}'),
                ("full_publish_completed", b"null"),
                ("system/0/Dc/Battery/Power", b""),
            )
        )

    async def api(self):
        self._simulator.faults.add(answer(503), times=self._rng.randrange(1, 4))


class Truth:
    """What the broker was given: number, site, second and topic."""

    def __init__(self, simulator):
        self._simulator = simulator
        self._sites = {simulator.gateways.by_site[each].portal_id: each for each in simulator.site_ids}
        self.messages = []
        simulator.gateways.on_published = self.take

    def take(self, topic, payload):
        """Note a message of a system's value."""
        _, portal_id, path = topic.split("/", 2)
        if portal_id in self._sites and meaning(path) is not None and len(payload) < 1000:
            try:
                value = json.loads(payload)["value"]
            except (ValueError, TypeError, KeyError):
                return
            if isinstance(value, int | float):
                self.messages.append((self._sites[portal_id], path, float(value), self._simulator.now()))

    def missing(self, seen, pending):
        """Return the messages that were neither delivered, nor covered by a minute, nor reported."""
        delivered, covered = {}, {}
        for event in seen:
            site, time = event.source.site, event.time.timestamp()
            spans = covered.setdefault(site, [])
            if event.kind is Kind.READING and "/rt/" in event.id:
                for path, value in event.raw.items():
                    delivered.setdefault((site, path, value), []).append(time)
            elif event.source.instance:
                continue
            elif event.kind is Kind.GAP:
                spans.append((event.detail.start.timestamp(), event.detail.end.timestamp()))
            elif event.kind is Kind.READING:
                minute = int(event.id.rpartition("/")[2]) // 60 * 60
                spans.append((minute, minute + 60))
        for source, spans in pending.items():
            covered.setdefault(source.site, []).extend(spans)
        return [
            (site, path, value, at)
            for site, path, value, at in self.messages
            if not any(abs(time - at) < 12.0 for time in delivered.get((str(site), path, value), ()))
            and not any(start - 1.0 <= at <= end + 1.0 for start, end in covered.get(str(site), ()))
        ]


async def test_no_message_is_lost_without_a_word(authority, trusting, tmp_path):  # noqa: F811
    """What was published is in a reading, in a minute of VRM's record, or inside a gap event or pending span.

    The sites live at the end, the account never ended, and no thread is left.
    """
    rng = random.Random(19)
    times = {} if LONG else FAST
    async with simulated(authority, tmp_path) as simulator:
        faults, sources = Faults(simulator, rng), []
        followed_sites = followed(simulator, trusting=trusting, interval_s=5.0, sources=sources, **times)
        async with followed_sites as (events, seen):
            await until(lambda: all(realtime(seen, site) for site in simulator.site_ids), 120.0)
            truth = Truth(simulator)
            await faults.run(MINUTES * 60.0)
            last = simulator.now()

            def back():
                newest = {
                    each.source.site: each.time.timestamp()
                    for each in seen
                    if "/rt/" in each.id and not each.source.instance
                }
                return all(newest.get(str(site), 0.0) > last + 2.0 for site in simulator.site_ids)

            await until(back, 180.0)
            if LONG:
                await asyncio.sleep(150.0)
            simulator.gateways.on_published = None
            await asyncio.sleep(1.0)
            pending = {
                id: [(start.timestamp(), end.timestamp()) for start, end in record.pending]
                for id, record in sources[0]._records.items()  # noqa: A001
            }
            states = {status.state for status in events.status.values()}
            notes = {name: count for status in events.status.values() for name, count in status.notes.items()}
    assert len(truth.messages) > 20
    assert truth.missing(seen, pending) == []
    assert states <= {State.LIVE, State.BACKFILLING}
    assert sum(each.kind is Kind.READING and "/rt/" not in each.id for each in seen) >= 2
    ids = [(each.source, each.id, each.revision) for each in seen if "/rt/" in each.id]
    assert len(ids) == len(set(ids))
    if "nonsense" in faults.made:
        assert any(name.startswith("payloads left out") for name in notes)
    assert not [each for each in threading.enumerate() if "mqtt" in each.name.lower()]
    print(f"{len(faults.made)} faults, {len(truth.messages)} messages, {len(seen)} events, {notes}")  # noqa: T201  (figures of the long form)

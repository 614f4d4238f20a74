"""Gateways behind VRM's MQTT broker: what they publish, and when. After Victron's dbus-flashmq.

`SimulatedGateway` decides, without I/O; `Gateways` connects all of them to a broker.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import define, field

from energy_core.clock import Clock
from energy_live.simulator.clock import Timeline
from energy_live.simulator.household.household import MeterValues
from energy_live.simulator.mosquitto import GATEWAYS, Mosquitto
from energy_live.simulator.vrm.sites import Site

ALIVE_S: Final = 60.0
"""Seconds after the last keepalive in which a gateway publishes."""
HEARTBEAT_S: Final = 3.0
"""Seconds between two heartbeats."""
FULL_PUBLISHES: Final = 3
"""Most full publishes in a second."""
TICK_S: Final = 1.0
"""Seconds between two computations of the system's values."""
RECONNECT_S: Final = 0.2

Value = float | str | None
Published = tuple[str, bytes]
"""Topic and payload."""

_ECHO: Final = "full-publish-completed-echo"


@define(kw_only=True, eq=False)
class SimulatedGateway:
    """One gateway. Callers pass `now` in monotonic seconds and `unix` in Unix seconds."""

    portal_id: str
    values: Callable[[], Mapping[str, Value]]
    """Returns the present values by topic below `N/<portal id>/`."""
    online: bool = True
    """Whether it reaches VRM: otherwise nothing arrives and nothing is published."""
    realtime_on: bool = True
    """Whether its setting VRM Portal allows it to publish."""
    echo: str = "echo"
    """`echo`: completes a full publish with the client's echo (Venus OS 3.50 and later); `plain`: without;
    `never`: no message completes it."""
    skew_s: float = 0.0
    """Seconds that its clock is ahead."""
    heartbeats: bool = True
    """Whether VRM forwards its heartbeats."""
    overrides: dict[str, Value] = field(factory=dict)
    """Values by topic that replace the present ones; None is a null."""
    _alive_until: float = field(default=-1e9, init=False)
    _heartbeat_at: float = field(default=-1e9, init=False)
    _fulls: list[float] = field(factory=list, init=False)
    _sent: dict[str, Value] = field(factory=dict, init=False)

    def boot(self) -> list[Published]:
        """Restart: it knows of no client, and says that keepalives exist."""
        self._alive_until = self._heartbeat_at = -1e9
        self._sent.clear()
        return [(f"N/{self.portal_id}/keepalive", b'{"value": 1}')] if self._publishes else []

    @property
    def _publishes(self) -> bool:
        return self.online and self.realtime_on

    def keepalive(self, payload: bytes, now: float, unix: float) -> list[Published]:
        """Take a keepalive; return what is published at once."""
        if not self._publishes:
            return []
        self._alive_until = now + ALIVE_S
        options = _options(payload)
        if "suppress-republish" in options:
            return []
        self._fulls = [each for each in self._fulls if each > now - 1.0]
        if len(self._fulls) >= FULL_PUBLISHES:
            return []
        self._fulls.append(now)
        self._sent = dict(self._present())
        published = [self._message(path, value) for path, value in self._sent.items()]
        if self.echo != "never":
            echoes = [option[_ECHO] for option in options if isinstance(option, dict) and _ECHO in option]
            done: dict[str, object] = {"value": int(unix + self.skew_s)}
            if self.echo == "echo" and echoes:
                done[_ECHO] = echoes[-1]
            published.append((f"N/{self.portal_id}/full_publish_completed", json.dumps(done).encode()))
        return published

    def tick(self, now: float, unix: float) -> list[Published]:
        """Return what is published now: changed values, and the heartbeat."""
        if not self._publishes or now > self._alive_until:
            return []
        published = []
        if self.heartbeats and now >= self._heartbeat_at + HEARTBEAT_S:
            self._heartbeat_at = now
            published.append(self._message("heartbeat", int(unix + self.skew_s)))
        for path, value in self._present().items():
            if path not in self._sent or self._sent[path] != value:
                self._sent[path] = value
                published.append(self._message(path, value))
        return published

    def forget(self, path: str) -> list[Published]:
        """Let a device go away: an empty payload, once."""
        self.overrides[path] = None
        self._sent[path] = None
        return [(f"N/{self.portal_id}/{path}", b"")] if self._publishes else []

    def _present(self) -> Mapping[str, Value]:
        return {**self.values(), **self.overrides}

    def _message(self, path: str, value: Value) -> Published:
        return f"N/{self.portal_id}/{path}", json.dumps({"value": value}).encode()


def _options(payload: bytes) -> list[object]:
    try:
        options = json.loads(payload or b"{}").get("keepalive-options", [])
    except (ValueError, AttributeError):
        return []
    return options if isinstance(options, list) else []


def system_values(site: Site, moment: MeterValues) -> dict[str, Value]:
    """Return what the gateway of a site publishes of its system and meters; absent phases are null."""
    found: dict[str, Value] = {
        f"system/0/Ac/{name}/{phase}/Power": None
        for name in ("Grid", "Consumption", "Genset", "PvOnGrid", "PvOnOutput", "PvOnGenset")
        for phase in ("L1", "L2", "L3")
    }
    found["system/0/Dc/Pv/Power"] = None
    for attribute in site.attributes:
        if attribute.service == "system" and attribute.path is not None:
            found[f"system/0{attribute.path}"] = site.value(attribute, moment)
    for name in ("Grid", "Consumption"):
        found[f"system/0/Ac/{name}/NumberOfPhases"] = site.phases
    found["system/0/Dc/Battery/Power"] = moment.battery_w
    found["system/0/Dc/Battery/Temperature"] = moment.temperature_c
    return found


def energy_counters(site: Site, since: float, now: float) -> dict[str, Value]:
    """Return the counters of a site's devices in kWh, which grow with the household's energies."""
    flows = site.household.energy(since, now)
    found: dict[str, Value] = {}
    for instance in site.instances.get("grid", ()):
        found[f"grid/{instance}/Ac/Energy/Forward"] = round(2317.05 + flows.grid_import, 2)
        found[f"grid/{instance}/Ac/Energy/Reverse"] = round(3894.8 + flows.grid_export, 2)
    for instance in site.instances.get("pvinverter", ()):
        found[f"pvinverter/{instance}/Ac/Energy/Forward"] = round(9120.44 + flows.pv, 2)
    for instance in site.instances.get("solar", ()):
        found[f"solarcharger/{instance}/Yield/System"] = round(7410.2 + flows.pv, 2)
    return found


class Gateways:
    """The gateways of all sites, connected to a broker.

    Args:
        sites: The sites.
        timeline: Household time.
        clock: Source of time.
        broker: The broker, running.
    """

    def __init__(self, sites: Iterable[Site], timeline: Timeline, clock: Clock, broker: Mosquitto) -> None:
        self.by_site: dict[int, SimulatedGateway] = {}
        """By the number of the site."""
        self.on_published: Callable[[str, bytes], None] | None = None
        """Called with each message once the broker has it; a test's record of the truth."""
        self._timeline = timeline
        self._clock = clock
        self._broker = broker
        self._task: asyncio.Task[None] | None = None
        self._queue: asyncio.Queue[Published] = asyncio.Queue()
        for site in sites:
            self.by_site[site.id] = SimulatedGateway(
                portal_id=site.identifier, values=self._values_of(site, timeline.start)
            )

    def _values_of(self, site: Site, since: float) -> Callable[[], Mapping[str, Value]]:
        def values() -> Mapping[str, Value]:
            now = self._timeline.now()
            return system_values(site, site.household.at(now)) | energy_counters(site, since, now)

        return values

    def publish(self, messages: Iterable[Published]) -> None:
        """Publish messages as soon as the broker is connected."""
        for each in messages:
            self._queue.put_nowait(each)

    def start(self) -> None:
        """Connect, and stay connected."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="simulated gateways")

    async def stop(self) -> None:
        """Disconnect."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        import aiomqtt  # noqa: PLC0415  (an extra)

        while True:
            try:
                async with aiomqtt.Client(
                    "127.0.0.1", self._broker.port, username=GATEWAYS, password=self._broker.password
                ) as client:
                    await client.subscribe("R/#")
                    self._queue = asyncio.Queue()  # what could not be published is lost
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._listen(client))
                        tasks.create_task(self._tick())
                        await self._send(client)
            except* (aiomqtt.MqttError, OSError):
                await self._clock.sleep(RECONNECT_S)

    async def _listen(self, client: object) -> None:
        async for message in client.messages:  # type: ignore[attr-defined]
            _, portal_id, *path = message.topic.value.split("/")
            for gateway in self.by_site.values():
                if gateway.portal_id == portal_id and path == ["keepalive"]:
                    now, unix = self._clock.monotonic(), self._timeline.now()
                    self.publish(gateway.keepalive(message.payload, now, unix))

    async def _tick(self) -> None:
        while True:
            now, unix = self._clock.monotonic(), self._timeline.now()
            for gateway in self.by_site.values():
                self.publish(gateway.tick(now, unix))
            await self._clock.sleep(TICK_S - (self._clock.monotonic() - now) % TICK_S)

    async def _send(self, client: object) -> None:
        while True:
            topic, payload = await self._queue.get()
            await client.publish(topic, payload)  # type: ignore[attr-defined]
            if self.on_published is not None:
                self.on_published(topic, payload)

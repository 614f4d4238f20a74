"""`MqttOutput`: publishes the present state to an MQTT broker, with Home Assistant's discovery.

docs/how-to/home-assistant.md shows how to use it.
"""

from __future__ import annotations

import asyncio
import logging
import random as _random
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from energy_core.clock import Clock, SystemClock
from energy_core.printable import printable
from energy_core.retry_after import full_jitter
from energy_core.secret import Secret
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Quantity
from energy_live.outputs.home_assistant import OFFLINE, ONLINE, DeviceKey, MqttMessage
from energy_live.outputs.mqtt_state import PublishedState, SiteKey
from energy_live.outputs.mqtt_target import MqttTarget
from energy_live.outputs.output import OutputError, RefusedEvent

if TYPE_CHECKING:
    from energy_live.outputs.mqtt_client import MqttClient

_log: Final = logging.getLogger("energy_live.outputs")

_LONGEST_RETRY_S: Final = 30.0
_MARKER_S: Final = 10.0
"""Seconds a broker may take to send what it has retained."""


class MqttOutput:
    """Publishes the newest value of each quantity to an MQTT broker, and makes entities in Home Assistant.

    Every quantity has a topic ``BASE/VENDOR/SITE/INSTANCE/QUANTITY`` with ``{"value", "unit", "time"}`` as
    JSON. Only the present counts: backfilled and late readings, those older than a published one and those
    that waited longer than `expire_after` are not published. Energies are, whatever their age, because they
    are counters. Values are retained until they expire, energies for good. Version 5 of MQTT is used if the
    broker knows it; with 3.1.1, only energies are retained and refused topics cannot be noticed.

    Each instance of a site or product is a device of Home Assistant, with the name of its site, which is also
    the suggested area. Unavailable are all values while the program is not connected, those of a site that is
    stale, and each one that does not come any more. The discovery payloads are retained on the broker, which
    also remembers the devices for the next start; those that are gone are deleted.

    Needs the extra `mqtt`. The connection is kept and restored also while there are no events.

    Args:
        url: ``mqtts://USER@HOST:PORT`` (TLS, the certificate is verified) or ``mqtt://``, without a password.
            Options: `cafile` (a file of trusted certificates), `expire_after` (seconds, default 1800), `base`
            (default energy-live; unique among programs that share a broker), `discovery` (default
            homeassistant).
        password: Password of the user.
        names: Names of sites and products by vendor and number, such as ``{("vrm", "123"): "Home"}``; read
            when a device is announced.
        sites: Returns vendor and number of the sites and products that are read now; the devices of others
            are deleted. None: they are not known, and nothing is deleted.
        version: Version of the program, shown in Home Assistant.
        clock: Source of time, for tests.
        random: Returns numbers in [0, 1), for tests.

    Raises:
        ValueError: The URL is not valid, or holds a password.
    """

    idempotent = True

    def __init__(
        self,
        url: str,
        *,
        password: Secret | None = None,
        names: Mapping[SiteKey, str] | None = None,
        sites: Callable[[], AbstractSet[SiteKey] | None] = lambda: None,
        version: str = "",
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._target = MqttTarget.of_url(url)
        self._topics = self._target.topics
        self._password = password
        self._sites = sites
        self._kept: AbstractSet[SiteKey] | None = None
        """The sites whose devices were kept when others were deleted on this connection."""
        self._clock = clock or SystemClock()
        self._random = random
        self._client: MqttClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._version5 = True
        self._attempt = 0  # since the last connection
        self._state = PublishedState(
            self._topics,
            names={} if names is None else names,
            expire_after_s=self._target.expire_after_s,
            version=version,
        )

    async def open(self) -> None:
        """Connect, and read what the broker remembers. Cancelling is safe.

        Raises:
            OutputError: No connection, a refused login or topic, or a certificate that cannot be trusted.
        """
        try:
            import aiomqtt  # noqa: F401, PLC0415  (an extra)
        except ImportError:
            what = 'MQTT needs an extra: pip install "energy-live[mqtt]"'
            raise OutputError(what, permanent=True) from None
        await self.close()
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._serve(ready), name=f"energy output {self._target.host}")
        try:
            await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
            (ready if ready.done() else self._task).result()
        except BaseException:
            await self.close()
            raise

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> Sequence[RefusedEvent]:
        """Publish what is new in a batch. Cancelling is safe.

        Returns:
            Readings with a value whose topic the broker refused.

        Raises:
            OutputError: There is no connection, or the broker refused a topic of a discovery payload.
        """
        client = self._client
        if client is None:
            raise OutputError(f"no connection to {self._target.place}")
        await self._remove_others(client)
        readings = self._state.newest(batch, self._clock.utcnow())
        await self._publish(client, self._state.changes(batch, position))
        return await self._publish_states(client, readings)

    async def close(self) -> None:
        """Say on the broker that the program is gone, and disconnect. Cancelling disconnects at once."""
        task, client = self._task, self._client
        if task is None:
            return
        try:
            if client is not None:
                with suppress(OutputError):
                    await self._publish(client, [MqttMessage(self._topics.status, OFFLINE)])
        finally:
            self._task = self._client = None
            task.cancel()
            await asyncio.wait({task})

    # --- the connection ------------------------------------------------------------------------------------

    async def _serve(self, ready: asyncio.Future[None]) -> None:
        """Keep a connection, and answer Home Assistant. `ready` gets the result of the first attempt."""
        while True:
            try:
                await self._connection(ready)
            except OutputError as error:
                self._client = None
                if not ready.done():
                    ready.set_exception(error)
                    return
                if not self._attempt:
                    _log.warning("%s; trying again", error)
            wait_s = full_jitter(self._attempt, base=1.0, cap=_LONGEST_RETRY_S, random=self._random)
            self._attempt += 1
            await self._clock.sleep(wait_s)

    async def _connection(self, ready: asyncio.Future[None]) -> None:
        """Hold one connection until it is lost.

        Raises:
            OutputError: It was lost, or could not be made.
        """
        from energy_live.outputs import mqtt_client  # noqa: PLC0415  (needs an extra)

        context = await asyncio.to_thread(self._target.ssl_context)
        try:
            async with mqtt_client.MqttClient(
                self._target, password=self._password, context=context, version5=self._version5
            ) as client:
                await self._remember(client)
                self._kept = None
                await self._remove_others(client)
                await self._publish(client, self._state.everything(self._clock.utcnow()))
                self._client, self._attempt = client, 0
                if not ready.done():
                    ready.set_result(None)
                async for message in client.messages:
                    # Home Assistant has started, and may have missed what is not retained.
                    started = message.topic.value == self._topics.home_assistant_status
                    if started and _text(message.payload) == ONLINE:
                        await self._publish(client, self._state.everything(self._clock.utcnow()))
        except mqtt_client.MqttError as error:
            if self._version5 and mqtt_client.is_version_refused(error):
                self._version5 = False
                await self._connection(ready)
                return
            raise mqtt_client.output_error(error, self._target) from None
        finally:
            self._client = None

    async def _remember(self, client: MqttClient) -> None:
        """Read from the broker the devices that were announced, and the energies that were published."""
        topics, marker = self._topics, f"{self._topics.base}/{token_hex(8)}"
        wanted = [topics.configs, topics.states, marker]
        codes = await client.subscribe([(each, 1) for each in [*wanted, topics.home_assistant_status]])
        if any(getattr(code, "value", code) >= 128 for code in codes):
            what = f"{self._target.place} does not let {self._target.user or 'this client'} subscribe to"
            raise OutputError(f"{what} {topics.base}/# and {topics.discovery}/#", permanent=True)
        # The broker sends retained messages at once, so that what comes before the marker is all of them.
        await self._publish(client, [MqttMessage(marker, "", retain=False)])
        try:
            async with asyncio.timeout(_MARKER_S):
                async for message in client.messages:
                    if message.topic.value == marker:
                        break
                    now = self._clock.utcnow()
                    self._state.remember(message.topic.value, _text(message.payload), now)
        except TimeoutError:
            what = f"{self._target.place} does not deliver what is published to {topics.base}/#"
            raise OutputError(f"{what}; let {self._target.user or 'this client'} read it") from None
        await client.unsubscribe(wanted)

    async def _remove_others(self, client: MqttClient) -> None:
        """Delete the devices of sites and products that are no longer read."""
        sites = self._sites()
        if sites is not None and sites != self._kept:
            await self._publish(client, self._state.removal(sites))
            self._kept = sites

    # --- publishing ----------------------------------------------------------------------------------------

    async def _publish(self, client: MqttClient, messages: Sequence[MqttMessage]) -> None:
        """Publish messages that Home Assistant cannot do without.

        Raises:
            OutputError: The connection was lost, or the broker refuses a topic.
        """
        from energy_live.outputs import mqtt_client  # noqa: PLC0415  (needs an extra)

        try:
            refused = await client.publish_all(messages)
        except mqtt_client.MqttError as error:
            raise mqtt_client.output_error(error, self._target) from None
        for place, reason in refused.items():
            topics = f"{self._topics.base}/# and {self._topics.discovery}/#"
            raise OutputError(
                f"{self._target.place} refuses the topic {messages[place].topic}, {reason}; "
                f"let {self._target.user or 'this client'} write to {topics}",
                permanent=True,
            )

    async def _publish_states(
        self, client: MqttClient, readings: Mapping[tuple[DeviceKey, Quantity], Event]
    ) -> Sequence[RefusedEvent]:
        from energy_live.outputs import mqtt_client  # noqa: PLC0415  (needs an extra)

        events = list(readings.values())
        try:
            reasons = await client.publish_all([self._state.state_message(*key) for key in readings])
        except mqtt_client.MqttError as error:
            raise mqtt_client.output_error(error, self._target) from None
        # An event is refused once, however many of its values are.
        refused = {
            id(events[place]): RefusedEvent(events[place], f"the broker refuses its topic, {reason}")
            for place, reason in reasons.items()
        }
        return list(refused.values())

    @printable
    def __repr__(self) -> str:
        state = "connected" if self._client is not None else "not connected"
        return f"<MqttOutput {self._target.host}:{self._target.port} {state}>"


def _text(payload: object) -> str:
    return payload.decode(errors="replace") if isinstance(payload, bytes) else ""

"""The MQTT connection of `MqttOutput`: many messages in flight, and refusals by the broker's reason code.

Imported when an output is opened, because it needs the extra `mqtt`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import aiomqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from energy_live.outputs.home_assistant import OFFLINE, MqttMessage
from energy_live.outputs.output import OutputError

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from paho.mqtt.reasoncodes import ReasonCode

    from energy_core.secret import Secret
    from energy_live.outputs.mqtt_target import MqttTarget

MqttError = aiomqtt.MqttError

_CHUNK: Final = 100
"""Messages that are passed to the broker before the event loop runs again."""
_TIMEOUT_S: Final = 10.0
"""Seconds a broker may take to acknowledge."""
_GOODBYE_S: Final = 2.0
"""Seconds a broker may take to close the connection."""
_KEEPALIVE_S: Final = 30
"""A broker publishes the will of a client that was silent for one and a half times as long."""

_LOGIN_REFUSED: Final = frozenset({4, 5, 134, 135})
_VERSION_REFUSED: Final = frozenset({1, 132})
"""Reason codes of a CONNACK, in version 3.1.1 and in version 5."""
_FAILURE: Final = 128
"""Reason codes from here on are failures."""


class _Batch:
    """Messages that were published together."""

    def __init__(self) -> None:
        self.pending = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refused: dict[int, str] = {}
        """Why, by the place of the message."""


class MqttClient(aiomqtt.Client):
    """A connection to a broker; an async context manager.

    aiomqtt drops the reason code with which a broker acknowledges a message, and a broker that refuses a
    topic says so nowhere else. Therefore `publish_all` reads the acknowledgements itself.

    Args:
        target: The broker.
        password: For the user of the target.
        context: For TLS.
        version5: Whether to speak version 5 of the protocol, otherwise 3.1.1, which knows no reasons.
    """

    def __init__(
        self,
        target: MqttTarget,
        *,
        password: Secret | None,
        context: ssl.SSLContext | None,
        version5: bool,
    ) -> None:
        version = aiomqtt.ProtocolVersion
        super().__init__(
            target.host,
            target.port,
            username=target.user,
            password=password.reveal() if password is not None and target.user is not None else None,
            protocol=version.V5 if version5 else version.V311,
            will=aiomqtt.Will(target.topics.status, OFFLINE, qos=1, retain=True),
            timeout=_TIMEOUT_S,
            keepalive=_KEEPALIVE_S,
            tls_context=context,
        )
        self.version5 = version5
        self._batches: dict[int, tuple[_Batch, int]] = {}
        """By message number: the batch of an unacknowledged message, and its place there."""
        self._expiries: dict[int, Properties] = {}

    async def __aenter__(self) -> Self:
        """Connect. Cancelling waits until the attempt has ended, at most fifteen seconds.

        Raises:
            MqttError: The broker cannot be reached, or refuses the connection.
        """
        # aiomqtt connects in a thread, and leaves the socket open when it is cancelled or gets no answer.
        connecting = asyncio.ensure_future(super().__aenter__())
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await asyncio.wait({connecting})
            if not connecting.cancelled():
                connecting.exception()
            self._client.disconnect()
            raise
        except MqttError:
            self._client.disconnect()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Disconnect; without goodbye if the connection is broken or the broker does not answer."""
        self.timeout = _GOODBYE_S
        try:
            await super().__aexit__(exc_type, exc, tb)
        except MqttError:
            self._client.disconnect()

    async def publish_all(self, messages: Sequence[MqttMessage]) -> Mapping[int, str]:
        """Publish messages and wait until the broker has all of them. Cancelling is safe.

        Returns:
            Why the broker refused a message, by its place in `messages`.

        Raises:
            MqttError: The connection broke, or the broker does not acknowledge.
        """
        batches: list[_Batch] = []
        try:
            for start in range(0, len(messages), _CHUNK):
                batches.append(_Batch())
                for place, message in enumerate(messages[start : start + _CHUNK], start):
                    self._publish(message, batches[-1], place)
                # One chunk stays in flight: its packets carry the TCP acknowledgements that a broker waits
                # for, which would be sent 40 ms later by themselves.
                if len(batches) > 1:
                    await self._acknowledged(batches[-2])
            if batches:
                await self._acknowledged(batches[-1])
        finally:
            if any(batch.pending for batch in batches):
                self._batches = {key: at for key, at in self._batches.items() if at[0] not in batches}
        return {place: reason for batch in batches for place, reason in batch.refused.items()}

    def _publish(self, message: MqttMessage, batch: _Batch, place: int) -> None:
        expires, retain, properties = message.expires_s, message.retain, None
        if expires is not None:
            retain = retain and self.version5
            properties = self._expiry(expires) if self.version5 else None
        info = self._client.publish(message.topic, message.payload, 1, retain, properties)
        if info.rc != MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "Could not publish message")
        self._batches[info.mid] = batch, place
        batch.pending += 1

    def _expiry(self, seconds: int) -> Properties:
        found = self._expiries.get(seconds)
        if found is None:
            found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            found.MessageExpiryInterval = seconds
            if len(self._expiries) < _CHUNK:
                self._expiries[seconds] = found
        return found

    async def _acknowledged(self, batch: _Batch) -> None:
        if not batch.pending:
            return
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait({batch.done, self._disconnected}, timeout=_TIMEOUT_S, return_when=first)
        if not batch.done.done():
            lost = self._disconnected.done()
            raise MqttError("the connection was lost" if lost else "the broker does not acknowledge")

    def _on_publish(
        self,
        client: Any,  # noqa: ANN401  (as in aiomqtt)
        userdata: Any,  # noqa: ANN401
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        pending = self._batches.pop(mid, None)
        if pending is None:
            super()._on_publish(client, userdata, mid, reason_code, properties)
            return
        batch, place = pending
        if reason_code.value >= _FAILURE:
            batch.refused[place] = str(reason_code)
        batch.pending -= 1
        if not batch.pending and not batch.done.done():
            batch.done.set_result(None)


def is_version_refused(error: MqttError) -> bool:
    """Return whether a broker does not know version 5 of the protocol."""
    return _code(error) in _VERSION_REFUSED


def output_error(error: MqttError, target: MqttTarget) -> OutputError:
    """Return the error of a connection with what to do about it."""
    text = " ".join(str(error).split())
    if _code(error) in _LOGIN_REFUSED:
        what = f"{target.place} refused the login of {target.user or 'a client without a user'}"
        return OutputError(f"{what}; set MQTT_PASSWORD or use a password file", permanent=True)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        what = f"the certificate of {target.place} cannot be trusted, {reason}"
        return OutputError(f"{what}; name its authority with ?cafile=FILE", permanent=True)
    if target.tls and "SSL" in text:
        return OutputError(f"{target.place} offers no TLS there; use the port that does", permanent=True)
    hint = " (does this port offer TLS?)" if target.tls and "reset" in text else ""
    return OutputError(f"no connection to {target.place}: {text}{hint}")


def _code(error: MqttError) -> int | None:
    code = getattr(error, "rc", None)
    value = getattr(code, "value", code)
    return (
        value if isinstance(error, aiomqtt.exceptions.MqttConnectError) and isinstance(value, int) else None
    )

"""Publishes events into the log: many in flight, done when the server has stored all of them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from energy_core.stream.event import Event
from energy_live.cluster.connection import ClusterConnection
from energy_live.cluster.problems import ClusterError
from energy_live.cluster.subjects import message_id, subject_of

_log: Final = logging.getLogger("energy_live.cluster")

_BYTES_IN_FLIGHT: Final = 4 * 1024 * 1024
_IN_FLIGHT: Final = 2000
_YIELD_EVERY: Final = 128
"""Messages after which the event loop sends them and reads acknowledgements."""
_LOOK_S: Final = 1.0
_SILENCE_S: Final = 5.0
"""Seconds without an acknowledgement after which the messages are published again."""
_HEADERS: Final = 256
"""Bytes of a message besides its event."""


class Publisher:
    """Publishes events; one for each lease.

    Args:
        connection: The connection.
        run: Identifies the holder of the lease, for events that have no identity of their own.
    """

    def __init__(self, connection: ClusterConnection, run: str) -> None:
        self._connection = connection
        self._run = run
        self.published = 0
        """Events stored by the server."""
        self.duplicates = 0
        """Further ones that it had already."""
        self.refused = 0
        """Events that are larger than a message may be even without `raw`; they are logged and left out."""
        self.stripped = 0
        """Events that were published without `raw`, because with it they are larger than a message may be."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish events in their order. Returns when the server has stored all of them.

        Cancelling is safe, as is publishing the same events again: the server recognises them.

        Raises:
            ClusterError: Some may not be stored.
        """
        for first in range(0, len(events), _IN_FLIGHT):
            await self._publish(events[first : first + _IN_FLIGHT])

    def _content(self, event: Event) -> bytes | None:
        most = self._connection.max_payload - _HEADERS
        content = event.to_json().encode()
        if len(content) <= most:
            return content
        content = event._replace(raw={}).to_json().encode()
        if len(content) <= most:
            self.stripped += 1
            return content
        self.refused += 1
        _log.error(
            "an event of %s is larger than a message may be, and is left out: %s", event.source, event.id
        )
        return None

    async def _publish(self, events: Sequence[Event]) -> None:
        connection, publish = self._connection, self._connection.client.publish
        acks, count, size = _Acks(), 0, 0
        reply = connection.on_reply(acks.take)
        try:
            for event in events:
                content = self._content(event)
                if content is None:
                    continue
                headers = {"Nats-Msg-Id": message_id(event, self._run)}
                await publish(subject_of(event.source), content, reply=reply, headers=headers)
                count += 1
                size += len(content)
                if size > _BYTES_IN_FLIGHT:
                    await self._all_acknowledged(acks, count, events[0])
                    size = 0
                elif not count % _YIELD_EVERY:
                    await asyncio.sleep(0)  # noqa: TID251  (not a wait)
            await self._all_acknowledged(acks, count, events[0])
        except (nats.errors.Error, OSError) as error:
            raise self._explain(error, events[0]) from None
        finally:
            connection.forget(reply)
        self.published += count - acks.duplicates
        self.duplicates += acks.duplicates

    def _explain(self, error: Exception, event: Event) -> ClusterError:
        return self._connection.explain(error, "publishing", subject=subject_of(event.source))

    async def _all_acknowledged(self, acks: _Acks, count: int, first: Event) -> None:
        """Wait until so many messages are acknowledged, while acknowledgements come."""
        acks.await_count(count)
        before, silent_s = acks.count, 0.0
        while not acks.done.is_set():
            try:
                async with asyncio.timeout(_LOOK_S):
                    await acks.done.wait()
            except TimeoutError as error:
                silent_s = silent_s + _LOOK_S if acks.count == before else 0.0
                before = acks.count
                denied = silent_s and self._connection.denied(subject_of(first.source))
                if denied or silent_s >= _SILENCE_S:
                    raise self._explain(error, first) from None
        if acks.error is not None:
            raise self._explain(acks.error, first)


class _Acks:
    """Counts the acknowledgements on one reply subject; which message each is for does not matter."""

    def __init__(self) -> None:
        self.count = self.duplicates = 0
        self.error: Exception | None = None
        self.done = asyncio.Event()
        self._wanted: int | None = None

    def await_count(self, count: int) -> None:
        """Set `done` once so many have come, or an error."""
        self._wanted = count
        if self.count < count and self.error is None:
            self.done.clear()
        else:
            self.done.set()

    def take(self, message: Msg) -> None:
        """Count one."""
        data = message.data
        if b'"error"' in data or not data:
            self._fail(message)
        else:
            self.count += 1
            self.duplicates += b'"duplicate"' in data
            if self.count == self._wanted:
                self.done.set()

    def _fail(self, message: Msg) -> None:
        try:
            nats.js.errors.APIError.from_error(json.loads(message.data)["error"])
        except nats.js.errors.APIError as error:
            self.error = error
        except (ValueError, LookupError, TypeError):
            self.error = nats.js.errors.NoStreamResponseError()
        self.done.set()

"""`LogReader`: one consumer of the log on the server: finds or creates it, reads, and acknowledges."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import nats.errors
import nats.js.errors
from attrs import frozen
from nats.aio.msg import Msg
from nats.js import api

from energy_live.cluster.connection import ClusterConnection
from energy_live.cluster.problems import ClusterError
from energy_live.cluster.subjects import PREFIX, name_of, token

_log: Final = logging.getLogger("energy_live.cluster")

MOST_UNACKNOWLEDGED: Final = 4000
"""Messages that the server sends before the first of them is acknowledged."""
_BATCH: Final = 500
_ACK_WAIT_S: Final = 30.0
"""Seconds after which the server sends a message again that was not acknowledged."""
_EXPIRES_S: Final = 20.0
_HEARTBEAT_S: Final = 2.0
_SILENCE_S: Final = 3 * _HEARTBEAT_S
"""Seconds without a heartbeat after which messages are requested again."""
_FORGOTTEN_S: Final = 600.0
"""Seconds after which the server forgets a consumer without a name."""


@frozen(kw_only=True)
class LogSelection:
    """Which part of the log a consumer reads."""

    account: str | None = None
    """Only this account."""
    sites: Sequence[str] = ()
    """Only these sites or products; empty: all."""
    name: str | None = None
    """Name of the durable consumer; None: the server forgets it."""
    start: datetime | None = None
    """Where to begin, aware."""

    def filters(self) -> list[str]:
        """Return the subjects that it reads."""
        account = "*" if self.account is None else token(self.account)
        sites = [token(each) for each in self.sites] or ["*"]
        return [f"{PREFIX}.*.{account}.{site}.*" for site in sites]

    def config(self) -> api.ConsumerConfig:
        """Return the consumer as the server creates it."""
        if self.start is not None:
            policy = api.DeliverPolicy.BY_START_TIME
        else:
            policy = api.DeliverPolicy.NEW if self.name is None else api.DeliverPolicy.ALL
        filters = self.filters()
        return api.ConsumerConfig(
            name=self.name,
            durable_name=self.name,
            deliver_policy=policy,
            opt_start_time=self.start,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT_S,
            max_ack_pending=MOST_UNACKNOWLEDGED,
            filter_subject=filters[0] if len(filters) == 1 else None,
            filter_subjects=filters if len(filters) > 1 else None,
            inactive_threshold=_FORGOTTEN_S if self.name is None else None,
        )


class LogReader:
    """Reads the log through one connection, for as long as that works.

    Args:
        connection: The connection.
        selection: What to read.
        acks: Reply subjects of the messages to acknowledge; outlives the reader.
    """

    def __init__(self, connection: ClusterConnection, selection: LogSelection, acks: deque[str]) -> None:
        self._connection = connection
        self._selection = selection
        self._stream = connection.stream
        self._consumer = ""
        self._acks = acks
        self._has_acks = asyncio.Event()
        self._arrived: deque[Msg] = deque()
        self._wake = asyncio.Event()

    async def open(self, newest: int) -> datetime | None:
        """Find or create the consumer.

        Args:
            newest: Place in the log of the last message that was read; 0: none.

        Returns:
            If the log's limits have removed messages before they were read: when the first one that is
            left was stored. Otherwise None.

        Raises:
            ClusterError: The log is missing, or no server answers, or it refuses.
        """
        js, selection = self._connection.js, self._selection
        try:
            info = await self._found()
            if info is None:
                info = await js.add_consumer(self._stream, selection.config())
            elif sorted(_filters_of(info.config)) != sorted(selection.filters()):
                raise ClusterError(
                    f"the consumer {selection.name} reads {', '.join(_filters_of(info.config))}: choose "
                    f"another name, or remove it with `nats consumer rm {self._stream} {selection.name}`",
                    permanent=True,
                )
            self._consumer = info.name
            log = await js.stream_info(self._stream)
            read = max(newest, 0 if info.ack_floor is None else info.ack_floor.stream_seq)
            if not read or log.state.first_seq <= read + 1:
                return None
            first = await js.get_msg(self._stream, seq=log.state.first_seq)
        except nats.js.errors.NotFoundError:
            raise ClusterError(
                f"the server has no stream {self._stream}: start a collector, or `energy-live cluster create`"
            ) from None
        except (nats.errors.Error, TimeoutError) as error:
            raise self._connection.explain(error, "reading the log") from None
        return first.time

    async def _found(self) -> api.ConsumerInfo | None:
        if self._selection.name is None:
            return None
        try:
            found: api.ConsumerInfo = await self._connection.js.consumer_info(
                self._stream, self._selection.name
            )
        except nats.js.errors.NotFoundError:
            return None
        return found

    async def accounts(self) -> set[str]:
        """Return the accounts whose events the log has.

        Raises:
            ClusterError: No server answers, or it refuses.
        """
        return await accounts_of_log(self._connection)

    async def read(self, deliver: Callable[[Msg], Awaitable[None]]) -> None:
        """Request messages and deliver them in their order, until the connection fails.

        Raises:
            ClusterError: It failed, or the consumer is gone.
        """
        client = self._connection.client
        acknowledging = asyncio.create_task(self._acknowledge(), name="energy acknowledgements")
        reply = client.new_inbox()
        request = json.dumps(
            {
                "batch": _BATCH,
                "expires": int(_EXPIRES_S * 1e9),
                "idle_heartbeat": int(_HEARTBEAT_S * 1e9),
            }
        ).encode()
        # Of its own: messages of the log arrive with the subject on which they were published.
        subscription = await client.subscribe(reply, cb=self._take)
        try:
            while True:
                next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
                await client.publish(next_subject, request, reply=reply)
                await self._take_batch(deliver)
        except (nats.errors.Error, OSError) as error:
            raise self._connection.explain(error, "reading the log") from None
        finally:
            acknowledging.cancel()
            await asyncio.wait({acknowledging})
            with suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()
            await self.send_acks()

    def acknowledge(self, reply: str) -> None:
        """Acknowledge a message soon."""
        self._acks.append(reply)
        self._has_acks.set()

    async def _acknowledge(self) -> None:
        """Send acknowledgements, those of one moment together."""
        while True:
            await self._has_acks.wait()
            self._has_acks.clear()
            await self.send_acks()
            await asyncio.sleep(0)  # noqa: TID251  (not a wait)

    async def send_acks(self) -> None:
        """Send the acknowledgements; a message whose one is lost comes again, and is acknowledged then."""
        with suppress(nats.errors.Error, OSError):
            while self._acks:
                await self._connection.client.publish(self._acks[0], b"+ACK")
                self._acks.popleft()

    async def give_back(self, replies: Sequence[str]) -> None:
        """Refuse messages, so that the server sends them at once to the next reader."""
        with suppress(nats.errors.Error, OSError):
            await self._connection.client.flush(
                timeout=1
            )  # before it knows that we read no more, we get them
            # The newest first: the server tries one with our last request, and puts it behind the others.
            for reply in (*replies[-1:], *replies[:-1]):
                await self._connection.client.publish(reply, b"-NAK")

    async def _take(self, message: Msg) -> None:
        self._arrived.append(message)
        self._wake.set()

    async def _take_batch(self, deliver: Callable[[Msg], Awaitable[None]]) -> None:
        """Deliver the messages of one request. Returns when the server has ended it, or is silent."""
        left = _BATCH
        while left > 0:
            while self._arrived:
                message = self._arrived.popleft()
                headers = message.headers or {}
                status = None if message.data else headers.get("Status")
                if status is None:
                    left -= 1
                    await deliver(message)
                elif status != "100":  # a heartbeat
                    self._check_status(status, headers.get("Description", ""))
                    return
            self._wake.clear()
            if left > 0:
                try:
                    async with asyncio.timeout(_SILENCE_S):
                        await self._wake.wait()
                except TimeoutError:
                    await self._check_consumer()
                    return

    def _check_status(self, status: str, description: str) -> None:
        if status in {"404", "503"} or "eleted" in description:
            raise ClusterError(f"the consumer {self._consumer} is gone: {description or status}")

    async def _check_consumer(self) -> None:
        """Find out why the server is silent.

        Raises:
            ClusterError: The consumer is gone, no server answers, or it refuses.
        """
        if self._connection.is_closed:
            raise ClusterError(f"NATS has closed the connection: {self._connection.problem}")
        try:
            await self._connection.js.consumer_info(self._stream, self._consumer)
        except (nats.errors.Error, TimeoutError) as error:
            raise self._connection.explain(error, "reading the log") from None


def _filters_of(config: api.ConsumerConfig) -> list[str]:
    return config.filter_subjects or ([config.filter_subject] if config.filter_subject else [">"])


async def accounts_of_log(connection: ClusterConnection) -> set[str]:
    """Return the labels of the accounts whose events the log has.

    Raises:
        ClusterError: No server answers, or it refuses.
    """
    try:
        info = await connection.js.stream_info(connection.stream, subjects_filter=f"{PREFIX}.>")
    except (nats.errors.Error, TimeoutError) as error:
        raise connection.explain(error, "reading the log") from None
    parts = [subject.split(".") for subject in info.state.subjects or {}]
    return {name_of(each[2]) or each[2] for each in parts if len(each) == 5}

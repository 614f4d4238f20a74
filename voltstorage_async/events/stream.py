"""ProductStream: one product's events as the vendor sends them, across reconnects."""

from __future__ import annotations

import asyncio
import copy
import logging
import ssl
import warnings
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from energy_core.clock import VendorClock
from energy_core.errors import AuthError, EnergyError, InternalError, StreamBusy, StreamClosed
from energy_core.printable import printable
from energy_core.stream.buffer import Block
from energy_core.stream.endpoint import EndpointProvider
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.source import Reading
from energy_core.stream.vocabulary import Dropped, Quantity, SourceId, State, Status
from voltstorage_async.event_types import ProductEvent, ProductGap, UnknownProductEvent
from voltstorage_async.events.feed import ProductFeed
from voltstorage_async.events.recorded import BackfillConfig, RecordedData, RecordedMoment
from voltstorage_async.field_map import ProductFields

BUFFER: Final = 1024
"""Default number of events that may be pending before further live events are backfilled later."""

_log = logging.getLogger("voltstorage_async")


class ProductStream:
    """Iterate over the events of one product: ``async with client.events(77) as stream``.

    The connection is reopened whenever it ends. The stream ends when it is closed (`aclose`, or leaving the
    ``async with``) or with an error that a retry cannot change; that error is raised after the events before
    it. Missed data is backfilled from the export, in order and with `LatestData.backfilled` set. Data that
    cannot be backfilled is reported as a `ProductGap`.

    The socket is read even while the consumer is slow. When `buffer` events are pending, further live events
    are dropped and backfilled once there is room.

    Cancelling ``anext`` is safe: no event is lost. There is one consumer; a second one gets StreamBusy.
    """

    def __init__(
        self,
        product_id: int,
        endpoint: EndpointProvider,
        recorded: RecordedData,
        *,
        fields: ProductFields,
        since: datetime | None = None,
        buffer: int = BUFFER,
        socket: SocketConfig = SocketConfig(),  # noqa: B008  (frozen)
        backfill: BackfillConfig = BackfillConfig(),  # noqa: B008  (frozen)
        ssl_context: ssl.SSLContext | None = None,
        vendor_clock: VendorClock | None = None,
    ) -> None:
        self.product_id = product_id
        self._fields = fields
        self._listener = _BufferListener(product_id, buffer)
        self._buffer = self._listener.buffer
        self._feed = ProductFeed(
            product_id,
            endpoint,
            recorded,
            self._listener,
            fields=fields,
            since=since,
            socket=socket,
            backfill=backfill,
            ssl_context=ssl_context,
            vendor_clock=vendor_clock,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> Status:
        """Current state of the stream; `retry_in` is in seconds."""
        return self._listener.status

    @property
    def soc_scale(self) -> str:
        """Scale of the state of charge in `data`: 0..1 or 0..100, set, learned or assumed."""
        return self._fields.scale

    @property
    def received(self) -> int:
        """Number of messages that were events, including those of undocumented types."""
        return self._feed.received

    @property
    def unknown(self) -> int:
        """Number of messages of an undocumented type."""
        return self._feed.unknown

    @property
    def malformed(self) -> int:
        """Number of messages that could not be read."""
        return self._feed.malformed

    @property
    def reconnects(self) -> int:
        """Number of times the connection was lost, or could not be opened."""
        return self._listener.reconnects

    @property
    def backfilled(self) -> int:
        """Number of events that were backfilled."""
        return self._feed.backfilled

    @property
    def gaps(self) -> int:
        """Number of reported gaps."""
        return self._feed.gaps

    @property
    def pending(self) -> tuple[tuple[datetime, datetime], ...]:
        """Ranges that the export does not hold yet. They are requested again, then reported as gaps."""
        return self._listener.pending

    @property
    def discarded(self) -> int:
        """Number of live events that were dropped, mostly for a slow consumer. They are backfilled."""
        return self._feed.discarded

    @property
    def dropped(self) -> int:
        """Number of messages of undocumented types lost to a slow consumer. They cannot be backfilled."""
        return self._listener.dropped

    async def __aenter__(self) -> Self:
        if self._task is not None or self._buffer.closed:
            raise StreamClosed("a stream is opened once; ask the client for another")
        # The task holds no reference to the stream, so that an abandoned stream can be collected.
        self._task = asyncio.get_running_loop().create_task(
            _run(self._feed, self._listener), name=f"voltstorage-{self.product_id}"
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ProductEvent:
        """Return the next event. Cancelling it is safe: no event is lost.

        Raises:
            StopAsyncIteration: the stream was closed.
            StreamBusy: another task is waiting for the next event.
            StreamClosed: the stream was not opened with ``async with``.
            RequestError: the server refused the stream for good; raised again by every further call.
        """
        while (event := self._buffer.take()) is None:
            self._check_open()
            await self._listener.filled()
        return event

    async def aclose(self) -> None:
        """Close the stream and its connection; pending events are discarded, a waiting ``anext`` ends.

        It may be called from any task and more than once. Cancelling it is safe: the stream stays closed.
        """
        self._listener.close()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _check_open(self) -> None:
        """Raise what ends the iteration, if anything does."""
        if self._buffer.closed:
            raise StopAsyncIteration
        error = self._listener.error
        if error is not None:
            raise copy.copy(error) from error.__cause__
        if self._buffer.ended:
            raise StopAsyncIteration
        if self._task is None:
            raise StreamClosed("open the stream with async with")

    def __del__(self) -> None:
        task = getattr(self, "_task", None)
        if task is None or self._buffer.ended:
            return
        warnings.warn(
            f"{self!r} was never closed; use async with", ResourceWarning, stacklevel=1, source=self
        )
        if not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    @printable
    def __repr__(self) -> str:
        counts = {
            "pending": len(self._buffer),
            "backfilled": self.backfilled,
            "gaps": self.gaps,
            "dropped": self.dropped,
            "malformed": self.malformed,
        }
        shown = [f"{self.received} received", *(f"{count} {name}" for name, count in counts.items() if count)]
        return f"<ProductStream {self.product_id} {self.status.state}, {', '.join(shown)}>"


async def _run(feed: ProductFeed, listener: _BufferListener) -> None:
    """Run the feed to its end; an error is kept for the consumer."""
    error: EnergyError | None = None
    try:
        await feed.run()
    except EnergyError as refused:
        error = refused
    except Exception as bug:  # noqa: BLE001  (it must reach the consumer, not disappear with the task)
        _log.exception(
            "the stream of product %s failed because of a bug in this library", listener.product_id
        )
        error = InternalError("the stream failed because of a bug in this library")
        error.__cause__ = bug
    listener.end(error)


def _ignore_drops(source: SourceId, dropped: Dropped) -> None:
    """Ignored: dropped live events are backfilled, and the stream counts the others itself."""


class _BufferListener:
    """The `FeedListener` that turns what a feed delivers into product events and buffers them."""

    def __init__(self, product_id: int, capacity: int) -> None:
        self.product_id = product_id
        self.buffer: Block[ProductEvent] = Block(capacity, on_relief=_ignore_drops)
        self.status = Status(state=State.CONNECTING)
        self.error: EnergyError | None = None
        self.reconnects = 0
        self.dropped = 0
        self.pending: tuple[tuple[datetime, datetime], ...] = ()

    def has_room(self, count: int) -> bool:
        """Return whether `count` more events fit into the buffer."""
        return len(self.buffer) + count <= self.buffer.capacity

    async def room(self) -> None:
        """Wait while the buffer is full, until half of it is free."""
        await self.buffer.room()

    async def filled(self) -> None:
        """Wait until the buffer may have an event, or has ended. Cancelling it is safe."""
        try:
            waiting = self.buffer.filled()
        except StreamBusy:
            raise StreamBusy("this stream has a consumer already") from None
        try:
            await waiting
        finally:
            waiting.cancel()  # so that another consumer may wait

    def on_readings(self, readings: Sequence[Reading], quantities: Sequence[Quantity]) -> None:  # noqa: ARG002
        """Buffer live readings."""
        for reading in readings:
            self.buffer.put(RecordedMoment.of_live(reading).event(self.product_id))

    def on_reading(self, moment: RecordedMoment, ordinal: int) -> None:  # noqa: ARG002  (an event has no id)
        """Buffer one reading."""
        self.buffer.put(moment.event(self.product_id))

    def on_unknown(self, event: UnknownProductEvent) -> None:
        """Buffer a message of an undocumented type; a full buffer drops it, as it cannot be backfilled."""
        if self.has_room(1):
            self.buffer.put(event)
        else:
            self.dropped += 1

    def on_gap(self, start: datetime, end: datetime, reason: str, quantities: frozenset[Quantity]) -> None:
        """Buffer a gap; gaps are never dropped."""
        gap = ProductGap(
            product_id=self.product_id, start=start, end=end, reason=reason, quantities=quantities
        )
        self.buffer.keep(gap)

    def on_pending(self, ranges: Sequence[tuple[datetime, datetime]]) -> None:
        """Keep the ranges that will be requested again."""
        self.pending = tuple(ranges)

    def on_state(self, state: State, reason: str, retry_in: float | None) -> None:
        """Keep the state of the feed."""
        if self.status.state.terminal:
            return
        self.reconnects += state is State.DISCONNECTED and self.status.state is not state
        self.status = Status(state=state, reason=reason, retry_in=retry_in)

    def end(self, error: EnergyError | None) -> None:
        """Note that the feed has ended, with its error if there is one; buffered events stay."""
        self.error = error
        if not self.status.state.terminal:
            state = State.AUTH_FAILED if isinstance(error, AuthError) else State.FAILED
            self.status = Status(state=state, reason=str(error)) if error else Status(state=State.CLOSED)
        self.buffer.end()

    def close(self) -> None:
        """Discard the buffered events; the consumer gets no more."""
        self.buffer.close()
        if not self.status.state.terminal:
            self.status = Status(state=State.CLOSED)

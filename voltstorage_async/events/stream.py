"""ProductStream: a product's events from a WebSocket that heals by itself."""

from __future__ import annotations

import asyncio
import copy
import logging
import ssl
import warnings
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from energy_core.clock import VendorClock
from energy_core.errors import AuthError, EnergyError, InternalError, StreamBusy, StreamClosed
from energy_core.printable import printable
from energy_core.stream.endpoint import EndpointProvider
from energy_core.stream.event import Reading
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.vocabulary import Quantity, State, Status
from voltstorage_async.event_types import ProductEvent, ProductGap, UnknownProductEvent
from voltstorage_async.events.feed import ProductFeed
from voltstorage_async.events.recorded import BackfillConfig, RecordedData, RecordedMoment
from voltstorage_async.field_map import ProductFields

BUFFER: Final = 1024
"""Events that may wait for their consumer before further ones have to be fetched later."""

_log = logging.getLogger("voltstorage_async")


class ProductStream:
    """The events of one product, read in an ``async with`` by one ``async for``.

    The link is opened again whenever it ends; only leaving the ``async with`` or `aclose` ends the stream,
    or a refusal that waiting cannot mend, which is raised after what had arrived before. What was missed in
    between is fetched from the export and comes in its place, `LatestData.backfilled`; what cannot be fetched
    comes as a `ProductGap`. The socket is read all the time, whatever the consumer does: when `buffer` events
    wait, further ones are let go and fetched again once there is room.

    Cancelling a wait loses nothing. One consumer; another gets StreamBusy.
    """

    def __init__(
        self,
        product_id: int,
        link: EndpointProvider,
        past: RecordedData,
        *,
        fields: ProductFields,
        since: datetime | None = None,
        buffer: int = BUFFER,
        timing: SocketConfig = SocketConfig(),  # noqa: B008  (frozen)
        healing: BackfillConfig = BackfillConfig(),  # noqa: B008  (frozen)
        ssl_context: ssl.SSLContext | None = None,
        vendor_clock: VendorClock | None = None,
    ) -> None:
        self.product_id = product_id
        self._fields = fields
        self._inbox = _Inbox(product_id, buffer)
        self._line = ProductFeed(
            product_id,
            link,
            past,
            self._inbox,
            fields=fields,
            since=since,
            timing=timing,
            healing=healing,
            ssl_context=ssl_context,
            vendor_clock=vendor_clock,
        )
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def status(self) -> Status:
        """How the stream is doing now, and in how many seconds it tries again where it waits to."""
        return self._inbox.status

    @property
    def soc_scale(self) -> str:
        """How the product's state of charge is counted in `data`, and how that is known."""
        return self._fields.scale

    @property
    def received(self) -> int:
        """Messages that were events, of unknown types included."""
        return self._line.received

    @property
    def unknown(self) -> int:
        """Those of them that nobody documented."""
        return self._line.unknown

    @property
    def malformed(self) -> int:
        """Messages that could not be read."""
        return self._line.malformed

    @property
    def reconnects(self) -> int:
        """How often the link was lost after it had been up, or could not be opened."""
        return self._inbox.reconnects

    @property
    def backfilled(self) -> int:
        """Events that were fetched later."""
        return self._line.backfilled

    @property
    def gaps(self) -> int:
        """Stretches of time, or quantities of them, that could not be fetched."""
        return self._line.gaps

    @property
    def pending(self) -> tuple[tuple[datetime, datetime], ...]:
        """Stretches that the export does not have yet: they are asked for again, then reported as gaps."""
        return self._inbox.pending

    @property
    def discarded(self) -> int:
        """Live events that were let go, most because the consumer was too slow; they are fetched later."""
        return self._line.discarded

    @property
    def dropped(self) -> int:
        """Messages of unknown types lost because the consumer was too slow: those cannot be fetched."""
        return self._inbox.dropped

    async def __aenter__(self) -> Self:
        if self._task is not None or self._closed:
            raise StreamClosed("a stream is opened once; ask the client for another")
        # The task holds no reference to the stream, so that a forgotten stream is collected.
        self._task = asyncio.get_running_loop().create_task(
            _read(self._line, self._inbox, self.product_id), name=f"voltstorage-{self.product_id}"
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ProductEvent:
        while (event := self._inbox.take()) is None:
            self._check_open()
            await self._inbox.filled()
        return event

    async def aclose(self) -> None:
        """End the stream; idempotent, from any task. A waiting consumer sees the end."""
        self._closed = True
        self._inbox.close()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _check_open(self) -> None:
        if self._closed:
            raise StopAsyncIteration
        error = self._inbox.error
        if error is not None:
            raise copy.copy(error) from error.__cause__
        if self._inbox.ended:
            raise StopAsyncIteration
        if self._task is None:
            raise StreamClosed("open the stream with async with")

    def __del__(self) -> None:
        task = getattr(self, "_task", None)
        if task is None or self._closed or self._inbox.ended:
            return
        warnings.warn(
            f"{self!r} was never closed; use async with", ResourceWarning, stacklevel=1, source=self
        )
        if not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    @printable
    def __repr__(self) -> str:
        said = [
            f"{count} {what}"
            for count, what in (
                (len(self._inbox), "waiting"),
                (self.backfilled, "backfilled"),
                (self.gaps, "gaps"),
                (self.dropped, "dropped"),
                (self.malformed, "malformed"),
            )
            if count
        ]
        counts = ", ".join([f"{self.received} received", *said])
        return f"<ProductStream {self.product_id} {self.status.state}, {counts}>"


async def _read(line: ProductFeed, inbox: _Inbox, product_id: int) -> None:
    """Run the line to its end; whatever ends it is kept for the consumer."""
    try:
        await line.run()
    except EnergyError as error:
        inbox.error = error
    except Exception as error:  # noqa: BLE001  (a fault of ours must reach the consumer, not vanish)
        _log.exception("the stream of product %s failed through a fault in its own code", product_id)
        inbox.error = InternalError("the stream failed through a fault in its own code")
        inbox.error.__cause__ = error
    over = State.AUTH_FAILED if isinstance(inbox.error, AuthError) else State.FAILED
    inbox.end(Status(state=over, reason=str(inbox.error)) if inbox.error else Status(state=State.CLOSED))


class _Inbox:
    """The line's `FeedListener` and the consumer's buffer."""

    def __init__(self, product_id: int, capacity: int) -> None:
        self.status = Status(state=State.CONNECTING)
        self.error: EnergyError | None = None
        self.ended = False
        self.reconnects = 0
        self.dropped = 0
        self.pending: tuple[tuple[datetime, datetime], ...] = ()
        self._product_id = product_id
        self._capacity = capacity
        self._events: deque[ProductEvent] = deque()
        self._taker: asyncio.Future[None] | None = None
        self._relief = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    def holds(self, count: int) -> bool:
        """Tell whether so many more events can wait here."""
        return len(self._events) + count <= self._capacity

    async def room(self) -> None:
        """Wait, when all is full, until half is free."""
        while not self.holds(1):
            self._relief.clear()
            await self._relief.wait()

    def tell_run(self, readings: Sequence[Reading], quantities: Sequence[Quantity]) -> None:  # noqa: ARG002
        """Take what was measured lately."""
        product = self._product_id
        self._events.extend(RecordedMoment.of_live(reading).event(product) for reading in readings)
        if self._taker is not None:
            self._wake()

    def tell(self, moment: RecordedMoment, ordinal: int) -> None:  # noqa: ARG002  (an event has no name)
        """Take what was measured."""
        self._put(moment.event(self._product_id))

    def remark(self, event: UnknownProductEvent) -> None:
        """Take a message that is no data; there is no way to get it again."""
        if self.holds(1):
            self._put(event)
        else:
            self.dropped += 1

    def miss(self, start: datetime, end: datetime, reason: str, quantities: frozenset[Quantity]) -> None:
        """Take notice of what is lost."""
        product = self._product_id
        self._put(ProductGap(product_id=product, start=start, end=end, reason=reason, quantities=quantities))

    def wait_for(self, stretches: Sequence[tuple[datetime, datetime]]) -> None:
        """Take notice of what will be asked for again."""
        self.pending = tuple(stretches)

    def be(self, state: State, reason: str, retry_in: float | None) -> None:
        """Take notice of how the line is doing."""
        if self.status.state.terminal:
            return
        self.reconnects += state is State.DISCONNECTED and self.status.state is not state
        self.status = Status(state=state, reason=reason, retry_in=retry_in)

    def end(self, status: Status) -> None:
        """No more will come."""
        self.ended = True
        if not self.status.state.terminal:
            self.status = status
        self._wake()

    def close(self) -> None:
        """Hand out nothing more."""
        self._events.clear()
        self.end(Status(state=State.CLOSED))

    def take(self) -> ProductEvent | None:
        """Remove and return the next event, if there is one."""
        if not self._events:
            return None
        event = self._events.popleft()
        if len(self._events) <= self._capacity // 2:
            self._relief.set()
        return event

    async def filled(self) -> None:
        """Wait until there may be something. Cancelling it loses nothing."""
        if self._taker is not None:
            raise StreamBusy("this stream has a consumer already")
        taker = self._taker = asyncio.get_running_loop().create_future()
        try:
            await taker
        finally:
            if self._taker is taker:
                self._taker = None

    def _put(self, event: ProductEvent) -> None:
        self._events.append(event)
        if self._taker is not None:
            self._wake()

    def _wake(self) -> None:
        taker, self._taker = self._taker, None
        if taker is not None and not taker.done():
            taker.set_result(None)

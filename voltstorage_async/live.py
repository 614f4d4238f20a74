"""ProductSource: one product as a source for `merge`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Self

from energy_core.clock import SystemClock, VendorClock
from energy_core.errors import RequestError, StreamBusy
from energy_core.printable import printable
from energy_core.stream.endpoint import EndpointProvider
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.source import (
    HistoryConfig,
    HistoryItem,
    Outlet,
    Reading,
    RecordedQuantities,
    ReportedAlarm,
    StreamPosition,
    UnreadableRow,
)
from energy_core.stream.vocabulary import Quantity, SourceId, State
from energy_core.token_expiry import TokenExpiry
from voltstorage_async.event_types import UnknownProductEvent
from voltstorage_async.events.feed import ProductFeed
from voltstorage_async.events.recorded import BackfillConfig, RecordedData, RecordedMoment
from voltstorage_async.field_map import ProductFields
from voltstorage_async.models import Product
from voltstorage_async.products import Products

FAULTS_S: Final = 60.0
"""Seconds between two requests for the present faults of a product, which events do not have."""


class ProductSource:
    """Deliver one product's readings to a merged stream. A source is used once.

    One reading is made of each data message; a message may hold only the values that changed. Messages of an
    undocumented type have neither time nor values, so they are counted and not delivered. Missed data is
    delivered later with `backfilled` set, or reported as a gap. Faults in the list of products are alarms.

    Args:
        id: Name of the source; its `site` is the product id.
        endpoint: Address and credential of the WebSocket.
        recorded: The product's recorded data, for backfills.
        fields: Meaning of the vendor's keys and columns.
        since: Backfill from this moment on at the first connection, aware; None starts with the first event.
        socket: Timeouts and delays of the connection.
        backfill: How missed data is fetched.
        ssl_context: Verifies the server; None uses the system's authorities.
        owner: Distinguishes credentials under one account label; empty is not checked.
        seen: Quantities that the product is known to send.
        vendor_clock: The vendor's time, learned from `Date` headers.
        products: Requests the product's present faults; None: alarms are not delivered.
        expiry: Warns before a given token expires; None: it is not checked.
    """

    __slots__ = (
        *(
            "__weakref__",
            "_config",
            "_endpoint",
            "_expiry",
            "_feed",
            "_fields",
            "_id",
            "_products",
            "_recorded",
            "_seen",
        ),
        "_since",
        *("_socket_config", "_ssl_context", "_stopped", "owner", "vendor_clock"),
    )

    def __init__(
        self,
        id: SourceId,  # noqa: A002  (as in `Source`)
        endpoint: EndpointProvider,
        recorded: RecordedData,
        *,
        fields: ProductFields,
        since: datetime | None = None,
        socket: SocketConfig = SocketConfig(),  # noqa: B008  (frozen)
        backfill: BackfillConfig = BackfillConfig(),  # noqa: B008  (frozen)
        ssl_context: ssl.SSLContext | None = None,
        owner: str = "",
        seen: Collection[Quantity] = (),
        vendor_clock: VendorClock | None = None,
        products: Products | None = None,
        expiry: TokenExpiry | None = None,
    ) -> None:
        self._products = products
        self._expiry = expiry
        self.owner = owner
        """Distinguishes credentials under one account label."""
        self._id = id
        self._endpoint = endpoint
        self._recorded = recorded
        self._fields = fields
        self._since = since
        self._stopped: StreamPosition | None = None
        self._socket_config = socket
        self._config = backfill
        self._ssl_context = ssl_context
        self.vendor_clock = vendor_clock
        """The vendor's time, learned from `Date` headers."""
        self._seen: set[Quantity] = set(seen)
        self._feed: ProductFeed | None = None

    @property
    def id(self) -> SourceId:
        """Name of the source in its events."""
        return self._id

    @property
    def unknown(self) -> int:
        """Number of messages of an undocumented type."""
        return self._feed.unknown if self._feed else 0

    @property
    def malformed(self) -> int:
        """Number of messages that could not be read."""
        return self._feed.malformed if self._feed else 0

    @property
    def unusable(self) -> int:
        """Number of values left out because they are not numbers."""
        return self._feed.unusable if self._feed else 0

    @property
    def notes(self) -> Mapping[str, int | str]:
        """Counts of left-out data, the scale of the state of charge, and keys without a known meaning."""
        meaningless = ", ".join(self._fields.unknown_keys)
        left_out = self._feed.left_out if self._feed else 0
        return {
            **({"rows_left_out": left_out} if left_out else {}),
            "unknown": self.unknown,
            "malformed": self.malformed,
            "unusable": self.unusable,
            "battery_soc_scale": self._fields.scale,
            **({"without_meaning": meaningless} if meaningless else {}),
            **({} if self._expiry is None else self._expiry.notes),
        }

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Backfill from the position where a consumer stopped; called before `run`."""
        position = positions.get(self._id)
        if position is not None:
            self._stopped = position
            self._seen |= position.seen | position.quantities
            self._since = position.time - timedelta(seconds=self._config.overlap_s)

    def again(self) -> Self:
        """Return a new source with the same id and arguments."""
        return type(self)(
            self._id,
            self._endpoint,
            self._recorded,
            fields=self._fields,
            since=self._since,
            socket=self._socket_config,
            backfill=self._config,
            ssl_context=self._ssl_context,
            owner=self.owner,
            seen=self._seen,
            vendor_clock=self.vendor_clock,
            products=self._products,
            expiry=self._expiry,
        )

    async def run(self, outlet: Outlet) -> None:
        """Deliver readings until cancelled.

        Raises:
            StreamBusy: the source was used before.
            RequestError: the server refused the stream, and a retry cannot change that.
        """
        if self._feed is not None:
            raise StreamBusy("a source is used once; ask the client for another")
        listener = _OutletListener(self._id, outlet, self._seen)
        self._feed = ProductFeed(
            int(self._id.site),
            self._endpoint,
            self._recorded,
            listener,
            fields=self._fields,
            since=self._since,
            socket=self._socket_config,
            backfill=self._config,
            ssl_context=self._ssl_context,
            vendor_clock=self.vendor_clock,
            on_future_reading=listener.on_future_reading,
            lazy=True,
        )
        if self._stopped is not None:
            self._feed.resume(self._stopped, seen=self._seen)
        if self._products is None:
            await self._feed.run()
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                faults = tasks.create_task(
                    self._report_faults(outlet, self._products), name=f"energy faults of {self._id}"
                )
                await self._feed.run()
                faults.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group.exceptions[0].__cause__

    async def _report_faults(self, outlet: Outlet, products: Products) -> None:
        """Report the product's faults every minute; a failed request is repeated after another minute."""
        product_id, clock = int(self._id.site), SystemClock()
        while True:
            if self._expiry is not None:
                await self._expiry.check()
            listed: Sequence[Product] = ()
            with suppress(RequestError):  # the feed reports an outage
                listed = await products.list(ids=product_id, page=1)
            for product in listed:
                # A service that ignores the filter lists other products too.
                if product.id == product_id and "errors" in product.raw:
                    device = product.serial_number or ""
                    outlet.alarms(
                        self._id, [ReportedAlarm(text=each, device=device) for each in product.errors]
                    )
            await clock.sleep(FAULTS_S)

    @property
    def history_config(self) -> HistoryConfig:
        """How the export may be asked: in pages, and only as far back as its age limit."""
        config = self._config
        return HistoryConfig(
            settles_after=config.settle_s,
            longest_s=max(1, int(config.page_s)),
            oldest_s=int(config.max_age_s),
            retries_s=config.retry_s,
        )

    async def history(self, source: SourceId, start: datetime, end: datetime) -> AsyncIterator[HistoryItem]:  # noqa: ARG002  (one product)
        """Iterate over what the export holds from `start` to `end`, to the second. Cancelling is safe.

        Raises:
            RequestError: the request failed.
        """
        first = True
        async with self._recorded.moments(start.timestamp(), end.timestamp()) as moments:
            async for moment in moments:
                if first:
                    first = False
                    yield RecordedQuantities(moments.exported)
                if moments.malformed_nearby:
                    yield UnreadableRow()
                name = f"{self._id.site}/{moment.second}/0"
                yield Reading(moment.time, name, moment.values, moment.raw)
            if moments.malformed_nearby:
                yield UnreadableRow()

    @printable
    def __repr__(self) -> str:
        counts = f"{self.unknown} unknown, {self.malformed} malformed, {self.unusable} unusable values"
        return f"<ProductSource {self._id}: {counts}>"


class _OutletListener:
    """The `FeedListener` that forwards to an outlet, which handles slow consumers itself."""

    __slots__ = ("_id", "_last_quantities", "_outlet", "_product", "_seen")

    def __init__(self, id: SourceId, outlet: Outlet, seen: set[Quantity]) -> None:  # noqa: A002
        self._id = id
        self._outlet = outlet
        self._product = int(id.site)
        self._seen = seen
        self._last_quantities: Sequence[Quantity] = ()

    def has_room(self, count: int) -> bool:  # noqa: ARG002
        """Return True: the outlet takes any number of live readings."""
        return True

    async def room(self) -> None:
        """Wait until the outlet has room."""
        await self._outlet.room()

    def on_readings(self, readings: Sequence[Reading], quantities: Sequence[Quantity]) -> None:
        """Forward live readings."""
        if quantities is not self._last_quantities:
            self._last_quantities = quantities
            self._seen.update(quantities)
        self._outlet.readings(self._id, readings)

    def on_reading(self, moment: RecordedMoment, ordinal: int) -> None:
        """Forward one reading."""
        second, time, _, raw, values, backfilled = moment
        if not backfilled:
            self._seen.update(values)
        name = f"{self._product}/{second}/{ordinal}"  # the same id as the feed gives to a live reading
        self._outlet.reading(self._id, time=time, id=name, values=values, raw=raw, backfilled=backfilled)

    def on_unknown(self, event: UnknownProductEvent) -> None:
        """Ignored: not a reading. The feed counts it."""

    def on_gap(self, start: datetime, end: datetime, reason: str, quantities: frozenset[Quantity]) -> None:
        """Forward a gap."""
        self._outlet.gap(self._id, start=start, end=end, reason=reason, quantities=sorted(quantities))

    def on_future_reading(self, moment: RecordedMoment) -> None:
        """Forward a reading dated in the future; the outlet counts and reports it, and drops it."""
        self.on_reading(moment, 0)

    def on_pending(self, ranges: Sequence[tuple[datetime, datetime]]) -> None:
        """Forward the ranges that will be requested again."""
        self._outlet.pending(self._id, ranges)

    def on_state(self, state: State, reason: str, retry_in: float | None) -> None:
        """Forward a state."""
        self._outlet.status(state, reason=reason, retry_in=retry_in)

"""ProductFeed: joins the WebSocket of one product with the backfill of what the socket missed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from energy_core.clock import Clock, SystemClock, VendorClock
from energy_core.codec.drift import UNKNOWN
from energy_core.codec.json import JSON, strict_json
from energy_core.codec.lazy_value import LazyMapping
from energy_core.errors import DecodeError
from energy_core.printable import printable
from energy_core.stream.dedupe import Emit, Missing, QuantityBits
from energy_core.stream.endpoint import EndpointProvider
from energy_core.stream.gap_filler import GapFiller
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.socket import ReconnectingSocket
from energy_core.stream.source import Reading, StreamPosition
from energy_core.stream.validation import FROM_THE_FUTURE, Horizon
from energy_core.stream.vocabulary import Quantity, State
from voltstorage_async.codec import event_message, messages_in
from voltstorage_async.event_types import UnknownProductEvent
from voltstorage_async.events.gap_fetcher import GapFetcher
from voltstorage_async.events.recorded import BackfillConfig, RecordedData, RecordedMoment
from voltstorage_async.fast_reader import MessageReader
from voltstorage_async.field_map import ProductFields
from voltstorage_async.field_reader import Decoded

_CONNECTED: Final = frozenset({State.LIVE, State.STALE})
_QUANTITIES: Final = QuantityBits(Quantity)
SOC_SCALE: Final = "soc_scale"
"""Reason of a gap: a state of charge was delivered on a scale that proved wrong."""
_FAST_PATH_BUDGET: Final = 256
_SLOW_PARSE_COST: Final = 8
"""One slow parse costs as much as the fast path saves on this many messages."""

_NOTHING: Final[Decoded] = ({}, (), 0)
_from_timestamp: Final = datetime.fromtimestamp


class FeedListener(Protocol):
    """Receives readings, gaps and state changes of a feed."""

    async def room(self) -> None:
        """Wait until there is room for a backfilled event. Cancelling it is safe."""

    def has_room(self, count: int) -> bool:
        """Return whether there is room for `count` live events now."""

    def on_readings(self, readings: Sequence[Reading], quantities: Sequence[Quantity]) -> None:
        """Take live readings of the same quantities and increasing seconds; their `raw` may be lazy."""

    def on_reading(self, moment: RecordedMoment, ordinal: int) -> None:
        """Take one reading; the ordinal distinguishes readings of the same second."""

    def on_unknown(self, event: UnknownProductEvent) -> None:
        """Take a message that is not a reading."""

    def on_gap(self, start: datetime, end: datetime, reason: str, quantities: frozenset[Quantity]) -> None:
        """Take a gap; empty `quantities` means that any of them may be missing."""

    def on_pending(self, ranges: Sequence[tuple[datetime, datetime]]) -> None:
        """Take all ranges that will be requested again; they replace those of the last call."""

    def on_state(self, state: State, reason: str, retry_in: float | None) -> None:
        """Take the state of the feed; `retry_in` is in seconds."""


class ProductFeed:
    """Deliver one product's events to a listener: live ones at once, missed ones in time order.

    The socket is never paused. Gaps are filled by a task that runs only while there is a gap or the server is
    silent. Messages of an undocumented type have no time, so they are never held and never backfilled.

    Args:
        product_id: Id of the product.
        endpoint: Address and credential of the WebSocket.
        recorded: The product's recorded data, for backfills.
        listener: Receives everything.
        fields: Meaning of the vendor's keys and columns.
        since: Backfill from this moment on at the first connection; None starts with the first event.
        socket: Timeouts and delays of the connection.
        backfill: How missed data is fetched.
        clock: Source of time.
        ssl_context: As for `ReconnectingSocket`.
        vendor_clock: The vendor's time, learned from `Date` headers.
        on_future_reading: Takes readings dated after the vendor's time; without it, the first reading of such
            an episode is reported as a gap.
        lazy: Use the fast readers; the `raw` of a live reading is then parsed at first access.
    """

    __slots__ = (
        *("_assumes_scale", "_backfilling", "_clock", "_config", "_fast_path_budget", "_fast_reader"),
        *("_fast_readers", "_fields", "_gap_filler", "_horizon", "_known_latest", "_known_scale"),
        *("_last_live_at", "_last_quantities", "_last_state", "_link_is_stale", "_listener"),
        *("_on_future_reading", "_product_id", "_received_at_last_charge", "_reported_pending"),
        *("_resumed_pending", "_soc_since", "_socket", "_tasks", "_fetcher", "_vendor_clock"),
        *("_wake_event", "backfilled", "gaps", "malformed", "received", "unknown", "unusable"),
    )

    def __init__(
        self,
        product_id: int,
        endpoint: EndpointProvider,
        recorded: RecordedData,
        listener: FeedListener,
        *,
        fields: ProductFields,
        since: datetime | None,
        socket: SocketConfig,
        backfill: BackfillConfig,
        clock: Clock | None = None,
        ssl_context: ssl.SSLContext | None = None,
        vendor_clock: VendorClock | None = None,
        on_future_reading: Callable[[RecordedMoment], None] | None = None,
        lazy: bool = False,
    ) -> None:
        self.received = 0
        """Number of messages that were events, including those of undocumented types."""
        self.unknown = 0
        """Number of messages of an undocumented type."""
        self.malformed = 0
        """Number of messages that could not be read, or are dated after the vendor's time."""
        self.unusable = 0
        """Number of values left out because they are not numbers."""
        self.backfilled = 0
        """Number of backfilled readings."""
        self.gaps = 0
        """Number of reported gaps."""
        self._product_id = product_id
        self._listener = listener
        self._fields = fields
        self._known_scale = fields.scale_changes
        self._assumes_scale = fields.scale_assumed
        self._soc_since: int | None = None  # first second of a charge delivered on an assumed scale
        self._fast_readers = fields.fields.fast_readers if lazy else None
        self._fast_reader: MessageReader | None = (
            None  # for the layout of the last two slow parses, if they agree
        )
        self._last_quantities: Sequence[Quantity] | None = None  # of the last slow parse
        self._fast_path_budget = _FAST_PATH_BUDGET
        self._received_at_last_charge = 0
        self._config = backfill
        self._clock = clock or SystemClock()
        self._gap_filler: GapFiller[RecordedMoment] = GapFiller(
            since=None if since is None else int(since.timestamp()),
            max_held=backfill.max_held,
            overlap_s=backfill.overlap_s,
            retry_s=backfill.retry_s,
            window_s=backfill.window_s,
            window_ids=backfill.window_ids,
            keys=_QUANTITIES,
        )
        self._vendor_clock = vendor_clock
        self._horizon = Horizon(self._clock, vendor_clock)
        self._fetcher = GapFetcher(
            self._gap_filler, recorded, backfill, self._clock, self._horizon, deliver=self._deliver
        )
        self._socket = ReconnectingSocket(
            endpoint,
            on_messages=self._on_messages,
            on_state=self._on_state,
            config=socket,
            clock=self._clock,
            ssl_context=ssl_context,
            vendor_clock=vendor_clock,
        )
        self._on_future_reading = on_future_reading
        self._known_latest = 0.0  # times up to this unix second need no check against the vendor's clock
        self._last_state: tuple[State, str, float | None] = (State.CONNECTING, "", None)
        self._last_live_at: float | None = None  # monotonic time of the last live event
        self._link_is_stale = False  # the server has newer data that this connection did not deliver
        self._tasks: asyncio.TaskGroup | None = None
        self._backfilling = False  # whether the backfill task runs
        self._reported_pending: list[tuple[datetime, datetime]] = []
        self._resumed_pending: Sequence[tuple[datetime, datetime]] = ()
        # Made only for a wait: an idle event for each of thousands of feeds would cost memory.
        self._wake_event: asyncio.Event | None = None

    @property
    def discarded(self) -> int:
        """Number of live events without room here or at the consumer; they are backfilled."""
        return self._gap_filler.discarded

    @property
    def left_out(self) -> int:
        """Number of recorded rows that are dated wrongly, or outside the requested range."""
        return self._fetcher.left_out

    @property
    def pending(self) -> list[tuple[datetime, datetime]]:
        """Ranges that will be requested again."""
        parts = (part for each in self._gap_filler.pending for part in each.parts)
        return [(to_datetime(start), to_datetime(end)) for start, end in parts]

    def resume(self, stopped: StreamPosition, *, seen: Collection[Quantity] = ()) -> None:
        """Continue where a consumer stopped, perhaps within a second; called before `run`.

        Args:
            stopped: The position of the consumer.
            seen: Further quantities that the product is known to send.
        """
        self._resumed_pending = stopped.pending
        self._gap_filler.note_quantities([*stopped.seen, *seen])
        if stopped.quantities:
            second = int(stopped.time.timestamp())
            ordinals = [each.rpartition("/")[2] for each in stopped.ids if f"/{second}/" in each]
            # A position names only the last ids of a second, and ordinals count from 0.
            count = 1 + max((int(each) for each in ordinals if each.isdecimal()), default=0)
            self._gap_filler.resume(second, stopped.quantities, count)

    async def run(self) -> None:
        """Deliver events until cancelled.

        Raises:
            RequestError: the server refused the stream, and a retry cannot change that.
            ClientClosed: the client was closed.
        """
        for start, end in self._resumed_pending:
            first, last = int(start.timestamp()), int(end.timestamp())
            self._gap_filler.resume_pending(first, last, self._clock.monotonic())
        try:
            async with asyncio.TaskGroup() as self._tasks:
                if self._resumed_pending:
                    self._start_backfill()
                await self._socket.run()
        except BaseExceptionGroup as group:
            error = group.exceptions[0]
            raise error from error.__cause__
        finally:
            for missing in self._gap_filler.give_up_pending():
                self._deliver_gap(missing)
            self._report_pending()

    # --- messages of the socket ----------------------------------------------------------------------------

    def _on_messages(self, messages: list[bytes]) -> int:
        """Decode messages that were read together, and deliver them; return how many were valid events.

        Readings of the same quantities and increasing seconds are delivered together, as a run.
        """
        if self._known_scale != self._fields.scale_changes:  # a backfill has shown another scale
            self._on_soc_scale_learned(self._gap_filler.newest or 0)
        fast_reader, product, new = self._fast_reader, self._product_id, tuple.__new__
        run: list[Reading] = []
        seconds: list[int] = []
        run_quantities: Sequence[Quantity] = ()
        events, in_lists, last = 0, 0, 0
        raw: Mapping[str, object]
        time: datetime | None
        for message in messages:
            if fast_reader is not None and (decoded := fast_reader(message)) is not None:
                second, (values, quantities, unusable) = decoded
                raw, time = LazyMapping(strict_json, message), _from_timestamp(second, UTC)
            else:
                try:
                    raw, time, second, (values, quantities, unusable) = self._read(message)
                except DecodeError:
                    run, seconds = self._flush(run, seconds, run_quantities)
                    in_lists += self._on_message_list(message)
                    fast_reader = self._fast_reader  # a list may have shown another scale
                    continue
                if self._known_scale != self._fields.scale_changes:
                    self._known_scale = (
                        self._fields.scale_changes
                    )  # reported once, after the readings before it
                    run, seconds = self._flush(run, seconds, run_quantities)
                    self._on_soc_scale_learned(second)
                fast_reader = self._fast_reader
            events += 1
            set_aside = time is None or (second > self._known_latest and self._is_in_future(time))
            if run and (set_aside or quantities is not run_quantities or second <= last):
                run, seconds = self._flush(run, seconds, run_quantities)
            if time is None or set_aside:
                self._on_set_aside(time, values, raw)
                continue
            self.unusable += unusable
            run_quantities, last = quantities, second
            seconds.append(second)
            # `tuple.__new__` takes half the time of `Reading(...)`.
            run.append(new(Reading, (time, f"{product}/{second}/0", values, raw, False, 0)))
        self._flush(run, seconds, run_quantities)
        self.received += events
        return events + in_lists

    def _flush(
        self, run: list[Reading], seconds: list[int], quantities: Sequence[Quantity]
    ) -> tuple[list[Reading], list[int]]:
        """Deliver a run, if it is not empty; return an empty one."""
        if run:
            self._on_run(run, seconds, quantities)
        return [], []

    def _on_message_list(self, message: bytes) -> int:
        """Read a frame with a list of messages; anything else that cannot be read is counted."""
        messages = messages_in(message) or [None]
        readable = [each for each in messages if each is not None]
        if unreadable := len(messages) - len(readable):
            self.malformed += unreadable
            self._fields.report("ProductEvent", "message", "unreadable")
        return self._on_messages(readable) if readable else 0

    def _note_soc_delivered(self, second: int) -> None:
        """Remember the first state of charge that is delivered on an assumed scale."""
        since = self._soc_since
        if self._assumes_scale and (since is None or second < since):
            self._soc_since = second

    def _on_soc_scale_learned(self, second: int) -> None:
        """Report a gap where a state of charge was delivered on a scale that has proved wrong."""
        fields, newest = self._fields, self._gap_filler.newest
        self._known_scale, self._assumes_scale, since = (
            fields.scale_changes,
            fields.scale_assumed,
            self._soc_since,
        )
        if self._fast_readers is not None:
            self._fast_readers, self._fast_reader = fields.fields.fast_readers, None
        if since is not None and newest is not None:
            missing = frozenset({Quantity.BATTERY_SOC})
            self._deliver_gap(Missing(min(since, second), max(since, newest), SOC_SCALE, missing))

    def _read(self, message: bytes) -> tuple[Mapping[str, JSON], datetime | None, int, Decoded]:
        """Parse a message in full; `time` is None for messages that are not latest-data.

        After two messages of one layout, a fast reader for that layout is used.
        """
        raw, time, second, data = event_message(message)
        decoded = _NOTHING if time is None else self._fields.read_event(data)
        if self._fast_readers is not None and time is not None:
            _, quantities, unusable = decoded
            same, self._last_quantities = self._last_quantities in {None, quantities}, quantities
            self._fast_reader = (
                self._fast_readers.reader_for(message, raw, data) if same and not unusable else None
            )
            self._charge_slow_parse()
        return raw, time, second, decoded

    def _charge_slow_parse(self) -> None:
        """Switch the fast path off for good when more than an eighth of the messages miss it."""
        saved = self.received - self._received_at_last_charge
        self._fast_path_budget = min(_FAST_PATH_BUDGET, self._fast_path_budget + saved) - _SLOW_PARSE_COST
        self._received_at_last_charge = self.received
        if self._fast_path_budget < 0:
            self._fast_readers = self._fast_reader = None

    def _on_run(self, run: Sequence[Reading], seconds: Sequence[int], quantities: Sequence[Quantity]) -> None:
        """Deliver a run at once if nothing is missing; else let the gap filler decide about each reading."""
        gap_filler, listener = self._gap_filler, self._listener
        if self._link_is_stale:
            self._link_is_stale = False
            gap_filler.open_gap()
        self._last_live_at = self._socket.received_at
        if Quantity.BATTERY_SOC in quantities:
            self._note_soc_delivered(seconds[0])
        if listener.has_room(len(run)) and gap_filler.try_pass_through(seconds, quantities):
            listener.on_readings(run, quantities)
            return
        for each in run:
            moment = RecordedMoment.of_live(each)
            emit = gap_filler.on_live(moment.second, quantities, moment, room=listener.has_room(1))
            if gap_filler.pending:  # a checkpoint must know the pending ranges before newer readings
                self._report_pending(done=False)
                self._start_backfill()
            if emit is not None:
                self._deliver_reading(emit)
            elif gap_filler.has_gap or gap_filler.ready:
                self._start_backfill()

    def _is_in_future(self, time: datetime) -> bool:
        """Return whether an event is dated after the vendor's time: no backfill may begin there."""
        ahead = self._horizon.is_ahead(time)
        self._known_latest = self._horizon.latest.timestamp()
        return ahead

    def _on_set_aside(
        self, time: datetime | None, values: Mapping[Quantity, float], raw: Mapping[str, object]
    ) -> None:
        """Count and report a message that is not a reading, or is dated after the vendor's time."""
        if time is None:
            self.unknown += 1
            kind = raw.get("type")
            if kind == "latest-data":  # a documented type, so data was lost
                self._fields.report("LatestData", "message", "without a time or data that can be read")
            else:
                self._fields.report("ProductEvent", f"type {kind}"[:80], UNKNOWN)
            self._listener.on_unknown(UnknownProductEvent(product_id=self._product_id, raw=raw))
            return
        self.malformed += 1
        self._fields.report("LatestData", "time", "after the service's own time")
        if self._on_future_reading is not None:
            self._on_future_reading(RecordedMoment.of_live(Reading(time, "", values, raw)))
        elif self._horizon.begins():
            now = int(self._horizon.now().timestamp())
            self._deliver_gap(Missing(min(self._gap_filler.newest or now, now), now, FROM_THE_FUTURE))

    def _on_state(self, state: State, reason: str, retry_in: float | None) -> None:
        opened = state is State.LIVE and self._last_state[0] is State.CONNECTING
        self._last_state = (state, reason, retry_in)
        self._wake()
        if opened:
            self._link_is_stale = False
            if self._vendor_clock is not None and (offset_s := self._vendor_clock.offset_s) is not None:
                self._gap_filler.correct_start(int(self._horizon.now().timestamp()), offset_s)
            self._gap_filler.open_gap()
        self._report_state()
        if self._gap_filler.has_gap or state is State.STALE:
            self._start_backfill()

    def _report_state(self) -> None:
        """Report the state of the socket, or `backfilling` while it is connected and a gap is filled."""
        state, reason, retry_in = self._last_state
        gap_filler = self._gap_filler
        if state in _CONNECTED and (gap_filler.has_gap or gap_filler.filling or gap_filler.ready):
            state, reason, retry_in = State.BACKFILLING, "fetching what was missed", None
        self._listener.on_state(state, reason, retry_in)

    # --- backfills -----------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Let the backfill task decide again what to do."""
        if self._wake_event is not None:
            self._wake_event.set()

    def _start_backfill(self) -> None:
        """Wake the backfill task, or start it."""
        self._wake()
        if not self._backfilling and self._tasks is not None:
            self._backfilling = True
            self._tasks.create_task(self._backfill(), name=f"voltstorage-{self._product_id} backfill")

    async def _backfill(self) -> None:
        """Fill gaps and retry pending ranges until there are none and the stream is not stale."""
        gap_filler = self._gap_filler
        while True:
            await self._deliver()
            if gap_filler.has_gap:
                await self._listener.room()
                await self._fill_gap()
            elif (pending := gap_filler.begin_retry(self._clock.monotonic())) is not None:
                await self._listener.room()
                await self._fetcher.retry(pending)
            elif self._last_state[0] is State.STALE:
                await self._check_stale_link()
            elif (due := gap_filler.next_retry_at) is not None:
                self._report_state()
                await self._wait_until(due)
            else:
                break
        self._backfilling = False
        self._report_state()

    async def _deliver(self) -> None:
        """Deliver what the gap filler has ready, as fast as the consumer takes it."""
        self._report_pending(done=False)
        while self._gap_filler.ready:
            await self._listener.room()
            each = self._gap_filler.pop()
            if isinstance(each, Emit):
                self._deliver_reading(each)
            elif each is not None:
                self._deliver_gap(each)
        self._report_pending()

    async def _check_stale_link(self) -> None:
        """Request the latest data of a stale stream; newer data means a gap now and before the next event."""
        latest, newest = await self._fetcher.latest(), self._gap_filler.newest
        if not self._is_stale():
            return
        if latest is not None and newest is not None and latest.second > newest:
            self._link_is_stale = True
            self._gap_filler.open_gap()
            await self._fill_gap(latest)
        if not self._is_stale():
            return
        due, retry_at = self._clock.monotonic() + self._config.stale_poll_s, self._gap_filler.next_retry_at
        await self._wait_until(due if retry_at is None else min(due, retry_at))

    async def _wait_until(self, wake_at: float) -> None:
        """Wait until a monotonic time, or until `_wake`."""
        event = self._wake_event = asyncio.Event()
        timer = self._clock.call_at(wake_at, event.set)
        try:
            await event.wait()
        finally:
            timer.cancel()
            self._wake_event = None

    def _is_stale(self) -> bool:
        return self._last_state[0] is State.STALE and not self._gap_filler.has_gap

    async def _fill_gap(self, latest: RecordedMoment | None = None) -> None:
        self._report_state()
        await self._fetcher.fill(lambda: self._last_live_at, latest)
        self._report_state()

    # --- to the listener -----------------------------------------------------------------------------------

    def _report_pending(self, *, done: bool = True) -> None:
        """Report the ranges that will be requested again, if they have changed.

        Args:
            done: Everything found of other ranges was delivered, so they may leave the report.
        """
        pending = self.pending if self._gap_filler.pending else []
        if not done:
            pending = sorted({*pending, *self._reported_pending})
        if pending != self._reported_pending:
            self._reported_pending = pending
            self._listener.on_pending(pending)

    def _deliver_reading(self, emit: Emit[RecordedMoment]) -> None:
        moment, second, ordinal, keys, backfilled = emit
        if self._known_scale != self._fields.scale_changes:  # a backfill has shown another scale
            self._on_soc_scale_learned(second)
        if backfilled and Quantity.BATTERY_SOC in keys:
            self._note_soc_delivered(second)
        if len(keys) < len(moment.values):
            moment = moment.only(keys, self._fields.fields)
        self.backfilled += backfilled
        self._listener.on_reading(moment, ordinal)

    def _deliver_gap(self, missing: Missing) -> None:
        self.gaps += 1
        start, end = to_datetime(missing.start), to_datetime(missing.end)
        self._listener.on_gap(start, end, missing.reason, frozenset(map(Quantity, missing.keys)))

    @printable
    def __repr__(self) -> str:
        counts = f"{self.received} received, {self.backfilled} backfilled, {self.gaps} gaps"
        return f"<ProductFeed {self._product_id} {self._last_state[0]}, {counts}; {self._gap_filler!r}>"


def to_datetime(second: int) -> datetime:
    """Return a unix second as an aware datetime in UTC."""
    return datetime.fromtimestamp(second, UTC)

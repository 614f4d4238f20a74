"""One product's live link and its past, joined so that nothing is lost in silence."""

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
from energy_core.stream.event import Reading, StreamPosition
from energy_core.stream.gap_filler import GapFiller
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.socket import ReconnectingSocket
from energy_core.stream.validation import FROM_THE_FUTURE, Horizon
from energy_core.stream.vocabulary import Quantity, State
from voltstorage_async.codec import event_message, messages_in
from voltstorage_async.event_types import UnknownProductEvent
from voltstorage_async.events.gap_filler import GapTracker
from voltstorage_async.events.recorded import BackfillConfig, RecordedData, RecordedMoment
from voltstorage_async.field_map import ProductFields
from voltstorage_async.field_reader import Decoded, Glance

_UP: Final = frozenset({State.LIVE, State.STALE})
_QUANTITIES: Final = QuantityBits(Quantity)
SOC_SCALE: Final = "soc_scale"
"""The reason of a gap in which a state of charge was delivered on a scale that proved wrong."""
_CREDIT: Final = 256
_COST: Final = 8
"""A message that is read in full for all that takes up what was won with so many others, at the most."""

_NOTHING: Final[Decoded] = ({}, (), 0)
_from_timestamp: Final = datetime.fromtimestamp


class FeedListener(Protocol):
    """Who is told."""

    async def room(self) -> None:
        """Wait until there is."""

    def holds(self, count: int) -> bool:
        """Tell whether there is room for so many live events."""

    def tell_run(self, readings: Sequence[Reading], quantities: Sequence[Quantity]) -> None:
        """Take live readings, all of these quantities, each the first of its second; `raw` may be unread."""

    def tell(self, moment: RecordedMoment, ordinal: int) -> None:
        """Take what was measured in a second; the ordinal tells moments of one second apart."""

    def remark(self, event: UnknownProductEvent) -> None:
        """Take a message that is no data."""

    def miss(self, start: datetime, end: datetime, reason: str, quantities: frozenset[Quantity]) -> None:
        """Take notice of what is lost."""

    def wait_for(self, stretches: Sequence[tuple[datetime, datetime]]) -> None:
        """Take notice of the stretches that will be asked for again: these, and no others."""

    def be(self, state: State, reason: str, retry_in: float | None) -> None:
        """Take notice of how the line is doing."""


class ProductFeed:
    """Reads the socket without ever waiting; a task that exists only while there is a hole fills it.

    A message of unknown type has no time, so it is never held and never fetched again.

    Args:
        product_id: Whose events.
        link: Where they come from.
        past: Where those that were missed come from.
        sink: Who is told.
        fields: What keys and columns mean.
        since: What came from this moment on counts as missed at the first connection.
        timing: Of the socket.
        healing: Of the filling.
        clock: Where time comes from.
        ssl_context: As for `ReconnectingSocket`.
        vendor_clock: The service's own time.
        on_ahead: Takes what is dated after that and is set aside; else the first of an episode is a gap.
        unread: Whether messages may be read at a glance; then the `raw` of a live reading may be unread.
    """

    __slots__ = (
        *(
            "_announced",
            "_clock",
            "_credit",
            "_deaf",
            "_fields",
            "_filling",
            "_glance",
            "_healing",
            "_heard_at",
            "_horizon",
            "_last_in_full",
            "_latest",
            "_learned",
            "_mender",
            "_mending",
            "_on_ahead",
        ),
        *(
            "_past",
            "_product_id",
            "_resumed",
            "_sink",
            "_assuming",
            "_soc_since",
            "_socket",
            "_state",
            "_stirred",
            "_vendor_clock",
            "_straight",
            "_tasks",
            "_weighed",
        ),
        *("backfilled", "gaps", "malformed", "received", "unknown", "unusable"),
    )

    def __init__(
        self,
        product_id: int,
        link: EndpointProvider,
        past: RecordedData,
        sink: FeedListener,
        *,
        fields: ProductFields,
        since: datetime | None,
        timing: SocketConfig,
        healing: BackfillConfig,
        clock: Clock | None = None,
        ssl_context: ssl.SSLContext | None = None,
        vendor_clock: VendorClock | None = None,
        on_ahead: Callable[[RecordedMoment], None] | None = None,
        unread: bool = False,
    ) -> None:
        self.received = 0
        """Messages that were events, of unknown types included."""
        self.unknown = 0
        """Those of them that nobody documented."""
        self.malformed = 0
        """Messages that could not be read, or that are dated after the service's own time."""
        self.unusable = 0
        """Values left out because they are not numbers."""
        self.backfilled = 0
        """Moments that were fetched later."""
        self.gaps = 0
        """Stretches that could not be."""
        self._product_id = product_id
        self._past = past
        self._sink = sink
        self._fields = fields
        self._learned = fields.learned
        self._assuming = fields.assumes
        self._soc_since: int | None = None  # the earliest second of a charge told on an assumed scale
        self._straight = fields.fields.straight if unread else None
        self._glance: Glance | None = None  # reads messages that look like those before ...
        self._last_in_full: Sequence[Quantity] | None = None  # ... held these when one was last read in full
        self._credit = _CREDIT  # of glancing, which does not pay where too much is read in full all the same
        self._weighed = 0  # what had been received when it was weighed
        self._healing = healing
        self._clock = clock or SystemClock()
        self._mender: GapFiller[RecordedMoment] = GapFiller(
            since=None if since is None else int(since.timestamp()),
            hold=healing.hold,
            overlap_s=healing.overlap_s,
            retry_s=healing.retry_s,
            window_s=healing.window_s,
            window_ids=healing.window_ids,
            keys=_QUANTITIES,
        )
        self._vendor_clock = vendor_clock
        self._horizon = Horizon(self._clock, vendor_clock)
        self._filling = GapTracker(
            self._mender, past, healing, self._clock, self._horizon, hand_over=self._hand_over
        )
        self._socket = ReconnectingSocket(
            link,
            on_messages=self._on_messages,
            on_state=self._on_state,
            timing=timing,
            clock=self._clock,
            ssl_context=ssl_context,
            vendor_clock=vendor_clock,
        )
        self._on_ahead = on_ahead
        self._latest = 0.0  # seconds from which on a time is looked at
        self._state: tuple[State, str, float | None] = (State.CONNECTING, "", None)
        self._heard_at: float | None = None  # the last live event, by the clock's seconds
        self._deaf = False  # the server has news and does not tell them over this link
        self._tasks: asyncio.TaskGroup | None = None
        self._mending = False
        self._announced: list[tuple[datetime, datetime]] = []  # what waits, as it was said last
        self._resumed: Sequence[tuple[datetime, datetime]] = ()
        self._stirred: asyncio.Event | None = None
        """There only while somebody waits for it: a program may have thousands of lines."""

    @property
    def discarded(self) -> int:
        """Live events that found no room, or could not be held; they are fetched later."""
        return self._mender.discarded

    @property
    def left_out(self) -> int:
        """Rows of the past that are dated wrongly, or outside the range that was asked for."""
        return self._filling.left_out

    @property
    def waiting(self) -> list[tuple[datetime, datetime]]:
        """Stretches that will be asked for again."""
        parts = (part for each in self._mender.waiting for part in each.parts)
        return [(moment_of(start), moment_of(end)) for start, end in parts]

    def resume(self, stopped: StreamPosition, *, seen: Collection[Quantity] = ()) -> None:
        """Go on where a consumer stopped, perhaps in the middle of a second; before `run`."""
        self._resumed = stopped.pending
        self._mender.heard([*stopped.seen, *seen])
        if stopped.quantities:
            second = int(stopped.time.timestamp())
            of_it = [each.rpartition("/")[2] for each in stopped.ids if f"/{second}/" in each]
            # Of many, only the last are named; ordinals count from 0.
            count = 1 + max((int(each) for each in of_it if each.isdecimal()), default=0)
            self._mender.resume(second, stopped.quantities, count)

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            RequestError: a refusal that waiting cannot mend.
            ClientClosed: the client was closed meanwhile.
        """
        for start, end in self._resumed:
            first, last = int(start.timestamp()), int(end.timestamp())
            self._mender.resume_waiting(first, last, self._clock.monotonic())
        try:
            async with asyncio.TaskGroup() as self._tasks:
                if self._resumed:
                    self._stir()
                await self._socket.run()
        except BaseExceptionGroup as group:
            error = group.exceptions[0]
            raise error from error.__cause__
        finally:
            for missing in self._mender.give_up_waiting():
                self._miss(missing)
            self._announce_waiting()

    # --- what the socket says ------------------------------------------------------------------------------

    def _on_messages(self, messages: list[bytes]) -> int:
        """Read what came, and hand it over in runs of data that follow each other and are alike."""
        if self._learned != self._fields.learned:  # by what was fetched
            self._rescaled(self._mender.newest or 0)
        glance, product, new = self._glance, self._product_id, tuple.__new__
        run: list[Reading] = []
        seconds: list[int] = []
        alike: Sequence[Quantity] = ()
        events, listed, last = 0, 0, 0
        raw: Mapping[str, object]
        time: datetime | None
        for message in messages:
            if glance is not None and (told := glance(message)) is not None:
                second, (values, quantities, unusable) = told
                raw, time = LazyMapping(strict_json, message), _from_timestamp(second, UTC)
            else:
                try:
                    raw, time, second, (values, quantities, unusable) = self._read(message)
                except DecodeError:
                    run, seconds = self._flushed(run, seconds, alike)
                    listed += self._on_list(message)
                    glance = self._glance  # a list may have shown another scale
                    continue
                if self._learned != self._fields.learned:
                    self._learned = self._fields.learned  # reported once, after what came before
                    run, seconds = self._flushed(run, seconds, alike)
                    self._rescaled(second)
                glance = self._glance
            events += 1
            aside = time is None or (second > self._latest and self._is_ahead(time))
            if run and (aside or quantities is not alike or second <= last):
                run, seconds = self._flushed(run, seconds, alike)
            if time is None or aside:
                self._leave_out(time, values, raw)
                continue
            self.unusable += unusable
            alike, last = quantities, second
            seconds.append(second)
            run.append(new(Reading, (time, f"{product}/{second}/0", values, raw, False, 0)))
        self._flushed(run, seconds, alike)
        self.received += events
        return events + listed

    def _flushed(
        self, run: list[Reading], seconds: list[int], quantities: Sequence[Quantity]
    ) -> tuple[list[Reading], list[int]]:
        """Hand over a run, if there is one; return an empty one."""
        if run:
            self._on_run(run, seconds, quantities)
        return [], []

    def _on_list(self, message: bytes) -> int:
        """Read a frame that holds several messages; any other that cannot be read is counted."""
        messages = messages_in(message) or [None]
        readable = [each for each in messages if each is not None]
        if unread := len(messages) - len(readable):
            self.malformed += unread
            self._fields.note("ProductEvent", "message", "unreadable")
        return self._on_messages(readable) if readable else 0

    def _note_soc(self, second: int) -> None:
        """Note that a state of charge is delivered, perhaps on a scale that will prove wrong."""
        since = self._soc_since
        if self._assuming and (since is None or second < since):
            self._soc_since = second

    def _rescaled(self, second: int) -> None:
        """Report that charges were delivered on another scale than the one that was found now."""
        fields = self._fields
        self._learned, self._assuming, since = fields.learned, fields.assumes, self._soc_since
        if self._straight is not None:
            self._straight, self._glance = fields.fields.straight, None
        if since is not None and self._mender.newest is not None:
            missing = frozenset({Quantity.BATTERY_SOC})
            self._miss(Missing(min(since, second), max(since, self._mender.newest), SOC_SCALE, missing))

    def _read(self, message: bytes) -> tuple[Mapping[str, JSON], datetime | None, int, Decoded]:
        """Read a message in full; what has no time is no data. After two that are alike, a glance will do."""
        raw, time, second, data = event_message(message)
        meant = _NOTHING if time is None else self._fields.event(data)
        if self._straight is not None and time is not None:
            _, quantities, unusable = meant
            alike, self._last_in_full = self._last_in_full in {None, quantities}, quantities
            self._glance = self._straight.like(message, raw, data) if alike and not unusable else None
            self._weigh()
        return raw, time, second, meant

    def _weigh(self) -> None:
        """Give up glancing, for good, where more than an eighth has to be read in full."""
        self._credit = min(_CREDIT, self._credit + self.received - self._weighed) - _COST
        self._weighed = self.received
        if self._credit < 0:
            self._straight = self._glance = None

    def _on_run(self, run: Sequence[Reading], seconds: Sequence[int], quantities: Sequence[Quantity]) -> None:
        mender, sink = self._mender, self._sink
        if self._deaf:
            self._deaf = False
            mender.open_gap()
        self._heard_at = self._socket.heard_at
        if Quantity.BATTERY_SOC in quantities:
            self._note_soc(seconds[0])
        if sink.holds(len(run)) and mender.try_pass_through(seconds, quantities):
            sink.tell_run(run, quantities)
            return
        for each in run:
            moment = RecordedMoment.of_live(each)
            take = mender.on_live(moment.second, quantities, moment, room=sink.holds(1))
            if mender.waiting:  # the waiting stretches must be known before what follows is delivered
                self._announce_waiting(done=False)
                self._stir()
            if take is not None:
                self._tell(take)
            elif mender.open or mender.ready:
                self._stir()

    def _is_ahead(self, time: datetime) -> bool:
        """Tell whether an event is dated after its time: no fill may begin with it."""
        ahead = self._horizon.is_ahead(time)
        self._latest = self._horizon.latest.timestamp()
        return ahead

    def _leave_out(
        self, time: datetime | None, values: Mapping[Quantity, float], raw: Mapping[str, object]
    ) -> None:
        """Count and tell what is no data, or dated after its time."""
        if time is None:
            self.unknown += 1
            kind = raw.get("type")
            if kind == "latest-data":  # which is documented, so that something is lost
                self._fields.note("LatestData", "message", "without a time or data that can be read")
            else:
                self._fields.note("ProductEvent", f"type {kind}"[:80], UNKNOWN)
            self._sink.remark(UnknownProductEvent(product_id=self._product_id, raw=raw))
            return
        self.malformed += 1
        self._fields.note("LatestData", "time", "after the service's own time")
        if self._on_ahead is not None:
            self._on_ahead(RecordedMoment.of_live(Reading(time, "", values, raw)))
        elif self._horizon.begins():
            now = int(self._horizon.now().timestamp())
            self._miss(Missing(min(self._mender.newest or now, now), now, FROM_THE_FUTURE))

    def _on_state(self, state: State, reason: str, retry_in: float | None) -> None:
        opened = state is State.LIVE and self._state[0] is State.CONNECTING
        self._state = (state, reason, retry_in)
        self._stir_up()
        if opened:
            self._deaf = False
            if self._vendor_clock is not None and (offset_s := self._vendor_clock.offset_s) is not None:
                self._mender.correct_start(int(self._horizon.now().timestamp()), offset_s)
            self._mender.open_gap()
        self._announce()
        if self._mender.open or state is State.STALE:
            self._stir()

    def _announce(self) -> None:
        """Say how the line is doing; while it is up and a hole is filled, that it is filled."""
        state, reason, retry_in = self._state
        mender = self._mender
        if state in _UP and (mender.open or mender.filling or mender.ready):
            state, reason, retry_in = State.BACKFILLING, "fetching what was missed", None
        self._sink.be(state, reason, retry_in)

    # --- filling holes -------------------------------------------------------------------------------------

    def _stir_up(self) -> None:
        if self._stirred is not None:
            self._stirred.set()

    def _stir(self) -> None:
        self._stir_up()
        if not self._mending and self._tasks is not None:
            self._mending = True
            name = f"voltstorage-{self._product_id} mending"
            self._tasks.create_task(self._mend(), name=name)

    async def _mend(self) -> None:
        """Go on until there is no hole any more and the server is not silent."""
        while True:
            await self._hand_over()
            if self._mender.open:
                await self._sink.room()
                await self._fill()
            elif (waiting := self._mender.ask_again(self._clock.monotonic())) is not None:
                await self._sink.room()
                await self._filling.fill_later(waiting)
            elif self._state[0] is State.STALE:
                await self._question_silence()
            elif (due := self._mender.due) is not None:
                self._announce()
                await self._rest(due)
            else:
                break
        self._mending = False
        self._announce()

    async def _hand_over(self) -> None:
        self._announce_waiting(done=False)
        while self._mender.ready:
            await self._sink.room()
            each = self._mender.pop()
            if isinstance(each, Emit):
                self._tell(each)
            elif each is not None:
                self._miss(each)
        self._announce_waiting()

    async def _question_silence(self) -> None:
        """Ask whether there really is nothing new; if there is, it is a hole, and so is what is told next."""
        latest, newest = await self._filling.present(), self._mender.newest
        if not self._silent():
            return
        if latest is not None and newest is not None and latest.second > newest:
            self._deaf = True
            self._mender.open_gap()
            await self._fill(latest)
        if not self._silent():
            return
        due = self._clock.monotonic() + self._healing.silence_s
        await self._rest(due if self._mender.due is None else min(due, self._mender.due))

    async def _rest(self, wake_at: float) -> None:
        """Wait for something to be due, or to happen."""
        stirred = self._stirred = asyncio.Event()
        timer = self._clock.call_at(wake_at, stirred.set)
        try:
            await stirred.wait()
        finally:
            timer.cancel()
            self._stirred = None

    def _silent(self) -> bool:
        return self._state[0] is State.STALE and not self._mender.open

    async def _fill(self, latest: RecordedMoment | None = None) -> None:
        self._announce()
        await self._filling.fill(lambda: self._heard_at, latest)
        self._announce()

    # --- telling -------------------------------------------------------------------------------------------

    def _announce_waiting(self, *, done: bool = True) -> None:
        """Say which stretches will be asked for again, where that has changed.

        `done`: what was found of the others has been told.
        """
        waiting = self.waiting if self._mender.waiting else []
        if not done:
            waiting = sorted({*waiting, *self._announced})
        if waiting != self._announced:
            self._announced = waiting
            self._sink.wait_for(waiting)

    def _tell(self, take: Emit[RecordedMoment]) -> None:
        moment, second, ordinal, keys, backfilled = take
        if self._learned != self._fields.learned:  # by what was fetched
            self._rescaled(second)
        if backfilled and Quantity.BATTERY_SOC in keys:
            self._note_soc(second)
        if len(keys) < len(moment.values):
            moment = moment.only(keys, self._fields.fields)
        self.backfilled += backfilled
        self._sink.tell(moment, ordinal)

    def _miss(self, missing: Missing) -> None:
        self.gaps += 1
        start, end = moment_of(missing.start), moment_of(missing.end)
        self._sink.miss(start, end, missing.reason, frozenset(map(Quantity, missing.keys)))

    @printable
    def __repr__(self) -> str:
        counts = f"{self.received} received, {self.backfilled} backfilled, {self.gaps} gaps"
        return f"<Line of product {self._product_id} {self._state[0]}, {counts}; {self._mender!r}>"


def moment_of(second: int) -> datetime:
    """Return the beginning of a unix second."""
    return datetime.fromtimestamp(second, UTC)

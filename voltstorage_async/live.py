"""Product events as unified readings."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self

from energy_core.clock import SystemClock, VendorClock
from energy_core.errors import StreamBusy
from energy_core.printable import printable
from energy_core.stream.dedupe import BEYOND_CAP, Emit
from energy_core.stream.endpoint import EndpointProvider
from energy_core.stream.event import Outlet, Reading, StreamPosition
from energy_core.stream.gap_filler import GapFiller
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.validation import Horizon
from energy_core.stream.vocabulary import Quantity, SourceId, State
from voltstorage_async.event_types import UnknownProductEvent
from voltstorage_async.events.feed import ProductFeed, moment_of
from voltstorage_async.events.gap_filler import GapTracker
from voltstorage_async.events.recorded import BackfillConfig, RecordedData, RecordedMoment
from voltstorage_async.field_map import ProductFields


class ProductSource:
    """One product's events, put into an outlet straight from the socket. Used once.

    Frames may hold only what changed; a reading holds what its frame holds. Only data is a reading: a
    message of an unknown type has no time and no values, and is counted. What was missed comes later and
    marked `backfilled`, or is a gap.
    """

    __slots__ = (
        *("_fields", "_healing", "_id", "_line", "_link", "_past", "_seen", "_since", "_ssl_context"),
        *("__weakref__", "_stopped", "_timing", "left_out", "owner", "vendor_clock"),
    )

    def __init__(
        self,
        id: SourceId,  # noqa: A002  (the source's own word)
        link: EndpointProvider,
        past: RecordedData,
        *,
        fields: ProductFields,
        since: datetime | None = None,
        timing: SocketConfig = SocketConfig(),  # noqa: B008  (frozen)
        healing: BackfillConfig = BackfillConfig(),  # noqa: B008  (frozen)
        ssl_context: ssl.SSLContext | None = None,
        owner: str = "",
        seen: Collection[Quantity] = (),
        vendor_clock: VendorClock | None = None,
    ) -> None:
        self.owner = owner
        """Distinguishes credentials under one account label."""
        self._id = id
        self._link = link
        self._past = past
        self._fields = fields
        self._since = since
        self._stopped: StreamPosition | None = None
        self._timing = timing
        self._healing = healing
        self._ssl_context = ssl_context
        self.vendor_clock = vendor_clock
        self._seen: set[Quantity] = set(seen)
        self.left_out = 0
        self._line: ProductFeed | None = None

    @property
    def id(self) -> SourceId:
        """Names the source in its events."""
        return self._id

    @property
    def unknown(self) -> int:
        """Messages of a type nobody documented."""
        return self._line.unknown if self._line else 0

    @property
    def malformed(self) -> int:
        """Messages that could not be read."""
        return self._line.malformed if self._line else 0

    @property
    def unusable(self) -> int:
        """Values left out because they are not numbers."""
        return self._line.unusable if self._line else 0

    @property
    def notes(self) -> Mapping[str, int | str]:
        """What was left out, counted; the assumed scale of the state of charge; keys that mean nothing."""
        meaningless = ", ".join(self._fields.meaningless)
        left_out = self.left_out + (self._line.left_out if self._line else 0)
        return {
            **({"rows_left_out": left_out} if left_out else {}),
            "unknown": self.unknown,
            "malformed": self.malformed,
            "unusable": self.unusable,
            "battery_soc_scale": self._fields.scale,
            **({"without_meaning": meaningless} if meaningless else {}),
        }

    @property
    def retry_s(self) -> Sequence[float]:
        """When what a refill did not bring is asked for again."""
        return self._healing.retry_s

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Presume a hole from where a consumer stopped; before `run`."""
        position = positions.get(self._id)
        if position is not None:
            self._stopped = position
            self._seen |= position.seen | position.quantities
            self._since = position.time - timedelta(seconds=self._healing.overlap_s)

    def again(self) -> Self:
        """Return a fresh source like this one."""
        return type(self)(
            self._id,
            self._link,
            self._past,
            fields=self._fields,
            since=self._since,
            timing=self._timing,
            healing=self._healing,
            ssl_context=self._ssl_context,
            owner=self.owner,
            seen=self._seen,
            vendor_clock=self.vendor_clock,
        )

    async def run(self, outlet: Outlet) -> None:
        """Put readings until cancelled.

        Raises:
            StreamBusy: the source was used before.
            RequestError: a refusal that waiting cannot mend.
        """
        if self._line is not None:
            raise StreamBusy("a source is used once; ask the client for another")
        mouth = _OutletListener(self._id, outlet, self._seen)
        self._line = ProductFeed(
            int(self._id.site),
            self._link,
            self._past,
            mouth,
            fields=self._fields,
            since=self._since,
            timing=self._timing,
            healing=self._healing,
            ssl_context=self._ssl_context,
            vendor_clock=self.vendor_clock,
            on_ahead=mouth.set_aside,
            unread=True,
        )
        if self._stopped is not None:
            self._line.resume(self._stopped, seen=self._seen)
        await self._line.run()

    async def refill(
        self, outlet: Outlet, source: SourceId, start: datetime, end: datetime
    ) -> list[tuple[datetime, datetime]]:
        """Put everything the export has from `start` to `end` into `outlet`, and say what it cannot have.

        Returns:
            The stretches that the export did not prove to be whole: it may have more of them later.
        """
        begin, last = start.timestamp(), end.timestamp()
        if begin < last - self._healing.furthest_back_s:
            begin = last - self._healing.furthest_back_s
            until = datetime.fromtimestamp(begin, start.tzinfo)
            outlet.gap(source, start=start, end=until, reason=BEYOND_CAP)
        clock, mouth = SystemClock(), _OutletListener(source, outlet, set())
        mender: GapFiller[RecordedMoment] = GapFiller(
            window_s=self._healing.furthest_back_s + 1, window_ids=sys.maxsize, retry_s=self._healing.retry_s
        )
        mender.heard(self._seen)

        async def hand_over() -> None:
            while mender.ready:
                await outlet.room()
                each = mender.pop()
                if isinstance(each, Emit):
                    mouth.tell(each.item.only(each.keys, self._fields.fields), each.ordinal)
                elif each is not None:
                    start, end = moment_of(each.start), moment_of(each.end)
                    mouth.miss(start, end, each.reason, frozenset(map(Quantity, each.keys)))

        filling = GapTracker(
            mender, self._past, self._healing, clock, Horizon(clock, self.vendor_clock), hand_over=hand_over
        )
        now = clock.monotonic()
        mender.resume_waiting(int(begin), int(last), now)
        if (waiting := mender.ask_again(now)) is not None:
            await filling.fill_later(waiting)
        self.left_out += filling.left_out
        parts = (part for each in mender.waiting for part in each.parts)
        return [(moment_of(start), moment_of(end)) for start, end in parts]

    @printable
    def __repr__(self) -> str:
        counts = f"{self.unknown} unknown, {self.malformed} malformed, {self.unusable} unusable values"
        return f"<ProductSource {self._id}: {counts}>"


class _OutletListener:
    """The line's `FeedListener`: says it all to an outlet, which has its own ways with slow consumers."""

    __slots__ = ("_id", "_outlet", "_product", "_quantities", "_seen")

    def __init__(self, id: SourceId, outlet: Outlet, seen: set[Quantity]) -> None:  # noqa: A002
        self._id = id
        self._outlet = outlet
        self._product = int(id.site)
        self._seen = seen
        self._quantities: Sequence[Quantity] = ()  # of the last live readings

    def holds(self, count: int) -> bool:  # noqa: ARG002  (however many)
        """There is always room."""
        return True

    async def room(self) -> None:
        """Wait until the outlet has room."""
        await self._outlet.room()

    def tell_run(self, readings: Sequence[Reading], quantities: Sequence[Quantity]) -> None:
        """Hand over live readings that came together."""
        if quantities is not self._quantities:
            self._quantities = quantities
            self._seen.update(quantities)
        self._outlet.readings(self._id, readings)

    def tell(self, moment: RecordedMoment, ordinal: int) -> None:
        """Hand over one reading."""
        second, time, _, raw, values, backfilled = moment
        if not backfilled:
            self._seen.update(values)
        name = f"{self._product}/{second}/{ordinal}"  # as the line names the first of a second
        self._outlet.reading(self._id, time=time, id=name, values=values, raw=raw, backfilled=backfilled)

    def remark(self, event: UnknownProductEvent) -> None:
        """Let it be: it is no reading."""

    def miss(self, start: datetime, end: datetime, reason: str, quantities: frozenset[Quantity]) -> None:
        """Report a gap."""
        self._outlet.gap(self._id, start=start, end=end, reason=reason, quantities=sorted(quantities))

    def set_aside(self, moment: RecordedMoment) -> None:
        """Hand over what is dated after its time: the outlet counts and reports it, and goes no further."""
        self.tell(moment, 0)

    def wait_for(self, stretches: Sequence[tuple[datetime, datetime]]) -> None:
        """Say what will be asked for again."""
        self._outlet.pending(self._id, stretches)

    def be(self, state: State, reason: str, retry_in: float | None) -> None:
        """Announce a state."""
        self._outlet.status(state, reason=reason, retry_in=retry_in)

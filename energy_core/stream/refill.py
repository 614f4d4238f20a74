"""Fetches again, in a background task, what did not fit into the buffer of a slow consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

from energy_core.clock import Clock
from energy_core.errors import EnergyError
from energy_core.local_days import from_unix_second, unix_second
from energy_core.printable import printable
from energy_core.stream.backfill import Backfill, ProvenRange, RecordedRow, RecordItem
from energy_core.stream.buffer import Buffer
from energy_core.stream.dedupe import NOT_EXPORTED
from energy_core.stream.event import Event
from energy_core.stream.gap_engine import Delivery, GapConfig, GapEngine, GapState, ReportedRange, ResumePoint
from energy_core.stream.sequence import SequenceState
from energy_core.stream.source import (
    CompleteRange,
    HistoryConfig,
    HistoryItem,
    Reading,
    RecordedQuantities,
    TimeSpan,
    UnreadableRow,
)
from energy_core.stream.vocabulary import Gap, Quantity, SourceId

SLOW: Final = "slow_consumer"
"""Reason of a gap: the consumer was too slow, and the source cannot fetch the readings again."""

_MAX_PENDING: Final = 8
"""Ranges of one device that are requested again; with more, the oldest is reported as a gap."""

_MAX_SECONDS: Final = 1024
"""Seconds whose ids are kept without asking which of them are needed."""


class SourceOwner(Protocol):
    """The task of the source to which a device belongs."""

    refill_tasks: set[asyncio.Task[Any]]
    """Cancelled, and awaited, when the source ends."""

    @property
    def id(self) -> SourceId:
        """Id of the source."""

    @property
    def history_config(self) -> HistoryConfig | None:
        """What the history of the source can prove; None if it has none, or has ended."""

    def history(self, source: SourceId, start: datetime, end: datetime) -> AsyncIterator[HistoryItem]:
        """Return the valid recorded readings of a device from a start to an end."""

    def vendor_now(self) -> datetime:
        """Return the vendor's present time; ours where that is not known."""

    def internal_error(self, cause: Exception | None) -> EnergyError:
        """Return, and log, the error of a source that raised what no source may."""

    def note_loss(self, source: SourceId, seq: int, count: int, *, begins: bool) -> None:
        """Count readings that one consumer loses."""

    def count_gaps(self, count: int) -> None:
        """Count reported gaps."""


class Held(NamedTuple):
    """A reading with its time of arrival."""

    reading: Reading
    received_at: datetime


class RefillTarget(Protocol):
    """The subscriber that lacks readings."""

    buffer: Buffer[Event]
    clock: Clock

    def put_reading(self, source: SourceId, held: Held, *, over: bool) -> None:
        """Number a reading and put it into the buffer, up to twice its capacity if `over`."""

    def put_gap(self, source: SourceId, gap: Gap) -> None:
        """Number a gap and put it into the buffer."""

    def lose(self, source: SourceId, count: int) -> None:
        """Count live readings that are not delivered now."""

    def refilled(self, source: SourceId) -> None:
        """Note that nothing is missing any more."""


class _EventBits:
    """Gives each event of a second a bit of its own: the units that an engine counts."""

    __slots__ = ("_ids", "_most")

    def __init__(self) -> None:
        self._ids: dict[int, list[str]] = {}
        self._most = _MAX_SECONDS

    def bit(self, second: int, id: str) -> int:  # noqa: A002  (the event's own word)
        """Return the bit of an event."""
        ids = self._ids.setdefault(second, [])
        if id not in ids:
            ids.append(id)
        return 1 << ids.index(id)

    def forget(self, noted: Callable[[int], bool]) -> None:
        """Forget seconds of which the engine has noted nothing, once there are many."""
        if len(self._ids) > self._most:
            self._ids = {second: ids for second, ids in self._ids.items() if noted(second)}
            self._most = max(_MAX_SECONDS, 2 * len(self._ids))


class Refill(Backfill[Held]):
    """What one consumer lacks of one device: it exists from a refused reading until nothing is missing.

    The consumer gets older readings first: live ones are held as long as the first request runs. What cannot
    be held is requested again.

    Args:
        target: The subscriber.
        source: The device.
        sequence: What the subscriber has of it.
        owner: The task of its source.
    """

    __slots__ = (
        *("_bits", "_ending", "_fractions", "_lack_reported_to", "_newest", "_over", "_owner", "_quantities"),
        *("_sequence", "_source", "_target", "_task"),
    )

    def __init__(
        self, target: RefillTarget, source: SourceId, sequence: SequenceState, owner: SourceOwner
    ) -> None:
        config = owner.history_config or HistoryConfig()
        self._bits = _EventBits()
        self._newest = -1 if sequence.newest is None else unix_second(sequence.newest)
        units = 0
        for each in sequence.ids:
            units |= self._bits.bit(self._newest, each)
        here = self._newest, units, len(sequence.ids)
        point = ResumePoint(self._newest, (here,), 0, self._newest)
        limits = GapConfig(
            hold=target.buffer.capacity,
            discards=True,
            settle_s=config.settles_after,
            chunk_s=config.longest_s,
            ordered=config.ordered,
            max_gap_s=config.oldest_s,
            max_pending=_MAX_PENDING,
            retries_s=config.retries_s,
        )
        super().__init__(GapEngine(limits, None if sequence.newest is None else point), target.clock)
        self._target = target
        self._source = source
        self._sequence = sequence
        self._owner = owner
        self._fractions = False  # whether readings have fractions of seconds
        self._quantities: set[Quantity] = set()  # of refused readings
        self._lack_reported_to = -1  # up to here it was reported that the record lacks some of them
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._over = False  # whether nothing is missing any more

    @property
    def pending(self) -> list[TimeSpan]:
        """Ranges that will be requested again."""
        return [
            self._span(gap.start, gap.last_in(self._newest))
            for gap in self.engine.gaps
            if gap.state is GapState.PENDING
        ]

    def live(self, held: Held, *, refused: bool = False) -> None:
        """Take a reading that arrived: it is delivered, held or given to the gap, as `refused` ones are."""
        reading, at = held.reading, unix_second(held.reading.time)
        self._newest = max(self._newest, at)
        self._fractions |= bool(reading.time.microsecond)
        self._quantities.update(reading.values)
        units = self._bits.bit(at, reading.id)
        room = self.has_room and not refused
        lost = self.engine.live(at, units, held, self.now(), room=room)
        if lost:
            self._target.lose(self._source, lost)
        self._bits.forget(self.engine.has_notes)
        self.update()

    @property
    def newest(self) -> datetime:
        """The second of the newest reading, delivered or not."""
        return from_unix_second(self._newest)

    def miss(self, start: datetime, end: datetime) -> None:
        """Note that all is missing from `start` to `end`."""
        self._newest = max(self._newest, unix_second(end))
        self.engine.miss(unix_second(start), unix_second(end), self.now())

    def begin(self) -> None:
        """Fetch what is missing, now that the consumer has caught up; report it if that is impossible."""
        if self._owner.history_config is None:
            self.end(SLOW)
            return
        self.engine.relief(self.now())
        self.update()
        if self._task is None and not self.engine.calm:
            name = f"energy refill of {self._source}"
            task = self._task = asyncio.get_running_loop().create_task(self.run(), name=name)
            self._owner.refill_tasks.add(task)
            task.add_done_callback(self._on_done)

    def end(self, reason: str) -> None:
        """Report what is missing, and deliver what is held."""
        self._ending = True
        self.engine.end(self.error or reason)
        while (each := self.engine.pop()) is not None:
            self.deliver(each)
        self.update()

    def cancel(self) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._task.cancel()

    # --- as the loop needs it ------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the vendor's time; not less than that of any reading."""
        return max(self._owner.vendor_now().timestamp(), self._newest)

    @property
    def has_room(self) -> bool:
        """Whether the buffer has room."""
        return self._target.buffer.has_room

    async def room(self) -> None:
        """Wait until the buffer has room. Cancelling is safe."""
        await self._target.buffer.room()

    async def record(self, start: int, end: int) -> AsyncIterator[RecordItem[Held]]:
        """Iterate over the history of the device."""
        last = from_unix_second(end) + timedelta(microseconds=999_999)
        rows = self._owner.history(self._source, from_unix_second(start), last)
        try:
            async for each in rows:
                match each:
                    case Reading():
                        at = unix_second(each.time)
                        known = self._sequence.recent_ids.has(each.id, each.revision)
                        units = 0 if known else self._bits.bit(at, each.id)
                        reading = each._replace(backfilled=True)
                        yield RecordedRow(at, units, Held(reading, self._target.clock.utcnow()))
                    case CompleteRange(since, until, reason):
                        yield ProvenRange(unix_second(since), unix_second(until), reason)
                    case RecordedQuantities(quantities):
                        self._report_lack(start, end, self._quantities - quantities)
                    case UnreadableRow():
                        yield each
                    case Gap():
                        self._report(each)
        finally:
            close = getattr(rows, "aclose", None)
            if close is not None:
                await close()

    def deliver(self, each: Delivery[Held] | ReportedRange) -> None:
        """Put a reading or a gap into the buffer."""
        if isinstance(each, ReportedRange):
            start, end = self._span(each.start, each.end)
            self._report(Gap(start=start, end=end, reason=each.reason))
        else:
            self._target.put_reading(self._source, each.item, over=self._ending)

    def failure(self, error: Exception) -> str:
        """Return the reason of a gap: the error, or that the source has a fault."""
        return str(error if isinstance(error, EnergyError) else self._owner.internal_error(error))

    def update(self) -> None:
        """Deliver what the engine has released; a checkpoint taken meanwhile has all pending ranges."""
        if self._over:  # another refill may have begun
            return
        before = set(self._sequence.pending_by_refill)
        after = set(self.pending)
        if not after <= before:
            self._sequence.set_pending(before | after, by_refill=True)
        super().update()
        if set(self._sequence.pending_by_refill) != after:
            self._sequence.set_pending(after, by_refill=True)
        if self.engine.calm:
            self._over = True
            self._target.refilled(self._source)

    def _report(self, gap: Gap) -> None:
        self._owner.count_gaps(1)
        self._target.put_gap(self._source, gap)

    def _report_lack(self, start: int, end: int, lacks: set[Quantity]) -> None:
        """Report, before the rows of a range, the quantities that the record cannot have."""
        start = max(start, self._lack_reported_to + 1)
        if lacks and start <= end:
            self._lack_reported_to = end
            since, until = self._span(start, end)
            self._report(Gap(start=since, end=until, reason=NOT_EXPORTED, quantities=tuple(sorted(lacks))))

    def _span(self, start: int, end: int) -> TimeSpan:
        last = timedelta(microseconds=999_999 if self._fractions else 0)
        return from_unix_second(start), from_unix_second(end) + last

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._owner.refill_tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            raise error

    @printable
    def __repr__(self) -> str:
        return f"<Refill of {self._source}: {len(self.engine.gaps)} gaps, {len(self.engine.held)} held>"

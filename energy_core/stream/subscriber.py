"""One consumer's side of a stream: numbers readings, drops duplicates, buffers and refills."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from energy_core.clock import Clock
from energy_core.printable import printable
from energy_core.stream.buffer import Policy, buffer_for
from energy_core.stream.event import Event
from energy_core.stream.sequence import RefillState, SequenceState
from energy_core.stream.source import Reading, StreamPosition, TimeSpan
from energy_core.stream.vocabulary import AlarmChange, Detail, Dropped, Gap, Kind, SourceId

SLOW: Final = "slow_consumer"
"""Reason of a gap: the consumer was too slow, and the source cannot fetch the readings again."""

_KEPT_IDS: Final = 32
"""Ids kept of a removed source; enough for its last seconds."""


class SourceOwner(Protocol):
    """The task of the source to which a device belongs."""

    @property
    def id(self) -> SourceId:
        """Id of the source."""

    def refill(self, subscriber: Subscriber, source: SourceId) -> None:
        """Fetch again what did not fit into the subscriber's buffer, or report a gap."""

    def note_loss(self, source: SourceId, seq: int, count: int, *, begins: bool) -> None:
        """Count readings that one consumer loses."""


class Subscriber:
    """Numbers the readings of all sources for one consumer and puts them into its buffer.

    Args:
        policy: What happens when the buffer is full.
        capacity: Readings that fit into the buffer.
        clock: Source of time.
    """

    def __init__(self, policy: Policy, capacity: int, clock: Clock) -> None:
        self.buffer = buffer_for(policy, capacity, on_relief=self._on_relief, clock=clock)
        self.policy = policy
        self.duplicates = 0
        """Readings dropped as duplicates."""
        self.lost = 0
        """Readings that did not fit; under `block` they are fetched again where possible."""
        self.sequences: dict[SourceId, SequenceState] = {}
        self.owners: dict[SourceId, SourceOwner] = {}
        self.refill_tasks: set[asyncio.Task[Any]] = set()
        """Tasks that fetch again what did not fit; cancelled by `close`."""
        self.clock = clock
        self._refills = policy == "block"

    def sequence(self, source: SourceId, owner: SourceOwner, key: str) -> SequenceState:
        """Return the state of `source`, created at the first call."""
        sequence = self.sequences.get(source)
        if sequence is None:
            sequence = self.sequences[source] = SequenceState(key)
            self.owners[source] = owner
        return sequence

    def owner_of(self, source: SourceId) -> SourceId:
        """Return the id of the source that a device belongs to."""
        return self.owners[source].id

    # --- readings ------------------------------------------------------------------------------------------

    def readings(  # noqa: PLR0917  (called for every read: keywords cost time)
        self,
        sequence: SequenceState,
        source: SourceId,
        readings: Sequence[Reading],
        received_at: datetime,
        live: bool,
        shared: Sequence[Event | None],
    ) -> Sequence[Event | None]:
        """Number readings and buffer them.

        Args:
            sequence: The state of their source.
            source: The device they are about.
            readings: At least one, validated.
            received_at: Time of arrival.
            live: Whether none is backfilled or revised, and each is newer than the one before.
            shared: Events that another subscriber made of these readings; reused where the numbers agree.

        Returns:
            The event of each reading; None for a duplicate or a reading that is held.
        """
        newest, count = sequence.newest, len(readings)
        if (
            live
            and (newest is None or readings[0][0] > newest)
            and sequence.overflow is None
            and sequence.dedupe_until is None
        ):
            seq = sequence.seq
            events = _reusable(shared, seq + 1, seq + count) if shared else None
            if events is None:
                events = _to_events(sequence.key, source, readings, seq + 1, received_at, False)
            if self.buffer.put_all(events):
                last = events[-1]
                sequence.recent_ids.add_all(readings)
                sequence.seq, sequence.newest = seq + count, last.time
                sequence.ids, sequence.quantities = (last.id,), tuple(last.values)
                return events
            shared = events
        others = shared or [None] * count
        return [
            self.reading(sequence, source, each, received_at, other)
            for each, other in zip(readings, others, strict=True)
        ]

    def reading(
        self,
        sequence: SequenceState,
        source: SourceId,
        reading: Reading,
        received_at: datetime,
        shared: Event | None = None,
    ) -> Event | None:
        """Number one reading and buffer it; see `readings`."""
        buffer = self.buffer
        if sequence.overflow is not None and not sequence.overflow.accepts:
            self._hold(sequence, sequence.overflow, source, reading, received_at)
            return None
        time, newest = reading.time, sequence.newest
        newer = newest is None or time > newest
        late = not newer and time != newest
        certain = reading.backfilled or late
        if (certain or sequence.dedupe_until is not None) and self._is_duplicate(sequence, reading, certain):
            return None
        if buffer.ended:
            return None
        seq = sequence.seq = sequence.seq + 1
        if shared is None or shared.seq != seq or shared.late is not late:
            (shared,) = _to_events(sequence.key, source, (reading,), seq, received_at, late)
        event = shared
        lost = buffer.put(event)
        if lost is not event:
            sequence.recent_ids.add(event.id, event.revision)
            if not late:
                sequence.advance(event, newer=newer)
        if lost is not None:
            of = sequence if lost is event else self.sequences[lost.source]
            self._on_lost(of, lost, refused=lost is event)
        return event

    def _is_duplicate(self, sequence: SequenceState, reading: Reading, certain: bool) -> bool:
        """Return whether a reading that must be compared was delivered before.

        `certain` means that it is compared in any case: it is backfilled or late.
        """
        if not certain and sequence.dedupe_until is not None and reading.time > sequence.dedupe_until:
            sequence.dedupe_until = None  # from here on live readings are newer than all delivered ones
            return False
        if sequence.recent_ids.has(reading.id, reading.revision):
            self.duplicates += 1
            return True
        return False

    def put_control(  # noqa: PLR0917  (its callers have all of them at hand)
        self,
        sequence: SequenceState,
        source: SourceId,
        kind: Kind,
        detail: Detail,
        time: datetime,
        received_at: datetime,
    ) -> None:
        """Number and buffer a status, gap, dropped or alarm event. Such events are never dropped."""
        seq = sequence.seq = sequence.seq + 1
        key, name = f"{source}/{kind}", f"{kind}:{seq}"
        if isinstance(detail, AlarmChange):
            # Events of one alarm replace each other on a display; the id is the same in every run.
            key, name = (
                f"{source}/{detail.alarm}",
                f"{detail.alarm}/{'raised' if detail.active else 'cleared'}",
            )
            sequence.change_alarm(detail, received_at)
        self.buffer.keep(Event(source, kind, key, time, received_at, seq, name, detail=detail))

    # --- refills -------------------------------------------------------------------------------------------

    def begin_refill(self, source: SourceId) -> TimeSpan | None:
        """Hold live readings from now on, and return the span to fetch; None when nothing is missing."""
        overflow = self.sequences[source].overflow
        if overflow is None or overflow.fetching or self.buffer.ended:
            return None
        overflow.fetching, overflow.requested_until = True, overflow.end
        return overflow.start, overflow.end

    def put_refill(self, source: SourceId, reading: Reading, received_at: datetime) -> None:
        """Deliver a reading of the running refill, unless an earlier one of it did not fit."""
        sequence = self.sequences[source]
        if sequence.overflow is not None and not sequence.overflow.truncated:
            self.put_late(source, reading, received_at)

    def put_late(self, source: SourceId, reading: Reading, received_at: datetime) -> None:
        """Deliver a reading that was fetched again, past the live readings that are held."""
        sequence = self.sequences[source]
        overflow = sequence.overflow
        if overflow is not None:
            overflow.accepts = True
        try:
            self.reading(sequence, source, reading, received_at)
        finally:
            if overflow is not None:
                overflow.accepts = False

    def end_refill(self, source: SourceId, *, error: str | None = None) -> int:
        """Deliver the live readings that were held; return how many gaps were reported.

        Args:
            source: The device.
            error: Why the refill failed: what it did not bring is reported as a gap with this reason.
        """
        sequence = self.sequences[source]
        overflow, sequence.overflow = sequence.overflow, None
        if overflow is None or self.buffer.ended:
            return 0
        end = overflow.requested_until
        if error is not None:
            start = overflow.start if sequence.newest is None else max(overflow.start, sequence.newest)
            gap = Gap(start=min(start, end), end=end, reason=error)
            self.put_control(sequence, source, Kind.GAP, gap, end, self.clock.utcnow())
        if overflow.lost_since is not None:
            since = end if error is not None else overflow.lost_since
            sequence.overflow = RefillState(since, max(since, overflow.end))
            self.buffer.settle()
            if source not in self.buffer.losses:
                # The loss was announced already, so `on_relief` will not start the next refill.
                self.owners[source].refill(self, source)
        else:
            sequence.dedupe_until = sequence.newest
            for reading, received_at in overflow.held:
                self.reading(sequence, source, reading, received_at)
        return int(error is not None)

    def give_up_refill(self, source: SourceId, error: str) -> int:
        """Report as a gap what no refill is fetching; return how many gaps were reported."""
        overflow = self.sequences[source].overflow
        if overflow is None or overflow.fetching:
            return 0
        overflow.requested_until = overflow.end
        return self.end_refill(source, error=error)

    def _on_lost(self, sequence: SequenceState, event: Event, *, refused: bool) -> None:
        """Count a reading that the buffer dropped or refused; under `block`, have it fetched again."""
        source = event.source
        if refused and event.time == sequence.newest and self.buffer.complete(event):
            sequence.recent_ids.add(event.id, event.revision)
            sequence.advance(event, newer=False)
            return
        self.lost += 1
        if not (refused and self._refills):
            loss = self.buffer.losses.get(source)
            begins = loss is not None and loss.count == 1
            self.owners[source].note_loss(source, event.seq, 1, begins=begins)
            return
        begins = self.buffer.lose(source, event.seq, event.seq)
        self.owners[source].note_loss(source, event.seq, 1, begins=begins)
        start = event.time if sequence.newest is None else min(sequence.newest, event.time)
        if sequence.overflow is None:
            sequence.overflow = RefillState(start, event.time)
        else:  # the refill was faster than the consumer
            sequence.overflow.truncated = True
            self._extend(sequence, sequence.overflow, source, start)

    def _hold(
        self,
        sequence: SequenceState,
        overflow: RefillState,
        source: SourceId,
        reading: Reading,
        received_at: datetime,
    ) -> None:
        """Hold a live reading until the refill ends, or lose it to the next refill."""
        if overflow.fetching and overflow.lost_since is None:
            if len(overflow.held) < self.buffer.capacity:
                overflow.held.append((reading, received_at))
                return
            self._extend(sequence, overflow, source, overflow.held[0][0].time)
        overflow.end = max(overflow.end, reading.time)
        self._count_lost(sequence, source, 1)

    def _extend(
        self, sequence: SequenceState, overflow: RefillState, source: SourceId, since: datetime
    ) -> None:
        """Have everything from `since` on fetched by another refill."""
        overflow.lost_since = since if overflow.lost_since is None else min(since, overflow.lost_since)
        if overflow.held:
            overflow.end = max(overflow.end, *(reading.time for reading, _ in overflow.held))
            self._count_lost(sequence, source, len(overflow.held))
            overflow.held.clear()

    def _count_lost(self, sequence: SequenceState, source: SourceId, count: int) -> None:
        first = sequence.seq + 1
        sequence.seq += count
        self.lost += count
        begins = self.buffer.lose(source, first, sequence.seq, count)
        self.owners[source].note_loss(source, first, count, begins=begins)

    def _on_relief(self, source: SourceId, loss: Dropped) -> None:
        """Announce an episode of losses that is over, and start the refill."""
        sequence, now = self.sequences[source], self.clock.utcnow()
        self.put_control(sequence, source, Kind.DROPPED, loss, now, now)
        if sequence.overflow is not None and not sequence.overflow.fetching:
            self.owners[source].refill(self, source)

    # --- sources begin and end -----------------------------------------------------------------------------

    def resume(self, sequence: SequenceState, position: StreamPosition) -> None:
        """Continue where a consumer stopped in an earlier run."""
        sequence.resume(position)

    def pending(self, source: SourceId, seq: int) -> tuple[TimeSpan, ...] | None:
        """Return the spans still pending for a consumer that consumed up to `seq`; None: unknown source."""
        sequence = self.sequences.get(source)
        return None if sequence is None else sequence.pending(seq)

    def on_source_end(self, source: SourceId) -> int:
        """Announce losses and report what will not be fetched any more; return the number of gaps."""
        if source not in self.sequences or self.buffer.ended:
            return 0
        self.buffer.announce_loss(source)
        return self.give_up_refill(source, SLOW)

    def forget(self, source: SourceId) -> None:
        """Free memory of a removed source; keeps its numbers and last ids in case it is added again."""
        sequence = self.sequences.get(source)
        if sequence is not None:
            sequence.recent_ids = sequence.recent_ids.recent(_KEPT_IDS)

    def close(self) -> None:
        """Deliver nothing more, and cancel the refills."""
        self.buffer.close()
        for task in self.refill_tasks:
            task.cancel()

    @printable
    def __repr__(self) -> str:
        return f"<Subscriber {self.buffer!r}, {self.lost} lost, {self.duplicates} duplicates>"


def _reusable(shared: Sequence[Event | None], first: int, last: int) -> list[Event] | None:
    """Return the events of another subscriber if all are there, not late, and numbered `first` to `last`."""
    events = [event for event in shared if event is not None and not event.late]
    if len(events) < len(shared) or (events[0].seq, events[-1].seq) != (first, last):
        return None
    return events


def _to_events(  # noqa: PLR0917  (called for every read: keywords cost time)
    key: str, source: SourceId, readings: Sequence[Reading], seq: int, received_at: datetime, late: bool
) -> list[Event]:
    """Return an event for each reading, numbered from `seq` on."""
    events: list[Event] = []
    new, kind = tuple.__new__, Kind.READING
    for time, id, values, raw, backfilled, revision in readings:  # noqa: A001  (the event's own word)
        data = (source, kind, key, time, received_at, seq, id, values, raw, None, backfilled, late, revision)
        events.append(new(Event, data))  # half the cost of the constructor
        seq += 1
    return events

"""One consumer's side of a stream: numbers readings, drops duplicates, buffers and refills."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from energy_core.clock import Clock
from energy_core.printable import printable
from energy_core.stream.buffer import Policy, buffer_for
from energy_core.stream.event import Event
from energy_core.stream.refill import SLOW, Held, Refill, SourceOwner
from energy_core.stream.sequence import SequenceState
from energy_core.stream.source import Reading, StreamPosition, TimeSpan
from energy_core.stream.vocabulary import AlarmChange, Detail, Dropped, Gap, Kind, SourceId

_KEPT_IDS: Final = 32
"""Ids kept of a removed source; enough for its last seconds."""


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
        self.refills: dict[SourceId, Refill] = {}
        """What did not fit, by device, and is being fetched again."""
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
            and not sequence.refilling
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
        """Number one reading and buffer it; see `readings`. While a refill runs, it decides when."""
        newest = sequence.newest
        certain = reading.backfilled or (newest is not None and reading.time < newest)
        if (certain or sequence.dedupe_until is not None) and self._is_duplicate(sequence, reading, certain):
            return None
        if self.buffer.ended:
            return None
        if sequence.refilling:
            self.refills[source].live(Held(reading, received_at))
            return None
        return self._put(sequence, source, reading, received_at, shared)

    def put_reading(self, source: SourceId, held: Held, *, over: bool) -> None:
        """Number and buffer a reading that a refill fetched or held; `over` its room if the refill ends."""
        sequence, (reading, received_at) = self.sequences[source], held
        certain = reading.backfilled or (sequence.newest is not None and reading.time < sequence.newest)
        if self.buffer.ended or (certain and self._is_duplicate(sequence, reading, certain)):
            return
        self._put(sequence, source, reading, received_at, None, over=over)

    def _put(
        self,
        sequence: SequenceState,
        source: SourceId,
        reading: Reading,
        received_at: datetime,
        shared: Event | None,
        *,
        over: bool = False,
    ) -> Event:
        newest = sequence.newest
        newer = newest is None or reading.time > newest
        late = not newer and reading.time != newest
        seq = sequence.seq = sequence.seq + 1
        if shared is None or shared.seq != seq or shared.late is not late:
            (shared,) = _to_events(sequence.key, source, (reading,), seq, received_at, late)
        event = shared
        lost = self.buffer.put(event)
        if lost is event and over and self.buffer.complete(event):
            lost = None
        if lost is not event:
            sequence.recent_ids.add(event.id, event.revision)
            if not late:
                sequence.advance(event, newer=newer)
        if lost is not None:
            of = sequence if lost is event else self.sequences[lost.source]
            self._on_lost(of, lost, reading if lost is event else None)
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

    # --- losses and refills --------------------------------------------------------------------------------

    def _on_lost(self, sequence: SequenceState, event: Event, refused: Reading | None) -> None:
        """Count a reading that the buffer dropped or refused; under `block`, have it fetched again."""
        source = event.source
        if refused is not None and event.time == sequence.newest and self.buffer.complete(event):
            sequence.recent_ids.add(event.id, event.revision)
            sequence.advance(event, newer=False)
            return
        if refused is None or not self._refills:
            self.lost += 1
            loss = self.buffer.losses.get(source)
            begins = loss is not None and loss.count == 1
            self.owners[source].note_loss(source, event.seq, 1, begins=begins)
            return
        sequence.seq -= 1  # `lose` numbers it
        self._refill(source).live(Held(refused, event.received_at), refused=True)

    def fetch(self, source: SourceId, start: datetime, end: datetime) -> None:
        """Fetch what this consumer lacks of a device since an earlier run."""
        if not self.buffer.ended:
            refill = self._refill(source)
            refill.miss(start, end)
            refill.begin()

    def _refill(self, source: SourceId) -> Refill:
        """Return the refill of a device, which is made if there is none."""
        sequence = self.sequences[source]
        sequence.refilling = True
        refill = self.refills.get(source)
        if refill is None:
            refill = self.refills[source] = Refill(self, source, sequence, self.owners[source])
        return refill

    def lose(self, source: SourceId, count: int) -> None:
        """Number and count readings that are not delivered now."""
        sequence = self.sequences[source]
        first = sequence.seq + 1
        sequence.seq += count
        self.lost += count
        begins = self.buffer.lose(source, first, sequence.seq, count)
        self.owners[source].note_loss(source, first, count, begins=begins)
        self.buffer.settle()

    def put_gap(self, source: SourceId, gap: Gap) -> None:
        """Number and buffer a gap that a refill reports."""
        if not self.buffer.ended:
            self.put_control(self.sequences[source], source, Kind.GAP, gap, gap.end, self.clock.utcnow())

    def refilled(self, source: SourceId) -> None:
        """Note that a refill has delivered or reported all that was missing."""
        self.sequences[source].refilling = False
        self.refills.pop(source, None)

    def _on_relief(self, source: SourceId, loss: Dropped) -> None:
        """Announce an episode of losses that is over, and start the refill."""
        sequence, now = self.sequences[source], self.clock.utcnow()
        self.put_control(sequence, source, Kind.DROPPED, loss, now, now)
        if source in self.refills:
            self.refills[source].begin()

    # --- sources begin and end -----------------------------------------------------------------------------

    def resume(self, sequence: SequenceState, position: StreamPosition) -> None:
        """Continue where a consumer stopped in an earlier run."""
        sequence.resume(position)

    def pending(self, source: SourceId, seq: int) -> tuple[TimeSpan, ...] | None:
        """Return the spans still pending for a consumer that consumed up to `seq`; None: unknown source."""
        sequence = self.sequences.get(source)
        return None if sequence is None else sequence.pending(seq)

    def on_source_end(self, source: SourceId) -> None:
        """Announce losses and report what will not be fetched any more."""
        if source in self.sequences and not self.buffer.ended:
            self.buffer.announce_loss(source)
            if source in self.refills:
                self.refills[source].end(SLOW)

    def forget(self, source: SourceId) -> None:
        """Free memory of a removed source; keeps its numbers and last ids in case it is added again."""
        sequence = self.sequences.get(source)
        if sequence is not None:
            sequence.recent_ids = sequence.recent_ids.recent(_KEPT_IDS)

    def close(self) -> None:
        """Deliver nothing more, and cancel the refills."""
        self.buffer.close()
        for refill in self.refills.values():
            refill.cancel()

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

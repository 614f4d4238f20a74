"""What one subscriber keeps of one source: the last number and time, recent ids, and spans to fetch again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from attrs import evolve

from energy_core.stream.dedupe import RecentIds
from energy_core.stream.event import Event
from energy_core.stream.source import OpenAlarm, StreamPosition, TimeSpan
from energy_core.stream.vocabulary import AlarmChange, Quantity


class _PendingSpan:
    """A time span that will be fetched again later."""

    __slots__ = ("by_refill", "settled_at", "span")

    def __init__(self, span: TimeSpan, *, by_refill: bool) -> None:
        self.span = span
        self.by_refill = by_refill
        """Whether only this subscriber lacks it; otherwise the source itself does."""
        self.settled_at: int | None = None
        """Number of the last event that it brought; None while it is still pending."""


class SequenceState:
    """Numbers the events of one source for one subscriber."""

    __slots__ = (
        *("alarms", "alarms_at", "dedupe_until", "ids", "key", "newest", "quantities"),
        *("recent_ids", "refilling", "resumed_from", "seq", "_pending"),
    )

    def __init__(self, key: str) -> None:
        self.key = key
        """`Event.key` of its readings."""
        self.seq = 0
        """The last number that was given."""
        self.newest: datetime | None = None
        """Time of the newest delivered reading."""
        # Ids and quantities instead of readings: readings would be most of the memory of a source.
        self.ids: tuple[str, ...] = ()
        """Ids of the last eight readings with the time `newest`."""
        self.quantities: tuple[Quantity, ...] = ()
        """Quantities of these readings."""
        self.resumed_from: StreamPosition | None = None
        """Where an earlier run stopped; `position` returns it until a reading is delivered."""
        self.recent_ids = RecentIds()
        """Ids of delivered readings, for recognising duplicates."""
        self.dedupe_until: datetime | None = None
        """Live readings up to this time may be duplicates, too; None: live readings are not compared."""
        self.refilling = False
        """Whether readings are missing because the buffer was full."""
        self.alarms: dict[str, OpenAlarm] = {}
        """Alarms that were delivered as raised and not as cleared, by id."""
        self.alarms_at: datetime | None = None
        """When the last alarm event was delivered."""
        self._pending: list[_PendingSpan] = []

    def change_alarm(self, change: AlarmChange, received_at: datetime) -> None:
        """Note a delivered alarm event."""
        self.alarms_at = received_at
        note_alarm(self.alarms, change)

    def set_pending(self, spans: Collection[TimeSpan], *, by_refill: bool = False) -> None:
        """Set the spans that will be fetched again; others are settled with the current number."""
        # Spans of the source and those of this subscriber alone are set independently of each other.
        known = [each for each in self._pending if each.by_refill is by_refill and each.settled_at is None]
        for each in known:
            if each.span not in spans:
                each.settled_at = self.seq
        new = set(spans).difference(each.span for each in known)
        self._pending += [_PendingSpan(each, by_refill=by_refill) for each in sorted(new)]

    @property
    def pending_by_refill(self) -> list[TimeSpan]:
        """Spans that only this subscriber lacks, and that are still pending."""
        return [each.span for each in self._pending if each.by_refill and each.settled_at is None]

    def pending(self, seq: int) -> tuple[TimeSpan, ...]:
        """Return the spans still pending for a consumer that has consumed events up to `seq`."""
        # A settled span stays until its readings are consumed: a crash before that would lose them.
        self._pending = [each for each in self._pending if each.settled_at is None or each.settled_at > seq]
        return tuple(sorted({each.span for each in self._pending}))

    def position(self) -> StreamPosition | None:
        """Return how far readings were delivered; None before the first."""
        if self.newest is None or not self.ids:
            if self.alarms_at is None:
                return self.resumed_from
            start = self.resumed_from or StreamPosition(time=self.alarms_at, seq=self.seq)
            return evolve(start, alarms=tuple(self.alarms.values()))
        return StreamPosition(
            time=self.newest,
            seq=self.seq,
            ids=self.ids,
            quantities=frozenset(self.quantities),
            pending=tuple(sorted({each.span for each in self._pending if each.settled_at is None})),
            alarms=tuple(self.alarms.values()),
        )

    def advance(self, event: Event, *, newer: bool) -> None:
        """Note a delivered reading whose time is newer than, or equal to, the newest."""
        if newer:
            self.newest, self.ids, self.quantities = event.time, (event.id,), tuple(event.values)
        else:
            # Several readings of one time: a checkpoint needs the ids and quantities of all of them.
            self.ids = (*self.ids[-7:], event.id)
            self.quantities = tuple({*self.quantities, *event.values})

    def resume(self, position: StreamPosition) -> None:
        """Continue the numbers of an earlier run, and recognise its last readings as duplicates."""
        if self.newest is None:
            self.seq = max(self.seq, position.seq)
            self.resumed_from = position
            if position.ids:  # without ids its time is when the run began, by our own clock
                self.newest = position.time
            self.recent_ids = RecentIds(position.ids)
            self.alarms = {each.id: each for each in position.alarms}
        self.dedupe_until = self.newest
        self.set_pending(position.pending)


def note_alarm(alarms: dict[str, OpenAlarm], change: AlarmChange) -> None:
    """Add an alarm that was raised to the open ones, or remove one that was cleared."""
    alarms.pop(change.alarm, None)
    if change.active:
        alarms[change.alarm] = OpenAlarm(change.alarm, change.text, change.device, change.instance)

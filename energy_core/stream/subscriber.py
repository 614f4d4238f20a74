"""What a consumer had no room for, and what waits until that is fetched again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

from energy_core.clock import Clock
from energy_core.printable import printable
from energy_core.stream.buffer import Policy, buffer_for
from energy_core.stream.dedupe import RecentIds
from energy_core.stream.event import Event, Reading, StreamPosition, shared_events, to_events
from energy_core.stream.vocabulary import Detail, Dropped, Gap, Kind, Quantity, SourceId


class RefillState:
    """What a full buffer under `block` had no room for, of one source.

    Once the consumer has caught up its source fetches it again; what comes live in the meantime is held, so
    that old comes before new. When more comes than may be held, all that was held is fetched again too.
    """

    __slots__ = ("admits", "cut", "end", "filling", "held", "reopened", "start", "until")

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start = start
        self.end = end
        self.until = end
        """The end of what was asked for; beyond it, the hole has grown since."""
        self.filling = False
        self.admits = False
        """Whether what comes now fills the hole."""
        self.cut = False
        """Whether the consumer had no room for all of the refill."""
        self.reopened: datetime | None = None
        """From where on more was lost while the hole was being filled."""
        self.held: deque[tuple[Reading, datetime]] = deque()
        """Each with when it came."""


SLOW: Final = "slow_consumer"
"""The reason of a gap that a consumer made itself, with a source that cannot fetch it again."""

Stretch: TypeAlias = tuple[datetime, datetime]

_REPEATABLE: Final = 32
"""Ids of the last seconds before a source was removed."""


class SubscriberOwner(Protocol):
    """Who speaks for a source: its feed."""

    @property
    def id(self) -> SourceId:
        """The feed's own name."""

    def refill(self, line: Subscriber, source: SourceId) -> None:
        """Fetch again what `line` had no room for, if that is possible."""

    def note_loss(self, source: SourceId, seq: int, count: int, *, begins: bool) -> None:
        """Count readings that one consumer loses."""


class _Awaited:
    """A stretch that will be fetched again."""

    __slots__ = ("by_refill", "stretch", "until")

    def __init__(self, stretch: Stretch, *, by_refill: bool) -> None:
        self.stretch = stretch
        self.by_refill = by_refill
        """Whether only this consumer lacks it, and the source does not."""
        self.until: int | None = None
        """The last number of what came of it, once it is settled."""


class SequenceState:
    """The numbering of one source in one line."""

    __slots__ = (
        *("awaited", "doubt", "hole", "ids", "key", "line", "newest"),
        *("owner", "quantities", "seq", "stopped", "window"),
    )

    def __init__(self, line: Subscriber, owner: SubscriberOwner, key: str) -> None:
        self.line = line
        self.owner = owner
        self.key = key
        """Of its readings."""
        self.seq = 0
        self.newest: datetime | None = None
        self.ids: tuple[str, ...] = ()
        """Of the last eight readings of the moment `newest`, as far as they were delivered here ..."""
        self.quantities: tuple[Quantity, ...] = ()
        """... and what they held. The readings themselves would be the most that a source takes up."""
        self.stopped: StreamPosition | None = None
        """Where an earlier run stopped, as long as nothing came after it."""
        self.window = RecentIds()
        """What was delivered."""
        self.doubt: datetime | None = None
        """Readings up to this moment may repeat what was delivered, even if they look live."""
        self.hole: RefillState | None = None
        self.awaited: list[_Awaited] = []

    def wait_for(self, stretches: Collection[Stretch], *, by_refill: bool = False) -> None:
        """Note what will be asked for again: these stretches, and no others."""
        known = [each for each in self.awaited if each.by_refill is by_refill and each.until is None]
        for each in known:
            if each.stretch not in stretches:
                each.until = self.seq
        new = set(stretches).difference(each.stretch for each in known)
        self.awaited += [_Awaited(each, by_refill=by_refill) for each in sorted(new)]

    def pending(self, seq: int) -> tuple[Stretch, ...]:
        """Return what a consumer who has come to this number still waits for."""
        self.awaited = [each for each in self.awaited if each.until is None or each.until > seq]
        return tuple(sorted({each.stretch for each in self.awaited}))

    def position(self) -> StreamPosition | None:
        """Return how far it has come."""
        if self.newest is None or not self.ids:
            return self.stopped
        return StreamPosition(
            time=self.newest,
            seq=self.seq,
            ids=self.ids,
            quantities=frozenset(self.quantities),
            pending=tuple(sorted({each.stretch for each in self.awaited if each.until is None})),
        )

    def reach(self, event: Event, *, newer: bool) -> None:
        """Note a reading of the newest moment there is, or of a newer one."""
        if newer:
            self.newest, self.ids, self.quantities = event.time, (event.id,), tuple(event.values)
        else:
            self.ids = (*self.ids[-7:], event.id)
            self.quantities = tuple({*self.quantities, *event.values})


class Subscriber:
    """Numbers what the sources hand over and puts it into the buffer of one consumer."""

    def __init__(self, policy: Policy, capacity: int, clock: Clock) -> None:
        self.buffer = buffer_for(policy, capacity, on_relief=self._relieved, clock=clock)
        self.policy = policy
        self.repeats = 0
        """Readings left out because they had been delivered."""
        self.lost = 0
        """Readings that the consumer was too slow for; under `block` they were fetched again if possible."""
        self.tracks: dict[SourceId, SequenceState] = {}
        self.menders: set[asyncio.Task[Any]] = set()
        """Tasks that fetch again what it had no room for."""
        self.clock = clock
        self._mends = policy == "block"

    def track(self, source: SourceId, owner: SubscriberOwner, key: str) -> SequenceState:
        """Return the numbering of `source`, begun now if need be."""
        track = self.tracks.get(source)
        if track is None:
            track = self.tracks[source] = SequenceState(self, owner, key)
        return track

    def owner_of(self, source: SourceId) -> SourceId:
        """Return the name of the feed that speaks for a source."""
        return self.tracks[source].owner.id

    def readings(  # noqa: PLR0917  (called for whatever comes: keywords cost time)
        self,
        track: SequenceState,
        source: SourceId,
        readings: Sequence[Reading],
        received_at: datetime,
        live: bool,
        like: Sequence[Event | None],
    ) -> Sequence[Event | None]:
        """Number readings and buffer them.

        Args:
            track: The numbering of their source.
            source: Where they come from.
            readings: At least one.
            received_at: When they came.
            live: None was fetched later, and each is newer than the one before.
            like: The events that another line has made of them.

        Returns:
            The event of each, of `like` where possible; None where `reading` returns None.
        """
        newest, count = track.newest, len(readings)
        if (
            live
            and (newest is None or readings[0][0] > newest)
            and track.hole is None
            and track.doubt is None
        ):
            seq = track.seq
            events = shared_events(like, seq + 1, seq + count) if like else None
            if events is None:
                events = to_events(track.key, source, readings, seq + 1, received_at, False)
            if self.buffer.put_all(events):
                last = events[-1]
                track.window.add_all(readings)
                track.seq, track.newest = seq + count, last.time
                track.ids, track.quantities = (last.id,), tuple(last.values)
                return events
            like = events
        others = like or [None] * count
        return [
            self.reading(track, source, each, received_at, other)
            for each, other in zip(readings, others, strict=True)
        ]

    def reading(
        self,
        track: SequenceState,
        source: SourceId,
        reading: Reading,
        received_at: datetime,
        like: Event | None = None,
    ) -> Event | None:
        """Number one reading and buffer it; return its event, which may be `like`, that of another line.

        Returns None where it was left out as a repeat, or has to wait for a hole to be filled.
        """
        buffer = self.buffer
        if track.hole is not None and not track.hole.admits:
            self._behind(track, source, reading, received_at)
            return None
        time, newest = reading.time, track.newest
        newer = newest is None or time > newest
        late = not newer and time != newest
        certain = reading.backfilled or late
        if (certain or track.doubt is not None) and self._repeats(track, reading, certain=certain):
            return None
        if buffer.ended:
            return None
        seq = track.seq = track.seq + 1
        if like is None or like.seq != seq or like.late is not late:
            (like,) = to_events(track.key, source, (reading,), seq, received_at, late)
        lost = buffer.put(like)
        if lost is not like:
            track.window.add(like.id, like.revision)
            if not late:
                track.reach(like, newer=newer)
        if lost is not None:
            self._lost(track if lost is like else self.tracks[lost.source], lost, refused=lost is like)
        return like

    def _repeats(self, track: SequenceState, reading: Reading, *, certain: bool) -> bool:
        """Tell whether a reading that may repeat another does."""
        if not certain and track.doubt is not None and reading.time > track.doubt:
            track.doubt = None
            return False
        if track.window.has(reading.id, reading.revision):
            self.repeats += 1
            return True
        return False

    def refill(self, source: SourceId, reading: Reading, received_at: datetime) -> None:
        """Put a reading that fills the hole; what finds no room makes a new one."""
        track = self.tracks[source]
        if track.hole is not None and not track.hole.cut:
            track.hole.admits = True
            try:
                self.reading(track, source, reading, received_at)
            finally:
                if track.hole is not None:
                    track.hole.admits = False

    def late(self, source: SourceId, reading: Reading, received_at: datetime) -> None:
        """Put a reading that a refill had to ask for again."""
        track = self.tracks[source]
        hole = track.hole
        if hole is not None:
            hole.admits = True
        try:
            self.reading(track, source, reading, received_at)
        finally:
            if hole is not None:
                hole.admits = False

    def put_control(  # noqa: PLR0917  (its callers have them all at hand)
        self, track: SequenceState, source: SourceId, kind: Kind, detail: Detail, time: datetime, at: datetime
    ) -> None:
        """Put an event that is not a reading in line; such events are never dropped."""
        track.seq += 1
        self.buffer.keep(
            Event(
                source=source,
                kind=kind,
                key=f"{source}/{kind}",
                time=time,
                received_at=at,
                seq=track.seq,
                id=f"{kind}:{track.seq}",
                detail=detail,
            )
        )

    def resume(self, track: SequenceState, position: StreamPosition) -> None:
        """Go on where a consumer stopped: its numbers continue, its last readings are known."""
        if track.newest is None:
            track.seq = max(track.seq, position.seq)
            track.stopped = position
            if position.ids:  # otherwise it is when a run began that brought nothing, by our own clock
                track.newest = position.time
            track.window = RecentIds(position.ids)
        track.doubt = track.newest
        track.wait_for(position.pending)

    def pending(self, source: SourceId, seq: int) -> tuple[Stretch, ...] | None:
        """Return what a consumer who has come to this number still waits for; None: the source is unknown."""
        track = self.tracks.get(source)
        return None if track is None else track.pending(seq)

    def begin_refill(self, source: SourceId) -> tuple[datetime, datetime] | None:
        """Hold what comes live from now on, and return the stretch to fetch; None when there is no hole."""
        hole = self.tracks[source].hole
        if hole is None or hole.filling or self.buffer.ended:
            return None
        hole.filling, hole.until = True, hole.end
        return hole.start, hole.end

    def give_up(self, source: SourceId, trouble: str) -> int:
        """Report a hole that nobody can fill; return how many gaps that makes."""
        hole = self.tracks[source].hole
        if hole is None or hole.filling:
            return 0
        hole.until = hole.end
        return self.end_refill(source, trouble=trouble)

    def end_refill(self, source: SourceId, *, trouble: str | None = None) -> int:
        """Let go of what was held; what could not be fetched becomes a gap, for `trouble`."""
        track = self.tracks[source]
        hole, track.hole = track.hole, None
        if hole is None or self.buffer.ended:
            return 0
        if trouble is not None:
            start = hole.start if track.newest is None else max(hole.start, track.newest)
            gap = Gap(start=min(start, hole.until), end=hole.until, reason=trouble)
            self.put_control(track, source, Kind.GAP, gap, hole.until, self.clock.utcnow())
        if hole.reopened is not None:
            since = hole.until if trouble is not None else hole.reopened
            track.hole = RefillState(since, max(since, hole.end))
            self.buffer.settle()
            if source not in self.buffer.losses:
                # What was lost has been announced already, so no relief will come for it.
                track.owner.refill(self, source)
        else:
            track.doubt = track.newest
            for reading, received_at in hole.held:
                self.reading(track, source, reading, received_at)
        return int(trouble is not None)

    def close(self) -> None:
        """Take nothing more, and have nothing fetched any more."""
        self.buffer.close()
        for mender in self.menders:
            mender.cancel()

    def forget(self, source: SourceId) -> None:
        """Keep little of a source that was removed: its numbers, and what it may repeat if it comes back."""
        track = self.tracks.get(source)
        if track is not None:
            track.window = track.window.recent(_REPEATABLE)

    def on_source_end(self, source: SourceId) -> int:
        """Say what is to be said about a source that ends; return how many gaps that makes."""
        if source not in self.tracks or self.buffer.ended:
            return 0
        self.buffer.announce_loss(source)
        return self.give_up(source, SLOW)

    def _lost(self, track: SequenceState, event: Event, *, refused: bool) -> None:
        """Count what the buffer gave up; under `block` it is the newest, and makes a hole."""
        if refused and event.time == track.newest and self.buffer.complete(event):
            track.window.add(event.id, event.revision)
            track.reach(event, newer=False)
            return
        self.lost += 1
        if not (refused and self._mends):
            loss = self.buffer.losses.get(event.source)
            begins = loss is not None and loss.count == 1
            track.owner.note_loss(event.source, event.seq, 1, begins=begins)
            return
        begins = self.buffer.lose(event.source, event.seq, event.seq)
        track.owner.note_loss(event.source, event.seq, 1, begins=begins)
        start = event.time if track.newest is None else min(track.newest, event.time)
        if track.hole is None:
            track.hole = RefillState(start, event.time)
        else:  # its own refill came faster than the consumer could take it
            track.hole.cut = True
            self._reopen(track, track.hole, event.source, start)

    def _behind(
        self, track: SequenceState, source: SourceId, reading: Reading, received_at: datetime
    ) -> None:
        """Hold a live reading behind the hole, or let it fall into the hole."""
        hole = track.hole
        if hole is None:
            return
        if hole.filling and hole.reopened is None:
            if len(hole.held) < self.buffer.capacity:
                hole.held.append((reading, received_at))
                return
            self._reopen(track, hole, source, hole.held[0][0].time)
        hole.end = max(hole.end, reading.time)
        self._count(track, source, 1)

    def _reopen(self, track: SequenceState, hole: RefillState, source: SourceId, since: datetime) -> None:
        hole.reopened = since if hole.reopened is None else min(since, hole.reopened)
        if hole.held:
            hole.end = max(hole.end, *(reading.time for reading, _ in hole.held))
            self._count(track, source, len(hole.held))
            hole.held.clear()

    def _count(self, track: SequenceState, source: SourceId, count: int) -> None:
        first = track.seq + 1
        track.seq += count
        self.lost += count
        begins = self.buffer.lose(source, first, track.seq, count)
        track.owner.note_loss(source, first, count, begins=begins)

    def _relieved(self, source: SourceId, loss: Dropped) -> None:
        """Announce an episode of losses that is over, and have holes filled."""
        track, now = self.tracks[source], self.clock.utcnow()
        self.put_control(track, source, Kind.DROPPED, loss, now, now)
        if track.hole is not None and not track.hole.filling:
            track.owner.refill(self, source)

    @printable
    def __repr__(self) -> str:
        return f"<Line {self.buffer!r}, {self.lost} lost, {self.repeats} repeats>"

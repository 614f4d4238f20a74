"""Tracks which delivered events are consumed, and saves checkpoints of them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol, TypeAlias

from energy_core.clock import Clock
from energy_core.errors import CheckpointError
from energy_core.stream.checkpoint import Checkpoint, CheckpointStore, Positions, from_credential
from energy_core.stream.event import Event
from energy_core.stream.sequence import note_alarm
from energy_core.stream.source import OpenAlarm, Source, StreamPosition
from energy_core.stream.vocabulary import AlarmChange, Kind, Quantity, SourceId

_OVERLAP: Final = timedelta(seconds=2)
"""Ids of readings this close to the newest are kept: a resumed source fetches them again."""

_NEVER: Final = datetime.min.replace(tzinfo=UTC)

_MOST_IDS: Final = 8
"""Ids kept of a source; of a faster one, earlier readings of these two seconds may be delivered twice."""

_MOST_UNCOMMITTED: Final = 4096
"""Delivered events that can be committed one by one; older ones are committed together."""


class Acknowledging(Source, Protocol):
    """A source whose server keeps each event until it is acknowledged."""

    def follow_commits(self) -> Callable[[Event], None]:
        """Return a function that gets each event that the consumer commits.

        Called once, before `run`, and only if the stream has a checkpoint: without one nothing is committed,
        and the source acknowledges what it has delivered.
        """


class _Progress:
    """What is consumed of one device; becomes a `StreamPosition`."""

    __slots__ = ("alarms", "ids", "no_reading", "pending", "quantities", "seen", "seq", "time")

    def __init__(self, at: StreamPosition | None = None) -> None:
        self.no_reading = at is None or not at.ids
        """Whether no reading was consumed yet."""
        self.time: datetime | None = at.time if at else None
        self.seq = at.seq if at else 0
        self.quantities: Collection[Quantity] = at.quantities if at else ()
        self.seen: set[Quantity] = {*at.seen, *at.quantities} if at else set()
        self.pending = at.pending if at else ()
        self.alarms: dict[str, OpenAlarm] = {each.id: each for each in at.alarms} if at else {}
        self.ids: deque[tuple[datetime, str]] = deque(
            ((at.time, each) for each in at.ids) if at else (), maxlen=_MOST_IDS
        )

    def add(self, event: Event) -> None:
        self.seq = max(self.seq, event.seq)
        if isinstance(event.detail, AlarmChange):
            note_alarm(self.alarms, event.detail)
            self.time = self.time or event.received_at
        if event.kind is not Kind.READING:
            return  # the time of a status or gap is no position
        self.seen.update(event.values)
        if self.no_reading or self.time is None or event.time > self.time:
            self.no_reading = False
            self.time, self.quantities = event.time, event.values.keys()
        elif event.time == self.time:
            self.quantities = {*self.quantities, *event.values}
        elif event.time < self.time - _OVERLAP:
            return  # late: a resumed source does not fetch that far back
        self.ids.append((event.time, event.id))

    def position(self) -> StreamPosition | None:
        if self.time is None:
            return None
        ids = tuple(each for time, each in self.ids if time >= self.time - _OVERLAP)
        quantities = frozenset(self.quantities)
        return StreamPosition(
            time=self.time,
            seq=self.seq,
            ids=ids,
            quantities=quantities,
            seen=frozenset(self.seen - quantities),
            pending=self.pending,
            alarms=tuple(self.alarms.values()),
        )


def _unknown(_: SourceId, _seq: int) -> None:
    """Return None: pending spans are not known."""


class CommitTracker:
    """Tracks delivered and committed events of one consumer, and makes checkpoints.

    Args:
        start: Where the consumer stopped before. Positions of sources that are not merged now are kept.
        owner: Returns the id of the merged source to which a device belongs.
        auto: Whether asking for the next event commits all events delivered before.
        pending: Returns the spans of a device still pending for a consumer that has consumed up to a number;
            None: unknown.
        begin_at: Where a source continues that the checkpoint does not know; None: at the present.
    """

    def __init__(
        self,
        start: Checkpoint,
        owner: Callable[[SourceId], SourceId],
        *,
        auto: bool,
        begin_at: datetime | None = None,
        pending: Callable[[SourceId, int], tuple[tuple[datetime, datetime], ...] | None] = _unknown,
    ) -> None:
        self.auto = auto
        self.begin_at = begin_at
        self.changed = False
        """Whether anything was committed since the last `checkpoint`."""
        self.on_urgent: Callable[[], None] | None = None
        """Called when a position should be saved at once: a source has begun, or has its first reading."""
        self.followers: dict[SourceId, Callable[[Event], None]] = {}
        """By source: called with each committed event, whatever source it is of."""
        self._owner = owner
        self._pending = pending
        self._progress: dict[SourceId, dict[SourceId, _Progress]] = {
            owner_id: {source: _Progress(at) for source, at in positions.items()}
            for owner_id, positions in start.positions.items()
        }
        self._by_source: dict[SourceId, _Progress] = {}
        self._delivered: dict[int, Event] = {}  # by identity, in order of delivery
        self._merged: list[Event] = []  # the oldest delivered events, as far as their positions matter

    def begin(self, owner_id: SourceId, now: datetime) -> None:
        """Note that a source starts: without any reading, a later run resumes from `now`, or `begin_at`."""
        if not self.positions(owner_id):
            at = StreamPosition(time=self.begin_at or now, seq=0)
            self._progress.setdefault(owner_id, {})[owner_id] = _Progress(at)
            self._by_source.pop(owner_id, None)
            self._save_soon()

    def _save_soon(self) -> None:
        self.changed = True
        if self.on_urgent is not None:
            self.on_urgent()

    def delivered(self, event: Event) -> None:
        """Note that the consumer gets this event now."""
        # By identity: an event of a subscription may be equal, but was not delivered here.
        self._delivered[id(event)] = event
        if len(self._delivered) > _MOST_UNCOMMITTED:
            self._merge_oldest()

    def autocommit(self) -> None:
        """Commit everything delivered so far, unless the consumer commits by itself."""
        if self.auto and self._delivered:
            self._commit(None)

    def commit(self, event: Event) -> None:
        """Commit an event and all events delivered before it. Committing twice has no effect.

        Raises:
            ValueError: The event was never delivered.
        """
        if id(event) in self._delivered:
            self._commit(event)
        elif event.seq > max(
            self._of(event.source).seq,
            *(each.seq for each in self._merged if each.source == event.source),
            0,
        ):
            raise ValueError(
                f"event {event.seq} of {event.source} was not delivered by the stream's own iterator"
            )

    def checkpoint(self) -> Checkpoint:
        """Return where the consumer is, in all sources."""
        self.changed = False
        positions: dict[SourceId, Positions] = {}
        for owner_id, sources in self._progress.items():
            for source, progress in sources.items():
                # A source that has not started yet keeps the spans of the checkpoint it resumes from.
                pending = self._pending(source, progress.seq)
                progress.pending = progress.pending if pending is None else pending
            known = {source: progress.position() for source, progress in sources.items()}
            if any(known.values()):
                positions[owner_id] = {source: at for source, at in known.items() if at is not None}
        return Checkpoint(positions)

    def positions(self, owner_id: SourceId, *, alone: Callable[[], bool] = bool) -> Positions:
        """Return where the consumer is in the devices of one source.

        Args:
            owner_id: The source.
            alone: Returns whether no other merged source differs from it by the account label only. Then
                positions that an older version stored under a label made of the credential belong to it.
        """
        if owner_id not in self._progress and any(map(from_credential, self._progress)) and alone():
            self._adopt_old_label(owner_id)
        known: Mapping[SourceId, _Progress] = self._progress.get(owner_id, {})
        return {source: at for source, each in known.items() if (at := each.position()) is not None}

    def _adopt_old_label(self, owner_id: SourceId) -> None:
        """Use positions stored under the labels of an older version for this source."""
        old = [each for each in self._progress if each.is_like(owner_id) and from_credential(each)]
        for each in sorted(old, key=self._newest):
            kept = self._progress.pop(each) if len(old) == 1 else self._progress[each]
            own = self._progress.setdefault(owner_id, {})
            for source, progress in kept.items():
                own[source._replace(account=owner_id.account)] = progress

    def _newest(self, owner: SourceId) -> datetime:
        return max((each.time for each in self._progress[owner].values() if each.time), default=_NEVER)

    def _commit(self, last: Event | None) -> None:
        self.changed = True
        for event in self._merged:  # they were delivered before all others
            self._add(event)
        self._merged.clear()
        if last is None:
            for event in self._delivered.values():
                self._add(event)
            self._delivered.clear()
            return
        while True:
            event = self._delivered.pop(next(iter(self._delivered)))
            self._add(event)
            if event is last:
                return

    def _add(self, event: Event) -> None:
        for follow in self.followers.values():
            follow(event)
        progress = self._of(event.source)
        was_empty = progress.no_reading
        progress.add(event)
        if was_empty and not progress.no_reading:
            owner_id = self._owner(event.source)
            start = None if owner_id == event.source else self._progress[owner_id].get(owner_id)
            if start is not None and start.no_reading:
                start.time = None  # its devices have positions of their own now
            self._save_soon()

    def _of(self, source: SourceId) -> _Progress:
        progress = self._by_source.get(source)
        if progress is None:
            progress = self._progress.setdefault(self._owner(source), {}).setdefault(source, _Progress())
            self._by_source[source] = progress
        return progress

    def _merge_oldest(self) -> None:
        """Collapse the oldest uncommitted events: from now on they can only be committed together."""
        newest: dict[tuple[SourceId, Kind], deque[Event]] = {}
        for event in (
            *self._merged,
            *(self._delivered.pop(key) for key in tuple(self._delivered)[: _MOST_UNCOMMITTED // 2]),
        ):
            # The last eight readings of a source contain all ids of a position; every alarm event changes it;
            # of others, only seq matters.
            limit = None if event.kind is Kind.ALARM else _MOST_IDS
            newest.setdefault((event.source, event.kind), deque(maxlen=limit)).append(event)
        self._merged = sorted((event for kept in newest.values() for event in kept), key=_number)


def _number(event: Event) -> tuple[SourceId, int]:
    return event.source, event.seq


OnCorrupt: TypeAlias = Literal["raise", "latest"]
"""What to do with an unusable checkpoint: raise an error, or start from now."""

_AHEAD: Final = timedelta(days=1)
"""No reading is delivered that is further in the future, so no valid checkpoint is."""

_CLOCK_IS_SET: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""A machine clock before this time was never set, so nothing is compared with it."""

INTERVAL_S: Final = 5.0
"""Seconds between two checkpoints while events are consumed."""

_log: Final = logging.getLogger("energy_core.stream")


async def load(
    store: CheckpointStore | Checkpoint, sources: set[SourceId], on_corrupt: OnCorrupt, now: datetime
) -> Checkpoint:
    """Return the checkpoint to resume from; an empty one where nothing was saved.

    Args:
        store: A checkpoint, or the store that has one.
        sources: Ids of the merged sources.
        on_corrupt: What to do with an unusable checkpoint.
        now: The present time, aware.

    Raises:
        CheckpointError: The checkpoint is unusable, and `on_corrupt` is "raise".
    """
    try:
        if isinstance(store, Checkpoint):
            return _check(store, sources, now)
        text = await store.load()
        return Checkpoint() if text is None else _check(Checkpoint.from_json(text), sources, now)
    except CheckpointError as error:
        error.path = error.path or getattr(store, "path", None)
        if on_corrupt == "raise":
            raise
        _log.warning("starting from now: %s", error.fault)
        return Checkpoint()


def _check(checkpoint: Checkpoint, sources: set[SourceId], now: datetime) -> Checkpoint:
    known = set(checkpoint.positions)
    if known and not known & sources and not any(_may_be(owner, each) for owner in known for each in sources):
        names = ", ".join(map(str, sorted(known)[:3]))
        raise CheckpointError(f"the checkpoint is of other sources, {names}", kind="sources")
    newest = max((at.time for each in checkpoint.positions.values() for at in each.values()), default=now)
    if newest > now + _AHEAD and now > _CLOCK_IS_SET:
        raise CheckpointError(
            f"the checkpoint is from the future, {newest.isoformat()}, or the clock of this machine is wrong"
        )
    return checkpoint


def _may_be(stored: SourceId, source: SourceId) -> bool:
    """Return whether a stored id may be that of a source whose label is unknown yet, or was changed."""
    return stored.is_like(source) and (not source.identified or from_credential(stored))


class CheckpointSaver:
    """Background task that saves the checkpoint every five seconds while it changes, and at the end.

    Args:
        store: Where to save it.
        commits: What is consumed.
        clock: Source of time.
    """

    def __init__(self, store: CheckpointStore, commits: CommitTracker, clock: Clock) -> None:
        self._store = store
        self._commits = commits
        self._clock = clock
        self._failing = False
        self._urgent = asyncio.Event()
        commits.on_urgent = self._urgent.set
        self._task = asyncio.get_running_loop().create_task(self._run(), name="energy checkpoints")

    async def close(self, grace_s: float) -> None:
        """Save what is not saved yet and stop; logs an error if that takes longer than `grace_s`."""
        self._task.cancel()
        await asyncio.wait({self._task})
        # In a task of its own: a store that hangs can be cancelled after the grace.
        last = asyncio.get_running_loop().create_task(self._save(), name="energy last checkpoint")
        try:
            _, stuck = await asyncio.wait({last}, timeout=grace_s)
        except asyncio.CancelledError:
            last.cancel()
            raise
        if stuck:
            last.cancel()
            _log.error("the last checkpoint could not be saved within %g s", grace_s)

    def abandon(self) -> None:
        """Stop without saving: the stream was not closed."""
        self._task.cancel()

    async def _run(self) -> None:
        """Save at once when a source starts or has its first event, otherwise every five seconds."""
        while True:
            self._urgent.clear()
            await self._save()
            timer = self._clock.call_at(self._clock.monotonic() + INTERVAL_S, self._urgent.set)
            try:
                await self._urgent.wait()
            finally:
                timer.cancel()

    async def _save(self) -> None:
        if not self._commits.changed:
            return
        try:
            await self._store.save(self._commits.checkpoint().to_json())
        except asyncio.CancelledError:
            self._commits.changed = True
            raise
        except Exception as error:  # noqa: BLE001  (a store of the user; the stream goes on and tries again)
            self._commits.changed = True
            if not self._failing:
                _log.error("the checkpoint could not be saved, trying again: %s", error)
            self._failing = True
        else:
            self._failing = False

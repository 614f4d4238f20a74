"""How far a consumer has come: what it was handed, and what of it counts as consumed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

from energy_core.clock import Clock
from energy_core.errors import CheckpointError
from energy_core.stream.checkpoint import Checkpoint, CheckpointStore, Positions, from_credential
from energy_core.stream.event import Event, StreamPosition
from energy_core.stream.vocabulary import Kind, Quantity, SourceId

_EDGE: Final = timedelta(seconds=2)
"""Ids so close to the last moment are kept: a resumed source fetches these again."""

_NEVER: Final = datetime.min.replace(tzinfo=UTC)

_MOST_IDS: Final = 8
"""Of a source that speaks faster than that, the newest are kept; the others may be delivered again."""

_MOST_HANDED: Final = 4096
"""Events handed out and not committed that are told apart; older ones are committed together."""


class _Reached:
    """The position of one source, in the making."""

    __slots__ = ("first", "ids", "pending", "quantities", "seen", "seq", "time")

    def __init__(self, at: StreamPosition | None = None) -> None:
        self.first = at is None or not at.ids
        """Whether no reading was consumed yet."""
        self.time: datetime | None = at.time if at else None
        self.seq = at.seq if at else 0
        self.quantities: Collection[Quantity] = at.quantities if at else ()
        self.seen: set[Quantity] = {*at.seen, *at.quantities} if at else set()
        self.pending = at.pending if at else ()
        self.ids: deque[tuple[datetime, str]] = deque(
            ((at.time, each) for each in at.ids) if at else (), maxlen=_MOST_IDS
        )

    def add(self, event: Event) -> None:
        self.seq = max(self.seq, event.seq)
        if event.kind is not Kind.READING:
            return
        self.seen.update(event.values)
        if self.first or self.time is None or event.time > self.time:
            self.first = False
            self.time, self.quantities = event.time, event.values.keys()
        elif event.time == self.time:
            self.quantities = {*self.quantities, *event.values}
        elif event.time < self.time - _EDGE:
            return
        self.ids.append((event.time, event.id))

    def position(self) -> StreamPosition | None:
        if self.time is None:
            return None
        ids = tuple(each for time, each in self.ids if time >= self.time - _EDGE)
        quantities = frozenset(self.quantities)
        return StreamPosition(
            time=self.time,
            seq=self.seq,
            ids=ids,
            quantities=quantities,
            seen=frozenset(self.seen - quantities),
            pending=self.pending,
        )


def _nobody_knows(_: SourceId, _seq: int) -> None:
    """Nothing is known of what is waited for."""


class CommitTracker:
    """Turns what a consumer was handed into checkpoints.

    Args:
        start: Where it began; what this says of sources that are not merged now is kept.
        owner: Says which merged source speaks for the source of an event.
        pending: Says what a consumer of a source who has come to a number still waits for; None: unknown.
        auto: Whether asking for the next event commits all that was handed out before.
    """

    def __init__(
        self,
        start: Checkpoint,
        owner: Callable[[SourceId], SourceId],
        *,
        auto: bool,
        pending: Callable[[SourceId, int], tuple[tuple[datetime, datetime], ...] | None] = _nobody_knows,
    ) -> None:
        self.auto = auto
        self.changed = False
        """Whether something was committed since the last `checkpoint`."""
        self.on_news: Callable[[], None] | None = None
        """Called when there is a position worth saving at once."""
        self._owner = owner
        self._pending = pending
        self._reached: dict[SourceId, dict[SourceId, _Reached]] = {
            feed: {source: _Reached(at) for source, at in positions.items()}
            for feed, positions in start.positions.items()
        }
        self._places: dict[SourceId, _Reached] = {}
        self._handed: dict[int, Event] = {}
        self._folded: list[Event] = []

    def begin(self, feed: SourceId, now: datetime) -> None:
        """Note that a source begins which never brought anything: what is missed from now on is missing."""
        if not self.positions(feed):
            self._reached.setdefault(feed, {})[feed] = _Reached(StreamPosition(time=now, seq=0))
            self._places.pop(feed, None)
            self._hurry()

    def _hurry(self) -> None:
        self.changed = True
        if self.on_news is not None:
            self.on_news()

    def delivered(self, event: Event) -> None:
        """Note that the consumer gets this event."""
        self._handed[id(event)] = event
        if len(self._handed) > _MOST_HANDED:
            self._fold()

    def autocommit(self) -> None:
        """Commit all that was handed out, unless the consumer commits by itself."""
        if self.auto and self._handed:
            self._commit(None)

    def commit(self, event: Event) -> None:
        """Commit this event and all that was handed out before it; one that is committed already is fine.

        Raises:
            ValueError: it was never handed out.
        """
        if id(event) in self._handed:
            self._commit(event)
        elif event.seq > max(
            self._place(event.source).seq,
            *(each.seq for each in self._folded if each.source == event.source),
            0,
        ):
            raise ValueError(
                f"event {event.seq} of {event.source} was not handed out by the stream's own iterator"
            )

    def checkpoint(self) -> Checkpoint:
        """Return where the consumer is."""
        self.changed = False
        positions: dict[SourceId, Positions] = {}
        for feed, sources in self._reached.items():
            for source, reached in sources.items():
                pending = self._pending(source, reached.seq)
                reached.pending = reached.pending if pending is None else pending
            known = {source: reached.position() for source, reached in sources.items()}
            if any(known.values()):
                positions[feed] = {source: at for source, at in known.items() if at is not None}
        return Checkpoint(positions)

    def positions(self, feed: SourceId, *, alone: Callable[[], bool] = bool) -> Positions:
        """Return where the consumer is in the sources of one feed.

        Args:
            feed: The source that speaks for them.
            alone: Whether no other merged source differs from it by the account's label only: what an older
                version stored under a label made of the credential can only mean this one.
        """
        if feed not in self._reached and any(map(from_credential, self._reached)) and alone():
            self._rename(feed)
        known: Mapping[SourceId, _Reached] = self._reached.get(feed, {})
        return {source: at for source, each in known.items() if (at := each.position()) is not None}

    def _rename(self, feed: SourceId) -> None:
        old = [owner for owner in self._reached if owner.is_like(feed) and from_credential(owner)]
        for owner in sorted(old, key=self._newest):
            kept = self._reached.pop(owner) if len(old) == 1 else self._reached[owner]
            mine = self._reached.setdefault(feed, {})
            for source, reached in kept.items():
                mine[source._replace(account=feed.account)] = reached

    def _newest(self, owner: SourceId) -> datetime:
        return max((each.time for each in self._reached[owner].values() if each.time), default=_NEVER)

    def _commit(self, last: Event | None) -> None:
        self.changed = True
        for event in self._folded:
            self._add(event)
        self._folded.clear()
        if last is None:
            for event in self._handed.values():
                self._add(event)
            self._handed.clear()
            return
        while True:
            event = self._handed.pop(next(iter(self._handed)))
            self._add(event)
            if event is last:
                return

    def _add(self, event: Event) -> None:
        place = self._place(event.source)
        first = place.first
        place.add(event)
        if first and not place.first:
            feed = self._owner(event.source)
            if feed != event.source and (begun := self._reached[feed].get(feed)) is not None and begun.first:
                begun.time = None  # what it speaks for has positions now
            self._hurry()

    def _place(self, source: SourceId) -> _Reached:
        place = self._places.get(source)
        if place is None:
            place = self._reached.setdefault(self._owner(source), {}).setdefault(source, _Reached())
            self._places[source] = place
        return place

    def _fold(self) -> None:
        """Forget which of the oldest are which: the next commit of a younger one commits them all."""
        newest: dict[tuple[SourceId, bool], deque[Event]] = {}
        for event in (
            *self._folded,
            *(self._handed.pop(key) for key in tuple(self._handed)[: _MOST_HANDED // 2]),
        ):
            kind = event.source, event.kind is Kind.READING
            newest.setdefault(kind, deque(maxlen=_MOST_IDS)).append(event)
        self._folded = sorted((event for kept in newest.values() for event in kept), key=_number)


def _number(event: Event) -> tuple[SourceId, int]:
    return event.source, event.seq


OnCorrupt: TypeAlias = Literal["raise", "latest"]
"""What a checkpoint that cannot be used leads to: an error, or a start from now."""

_AHEAD: Final = timedelta(days=1)
"""No reading is delivered that is further in the future."""

_SET: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""A clock before this program's own time has not been set yet and is ignored."""

INTERVAL_S: Final = 5.0
"""So often a checkpoint is saved while anything is consumed."""

_log: Final = logging.getLogger("energy_core.stream")


async def load(
    store: CheckpointStore | Checkpoint, sources: set[SourceId], on_corrupt: OnCorrupt, now: datetime
) -> Checkpoint:
    """Return where to begin.

    Raises:
        CheckpointError: what is stored cannot be used, and `on_corrupt` is "raise".
    """
    try:
        if isinstance(store, Checkpoint):
            return _fitting(store, sources, now)
        text = await store.load()
        return Checkpoint() if text is None else _fitting(Checkpoint.from_json(text), sources, now)
    except CheckpointError as trouble:
        trouble.path = trouble.path or getattr(store, "path", None)
        if on_corrupt == "raise":
            raise
        _log.warning("starting from now: %s", trouble.fault)
        return Checkpoint()


def _fitting(checkpoint: Checkpoint, sources: set[SourceId], now: datetime) -> Checkpoint:
    known = set(checkpoint.positions)
    if (
        known
        and not known & sources
        and not any(_may_mean(owner, each) for owner in known for each in sources)
    ):
        names = ", ".join(map(str, sorted(known)[:3]))
        raise CheckpointError(f"the checkpoint is of other sources, {names}", kind="sources")
    newest = max((at.time for each in checkpoint.positions.values() for at in each.values()), default=now)
    if newest > now + _AHEAD and now > _SET:
        raise CheckpointError(
            f"the checkpoint is from the future, {newest.isoformat()}, or the clock of this machine is wrong"
        )
    return checkpoint


def _may_mean(stored: SourceId, source: SourceId) -> bool:
    """Whether a stored id may be a source's: its label is not known yet, or an older version made another."""
    return stored.is_like(source) and (not source.identified or from_credential(stored))


class CheckpointSaver:
    """Saves every few seconds, where anything has changed, and once more at the end."""

    def __init__(self, store: CheckpointStore, progress: CommitTracker, clock: Clock) -> None:
        self._store = store
        self._progress = progress
        self._clock = clock
        self._troubled = False
        self._hurry = asyncio.Event()
        progress.on_news = self._hurry.set
        self._task = asyncio.get_running_loop().create_task(self._run(), name="energy checkpoints")

    async def close(self, grace_s: float) -> None:
        """Save what is not saved yet and stop; after the grace, stop anyway."""
        self._task.cancel()
        await asyncio.wait({self._task})
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
        """Stop, because the stream was forgotten."""
        self._task.cancel()

    async def _run(self) -> None:
        """Save at once when a source begins or brings its first event, then every few seconds."""
        while True:
            self._hurry.clear()
            await self._save()
            timer = self._clock.call_at(self._clock.monotonic() + INTERVAL_S, self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                timer.cancel()

    async def _save(self) -> None:
        if not self._progress.changed:
            return
        try:
            await self._store.save(self._progress.checkpoint().to_json())
        except asyncio.CancelledError:
            self._progress.changed = True
            raise
        except Exception as trouble:  # noqa: BLE001  (a store may raise anything, and the stream goes on)
            self._progress.changed = True
            if not self._troubled:
                _log.error("the checkpoint could not be saved, trying again: %s", trouble)
            self._troubled = True
        else:
            self._troubled = False

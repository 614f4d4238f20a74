"""Passes events on to every subscriber of one stream, and knows when the last source has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeAlias

from attrs import evolve

from energy_core.clock import Clock
from energy_core.errors import EnergyError
from energy_core.stream.buffer import first_relief
from energy_core.stream.commit import CommitTracker
from energy_core.stream.refill import SourceOwner
from energy_core.stream.source import StreamPosition
from energy_core.stream.subscriber import Subscriber
from energy_core.stream.vocabulary import Detail, Kind, SourceId

Lack: TypeAlias = tuple[Subscriber, SourceId, datetime, datetime]
"""A subscriber, and a device of which it lacks readings that others had, since when and until when."""


_BEFORE_START: Final = timedelta(minutes=1)


class RunningSource(Protocol):
    """A source task that can be stopped."""

    def stop(self) -> None:
        """Cancel it."""


class Fanout:
    """The subscribers of one stream, and what all its sources share.

    Args:
        clock: Source of time.
        include_status: Whether changes of state are delivered as events.
        fail_fast: Whether the first failed source ends the stream.
    """

    def __init__(self, clock: Clock, *, include_status: bool = True, fail_fast: bool = False) -> None:
        self.clock = clock
        self.include_status = include_status
        self.subscribers: tuple[Subscriber, ...] = ()
        self.ended = False
        """Whether the stream takes nothing more; a source that is started sets it back."""
        self.trackers: dict[Subscriber, CommitTracker] = {}
        """What is consumed, of each subscriber that has a checkpoint."""
        self.running: set[RunningSource] = set()
        self._fail_fast = fail_fast
        self._keys: dict[SourceId, str] = {}

    # --- events --------------------------------------------------------------------------------------------

    def put_control(
        self,
        owner: SourceOwner,
        source: SourceId,
        kind: Kind,
        detail: Detail,
        *,
        time: datetime | None = None,
    ) -> None:
        """Deliver a status, gap, dropped or alarm event to every subscriber.

        Args:
            owner: The task of the source.
            source: The device or source it is about.
            kind: Its kind.
            detail: Its detail.
            time: Its time; now by default.
        """
        now = self.clock.utcnow()
        for each in self.subscribers:
            if not each.buffer.ended:  # an ended buffer takes nothing, so nothing is numbered
                sequence = each.sequence(source, owner, self.key(source))
                each.put_control(sequence, source, kind, detail, time or now, now)

    async def room(self) -> None:
        """Wait until any subscriber has room: the slowest must not hold up the others. Cancelling is safe."""
        while True:
            buffers = [each.buffer for each in self.subscribers if not each.buffer.ended]
            if self.ended or not buffers or any(buffer.has_room for buffer in buffers):
                return
            await first_relief(buffers)

    def key(self, source: SourceId) -> str:
        """Return `Event.key` of a device's readings; one string shared by all its events."""
        key = self._keys.get(source)
        if key is None:
            key = self._keys[source] = f"{source}/{Kind.READING}"
        return key

    # --- positions -----------------------------------------------------------------------------------------

    def consumed(self, owner_id: SourceId, alone: Callable[[], bool]) -> dict[SourceId, StreamPosition]:
        """Return where to continue a source: where the consumers of an earlier run stopped in its devices.

        Of several consumers the newest position counts; `resume` finds out what the others lack. The spans
        that any of them waits for stay pending. Where none had a reading, the earliest start counts.
        """
        found: dict[SourceId, StreamPosition] = {}
        for tracker in self.trackers.values():
            own = tracker.positions(owner_id, alone=alone)
            tracker.begin(owner_id, self.clock.utcnow())
            if tracker.begin_at is not None:
                own = tracker.positions(owner_id)
            for source, at in own.items():
                known = found.get(source, at)
                newest = max(known, at, key=_time) if known.ids and at.ids else min(known, at, key=_rank)
                found[source] = evolve(newest, pending=tuple(sorted({*known.pending, *at.pending})))
        if len(found) > 1 and owner_id in found and not found[owner_id].ids:
            del found[owner_id]  # a start without readings; its devices have positions of their own
        return found

    def resume(self, owner: SourceOwner, positions: Mapping[SourceId, StreamPosition]) -> list[Lack]:
        """Continue every subscriber where its consumer stopped; return which of them lack older readings.

        Args:
            owner: The task of the source.
            positions: Where the source itself continues.
        """
        return [lack for each in self.subscribers for lack in self._resume(each, owner, positions)]

    def resume_late(
        self, subscriber: Subscriber, owner: SourceOwner, sources: Iterable[SourceId]
    ) -> list[Lack]:
        """Continue one subscriber that joins while a source runs: it lacks everything until now."""
        tracker, now = self.trackers[subscriber], self.clock.utcnow()
        own = tracker.positions(owner.id)
        tracker.begin(owner.id, now)
        if tracker.begin_at is not None:
            own = tracker.positions(owner.id)
        newest = {source: at.time for source, at in self.delivered(sources).items() if at.ids}
        for each in self.subscribers:
            for source, refill in each.refills.items():  # a slow consumer does not have the newest
                newest[source] = max(refill.newest, newest.get(source, refill.newest))
        lacks: list[Lack] = []
        for source in {*own, *newest}:
            at = own.get(source) or own.get(owner.id)
            if at is not None:
                sequence = subscriber.sequence(source, owner, self.key(source))
                subscriber.resume(sequence, at)
                if at.ids or source in newest:
                    lacks.append((subscriber, source, at.time, max(at.time, newest.get(source, now))))
        return lacks

    def _resume(
        self, subscriber: Subscriber, owner: SourceOwner, positions: Mapping[SourceId, StreamPosition]
    ) -> list[Lack]:
        tracker = self.trackers.get(subscriber)
        own = positions if tracker is None else tracker.positions(owner.id)
        lacks: list[Lack] = []
        for source, newest in positions.items():
            sequence = subscriber.sequence(source, owner, self.key(source))
            if sequence.newest is not None:  # the source was restarted; this consumer had its readings
                subscriber.resume(sequence, newest)
                continue
            # Without a position of the device, the consumer stopped when the source had begun.
            at = own.get(source) or own.get(owner.id, newest)
            subscriber.resume(sequence, at)
            if newest.ids and (at.time < newest.time or not {*newest.ids} <= {*at.ids}):
                # The first reading of a device may be older than the start of its source.
                before = timedelta() if at.ids else _BEFORE_START
                lacks.append((subscriber, source, min(at.time, newest.time) - before, newest.time))
        return lacks

    def delivered(self, sources: Iterable[SourceId]) -> dict[SourceId, StreamPosition]:
        """Return how far these were delivered into buffers, consumed or not; of several, the farthest.

        A subscriber that is behind the others got a gap for the rest when the source ended.
        """
        found: dict[SourceId, StreamPosition] = {}
        for source in sources:
            known = [each.sequences[source] for each in self.subscribers if source in each.sequences]
            positions = [position for each in known if (position := each.position()) is not None]
            if positions:
                found[source] = max(positions, key=_time)
        return found

    def hand_on(self, sources: Iterable[SourceId], owner: SourceOwner) -> Mapping[SourceId, StreamPosition]:
        """Transfer devices to a restarted source; return how far its predecessor delivered them."""
        sources = tuple(sources)
        for each in self.subscribers:
            for source in sources:
                sequence = each.sequences.get(source)
                if sequence is not None:
                    each.owners[source] = owner
                    # The successor fetches the last seconds again, and may deliver them as live.
                    sequence.dedupe_until = sequence.newest
        return self.delivered(sources)

    def transfer_devices(self, owner: SourceOwner) -> None:
        """Transfer the devices of a removed source to a new source with the same id."""
        for each in self.subscribers:
            for source, known in each.owners.items():
                if known.id == owner.id:
                    each.owners[source] = owner

    def forget(self, source: SourceId) -> None:
        """Free memory of a removed source."""
        self._keys.pop(source, None)
        for each in self.subscribers:
            each.forget(source)

    # --- start and end -------------------------------------------------------------------------------------

    def source_started(self, source: RunningSource) -> None:
        """Note that a source runs. A stream whose sources had all ended goes on."""
        self.running.add(source)
        if self.ended:
            self.ended = False
            for each in self.subscribers:
                each.buffer.reopen()

    def source_ended(self, source: RunningSource, error: EnergyError | None) -> None:
        """Note that a source has ended; ends the stream with the last one, or at once with `fail_fast`."""
        self.running.discard(source)
        if self._fail_fast and error is not None and not self.ended:
            self.end(error)  # before the others stop, whose end must not be delivered
            for other in tuple(self.running):
                other.stop()
        elif not self.running:
            self.end()

    def end(self, error: EnergyError | None = None) -> None:
        """Take nothing more. Consumers get what is buffered, then the error if there is one."""
        if not self.ended:
            self.ended = True
            for each in self.subscribers:
                each.buffer.end(error)

    def close(self) -> None:
        """Take and deliver nothing more."""
        self.ended = True
        for each in self.subscribers:
            each.buffer.close()


def _time(position: StreamPosition) -> datetime:
    return position.time


def _rank(position: StreamPosition) -> tuple[bool, datetime]:
    """Order positions of readings before others, and the earlier before the later."""
    return not position.ids, position.time

"""One supervised source of a merged stream: numbers what it hands over and says how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from energy_core.clock import Clock
from energy_core.errors import AuthError, ClientClosed, EnergyError, InternalError, StreamClosed
from energy_core.stream.buffer import DropOldest
from energy_core.stream.event import (
    Detail,
    Dropped,
    Event,
    Gap,
    Kind,
    Quantity,
    Source,
    SourceId,
    State,
    Status,
)
from energy_core.stream.state import SourceStatus, Standing

_log: Final = logging.getLogger("energy_core.stream")


class Track:
    """The numbering of one `SourceId`."""

    __slots__ = ("keys", "newest", "owner", "seq")

    def __init__(self, source: SourceId, owner: Feed) -> None:
        self.owner = owner
        self.seq = 0
        self.newest: datetime | None = None
        self.keys = {kind: f"{source}/{kind}" for kind in Kind}


class Ledger:
    """What the feeds of one stream share: the numbering, the buffer and the clock."""

    def __init__(self, *, capacity: int, include_status: bool, clock: Clock) -> None:
        self.buffer = DropOldest(capacity, on_relief=self.note_loss)
        self.include_status = include_status
        self.clock = clock
        self.tracks: dict[SourceId, Track] = {}
        self.running = 0

    def track(self, source: SourceId, owner: Feed) -> Track:
        """Return the numbering of `source`, begun by the first feed that speaks of it."""
        track = self.tracks.get(source)
        if track is None:
            track = self.tracks[source] = Track(source, owner)
        return track

    def note(
        self, source: SourceId, owner: Feed, kind: Kind, detail: Detail, *, time: datetime | None = None
    ) -> None:
        """Put an event that is not a reading in line; such events are never dropped."""
        track = self.track(source, owner)
        track.seq += 1
        now = self.clock.utcnow()
        self.buffer.keep(
            Event(
                source=source,
                kind=kind,
                key=track.keys[kind],
                time=time or now,
                received_at=now,
                seq=track.seq,
                id=f"{kind}:{track.seq}",
                detail=detail,
            )
        )

    def note_loss(self, source: SourceId, loss: Dropped) -> None:
        """Announce an episode of drops that is over."""
        self.note(source, self.tracks[source].owner, Kind.DROPPED, loss)


class Feed:
    """The `Outlet` of one source, and the task that runs it.

    Knows the ledger and never the merged stream, so that a stream nobody holds any more can be collected
    while its sources still run.
    """

    def __init__(self, source: Source, ledger: Ledger) -> None:
        self.id = source.id
        self._source = source
        self._ledger = ledger
        self._buffer = ledger.buffer
        self._standing = Standing(ledger.clock.utcnow())
        self._error: EnergyError | None = None
        self._over = False
        self._readings = self._late = self._dropped = self._gaps = 0

    @property
    def snapshot(self) -> SourceStatus:
        """How the source is doing now."""
        standing = self._standing
        return SourceStatus(
            state=standing.state,
            since=standing.since,
            reason=standing.reason,
            retry_in=standing.retry_in,
            readings=self._readings,
            late=self._late,
            dropped=self._dropped,
            gaps=self._gaps,
            error=self._error,
        )

    def reading(
        self,
        source: SourceId,
        *,
        time: datetime,
        id: str,  # noqa: A002  (the event's own word)
        values: Mapping[Quantity, float],
        raw: Mapping[str, object],
        backfilled: bool = False,
        revision: int = 0,
    ) -> None:
        """Number one reading and buffer it. Never blocks."""
        if self._shut():
            return
        if time.tzinfo is None:
            raise ValueError(f"the time of a reading must be aware: {time!r}")
        ledger = self._ledger
        track = ledger.tracks.get(source) or ledger.track(source, self)
        late = track.newest is not None and time < track.newest
        if late:
            self._late += 1
        else:
            track.newest = time
        track.seq += 1
        self._readings += 1
        dropped = self._buffer.put(
            Event(
                source=source,
                kind=Kind.READING,
                key=track.keys[Kind.READING],
                time=time,
                received_at=ledger.clock.utcnow(),
                seq=track.seq,
                id=id,
                values=values,
                raw=raw,
                backfilled=backfilled,
                late=late,
                revision=revision,
            )
        )
        if dropped is not None:
            ledger.tracks[dropped.source].owner.note_drop(dropped)

    def status(self, state: State, *, reason: str = "", retry_in: float | None = None) -> None:
        """Announce a change of state; saying the same state again only refreshes the snapshot."""
        if self._shut():
            return
        if state.terminal:
            raise ValueError(f"a source does not announce {state}: it returns or raises")
        self._move(state, reason, retry_in)

    def gap(self, source: SourceId, *, start: datetime, end: datetime, reason: str) -> None:
        """Report a stretch of time that cannot be delivered."""
        if self._shut():
            return
        self._gaps += 1
        self._ledger.note(source, self, Kind.GAP, Gap(start=start, end=end, reason=reason), time=end)

    async def room(self) -> None:
        """Wait until a reading can be handed over without dropping another. Cancelling it is safe."""
        await self._buffer.room()

    def note_drop(self, event: Event) -> None:
        """Count a reading of this feed that the buffer dropped; the first of an episode is logged."""
        self._dropped += 1
        loss = self._buffer.losses.get(event.source)
        if loss is not None and loss.count == 1:
            _log.warning(
                "the consumer is too slow: dropping readings of %s from seq %d on", event.source, event.seq
            )

    async def run(self) -> None:
        """Run the source to its end and announce how it ended. Raises nothing but cancellation."""
        if self._ledger.include_status:
            self._ledger.note(self.id, self, Kind.STATUS, Status(state=State.CONNECTING))
        try:
            await self._source.run(self)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._finish(State.CLOSED, reason="cancelled")
                raise
            self._fail_internally(None)
        except AuthError as error:
            self._finish(State.AUTH_FAILED, error=error)
        except ClientClosed as error:
            self._finish(State.CLOSED, error=error)
        except InternalError as error:
            self._fail_internally(error)
        except EnergyError as error:
            self._finish(State.FAILED, error=error)
        except Exception as error:  # noqa: BLE001  (whatever it is, it stays this source's own trouble)
            self._fail_internally(error)
        else:
            self._finish(State.CLOSED)

    def ended(self, task: asyncio.Task[None]) -> None:
        """Note that the task of `run` is done; with the last of them the stream has ended."""
        if not self._over:  # cancelled before its first step, or stopped by the interpreter
            self._finish(State.CLOSED, reason="cancelled")
        if not task.cancelled():
            task.exception()
        self._ledger.running -= 1
        if not self._ledger.running:
            self._buffer.end()

    def _fail_internally(self, cause: Exception | None) -> None:
        if isinstance(cause, InternalError):
            error = cause
        else:
            what = "cancelled itself" if cause is None else f"raised {type(cause).__name__}"
            error = InternalError(f"the source {self.id} {what}, which is a fault in its own code")
            error.__cause__ = cause
        _log.error("%s", error, exc_info=error)
        self._finish(State.FAILED, error=error)

    def _finish(self, state: State, *, reason: str = "", error: EnergyError | None = None) -> None:
        self._error = error
        if not self._buffer.ended:
            tracks = self._ledger.tracks
            for source in [lost for lost in self._buffer.losses if tracks[lost].owner is self]:
                self._buffer.announce_loss(source)
        self._move(state, reason or (str(error) if error else ""), None)
        self._over = True

    def _move(self, state: State, reason: str, retry_in: float | None) -> None:
        ledger = self._ledger
        changed = self._standing.move(state, at=ledger.clock.utcnow(), reason=reason, retry_in=retry_in)
        if changed and ledger.include_status and not self._buffer.ended:
            status = Status(state=state, reason=reason, retry_in=retry_in)
            ledger.note(self.id, self, Kind.STATUS, status)

    def _shut(self) -> bool:
        if self._over:
            raise StreamClosed(f"the source {self.id} has ended and can hand over nothing more")
        return self._buffer.ended

    def __repr__(self) -> str:
        return f"<Feed {self.id} {self._standing.state}, {self._readings} readings>"

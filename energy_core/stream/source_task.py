"""One supervised source of a merged stream: hands over what it has and says how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from energy_core.clock import VendorClock, utcnow_reader
from energy_core.errors import AuthError, ClientClosed, EnergyError, InternalError, StreamClosed
from energy_core.printable import printable
from energy_core.stream.event import Event, Outlet, Reading, Source, StreamPosition
from energy_core.stream.fanout import Fanout
from energy_core.stream.refill import RETRY_S, Fetched, LaterRefills, RefillOutlet
from energy_core.stream.status import Site, SourceState, SourceStatus
from energy_core.stream.subscriber import SLOW, SequenceState, Stretch, Subscriber
from energy_core.stream.validation import FROM_THE_FUTURE, Horizon, ReadingValidator, admit_stretch
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId, State, Status

_log: Final = logging.getLogger("energy_core.stream")

NOT_RESUMABLE: Final = "not_resumable"
"""The reason of a gap between a checkpoint and the start of a source that cannot look back."""

_FINE: Final = frozenset({State.LIVE, State.BACKFILLING, State.STALE})
"""States in which a source with several sites knows how each of them is doing."""

CLOCK_OFF_S: Final = 60.0
"""Our clock is said to be wrong when it is that far from the vendor's."""

Refill: TypeAlias = Callable[[Outlet, SourceId, datetime, datetime], Awaitable[Sequence[Stretch] | None]]
Join: TypeAlias = Callable[["SourceTask"], Mapping[SourceId, StreamPosition]]
"""Enters a feed under the id of its source, and returns where a consumer stopped there."""


class SourceTask:
    """The `Outlet` of one source, and the task that runs it.

    Knows the ledger and never the merged stream, so that a stream nobody holds any more can be collected
    while its sources still run.
    """

    __slots__ = (
        *("__weakref__", "_backfilled", "_dropped", "_error", "_fault", "_gaps", "_gate", "_heard"),
        *("_identify", "_join", "_last", "_late", "_leaving", "_ledger", "_lines", "_menders", "_missing"),
        *("_now", "_over", "_readings", "_refused", "_sites", "_spoken_for", "_standing", "_tracks"),
        *("_horizon", "_offset_s", "_later", "_pending", "_vendor_clock"),
        *("id", "restarts", "source", "speaks_for", "task"),
    )

    def __init__(self, source: Source, ledger: Fanout, *, restarts: int = 0) -> None:
        self.id = source.id
        self.source = source
        self.speaks_for: set[SourceId] = {source.id}
        self.task: asyncio.Task[None] | None = None
        self.restarts = restarts
        self._identify: Callable[[Outlet], Awaitable[None]] | None = getattr(source, "identify", None)
        if source.id.identified:
            self._identify = None
        self._join: Join | None = None
        self._ledger = ledger
        self._standing = SourceState(ledger.clock.utcnow())
        self._sites: dict[SourceId, Site] = {}
        self._missing: Mapping[SourceId, datetime] = {}
        self._menders: set[asyncio.Task[Fetched]] = set()
        self._error: EnergyError | None = None
        self._fault: Exception | None = None
        self._leaving = self._over = False
        self._readings = self._backfilled = self._late = self._dropped = self._gaps = 0
        self._refused = 0
        self._vendor_clock: VendorClock | None = getattr(source, "vendor_clock", None)
        self._horizon = Horizon(ledger.clock, self._vendor_clock)
        self._pending: dict[SourceId, Sequence[Stretch]] = {}  # what the source waits for ...
        retry_s: Sequence[float] = getattr(source, "retry_s", RETRY_S)
        # ... and what is missing in one line only:
        self._later = LaterRefills(ledger.clock, self._refill_again, self._lack, retry_s=retry_s)
        self._offset_s = 0.0  # of our clock, as the last status reported it
        self._gate = ReadingValidator()
        self._now = utcnow_reader(ledger.clock)
        self._spoken_for: SourceId | None = None
        self._lines: tuple[Subscriber, ...] = ()
        self._tracks: tuple[SequenceState, ...] = ()
        self._last: datetime | None = None
        self._heard: datetime | None = None

    @property
    def snapshot(self) -> SourceStatus:
        """How the source is doing now."""
        standing, now = self._standing, self._ledger.clock.utcnow()
        retry_at, heard = standing.retry_at, self._heard
        return SourceStatus(
            state=standing.state,
            since=standing.since,
            age_s=max(0.0, (now - standing.since).total_seconds()),
            reason=standing.reason,
            retry_in=None if retry_at is None else max(0.0, (retry_at - now).total_seconds()),
            readings=self._readings,
            last=self._last,
            quiet_s=None if heard is None else max(0.0, (now - heard).total_seconds()),
            backfilled=self._backfilled,
            late=self._late,
            dropped=self._dropped,
            gaps=self._gaps,
            refused=self._refused,
            pending=self._all_pending,
            clock_offset_s=None if self._vendor_clock is None else self._vendor_clock.offset_s,
            restarts=self.restarts,
            notes=MappingProxyType(dict(getattr(self.source, "notes", {}))),
            error=self._error,
        )

    @property
    def sites(self) -> Mapping[SourceId, SourceStatus]:
        """How each of several sites is doing; where the source itself is doing worse, as that is."""
        return {site: self._of_site(own) for site, own in self._sites.items()}

    def _of_site(self, own: Site) -> SourceStatus:
        standing, now = own.standing, self._ledger.clock.utcnow()
        if self._standing.state not in _FINE:
            standing = self._standing
        heard = own.heard
        return SourceStatus(
            state=standing.state,
            since=standing.since,
            age_s=max(0.0, (now - standing.since).total_seconds()),
            reason=standing.reason,
            readings=own.readings,
            last=own.last,
            quiet_s=None if heard is None else max(0.0, (now - heard).total_seconds()),
        )

    @property
    def over(self) -> bool:
        """Whether the source has ended."""
        return self._over

    def start(self, join: Join) -> None:
        """Run the source in a task of its own, from where a consumer stopped.

        Args:
            join: Called once the id of the source is known, before any event but that of a failure.
        """
        if self._identify is None:
            self._resume(join(self))
        else:
            self._join = join
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._run(), name=f"energy source {self.id}")
        self._ledger.began(self)
        self.task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Cancel it."""
        if self.task is not None:
            self.task.cancel()

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
        """Hand over one reading. Never blocks."""
        self.readings(source, (Reading(time, id, values, raw, backfilled, revision),))

    def readings(self, source: SourceId, readings: Sequence[Reading]) -> None:
        """Hand over several readings that came together. Never blocks."""
        ledger = self._ledger
        if not readings or ((self._over or ledger.ended) and self._shut()):
            return
        live, newest = self._gate.admit(source, readings)
        if source is not self._spoken_for or ledger.lines is not self._lines:
            self._look_up(source)
        received_at = self._heard = self._now()
        if newest > self._horizon.latest and self._horizon.is_ahead(newest):
            if len(readings) > 1:  # what is left out is told in its place
                for each in readings:
                    self.readings(source, (each,))
            else:
                self._from_the_future(source, newest)
            return
        events: Sequence[Event | None] = ()
        for track in self._tracks:
            events = track.line.readings(track, source, readings, received_at, live, events)
        self._readings += len(readings)
        if self._sites and (site := self._sites.get(source._replace(instance=0))) is not None:
            site.take(len(readings), newest, received_at)
        if self._last is None or newest > self._last:
            self._last = newest
        if not live or (events and (events[0] is None or events[0].late)):
            self._backfilled += sum(each.backfilled for each in readings)
            self._late += sum(event is not None and event.late for event in events)

    def _look_up(self, source: SourceId) -> None:
        """Find the numbering of a source in every line; what speaks for one alone does so once."""
        ledger = self._ledger
        self.speaks_for.add(source)
        self._spoken_for, self._lines = source, ledger.lines
        self._tracks = tuple(
            line.tracks.get(source) or line.track(source, self, ledger.key(source)) for line in ledger.lines
        )

    def status(
        self, state: State, *, reason: str = "", retry_in: float | None = None, about: SourceId | None = None
    ) -> None:
        """Announce a change of state; saying the same state again only refreshes the snapshot."""
        if self._shut():
            return
        if state.terminal:
            raise ValueError(f"a source does not announce {state}: it returns or raises")
        if about is None or about == self.id:
            self._move(state, reason, retry_in)
        else:
            self._move_site(about, state, reason)

    def gap(
        self,
        source: SourceId,
        *,
        start: datetime,
        end: datetime,
        reason: str,
        quantities: Collection[Quantity] = (),
    ) -> None:
        """Report a stretch of time that cannot be delivered."""
        if self._shut():
            return
        admit_stretch(source, start, end)
        self.speaks_for.add(source)
        self._gaps += 1
        gap = Gap(start=start, end=end, reason=reason, quantities=tuple(quantities))
        self._ledger.note(self, source, Kind.GAP, gap, time=end)

    def pending(self, source: SourceId, stretches: Sequence[Stretch]) -> None:
        """Say which stretches of a source will be asked for again: these, and no others."""
        if self._shut():
            return
        for start, end in stretches:
            admit_stretch(source, start, end)
        self.speaks_for.add(source)
        self._pending[source] = tuple(stretches)
        for line in self._ledger.lines:
            if not line.buffer.ended:
                line.track(source, self, self._ledger.key(source)).wait_for(stretches)

    @property
    def _all_pending(self) -> tuple[Stretch, ...]:
        of_source = (stretch for stretches in self._pending.values() for stretch in stretches)
        return tuple(sorted({*of_source, *self._later.stretches}))

    def _from_the_future(self, source: SourceId, time: datetime) -> None:
        """Set aside a reading after which all others would look late; the first of an episode is a gap."""
        self._refused += 1
        if self._horizon.begins(source):
            now = self._horizon.now()
            _log.warning("%s dates a reading %s, and it is %s; setting aside such", source, time, now)
            last = next((track.newest for track in self._tracks if track.newest is not None), now)
            self.gap(source, start=min(last, now), end=now, reason=FROM_THE_FUTURE)

    async def room(self) -> None:
        """Wait until a reading can be handed over without dropping another. Cancelling it is safe."""
        await self._ledger.room()

    def note_loss(self, source: SourceId, seq: int, count: int, *, begins: bool) -> None:
        """Count readings that a consumer was too slow for; the first of an episode is logged."""
        self._dropped += count
        if begins:
            _log.warning("a consumer is too slow: losing readings of %s from seq %d on", source, seq)

    def refill(self, line: Subscriber, source: SourceId) -> None:
        """Fetch again what `line` had no room for; a gap where that is not possible."""
        refill: Refill | None = getattr(self.source, "refill", None)
        stretch = None if refill is None or self._leaving else line.begin_refill(source)
        if refill is None or stretch is None:
            self._gaps += line.give_up(source, SLOW)
            return
        work = self._fetch(partial(refill, RefillOutlet(line, source), source, *stretch))
        mender = asyncio.get_running_loop().create_task(work, name=f"energy refill of {source}")
        self._menders.add(mender)
        line.menders.add(mender)
        mender.add_done_callback(partial(self._mended, line, source))

    async def _fetch(self, refill: Callable[[], Awaitable[Sequence[Stretch] | None]]) -> Fetched:
        """Return why it could not be fetched, None if it was, and what is to be asked for again."""
        try:
            return None, await refill() or ()
        except EnergyError as error:
            return str(error), ()
        except Exception as fault:  # noqa: BLE001  (whatever it is, it is reported and stays here)
            return str(self._internal(fault)), ()

    def _mended(self, line: Subscriber, source: SourceId, mender: asyncio.Task[Fetched]) -> None:
        self._menders.discard(mender)
        line.menders.discard(mender)
        trouble, again = (SLOW, ()) if mender.cancelled() else mender.result()
        for stretch in again:  # before what was held is let go: a checkpoint must know of them by then
            self._later.add(line, source, stretch)
        self._gaps += line.end_refill(source, trouble=trouble)

    async def _refill_again(self, line: Subscriber, source: SourceId, stretch: Stretch) -> Fetched:
        refill: Refill | None = None if self._leaving else getattr(self.source, "refill", None)
        if refill is None:
            return SLOW, ()
        return await self._fetch(partial(refill, RefillOutlet(line, source, late=True), source, *stretch))

    def _lack(self, line: Subscriber, source: SourceId, stretch: Stretch, reason: str) -> None:
        """Tell one line that a stretch is missing."""
        if not (line.buffer.ended or self._ledger.ended):
            self._gaps += 1
            start, end = stretch
            gap = Gap(start=start, end=end, reason=reason)
            line.put_control(line.tracks[source], source, Kind.GAP, gap, end, self._ledger.clock.utcnow())

    async def _run(self) -> None:
        """Run the source to its end and announce how it ended. Raises nothing but cancellation."""
        try:
            self._finish(*await self._outcome())
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._finish(State.CLOSED, None, "cancelled")
                raise
            self._finish(State.FAILED, self._internal(None))

    async def _outcome(self) -> tuple[State, EnergyError | None]:
        """Run the source and return how it ended."""
        try:
            if self._identify is not None:
                await self._identify(self)
                self._identified()
            self._begin()
            await self.source.run(self)
        except AuthError as error:
            return State.AUTH_FAILED, error
        except ClientClosed as error:
            return State.CLOSED, error
        except InternalError as error:
            return State.FAILED, self._internal(error)
        except EnergyError as error:
            return State.FAILED, error
        except Exception as error:  # noqa: BLE001  (whatever it is, it stays this source's own trouble)
            return State.FAILED, self._internal(error)
        finally:
            await self._stop_mending()
        return State.CLOSED, None

    def _identified(self) -> None:
        self._identify = None
        if self._join is not None:
            join, self._join = self._join, None
            positions = join(self)
            self._resume(positions)

    def _begin(self) -> None:
        """Announce the source, and what cannot be delivered of the time before it."""
        if self._ledger.include_status:
            self._ledger.note(self, self.id, Kind.STATUS, Status(state=State.CONNECTING))
        now = self._ledger.clock.utcnow()
        for source, since in self._missing.items():
            self.gap(source, start=min(since, now), end=now, reason=NOT_RESUMABLE)
        if self._fault is not None:
            raise self._fault

    async def _stop_mending(self) -> None:
        self._leaving = True
        menders = (*self._menders, *self._later.tasks)
        for mender in menders:
            mender.cancel()
        if menders:
            await asyncio.wait(menders)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Note that the task is done; with the last of them the stream has ended."""
        if not self._over:  # cancelled before its first step, or stopped by the interpreter
            self._finish(State.CLOSED, None, "cancelled")
        if not task.cancelled():
            task.exception()
        failed = self._standing.state in {State.FAILED, State.AUTH_FAILED}
        self._ledger.over(self, self._error if failed else None)

    def _resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        if not positions:
            return
        self.speaks_for.update(positions)
        self._ledger.resume(self, positions)
        resume: Callable[[Mapping[SourceId, StreamPosition]], None] | None = getattr(
            self.source, "resume", None
        )
        if resume is not None:
            try:
                resume(positions)
            except Exception as fault:  # noqa: BLE001  (its own trouble, told where it would have run)
                self._fault = fault
        else:
            self._missing = {source: position.time for source, position in positions.items()}

    def _internal(self, cause: Exception | None) -> InternalError:
        if isinstance(cause, InternalError):
            error = cause
        else:
            what = "cancelled itself" if cause is None else f"raised {type(cause).__name__}"
            error = InternalError(f"the source {self.id} {what}, which is a fault in its own code")
            error.__cause__ = cause
        _log.error("%s", error, exc_info=error)
        return error

    def _finish(self, state: State, error: EnergyError | None = None, reason: str = "") -> None:
        self._error, self._leaving, self._over = error, True, True
        for line in self._ledger.lines:
            for source in self.speaks_for:
                self._gaps += line.on_source_end(source)
        self._move(state, reason or (str(error) if error else ""), None)

    def _move(self, state: State, reason: str, retry_in: float | None) -> None:
        ledger = self._ledger
        changed = self._standing.move(state, at=ledger.clock.utcnow(), reason=reason, retry_in=retry_in)
        if (
            self._identify is not None and not state.terminal
        ):  # an event has a source, and that has an account
            return
        off = self._clock_off()
        if off:
            reason = f"{reason}; {off}" if reason else off
        if (changed or off) and ledger.include_status and not ledger.ended:
            status = Status(state=state, reason=reason, retry_in=retry_in)
            ledger.note(self, self.id, Kind.STATUS, status)

    def _move_site(self, site: SourceId, state: State, reason: str) -> None:
        ledger = self._ledger
        now = ledger.clock.utcnow()
        own = self._sites.get(site)
        if own is None:
            own = self._sites[site] = Site(now)
            self.speaks_for.add(site)
        if own.standing.move(state, at=now, reason=reason) and ledger.include_status and not ledger.ended:
            ledger.note(self, site, Kind.STATUS, Status(state=state, reason=reason))

    def _clock_off(self) -> str:
        """Say how far our clock is from the vendor's, where that is news."""
        told = None if self._vendor_clock is None else self._vendor_clock.offset_s
        if told is None or abs(told - self._offset_s) <= CLOCK_OFF_S:
            return ""
        self._offset_s = told if abs(told) > CLOCK_OFF_S else 0.0
        if not self._offset_s:
            return "our clock is right again"
        off = f"our clock is {abs(told):.0f} s {'behind' if told > 0 else 'ahead of'} the vendor's"
        _log.warning("%s: %s; readings have the vendor's time", self.id, off)
        return off

    def _shut(self) -> bool:
        if self._over:
            raise StreamClosed(f"the source {self.id} has ended and can hand over nothing more")
        return self._ledger.ended

    @printable
    def __repr__(self) -> str:
        return f"<Feed {self.id} {self._standing.state}, {self._readings} readings>"

"""The outlet of a running source: validates readings, counts them, and passes them on to every subscriber."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Final

from energy_core.clock import VendorClock, utcnow_reader
from energy_core.codec.lazy_value import LazyMapping
from energy_core.errors import EnergyError, InternalError, StreamClosed
from energy_core.stream.alarms import AlarmTracker
from energy_core.stream.event import Event
from energy_core.stream.fanout import Fanout
from energy_core.stream.sequence import SequenceState
from energy_core.stream.source import (
    HistoryConfig,
    HistoryItem,
    Outlet,
    Reading,
    ReportedAlarm,
    Source,
    TimeSpan,
    check_span,
)
from energy_core.stream.status import SiteState, SourceState
from energy_core.stream.subscriber import Subscriber
from energy_core.stream.validation import FROM_THE_FUTURE, Horizon
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId, State, Status

_log: Final = logging.getLogger("energy_core.stream")

CLOCK_OFF_S: Final = 60.0
"""Our clock is reported as wrong when it differs from the vendor's by more than this."""

_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)


class ReadingValidator:
    """Rejects readings that would do harm further on, where their origin is not known any more."""

    __slots__ = ("_checked_sizes",)

    def __init__(self) -> None:
        self._checked_sizes = 0  # bit n: the keys of a reading with n quantities were checked

    def check(self, source: SourceId, readings: Sequence[Reading]) -> tuple[bool, datetime]:
        """Validate readings before any of them is delivered.

        Every number is checked. Keys are checked once per number of quantities: wrong keys are a bug in the
        source, not in one reading.

        Returns:
            Whether all are live, each newer than the one before; and the newest time.

        Raises:
            TypeError: A source, id, mapping or quantity has the wrong type.
            ValueError: A number is not finite, or a time has no zone.
        """
        if source.__class__ is not SourceId:
            raise TypeError(f"a reading needs a SourceId: {source!r}")
        live, newest = True, _BEFORE_ALL
        for time, id, values, raw, backfilled, revision in readings:  # noqa: A001  (the event's own word)
            # The exact classes first: isinstance with an abstract class is slow.
            known = raw.__class__ is dict or raw.__class__ is LazyMapping
            if id.__class__ is not str or not (known or isinstance(raw, Mapping)):
                raise TypeError(f"a reading of {source} needs a text id and a mapping: {id!r}, {raw!r}")
            if time.tzinfo is not UTC and time.utcoffset() is None:
                raise ValueError(f"the time of a reading of {source} must be aware: {time!r}")
            if values.__class__ is not dict and not isinstance(values, Mapping):
                raise TypeError(f"values of {source} must map Quantity to numbers: {values!r}")
            if not self._checked_sizes >> len(values) & 1:
                self._check_keys(source, values)
            # One sum instead of a check for each number; it may also overflow, so then each is checked.
            if not isfinite(sum(values.values())) and not all(map(isfinite, values.values())):
                raise ValueError(
                    f"a value of {source} that is missing is left out, never NaN or infinite: {values!r}"
                )
            if backfilled or revision or time <= newest:
                live = False
                newest = max(newest, time)
            else:
                newest = time
        return live, newest

    def _check_keys(self, source: SourceId, values: Mapping[Quantity, float]) -> None:
        if not all(each.__class__ is Quantity for each in values):
            raise TypeError(f"values of {source} must map Quantity to numbers: {values!r}")
        self._checked_sizes |= 1 << len(values)


class SourceOutlet(Outlet):
    """The outlet of one running source: validates, counts, and passes on to every subscriber.

    Args:
        source: The source.
        fanout: The subscribers.
    """

    __slots__ = (
        *("backfilled", "closed", "device_ids", "dropped", "ending", "error", "gaps", "id", "identified"),
        *("last", "late", "pending_spans", "readings_count", "received_at", "refill_tasks", "rejected"),
        *("sites", "source", "state"),
        *("vendor_clock", "_alarms", "_fanout", "_horizon", "_last_source", "_now", "_reported_offset_s"),
        *("_subscribers", "_targets", "_validator"),
    )

    def __init__(self, source: Source, fanout: Fanout) -> None:
        self.id = source.id
        self.source = source
        self.identified = source.id.identified or getattr(source, "identify", None) is None
        """Whether `id` is final."""
        self.device_ids: set[SourceId] = {source.id}
        """Everything the source has delivered events of."""
        self.state = SourceState(fanout.clock.utcnow())
        self.sites: dict[SourceId, SiteState] = {}
        """States of single sites, where the source reports them."""
        self.error: EnergyError | None = None
        """Why the source ended, if by an error."""
        self.closed = False
        """Whether the source has ended; delivering raises then."""
        self.ending = False
        """Whether it is about to end: nothing is fetched any more."""
        self.refill_tasks: set[asyncio.Task[None]] = set()
        """Tasks that fetch again what a slow consumer lacks."""
        self.readings_count = self.backfilled = self.late = self.dropped = self.gaps = self.rejected = 0
        self.last: datetime | None = None
        """Time of the newest reading."""
        self.received_at: datetime | None = None
        """When the last reading arrived."""
        self.pending_spans: dict[SourceId, Sequence[TimeSpan]] = {}
        """What the source itself will retry to fetch, by device."""
        self.vendor_clock: VendorClock | None = getattr(source, "vendor_clock", None)
        self._alarms = AlarmTracker()
        self._fanout = fanout
        self._horizon = Horizon(fanout.clock, self.vendor_clock)
        self._validator = ReadingValidator()
        self._now = utcnow_reader(fanout.clock)
        self._reported_offset_s = 0.0  # of our clock, as the last status reported it
        # The subscribers of the last device that was delivered, each with its state of that device.
        self._last_source: SourceId | None = None
        self._subscribers: tuple[Subscriber, ...] = ()
        self._targets: tuple[tuple[Subscriber, SequenceState], ...] = ()

    def readings(self, source: SourceId, readings: Sequence[Reading]) -> None:
        """Deliver several readings of one device; see `Outlet.readings`."""
        fanout = self._fanout
        if not readings or ((self.closed or fanout.ended) and self._is_shut()):
            return
        live, newest = self._validator.check(source, readings)
        if source is not self._last_source or fanout.subscribers is not self._subscribers:
            self._find_targets(source)
        received_at = self.received_at = self._now()
        if newest > self._horizon.latest and self._horizon.is_ahead(newest):
            if len(readings) > 1:  # one by one, so that the gap is reported in its place
                for each in readings:
                    self.readings(source, (each,))
            else:
                self._reject_future(source, newest)
            return
        events: Sequence[Event | None] = ()
        for subscriber, sequence in self._targets:
            events = subscriber.readings(sequence, source, readings, received_at, live, events)
        self.readings_count += len(readings)
        if self.sites and (site := self.sites.get(source._replace(instance=0))) is not None:
            site.count(len(readings), newest, received_at)
        if self.last is None or newest > self.last:
            self.last = newest
        if not live or (events and (events[0] is None or events[0].late)):
            self.backfilled += sum(each.backfilled for each in readings)
            self.late += sum(event is not None and event.late for event in events)

    def _find_targets(self, source: SourceId) -> None:
        """Look up the state of a device in every subscriber; done once by a source with a single device."""
        fanout = self._fanout
        self.device_ids.add(source)
        self._last_source, self._subscribers = source, fanout.subscribers
        self._targets = tuple(
            (each, each.sequences.get(source) or each.sequence(source, self, fanout.key(source)))
            for each in fanout.subscribers
        )

    def _reject_future(self, source: SourceId, time: datetime) -> None:
        """Drop a reading from the future: all later ones would look late. Reports a gap once per episode."""
        self.rejected += 1
        if self._horizon.begins(source):
            now = self._horizon.now()
            _log.warning("%s dates a reading %s, and it is %s; dropping such readings", source, time, now)
            last = next((each.newest for _, each in self._targets if each.newest is not None), now)
            self.gap(source, start=min(last, now), end=now, reason=FROM_THE_FUTURE)

    def set_status(self, status: Status, about: SourceId | None) -> None:
        """Report the state of the source, or of one of its sites; see `Outlet.status`."""
        if self._is_shut():
            return
        if status.state.terminal:
            raise ValueError(f"a source does not announce {status.state}: it returns or raises")
        if about is None or about == self.id:
            self.change_state(status.state, status.reason, status.retry_in)
        else:
            self._change_site(about, status.state, status.reason)

    def put_gap(self, source: SourceId, gap: Gap) -> None:
        """Report a gap to every subscriber; see `Outlet.gap`."""
        if self._is_shut():
            return
        self.device_ids.add(source)
        self.gaps += 1
        self._fanout.put_control(self, source, Kind.GAP, gap, time=gap.end)

    def alarms(self, source: SourceId, reported: Sequence[ReportedAlarm]) -> None:
        """Deliver the alarms that were raised or cleared to every subscriber; see `Outlet.alarms`."""
        if self._is_shut():
            return
        for time, change in self._alarms.changes(source, reported, self._horizon.now()):
            self.device_ids.add(source)
            self._fanout.put_control(self, source, Kind.ALARM, change, time=time)

    def pending(self, source: SourceId, spans: Sequence[TimeSpan]) -> None:
        """Set the time spans that the source will retry; see `Outlet.pending`."""
        if self._is_shut():
            return
        for start, end in spans:
            check_span(source, start, end)
        self.device_ids.add(source)
        self.pending_spans[source] = tuple(spans)
        for each in self._fanout.subscribers:
            if not each.buffer.ended:
                each.sequence(source, self, self._fanout.key(source)).set_pending(spans)

    async def room(self) -> None:
        """Wait until a subscriber has room for a reading. Cancelling is safe."""
        await self._fanout.room()

    # --- what a refill asks for ----------------------------------------------------------------------------

    @property
    def history_config(self) -> HistoryConfig | None:
        """What the history of the source can prove; None if it has none, or ends."""
        if self.ending or self.closed or getattr(self.source, "history", None) is None:
            return None
        config: HistoryConfig | None = getattr(self.source, "history_config", HistoryConfig())
        return config

    async def history(self, source: SourceId, start: datetime, end: datetime) -> AsyncIterator[HistoryItem]:
        """Iterate over the recorded readings of a device; each is validated."""
        history: Callable[[SourceId, datetime, datetime], AsyncIterator[HistoryItem]]
        history = self.source.history  # type: ignore[attr-defined]  # see `history_config`
        rows, validator = history(source, start, end), ReadingValidator()
        try:
            async for each in rows:
                if isinstance(each, Reading):
                    validator.check(source, (each,))
                yield each
        finally:
            close = getattr(rows, "aclose", None)
            if close is not None:
                await close()

    def vendor_now(self) -> datetime:
        """Return the vendor's present time; ours where that is not known."""
        return self._horizon.now()

    def count_gaps(self, count: int) -> None:
        """Count gaps that were reported to a single subscriber."""
        self.gaps += count

    def internal_error(self, cause: Exception | None) -> InternalError:
        """Return, and log, the error of a source that raised what no source may, or cancelled itself."""
        if isinstance(cause, InternalError):
            error = cause
        else:
            what = "cancelled itself" if cause is None else f"raised {type(cause).__name__}"
            error = InternalError(f"the source {self.id} {what}, which is a fault in its own code")
            error.__cause__ = cause
        _log.error("%s", error, exc_info=error)
        return error

    def note_loss(self, source: SourceId, seq: int, count: int, *, begins: bool) -> None:
        """Count readings that a consumer was too slow for; logs the first of an episode."""
        self.dropped += count
        if begins:
            _log.warning("a consumer is too slow: losing readings of %s from seq %d on", source, seq)

    def change_state(self, state: State, reason: str, retry_in: float | None) -> None:
        """Change the state and deliver a status event if it is new, or if our clock proved wrong."""
        fanout = self._fanout
        changed = self.state.move(state, at=fanout.clock.utcnow(), reason=reason, retry_in=retry_in)
        if not self.identified and not state.terminal:
            return  # an event needs a source id with the final account label
        clock_note = self._clock_note()
        if clock_note:
            reason = f"{reason}; {clock_note}" if reason else clock_note
        if (changed or clock_note) and fanout.include_status and not fanout.ended:
            status = Status(state=state, reason=reason, retry_in=retry_in)
            fanout.put_control(self, self.id, Kind.STATUS, status)

    def _change_site(self, site: SourceId, state: State, reason: str) -> None:
        fanout = self._fanout
        now = fanout.clock.utcnow()
        own = self.sites.get(site)
        if own is None:
            own = self.sites[site] = SiteState(now)
            self.device_ids.add(site)
        if own.state.move(state, at=now, reason=reason) and fanout.include_status and not fanout.ended:
            fanout.put_control(self, site, Kind.STATUS, Status(state=state, reason=reason))

    def _clock_note(self) -> str:
        """Return how far our clock is from the vendor's, if that was not reported yet; otherwise ""."""
        offset = None if self.vendor_clock is None else self.vendor_clock.offset_s
        if offset is None or abs(offset - self._reported_offset_s) <= CLOCK_OFF_S:
            return ""
        self._reported_offset_s = offset if abs(offset) > CLOCK_OFF_S else 0.0
        if not self._reported_offset_s:
            return "our clock is right again"
        note = f"our clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} the vendor's"
        _log.warning("%s: %s; readings have the vendor's time", self.id, note)
        return note

    def _is_shut(self) -> bool:
        """Return whether the stream takes nothing more; raises StreamClosed if the source has ended."""
        if self.closed:
            raise StreamClosed(f"the source {self.id} has ended and can deliver nothing more")
        return self._fanout.ended

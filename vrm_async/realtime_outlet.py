"""One site between polling and real time: what of either is delivered, and the state that is reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum

from attrs import evolve

from energy_core.clock import Clock, Timer
from energy_core.printable import printable
from energy_core.stream.gap_engine import ReportedRange
from energy_core.stream.source import Outlet, Reading, ReportedAlarm, TimeSpan
from energy_core.stream.vocabulary import Gap, SourceId, State, Status
from vrm_async.decoding.gateways import Gateway
from vrm_async.realtime_brokers import Broker
from vrm_async.realtime_gaps import Dated, SiteTimeline, moment
from vrm_async.realtime_site import RealtimeConfig, RealtimeSite


class SiteMode(Enum):
    """Where the readings of a site's system come from."""

    POLLED = "polled"
    """From polls: there is no real time."""
    REALTIME = "realtime"
    """From the broker; those of polls are left out."""
    LOST = "lost"
    """From nowhere: real time has ended, and no poll has brought anything since."""


class SiteRecord:
    """One site of a source.

    Args:
        id: The site, with instance 0: its system.
        outlet: Where its readings go.
        config: Times.
        clock: Source of time.
        now: Returns the vendor's time.
        fill: Called with this record when a gap should be filled.
    """

    def __init__(
        self,
        id: SourceId,  # noqa: A002  (as in `Source`)
        outlet: PolledOutlet,
        config: RealtimeConfig,
        clock: Clock,
        *,
        now: Callable[[], datetime],
        fill: Callable[[SiteRecord], None],
    ) -> None:
        self.id = id
        self.gateway: Gateway | None = None
        self.broker: Broker | None = None
        self.realtime = RealtimeSite("", config, echo="")
        self.timeline = SiteTimeline()
        self.mode = SiteMode.POLLED
        self.why = ""
        """Why there is no real time."""
        self.retry_in: float | None = None
        self.polled_status = Status(state=State.LIVE)
        """What polling reports of the site."""
        self._outlet = outlet
        self._config = config
        self._clock = clock
        self._now = now
        self._fill = fill
        self._arrived: datetime | None = None  # the first message that is not delivered yet
        self._flush_timer: Timer | None = None
        self._fill_timer: Timer | None = None
        self._fill_at: float | None = None
        self._pending: tuple[TimeSpan, ...] = ()
        self._notes: dict[str, int] = {}

    def receive(self, portal_id: str, *, echo: str) -> None:
        """Begin anew with a gateway."""
        self._keep_notes()
        self.realtime = RealtimeSite(portal_id, self._config, echo=echo)
        self.why = "waiting for the broker"

    def notes(self) -> Mapping[str, int]:
        """Counts of what was left out, and of energy counters that began anew."""
        resets = self.realtime.counter_resets
        found = {**self._notes}
        for what, count in (*self.realtime.notes.items(), ("energy counters reset", resets)):
            if count:
                found[what] = found.get(what, 0) + count
        return found

    def _keep_notes(self) -> None:
        self._notes = dict(self.notes())

    def close(self) -> None:
        """Cancel the timers."""
        for timer in (self._flush_timer, self._fill_timer):
            if timer is not None:
                timer.cancel()

    # --- real time -----------------------------------------------------------------------------------------

    def on_message(self, path: str, payload: bytes) -> None:
        """Take a message; what it changes is delivered with those of the next fraction of a second."""
        monotonic = self._clock.monotonic()
        if self._arrived is None:
            self._arrived = self._now()
            self._flush_timer = self._clock.call_at(monotonic + self._config.gather_s, self._flush)
        missed = self.realtime.message(path, payload, monotonic, self._arrived.timestamp())
        if self.mode is SiteMode.REALTIME:
            if missed:
                self.timeline.lost(self._unix())
        else:
            # Between the last reading and this one something may have been missed.
            self.timeline.begin(self._unix())
            self.mode, self.why, self.retry_in = SiteMode.REALTIME, "", None
            self._outlet.report(self)

    def on_lost(self, reason: str, retry_in: float | None) -> None:
        """Note that the site is not received in real time, and why."""
        self.why, self.retry_in = reason, retry_in
        if self.mode is SiteMode.REALTIME:
            self._flush()
            self.mode = SiteMode.LOST
            self.timeline.lost(self._unix())
            self._deliver_now()
        self._outlet.report(self)

    def _flush(self) -> None:
        """Deliver what has changed since the last reading."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        arrived, self._arrived, self._flush_timer = self._arrived, None, None
        if arrived is None:
            return
        second, now = int(arrived.timestamp()), self._unix()
        gathered = self.realtime.gathered(self._clock.monotonic())
        if gathered.values:
            each = Reading(arrived, self._reading_id(0, arrived), gathered.values, gathered.raw)
            self.timeline.live(Dated(self.id, each), second, now)
        else:
            self.timeline.alive(second, now)
        for instance, values in gathered.counters.items():
            counted = Reading(arrived, self._reading_id(instance, arrived), values, gathered.raw)
            self._outlet.forward(self.id._replace(instance=instance), (counted,))
        self._deliver_now()

    def _reading_id(self, instance: int, arrived: datetime) -> str:
        return f"{self.id.site}/{instance}/rt/{arrived.timestamp():.3f}"

    # --- polling -------------------------------------------------------------------------------------------

    def on_polled(self, readings: Sequence[Reading]) -> None:
        """Take readings of the system from polls or their look-backs; left out where there is real time."""
        for each in readings:
            second = int(each.time.timestamp())
            replaced = self.mode is SiteMode.REALTIME and not each.backfilled
            if self.timeline.covers(second) or (replaced and self.timeline.began_before(second)):
                continue
            self.timeline.polled(Dated(self.id, each), second, self._unix())
            if self.mode is SiteMode.LOST and not each.backfilled:
                self.mode = SiteMode.POLLED
                self._outlet.report(self)
        self._deliver_now()

    # --- delivering ----------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """The state of the site."""
        match self.mode:
            case SiteMode.REALTIME:
                return Status(state=State.LIVE, reason=self.realtime.skewed)
            case SiteMode.LOST:
                return Status(state=State.STALE, reason=self.why, retry_in=self.retry_in)
        polled = self.polled_status
        reasons = [each for each in (polled.reason, self.why and f"polled: {self.why}") if each]
        return Status(state=polled.state, reason="; ".join(reasons), retry_in=polled.retry_in)

    @property
    def pending(self) -> tuple[TimeSpan, ...]:
        """Ranges that were missed in real time and will be asked for again."""
        return self.timeline.pending

    async def deliver(self) -> None:
        """Deliver what is ready, waiting for room in the buffers. Cancelling is safe."""
        ready = self.timeline.ready
        while ready:
            await self._outlet.room()
            if ready:
                self._put(ready.popleft())
        self._after()

    def _deliver_now(self) -> None:
        ready = self.timeline.ready
        while ready:
            self._put(ready.popleft())
        self._after()

    def _put(self, each: Dated | ReportedRange) -> None:
        if isinstance(each, ReportedRange):
            start, end = moment(each.start), moment(each.end + 1)
            self._outlet.put_gap_of(self.id, Gap(start=start, end=end, reason=each.reason))
        else:
            self._outlet.forward(each.source, (each.reading,))

    def _after(self) -> None:
        """Tell what is pending, and set the timer of the next request."""
        pending = self.timeline.pending
        if pending != self._pending:
            self._pending = pending
            self._outlet.report_pending(self.id)
        due = self.timeline.due
        if due != self._fill_at:
            self._fill_at = due
            if self._fill_timer is not None:
                self._fill_timer.cancel()
            self._fill_timer = None
            if due is not None:
                # A millisecond later: a Unix time has microseconds, and the timer must not fire before it.
                delay = max(0.0, due - self._unix()) + 0.001
                self._fill_timer = self._clock.call_at(self._clock.monotonic() + delay, self._on_due)

    def _on_due(self) -> None:
        self._fill_timer = self._fill_at = None
        self._fill(self)

    def _unix(self) -> float:
        return self._now().timestamp()

    @printable
    def __repr__(self) -> str:
        return f"<SiteRecord {self.id} {self.mode.value}, {self.timeline!r}>"


class PolledOutlet(Outlet):
    """The outlet of the poller: passes on what real time does not replace, and joins both states.

    Args:
        outlet: The outlet of the source.
        id: The source.
        records: Its sites.
    """

    def __init__(self, outlet: Outlet, id: SourceId, records: Mapping[SourceId, SiteRecord]) -> None:  # noqa: A002
        self._outlet = outlet
        self._id = id
        self._records = records
        self._polled = Status(state=State.CONNECTING)
        self._reported = State.CONNECTING
        self._pending: dict[SourceId, Sequence[TimeSpan]] = {}

    # --- of the poller -------------------------------------------------------------------------------------

    def readings(self, source: SourceId, readings: Sequence[Reading]) -> None:
        """Deliver readings of polls; those of a site's system only where there is no real time."""
        record = self._records.get(source)
        if record is None:
            self._outlet.readings(source, readings)
        else:
            record.on_polled(readings)

    def set_status(self, status: Status, about: SourceId | None) -> None:
        """Join what polling reports with real time."""
        if about is None or about == self._id:
            self._polled = status
            own = self._records.get(self._id)
            if own is not None:
                own.polled_status = status
            self._report_source()
        elif (record := self._records.get(about)) is None:
            self._outlet.set_status(status, about)
        else:
            record.polled_status = status
            self.report(record)

    def put_gap(self, source: SourceId, gap: Gap) -> None:
        """Report a gap between polls; what was missed in real time is reported by `SiteTimeline`."""
        record = self._records.get(source)
        if record is None:
            self._outlet.put_gap(source, gap)
            return
        first, last = int(gap.start.timestamp()), int(gap.end.timestamp())
        for start, end in record.timeline.unhandled(first, last):
            since = gap.start if start == first else moment(start)
            until = gap.end if end == last else moment(end)
            self._outlet.put_gap(source, evolve(gap, start=since, end=until))

    def pending(self, source: SourceId, spans: Sequence[TimeSpan]) -> None:
        """Set what the poller will ask for again."""
        self._pending[source] = spans
        self.report_pending(source)

    def alarms(self, source: SourceId, reported: Sequence[ReportedAlarm]) -> None:
        """Pass on the alarms of a site."""
        self._outlet.alarms(source, reported)

    async def room(self) -> None:
        """Wait until a buffer has room. Cancelling is safe."""
        await self._outlet.room()

    # --- of real time --------------------------------------------------------------------------------------

    def forward(self, source: SourceId, readings: Sequence[Reading]) -> None:
        """Deliver readings."""
        self._outlet.readings(source, readings)

    def put_gap_of(self, source: SourceId, gap: Gap) -> None:
        """Report a gap in real time."""
        self._outlet.put_gap(source, gap)

    def report_pending(self, source: SourceId) -> None:
        """Report what both will ask for again."""
        record = self._records.get(source)
        own = () if record is None else record.pending
        self._outlet.pending(source, sorted({*self._pending.get(source, ()), *own}))

    def report(self, record: SiteRecord) -> None:
        """Report the state of a site."""
        if record.id != self._id:
            self._outlet.set_status(record.status, record.id)
        self._report_source()

    def _report_source(self) -> None:
        status = self._joined()
        if status.state is State.CONNECTING:
            return
        if status.state is State.STALE and self._reported in {State.CONNECTING, State.DISCONNECTED}:
            self._outlet.set_status(Status(state=State.LIVE), None)  # there is no direct transition to stale
        self._reported = status.state
        self._outlet.set_status(status, None)

    def _joined(self) -> Status:
        """Return the state of the source."""
        polled, own = self._polled, self._records.get(self._id)
        if own is not None and own.mode is not SiteMode.POLLED:
            status = own.status
        elif any(record.mode is SiteMode.REALTIME for record in self._records.values()):
            status = Status(state=State.LIVE)
        else:
            return polled if own is None else own.status
        if polled.state is State.DISCONNECTED:
            return Status(
                state=status.state, reason=f"polling fails: {polled.reason}", retry_in=polled.retry_in
            )
        if polled.state is State.BACKFILLING and status.state is State.LIVE:
            return polled
        return status

    @printable
    def __repr__(self) -> str:
        return f"<PolledOutlet of {self._id}, {len(self._records)} sites>"

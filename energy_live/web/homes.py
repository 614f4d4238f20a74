"""The homes of a page: present values, energies of today, alarms and the last 24 hours of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from attrs import define, field, frozen

from energy_core import AlarmChange, Event, Kind, Quantity, SourceId, State, Status
from energy_core.clock import Clock, SystemClock
from energy_core.home import EnergyMeter, EnergyTotals, HomeState, Present, SourceFilter, SourcePreference
from energy_live.web.chart import BIN_S, SPAN_S, ChartSpan, DayChart

_VOLTSTORAGE_ONLY_CHANGES: Final = (SourceFilter("voltstorage"),)
_DAYS_KEPT: Final = timedelta(days=2)
_LOW_CHARGE: Final = 15.0


@frozen(kw_only=True)
class Home:
    """One home of the page: its name, its time zone, and the sources that measure it."""

    id: str
    """Its name in addresses: lower case letters, digits and hyphens."""
    name: str
    """As people call it; shown as plain text."""
    zone: tzinfo = UTC
    sources: tuple[SourceFilter, ...]
    """The sources, the preferred one first."""
    reserve: float | None = None
    """Charge that is kept in reserve, %."""

    def has(self, source: SourceId) -> bool:
        """Return whether a source measures this home."""
        return any(each.matches(source) for each in self.sources)


def home_id(name: str, taken: Iterable[str] = ()) -> str:
    """Return an id for a home, different from those that are taken."""
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "home"
    known = set(taken)
    return next(
        each for n in range(len(known) + 1) if (each := base if not n else f"{base}-{n}") not in known
    )


@define
class _SourceInfo:
    """The state of one source or site."""

    state: State
    since: datetime
    reason: str = ""
    retry_at: datetime | None = None
    backfill_from: datetime | None = None
    """Where the range begins that is being fetched."""
    backfilled_to: datetime | None = None


@define(eq=False)
class HomeRecord:
    """What is known of one home."""

    home: Home
    clock: Clock
    state: HomeState = field(init=False)
    meter: EnergyMeter = field(init=False)
    chart: DayChart = field(init=False)
    newest: datetime | None = field(default=None, init=False)
    """Time of the newest reading."""
    infos: dict[SourceId, _SourceInfo] = field(factory=dict, init=False)
    _own: dict[SourceId, HomeState] = field(factory=dict, init=False)
    _last: dict[SourceId, datetime] = field(factory=dict, init=False)
    alarms: dict[str, Event] = field(factory=dict, init=False)
    """The events of the active alarms."""

    def __attrs_post_init__(self) -> None:
        prefer = SourcePreference(*self.home.sources)
        self.state = HomeState(prefer, clock=self.clock)
        self.meter = EnergyMeter(self.home.zone, prefer, changes_only=_VOLTSTORAGE_ONLY_CHANGES)
        self.chart = DayChart(prefer)

    def take(self, event: Event) -> None:
        """Add an event of one of the home's sources, or of their poller."""
        self.state.take(event)
        self.meter.take(event)
        if isinstance(event.detail, Status):
            self._take_status(event, event.detail)
        elif event.kind is Kind.GAP:
            self.chart.take(event)
        elif isinstance(event.detail, AlarmChange):
            self.alarms.pop(event.detail.alarm, None)
            if event.detail.active:
                self.alarms[event.detail.alarm] = event
        elif event.kind is Kind.READING:
            self._take_reading(event)

    def _take_reading(self, event: Event) -> None:
        self.chart.take(event)
        own = self._own.get(event.source)
        if own is None:
            own = self._own[event.source] = HomeState(clock=self.clock)
        own.take(event)
        if self.newest is None or event.time > self.newest:
            self.newest = event.time
            self.meter.forget((event.time - _DAYS_KEPT).astimezone(self.home.zone).date())
        info = self.infos.get(event.source)
        if info is not None and info.state is State.BACKFILLING and event.backfilled:
            info.backfilled_to = max(info.backfilled_to or event.time, event.time)
        if not event.backfilled:
            self._last[event.source] = max(self._last.get(event.source, event.time), event.time)

    def _take_status(self, event: Event, status: Status) -> None:
        retry = status.retry_in
        info = _SourceInfo(
            status.state,
            event.time,
            status.reason,
            None if retry is None else event.received_at + timedelta(seconds=min(retry, 1e6)),
        )
        if status.state is State.BACKFILLING:
            info.backfill_from = info.backfilled_to = self._last.get(event.source)
        self.infos[event.source] = info

    # --- what the page shows -------------------------------------------------------------------------------

    def to_json(self, now: datetime) -> dict[str, object]:
        """Return everything about the home but its history."""
        return {
            **self.summary(now),
            "values": {
                str(quantity): self._present(quantity, present, now)
                for quantity, present in self.state.snapshot(at=now).items()
            },
            "alarms": [_alarm(event) for event in self.alarms.values()],
            "sources": [_source(source, info, now) for source, info in self.infos.items()],
            "today": self._today(now),
            "battery": {"capacity_wh": self.chart.capacity_wh(), "reserve": self.home.reserve},
            "prefer": [_filter(each) for each in self.home.sources],
        }

    def summary(self, now: datetime) -> dict[str, object]:
        """Return what a list of homes shows."""
        present = self.state.snapshot(at=now)
        return {
            "id": self.home.id,
            "name": self.home.name,
            "zone": str(self.home.zone),
            "newest": None if self.newest is None else self.newest.isoformat(),
            "peak_w": round(self.chart.peak_w, 1),
            "values": {
                str(quantity): [each.value, each.time.isoformat(), int(each.stale)]
                for quantity, each in present.items()
            },
            "alarms": [_alarm(event) for event in self.alarms.values()],
            "sources": [_source(source, info, now) for source, info in self.infos.items()],
            "today": {"self_sufficiency": self._totals(now).self_sufficiency},
            "battery": {"capacity_wh": self.chart.capacity_wh(), "reserve": self.home.reserve},
        }

    def history(self, start: datetime, end: datetime) -> dict[str, object]:
        """Return the chart: bins, curves, gaps and what was fetched later."""
        times, curves = self.chart.curves(start, end)
        return {
            "id": self.home.id,
            "bin_s": BIN_S,
            "times": times,
            "curves": {
                str(quantity): {
                    "source": list(curve.source),
                    "values": curve.values,
                    "backfilled": curve.backfilled,
                }
                for quantity, curve in curves.items()
            },
            "gaps": [_span(each) for each in self.chart.spans(self.chart.gaps, start)],
            "backfills": [_span(each) for each in self.chart.spans(self.chart.backfills, start)],
        }

    def sparkline(self, start: datetime, end: datetime) -> dict[str, object]:
        """Return the sun's curve alone, every sixth bin."""
        times, curves = self.chart.curves(start, end)
        curve = curves.get(Quantity.PV_POWER)
        values = [] if curve is None else curve.values
        means: list[float | None] = []
        for place in range(0, len(values), 6):
            known = [value for value in values[place : place + 6] if value is not None]
            means.append(round(sum(known) / len(known)) if known else None)
        return {"id": self.home.id, "times": times[::6], "values": means}

    def _present(self, quantity: Quantity, present: Present, now: datetime) -> dict[str, object]:
        others = [
            {"source": list(source), "value": own.value, "time": own.time.isoformat(), "age_s": own.age_s}
            for source, state in self._own.items()
            if source != present.source and (own := state.present(quantity, at=now)) is not None
        ]
        return {
            "value": present.value,
            "unit": quantity.unit,
            "source": list(present.source),
            "time": present.time.isoformat(),
            "age_s": round(present.age_s, 1),
            "stale": present.stale,
            "state": None if present.state is None else str(present.state),
            "others": others,
        }

    def _totals(self, now: datetime) -> EnergyTotals:
        return self.meter.day(now.astimezone(self.home.zone).date())

    def _today(self, now: datetime) -> dict[str, object]:
        totals = self._totals(now)
        midnight = datetime.combine(
            now.astimezone(self.home.zone).date(), datetime.min.time(), self.home.zone
        )
        passed = (now - midnight).total_seconds()
        longest = max(totals.measured_s.values(), default=0.0)
        return {
            "grid_import_kwh": totals.grid_import_kwh,
            "grid_export_kwh": totals.grid_export_kwh,
            "battery_charge_kwh": totals.battery_charge_kwh,
            "battery_discharge_kwh": totals.battery_discharge_kwh,
            "pv_kwh": totals.pv_kwh,
            "consumption_kwh": totals.consumption_kwh,
            "generator_kwh": totals.generator_kwh,
            "self_sufficiency": totals.self_sufficiency,
            "self_consumption": totals.self_consumption,
            "missing_s": max(0.0, round(passed - longest)),
            "sources": sorted({source.vendor for each in totals.sources.values() for source in each}),
        }


class Homes:
    """All homes of a page. Does no I/O.

    Args:
        homes: The homes; none has an id twice.
        discover: Whether a source that belongs to no home becomes one of its own.
        clock: Source of time.
    """

    def __init__(
        self, homes: Sequence[Home] = (), *, discover: bool = True, clock: Clock | None = None
    ) -> None:
        self.clock = clock or SystemClock()
        self.records = {home.id: HomeRecord(home, self.clock) for home in homes}
        if len(self.records) != len(homes):
            raise ValueError("two homes have one id")
        self.alarms: dict[str, Event] = {}
        """The events of all active alarms, also of sources that belong to no home."""
        self.states: dict[SourceId, Event] = {}
        """The last status event of every source and site."""
        self._discover = discover
        self._of_source: dict[SourceId, tuple[HomeRecord, ...]] = {}

    def take(self, event: Event) -> None:
        """Add an event of any source, in the order of the stream."""
        if isinstance(event.detail, Status):
            self.states[event.source] = event
        elif isinstance(event.detail, AlarmChange):
            self.alarms.pop(event.detail.alarm, None)
            if event.detail.active:
                self.alarms[event.detail.alarm] = event
        for record in self._records_of(event):
            record.take(event)

    def _records_of(self, event: Event) -> tuple[HomeRecord, ...]:
        source = event.source
        found = self._of_source.get(source)
        if found is None:
            if source.site == "*":  # a poller of many sites: its state is that of all of them
                return tuple(each for each in self.records.values() if _is_polled(each.home, source))
            found = tuple(each for each in self.records.values() if each.home.has(source))
            if not found and self._discover and event.kind is not Kind.STATUS:
                found = (self._add(source),)
            if found:
                self._of_source[source] = found
        return found

    def _add(self, source: SourceId) -> HomeRecord:
        name = f"{source.vendor} {source.site}"
        home = Home(
            id=home_id(name, self.records),
            name=name,
            sources=(SourceFilter(source.vendor, account=source.account, site=source.site),),
        )
        record = self.records[home.id] = HomeRecord(home, self.clock)
        return record

    def __iter__(self) -> Iterator[HomeRecord]:
        return iter(self.records.values())

    def to_json(self, home: str | None = None) -> dict[str, object]:
        """Return the state of one home, or a summary of all if there are several.

        Raises:
            KeyError: There is no such home.
        """
        now = self.clock.utcnow()
        if home is None and len(self.records) == 1:
            home = next(iter(self.records))
        whole = [self.records[home].to_json(now)] if home is not None else []
        return {
            "v": 1,
            "now": now.isoformat(),
            "count": len(self.records),
            "homes": whole or [each.summary(now) for each in self],
        }

    def history(self, home: str | None, start: datetime | None, end: datetime | None) -> dict[str, object]:
        """Return the history of one home, or the sun's curve of all.

        Raises:
            KeyError: There is no such home.
        """
        now = self.clock.utcnow()
        until = end or now
        begin = start or until - timedelta(seconds=SPAN_S)
        if home is None and len(self.records) == 1:
            home = next(iter(self.records))
        if home is not None:
            homes = [self.records[home].history(begin, until)]
        else:
            homes = [each.sparkline(begin, until) for each in self]
        return {"v": 1, "from": begin.isoformat(), "to": until.isoformat(), "homes": homes}


def _is_polled(home: Home, poller: SourceId) -> bool:
    return any(each.matches(poller._replace(site=each.site or poller.site)) for each in home.sources)


def _filter(each: SourceFilter) -> list[object]:
    return [each.vendor, each.account, each.site, each.instance]


def _alarm(event: Event) -> dict[str, object]:
    change = event.detail
    assert isinstance(change, AlarmChange)  # noqa: S101  (only such events are kept)
    return {
        "alarm": change.alarm,
        "text": change.text,
        "device": change.device,
        "instance": change.instance,
        "source": list(event.source),
        "since": (change.started or event.time).isoformat(),
    }


def _source(source: SourceId, info: _SourceInfo, now: datetime) -> dict[str, object]:
    begin, done = info.backfill_from, info.backfilled_to
    whole = None if begin is None else (info.since - begin).total_seconds()
    return {
        "source": list(source),
        "state": str(info.state),
        "since": info.since.isoformat(),
        "reason": info.reason,
        "retry_in": None if info.retry_at is None else max(0.0, (info.retry_at - now).total_seconds()),
        "backfill_s": whole,
        "backfilled": None
        if not whole or begin is None or done is None
        else round(min(1.0, (done - begin).total_seconds() / whole), 2),
    }


def _span(span: ChartSpan) -> dict[str, object]:
    return {
        "source": list(span.source),
        "from": span.start.isoformat(),
        "to": span.end.isoformat(),
        "reason": span.reason,
        "at": None if span.at is None else span.at.isoformat(),
    }

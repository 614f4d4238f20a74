"""EnergyMeter: energies in kWh by day, integrated from the powers in a home's events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, tzinfo
from typing import Final, NamedTuple

from energy_core.home.days import Days, micros, moment_of
from energy_core.home.integral import Bin, PowerCurve, PowerTrack
from energy_core.home.preference import SourceFilter, SourcePreference, status_applies
from energy_core.home.totals import POWERS, EnergyTotals, TotalsSum
from energy_core.printable import printable
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId, State, Status

_MAX_W: Final = 1e12
_FIRST_YEAR, _LAST_YEAR = 2, 9997


class UnmeasuredRange(NamedTuple):
    """A range between two readings over which no energy was counted."""

    start: datetime
    end: datetime


class PowerIntegrator:
    """Integrates the powers of every source by days, for `EnergyMeter` and for energies that last.

    Args:
        days: where the sums are divided.
        prefer: sources and powers that it does not name are not integrated.
        changes_only: see `EnergyMeter`.
        max_gap_s: see `EnergyMeter`.
        keep: see `EnergyMeter`.

    Raises:
        ValueError: `max_gap_s` is not positive and finite, or `keep` is less than 2.
    """

    def __init__(
        self,
        days: Days,
        prefer: SourcePreference,
        *,
        changes_only: Iterable[SourceFilter],
        max_gap_s: float,
        keep: int,
    ) -> None:
        if not 0 < max_gap_s < float("inf"):
            raise ValueError(f"max_gap_s must be a positive number of seconds, not {max_gap_s!r}")
        if keep < 2:
            raise ValueError(f"a meter must keep at least two readings, not {keep!r}")
        self.too_late = 0
        """Number of powers that were older than all kept readings; they are in no total."""
        self.unusable = 0
        """Number of powers that were ignored: not finite, above 1 TW, or at a time outside the calendar."""
        self.curves: dict[SourceId, PowerCurve] = {}
        """The powers of each source."""
        self._prefer = prefer
        self._changes_only = tuple(changes_only)
        self._max_gap = round(max_gap_s * 1e6)
        self._keep = keep
        self._days = days

    def take(self, event: Event) -> None:
        """Add an event of any kind and any source, in the order of the stream."""
        curve = self.curve(event.source)
        curve.check_seq(event.seq)
        match event.detail:
            case Status(state=state) if state is State.DISCONNECTED or state.terminal:
                for source, each in self.curves.items():
                    each.interrupted |= status_applies(event.source, source)
            case Gap(start=start, end=end, quantities=only):
                curve.interrupt(micros(start), micros(end), only)
            case None if event.kind is Kind.READING:
                self._read(curve, event)

    def curve(self, source: SourceId) -> PowerCurve:
        """Return the powers of a source; they begin with the first call."""
        known = self.curves.get(source)
        if known is not None:
            return known
        hold = any(each.matches(source) for each in self._changes_only)
        used = [power for power in POWERS if self._prefer.rank(source, power) is not None]
        tracks = {
            power: PowerTrack(self._days, hold=hold, max_gap=self._max_gap, keep=self._keep) for power in used
        }
        curve = self.curves[source] = PowerCurve(tracks, hold=hold)
        return curve

    def rename(self, source: SourceId, new: SourceId) -> None:
        """Continue the powers of a source under another id, such as one with another account label."""
        self.curves[new] = self.curves.pop(source)

    def _read(self, curve: PowerCurve, event: Event) -> None:
        if not _FIRST_YEAR <= event.time.year <= _LAST_YEAR:
            self.unusable += 1
            return
        powers = {power: event.values[power] for power in curve.tracks if power in event.values}
        usable = {power: value for power, value in powers.items() if abs(value) <= _MAX_W}
        self.unusable += len(powers) - len(usable)
        self.too_late += curve.read(event, usable)


class EnergyMeter:
    """Integrates the powers of one home. Does no I/O.

    Pass every event of a stream to `take`, in the order of the stream. Two readings are not joined across a
    gap event, a disconnection, a jump in `seq` (dropped readings) or a range longer than `max_gap_s`.
    docs/home.md describes the effect of late, backfilled and revised readings.

    Args:
        zone: time zone of the home; days end at its midnights.
        prefer: which source to prefer for which power. On each day the first choice that measured anything
            counts.
        changes_only: sources that report only changes. Between their readings a value stays constant, and a
            reading without it confirms it. Between readings of other sources a value changes linearly.
        max_gap_s: readings further apart, in seconds, are not joined.
        keep: number of readings to keep of each power of each source, so that late ones can be inserted.

    Raises:
        ValueError: `max_gap_s` is not positive and finite, or `keep` is less than 2.
    """

    def __init__(
        self,
        zone: tzinfo,
        prefer: SourcePreference | None = None,
        *,
        changes_only: Iterable[SourceFilter] = (),
        max_gap_s: float = 1200.0,
        keep: int = 20_000,
    ) -> None:
        self._days = Days(zone)
        self._prefer = prefer or SourcePreference()
        self._powers = PowerIntegrator(
            self._days, self._prefer, changes_only=changes_only, max_gap_s=max_gap_s, keep=keep
        )
        self._oldest_day = date.min

    @property
    def too_late(self) -> int:
        """Number of powers that were older than all kept readings; they are in no total."""
        return self._powers.too_late

    @property
    def unusable(self) -> int:
        """Number of powers that were ignored: not finite, above 1 TW, or at a time outside the calendar."""
        return self._powers.unusable

    def take(self, event: Event) -> None:
        """Add an event of any kind and any source, in the order of the stream."""
        self._powers.take(event)

    def days(self) -> tuple[date, ...]:
        """Return the local days on which anything was measured, in order."""
        bins = (
            each
            for curve in self._powers.curves.values()
            for track in curve.tracks.values()
            for each in track.bins.items()
        )
        return tuple(sorted({day for day, entry in bins if entry.measured and day >= self._oldest_day}))

    def day(self, day: date) -> EnergyTotals:
        """Return the energies of one local day, as far as they were measured."""
        return self._totals([day])

    def total(self) -> EnergyTotals:
        """Return the sums of all `days`."""
        return self._totals(self.days())

    def unmeasured(self, quantity: Quantity, source: SourceId) -> tuple[UnmeasuredRange, ...]:
        """Return the ranges, among the kept readings of a power, over which no energy was counted."""
        curve = self._powers.curves.get(source)
        track = curve.tracks.get(quantity) if curve else None
        return tuple(
            UnmeasuredRange(moment_of(start), moment_of(end))
            for start, end in (track.unmeasured() if track else ())
        )

    def forget(self, before: date) -> None:
        """Delete all days before `before`, so that the memory of a long run stays bounded."""
        self._oldest_day = max(self._oldest_day, before)
        for curve in self._powers.curves.values():
            for track in curve.tracks.values():
                for day in [day for day in track.bins if day < self._oldest_day]:
                    del track.bins[day]

    def _chosen(self, day: date) -> dict[Quantity, tuple[SourceId, Bin]]:
        """Return the energy of each power on a day, from the first choice that measured it."""
        candidates: dict[Quantity, list[tuple[int, SourceId, Bin]]] = {}
        for source, curve in self._powers.curves.items():
            for power, track in curve.tracks.items():
                rank, entry = self._prefer.rank(source, power), track.bins.get(day)
                if rank is not None and entry is not None and entry.measured and day >= self._oldest_day:
                    candidates.setdefault(power, []).append((rank, source, entry))
        return {power: min(found, key=_rank_and_source)[1:] for power, found in candidates.items()}

    def _totals(self, days: Iterable[date]) -> EnergyTotals:
        sums, length = TotalsSum(), 0
        for day in days:
            begins, ends = self._days.bounds(day)
            length += ends - begins
            sums.add(self._chosen(day))
        return sums.totals(length)

    @printable
    def __repr__(self) -> str:
        return f"<EnergyMeter {len(self.days())} days, {self.too_late} too late, {self.unusable} unusable>"


def _rank_and_source(candidate: tuple[int, SourceId, Bin]) -> tuple[int, SourceId]:
    return candidate[:2]

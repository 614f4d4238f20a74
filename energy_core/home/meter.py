"""EnergyMeter: kWh out of the powers in the events of a home, day by day, with nothing filled in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, tzinfo
from typing import Final, NamedTuple

from energy_core.home.integral import Bin, Days, PowerCurve, PowerTrack, micros, moment_of
from energy_core.home.preference import SourceFilter, SourcePreference, speaks_for
from energy_core.home.totals import POWERS, EnergyTotals, Tally
from energy_core.printable import printable
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId, State, Status

_LARGEST_W: Final = 1e12
_FIRST_YEAR, _LAST_YEAR = 2, 9997


class UnmeasuredRange(NamedTuple):
    """A stretch between two readings over which no energy was counted."""

    start: datetime
    end: datetime


class EnergyMeter:
    """Integrates the powers of one home. Does no I/O and asks nobody for the time.

    Feed it every event of a stream: a jump in `seq` means that readings were dropped, and nothing is joined
    across it, nor across a gap event, a disconnection, or a hole longer than `max_gap_s`. `docs/home.md` says
    what late, backfilled and revised readings do.

    Args:
        zone: The home's timezone; its midnights end the days.
        prefer: Which source to take for what. On each day it is the first choice that measured anything.
        changes_only: Sources that tell only what changed: between their readings a value stands still, and a
            reading that does not mention it confirms it. Between other readings a value moves in a straight
            line.
        max_gap_s: Readings further apart are not joined.
        keep: How many readings are kept of each power of each source, so that late ones find their place.
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
        if not 0 < max_gap_s < float("inf"):
            raise ValueError(f"max_gap_s must be a positive number of seconds, not {max_gap_s!r}")
        if keep < 2:
            raise ValueError(f"a meter must keep at least two readings, not {keep!r}")
        self.too_late = 0
        """Powers that came when everything around them was settled; they are in no total."""
        self.unusable = 0
        """Powers left out because they are no number that a home can have, or at no time there can be."""
        self._prefer = prefer or SourcePreference()
        self._changes_only = tuple(changes_only)
        self._max_gap = round(max_gap_s * 1e6)
        self._keep = keep
        self._days = Days(zone)
        self._lines: dict[SourceId, PowerCurve] = {}
        self._oldest_day = date.min

    def take(self, event: Event) -> None:
        """Count one event, of any kind and any source, in the order of the stream."""
        line = self._lines.get(event.source) or self._line(event.source)
        line.number(event.seq)
        match event.detail:
            case Status(state=state) if state is State.DISCONNECTED or state.terminal:
                for source, each in self._lines.items():
                    each.broken |= speaks_for(event.source, source)
            case Gap(start=start, end=end, quantities=only):
                line.cut(micros(start), micros(end), only)
            case None if event.kind is Kind.READING:
                self._read(line, event)

    def days(self) -> tuple[date, ...]:
        """Return the days on which anything was measured, in order."""
        bins = (
            each
            for line in self._lines.values()
            for track in line.tracks.values()
            for each in track.bins.items()
        )
        return tuple(sorted({day for day, entry in bins if entry.measured and day >= self._oldest_day}))

    def day(self, day: date) -> EnergyTotals:
        """Return the energy of one day from local midnight to local midnight, as far as it was measured."""
        return self._totals([day])

    def total(self) -> EnergyTotals:
        """Return the sum of all `days`."""
        return self._totals(self.days())

    def holes(self, quantity: Quantity, source: SourceId) -> tuple[UnmeasuredRange, ...]:
        """Return where nothing was counted between the readings that are kept of one power of one source."""
        line = self._lines.get(source)
        track = line.tracks.get(quantity) if line else None
        return tuple(
            UnmeasuredRange(moment_of(start), moment_of(end))
            for start, end in (track.holes() if track else ())
        )

    def forget(self, before: date) -> None:
        """Let go of the days before `before`, for good, so that a meter can run for ever."""
        self._oldest_day = max(self._oldest_day, before)
        for line in self._lines.values():
            for track in line.tracks.values():
                for day in [day for day in track.bins if day < self._oldest_day]:
                    del track.bins[day]

    def _line(self, source: SourceId) -> PowerCurve:
        hold = any(each.names(source) for each in self._changes_only)
        asked = [power for power in POWERS if self._prefer.rank(source, power) is not None]
        tracks = {
            power: PowerTrack(self._days, hold=hold, max_gap=self._max_gap, keep=self._keep)
            for power in asked
        }
        line = self._lines[source] = PowerCurve(tracks, hold=hold)
        return line

    def _read(self, line: PowerCurve, event: Event) -> None:
        if not _FIRST_YEAR <= event.time.year <= _LAST_YEAR:
            self.unusable += 1
            return
        powers = {power: event.values[power] for power in line.tracks if power in event.values}
        usable = {power: value for power, value in powers.items() if abs(value) <= _LARGEST_W}
        self.unusable += len(powers) - len(usable)
        self.too_late += line.read(event, usable)

    def _chosen(self, day: date) -> dict[Quantity, tuple[SourceId, Bin]]:
        """Return what each power did that day, by the first choice of those who measured it."""
        offers: dict[Quantity, list[tuple[int, SourceId, Bin]]] = {}
        for source, line in self._lines.items():
            for power, track in line.tracks.items():
                rank, entry = self._prefer.rank(source, power), track.bins.get(day)
                if rank is not None and entry is not None and entry.measured and day >= self._oldest_day:
                    offers.setdefault(power, []).append((rank, source, entry))
        return {power: min(found, key=_place)[1:] for power, found in offers.items()}

    def _totals(self, days: Iterable[date]) -> EnergyTotals:
        tally, length = Tally(), 0
        for day in days:
            begins, ends = self._days.bounds(day)
            length += ends - begins
            tally.add(self._chosen(day))
        return tally.totals(length)

    @printable
    def __repr__(self) -> str:
        return f"<EnergyMeter {len(self.days())} days, {self.too_late} too late, {self.unusable} unusable>"


def _place(offer: tuple[int, SourceId, Bin]) -> tuple[int, SourceId]:
    return offer[:2]

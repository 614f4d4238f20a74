"""The last 24 hours of one home in bins of five minutes: what `/history` returns and the page draws."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from attrs import define, frozen

from energy_core import Event, Gap, Quantity, SourceId
from energy_core.home import SourcePreference

BIN_S: Final = 300
"""Seconds of one bin."""
SPAN_S: Final = 24 * 3600
"""Seconds that `/history` returns by default."""
_KEPT_S: Final = SPAN_S + 3600
_MAX_GAPS: Final = 500
JOINED_S: Final = 1200
"""Readings further apart are not joined; many sites log every 15 minutes."""

DRAWN: Final = (
    Quantity.PV_POWER,
    Quantity.CONSUMPTION_POWER,
    Quantity.GRID_POWER,
    Quantity.BATTERY_POWER,
    Quantity.GENERATOR_POWER,
    Quantity.BATTERY_SOC,
)
"""The quantities of the chart."""


class _Bin:
    """Sum of the readings of one quantity of one source within one bin."""

    __slots__ = ("backfilled", "count", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0
        self.backfilled = 0

    def add(self, value: float, *, backfilled: bool) -> None:
        self.total += value
        self.count += 1
        self.backfilled += backfilled


@define
class ChartSpan:
    """A stretch of time without data, or one that was fetched later."""

    source: SourceId
    start: datetime
    end: datetime
    reason: str = ""
    at: datetime | None = None
    """When it was reported or fetched."""


@frozen(kw_only=True)
class Curve:
    """The values of one quantity, one for each bin; None where there is no reading."""

    source: SourceId
    values: list[float | None]
    backfilled: list[int]
    """Indexes of the bins whose readings were fetched later."""


class DayChart:
    """Collects the readings of one home.

    Args:
        prefer: Which source to prefer for which quantity.
    """

    def __init__(self, prefer: SourcePreference) -> None:
        self._prefer = prefer
        self._bins: dict[tuple[Quantity, SourceId], dict[int, _Bin]] = {}
        self.gaps: deque[ChartSpan] = deque(maxlen=_MAX_GAPS)
        self.backfills: deque[ChartSpan] = deque(maxlen=_MAX_GAPS)
        self.peak_w = 0.0
        """The largest power seen, as an absolute value, W."""
        self._trimmed = 0

    def take(self, event: Event) -> None:
        """Add a reading or a gap."""
        if isinstance(event.detail, Gap):
            gap = event.detail
            self.gaps.append(ChartSpan(event.source, gap.start, gap.end, gap.reason, event.received_at))
            return
        number = int(event.time.timestamp()) // BIN_S
        late = event.backfilled or event.late
        for quantity in DRAWN:
            value = event.values.get(quantity)
            if value is None:
                continue
            if quantity is not Quantity.BATTERY_SOC:
                self.peak_w = max(self.peak_w, min(abs(value), 1e9))
            bins = self._bins.setdefault((quantity, event.source), {})
            entry = bins.get(number)
            if entry is None:
                entry = bins[number] = _Bin()
                self._trim(bins, number)
            entry.add(value, backfilled=late)
        if event.backfilled:
            self._note_backfill(event)

    def curves(self, start: datetime, end: datetime) -> tuple[list[int], dict[Quantity, Curve]]:
        """Return the times of the bins (the middle of each, Unix seconds) and a curve for each quantity."""
        first, last = int(start.timestamp()) // BIN_S, int(end.timestamp()) // BIN_S
        numbers = range(first, last + 1)
        chosen = self._chosen(first)
        curves = {
            quantity: _curve(source, self._bins[quantity, source], numbers)
            for quantity, source in chosen.items()
        }
        return [number * BIN_S + BIN_S // 2 for number in numbers], curves

    def spans(self, spans: Iterable[ChartSpan], start: datetime) -> list[ChartSpan]:
        """Return the spans that end after `start`, joined where one source has several in a row."""
        joined: list[ChartSpan] = []
        for each in sorted((span for span in spans if span.end > start), key=lambda span: span.start):
            last = next((known for known in reversed(joined) if known.source == each.source), None)
            if last is not None and each.start <= last.end + timedelta(seconds=1):
                last.end = max(last.end, each.end)
            else:
                joined.append(ChartSpan(each.source, each.start, each.end, each.reason, each.at))
        return joined

    def capacity_wh(self) -> float | None:
        """Return an estimate of the battery's capacity from its charging during the day, Wh.

        The energy of neighbouring bins with a rising charge over that rise. None below a rise of 5 %.
        """
        source = self._chosen(0).get(Quantity.BATTERY_SOC)
        power = self._chosen(0).get(Quantity.BATTERY_POWER)
        if source is None or power is None:
            return None
        charges, powers = self._bins[Quantity.BATTERY_SOC, source], self._bins[Quantity.BATTERY_POWER, power]
        energy = rise = 0.0
        for number, entry in charges.items():
            following, load = charges.get(number + 1), powers.get(number)
            if following is None or load is None:
                continue
            change = following.total / following.count - entry.total / entry.count
            watts = load.total / load.count
            if change > 0 and watts > 0:
                rise += change
                energy += watts * BIN_S / 3600
        return energy / rise * 100 if rise >= 5.0 else None

    def _chosen(self, first: int) -> dict[Quantity, SourceId]:
        """Return the source of each curve: the first choice that has a reading from bin `first` on."""
        best: dict[Quantity, tuple[int, int, SourceId]] = {}
        for (quantity, source), bins in self._bins.items():
            rank = self._prefer.rank(source, quantity)
            count = sum(number >= first for number in bins)
            if rank is not None and count:
                # Of equal sources the one with more bins: it shows more of the day.
                best[quantity] = min(best.get(quantity, (rank, -count, source)), (rank, -count, source))
        return {quantity: choice[2] for quantity, choice in best.items()}

    def _trim(self, bins: dict[int, _Bin], newest: int) -> None:
        oldest = newest - _KEPT_S // BIN_S
        if len(bins) > _KEPT_S // BIN_S:
            for number in [each for each in bins if each < oldest]:
                del bins[number]

    def _note_backfill(self, event: Event) -> None:
        last = next((span for span in reversed(self.backfills) if span.source == event.source), None)
        begin = event.time
        near = timedelta(seconds=JOINED_S)
        if last is not None and last.source == event.source and last.start - near <= begin <= last.end + near:
            last.start, last.end = min(last.start, begin), max(last.end, begin)
            last.at = event.received_at
        else:
            self.backfills.append(ChartSpan(event.source, begin, begin, "", event.received_at))


def _curve(source: SourceId, bins: Mapping[int, _Bin], numbers: range) -> Curve:
    values: list[float | None] = []
    backfilled: list[int] = []
    for place, number in enumerate(numbers):
        entry = bins.get(number)
        values.append(None if entry is None else round(entry.total / entry.count, 1))
        if entry is not None and entry.backfilled * 2 > entry.count:
            backfilled.append(place)
    return Curve(source=source, values=values, backfilled=backfilled)

"""Energies of a day, and the ratios self-consumption and self-sufficiency.

The functions take energies of any source, in any one unit, for the same period:

================== ================================ ============================= ==========================
argument           EnergyMeter                      VRM, stats of type kwh        VoltStorage, statistics
================== ================================ ============================= ==========================
produced           pv                               Pc + Pb + Pg                  pv_total
exported           grid export                      Pg                            (given as own_consumption)
consumed           consumption                      Pc + Bc + Gc                  consumption_total
imported           grid import                      Gc                            (given as self_sufficiency)
================== ================================ ============================= ==========================

VRM reports where each kWh went, so its ratios are exact. A meter at the grid cannot distinguish energy of the
sun from energy of the battery: where the battery is charged from the grid or discharged into it, the formula
may not hold, and the ratio is None. VoltStorage reports ratios; `weighted_mean` joins those of several
periods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Final

from attrs import frozen

from energy_core.home.integral import Bin
from energy_core.stream.vocabulary import Quantity, SourceId

_ROUNDING: Final = 1e-9


def self_consumption(produced: float | None, exported: float | None) -> float | None:
    """Return ``1 - exported / produced``: the share of the PV energy that was not exported, 0..1.

    None if an argument is None, if nothing was produced, or if the result would not be in 0..1.
    """
    return _share(produced, exported)


def self_sufficiency(consumed: float | None, imported: float | None) -> float | None:
    """Return ``1 - imported / consumed``: the share of the consumption that was not imported, 0..1.

    None if an argument is None, if nothing was consumed, or if the result would not be in 0..1.
    """
    return _share(consumed, imported)


def weighted_mean(parts: Iterable[tuple[float | None, float | None]]) -> float | None:
    """Return the weighted mean of ``(value, weight)`` pairs, such as the ratios of several periods.

    A pair whose value or weight is None or not finite, or whose weight is not positive, is left out. None if
    no pair is left.
    """
    whole = total = 0.0
    for value, weight in parts:
        if value is not None and weight is not None and isfinite(value) and isfinite(weight) and weight > 0:
            whole += value * weight
            total += weight
    return whole / total if total else None


def _share(whole: float | None, lost: float | None) -> float | None:
    if whole is None or lost is None or not (isfinite(whole) and isfinite(lost)) or whole <= 0:
        return None
    share = 1 - lost / whole
    return min(max(share, 0.0), 1.0) if -_ROUNDING <= share <= 1 + _ROUNDING else None


POWERS: Final = (
    Quantity.GRID_POWER,
    Quantity.BATTERY_POWER,
    Quantity.PV_POWER,
    Quantity.CONSUMPTION_POWER,
    Quantity.GENERATOR_POWER,
)
"""Quantities that `EnergyMeter` integrates."""

_MICROJOULES_PER_KWH: Final = 3_600_000_000_000
_MEASURED_TOGETHER: Final = 0.95


@frozen(kw_only=True)
class EnergyTotals:
    """Energies of one or several days, in kWh. None means not measured; it is not zero."""

    grid_import_kwh: float | None = None
    """Energy of positive grid power."""
    grid_export_kwh: float | None = None
    """Energy of negative grid power, as a positive number."""
    battery_charge_kwh: float | None = None
    """Energy of positive battery power."""
    battery_discharge_kwh: float | None = None
    """Energy of negative battery power, as a positive number."""
    pv_kwh: float | None = None
    """Energy of PV power; the draw of an inverter at night is subtracted."""
    consumption_kwh: float | None = None
    """Energy of consumption power."""
    generator_kwh: float | None = None
    """Energy of generator power."""
    self_consumption: float | None = None
    """Share of the PV energy that was not exported, 0..1; of days on which both were measured together."""
    self_sufficiency: float | None = None
    """Share of the consumption that was not imported, 0..1; of days on which both were measured together."""
    measured_s: Mapping[Quantity, float]
    """By power: the seconds over which it was integrated."""
    length_s: float
    """Seconds in these days; 82,800 or 90,000 for a day on which the clocks change."""
    sources: Mapping[Quantity, tuple[SourceId, ...]]
    """By power: the sources of the readings; several if the source differs from day to day."""


class TotalsSum:
    """Sums the energies of days."""

    def __init__(self) -> None:
        self._plus: Counter[Quantity] = Counter()
        self._minus: Counter[Quantity] = Counter()
        self._measured: Counter[Quantity] = Counter()
        self._sources: dict[Quantity, dict[SourceId, None]] = {}
        self._pv = [0, 0]
        self._home = [0, 0]

    def add(self, chosen: Mapping[Quantity, tuple[SourceId, Bin]]) -> None:
        """Add one day: by power, the source and its energy."""
        for power, (source, entry) in chosen.items():
            self._plus[power] += entry.plus
            self._minus[power] += entry.minus
            self._measured[power] += entry.measured
            self._sources.setdefault(power, {})[source] = None
        grid = chosen.get(Quantity.GRID_POWER)
        pv, home = chosen.get(Quantity.PV_POWER), chosen.get(Quantity.CONSUMPTION_POWER)
        if grid and pv and _measured_together(grid[1], pv[1]):
            self._pv[0] += pv[1].plus - pv[1].minus
            self._pv[1] += grid[1].minus
        if grid and home and _measured_together(grid[1], home[1]):
            self._home[0] += home[1].plus - home[1].minus
            self._home[1] += grid[1].plus

    def totals(self, length: int) -> EnergyTotals:
        """Return the sums; `length` is the microseconds of these days."""
        return EnergyTotals(
            grid_import_kwh=self._kwh(self._plus, Quantity.GRID_POWER),
            grid_export_kwh=self._kwh(self._minus, Quantity.GRID_POWER),
            battery_charge_kwh=self._kwh(self._plus, Quantity.BATTERY_POWER),
            battery_discharge_kwh=self._kwh(self._minus, Quantity.BATTERY_POWER),
            pv_kwh=self._net(Quantity.PV_POWER),
            consumption_kwh=self._net(Quantity.CONSUMPTION_POWER),
            generator_kwh=self._net(Quantity.GENERATOR_POWER),
            self_consumption=self_consumption(*self._pv),
            self_sufficiency=self_sufficiency(*self._home),
            measured_s={power: measured / 1e6 for power, measured in self._measured.items()},
            length_s=length / 1e6,
            sources={power: tuple(sources) for power, sources in self._sources.items()},
        )

    def _kwh(self, side: Mapping[Quantity, int], power: Quantity) -> float | None:
        return side[power] / _MICROJOULES_PER_KWH if power in self._measured else None

    def _net(self, power: Quantity) -> float | None:
        net = self._plus[power] - self._minus[power]
        return net / _MICROJOULES_PER_KWH if power in self._measured else None


def _measured_together(first: Bin, second: Bin) -> bool:
    """Return whether two powers were measured at the same times, to 95 %."""
    unmeasured = sum(each.end - each.start - each.measured for each in (first, second))
    shared = min(first.end, second.end) - max(first.start, second.start) - unmeasured
    return shared >= _MEASURED_TOGETHER * max(first.measured, second.measured)

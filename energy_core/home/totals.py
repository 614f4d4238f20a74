"""How much of its own energy a home uses, and how much of what it uses is its own.

The figures may be anybody's, in any one unit, as long as they are about the same time:

================== ================================ ============================= ==========================
figure             our own meter                    VRM, stats of type kwh        VoltStorage, statistics
================== ================================ ============================= ==========================
produced           pv                               Pc + Pb + Pg                  pv_total
exported           grid export                      Pg                            (given as own_consumption)
consumed           consumption                      Pc + Bc + Gc                  consumption_total
imported           grid import                      Gc                            (given as self_sufficiency)
================== ================================ ============================= ==========================

VRM tells where each kWh went, so that its figures are exact. A meter at the grid cannot tell whose energy it
counts: where the battery is charged from the grid or emptied into it, its figures may contradict the formula,
and then there is no share. VoltStorage gives shares; `weighted_mean` joins those of several periods.
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
    """Return ``1 - exported / produced``: the share of the sun's energy that stayed at home, 0..1.

    None where a figure is missing, where nothing was produced, and where the share would not be in 0..1.
    """
    return _kept(produced, exported)


def self_sufficiency(consumed: float | None, imported: float | None) -> float | None:
    """Return ``1 - imported / consumed``: the share of what the home used that the grid did not give, 0..1.

    None where a figure is missing, where nothing was used, and where the share would not be in 0..1.
    """
    return _kept(consumed, imported)


def weighted_mean(parts: Iterable[tuple[float | None, float | None]]) -> float | None:
    """Join values of several periods, each ``(value, weight)``.

    A period without a value, or without a weight, is left out and never a zero. None when nothing is left.
    """
    whole = total = 0.0
    for value, weight in parts:
        if value is not None and weight is not None and isfinite(value) and isfinite(weight) and weight > 0:
            whole += value * weight
            total += weight
    return whole / total if total else None


def _kept(whole: float | None, lost: float | None) -> float | None:
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
"""What is integrated."""

_MICROJOULES_PER_KWH: Final = 3_600_000_000_000
_TOGETHER: Final = 0.95


@frozen(kw_only=True)
class EnergyTotals:
    """The energy of one day, or of several. None is what nobody measured; it is not zero."""

    grid_import_kwh: float | None = None
    """The times of positive grid power, kWh."""
    grid_export_kwh: float | None = None
    """The times of negative grid power, kWh, positive."""
    battery_charge_kwh: float | None = None
    """The times of positive battery power, kWh."""
    battery_discharge_kwh: float | None = None
    """The times of negative battery power, kWh, positive."""
    pv_kwh: float | None = None
    """PV power, kWh; what a plant draws at night counts against it."""
    consumption_kwh: float | None = None
    """Consumption power, kWh."""
    generator_kwh: float | None = None
    """Generator power, kWh."""
    self_consumption: float | None = None
    """Share of the PV energy that was not fed in, 0..1; of days in which both were measured together."""
    self_sufficiency: float | None = None
    """Share of the consumption that the grid did not give, 0..1; of such days as well."""
    measured_s: Mapping[Quantity, float]
    """By power: the seconds that were integrated."""
    length_s: float
    """The seconds in these days; 82,800 or 90,000 in a day on which the clocks change."""
    sources: Mapping[Quantity, tuple[SourceId, ...]]
    """By power: whose readings these are; more than one when it changed from day to day."""


class Tally:
    """Adds up days."""

    def __init__(self) -> None:
        self._plus: Counter[Quantity] = Counter()
        self._minus: Counter[Quantity] = Counter()
        self._measured: Counter[Quantity] = Counter()
        self._sources: dict[Quantity, dict[SourceId, None]] = {}
        self._pv = [0, 0]
        self._home = [0, 0]

    def add(self, chosen: Mapping[Quantity, tuple[SourceId, Bin]]) -> None:
        """Add one day: by power who measured it, and what."""
        for power, (source, entry) in chosen.items():
            self._plus[power] += entry.plus
            self._minus[power] += entry.minus
            self._measured[power] += entry.measured
            self._sources.setdefault(power, {})[source] = None
        grid = chosen.get(Quantity.GRID_POWER)
        pv, home = chosen.get(Quantity.PV_POWER), chosen.get(Quantity.CONSUMPTION_POWER)
        if grid and pv and _together(grid[1], pv[1]):
            self._pv[0] += pv[1].plus - pv[1].minus
            self._pv[1] += grid[1].minus
        if grid and home and _together(grid[1], home[1]):
            self._home[0] += home[1].plus - home[1].minus
            self._home[1] += grid[1].plus

    def totals(self, length: int) -> EnergyTotals:
        """Return the sums; `length` is the microseconds in these days."""
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


def _together(first: Bin, second: Bin) -> bool:
    """Tell whether two quantities were measured at the same times, but for a twentieth at most."""
    holes = sum(each.end - each.start - each.measured for each in (first, second))
    shared = min(first.end, second.end) - max(first.start, second.start) - holes
    return shared >= _TOGETHER * max(first.measured, second.measured)

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

from collections.abc import Iterable
from math import isfinite
from typing import Final

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

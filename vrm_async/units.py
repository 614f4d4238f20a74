"""What numbers are counted in: by VRM's own formats where there are any, else by what a code means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Unit(NamedTuple):
    """A unit and who says so."""

    name: str | None
    source: str | None


UNKNOWN: Final = Unit(None, None)

BY_CODE: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Energy readings of the vendor's table: who gave to whom, and the meters' differences.
        **dict.fromkeys(("Pb", "Pc", "Pg", "Gb", "Gc", "Bc", "Bg", "gb", "gc", "kwh"), "kWh"),
        **dict.fromkeys(("dH21", "dH22", "dYU", "dpE", "dgb", "dgs", "ddE"), "kWh"),
        # Sums the portal makes of them.
        **dict.fromkeys(("total_solar_yield", "total_consumption", "total_genset"), "kWh"),
        **dict.fromkeys(("grid_history_from", "grid_history_to"), "kWh"),
        # Forecasts count Wh in the hour, unlike everything else.
        **dict.fromkeys(("solar_yield_forecast", "vrm_consumption_fc"), "Wh"),
        # Measurements: a mean of power is not an energy.
        **dict.fromkeys(("consumption", "solar_yield", "from_to_grid"), "W"),
        "bs": "%",
        "bv": "V",
        "bc": "A",
    }
)
"""Units of the codes whose meaning is documented or was observed; of other codes stats say nothing."""

_SPELLINGS: Final = MappingProxyType({"°C": "degC", "℃": "degC", "° C": "degC", "secs": "s", "seconds": "s"})


def named(unit: str | None) -> str | None:
    """Return a unit of VRM's format in this package's spelling."""
    return None if unit is None else _SPELLINGS.get(unit, unit)


def of_stats(code: str, kind: str | None) -> Unit:
    """Return the unit of a code in stats of some type."""
    if kind in {"kwh", "live_feed_kwh"}:
        return Unit("kWh", "type")
    if kind == "forecast":
        # Irradiance comes beside the two energies, and nobody says in what it is counted.
        return UNKNOWN if "irradiance" in code else Unit("Wh", "type")
    known = BY_CODE.get(code)
    return UNKNOWN if known is None else Unit(known, "code")

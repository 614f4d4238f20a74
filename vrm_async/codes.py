"""Names and units of VRM's codes. A unit comes from VRM's format of an attribute, or from the code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from energy_core.codec.coerce import number
from energy_core.codec.drift import report
from energy_core.tables.column import with_unit


class Unit(NamedTuple):
    """A unit and its source: format, type or code (see `Series.unit_source`)."""

    name: str | None
    source: str | None


UNKNOWN: Final = Unit(None, None)

BY_CODE: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Energies of VRM's table of codes: flows from source to destination, and differences of meters.
        **dict.fromkeys(("Pb", "Pc", "Pg", "Gb", "Gc", "Bc", "Bg", "gb", "gc", "kwh"), "kWh"),
        **dict.fromkeys(("dH21", "dH22", "dYU", "dpE", "dgb", "dgs", "ddE"), "kWh"),
        # Sums that VRM computes of them.
        **dict.fromkeys(("total_solar_yield", "total_consumption", "total_genset"), "kWh"),
        **dict.fromkeys(("grid_history_from", "grid_history_to"), "kWh"),
        # Forecasts are in Wh an hour; everything else is in kWh.
        **dict.fromkeys(("solar_yield_forecast", "vrm_consumption_fc"), "Wh"),
        # Measurements: means of power.
        **dict.fromkeys(("consumption", "solar_yield", "from_to_grid"), "W"),
        "bs": "%",
        "bv": "V",
        "bc": "A",
        "bp": "W",
    }
)
"""Units of codes whose meaning is documented or was observed; stats have no unit for other codes."""


class Code(NamedTuple):
    """What a code of VRM means."""

    code: str
    """VRM's code, case-sensitive."""
    name: str
    """A readable name, such as ``PV to home``; for a code without one VRM's description."""
    unit: str | None = None
    """The unit in statistics: kWh, Wh, W, %, V or A; None if it is not documented."""
    sum_of: tuple[str, ...] = ()
    """The codes of which it is the sum; empty if it is none, or the parts are not known."""

    @property
    def column(self) -> str:
        """Name of its column in a table, such as ``pv_to_home_kwh``; the code itself if it has no name."""
        return column_name(self.code, self.unit)


FLOWS: Final = ("Pb", "Pc", "Pg", "Gb", "Gc", "Bc", "Bg", "gb", "gc")
"""Codes of the energy that flows from one part of a home to another, of the statistics of type kwh."""
FORECASTS: Final = ("solar_yield_forecast", "vrm_consumption_fc")

USUAL: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"kwh": FLOWS, "live_feed_kwh": FLOWS, "forecast": FORECASTS}
)
"""Codes that VRM sends for a type of statistics if it has data."""

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Pb": "PV to battery",
        "Pc": "PV to home",
        "Pg": "PV to grid",
        "Gb": "Grid to battery",
        "Gc": "Grid to home",
        "Bc": "Battery to home",
        "Bg": "Battery to grid",
        "gb": "Generator to battery",
        "gc": "Generator to home",
        "kwh": "Sum of all flows",
        "total_solar_yield": "PV total",
        "total_consumption": "Consumption total",
        "total_genset": "Generator total",
        "grid_history_from": "Grid import",
        "grid_history_to": "Grid export",
        "solar_yield_forecast": "PV forecast",
        "vrm_consumption_fc": "Consumption forecast",
        "consumption": "Consumption",
        "solar_yield": "PV",
        "from_to_grid": "Grid",
        "bs": "Battery SOC",
        "bv": "Battery voltage",
        "bc": "Battery current",
        "bp": "Battery power",
        "dH21": "Battery discharged",
        "dH22": "Battery charged",
        "dYU": "Solar charger yield",
        "dpE": "PV inverter yield",
        "dgb": "Grid meter import",
        "dgs": "Grid meter export",
        "ddE": "DC meter energy",
    }
)
"""Readable names of codes of statistics and of the system's measurements, after VRM's own descriptions."""

SUMS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "kwh": FLOWS,
        "total_solar_yield": ("Pb", "Pc", "Pg"),
        "total_consumption": ("Pc", "Gc", "Bc", "gc"),
        "total_genset": ("gb", "gc"),
        "grid_history_from": ("Gb", "Gc"),
        "grid_history_to": ("Pg", "Bg"),
    }
)
"""The parts of VRM's sums. VRM documents those of `kwh`, which adds up what the answer has; the others follow
from their names [inferred]."""


def column_name(code: str, unit: str | None) -> str:
    """Return the name of a code's column in a table; a code without a readable name stays as it is."""
    name = NAMES.get(code)
    if name is None:
        return code
    return with_unit("_".join(name.lower().split()), unit)


_ADDED: Final = frozenset(
    (
        *("dH21", "dH22", "dYU", "dpE", "dgb", "dgs", "ddE"),
        *("Gb", "Gc", "Pb", "Pg", "Pc", "Bc", "Bg", "gc", "gb"),
        *("tx", "rx", "Gu", "dW", "dA", "To", "Tgs", "Tg", "Ti"),
    )
)
"""Codes of VRM's table that count something: energy, traffic, gas and running times."""


def adds_up(code: str, unit: str | None) -> bool:
    """Whether the value of a day is the sum of its hours and not their mean."""
    return unit in {"kWh", "Wh"} or code in _ADDED


class _Scale(NamedTuple):
    """Conversion to the package's unit of a kind: ``(value - zero) * factor / divisor``."""

    kind: str
    factor: int = 1
    divisor: int = 1
    zero: float = 0.0


# Integer factors and divisors, so that 13390 mV is exactly 13.39 V.
_SCALES: Final[Mapping[str, _Scale]] = MappingProxyType(
    {
        "W": _Scale("power"),
        "kW": _Scale("power", 1000),
        "MW": _Scale("power", 1_000_000),
        "mW": _Scale("power", 1, 1000),
        "kWh": _Scale("energy"),
        "Wh": _Scale("energy", 1, 1000),
        "MWh": _Scale("energy", 1000),
        "GWh": _Scale("energy", 1_000_000),
        "V": _Scale("voltage"),
        "mV": _Scale("voltage", 1, 1000),
        "kV": _Scale("voltage", 1000),
        "A": _Scale("current"),
        "mA": _Scale("current", 1, 1000),
        "kA": _Scale("current", 1000),
        "degC": _Scale("temperature"),
        "degF": _Scale("temperature", 5, 9, 32),
        "K": _Scale("temperature", zero=273.15),
        "%": _Scale("share"),
    }
)
_COMMON: Final = MappingProxyType(
    {"power": "W", "energy": "kWh", "voltage": "V", "current": "A", "temperature": "degC", "share": "%"}
)
"""The package's unit of each kind."""

_SPELLINGS: Final = MappingProxyType(
    {
        **dict.fromkeys(("°C", "℃", "° C", "&deg;C", "ºC", "deg C", "C", "Celsius"), "degC"),
        **dict.fromkeys(("°F", "℉", "° F", "&deg;F", "ºF", "deg F", "F", "Fahrenheit"), "degF"),
        **dict.fromkeys(("secs", "seconds"), "s"),
        **dict.fromkeys(("Watt", "Watts"), "W"),
        **dict.fromkeys(("Volt", "Volts", "VDC", "VAC", "V DC", "V AC"), "V"),
        **dict.fromkeys(("Amp", "Amps", "Ampere", "ADC", "AAC", "A DC", "A AC"), "A"),
    }
)
_IN_ANY_CASE: Final = MappingProxyType(
    {
        name.casefold(): unit
        for name, unit in (*((name, name) for name in _SCALES), *_SPELLINGS.items())
        # Units that differ only in case are not looked up without it: mW and MW, mWh and MWh.
        if name not in {"mW", "MW", "MWh", "C", "F", "K"}
    }
)
_PLACEHOLDER: Final = re.compile(r"%%|%(?:\d+\$)?[-+ 0#']*\d*(?:\.\d+)?[A-Za-z]")


def unit_of(pattern: object) -> str | None:
    """Return the unit in a sprintf pattern, such as V of ``%.2F V``. VRM may not double a percent sign."""
    if not isinstance(pattern, str):
        return None
    return _PLACEHOLDER.sub(lambda found: "%" if found[0] == "%%" else "", pattern).strip() or None


def named(unit: str | None) -> str | None:
    """Return a unit of VRM in the package's spelling, such as degC of ``°C``."""
    if unit is None or unit in _SCALES:
        return unit
    return _SPELLINGS.get(unit) or _IN_ANY_CASE.get(unit.casefold(), unit)


def converted(value: float, unit: str | None, to: str) -> float | None:
    """Convert a value from `unit` to `to`; None if the units are of different kinds.

    A value without a unit is taken as one in `to`.
    """
    unit = named(unit)
    if unit is None or unit == to:
        return value
    there, here = _SCALES.get(unit), _SCALES.get(to)
    if there is None or here is None or there.kind != here.kind:
        return None
    common = (value - there.zero) * there.factor / there.divisor
    return common * here.divisor / here.factor + here.zero


def value_in(to: str, raw_value: object, pattern: object) -> float | None:
    """Convert a raw value to the unit `to`, from the unit in VRM's format.

    None if the value is not a number, or if the unit is of another kind, which is counted as drift.

    Args:
        to: A unit in the package's spelling, such as W, V or degC.
        raw_value: VRM's rawValue.
        pattern: VRM's formatWithUnit.
    """
    value = number(raw_value)
    if value is None:
        return None
    unit = unit_of(pattern)
    found = converted(value, unit, to)
    if found is None:
        report("Attribute", "formatWithUnit", f"{unit!r:.40} cannot be read as {to}")
    return found


def common(unit: str | None, code: str) -> str | None:
    """Return the unit that values with a format are converted to: that of the code, or of their kind."""
    unit = named(unit)
    scale = None if unit is None else _SCALES.get(unit)
    if scale is None:
        return unit
    meant = BY_CODE.get(code, "")
    return meant if meant in _SCALES and _SCALES[meant].kind == scale.kind else _COMMON[scale.kind]


def of_stats(code: str, kind: str | None) -> Unit:
    """Return the unit of a code in stats of one type."""
    if kind in {"kwh", "live_feed_kwh"}:
        return Unit("kWh", "type")
    if kind == "forecast":
        # The unit of irradiance, which comes beside the two energies, is not documented.
        return UNKNOWN if "irradiance" in code else Unit("Wh", "type")
    known = BY_CODE.get(code)
    return UNKNOWN if known is None else Unit(known, "code")


class WithUnit:
    """Adds unit and conversion to a model with `raw_value` and `format`."""

    __slots__ = ()

    raw_value: str | int | float | None
    format: str | None

    @property
    def unit(self) -> str | None:
        """The unit in `format`: W, V, A, %, degC and the like; None if there is none."""
        return named(unit_of(self.format))

    def value_in(self, unit: str) -> float | None:
        """Convert `raw_value` to a unit such as W, from the unit in `format`.

        None if `raw_value` is not a number, or the unit in `format` is of another kind.
        """
        return value_in(unit, self.raw_value, self.format)

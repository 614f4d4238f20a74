"""Units of VRM's codes: from VRM's format of an attribute, or else from the meaning of its code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from energy_core.codec.coerce import number
from energy_core.codec.drift import report


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
    }
)
"""Units of codes whose meaning is documented or was observed; stats have no unit for other codes."""


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

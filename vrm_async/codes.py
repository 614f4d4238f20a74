"""What numbers are counted in: by VRM's own formats where there are any, else by what a code means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from energy_core.codec.coerce import number
from energy_core.codec.drift import report


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


_ADDED: Final = frozenset(
    (
        *("dH21", "dH22", "dYU", "dpE", "dgb", "dgs", "ddE"),
        *("Gb", "Gc", "Pb", "Pg", "Pc", "Bc", "Bg", "gc", "gb"),
        *("tx", "rx", "Gu", "dW", "dA", "To", "Tgs", "Tg", "Ti"),
    )
)
"""The energy readings of the vendor's table, traffic, gas and running times among them."""


def adds_up(code: str, unit: str | None) -> bool:
    """Tell whether the amount of a day is the sum of those of its hours, not their mean."""
    return unit in {"kWh", "Wh"} or code in _ADDED


class _Scale(NamedTuple):
    """A value in this package's unit of the kind is ``(value - zero) * factor / divisor``."""

    kind: str
    factor: int = 1
    divisor: int = 1
    zero: float = 0.0


# Integers in both places, so that 13390 mV is exactly 13.39 V.
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
"""This package's unit of each kind."""

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
        # Where the other case means another unit, the case decides: mW and MW, mWh and MWh.
        if name not in {"mW", "MW", "MWh", "C", "F", "K"}
    }
)
_PLACEHOLDER: Final = re.compile(r"%%|%(?:\d+\$)?[-+ 0#']*\d*(?:\.\d+)?[A-Za-z]")


def unit_of(pattern: object) -> str | None:
    """Return the unit in a sprintf pattern: ``%.2F V`` gives V. VRM's percent sign is not always doubled."""
    if not isinstance(pattern, str):
        return None
    return _PLACEHOLDER.sub(lambda found: "%" if found[0] == "%%" else "", pattern).strip() or None


def named(unit: str | None) -> str | None:
    """Return a unit of VRM's format in this package's spelling."""
    if unit is None or unit in _SCALES:
        return unit
    return _SPELLINGS.get(unit) or _IN_ANY_CASE.get(unit.casefold(), unit)


def converted(value: float, unit: str | None, to: str) -> float | None:
    """Return a value of `unit` in the unit `to`; None where they measure different things.

    Without a unit nothing says that the value is in another one than `to`.
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
    """Return a raw value in the unit `to`, whatever unit VRM's format of it has.

    None where it is no number, or its format has a unit of another kind, which is noted as drift.

    Args:
        to: A unit in this package's spelling, such as W, V, degC.
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
    """Return the unit that values of a format are converted to: that of the code, or of their kind."""
    unit = named(unit)
    scale = None if unit is None else _SCALES.get(unit)
    if scale is None:
        return unit
    meant = BY_CODE.get(code, "")
    return meant if meant in _SCALES and _SCALES[meant].kind == scale.kind else _COMMON[scale.kind]


def of_stats(code: str, kind: str | None) -> Unit:
    """Return the unit of a code in stats of some type."""
    if kind in {"kwh", "live_feed_kwh"}:
        return Unit("kWh", "type")
    if kind == "forecast":
        # Irradiance comes beside the two energies, and nobody says in what it is counted.
        return UNKNOWN if "irradiance" in code else Unit("Wh", "type")
    known = BY_CODE.get(code)
    return UNKNOWN if known is None else Unit(known, "code")


class WithUnit:
    """The unit and the value of a record with `raw_value` and `format`."""

    __slots__ = ()

    raw_value: str | int | float | None
    format: str | None

    @property
    def unit(self) -> str | None:
        """The unit in `format`: W, V, A, %, degC and the like."""
        return named(unit_of(self.format))

    def value_in(self, unit: str) -> float | None:
        """Return `raw_value` in a unit such as W, whether `format` says W or kW.

        None where it is no number, or `format` has a unit of another kind.
        """
        return value_in(unit, self.raw_value, self.format)

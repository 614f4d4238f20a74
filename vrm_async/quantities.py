"""From VRM's codes to quantities. VRM's units and signs are those of `Quantity`.

Power is in W (positive from the grid and into the battery), state of charge in %, temperature in degC. A sum
is the value that VRM computes, or the sum of the parts that VRM names, all logged in the same second. A sum
without one of its parts is missing. The battery's power is `bp`, or voltage times current of one device in
one second.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final, NamedTuple

from attrs import frozen

from energy_core.codec.coerce import integer
from energy_core.codec.drift import report
from energy_core.stream.vocabulary import Quantity
from vrm_async.codes import value_in
from vrm_async.decoding.php import by_key, items

SINGLE: Final[Mapping[str, Quantity]] = {
    "bs": Quantity.BATTERY_SOC,
    "bv": Quantity.BATTERY_VOLTAGE,
    "bc": Quantity.BATTERY_CURRENT,
    "bp": Quantity.BATTERY_POWER,
}
"""Codes that are a quantity."""

SENSOR: Final = "tsT"
BATTERY_SENSORS: Final = ("BT", SENSOR, "CT", "ScT")
"""Codes of a battery's temperature by preference: of a battery monitor, a temperature sensor, a VE.Bus system
and a solar charger. Devices of different kinds may share an instance number."""

VOLTAGE_AND_CURRENT: Final = ("bv", "bc")
"""The codes whose product is the battery's power."""


@frozen
class Sum:
    """A quantity that VRM computes as a sum."""

    quantity: Quantity
    parts: tuple[str, ...]
    """Codes of its parts, unless the answer names them."""
    phases: int
    """Number of leading parts that are phases 1, 2 and 3; a sum needs all phases below its highest."""


SUMS: Final[Mapping[str, Sum]] = {
    "from_to_grid": Sum(Quantity.GRID_POWER, ("g1", "g2", "g3"), phases=3),
    "consumption": Sum(Quantity.CONSUMPTION_POWER, ("a1", "a2", "a3", "dc"), phases=3),
    "generator": Sum(Quantity.GENERATOR_POWER, ("gs1", "gs2", "gs3"), phases=3),
    "solar_yield": Sum(
        Quantity.PV_POWER, ("P", "P2", "P3", "Pi", "Pi2", "Pi3", "Pdc", "Pj", "Pj2", "Pj3"), phases=0
    ),
}


class Entry(NamedTuple):
    """One attribute of one device instance in a list of sites."""

    code: str
    instance: int
    stamp: int | None
    """Unix time of the log in s; None if it is not known."""
    value: object
    pattern: object
    """VRM's formatWithUnit."""
    kind: int | None
    """VRM's idDeviceType."""
    attribute: int | None
    """VRM's idDataAttribute: attributes of different kinds of devices may share a code."""
    item: Mapping[str, object]
    """The record as VRM sent it."""
    contested: bool = False
    """Whether another device of the same kind and instance has a value of this code."""


Entries = Mapping[str, Entry]
"""Attributes of one device instance, by code."""


class Parts(NamedTuple):
    """The parts of a sum of a site."""

    entry: Entry | None
    """The entry of the sum; None if the list does not have it."""
    named: tuple[tuple[str, int | None], ...]
    """Codes and instances of the parts that the site has, from dataAttributes."""
    codes: tuple[str, ...]
    """The codes of `named`; if that is empty, the codes that any site may have."""

    @classmethod
    def of(cls, total: Sum, entry: Entry | None) -> Parts:
        """Read the parts of a sum."""
        item = {} if entry is None else entry.item
        parts = [by_key(each) for each in items(item.get("dataAttributes"))]
        named = tuple(
            (code, integer(part.get("instance")))
            for part in parts
            if isinstance(code := part.get("code"), str)
        )
        may_be = items(item.get("consistsOfAttributeCodes"))
        codes = tuple(code for code, _ in named) or tuple(code for code in may_be if isinstance(code, str))
        return cls(entry, named, codes or total.parts)


class Measured(NamedTuple):
    """A value with the codes of its instance that make it. Without codes, a graph cannot return its past."""

    value: float
    codes: tuple[str, ...]


MadeOf = Mapping[Quantity, tuple[str, ...]]
"""The codes of each quantity of a reading."""


def attributes(entries: Entries) -> dict[str, int]:
    """Return the idDataAttribute of attributes and of the parts of sums, by code."""
    found = {}
    for code in SUMS.keys() & entries.keys():
        for each in items(entries[code].item.get("dataAttributes")):
            part = by_key(each)
            if isinstance(named := part.get("code"), str):
                found[named] = integer(part.get("idDataAttribute"))
    found |= {code: entry.attribute for code, entry in entries.items()}
    return {code: number for code, number in found.items() if number is not None}


def measured(
    moment: Entries, device: Entries, sums: Mapping[str, Parts], *, temperature: str | None
) -> dict[Quantity, Measured]:
    """Return the quantities of one device instance in one second; missing ones are left out.

    Args:
        moment: The attributes that were logged in that second.
        device: All attributes of the instance, whenever they were logged.
        sums: The parts of each of the site's sums.
        temperature: The code of the battery's temperature.
    """
    found = {}
    for code, quantity in SINGLE.items():
        value = value_of(quantity, moment.get(code))
        if value is not None:
            found[quantity] = Measured(value, (code,))
    if Quantity.BATTERY_POWER not in found:
        power = _battery_power(moment, found)
        if power is not None:
            found[Quantity.BATTERY_POWER] = power
    for code, total in SUMS.items():
        summed = _sum(code, total, moment, device, sums[code])
        if summed is not None:
            found[total.quantity] = summed
    value = value_of(Quantity.BATTERY_TEMPERATURE, moment.get(temperature)) if temperature else None
    if value is not None and temperature is not None:
        found[Quantity.BATTERY_TEMPERATURE] = Measured(value, (temperature,))
    return found


def site_sums(entries: Entries) -> dict[str, Parts]:
    """Return the parts of each sum of a site, from its entries of sums by code."""
    return {code: Parts.of(total, entries.get(code)) for code, total in SUMS.items()}


def value_of(quantity: Quantity, entry: Entry | None) -> float | None:
    """Return an attribute's value in the unit of a quantity, or None."""
    if entry is None:
        return None
    value = value_in(quantity.unit, entry.value, entry.pattern)
    return None if value is None or not credible(quantity, value, entry.code) else value


def credible(quantity: Quantity, value: float, code: str) -> bool:
    """Whether a value is possible for a quantity; an impossible one is counted as drift."""
    if quantity is not Quantity.BATTERY_SOC or 0 <= value <= 100:
        return True
    report("Attribute", code, "outside 0..100 %")
    return False


def combined(quantity: Quantity, values: list[float]) -> float | None:
    """Return the sum of the values of a quantity's codes; for power of voltage and current the product."""
    if quantity is Quantity.BATTERY_POWER and len(values) == len(VOLTAGE_AND_CURRENT):
        value = values[0] * values[1]
    else:
        value = sum(values)
    return value if isfinite(value) else None


def _battery_power(moment: Entries, found: Mapping[Quantity, Measured]) -> Measured | None:
    voltage, current = (moment.get(code) for code in VOLTAGE_AND_CURRENT)
    # Of two devices with one instance, voltage and current may be of different batteries.
    if voltage is None or current is None or voltage.contested or current.contested:
        return None
    known = [found.get(SINGLE[code]) for code in VOLTAGE_AND_CURRENT]
    values = [each.value for each in known if each is not None]
    if voltage.kind != current.kind or len(values) < len(known):
        return None
    power = combined(Quantity.BATTERY_POWER, values)
    return None if power is None else Measured(power, VOLTAGE_AND_CURRENT)


def _sum(code: str, total: Sum, moment: Entries, device: Entries, site: Parts) -> Measured | None:
    """Return VRM's sum or that of the parts; None if a part of the site has no value in this second."""
    own = moment.get(code)
    known = site if own is None or own is site.entry else Parts.of(total, own)
    if own is None and not any(part in moment for part in known.codes):
        return None
    instance = next(iter(moment.values())).instance
    mine = [part for part, owner in known.named if owner in {instance, None}]
    parts = mine if known.named else [part for part in known.codes if part in device]
    values = [value_of(total.quantity, moment.get(part)) for part in parts]
    # VRM adds up what it has: its sum of two of three phases is not the site's power.
    if any(value is None and part in device for part, value in zip(parts, values, strict=True)):
        return None
    # Parts of another instance, or two parts of one code, are not in a graph of this device.
    whole = len(set(mine)) == len(known.named)
    value = value_of(total.quantity, own)
    if value is not None:
        return Measured(value, tuple(parts) if whole else ())
    present = [value for value in values if value is not None]
    if not (
        whole and parts and len(present) == len(parts) and (known.named or _phases_complete(total, parts))
    ):
        return None
    value = combined(total.quantity, present)
    return None if value is None else Measured(value, tuple(parts))


def _phases_complete(total: Sum, parts: list[str]) -> bool:
    """Whether all phases below the highest one are present."""
    present = [phase in parts for phase in total.parts[: total.phases]]
    return present == sorted(present, reverse=True) and (not present or present[0])

"""VRM's codes to the unified quantities: units and signs are VRM's own, which are the unified ones.

VRM says power in W (from the grid and into the battery positive), charge in %, temperature in degC. A sum is
VRM's own pseudo-attribute, or where that is missing the sum of the parts that VRM names, all logged at the
same moment; a sum without one of its parts is missing. One value is derived: the battery's power is its
voltage times its current, of one device and second, where VRM sends no `bp`.
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
"""Codes that are a quantity by themselves."""

SENSOR: Final = "tsT"
BATTERY_SENSORS: Final = ("BT", SENSOR, "CT", "ScT")
"""Codes of a battery's temperature, first choice first: of a battery monitor, a temperature sensor, a VE.Bus
system and a solar charger. Devices of different kinds may have one instance number."""

VOLTAGE_AND_CURRENT: Final = ("bv", "bc")
"""What the battery's power is derived from."""


@frozen
class Sum:
    """A quantity that VRM adds up."""

    quantity: Quantity
    parts: tuple[str, ...]
    """What it may consist of, unless the answer says otherwise."""
    phases: int
    """So many of the first parts are phases 1, 2, 3 of one thing: without the first, phase 2 is no sum."""


SUMS: Final[Mapping[str, Sum]] = {
    "from_to_grid": Sum(Quantity.GRID_POWER, ("g1", "g2", "g3"), phases=3),
    "consumption": Sum(Quantity.CONSUMPTION_POWER, ("a1", "a2", "a3", "dc"), phases=3),
    "generator": Sum(Quantity.GENERATOR_POWER, ("gs1", "gs2", "gs3"), phases=3),
    "solar_yield": Sum(
        Quantity.PV_POWER, ("P", "P2", "P3", "Pi", "Pi2", "Pi3", "Pdc", "Pj", "Pj2", "Pj3"), phases=0
    ),
}


class Entry(NamedTuple):
    """One attribute of one device, as a list of sites has it."""

    code: str
    instance: int
    stamp: int | None
    """When it was logged, unix seconds; None where that is not known."""
    value: object
    pattern: object
    """VRM's format, which holds the unit."""
    kind: int | None
    """VRM's idDeviceType."""
    attribute: int | None
    """VRM's idDataAttribute: two kinds of devices may have attributes of one code."""
    item: Mapping[str, object]
    """VRM's own mapping of it."""
    contested: bool = False
    """Whether another device of the same kind and instance has a value of this code too."""


Entries = Mapping[str, Entry]
"""Attributes of one device instance, by code."""


class Parts(NamedTuple):
    """What a sum of a site consists of."""

    entry: Entry | None
    """The sum itself; None where the list does not have it."""
    named: tuple[tuple[str, int | None], ...]
    """Codes and instances of the parts that the site has, as `dataAttributes` names them."""
    codes: tuple[str, ...]
    """The same codes; where VRM names none, those that any site may have."""

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
    """A value, and the codes of the same instance that make it; no codes: a graph cannot give its past."""

    value: float
    codes: tuple[str, ...]


MadeOf = Mapping[Quantity, tuple[str, ...]]
"""The codes that make each quantity of a reading."""


def attributes(entries: Entries) -> dict[str, int]:
    """Return the ids of the attributes, and of the parts of sums, by code."""
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
    """Return the quantities of one moment of one device instance, without those that are missing.

    Args:
        moment: The attributes that were logged at that moment.
        device: All that the list has of the instance, whenever it was logged.
        sums: What each of the site's sums consists of.
        temperature: The code that gives the battery's temperature.
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
    """Return what each sum of a site consists of; its entries by code are whatever instances they have."""
    return {code: Parts.of(total, entries.get(code)) for code, total in SUMS.items()}


def value_of(quantity: Quantity, entry: Entry | None) -> float | None:
    """Return an attribute's value in the unit of a quantity, or None where it has none."""
    if entry is None:
        return None
    value = value_in(quantity.unit, entry.value, entry.pattern)
    return None if value is None or not credible(quantity, value, entry.code) else value


def credible(quantity: Quantity, value: float, code: str) -> bool:
    """Tell whether a quantity can have this value; one that it cannot have is counted as drift."""
    if quantity is not Quantity.BATTERY_SOC or 0 <= value <= 100:
        return True
    report("Attribute", code, "outside 0..100 %")
    return False


def combined(quantity: Quantity, values: list[float]) -> float | None:
    """Return what the values of the codes of a `Measured` are together: a product for the derived power."""
    if quantity is Quantity.BATTERY_POWER and len(values) == len(VOLTAGE_AND_CURRENT):
        value = values[0] * values[1]
    else:
        value = sum(values)
    return value if isfinite(value) else None


def _battery_power(moment: Entries, found: Mapping[Quantity, Measured]) -> Measured | None:
    voltage, current = (moment.get(code) for code in VOLTAGE_AND_CURRENT)
    if voltage is None or current is None or voltage.contested or current.contested:
        return None
    known = [found.get(SINGLE[code]) for code in VOLTAGE_AND_CURRENT]
    values = [each.value for each in known if each is not None]
    if voltage.kind != current.kind or len(values) < len(known):
        return None
    power = combined(Quantity.BATTERY_POWER, values)
    return None if power is None else Measured(power, VOLTAGE_AND_CURRENT)


def _sum(code: str, total: Sum, moment: Entries, device: Entries, site: Parts) -> Measured | None:
    """Return VRM's own sum or ours; None where a part that the site has is without a value of this moment."""
    own = moment.get(code)
    told = site if own is None or own is site.entry else Parts.of(total, own)
    if own is None and not any(part in moment for part in told.codes):
        return None
    instance = next(iter(moment.values())).instance
    mine = [part for part, owner in told.named if owner in {instance, None}]
    parts = mine if told.named else [part for part in told.codes if part in device]
    values = [value_of(total.quantity, moment.get(part)) for part in parts]
    if any(value is None and part in device for part, value in zip(parts, values, strict=True)):
        return None
    # A part of another instance, or two of one code, cannot be had of this device.
    whole = len(set(mine)) == len(told.named)
    value = value_of(total.quantity, own)
    if value is not None:
        return Measured(value, tuple(parts) if whole else ())
    there = [value for value in values if value is not None]
    if not (whole and parts and len(there) == len(parts) and (told.named or _in_a_row(total, parts))):
        return None
    value = combined(total.quantity, there)
    return None if value is None else Measured(value, tuple(parts))


def _in_a_row(total: Sum, parts: list[str]) -> bool:
    """Tell whether no phase is left out below one that is there."""
    there = [phase in parts for phase in total.parts[: total.phases]]
    return there == sorted(there, reverse=True) and (not there or there[0])

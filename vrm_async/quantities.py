"""VRM's codes to the unified quantities: units and signs are VRM's own, which are the unified ones.

VRM says power in W (from the grid and into the battery positive), charge in %, temperature in degC. Nothing
is ever computed that VRM does not define: a sum is VRM's own pseudo-attribute, or where that is missing the
sum of the codes that VRM says it consists of, logged at the same moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from energy_core.http.readers import integer, number
from energy_core.stream.event import Quantity

SINGLE: Final[Mapping[str, Quantity]] = {
    "bs": Quantity.BATTERY_SOC,
    "bv": Quantity.BATTERY_VOLTAGE,
    "bc": Quantity.BATTERY_CURRENT,
    "bp": Quantity.BATTERY_POWER,
    "BT": Quantity.BATTERY_TEMPERATURE,
    "CT": Quantity.BATTERY_TEMPERATURE,
    "ScT": Quantity.BATTERY_TEMPERATURE,
}
"""Codes that are a quantity by themselves. The last three are the battery sensors of a battery monitor, a
VE.Bus system and a solar charger."""


@frozen
class Sum:
    """A quantity that VRM adds up."""

    quantity: Quantity
    parts: tuple[str, ...]
    """What it consists of, unless the answer says otherwise."""
    needs_first: bool
    """Whether the first part must be there: the sum of phases 2 and 3 is no sum."""


SUMS: Final[Mapping[str, Sum]] = {
    "from_to_grid": Sum(Quantity.GRID_POWER, ("g1", "g2", "g3"), needs_first=True),
    "consumption": Sum(Quantity.CONSUMPTION_POWER, ("a1", "a2", "a3", "dc"), needs_first=True),
    "generator": Sum(Quantity.GENERATOR_POWER, ("gs1", "gs2", "gs3"), needs_first=True),
    "solar_yield": Sum(
        Quantity.PV_POWER,
        ("P", "P2", "P3", "Pi", "Pi2", "Pi3", "Pdc", "Pj", "Pj2", "Pj3"),
        needs_first=False,
    ),
}

_SENSOR_OF_A_BATTERY: Final = 0
"""The number of `tst` that makes `tsT` a battery's temperature; other sensors hang in fridges and rooms."""

Items = Mapping[str, Mapping[str, object]]
"""The attributes of one moment of one device, by code."""


def measured(items: Items, parts: Mapping[str, Sequence[str]], sensor_type: object) -> dict[Quantity, float]:
    """Return what the attributes of one moment say; what they do not say is not in it.

    Args:
        items: The attributes by code, each with its rawValue.
        parts: What the answer says each sum consists of.
        sensor_type: The raw value of the instance's `tst`, whenever it was logged.
    """
    found = {
        SINGLE[code]: value for code in items if code in SINGLE and (value := _value(items, code)) is not None
    }
    for code, total in SUMS.items():
        value = _value(items, code)
        if value is None:
            value = _added(items, parts.get(code) or total.parts, needs_first=total.needs_first)
        if value is not None:
            found[total.quantity] = value
    if integer(sensor_type) == _SENSOR_OF_A_BATTERY and (value := _value(items, "tsT")) is not None:
        found[Quantity.BATTERY_TEMPERATURE] = value
    return found


def _added(items: Items, parts: Sequence[str], *, needs_first: bool) -> float | None:
    there = {code: value for code in parts if (value := _value(items, code)) is not None}
    if not there or (needs_first and parts[0] not in there):
        return None
    return sum(there.values())


def _value(items: Items, code: str) -> float | None:
    item = items.get(code)
    return None if item is None else number(item.get("rawValue"))

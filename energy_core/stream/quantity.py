"""The vocabulary of what is measured, with units and signs.

======================== ==== ================================================================
quantity                 unit sign
======================== ==== ================================================================
grid_power               W    positive = import from the grid, negative = feed-in
battery_power            W    positive = charging, negative = discharging
pv_power                 W    what the sun gives; a small negative measured value is passed on
consumption_power        W    what the home uses
generator_power          W    what a generator gives
battery_soc              %    0..100
battery_voltage          V
battery_current          A    positive = charging, negative = discharging
battery_temperature      degC
======================== ==== ================================================================

VRM's battery power is derived, as voltage times current of one device and second, where VRM sends none.

Six more names, of energies in kWh, are reserved: no source emits them. `EnergyMeter` gives energies.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class Quantity(enum.StrEnum):
    """What a number in `Event.values` measures. The module's table gives unit and sign.

    Those whose name ends in ``_energy`` are reserved: no source emits them. A checkpoint names quantities by
    their place in this list: none is removed, and new ones are added at its end.
    """

    GRID_POWER = "grid_power"
    BATTERY_POWER = "battery_power"
    PV_POWER = "pv_power"
    CONSUMPTION_POWER = "consumption_power"
    GENERATOR_POWER = "generator_power"
    BATTERY_SOC = "battery_soc"
    BATTERY_VOLTAGE = "battery_voltage"
    BATTERY_CURRENT = "battery_current"
    BATTERY_TEMPERATURE = "battery_temperature"
    GRID_IMPORT_ENERGY = "grid_import_energy"
    GRID_EXPORT_ENERGY = "grid_export_energy"
    PV_ENERGY = "pv_energy"
    CONSUMPTION_ENERGY = "consumption_energy"
    BATTERY_CHARGE_ENERGY = "battery_charge_energy"
    BATTERY_DISCHARGE_ENERGY = "battery_discharge_energy"

    @property
    def unit(self) -> str:
        """The fixed unit: W, %, V, A, degC or kWh."""
        return _UNITS[self.rpartition("_")[2]]


_UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {"power": "W", "soc": "%", "voltage": "V", "current": "A", "temperature": "degC", "energy": "kWh"}
)

READINGS: Final = tuple(quantity for quantity in Quantity if not quantity.endswith("_energy"))
"""The quantities that sources emit."""

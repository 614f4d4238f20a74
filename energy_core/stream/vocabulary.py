"""Quantities with their units and signs, source ids, and the kinds and details of events.

======================== ==== ================================================================
quantity                 unit sign
======================== ==== ================================================================
grid_power               W    positive = import from the grid, negative = feed-in
battery_power            W    positive = charging, negative = discharging
pv_power                 W    production; a small negative measured value is passed on
consumption_power        W    total of the home's loads
generator_power          W    output of a generator
battery_soc              %    0..100
battery_voltage          V
battery_current          A    positive = charging, negative = discharging
battery_temperature      degC
grid_l1_power            W    one phase of grid_power
grid_l2_power            W    one phase of grid_power
grid_l3_power            W    one phase of grid_power
consumption_l1_power     W    one phase of consumption_ac_power
consumption_l2_power     W    one phase of consumption_ac_power
consumption_l3_power     W    one phase of consumption_ac_power
pv_l1_power              W    one phase of pv_ac_power
pv_l2_power              W    one phase of pv_ac_power
pv_l3_power              W    one phase of pv_ac_power
consumption_ac_power     W    AC part of consumption_power
consumption_dc_power     W    DC part of consumption_power
pv_ac_power              W    AC-coupled part of pv_power
pv_dc_power              W    DC-coupled part of pv_power
ev_charger_power         W    positive = charging a car; part of consumption_power
grid_import_energy       kWh  counter of the grid meter
grid_export_energy       kWh  counter of the grid meter
pv_energy                kWh  counter of a PV inverter or solar charger
ev_charger_energy        kWh  counter of a charger of cars
======================== ==== ================================================================

A source may derive battery_power as voltage times current of one device and second.

Counters are those of the devices, each with the instance of its device, and grow until the device is reset.
Only VRM in real time delivers them, and the quantities from grid_l1_power on. No vendor delivers three more
(consumption_energy, battery_charge_energy, battery_discharge_energy). `EnergyMeter` computes energies from
power, and `energy-live run` publishes them under these names, from sources of their own.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from attrs import frozen


class Quantity(enum.StrEnum):
    """Identifies a measured value in `Event.values`. The table of the module gives unit and sign.

    Checkpoints store bits by the order of this list, so none is removed and new ones are appended.
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
    GRID_L1_POWER = "grid_l1_power"
    GRID_L2_POWER = "grid_l2_power"
    GRID_L3_POWER = "grid_l3_power"
    CONSUMPTION_L1_POWER = "consumption_l1_power"
    CONSUMPTION_L2_POWER = "consumption_l2_power"
    CONSUMPTION_L3_POWER = "consumption_l3_power"
    PV_L1_POWER = "pv_l1_power"
    PV_L2_POWER = "pv_l2_power"
    PV_L3_POWER = "pv_l3_power"
    CONSUMPTION_AC_POWER = "consumption_ac_power"
    CONSUMPTION_DC_POWER = "consumption_dc_power"
    PV_AC_POWER = "pv_ac_power"
    PV_DC_POWER = "pv_dc_power"
    EV_CHARGER_POWER = "ev_charger_power"
    EV_CHARGER_ENERGY = "ev_charger_energy"

    @property
    def unit(self) -> str:
        """The fixed unit: W, %, V, A, degC or kWh."""
        return _UNITS[self.rpartition("_")[2]]


_UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {"power": "W", "soc": "%", "voltage": "V", "current": "A", "temperature": "degC", "energy": "kWh"}
)

READINGS: Final = tuple(Quantity)[:9]
"""The quantities that polling and events deliver; of the others, VRM in real time delivers most."""

RESERVED: Final = frozenset(
    {Quantity.CONSUMPTION_ENERGY, Quantity.BATTERY_CHARGE_ENERGY, Quantity.BATTERY_DISCHARGE_ENERGY}
)
"""Quantities that no vendor delivers."""


class Kind(enum.StrEnum):
    """The kind of an event."""

    READING = "reading"
    STATUS = "status"
    GAP = "gap"
    DROPPED = "dropped"
    ALARM = "alarm"


class State(enum.StrEnum):
    """The state of a source; every change is a status event."""

    CONNECTING = "connecting"
    LIVE = "live"
    BACKFILLING = "backfilling"
    STALE = "stale"
    DISCONNECTED = "disconnected"
    AUTH_FAILED = "auth_failed"
    FAILED = "failed"
    CLOSED = "closed"

    @property
    def terminal(self) -> bool:
        """Whether the source has ended."""
        return self in {State.AUTH_FAILED, State.FAILED, State.CLOSED}


UNIDENTIFIED: Final = "unidentified-"
"""Prefix of an account label until the vendor has answered whose account it is."""

_MAX_LABEL: Final = 64


def account_label(label: str | None) -> str | None:
    """Validate the label that a user chose for an account, and return it.

    Raises:
        TypeError: It is not a str.
        ValueError: It is empty, longer than 64 characters, contains a slash or an unprintable character, or
            begins with the reserved prefix.
    """
    if label is None:
        return None
    if not isinstance(label, str):
        raise TypeError(f"account must be a str, not {type(label).__name__}")
    # Slashes separate the parts of `str(SourceId)`.
    if not label.strip() or len(label) > _MAX_LABEL or "/" in label or not label.isprintable():
        raise ValueError(f"account must be 1 to {_MAX_LABEL} printable characters without a slash")
    if label.startswith(UNIDENTIFIED):
        raise ValueError(f"account must not begin with {UNIDENTIFIED!r}")
    return label


class SourceId(NamedTuple):
    """Identifies a device: vendor, account label (never a secret), site or product, instance."""

    vendor: str
    account: str
    site: str
    instance: int = 0

    @property
    def identified(self) -> bool:
        """Whether the account label is final."""
        return not self.account.startswith(UNIDENTIFIED)

    def is_like(self, other: SourceId) -> bool:
        """Return whether it differs by the account label at most: ids of sites and products are unique."""
        return (self.vendor, self.site, self.instance) == (other.vendor, other.site, other.instance)

    def __str__(self) -> str:
        return f"{self.vendor}/{self.account}/{self.site}/{self.instance}"


@frozen(kw_only=True)
class Status:
    """The detail of a status event: a change of state of a source or site."""

    state: State
    reason: str = ""
    """Why, for people."""
    retry_in: float | None = None
    """Seconds until the next attempt; None when there is none."""


@frozen(kw_only=True)
class Gap:
    """The detail of a gap event: a time span that could not be delivered."""

    start: datetime
    end: datetime
    reason: str
    """docs/events.md lists the reasons."""
    quantities: tuple[Quantity, ...] = ()
    """Only these are missing; empty: any may be."""


@frozen(kw_only=True)
class Dropped:
    """The detail of a dropped event: `count` readings were dropped, numbered from `first` to `last`."""

    first: int
    last: int
    count: int


@frozen(kw_only=True)
class AlarmChange:
    """The detail of an alarm event: an alarm was raised or cleared."""

    active: bool
    """True: it was raised. False: it was cleared."""
    alarm: str
    """Identifies the alarm across runs; the event that clears it has the same."""
    text: str
    """The vendor's description; VRM's is in the account's language."""
    device: str = ""
    """The vendor's name of the device; empty if it is not known."""
    instance: int | None = None
    """The device instance; None if it is not known."""
    started: datetime | None = None
    """When it was raised, by the vendor's record, aware; None if it is not known."""


Detail: TypeAlias = Status | Gap | Dropped | AlarmChange

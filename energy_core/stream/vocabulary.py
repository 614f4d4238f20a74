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
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from attrs import frozen


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


class Kind(enum.StrEnum):
    """What an event is about."""

    READING = "reading"
    STATUS = "status"
    GAP = "gap"
    DROPPED = "dropped"


class State(enum.StrEnum):
    """How a source is doing; a status event announces every change."""

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
"""What the label of an account begins with as long as the vendor has not said whose account it is."""

_LONGEST_LABEL: Final = 64


def account_label(label: str | None) -> str | None:
    """Check the label that a user chose for an account.

    Raises:
        TypeError: it is not a text.
        ValueError: it is empty, longer than 64 characters, or holds a slash or something unprintable.
    """
    if label is None:
        return None
    if not isinstance(label, str):
        raise TypeError(f"account must be a str, not {type(label).__name__}")
    if not label.strip() or len(label) > _LONGEST_LABEL or "/" in label or not label.isprintable():
        raise ValueError(f"account must be 1 to {_LONGEST_LABEL} printable characters without a slash")
    if label.startswith(UNIDENTIFIED):
        raise ValueError(f"account must not begin with {UNIDENTIFIED!r}")
    return label


class SourceId(NamedTuple):
    """Where an event comes from: vendor, account label (never a secret), site or product, device instance."""

    vendor: str
    account: str
    site: str
    instance: int = 0

    @property
    def identified(self) -> bool:
        """Whether the account's label is known."""
        return not self.account.startswith(UNIDENTIFIED)

    def is_like(self, other: SourceId) -> bool:
        """Whether it is the same but for the account's label: ids of sites and products are unique."""
        return (self.vendor, self.site, self.instance) == (other.vendor, other.site, other.instance)

    def __str__(self) -> str:
        return f"{self.vendor}/{self.account}/{self.site}/{self.instance}"


@frozen(kw_only=True)
class Status:
    """The detail of a status event."""

    state: State
    reason: str = ""
    retry_in: float | None = None
    """Seconds until the source tries again, where it will."""


@frozen(kw_only=True)
class Gap:
    """The detail of a gap event: a stretch of time that could not be delivered."""

    start: datetime
    end: datetime
    reason: str
    quantities: tuple[Quantity, ...] = ()
    """Only these are missing; empty: anything may be."""


@frozen(kw_only=True)
class Dropped:
    """The detail of a dropped event: `count` readings from `first` to `last` (their seq) were dropped."""

    first: int
    last: int
    count: int


Detail: TypeAlias = Status | Gap | Dropped

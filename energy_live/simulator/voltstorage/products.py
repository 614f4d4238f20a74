"""VoltStorage's products: the record in the list, and the values of exports and events.

The record has the members of the document's example.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Final

from attrs import frozen

from energy_live.simulator.household.household import Household, MeterValues
from energy_live.simulator.vrm.serializers import Json

TYPE: Final[Json] = {
    "id": 6,
    "name": "VoltStorage SMART",
    "startOfProduction": "2018-08-20",
    "baseType": "storage",
}


@frozen(kw_only=True)
class Product:
    """A battery that measures its household."""

    id: int
    serial: str
    owner: int
    owner_name: str
    owner_email: str
    group: int
    household: Household
    manufactured: str
    installed: str | None
    offline_since: float | None = None
    """Unix seconds of the last value, if the product is offline."""

    @property
    def component(self) -> int:
        """Number of the product's only component."""
        return self.id * 10 + 1

    @property
    def first_at(self) -> float:
        """Unix seconds of the first value; infinite for a product that was never installed."""
        if self.installed is None:
            return math.inf
        return self.household.midnight(date.fromisoformat(self.installed))

    def has_data_at(self, moment: float) -> bool:
        """Return whether the product has a value at a time (Unix seconds)."""
        return self.first_at <= moment and (self.offline_since is None or moment <= self.offline_since)

    def last_at(self, now: float) -> float:
        """Return the last second with a value, at the time `now` (both in Unix seconds)."""
        return math.floor(now if self.offline_since is None else min(now, self.offline_since))

    def record(self) -> Json:
        """Return the product's record in the list of products."""
        online = self.installed is not None and self.offline_since is None
        owner: Json = {"id": self.owner, "name": self.owner_name, "email": self.owner_email, "demo": False}
        group: Json = {
            "id": self.group,
            "ownerId": self.owner,
            "name": "Elm Street",
            "latitude": None,
            "longitude": None,
            "owner": owner,
        }
        return {
            "id": self.id,
            "ownerName": None if self.installed is None else self.owner_name,
            "serialNumber": self.serial,
            "hardwareVersion": "5.4",
            "manufacturingDate": self.manufactured,
            "installationDate": self.installed,
            "timezone": self.household.config.timezone,
            "createdAt": f"{self.manufactured}T08:24:43.357Z",
            "updatedAt": "2024-03-23T10:18:37.065Z",
            "typeId": TYPE["id"],
            "groupId": self.group,
            "type": TYPE,
            "group": group,
            "errors": [] if online else ["connectionLost"],
            "online": online,
        }


def event_fields(at: MeterValues) -> dict[str, float]:
    """Return the values of a product event. Only the names `pvPower` and `dcVoltage` are documented."""
    return {
        "pvPower": at.pv_w,
        "gridPower": at.grid_w,
        "consumption": at.consumption_w,
        "batteryPower": -at.battery_w,
        "soc": at.soc,
        "dcVoltage": at.voltage_v,
        "dcCurrent": -at.current_a,
        "batteryTemperature": at.temperature_c,
    }


EXPORTED: Final = (
    *("Power_Grid", "Power_Household", "inverterPower", "Power_PV", "Power_Power Electronics"),
    *("SOC_State of Charge", "Status"),
)
"""Columns of an export; `Status` exists since 2021 [guess]."""
STATUS_SINCE: Final = 1_609_459_200


def export_values(at: MeterValues) -> tuple[float, ...]:
    """Return the values of all columns of an export."""
    return exported(at.consumption_w, at.pv_w, at.battery_w, at.soc)


def exported(load: float, pv: float, battery: float, soc: float) -> tuple[float, ...]:
    """Return the values of all columns; `Power_Power Electronics` is negative while charging."""
    discharge = 0.0 - battery
    status = 0.0 if discharge == 0.0 else (1.0 if discharge < 0.0 else 2.0)
    return load - pv + battery, load, discharge, pv, discharge, soc, status


@frozen(kw_only=True)
class ProductFilter:
    """Filter of the list of products; None matches every product."""

    text: str | None = None
    group: int | None = None
    owner: int | None = None
    installed: bool | None = None
    ids: frozenset[int] = frozenset()

    def matches(self, product: Product) -> bool:
        """Return whether a product matches every condition."""
        words = f"{product.id} {product.serial} {product.manufactured} {TYPE['name']}".lower()
        return (
            (self.text is None or self.text.lower() in words)
            and self.group in {None, product.group}
            and self.owner in {None, product.owner}
            and self.installed in {None, product.installed is not None}
            and (not self.ids or product.id in self.ids)
        )


def ordered(records: list[Json], keys: Sequence[str]) -> list[Json]:
    """Sort records by several members; a leading `-` means descending. Records without a value come last."""
    for key in reversed(keys):
        name = key.removeprefix("-")
        has = [record for record in records if record[name] is not None]
        lacks = [record for record in records if record[name] is None]
        records = (
            sorted(has, key=lambda record: str(record[name]).rjust(30), reverse=key.startswith("-")) + lacks
        )
    return records

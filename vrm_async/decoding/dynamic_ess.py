"""How VRM spells Dynamic ESS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from energy_core.codec.coerce import is_nothing
from energy_core.codec.json import JSON
from energy_core.codec.structure import model, records
from energy_core.errors import DecodeError
from vrm_async.decoding.php import items
from vrm_async.models.dynamic_ess import DynamicEssPlan, DynamicEssSettings, PriceSchedule, PriceSpan
from vrm_async.responses import content, done

WRITTEN: Final[Mapping[str, str]] = {
    "is_on": "isOn",
    "battery_capacity_kwh": "batteryCapacity",
    "battery_costs": "batteryCosts",
    "battery_price": "batteryPrice",
    "battery_flow_restriction": "batteryFlowRestriction",
    "charge_power_kw": "chargePower",
    "discharge_power_kw": "dischargePower",
    "max_from_grid_kw": "maxPowerFromGrid",
    "max_to_grid_kw": "maxPowerToGrid",
    "grid_sell": "gridSell",
    "buy_price_type": "buyPriceType",
    "buy_price_formula": "buyPriceFormula",
    "buy_price_schedule": "buyPriceSchedule",
    "buy_energy_provider_id": "buyEnergyProviderId",
    "sell_price_type": "sellPriceType",
    "sell_price_formula": "sellPriceFormula",
    "sell_price_schedule": "sellPriceSchedule",
    "sell_energy_provider_id": "sellEnergyProviderId",
    "bidding_zone_id": "idBiddingZone",
    "is_green_mode_on": "isGreenModeOn",
    "is_soc_different": "isDessSocDifferent",
    "is_periodic_full_charge_on": "isPeriodicFullChargeOn",
    "periodic_full_charge_duration_h": "periodicFullChargeDuration",
    "periodic_full_charge_interval_days": "periodicFullChargeInterval",
}
"""The members VRM documents, by the name of the field."""
UNDOCUMENTED: Final[Mapping[str, str]] = {"mode": "mode", "operating_mode": "operatingMode"}
_TOLD: Final = {
    "site_id": "idSite",
    "bidding_zone_code": "biddingZoneCode",
    "created_on": "createdOn",
    "updated_on": "updatedOn",
}

_spans = records(model(PriceSpan, wire={"start": "from", "end": "to"}), "PriceSpan")
_schedules = records(
    model(PriceSchedule, wire={"spans": "schedule"}, read={"spans": _spans}), "PriceSchedule"
)
_settings = model(
    DynamicEssSettings,
    wire={**WRITTEN, **UNDOCUMENTED, **_TOLD},
    read={"buy_price_schedule": _schedules, "sell_price_schedule": _schedules},
)


def settings(payload: JSON) -> DynamicEssSettings:
    """Read the settings, which are in `data`."""
    found = content(payload, "data", *WRITTEN.values())
    data = found.get("data", found)
    if not isinstance(data, Mapping) or is_nothing(data):
        raise DecodeError("the answer has no settings", kind="envelope")
    return _settings(data)


def saved(payload: JSON) -> DynamicEssSettings | None:
    """Read what a write says is in force now, where it says it."""
    done(payload)
    data = content(payload).get("data")
    return _settings(data) if isinstance(data, Mapping) and data else None


def plan(payload: JSON) -> DynamicEssPlan:
    """Read the plan, whose records may be in several places."""
    found = content(payload)
    listed = next((found[key] for key in ("records", "schedule", "data") if key in found), None)
    entries = tuple(item for item in items(listed) if isinstance(item, Mapping))
    return DynamicEssPlan(entries=entries, raw=found)


def member(name: str, value: object) -> JSON:
    """Return a field's value as VRM wants it."""
    if name == "grid_sell":
        return int(bool(value))  # the one switch that VRM counts
    if name.endswith("_schedule") and isinstance(value, Sequence):
        return [_schedule(each) for each in value]
    return value  # type: ignore[return-value]  # checked by the caller to be a plain number, text or bool


def _schedule(one: PriceSchedule) -> JSON:
    days: list[JSON] = list(one.days)
    spans: list[JSON] = [{"from": span.start, "to": span.end, "price": span.price} for span in one.spans]
    return {"days": days, "schedule": spans}

"""Dynamic ESS: planning the battery by energy prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from energy_core.checks import finite
from energy_core.codec.coerce import is_nothing
from energy_core.codec.json import JSON
from energy_core.codec.structure import model, records
from energy_core.errors import AnswerError, DecodeError, NoData
from energy_core.http.client import ApiClient
from vrm_async import validation
from vrm_async.decoding.php import items
from vrm_async.models.dynamic_ess import DynamicEssPlan, DynamicEssSettings, PriceSchedule, PriceSpan
from vrm_async.models.site import Site
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import content, done

_PATH: Final = f"{SITE}/dynamic-ess-settings"
GET: Final = reads("dynamic_ess.get", _PATH)
SAVE: Final = writes("dynamic_ess.save", "POST", _PATH)
CHANGE: Final = writes("dynamic_ess.change", "PATCH", _PATH)
PLAN: Final = reads("dynamic_ess.plan", f"{SITE}/schedule-dynamic-ess")

FLOW_RESTRICTIONS: Final = ("unrestricted", "noExport", "noImport")
"""Values of `battery_flow_restriction`."""
PRICE_TYPES: Final = (0, 1)
"""Values of `buy_price_type` and `sell_price_type`: 0 a schedule, 1 the market's price."""

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
"""The members that VRM documents, by the field of `DynamicEssSettings`."""
UNDOCUMENTED: Final[Mapping[str, str]] = {"mode": "mode", "operating_mode": "operatingMode"}
"""Members that VRM's other clients send."""
_READ_ONLY: Final = {
    "site_id": "idSite",
    "bidding_zone_code": "biddingZoneCode",
    "created_on": "createdOn",
    "updated_on": "updatedOn",
}
_NOTHING: Final[Mapping[str, JSON]] = {}


class DynamicEss:
    """The Dynamic ESS of a site; `client.dynamic_ess`."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def get(self, site: Site | int) -> DynamicEssSettings:
        """Return the settings of a site. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/dynamic-ess-settings/get

        Raises:
            NoData: Dynamic ESS was never set up at this site.
        """
        try:
            return await self._api.call(GET, read_settings, idSite=validation.site_id(site))
        except AnswerError as error:
            refusal = error
        # Of a site without settings: status 200, no error_code, a text in the account's language.
        if type(refusal) is AnswerError and refusal.status == 200 and refusal.error_code is None:
            raise refusal.as_kind(NoData, f"Dynamic ESS has no settings at this site ({refusal.message})")
        raise refusal

    async def save(
        self, site: Site | int, settings: DynamicEssSettings, *, raw: Mapping[str, JSON] = _NOTHING
    ) -> DynamicEssSettings | None:
        """Write the settings that are not None; return VRM's new settings, or None where it sends none.

        VRM requires nearly all of them: read them with `get`, change them with `attrs.evolve`, save them.
        Fields that no document names are not written. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/dynamic-ess-settings/post

        Args:
            site: The site or its id.
            settings: The whole configuration.
            raw: Further members of the body, sent as they are.
        """
        body = {**_body(settings), **raw}
        if not body:
            raise ValueError("settings must not be empty")
        return await self._api.call(SAVE, read_saved, json=body, idSite=validation.site_id(site))

    async def change(
        self, site: Site | int, settings: DynamicEssSettings, *, raw: Mapping[str, JSON] = _NOTHING
    ) -> DynamicEssSettings | None:
        """Write only the settings that are not None, `mode` and `operating_mode` among them. Sent once.

        Experimental: VRM's other clients send this PATCH, no document names it. Arguments and result are
        those of `save`.
        """
        body = {**_body(settings, {**WRITTEN, **UNDOCUMENTED}), **raw}
        if not body:
            raise ValueError("settings must not be empty")
        return await self._api.call(CHANGE, read_saved, json=body, idSite=validation.site_id(site))

    async def plan(self, site: Site | int) -> DynamicEssPlan:
        """Return the planned schedule of a site. Cancelling is safe.

        Experimental: VRM's own pages request it, no document names it.
        """
        return await self._api.call(PLAN, read_plan, query=[("async", "0")], idSite=validation.site_id(site))


def _body(settings: DynamicEssSettings, members: Mapping[str, str] = WRITTEN) -> dict[str, JSON]:
    if not isinstance(settings, DynamicEssSettings):
        raise TypeError(f"settings must be DynamicEssSettings, not {type(settings).__name__}")
    if settings.battery_flow_restriction is not None:
        validation.one_of("battery_flow_restriction", settings.battery_flow_restriction, FLOW_RESTRICTIONS)
    for name in ("buy_price_type", "sell_price_type"):
        kind = getattr(settings, name)
        if kind is not None and (isinstance(kind, bool) or kind not in PRICE_TYPES):
            raise ValueError(f"{name} must be 0 (a schedule) or 1 (the market's price), not {kind!r}")
    given = {name: getattr(settings, name) for name in members}
    for name, value in given.items():
        _check(name, value)
    return {members[name]: _member(name, value) for name, value in given.items() if value is not None}


def _check(name: str, value: object) -> None:
    if name.endswith("_schedule") and value is not None:
        if not isinstance(value, tuple) or not all(isinstance(each, PriceSchedule) for each in value):
            raise TypeError(f"{name} must be a tuple of PriceSchedule")
    elif isinstance(value, int | float):
        finite(name, float(value))
    elif value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a number, a bool or a str, not {type(value).__name__}")


def _member(name: str, value: object) -> JSON:
    """Return a field's value as VRM wants it."""
    if name == "grid_sell":
        return int(bool(value))  # VRM takes a bool for the other switches, and a number here
    if name.endswith("_schedule") and isinstance(value, Sequence):
        return [_schedule(each) for each in value]
    return value  # type: ignore[return-value]  # `_check` accepts only plain numbers, texts and bools


def _schedule(one: PriceSchedule) -> JSON:
    days: list[JSON] = list(one.days)
    spans: list[JSON] = [{"from": span.start, "to": span.end, "price": span.price} for span in one.spans]
    return {"days": days, "schedule": spans}


_spans = records(model(PriceSpan, wire={"start": "from", "end": "to"}), "PriceSpan")
_schedules = records(
    model(PriceSchedule, wire={"spans": "schedule"}, read={"spans": _spans}), "PriceSchedule"
)
_settings = model(
    DynamicEssSettings,
    wire={**WRITTEN, **UNDOCUMENTED, **_READ_ONLY},
    read={"buy_price_schedule": _schedules, "sell_price_schedule": _schedules},
)


def read_settings(payload: JSON) -> DynamicEssSettings:
    """Read the settings, which are in `data`."""
    # Accept the settings at the top level, too.
    found = content(payload, "data", *WRITTEN.values())
    data = found.get("data", found)
    if not isinstance(data, Mapping) or is_nothing(data):
        raise DecodeError("the answer has no settings", kind="envelope")
    return _settings(data)


def read_saved(payload: JSON) -> DynamicEssSettings | None:
    """Read the settings in the answer of a write; None where it has none."""
    done(payload)
    data = content(payload).get("data")
    return _settings(data) if isinstance(data, Mapping) and data else None


def read_plan(payload: JSON) -> DynamicEssPlan:
    """Read the plan, whose records are in one of several members."""
    found = content(payload)
    listed = next((found[key] for key in ("records", "schedule", "data") if key in found), None)
    entries = tuple(item for item in items(listed) if isinstance(item, Mapping))
    return DynamicEssPlan(entries=entries, raw=found)

"""Forecasts of sun and consumption; the forecasts themselves are `stats.get(type="forecast")`, in Wh."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from energy_core.codec.json import JSON
from energy_core.http.client import ApiClient
from vrm_async import validation
from vrm_async.decoding import fleet
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import done

LAST_RESET: Final = reads("forecasts.last_reset", f"{SITE}/reset-forecasts")
RESET: Final = writes("forecasts.reset", "POST", f"{SITE}/reset-forecasts")
ADJUST: Final = writes("forecasts.adjust_consumption", "POST", f"{SITE}/adjust-consumption")

_HOUR_S: Final = 3600
_AS_FORECAST: Final = -1
"""What takes an adjustment back."""

Adjustments = Mapping[datetime, float | None]
"""Wh by the hour that begins then; None takes the adjustment of that hour back."""


class Forecasts:
    """What VRM learns a site by."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def last_reset(self, site_id: int, *, reset_type: int | None = None) -> datetime | None:
        """Return when the forecasts were last reset, or None for never.

        VRM's document knows no `reset_type` here, while the service may answer ``missing_parameters`` without
        one (`BadRequest`).

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/reset-forecasts/get
        """
        query = [] if reset_type is None else [("resetType", str(validation.whole("reset_type", reset_type)))]
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(LAST_RESET, fleet.last_reset, query=query, idSite=site_id)

    async def reset(self, site_id: int, reset_type: int) -> None:
        """Have the forecasts ignore everything before now, as if the site were new.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/reset-forecasts/post

        Args:
            site_id: The site.
            reset_type: VRM's number of what to reset; its document does not list them.
        """
        body: JSON = {"resetType": validation.whole("reset_type", reset_type)}
        await self._api.call(RESET, done, json=body, idSite=validation.whole("site_id", site_id))

    async def adjust_consumption(
        self,
        site_id: int,
        *,
        household: Adjustments | None = None,
        ev_chargers: Adjustments | None = None,
        heat_pumps: Adjustments | None = None,
    ) -> None:
        """Tell VRM what will be consumed in some hours. Experimental: no document names it.

        Args:
            site_id: The site.
            household: Wh by full hour, as vrm_consumption_fc_adj.
            ev_chargers: Wh by full hour, as vrm_consum_evcs_fc_adj.
            heat_pumps: Wh by full hour, as vrm_consum_hp_fc_adj.
        """
        given = {
            "vrm_consumption_fc_adj": household,
            "vrm_consum_evcs_fc_adj": ev_chargers,
            "vrm_consum_hp_fc_adj": heat_pumps,
        }
        body: dict[str, JSON] = {name: _entries(hours) for name, hours in given.items() if hours is not None}
        if not body:
            raise ValueError("nothing to adjust: pass household, ev_chargers or heat_pumps")
        await self._api.call(ADJUST, done, json=body, idSite=validation.whole("site_id", site_id))


def _entries(hours: Adjustments) -> list[JSON]:
    if not isinstance(hours, Mapping):
        raise TypeError(f"adjustments must be a mapping of hour to Wh, not {type(hours).__name__}")
    return [_entry(hour, energy_wh) for hour, energy_wh in hours.items()]


def _entry(hour: datetime, energy_wh: float | None) -> JSON:
    stamp = validation.moment_s("hour", hour)
    if stamp % _HOUR_S:
        raise ValueError(f"an adjustment begins at a full hour: {hour.isoformat()}")
    if energy_wh is None:
        return {"timestamp": stamp, "value": _AS_FORECAST}
    if validation.finite("energy_wh", energy_wh) < 0:
        raise ValueError(f"energy_wh must not be negative, None takes an adjustment back: {energy_wh}")
    return {"timestamp": stamp, "value": energy_wh}

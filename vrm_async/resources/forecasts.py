"""Settings of VRM's forecasts. The forecasts themselves are `stats.get(type="forecast")`, in Wh."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from energy_core.checks import finite, whole
from energy_core.codec.coerce import is_nothing, number, seconds
from energy_core.codec.drift import report
from energy_core.codec.json import JSON
from energy_core.http.client import ApiClient
from vrm_async import validation
from vrm_async.models.site import Site
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import done, part

LAST_RESET: Final = reads("forecasts.last_reset", f"{SITE}/reset-forecasts")
RESET: Final = writes("forecasts.reset", "POST", f"{SITE}/reset-forecasts")
ADJUST: Final = writes("forecasts.adjust_consumption", "POST", f"{SITE}/adjust-consumption")

_HOUR_S: Final = 3600
_AS_FORECAST: Final = -1
"""VRM's value for an hour without an adjustment."""

Adjustments = Mapping[datetime, float | None]
"""Wh by the start of the hour; None removes the adjustment of that hour."""


class Forecasts:
    """The forecasts of solar production and consumption; `client.forecasts`."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def last_reset(self, site: Site | int, *, reset_type: int | None = None) -> datetime | None:
        """Return when the forecasts were last reset, in UTC, or None for never. Cancelling is safe.

        VRM's document has no `reset_type` here, but the service may answer ``missing_parameters`` without
        one (`BadRequest`).

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/reset-forecasts/get
        """
        query = [] if reset_type is None else [("resetType", str(whole("reset_type", reset_type)))]
        return await self._api.call(LAST_RESET, read_last_reset, query=query, idSite=validation.site_id(site))

    async def reset(self, site: Site | int, reset_type: int) -> None:
        """Make the forecasts ignore all data before now. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/reset-forecasts/post

        Args:
            site: The site or its id.
            reset_type: VRM's number of a forecast; its document does not list them.
        """
        body: JSON = {"resetType": whole("reset_type", reset_type)}
        await self._api.call(RESET, done, json=body, idSite=validation.site_id(site))

    async def adjust_consumption(
        self,
        site: Site | int,
        *,
        household: Adjustments | None = None,
        ev_chargers: Adjustments | None = None,
        heat_pumps: Adjustments | None = None,
    ) -> None:
        """Replace the forecast consumption of some hours. Sent once.

        Experimental: VRM's own pages send it, no document names it.

        Args:
            site: The site or its id.
            household: Wh by full hour, sent as vrm_consumption_fc_adj.
            ev_chargers: Wh by full hour, sent as vrm_consum_evcs_fc_adj.
            heat_pumps: Wh by full hour, sent as vrm_consum_hp_fc_adj.
        """
        given = {
            "vrm_consumption_fc_adj": household,
            "vrm_consum_evcs_fc_adj": ev_chargers,
            "vrm_consum_hp_fc_adj": heat_pumps,
        }
        body: dict[str, JSON] = {name: _entries(hours) for name, hours in given.items() if hours is not None}
        if not body:
            raise ValueError("nothing to adjust: pass household, ev_chargers or heat_pumps")
        await self._api.call(ADJUST, done, json=body, idSite=validation.site_id(site))


def _entries(hours: Adjustments) -> list[JSON]:
    if not isinstance(hours, Mapping):
        raise TypeError(f"adjustments must be a mapping of hour to Wh, not {type(hours).__name__}")
    return [_entry(hour, energy_wh) for hour, energy_wh in hours.items()]


def _entry(hour: datetime, energy_wh: float | None) -> JSON:
    stamp = validation.unix_s("hour", hour)
    # Adjustments are by full hour of UTC.
    if stamp % _HOUR_S:
        raise ValueError(f"an adjustment begins at a full hour: {hour.isoformat()}")
    if energy_wh is None:
        return {"timestamp": stamp, "value": _AS_FORECAST}
    if finite("energy_wh", energy_wh) < 0:
        raise ValueError(f"energy_wh must not be negative; None removes an adjustment: {energy_wh}")
    return {"timestamp": stamp, "value": energy_wh}


def read_last_reset(payload: JSON) -> datetime | None:
    """Read the time of the last reset; 0 is never."""
    value = part(payload, "last_reset")
    moment = seconds(value)
    if moment is None and not is_nothing(value):
        report("Forecasts", "last_reset", "not a time")
    return None if number(value) == 0 else moment

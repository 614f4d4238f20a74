"""VRM: settings of Dynamic ESS, its plan, and forecasts.

The settings are those of the OpenAPI document; the plan and the consumption adjustment are guesses.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from energy_live.simulator.clock import Timeline
from energy_live.simulator.server import Handler
from energy_live.simulator.vrm.installations import SITE, Installations
from energy_live.simulator.vrm.request_checks import (
    BOOLEAN,
    INTEGER,
    LIST,
    NUMBER,
    OBJECT,
    STRING,
    VrmRefusal,
    answer,
    body,
    checked,
    list_of,
    one_of,
    required_integer,
    uncoded,
)
from energy_live.simulator.vrm.serializers import Json
from energy_live.simulator.vrm.sites import Site

_REQUIRED: Final = {
    "batteryCapacity": NUMBER,
    "batteryCosts": NUMBER,
    "batteryFlowRestriction": STRING,
    "buyPriceType": NUMBER,
    "chargePower": NUMBER,
    "dischargePower": NUMBER,
    "gridSell": NUMBER,
    "isOn": BOOLEAN,
    "maxPowerFromGrid": NUMBER,
    "maxPowerToGrid": NUMBER,
    "sellPriceType": NUMBER,
}
_OPTIONAL: Final = {
    "batteryPrice": NUMBER,
    "buyEnergyProviderId": NUMBER,
    "buyPriceFormula": STRING,
    "buyPriceSchedule": LIST,
    "idBiddingZone": NUMBER,
    "isDessSocDifferent": BOOLEAN,
    "isGreenModeOn": BOOLEAN,
    "sellEnergyProviderId": NUMBER,
    "sellPriceFormula": STRING,
    "sellPriceSchedule": LIST,
    "isPeriodicFullChargeOn": BOOLEAN,
    "periodicFullChargeDuration": (int, float, type(None)),
    "periodicFullChargeInterval": (int, float, type(None)),
}
_SPAN: Final = {"from": STRING, "to": STRING, "price": (int, float, str)}
_UNDOCUMENTED: Final = {"mode": INTEGER, "operatingMode": INTEGER}
_ADJUSTED: Final = ("vrm_consumption_fc_adj", "vrm_consum_evcs_fc_adj", "vrm_consum_hp_fc_adj")
_HOUR_S: Final = 3600


class DynamicEss:
    """Handlers; a site has no settings until they are saved."""

    def __init__(self, timeline: Timeline, installations: Installations) -> None:
        self._timeline = timeline
        self._installations = installations
        self._settings: dict[int, Json] = {}
        self._resets: dict[tuple[int, int], int] = {}

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each endpoint."""
        return [
            ("GET", f"{SITE}/dynamic-ess-settings", self._get),
            ("POST", f"{SITE}/dynamic-ess-settings", self._save),
            ("PATCH", f"{SITE}/dynamic-ess-settings", self._change),
            ("GET", f"{SITE}/schedule-dynamic-ess", self._plan),
            ("GET", f"{SITE}/reset-forecasts", self._last_reset),
            ("POST", f"{SITE}/reset-forecasts", self._reset),
            ("POST", f"{SITE}/adjust-consumption", self._adjust),
        ]

    def _of(self, site: Site) -> Json:
        if site.id not in self._settings:
            # VRM's error has no error_code here.
            raise uncoded(200, errors=["No settings found for this site"])
        return self._settings[site.id]

    async def _get(self, request: web.Request) -> web.Response:
        site = self._installations.site(request)
        return answer({"success": True, "idSite": site.id, "data": self._of(site)})

    async def _save(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        sent = checked(await body(request), required=_REQUIRED, optional=_OPTIONAL)
        return self._stored(site, {"mode": 1, "operatingMode": 0, **self._settings.get(site.id, {})}, sent)

    async def _change(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        kinds = {**_REQUIRED, **_OPTIONAL, **_UNDOCUMENTED}
        return self._stored(site, self._of(site), checked(await body(request), optional=kinds))

    def _stored(self, site: Site, before: Json, sent: Json) -> web.Response:
        for name, allowed in (
            ("batteryFlowRestriction", ("unrestricted", "noExport", "noImport")),
            ("buyPriceType", (0, 1)),
            ("sellPriceType", (0, 1)),
            ("gridSell", (0, 1)),
        ):
            if name in sent:
                one_of(name, sent[name], allowed)
        for name in ("buyPriceSchedule", "sellPriceSchedule"):
            for days in list_of(name, sent.get(name, []), OBJECT):
                listed = checked(dict(days), required={"days": LIST, "schedule": LIST})  # type: ignore[call-overload]
                list_of(name, listed["days"], NUMBER)
                for span in list_of(name, listed["schedule"], OBJECT):
                    checked(dict(span), required=_SPAN)  # type: ignore[call-overload]
        stamp = datetime.fromtimestamp(self._timeline.now(), UTC).strftime("%Y-%m-%d %H:%M:%S")
        created = before.get("createdOn", stamp)
        self._settings[site.id] = {
            **before,
            **sent,
            "idSite": site.id,
            "createdOn": created,
            "updatedOn": stamp,
        }
        return answer({"success": True, "idSite": site.id, "data": self._settings[site.id]})

    async def _plan(self, request: web.Request) -> web.Response:
        site = self._installations.site(request)
        self._of(site)
        begin = int(self._timeline.now() // _HOUR_S) * _HOUR_S
        hours = [
            {"start": begin + hour * _HOUR_S, "duration": _HOUR_S, "soc": 40 + 5 * (hour % 8), "feed_in": 1}
            for hour in range(24)
        ]
        return answer({"success": True, "schedule": hours})

    async def _last_reset(self, request: web.Request) -> web.Response:
        site = self._installations.site(request)
        # The OpenAPI document has no parameter here; a captured answer requires it.
        kind = required_integer(request, "resetType")
        return answer({"success": True, "last_reset": self._resets.get((site.id, kind), 0)})

    async def _reset(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        sent = await body(request)
        if type(sent.get("resetType")) not in NUMBER:
            raise uncoded(400)
        self._resets[site.id, int(str(sent["resetType"]))] = int(self._timeline.now())
        return answer({"success": True})

    async def _adjust(self, request: web.Request) -> web.Response:
        self._installations.site(request, demo=False)
        sent = checked(await body(request), optional=dict.fromkeys(_ADJUSTED, LIST))
        for name, hours in sent.items():
            for hour in list_of(name, hours, OBJECT):
                entry = checked(dict(hour), required={"timestamp": INTEGER, "value": NUMBER})  # type: ignore[call-overload]
                if int(str(entry["timestamp"])) % _HOUR_S:
                    raise VrmRefusal(422, "invalid_parameters", {name: "The timestamp is no full hour."})
        return answer({"success": True})

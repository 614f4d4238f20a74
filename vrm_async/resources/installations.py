"""One site: its devices and the newest log of everything they measure."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Final

from energy_core.codec.json import JSON
from energy_core.errors import NoData
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation
from vrm_async import validation
from vrm_async.decoding import attributes, sites
from vrm_async.models.attribute import Diagnostic
from vrm_async.models.site import SystemOverview
from vrm_async.operations import SITE, Paging, writes
from vrm_async.responses import done

SYSTEM_OVERVIEW: Final = Operation(
    vendor="vrm",
    name="installations.system_overview",
    method="GET",
    path="installations/{idSite}/system-overview",
    repeatable=True,
)
DIAGNOSTICS: Final = Operation(
    vendor="vrm",
    name="installations.diagnostics",
    method="GET",
    path="installations/{idSite}/diagnostics",
    repeatable=True,
)
UPDATE_SETTINGS: Final = writes("installations.update_settings", "POST", f"{SITE}/settings")
SET_FAVORITE: Final = writes("installations.set_favorite", "POST", f"{SITE}/favorite")
LARGEST_PAGE: Final = 1000
_NOTHING: Final[Mapping[str, JSON]] = {}


class Installations:
    """What belongs to one site."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def system_overview(self, site_id: int) -> SystemOverview:
        """Return the site's devices, with the instances that widgets ask for.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/system-overview
        """
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(SYSTEM_OVERVIEW, sites.system_overview, idSite=site_id)

    def diagnostics(self, site_id: int, *, count: int = LARGEST_PAGE) -> Diagnostics:
        """Iterate over the newest log of every attribute, page after page. Needs full access to the site.

        Pages are read until one is empty or brings nothing new: VRM may give fewer records than `count`.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/diagnostics

        Args:
            site_id: The site.
            count: Records a page, at most 1,000.
        """
        if not 1 <= validation.whole("count", count) <= LARGEST_PAGE:
            raise ValueError(f"count must be from 1 to {LARGEST_PAGE}: {count}")
        return Diagnostics(self._api, validation.whole("site_id", site_id), count)

    async def set_favorite(self, site_id: int, favorite: bool = True) -> None:
        """Mark a site for this account, or take the mark away.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/favorite
        """
        body: JSON = {"favorite": int(validation.switch("favorite", favorite))}
        await self._api.call(SET_FAVORITE, done, json=body, idSite=validation.whole("site_id", site_id))

    async def update_settings(
        self,
        site_id: int,
        *,
        name: str | None = None,
        notes: str | None = None,
        phone_number: str | None = None,
        no_data_alarm_timeout_s: int | None = None,
        no_data_alarm_active: bool | None = None,
        geofence: Mapping[str, JSON] | None = None,
        geofence_enabled: bool | None = None,
        alarm_monitoring: bool | int | None = None,
        realtime_updates: bool | None = None,
        restrict_node_red: bool | None = None,
        inverter_charger_control: bool | None = None,
        favorite: bool | None = None,
        raw: Mapping[str, JSON] = _NOTHING,
    ) -> None:
        """Change the settings that are given, and leave the rest as they are.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/settings

        Args:
            site_id: The site.
            name: The owner's name for it, in VRM's words its description.
            notes: Free text.
            phone_number: A contact's number.
            no_data_alarm_timeout_s: Seconds of silence until VRM alarms.
            no_data_alarm_active: Whether silence raises an alarm.
            geofence: The fence's shape, as `Site.geofence` has it.
            geofence_enabled: Whether leaving the fence raises an alarm.
            alarm_monitoring: Whether alarms are mailed. VRM's document writes a bool and reads 0 (nothing), 1
                (alarms) or 2 (alarms and warnings): 0 and 1 are sent as a bool, 2 as it is.
            realtime_updates: Whether the device publishes over MQTT.
            restrict_node_red: Whether the gateway's Node-RED may not be reached from outside.
            inverter_charger_control: Whether the inverter may be controlled remotely.
            favorite: Whether the account marks the site.
            raw: Further members of the body, sent as they are.
        """
        texts = {"description": name, "notes": notes, "phonenumber": phone_number}
        switches = {
            "noDataAlarmActive": no_data_alarm_active,
            "geofenceEnabled": geofence_enabled,
            "realtimeUpdates": realtime_updates,
            "restrictNodeRed": restrict_node_red,
            "inverterChargerControl": inverter_charger_control,
        }
        body: dict[str, JSON] = {
            **{key: validation.words(key, value) for key, value in texts.items() if value is not None},
            **{key: validation.switch(key, value) for key, value in switches.items() if value is not None},
        }
        if no_data_alarm_timeout_s is not None:
            body["noDataAlarmTimeout"] = validation.whole("noDataAlarmTimeout", no_data_alarm_timeout_s)
        if alarm_monitoring is not None:
            body["alarmMonitoring"] = _monitoring(alarm_monitoring)
        if favorite is not None:
            body["favorite"] = int(validation.switch("favorite", favorite))
        if geofence is not None:
            body["geofence"] = validation.members("geofence", geofence)
        body.update(raw)
        if not body:
            raise ValueError("nothing to change: pass at least one setting")
        await self._api.call(UPDATE_SETTINGS, done, json=body, idSite=validation.whole("site_id", site_id))


def _monitoring(level: bool | int) -> JSON:
    if isinstance(level, bool):
        return level
    return bool(level) if validation.whole("alarmMonitoring", level) in {0, 1} else level


class Diagnostics:
    """An async iterator over all records. A cancelled step loses nothing: it asks for the same page again."""

    def __init__(self, api: ApiClient, site_id: int, count: int) -> None:
        self._api = api
        self._site_id = site_id
        self._count = count
        self._paging = Paging("Diagnostics", _identity, api.drift)
        self._ready: deque[Diagnostic] = deque()
        self._turn = asyncio.Lock()  # two tasks on one iterator share its records instead of doubling them

    def __aiter__(self) -> Diagnostics:
        return self

    async def __anext__(self) -> Diagnostic:
        async with self._turn:
            while not self._ready:
                if self._paging.ended:
                    raise StopAsyncIteration
                page = await self._page()
                self._ready.extend(
                    self._paging.take(page.records, size=page.size, announced=page.total, unread=page.raw)
                )
            return self._ready.popleft()

    async def _page(self) -> attributes.DiagnosticsPage:
        query = [("count", str(self._count)), ("page", str(self._paging.number))]
        try:
            return await self._api.call(
                DIAGNOSTICS, attributes.diagnostics_page, query=query, idSite=self._site_id
            )
        except NoData:
            if self._paging.number == 1:
                raise
            return attributes.DiagnosticsPage(records=(), size=0, total=None)


def _identity(record: Diagnostic) -> Hashable:
    """Tell records apart without their values, which may change from one page to the next."""
    return record.id, record.site_id, record.device, record.instance, record.attribute_id, record.dbus_path

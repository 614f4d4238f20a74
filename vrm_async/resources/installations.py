"""One site: its devices, the newest log of everything they measure, its settings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final

from energy_core.checks import boolean, string, whole
from energy_core.codec.json import JSON
from energy_core.errors import NoData
from energy_core.http.client import ApiClient
from energy_core.http.pages import Page, Pages
from vrm_async import validation
from vrm_async.decoding import attributes, sites
from vrm_async.models.attribute import Diagnostic
from vrm_async.models.site import Site, SystemOverview
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import done

SYSTEM_OVERVIEW: Final = reads("installations.system_overview", f"{SITE}/system-overview")
DIAGNOSTICS: Final = reads("installations.diagnostics", f"{SITE}/diagnostics")
UPDATE_SETTINGS: Final = writes("installations.update_settings", "POST", f"{SITE}/settings")
SET_FAVORITE: Final = writes("installations.set_favorite", "POST", f"{SITE}/favorite")

LARGEST_PAGE: Final = 1000
"""Records a page, at most."""
_NOTHING: Final[Mapping[str, JSON]] = {}


class Installations:
    """The devices, diagnostics and settings of a site; `client.installations`."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def system_overview(self, site: Site | int) -> SystemOverview:
        """Return the devices of a site, with the instances that widgets take. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/system-overview
        """
        return await self._api.call(SYSTEM_OVERVIEW, sites.system_overview, idSite=validation.site_id(site))

    def diagnostics(self, site: Site | int, *, page_size: int = LARGEST_PAGE) -> Pages[Diagnostic]:
        """List the newest log of every attribute: use ``async for``, or ``await`` it for all.

        Needs full access to the site. The pages are read one by one; VRM may send fewer records a page than
        `page_size`.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/diagnostics

        Args:
            site: The site or its id.
            page_size: Records a page, at most 1,000.
        """
        site_id = validation.site_id(site)
        count = ("count", validation.page_size(page_size, LARGEST_PAGE))

        async def read(number: int) -> Page[Diagnostic]:
            query = [count, ("page", str(number))]
            try:
                page = await self._api.call(
                    DIAGNOSTICS, attributes.diagnostics_page, query=query, idSite=site_id
                )
            except NoData:
                # Behind the last page VRM answers no_data; on the first page it is about the site.
                if number == 1:
                    raise
                return Page((), 0)
            return Page(page.records, page.size, page.total, page.raw)

        return Pages(read, key=_identity, name="Diagnostics", drift=self._api.drift, of=Diagnostic)

    async def set_favorite(self, site: Site | int, favorite: bool = True) -> None:
        """Mark a site as a favorite of this account, or remove the mark. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/favorite
        """
        body: JSON = {"favorite": int(boolean("favorite", favorite))}
        await self._api.call(SET_FAVORITE, done, json=body, idSite=validation.site_id(site))

    async def update_settings(
        self,
        site: Site | int,
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
        raw: Mapping[str, JSON] = _NOTHING,
    ) -> None:
        """Change the settings that are given; the others keep their values. Sent once.

        `set_favorite` changes the mark as a favorite.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/settings

        Args:
            site: The site or its id.
            name: The owner's name for the site, sent as its description.
            notes: Free text.
            phone_number: A contact's number.
            no_data_alarm_timeout_s: Seconds without data until VRM raises an alarm.
            no_data_alarm_active: Whether missing data raises an alarm.
            geofence: The shape of the fence, in the form of `Site.geofence`.
            geofence_enabled: Whether leaving the fence raises an alarm.
            alarm_monitoring: Which are mailed: 0 or False none, 1 or True alarms, 2 also warnings. VRM's
                document has a bool in the request and a number in the answer: 0 and 1 are sent as a bool.
            realtime_updates: Whether the device publishes over MQTT.
            restrict_node_red: Whether the gateway's Node-RED may not be reached from outside.
            inverter_charger_control: Whether the inverter may be controlled remotely.
            raw: Further members of the body, sent as they are.

        Raises:
            ValueError: no setting is given.
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
            **{key: string(key, value) for key, value in texts.items() if value is not None},
            **{key: boolean(key, value) for key, value in switches.items() if value is not None},
        }
        if no_data_alarm_timeout_s is not None:
            body["noDataAlarmTimeout"] = whole("noDataAlarmTimeout", no_data_alarm_timeout_s)
        if alarm_monitoring is not None:
            body["alarmMonitoring"] = _monitoring(alarm_monitoring)
        if geofence is not None:
            body["geofence"] = validation.json_object("geofence", geofence)
        body.update(raw)
        if not body:
            raise ValueError("nothing to change: pass at least one setting")
        await self._api.call(UPDATE_SETTINGS, done, json=body, idSite=validation.site_id(site))


def _monitoring(level: bool | int) -> JSON:
    # VRM's document has a bool for none and alarms, and a number only in the answer, also for warnings.
    if isinstance(level, bool):
        return level
    return bool(level) if whole("alarmMonitoring", level) in {0, 1} else level


def _identity(record: Diagnostic) -> Hashable:
    """Return the identity of a record. Values are left out: they may change from one page to the next."""
    return record.id, record.site_id, record.device, record.instance, record.attribute_id, record.dbus_path

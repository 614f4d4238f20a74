"""VRM: alarm rules and the alarm log.

As in the OpenAPI document, a rule on numbers has two members in PascalCase, a rule on states has them in
camelCase. The log is a guess.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from energy_live.simulator.clock import Timeline
from energy_live.simulator.server import Handler
from energy_live.simulator.vrm.accounts import VrmAccounts
from energy_live.simulator.vrm.attributes import DEVICES
from energy_live.simulator.vrm.installations import SITE, Installations
from energy_live.simulator.vrm.request_checks import (
    INTEGER,
    LIST,
    NUMBER,
    VrmRefusal,
    answer,
    body,
    checked,
    list_of,
    time_range,
)
from energy_live.simulator.vrm.serializers import Json, enum_values
from energy_live.simulator.vrm.sites import Site

_WHICH: Final = {"idDataAttribute": INTEGER, "instance": INTEGER}
_NUMBERS: Final = ("highAlarm", "highAlarmHysteresis", "lowAlarm", "lowAlarmHysteresis")
_LIMIT: Final = 1
"""`idDataAttributeLimit` of a site's first rule, minus the site's number."""


class Alarms:
    """Handlers; each site has its own rules. The alarms that were raised are in `Installations.raised`."""

    def __init__(self, timeline: Timeline, installations: Installations, accounts: VrmAccounts) -> None:
        self._timeline = timeline
        self._installations = installations
        self._accounts = accounts
        self._rules: dict[int, list[Json]] = {}

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each endpoint."""
        return [
            ("GET", f"{SITE}/alarms", self._get),
            ("POST", f"{SITE}/alarms", self._add),
            ("PUT", f"{SITE}/alarms", self._update),
            ("DELETE", f"{SITE}/alarms", self._delete),
            ("POST", f"{SITE}/clear-alarm", self._clear),
            ("GET", f"{SITE}/alarm-log", self._log),
            ("GET", f"{SITE}/widgets/Alarm", self._widget),
        ]

    def _of(self, site: Site) -> list[Json]:
        if site.id not in self._rules:
            low: Json = {
                "AlarmEnabled": 1,
                "NotifyAfterSeconds": 300,
                "idDataAttribute": site.by_code["bs"].id,
                "instance": 0,
                "lowAlarm": 10,
                "lowAlarmHysteresis": 2,
                "idDataAttributeLimit": _LIMIT + site.id,
            }
            self._rules[site.id] = [low]
        return self._rules[site.id]

    async def _get(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        owner = self._accounts.users[site.user]
        user: Json = {
            "idUser": owner.id,
            "idSite": site.id,
            "accessLevel": 1,
            "receivesAlarmNotifications": 1,
            "receivesReports": 0,
            "email": owner.email,
            "name": owner.name,
            "avatar_url": "https://avatars.example.com/1001",
            "muted": False,
        }
        found: Json = {
            "rateLimited": False,
            "alarms": self._of(site),
            "devices": self._devices(site),
            "users": [user],
            "attributes": [
                {
                    "idDataAttribute": one.id,
                    "code": one.code,
                    "description": one.description,
                    "targetTable": "logData",
                    "idDeviceType": DEVICES[one.device][0],
                    "formatWithUnit": one.format,
                    "dataType": one.type,
                    "enumValues": enum_values(one),
                }
                for one in site.attributes
                if one.type != "string"
            ],
        }
        return answer({"success": True, **found})

    def _devices(self, site: Site) -> list[Json]:
        now = self._timeline.now()
        seen = int(site.logged_at(now))
        return [
            {
                "idSite": site.id,
                "instance": instance,
                "lastConnection": seen,
                "secondsAgo": int(now) - seen,
                "isValid": 1,
                "idDeviceType": DEVICES[kind][0],
                "deviceName": DEVICES[kind][1],
                "productIdAsReceived": 2,
                "productName": DEVICES[kind][1],
                "customProductName": DEVICES[kind][1],
                "firmwareVersion": "v3.55",
                "connection": None,
                "customName": None,
                "identifier": site.identifier,
            }
            for kind, instances in site.instances.items()
            for instance in instances
        ]

    async def _rule(self, request: web.Request, site: Site) -> Json:
        """Return the rule in the body; the case of two member names depends on its kind."""
        sent = await body(request)
        if "enumValues" in sent:
            kinds = {"enumValues": LIST, "alarmEnabled": INTEGER, "notifyAfterSeconds": INTEGER}
            checked(sent, required={**_WHICH, **kinds})
            list_of("enumValues", sent["enumValues"], INTEGER)
        else:
            kinds = {"AlarmEnabled": INTEGER, "NotifyAfterSeconds": INTEGER}
            checked(sent, required={**_WHICH, **kinds}, optional=dict.fromkeys(_NUMBERS, NUMBER))
        if all(one.id != sent["idDataAttribute"] for one in site.attributes):
            raise VrmRefusal(422, "invalid_parameters", {"idDataAttribute": "The attribute is not known."})
        return sent

    def _index(self, site: Site, wanted: Json) -> int | None:
        keys = [(str(rule["idDataAttribute"]), str(rule["instance"])) for rule in self._of(site)]
        key = (str(wanted["idDataAttribute"]), str(wanted["instance"]))
        return keys.index(key) if key in keys else None

    async def _add(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        rule = await self._rule(request, site)
        if self._index(site, rule) is not None:
            raise VrmRefusal(400, "alarm_exists", {"idDataAttribute": "There is such an alarm."})
        rules = self._of(site)
        rules.append({**rule, "idDataAttributeLimit": _LIMIT + site.id + len(rules)})
        return answer({"success": True, "idSite": site.id, "data": rules[-1]})

    async def _update(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        rule = await self._rule(request, site)
        rules, index = self._of(site), self._known(site, rule)
        rules[index] = {**rule, "idDataAttributeLimit": rules[index]["idDataAttributeLimit"]}
        return answer({"success": True, "idSite": site.id, "data": rules[index]})

    async def _delete(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        wanted = checked(await body(request), required=_WHICH)
        del self._of(site)[self._known(site, wanted)]
        return answer({"success": True, "idSite": site.id})

    def _known(self, site: Site, wanted: Json) -> int:
        index = self._index(site, wanted)
        if index is None:
            raise VrmRefusal(404, "not_found", "There is no such alarm")
        return index

    async def _clear(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        sent = checked(await body(request), required={"alarmId": INTEGER})
        self._installations.raised.clear(site, int(str(sent["alarmId"])), self._timeline.now())
        return answer({"success": True, "idSite": str(site.id)})

    async def _log(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        start, end = time_range(request, self._timeline.now())
        return answer({"success": True, "records": self._installations.raised.between(site, start, end)})

    async def _widget(self, request: web.Request) -> web.Response:
        site = self._installations.site(request)
        shown = self._installations.raised.active(site, self._timeline.now())
        return answer({"success": True, "records": {"data": {"alarms": shown}}})

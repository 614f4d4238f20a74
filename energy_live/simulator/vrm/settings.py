"""VRM: tags, settings, favourites and custom widgets of a site, as in the OpenAPI document."""

from __future__ import annotations

import json
from typing import Final

from aiohttp import web

from energy_live.simulator.server import Handler
from energy_live.simulator.vrm.installations import SITE, Installations
from energy_live.simulator.vrm.request_checks import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    VrmRefusal,
    answer,
    body,
    checked,
    integer,
    one_of,
)
from energy_live.simulator.vrm.serializers import Json

_SOURCES: Final = ("user", "team", "group", "predefined")
_SETTINGS: Final = {
    "description": STRING,
    "notes": STRING,
    "phonenumber": STRING,
    "noDataAlarmTimeout": INTEGER,
    "noDataAlarmActive": BOOLEAN,
    "geofence": OBJECT,
    "geofenceEnabled": BOOLEAN,
    "alarmMonitoring": (bool, int),
    "realtimeUpdates": BOOLEAN,
    "restrictNodeRed": BOOLEAN,
    "inverterChargerControl": BOOLEAN,
    "favorite": INTEGER,
}
_TAG: Final = {"tag": STRING, "source": STRING}
_WIDGET: Final = {"name": STRING, "onlyAdmins": INTEGER, "yAxisScaling": INTEGER, "parameters": OBJECT}


class SiteSettings:
    """Handlers; values are stored for each site."""

    def __init__(self, installations: Installations) -> None:
        self._installations = installations
        self._tags: dict[int, dict[str, list[str]]] = {}
        self._widgets: dict[int, dict[int, Json]] = {}

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each endpoint."""
        return [
            ("GET", f"{SITE}/tags", self._get_tags),
            ("PUT", f"{SITE}/tags", self._add_tag),
            ("DELETE", f"{SITE}/tags", self._remove_tag),
            ("POST", f"{SITE}/settings", self._set),
            ("POST", f"{SITE}/favorite", self._favorite),
            ("GET", f"{SITE}/custom-widget", self._widget),
            ("POST", f"{SITE}/custom-widget", self._add_widget),
            ("PATCH", f"{SITE}/custom-widget", self._change_widget),
            ("DELETE", f"{SITE}/custom-widget", self._remove_widget),
        ]

    def _tags_of(self, request: web.Request) -> tuple[int, dict[str, list[str]]]:
        site = self._installations.site(request, demo=False)
        fresh: dict[str, list[str]] = {"predefined": ["No alarm"], "group": [], "team": [], "user": ["home"]}
        return site.id, self._tags.setdefault(site.id, fresh)

    async def _get_tags(self, request: web.Request) -> web.Response:
        _, tags = self._tags_of(request)
        only = request.query.get("filter")
        if only is not None:
            one_of("filter", only, _SOURCES)
        shown = {key: listed for key, listed in tags.items() if only in {None, key}}
        return answer({"success": True, "tags": shown})

    async def _add_tag(self, request: web.Request) -> web.Response:
        number, tags = self._tags_of(request)
        sent = checked(await body(request), required=_TAG)
        one_of("source", sent["source"], _SOURCES)
        group = tags[str(sent["source"])]
        if sent["tag"] not in group:
            group.append(str(sent["tag"]))
        return answer({"success": True, "idSite": number, "data": [sent]})

    async def _remove_tag(self, request: web.Request) -> web.Response:
        number, tags = self._tags_of(request)
        sent = checked(await body(request), required=_TAG)
        one_of("source", sent["source"], _SOURCES)
        group = tags[str(sent["source"])]
        if sent["tag"] not in group:
            raise VrmRefusal(404, "not_found", "There is no such tag")
        group.remove(str(sent["tag"]))
        return answer({"success": True, "idSite": number, "data": [sent]})

    async def _set(self, request: web.Request) -> web.Response:
        site = self._installations.site(request, demo=False)
        sent = checked(await body(request), optional=_SETTINGS)
        stored = self._installations.settings.setdefault(site.id, {})
        stored.update({"name" if key == "description" else key: value for key, value in sent.items()})
        # The list of sites has the geofence as JSON in a string and alarmMonitoring as a level.
        if "geofence" in sent:
            stored["geofence"] = json.dumps(sent["geofence"])
        if "alarmMonitoring" in sent:
            level = sent["alarmMonitoring"]
            stored["alarmMonitoring"] = 1 if level is True else level or 0
        return answer({"success": True, "idSite": site.id, "data": sent})

    async def _favorite(self, request: web.Request) -> web.Response:
        site = self._installations.site(request)
        sent = checked(await body(request), required={"favorite": NUMBER})
        one_of("favorite", sent["favorite"], (0, 1))
        self._installations.settings.setdefault(site.id, {})["favorite"] = sent["favorite"]
        return answer({"success": True, "idSite": site.id, "data": [sent]})

    def _widgets_of(self, request: web.Request) -> dict[int, Json]:
        return self._widgets.setdefault(self._installations.site(request, demo=False).id, {})

    def _known(self, widgets: dict[int, Json], number: object) -> Json:
        if not isinstance(number, int) or number not in widgets:
            raise VrmRefusal(404, "not_found", "There is no such widget")
        return widgets[number]

    async def _widget(self, request: web.Request) -> web.Response:
        widgets = self._widgets_of(request)
        number = integer(request, "idCustomWidget")
        if number is None:
            raise VrmRefusal(422, "missing_parameters", {"idCustomWidget": "Required"})
        return answer({"success": True, "widget": self._known(widgets, number)})

    async def _add_widget(self, request: web.Request) -> web.Response:
        widgets = self._widgets_of(request)
        needed = {"name": STRING, "parameters": OBJECT}
        sent = checked(await body(request), required=needed, optional=_WIDGET)
        number = 900 + len(widgets)
        widgets[number] = {"idCustomWidget": number, "onlyAdmins": 0, "yAxisScaling": 0, **sent}
        return answer({"success": True, "idCustomWidget": number})

    async def _change_widget(self, request: web.Request) -> web.Response:
        widgets = self._widgets_of(request)
        sent = checked(await body(request), required={"idCustomWidget": INTEGER}, optional=_WIDGET)
        self._known(widgets, sent["idCustomWidget"]).update(sent)
        return answer({"success": True})

    async def _remove_widget(self, request: web.Request) -> web.Response:
        widgets = self._widgets_of(request)
        sent = checked(await body(request), required={"idCustomWidget": INTEGER})
        self._known(widgets, sent["idCustomWidget"])
        del widgets[int(str(sent["idCustomWidget"]))]
        return answer({"success": True})

"""VRM: search by data attributes, overview of sites, and the list of all data attributes.

Answers are the examples of the OpenAPI document; the firmware list and the admin operations are guesses.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from energy_live.simulator.clock import Timeline
from energy_live.simulator.server import CALLER, Handler
from energy_live.simulator.vrm.accounts import DEMO_USER
from energy_live.simulator.vrm.attributes import ATTRIBUTES, Attribute
from energy_live.simulator.vrm.downloads import overview
from energy_live.simulator.vrm.installations import Installations
from energy_live.simulator.vrm.request_checks import (
    BOOLEAN,
    INTEGER,
    LIST,
    OBJECT,
    VrmRefusal,
    answer,
    body,
    integer,
    list_of,
    uncoded,
)
from energy_live.simulator.vrm.serializers import Json, texts
from energy_live.simulator.vrm.sites import Site

_ADMIN: Final = ("devices", "installation-data-attributes-count", "search-download")
_MAX_CONDITIONS: Final = 5
_MAX_PAGE: Final = 1000
_OVERVIEW: Final = {"columns": OBJECT, "siteIds": LIST, "onlyVisible": BOOLEAN, "jsonResponse": BOOLEAN}
_COLUMNS: Final = {"Battery Voltage": "bv", "Battery %": "bs", "Battery Mode": "bst"}
_COMMA: Final = re.compile(r",(?![^()]*\))")
_CONDITION: Final = re.compile(r"(\w+)(?:(!)|(>=|<=|>|<|=)(\([^()]*\)|[^()]+))?")
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}


class Fleet:
    """Handlers of requests for all sites of a user."""

    def __init__(self, timeline: Timeline, installations: Installations) -> None:
        self._timeline = timeline
        self._installations = installations

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each endpoint."""
        return [
            ("GET", "/v2/installation-data-attributes", self._find),
            ("GET", "/v2/data-attributes", self._definitions),
            ("POST", "/v2/installation-overview-download", self._overview),
            ("GET", "/v2/firmwares", self._firmwares),
            *(("GET", f"/v2/admin/{name}", self._admin) for name in _ADMIN),
            ("POST", "/v2/systems/add-system", self._admin),
        ]

    async def _find(self, request: web.Request) -> web.Response:
        if request[CALLER].user.id == DEMO_USER:
            raise VrmRefusal(403, "forbidden", "The demo account may not search")
        conditions = [_condition(text) for text in _COMMA.split(request.query.get("query", ""))]
        if len(conditions) > _MAX_CONDITIONS:
            raise _invalid("There are too many conditions.")
        count, page = integer(request, "count", 100) or 100, integer(request, "page", 1) or 1
        if not 1 <= count <= _MAX_PAGE or page < 1:
            raise _invalid("The count must be 1 to 1000 and the page at least 1.")
        found = [
            record
            for site in self._installations.of(request[CALLER].user)
            if (record := self._record(site, conditions)) is not None
        ]
        known = {one.code: one for one in ATTRIBUTES}
        attributes = [_definition(known[code]) for code, _, _ in conditions if code in known]
        shown = found[(page - 1) * count : page * count]
        return answer({"success": True, "records": shown, "attributes": attributes})

    def _record(self, site: Site, conditions: list[tuple[str, str, str]]) -> Json | None:
        logged = site.logged_at(self._timeline.now())
        record: Json = {"idSite": site.id, "description": site.name, "lastTimestamp": int(logged)}
        for code, sign, wanted in conditions:
            value = site.number(code, site.household.at(logged))
            if not _meets(value, sign, wanted):
                return None
            record[f"value_{code}"] = value
        return record

    async def _definitions(self, _request: web.Request) -> web.Response:
        # This answer has no envelope, and ids only as keys.
        listed = {
            str(one.id): {
                "code": one.code,
                "dataType": one.type,
                "description": one.description,
                "formatWithUnit": one.format,
            }
            for one in ATTRIBUTES
        }
        return answer(listed)

    async def _overview(self, request: web.Request) -> web.Response:
        sent = await body(request)
        missing = [name for name, kinds in _OVERVIEW.items() if type(sent.get(name)) not in kinds]
        if missing:
            raise VrmRefusal(400, "missing_parameters", dict.fromkeys(missing, "Missing or invalid"))
        wanted = list_of("siteIds", sent.get("siteIds", []), INTEGER)
        now = self._timeline.now()
        sites = self._installations.of(request[CALLER].user)
        rows = {str(site.id): _row(site, now) for site in sites if not wanted or site.id in wanted}
        if sent.get("jsonResponse") is True:
            return answer({"success": True, "data": rows})
        return overview(list(rows.values()))

    async def _firmwares(self, request: web.Request) -> web.Response:
        for name in ("feedChannel", "victronConnectVersion"):
            if not request.query.get(name):
                raise VrmRefusal(422, "missing_parameters", {name: "Required"})
        return answer({"success": True, "firmwares": []})

    async def _admin(self, _request: web.Request) -> web.Response:
        raise VrmRefusal(403, "forbidden", "Only administrators may do this")


def _row(site: Site, now: float) -> Json:
    """Return a site's row of the overview: column titles, and texts with units."""
    logged = site.logged_at(now)
    at = site.household.at(logged)
    shown = {title: site.by_code[code] for title, code in _COLUMNS.items() if code in site.by_code}
    texts_of = {title: texts(one, site.value(one, at))[1] for title, one in shown.items()}
    tank = site.by_code.get("tl")
    return {
        "Installation name": site.name,
        **texts_of,
        "Load": f"{at.consumption_w:.0f} W",
        "Solar Yield": f"{at.pv_w:.0f} W",
        "Grid": f"{at.grid_w:.0f} W",
        "Generator": "",
        "Tanks": "" if tank is None else f"Fresh water-{texts(tank, site.value(tank, at))[1]}",
        "Temperature": f"Battery-{at.temperature_c:.1f} °C",
        "Last Update": datetime.fromtimestamp(logged, UTC).isoformat(),
    }


def _invalid(message: str) -> VrmRefusal:
    """Return the error of a search: a list of messages, and a count that is always 0."""
    return uncoded(422, error_code="invalid_parameters", errors=[message], num_records=0)


def _condition(text: str) -> tuple[str, str, str]:
    """Parse a condition to code, operator (empty: any value, `!`: exists) and operand."""
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        raise _invalid("A condition is not valid.")
    code, exists, sign, wanted = found.groups()
    return code, exists or sign or "", wanted or ""


def _meets(value: float | None, sign: str, wanted: str) -> bool:
    if not sign:
        return True
    if value is None or sign == "!":
        return value is not None
    numbers = [part for part in re.split(r",|\bOR\b", wanted.strip("()")) if part.strip()]
    try:
        return any(_COMPARE[sign](value, float(number)) for number in numbers)
    except ValueError:
        raise _invalid("A condition is not valid.") from None


def _definition(one: Attribute) -> Json:
    return {
        "idDataAttribute": one.id,
        "code": one.code,
        "dataType": one.type,
        "formatWithUnit": one.format,
    }

"""VRM's questions about many sites at once, and the table of all attributes."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

from aiohttp import web

from energy_live.simulator.accounts import DEMO_USER
from energy_live.simulator.attributes import ATTRIBUTES, Attribute
from energy_live.simulator.bodies import LIST, OBJECT, TRUTH, WHOLE, checked, items
from energy_live.simulator.envelope import Refused, answer, body, whole
from energy_live.simulator.installations import Installations
from energy_live.simulator.records import Json
from energy_live.simulator.server import CALLER, Handler
from energy_live.simulator.sites import Site
from energy_live.simulator.timeline import Timeline
from energy_live.simulator.vrm_downloads import overview

_MOST_CONDITIONS: Final = 5
_LARGEST_PAGE: Final = 1000
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
    """All sites of whoever asks."""

    def __init__(self, timeline: Timeline, installations: Installations) -> None:
        self._timeline = timeline
        self._installations = installations

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of every endpoint."""
        return [
            ("GET", "/v2/installation-data-attributes", self._find),
            ("GET", "/v2/data-attributes", self._definitions),
            ("POST", "/v2/installation-overview-download", self._overview),
            ("GET", "/v2/firmwares", self._firmwares),
            ("GET", "/v2/admin/{what}", self._admin),
            ("POST", "/v2/systems/add-system", self._admin),
        ]

    async def _find(self, request: web.Request) -> web.Response:
        if request[CALLER].user.id == DEMO_USER:
            raise Refused(403, "forbidden", "The demo account may not search")
        conditions = [_condition(text) for text in _COMMA.split(request.query.get("query", ""))]
        if len(conditions) > _MOST_CONDITIONS:
            raise Refused(422, "invalid_parameters", {"query": "There are too many conditions."})
        count, page = whole(request, "count", 100) or 100, whole(request, "page", 1) or 1
        if not 1 <= count <= _LARGEST_PAGE or page < 1:
            raise Refused(422, "invalid_parameters", {"count": "Must be 1 to 1000."})
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
        # No envelope, and the id is in the key alone.
        listed = {str(one.id): _definition(one) for one in ATTRIBUTES}
        for definition in listed.values():
            del definition["idDataAttribute"]
        return answer(listed)

    async def _overview(self, request: web.Request) -> web.Response:
        kinds = {"columns": OBJECT, "siteIds": LIST, "onlyVisible": TRUTH, "jsonResponse": TRUTH}
        sent = checked(await body(request), optional=kinds)
        wanted = items("siteIds", sent.get("siteIds", []), WHOLE)
        now = self._timeline.now()
        rows: list[Json] = [
            {
                "idSite": site.id,
                "name": site.name,
                "identifier": site.identifier,
                "lastConnection": int(site.logged_at(now)),
                "soc": site.number("bs", site.household.at(site.logged_at(now))),
            }
            for site in self._installations.of(request[CALLER].user)
            if not wanted or site.id in wanted
        ]
        return self.table(rows, as_json=sent.get("jsonResponse") is True)

    def table(self, rows: list[Json], *, as_json: bool) -> web.Response:
        """Return the overview in the form that was asked for."""
        return answer({"success": True, "records": rows}) if as_json else overview(rows)

    async def _firmwares(self, request: web.Request) -> web.Response:
        for name in ("feedChannel", "victronConnectVersion"):
            if not request.query.get(name):
                raise Refused(422, "missing_parameters", {name: "Required"})
        return answer({"success": True, "firmwares": []})

    async def _admin(self, _request: web.Request) -> web.Response:
        raise Refused(403, "forbidden", "Only administrators may do this")


def _condition(text: str) -> tuple[str, str, str]:
    """Read a code, a sign (none for "any value", ``!`` for "is there") and what it is compared with."""
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        raise Refused(422, "invalid_parameters", {"query": "A condition is not valid."})
    code, there, sign, wanted = found.groups()
    return code, there or sign or "", wanted or ""


def _meets(value: float | None, sign: str, wanted: str) -> bool:
    if not sign:
        return True
    if value is None or sign == "!":
        return value is not None
    numbers = [part for part in re.split(r",|\bOR\b", wanted.strip("()")) if part.strip()]
    try:
        return any(_COMPARE[sign](value, float(number)) for number in numbers)
    except ValueError:
        raise Refused(422, "invalid_parameters", {"query": "A condition is not valid."}) from None


def _definition(one: Attribute) -> Json:
    return {
        "idDataAttribute": one.id,
        "code": one.code,
        "dataType": one.type,
        "description": one.description,
        "formatWithUnit": one.format,
    }

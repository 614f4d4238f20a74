"""VRM: system overview, diagnostics, statistics and widgets of one site.

Graphs follow captured answers, the others the OpenAPI document; `evidence` lists the exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from energy_live.simulator.clock import Timeline
from energy_live.simulator.server import CALLER, Handler
from energy_live.simulator.vrm import stats, widgets
from energy_live.simulator.vrm.accounts import DEMO_USER, User
from energy_live.simulator.vrm.attributes import Attribute
from energy_live.simulator.vrm.raised_alarms import RaisedAlarms
from energy_live.simulator.vrm.request_checks import VrmRefusal, answer, boolean, integer, number, time_range
from energy_live.simulator.vrm.serializers import Json, devices, diagnostics
from energy_live.simulator.vrm.sites import Site

SITE: Final = "/v2/installations/{site:[0-9]+}"
_LIVE_FEED: Final = ("Gc", "Pc", "Bc", "gc")
_WIDGETS: Final = ("Graph", "GPS", "HoursOfAc", "HoursOfAC", *widgets.STATES, *widgets.SUMMARIES)
_PIXELS: Final = 768
_POINTS_PER_PIXEL: Final = 2.0


class Installations:
    """All sites, and the handlers of one site's data."""

    def __init__(self, timeline: Timeline, sites: Sequence[Site]) -> None:
        self.sites = {site.id: site for site in sites}
        self.left: set[int] = set()
        """Sites that their user has left."""
        self.settings: dict[int, Json] = {}
        """Changed settings of each site, by their name in the list of sites."""
        self.raised = RaisedAlarms()
        """The alarms that were raised."""
        self._timeline = timeline

    def of(self, user: User) -> list[Site]:
        """Return the sites of a user."""
        return [site for site in self.sites.values() if site.user == user.id and site.id not in self.left]

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each endpoint."""
        return [
            ("GET", f"{SITE}/system-overview", self._overview),
            ("GET", f"{SITE}/diagnostics", self._diagnostics),
            ("GET", f"{SITE}/stats", self._stats),
            ("GET", f"{SITE}/overallstats", self._overall),
            *(("GET", f"{SITE}/widgets/{name}", self._widget) for name in _WIDGETS),
        ]

    def site(self, request: web.Request, *, demo: bool = True) -> Site:
        """Return the site in the path.

        Args:
            request: The request.
            demo: Whether the demo user has access too.

        Raises:
            VrmRefusal: The site does not exist (404), or the user has no access (403).
        """
        caller = request[CALLER]
        site = self.sites.get(int(request.match_info["site"]))
        if site is None:
            raise VrmRefusal(404, "not_found", "The requested resource could not be found")
        if caller.user.id != site.user or site.id in self.left or (caller.user.id == DEMO_USER and not demo):
            raise VrmRefusal(403, "forbidden", "You have no access to this installation")
        return site

    async def _overview(self, request: web.Request) -> web.Response:
        site = self.site(request)
        return answer({"success": True, "records": devices(site, self._timeline.now())})

    async def _diagnostics(self, request: web.Request) -> web.Response:
        site = self.site(request, demo=False)
        count, page = integer(request, "count", 100) or 100, integer(request, "page", 1) or 1
        found = diagnostics(site, self._timeline.now())
        shown = found[(page - 1) * count : page * count]
        return answer({"success": True, "records": shown, "num_records": len(found)})

    async def _stats(self, request: web.Request) -> web.Response:
        site = self.site(request)
        now = self._timeline.now()
        start, end = time_range(request, now)
        query = stats.StatsQuery(
            codes=_codes(request, request.query.get("type", "live_feed")),
            start=start,
            end=end,
            interval=request.query.get("interval", "hours"),
            total=request.query.get("type") in {"kwh", "live_feed_kwh"},
        )
        if query.interval not in stats.STEPS:
            raise VrmRefusal(400, "invalid_parameters", {"interval": "The interval is not valid."})
        if query.exceeds_limit:
            raise VrmRefusal(200, "no_data", ["Site has no stats for this period."])
        if end <= start:
            return answer({"success": True, "records": [], "totals": []})
        records, totals = stats.collect(site, query, now)
        if not any(records.values()) and end <= site.created:
            raise VrmRefusal(200, "no_data", ["Site has no stats for this period."])
        if boolean(request, "show_instance"):
            split, sums = stats.by_instance(records, totals)
            return answer({"success": True, "records": split, "totals": sums})
        return answer({"success": True, "records": records or [], "totals": totals or []})

    async def _overall(self, request: web.Request) -> web.Response:
        site = self.site(request)
        kind = request.query.get("type", "live_feed")
        if kind not in stats.OVERALL:
            raise VrmRefusal(400, "invalid_parameters", {"type": "The type is not valid."})
        # The codes of live_feed are those in the example of VRM's older text.
        codes = _LIVE_FEED if kind == "live_feed" else _codes(request, kind)
        return answer({"success": True, "records": stats.overall(site, codes, self._timeline.now())})

    async def _widget(self, request: web.Request) -> web.Response:
        site = self.site(request)
        now = self._timeline.now()
        name = request.path.rpartition("/")[2]
        instance = integer(request, "instance")
        start, end = time_range(request, now)
        if name == "Graph":
            found = self._graph(site, request, instance or 0, start, end)
        elif name in widgets.STATES:
            found = widgets.states(site, name, instance=instance, start=start, end=min(end, now))
        elif name in widgets.SUMMARIES:
            found = widgets.summary(site, name, instance=instance, now=now)
        elif name == "GPS":
            found = widgets.position(site, now)
        else:
            found = {"data": None if instance is None else str(round(now / 3600.0 % 9000.0, 1))}
        return answer({"success": True, "records": found})

    def _graph(self, site: Site, request: web.Request, instance: int, start: float, end: float) -> Json:
        width, density = integer(request, "width"), number(request, "pointsPerPixel")
        max_points = (_PIXELS if width is None else width) * (
            _POINTS_PER_PIXEL if density is None else density
        )
        if max_points < 1:
            raise VrmRefusal(400, "invalid_parameters", {"width": "The graph must have at least one point."})
        asked = request.query.getall("attributeIds[]", [])
        if not all(number.isdigit() for number in asked):
            raise VrmRefusal(
                400, "invalid_parameters", {"attributeIds": "The attributeIds must be integers."}
            )
        numbers = {int(number) for number in asked}
        wanted: list[Attribute] = [one for one in site.attributes if one.id in numbers]
        for code in _codes(request, "custom", needed=not numbers):
            wanted += [site.by_code[code]] if code in site.by_code else []
        return widgets.graph(
            site,
            wanted,
            instance=instance,
            start=start,
            end=end,
            now=self._timeline.now(),
            with_extremes=boolean(request, "useMinMax"),
            max_points=max_points,
        )


def _codes(request: web.Request, kind: str, *, needed: bool = True) -> tuple[str, ...]:
    if kind != "custom":
        if kind not in stats.TYPES:
            raise VrmRefusal(400, "invalid_parameters", {"type": "The type is not valid."})
        return stats.TYPES[kind]
    # VRM ignores the parameter without brackets in its name.
    codes = tuple(dict.fromkeys(request.query.getall("attributeCodes[]", [])))
    if not codes and needed:
        raise VrmRefusal(400, "missing_parameters", {"attributeCodes": "Required"})
    return codes

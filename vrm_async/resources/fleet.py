"""Questions about many sites at once: one request instead of one for each site."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from attrs import evolve

from energy_core.codec.coerce import integer
from energy_core.codec.json import JSON
from energy_core.errors import NoData
from energy_core.http.client import ApiClient
from energy_core.http.operation import MIB
from vrm_async import validation
from vrm_async.decoding import fleet
from vrm_async.decoding.php import items
from vrm_async.models.fleet import AttributeDefinition, FleetAnswer, FleetOverview, FleetSite
from vrm_async.operations import Paging, reads

FIND: Final = reads("fleet.find", "installation-data-attributes", body_limit=64 * MIB)
OVERVIEW: Final = reads(
    "fleet.overview", "installation-overview-download", method="POST", body_limit=64 * MIB
)
DATA_ATTRIBUTES: Final = reads("fleet.data_attributes", "data-attributes")

LARGEST_PAGE: Final = 1000
MOST_CONDITIONS: Final = 5
_CONDITION: Final = re.compile(r"[!-~]+(?: [!-~]+)*")
_COMMA: Final = re.compile(r",(?![^()]*\))")


SiteIds = Callable[[], Awaitable[Iterable[int]]]
"""Finds every site of the account."""


class Fleet:
    """All sites of the account."""

    def __init__(self, api: ApiClient, site_ids: SiteIds) -> None:
        self._api = api
        self._site_ids = site_ids

    async def find(
        self, conditions: str | Iterable[str], *, page: int | None = None, count: int = LARGEST_PAGE
    ) -> FleetAnswer:
        """Return the sites that meet up to five conditions, with the values the conditions are about.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installation-data-attributes

        Args:
            conditions: Such as ``["bs>=50", "au=(1,2)", "IV1!"]``, or the same joined by commas.
            page: Only this page, counted from 1; None reads all pages, until one is empty or brings nothing
                new, because VRM may give fewer sites a page than `count`.
            count: Sites a page, at most 1,000.
        """
        if page is not None and validation.whole("page", page) < 1:
            raise ValueError(f"page counts from 1: {page}")
        if not 1 <= validation.whole("count", count) <= LARGEST_PAGE:
            raise ValueError(f"count must be from 1 to {LARGEST_PAGE}: {count}")
        query = [("query", _conditions(conditions))]
        if page is not None:
            return await self._page(query, page, count)
        answer = await self._page(query, 1, count)
        sites: list[FleetSite] = []
        paging = Paging("FleetAnswer", _site_id, self._api.drift)
        came: list[object] = []
        following = answer
        while True:
            records = items(following.raw.get("records"))
            unread = records if len(following.sites) < len(records) else ()
            announced = integer(following.raw.get("num_records"))
            fresh = paging.take(following.sites, size=len(records), announced=announced, unread=unread)
            sites += fresh
            came += records if fresh else unread
            if paging.ended:
                break
            try:
                following = await self._page(query, paging.number, count)
            except NoData:
                following = FleetAnswer()
        return evolve(answer, sites=tuple(sites), raw={**answer.raw, "records": came})

    async def _page(self, query: list[tuple[str, str]], page: int, count: int) -> FleetAnswer:
        whole = [*query, ("page", str(page)), ("count", str(count))]
        return await self._api.call(FIND, fleet.fleet, query=whole)

    async def overview(
        self,
        site_ids: Iterable[int] | None = None,
        *,
        columns: Mapping[str, JSON] | None = None,
        only_visible: bool = False,
    ) -> FleetOverview:
        """Return a table of sites as JSON; the same as a spreadsheet is a download.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installation-overview-download

        Args:
            site_ids: Which sites; None takes every site of the account.
            columns: Which columns: a mapping of names, which are not documented, to mappings with `header`,
                `enabled` and `hide`.
            only_visible: Whether what is hidden in VRM's list of sites stays out.
        """
        listed = None if site_ids is None else validation.several("site_ids", site_ids)
        body = overview_body(columns, only_visible=only_visible, as_json=True)
        body["siteIds"] = [*(await self._site_ids() if listed is None else listed)]
        return await self._api.call(OVERVIEW, fleet.overview, json=body)

    async def data_attributes(self) -> Mapping[int, AttributeDefinition]:
        """Return every attribute VRM knows, by its idDataAttribute.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/data-attributes
        """
        return await self._api.call(DATA_ATTRIBUTES, fleet.definitions)


def _site_id(site: FleetSite) -> int:
    return site.site_id


def overview_body(
    columns: Mapping[str, JSON] | None, *, only_visible: bool, as_json: bool
) -> dict[str, JSON]:
    """Return the body of ``installation-overview-download`` but for `siteIds`; VRM requires all members."""
    return {
        "columns": validation.members("columns", columns or {}),
        "onlyVisible": validation.switch("only_visible", only_visible),
        "jsonResponse": as_json,
    }


def _conditions(conditions: str | Iterable[str]) -> str:
    listed = _COMMA.split(conditions) if isinstance(conditions, str) else list(conditions)
    if not 1 <= len(listed) <= MOST_CONDITIONS:
        raise ValueError(f"conditions must be 1 to {MOST_CONDITIONS}, not {len(listed)}")
    for condition in listed:
        if not isinstance(condition, str):
            raise TypeError(f"conditions must hold str, not {type(condition).__name__}")
        if not _CONDITION.fullmatch(condition):
            raise ValueError("conditions must be printable ASCII, such as 'bs>=50'")
    return ",".join(listed)

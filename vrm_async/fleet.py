"""Questions about many sites at once: one request instead of one for each site."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from energy_core.http.api import ApiClient
from energy_core.http.request import JSON, MIB
from vrm_async import arguments, codec_sites
from vrm_async.models_sites import AttributeDefinition, FleetAnswer, FleetOverview
from vrm_async.operations import reads

FIND: Final = reads("fleet.find", "installation-data-attributes", body_limit=64 * MIB)
OVERVIEW: Final = reads(
    "fleet.overview", "installation-overview-download", method="POST", body_limit=64 * MIB
)
DATA_ATTRIBUTES: Final = reads("fleet.data_attributes", "data-attributes")

LARGEST_PAGE: Final = 1000
MOST_CONDITIONS: Final = 5
_CONDITION: Final = re.compile(r"[!-~]+(?: [!-~]+)*")
_COMMA: Final = re.compile(r",(?![^()]*\))")


class Fleet:
    """All sites of the account."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def find(
        self, conditions: str | Iterable[str], *, page: int = 1, count: int = LARGEST_PAGE
    ) -> FleetAnswer:
        """Return the sites that meet up to five conditions, with the values the conditions are about.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installation-data-attributes

        Args:
            conditions: Such as ``["bs>=50", "au=(1,2)", "IV1!"]``, or the same joined by commas.
            page: Counts from 1.
            count: Sites a page, at most 1,000.
        """
        if arguments.whole("page", page) < 1:
            raise ValueError(f"page counts from 1: {page}")
        if not 1 <= arguments.whole("count", count) <= LARGEST_PAGE:
            raise ValueError(f"count must be from 1 to {LARGEST_PAGE}: {count}")
        query = [("query", _conditions(conditions)), ("page", str(page)), ("count", str(count))]
        return await self._api.call(FIND, codec_sites.fleet, query=query)

    async def overview(
        self,
        site_ids: Iterable[int] | None = None,
        *,
        columns: Mapping[str, JSON] | None = None,
        only_visible: bool | None = None,
    ) -> FleetOverview:
        """Return a table of sites as JSON; the same as a spreadsheet is a download.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installation-overview-download

        Args:
            site_ids: Which sites; None leaves the choice to VRM.
            columns: Which columns, as VRM wants it.
            only_visible: Whether hidden columns stay out.
        """
        body: dict[str, JSON] = {"jsonResponse": True}
        if site_ids is not None:
            body["siteIds"] = [*arguments.several("site_ids", site_ids)]
        if columns is not None:
            if not isinstance(columns, Mapping):
                raise TypeError(f"columns must be a mapping, not {type(columns).__name__}")
            body["columns"] = dict(columns)
        if only_visible is not None:
            body["onlyVisible"] = arguments.switch("only_visible", only_visible)
        return await self._api.call(OVERVIEW, codec_sites.overview, json=body)

    async def data_attributes(self) -> Mapping[int, AttributeDefinition]:
        """Return every attribute VRM knows, by its idDataAttribute.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/data-attributes
        """
        return await self._api.call(DATA_ATTRIBUTES, codec_sites.definitions)


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

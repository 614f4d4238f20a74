"""Requests about many sites at once."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from attrs import evolve, frozen

from energy_core.checks import boolean, whole
from energy_core.codec.coerce import integer, is_nothing, number
from energy_core.codec.drift import report
from energy_core.codec.field_types import MalformedRecord
from energy_core.codec.json import JSON
from energy_core.codec.structure import model, records
from energy_core.errors import DecodeError, NoData
from energy_core.http.client import ApiClient
from energy_core.http.operation import MIB
from energy_core.http.pages import Page, Pages
from vrm_async import validation
from vrm_async.decoding.php import items
from vrm_async.models.attribute import RawValue
from vrm_async.models.fleet import DataAttribute, FleetOverview, FleetSite
from vrm_async.models.site import Site
from vrm_async.operations import reads
from vrm_async.resources.catalogue import read_definitions
from vrm_async.responses import content, part

FIND: Final = reads("fleet.find", "installation-data-attributes", body_limit=64 * MIB)
OVERVIEW: Final = reads(
    "fleet.overview", "installation-overview-download", method="POST", body_limit=64 * MIB
)

LARGEST_PAGE: Final = 1000
"""Sites a page, at most."""
MOST_CONDITIONS: Final = 5
_CONDITION: Final = re.compile(r"[!-~]+(?: [!-~]+)*")
_COMMA: Final = re.compile(r",(?![^()]*\))")
"""A comma outside of parentheses: ``au=(1,2)`` is one condition."""


SiteIds = Callable[[], Awaitable[Iterable[int]]]
"""Returns the ids of every site of the account."""


class FleetSites(Pages[FleetSite]):
    """The sites that meet the conditions of `fleet.find`: use ``async for``, or ``await`` it for all."""

    attributes: tuple[DataAttribute, ...] = ()
    """The attributes that the conditions are about; empty until the first page was read."""
    raw: Mapping[str, object] = {}
    """The answer with the first page, as it came; empty until then."""


class Fleet:
    """Requests about all sites of the account; `client.fleet`."""

    def __init__(self, api: ApiClient, site_ids: SiteIds) -> None:
        self._api = api
        self._site_ids = site_ids

    def find(
        self, conditions: str | Iterable[str], *, page: int | None = None, page_size: int = LARGEST_PAGE
    ) -> FleetSites:
        """List the sites that meet up to five conditions, with the newest values of their attributes.

        Values are in the attribute's own unit; `FleetSites.attributes` has the units.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installation-data-attributes

        Args:
            conditions: Such as ``["bs>=50", "au=(1,2)", "IV1!"]``, or the same joined by commas.
            page: Only this page, counted from 1; None reads all pages. VRM may send fewer sites a page than
                `page_size`.
            page_size: Sites a page, at most 1,000.

        Raises:
            NoData: no site meets the conditions.
        """
        first = 1 if page is None else whole("page", page, least=1)
        count = ("count", validation.page_size(page_size, LARGEST_PAGE))
        conditions_query = ("query", _conditions(conditions))

        async def read(number: int) -> Page[FleetSite]:
            query = [conditions_query, ("page", str(number)), count]
            try:
                found = await self._api.call(FIND, read_page, query=query)
            except NoData:
                # Behind the last page VRM answers no_data; on the first page it means that no site matches.
                if number == first:
                    raise
                return Page((), 0)
            # The definitions are the same on every page.
            if number == first:
                sites.attributes, sites.raw = found.attributes, found.raw
            return found.page

        sites = FleetSites(
            read,
            key=_site_id,
            first=first,
            only_first=page is not None,
            name="FleetSites",
            drift=self._api.drift,
            of=FleetSite,
        )
        return sites

    async def overview(
        self,
        sites: Iterable[Site | int] | None = None,
        *,
        columns: Mapping[str, JSON] | None = None,
        only_visible: bool = False,
    ) -> FleetOverview:
        """Return a table of sites, one row each; `downloads.overview` saves it as XLSX. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installation-overview-download

        Args:
            sites: The sites or their ids; None takes every site of the account.
            columns: A mapping of column names, which VRM does not document, to mappings with `header`,
                `enabled` and `hide`.
            only_visible: Whether sites that are hidden in VRM's list stay out.
        """
        listed = None if sites is None else validation.site_ids(sites)
        body = overview_body(columns, only_visible=only_visible, as_json=True)
        body["siteIds"] = [*(await self._site_ids() if listed is None else listed)]
        return await self._api.call(OVERVIEW, read_overview, json=body)


def _site_id(site: FleetSite) -> int:
    return site.site_id


def overview_body(
    columns: Mapping[str, JSON] | None, *, only_visible: bool, as_json: bool
) -> dict[str, JSON]:
    """Return the body of ``installation-overview-download`` without `siteIds`; VRM requires all members."""
    return {
        "columns": validation.json_object("columns", columns or {}),
        "onlyVisible": boolean("only_visible", only_visible),
        "jsonResponse": as_json,
    }


def _conditions(conditions: str | Iterable[str]) -> str:
    # A single str may have several conditions: VRM's own form of the query.
    listed = _COMMA.split(conditions) if isinstance(conditions, str) else list(conditions)
    if not 1 <= len(listed) <= MOST_CONDITIONS:
        raise ValueError(f"conditions must be 1 to {MOST_CONDITIONS}, not {len(listed)}")
    for condition in listed:
        if not isinstance(condition, str):
            raise TypeError(f"conditions must hold str, not {type(condition).__name__}")
        if not _CONDITION.fullmatch(condition):
            raise ValueError("conditions must be printable ASCII, such as 'bs>=50'")
    return ",".join(listed)


@frozen
class FleetPage:
    """One answer of ``installation-data-attributes``."""

    page: Page[FleetSite]
    attributes: tuple[DataAttribute, ...]
    raw: Mapping[str, object]


_VALUE: Final = "value_"
_site = model(FleetSite, wire={"site_id": "idSite", "name": "description", "last_seen": "lastTimestamp"})


def _fleet_site(record: object) -> FleetSite:
    if not isinstance(record, Mapping):
        raise MalformedRecord(f"FleetSite must come as an object, not as {type(record).__name__}")
    values = {key.removeprefix(_VALUE): item for key, item in record.items() if key.startswith(_VALUE)}
    known = {key: item for key, item in record.items() if not key.startswith(_VALUE)}
    known["lastTimestamp"] = seconds_of(known.get("lastTimestamp"))
    read = {code: _raw_value(item) for code, item in values.items()}
    return evolve(_site(known), values=read, raw=record)


def seconds_of(value: object) -> object:
    """Return Unix seconds of a time in seconds or milliseconds; 0 is never."""
    count = number(value)
    if count == 0:
        return None
    return count / 1000 if count is not None and count >= 10**11 else value


def _raw_value(value: object) -> RawValue | None:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value if value != "" else None
    if not is_nothing(value):
        report("FleetSite", "value", f"unreadable {type(value).__name__}")
    return None


_sites = records(_fleet_site, "FleetSite")


def read_page(payload: JSON) -> FleetPage:
    """Read ``installation-data-attributes``."""
    found = content(payload)
    sites = _sites(part(payload, "records"))
    listed = items(found.get("records"))
    unread = listed if len(sites) < len(listed) else ()
    page = Page(sites, len(listed), integer(found.get("num_records")), unread)
    return FleetPage(page, read_definitions(found.get("attributes")), found)


def read_overview(payload: JSON) -> FleetOverview:
    """Read ``installation-overview-download`` as JSON: a table in one of several members."""
    found: Mapping[str, object] = {"records": payload} if isinstance(payload, list) else content(payload)
    places = [key for key in ("records", "data", "installations") if key in found]
    if not places:
        raise DecodeError("the answer has no table of sites", kind="envelope")
    listed = found[places[0]]
    rows = tuple(row for row in items(listed) if isinstance(row, Mapping))
    if len(rows) < len(items(listed)):
        report("FleetOverview", "rows", "malformed")
    return FleetOverview(rows=rows, raw=found)

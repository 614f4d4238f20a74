"""The time zone and the first day of a site, from the account's list of sites."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, tzinfo

from energy_core.clock import Clock
from energy_core.errors import DecodeError
from energy_core.http.client import ApiClient
from energy_core.local_days import TimeRange, zone_or_utc
from vrm_async import validation
from vrm_async.calendar import calendar_of
from vrm_async.history.stats import SiteFacts
from vrm_async.models.site import Site
from vrm_async.resources.users import SITES, Users, no_such_site, read_sites


class SiteLookup:
    """A cache of the list of sites: one request serves all sites of the account."""

    def __init__(self, api: ApiClient, users: Users, clock: Clock) -> None:
        self._api = api
        self._users = users
        self._clock = clock
        self._sites: dict[int, Site] = {}
        self._listed = False
        self._lock = asyncio.Lock()

    async def facts(self, site: Site | int, timezone: str | tzinfo | None = None) -> SiteFacts:
        """Return the local days of a site and its day of creation. Cancelling is safe.

        Args:
            site: The site or its id.
            timezone: The site's time zone, instead of VRM's.

        Raises:
            NotFound: the account's list does not have the site.
            DecodeError: the site has no time zone, or one that this machine does not know.
            ValueError: this machine does not know `timezone`.
        """
        site_id = validation.site_id(site)
        found = site if isinstance(site, Site) and site.timezone else await self._find(site_id)
        if timezone is not None:
            calendar = await calendar_of(timezone, self._clock)
            return SiteFacts(calendar=calendar, created=found.created, site_id=site_id)
        if found.timezone:
            try:
                calendar = await calendar_of(found.timezone, self._clock)
                return SiteFacts(calendar=calendar, created=found.created, site_id=site_id)
            except ValueError as error:
                failure = str(error)
        else:
            failure = "VRM sends no time zone"
        self._sites.pop(site_id, None)  # its owner may set one: the next call requests the site again
        raise DecodeError(
            f"site {site_id}: {failure}; set one in VRM, or pass timezone"
            ' (for a calendar: Calendar("Europe/Berlin"))',
            kind="shape",
            vendor="vrm",
            operation=SITES.name,
        )

    async def zone(self, site: Site | int) -> tzinfo:
        """Return the time zone of a site; UTC where VRM has none, or one that this machine does not know.

        Raises:
            NotFound: the account's list does not have the site.
        """
        found = (
            site if isinstance(site, Site) and site.timezone else await self._find(validation.site_id(site))
        )
        return await asyncio.to_thread(zone_or_utc, found.timezone)

    def known_zone(self, site: Site | int) -> str | None:
        """Return the name of a site's time zone if no request is needed for it, else None."""
        known = self._sites.get(validation.site_id(site))
        named = site.timezone if isinstance(site, Site) else None
        return named or (None if known is None else known.timezone)

    async def resolve_range(
        self, site: Site | int, given_range: TimeRange
    ) -> tuple[datetime | None, datetime | None]:
        """Return start and end of a range; the site's time zone is looked up only where it matters."""
        where = await self.zone(site) if given_range.needs_zone else UTC
        return given_range.resolve(self._clock.utcnow(), where)

    async def _find(self, site_id: int) -> Site:
        async with self._lock:
            if site_id not in self._sites and not self._listed:
                self._remember(await read_sites(self._api, self._users))
                self._listed = True
            if site_id not in self._sites:
                # A new site, or one of another user: an administrator's list lacks sites that they may see.
                self._remember(await read_sites(self._api, self._users, site_id=site_id))
            if site_id not in self._sites:
                raise no_such_site(site_id, hint="; pass timezone and start")
            return self._sites[site_id]

    def _remember(self, sites: tuple[Site, ...]) -> None:
        self._sites |= {site.id: site for site in sites}

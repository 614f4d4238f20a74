"""Time zone and day of creation of a site, read once from the list of installations."""

from __future__ import annotations

import asyncio
from datetime import tzinfo

from energy_core.errors import DecodeError, NotFound
from vrm_async.calendar import calendar_of
from vrm_async.history.stats import SiteFacts
from vrm_async.models.site import Site
from vrm_async.resources.users import INSTALLATIONS, Users


class SiteLookup:
    """Cache of the list of installations: one request serves all sites of the account."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._sites: dict[int, Site] = {}
        self._listed = False
        self._lock = asyncio.Lock()

    async def facts(self, site_id: int, timezone: str | tzinfo | None = None) -> SiteFacts:
        """Return local days and day of creation of a site.

        Args:
            site_id: VRM's idSite.
            timezone: Overrides the time zone that VRM sends.

        Raises:
            NotFound: the account's list does not have the site.
            DecodeError: VRM sends no time zone for the site, or one that this machine does not know.
            ValueError: this machine does not know `timezone`.
        """
        async with self._lock:
            site = await self._find(site_id)
        if timezone is not None:
            return SiteFacts(calendar=await calendar_of(timezone), created=site.created, site_id=site_id)
        problem = "VRM sends no time zone"
        if site.timezone:
            try:
                calendar = await calendar_of(site.timezone)
            except ValueError as error:
                problem = str(error)
            else:
                return SiteFacts(calendar=calendar, created=site.created, site_id=site_id)
        self._sites.pop(site_id, None)  # the owner may set a zone: read the site again next time
        raise DecodeError(
            f"site {site_id}: {problem}; set one in VRM, or pass timezone"
            ' (for a calendar: Calendar("Europe/Berlin"))',
            kind="shape",
            vendor="vrm",
            operation=INSTALLATIONS.name,
        )

    async def zone(self, site_id: int) -> tzinfo:
        """Return the time zone of a site; raises as `facts` does."""
        return (await self.facts(site_id)).calendar.zone

    async def _find(self, site_id: int) -> Site:
        if site_id not in self._sites and not self._listed:
            self._add(await self._users.installations())
            self._listed = True
        if site_id not in self._sites:
            # A new site, or one of another account: an administrator's list does not have all visible sites.
            self._add(await self._users.installations(site_id=site_id))
        if site_id not in self._sites:
            raise NotFound(
                f"the account's list of sites does not have {site_id}; pass timezone and start",
                vendor="vrm",
                operation=INSTALLATIONS.name,
                method=INSTALLATIONS.method,
                path=INSTALLATIONS.path,
            )
        return self._sites[site_id]

    def _add(self, sites: tuple[Site, ...]) -> None:
        self._sites |= {site.id: site for site in sites}

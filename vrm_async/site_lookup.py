"""Where a site is on the clock: its time zone and its first day, asked for once."""

from __future__ import annotations

import asyncio
from datetime import tzinfo

from energy_core.errors import DecodeError, NotFound
from vrm_async.calendar import calendar_of
from vrm_async.history.stats import SiteFacts
from vrm_async.models.site import Site
from vrm_async.resources.users import INSTALLATIONS, Users


class SiteLookup:
    """Remembers what the list of installations says; one call serves all sites of the account."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._sites: dict[int, Site] = {}
        self._listed = False
        self._asking = asyncio.Lock()

    async def facts(self, site_id: int, timezone: str | tzinfo | None = None) -> SiteFacts:
        """Return what a history has to know of a site.

        Args:
            site_id: The site.
            timezone: The site's zone, where the caller knows it better than VRM.

        Raises:
            NotFound: the account's list does not have the site.
            DecodeError: the site has no time zone, or one that this machine does not know.
            ValueError: this machine does not know `timezone`.
        """
        async with self._asking:
            site = await self._find(site_id)
        if timezone is not None:
            return SiteFacts(calendar=await calendar_of(timezone), created=site.created, site_id=site_id)
        if site.timezone:
            try:
                calendar = await calendar_of(site.timezone)
                return SiteFacts(calendar=calendar, created=site.created, site_id=site_id)
            except ValueError as error:
                failure = str(error)
        else:
            failure = "VRM does not say its time zone"
        self._sites.pop(site_id, None)  # so that it is asked again: its owner may set one
        raise DecodeError(
            f"site {site_id}: {failure}; set one in VRM, or pass timezone"
            ' (for a calendar: Calendar("Europe/Berlin"))',
            kind="shape",
            vendor="vrm",
            operation=INSTALLATIONS.name,
        )

    async def _find(self, site_id: int) -> Site:
        if site_id not in self._sites and not self._listed:
            self._remember(await self._users.installations())
            self._listed = True
        if site_id not in self._sites:
            # New since then, or somebody else's: an administrator's list does not have all they may see.
            self._remember(await self._users.installations(site_id=site_id))
        if site_id not in self._sites:
            raise NotFound(
                f"the account's list of sites does not have {site_id}; timezone and start do without it",
                vendor="vrm",
                operation=INSTALLATIONS.name,
                method=INSTALLATIONS.method,
                path=INSTALLATIONS.path,
            )
        return self._sites[site_id]

    def _remember(self, sites: tuple[Site, ...]) -> None:
        self._sites |= {site.id: site for site in sites}

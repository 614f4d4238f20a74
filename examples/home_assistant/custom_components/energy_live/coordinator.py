"""Follows the merged stream and passes changes on to the entities."""

import logging

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator

from energy_core import Kind, MergedStream, Quantity, SourceId, State, merge
from energy_core.home import HomeState, Present
from vrm_async import VRMClient
from vrm_async.models import Site

from .const import DOMAIN

_LOGGER = logging.getLogger(__name__)


class EnergyCoordinator(DataUpdateCoordinator[dict[int, HomeState]]):
    """The present values of each site by its id. Nothing polls here: the stream pushes."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry, vrm: VRMClient) -> None:
        super().__init__(hass, _LOGGER, config_entry=entry, name=DOMAIN, always_update=True)
        self.vrm = vrm
        self.sites: dict[int, Site] = {}
        self.events: MergedStream | None = None
        self.data = {}

    async def read_sites(self) -> None:
        """Read the sites of the account; each becomes a device."""
        self.sites = {site.id: site for site in await self.vrm.sites()}

    async def follow(self) -> None:
        """Take events until the entry is unloaded. A refused credential asks the user for a new one."""
        async with merge(self.vrm.live()) as self.events:
            async for event in self.events:
                if event.kind is Kind.STATUS and event.detail.state is State.AUTH_FAILED:
                    self.config_entry.async_start_reauth(self.hass)
                if event.source.site.isdecimal():
                    self.data.setdefault(int(event.source.site), HomeState()).take(event)
                self.async_set_updated_data(self.data)

    def present(self, site_id: int, quantity: Quantity) -> Present | None:
        """Return the value of a quantity, or None if the site does not have it or is silent."""
        home = self.data.get(site_id)
        found = None if home is None else home.present(quantity)
        return None if found is None or found.stale or found.state is State.STALE else found

    def quantities(self) -> set[tuple[int, Quantity]]:
        """Return what has arrived so far: each pair becomes an entity."""
        return {(site_id, quantity) for site_id, home in self.data.items() for quantity in home.snapshot()}

    def name_of(self, source: SourceId) -> str:
        """Return the name of a site."""
        site = self.sites.get(int(source.site))
        return source.site if site is None else site.name

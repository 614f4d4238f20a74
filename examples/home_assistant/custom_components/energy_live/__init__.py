"""A Victron VRM account in Home Assistant: a skeleton that reads and never controls."""

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_TOKEN, Platform
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ConfigEntryAuthFailed, ConfigEntryNotReady
from homeassistant.helpers.aiohttp_client import async_get_clientsession

from energy_core import EnergyError, preload
from energy_core.errors import AuthError
from vrm_async import VRMClient

from .coordinator import EnergyCoordinator

PLATFORMS = [Platform.SENSOR]

EnergyConfigEntry = ConfigEntry[EnergyCoordinator]


async def async_setup_entry(hass: HomeAssistant, entry: EnergyConfigEntry) -> bool:
    """Connect to the account, and follow its stream until the entry is unloaded."""
    await hass.async_add_executor_job(preload)  # later nothing is imported in the event loop
    vrm = VRMClient(
        session=async_get_clientsession(hass), token=entry.data[CONF_TOKEN], account=entry.unique_id
    )
    coordinator = EnergyCoordinator(hass, entry, vrm)
    try:
        await coordinator.read_sites()
    except AuthError as error:
        await vrm.aclose()
        raise ConfigEntryAuthFailed(str(error)) from error
    except EnergyError as error:
        await vrm.aclose()
        raise ConfigEntryNotReady(str(error)) from error
    entry.runtime_data = coordinator
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    entry.async_create_background_task(hass, coordinator.follow(), "energy-live stream")
    entry.async_on_unload(vrm.aclose)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: EnergyConfigEntry) -> bool:
    """End the stream and remove the entities."""
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)

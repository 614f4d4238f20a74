"""The document that Home Assistant downloads as diagnostics: without secrets, names and ids."""

from typing import Any

from homeassistant.core import HomeAssistant

from . import EnergyConfigEntry


async def async_get_config_entry_diagnostics(
    _hass: HomeAssistant, entry: EnergyConfigEntry
) -> dict[str, Any]:
    """Return versions, requests, limits, undocumented data, and the state of the source."""
    coordinator = entry.runtime_data
    return coordinator.vrm.diagnostics(coordinator.events)

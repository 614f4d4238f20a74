"""Runs Home Assistant's own MQTT integration, in its own interpreter: FOLDER PORT.

For each line of its input it prints one line of JSON with states, devices and the warnings so far. It needs
the packages `homeassistant` and `paho-mqtt`, whose versions contradict those of this project.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from types import MappingProxyType

from homeassistant import bootstrap, config_entries, core, loader
from homeassistant.helpers import area_registry, device_registry, entity_registry
from homeassistant.setup import async_setup_component

warnings: list[str] = []


class _Collect(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warnings.append(record.getMessage())


def _snapshot(hass: core.HomeAssistant) -> str:
    areas, devices = area_registry.async_get(hass), device_registry.async_get(hass)
    entities = entity_registry.async_get(hass)
    return json.dumps(
        {
            "states": {
                each.entity_id: {"state": each.state, **each.attributes} for each in hass.states.async_all()
            },
            "unique_ids": {each.entity_id: each.unique_id for each in entities.entities.values()},
            "devices": {
                each.name: areas.async_get_area(each.area_id).name if each.area_id else None
                for each in devices.devices.values()
            },
            "warnings": warnings,
        }
    )


async def main(folder: str, port: int) -> None:
    hass = core.HomeAssistant(folder)
    loader.async_setup(hass)
    hass.config.skip_pip = True
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.config.components.update({"http", "file_upload"})  # the integration needs them for its dialogs only
    await async_setup_component(hass, "homeassistant", {})
    entry = config_entries.ConfigEntry(
        version=1,
        minor_version=2,
        domain="mqtt",
        title="mqtt",
        data={"broker": "127.0.0.1", "port": port, "discovery": True, "protocol": "5"},
        options={},
        source="user",
        unique_id=None,
        discovery_keys=MappingProxyType({}),
        subentries_data=(),
    )
    hass.config_entries._entries[entry.entry_id] = entry
    await async_setup_component(hass, "mqtt", {})
    await hass.async_start()
    logging.getLogger("homeassistant.components").addHandler(_Collect(logging.WARNING))
    while await asyncio.to_thread(sys.stdin.readline):
        sys.stdout.write(_snapshot(hass) + "\n")
        sys.stdout.flush()
    await hass.async_stop(force=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

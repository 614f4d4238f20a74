"""Runs the skeleton integration in a Home Assistant of its own, against the simulator.

`nox -s home-assistant` starts it. Home Assistant is installed beside newer versions of aiohttp and attrs than
its release pins.
"""

import asyncio
import functools
import json
import shutil
import sys
import tempfile
from pathlib import Path

import homeassistant.loader as ha_loader
from homeassistant import bootstrap, config_entries
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.setup import async_setup_component

import vrm_async
from energy_live.simulator import Simulator

ROOT = Path(__file__).parents[2]
COMPONENT = ROOT / "examples" / "home_assistant" / "custom_components"


async def started(folder: Path) -> HomeAssistant:
    """Return a Home Assistant without user interface and recorder."""
    hass = HomeAssistant(str(folder))
    hass.config.config_dir = str(folder)
    hass.config.skip_pip = True  # the package under test is installed
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    ha_loader.async_setup(hass)
    await bootstrap.async_load_base_functionality(hass)
    hass.config.components.update({"http", "websocket_api"})  # the user interface, which network waits for
    await async_setup_component(hass, "network", {})
    await hass.async_start()
    return hass


async def until(condition, what: str) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    sys.stdout.write(f"ok: {what}\n")


async def run() -> None:
    """Set the integration up, look at its sensors, exchange the token, and unload it."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(COMPONENT, Path(name, "custom_components"))
        sys.path.insert(0, name)
        async with Simulator(speed=60.0) as simulator:
            client = functools.partial(vrm_async.VRMClient, base_url=simulator.vrm_url)
            vrm_async.VRMClient = client
            hass = await started(Path(name))
            try:
                await check(hass, simulator)
            finally:
                await hass.async_stop(force=True)


async def check(hass: HomeAssistant, simulator: Simulator) -> None:
    """The promises of the skeleton, one after the other."""
    flows = hass.config_entries.flow
    form = await flows.async_init("energy_live", context={"source": config_entries.SOURCE_USER})
    assert form["type"] == "form", form
    refused = await flows.async_configure(form["flow_id"], {"token": "0" * 64})
    assert refused["errors"] == {"base": "invalid_auth"}, refused
    made = await flows.async_configure(form["flow_id"], {"token": simulator.vrm_token})
    assert made["type"] == "create_entry", made
    (entry,) = hass.config_entries.async_entries("energy_live")
    await until(lambda: entry.state is config_entries.ConfigEntryState.LOADED, "the entry is loaded")

    def numbers():
        return {state.entity_id: state.state for state in hass.states.async_all("sensor")}

    await until(lambda: len(numbers()) >= 10, "each quantity of each site is a sensor")
    await until(lambda: all(float(each) is not None for each in numbers().values()), "all have a value")
    devices = device_registry.async_get(hass).devices.values()
    assert len(devices) == len(simulator.site_ids), devices
    entities = entity_registry.async_get(hass).entities.values()
    assert all(each.unique_id.startswith(f"{entry.unique_id}_") for each in entities)
    classes = {state.attributes.get("device_class") for state in hass.states.async_all("sensor")}
    assert {"power", "battery"} <= classes, classes

    diagnostics = __import__("custom_components.energy_live.diagnostics", fromlist=["x"])
    document = json.dumps(await diagnostics.async_get_config_entry_diagnostics(hass, entry))
    assert simulator.vrm_token not in document
    assert "pool" in document or "requests" in document, document
    sys.stdout.write("ok: diagnostics hold no token\n")

    assert await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is config_entries.ConfigEntryState.NOT_LOADED
    assert set(numbers().values()) <= {"unavailable"}
    sys.stdout.write("ok: unloaded\n")


if __name__ == "__main__":
    asyncio.run(run())

"""What Home Assistant makes of what `MqttOutput` publishes: `nox -s home-assistant`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from energy_core import Checkpoint
from energy_core.stream.source import OpenAlarm, StreamPosition
from energy_core.stream.vocabulary import Quantity, State
from energy_live.outputs.mqtt import MqttOutput
from tests.real.mosquitto import Mosquitto
from tests.real.output_events import BATTERY, SITE, position, reading, status

PYTHON = os.environ.get("HOME_ASSISTANT_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="HOME_ASSISTANT_PYTHON names no interpreter")

ENERGY = "sensor.home_grid_import_energy"
POWER = "sensor.home_grid_power"
_MISSING = frozenset({"unknown", "unavailable"})


class HomeAssistant:
    """A running Home Assistant; `until` waits for its states."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._latest: Mapping[str, Mapping[str, object]] = {}

    async def look(self) -> Mapping[str, Mapping[str, object]]:
        """Return states, devices and warnings."""
        self._process.stdin.write(b"\n")
        self._latest = json.loads(await self._process.stdout.readline())
        return self._latest

    async def until(self, condition: Callable[[Mapping[str, Mapping[str, object]]], object]) -> None:
        """Wait until the states are as they should be."""
        try:
            async with asyncio.timeout(60):
                while not condition((await self.look())["states"]):
                    pass
        except TimeoutError:
            pytest.fail(f"Home Assistant has {json.dumps(self._latest, indent=1)}")


@asynccontextmanager
async def home_assistant(folder: Path, broker: Mosquitto) -> AsyncIterator[HomeAssistant]:
    (folder / "configuration.yaml").write_text("homeassistant:\n")
    script = Path(__file__).with_name("home_assistant.py")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, str(script), str(folder), str(broker.port)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        limit=2**24,
    )
    try:
        yield HomeAssistant(process)
    finally:
        process.stdin.close()
        await process.wait()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    (tmp_path / "broker").mkdir()
    async with Mosquitto(tmp_path / "broker") as running:
        yield running


@asynccontextmanager
async def opened(broker: Mosquitto, options: str = "", **others) -> AsyncIterator[MqttOutput]:
    names = {("vrm", "1001"): "Home"}
    output = MqttOutput(f"{broker.url}{options}", names=names, version="1.2.3", **others)
    await output.open()
    try:
        yield output
    finally:
        await output.close()


def now_reading(number: int, values: Mapping[Quantity, float], source=SITE):
    return reading(number, source, values, time=datetime.now(UTC))


async def test_every_quantity_is_an_entity_with_its_class_unit_device_and_area(tmp_path, broker):
    values = {quantity: 1.5 + number for number, quantity in enumerate(Quantity)}
    async with home_assistant(tmp_path, broker) as home, opened(broker) as output:
        battery = now_reading(1, {Quantity.BATTERY_SOC: 55.5}, BATTERY)
        await output.write([now_reading(0, values), battery], position(1))
        await home.until(lambda states: len(states) == len(Quantity) + 2)
        await home.until(lambda states: not _MISSING.intersection(each["state"] for each in states.values()))
        found = await home.look()
    assert found["warnings"] == []
    assert found["devices"] == {"Home": "Home", "Home 261": "Home"}
    by_id = {found["unique_ids"][entity]: state for entity, state in found["states"].items()}
    for quantity, value in values.items():
        state = by_id[f"energy-live_vrm_1001_0_{quantity}"]
        assert float(state["state"]) == value
        assert state["unit_of_measurement"] == quantity.unit.replace("degC", "°C")
        energy = quantity.endswith("_energy")
        assert state["state_class"] == ("total_increasing" if energy else "measurement")
        assert (state["device_class"] == "energy") == energy  # what the energy dashboard takes
    assert found["states"]["sensor.home_261_battery_state_of_charge"]["state"] == "55.5"
    assert found["states"]["binary_sensor.home_alarm"]["state"] == "off"


async def test_availability_alarms_and_removal(tmp_path, broker):
    def shown(states: Mapping[str, Mapping[str, object]]) -> list[object]:
        return [states.get(entity, {}).get("state") for entity in (POWER, ENERGY)]

    values = {Quantity.GRID_POWER: 100.0, Quantity.GRID_IMPORT_ENERGY: 7.5}
    async with home_assistant(tmp_path, broker) as home:
        async with opened(broker) as output:
            await output.write([now_reading(0, values)], position(1))
            await home.until(lambda states: shown(states) == ["100.0", "7.5"])
            await output.write([status(1, State.STALE)], position(1))
            await home.until(lambda states: shown(states) == ["unavailable", "unavailable"])
            at = StreamPosition(
                time=datetime.now(UTC), seq=2, alarms=(OpenAlarm("7", 'Low "battery"', "Battery", 261),)
            )
            again = now_reading(2, {Quantity.GRID_POWER: -5.0})
            await output.write([again], Checkpoint({SITE: {SITE: at}}))
            await home.until(lambda states: shown(states) == ["-5.0", "7.5"])
            await home.until(lambda states: states["binary_sensor.home_alarm"]["state"] == "on")
            alarm = (await home.look())["states"]["binary_sensor.home_alarm"]
            assert alarm["alarms"] == [{"text": 'Low "battery"', "device": "Battery"}]
        await home.until(lambda states: shown(states) == ["unavailable", "unavailable"])
        sites = {("vrm", "1001")}
        async with opened(broker, sites=lambda: set(sites)) as output:
            await output.write([now_reading(3, {Quantity.GRID_POWER: 1.0})], position(4))
            await home.until(lambda states: shown(states) == ["1.0", "7.5"])
            sites.clear()
            await output.write([now_reading(4, {Quantity.GRID_POWER: 1.0})], position(5))
            await home.until(lambda states: not states)
            found = await home.look()
    assert found["devices"] == {}
    assert found["warnings"] == []


async def test_a_restarted_home_assistant_has_all_values_at_once(tmp_path, broker):
    values = {Quantity.GRID_POWER: 100.0, Quantity.GRID_IMPORT_ENERGY: 7.5}
    async with opened(broker) as output:
        await output.write([now_reading(0, values)], position(1))
        for _ in range(2):
            async with home_assistant(tmp_path, broker) as home:
                await home.until(lambda states: states.get(POWER, {}).get("state") == "100.0")
                await home.until(lambda states: states.get(ENERGY, {}).get("state") == "7.5")


async def test_a_value_that_does_not_come_any_more_becomes_unavailable(tmp_path, broker):
    async with home_assistant(tmp_path, broker) as home, opened(broker, "?expire_after=2") as output:
        values = {Quantity.GRID_POWER: 100.0, Quantity.GRID_IMPORT_ENERGY: 7.5, Quantity.PV_POWER: 1.0}
        number = 0
        while (await home.look())["states"].get(POWER, {}).get("state") != "100.0":
            await output.write([now_reading(number, values)], position(number))
            number += 1
        while (await home.look())["states"][POWER]["state"] != "unavailable":
            # The others must not keep the one alive that does not come.
            await output.write([now_reading(number, {Quantity.PV_POWER: 1.0})], position(number))
            number += 1
        states = (await home.look())["states"]
        assert states["sensor.home_pv_power"]["state"] == "1.0"
        assert states[ENERGY]["state"] == "7.5"

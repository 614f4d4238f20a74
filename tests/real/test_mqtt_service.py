"""`energy-live run` with an MQTT broker: names from the accounts, and devices of removed sites."""

from __future__ import annotations

import json
import signal

from energy_live.simulator import Simulator
from tests.real.mosquitto import Mosquitto
from tests.real.test_mqtt import retained
from tests.real.test_service_run import running
from tests.servers.real_programs import until


async def test_devices_have_the_names_of_the_accounts_and_go_with_their_sites(tmp_path):
    (tmp_path / "broker").mkdir()
    config = tmp_path / "energy-live.toml"

    def write(*lines: str) -> None:
        config.write_text("\n".join([f'state = "{tmp_path}"', *lines]))

    async with Simulator(speed=60.0, frame_s=0.1) as simulator, Mosquitto(tmp_path / "broker") as broker:

        async def names() -> dict[str, str]:
            found = await retained(broker)
            return {
                topic.removeprefix("homeassistant/device/energy-live_").removesuffix("/config"): json.loads(
                    payload
                )["device"]["name"]
                for topic, payload in found.items()
                if topic.startswith("homeassistant/")
            }

        output = f'[[output]]\nto = "{broker.url}"'
        write("[voltstorage]", "products = [301]", output)
        async with running(simulator, "--config", str(config)) as service:
            await until(lambda: _has(names, "vrm_151001_0", "voltstorage_301_0"))
            before = await names()
            write("[voltstorage]", "enabled = false", output)
            service.process.send_signal(signal.SIGHUP)
            await until(lambda: _has_not(names, "voltstorage_301_0"))
            after = await names()
            assert await service.end() == (0, ["energy-live: warning: the settings were read again"])
        assert {each.partition("_")[0] for each in before} == {"vrm", "voltstorage"}
        assert after.items() <= before.items()
        assert before["vrm_151001_0"] == "Elm Street 12"
        assert not [topic for topic in await retained(broker) if "/voltstorage/" in topic]
        # Sites that are gone at the next start are deleted, too.
        write("[voltstorage]", "products = [301]", "[vrm]", "enabled = false", output)
        async with running(simulator, "--config", str(config)) as service:
            await until(lambda: _has(names, "voltstorage_301_0"))
            await until(lambda: _has_not(names, "vrm_151001_0"))
            assert await service.end() == (0, [])


async def _has(names, *wanted: str) -> bool:
    return set(wanted) <= set(await names())


async def _has_not(names, name: str) -> bool:
    return name not in await names()

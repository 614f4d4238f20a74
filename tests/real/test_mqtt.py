"""`MqttOutput` on a real broker: everything that it publishes is read back."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import pytest

from energy_core import Checkpoint
from energy_core.secret import Secret
from energy_core.stream.source import OpenAlarm, StreamPosition
from energy_core.stream.vocabulary import AlarmChange, Quantity, SourceId, State
from energy_live.outputs import OutputError, mqtt_client
from energy_live.outputs.energy_counters import SUFFIX
from energy_live.outputs.mqtt import MqttOutput
from tests.real.mosquitto import PASSWORD, USER, Mosquitto
from tests.real.output_events import BATTERY, SITE, control, position, reading, status
from tests.servers.real_programs import RealProgram, accepts, free_port, need_program, until

pytestmark = pytest.mark.usefixtures("_quiet")

CONFIG = "homeassistant/device/energy-live_vrm_1001_0/config"
POWER = "energy-live/vrm/1001/0/grid_power"
ENERGY = "energy-live/vrm/1001/0/grid_import_energy"
GRID = {Quantity.GRID_POWER: 100.0}
NAMES = {("vrm", "1001"): 'Home "Süd", 🔋\n2'}


@pytest.fixture
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon after a lost connection."""
    monkeypatch.setattr("energy_live.outputs.mqtt._LONGEST_RETRY_S", 0.1)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path) as running:
        yield running


@asynccontextmanager
async def opened(url: str, **options) -> AsyncIterator[MqttOutput]:
    output = MqttOutput(url, **options)
    try:
        await output.open()
        yield output
    finally:
        await output.close()


async def refusal(url: str, **options) -> OutputError:
    output = MqttOutput(url, **options)
    with pytest.raises(OutputError) as caught:
        await output.open()
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return caught.value


async def retained(broker: Mosquitto, **options) -> dict[str, str]:
    """Return the retained messages by topic."""
    found = {}
    async with aiomqtt.Client("127.0.0.1", broker.port, **options) as client:
        await client.subscribe("#", 1)
        await client.publish("marker", "", 1)
        async for message in client.messages:
            if message.topic.value == "marker":
                return found
            if message.retain:  # otherwise it is being published now
                assert message.qos == 1
                found[message.topic.value] = message.payload.decode()
    raise AssertionError


def now_reading(number: int, source: SourceId = SITE, values=GRID, **changes):
    return reading(number, source, values, time=datetime.now(UTC))._replace(**changes)


async def test_devices_states_and_availability_are_read_back(broker):
    async with opened(broker.url, names=NAMES, version="1.2.3") as output:
        before = await retained(broker)
        await output.write(
            [now_reading(0), now_reading(1, BATTERY, {Quantity.BATTERY_SOC: 55.5})], position(1)
        )
        found = await retained(broker)
    assert before == {"energy-live/status": "online"}
    site, battery = (
        json.loads(found[f"homeassistant/device/energy-live_vrm_1001_{each}/config"]) for each in (0, 261)
    )
    assert site["device"]["name"] == NAMES["vrm", "1001"]
    assert site["device"]["suggested_area"] == battery["device"]["suggested_area"] == NAMES["vrm", "1001"]
    assert battery["device"]["name"] == NAMES["vrm", "1001"] + " 261"
    assert site["origin"] == {"name": "energy-live", "sw_version": "1.2.3"}
    assert site["availability_mode"] == "all"
    assert [found[each["topic"]] for each in site["availability"]] == ["online", "online"]
    assert list(site["components"]) == ["grid_power", "alarm"]
    power, soc = site["components"]["grid_power"], battery["components"]["battery_soc"]
    assert (power["device_class"], power["state_class"], power["unit_of_measurement"]) == (
        *("power", "measurement", "W"),
    )
    assert power["expire_after"] == 1800
    assert json.loads(found[power["state_topic"]])["value"] == 100.0
    assert (soc["device_class"], soc["unit_of_measurement"]) == ("battery", "%")
    assert json.loads(found[soc["state_topic"]])["value"] == 55.5
    assert json.loads(found[site["components"]["alarm"]["state_topic"]]) == {"alarms": []}
    after = await retained(broker)
    assert after["energy-live/status"] == "offline"
    assert after[CONFIG] == found[CONFIG]


async def test_a_killed_program_is_offline_by_its_will(broker):
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.real.mqtt_writer", broker.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert await writer.stdout.readline() == b"1\n"
    assert (await retained(broker))["energy-live/status"] == "online"
    writer.send_signal(signal.SIGKILL)
    await writer.communicate()

    async def offline() -> bool:
        return (await retained(broker))["energy-live/status"] == "offline"

    await until(offline)


async def test_a_started_home_assistant_gets_everything_again(broker):
    async with (
        opened(broker.url) as output,
        aiomqtt.Client("127.0.0.1", broker.port) as home_assistant,
    ):
        await output.write([now_reading(0, values={**GRID, Quantity.GRID_IMPORT_ENERGY: 7.0})], position(1))
        await home_assistant.publish("homeassistant/status", "offline", 1)
        await home_assistant.subscribe("#", 1)
        await home_assistant.publish("marker", "", 1)
        await home_assistant.publish("homeassistant/status", "online", 1)
        again = {}
        async with asyncio.timeout(60):
            async for message in home_assistant.messages:
                if not message.retain:
                    again[message.topic.value] = message.payload
                if "energy-live/status" in again:
                    break
    assert {CONFIG, POWER, ENERGY, "energy-live/vrm/1001/status", "energy-live/vrm/1001/0/alarm"} <= set(
        again
    )


async def test_a_broker_without_memory_gets_everything_again_without_an_event(broker):
    async with opened(broker.url) as output:
        await output.write([now_reading(0)], position(1))
        before = await retained(broker)
        await broker.kill()
        with pytest.raises(OutputError) as caught:
            await output.write([now_reading(1)], position(2))
        assert not caught.value.permanent
        await broker.start()

        async def restored() -> bool:
            return await retained(broker) == before

        await until(restored)
        await until(lambda: "not connected" not in repr(output))
        await output.write([now_reading(2, values={Quantity.GRID_POWER: 3.0})], position(3))
        assert json.loads((await retained(broker))[POWER])["value"] == 3.0


async def test_old_values_are_not_published_and_energies_are(broker):
    now = datetime.now(UTC)
    energy = {Quantity.GRID_POWER: 1.0, Quantity.GRID_IMPORT_ENERGY: 1.0}
    async with opened(broker.url) as output:
        await output.write(
            [
                now_reading(0, values={**energy, Quantity.PV_POWER: 1.0}, backfilled=True),
                now_reading(1, values=energy, late=True),
                now_reading(2, values=energy, received_at=now - timedelta(seconds=1801)),
            ],
            position(3),
        )
        found = await retained(broker)
        assert POWER not in found
        assert list(json.loads(found[CONFIG])["components"]) == ["grid_import_energy", "alarm"]
        assert json.loads(found[ENERGY])["value"] == 1.0
        newer = now_reading(4, values={**GRID, Quantity.GRID_IMPORT_ENERGY: 4.0})
        older = reading(3, values={Quantity.GRID_POWER: 3.0}, time=now)
        await output.write([newer, older._replace(received_at=now)], position(5))
        assert json.loads((await retained(broker))[POWER])["value"] == 100.0


async def test_an_energy_does_not_go_back_over_a_restart(broker):
    """After a crash the last seconds are delivered again; Home Assistant would count a jump back."""
    published: list[float] = []
    energies = [
        reading(number, values={Quantity.GRID_IMPORT_ENERGY: 10.0 + number, **GRID}) for number in range(6)
    ]
    async with aiomqtt.Client("127.0.0.1", broker.port) as home_assistant:
        await home_assistant.subscribe(ENERGY, 1)
        for events in (energies[:4], energies[2:5], energies[4:]):
            async with opened(broker.url) as output:
                for event in events:
                    await output.write([event], position(event.seq))
        await home_assistant.publish(ENERGY, "end", 1)
        async for message in home_assistant.messages:
            if message.payload == b"end":
                break
            published.append(json.loads(message.payload)["value"])
    assert published == sorted(published)
    assert set(published) == {10.0, 11.0, 12.0, 13.0, 14.0, 15.0}


async def test_counted_energies_belong_to_the_device_whose_power_was_counted(broker):
    counted = SITE._replace(vendor=f"vrm{SUFFIX}")
    alarms = StreamPosition(time=datetime.now(UTC), seq=1, alarms=(OpenAlarm("7", "Low battery", "", 0),))
    where = Checkpoint({SITE: {SITE: alarms}})
    async with opened(broker.url) as output:
        await output.write([now_reading(0), status(1, State.STALE)], where)
        energy = now_reading(2, counted, {Quantity.GRID_IMPORT_ENERGY: 1.5})
        await output.write([energy, status(3, State.LIVE, counted)], where)
        found = await retained(broker)
    assert list(json.loads(found[CONFIG])["components"]) == ["grid_power", "alarm", "grid_import_energy"]
    assert json.loads(found[ENERGY])["value"] == 1.5
    assert found["energy-live/vrm/1001/status"] == "offline"
    assert json.loads(found["energy-live/vrm/1001/0/alarm"])["alarms"]
    assert not [topic for topic in found if SUFFIX in topic.removeprefix("energy-live")]


async def test_a_restart_keeps_the_entities_of_values_that_have_not_come_yet(broker):
    async with opened(broker.url, names=NAMES) as output:
        await output.write([now_reading(0, values={**GRID, Quantity.BATTERY_SOC: 5.0})], position(1))
    async with opened(broker.url) as output:  # the names are not known yet
        await output.write([now_reading(1, SITE._replace(account="another label"))], position(2))
        payload = json.loads((await retained(broker))[CONFIG])
    assert list(payload["components"]) == ["grid_power", "battery_soc", "alarm"]
    assert payload["device"]["name"] == NAMES["vrm", "1001"]


async def test_retained_values_expire_on_the_broker(broker):
    async with opened(f"{broker.url}?expire_after=1") as output:
        await output.write([now_reading(0, values={**GRID, Quantity.PV_ENERGY: 1.0})], position(1))

        async def expired() -> bool:
            return POWER not in await retained(broker)

        await until(expired)
        assert "energy-live/vrm/1001/0/pv_energy" in await retained(broker)


async def test_a_stale_site_is_unavailable_until_its_next_reading(broker):
    topics = [f"energy-live/vrm/{site}/status" for site in (1001, 1002)]
    other = SourceId("vrm", "home", "1002", 0)

    async def shown() -> list[str]:
        found = await retained(broker)
        return [found[topic] for topic in topics]

    async with opened(broker.url) as output:
        await output.write([now_reading(0), now_reading(0, other)], position(1))
        assert await shown() == ["online", "online"]
        await output.write([status(1, State.STALE)], position(1))
        assert await shown() == ["offline", "online"]
        await output.write([now_reading(2, backfilled=True)], position(1))
        assert await shown() == ["offline", "online"]
        await output.write([now_reading(3)], position(1))
        assert await shown() == ["online", "online"]
        poller = SITE._replace(site="*")
        await output.write([status(4, State.DISCONNECTED, poller)], position(1))
        assert await shown() == ["online", "online"]
        await output.write([status(5, State.AUTH_FAILED, poller)], position(1))
        assert await shown() == ["offline", "offline"]
        await output.write([status(6, State.LIVE), now_reading(7, other)], position(1))
        assert await shown() == ["online", "online"]


async def test_active_alarms_are_those_of_the_position(broker):
    alarms = (OpenAlarm("7", "Low battery", "Battery", 261), OpenAlarm("8", "Grid lost", "", None))
    at = StreamPosition(time=datetime.now(UTC), seq=1, alarms=alarms)
    raised = control(1, AlarmChange(active=True, alarm="7", text="Low battery"))
    async with opened(broker.url) as output:
        await output.write([raised], Checkpoint({SITE._replace(site="*"): {SITE: at}}))
        found = await retained(broker)
        assert json.loads(found["energy-live/vrm/1001/0/alarm"])["alarms"] == [
            {"text": "Low battery", "device": "Battery"},
            {"text": "Grid lost", "device": ""},
        ]
        alarm = json.loads(found[CONFIG])["components"]["alarm"]
        assert (alarm["platform"], alarm["device_class"]) == ("binary_sensor", "problem")
        cleared = control(2, AlarmChange(active=False, alarm="7", text="Low battery"))
        await output.write([cleared], position(3))
        assert json.loads((await retained(broker))["energy-live/vrm/1001/0/alarm"]) == {"alarms": []}


async def test_devices_of_removed_sites_are_deleted_and_others_stay(broker):
    odd = SourceId("vrm", "home", "a/+#_b 🔋", -1)
    other = f"{broker.url}?base=another-program"
    async with opened(broker.url) as output, opened(other) as another:
        await output.write([now_reading(0), now_reading(0, BATTERY), now_reading(0, odd)], position(1))
        await another.write([now_reading(0)], position(1))
    remaining = {key for key in await retained(broker) if "another-program" in key}
    sites: set[tuple[str, str]] | None = {("vrm", "1001")}
    # Another run: it knows the devices from the broker only.
    async with opened(broker.url, sites=lambda: sites) as output:
        found = await retained(broker)
        assert {key for key in found if "another-program" in key} == remaining
        assert CONFIG in found
        assert not [key for key in found if "-2b-" in key]
        await output.write([now_reading(1)], position(2))
        sites = None  # the lists cannot be read now
        await output.write([now_reading(2)], position(3))
        assert CONFIG in await retained(broker)
        sites = {("vrm", "1002")}
        # An event that was waiting does not bring the device back.
        await output.write([now_reading(3), status(4, State.LIVE)], position(4))
        assert set(await retained(broker)) == {*remaining, "energy-live/status"}
        sites = {("vrm", "1001"), ("vrm", "1002")}
        await output.write([now_reading(5)], position(6))
        assert CONFIG in await retained(broker)


async def test_a_refused_state_is_set_aside_and_the_rest_is_published(tmp_path):
    acl = [
        f"user {USER}",
        *("topic readwrite homeassistant/#", "topic readwrite energy-live/+"),
        *("topic readwrite energy-live/vrm/+/status", "topic readwrite energy-live/vrm/1001/#"),
        *("topic write energy-live/vrm/1002/0/alarm", "topic read energy-live/#"),
        *("user reader", "topic readwrite #"),
    ]
    users = {USER: PASSWORD, "reader": "reader"}
    async with Mosquitto(tmp_path, users=users, acl="\n".join(acl)) as broker:
        url = broker.url.replace("//", f"//{USER}@")
        async with opened(url, password=Secret(PASSWORD)) as output:
            forbidden = now_reading(1, SITE._replace(site="1002"), {**GRID, Quantity.PV_POWER: 1.0})
            refused = await output.write([now_reading(0), forbidden, now_reading(1, BATTERY)], position(1))
            found = await retained(broker, username="reader", password="reader")
    ((event, reason),) = refused
    assert event is forbidden
    assert reason == "the broker refuses its topic, Not authorized"
    assert POWER in found
    assert "energy-live/vrm/1001/261/grid_power" in found
    assert "energy-live/vrm/1002/0/pv_power" not in found


async def test_refused_discovery_and_subscriptions_say_what_to_allow(tmp_path):
    acl = f"user {USER}\ntopic readwrite energy-live/#\ntopic read homeassistant/#\nuser guest\ntopic read x"
    async with Mosquitto(tmp_path, users={USER: PASSWORD, "guest": "guest"}, acl=acl) as broker:
        url = broker.url.replace("//", f"//{USER}@")
        async with opened(url, password=Secret(PASSWORD)) as output:
            with pytest.raises(OutputError) as caught:
                await output.write([now_reading(0)], position(1))
            assert caught.value.permanent
            assert f"refuses the topic {CONFIG}, Not authorized; let {USER} write" in str(caught.value)
        error = await refusal(broker.url.replace("//", "//guest@"), password=Secret("guest"))
        assert "let guest write to energy-live/# and homeassistant/#" in str(error)


async def test_wrong_logins_and_certificates_say_what_to_do(tmp_path):
    async with Mosquitto(tmp_path, users={USER: PASSWORD}) as broker:
        user, tls = broker.url.replace("//", f"//{USER}@"), f"mqtts://{USER}@localhost:{broker.tls_port}"
        for error in (
            await refusal(broker.url),
            await refusal(user),
            await refusal(user, password=Secret("wrong one")),
        ):
            assert error.permanent
            assert "refused the login of" in str(error)
            assert "set MQTT_PASSWORD or use a password file" in str(error)
            assert "wrong one" not in str(error)
        unknown = await refusal(tls, password=Secret(PASSWORD))
        assert unknown.permanent
        assert "cannot be trusted" in str(unknown)
        assert "cafile" in str(unknown)
        plain = await refusal(f"mqtts://{USER}@localhost:{broker.port}", password=Secret(PASSWORD))
        assert "TLS" in str(plain)
        absent = await refusal(f"{tls}?cafile={tmp_path}/absent.pem", password=Secret(PASSWORD))
        assert absent.permanent
        assert "No such file" in str(absent)
        async with opened(f"{tls}?cafile={broker.ca_file}", password=Secret(PASSWORD)) as output:
            await output.write([now_reading(0)], position(1))
        found = await retained(broker, username=USER, password=PASSWORD)
        assert POWER in found
    gone = await refusal(f"mqtt://127.0.0.1:{free_port()}")
    assert not gone.permanent
    assert "no connection to the MQTT broker 127.0.0.1" in str(gone)


async def test_a_broker_of_version_3_1_1_gets_values_that_are_not_retained(tmp_path):
    """NATS, which is one, refuses version 5."""
    port = free_port()
    config = (
        f'server_name: x\nport: {free_port()}\njetstream {{store_dir: "{tmp_path}"}}\nmqtt {{port: {port}}}'
    )
    (tmp_path / "nats.conf").write_text(config)
    program = need_program("nats-server", "nats-server", folders=(str(Path(sys.executable).parent),))
    command = (program, "-a", "127.0.0.1", "-c", str(tmp_path / "nats.conf"))
    async with (
        RealProgram(*command, ready=lambda: accepts(port), log=tmp_path / "log"),
        aiomqtt.Client("127.0.0.1", port) as home_assistant,
        opened(f"mqtt://127.0.0.1:{port}") as output,
    ):
        await home_assistant.subscribe("energy-live/#", 1)
        await output.write([now_reading(0, values={**GRID, Quantity.PV_ENERGY: 1.0})], position(1))
        async with asyncio.timeout(60):
            async for message in home_assistant.messages:
                if message.topic.value == POWER:
                    break
        async with aiomqtt.Client("127.0.0.1", port) as later:
            await later.subscribe("energy-live/vrm/1001/0/+", 1)
            found = {(await anext(later.messages)).topic.value.rpartition("/")[2] for _ in range(2)}
    assert found == {"pv_energy", "alarm"}


@pytest.mark.parametrize("cancel", [False, True])
async def test_a_broker_that_says_nothing_leaves_nothing_behind(cancel, monkeypatch):
    monkeypatch.setattr(mqtt_client, "_TIMEOUT_S", 0.5)
    accepted = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        closed.set()
        writer.close()

    closed = asyncio.Event()
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        output = MqttOutput(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        opening = asyncio.create_task(output.open())
        await accepted.wait()
        if cancel:
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        else:
            with pytest.raises(OutputError, match="timed out"):
                await opening
        await asyncio.wait_for(closed.wait(), 60)
        await output.close()

"""`MqttOutput` without a broker: its URL, its topics, and what it says when it cannot be used."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core import Checkpoint
from energy_core.secret import Secret
from energy_core.stream.vocabulary import Quantity
from energy_live.outputs import OutputError
from energy_live.outputs.home_assistant import (
    ALARM,
    DeviceKey,
    LatestState,
    Topics,
    discovery_payload,
    read_discovery,
    read_state,
    state_payload,
)
from energy_live.outputs.mqtt import MqttOutput
from energy_live.outputs.mqtt_target import MqttTarget

TOPICS = Topics(base="energy-live", discovery="homeassistant")
DEVICES = st.builds(DeviceKey, st.text(max_size=9), st.text(max_size=9), st.integers())


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("mqtt://me:hunter22@broker", "must not hold a password"),
        ("mqtts://me@broker?password=hunter22", "must not hold a password"),
        ("http://me@broker?x=hunter22", "must begin with mqtt:// or mqtts://"),
        ("mqtt://me@broker:hunter22", "must have the form"),
        ("mqtt://me@broker?hunter22", "must have the form"),
        ("mqtt://me@broker/hunter22", "must have the form"),
        ("mqtt://", "must have the form"),
        ("mqtt://broker?bas=x", "unknown option 'bas'; known: base, cafile"),
        ("mqtt://broker?base=a/b", "base must consist of letters, digits and hyphens"),
        ("mqtt://broker?discovery=a/%23", "discovery must be the beginning of a topic"),
        ("mqtt://broker?expire_after=0", "expire_after must be a whole number"),
    ],
)
def test_a_wrong_url_is_refused_without_repeating_it(url, fault):
    with pytest.raises(ValueError, match=re.escape(fault)) as caught:
        MqttOutput(url)
    assert "hunter22" not in str(caught.value)


def test_ports_and_options_of_a_url():
    plain = MqttTarget.of_url("mqtt://broker")
    assert (plain.host, plain.port, plain.user, plain.tls) == ("broker", 1883, None, False)
    assert plain.topics == TOPICS
    tls = MqttTarget.of_url("mqtts://m%40e@[::1]?base=a&discovery=b/c&expire_after=60")
    assert (tls.host, tls.port, tls.user, tls.tls, tls.expire_after_s) == ("::1", 8883, "m@e", True, 60)
    assert tls.topics.config(DeviceKey("vrm", "1", 0)) == "b/c/device/a_vrm_1_0/config"
    assert tls.ssl_context().check_hostname


async def test_without_the_extra_it_names_the_command_to_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiomqtt", None)
    with pytest.raises(OutputError, match=r'pip install "energy-live\[mqtt\]"') as caught:
        await MqttOutput("mqtt://localhost").open()
    assert caught.value.permanent


async def test_without_a_connection_nothing_is_written_and_nothing_is_printed():
    output = MqttOutput("mqtt://me@localhost", password=Secret("hunter22"))
    with pytest.raises(OutputError, match="no connection"):
        await output.write([], Checkpoint())
    await output.close()
    assert "hunter22" not in repr(output) + repr(vars(output))


@given(DEVICES, DEVICES)
def test_any_device_has_topics_of_its_own_and_is_read_back_from_them(first, second):
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", TOPICS.device_id(first))
    assert TOPICS.device_of_config(TOPICS.config(first)) == first
    assert TOPICS.energy_of_state(TOPICS.state(first, "pv_energy")) == (first, Quantity.PV_ENERGY)
    assert TOPICS.energy_of_state(TOPICS.state(first, "pv_power")) is None
    assert (TOPICS.device_id(first) == TOPICS.device_id(second)) == (first == second)
    assert not re.search(r"[+#\x00]", TOPICS.state(first, ALARM) + TOPICS.site_status(*first[:2]))


@given(st.text(), st.text())
def test_messages_of_other_programs_are_ignored(topic, payload):
    assert TOPICS.device_of_config(topic) is None
    assert TOPICS.energy_of_state(topic) is None
    assert read_discovery(payload) is None
    assert read_state(payload) is None


@pytest.mark.parametrize(
    "payload",
    [
        '{"value": true, "time": "2026-01-01T00:00:00Z"}',
        '{"value": 1, "time": "2026-01-01"}',
        "[]",
        "{}",
        "1",
    ],
)
def test_a_state_that_is_none_is_ignored(payload):
    assert read_state(payload) is None


def test_what_is_written_is_read_back():
    state = LatestState(datetime(2026, 11, 1, tzinfo=UTC), 1.5, datetime(2026, 11, 1, tzinfo=UTC))
    assert read_state(state_payload(Quantity.PV_ENERGY, state)) == (state.time, 1.5)
    payload = _payload(["pv_energy", ALARM])
    assert read_discovery(payload) == ('a "name"', ["pv_energy", ALARM])
    assert read_discovery(payload.replace("pv_energy", "of_a_newer_version")) == ('a "name"', [ALARM])


def test_every_quantity_has_the_class_that_home_assistant_needs():
    components = json.loads(_payload([*Quantity, ALARM]))["components"]
    for quantity in Quantity:
        sensor = components[quantity]
        energy = quantity.endswith("_energy")
        assert sensor["device_class"] in {"power", "battery", "voltage", "current", "temperature", "energy"}
        assert sensor["state_class"] == ("total_increasing" if energy else "measurement")
        assert sensor["unit_of_measurement"] == quantity.unit.replace("degC", "°C")
        assert ("expire_after" in sensor) is not energy  # a counter stays valid
    names = {each: components[each]["name"] for each in ("pv_power", "battery_soc", "grid_import_energy")}
    assert list(names.values()) == ["PV power", "Battery state of charge", "Grid import energy"]


def _payload(components: list[str]) -> str:
    device = DeviceKey("vrm", "1001", 0)
    return discovery_payload(TOPICS, device, components, name='a "name"', expire_after_s=60, version="")

"""Metrics for Prometheus: what is served, what vanishes, what stays."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from energy_core import Checkpoint, Event, Kind, Quantity, SourceId, SourceStatus, State, Status
from energy_live.outputs import OutputState, OutputStatus
from energy_live.outputs.output import OutputError
from energy_live.outputs.prometheus import PrometheusOutput
from tests.servers.virtual_time import VirtualClock

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SITE = SourceId("vrm", "me", "151734")
DEVICE = SITE._replace(instance=288)
GRID, SOC, ENERGY = Quantity.GRID_POWER, Quantity.BATTERY_SOC, Quantity.PV_ENERGY


class Clock(VirtualClock):
    """A clock that is set by hand."""

    now = NOON

    def utcnow(self):
        return self.now


def reading(values, source=DEVICE, time=NOON, **changes):
    return Event(source, Kind.READING, "k", time, time, 1, "i", values)._replace(**changes)


def status(state, source=SITE):
    return Event(source, Kind.STATUS, "k", NOON, NOON, 1, "i", detail=Status(state=state))


def samples(output):
    """Everything that is served: name and labels with their value."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for metric in output.collect()
        for sample in metric.samples
    }


def names(output):
    return {key[0] for key in samples(output)}


async def served(*batch, **options):
    clock = Clock()
    output = PrometheusOutput("127.0.0.1", 0, clock=clock, **options)
    await output.write(batch, Checkpoint())
    return output, clock


LABELS = (("instance", "288"), ("site", "151734"), ("vendor", "vrm"))


async def test_values_in_base_units():
    """Each quantity has its base unit in its name; energies are counters."""
    output, _ = await served(
        reading({GRID: -250.0, SOC: 71.0, Quantity.BATTERY_VOLTAGE: 51.5, ENERGY: 2.5}),
        reading({Quantity.BATTERY_CURRENT: -3.0, Quantity.BATTERY_TEMPERATURE: 21.0}),
    )
    found = {key[0]: value for key, value in samples(output).items() if key[1:] == LABELS}
    assert found == {
        "energy_live_grid_power_watts": -250.0,
        "energy_live_battery_soc_ratio": 0.71,
        "energy_live_battery_voltage_volts": 51.5,
        "energy_live_battery_current_amperes": -3.0,
        "energy_live_battery_temperature_celsius": 21.0,
        "energy_live_pv_energy_joules_total": 9_000_000.0,
    }


async def test_every_quantity_has_a_unit():
    """None is forgotten when a new one is added."""
    output, _ = await served(reading(dict.fromkeys(Quantity, 1.0)))
    assert sum(key[1:] == LABELS for key in samples(output)) == len(Quantity)


async def test_a_value_vanishes_when_it_is_stale():
    """By its age, or with its site; the energy stays, and a fresh value comes back."""
    output, clock = await served(reading({GRID: 1.0, ENERGY: 1.0}))
    clock.now = NOON + timedelta(seconds=900)
    assert "energy_live_grid_power_watts" in names(output)
    clock.now = NOON + timedelta(seconds=901)
    assert names(output) == {"energy_live_pv_energy_joules_total"}
    await output.write([reading({GRID: 2.0}, time=clock.now)], Checkpoint())
    assert samples(output)["energy_live_grid_power_watts", *LABELS] == 2.0


@pytest.mark.parametrize(
    ("state", "source", "shown"),
    [
        (State.STALE, SITE, False),
        (State.FAILED, SITE, False),
        (State.AUTH_FAILED, SITE._replace(site="*"), False),
        (State.CLOSED, SITE._replace(site="*"), False),
        (State.DISCONNECTED, SITE._replace(site="*"), True),
        (State.STALE, SITE._replace(site="7"), True),
        (State.LIVE, SITE, True),
    ],
)
async def test_the_state_of_a_site(state, source, shown):
    """A stale or failed site shows no values; a connection that is lost for a moment hides none."""
    output, _ = await served(reading({GRID: 1.0}), status(state, source))
    assert ("energy_live_grid_power_watts" in names(output)) is shown


async def test_an_old_value_does_not_replace_a_newer_one():
    """Late and backfilled readings change nothing that is present."""
    early = NOON - timedelta(minutes=1)
    output, _ = await served(reading({GRID: 1.0}), reading({GRID: 5.0, SOC: 50.0}, time=early, late=True))
    found = samples(output)
    assert found["energy_live_grid_power_watts", *LABELS] == 1.0
    assert found["energy_live_battery_soc_ratio", *LABELS] == 0.5


async def test_names_of_sites():
    """Any text is a name."""
    output, _ = await served(reading({GRID: 1.0}), names={("vrm", "151734"): 'Haus "é😀"\n\\'})
    key = ("name", 'Haus "é😀"\n\\'), ("site", "151734"), ("vendor", "vrm")
    assert samples(output)["energy_live_site_info", *key] == 1.0


async def test_our_own_health():
    """State, age and losses of every source, and state, lag and losses of every output."""
    sources = {
        SITE: SourceStatus(state=State.STALE, since=NOON, age_s=60.0, quiet_s=361.0, gaps=2, readings=9)
    }
    outputs = {
        "influx": OutputStatus(
            state=OutputState.WAITING, since=NOON, pending=5, waiting_s=12.5, lost=3, written=7, failures=1
        )
    }
    output, _ = await served(health=lambda: (sources, outputs, NOON))
    found = samples(output)
    source, name = ("source", "vrm/me/151734/0"), ("output", "influx")
    assert found["energy_live_source_state", source, ("state", "stale")] == 1.0
    assert found["energy_live_source_state", source, ("state", "live")] == 0.0
    assert found["energy_live_source_state_age_seconds", source] == 60.0
    assert found["energy_live_source_quiet_seconds", source] == 361.0
    assert found["energy_live_source_gaps_total", source] == 2.0
    assert found["energy_live_output_state", name, ("state", "waiting")] == 1.0
    assert found["energy_live_output_lag_seconds", name] == 12.5
    assert found["energy_live_output_pending_events", name] == 5.0
    assert found["energy_live_output_lost_total", name] == 3.0


async def test_it_is_served_over_http():
    """In Prometheus' text, or as OpenMetrics for who asks for that; the port is free again at the end."""
    output = PrometheusOutput("127.0.0.1", 0, clock=Clock())
    assert await output.open() == Checkpoint()
    await output.write([reading({GRID: 1.5})], Checkpoint())
    head, body = await _get(output.port, "/metrics")
    assert "text/plain; version=0.0.4" in head
    families = {each.name: each for each in text_string_to_metric_families(body)}
    assert families["energy_live_grid_power_watts"].samples[0].value == 1.5
    assert "process_resident_memory_bytes" in families
    head, body = await _get(output.port, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert "application/openmetrics-text" in head
    assert body.endswith("# EOF\n")
    head, _ = await _get(output.port, "/")
    assert "404" in head
    await output.close()
    again = PrometheusOutput("127.0.0.1", output.port)
    await again.open()
    await again.close()


async def _get(port, path, accept="*/*"):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head, body


async def test_a_port_that_is_taken():
    """One line says so and what to do."""
    first = PrometheusOutput("127.0.0.1", 0)
    await first.open()
    second = PrometheusOutput("127.0.0.1", first.port)
    with pytest.raises(OutputError, match=r"cannot listen on 127.0.0.1:.*choose another address") as caught:
        await second.open()
    await second.close()
    await first.close()
    assert caught.value.permanent


async def test_without_the_extra(monkeypatch):
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(OutputError, match=r'pip install "energy-live\[prometheus\]"') as caught:
        await PrometheusOutput("127.0.0.1", 0).open()
    assert caught.value.permanent

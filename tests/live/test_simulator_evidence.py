"""The tables of `evidence` have the source of each answer of the simulator, and no others."""

from __future__ import annotations

import ast
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from energy_live import simulator
from energy_live.simulator import Simulator, evidence
from energy_live.simulator.evidence import EvidenceSource
from energy_live.simulator.voltstorage import events
from energy_live.simulator.vrm import widgets

START = datetime(2026, 6, 1, 10, tzinfo=UTC)
STATE_WIDGETS_OF_THE_DOCUMENT = {
    *("GeneratorState", "InputState", "InverterState", "MPPTState", "ChargerState", "EssBatteryLifeState"),
    *("FuelCellState", "BatteryExternalRelayState", "BatteryRelayState", "BatteryMonitorWarningsAndAlarms"),
    *("GatewayRelayState", "GatewayRelayTwoState", "SolarChargerRelayState", "VeBusState"),
}
ONLY_NAMED = {
    *("ChargerRelayState", "VeBusWarningsAndAlarms", "InverterChargerState"),
    *("InverterChargerWarningsAndAlarms", "BatterySummary", "BMSDiagnostics", "HistoricData"),
    *("IOExtenderInOut", "LithiumBMS", "DCMeter", "EvChargerSummary", "MeteorologicalSensorOverview"),
    *("GlobalLinkSummary", "MotorSummary", "PVInverterStatus", "SolarChargerSummary", "Status"),
    *("TankSummary", "TempSummaryAndGraph", "TempAirQuality"),
}
"""Widgets that the OpenAPI document names without an answer."""


def routes(application: web.Application) -> set[str]:
    return {f"{route.method} {route.resource.canonical}" for route in application.router.routes()}


@pytest.fixture
async def served() -> tuple[set[str], set[str]]:
    """Return the routes of VRM (with both methods of logout) and of VoltStorage."""
    async with Simulator(start=START, speed=1.0) as sim:
        vrm = routes(sim.vrm_server.application()) | routes(sim.vrm_server.application(logout="GET"))
        return vrm, routes(sim.volt_server.application())


async def test_every_route_names_the_source_of_its_answer(served):
    """The tables have exactly the routes of the servers."""
    vrm, volt = served
    assert vrm == set(evidence.VRM)
    messages = {f"MESSAGE {events.MESSAGE}", "REFUSAL"}
    assert volt | messages == set(evidence.VOLTSTORAGE)


async def test_the_number_of_guesses_is_known(served):
    """The number of answers of each source; a new guess changes it."""
    assert Counter(one.source for one in evidence.VRM.values()) == {
        EvidenceSource.CAPTURED: 3,
        EvidenceSource.OPENAPI: 57,
        EvidenceSource.SEED: 5,
        EvidenceSource.GUESS: 33,
    }
    assert Counter(one.source for one in evidence.VOLTSTORAGE.values()) == {
        EvidenceSource.SEED: 7,
        EvidenceSource.GUESS: 2,
    }


def test_the_operations_that_the_document_only_names_are_guesses():
    """The 28 operations without an answer in the OpenAPI document are guesses."""
    named = {f"GET /v2/installations/{{site}}/widgets/{name}" for name in ONLY_NAMED} | {
        *("POST /v2/auth/login", "GET /v2/auth/logout", "GET /v2/users/{user}/accesstokens"),
        *("GET /v2/admin/devices", "GET /v2/admin/installation-data-attributes-count"),
        *("GET /v2/admin/search-download", "GET /v2/firmwares", "POST /v2/systems/add-system"),
    }
    assert len(named) == 28
    assert {evidence.VRM[route].source for route in named} == {EvidenceSource.GUESS}


def test_every_widget_that_vrm_names_is_served():
    """All widgets that VRM names are served; those without a documented answer are guesses."""
    assert {*widgets.STATES, *widgets.SUMMARIES} == STATE_WIDGETS_OF_THE_DOCUMENT | ONLY_NAMED
    for name in (*widgets.STATES, *widgets.SUMMARIES):
        source = evidence.VRM[f"GET /v2/installations/{{site}}/widgets/{name}"].source
        assert source is (EvidenceSource.GUESS if name in ONLY_NAMED else EvidenceSource.OPENAPI), name


def refusals() -> set[str]:
    """Return the `error_code` of all errors in the simulator's source."""
    found = set()
    for path in Path(simulator.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == "VrmRefusal" and len(node.args) > 1:
                found |= {one.value for one in ast.walk(node.args[1]) if isinstance(one, ast.Constant)}
            if node.func.id == "uncoded":
                given = [word.value for word in node.keywords if word.arg == "error_code"]
                found |= {one.value for one in given if isinstance(one, ast.Constant)}
    return {"null" if code is None else str(code) for code in found}


REFUSALS = refusals()  # while no thread of a test runs: Python 3.11 cannot parse in two threads at once


def test_every_refusal_names_the_source_of_its_code():
    """The table has exactly the error codes that the simulator sends."""
    assert set(evidence.VRM_REFUSALS) == REFUSALS


def test_a_table_names_no_answer_twice():
    """A table with two lines for one answer raises ValueError."""
    with pytest.raises(ValueError, match="GET /x"):
        evidence.read_table("seed | GET /x\nguess | GET /x")
    assert evidence.read_table("seed | GET /x | the path")["GET /x"] == (EvidenceSource.SEED, "the path")


async def test_every_widget_is_answered():
    """A widget without a device is answered with empty data, not with 404."""
    async with Simulator(start=START, speed=1.0) as sim, aiohttp.ClientSession() as session:
        headers = {"X-Authorization": f"Token {sim.vrm_token}"}
        for name in sorted(STATE_WIDGETS_OF_THE_DOCUMENT | ONLY_NAMED):
            url = f"{sim.vrm_url}installations/{sim.site_ids[0]}/widgets/{name}"
            async with session.get(url, headers=headers) as response:
                assert response.status == 200, name
                body = await response.json()
            assert body["success"] is True
            assert {"data", "meta"} <= body["records"].keys(), name

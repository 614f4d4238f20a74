"""The tour calls every operation that the client declares."""

import asyncio
import importlib
import os
import pkgutil
import re
import sys
from pathlib import Path

import vrm_async
from energy_core.http.operation import Operation
from energy_live.simulator import Simulator

ROOT = Path(__file__).parents[2]
TOUR = ROOT / "examples" / "vrm_tour.py"
SECOND_CHOICES = {
    ("GET", "auth/logout"),
    ("POST", "users/{idUser}/accesstokens"),
    ("GET", "users/{idUser}/accesstokens"),
    ("GET", "users/{idUser}/accesstokens/{idAccessToken}/revoke"),
}
"""Called only if VRM rejects the first."""


def declared():
    """Method and path of every operation."""
    values = [
        value
        for module in pkgutil.iter_modules(vrm_async.__path__)
        for value in vars(importlib.import_module(f"vrm_async.{module.name}")).values()
    ]
    return {(one.method, one.path) for one in values if isinstance(one, Operation)} - SECOND_CHOICES


def matches(path, template):
    return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path) is not None


async def toured(simulator, folder):
    environment = os.environ | simulator.environment() | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    environment |= {"VRM_USERNAME": simulator.vrm_username, "VRM_PASSWORD": simulator.vrm_password}
    tour = await asyncio.create_subprocess_exec(
        sys.executable,
        str(TOUR),
        env=environment,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output = (await tour.communicate())[0].decode()
    assert tour.returncode == 0, output
    return output


async def test_the_tour_asks_everything(tmp_path):
    """Every declared request reaches the server, is answered and has its line; there is no schema drift."""
    async with Simulator(speed=600.0) as simulator:
        output = await toured(simulator, tmp_path)
        asked = [(seen.method, seen.path) for seen in simulator.requests if seen.service == "vrm"]
        refused = {seen.path: seen.status for seen in simulator.requests if (seen.status or 0) >= 400}
    missing = [
        (method, template)
        for method, template in declared()
        if not any(method == seen and matches(path, template) for seen, path in asked)
    ]
    assert missing == []
    assert refused == {"admin/devices": 403}
    assert "drift: none" in output
    assert output.count("Error") == 0
    assert len(output.splitlines()) > 50


async def test_the_tour_stays_away_from_the_real_service(tmp_path):
    """It changes data, so it refuses any server that is not on this machine."""
    tour = await asyncio.create_subprocess_exec(
        sys.executable,
        str(TOUR),
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "VRM_TOKEN": "0" * 64, "VRM_BASE_URL": "https://vrm.invalid/v2/"},
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        assert b"simulator" in (await tour.communicate())[1]
    assert tour.returncode == 1

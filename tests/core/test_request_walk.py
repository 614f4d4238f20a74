"""How much of `energy_core` a reader meets who follows one request from the call to the model."""

import json
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Self

import pytest

import energy_core
import vrm_async
from tests.servers.fault_server import FaultServer, always, answer
from tests.servers.json_backends import standard_library_only
from vrm_async import VRMClient

CORE = str(Path(energy_core.__file__).parent)
VENDOR = str(Path(vrm_async.__file__).parent)
START, END = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)
STATS = {
    "success": True,
    "records": {"Pb": [[1_777_593_600_000 + 3_600_000 * hour, 0.5] for hour in range(24)], "Pc": False},
    "totals": {"Pb": 12.0, "Pc": False},
}


class Trace:
    """Collects the files and classes that function calls enter while it is active."""

    def __init__(self) -> None:
        self.core_files: set[str] = set()
        self.classes: set[str] = set()

    def __enter__(self) -> Self:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, entered: FrameType, event: str, _: object) -> None:
        file = entered.f_code.co_filename
        if event != "call" or not file.startswith((CORE, VENDOR)):
            return
        if file.startswith(CORE):
            self.core_files.add(file.removeprefix(CORE))
        owner, _, method = entered.f_code.co_qualname.rpartition(".")
        if owner and "<locals>" not in owner and not method.startswith("<"):
            self.classes.add(owner)


@pytest.mark.parametrize("speed", [True, False])
async def test_a_request_enters_fourteen_core_files(speed):
    """A warm `stats.get` enters at most 14 files of energy_core and methods of at most 24 classes.

    It does so with the extra `speed`, where that is installed, and without it.
    """
    body = json.dumps(STATS).encode()
    async with (
        FaultServer(always(answer(body=body))) as server,
        VRMClient(token="t" * 64, base_url=server.url) as vrm,
    ):
        parsers = nullcontext() if speed else standard_library_only()
        with parsers:
            await check_walk(vrm)


async def check_walk(vrm):
    for _ in range(2):
        await vrm.stats.get(1, START, END)
    with Trace() as trace:
        stats = await vrm.stats.get(1, START, END)
    assert stats.totals["Pb"] == 12.0
    assert len(trace.core_files) <= 14, sorted(trace.core_files)
    assert len(trace.classes) <= 24, sorted(trace.classes)

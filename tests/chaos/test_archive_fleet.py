"""A year of many sites: as fast as VRM's rate limit allows, in constant memory.

ENERGY_LIVE_SITES is the number of sites; the long form has 500. Time is virtual, so that the figure depends
on the requests alone: a year of 500 sites takes 33 minutes at VRM's own limit.
"""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from datetime import datetime, timedelta

import aiohttp
import pytest

from energy_core import SessionPool
from energy_live.archive.archiver import ArchiveOptions
from energy_live.archive.check import check
from energy_live.archive.retry import RetryPolicy
from energy_live.archive.sites import archive_sites
from tests.servers.archive_run import files, table
from tests.servers.memory_network import MemoryConnector, run_inline
from tests.servers.virtual_time import VirtualClock
from tests.servers.vrm_fleet import CREATED, UNTIL, FleetVRM, energy
from vrm_async import VRMClient

pytestmark = pytest.mark.virtual_time

SITES = int(os.environ.get("ENERGY_LIVE_SITES", "30"))
BURST, PER_SECOND = 200, 3.0
"""VRM's rate limit."""
LATENCY_S = 0.5
"""Time until an answer arrives. One request after the other would use two thirds of the limit."""


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Skip fsync: no test here loses power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


async def save(vrm: FleetVRM, root, until: datetime = UNTIL):
    loop = asyncio.get_running_loop()
    run_inline(loop)
    clock = VirtualClock()
    connector = MemoryConnector(vrm.answer, latency_s=LATENCY_S)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        SessionPool(session, clock=clock) as pool,
        VRMClient(pool, token="x", base_url="http://127.0.0.1:1/v2/", clock=clock) as client,
    ):
        return await archive_sites(
            root,
            client,
            ArchiveOptions(until=until, format="csv"),
            service="https://vrm.example/v2/",
            clock=clock,
            policy=RetryPolicy(clock=clock),
        )


async def test_a_year_of_many_sites_uses_the_whole_rate_limit(tmp_path):
    """At least 97 % of the requests that the limit allows are sent, none is refused, every hour is saved."""
    vrm = FleetVRM(SITES, asyncio.get_running_loop().time)
    outcome = await save(vrm, tmp_path)
    assert outcome.missing == []
    took = asyncio.get_running_loop().time()
    allowed = BURST + PER_SECOND * took
    assert len(vrm.stats_sent) == SITES * 12
    assert len(vrm.stats_sent) >= 0.97 * allowed
    assert vrm.window.rejected == 0
    for site in (1, SITES):
        rows = table(tmp_path / f"site-{site}/statistics-hour-2025.csv")
        assert len(rows) == 365 * 24
        for row in rows[:: 24 * 7]:
            ms = round(datetime.fromisoformat(row["Time"]).timestamp()) * 1000
            assert {code: float(row[code]) for code in ("Pc", "Gc")} == {
                code: energy(site, code, ms) for code in ("Pc", "Gc")
            }
    assert check(tmp_path).damage == []


async def test_memory_does_not_grow_with_the_sites(tmp_path):
    """The peak is that of the sites that are read at the same time, however many there are."""
    peaks = []
    for count in (10, max(20, SITES // 2)):
        vrm = FleetVRM(count, asyncio.get_running_loop().time)
        tracemalloc.start()
        await save(vrm, tmp_path / str(count), until=CREATED + timedelta(days=62))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(files(tmp_path / str(count))) == count + 2
    assert peaks[1] < peaks[0] * 1.2 + 2_000_000, peaks

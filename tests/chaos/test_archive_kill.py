"""An archive run that is killed (SIGKILL) and run again ends with the same files as one that is not.

ENERGY_LIVE_KILLS is the number of kills of each archive (at most ten of that of a VRM account),
ENERGY_LIVE_SEED the seed of their times, ENERGY_LIVE_SITES the number of sites.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal

import pytest

from energy_live.archive.check import check
from tests.servers.archive_run import child, files, household, save, save_sites

KILLS = int(os.environ.get("ENERGY_LIVE_KILLS", "1"))
SITES = int(os.environ.get("ENERGY_LIVE_SITES", "4"))
SEED = int(os.environ.get("ENERGY_LIVE_SEED", "1"))


@pytest.fixture
async def home():
    async with household() as sim:
        yield sim


async def killed_after(
    sim, root, *, requests: int, delay_s: float, kind: str, vendor: str = "voltstorage"
) -> bool:
    """Start a run and kill it after this many requests and seconds; return False if it ended before."""
    before = len(sim.requests)
    process = await child(sim, root, kind=kind, vendor=vendor)
    ended = asyncio.ensure_future(process.wait())
    while len(sim.requests) - before < requests and not ended.done():  # noqa: ASYNC110  (another process)
        await asyncio.sleep(0.001)
    await asyncio.wait({ended}, timeout=delay_s)
    if not ended.done():
        process.send_signal(signal.SIGKILL)
    return await ended == -signal.SIGKILL


def check_final_names(root, undisturbed):
    """Check that every file with its final name is complete."""
    found = files(root)
    for name in found.keys() - {"manifest.json"}:
        assert found[name] == undisturbed[name], name
    if "manifest.json" in found:
        json.loads(found["manifest.json"])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_killed_at_random_times(home, tmp_path, kind):
    """After several kills, one complete run gives the same files, byte for byte."""
    rng = random.Random(f"{SEED}/{kind}")
    await save(home, tmp_path / "undisturbed", format=kind)
    undisturbed = files(tmp_path / "undisturbed")
    total = len(home.requests)
    root = tmp_path / "killed"
    kills = 0
    for _ in range(KILLS):
        # Early, so that each run can be killed, and shortly after a request, when files are written.
        requests = rng.randrange(1, max(3, total // 2))
        kills += await killed_after(home, root, requests=requests, delay_s=rng.uniform(0.0, 0.03), kind=kind)
        if root.exists():
            check_final_names(root, undisturbed)
    assert kills >= KILLS / 2
    outcome = await save(home, root, format=kind)
    assert outcome.missing == []
    assert files(root) == undisturbed
    assert check(root).damage == []
    assert (await save(home, root, format=kind)).changed == 0


async def test_killed_before_each_kind_of_file_operation(home, tmp_path):
    """Killed before an fsync, a rename or a removal: the next run finishes or undoes what was begun."""
    rng = random.Random(SEED)
    await save(home, tmp_path / "undisturbed")
    undisturbed = files(tmp_path / "undisturbed")
    root = tmp_path / "killed"
    for _ in range(KILLS):
        process = await child(home, root, die_at=rng.randrange(1, 60))
        if await process.wait() != -signal.SIGKILL:
            break
        check_final_names(root, undisturbed)
    assert (await save(home, root)).missing == []
    assert files(root) == undisturbed
    assert not list(root.rglob("*.part"))
    assert check(root).damage == []


SCALED = {"window": 200, "leaves_every_s": 0.0033}
"""VRM's rate limit, a hundred times as fast."""


@pytest.fixture
async def fleet():
    """An account with many sites: a year of 500 in the long form, 80 days of 4 in the suite."""
    days, sites = (365, SITES) if SITES > 100 else (80, 4)
    async with household(history_days=days, more_sites=sites - 2, **SCALED) as sim:
        yield sim


@pytest.fixture
async def small_fleet():
    async with household(history_days=80, more_sites=2, **SCALED) as sim:
        yield sim


@pytest.mark.parametrize("kind", ["csv", "parquet"] if SITES <= 100 else ["csv"])
async def test_an_archive_of_sites_killed_at_random_times(fleet, tmp_path, kind):
    """Killed at several moments and finished, the archive of a VRM account is the same, byte for byte."""
    rng = random.Random(f"{SEED}/sites/{kind}")
    await save_sites(fleet, tmp_path / "undisturbed", format=kind)
    undisturbed = files(tmp_path / "undisturbed")
    total = len(fleet.requests)
    root, moments, kills = tmp_path / "killed", min(KILLS, 10), 0
    for _ in range(moments):
        # Each run continues where the last was killed, so each may send a share of the requests.
        requests = rng.randrange(1, max(3, total // (moments + 1)))
        kills += await killed_after(
            fleet, root, requests=requests, delay_s=rng.uniform(0.0, 0.03), kind=kind, vendor="vrm"
        )
        if root.exists():
            check_final_names(root, undisturbed)
    assert kills == moments
    assert (await save_sites(fleet, root, format=kind)).missing == []
    assert files(root) == undisturbed
    assert check(root).damage == []
    assert (await save_sites(fleet, root, format=kind)).changed == 0


async def test_an_archive_of_sites_killed_before_each_kind_of_file_operation(small_fleet, tmp_path):
    """Killed before an fsync, a rename or a removal: the next run finishes or undoes what was begun."""
    rng = random.Random(SEED)
    await save_sites(small_fleet, tmp_path / "undisturbed")
    undisturbed = files(tmp_path / "undisturbed")
    root = tmp_path / "killed"
    for _ in range(min(KILLS, 10)):
        process = await child(small_fleet, root, die_at=rng.randrange(1, 40), vendor="vrm")
        if await process.wait() != -signal.SIGKILL:
            break
        check_final_names(root, undisturbed)
    assert (await save_sites(small_fleet, root)).missing == []
    assert files(root) == undisturbed
    assert not list(root.rglob("*.part"))
    assert check(root).damage == []

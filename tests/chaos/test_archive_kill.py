"""An archive that is killed again and again is the one that nobody disturbed.

ENERGY_LIVE_KILLS says how many times each archive is killed; ENERGY_LIVE_SEED where the chances begin.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal

import pytest

from energy_live.archive.check import check
from tests.servers.archive_run import child, files, household, save

KILLS = int(os.environ.get("ENERGY_LIVE_KILLS", "3"))
SEED = int(os.environ.get("ENERGY_LIVE_SEED", "1"))


@pytest.fixture
async def home():
    async with household() as sim:
        yield sim


async def killed_after(sim, root, *, requests: int, delay_s: float, kind: str) -> bool:
    """Start a run and kill it so long after so many requests; false when it had ended before."""
    begun = len(sim.requests)
    process = await child(sim, root, kind=kind)
    over = asyncio.ensure_future(process.wait())
    while len(sim.requests) - begun < requests and not over.done():  # noqa: ASYNC110  (it cannot tell)
        await asyncio.sleep(0.001)
    await asyncio.wait({over}, timeout=delay_s)
    if not over.done():
        process.send_signal(signal.SIGKILL)
    return await over == -signal.SIGKILL


def final_names_are_whole(root, undisturbed):
    """Nothing has its name before it is whole: what is there is what it will be, or an older state of it."""
    there = files(root)
    for name in there.keys() - {"manifest.json"}:
        assert there[name] == undisturbed[name], name
    if "manifest.json" in there:
        json.loads(there["manifest.json"])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_killed_at_random_moments(home, tmp_path, kind):
    """After any number of SIGKILLs one run to the end gives the undisturbed files, to the byte."""
    chance = random.Random(f"{SEED}/{kind}")
    await save(home, tmp_path / "undisturbed", format=kind)
    undisturbed = files(tmp_path / "undisturbed")
    in_all = len(home.requests)
    root = tmp_path / "killed"
    kills = 0
    for _ in range(KILLS):
        # Early enough that some are left to be killed, and a little after a request, when files are written.
        requests = chance.randrange(1, max(3, in_all // 2))
        kills += await killed_after(
            home, root, requests=requests, delay_s=chance.uniform(0.0, 0.03), kind=kind
        )
        if root.exists():
            final_names_are_whole(root, undisturbed)
    assert kills >= KILLS / 2
    outcome = await save(home, root, format=kind)
    assert outcome.missing == []
    assert files(root) == undisturbed
    assert check(root).damage == []
    assert (await save(home, root, format=kind)).changed == 0


async def test_killed_at_every_kind_of_step(home, tmp_path):
    """Before each flush, rename and removal in turn: whatever was half done is finished or undone."""
    chance = random.Random(SEED)
    await save(home, tmp_path / "undisturbed")
    undisturbed = files(tmp_path / "undisturbed")
    root = tmp_path / "killed"
    for _ in range(KILLS):
        process = await child(home, root, die_at=chance.randrange(1, 60))
        if await process.wait() != -signal.SIGKILL:
            break
        final_names_are_whole(root, undisturbed)
    assert (await save(home, root)).missing == []
    assert files(root) == undisturbed
    assert not list(root.rglob("*.part"))
    assert check(root).damage == []

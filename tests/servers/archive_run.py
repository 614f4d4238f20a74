"""Archives the simulator's account in this process, or in one that can be killed."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from energy_core import RateLimit, SessionPool
from energy_core.clock import SystemClock
from energy_live.archive.archiver import ArchiveOptions, ArchiveResult, archive
from energy_live.archive.retry import RetryPolicy
from energy_live.archive.sites import archive_sites
from energy_live.environment import Accounts
from energy_live.simulator import Simulator
from energy_live.simulator.server import LoggedRequest
from tests.servers.command_line import PYTHON, ROOT, environment
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

NOW = datetime(2024, 11, 4, 9, 30, tzinfo=UTC)
"""The simulator's time, which hardly advances. Its batteries are eight days old and have two months of
data."""

FAST = RateLimit(10_000, 10_000.0, 8)
"""A rate limit that no test reaches."""
SCALED = RateLimit(200, 300.0, 6)
"""VRM's rate limit, a hundred times as fast."""


def household(**options: object) -> Simulator:
    chosen = {"start": NOW, "speed": 1e-6, "export_step_s": 1800, "history_days": 8} | options
    return Simulator(**chosen)


@asynccontextmanager
async def account(sim: Simulator) -> AsyncIterator[VoltStorageClient]:
    """A client with a rate limit that no test reaches."""
    async with SessionPool() as pool:
        yield VoltStorageClient(
            pool,
            email=sim.volt_email,
            password=sim.volt_password,
            base_url=sim.voltstorage_url,
            limit=FAST,
        )


async def save(sim: Simulator, root: Path, **wish: object) -> ArchiveResult:
    async with account(sim) as client:
        return await archive(
            root,
            client,
            ArchiveOptions(**{"until": NOW, "format": "csv"} | wish),
            service="https://volt.example/rest/",
            clock=SystemClock(),
            policy=RetryPolicy(attempts=2, base_s=0.0),
        )


@asynccontextmanager
async def site_account(sim: Simulator, limit: RateLimit = SCALED) -> AsyncIterator[VRMClient]:
    """A client of the simulator's VRM account."""
    async with SessionPool() as pool:
        yield VRMClient(pool, token=sim.vrm_token, base_url=sim.vrm_url, limit=limit)


async def save_sites(sim: Simulator, root: Path, **wish: object) -> ArchiveResult:
    async with site_account(sim) as client:
        return await archive_sites(
            root,
            client,
            ArchiveOptions(**{"until": NOW, "format": "csv"} | wish),
            service="https://vrm.example/v2/",
            clock=SystemClock(),
            policy=RetryPolicy(attempts=2, base_s=0.0),
        )


async def child(
    sim: Simulator, root: Path, *, die_at: int = 0, kind: str = "csv", vendor: str = "voltstorage"
) -> asyncio.subprocess.Process:
    """Archive in another process, which may kill itself at the n-th write to the disk."""
    env = environment(sim.environment())
    arguments = (str(root), kind, str(die_at), vendor)
    return await asyncio.create_subprocess_exec(
        *PYTHON, "-m", "tests.servers.archive_run", *arguments, env=env, cwd=ROOT
    )


def files(root: Path) -> dict[str, bytes]:
    """The files of an archive, without the hidden ones of a running process."""
    found = (path for path in root.rglob("*") if path.is_file())
    names = {path.relative_to(root): path for path in found}
    return {
        str(name): path.read_bytes()
        for name, path in sorted(names.items())
        if not any(part.startswith(".") for part in name.parts)
    }


def times(root: Path) -> dict[str, int]:
    return {name: (root / name).stat().st_mtime_ns for name in files(root)}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def exports(sim: Simulator, since: int = 0) -> list[LoggedRequest]:
    """The exports requested after the first `since` requests."""
    return [one for one in list(sim.requests)[since:] if one.path == "data/export.csv"]


def _main(root: str, kind: str, die_at: str, vendor: str) -> None:
    left = int(die_at)

    def mortal(step):
        def taken(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments, **options)

        return taken

    os.fsync = mortal(os.fsync)
    Path.replace = mortal(Path.replace)
    Path.unlink = mortal(Path.unlink)

    async def work() -> None:
        accounts = Accounts.from_environment(os.environ)
        wish = ArchiveOptions(until=NOW, format=kind)
        async with SessionPool() as pool:
            if vendor == "vrm":
                vrm = VRMClient(
                    pool, token=accounts.vrm_token.reveal(), base_url=accounts.vrm_base_url, limit=SCALED
                )
                service = "https://vrm.example/v2/"
                outcome = await archive_sites(Path(root), vrm, wish, service=service, clock=SystemClock())
            else:
                client = VoltStorageClient(
                    pool,
                    email=accounts.voltstorage_email,
                    password=accounts.voltstorage_password.reveal(),
                    base_url=accounts.voltstorage_base_url,
                    limit=FAST,
                )
                service = "https://volt.example/rest/"
                outcome = await archive(Path(root), client, wish, service=service, clock=SystemClock())
            sys.exit(len(outcome.missing))

    asyncio.run(work())


if __name__ == "__main__":
    _main(*sys.argv[1:])

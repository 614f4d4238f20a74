"""A consumer that tests kill: it appends each event to a file."""

import asyncio
import os
import sys
from pathlib import Path

from energy_core import FileCheckpoint, Kind, SessionPool, merge
from energy_core.stream import commit
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

commit.INTERVAL_S = float(os.environ["CHECKPOINT_S"])  # the default of five seconds is long for a test


async def main(checkpoint: str, ledger: str, site: str) -> None:
    base, email, password = (os.environ[f"VOLTSTORAGE_{name}"] for name in ("BASE_URL", "EMAIL", "PASSWORD"))
    async with SessionPool() as pool:
        volt = VoltStorageClient(pool, email=email, password=password, base_url=base)
        vrm = VRMClient(pool, token=os.environ["VRM_TOKEN"], base_url=os.environ["VRM_BASE_URL"])
        sources = volt.live(301), vrm.live(int(site), interval_s=0.2)
        with Path(ledger).open("ab", buffering=0) as out:  # noqa: ASYNC230  (a line, and no buffer)
            async with merge(*sources, checkpoint=FileCheckpoint(checkpoint)) as events:
                async for event in events:
                    if event.kind is not Kind.STATUS:
                        out.write(event.to_json().encode() + b"\n")


asyncio.run(main(*sys.argv[1:]))

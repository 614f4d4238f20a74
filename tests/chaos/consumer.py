"""A consuming program that is going to be killed: writes what it got to a file, line by line."""

import asyncio
import os
import sys
from pathlib import Path

from energy_core import FileCheckpoint, Kind, SessionPool, merge
from energy_core.stream import saver
from voltstorage_async import VoltStorageClient

saver.INTERVAL_S = float(os.environ["CHECKPOINT_S"])  # five seconds are long for a test


async def main(checkpoint: str, ledger: str) -> None:
    base, email, password = (os.environ[f"VOLTSTORAGE_{name}"] for name in ("BASE_URL", "EMAIL", "PASSWORD"))
    async with SessionPool() as pool:
        volt = VoltStorageClient(pool, email=email, password=password, base_url=base)
        with Path(ledger).open("ab", buffering=0) as out:  # noqa: ASYNC230  (a line, and no buffer)
            async with merge(volt.live(301), checkpoint=FileCheckpoint(checkpoint)) as events:
                async for event in events:
                    if event.kind is not Kind.STATUS:
                        out.write(event.to_json().encode() + b"\n")


asyncio.run(main(*sys.argv[1:]))

"""Stores readings in PostgreSQL from the stored position on, until it is killed: URL TOTAL BATCH."""

from __future__ import annotations

import asyncio
import sys

from energy_live.outputs.postgres import PostgresOutput
from tests.real.output_events import batch_at, number_at, position


async def main(url: str, total: int, size: int) -> None:
    output = PostgresOutput(url)
    number = number_at(await output.open())
    sys.stdout.write("open\n")
    sys.stdout.flush()
    while number < total:
        await output.write(batch_at(number, size), position(number + size))
        number += size
    await output.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

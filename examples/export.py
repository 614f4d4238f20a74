"""Write the last recorded hour of a VoltStorage product to standard output, as CSV."""

import asyncio
import csv
import sys
from datetime import timedelta
from os import environ

from voltstorage_async import VoltStorageClient

URL = environ.get("VOLTSTORAGE_BASE_URL", "https://api.voltstorage.com/rest/")


async def main() -> None:
    email, password = environ["VOLTSTORAGE_EMAIL"], environ["VOLTSTORAGE_PASSWORD"]
    async with VoltStorageClient(email=email, password=password, base_url=URL) as volt:
        product, *_ = await volt.products.list()
        latest = await volt.products.latest(product.id)
        if latest.time is None:
            return  # no data yet
        out = None
        async with volt.export.rows(product.id, latest.time - timedelta(hours=1), latest.time) as rows:
            async for row in rows:  # rows arrive one by one: a year needs no more memory than an hour
                if out is None:
                    out = csv.DictWriter(sys.stdout, ["time", *rows.columns])
                    out.writeheader()
                out.writerow({"time": row.time.isoformat()} | row.values)


asyncio.run(main())

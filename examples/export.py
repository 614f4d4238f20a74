"""Write the last hour that a VoltStorage product has recorded to standard output, as CSV."""

import asyncio
import csv
import sys
from datetime import timedelta
from os import environ

from voltstorage_async import VoltStorageClient

URL = environ.get("VOLTSTORAGE_BASE_URL", "https://api.voltstorage.com/rest/")


async def main() -> None:
    """Read the export row by row; an hour or a year, it is never whole in memory."""
    email, password = environ["VOLTSTORAGE_EMAIL"], environ["VOLTSTORAGE_PASSWORD"]
    out = csv.writer(sys.stdout)
    async with VoltStorageClient(email=email, password=password, base_url=URL) as volt:
        product = await anext(volt.products.list())
        newest = (await volt.products.latest(product.id)).time
        if newest is None:
            sys.exit("this product has recorded nothing yet")
        async with volt.export.rows(product.id, newest - timedelta(hours=1), newest) as rows:
            async for row in rows:
                out.writerow([row.time.isoformat(), *(row.values.get(name, "") for name in rows.columns)])


asyncio.run(main())

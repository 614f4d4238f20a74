"""Print the events of one VoltStorage product, with the vendor's names and signs."""

import asyncio
from os import environ

from voltstorage_async import LatestData, ProductGap, UnknownProductEvent, VoltStorageClient

URL = environ.get("VOLTSTORAGE_BASE_URL", "https://api.voltstorage.com/rest/")


async def main() -> None:
    """Print ten events. The stream reconnects by itself."""
    email, password = environ["VOLTSTORAGE_EMAIL"], environ["VOLTSTORAGE_PASSWORD"]
    count = 0
    async with VoltStorageClient(email=email, password=password, base_url=URL) as volt:
        product, *_ = await volt.products.list()
        async with volt.events(product.id) as stream:
            async for event in stream:
                match event:
                    case LatestData(time=time, data=data):
                        print(f"{time:%H:%M:%S}", dict(data))
                    case ProductGap() | UnknownProductEvent():
                        print("gap or undocumented message:", event)
                count += 1
                if count == 10:
                    break


asyncio.run(main())

"""Print twenty readings of all sites and products of two accounts, merged into one stream."""

import asyncio
from os import environ

from energy_core import SessionPool, merge
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

VRM_URL = environ.get("VRM_BASE_URL", "https://vrmapi.victronenergy.com/v2/")
VOLT_URL = environ.get("VOLTSTORAGE_BASE_URL", "https://api.voltstorage.com/rest/")


async def main() -> None:
    count = 0
    email, password = environ["VOLTSTORAGE_EMAIL"], environ["VOLTSTORAGE_PASSWORD"]
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token=environ["VRM_TOKEN"], base_url=VRM_URL)
        volt = VoltStorageClient(pool, email=email, password=password, base_url=VOLT_URL)
        products = [volt.live(product.id) for product in await volt.products.list()]
        async with merge(vrm.live(), *products, include_status=False) as events:
            async for event in events:
                values = (f"{name}={value:.1f}" for name, value in event.values.items())
                print(event.time, event.source, *values)
                count += 1
                if count == 20:
                    break


asyncio.run(main())

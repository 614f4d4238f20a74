"""Ask VRM for the battery of every site, once a minute, and print what is new."""

import asyncio
from os import environ

from energy_core import Quantity, merge
from vrm_async import VRMClient

URL = environ.get("VRM_BASE_URL", "https://vrmapi.victronenergy.com/v2/")


async def main() -> None:
    """Print the state of charge of the first readings that tell it."""
    count = 0
    async with VRMClient(token=environ["VRM_TOKEN"], base_url=URL) as vrm:
        names = {str(site.id): site.name for site in await vrm.sites()}
        async with merge(vrm.live(interval_s=60.0), include_status=False) as events:
            async for event in events:
                charge = event.values.get(Quantity.BATTERY_SOC)
                if charge is None:
                    continue
                print(f"{event.time:%H:%M:%S}  {names[event.source.site]}: {charge:.1f} %")
                count += 1
                if count == 2:
                    break


asyncio.run(main())

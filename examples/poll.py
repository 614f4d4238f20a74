"""Poll VRM once a minute and print the state of charge of each site's battery."""

import asyncio
from os import environ

from energy_core import Quantity, merge
from vrm_async import VRMClient

URL = environ.get("VRM_BASE_URL", "https://vrmapi.victronenergy.com/v2/")


async def main() -> None:
    """Print the first two readings with a state of charge."""
    count = 0
    async with VRMClient(token=environ["VRM_TOKEN"], base_url=URL) as vrm:
        names = {str(site.id): site.name for site in await vrm.sites()}
        async with merge(vrm.live(interval_s=60.0), include_status=False) as events:
            async for event in events:
                soc = event.values.get(Quantity.BATTERY_SOC)
                if soc is None:
                    continue
                print(f"{event.time:%H:%M:%S}  {names[event.source.site]}: {soc:.1f} %")
                count += 1
                if count == 2:
                    break


asyncio.run(main())

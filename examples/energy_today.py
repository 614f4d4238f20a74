"""What a home does now, and what it has done since this started, out of the events of both vendors."""

from os import environ
from zoneinfo import ZoneInfo

from energy_core import Quantity, SessionPool, merge, run_service
from energy_core.home import EnergyMeter, HomeState, SourceFilter
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

VRM_URL = environ.get("VRM_BASE_URL", "https://vrmapi.victronenergy.com/v2/")
VOLT_URL = environ.get("VOLTSTORAGE_BASE_URL", "https://api.voltstorage.com/rest/")


async def main() -> None:
    """Run until Ctrl-C or SIGTERM; either ends it in order."""
    email, password = environ["VOLTSTORAGE_EMAIL"], environ["VOLTSTORAGE_PASSWORD"]
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token=environ["VRM_TOKEN"], base_url=VRM_URL)
        volt = VoltStorageClient(pool, email=email, password=password, base_url=VOLT_URL)
        site, product = (await vrm.sites())[0], await anext(volt.products.list())
        state = HomeState()
        meter = EnergyMeter(ZoneInfo(site.timezone or "UTC"), changes_only=[SourceFilter("voltstorage")])
        async with merge(vrm.live(site.id), volt.live(product.id)) as events:
            async for event in events:
                state.take(event)
                meter.take(event)
                sun, total = state.present(Quantity.PV_POWER, at=event.received_at), meter.total()
                print(
                    sun and sun.value, total.pv_kwh, total.grid_import_kwh, total.self_sufficiency, flush=True
                )


run_service(main)

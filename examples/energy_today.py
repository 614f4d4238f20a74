"""Print a home's present PV power and the energies since the start, from the events of both vendors."""

from os import environ
from zoneinfo import ZoneInfo

from energy_core import Quantity, SessionPool, merge, run_service
from energy_core.home import EnergyMeter, HomeState, SourceFilter
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

VRM_URL = environ.get("VRM_BASE_URL", "https://vrmapi.victronenergy.com/v2/")
VOLT_URL = environ.get("VOLTSTORAGE_BASE_URL", "https://api.voltstorage.com/rest/")


async def main() -> None:
    """Print a line for each event, until Ctrl-C or SIGTERM."""
    email, password = environ["VOLTSTORAGE_EMAIL"], environ["VOLTSTORAGE_PASSWORD"]
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token=environ["VRM_TOKEN"], base_url=VRM_URL)
        volt = VoltStorageClient(pool, email=email, password=password, base_url=VOLT_URL)
        [site, *_], [product, *_] = await vrm.sites(), await volt.products.list()
        state = HomeState()
        meter = EnergyMeter(ZoneInfo(site.timezone or "UTC"), changes_only=[SourceFilter("voltstorage")])
        async with merge(vrm.live(site.id), volt.live(product.id)) as events:
            async for event in events:
                state.take(event)
                meter.take(event)
                pv, total = state.present(Quantity.PV_POWER, at=event.received_at), meter.total()
                print(
                    pv and pv.value, total.pv_kwh, total.grid_import_kwh, total.self_sufficiency, flush=True
                )


run_service(main)

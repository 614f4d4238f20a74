"""Print every event of an account as a line of JSON, and continue after a restart where it stopped."""

from os import environ
from pathlib import Path

from energy_core import FileCheckpoint, SessionPool, merge, run_service
from vrm_async import VRMClient

URL = environ.get("VRM_BASE_URL", "https://vrmapi.victronenergy.com/v2/")
STATE = Path(environ.get("STATE_DIRECTORY", "."))  # systemd sets it


async def main() -> None:
    """Follow all sites. SIGTERM ends the loop, saves the position and closes the connections."""
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token=environ["VRM_TOKEN"], account="home", base_url=URL)
        async with merge(vrm.live(), checkpoint=FileCheckpoint(STATE / "position.json")) as events:
            async for event in events:
                print(event.to_json(), flush=True)


run_service(main)

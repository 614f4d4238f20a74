"""Log in to VRM with an access token, or with name, password and a one-time code."""

import asyncio
from os import environ

from energy_core.errors import TwoFactorRequired
from vrm_async import VRMClient

URL = environ.get("VRM_BASE_URL", "https://vrmapi.victronenergy.com/v2/")


def client() -> VRMClient:
    """Return a client; prefer an access token (VRM: Preferences, Integrations), since VRM retires logins."""
    if "VRM_TOKEN" in environ:
        return VRMClient(token=environ["VRM_TOKEN"], base_url=URL)
    return VRMClient(username=environ["VRM_USERNAME"], password=environ["VRM_PASSWORD"], base_url=URL)


async def main() -> None:
    """Print the user. The client logs in by itself; it raises TwoFactorRequired if VRM sends a code."""
    async with client() as vrm:
        try:
            me = await vrm.users.me()
        except TwoFactorRequired:
            await vrm.auth.login(sms_token=await asyncio.to_thread(input, "The code in the SMS: "))
            me = await vrm.users.me()
        print(f"{me.name} (user {me.id}) is logged in with {vrm}")


asyncio.run(main())

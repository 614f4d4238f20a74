"""Two ways into VRM: an access token, which is the good one, or a login, which may want a code by SMS."""

import asyncio
from os import environ

from energy_core.errors import TwoFactorRequired
from vrm_async import VRMClient

URL = environ.get("VRM_BASE_URL", "https://vrmapi.victronenergy.com/v2/")


def client() -> VRMClient:
    """An access token (VRM: Preferences, Integrations) needs no code, and VRM retires logins."""
    if "VRM_TOKEN" in environ:
        return VRMClient(token=environ["VRM_TOKEN"], base_url=URL)
    return VRMClient(username=environ["VRM_USERNAME"], password=environ["VRM_PASSWORD"], base_url=URL)


async def main() -> None:
    """Say who is asking. A client logs in by itself; only a one-time code has to come from you."""
    async with client() as vrm:
        try:
            me = await vrm.users.me()
        except TwoFactorRequired:
            await vrm.auth.login(sms_token=await asyncio.to_thread(input, "The code in the SMS: "))
            me = await vrm.users.me()
        print(f"{me.name} (user {me.id}) came in with {vrm}")


asyncio.run(main())

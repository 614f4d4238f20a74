"""The account and its sites."""

from __future__ import annotations

import asyncio
from typing import Final

from energy_core.http.api import ApiClient
from energy_core.http.request import MIB, Operation
from vrm_async import arguments, codec
from vrm_async.models import Site, User

ME: Final = Operation(vendor="vrm", name="users.me", method="GET", path="users/me", repeatable=True)
INSTALLATIONS: Final = Operation(
    vendor="vrm",
    name="users.installations",
    method="GET",
    path="users/{idUser}/installations",
    repeatable=True,
    body_limit=64 * MIB,
)


class Users:
    """Everything under ``users/`` but the access tokens."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._id: int | None = None
        self._finding = asyncio.Lock()

    async def me(self) -> User:
        """Return the account behind the credential.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/me
        """
        return await self._api.call(ME, codec.user)

    async def id(self) -> int:
        """Return the account's idUser, asked for once."""
        async with self._finding:
            if self._id is None:
                self._id = (await self.me()).id
        return self._id

    async def installations(
        self, extended: bool = False, *, user_id: int | None = None, site_id: int | None = None
    ) -> tuple[Site, ...]:
        """Return the sites of the account, or of a user that an administrator or dealer may see.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/installations

        Args:
            extended: Also ask for tags, alarms and the newest values.
            user_id: Whose sites; None finds the account's own id.
            site_id: Only this one.
        """
        query = installations_query(extended=extended, site_id=site_id)
        owner = await self.id() if user_id is None else arguments.whole("user_id", user_id)
        return await self._api.call(INSTALLATIONS, codec.sites, query=query, idUser=owner)


def installations_query(*, extended: bool, site_id: int | None) -> list[tuple[str, str]]:
    """Return the parameters of the list of sites."""
    query = [("extended", "1")] if extended else []
    return query if site_id is None else [*query, ("idSite", str(arguments.whole("site_id", site_id)))]

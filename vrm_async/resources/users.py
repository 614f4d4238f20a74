"""The account and its sites."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Final

from energy_core.errors import AnswerError, DecodeError, NotFound
from energy_core.http.client import ApiClient
from energy_core.http.operation import MIB, Operation
from energy_core.stream.vocabulary import UNIDENTIFIED
from vrm_async import validation
from vrm_async.decoding import access, sites
from vrm_async.models.account import Invites, SearchResult, User
from vrm_async.models.site import Site
from vrm_async.operations import USER, reads, writes

ME: Final = Operation(vendor="vrm", name="users.me", method="GET", path="users/me", repeatable=True)
INSTALLATIONS: Final = Operation(
    vendor="vrm",
    name="users.installations",
    method="GET",
    path="users/{idUser}/installations",
    repeatable=True,
    body_limit=64 * MIB,
)
ADD_SITE: Final = writes("users.add_site", "POST", f"{USER}/addsite")
SITE_ID: Final = reads("users.site_id", f"{USER}/get-site-id", method="POST")
SEARCH: Final = reads("users.search", f"{USER}/search")
INVITES: Final = reads("users.invites", f"{USER}/invites")

_numbers: Final = count(1)


class Users:
    """Everything under ``users/`` but the access tokens."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._id: int | None = None
        self._finding = asyncio.Lock()
        self._number = next(_numbers)

    @property
    def label(self) -> str:
        """The account's label where the user chose none: its idUser, as soon as that is known."""
        return f"{UNIDENTIFIED}{self._number}" if self._id is None else str(self._id)

    async def me(self) -> User:
        """Return the account behind the credential.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/me
        """
        user = await self._api.call(ME, sites.user)
        if user.id < 1:
            raise DecodeError("the answer has no user's id", kind="shape")
        self._id = user.id
        return user

    async def id(self) -> int:
        """Return the account's idUser, asked for once."""
        async with self._finding:
            return (await self.me()).id if self._id is None else self._id

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
        owner = await self.id() if user_id is None else validation.whole("user_id", user_id)
        return await self._api.call(INSTALLATIONS, sites.sites, query=query, idUser=owner)

    async def add_site(self, identifier: str) -> int:
        """Add a site by its gateway's identifier and return its idSite. VRM mails a link to confirm it.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/addsite

        Args:
            identifier: The VRM portal id, as the gateway shows it.
        """
        body = {"installation_identifier": validation.line("identifier", identifier)}
        return await self._api.call(ADD_SITE, access.site_id, json={**body}, idUser=await self.id())

    async def site_id(self, identifier: str) -> int:
        """Return the idSite of a gateway's identifier, among the sites the account may see.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/get-site-id

        Raises:
            NotFound: the account sees no such site.
        """
        body = {"installation_identifier": validation.line("identifier", identifier)}
        try:
            return await self._api.call(SITE_ID, access.site_id, json={**body}, idUser=await self.id())
        except AnswerError as error:
            refusal = error
        if type(refusal) is AnswerError and refusal.status == 200:  # success: false is how VRM says no
            raise refusal.as_a(NotFound, "the account sees no site of that identifier")
        raise refusal

    async def search(self, text: str) -> SearchResult:
        """Search the sites the account may see: by id, identifier, serial, name, or a user's name or e-mail.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/search
        """
        query = [("query", validation.line("text", text))]
        return await self._api.call(SEARCH, access.search, query=query, idUser=await self.id())

    async def invites(self) -> Invites:
        """Return what the account is invited to, and what it asked for.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/invites
        """
        return await self._api.call(INVITES, access.invites, idUser=await self.id())


def installations_query(*, extended: bool, site_id: int | None) -> list[tuple[str, str]]:
    """Return the parameters of the list of sites."""
    query = [("extended", "1")] if extended else []
    return query if site_id is None else [*query, ("idSite", str(validation.whole("site_id", site_id)))]

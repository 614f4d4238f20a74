"""The account: its user, its sites, searching, invitations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Final

from energy_core.checks import one_line, whole
from energy_core.codec.coerce import integer
from energy_core.codec.json import JSON
from energy_core.codec.structure import model, records
from energy_core.errors import AnswerError, DecodeError, NotFound
from energy_core.http.client import ApiClient
from energy_core.http.operation import MIB
from energy_core.stream.vocabulary import UNIDENTIFIED
from vrm_async.decoding import sites
from vrm_async.decoding.php import by_key
from vrm_async.models.account import Invites, SearchHit, SearchResult, User
from vrm_async.models.site import Site
from vrm_async.operations import USER, reads, writes
from vrm_async.responses import content, part

ME: Final = reads("users.me", "users/me")
SITES: Final = reads("sites", f"{USER}/installations", body_limit=64 * MIB)
ADD_SITE: Final = writes("users.add_site", "POST", f"{USER}/addsite")
SITE_ID: Final = reads("users.site_id", f"{USER}/get-site-id", method="POST")
SEARCH: Final = reads("users.search", f"{USER}/search")
INVITES: Final = reads("users.invites", f"{USER}/invites")

_numbers: Final = count(1)


class Users:
    """The account behind the credential; `client.users`. Its sites are `client.sites()`."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._id: int | None = None
        self._finding = asyncio.Lock()
        self._number = next(_numbers)

    @property
    def label(self) -> str:
        """The account's label in events where the user chose none: its idUser, once that is known."""
        return f"{UNIDENTIFIED}{self._number}" if self._id is None else str(self._id)

    async def me(self) -> User:
        """Return the user behind the credential. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/me

        Raises:
            AuthFailed: VRM refuses the credential.
        """
        user = await self._api.call(ME, sites.user)
        if user.id < 1:
            raise DecodeError("the answer has no user's id", kind="shape")
        self._id = user.id
        return user

    async def id(self) -> int:
        """Return the account's idUser. Only the first call sends a request. Cancelling is safe."""
        # Calls at the same time share one request.
        async with self._finding:
            return (await self.me()).id if self._id is None else self._id

    async def add_site(self, identifier: str) -> int:
        """Add a site to the account and return its idSite. VRM mails a link to confirm it. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/addsite

        Args:
            identifier: The VRM portal id that the gateway shows.
        """
        body = {"installation_identifier": one_line("identifier", identifier)}
        return await self._api.call(ADD_SITE, read_site_id, json={**body}, idUser=await self.id())

    async def site_id(self, identifier: str) -> int:
        """Return the idSite of a gateway's VRM portal id. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/get-site-id

        Raises:
            NotFound: no site that the account may see has this portal id.
        """
        body = {"installation_identifier": one_line("identifier", identifier)}
        try:
            return await self._api.call(SITE_ID, read_site_id, json={**body}, idUser=await self.id())
        except AnswerError as error:
            refusal = error
        # VRM answers an unknown portal id with status 200 and success: false.
        if type(refusal) is AnswerError and refusal.status == 200:
            raise refusal.as_kind(NotFound, "the account sees no site of that identifier")
        raise refusal

    async def search(self, text: str) -> SearchResult:
        """Search the sites that the account may see. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/search

        Args:
            text: Part of a site's id, portal id, serial number or name, or of a user's name or e-mail.
        """
        query = [("query", one_line("text", text))]
        return await self._api.call(SEARCH, read_search, query=query, idUser=await self.id())

    async def invites(self) -> Invites:
        """Return the invitations that the account received and the requests it made. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/invites
        """
        return await self._api.call(INVITES, read_invites, idUser=await self.id())


async def read_sites(
    api: ApiClient,
    users: Users,
    *,
    extended: bool = False,
    user_id: int | None = None,
    site_id: int | None = None,
) -> tuple[Site, ...]:
    """Send the request for a list of sites; `client.sites` and `client.site` are its public forms."""
    # The path has the id of a user, also for the own sites.
    owner = await users.id() if user_id is None else user_id
    return await api.call(
        SITES, sites.sites, query=sites_query(extended=extended, site_id=site_id), idUser=owner
    )


def no_such_site(site_id: int, hint: str = "") -> NotFound:
    """Return the error of a site that is not in the account's list."""
    return NotFound(
        f"the account's list of sites does not have {site_id}{hint}",
        vendor="vrm",
        operation=SITES.name,
        method=SITES.method,
        path=SITES.path,
    )


def sites_query(*, extended: bool, site_id: int | None) -> list[tuple[str, str]]:
    """Return the query parameters of the list of sites."""
    query = [("extended", "1")] if extended else []
    return query if site_id is None else [*query, ("idSite", str(whole("site_id", site_id)))]


_invited = model(
    Invites,
    wire={
        "site_groups": "invitesSiteGroups",
        "user_groups": "invitesUserGroups",
        "user_group_requests": "requestsUserGroups",
        "installation_requests": "requestsInstallations",
    },
)
_hit = model(SearchHit, wire={"identifier": "site_identifier", "name": "site_name"})
_search = model(SearchResult, wire={"hits": "results"}, read={"hits": records(_hit, "SearchHit")})


def read_invites(payload: JSON) -> Invites:
    """Read ``users/{idUser}/invites``."""
    return _invited(by_key(part(payload, "data")))


def read_search(payload: JSON) -> SearchResult:
    """Read ``users/{idUser}/search``."""
    return _search(content(payload, "results"))


def read_site_id(payload: JSON) -> int:
    """Read the id of a site that was added or found."""
    found = part(payload, "records")
    number = integer(found.get("site_id") if isinstance(found, Mapping) else None)
    if number is None:
        raise DecodeError("the answer has no site id", kind="envelope")
    return number

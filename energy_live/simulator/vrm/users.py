"""VRM: adding and finding sites, and a user's invitations, as in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from energy_live.simulator.server import Handler
from energy_live.simulator.vrm.accounts import Caller
from energy_live.simulator.vrm.installations import Installations
from energy_live.simulator.vrm.request_checks import STRING, VrmRefusal, answer, body, checked, uncoded
from energy_live.simulator.vrm.serializers import Json
from energy_live.simulator.vrm.sites import Site

_INVITED_AT: Final = 1_752_046_191
USER: Final = "/v2/users/{user:[0-9]+|me}"


class UserSites:
    """Handlers of a user's requests that name no site by its number."""

    def __init__(self, installations: Installations, caller: Callable[[web.Request], Caller]) -> None:
        self._installations = installations
        self._caller = caller

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each endpoint."""
        return [
            ("POST", f"{USER}/addsite", self._add_site),
            ("POST", f"{USER}/get-site-id", self._site_id),
            ("GET", f"{USER}/search", self._search),
            ("GET", f"{USER}/invites", self._invites),
        ]

    async def _identifier(self, request: web.Request) -> str:
        sent = checked(await body(request), required={"installation_identifier": STRING})
        return str(sent["installation_identifier"])

    async def _add_site(self, request: web.Request) -> web.Response:
        self._caller(request)
        identifier = await self._identifier(request)
        known = [site for site in self._installations.sites.values() if site.identifier == identifier]
        if not known:
            raise VrmRefusal(400, "unknown_identifier", {"installation_identifier": "Not known"})
        return answer({"success": True, "records": {"site_id": str(known[0].id)}})

    async def _site_id(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        identifier = await self._identifier(request)
        for site in self._installations.of(caller.user):
            if site.identifier == identifier:
                return answer({"success": True, "records": {"site_id": str(site.id)}})
        raise VrmRefusal(404, "not_found", "Unknown installation")

    async def _search(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        wanted = request.query.get("query", "").casefold()
        if not wanted:
            # The only error of VRM with the member `error` instead of `errors`.
            raise uncoded(400, error_code="empty_search", error=["No search string has been provided."])
        hits = [
            {
                "site_id": site.id,
                "site_identifier": site.identifier,
                "site_name": site.name,
                "avatar_url": "",
                "highlight": {"site_name": [f"<em>{site.name}</em>"]},
            }
            for site in self._installations.of(caller.user)
            if wanted in f"{site.id} {site.identifier} {site.name}".casefold()
        ]
        return answer({"success": True, "count": len(hits), "results": hits})

    async def _invites(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        return answer({"success": True, "data": _invitations(self._installations.of(caller.user))})


def _invitations(sites: Sequence[Site]) -> Json:
    """Return one invitation or request of each kind."""
    invited: Json = {
        "personalMessage": "Welcome!",
        "inviteKey": "abcdef123344",
        "inviterName": "Kim Visser",
        "inviteTimestamp": _INVITED_AT,
    }
    request: Json = {"inviteeName": "Sam de Boer", "idUser": 1090, "inviteTimestamp": _INVITED_AT}
    return {
        "invitesSiteGroups": [{"idSiteGroup": 61, "siteGroupName": "Canal homes", **invited}],
        "invitesUserGroups": [{"idUserGroup": 32, "userGroupName": "Service team", **invited}],
        "requestsUserGroups": [{"idUserGroup": 31, "userGroupName": "Team 31", **request}],
        "requestsInstallations": [
            {"idSite": site.id, "installationName": site.name, **request} for site in sites[:1]
        ],
    }

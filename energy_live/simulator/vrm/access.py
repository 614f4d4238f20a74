"""VRM: users of a site, invitations and access rights. No e-mail is sent.

Answers are the examples of the OpenAPI document.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from attrs import define, field

from energy_live.simulator.clock import Timeline
from energy_live.simulator.server import CALLER, Handler
from energy_live.simulator.vrm.accounts import VrmAccounts
from energy_live.simulator.vrm.installations import SITE, Installations
from energy_live.simulator.vrm.request_checks import (
    INTEGER,
    LIST,
    OBJECT,
    STRING,
    VrmRefusal,
    answer,
    body,
    checked,
    list_of,
    one_of,
)
from energy_live.simulator.vrm.serializers import Json
from energy_live.simulator.vrm.sites import Site

_LEVELS: Final = (0, 1, 2)
_OTHER_USER: Final = 1077
_TEAM: Final = 31


@define
class _Members:
    """Users, invitations and groups with access to one site."""

    levels: dict[int, int]
    invites: dict[str, Json] = field(factory=dict)
    groups: dict[int, int] = field(factory=dict)


class SiteAccess:
    """Handlers; each site has its own users, invitations and groups."""

    def __init__(self, timeline: Timeline, installations: Installations, accounts: VrmAccounts) -> None:
        self._timeline = timeline
        self._installations = installations
        self._accounts = accounts
        self._members: dict[int, _Members] = {}

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each endpoint."""
        return [
            ("GET", f"{SITE}/users", self._users),
            ("POST", f"{SITE}/invite", self._invite),
            ("POST", f"{SITE}/invite-rights", self._invite_rights),
            ("POST", f"{SITE}/user-rights", self._user_rights),
            ("POST", f"{SITE}/unlink-user", self._unlink_user),
            ("POST", f"{SITE}/unlink", self._unlink),
            ("POST", f"{SITE}/link-user-groups", self._link_groups),
            ("POST", f"{SITE}/user-group-access-level", self._group),
        ]

    def _of(self, request: web.Request) -> tuple[Site, _Members]:
        site = self._installations.site(request, demo=False)
        if site.id not in self._members:
            self._members[site.id] = _Members({site.user: 1, _OTHER_USER: 0}, groups={_TEAM: 2})
        return site, self._members[site.id]

    async def _users(self, request: web.Request) -> web.Response:
        _, members = self._of(request)
        return answer(
            {
                "success": True,
                "users": [self._user(user, level) for user, level in members.levels.items()],
                "invites": list(members.invites.values()),
                "pending": [{"idUser": 1090, "name": "Sam de Boer", "email": "sam@example.com"}],
                "userGroups": [
                    {"idUserGroup": group, "name": f"Team {group}", "accessLevel": level}
                    for group, level in members.groups.items()
                ],
                "siteGroups": [
                    {"idSiteGroup": 60, "name": "Elm Street", "idOwner": 1077, "adminName": "Kim Visser"}
                ],
            }
        )

    def _user(self, number: int, level: int) -> Json:
        known = self._accounts.users.get(number)
        return {
            "idUser": number,
            "name": "Kim Visser" if known is None else known.name,
            "email": "kim@example.com" if known is None else known.email,
            "accessLevel": level,
        }

    async def _invite(self, request: web.Request) -> web.Response:
        site, members = self._of(request)
        kinds = {"name": STRING, "email": STRING, "accessLevel": INTEGER}
        sent = checked(await body(request), required=kinds)
        one_of("accessLevel", sent["accessLevel"], _LEVELS)
        created = int(self._timeline.now())
        invite: Json = {"idInvite": 700 + len(members.invites), **sent, "created": created}
        members.invites[str(sent["email"])] = invite
        caller: Json = {"idUser": request[CALLER].user.id, "idSite": site.id}
        return answer({"success": True, "user": False, "data": {**caller, **invite}})

    async def _invite_rights(self, request: web.Request) -> web.Response:
        _, members = self._of(request)
        sent = checked(await body(request), optional={"email": LIST, "accessLevel": LIST})
        if len(sent) < 2:
            raise VrmRefusal(200, "accesslevel_and_invite_keys_required", ["Both arrays are required."])
        updated: Json = {}
        for email, level in _paired(list_of("email", sent["email"], STRING), sent["accessLevel"]):
            known = members.invites.get(str(email))
            updated[str(email)] = known is not None
            if known is not None:  # an address without an invitation is no error
                known["accessLevel"] = level
        return answer({"success": True, "records": updated})

    async def _user_rights(self, request: web.Request) -> web.Response:
        _, members = self._of(request)
        sent = checked(await body(request), optional={"idUser": LIST, "accessLevel": LIST})
        if len(sent) < 2:
            raise VrmRefusal(200, "accesslevel_and_user_required", ["Both arrays are required."])
        levels = dict(members.levels)
        for user, level in _paired(list_of("idUser", sent["idUser"], INTEGER), sent["accessLevel"]):
            if user not in levels:
                raise VrmRefusal(404, "not_found", "There is no such user")
            levels[int(str(user))] = level
        _keep_one_admin(levels)
        members.levels = levels
        return answer({"success": True})

    async def _unlink_user(self, request: web.Request) -> web.Response:
        site, members = self._of(request)
        sent = checked(await body(request), required={"idUser": INTEGER})
        levels = dict(members.levels)
        if levels.pop(int(str(sent["idUser"])), None) is None:
            raise VrmRefusal(200, "user_not_unlinked", ["The user could not be unlinked."])
        _keep_one_admin(levels)
        members.levels = levels
        return answer({"success": True, "idSite": site.id})

    async def _unlink(self, request: web.Request) -> web.Response:
        site, _ = self._of(request)
        self._installations.left.add(site.id)
        return answer({"success": True, "idSite": site.id})

    async def _link_groups(self, request: web.Request) -> web.Response:
        _, members = self._of(request)
        sent = checked(await body(request), required={"userGroups": LIST})
        for group in list_of("userGroups", sent["userGroups"], OBJECT):
            known = checked(dict(group), required={"idUserGroup": INTEGER, "accessLevel": INTEGER})  # type: ignore[call-overload]
            one_of("accessLevel", known["accessLevel"], _LEVELS)
            members.groups[int(str(known["idUserGroup"]))] = int(str(known["accessLevel"]))
        return answer({"success": True})

    async def _group(self, request: web.Request) -> web.Response:
        _, members = self._of(request)
        kinds = {"idUserGroup": INTEGER, "accessLevel": (int, type(None))}
        sent = checked(await body(request), required=kinds)
        number = int(str(sent["idUserGroup"]))
        if number not in members.groups:
            raise VrmRefusal(404, "not_found", "There is no such group")
        if sent["accessLevel"] is None:
            del members.groups[number]
        else:
            one_of("accessLevel", sent["accessLevel"], _LEVELS)
            members.groups[number] = int(str(sent["accessLevel"]))
        return answer({"success": True})


def _keep_one_admin(levels: dict[int, int]) -> None:
    if 1 not in levels.values():
        raise VrmRefusal(200, "min_one_admin_required", ["At least one admin must remain."])


def _paired(first: list[object], levels: object) -> list[tuple[object, int]]:
    second = [int(str(level)) for level in list_of("accessLevel", levels, INTEGER)]
    for level in second:
        one_of("accessLevel", level, _LEVELS)
    if len(first) != len(second):
        raise VrmRefusal(422, "invalid_parameters", {"accessLevel": "There must be one for each."})
    return list(zip(first, second, strict=True))

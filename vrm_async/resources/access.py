"""Who may see and control a site. What changes access is sent once and never repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from energy_core.codec.json import JSON
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation
from vrm_async import validation
from vrm_async.decoding import access
from vrm_async.models.access import SiteUsers
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import done
from vrm_async.validation import Unlisted

USERS: Final = reads("access.users", f"{SITE}/users")
INVITE: Final = writes("access.invite", "POST", f"{SITE}/invite")
SET_INVITE_RIGHTS: Final = writes("access.set_invite_rights", "POST", f"{SITE}/invite-rights")
SET_USER_RIGHTS: Final = writes("access.set_user_rights", "POST", f"{SITE}/user-rights")
UNLINK_USER: Final = writes("access.unlink_user", "POST", f"{SITE}/unlink-user")
LEAVE: Final = writes("access.leave", "POST", f"{SITE}/unlink")
LINK_USER_GROUPS: Final = writes("access.link_user_groups", "POST", f"{SITE}/link-user-groups")
SET_USER_GROUP: Final = writes("access.set_user_group", "POST", f"{SITE}/user-group-access-level")

Key = TypeVar("Key", int, str)


class Access:
    """The users of a site. Levels are 0 monitoring, 1 full control, 2 technician."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def users(self, site_id: int) -> SiteUsers:
        """Return who has access, who is invited, and which groups are linked.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/users
        """
        return await self._api.call(USERS, access.users, idSite=validation.whole("site_id", site_id))

    async def invite(self, site_id: int, *, name: str, email: str, access_level: int | Unlisted) -> None:
        """Mail somebody an invitation.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/invite
        """
        body: dict[str, JSON] = {
            "name": validation.line("name", name),
            "email": validation.line("email", email),
            "accessLevel": validation.access_level(access_level),
        }
        await self._send(INVITE, site_id, body)

    async def set_invite_rights(self, site_id: int, levels: Mapping[str, int | Unlisted]) -> None:
        """Change what invited people will be allowed to do: a level for each e-mail address.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/invite-rights

        Raises:
            AnswerError: VRM changed some and not the others; `users` returns the invitations.
        """
        emails: list[JSON] = [validation.line("email", email) for email in _some(levels)]
        body: JSON = {"email": emails, "accessLevel": _levels(levels)}
        site_id = validation.whole("site_id", site_id)
        await self._api.call(SET_INVITE_RIGHTS, access.all_changed, json=body, idSite=site_id)

    async def set_user_rights(self, site_id: int, levels: Mapping[int, int | Unlisted]) -> None:
        """Change what users may do: a level for each idUser.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/user-rights
        """
        users: list[JSON] = [validation.whole("user_id", user) for user in _some(levels)]
        await self._send(SET_USER_RIGHTS, site_id, {"idUser": users, "accessLevel": _levels(levels)})

    async def unlink_user(self, site_id: int, user_id: int) -> None:
        """Take a user's access away.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/unlink-user
        """
        await self._send(UNLINK_USER, site_id, {"idUser": validation.whole("user_id", user_id)})

    async def leave(self, site_id: int) -> None:
        """Give up the own access to a site (``unlink``). Somebody else must invite the account again.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/unlink
        """
        await self._send(LEAVE, site_id, None)

    async def link_user_groups(self, site_id: int, levels: Mapping[int, int | Unlisted]) -> None:
        """Give groups of users access: a level for each idUserGroup.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/link-user-groups
        """
        groups: list[JSON] = [
            {"idUserGroup": validation.whole("user_group_id", group), "accessLevel": level}
            for group, level in zip(_some(levels), _levels(levels), strict=True)
        ]
        await self._send(LINK_USER_GROUPS, site_id, {"userGroups": groups})

    async def set_user_group(
        self, site_id: int, user_group_id: int, access_level: int | Unlisted | None
    ) -> None:
        """Change what a group of users may do; None takes its access away.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/user-group-access-level
        """
        level = None if access_level is None else validation.access_level(access_level)
        group = validation.whole("user_group_id", user_group_id)
        await self._send(SET_USER_GROUP, site_id, {"idUserGroup": group, "accessLevel": level})

    async def _send(self, operation: Operation, site_id: int, body: JSON) -> None:
        await self._api.call(operation, done, json=body, idSite=validation.whole("site_id", site_id))


def _some(levels: Mapping[Key, int | Unlisted]) -> list[Key]:
    if not isinstance(levels, Mapping):
        raise TypeError(f"levels must be a mapping, not {type(levels).__name__}")
    if not levels:
        raise ValueError("levels must not be empty")
    return list(levels)


def _levels(levels: Mapping[Key, int | Unlisted]) -> list[JSON]:
    return [validation.access_level(level) for level in levels.values()]

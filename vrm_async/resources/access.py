"""Who may see and control a site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from energy_core.checks import one_line, whole
from energy_core.codec.coerce import Reader, flag, seconds_or_never
from energy_core.codec.json import JSON
from energy_core.codec.structure import model, records
from energy_core.errors import AnswerError
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation
from vrm_async import validation
from vrm_async.decoding.php import by_key
from vrm_async.models.access import Group, Invite, SiteUser, SiteUsers
from vrm_async.models.site import Site
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import content, done
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
    """The users of a site and their rights; `client.access`.

    Access levels are 0 (monitoring), 1 (full control) and 2 (technician). Requests that change access are
    sent once and never repeated; after an error that leaves their result open, `users` returns the present
    state.
    """

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def users(self, site: Site | int) -> SiteUsers:
        """Return the users, the pending invitations and the linked groups of a site. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/users

        Raises:
            PermissionDenied: the account may not manage the site.
        """
        return await self._api.call(USERS, read_users, idSite=validation.site_id(site))

    async def invite(self, site: Site | int, *, name: str, email: str, access_level: int | Unlisted) -> None:
        """Invite a person by e-mail. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/invite

        Args:
            site: The site or its id.
            name: The person's name, one line.
            email: The address that VRM writes to.
            access_level: 0 monitoring, 1 full control, 2 technician.
        """
        body: dict[str, JSON] = {
            "name": one_line("name", name),
            "email": one_line("email", email),
            "accessLevel": validation.access_level(access_level),
        }
        await self._send(INVITE, site, body)

    async def set_invite_rights(self, site: Site | int, levels: Mapping[str, int | Unlisted]) -> None:
        """Change the access level of pending invitations. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/invite-rights

        Args:
            site: The site or its id.
            levels: The new access level by e-mail address.

        Raises:
            AnswerError: VRM changed some and not the others; `users` returns the invitations.
        """
        emails: list[JSON] = [one_line("email", email) for email in _keys(levels)]
        body: JSON = {"email": emails, "accessLevel": _levels(levels)}
        await self._api.call(SET_INVITE_RIGHTS, read_all_changed, json=body, idSite=validation.site_id(site))

    async def set_user_rights(self, site: Site | int, levels: Mapping[int, int | Unlisted]) -> None:
        """Change the access level of users. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/user-rights

        Args:
            site: The site or its id.
            levels: The new access level by idUser.
        """
        users: list[JSON] = [whole("user_id", user) for user in _keys(levels)]
        await self._send(SET_USER_RIGHTS, site, {"idUser": users, "accessLevel": _levels(levels)})

    async def unlink_user(self, site: Site | int, user_id: int) -> None:
        """Remove a user's access to a site. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/unlink-user
        """
        await self._send(UNLINK_USER, site, {"idUser": whole("user_id", user_id)})

    async def leave(self, site: Site | int) -> None:
        """Remove the account's own access to a site. Only another user of the site can restore it. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/unlink
        """
        await self._send(LEAVE, site, None)

    async def link_user_groups(self, site: Site | int, levels: Mapping[int, int | Unlisted]) -> None:
        """Give groups of users access to a site. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/link-user-groups

        Args:
            site: The site or its id.
            levels: The access level by idUserGroup.
        """
        groups: list[JSON] = [
            {"idUserGroup": whole("user_group_id", group), "accessLevel": level}
            for group, level in zip(_keys(levels), _levels(levels), strict=True)
        ]
        await self._send(LINK_USER_GROUPS, site, {"userGroups": groups})

    async def set_user_group(
        self, site: Site | int, user_group_id: int, access_level: int | Unlisted | None
    ) -> None:
        """Change the access level of a group of users; None removes its access. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/user-group-access-level
        """
        level = None if access_level is None else validation.access_level(access_level)
        group = whole("user_group_id", user_group_id)
        await self._send(SET_USER_GROUP, site, {"idUserGroup": group, "accessLevel": level})

    async def _send(self, operation: Operation, site: Site | int, body: JSON) -> None:
        await self._api.call(operation, done, json=body, idSite=validation.site_id(site))


def _keys(levels: Mapping[Key, int | Unlisted]) -> list[Key]:
    if not isinstance(levels, Mapping):
        raise TypeError(f"levels must be a mapping, not {type(levels).__name__}")
    if not levels:
        raise ValueError("levels must not be empty")
    return list(levels)


def _levels(levels: Mapping[Key, int | Unlisted]) -> list[JSON]:
    return [validation.access_level(level) for level in levels.values()]


_LEVEL: Final = {"access_level": "accessLevel"}
_CREATED: Final[Mapping[str, Reader]] = {"created": seconds_or_never}
_GROUP: Final = {**_LEVEL, "owner_id": "idOwner", "admin_name": "adminName"}
_user = model(
    SiteUser,
    wire={**_LEVEL, "id": "idUser", "site_id": "idSite", "notified": "receivesAlarmNotifications"},
)
_invites = records(model(Invite, wire={**_LEVEL, "id": "idInvite"}, read=_CREATED), "Invite")
_pending = records(model(Invite, wire={**_LEVEL, "id": "idUser"}, read=_CREATED), "Invite")
_users = model(
    SiteUsers,
    wire={"user_groups": "userGroups", "site_groups": "siteGroups"},
    read={
        "users": records(_user, "SiteUser"),
        "invites": _invites,
        "pending": _pending,
        "user_groups": records(model(Group, wire={**_GROUP, "id": "idUserGroup"}), "Group"),
        "site_groups": records(model(Group, wire={**_GROUP, "id": "idSiteGroup"}), "Group"),
    },
)


def read_users(payload: JSON) -> SiteUsers:
    """Read ``installations/{idSite}/users``."""
    return _users(content(payload))


def read_all_changed(payload: JSON) -> None:
    """Read the answer of ``invite-rights``, which confirms each address on its own.

    Raises:
        AnswerError: an address was not changed.
    """
    done(payload)
    results = by_key(by_key(payload).get("records")).values()
    failed = sum(flag(result) is False for result in results)
    if failed:
        raise AnswerError(f"VRM did not change {failed} of {len(results)}")

"""How VRM spells people, groups, invitations and what a search finds."""

from __future__ import annotations

from collections.abc import Mapping

from energy_core.errors import DecodeError
from energy_core.http.lenient import model, records
from energy_core.http.readers import integer
from energy_core.http.request import JSON
from vrm_async.envelope import content, part
from vrm_async.folding import by_key
from vrm_async.models_access import Group, Invite, Invites, SearchHit, SearchResult, SiteUser, SiteUsers

_LEVEL = {"access_level": "accessLevel"}

_user = model(
    SiteUser,
    wire={**_LEVEL, "id": "idUser", "site_id": "idSite", "notified": "receivesAlarmNotifications"},
)
_invites = records(model(Invite, wire={**_LEVEL, "id": "idInvite"}), "Invite")
_pending = records(model(Invite, wire={**_LEVEL, "id": "idUser"}), "Invite")
_users = model(
    SiteUsers,
    wire={"user_groups": "userGroups", "site_groups": "siteGroups"},
    read={
        "users": records(_user, "SiteUser"),
        "invites": _invites,
        "pending": _pending,
        "user_groups": records(model(Group, wire={**_LEVEL, "id": "idUserGroup"}), "Group"),
        "site_groups": records(model(Group, wire={**_LEVEL, "id": "idSiteGroup"}), "Group"),
    },
)
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


def users(payload: JSON) -> SiteUsers:
    """Read ``installations/{idSite}/users``."""
    return _users(content(payload))


def invites(payload: JSON) -> Invites:
    """Read ``users/{idUser}/invites``."""
    return _invited(by_key(part(payload, "data")))


def search(payload: JSON) -> SearchResult:
    """Read ``users/{idUser}/search``."""
    return _search(content(payload))


def site_id(payload: JSON) -> int:
    """Read the id of a site that was added or looked up."""
    found = part(payload, "records")
    number = integer(found.get("site_id") if isinstance(found, Mapping) else None)
    if number is None:
        raise DecodeError("the answer does not say the id of the site", kind="envelope")
    return number

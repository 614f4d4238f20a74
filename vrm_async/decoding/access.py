"""How VRM spells people, groups, invitations and what a search finds, access tokens and the login."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from energy_core.codec.coerce import Reader, flag, integer, is_nothing, seconds_or_never, text
from energy_core.codec.json import JSON
from energy_core.codec.structure import model, records
from energy_core.errors import AnswerError, DecodeError
from energy_core.secret import Secret
from vrm_async.decoding.php import by_key
from vrm_async.models.access import Group, Invite, SiteUser, SiteUsers
from vrm_async.models.account import (
    AccessToken,
    Invites,
    LoginResult,
    NewAccessToken,
    SearchHit,
    SearchResult,
)
from vrm_async.responses import content, done, part

_LEVEL = {"access_level": "accessLevel"}

_user = model(
    SiteUser,
    wire={**_LEVEL, "id": "idUser", "site_id": "idSite", "notified": "receivesAlarmNotifications"},
)
_CREATED: Final[Mapping[str, Reader]] = {"created": seconds_or_never}
_invites = records(model(Invite, wire={**_LEVEL, "id": "idInvite"}, read=_CREATED), "Invite")
_pending = records(model(Invite, wire={**_LEVEL, "id": "idUser"}, read=_CREATED), "Invite")
_GROUP: Final = {**_LEVEL, "owner_id": "idOwner", "admin_name": "adminName"}
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
    return _search(content(payload, "results"))


def all_changed(payload: JSON) -> None:
    """Read the answer of a write that VRM confirms address by address."""
    done(payload)
    results = by_key(by_key(payload).get("records")).values()
    failed = sum(flag(result) is False for result in results)
    if failed:
        raise AnswerError(f"VRM did not change {failed} of {len(results)}")


def site_id(payload: JSON) -> int:
    """Read the id of a site that was added or looked up."""
    found = part(payload, "records")
    number = integer(found.get("site_id") if isinstance(found, Mapping) else None)
    if number is None:
        raise DecodeError("the answer does not say the id of the site", kind="envelope")
    return number


# --- tokens and login -----------------------------------------------------------------------------------

_access_token = model(
    AccessToken,
    wire={"id": "idAccessToken", "created": "createdOn"},
    read=dict.fromkeys(("created", "expires", "last_seen", "last_successful_auth"), seconds_or_never),
)
_access_tokens = records(_access_token, "AccessToken")


@frozen(kw_only=True)
class LoginAnswer:
    """A login's answer: without a token, VRM wants a one-time code."""

    token: Secret | None
    sent: bool
    result: LoginResult


_login_result = model(LoginResult, wire={"user_id": "idUser"})


def access_tokens(payload: JSON) -> tuple[AccessToken, ...]:
    """Read the list of access tokens."""
    return _access_tokens(part(payload, "tokens"))


def new_access_token(payload: JSON) -> NewAccessToken:
    """Read the only answer that holds a token's value."""
    token, token_id = text(part(payload, "token")), integer(part(payload, "idAccessToken"))
    if not token or token_id is None:
        raise DecodeError("the answer has no token or no id", kind="envelope")
    return NewAccessToken(id=token_id, token=Secret(token))


def removed(payload: JSON) -> int:
    """Read how many tokens were revoked."""
    data = part(payload, "data")
    count = integer(data.get("removed")) if isinstance(data, Mapping) else None
    if count is None:
        raise DecodeError("the answer does not say how many tokens were removed", kind="envelope")
    return count


def login(payload: JSON) -> LoginAnswer:
    """Read a login's answer; only its token is strict, for it becomes a header."""
    token = part(payload, "token")
    if not is_nothing(token) and not (isinstance(token, str) and token.isascii() and token.isprintable()):
        raise DecodeError("the login's token is not text that fits into a header", kind="envelope")
    facts = {key: item for key, item in by_key(payload).items() if key in {"idUser", "verification_mode"}}
    return LoginAnswer(
        token=Secret(token) if isinstance(token, str) and token else None,
        sent=isinstance(payload, dict) and flag(payload.get("verification_sent")) is True,
        result=_login_result(facts),
    )

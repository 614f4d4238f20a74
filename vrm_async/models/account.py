"""The account: its user, logins, access tokens, invitations, and its search for sites."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

from energy_core.secret import Secret
from vrm_async.models.attribute import Raw


@frozen(kw_only=True)
class User:
    """The account of the credential, from ``users/me``."""

    id: int
    """VRM's idUser."""
    name: str | None = None
    """The account's name."""
    email: str | None = field(default=None, repr=False)
    """The account's e-mail address."""
    country: str | None = None
    """The account's country, as its owner wrote it."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician; from accessLevel."""
    access_token_id: int | None = None
    """VRM's idAccessToken of the token that was used; None for a login."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class LoginResult:
    """The answer to a login, without its token, which stays inside the client."""

    user_id: int | None = None
    """VRM's idUser; None for the demo login, which does not send it."""
    verification_mode: str | None = None
    """How VRM sends one-time codes, such as sms."""


@frozen(kw_only=True)
class AccessToken:
    """A personal access token without its value, which VRM sends only once."""

    id: int
    """VRM's idAccessToken."""
    name: str | None = None
    """Unique within the account."""
    created: datetime | None = None
    """Aware, UTC; from createdOn."""
    scope: str | None = None
    """FULL_ACCESS is the only documented one."""
    expires: datetime | None = None
    """Aware, UTC; None for a token that does not expire."""
    last_seen: datetime | None = None
    """When it was last used, aware, UTC; None where VRM does not send it."""
    last_successful_auth: datetime | None = None
    """When it was last accepted, aware, UTC; None where VRM does not send it."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class NewAccessToken:
    """A new token with its value, from `tokens.create`. It has no `raw`, which would hold the value again."""

    id: int
    """VRM's idAccessToken, needed to revoke it."""
    token: Secret
    """`token.reveal()` returns the value. VRM never sends it again."""


@frozen(kw_only=True)
class Invites:
    """Invitations of the account and requests to join; the records are as VRM sent them, times in Unix s."""

    site_groups: tuple[Raw, ...] = ()
    """From invitesSiteGroups."""
    user_groups: tuple[Raw, ...] = ()
    """From invitesUserGroups."""
    user_group_requests: tuple[Raw, ...] = ()
    """From requestsUserGroups."""
    installation_requests: tuple[Raw, ...] = ()
    """From requestsInstallations."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer's data as VRM sent them."""


@frozen(kw_only=True)
class SearchHit:
    """A site found by a search."""

    site_id: int
    """VRM's idSite."""
    identifier: str | None = None
    """The gateway's serial number, from site_identifier."""
    name: str | None = None
    """The owner's name for the site, from site_name."""
    avatar_url: str | None = None
    """URL of the site's picture."""
    highlight: object = None
    """Where the text matched, as VRM sent it."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class SearchResult:
    """The sites found by `users.search`."""

    hits: tuple[SearchHit, ...] = ()
    """The sites, best match first."""
    count: int | None = None
    """The number of matches that VRM announces."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as VRM sent it."""

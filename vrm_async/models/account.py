"""The account behind a credential: its user, its logins and tokens, its invitations, its search for sites."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

from energy_core.secret import Secret
from vrm_async.models.attribute import Raw


@frozen(kw_only=True)
class User:
    """The account behind the credential, from ``users/me``."""

    id: int
    """VRM's idUser."""
    name: str | None = None
    """The account's name."""
    email: str | None = field(default=None, repr=False)
    """The account's e-mail address."""
    country: str | None = None
    """The account's country, as its owner wrote it."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician."""
    access_token_id: int | None = None
    """The access token that asked; None for a login."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class LoginResult:
    """What a login told besides its token, which stays inside the client."""

    user_id: int | None = None
    """VRM's idUser; the demo login does not say it."""
    verification_mode: str | None = None
    """How codes are sent, such as sms."""


@frozen(kw_only=True)
class AccessToken:
    """A personal access token, without its value: VRM never shows that again."""

    id: int
    """VRM's idAccessToken."""
    name: str | None = None
    """Unique within the account."""
    created: datetime | None = None
    """From createdOn."""
    scope: str | None = None
    """FULL_ACCESS is the only one so far."""
    expires: datetime | None = None
    """None for a token that does not expire."""
    last_seen: datetime | None = None
    """When it was last used, where VRM says so."""
    last_successful_auth: datetime | None = None
    """When it was last accepted, where VRM says so."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class NewAccessToken:
    """A token at the only moment its value can be read; without `raw`, so that it is in one place."""

    id: int
    """VRM's idAccessToken, for revoking it."""
    token: Secret
    """`token.reveal()` gives the value; keep it now."""


@frozen(kw_only=True)
class Invites:
    """What the account is invited to, and who asks to join: records as they came, times in unix seconds."""

    site_groups: tuple[Raw, ...] = ()
    """From invitesSiteGroups."""
    user_groups: tuple[Raw, ...] = ()
    """From invitesUserGroups."""
    user_group_requests: tuple[Raw, ...] = ()
    """From requestsUserGroups."""
    installation_requests: tuple[Raw, ...] = ()
    """From requestsInstallations."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer's data as they came."""


@frozen(kw_only=True)
class SearchHit:
    """A site that a search found."""

    site_id: int
    """VRM's idSite."""
    identifier: str | None = None
    """The gateway's serial."""
    name: str | None = None
    """The owner's name for it."""
    avatar_url: str | None = None
    """The site's picture."""
    highlight: object = None
    """Where the text matched, as it came."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class SearchResult:
    """What a search found."""

    hits: tuple[SearchHit, ...] = ()
    """The sites, best first."""
    count: int | None = None
    """How many VRM says there are."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as it came."""

"""Access to a site: accounts, invitations and groups; from ``installations/{idSite}/users``."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

from vrm_async.models.attribute import Raw


@frozen(kw_only=True)
class SiteUser:
    """An account with access to a site."""

    id: int
    """VRM's idUser."""
    name: str | None = None
    """The account's name."""
    email: str | None = field(default=None, repr=False)
    """The account's e-mail address."""
    country: str | None = None
    """The account's country, as its owner wrote it."""
    site_id: int | None = None
    """VRM's idSite."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician; from accessLevel."""
    notified: bool | None = None
    """Whether VRM mails alarms to the account, from receivesAlarmNotifications."""
    avatar_url: str | None = None
    """URL of the account's picture."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class Invite:
    """An invitation to a site, or a request for access to it."""

    id: int | None = None
    """VRM's idInvite of an invitation, idUser of a request; None where VRM sends none."""
    email: str | None = field(default=None, repr=False)
    """The address it was sent to. `access.set_invite_rights` identifies an invitation by it."""
    name: str | None = None
    """The invited person's name."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician; from accessLevel."""
    created: datetime | None = None
    """When the invitation was made, aware, UTC."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class Group:
    """A group of accounts (a user group or team) or of sites that is linked to a site."""

    id: int | None = None
    """VRM's idUserGroup or idSiteGroup."""
    name: str | None = None
    """The group's name."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician; from accessLevel."""
    owner_id: int | None = None
    """VRM's idUser of the owner of a group of sites, from idOwner."""
    admin_name: str | None = None
    """Name of the owner of a group of sites, from adminName."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class SiteUsers:
    """All accounts with access to a site, with open invitations and requests; from `access.users`."""

    users: tuple[SiteUser, ...] = ()
    """Accounts with access."""
    invites: tuple[Invite, ...] = ()
    """Invitations not yet accepted."""
    pending: tuple[Invite, ...] = ()
    """Accounts that requested access."""
    user_groups: tuple[Group, ...] = ()
    """Groups of accounts with access."""
    site_groups: tuple[Group, ...] = ()
    """Groups of sites that contain this site."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as VRM sent it."""

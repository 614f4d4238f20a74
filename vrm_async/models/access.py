"""Access to a site: accounts, invitations and groups."""

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
    """0 monitoring, 1 full control, 2 technician."""
    notified: bool | None = None
    """Whether alarms are mailed, from receivesAlarmNotifications."""
    avatar_url: str | None = None
    """The account's picture."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class Invite:
    """Somebody who was asked to join a site, or who asks to."""

    id: int | None = None
    """VRM's number of the invitation, where it tells one."""
    email: str | None = field(default=None, repr=False)
    """Where it was mailed to; `access.set_invite_rights` knows it by this."""
    name: str | None = None
    """The name it was written with."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician."""
    created: datetime | None = None
    """When the invitation was made."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class Group:
    """A group of accounts (a user group, or team) or of sites, that is linked to a site."""

    id: int | None = None
    """VRM's idUserGroup or idSiteGroup."""
    name: str | None = None
    """The group's name."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician."""
    owner_id: int | None = None
    """VRM's idUser of a group of sites' owner, from idOwner."""
    admin_name: str | None = None
    """The name of a group of sites' owner, from adminName."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class SiteUsers:
    """Everybody with access to a site, and those who may get it."""

    users: tuple[SiteUser, ...] = ()
    """Accounts with access."""
    invites: tuple[Invite, ...] = ()
    """Invitations not yet accepted."""
    pending: tuple[Invite, ...] = ()
    """Accounts that asked for access."""
    user_groups: tuple[Group, ...] = ()
    """Groups of accounts with access."""
    site_groups: tuple[Group, ...] = ()
    """Groups of sites this one belongs to."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as it came."""

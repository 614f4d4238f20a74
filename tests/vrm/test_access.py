"""Who may see and control a site."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.drift import Drift, collect_drift
from tests.servers.vrm_cases import (
    check_any_value,
    check_clean,
    check_drift,
    check_hostile_id,
    check_no_object,
    check_request,
    check_wrong,
    read_answer,
)
from vrm_async import Unlisted
from vrm_async.resources import access

SITE = "installations/5"

SEEN = 1772366400

SEEN_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)

REQUESTS = {
    "access.users": (lambda v: v.access.users(5), "GET", f"{SITE}/users", [], None),
    "access.invite": (
        lambda v: v.access.invite(5, name="Jo", email="jo@x.org", access_level=2),
        "POST",
        f"{SITE}/invite",
        [],
        {"name": "Jo", "email": "jo@x.org", "accessLevel": 2},
    ),
    "access.set_invite_rights": (
        lambda v: v.access.set_invite_rights(5, {"a@x.org": 0, "b@x.org": 1}),
        "POST",
        f"{SITE}/invite-rights",
        [],
        {"email": ["a@x.org", "b@x.org"], "accessLevel": [0, 1]},
    ),
    "access.set_user_rights": (
        lambda v: v.access.set_user_rights(5, {22: 0, 23: Unlisted(7)}),
        "POST",
        f"{SITE}/user-rights",
        [],
        {"idUser": [22, 23], "accessLevel": [0, 7]},
    ),
    "access.unlink_user": (
        lambda v: v.access.unlink_user(5, 22),
        "POST",
        f"{SITE}/unlink-user",
        [],
        {"idUser": 22},
    ),
    "access.leave": (lambda v: v.access.leave(5), "POST", f"{SITE}/unlink", [], None),
    "access.link_user_groups": (
        lambda v: v.access.link_user_groups(5, {31: 1}),
        "POST",
        f"{SITE}/link-user-groups",
        [],
        {"userGroups": [{"idUserGroup": 31, "accessLevel": 1}]},
    ),
    "access.set_user_group": (
        lambda v: v.access.set_user_group(5, 31, None),
        "POST",
        f"{SITE}/user-group-access-level",
        [],
        {"idUserGroup": 31, "accessLevel": None},
    ),
}

WRONG = {
    "an unknown level": (
        lambda v: v.access.invite(1, name="x", email="x", access_level=3),
        ValueError,
        r"0 \(monitoring\), 1 \(full control\) or 2 \(technician\)",
    ),
    "a level that is a bool": (lambda v: v.access.set_user_rights(1, {1: True}), TypeError, "access_level"),
    "a level that is text": (lambda v: v.access.set_user_group(1, 1, "1"), TypeError, "access_level"),
    "no levels": (lambda v: v.access.set_user_rights(1, {}), ValueError, "levels"),
    "levels in a list": (lambda v: v.access.set_user_rights(1, [(1, 0)]), TypeError, "levels"),
    "an address of two lines": (
        lambda v: v.access.invite(1, name="x", email="a\r\nb", access_level=0),
        ValueError,
        "email",
    ),
    "no name": (lambda v: v.access.invite(1, name=" ", email="a", access_level=0), ValueError, "name"),
}

NUMBERS = {
    "user_id": lambda v, i: v.access.unlink_user(1, i),
    "user_id ": lambda v, i: v.access.set_user_rights(1, {i: 0}),
    "user_group_id": lambda v, i: v.access.set_user_group(1, i, 0),
    "user_group_id ": lambda v, i: v.access.link_user_groups(1, {i: 0}),
}

ANSWERS = {
    "users": (
        access.read_users,
        {
            "users": [{"idUser": 22, "name": "Jo", "accessLevel": 1}],
            "invites": [
                {"idInvite": 42, "email": "x@x.org", "name": "X", "accessLevel": "2", "created": SEEN}
            ],
            "pending": [{"idUser": 5678, "name": "P", "email": "p@x.org"}],
            "userGroups": [{"idUserGroup": 31, "accessLevel": 0}],
            "siteGroups": [{"idSiteGroup": 3, "name": "Fleet A", "idOwner": 22, "adminName": "Jo"}],
        },
    ),
}


def read(name, payload=None):
    """Read a clean answer of `ANSWERS`, or another one."""
    return read_answer(ANSWERS[name], payload)


def test_every_documented_member_of_a_sites_users_has_a_field():
    """Invitations have their time of creation, groups of sites their owner."""
    with collect_drift(Drift(strict=True)):
        users = read("users")
    assert (users.invites[0].id, users.invites[0].created) == (42, SEEN_AT)
    assert (users.pending[0].id, users.pending[0].name) == (5678, "P")
    group = users.site_groups[0]
    assert (group.id, group.name, group.owner_id, group.admin_name) == (3, "Fleet A", 22, "Jo")


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests(client, fake, name):
    """One request, with the documented members and no other."""
    await check_request(client, fake, REQUESTS[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_is_named(vrm, name):
    """The message has the argument, and the allowed values where there is a list."""
    await check_wrong(vrm, WRONG[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", NUMBERS)
async def test_a_wrong_number_is_named(vrm, name):
    """An id is a non-negative int; the message has the argument."""
    await check_hostile_id(vrm, name, NUMBERS[name])


@pytest.mark.parametrize("name", ANSWERS)
def test_a_clean_answer_has_no_drift(name):
    """Also for a strict client, but for keys that the documents do not have."""
    check_clean(ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_any_value_at_any_place(name, data):
    """The answer is read, or an `EnergyError` is raised; in strict mode too."""
    check_any_value(ANSWERS[name], data)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_not_an_object(name):
    """It raises `DecodeError`."""
    check_no_object(ANSWERS[name])


@pytest.mark.parametrize(
    ("name", "payload", "noted"),
    [
        ("users", {"users": [{"name": "x"}]}, ("SiteUser", "record", "malformed")),
        ("users", {"users": [{"idUser": 1, "new": 2}]}, ("SiteUser", "new", "unknown")),
    ],
)
def test_drift_is_counted(name, payload, noted):
    """One bad record or field is counted and the rest is read; a strict client raises."""
    check_drift(ANSWERS[name], payload, noted)

"""The answer of a login."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.vrm_cases import (
    check_any_value,
    check_clean,
)
from vrm_async import VRMClient
from vrm_async.decoding import login

ANSWERS = {
    "login": (login.login, {"token": "ab", "idUser": 2, "verification_mode": "sms"}),
}


async def test_remember_me(fake):
    """`remember_me` is sent as a bool, and only if it is True."""
    fake.answers("POST", "auth/login", {"token": "t", "idUser": 22})
    with pytest.warns(DeprecationWarning, match="deprecated"):
        client = VRMClient(username="a", password="b", base_url=fake.url)
    async with client:
        await client.auth.login()
        await client.auth.login(remember_me=True)
    assert [seen.json for seen in fake.asked] == [
        {"username": "a", "password": "b"},
        {"username": "a", "password": "b", "remember_me": True},
    ]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_clean_answer_has_no_drift(name):
    """Also for a strict client, but for keys that the documents do not have."""
    check_clean(ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_any_value_at_any_place(name, data):
    """The answer is read, or an `EnergyError` is raised; in strict mode too."""
    check_any_value(ANSWERS[name], data)

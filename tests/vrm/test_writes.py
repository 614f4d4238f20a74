"""A write is done when VRM confirms it; any other answer is an error, and the write is sent once."""

import pytest
from aiohttp import web

from energy_core import RateLimit, SessionPool
from energy_core.errors import AnswerError, BadRequest, DecodeError, EnergyError, OutcomeUnknown
from tests.conformance.calls import CALLS, SETTINGS, declared
from vrm_async import VRMClient

LIMIT = RateLimit(2000, 1000.0, 6)
LOGIN = {"token": "bearer-1", "idUser": 22, "verification_mode": "password", "verification_sent": False}
CHANGING = {operation.name for operation in declared() if not operation.repeatable}
WRITES = {call.name: call for call in CALLS if call.operation in CHANGING and call.operation != "auth.login"}
NO_ANSWERS = {
    "a page": (200, web.Response(text="<html>Log in to the guest network</html>", content_type="text/html")),
    "a page called JSON": (200, b"<!DOCTYPE html><html></html>"),
    "nothing": (200, b""),
    "broken JSON": (200, b'{"success":false,"errors":"no'),
    "null": (200, None),
    "a list": (200, []),
    "a text": (200, "ok"),
    "a refusal": (200, {"success": False, "errors": "no"}),
    "a refusal called HTML": (
        200,
        web.Response(text='{"success":false,"errors":"no"}', content_type="text/html"),
    ),
    "a refusal of a gateway": (200, {"message": "Forbidden"}),
    "a refusal, created": (201, {"success": False, "errors": "no"}),
    "a part": (206, {"success": True}),
}


@pytest.mark.parametrize("no_answer", NO_ANSWERS)
async def test_a_write_that_is_not_confirmed_is_an_error(fake, tmp_path, no_answer):
    """Without VRM's confirmation no write of any resource returns, and none is sent again."""
    fake.otherwise = NO_ANSWERS[no_answer]
    fake.answers("POST", "auth/login", LOGIN)
    done, repeated = [], []
    async with SessionPool() as pool:
        with pytest.warns(DeprecationWarning, match="deprecated"):
            logging_in = VRMClient(pool, username="a", password="b", base_url=fake.url, limit=LIMIT)
        vrm = VRMClient(pool, token="t" * 64, base_url=fake.url, limit=LIMIT)
        await vrm.users.id()
        for name, write in WRITES.items():
            fake.asked.clear()
            try:
                await write.run(logging_in if write.login else vrm, tmp_path)
            except EnergyError:
                pass
            else:
                done.append(name)
            asked = [(asked.method, asked.path) for asked in fake.asked]
            if len(asked) != len(set(asked)):
                repeated.append(name)
    assert (done, repeated) == ([], [])


async def test_an_error_names_the_missing_member(fake):
    """An answer without `success` raises, and the error names the missing member."""
    fake.otherwise = 200, {"idSite": 5}
    async with VRMClient(token="t" * 64, base_url=fake.url, limit=LIMIT) as vrm:
        with pytest.raises(DecodeError, match="success"):
            await vrm.tags.add(5, "boat")
        with pytest.raises(DecodeError, match="success"):
            await vrm.dynamic_ess.change(5, SETTINGS)
        fake.otherwise = 200, {"success": True, "records": {"a@example.com": True, "b@example.com": False}}
        with pytest.raises(AnswerError, match="1 of 2"):
            await vrm.access.set_invite_rights(5, {"a@example.com": 1, "b@example.com": 1})


async def test_a_confirmed_write_is_done(fake, tmp_path):
    """201, 202 and 204 confirm a write as 200 does, if the method returns nothing of the answer."""
    async with VRMClient(token="t" * 64, base_url=fake.url, limit=LIMIT) as vrm:
        for status in (200, 201, 202):
            fake.otherwise = status, {"success": True, "idSite": 5, "data": [{"tag": "boat"}]}
            await vrm.tags.add(5, "boat")
        fake.otherwise = 204, b""
        await vrm.tags.add(5, "boat")
        with pytest.raises(DecodeError, match="token"):
            await vrm.tokens.create("laptop")


async def test_a_read_is_answered_with_200(fake):
    """201, 202, 204 and 206 are errors of a read: they have no complete answer."""
    async with VRMClient(token="t" * 64, base_url=fake.url, limit=LIMIT) as vrm:
        for status in (201, 202, 204, 206, 226):
            fake.answers("GET", "users/me", {"success": True, "user": {"id": 22}}, status=status)
            with pytest.raises(AnswerError) as refused:
                await vrm.users.me()
            assert refused.value.status == status
        fake.answers("GET", "users/me", {"success": True, "user": {"id": 22}}, status=203)
        assert (await vrm.users.me()).id == 22


async def test_a_part_of_a_file_is_no_file(fake, tmp_path):
    """A download that is answered 206 leaves no file."""
    fake.otherwise = (
        206,
        web.Response(text="<kml></kml>", content_type="application/xml"),
    )
    async with VRMClient(token="t" * 64, base_url=fake.url, limit=LIMIT) as vrm:
        with pytest.raises(AnswerError):
            await WRITES["access.leave"].run(vrm, tmp_path)
        gps = next(call for call in CALLS if call.operation == "downloads.gps")
        with pytest.raises(AnswerError) as refused:
            await gps.run(vrm, tmp_path)
    assert refused.value.status == 206
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"success": False, "errors": "resetType is missing"}, BadRequest, "resetType is missing"),
        (400, "resetType is missing", BadRequest, "resetType is missing"),
        (400, ["resetType is missing"], BadRequest, "resetType is missing"),
        (400, web.Response(text="resetType is missing"), BadRequest, "resetType is missing"),
        (200, {"message": "Forbidden"}, AnswerError, "Forbidden"),
    ],
)
async def test_a_refusal_is_quoted_whatever_it_came_as(fake, status, body, kind, words):
    """The error has VRM's message, from its envelope, from other JSON, or from plain text."""
    fake.otherwise = status, body
    async with VRMClient(token="t" * 64, base_url=fake.url, limit=LIMIT) as vrm:
        with pytest.raises(kind, match=words) as refused:
            await vrm.forecasts.reset(5, 0)
    assert refused.value.body_format == ("text" if isinstance(body, web.Response) else "json")


SITE = "installations/5"


async def test_a_refused_change_is_an_error(client, fake):
    """Status 200 with success: false raises also for operations that return nothing."""
    fake.answers("POST", f"{SITE}/unlink", {"success": False, "errors": "last administrator"})
    with pytest.raises(AnswerError, match="last administrator"):
        await client.access.leave(5)


async def test_a_change_answered_with_nothing(client, fake):
    """Status 204 confirms a change; an empty body with status 200 does not."""
    fake.answers("DELETE", f"{SITE}/tags", b"", status=204)
    await client.tags.remove(5, "x")
    fake.answers("DELETE", f"{SITE}/tags", b"")
    with pytest.raises(DecodeError):
        await client.tags.remove(5, "x")


async def test_writes_are_sent_once(client, fake):
    """After a server error reads are sent again, and writes never."""
    for method, path in (("POST", "users/22/get-site-id"), ("PUT", f"{SITE}/tags"), ("GET", "x")):
        fake.answers(method, path, {"success": False}, status=502)
    for ask, times in (
        (lambda: client.users.site_id("c061"), 3),
        (lambda: client.tags.add(5, "x"), 1),
        (lambda: client.request("GET", "x"), 1),
        (lambda: client.request("GET", "x", repeatable=True), 3),
    ):
        fake.asked.clear()
        with pytest.raises((AnswerError, OutcomeUnknown)):
            await ask()
        assert len([seen for seen in fake.asked if seen.path != "users/me"]) == times

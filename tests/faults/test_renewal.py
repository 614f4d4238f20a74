from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from attrs import evolve

from energy_core.errors import (
    AuthFailed,
    ConnectError,
    ConnectionLost,
    DecodeError,
    InvalidCredentials,
    PermissionDenied,
    RequestError,
    ServerFault,
)
from energy_core.http.client import ApiClient
from energy_core.http.credential import Credential, Grant
from energy_core.http.operation import Operation, Priority, Response
from energy_core.secret import Secret
from tests.faults.conftest import Connect, Serve
from tests.servers.fault_server import Act, WireRequest, always, answer, in_turn, raw, reset
from tests.servers.invented_vendor import READ, REVOKE, as_it_is

LOGIN = Operation(
    vendor="acme",
    name="auth.login",
    method="POST",
    path="login",
    repeatable=False,
    authenticated=False,
    priority=Priority.AUTH,
)
AGAIN = evolve(LOGIN, repeatable=True)


class Guard:
    """A server's logins: issues tokens, accepts the latest only, and can revoke it."""

    def __init__(self) -> None:
        self.valid = ""
        self.logins = 0
        self.accepts_logins = True

    def __call__(self, request: WireRequest, _number: int) -> Act:
        if request.path.endswith("/login"):
            if not self.accepts_logins:
                return answer(400, json_body={"errors": ["no"]})
            self.logins += 1
            self.valid = f"token-{self.logins}"
            return answer(json_body={"token": self.valid})
        return answer() if request.headers.get("x-authorization") == self.valid else answer(401)


def logging_in(client_of: Callable[[], ApiClient], operation: Operation) -> Callable[[], Awaitable[Grant]]:
    async def login() -> Grant:
        def read(value: object) -> Secret:
            assert isinstance(value, dict)
            return Secret(value["token"])

        def check(response: Response, _answer: object, _operation: Operation) -> None:
            if response.status == 400:
                raise InvalidCredentials("the login was refused")

        client = client_of()
        client.check = check
        token = await client.call(operation, read, json={"user": "x"})
        return Grant(token=token, headers={"X-Authorization": token})

    return login


@pytest.fixture
def connect_with_login(connect: Connect) -> Connect:
    def make(
        server: object, *, login: Operation = LOGIN, chance: float = 0.0, **options: object
    ) -> ApiClient:
        clients: list[ApiClient] = []
        credential = Credential(login=logging_in(lambda: clients[0], login), random=lambda: chance)
        clients.append(connect(server, credential=lambda: credential, **options))
        return clients[0]

    return make


async def test_thousand_refusals_make_one_login(serve: Serve, connect_with_login: Connect) -> None:
    """A thousand concurrent calls with a revoked token cause one login and at most one replay each."""
    guard = Guard()
    server = await serve(guard)
    client = connect_with_login(server)
    await client.call(READ, as_it_is, id=0)
    guard.valid = "revoked"
    before = len(server.requests)
    outcomes = await asyncio.gather(*(client.call(READ, as_it_is, id=number) for number in range(1000)))
    assert outcomes == [{"success": True}] * 1000
    assert guard.logins == 2
    assert len(server.requests) - before <= 2001


async def test_first_calls_share_one_login(serve: Serve, connect_with_login: Connect) -> None:
    """A hundred first calls log in once and are never refused."""
    guard = Guard()
    server = await serve(guard)
    client = connect_with_login(server)
    await asyncio.gather(*(client.call(READ, as_it_is, id=number) for number in range(100)))
    assert guard.logins == 1
    assert len(server.requests) == 101


async def test_cancelling_the_first_cancels_no_other(serve: Serve, connect_with_login: Connect) -> None:
    """Whenever the caller that started a login is cancelled, the others continue with the same login."""
    for steps in range(0, 40, 2):
        guard = Guard()
        server = await serve(guard)
        client = connect_with_login(server)
        first = asyncio.create_task(client.call(READ, as_it_is, id=0))
        others = [asyncio.create_task(client.call(READ, as_it_is, id=number)) for number in range(1, 5)]
        for _ in range(steps):
            await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == [{"success": True}] * 4
        await asyncio.gather(first, return_exceptions=True)
        assert guard.logins == 1


async def test_second_refusal_is_an_error(serve: Serve, connect: Connect) -> None:
    """A renewed credential that is refused too is AuthFailed after one replay, idempotent or not."""

    async def login() -> Grant:
        return Grant(token=Secret("x"), headers={"X-Authorization": Secret("x")})

    for operation in (READ, REVOKE):
        server = await serve(always(answer(401)))
        with pytest.raises(AuthFailed) as caught:
            await connect(server, credential=lambda: Credential(login=login)).call(operation, as_it_is, id=7)
        assert (caught.value.status, caught.value.attempts) == (401, 2)
        assert caught.value.operation == operation.name
        assert len(server.requests) == 2


async def test_fixed_token_refused(serve: Serve, connect: Connect) -> None:
    """A fixed token that is refused is AuthFailed after one request."""
    server = await serve(always(answer(401)))
    with pytest.raises(AuthFailed) as caught:
        await connect(server).call(READ, as_it_is, id=7)
    assert (caught.value.vendor, caught.value.operation, caught.value.status) == ("acme", "things.get", 401)
    assert len(server.requests) == 1


async def test_refused_login_is_one_login(serve: Serve, connect_with_login: Connect) -> None:
    """A wrong password is tried once; every caller gets the login's own typed error."""
    guard = Guard()
    guard.accepts_logins = False
    server = await serve(guard)
    client = connect_with_login(server)
    outcomes = await asyncio.gather(
        *(client.call(READ, as_it_is, id=number) for number in range(100)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {InvalidCredentials}
    assert {outcome.operation for outcome in outcomes} == {"auth.login"}  # type: ignore[union-attr]
    assert {outcome.status for outcome in outcomes} == {400}  # type: ignore[union-attr]
    assert server.count("/v2/login") == len(server.requests) == 1


async def test_login_with_all_places_taken(serve: Serve, connect_with_login: Connect) -> None:
    """A login needs no free place in flight: it passes requests that hold them and wait for it."""
    guard = Guard()
    server = await serve(guard)
    client = connect_with_login(server)
    await client.call(READ, as_it_is, id=0)
    guard.valid = "revoked"
    outcomes = await asyncio.gather(*(client.call(READ, as_it_is, id=number) for number in range(200)))
    assert len(outcomes) == 200


async def test_queued_calls_use_the_new_token(serve: Serve, connect: Connect) -> None:
    """A call that was queued before a renewal is sent with the token that is valid when it is sent."""
    tokens: list[str] = []
    server = await serve(lambda request, _number: answer(json_body=request.headers["x-authorization"]))
    credential = Credential(grant=Grant(token=Secret("old"), headers={"X-Authorization": Secret("old")}))
    client = connect(server, credential=lambda: credential)
    async with client.account.limiter.slot(Priority.INTERACTIVE):
        client.account.limiter.hold(0.1)
        call = asyncio.create_task(client.call(READ, lambda value: tokens.append(json.dumps(value)), id=7))
        await asyncio.sleep(0)
        credential.set(Grant(token=Secret("new"), headers={"X-Authorization": Secret("new")}))
        await call
    assert tokens == ['"new"']


async def test_forbidden_is_no_reason_to_log_in(serve: Serve, connect_with_login: Connect) -> None:
    """403 means that the credential is valid: no login, no second request."""
    guard = Guard()
    server = await serve(
        lambda request, number: guard(request, number) if "login" in request.path else answer(403)
    )
    with pytest.raises(PermissionDenied):
        await connect_with_login(server).call(READ, as_it_is, id=7)
    assert guard.logins == 1
    assert len(server.requests) == 2


async def test_a_failed_login_is_retried_by_the_next_call(serve: Serve, connect_with_login: Connect) -> None:
    """If the login answers 500, callers get that error, and the next call tries the login again."""
    guard = Guard()
    server = await serve(lambda request, number: answer(500) if number == 0 else guard(request, number))
    client = connect_with_login(server)
    with pytest.raises(ServerFault) as caught:
        await client.call(READ, as_it_is, id=7)
    assert caught.value.operation == "auth.login"
    assert await client.call(READ, as_it_is, id=7) == {"success": True}


DOWN: dict[str, Act] = {
    "500": answer(500),
    "503": answer(503),
    "502 as a page": answer(502, "<html>", content_type="text/html"),
    "200 as a page": answer(200, "<html>", content_type="text/html"),
    "reset": reset(),
    "closed": raw(b""),
}


@pytest.mark.parametrize("random", [0.0, 0.5])
@pytest.mark.parametrize("fault", DOWN)
async def test_login_that_is_down_is_one_schedule(
    serve: Serve, connect_with_login: Connect, fault: str, random: float
) -> None:
    """Calls that wait for a login have no retries of their own: 300 of them make at most 360 requests.

    `attempts` of an error is what was sent for its call: nothing while the account waits to log in again.
    """
    server = await serve(always(DOWN[fault]))
    client = connect_with_login(server, login=AGAIN, chance=random)
    for _ in range(300):
        before = len(server.requests)
        with pytest.raises(RequestError) as caught:
            await client.call(READ, as_it_is, id=7)
        assert caught.value.operation == "auth.login"
        assert caught.value.attempts == len(server.requests) - before
    assert all("login" in request.path for request in server.requests)
    assert 3 <= len(server.requests) <= 360


async def test_refused_connection_of_a_login_is_tried_three_times(
    serve: Serve, connect_with_login: Connect
) -> None:
    """Not three times by the login for each of three times by the call."""
    server = await serve(always(answer()))
    url = server.url
    await server.__aexit__()
    client = connect_with_login(server, login=AGAIN, url=url)
    with pytest.raises(ConnectError) as caught:
        await client.call(READ, as_it_is, id=7)
    assert caught.value.operation == "auth.login"
    assert client.pool.stats().limiters[client.account.origin, "tester"].granted == 3


async def test_pages_in_place_of_answers_stay_within_the_budget(serve: Serve, connect: Connect) -> None:
    """Each HTML page with 200 may be requested again, and all of them together by a fifth."""
    server = await serve(always(answer(200, "<html>", content_type="text/html")))
    client = connect(server)
    for _ in range(300):
        with pytest.raises(DecodeError):
            await client.call(READ, as_it_is, id=7)
    assert len(server.requests) <= 360


async def test_tokens_that_are_all_refused_cause_few_logins(serve: Serve, connect: Connect) -> None:
    """If a new token is refused too, the next half a minute brings no more logins, and no replays."""
    logins = 0

    async def login() -> Grant:
        nonlocal logins
        logins += 1
        return Grant(token=Secret(f"token {logins}"), headers={"X-Authorization": Secret(f"t{logins}")})

    server = await serve(always(answer(401)))
    client = connect(server, credential=lambda: Credential(login=login))
    for _ in range(300):
        with pytest.raises(AuthFailed):
            await client.call(READ, as_it_is, id=7)
    assert logins == 2
    assert len(server.requests) == 301


async def test_login_in_trouble_leaves_a_refused_write_certain(serve: Serve, connect: Connect) -> None:
    """A write that was refused with 401 did not happen, also if the login after it breaks off."""
    logins = iter([Grant(token=Secret("x"), headers={"X-Authorization": Secret("x")})])

    async def login() -> Grant:
        for grant in logins:
            return grant
        raise ConnectionLost("broken", operation="auth.login")

    server = await serve(always(answer(401)))
    with pytest.raises(ConnectionLost):
        await connect(server, credential=lambda: Credential(login=login)).call(REVOKE, as_it_is, id=7)
    assert len(server.requests) == 1


async def test_replay_is_not_charged(serve: Serve, connect_with_login: Connect) -> None:
    """The replay after a renewal leaves all three attempts for later failures."""
    guard = Guard()
    acts = in_turn(answer(502), answer(502), answer())
    served = iter(range(100))

    def script(request: WireRequest, number: int) -> Act:
        act = guard(request, number)
        fine = request.headers.get("x-authorization") == guard.valid and "login" not in request.path
        return acts(request, next(served)) if fine else act

    server = await serve(script)
    client = connect_with_login(server)
    client.account.credential.set(Grant(token=Secret("stale"), headers={"X-Authorization": Secret("stale")}))
    assert await client.call(READ, as_it_is, id=7) == {"success": True}
    assert server.count("/v2/things/7") == 4

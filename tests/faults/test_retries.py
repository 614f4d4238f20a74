from __future__ import annotations

import asyncio

import pytest

from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    EnergyError,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    RequestError,
    ServerFault,
    TransportError,
    UnexpectedRedirect,
)
from energy_core.http.operation import Operation, Priority
from energy_core.http.response import Timeouts
from energy_core.http.token_bucket import RateLimit
from tests.faults.conftest import Connect, Serve
from tests.servers.fault_server import Act, always, answer, hang, head, in_turn, raw, reset
from tests.servers.invented_vendor import CREATE, READ, REVOKE, as_it_is

RETRIED = {408, 425, 429, *range(500, 600)} - {501, 505, 506, 508, 510, 511}
STATUSES = [
    *(200, 201, 202, 203, 206, 226),
    *(300, 301, 302, 303, 304, 305, 306, 307, 308),
    *range(400, 419),
    *(421, 422, 423, 424, 425, 426, 428, 429, 431, 444, 451, 499),
    *range(500, 512),
    *(520, 521, 522, 524, 530, 599),
]


def expected_error(status: int) -> type[EnergyError] | None:
    named = {400: BadRequest, 401: AuthFailed, 403: PermissionDenied, 404: NotFound, 422: BadRequest}
    named |= {408: ServerFault, 425: ServerFault, 429: RateLimited}
    if status < 300:  # of a GET: a part, or a promise, is no answer
        return None if status in {200, 203} else AnswerError
    if status < 400:
        return UnexpectedRedirect
    return named.get(status, AnswerError if status < 500 else ServerFault)


@pytest.mark.parametrize("operation", [READ, REVOKE], ids=["repeatable", "unrepeatable"])
@pytest.mark.parametrize("status", STATUSES)
async def test_status(serve: Serve, connect: Connect, status: int, operation: Operation) -> None:
    """Each status ends in its typed error, after three attempts if transient and the operation idempotent.

    After a 429 nothing was done, so that any operation may be repeated.
    """
    retry_after = [("Retry-After", "0")] if status == 429 else []
    server = await serve(always(answer(status, headers=retry_after)))
    client = connect(server)
    error = expected_error(status)
    wanted = 3 if status == 429 or (status in RETRIED and operation.repeatable) else 1
    if error is None:
        assert await client.call(operation, as_it_is, id=7) == {"success": True}
    else:
        with pytest.raises(error) as caught:
            await client.call(operation, as_it_is, id=7)
        assert type(caught.value) is error
        assert isinstance(caught.value, RequestError)
        said = caught.value
        assert (said.vendor, said.operation, said.method) == ("acme", operation.name, "GET")
        assert (said.path, said.status, said.attempts) == (operation.path, status, wanted)
    assert len(server.requests) == wanted


BROKEN: dict[str, Act] = {
    "reset before the head": reset(),
    "closed before the head": raw(b""),
    "reset in the head": raw(b"HTTP/1.1 200 OK\r\nContent-Le", "reset"),
    "closed in the head": raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "reset in the body": raw(head(200, length=100) + b'{"success"', "reset"),
    "short body": raw(head(200, length=100) + b'{"success"'),
    "chunks without an end": raw(head(200, [("Transfer-Encoding", "chunked")]) + b'5\r\n{"suc\r\n'),
    "silence before the head": hang(),
    "silence in the body": raw(head(200, length=100) + b'{"success"', "hang"),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_broken_connection_is_tried_again(serve: Serve, connect: Connect, fault: str) -> None:
    """An idempotent operation survives two broken connections; aiohttp adds no request of its own."""
    server = await serve(in_turn(BROKEN[fault], BROKEN[fault], answer(json_body={"whole": True})))
    assert await connect(server).call(READ, as_it_is, id=7) == {"whole": True}
    assert len(server.requests) == 3


@pytest.mark.parametrize("fault", BROKEN)
async def test_broken_connection_gives_up_after_three(serve: Serve, connect: Connect, fault: str) -> None:
    """Three broken connections are a typed error with the number of requests sent."""
    server = await serve(always(BROKEN[fault]))
    kind = DeadlineExceeded if "silence" in fault else ConnectionLost
    if fault.endswith("in the head"):
        kind = TransportError
    with pytest.raises(kind) as caught:
        await connect(server).call(READ, as_it_is, id=7)
    assert caught.value.attempts == len(server.requests)
    assert len(server.requests) <= 3


@pytest.mark.parametrize("operation", [REVOKE, CREATE], ids=["mutating GET", "POST"])
@pytest.mark.parametrize("fault", BROKEN)
async def test_a_write_is_sent_once(serve: Serve, connect: Connect, fault: str, operation: Operation) -> None:
    """An operation that is not idempotent is sent exactly once, and its error is OutcomeUnknown."""
    server = await serve(in_turn(BROKEN[fault], answer()))
    parts = {"id": 7} if "{id}" in operation.path else {}
    with pytest.raises(OutcomeUnknown) as caught:
        await connect(server).call(operation, as_it_is, json={"name": "x"} if not parts else None, **parts)
    assert caught.value.attempts == 1
    assert len(server.requests) == 1


async def test_reset_of_a_kept_connection_is_not_repeated(serve: Serve, connect: Connect) -> None:
    """A mutating GET on a kept connection that is reset is sent once; aiohttp would send it twice."""
    server = await serve(in_turn(answer(), reset(), answer()))
    client = connect(server)
    await client.call(READ, as_it_is, id=7)
    with pytest.raises(OutcomeUnknown):
        await client.call(REVOKE, as_it_is, id=7)
    assert server.count("/v2/things/7/revoke") == 1


@pytest.mark.parametrize("cut", range(0, 2048, 128))
async def test_every_cut_of_an_answer_is_repaired(serve: Serve, connect: Connect, cut: int) -> None:
    """However early or late an answer breaks off, no part of it is ever taken for the whole."""
    body = b'{"text": "' + b"x" * 1900 + b'"}'
    whole = head(200, [("Content-Type", "application/json")], length=len(body)) + body
    server = await serve(in_turn(raw(whole[:cut], "reset"), raw(whole)))
    assert await connect(server).call(READ, as_it_is, id=7) == {"text": "x" * 1900}


@pytest.mark.parametrize("operation", [READ, REVOKE], ids=["repeatable", "unrepeatable"])
async def test_refused_connection_is_never_in_doubt(
    serve: Serve, connect: Connect, operation: Operation
) -> None:
    """If no byte was sent, the error is a ConnectError, even for a write that is not idempotent."""
    server = await serve(always(answer()))
    client = connect(server)
    await server.__aexit__()
    with pytest.raises(ConnectError) as caught:
        await client.call(operation, as_it_is, id=7)
    assert caught.value.kind == "refused"
    assert caught.value.attempts == (3 if operation.repeatable else 1)


async def test_unknown_host_is_a_dns_error(serve: Serve, connect: Connect) -> None:
    """A name that cannot be resolved is distinguished from a server that does not answer."""
    server = await serve(always(answer()))
    with pytest.raises(ConnectError) as caught:
        await connect(server, url="https://nowhere.invalid/").call(READ, as_it_is, id=7)
    assert caught.value.kind == "dns"


@pytest.mark.parametrize("asked", ["121", "86400", "1" + "0" * 30])
async def test_long_retry_after_is_an_error_at_once(serve: Serve, connect: Connect, asked: str) -> None:
    """No request of the account waits for a longer pause than allowed."""
    server = await serve(always(answer(429, headers=[("Retry-After", asked)])))
    client = connect(server)
    with pytest.raises(RateLimited) as caught:
        await client.call(READ, as_it_is, id=7)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 120
    assert not caught.value.local
    with pytest.raises(RateLimited):
        await client.call(READ, as_it_is, id=8)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_hold_is_shared(serve: Serve, connect: Connect, status: int) -> None:
    """One Retry-After holds every request of the account, queued ones included."""
    server = await serve(in_turn(answer(status, headers=[("Retry-After", "1")]), answer()))
    client = connect(server, limit=RateLimit(100, 100.0, 1))
    calls = [asyncio.create_task(client.call(READ, as_it_is, id=number)) for number in range(5)]
    await asyncio.gather(*calls)
    throttled, *later = server.requests
    assert len(later) == 5
    assert all(request.at >= throttled.at + 1.0 for request in later)


@pytest.mark.parametrize("header", [None, "-1", "+1", "1.0e0", "inf", "nan", "\u00b2", "", "soon", "1, 2"])
async def test_bad_retry_after_does_not_hide_the_429(
    serve: Serve, connect: Connect, header: str | None
) -> None:
    """A 429 in HTML with a useless header or none is still a 429, and succeeds after a short wait."""
    headers = [] if header is None else [("Retry-After", header)]
    refused = answer(429, "<html>slow down</html>", headers, content_type="text/html")
    server = await serve(in_turn(refused, answer()))
    assert await connect(server).call(READ, as_it_is, id=7) == {"success": True}
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("refused", "lowered"),
    [
        (answer(429, "<html>slow down</html>", content_type="text/html"), False),
        (answer(429, "slow down", content_type="text/plain"), False),
        (answer(429, "", content_type="text/plain"), False),
        (answer(429, '{"success": false}'), True),
        (answer(429, '{"success": false}', content_type="text/html"), True),
        (answer(429, "slow down", [("Retry-After", "0")], content_type="text/plain"), True),
    ],
)
async def test_429_slows_down_where_a_limiter_sent_it(
    serve: Serve, connect: Connect, refused: Act, lowered: bool
) -> None:
    """One in JSON or with Retry-After empties the bucket; of any other kind it takes three in a row."""
    server = await serve(in_turn(refused, answer(), refused, refused, answer(), answer(404), answer()))
    client = connect(server, limit=RateLimit(1000, 1000.0))
    for _ in range(2):
        await client.call(READ, as_it_is, id=7)
    assert (client.account.limiter.stats().rate < 1000.0) is lowered
    assert client.account.limiter.stats().throttled == 3


async def test_three_429s_in_a_row_slow_down_whatever_they_are(serve: Serve, connect: Connect) -> None:
    """A limiter may answer in plain text too."""
    server = await serve(always(answer(429, "slow down", content_type="text/plain")))
    client = connect(server, limit=RateLimit(3, 1000.0))
    for _ in range(2):
        with pytest.raises(RateLimited):
            await client.call(READ, as_it_is, id=7)
    assert client.account.limiter.stats().rate < 1000.0


async def test_retry_budget_in_an_outage(serve: Serve, connect: Connect) -> None:
    """While everything answers 503, retries stay below a fifth of the calls."""
    server = await serve(always(answer(503)))
    client = connect(
        server, timeouts=Timeouts(connect_s=10.0, read_timeout_s=10.0)
    )  # a busy machine is no fault
    calls = 2_000

    async def caller() -> None:
        for _ in range(calls // 20):
            with pytest.raises(ServerFault):
                await client.call(READ, as_it_is, id=7)

    await asyncio.gather(*(caller() for _ in range(20)))
    assert calls < len(server.requests) <= 1.2 * calls


async def test_writes_in_an_outage(serve: Serve, connect: Connect) -> None:
    """While everything answers 503, a write that is not idempotent is sent exactly once per call."""
    server = await serve(always(answer(503)))
    client = connect(server)
    for _ in range(50):
        with pytest.raises(ServerFault):
            await client.call(REVOKE, as_it_is, id=7)
    assert len(server.requests) == 50


@pytest.mark.parametrize("operation", [REVOKE, CREATE], ids=["mutating GET", "POST"])
@pytest.mark.parametrize("body", ['{"success": false, "errors": "slow down"}', "slow down"])
async def test_throttled_write_is_sent_again(
    serve: Serve, connect: Connect, body: str, operation: Operation
) -> None:
    """A write that was answered 429 waits for Retry-After and is sent again, whatever the 429's body is."""
    server = await serve(in_turn(answer(429, body, [("Retry-After", "1")]), answer()))
    parts = {"id": 7} if "{id}" in operation.path else {}
    sent = {"name": "x"} if not parts else None
    assert await connect(server).call(operation, as_it_is, json=sent, **parts) == {"success": True}
    first, second = server.requests
    assert second.at >= first.at + 1.0
    assert (second.method, second.target, second.body) == (first.method, first.target, first.body)


@pytest.mark.parametrize("second", ["reset", "503"])
async def test_write_after_a_429_is_sent_again_after_nothing_else(
    serve: Serve, connect: Connect, second: str
) -> None:
    """After the retry a 503 or a broken connection ends the write."""
    fault = reset() if second == "reset" else answer(503, headers=[("Retry-After", "0")])
    server = await serve(in_turn(answer(429, headers=[("Retry-After", "0")]), fault, answer()))
    with pytest.raises(OutcomeUnknown if second == "reset" else ServerFault) as caught:
        await connect(server).call(CREATE, as_it_is, json={"name": "x"})
    assert caught.value.attempts == len(server.requests) == 2


async def test_background_goes_through_the_same_way(serve: Serve, connect: Connect) -> None:
    """The priority of a call changes when it is sent and nothing else."""
    server = await serve(in_turn(answer(502), answer(json_body=[1])))
    assert await connect(server).call(READ, as_it_is, priority=Priority.BACKGROUND, id=7) == [1]

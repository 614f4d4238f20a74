"""Read timeouts: a server that stops sending, in the head and in every kind of body."""

from __future__ import annotations

import aiohttp
import pytest

from energy_core.clock import SystemClock
from energy_core.errors import DeadlineExceeded, OutcomeUnknown
from energy_core.http.pool import SessionPool
from tests.faults.conftest import Connect, Serve, promptly
from tests.servers.fault_server import Act, Conversation, always, answer, hang, head, in_turn, raw
from tests.servers.invented_vendor import CREATE, FAST, READ, as_it_is

CLOCK = SystemClock()

SILENT: dict[str, Act] = {
    "before the head": hang(),
    "in the head": raw(b"HTTP/1.1 200 OK\r\nContent-Le", "hang"),
    "before the body": raw(head(200, length=100), "hang"),
    "in a body of known length": raw(head(200, length=100) + b'{"success"', "hang"),
    "in a chunked body": raw(head(200, [("Transfer-Encoding", "chunked")]) + b'5\r\n{"suc\r\n', "hang"),
    "in a body that ends with the connection": raw(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{"success": true}',
        "hang",
    ),
}
INTERIM: Act = raw(b"HTTP/1.1 103 Early Hints\r\n\r\n", "hang")
"""aiohttp stops its own timer here, so that only the operation's total would end it."""


def slowly(opening: bytes, body: bytes, *, pause_s: float) -> Act:
    """Send the body byte by byte, each within the read timeout."""

    async def act(talk: Conversation) -> bool:
        await talk.send(opening)
        for place in range(len(body)):
            await CLOCK.sleep(pause_s)
            await talk.send(body[place : place + 1])
        return True

    return act


@pytest.mark.parametrize("where", SILENT)
async def test_a_read_timeout_ends_an_attempt(serve: Serve, connect: Connect, where: str) -> None:
    """After the timeout the next attempt may succeed; a body cut off is not taken for a whole one."""
    server = await serve(in_turn(SILENT[where], answer(json_body={"whole": True})))
    async with promptly():
        assert await connect(server).call(READ, as_it_is, id=7) == {"whole": True}
    assert len(server.requests) == 2


@pytest.mark.parametrize("act", [*SILENT.values(), INTERIM], ids=[*SILENT, "after an interim head"])
async def test_a_read_timeout_is_deadline_exceeded(serve: Serve, connect: Connect, act: Act) -> None:
    """A timeout in every attempt is DeadlineExceeded, whatever aiohttp raises for an aborted connection."""
    server = await serve(always(act))
    with pytest.raises(DeadlineExceeded, match="read timeout"):
        await connect(server, attempts=1).call(READ, as_it_is, id=7)


@pytest.mark.parametrize("where", SILENT)
async def test_a_read_timeout_in_an_injected_session(serve: Serve, connect: Connect, where: str) -> None:
    """An injected session has the read timeout too, by aiohttp itself."""
    server = await serve(always(SILENT[where]))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(DeadlineExceeded, match="read timeout"):
            await connect(server, session=session, attempts=1).call(READ, as_it_is, id=7)


@pytest.mark.parametrize("where", SILENT)
async def test_a_read_timeout_of_a_write_is_outcome_unknown(
    serve: Serve, connect: Connect, where: str
) -> None:
    """A request with a body has the timeout as well; its outcome is then unknown."""
    server = await serve(always(SILENT[where]))
    with pytest.raises(OutcomeUnknown, match="read timeout"):
        await connect(server).call(CREATE, as_it_is, json={"name": "x"})
    assert len(server.requests) == 1


async def test_a_read_timeout_in_a_download(serve: Serve, connect: Connect) -> None:
    """The delivered pieces stay; the rest is DeadlineExceeded, not an end of the body."""
    opening = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nConnection: close\r\n\r\n"
    server = await serve(always(raw(opening + b"a;b\n", "hang")))
    async with connect(server).open(READ, id=7) as download:
        pieces = download.chunks()
        assert await anext(pieces) == b"a;b\n"
        with pytest.raises(DeadlineExceeded, match="read timeout"):
            await anext(pieces)


async def test_bytes_within_the_timeout_keep_a_body_alive(serve: Serve, connect: Connect) -> None:
    """A body that takes several timeouts arrives whole if no pause is too long."""
    body = b'{"whole": true}'
    server = await serve(always(slowly(head(200, length=len(body)), body, pause_s=FAST.read_timeout_s / 5)))
    assert await connect(server).call(READ, as_it_is, id=7) == {"whole": True}
    assert len(body) * FAST.read_timeout_s / 5 > 2 * FAST.read_timeout_s


async def test_an_idle_connection_does_not_time_out(serve: Serve, connect: Connect) -> None:
    """Between two requests there is no read timeout: the kept connection is reused after it."""
    server = await serve(always(answer(json_body={"whole": True})))
    client = connect(server)
    for _ in range(3):
        assert await client.call(READ, as_it_is, id=7) == {"whole": True}
        await CLOCK.sleep(FAST.read_timeout_s + 0.1)
    assert server.connections == 1


async def test_closing_an_unused_pool() -> None:
    """Closing before the first request works."""
    async with SessionPool(timeouts=FAST):
        pass

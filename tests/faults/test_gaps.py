"""A server that owes bytes and falls silent, in the head, in every kind of body, and whoever watches it."""

from __future__ import annotations

import aiohttp
import pytest

from energy_core.clock import SystemClock
from energy_core.errors import DeadlineExceeded, OutcomeUnknown
from energy_core.http.pool import SessionPool
from tests.faults.conftest import Connect, Serve
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
    """Send the body byte by byte, each within the gap."""

    async def act(talk: Conversation) -> bool:
        await talk.send(opening)
        for place in range(len(body)):
            await CLOCK.sleep(pause_s)
            await talk.send(body[place : place + 1])
        return True

    return act


@pytest.mark.parametrize("where", SILENT)
async def test_silence_ends_a_try(serve: Serve, connect: Connect, where: str) -> None:
    """After the gap the try is over and the next one may succeed; nothing cut off passes for a whole body."""
    server = await serve(in_turn(SILENT[where], answer(json_body={"whole": True})))
    started = CLOCK.monotonic()
    assert await connect(server).call(READ, as_it_is, id=7) == {"whole": True}
    assert FAST.read_timeout_s * 0.9 < CLOCK.monotonic() - started < FAST.read_timeout_s + 1.0
    assert len(server.requests) == 2


@pytest.mark.parametrize("act", [*SILENT.values(), INTERIM], ids=[*SILENT, "after an interim head"])
async def test_silence_is_a_deadline(serve: Serve, connect: Connect, act: Act) -> None:
    """Silence to the end is told as one, whatever aiohttp calls a connection that was cut."""
    server = await serve(always(act))
    with pytest.raises(DeadlineExceeded, match="read timeout"):
        await connect(server, attempts=1).call(READ, as_it_is, id=7)


@pytest.mark.parametrize("where", SILENT)
async def test_silence_in_an_injected_session(serve: Serve, connect: Connect, where: str) -> None:
    """A session that was handed in is watched too, by aiohttp itself."""
    server = await serve(always(SILENT[where]))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(DeadlineExceeded, match="read timeout"):
            await connect(server, session=session, attempts=1).call(READ, as_it_is, id=7)


@pytest.mark.parametrize("where", SILENT)
async def test_silence_after_what_must_not_be_repeated(serve: Serve, connect: Connect, where: str) -> None:
    """A request with a body is watched as well; what became of it is not known."""
    server = await serve(always(SILENT[where]))
    with pytest.raises(OutcomeUnknown, match="read timeout"):
        await connect(server).call(CREATE, as_it_is, json={"name": "x"})
    assert len(server.requests) == 1


async def test_silence_in_a_download(serve: Serve, connect: Connect) -> None:
    """What has been handed out stays; the rest is a deadline, not an end."""
    opening = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nConnection: close\r\n\r\n"
    server = await serve(always(raw(opening + b"a;b\n", "hang")))
    async with connect(server).open(READ, id=7) as download:
        pieces = download.chunks()
        assert await anext(pieces) == b"a;b\n"
        with pytest.raises(DeadlineExceeded, match="read timeout"):
            await anext(pieces)


async def test_bytes_within_the_gap_keep_a_body_alive(serve: Serve, connect: Connect) -> None:
    """A body that takes several gaps arrives whole when none of its silences is too long."""
    body = b'{"whole": true}'
    server = await serve(always(slowly(head(200, length=len(body)), body, pause_s=FAST.read_timeout_s / 5)))
    started = CLOCK.monotonic()
    assert await connect(server).call(READ, as_it_is, id=7) == {"whole": True}
    assert CLOCK.monotonic() - started > 2 * FAST.read_timeout_s


async def test_an_idle_connection_is_not_silent(serve: Serve, connect: Connect) -> None:
    """Nobody owes anything between two requests: the kept connection outlives the gap."""
    server = await serve(always(answer(json_body={"whole": True})))
    client = connect(server)
    for _ in range(3):
        assert await client.call(READ, as_it_is, id=7) == {"whole": True}
        await CLOCK.sleep(FAST.read_timeout_s + 0.1)
    assert server.connections == 1


async def test_a_closed_pool_leaves_no_watch() -> None:
    """Closing before the first request is as good as any other time."""
    async with SessionPool(timeouts=FAST):
        pass

from __future__ import annotations

import asyncio

import pytest

from energy_core.errors import ConnectionLost
from energy_core.http.client import ApiClient
from energy_core.http.credential import Credential, Grant
from energy_core.http.operation import Priority
from energy_core.http.token_bucket import RateLimit
from energy_core.secret import Secret
from tests.faults.conftest import Connect, Serve, promptly
from tests.servers.fault_server import (
    CLOCK,
    Act,
    WireRequest,
    always,
    answer,
    drip,
    hang,
    head,
    in_turn,
    raw,
)
from tests.servers.invented_vendor import READ, as_it_is


def nothing_is_kept(client: ApiClient) -> bool:
    stats = client.pool.stats()
    limiter = client.account.limiter.stats()
    return (
        stats.in_flight
        == limiter.in_flight
        == sum(limiter.waiting.values())
        == connections_in_use(client)
        == 0
    )


def connections_in_use(client: ApiClient) -> int:
    """Count the connections that are neither idle nor closed; aiohttp has no public way to ask."""
    session = client.pool._transport._session
    return len(session.connector._acquired) if session is not None and session.connector is not None else 0


async def step() -> None:
    await asyncio.sleep(0)


async def test_cancel_at_every_step(serve: Serve, connect: Connect) -> None:
    """Wherever a call is cancelled (login, queue, connecting, head, body, pause), everything is released."""

    def script(request: WireRequest, number: int) -> Act:
        if request.headers.get("x-authorization") == "old":
            return answer(401)
        return answer(502) if number % 4 == 1 else answer(json_body=list(range(1000)))

    server = await serve(script)
    finished = 0
    for steps in range(400):
        grants = iter(("old", "new", "newer"))

        async def login(grants: object = grants) -> Grant:
            await step()
            token = Secret(next(grants))  # type: ignore[call-overload]
            return Grant(token=token, headers={"X-Authorization": token})

        client = connect(server, credential=lambda login=login: Credential(login=login))
        call = asyncio.create_task(client.call(READ, as_it_is, id=7))
        for _ in range(steps):
            await step()
        call.cancel()
        finished += not (await asyncio.gather(call, return_exceptions=True) and call.cancelled())
        assert nothing_is_kept(client)
        await client.pool.aclose(grace_s=0.1)
        if finished > 3:
            break
    assert steps > 20
    assert finished > 3


WAITS: dict[str, Act] = {
    "for the head": hang(),
    "for the body": raw(head(200, length=100) + b"some", "hang"),
    "for a trickle": drip(head(200, length=10**6)),
}


@pytest.mark.parametrize("wait", WAITS)
async def test_cancel_on_the_wire(serve: Serve, connect: Connect, wait: str) -> None:
    """A call cancelled while the server is slow ends at once, and its connection is closed, not reused."""
    server = await serve(in_turn(WAITS[wait], answer(json_body="next")))
    client = connect(server)
    call = asyncio.create_task(client.call(READ, as_it_is, id=7))
    await server.arrived(1)
    await CLOCK.sleep(0.02)
    await cancelled_quickly(call)
    assert nothing_is_kept(client)
    assert await client.call(READ, as_it_is, id=8) == "next"
    assert server.connections == 2


async def cancelled_quickly(call: asyncio.Task[object]) -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with promptly():
            await call


async def test_cancel_in_a_hold(serve: Serve, connect: Connect) -> None:
    """Callers cancelled in a hold end at once and cost nothing: the bucket is unchanged."""
    server = await serve(in_turn(answer(429, headers=[("Retry-After", "60")])))
    client = connect(server, limit=RateLimit(10, 10.0, 2))
    calls = [
        asyncio.create_task(client.call(READ, as_it_is, priority=priority, id=number))
        for number, priority in enumerate([*Priority] * 3)
    ]
    await server.arrived(1)
    await CLOCK.sleep(0.02)
    for call in calls:
        await cancelled_quickly(call)
    assert nothing_is_kept(client)
    assert client.account.limiter.stats().granted == len(server.requests)


async def test_cancel_in_the_pause(serve: Serve, connect: Connect) -> None:
    """A call cancelled between two attempts ends at once."""
    server = await serve(always(answer(503)))
    client = connect(server, random=lambda: 0.99)
    call = asyncio.create_task(client.call(READ, as_it_is, id=7))
    await server.arrived(1)
    await CLOCK.sleep(0.02)
    await cancelled_quickly(call)
    assert len(server.requests) == 1
    assert nothing_is_kept(client)


async def test_cancel_while_queued(serve: Serve, connect: Connect) -> None:
    """If half of many queued callers are cancelled, the others are all served, in order."""
    server = await serve(always(answer()))
    client = connect(server, limit=RateLimit(1, 500.0, 1))
    calls = [asyncio.create_task(client.call(READ, as_it_is, id=number)) for number in range(60)]
    await server.arrived(3)
    for call in calls[1::2]:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(outcome == {"success": True} for outcome in outcomes[::2])
    arrived = [int(request.path.rpartition("/")[2]) for request in server.requests]
    assert arrived == sorted(arrived)
    assert nothing_is_kept(client)


async def test_timeout_of_the_caller(serve: Serve, connect: Connect) -> None:
    """A caller's own timeout around a call arrives as TimeoutError."""
    server = await serve(always(hang()))
    client = connect(server)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.call(READ, as_it_is, id=7)
    assert nothing_is_kept(client)


async def test_cancelled_download(serve: Serve, connect: Connect) -> None:
    """A download cancelled between two pieces releases its connection."""
    server = await serve(always(raw(head(200, length=100) + b"some", "hang")))
    client = connect(server)

    async def consume() -> None:
        async with client.open(READ, id=7) as download:
            async for _ in download.chunks():
                pass

    consumer = asyncio.create_task(consume())
    await server.arrived(1)
    await CLOCK.sleep(0.02)
    await cancelled_quickly(consumer)
    assert nothing_is_kept(client)


async def test_failures_release_everything(serve: Serve, connect: Connect) -> None:
    """After a call that failed three times nothing is held either."""
    server = await serve(always(raw(b"")))
    client = connect(server)
    with pytest.raises(ConnectionLost):
        await client.call(READ, as_it_is, id=7)
    assert nothing_is_kept(client)

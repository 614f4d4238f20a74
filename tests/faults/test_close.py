from __future__ import annotations

import asyncio

import aiohttp
import pytest

from energy_core.errors import ClientClosed, EnergyError, OutcomeUnknown, WrongLoop
from energy_core.http.client import ApiClient
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.url import parse_base_url
from tests.faults.conftest import Serve, promptly
from tests.servers.fault_server import CLOCK, FaultServer, always, answer, hang, head, in_turn, raw
from tests.servers.invented_vendor import READ, REVOKE, WIDE, as_it_is, fixed_token


def client_of(pool: SessionPool, server: FaultServer, limit: RateLimit = WIDE) -> ApiClient:
    base = parse_base_url(server.url)
    return ApiClient(pool, pool.account(base.origin, "tester", limit, fixed_token), base, vendor="acme")


async def test_close_on_a_black_hole(serve: Serve) -> None:
    """With 500 calls on a server that never answers, closing takes the grace; each call has a typed error."""
    server = await serve(always(hang()))
    pool = SessionPool()
    client = client_of(pool, server, RateLimit(1000, 1000.0, 300))
    calls = [asyncio.create_task(client.call(READ, as_it_is, id=number)) for number in range(500)]
    await server.arrived(300)
    async with promptly():
        await pool.aclose(grace_s=0.2)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ClientClosed}
    assert len(server.requests) == 300
    while server.open_connections:
        await CLOCK.sleep(0.01)


async def test_queued_calls_end_at_once(serve: Serve) -> None:
    """Calls in the queue or in a hold get ClientClosed without waiting for the grace."""
    server = await serve(in_turn(answer(429, headers=[("Retry-After", "60")]), answer()))
    pool = SessionPool()
    client = client_of(pool, server, RateLimit(10, 10.0, 1))
    calls = [asyncio.create_task(client.call(READ, as_it_is, id=number)) for number in range(20)]
    await server.arrived(1)
    async with promptly():
        await pool.aclose(grace_s=600.0)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ClientClosed}
    assert len(server.requests) == 1


async def test_call_between_two_tries_ends_at_once(serve: Serve) -> None:
    """A call that waits for its next attempt does not delay closing."""
    server = await serve(always(answer(502)))
    pool = SessionPool(random=lambda: 0.99)
    call = asyncio.create_task(client_of(pool, server).call(READ, as_it_is, id=7))
    await server.arrived(1)
    await CLOCK.sleep(0.05)
    async with promptly():
        await pool.aclose(grace_s=600.0)
    with pytest.raises(ClientClosed):
        await call


async def test_calls_on_the_wire_may_finish(serve: Serve) -> None:
    """Within the grace an answer on its way still arrives."""
    server = await serve(always(hang()))
    pool = SessionPool()

    async def slow(talk: object) -> bool:
        await CLOCK.sleep(0.1)
        return await answer()(talk)  # type: ignore[arg-type]

    server.script = always(slow)
    call = asyncio.create_task(client_of(pool, server).call(READ, as_it_is, id=7))
    await server.arrived(1)
    await pool.aclose(grace_s=5.0)
    assert await call == {"success": True}


async def test_close_is_idempotent(serve: Serve) -> None:
    """Closing twice, at once or one after the other, is the same as closing once."""
    server = await serve(always(answer()))
    pool = SessionPool()
    client = client_of(pool, server)
    await client.call(READ, as_it_is, id=7)
    await asyncio.gather(pool.aclose(), pool.aclose())
    await pool.aclose()
    for forbidden in (client.call(READ, as_it_is, id=7), pool.admit(client.account), pool.__aenter__()):
        with pytest.raises(ClientClosed):
            await forbidden
    assert len(server.requests) == 1


async def test_close_without_use() -> None:
    """A pool that was never used closes as well."""
    pool = SessionPool()
    await pool.aclose()
    assert "closed" in repr(pool)


async def test_open_download_ends_with_the_pool(serve: Serve) -> None:
    """A download that is still open gets the grace, then its next step raises ClientClosed."""
    server = await serve(always(raw(head(200, length=1000) + b"some", "hang")))
    pool = SessionPool()
    async with client_of(pool, server).open(READ, id=7) as download:
        chunks = download.chunks()
        assert await anext(chunks) == b"some"
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        async with promptly():
            await pool.aclose(grace_s=0.1)
        with pytest.raises(ClientClosed):
            await waiting
        with pytest.raises(ClientClosed):
            await anext(chunks)


async def test_finished_download_does_not_hold_up_closing(serve: Serve) -> None:
    """A download that was left early is closed with its block."""
    server = await serve(always(raw(head(200, length=1000) + b"some", "hang")))
    pool = SessionPool()
    async with client_of(pool, server).open(READ, id=7) as download:
        assert await anext(download.chunks()) == b"some"
    async with promptly():
        await pool.aclose(grace_s=600.0)


async def test_injected_session_is_left_alone(serve: Serve) -> None:
    """An injected session keeps its middlewares and headers, and is open after the pool is closed."""
    server = await serve(always(answer()))
    seen: list[str] = []

    async def watching(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(request.method)
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=[watching], headers={"X-Mine": "1"}) as session:
        async with SessionPool(session) as pool:
            await client_of(pool, server).call(READ, as_it_is, id=7)
        assert not session.closed
        assert seen == ["GET"]
        assert server.requests[0].headers["x-mine"] == "1"


async def test_closed_injected_session_is_typed(serve: Serve) -> None:
    """If the owner closes the injected session first, a call raises ClientClosed."""
    server = await serve(always(answer()))
    session = aiohttp.ClientSession()
    async with SessionPool(session) as pool:
        await session.close()
        with pytest.raises(ClientClosed):
            await client_of(pool, server).call(READ, as_it_is, id=7)


async def test_middleware_that_repeats(serve: Serve) -> None:
    """A middleware that sends twice takes two slots, and cannot repeat a write that is not idempotent."""
    server = await serve(always(answer(404)))

    async def twice(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        (await handler(request)).release()
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=[twice]) as session, SessionPool(session) as pool:
        client = client_of(pool, server)
        with pytest.raises(EnergyError) as caught:
            await client.call(READ, as_it_is, id=7)
        assert caught.value.attempts == 2  # type: ignore[attr-defined]
        assert client.account.limiter.stats().granted == 2
        with pytest.raises(OutcomeUnknown):
            await client.call(REVOKE, as_it_is, id=7)
        assert server.count("/v2/things/7/revoke") == 1


def test_reuse_in_another_loop() -> None:
    """A pool belongs to one event loop: in the next it raises WrongLoop, and ClientClosed once closed."""

    async def ask(pool: SessionPool) -> object:
        async with FaultServer(always(answer())) as server:
            return await client_of(pool, server).call(READ, as_it_is, id=7)

    async def use_and_close(pool: SessionPool) -> object:
        async with pool, FaultServer(always(answer())) as server:
            return await client_of(pool, server).call(READ, as_it_is, id=7)

    pool = SessionPool()
    assert asyncio.run(use_and_close(pool)) == {"success": True}
    for _ in range(2):
        with pytest.raises(ClientClosed):
            asyncio.run(ask(pool))
        asyncio.run(pool.aclose())


def test_another_loop_without_close() -> None:
    """A pool whose loop is gone raises WrongLoop, and can still be closed."""
    pool = SessionPool()

    async def bind() -> None:
        await pool.__aenter__()

    asyncio.run(bind())
    for _ in range(2):
        with pytest.raises(WrongLoop):
            asyncio.run(bind())
    asyncio.run(pool.aclose())
    asyncio.run(pool.aclose())
    with pytest.raises(ClientClosed):
        asyncio.run(bind())


async def test_a_retried_download_leaves_nothing_in_flight(serve: Serve) -> None:
    """An attempt that got a 503 has ended when the next one succeeds; closing does not wait for it."""
    server = await serve(in_turn(answer(503), answer(body=b"{}")))
    pool = SessionPool(random=lambda: 0.0)
    async with client_of(pool, server).open(READ, id=7) as download:
        assert await download.read() == b"{}"
    assert pool.stats().in_flight == 0
    async with promptly():
        await pool.aclose(grace_s=600.0)

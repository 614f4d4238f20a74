"""ProductStream and the live source, over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime

import pytest
import trustme

from energy_core.errors import (
    AuthFailed,
    BadRequest,
    NotFound,
    PermissionDenied,
    StreamBusy,
    StreamClosed,
    TLSVerificationError,
)
from energy_core.http.lane import Limit
from energy_core.http.pool import SessionPool
from energy_core.stream.event import Quantity, SourceId, State
from tests.voltstorage.volt_service import TOKEN, frame, serving, until
from voltstorage_async import Endpoints, LatestData, UnknownProductEvent, VoltStorageClient


def sends(*frames, stay=None):
    async def play(socket):
        for each in frames:
            await (socket.send_bytes(each) if isinstance(each, bytes) else socket.send_str(each))
        if stay is not None:
            await stay.wait()

    return play


async def test_events_arrive_typed(service, served, quick):
    """Documented, unknown and incomplete messages arrive as what they are, in order."""
    service.plays = [
        sends(
            frame(1575154800, pvPower=421, dcVoltage=26.3),
            '{"type": "firmware", "version": 3}',
            '{"type": "latest-data", "data": {}}',
            stay=service.quiet,
        )
    ]
    async with served.events(77, timing=quick) as stream:
        first, second, third = [await anext(stream) for _ in range(3)]
        assert isinstance(first, LatestData)
        assert first.time == datetime(2019, 11, 30, 23, 0, tzinfo=UTC)
        assert first.data == {"pvPower": 421, "dcVoltage": 26.3}
        assert isinstance(second, UnknownProductEvent)
        assert (second.type, second.raw["version"]) == ("firmware", 3)
        assert isinstance(third, UnknownProductEvent)
        assert (stream.received, stream.unknown, stream.malformed) == (3, 2, 0)
        assert stream.status.state is State.LIVE
    assert stream.status.state is State.CLOSED
    assert service.handshakes[0]["productId"] == "77"
    assert service.auth_headers == [None]


async def test_malformed_frames_are_counted_and_never_end_the_stream(service, served, quick):
    """Whatever cannot be read is counted, and the next good message arrives."""
    bad = [b"\xff\xfe", "", "nope", "[]", "null", '{"type":', "1e999", '{"a":NaN}', "[" * 200]
    service.plays = [sends(*bad, frame(1, pvPower=1), stay=service.quiet)]
    async with served.events(77, timing=quick) as stream:
        event = await anext(stream)
        assert event.data == {"pvPower": 1}
        assert stream.malformed == len(bad)
        assert f"{len(bad)} malformed" in repr(stream)
    assert len(service.handshakes) == 1


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 4000])
async def test_a_close_by_the_server_is_healed(service, served, quick, prompt, code):
    """Whatever code the server closes with, the stream goes on with the next connection."""
    service.close_code = code
    service.plays = [sends(frame(1, pvPower=1)), sends(frame(2, pvPower=2), stay=service.quiet)]
    async with served.events(77, timing=quick, healing=prompt) as stream:
        assert [(await anext(stream)).data["pvPower"] for _ in range(2)] == [1, 2]
        assert stream.reconnects == 1
    assert service.logins == 1


async def test_an_expired_token_at_the_handshake_is_renewed_once(service, served, quick):
    """A 401 brings one login and an immediate second handshake; its token is the new one."""
    service.plays = [sends(frame(1, pvPower=1), stay=service.quiet)]
    assert [product.id async for product in served.products.list()] == [77]
    service.valid.clear()
    async with served.events(77, timing=quick) as stream:
        await anext(stream)
    assert service.logins == 2
    assert len(service.handshakes) == 2
    assert service.handshakes[0]["token"] != service.handshakes[1]["token"]


async def test_many_streams_with_an_expired_token_log_in_once(service, quick):
    """However many streams are refused at once, one login serves them all."""
    service.plays = [sends(frame(1, pvPower=1), stay=service.quiet)]
    limit = Limit(1000, 1000.0, 50)
    async with VoltStorageClient(
        email="a@example.com", password="right", base_url=service.base_url, limit=limit
    ) as client:
        assert [product.id async for product in client.products.list()] == [77]
        service.valid.clear()
        streams = [client.events(number, timing=quick) for number in range(8)]
        for stream in streams:
            await stream.__aenter__()
        for stream in streams:
            await anext(stream)
    assert service.logins == 2
    assert all(stream.status.state is State.CLOSED for stream in streams)


async def test_a_token_of_the_users_own_is_not_renewed(service, quick):
    """Without a login to renew with, a refused token ends the stream as AuthFailed, without the token."""
    async with VoltStorageClient(token=TOKEN, base_url=service.base_url) as client:
        stream = client.events(77, timing=quick)
        async with stream:
            with pytest.raises(AuthFailed) as caught:
                await anext(stream)
            assert TOKEN not in str(caught.value)
            assert stream.status.state is State.AUTH_FAILED
            with pytest.raises(AuthFailed):
                await anext(stream)


@pytest.mark.parametrize(("status", "error"), [(400, BadRequest), (403, PermissionDenied), (404, NotFound)])
async def test_a_refusal_that_waiting_cannot_mend_is_raised(service, served, quick, status, error):
    """Three refusals of the handshake in the service's JSON end the stream with its words."""
    service.handshake_status = [status] * 3
    async with served.events(77, timing=quick) as stream:
        with pytest.raises(error, match="It is refused"):
            await anext(stream)
        assert stream.status.state is State.FAILED


async def test_the_reader_never_waits_for_the_consumer(service, served, quick):
    """With a full buffer further events are let go and counted, to be fetched once there is room."""
    service.plays = [sends(*(frame(n, pvPower=n) for n in range(1, 501)), stay=service.quiet)]
    async with served.events(77, buffer=10, timing=quick) as stream:
        await until(lambda: stream.received == 500)
        assert stream.discarded > 0
        assert [(await anext(stream)).data["pvPower"] for _ in range(10)] == list(range(1, 11))


async def test_a_cancelled_wait_loses_nothing(service, served, quick):
    """Waits cut short at any moment neither lose nor repeat an event."""

    async def slowly(socket):
        for n in range(60):
            await socket.send_str(frame(n, pvPower=n))
            await asyncio.sleep(0.001)
        await service.quiet.wait()

    service.plays = [slowly]
    got = []
    async with served.events(77, timing=quick) as stream, asyncio.timeout(10):
        while len(got) < 60:
            waiting = asyncio.ensure_future(anext(stream))
            done, _ = await asyncio.wait([waiting], timeout=0.0007)
            if not done:
                waiting.cancel()
                await asyncio.wait([waiting])
            if not waiting.cancelled():
                got.append(waiting.result().data["pvPower"])
    assert got == list(range(60))


async def test_one_stream_serves_one_consumer(service, served, quick):
    """A second consumer gets StreamBusy, and the first keeps waiting undisturbed."""
    service.plays = [sends(stay=service.quiet)]
    async with served.events(77, timing=quick) as stream:
        first = asyncio.ensure_future(anext(stream))
        await until(lambda: stream._inbox._taker is not None)
        with pytest.raises(StreamBusy):
            await anext(stream)
        assert not first.done()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await first


async def test_a_stream_must_be_opened_and_only_once(served, quick):
    """Without its async with, or with a second one, a stream says so."""
    stream = served.events(77, timing=quick)
    with pytest.raises(StreamClosed):
        await anext(stream)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    with pytest.raises(StreamClosed):
        await stream.__aenter__()


async def test_closing_the_client_ends_its_streams(service, quick):
    """A consumer that waits sees the end when the client is closed."""
    service.plays = [sends(stay=service.quiet)]
    client = VoltStorageClient(email="a@example.com", password="right", base_url=service.base_url)
    stream = client.events(77, timing=quick)
    await stream.__aenter__()
    waiting = asyncio.ensure_future(anext(stream))
    await until(lambda: stream.status.state is State.LIVE)
    await client.aclose()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_the_bearer_header_goes_along_when_asked_for(service, quick):
    """`Endpoints.events_header` adds the header to the token in the query."""
    service.plays = [sends(frame(1, pvPower=1), stay=service.quiet)]
    where = service.base_url.replace("http", "ws") + "products/events"
    async with VoltStorageClient(
        email="a@example.com",
        password="right",
        base_url=service.base_url,
        endpoints=Endpoints(events_url=where, events_header=True, token_in="query"),
    ) as client:
        assert [product.id async for product in client.products.list()] == [77]
        async with client.events(77, timing=quick) as stream:
            await anext(stream)
    assert service.requests[0][2]["token"] == service.handshakes[0]["token"]
    assert service.auth_headers == [f"Bearer {service.handshakes[0]['token']}"]


async def test_a_pools_tls_context_serves_the_events_too(quick):
    """With a private authority in the pool's context, requests and events trust it; others do not."""
    authority = trustme.CA()
    server, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trusting)
    async with serving(server) as service:
        service.plays = [sends(frame(1, pvPower=1), stay=service.quiet)]
        account = {"email": "a@example.com", "password": "right", "base_url": service.base_url}
        async with SessionPool(ssl_context=trusting) as pool:
            client = VoltStorageClient(pool, **account)
            async with client.events(77, timing=quick) as stream:
                await anext(stream)
            token = next(iter(service.valid))
        async with (
            VoltStorageClient(token=token, base_url=service.base_url) as stranger,
            stranger.events(77, timing=quick) as stream,
        ):
            with pytest.raises(TLSVerificationError):
                await anext(stream)


class Outlet:
    """Takes notes."""

    def __init__(self):
        self.readings = []
        self.states = []

    def reading(self, source, *, time, id, values, raw, backfilled=False, revision=0):  # noqa: A002
        self.readings.append((source, time, id, dict(values), raw))

    def status(self, state, *, reason="", retry_in=None):
        self.states.append(state)

    def gap(self, source, *, start, end, reason):
        raise AssertionError("no gap is reported yet")

    async def room(self):
        raise AssertionError("a socket's reader never waits")


async def test_the_source_speaks_in_fixed_units_and_signs(service, served, quick):
    """Ratios become percent, charging becomes positive, feed-in stays negative, unknown keys stay in raw."""
    data = {
        "pvPower": 421,
        "gridPower": -50.5,
        "consumption": 815.25,
        "batteryPower": -433,
        "soc": 0.605,
        "dcVoltage": 26.3,
        "dcCurrent": -16.5,
        "batteryTemperature": 31.5,
        "pumpSpeed": 7,
    }
    bad = {"pvPower": "421", "soc": True, "dcVoltage": None, "gridPower": 0, "batteryPower": 0.0}
    service.plays = [sends(frame(1575154800, **data), frame(1575154800, **bad), stay=service.quiet)]
    source, outlet = served.live(77, timing=quick), Outlet()
    running = asyncio.ensure_future(source.run(outlet))
    await until(lambda: len(outlet.readings) == 2)
    running.cancel()
    await asyncio.wait([running])
    (name, time, first, values, raw), (_, _, second, sparse, _) = outlet.readings
    assert name == source.id == SourceId("voltstorage", source.id.account, "77", 0)
    assert "example" not in str(name)
    assert time == datetime(2019, 11, 30, 23, 0, tzinfo=UTC)
    assert (first, second) == ("77/1575154800/0", "77/1575154800/1")
    assert values == {
        Quantity.PV_POWER: 421.0,
        Quantity.GRID_POWER: -50.5,
        Quantity.CONSUMPTION_POWER: 815.25,
        Quantity.BATTERY_POWER: 433.0,
        Quantity.BATTERY_SOC: 60.5,
        Quantity.BATTERY_VOLTAGE: 26.3,
        Quantity.BATTERY_CURRENT: 16.5,
        Quantity.BATTERY_TEMPERATURE: 31.5,
    }
    assert raw["data"]["pumpSpeed"] == 7
    assert sparse == {Quantity.GRID_POWER: 0.0, Quantity.BATTERY_POWER: 0.0}
    assert str(sparse[Quantity.BATTERY_POWER]) == "0.0"
    assert source.unusable == 2
    assert outlet.states[:2] == [State.CONNECTING, State.LIVE]
    with pytest.raises(StreamBusy):
        await source.run(outlet)


async def test_the_source_counts_what_is_no_reading(service, served, quick):
    """Unknown and malformed messages are counted and make no reading."""
    service.plays = [sends('{"type": "x"}', "oops", frame(5, pvPower=1), stay=service.quiet)]
    source, outlet = served.live(77, timing=quick), Outlet()
    running = asyncio.ensure_future(source.run(outlet))
    await until(lambda: outlet.readings)
    running.cancel()
    await asyncio.wait([running])
    assert (source.unknown, source.malformed, len(outlet.readings)) == (1, 1, 1)
    assert "1 unknown, 1 malformed" in repr(source)


async def test_ordinals_go_on_for_a_second_that_comes_back(service, served, quick):
    """The ordinal counts the frames of a second, whatever came in between."""
    frames = [frame(second, pvPower=1) for second in (10, 10, 11, 10)]
    service.plays = [sends(*frames, stay=service.quiet)]
    source, outlet = served.live(77, timing=quick), Outlet()
    running = asyncio.ensure_future(source.run(outlet))
    await until(lambda: len(outlet.readings) == 4)
    running.cancel()
    await asyncio.wait([running])
    assert [reading[2] for reading in outlet.readings] == ["77/10/0", "77/10/1", "77/11/0", "77/10/2"]

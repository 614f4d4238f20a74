"""ProductStream and ProductSource, over real sockets."""

from __future__ import annotations

import asyncio
import json
import ssl
from datetime import UTC, datetime

import pytest
import trustme
from aiohttp import web
from attrs import evolve

from energy_core import merge
from energy_core.errors import (
    AuthFailed,
    BadRequest,
    NotFound,
    PermissionDenied,
    StreamBusy,
    StreamClosed,
    TLSVerificationError,
)
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.stream.vocabulary import Quantity, SourceId, State
from tests.servers.scripted_volt import TOKEN, frame, serving, until
from voltstorage_async import Endpoints, LatestData, UnknownProductEvent, VoltStorageClient

START = 1_575_154_800


def sends(*frames, stay=None):
    async def play(socket):
        for each in frames:
            await (socket.send_bytes(each) if isinstance(each, bytes) else socket.send_str(each))
        if stay is not None:
            await stay.wait()

    return play


async def test_events_arrive_typed(service, served, quick):
    """Documented, undocumented and incomplete messages arrive typed, in order."""
    service.plays = [
        sends(
            frame(1575154800, pvPower=421, dcVoltage=26.3),
            '{"type": "firmware", "version": 3}',
            '{"type": "latest-data", "data": {}}',
            stay=service.quiet,
        )
    ]
    async with served.events(77, socket=quick) as stream:
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
    """A message that cannot be read is counted, and the next good one arrives."""
    bad = [b"\xff\xfe", "", "nope", "[]", "null", '{"type":', "1e999", '{"a":NaN}', "[" * 200]
    service.plays = [sends(*bad, frame(START + 1, pvPower=1), stay=service.quiet)]
    async with served.events(77, socket=quick) as stream:
        event = await anext(stream)
        assert event.data == {"pvPower": 1}
        assert stream.malformed == len(bad)
        assert f"{len(bad)} malformed" in repr(stream)
    assert len(service.handshakes) == 1


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 4000])
async def test_after_a_close_by_the_server_the_stream_goes_on(service, served, quick, prompt, code):
    """Whatever code the server closes with, the stream goes on with the next connection."""
    service.close_code = code
    service.plays = [
        sends(frame(START + 1, pvPower=1)),
        sends(frame(START + 2, pvPower=2), stay=service.quiet),
    ]
    async with served.events(77, socket=quick, backfill=prompt) as stream:
        assert [(await anext(stream)).data["pvPower"] for _ in range(2)] == [1, 2]
        assert stream.reconnects == 1
    assert service.logins == 1


async def test_an_expired_token_at_the_handshake_is_renewed_once(service, served, quick):
    """A 401 leads to one login and an immediate second handshake with the new token."""
    service.plays = [sends(frame(START + 1, pvPower=1), stay=service.quiet)]
    assert [product.id async for product in served.products.list()] == [77]
    service.valid.clear()
    async with served.events(77, socket=quick) as stream:
        await anext(stream)
    assert service.logins == 2
    assert len(service.handshakes) == 2
    assert service.handshakes[0]["token"] != service.handshakes[1]["token"]


async def test_many_streams_with_an_expired_token_log_in_once(service, quick):
    """However many streams are refused at once, there is one login."""
    service.plays = [sends(frame(START + 1, pvPower=1), stay=service.quiet)]
    limit = RateLimit(1000, 1000.0, 50)
    async with VoltStorageClient(
        email="a@example.com", password="right", base_url=service.base_url, limit=limit
    ) as client:
        assert [product.id async for product in client.products.list()] == [77]
        service.valid.clear()
        streams = [client.events(number, socket=quick) for number in range(8)]
        for stream in streams:
            await stream.__aenter__()
        for stream in streams:
            await anext(stream)
    assert service.logins == 2
    assert all(stream.status.state is State.CLOSED for stream in streams)


async def test_a_token_of_the_users_own_is_not_renewed(service, quick):
    """Without a login, a refused token ends the stream as AuthFailed, whose text has no token."""
    async with VoltStorageClient(token=TOKEN, base_url=service.base_url) as client:
        stream = client.events(77, socket=quick)
        async with stream:
            with pytest.raises(AuthFailed) as caught:
                await anext(stream)
            assert TOKEN not in str(caught.value)
            assert stream.status.state is State.AUTH_FAILED
            with pytest.raises(AuthFailed):
                await anext(stream)


@pytest.mark.parametrize(("status", "error"), [(400, BadRequest), (403, PermissionDenied), (404, NotFound)])
async def test_a_permanent_refusal_is_raised(service, served, quick, status, error):
    """Three refusals of the handshake in the service's JSON end the stream with its text."""
    service.handshake_status = [status] * 3
    async with served.events(77, socket=quick) as stream:
        with pytest.raises(error, match="It is refused"):
            await anext(stream)
        assert stream.status.state is State.FAILED


async def test_the_reader_never_waits_for_the_consumer(service, served, quick):
    """With a full buffer further events are dropped and counted, and backfilled once there is room."""
    service.plays = [sends(*(frame(START + n, pvPower=n) for n in range(1, 501)), stay=service.quiet)]
    async with served.events(77, buffer=10, socket=quick) as stream:
        await until(lambda: stream.received == 500)
        assert stream.discarded > 0
        assert [(await anext(stream)).data["pvPower"] for _ in range(10)] == list(range(1, 11))


async def test_a_cancelled_wait_loses_nothing(service, served, quick):
    """Waits cancelled at any moment neither lose nor repeat an event."""

    async def slowly(socket):
        for n in range(60):
            await socket.send_str(frame(START + n, pvPower=n))
            await asyncio.sleep(0.001)
        await service.quiet.wait()

    service.plays = [slowly]
    got = []
    async with served.events(77, socket=quick) as stream, asyncio.timeout(10):
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
    """A second consumer gets StreamBusy, and the first keeps waiting."""
    service.plays = [sends(stay=service.quiet)]
    async with served.events(77, socket=quick) as stream:
        first = asyncio.ensure_future(anext(stream))
        await until(lambda: stream.status.state is State.LIVE)
        with pytest.raises(StreamBusy):
            await anext(stream)
        assert not first.done()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await first


async def test_a_stream_must_be_opened_and_only_once(served, quick):
    """Without `async with`, or with a second one, StreamClosed is raised."""
    stream = served.events(77, socket=quick)
    with pytest.raises(StreamClosed):
        await anext(stream)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    with pytest.raises(StreamClosed):
        await stream.__aenter__()


async def test_closing_the_client_ends_its_streams(service, quick):
    """A waiting consumer ends when the client is closed."""
    service.plays = [sends(stay=service.quiet)]
    client = VoltStorageClient(email="a@example.com", password="right", base_url=service.base_url)
    stream = client.events(77, socket=quick)
    await stream.__aenter__()
    waiting = asyncio.ensure_future(anext(stream))
    await until(lambda: stream.status.state is State.LIVE)
    await client.aclose()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_the_bearer_header_goes_along_when_asked_for(service, quick):
    """`Endpoints.events_header` adds the header to the token in the query."""
    service.plays = [sends(frame(START + 1, pvPower=1), stay=service.quiet)]
    where = service.base_url.replace("http", "ws") + "products/events"
    async with VoltStorageClient(
        email="a@example.com",
        password="right",
        base_url=service.base_url,
        endpoints=Endpoints(events_url=where, events_header=True, token_in="query"),
    ) as client:
        assert [product.id async for product in client.products.list()] == [77]
        async with client.events(77, socket=quick) as stream:
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
        service.plays = [sends(frame(START + 1, pvPower=1), stay=service.quiet)]
        account = {"email": "a@example.com", "password": "right", "base_url": service.base_url}
        async with SessionPool(ssl_context=trusting) as pool:
            client = VoltStorageClient(pool, **account)
            async with client.events(77, socket=quick) as stream:
                await anext(stream)
            token = next(iter(service.valid))
        async with (
            VoltStorageClient(token=token, base_url=service.base_url) as stranger,
            stranger.events(77, socket=quick) as stream,
        ):
            with pytest.raises(TLSVerificationError):
                await anext(stream)


class Outlet:
    """Keeps what it gets."""

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


async def test_readings_have_fixed_units_and_signs(service, served, quick):
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
    source, outlet = served.live(77, socket=quick), Outlet()
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
    assert sparse == {Quantity.PV_POWER: 421.0, Quantity.GRID_POWER: 0.0, Quantity.BATTERY_POWER: 0.0}
    assert str(sparse[Quantity.BATTERY_POWER]) == "0.0"
    assert source.unusable == 1
    assert served.drift.counts == {("LatestData", "soc", "not a number"): 1}
    assert (source.notes["unusable"], source.notes["battery_soc_scale"]) == (1, "0..1 (assumed)")
    assert outlet.states[:2] == [State.CONNECTING, State.LIVE]
    with pytest.raises(StreamBusy):
        await source.run(outlet)


async def test_messages_that_are_not_readings_are_counted(service, served, quick):
    """Messages of undocumented types and malformed ones are counted and make no reading."""
    service.plays = [sends('{"type": "x"}', "oops", frame(START + 5, pvPower=1), stay=service.quiet)]
    source, outlet = served.live(77, socket=quick), Outlet()
    running = asyncio.ensure_future(source.run(outlet))
    await until(lambda: outlet.readings)
    running.cancel()
    await asyncio.wait([running])
    assert (source.unknown, source.malformed, len(outlet.readings)) == (1, 1, 1)
    assert "1 unknown, 1 malformed" in repr(source)


async def test_ordinals_go_on_for_a_second_that_comes_back(service, served, quick):
    """The ordinal counts the messages of a second, whatever came in between."""
    frames = [frame(START + second, pvPower=1) for second in (10, 10, 11, 10)]
    service.plays = [sends(*frames, stay=service.quiet)]
    source, outlet = served.live(77, socket=quick), Outlet()
    running = asyncio.ensure_future(source.run(outlet))
    await until(lambda: len(outlet.readings) == 4)
    running.cancel()
    await asyncio.wait([running])
    assert [reading[2] for reading in outlet.readings] == [
        *(f"77/{START + 10}/0", f"77/{START + 10}/1", f"77/{START + 11}/0", f"77/{START + 10}/2")
    ]


async def first_events(served, service, quick, *messages, count, **options):
    """Return the first readings and gaps of a source with these messages, and its notes."""
    service.plays = [sends(*messages, stay=service.quiet)]
    source = served.live(77, socket=quick, **options)
    events = []
    async with merge(source) as stream:
        async with asyncio.timeout(5):
            while len(events) < count:
                event = await anext(stream)
                if event.kind != "status":
                    events.append(event)
        notes = dict(stream.status[source.id].notes)
    return events, notes


@pytest.mark.parametrize(
    "time", [1575154800000, 1575154800123, "1575154800", "1575154800000", 1575154800.9, 1575154800999.0]
)
async def test_a_time_in_milliseconds_or_text_is_understood(service, served, quick, time):
    """Numbers that count milliseconds, and numbers as text, are the same second."""
    message = json.dumps({"type": "latest-data", "time": time, "data": {"pvPower": 1}})
    (event,), _ = await first_events(served, service, quick, message, count=1)
    assert event.time == datetime(2019, 11, 30, 23, 0, tzinfo=UTC)
    assert event.id == "77/1575154800/0"
    assert not served.drift.counts


@pytest.mark.parametrize("time", ["2019-11-30T23:00:00Z", "2019-12-01T00:00:00.250+01:00"])
async def test_a_time_as_iso_text_is_understood(service, served, quick, time):
    """Text with a zone is the same time, whatever the zone."""
    (event,), _ = await first_events(served, service, quick, frame(time, pvPower=1), count=1)
    assert event.time == datetime(2019, 11, 30, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "time",
    [
        *("2019-11-30T23:00:00", "yesterday", None, True, [], 1e300, 0, -5, 35, "0", 0.5, -1e12, 946684799),
        *("1970-01-01T00:00:35Z", "0001-01-01T00:00:00+14:00"),
    ],
)
async def test_a_known_type_that_cannot_be_read_is_counted(service, served, quick, time):
    """A time without a zone is ambiguous; such a message is counted in the status and in the drift."""
    messages = [frame(time, pvPower=1), frame(1575154800, pvPower=2)]
    (event,), notes = await first_events(served, service, quick, *messages, count=1)
    assert event.values == {Quantity.PV_POWER: 2.0}
    assert notes["unknown"] == 1
    (key,) = served.drift.counts
    assert key[0] == "LatestData"


async def test_an_undocumented_type_is_counted(service, served, quick):
    """It is in the status and in the drift, by its name."""
    messages = ['{"type": "firmware", "version": 7}', frame(1575154800, pvPower=2)]
    _, notes = await first_events(served, service, quick, *messages, count=1)
    assert notes["unknown"] == 1
    assert list(served.drift.counts) == [("ProductEvent", "type firmware", "unknown")]


async def test_a_list_of_messages_is_each_of_them(service, served, quick):
    """A message may be a list; its items that are no object are counted, the others delivered."""
    several = [json.loads(frame(1575154800 + n, pvPower=n)) for n in range(3)]
    messages = [json.dumps([several[0], 7, several[1]]), json.dumps([several[2]]), "[]"]
    events, notes = await first_events(served, service, quick, *messages, count=3)
    assert [event.values[Quantity.PV_POWER] for event in events] == [0.0, 1.0, 2.0]
    assert [event.raw for event in events] == several
    assert notes["malformed"] in {1, 2}  # the last frame may not have been read yet
    assert ("ProductEvent", "message", "unreadable") in served.drift.counts


async def test_a_list_of_very_many_messages_is_one_that_cannot_be_read(service, served, quick):
    """Reading so many items would delay all other streams."""
    messages = ["[" + ",".join(["{}"] * 1001) + "]", frame(1575154800, pvPower=2)]
    _, notes = await first_events(served, service, quick, *messages, count=1)
    assert (notes["malformed"], notes["unknown"]) == (1, 0)


async def test_names_of_the_export_are_understood_in_events(service, served, quick):
    """The service may use the column names of the export in events."""
    data = {"Power_Grid": -49.8754, "SOC_State of Charge": 0.25, "inverterPower": 433.105}
    (event,), _ = await first_events(served, service, quick, frame(1575154800, **data), count=1)
    assert event.values == {
        Quantity.GRID_POWER: -49.8754,
        Quantity.BATTERY_SOC: 25.0,
        Quantity.BATTERY_POWER: -433.105,
    }


async def test_events_of_which_no_key_is_known_are_reported(service, served, quick):
    """They are delivered with their data, and the status and the drift name their keys."""
    strange = [frame(1575154800 + n, PvPower=n, power_grid=1, SOC=0.5) for n in range(4)]
    messages = [*strange, frame(1575154810, pvPower=2, elsewhere=1), frame(1575154811, pvPower=None)]
    events, notes = await first_events(served, service, quick, *messages, count=6)
    assert [len(event.values) for event in events] == [0, 0, 0, 0, 1, 0]
    assert events[3].raw["data"] == {"PvPower": 3, "power_grid": 1, "SOC": 0.5}
    assert notes["without_meaning"] == "PvPower, power_grid, SOC"
    assert served.drift.counts == {
        ("LatestData", key, "unknown"): 1 for key in ("PvPower", "power_grid", "SOC")
    }


async def test_a_charge_in_percent_is_learned_from_its_first_value(service, served, quick):
    """The first value above 1.5 shows the scale; values outside 0..100 % are left out."""
    messages = [frame(START + 100 + n, soc=soc) for n, soc in enumerate((57, 0.9, 100, 101, -1, 0))]
    events, notes = await first_events(served, service, quick, *messages, count=6)
    assert [event.values.get(Quantity.BATTERY_SOC) for event in events] == [57.0, 0.9, 100.0, None, None, 0.0]
    assert notes["battery_soc_scale"] == "0..100 (learned: soc)"
    assert notes["unusable"] == 2
    assert served.drift.counts == {
        ("LatestData", "soc", "percent instead of a ratio"): 1,
        ("LatestData", "soc", "not within 0..100 %"): 2,
    }


async def test_a_stream_has_the_scale_it_assumes(service, served, quick):
    """The scale belongs to the product: a source knows what a stream of the same product has learned."""
    service.plays = [sends(frame(START + 100, soc=57), stay=service.quiet)]
    async with served.events(77, socket=quick) as stream:
        assert stream.soc_scale == "0..1 (assumed)"
        assert (await anext(stream)).data == {"soc": 57}
        assert stream.soc_scale == "0..100 (learned: soc)"
    assert served.live(77).notes["battery_soc_scale"] == "0..100 (learned: soc)"
    assert served.live(78).notes["battery_soc_scale"] == "0..1 (assumed)"


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_scale_that_proves_wrong_is_reported_as_a_gap(service, served, quick, at_once):
    """Values delivered on a wrong assumed scale are reported once, when the scale is learned."""
    messages = [frame(START + 100 + n, soc=soc) for n, soc in enumerate((0.8, 0.9, 1.0, 1.2, 2, 0.5))]
    if at_once:
        messages = [f"[{','.join(messages)}]", frame(START + 200, pvPower=1)]
    events, _ = await first_events(served, service, quick, *messages, count=7 + at_once)
    if at_once:
        assert events.pop().time == datetime.fromtimestamp(START + 200, UTC)
    assert [event.kind for event in events] == ["reading"] * 4 + ["gap"] + ["reading"] * 2
    told_so = [event.values.get(Quantity.BATTERY_SOC) for event in events if event.kind == "reading"]
    assert told_so == [80.0, 90.0, 100.0, None, 2.0, 0.5]
    (gap,) = [event.detail for event in events if event.kind == "gap"]
    assert (gap.reason, gap.quantities) == ("soc_scale", (Quantity.BATTERY_SOC,))
    assert (gap.start.timestamp(), gap.end.timestamp()) == (START + 100, START + 103)


async def test_a_scale_that_proves_wrong_in_the_first_frame_is_one_gap(service, served, quick):
    """The first event is delivered alone; the others in the same message show the scale."""
    first = f"[{frame(START + 100, soc=0.8)},{frame(START + 101, soc=57)}]"
    events, _ = await first_events(served, service, quick, first, frame(START + 200, pvPower=1), count=4)
    assert [event.kind for event in events] == ["reading", "gap", "reading", "reading"]
    assert (events[1].detail.start.timestamp(), events[1].detail.end.timestamp()) == (
        START + 100,
        START + 100,
    )


@pytest.mark.parametrize(
    ("scale", "sent", "shown"),
    [
        ("percent", (0.5, 0.5), "0..100 (set)"),
        ("ratio", (0.5, 50.0), "0..1 (set)"),
        ("ratio", (57, None), "0..1 (set)"),
        ({77: "percent"}, (1, 1.0), "0..100 (set)"),
        ({78: "percent"}, (1, 100.0), "0..1 (assumed)"),
    ],
)
async def test_the_scale_can_be_set(service, quick, scale, sent, shown):
    """A setting decides, for all products or for one; then nothing is learned."""
    login = {"email": "anybody@example.com", "password": "right", "base_url": service.base_url}
    async with VoltStorageClient(**login, soc_scale=scale) as client:
        (event,), notes = await first_events(client, service, quick, frame(START + 100, soc=sent[0]), count=1)
    assert event.values.get(Quantity.BATTERY_SOC) == sent[1]
    assert notes["battery_soc_scale"] == shown


async def test_a_scale_is_learned_from_a_backfill_too(service, served, quick, prompt):
    """A row of the export that shows its scale counts for that column; live values keep their own."""

    async def export(request):
        return web.Response(text="Time,SOC_State of Charge\r\n2019-11-30T23:01:30+00:00,57\r\n")

    service.export = export
    since = datetime.fromtimestamp(START + 85, UTC)
    messages = [frame(START + 100, soc=0.58), frame(START + 101, soc=0.59)]
    events, notes = await first_events(
        served, service, quick, *messages, count=3, since=since, backfill=evolve(prompt, max_age_s=1e10)
    )
    readings = [event for event in events if event.kind == "reading"]
    charges = [event.values.get(Quantity.BATTERY_SOC) for event in readings]
    assert charges[0] == 57.0
    assert charges[1:] == pytest.approx([58.0, 59.0][: len(charges) - 1])
    assert notes["battery_soc_scale"] == "0..100 (learned: SOC_State of Charge)"

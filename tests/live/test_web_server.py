"""The relay over HTTP: routes, streams, refusals."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import jsonschema
import pytest

from energy_core import Dropped, Event, Gap, Kind, Quantity, SourceId, State, Status
from energy_core.home import SourceFilter
from energy_core.secret import Secret
from energy_live.web.access import CSP, ListenOptions
from energy_live.web.homes import Home, Homes
from energy_live.web.server import WebServer

NOW = datetime.now(UTC).replace(microsecond=0)
SITE, STORE = SourceId("vrm", "home", "151734"), SourceId("voltstorage", "home", "301")
TOKEN = "a-long-random-token-0123456789"
HOME = Home(id="haus", name="Haus", sources=(SourceFilter("vrm"), SourceFilter("voltstorage")))


def reading(seq, source=SITE, *, time=None, **values):
    moment = time or NOW + timedelta(seconds=seq)
    return Event(
        source,
        Kind.READING,
        f"{source}/reading",
        moment,
        moment,
        seq,
        f"{source.site}/{seq}",
        {Quantity(name): value for name, value in (values or {"grid_power": float(seq)}).items()},
        {"watts": seq},
    )


def served(**options):
    listen = ListenOptions(**{"port": 0, **options})
    return WebServer(listen, Homes([HOME]), capacity=options.pop("capacity", 1000))


async def lines_of(socket, count):
    """Read `count` events, without the lines that are none."""
    found = []
    while len(found) < count:
        message = await socket.receive(timeout=20)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        found += [line for line in map(json.loads, message.data.split("\n")) if line["kind"] != "relay"]
    return found


async def test_events_are_delivered_over_a_websocket_as_they_were_published():
    """Each line is the published form of the event, with a cursor."""
    async with served() as server, aiohttp.ClientSession() as session:
        async with session.ws_connect(server.url + "events") as socket:
            hello = json.loads((await socket.receive()).data)
            assert (hello["kind"], hello["resumed"]) == ("relay", True)
            events = [reading(1), reading(2, pv_power=3.5)]
            server.publish(events)
            lines = await lines_of(socket, 2)
        assert [Event.from_json(json.dumps(line)) for line in lines] == events
        assert [line["cursor"] for line in lines] == [f"{server.log.boot}-1", f"{server.log.boot}-2"]


async def test_a_client_resumes_after_its_cursor():
    """`since` brings what came after the cursor, and nothing twice."""
    async with served() as server, aiohttp.ClientSession() as session:
        server.publish(map(reading, range(1, 11)))
        async with session.ws_connect(f"{server.url}events?since={server.log.boot}-4") as socket:
            assert json.loads((await socket.receive()).data)["resumed"] is True
            assert [line["seq"] for line in await lines_of(socket, 6)] == [5, 6, 7, 8, 9, 10]


async def test_what_memory_has_lost_is_reported():
    """A cursor that is too old: one `dropped` event with numbers and times, then what is kept."""
    async with WebServer(ListenOptions(port=0), Homes([HOME]), capacity=10) as server:
        server.publish(map(reading, range(1, 31)))
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{server.url}events?since={server.log.boot}-5") as socket,
        ):
            assert json.loads((await socket.receive()).data)["resumed"] is False
            dropped, *kept = await lines_of(socket, 11)
    assert dropped["kind"] == "dropped"
    assert dropped["detail"]["first"] <= 6
    assert dropped["detail"]["last"] == 20
    assert dropped["detail"]["from"] <= (NOW + timedelta(seconds=6)).isoformat()
    assert [line["seq"] for line in kept] == list(range(21, 31))
    assert isinstance(Event.from_json(json.dumps(dropped)).detail, Dropped)


async def test_server_sent_events_resume_with_their_last_id():
    """The id of an event is its cursor; `Last-Event-ID` continues after it."""
    async with served() as server, aiohttp.ClientSession() as session:
        server.publish(map(reading, range(1, 4)))
        headers = {"Last-Event-ID": f"{server.log.boot}-1"}
        async with session.get(server.url + "events.sse", headers=headers) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            text = ""
            while text.count("\n\n") < 3:
                text += (await answer.content.readany()).decode()
    assert text.startswith(f"event: relay\nid: {server.log.boot}-1\n")
    assert [f"id: {server.log.boot}-{n}" in text for n in (2, 3)] == [True, True]
    assert '"seq":2' in text
    assert '"seq":1,' not in text


async def test_sources_quantities_and_raw_choose_what_a_client_gets():
    """Readings of other sources are left out, other values are removed, and the record is."""
    async with served() as server, aiohttp.ClientSession() as session:
        query = "events?sources=voltstorage/*/301&quantities=pv_power&raw=no"
        async with session.ws_connect(server.url + query) as socket:
            await socket.receive()
            server.publish(
                [
                    reading(1, pv_power=1.0),
                    reading(1, STORE, grid_power=5.0),
                    reading(2, STORE, grid_power=5.0, pv_power=2.0),
                ]
            )
            (line,) = await lines_of(socket, 1)
    assert (line["values"], line["raw"], line["seq"]) == ({"pv_power": 2.0}, {}, 2)


@pytest.mark.parametrize(
    "query",
    [
        "events?policy=never",
        "events?quantities=watts",
        "events?raw=perhaps",
        "events?since=2026-01-01T00:00",
        "events?since=a&since=b",
        "events?sources=a/b/c/d/e",
        "history?from=yesterday",
        "history?from=2026-01-01T00:00:00Z",
        f"events?sources={'x' * 3000}",
    ],
)
async def test_a_wrong_query_is_refused_with_one_line(query):
    """Status 400, and the line says what is allowed."""
    async with (
        served() as server,
        aiohttp.ClientSession() as session,
        session.get(server.url + query) as answer,
    ):
        assert answer.status == 400
        assert (await answer.text()).count("\n") == 1


async def test_state_has_values_with_ages_and_sources():
    """`/state` is the home's state; a home that is not known is a 404."""
    async with served() as server, aiohttp.ClientSession() as session:
        server.publish([reading(1, grid_power=-250.0, time=NOW), reading(1, STORE, battery_soc=55.0)])
        async with session.get(server.url + "state") as answer:
            (home,) = (await answer.json())["homes"]
        assert home["values"]["grid_power"]["value"] == -250.0
        assert home["values"]["grid_power"]["source"] == list(SITE)
        assert home["values"]["grid_power"]["age_s"] >= 0
        async with session.get(server.url + "state?home=other") as answer:
            assert answer.status == 404


async def test_history_has_gaps_and_what_was_backfilled():
    """Bins without a reading are null; a backfilled bin is marked; gaps have their reason."""
    start = NOW - timedelta(hours=3)
    async with served() as server, aiohttp.ClientSession() as session:
        server.publish([reading(1, time=start, pv_power=100.0)])
        gap = Gap(
            start=start + timedelta(minutes=10), end=start + timedelta(minutes=50), reason="not_recorded"
        )
        server.publish([Event(SITE, Kind.GAP, "k", gap.end, gap.end, 2, "gap:2", detail=gap)])
        server.publish(
            [reading(3, time=start + timedelta(hours=1), pv_power=300.0)._replace(backfilled=True)]
        )
        async with session.get(server.url + "history") as answer:
            (home,) = (await answer.json())["homes"]
    curve = home["curves"]["pv_power"]
    assert [value for value in curve["values"] if value is not None] == [100.0, 300.0]
    assert [curve["values"][place] for place in curve["backfilled"]] == [300.0]
    assert [each["reason"] for each in home["gaps"]] == ["not_recorded"]


async def test_the_openapi_document_has_exactly_the_routes():
    """Every route is described, and nothing else is; the answers match their schemas."""
    async with served() as server, aiohttp.ClientSession() as session:
        server.publish([reading(1)])
        async with session.get(server.url + "openapi.json") as answer:
            document = await answer.json()
        described = {
            (method.upper(), path) for path, methods in document["paths"].items() for method in methods
        }
        assert described == {(method, path) for method, path, _ in server.routes()}
        for path in ("/state", "/history", "/healthz"):
            async with session.get(server.url.rstrip("/") + path) as answer:
                content = document["paths"][path]["get"]["responses"]["200"]["content"]
                schema = content["application/json"]["schema"] | {"components": document["components"]}
                jsonschema.validate(await answer.json(), schema)


async def test_every_answer_forbids_what_the_page_does_not_need():
    """The policy for content is on every answer, also on refusals; no answer allows other origins."""
    async with served() as server, aiohttp.ClientSession() as session:
        for path in ("", "page.js", "state", "nothing", "events?raw=x"):
            async with session.get(server.url + path) as answer:
                assert answer.headers["Content-Security-Policy"] == CSP
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "127.0.0.1:1@evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost"}, 200),
    ],
)
async def test_pages_of_others_are_refused(headers, status):
    """A `Host` of a foreign name (DNS rebinding) and an `Origin` that is not the page's own."""
    async with served() as server, aiohttp.ClientSession() as session:
        for path in ("state", "events"):
            async with session.get(server.url + path, headers=headers) as answer:
                assert answer.status == (status if status != 200 or path == "state" else answer.status)


async def test_nothing_can_be_written():
    """Every method but GET is refused."""
    async with served() as server, aiohttp.ClientSession() as session:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            async with session.request(method, server.url + "state", data=b"{}") as answer:
                assert answer.status == 405


async def test_a_token_is_needed_where_one_is_set():
    """By the header, or by a link that works once and gives a strict cookie."""
    async with served(token=Secret(TOKEN)) as server, aiohttp.ClientSession() as session:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Basic {TOKEN}"}, 401),
            ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ):
            async with session.get(server.url + "state", headers=headers) as answer:
                assert answer.status == status
        async with session.post(server.url + "link", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            link = (await answer.json())["url"]
        async with session.get(link) as answer:
            cookie = answer.headers["Set-Cookie"]
        assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=Strict"))
        async with session.get(link) as answer:
            assert answer.status == 401
        name, _, value = cookie.partition(";")[0].partition("=")
        async with session.get(server.url + "state", headers={"Cookie": f"{name}={value}"}) as answer:
            assert answer.status == 200
        async with session.get(server.url + "healthz") as answer:
            assert await answer.json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"host": "0.0.0.0"}, "ENERGY_LIVE_TOKEN"),
        ({"host": "0.0.0.0", "token": Secret(TOKEN)}, "--tls-cert"),
        ({"host": "::", "token": Secret("short")}, "16 to 200"),
        ({"behind_proxy": True, "token": Secret(TOKEN)}, "--public-url"),
        ({"behind_proxy": True, "public_url": "https://x.example"}, "ENERGY_LIVE_TOKEN"),
        ({"public_url": "http://x.example"}, "https://"),
        ({"tls_cert": "cert.pem"}, "--tls-key"),
    ],
)
def test_it_does_not_listen_where_others_could_read(options, hint):
    """Without a token and TLS only this machine can reach it; the error says what to give."""
    with pytest.raises(ValueError, match=hint):
        WebServer(ListenOptions(**options), Homes())


async def test_too_many_requests_and_clients_are_refused():
    """Requests are limited by address, streams in all."""
    async with served(max_requests=3, max_clients=0) as server, aiohttp.ClientSession() as session:
        statuses = []
        for path in ("events", "events.sse", "state", "state"):
            async with session.get(server.url + path) as answer:
                statuses.append(answer.status)
    assert statuses == [503, 503, 200, 429]


async def test_a_client_that_sends_too_much_is_closed():
    """Messages of clients have no meaning; a long one, or many, close the connection."""
    async with served() as server, aiohttp.ClientSession() as session:
        for messages in (["x" * 2000], ["x"] * 100):
            async with session.ws_connect(server.url + "events") as socket:
                await socket.receive()
                for message in messages:
                    await socket.send_str(message)
                closed = await socket.receive(timeout=20)
                while closed.type is aiohttp.WSMsgType.TEXT:
                    closed = await socket.receive(timeout=20)
                assert closed.data in {1008, 1009}


async def test_a_stopped_relay_closes_its_streams_and_leaves_nothing():
    """Clients get 1001; no task of the relay is left."""
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        async with served() as server:
            socket = await session.ws_connect(server.url + "events")
            await socket.receive()
        assert (await socket.receive(timeout=20)).data == 1001
        await socket.close()
    assert server.clients == 0
    assert {task for task in asyncio.all_tasks() - before if "energy relay" in task.get_name()} == set()


async def test_a_status_of_the_poller_counts_for_its_sites():
    """A poller of many sites that is not connected shows at each home."""
    status = Status(state=State.DISCONNECTED, reason="no network", retry_in=5.0)
    poller = SITE._replace(site="*")
    async with served() as server, aiohttp.ClientSession() as session:
        server.publish([Event(poller, Kind.STATUS, "k", NOW, NOW, 1, "status:1", detail=status)])
        async with session.get(server.url + "state") as answer:
            (home,) = (await answer.json())["homes"]
    assert [(each["state"], each["reason"]) for each in home["sources"]] == [("disconnected", "no network")]


def test_the_wheel_has_every_file_of_the_page():
    """The files lie in the package, with the licence of the chart library, below 120 kB compressed."""
    folder = Path(__file__).parents[2] / "energy_live" / "web" / "static"
    names = {path.name for path in folder.iterdir()}
    assert {"index.html", "page.js", "page.css", "uplot.js", "uplot.LICENSE.txt", "openapi.json"} <= names
    assert (
        "MIT" in (folder / "uplot.LICENSE.txt").read_text()
        or "Permission is hereby granted" in (folder / "uplot.LICENSE.txt").read_text()
    )

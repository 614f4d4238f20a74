"""Fault injection: each fault applies to the matching requests, as often as given, and to no others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
import websockets

from energy_core.clock import SystemClock
from energy_live.simulator import Faults, Simulator, faults

NOON = datetime(2025, 6, 20, 11, 0, 30, tzinfo=UTC)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(start=NOON, speed=60.0, frame_s=0.02) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


def me(sim: Simulator, session: aiohttp.ClientSession, path: str = "users/me"):
    return session.get(sim.vrm_url + path, headers={"X-Authorization": f"Token {sim.vrm_token}"})


def link(sim: Simulator, **pings: float):
    url = f"{sim.events_url}?productId=301&token={sim.volt_token()}"
    return websockets.connect(url, **({"ping_interval": None, "close_timeout": 0.1} | pings))


async def until_closed(socket) -> None:
    async with asyncio.timeout(5.0):
        while True:
            await socket.recv()


async def frames(socket, count: int) -> list[dict]:
    return [json.loads(await socket.recv()) for _ in range(count)]


async def test_times_limits_a_fault(sim, session):
    """With `times=2` the first two requests fail, the third is answered, and the rule counts two hits."""
    rule = sim.faults.add(faults.outage(502), path="users/me", times=2)
    seen = []
    for _ in range(3):
        async with me(sim, session) as response:
            seen.append((response.status, response.content_type))
    assert seen == [(502, "text/html"), (502, "text/html"), (200, "application/json")]
    assert (rule.hits, rule.remaining) == (2, 0)
    assert sim.counters["faults"] == 2


async def test_a_fault_applies_to_matching_requests(sim, session):
    """Path, method and `after` select the requests."""
    sim.faults.add(faults.outage(), path="installations/*/stats", method="get", after=1)
    path = f"installations/{sim.site_ids[0]}/stats"
    seen = []
    for asked in ("users/me", path, path, path):
        async with me(sim, session, asked) as response:
            seen.append(response.status)
    assert seen == [200, 200, 503, 200]


async def test_a_fault_without_limit_lasts_until_it_is_removed(sim, session):
    """With `times=None` every request fails until the rule is removed."""
    rule = sim.faults.add(faults.html_page(), times=None)
    for _ in range(3):
        async with me(sim, session) as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert (await response.text()).startswith("<html>")
    sim.faults.remove(rule)
    async with me(sim, session) as response:
        assert response.content_type == "application/json"


async def test_429_may_carry_seconds_a_date_or_nothing(sim, session):
    """Retry-After is sent as given; it may be absent."""
    date = "Fri, 20 Jun 2025 11:00:45 GMT"
    sim.faults.add(faults.rate_limited(7))
    sim.faults.add(faults.rate_limited(date))
    sim.faults.add(faults.rate_limited(html=True))
    seen = []
    for _ in range(3):
        async with me(sim, session) as response:
            seen.append((response.status, response.headers.get("Retry-After"), response.content_type))
            assert parsedate_to_datetime(response.headers["Date"])
    assert seen == [
        (429, "7", "application/json"),
        (429, date, "application/json"),
        (429, None, "text/html"),
    ]


async def test_a_body_can_be_truncated_with_a_valid_length(sim, session):
    """With a valid Content-Length the body is valid HTTP and invalid JSON."""
    sim.faults.add(faults.truncated(0.5))
    async with me(sim, session) as response:
        text = await response.text()
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(text)


async def test_a_connection_can_break_inside_a_body(sim, session):
    """With the Content-Length of the whole body the connection ends early."""
    sim.faults.add(faults.truncated(0.5, valid_length=False))
    with pytest.raises(aiohttp.ClientPayloadError):
        async with me(sim, session) as response:
            await response.read()


async def test_an_export_can_break_off_in_the_middle_of_a_line(sim, session):
    """A streamed answer can be truncated in both ways too."""
    query = {"productId": "301", "from": str(NOON.timestamp() - 60), "token": sim.volt_token()}
    url = sim.voltstorage_url + "data/export.csv"
    sim.faults.add(faults.truncated(0.501), path="data/export.csv")
    async with session.get(url, params=query) as response:
        assert not (await response.text()).endswith("\r\n")
    sim.faults.add(faults.truncated(valid_length=False), path="data/export.csv")
    with pytest.raises(aiohttp.ClientPayloadError):
        async with session.get(url, params=query) as response:
            await response.read()


async def test_an_answer_can_be_delayed(sim, session):
    """`slow` delays the real answer."""
    sim.faults.add(faults.slow(0.1))
    began = SystemClock().monotonic()
    async with me(sim, session) as response:
        assert response.status == 200
    assert SystemClock().monotonic() - began >= 0.1


@pytest.mark.parametrize(("answered", "tokens"), [(False, 1), (True, 2)])
async def test_a_connection_can_be_reset_before_or_after_handling(sim, session, answered, tokens):
    """`reset` breaks the connection before or after the request is handled."""
    sim.faults.add(faults.reset(after_handling=answered), method="POST")
    headers = {"X-Authorization": f"Token {sim.vrm_token}"}
    url = f"{sim.vrm_url}users/me/accesstokens/create"
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        async with session.post(url, headers=headers, json={"name": "two"}):
            pass
    assert len(sim.tokens) == tokens
    assert sim.requests[-1].status is None


async def test_a_redirect_and_any_other_answer_can_be_given(sim, session):
    """`redirect` and `answer` take any status and location."""
    sim.faults.add(faults.redirect("http://127.0.0.1:9/elsewhere", 307))
    sim.faults.add(faults.answer(200, '{"success":true,"user":[]}', x_extra="1"))
    async with session.get(sim.vrm_url + "users/me", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, "http://127.0.0.1:9/elsewhere")
    async with me(sim, session) as response:
        assert await response.json() == {"success": True, "user": []}
        assert response.headers["X-Extra"] == "1"


async def test_faults_can_be_added_before_the_start(session):
    """A `Faults` object with rules can be passed to the simulator."""
    board = Faults()
    board.add(faults.outage(504))
    async with Simulator(faults=board) as sim, me(sim, session) as response:
        assert response.status == 504


@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_a_handshake_can_be_refused(sim, status):
    """Faults of requests apply to WebSocket handshakes too."""
    sim.faults.add(faults.answer(status, "{}"), path="products/events")
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with link(sim):
            pass
    assert refused.value.response.status_code == status
    assert sim.counters.get("handshakes", 0) == 0


async def test_a_websocket_can_be_accepted_and_closed_at_once(sim):
    """`close` can follow directly after the handshake."""
    sim.faults.add(faults.close(1012, "restart"), path="products/events")
    async with link(sim) as socket:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "restart")
    async with link(sim) as socket:
        assert len(await frames(socket, 2)) == 2


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1013, 3000, 3003, 4401, 4403, 4999])
async def test_a_websocket_can_be_closed_with_any_legal_code(sim, code):
    """`close` sends any valid close code after the given number of frames."""
    sim.faults.add(faults.close(code, after_frames=2), path="products/events")
    async with link(sim) as socket:
        await frames(socket, 2)
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
        assert socket.close_code == code


async def test_a_websocket_can_be_cut_without_a_close(sim):
    """`drop` breaks the TCP connection without a close frame."""
    sim.faults.add(faults.drop(after_frames=3), path="products/events")
    async with link(sim) as socket:
        await frames(socket, 3)
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await socket.recv()
    assert closed.value.rcvd is None


async def test_a_websocket_can_pause(sim):
    """`silent` pauses frames while pings are answered; frames in between are missing."""
    async with link(sim) as socket:
        before = await frames(socket, 2)
        assert sim.faults.inject(faults.silent(0.3)) == 1
        gap = 0
        last = before[-1]["time"]
        async with asyncio.timeout(5.0):
            while gap < 10:
                frame = json.loads(await socket.recv())
                gap, last = frame["time"] - last, frame["time"]


async def test_a_websocket_can_freeze(sim):
    """`freeze` answers no pings, so that the client's ping times out."""
    async with link(sim, ping_interval=0.1, ping_timeout=0.2) as socket:
        await frames(socket, 1)
        sim.faults.inject(faults.freeze())
        with pytest.raises(websockets.ConnectionClosedError, match="ping timeout"):
            await until_closed(socket)


async def test_frames_can_be_inserted(sim):
    """`frame` inserts a text between the real frames."""
    odd = ["{", '{"type":"firmware-update","time":1,"data":{}}', '{"type":"latest-data"}', "[]"]
    async with link(sim) as socket:
        await frames(socket, 1)
        for text in reversed(odd):
            sim.faults.inject(faults.frame(text), product_id=301)
        seen = [await socket.recv() for _ in range(8)]
    assert [text for text in seen if text in odd] == odd
    assert json.loads(seen[-1])["type"] == "latest-data"
    assert sim.faults.inject(faults.drop(), product_id=302) == 0


async def test_frames_has_events_that_a_consumer_missed(sim):
    """`frames` has the events of all connections, also those that a consumer missed."""
    sim.faults.add(faults.drop(after_frames=2), path="products/events")
    async with link(sim) as socket:
        first = await frames(socket, 2)
    async with link(sim) as socket:
        second = await frames(socket, 2)
    assert [frame.time for frame in sim.frames][:4] == [frame["time"] for frame in first + second]
    assert sim.counters["handshakes"] == 2


async def test_a_frozen_or_slow_simulator_still_stops(session):
    """A frozen connection or a slow request does not delay the end of the simulator."""
    async with asyncio.timeout(60):
        async with Simulator(frame_s=0.02) as sim:
            sim.faults.add(faults.slow(3600.0), path="users/me")
            hanging = asyncio.create_task(_status(me(sim, session)))
            async with link(sim) as one:
                await one.recv()
                sim.faults.inject(faults.freeze())
                while not sim.requests or sim.requests[-1].path != "users/me":
                    await SystemClock().sleep(0.01)
                await sim.__aexit__(None, None, None)
            await asyncio.gather(hanging, return_exceptions=True)


async def _status(request) -> int:
    async with request as response:
        return response.status


async def test_the_log_knows_method_path_query_status_and_time(sim, session):
    """`requests` has every request of both servers, in order and without secrets."""
    async with me(sim, session, "users/me/installations?extended=1"):
        pass
    async with session.get(f"{sim.voltstorage_url}products?token={sim.volt_token()}&count=1"):
        pass
    one, two = sim.requests
    assert (one.service, one.method, one.path, one.query) == (
        "vrm",
        "GET",
        "users/me/installations",
        (("extended", "1"),),
    )
    assert (one.scheme, one.status) == ("Token", 200)
    assert two.query == (("token", "***"), ("count", "1"))
    assert 0.0 < one.at <= two.at


async def test_the_simulator_listens_on_loopback_only():
    """Other addresses raise ValueError."""
    for host in ("0.0.0.0", "192.0.2.1"):
        with pytest.raises(ValueError, match="loopback"):
            Simulator(host=host)


@pytest.mark.parametrize(
    "wrong",
    [{"speed": 0.0}, {"frame_s": 0.0}, {"window": 0}, {"start": datetime(2025, 1, 1)}],  # noqa: DTZ001
)
def test_wrong_arguments_are_refused_at_once(wrong):
    """Invalid arguments raise ValueError at once."""
    with pytest.raises(ValueError, match=r"above 0|aware"):
        Simulator(**wrong)


async def test_a_simulator_that_does_not_run_has_no_address():
    """URLs are available while the simulator runs; afterwards its ports are free."""
    sim = Simulator()
    with pytest.raises(RuntimeError, match="not running"):
        _ = sim.vrm_url
    async with sim:
        port = int(sim.vrm_url.split(":")[2].split("/")[0])
    async with Simulator(vrm_port=port) as again:
        assert f":{port}/" in again.vrm_url


async def test_a_taken_port_leaves_nothing_running(sim):
    """If the second server cannot start, the first is stopped."""
    taken = int(sim.vrm_url.split(":")[2].split("/")[0])
    with pytest.raises(OSError, match="in use"):
        async with Simulator(volt_port=taken):
            pass


async def test_a_simulator_can_be_started_again(session):
    """A simulator can be started again and has the same secrets."""
    sim = Simulator(start=NOON)
    for _ in range(2):
        async with sim:
            async with me(sim, session) as response:
                assert response.status == 200
            with pytest.raises(RuntimeError, match="already"):
                await sim.__aenter__()


async def test_the_environment_points_clients_here(sim):
    """`environment()` has the documented variables with the simulator's values."""
    environment = sim.environment()
    assert environment["VRM_TOKEN"] == sim.vrm_token
    assert environment["VRM_BASE_URL"] == sim.vrm_url
    assert environment["VOLTSTORAGE_BASE_URL"] == sim.voltstorage_url
    assert {name for name in environment if name.startswith("VOLT")} == {
        "VOLTSTORAGE_EMAIL",
        "VOLTSTORAGE_PASSWORD",
        "VOLTSTORAGE_BASE_URL",
    }


async def test_both_services_show_the_same_home(sim, session):
    """At VRM's last log both services have the same PV, grid and battery power, apart from signs."""
    async with me(sim, session, "users/me/installations?extended=1") as response:
        record = (await response.json())["records"][0]
    shown = {one["code"]: one.get("rawValue") for one in record["extended"]}
    at = sim.household(sim.product_ids[0]).at(record["last_timestamp"])
    assert (shown["solar_yield"], shown["from_to_grid"]) == (at.pv_w, at.grid_w)
    assert (shown["bv"], shown["bc"]) == (at.voltage_v, at.current_a)


async def test_many_requests_are_answered(session):
    """Four hundred requests over eight connections are answered and logged."""
    async with Simulator(window=1_000_000) as sim:

        async def some() -> None:
            for _ in range(50):
                assert await _status(me(sim, session)) == 200

        await asyncio.gather(*(some() for _ in range(8)))
        assert len(sim.requests) == 400

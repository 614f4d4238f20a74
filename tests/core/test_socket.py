import asyncio
import logging
import ssl
import struct
import traceback
from http import HTTPStatus

import pytest
import trustme
from attrs import evolve
from websockets.asyncio.server import Response
from websockets.datastructures import Headers

from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    ConnectError,
    InvalidCredentials,
    NotFound,
    PermissionDenied,
    RateLimited,
    TLSVerificationError,
)
from energy_core.stream.endpoint import Endpoint
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.socket import ReconnectingSocket
from energy_core.stream.vocabulary import State
from tests.servers.websocket_server import (
    FAST,
    HEADER,
    TOKEN,
    FakeEndpoint,
    Listener,
    raw_server,
    running,
    serving,
    shake_hands,
)


async def stay(connection):
    await connection.wait_closed()


def answering(*statuses, body=b"", **headers):
    """Refuse handshakes with these statuses in turn, then accept."""
    left = list(statuses)
    seen = []

    def process_request(connection, request):
        seen.append(request)
        if not left:
            return None
        status = HTTPStatus(left.pop(0))
        named = Headers({name.replace("_", "-"): value for name, value in headers.items()})
        return Response(status.value, status.phrase, named, body)

    process_request.seen = seen
    return process_request


def texts_of(error):
    """Return every text of an error and of its whole chain."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


async def test_every_frame_arrives_as_it_was_sent():
    """Text, binary and fragmented messages are delivered as bytes, whole and in order."""

    async def talk(connection):
        await connection.send('{"type":"latest-data"}')
        await connection.send(b"\x00\xff")
        await connection.send(["frag", "men", "ted"])
        await stay(connection)

    async with serving(talk) as (link, _), running(link) as rig:
        await rig.until(lambda: len(rig.frames) == 3)
        assert rig.frames == [b'{"type":"latest-data"}', b"\x00\xff", b"fragmented"]
        assert rig.listener.states == [State.CONNECTING, State.LIVE]
        assert repr(rig.socket) == (
            "<ReconnectingSocket 1 handshakes, 3 frames, 3 of them events; "
            "<ReconnectPolicy after 0 failures in a row>>"
        )


async def test_a_burst_is_read_without_loss():
    """Five thousand messages sent without a pause arrive in order."""

    async def talk(connection):
        for n in range(5000):
            await connection.send(str(n))
        await stay(connection)

    async with serving(talk) as (link, _), running(link) as rig:
        await rig.until(lambda: len(rig.frames) == 5000)
        assert rig.frames == [str(n).encode() for n in range(5000)]


async def test_the_handshake_is_plain():
    """The credential is in query and header; no compression is offered and no proxy is used."""
    requests = answering()
    async with serving(stay, process_request=requests) as (link, _), running(link) as rig:
        await rig.live()
    [request] = requests.seen
    assert request.path == f"/events?productId=7&token={TOKEN}-0"
    assert request.headers["X-Authorization"] == f"Token {HEADER}"
    assert "Sec-WebSocket-Extensions" not in request.headers
    assert "Cookie" not in request.headers


async def test_proxies_in_the_environment_are_not_used(monkeypatch):
    """With every proxy variable set the socket still connects directly."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "WS_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(stay) as (link, _), running(link) as rig:
        await rig.live()
        assert rig.socket.handshakes == 1


async def test_one_socket_is_one_task():
    """Reading, pinging and watching a connection take a single task."""
    async with serving(stay) as (link, _), running(link, evolve(FAST, ping_interval_s=0.05)) as rig:
        await rig.live()
        await asyncio.sleep(0.2)
        ours = [task for task in asyncio.all_tasks() if "protocol_handler" not in repr(task)]
        assert set(ours) == {asyncio.current_task(), rig.task}


CLOSES = [1000, 1001, 1002, 1003, 1007, 1009, 1010, 1011, 1012, 1013, 1014, 3001, 3999, 4000, 4404, 4999]


async def test_after_any_close_code_the_socket_reconnects():
    """Each close is reported with its code and the delay, and followed by a connection."""
    left = list(CLOSES)

    async def talk(connection):
        await connection.send("hello")
        if left:
            await connection.close(left.pop(0))
        await stay(connection)

    async with serving(talk) as (link, _), running(link) as rig:
        await rig.live(len(CLOSES) + 1)
        assert rig.listener.states == [State.CONNECTING, State.LIVE] + [
            State.DISCONNECTED,
            State.CONNECTING,
            State.LIVE,
        ] * len(CLOSES)
        for code, reason in zip(CLOSES, rig.listener.reasons, strict=True):
            assert str(code) in reason or code == 1009
        assert all(wait is not None for state, _, wait in rig.listener.changes if state is State.DISCONNECTED)


async def test_after_a_drop_without_close_frame_the_socket_reconnects():
    """A connection that just ends is followed by another."""

    async def talk(connection):
        await connection.send("hello")
        connection.transport.abort()

    async with serving(talk) as (link, _), running(link) as rig:
        await rig.live(3)
        assert "dropped" in rig.listener.reasons[0]


@pytest.mark.parametrize("refusal", [401, 4401, 1008, 3000])
async def test_a_refused_credential_is_renewed_and_used_at_once(refusal):
    """A refusal, at the handshake or by close code, leads to one renewal and an immediate second attempt."""
    request = answering(*([401] if refusal == 401 else []))

    async def talk(connection):
        if f"{TOKEN}-0" in connection.request.path:
            await connection.close(refusal)
        else:
            await connection.send("welcome")
        await stay(connection)

    async with serving(talk, process_request=request) as (link, _), running(link) as rig:
        await rig.until(lambda: bool(rig.frames))
        assert link.renewed == [0]
        assert rig.socket.handshakes == 2
        assert [wait for state, _, wait in rig.listener.changes if state is State.DISCONNECTED] == [0.0]


@pytest.mark.parametrize("refusal", [401, 4431])
async def test_a_renewed_credential_that_is_refused_ends_the_source(refusal):
    """A renewed credential that is refused three times in a row is not renewed again."""

    async def talk(connection):
        await connection.close(refusal)

    request = answering(*([401] * 9 if refusal == 401 else []))
    async with serving(talk, process_request=request) as (link, _), running(link) as rig:
        with pytest.raises(AuthFailed) as caught:
            await rig.over()
        assert link.renewed == [0]
        assert rig.socket.handshakes == 4
        assert (caught.value.status, caught.value.error_code) == (
            (401, None) if refusal == 401 else (None, "4431")
        )


async def test_a_failure_while_renewing_is_not_a_refusal():
    """A login that fails for a while is retried, and then the renewal goes on."""
    async with serving(stay, process_request=answering(401)) as (link, _):
        link.renew_error = [ConnectError("login is down"), ConnectError("login is down")]
        async with running(link) as rig:
            await rig.live()
            assert link.renewed == [0, 0, 0]
            assert link.generation == 1


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [(400, BadRequest), (403, PermissionDenied), (404, NotFound), (3003, PermissionDenied)],
)
async def test_permanent_refusals_end_the_source(refusal, kind):
    """400, 403, 404 and their close codes are raised after the third, typed and with the vendor's text."""

    async def talk(connection):
        await connection.close(refusal, "not yours")

    request = answering(*([refusal] * 3 if refusal < 1000 else []), body=b'{"message": "not yours"}')
    async with serving(talk, process_request=request) as (link, _), running(link) as rig:
        with pytest.raises(kind, match="not yours"):
            await rig.over()
        assert (rig.socket.handshakes, link.renewed) == (3, [])


@pytest.mark.parametrize("body", [b"", b"not yours", b"<html>blocked</html>", b"{" + b"x" * 70_000])
@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_refusal_that_is_not_the_vendors_is_retried(status, body):
    """A proxy's page, an empty answer or a very long one never ends the source."""
    request = answering(*[status] * 5, body=body)
    async with serving(stay, process_request=request) as (link, _), running(link) as rig:
        await rig.live()
        assert (rig.socket.handshakes, link.renewed) == (6, [])
        assert ("not yours" in rig.listener.reasons[0]) is (body == b"not yours")


async def test_undocumented_closes_in_a_row_end_the_source():
    """After ten closes with an undocumented code, and not one event, the source ends."""

    async def talk(connection):
        await connection.send("bad news")
        await connection.close(4777)

    async with serving(talk) as (link, _), running(link) as rig:
        with pytest.raises(AnswerError, match="4777"):
            await rig.over()
        assert (rig.socket.handshakes, link.renewed) == (10, [0])


async def test_undocumented_closes_lead_to_a_renewal():
    """A server that closes with an undocumented code because of an old token accepts a new one."""

    async def talk(connection):
        if f"{TOKEN}-0" in connection.request.path:
            await connection.close(4001, "token expired")
        await connection.send("welcome")
        await stay(connection)

    async with serving(talk) as (link, _), running(link) as rig:
        await rig.until(lambda: bool(rig.frames))
        assert (rig.socket.handshakes, link.renewed) == (3, [0])
        assert rig.listener.reasons[0] == "the server closed with 4001: token expired"


@pytest.mark.parametrize("status", [400, 408, 425, 429, 500, 502, 503, 504])
async def test_a_transient_refusal_is_retried(status):
    """The socket retries until it is accepted."""
    async with serving(stay, process_request=answering(status, status)) as (link, _), running(link) as rig:
        await rig.live()
        assert rig.socket.handshakes == 3
        assert all(str(status) in reason for reason in rig.listener.reasons)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_holds_the_rate_limiter(status):
    """The delay of a refused handshake holds all requests with the same credential."""
    request = answering(status, Retry_After="7")
    async with serving(stay, process_request=request) as (link, _), running(link) as rig:
        await rig.until(lambda: bool(link.held) and State.DISCONNECTED in rig.listener.states)
        assert link.held == [7.0]
        assert rig.listener.changes[-1][2] == pytest.approx(7.35, abs=0.36)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_never_followed(status):
    """Neither another origin nor the same one receives a connection that was redirected to it."""
    visits = []

    async def elsewhere(reader, writer):
        visits.append(await reader.read(65536))

    async with raw_server(elsewhere) as foreign:
        for location in (foreign.url, foreign.url.replace("ws://", "http://"), "/elsewhere"):
            request = answering(status, Location=location)
            async with serving(stay, process_request=request) as (link, _), running(link) as rig:
                await rig.live()
                assert "never followed" in rig.listener.reasons[0]
                assert {seen.path for seen in request.seen} == {f"/events?productId=7&token={TOKEN}-0"}
    assert visits == []


async def test_a_failing_login_is_retried():
    """A login or a slot of the rate limiter that fails for a while is reported with its own reason."""
    async with serving(stay) as (link, _):
        link.address_error = [ConnectError("the login cannot be reached")]
        link.admit_error = [RateLimited("too many wait", local=True, retry_after=0.01)]
        async with running(link) as rig:
            await rig.live()
            assert ["login cannot" in rig.listener.reasons[0], "too many" in rig.listener.reasons[1]] == [
                True,
                True,
            ]
            assert rig.socket.handshakes == 1


async def test_a_refused_login_ends_the_source():
    """Wrong credentials are raised as they are."""
    link = FakeEndpoint("ws://127.0.0.1:9/events")
    link.address_error = [InvalidCredentials("wrong password")]
    async with running(link) as rig:
        with pytest.raises(InvalidCredentials):
            await rig.over()
        assert link.admitted == 0


async def test_a_refused_connection_is_retried():
    """A refused connection is reported as such."""
    async with running(FakeEndpoint("ws://127.0.0.1:9/events")) as rig:
        await rig.until(lambda: rig.listener.states.count(State.DISCONNECTED) == 3)
        assert set(rig.listener.reasons) == {"the connection was refused"}


async def test_an_unknown_host_is_retried():
    """A name that cannot be resolved is reported as such."""
    async with running(FakeEndpoint("wss://nowhere.invalid/events")) as rig:
        await rig.until(lambda: State.DISCONNECTED in rig.listener.states)
        assert rig.listener.reasons[0] == "the host name cannot be resolved"


NO_HANDSHAKE = {
    "nothing": b"",
    "plain 200": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "half a line": b"HTTP/1.1 10",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no accept": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "wrong accept": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAA\r\n\r\n",
    "endless line": b"HTTP/1.1 101 " + b"x" * 100_000,
    "header bomb": b"HTTP/1.1 101 OK\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n",
    "binary": bytes(range(256)) * 8,
    "huge body": b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000000000\r\n\r\n",
}


@pytest.mark.parametrize("answer", NO_HANDSHAKE.values(), ids=NO_HANDSHAKE.keys())
async def test_an_answer_that_is_not_a_handshake_is_retried(answer):
    """Whatever a server sends instead of a handshake, it is reported and retried."""

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.write_eof()
        await reader.read()

    async with raw_server(talk) as link, running(link) as rig:
        await rig.until(lambda: rig.listener.states.count(State.DISCONNECTED) == 2)
        assert State.LIVE not in rig.listener.states


async def test_a_handshake_without_an_answer_times_out():
    """A server that accepts the connection and never answers is dropped."""

    async def talk(reader, writer):
        await reader.read()
        await asyncio.sleep(60)

    async with raw_server(talk) as link, running(link, evolve(FAST, open_timeout_s=0.1)) as rig:
        await rig.until(lambda: State.DISCONNECTED in rig.listener.states)
        assert rig.listener.reasons[0] == "the handshake took too long"


BROKEN_FRAMES = {
    "reserved opcode": b"\x83\x00",
    "reserved bits": b"\xf1\x01a",
    "masked by the server": b"\x81\x81\x00\x00\x00\x00a",
    "continuation of nothing": b"\x80\x01a",
    "long control frame": b"\x89\x7e\x00\x80" + b"x" * 128,
    "fragmented ping": b"\x09\x01a",
    "half a close": b"\x88\x01\x03",
    "close with a code that cannot be": b"\x88\x02\x03\xec",
    "a terabyte announced": b"\x82\x7f\x00\x00\x01\x00\x00\x00\x00\x00",
    "a negative length": b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
}


@pytest.mark.parametrize("frame", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES.keys())
@pytest.mark.parametrize("stays", [True, False], ids=["server stays", "server leaves"])
async def test_a_bad_frame_costs_one_connection(frame, stays):
    """Messages before it are delivered; the connection ends even if the server keeps it, and is reopened."""

    async def talk(reader, writer):
        await shake_hands(reader, writer)
        writer.write(b"\x81\x02hi" + frame)
        await writer.drain()
        while stays:
            writer.write(b"\x81\x02no" * 1000)
            await writer.drain()
            await asyncio.sleep(0.001)

    async with raw_server(talk) as link, running(link) as rig:
        await rig.live(3)
        assert rig.frames[:2] == [b"hi", b"hi"]
        assert b"no" not in rig.frames


async def test_a_message_beyond_the_limit_costs_one_connection():
    """A message over 1 MiB is not delivered; the one after the reconnect is."""
    sizes = [1024 * 1024 + 1, 1024 * 1024]

    async def talk(connection):
        await connection.send("x" * sizes.pop(0))
        await stay(connection)

    async with serving(talk) as (link, _), running(link) as rig:
        await rig.until(lambda: bool(rig.frames))
        assert [len(frame) for frame in rig.frames] == [1024 * 1024]
        assert rig.listener.reasons == ["a message was larger than allowed"]


async def test_a_server_that_keeps_a_closed_connection_is_dropped():
    """After the server's close frame the socket does not wait for the server to disconnect."""

    async def talk(reader, writer):
        await shake_hands(reader, writer)
        writer.write(b"\x88\x02" + struct.pack("!H", 1012))
        await asyncio.sleep(60)

    async with raw_server(talk) as link, running(link) as rig:
        await rig.live(2)
        assert rig.listener.reasons[0] == "the server closed with 1012"


async def test_reading_pauses_while_the_server_reads_no_pongs():
    """Unread pongs do not pile up: the socket pauses reading, and resumes once they are read."""
    ping, stuck, taken = b"\x89\x7d" + bytes(125), asyncio.Event(), asyncio.Event()

    async def talk(reader, writer):
        await shake_hands(reader, writer)
        try:
            async with asyncio.timeout(0.5):
                while True:
                    writer.write(ping * 100)
                    await writer.drain()
        except TimeoutError:
            stuck.set()
        await taken.wait()
        discarding = asyncio.create_task(reader.read(-1))
        writer.write(b"\x81\x02hi")
        await writer.drain()
        await discarding

    patient = evolve(FAST, ping_interval_s=30.0)
    async with raw_server(talk) as link, running(link, patient) as rig:
        await asyncio.wait_for(stuck.wait(), 20)
        taken.set()
        await rig.until(lambda: rig.frames == [b"hi"], within_s=20)
        assert rig.socket.handshakes == 1


async def test_a_source_without_events_is_stale_and_the_next_event_live():
    """A connection that answers pings without events is stale; only a valid event makes it live."""
    go_on = asyncio.Event()

    async def talk(connection):
        await connection.send("event")
        await asyncio.sleep(0.05)
        await connection.send("bad")
        await go_on.wait()
        await connection.send("event")
        await stay(connection)

    config = evolve(FAST, stale_after_s=0.2, ping_interval_s=0.05, ping_timeout_s=1.0)
    async with serving(talk) as (link, _), running(link, config) as rig:
        await rig.until(lambda: State.STALE in rig.listener.states)
        assert rig.listener.states == [State.CONNECTING, State.LIVE, State.STALE]
        go_on.set()
        await rig.live(2)
        assert (rig.socket.handshakes, rig.socket.frames, rig.socket.events) == (1, 3, 2)


async def test_an_exception_of_the_callback_is_raised():
    """An exception of `on_messages` is raised unchanged, after the connection was closed."""
    closed = asyncio.Event()

    async def talk(connection):
        await connection.send("hello")
        await stay(connection)
        closed.set()

    def burst(messages):
        raise TimeoutError("a fault of ours")

    async with serving(talk) as (link, _):
        socket = ReconnectingSocket(link, on_messages=burst, on_state=Listener().on_state, config=FAST)
        with pytest.raises(TimeoutError, match="fault of ours"):
            await socket.run()
        await asyncio.wait_for(closed.wait(), 1)


PATIENT = evolve(FAST, open_timeout_s=60.0, close_timeout_s=60.0, first_delay_s=60.0)
"""Timeouts that a test never reaches: what returns did not wait for them."""


async def cancel(task):
    """Cancel a task; fails if it waits for the server, or for a timeout of a minute."""
    task.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait([task])
    assert task.cancelled()


async def test_a_cancelled_socket_sends_a_close_frame():
    """The server of a cancelled socket receives 1001, and the cancellation does not wait for its answer."""
    seen = asyncio.get_running_loop().create_future()

    async def talk(connection):
        await stay(connection)
        seen.set_result(connection.close_code)

    async with serving(talk) as (link, _), running(link, PATIENT) as rig:
        await rig.live()
        await cancel(rig.task)
        assert await asyncio.wait_for(seen, 30) == 1001


async def test_cancelling_never_waits_for_the_server():
    """A handshake without an answer ends at once, a server that never closes after `close_timeout_s`."""
    requested = asyncio.Event()

    async def no_answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        requested.set()
        await reader.read()

    async def impolite(reader, writer):
        await shake_hands(reader, writer)
        await asyncio.sleep(60)

    async with raw_server(no_answer) as link, running(link, PATIENT) as rig:
        await asyncio.wait_for(requested.wait(), 30)
        await cancel(rig.task)
    async with raw_server(impolite) as link, running(link) as rig:
        await rig.live()
        await cancel(rig.task)


async def test_cancelling_works_while_waiting_to_connect():
    """A socket in its backoff ends at once."""
    async with running(FakeEndpoint("ws://127.0.0.1:9/events"), PATIENT, random=lambda: 0.99) as rig:
        await rig.until(lambda: State.DISCONNECTED in rig.listener.states)
        await cancel(rig.task)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "ws://example.com/x",
        "ws://127.0.0.1.example.com/x",
        "wss://me:pass@example.com/x",
        "wss://example.com/x#y",
        "wss:///x",
        "wss://a..b/x",
        "wss://example.com:port/x",
        "wss://[::1/x",
        "",
    ],
)
async def test_an_unsafe_address_is_not_in_the_error(url):
    """Only wss, or ws on loopback, without user and fragment; the error never contains the address."""
    link = FakeEndpoint(url)
    if "#" in url:

        async def address():
            return Endpoint(url=f"wss://example.com/x?token={TOKEN}#y")

        link.address = address
    async with running(link) as rig:
        with pytest.raises(ValueError, match="event address") as caught:
            await rig.over()
    assert TOKEN not in texts_of(caught.value)
    assert "example" not in texts_of(caught.value)


async def test_no_secret_is_logged_or_raised(caplog):
    """With every logger at DEBUG, no log record, status, error or repr contains token, header or query."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets.server").setLevel(
        logging.INFO
    )  # the server under test may know the secrets
    texts = []

    async def talk(connection):
        await connection.send("bad news")
        await connection.close(4401, f"bad token {TOKEN}")

    scenes = [
        answering(302, 500, 429, 401, 401, Location=f"wss://example.com/?token={TOKEN}", Set_Cookie=HEADER),
        answering(403, 403, 403, X_Echo=HEADER, body=b'{"message": "%b may not"}' % TOKEN.encode()),
        answering(),
    ]
    for request in scenes:
        async with serving(talk, process_request=request) as (link, _), running(link) as rig:
            await asyncio.wait([rig.task], timeout=5)
            texts += [texts_of(rig.task.exception()), repr(rig.listener.changes), repr(rig.socket)]
            texts.append(repr(await link.address()))
    for url in ("ws://127.0.0.1:9/events", "wss://nowhere.invalid/events"):
        async with running(FakeEndpoint(url)) as rig:
            await rig.until(lambda rig=rig: State.DISCONNECTED in rig.listener.states)
            texts += [repr(rig.listener.changes), repr(rig.socket)]
    texts += [f"{record.getMessage()} {record.exc_info} {sorted(vars(record))}" for record in caplog.records]
    wire = [
        record.getMessage() for record in caplog.records if record.name == "energy_core.stream.connection"
    ]
    assert "> GET /events HTTP/1.1" in wire
    assert "> X-Authorization: ***" in wire
    assert "< TEXT" in wire
    assert not [text for text in texts if TOKEN in text or HEADER in text or "productId" in text]


@pytest.fixture
def authority():
    return trustme.CA()


def server_tls(authority, name="127.0.0.1", **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


def client_tls(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_a_trusted_certificate_is_enough(authority):
    """Over TLS with a known authority the socket is live and closes cleanly."""
    async with (
        serving(stay, ssl=server_tls(authority)) as (link, _),
        running(link, ssl_context=client_tls(authority)) as rig,
    ):
        await rig.live()
        await cancel(rig.task)


@pytest.mark.parametrize("flaw", ["unknown authority", "another host", "default authorities"])
async def test_a_certificate_that_cannot_be_trusted_is_not_retried(authority, flaw):
    """The error is typed, and there is exactly one attempt."""
    tls = server_tls(authority, "localhost" if flaw == "another host" else "127.0.0.1")
    trust = {"unknown authority": client_tls(trustme.CA()), "another host": client_tls(authority)}.get(flaw)
    async with serving(stay, ssl=tls) as (link, _), running(link, ssl_context=trust) as rig:
        with pytest.raises(TLSVerificationError) as caught:
            await rig.over()
        assert rig.socket.handshakes == 1
        assert caught.value.__context__ is None


async def test_a_port_without_tls_is_retried(authority):
    """Plain text on a TLS port is a transient failure."""

    async def talk(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with raw_server(talk) as plain:
        link = FakeEndpoint(plain.url.replace("ws:", "wss:"))
        async with running(link, ssl_context=client_tls(authority)) as rig:
            await rig.until(lambda: State.DISCONNECTED in rig.listener.states)
            assert rig.listener.reasons[0] == "TLS could not be agreed on"


async def test_the_defaults_are_the_published_figures():
    """The defaults are the published figures."""
    config = SocketConfig()
    assert config.ping_interval_s + config.ping_timeout_s <= 45
    assert (config.first_delay_s, config.backoff_base_s, config.backoff_cap_s) == (5, 2, 60)
    assert (config.healthy_after_s, config.healthy_after_event_s) == (60, 10)
    assert (config.max_handshakes, config.handshake_window_s) == (40, 600)
    assert (config.max_message_bytes, config.max_undocumented_closes, config.stale_after_s) == (
        1024 * 1024,
        10,
        60,
    )

"""The connection to a broker is bounded: no server can hold a thread, a socket or a task of ours."""

import ast
import asyncio
import socket
import ssl
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest
import trustme
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from energy_core.secret import Secret
from energy_core.stream.reconnect import BadCertificate, HandshakeRefused, TransientFailure
from tests.servers.real_programs import until
from vrm_async.decoding.gateways import Gateway, gateway
from vrm_async.realtime import MqttLink
from vrm_async.realtime_brokers import address_of, broker_number
from vrm_async.realtime_link import Address, LinkLost, Login
from vrm_async.realtime_site import RealtimeConfig

LOGIN = Login("me@example.org", Secret("Token abc"))
AUTHORITY = trustme.CA()
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def trusting():
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def serving(behave, *, tls=None):
    """Run a server with one behaviour for each connection; yields its port."""
    tasks = set()

    async def handle(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await behave(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        accepting = asyncio.all_tasks() - {asyncio.current_task()}  # handshakes that failed just now
        await asyncio.gather(*tasks, *accepting, return_exceptions=True)


def busy_threads():
    """Return the threads that are inside paho's connect."""
    import sys  # noqa: PLC0415

    frames = sys._current_frames()
    found = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident)
        while frame is not None:
            if "paho" in frame.f_code.co_filename:
                found.append(thread.name)
            frame = frame.f_back
    return found


async def silent(reader, writer):
    """Read everything and say nothing."""
    while await reader.read(1000):
        pass


async def dripping(reader, writer):
    """Send a header a byte at a time, for ever."""
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def babbling(reader, writer):
    """Answer with what is no WebSocket."""
    await reader.read(100)
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n\r\n")
    await writer.drain()


async def lying(reader, writer):
    """Answer the handshake with a header that cannot be read."""
    await reader.read(100)
    writer.write(HEAD + b"Sec-WebSocket-Accept\r\n\r\n")
    await writer.drain()
    await silent(reader, writer)


@pytest.mark.parametrize("behave", [silent, dripping])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_server_that_never_finishes_its_handshake_is_left_in_time(behave, tls):
    """The thread of the handshake ends with the attempt; the reason names the time."""
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    async with serving(behave, tls=context) as port:
        link = MqttLink(
            Address("127.0.0.1", port, "/mqtt", tls), trusting() if tls else None, lambda *_: None
        )
        with pytest.raises(LinkLost, match=r"within 0\.3 s"):
            await link.open(LOGIN, 0.3)
        assert busy_threads() == []


async def test_a_silent_server_before_tls_is_left_in_time():
    """The TLS handshake needs no thread at all."""
    async with serving(silent) as port:
        link = MqttLink(Address("127.0.0.1", port, "/mqtt", tls=True), trusting(), lambda *_: None)
        with pytest.raises(LinkLost, match=r"within 0\.2 s"):
            await link.open(LOGIN, 0.2)
        assert busy_threads() == []


@pytest.mark.parametrize("behave", [babbling, lying])
async def test_what_is_no_websocket_is_a_transient_failure(behave):
    """Proxies answer anything; the attempt fails in words, and is made again later."""
    async with serving(behave) as port:
        link = MqttLink(Address("127.0.0.1", port, "/mqtt", tls=False), None, lambda *_: None)
        with pytest.raises(LinkLost) as refused:
            await link.open(LOGIN, 2.0)
        assert isinstance(refused.value.ending, TransientFailure)
        assert "abc" not in str(refused.value)
        assert busy_threads() == []


@pytest.mark.parametrize("tls", [False, True])
async def test_cancelling_an_attempt_ends_its_thread(tls):
    """Whatever the attempt waits for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    async with serving(silent, tls=context if tls else None) as port:
        link = MqttLink(
            Address("127.0.0.1", port, "/mqtt", tls), trusting() if tls else None, lambda *_: None
        )
        opening = asyncio.create_task(link.open(LOGIN, 30.0))
        await until(busy_threads)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert busy_threads() == []


async def test_a_certificate_of_another_authority_is_refused_before_the_login_is_sent():
    """TLS is always verified: the token is not shown to a server that merely answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    seen = bytearray()

    async def record(reader, writer):
        seen.extend(await reader.read(1000))

    async with serving(record, tls=context) as port:
        link = MqttLink(Address("127.0.0.1", port, "/mqtt", tls=True), trusting(), lambda *_: None)
        with pytest.raises(LinkLost, match="cannot be trusted") as refused:
            await link.open(LOGIN, 5.0)
    assert isinstance(refused.value.ending, BadCertificate)
    assert not seen


async def test_nobody_who_listens_is_a_transient_failure():
    """A port without a server, and a name without an address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for host in ("127.0.0.1", "no-such-host.invalid"):
        link = MqttLink(Address(host, port, "/mqtt", tls=False), None, lambda *_: None)
        with pytest.raises(LinkLost) as refused:
            await link.open(LOGIN, 5.0)
        assert isinstance(refused.value.ending, TransientFailure)


@pytest.mark.parametrize("code", [4, 5, 7])
def test_a_lost_connection_is_not_taken_for_a_refused_login(code):
    """The numbers of paho's own errors look like those of MQTT 3.1.1: 4 is a lost connection."""
    link = MqttLink(Address("127.0.0.1", 1, "/mqtt", tls=False), None, lambda *_: None)
    assert isinstance(link._lost(aiomqtt.MqttCodeError(code)).ending, TransientFailure)
    refused = ReasonCode(PacketTypes.CONNACK, "Not authorized")
    assert isinstance(link._lost(aiomqtt.MqttCodeError(refused)).ending, HandshakeRefused)


@pytest.mark.parametrize(
    "url",
    [
        "ws://broker.example/mqtt",
        "ws://127.0.0.1.evil.example/mqtt",
        "https://broker.example/mqtt",
        "wss://user:word@broker.example/mqtt",
        "wss://broker.example/mqtt?token=1",
        "wss:///mqtt",
    ],
)
def test_a_token_is_sent_over_tls_only_and_to_plain_addresses(url):
    """Without TLS only this machine is allowed, as with the API."""
    with pytest.raises(ValueError, match=r"TLS|WebSocket"):
        Address.of(url)


@pytest.mark.parametrize(
    ("portal_id", "number"), [("d41243cd7c66", 47), ("C0619AB6BEB7 ", 12), ("48e7da86e0d9", 109)]
)
def test_the_number_of_a_broker_is_the_sum_of_the_characters(portal_id, number):
    """As in VRM's captured list of sites."""
    assert broker_number(portal_id) == number


@pytest.mark.parametrize(
    ("host", "used"),
    [
        ("webmqtt12.victronenergy.com", "webmqtt12.victronenergy.com"),
        ("webmqtt12.victronenergy.com.evil.example", "webmqtt47.victronenergy.com"),
        ("evil.example", "webmqtt47.victronenergy.com"),
        ("evil.example/.victronenergy.com", "webmqtt47.victronenergy.com"),
        (None, "webmqtt47.victronenergy.com"),
    ],
)
def test_a_token_goes_to_victrons_hosts_whatever_the_list_of_sites_says(host, used):
    """A host that is not Victron's is replaced by the one that the rule computes."""
    assert address_of(Gateway("d41243cd7c66", host), RealtimeConfig()) == Address(
        used, 443, "/mqtt", tls=True
    )


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"identifier": " D41243CD7C66 ", "realtimeUpdates": True}, ("d41243cd7c66", "")),
        ({"identifier": "+"}, (None, "")),
        ({"identifier": "a/#"}, (None, "")),
        ({"identifier": 5}, (None, "")),
        ({}, (None, "")),
        ({"identifier": "a1", "realtimeUpdates": False}, ("a1", "switched off")),
        ({"identifier": "a1", "realtimeUpdates": 0}, ("a1", "switched off")),
        (
            {"identifier": "a1", "view_permissions": {"twoway": False, "readonly_realtime": False}},
            ("a1", "no right"),
        ),
        ({"identifier": "a1", "view_permissions": {"twoway": True, "readonly_realtime": False}}, ("a1", "")),
        ({"identifier": "a1", "view_permissions": []}, ("a1", "")),
    ],
)
def test_what_the_list_of_sites_says_of_real_time(record, expected):
    """An identifier that could change a topic is none; a site that is switched off is not connected."""
    found = gateway(record)
    assert found.portal_id == expected[0]
    assert expected[1] in found.obstacle
    assert bool(found.obstacle) == bool(expected[1])


def test_exactly_one_function_publishes_and_only_a_keepalive():
    """In the source: one call of `publish`, in `MqttLink.keepalive`, to `R/<portal id>/keepalive`."""
    calls = []
    for path in Path(__file__).parents[2].joinpath("vrm_async").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                calls += [
                    (path.name, node.name, ast.unparse(each.args[0]))
                    for each in ast.walk(node)
                    if isinstance(each, ast.Call)
                    and isinstance(each.func, ast.Attribute)
                    and each.func.attr == "publish"
                ]
    assert calls == [("realtime.py", "keepalive", "f'R/{portal_id}/keepalive'")]

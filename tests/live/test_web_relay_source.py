"""`energy_live.relay(url)`: another program's relay as a source."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from energy_core import Checkpoint, Kind, Quantity, SocketConfig, SourceId, State, merge
from energy_core.errors import AuthError
from energy_core.secret import Secret
from energy_live import relay
from energy_live.web.access import ListenOptions
from energy_live.web.homes import Homes
from energy_live.web.relay_source import MEMORY
from energy_live.web.server import WebServer
from tests.servers.page_world import Numbered

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
SITE = SourceId("vrm", "home", "151734")
TOKEN = "a-long-random-token-0123456789"
QUICK = SocketConfig(
    first_delay_s=0.01, backoff_base_s=0.01, backoff_cap_s=0.05, max_handshakes=10_000, max_refusals=1
)


def second(number):
    return NOW + timedelta(seconds=number)


@asynccontextmanager
async def served(port=0, capacity=1000, **options):
    server = WebServer(ListenOptions(port=port, **options), Homes(), capacity=capacity)
    async with server:
        yield server


async def some(events, count, kinds=(Kind.READING, Kind.GAP, Kind.ALARM)):
    """Return the next `count` events of these kinds."""
    found = []
    async with asyncio.timeout(30):
        async for event in events:
            if event.kind in kinds:
                found.append(event)
            if len(found) == count:
                return found
    return found


async def clients(server, count):
    """Wait until so many clients are connected."""
    async with asyncio.timeout(30):
        while server.clients != count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_events_keep_their_source_time_id_and_record():
    """A reading that came over a relay is the reading that was published."""
    make = Numbered()
    async with served() as server, merge(relay(server.url, socket=QUICK)) as events:
        await clients(server, 1)
        sent = [
            make.reading(SITE, second(1), grid_power=-250)._replace(raw={"a": [1]}),
            make.reading(SITE._replace(instance=3), second(2), battery_soc=50),
        ]
        server.publish(sent)
        got = await some(events, 2)
    names = ("source", "kind", "time", "id", "values", "raw", "backfilled", "revision")
    assert [[getattr(each, name) for name in names] for each in got] == [
        [getattr(each, name) for name in names] for each in sent
    ]


async def test_a_cut_connection_resumes_without_loss_or_gap():
    """What was published meanwhile arrives after the reconnect, once, and no gap is reported."""
    make = Numbered()
    async with served() as server, merge(relay(server.url, socket=QUICK)) as events:
        await clients(server, 1)
        server.publish([make.reading(SITE, second(n), pv_power=n) for n in range(5)])
        first = await some(events, 5)
        for task in tuple(server._streams):
            task.cancel()  # ends the connection without a word
        for connection in tuple(server._runner.server.connections):
            connection.transport.abort()
        server.publish([make.reading(SITE, second(n), pv_power=n) for n in range(5, 12)])
        rest = await some(events, 7)
    assert [event.values[Quantity.PV_POWER] for event in first + rest] == list(range(12))


async def test_what_the_memory_lost_is_one_gap():
    """The relay kept the last 10 of 50 readings: the other 40 are a gap with their times."""
    make = Numbered()
    async with served(capacity=10) as server, merge(relay(server.url, socket=QUICK)) as events:
        await clients(server, 1)
        server.publish([make.reading(SITE, second(0), pv_power=0)])
        await some(events, 1)
        for connection in tuple(server._runner.server.connections):
            connection.transport.abort()
        server.publish([make.reading(SITE, second(n), pv_power=n) for n in range(1, 51)])
        gap, *readings = await some(events, 11)
    assert (gap.kind, gap.detail.reason) == (Kind.GAP, MEMORY)
    assert gap.detail.start <= second(1)
    assert second(40) < gap.detail.end <= second(41)
    assert [event.values[Quantity.PV_POWER] for event in readings] == list(range(41, 51))


async def test_a_relay_that_was_started_anew_is_a_gap_until_its_first_reading():
    """Nothing is known about the time between; late readings do not end it."""
    make = Numbered()
    async with served() as server:
        source, port = relay(server.url, socket=QUICK), server.port
        stream = merge(source)
        events = await stream.__aenter__()
        await clients(server, 1)
        server.publish([make.reading(SITE, second(1), pv_power=1)])
        await some(events, 1)
    async with served(port) as server:
        await clients(server, 1)
        server.publish(
            [
                make.reading(SITE, second(5), pv_power=5, late=True),
                make.reading(SITE, second(9), pv_power=9),
            ]
        )
        got = await some(events, 3)
        await stream.aclose()
    assert [event.kind for event in got] == [Kind.READING, Kind.GAP, Kind.READING]
    assert (got[1].detail.start, got[1].detail.end) == (second(1), second(9))


async def test_a_program_continues_from_its_checkpoint():
    """After a restart of this side the relay replays what was missed, and nothing is delivered twice."""
    make = Numbered()
    async with served() as server:
        async with merge(relay(server.url, socket=QUICK), checkpoint=Checkpoint()) as events:
            await clients(server, 1)
            server.publish([make.reading(SITE, second(n), pv_power=n) for n in range(5)])
            got = await some(events, 5)
            checkpoint = events.commit(got[2])
        server.publish([make.reading(SITE, second(n), pv_power=n) for n in range(5, 9)])
        again = merge(relay(server.url, socket=QUICK), checkpoint=Checkpoint.from_json(checkpoint.to_json()))
        async with again as events:
            rest = await some(events, 6)
    assert [event.values[Quantity.PV_POWER] for event in rest if event.kind is Kind.READING] == [*range(3, 9)]


async def test_alarms_and_states_arrive_as_they_are_at_the_relay():
    """Also those from before the connection; an alarm that was cleared while we were away is cleared."""
    make = Numbered()
    async with served() as server:
        raised = make.alarm(SITE, "high voltage", second(1))
        server.publish([raised, make.status(SITE, "stale", second(2), "no data")])
        async with merge(relay(server.url, socket=QUICK)) as events:
            (alarm,) = await some(events, 1)
            assert (alarm.detail.text, alarm.detail.active, alarm.detail.alarm) == (
                "high voltage",
                True,
                raised.detail.alarm,
            )
            assert events.status[SITE].state is State.STALE
            for connection in tuple(server._runner.server.connections):
                connection.transport.abort()
            server.publish([make.alarm(SITE, "high voltage", second(3), active=False)])
            (cleared,) = await some(events, 1)
            assert (cleared.detail.active, cleared.detail.alarm) == (False, raised.detail.alarm)


async def test_a_token_is_sent_and_a_wrong_one_ends_the_source():
    """The token travels in a header; a relay that refuses it is an AuthError without the token."""
    make = Numbered()
    async with served(token=Secret(TOKEN)) as server:
        async with merge(relay(server.url, token=TOKEN, socket=QUICK)) as events:
            await clients(server, 1)
            server.publish([make.reading(SITE, second(1), pv_power=1)])
            await some(events, 1)
        wrong = merge(relay(server.url, token="another-token-of-16", socket=QUICK), fail_fast=True)
        with pytest.raises(AuthError) as raised:
            async with asyncio.timeout(30), wrong as events:
                await some(events, 1)
    assert "another-token" not in str(raised.value)


async def test_lines_that_are_no_events_are_counted_and_left_out():
    """A newer relay, or a broken one, does not end the source."""
    source = relay("http://127.0.0.1:1/")
    source._outlet = object()
    bad = [b"{", b"[]", b"null", b"\xff", b'{"v":1}', b'{"v":2,"kind":"reading"}', b"[" * 100_000]
    assert source._on_messages(bad) == 0
    assert source.notes == {"malformed": len(bad)}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://relay.example/", {}),
        ("https://user:pw@relay.example/", {}),
        ("ftp://relay.example/", {}),
        ("https://relay.example/", {"sources": ["a,b"]}),
        ("https://relay.example/", {"account": "a/b"}),
        ("https://relay.example/", {"quantities": ["watts"]}),
    ],
)
def test_a_wrong_argument_is_an_error_at_once(url, options):
    """TLS is needed beyond this machine; the message does not repeat a password."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        relay(url, **options)
    assert "pw" not in str(raised.value)


class Noted:
    """An outlet that notes readings and gaps."""

    def __init__(self):
        self.found = []

    def reading(self, source, *, time, **_):
        self.found.append(("reading", time))

    def gap(self, source, *, start, end, reason):
        self.found.append(("gap", start, end))

    def alarms(self, source, reported):
        self.found.append(("alarms", reported))


def test_a_second_connection_to_a_new_relay_does_not_hide_the_gap():
    """The new relay resumes it, but the time before that relay stays unknown until a reading arrives."""
    source, make, outlet = relay("http://127.0.0.1:1/"), Numbered(), Noted()
    source._outlet = outlet

    def line(boot, **members):
        return json.dumps({"v": 1, "kind": "relay", "boot": boot, "cursor": f"{boot}-0", **members}).encode()

    source._on_messages(
        [line("a", resumed=True), make.reading(SITE, second(1), pv_power=1).to_json().encode()]
    )
    source._on_messages([line("b", resumed=False)])
    source._on_messages([line("b", resumed=True), line("b")])
    source._on_messages([make.reading(SITE, second(9), pv_power=9).to_json().encode()])
    assert outlet.found == [
        ("reading", second(1)),
        ("gap", second(1), second(9)),
        ("reading", second(9)),
    ]

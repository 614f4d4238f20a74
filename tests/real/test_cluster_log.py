"""The log on a real nats-server: publishing, reading, acknowledging; servers and events that are wrong."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("nats", reason="nats-py is missing: pip install 'energy-live[nats]'")

import nats
import trustme
from nats.js import api

from energy_core import Checkpoint, Event, Kind, Quantity, SourceId, State, merge
from energy_core.secret import Secret
from energy_core.stream.vocabulary import AlarmChange, Gap, Status
from energy_live import cluster_source
from energy_live.cluster.connection import POSITIONS, STREAM, ClusterConnection
from energy_live.cluster.log import LogLimits, prepare
from energy_live.cluster.login import ServerLogin
from energy_live.cluster.positions import ClusterCheckpoint
from energy_live.cluster.problems import ClusterError
from energy_live.cluster.publisher import Publisher
from energy_live.cluster.source import REMOVED, UNREADABLE, ClusterSource
from energy_live.cluster.subjects import subject_of
from tests.servers.nats_servers import NatsServer, nats_server

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DEVICE = SourceId("vrm", "my home.*", "151001", 0)
OTHER = SourceId("voltstorage", "other", "301", 0)


def reading(n: int, device: SourceId = DEVICE, **changes) -> Event:
    event = Event(
        device,
        Kind.READING,
        f"{device}/reading",
        NOON + timedelta(seconds=n),
        NOON,
        n,
        f"{device.site}/{n}",
        {Quantity.PV_POWER: float(n)},
        {"n": n},
    )
    return event._replace(**changes)


def control(kind: Kind, detail, device: SourceId = DEVICE, seq: int = 1) -> Event:
    return Event(device, kind, f"{device}/{kind}", NOON, NOON, seq, f"{kind}:{seq}", detail=detail)


@pytest.fixture
async def server(tmp_path):
    async with nats_server(tmp_path) as running:
        yield running


@pytest.fixture
async def connection(server):
    connected = await ClusterConnection.connect(server.url)
    await prepare(connected, LogLimits())
    yield connected
    await connected.aclose()


async def take(events, count: int) -> list[Event]:
    async with asyncio.timeout(30):
        return [await anext(events) for _ in range(count)]


def readings_of(events) -> list[str]:
    return [each.id for each in events if each.kind is Kind.READING]


# --- publishing and reading --------------------------------------------------------------------------------


async def test_what_is_published_twice_is_stored_once_and_read_as_it_was(server, connection):
    """Two holders of a lease publish the same readings; the reader gets each once, equal to the original."""
    first, second = Publisher(connection, "a"), Publisher(connection, "b")
    sent = [reading(n) for n in range(3000)]
    await first.publish(sent)
    await second.publish([each._replace(seq=each.seq + 7) for each in sent])
    assert (first.published, first.duplicates) == (3000, 0)
    assert (second.published, second.duplicates) == (0, 3000)
    async with merge(cluster_source(server.url, name="x"), include_status=False) as events:
        got = await take(events, 3000)
    assert [(each.source, each.id, each.time, each.values, dict(each.raw)) for each in got] == [
        (each.source, each.id, each.time, each.values, each.raw) for each in sent
    ]


async def test_what_was_not_committed_is_sent_again_and_what_was_is_not(server, connection):
    """After a restart the durable consumer continues behind the last commit, without a checkpoint of ours."""
    await Publisher(connection, "a").publish([reading(n) for n in range(100)])
    async with merge(
        cluster_source(server.url, name="x"), checkpoint=Checkpoint(), autocommit=False, include_status=False
    ) as events:
        got = await take(events, 100)
        events.commit(got[39])
    async with merge(
        cluster_source(server.url, name="x"), checkpoint=Checkpoint(), autocommit=False, include_status=False
    ) as events:
        again = await take(events, 60)
        # The server chooses the order in which it sends them again.
        assert sorted(readings_of(again)) == sorted(f"151001/{n}" for n in range(40, 100))
        events.commit(again[-1])
        await acknowledged(connection, "x")


async def acknowledged(connection, name: str) -> None:
    async with asyncio.timeout(20):
        while (await connection.js.consumer_info(STREAM, name)).num_ack_pending:  # noqa: ASYNC110  (a server)
            await asyncio.sleep(0.05)


async def test_consumers_have_their_own_pace_selection_and_start(server, connection):
    """One account, one site, from a time on; and two consumers get everything each."""
    publisher = Publisher(connection, "a")
    await publisher.publish([reading(n) for n in range(5)])
    await asyncio.sleep(0.05)
    since = datetime.now(UTC)
    await publisher.publish([reading(n, OTHER) for n in range(5)] + [reading(n) for n in range(5, 10)])
    for name in ("x", "y"):
        async with merge(cluster_source(server.url, name=name), include_status=False) as events:
            assert len(await take(events, 15)) == 15
    async with merge(
        cluster_source(server.url, name="own", account=DEVICE.account), include_status=False
    ) as events:
        assert readings_of(await take(events, 10)) == [f"151001/{n}" for n in range(10)]
    async with merge(
        cluster_source(server.url, start=since, sites=[301, 151001]), include_status=False
    ) as events:
        assert {each.source for each in await take(events, 10)} == {DEVICE, OTHER}
    async with merge(cluster_source(server.url, start=since, sites=["301"]), include_status=False) as events:
        assert readings_of(await take(events, 5)) == [f"301/{n}" for n in range(5)]


async def test_gaps_alarms_and_states_of_the_collectors_arrive(server, connection):
    gap = Gap(start=NOON, end=NOON + timedelta(minutes=3), reason="not_recorded")
    alarm = AlarmChange(active=True, alarm="151001/alarm/7", text="Low battery", device="Battery")
    cleared = AlarmChange(active=False, alarm="151001/alarm/7", text="Low battery", device="Battery")
    await Publisher(connection, "a").publish(
        [
            reading(1),
            control(Kind.GAP, gap),
            control(Kind.ALARM, alarm, seq=2),
            control(Kind.STATUS, Status(state=State.AUTH_FAILED, reason="the token was refused"), seq=3),
            control(Kind.ALARM, cleared, seq=4)._replace(id="x/cleared"),
            reading(2),
        ]
    )
    async with merge(cluster_source(server.url, name="x"), checkpoint=Checkpoint()) as events:
        got = [each for each in await take(events, 8) if each.source.vendor == "vrm"]
    details = [each.detail for each in got if each.detail is not None]
    assert details[0] == gap
    assert details[1].active
    assert (details[1].alarm, details[1].text, details[1].device) == (alarm.alarm, alarm.text, "Battery")
    assert details[2] == Status(state=State.STALE, reason="auth_failed: the token was refused")
    assert (details[3].active, details[3].alarm) == (False, alarm.alarm)
    assert readings_of(got) == ["151001/1", "151001/2"]


async def test_more_of_a_second_that_was_delivered_arrives_too(server, connection):
    """A successor finds another quantity of a second: the reader gets what is new, under an id of its own."""
    more = reading(1, values={Quantity.PV_POWER: 1.0, Quantity.BATTERY_SOC: 50.0})
    await Publisher(connection, "a").publish([reading(1)])
    await Publisher(connection, "b").publish([more])
    async with merge(cluster_source(server.url, name="x"), include_status=False) as events:
        got = await take(events, 2)
    assert [dict(each.values) for each in got] == [{Quantity.PV_POWER: 1.0}, {Quantity.BATTERY_SOC: 50.0}]


async def test_a_server_that_is_restarted_interrupts_nobody_for_good(server, connection):
    publisher = Publisher(connection, "a")
    await publisher.publish([reading(n) for n in range(10)])
    async with merge(cluster_source(server.url, name="x"), include_status=False) as events:
        got = await take(events, 10)
        await server.kill()
        await server.start()
        async with asyncio.timeout(30):
            while True:
                try:
                    await publisher.publish([reading(n) for n in range(10, 20)])
                    break
                except ClusterError as error:
                    if error.permanent:
                        raise
                await asyncio.sleep(0.2)
        got += await take(events, 10)
    assert readings_of(got) == [f"151001/{n}" for n in range(20)]


# --- what the log cannot give ------------------------------------------------------------------------------


async def test_events_that_the_limits_removed_are_a_gap(server, connection, caplog):
    """The log keeps ten events; a consumer that was away for more gets the rest and a gap before it."""
    publisher = Publisher(connection, "a")
    await connection.js.update_stream(name=STREAM, subjects=["energy.>"], max_msgs=10, deny_delete=True)
    await publisher.publish([reading(n) for n in range(5)])
    store = Positions()
    async with merge(cluster_source(server.url, name="x"), checkpoint=store, include_status=False) as events:
        await take(events, 5)
        await acknowledged_by_next(events)
    await publisher.publish([reading(n) for n in range(5, 40)])
    async with merge(cluster_source(server.url, name="x"), checkpoint=store, include_status=False) as events:
        got = await take(events, 11)
    (gap,) = [each.detail for each in got if each.kind is Kind.GAP]
    assert gap.reason == REMOVED
    assert gap.start == NOON + timedelta(seconds=4)
    assert gap.end >= NOON + timedelta(seconds=5)
    assert readings_of(got) == [f"151001/{n}" for n in range(30, 40)]
    assert "removed events before" in caplog.text


class Positions:
    """A checkpoint in memory."""

    text: str | None = None

    async def load(self) -> str | None:
        return self.text

    async def save(self, text: str) -> None:
        self.text = text


async def acknowledged_by_next(events) -> None:
    """Ask for one more event, which commits those before."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await anext(events)


async def test_events_of_a_newer_version_and_of_others_are_reported_and_skipped(server, connection, caplog):
    """The reader goes on with what it can read; the missing event is a gap of its device."""
    newer = json.loads(reading(1).to_json()) | {"v": 2}
    await connection.js.publish(subject_of(DEVICE), json.dumps(newer).encode())
    await connection.js.publish("energy.lights", b"on")
    await connection.js.publish(subject_of(DEVICE), b"")
    await Publisher(connection, "a").publish([reading(2)])
    source = cluster_source(server.url, name="x")
    async with merge(source, include_status=False) as events:
        got = await take(events, 3)
        assert [each.detail.reason for each in got if each.kind is Kind.GAP] == [UNREADABLE] * 2
        assert readings_of(got) == ["151001/2"]
        assert dict(source.notes) == {"events of a newer version": 1, "unreadable events": 1}
    assert "update energy-live here" in caplog.text


async def test_an_account_that_the_log_does_not_know_is_named(server, connection, caplog):
    await Publisher(connection, "a").publish([reading(1), reading(1, OTHER)])
    caplog.set_level(logging.WARNING)
    async with merge(cluster_source(server.url, account="my hoem", name="x")) as events:
        await take(events, 2)  # connecting, live
    assert "no events of the account 'my hoem'" in caplog.text
    assert "my home.*, other" in caplog.text


async def test_a_large_event_is_published_without_raw_and_a_huge_one_is_counted(connection, caplog):
    publisher = Publisher(connection, "a")
    await publisher.publish([reading(1, raw={"x": "y" * 2_000_000}), reading(2, id="z" * 2_000_000)])
    assert (publisher.published, publisher.stripped, publisher.refused) == (1, 1, 1)
    assert "larger than a message may be" in caplog.text


async def test_a_position_of_another_host_is_not_overwritten(connection):
    """The host that lost the lease cannot save any more; a damaged position is an error, not a crash."""
    first = ClusterCheckpoint(connection, "vrm.home", "first")
    assert await first.load() is None
    await first.save("one")
    second = ClusterCheckpoint(connection, "vrm.home", "second")
    assert await second.load() == "one"
    await second.save("two")
    with pytest.raises(Exception, match="another host has this account now"):
        await first.save("three")
    assert await ClusterCheckpoint(connection, "vrm.home", "third").load() == "two"
    await connection.put(POSITIONS, "position.vrm.home", b"third\nnot compressed")
    with pytest.raises(Exception, match="the position is damaged"):
        await second.load()


# --- servers -----------------------------------------------------------------------------------------------


async def problem_of(server: NatsServer, login: ServerLogin | None = None) -> str:
    """Return the one line of what is wrong."""

    async def use() -> None:
        connection = await ClusterConnection.connect(server.url, login=login, patience_s=1.0)
        try:
            await prepare(connection, LogLimits())
        finally:
            await connection.aclose()

    with pytest.raises(ClusterError) as found:
        await use()
    assert found.value.permanent
    assert "\n" not in str(found.value)
    return str(found.value)


async def test_a_server_without_jetstream(tmp_path):
    async with nats_server(tmp_path, jetstream=False) as server:
        assert "has no JetStream: start it with `-js`" in await problem_of(server)


async def test_no_server_and_a_wrong_address(tmp_path):
    server = NatsServer(tmp_path)
    with pytest.raises(ClusterError, match="no NATS server answers"):
        await ClusterConnection.connect(server.url, patience_s=0.5)
    for wrong in ("", "http://x", "10.0.0.5:4222"):
        with pytest.raises(ValueError, match="nats://"):
            cluster_source(wrong)


async def test_a_stream_of_another_shape(server):
    for config, fault in (
        ({"subjects": ["power.>"]}, "its subjects are power.>"),
        ({"subjects": ["energy.>"], "retention": api.RetentionPolicy.WORK_QUEUE}, "its retention is"),
        ({"subjects": ["energy.>"], "no_ack": True}, "does not acknowledge"),
    ):
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name=STREAM, **config)
        line = await problem_of(server)
        assert fault in line
        assert "nats stream edit ENERGY" in line
        await client.jetstream().delete_stream(STREAM)
        await client.close()


async def test_another_stream_has_our_subjects(server):
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(name="METERS", subjects=["energy.>"])
    await client.close()
    assert "another stream has the same subjects" in await problem_of(server)


async def test_a_server_that_is_full_is_a_line_and_works_again_once_it_has_room(tmp_path):
    async with nats_server(tmp_path, limits="max_file_store: 4MB") as server:
        connection = await ClusterConnection.connect(server.url)
        await prepare(connection, LogLimits(max_bytes=1_000_000))
        config = (await connection.js.stream_info(STREAM)).config
        await connection.js.update_stream(config.evolve(discard=api.DiscardPolicy.NEW))
        publisher = Publisher(connection, "a")
        filling = [reading(n, raw={"x": "y" * 1000}) for n in range(2000)]
        with pytest.raises(ClusterError, match=r"the server is full .*raise its limits") as found:
            await publisher.publish(filling)
        assert not found.value.permanent
        await connection.js.update_stream(config.evolve(discard=api.DiscardPolicy.OLD))
        await publisher.publish(filling)
        await connection.aclose()


CONFIG = Path(__file__).parents[2] / "examples/deploy/cluster/nats-server.conf"
USERS = ("admin", "collector", "consumer")


@pytest.fixture
def permissions(monkeypatch):
    """The users of the example, with passwords."""
    for user in USERS:
        monkeypatch.setenv(f"{user.upper()}_PASSWORD", f"{user}-secret")
    text = CONFIG.read_text()
    return text[text.index("authorization {") :]


def login(user: str) -> ServerLogin:
    return ServerLogin(user=user, password=Secret(f"{user}-secret"))


async def test_the_permissions_of_the_how_to_suffice_and_hold(tmp_path, permissions):
    """An administrator creates; a collector publishes, and cannot delete; a consumer reads only."""
    async with nats_server(tmp_path, extra=permissions) as server:
        assert "refuses our credential: check NATS_USER" in await problem_of(server)
        wrong = ServerLogin(user="collector", password=Secret("wrong-secret"))
        line = await problem_of(server, wrong)
        assert "refuses our credential" in line
        assert "wrong-secret" not in line
        line = await problem_of(server, login("collector"))
        assert "creating the stream ENERGY: no permission" in line
        assert "docs/how-to/cluster.md" in line
        admin = await ClusterConnection.connect(server.url, login=login("admin"))
        await prepare(admin, LogLimits())
        await admin.aclose()
        collector = await ClusterConnection.connect(server.url, login=login("collector"))
        await prepare(collector)
        await Publisher(collector, "a").publish([reading(n) for n in range(10)])
        await ClusterCheckpoint(collector, "vrm.home", "a").save("x")
        for name in ("delete_stream", "purge_stream"):
            with pytest.raises(TimeoutError):
                await getattr(collector.client.jetstream(timeout=0.5), name)(STREAM)
        assert collector.denied("$JS.API.STREAM.DELETE.ENERGY")
        assert collector.denied("$JS.API.STREAM.PURGE.ENERGY")
        source = ClusterSource(server.url, name="x", login=login("consumer"))
        async with merge(source, checkpoint=Checkpoint(), include_status=False) as events:
            got = await take(events, 10)
            events.commit(got[-1])
            await acknowledged_info(server, "x")
        consumer = await ClusterConnection.connect(server.url, login=login("consumer"))
        with pytest.raises(ClusterError, match="publishing: no permission") as found:
            await Publisher(consumer, "b").publish([reading(99)])
        assert found.value.permanent
        await consumer.aclose()
        await collector.aclose()


async def acknowledged_info(server: NatsServer, name: str) -> None:
    admin = await ClusterConnection.connect(server.url, login=login("admin"))
    await acknowledged(admin, name)
    await admin.aclose()


async def test_encrypted_with_a_certificate_authority_of_our_own(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = f'tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem" }}'
    async with nats_server(tmp_path, extra=tls) as server:
        url = server.url.replace("nats://", "tls://")
        with pytest.raises(ClusterError, match="certificate"):
            await ClusterConnection.connect(url, patience_s=0.5)
        connection = await ClusterConnection.connect(url, login=ServerLogin(ca=f"{tmp_path}/ca.pem"))
        await prepare(connection, LogLimits())
        await connection.aclose()
        with pytest.raises(ClusterError, match="NATS_CA"):
            await ClusterConnection.connect(url, login=ServerLogin(ca=f"{tmp_path}/missing.pem"))


@pytest.fixture(autouse=True)
async def no_task_left():
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}

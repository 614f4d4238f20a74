"""VRM in real time against a real mosquitto, over TLS and WebSocket, with the simulator's gateways."""

import asyncio
import re
import ssl
import threading
from contextlib import asynccontextmanager

import pytest
import trustme

from energy_core import Kind, Quantity, State, merge
from energy_live.simulator import Simulator
from tests.servers.real_programs import need_module, need_program, until
from vrm_async import RealtimeConfig, VRMClient

need_program("mosquitto", "mosquitto")
need_module("aiomqtt", "mqtt")

FAST = {"silence_s": 2.0, "answer_s": 1.0, "slow_answer_s": 1.5, "keepalive_s": 1.0, "gather_s": 0.1}
"""Times of a site, a thirtieth of the real ones."""


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def simulated(authority, folder, **broker):
    """Run a simulator whose broker has a certificate of this authority."""
    issued = authority.issue_cert("127.0.0.1", "localhost")
    key, chain = folder / "key.pem", folder / "chain.pem"
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(chain)
    options = {"certificate": (str(chain), str(key)), **broker}
    async with Simulator(speed=1.0, realtime=True, broker_options=options) as simulator:
        yield simulator


@asynccontextmanager
async def followed(simulator, *sites, trusting, interval_s=1.0, token=None, sources=None, **times):
    """Follow sites in real time; yields the merged stream and the list of its events so far.

    The source is appended to `sources`, if that is given.
    """
    config = RealtimeConfig(url=simulator.broker.url, ssl_context=trusting, **{**FAST, **times})
    token = token or simulator.vrm_token
    async with VRMClient(token=token, base_url=simulator.vrm_url) as vrm:
        source = vrm.live(*sites, realtime=True, realtime_config=config, interval_s=interval_s)
        if sources is not None:
            sources.append(source)
        async with merge(source) as events:
            seen = []

            reading = asyncio.create_task(read_into(seen, events))
            try:
                yield events, seen
            finally:
                reading.cancel()
                await asyncio.wait([reading])


async def read_into(seen, events):
    """Append the events of a stream to a list as they come."""
    async for event in events:
        seen.append(event)


def realtime(seen, site):
    """Return the readings of a site that arrived in real time."""
    return [each for each in seen if "/rt/" in each.id and each.source.site == str(site)]


def states(seen, site):
    """Return the states that were reported of a site, with their reasons."""
    found = [each for each in seen if each.kind is Kind.STATUS and each.source.site == str(site)]
    return [(each.detail.state, each.detail.reason) for each in found]


async def test_values_of_this_second_arrive_with_the_quantities_of_polling_and_more(
    authority, trusting, tmp_path
):
    """The first reading has what a poll has, the phases, the AC and DC parts; counters follow."""
    async with simulated(authority, tmp_path) as simulator:
        site = simulator.site_ids[0]
        async with followed(simulator, trusting=trusting) as (_, seen):
            await until(lambda: len(realtime(seen, site)) > 3)
            polled = next(each for each in seen if each.kind is Kind.READING and "/rt/" not in each.id)
            first = next(each for each in realtime(seen, site) if each.source.instance == 0)
            assert polled.values.keys() - first.values.keys() == set()
            phases = [first.values[Quantity(f"grid_l{phase}_power")] for phase in (1, 2, 3)]
            assert sum(phases) == first.values[Quantity.GRID_POWER]
            assert first.values[Quantity.CONSUMPTION_AC_POWER] == first.values[Quantity.CONSUMPTION_POWER]
            assert abs((first.time - first.received_at).total_seconds()) < 5.0
            counters = [each for each in realtime(seen, site) if each.source.instance == 30]
            assert counters[0].values.keys() == {
                Quantity.GRID_IMPORT_ENERGY,
                Quantity.GRID_EXPORT_ENERGY,
            }


async def test_nothing_but_keepalives_is_ever_published(authority, trusting, tmp_path):
    """The broker's log of all packets has no publish of ours but `R/<portal id>/keepalive`."""
    async with simulated(authority, tmp_path, verbose=True) as simulator:
        async with followed(simulator, trusting=trusting) as (_, seen):
            await until(lambda: len(realtime(seen, simulator.site_ids[0])) > 3)
        log, user = simulator.broker.log, simulator.vrm_user_id
        portal_ids = {site.identifier for site in simulator.world.sites if site.user == user}
    ours = re.findall(r"Received (\w+) from (energylive\w+)(.*)", log)
    assert {kind for kind, _, _ in ours} <= {"PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ", "DISCONNECT"}
    topics = {re.search(r"'([^']*)'", rest)[1] for kind, _, rest in ours if kind == "PUBLISH"}
    assert topics == {f"R/{portal_id}/keepalive" for portal_id in portal_ids}


async def test_a_broker_that_restarts_is_connected_again(authority, trusting, tmp_path):
    """The site is stale with the reason, then live again; no thread is left."""
    before = threading.active_count()
    async with simulated(authority, tmp_path) as simulator:
        site = simulator.site_ids[0]
        async with followed(simulator, trusting=trusting) as (_, seen):
            await until(lambda: realtime(seen, site))
            await simulator.broker.stop()
            await until(lambda: State.STALE in dict(states(seen, site)))
            await simulator.broker.start()
            known = len(realtime(seen, site))
            await until(lambda: len(realtime(seen, site)) > known + 1)
            await until(lambda: states(seen, site)[-1] == (State.LIVE, ""))
    assert "lost" in dict(states(seen, site))[State.STALE]
    assert threading.active_count() <= before + 6  # of the default executor, which is idle


async def test_a_login_that_the_broker_refuses_never_ends_the_account(authority, trusting, tmp_path):
    """Wrong token at the broker: the sites are polled, and the state says why."""
    async with (
        simulated(authority, tmp_path, users={}) as simulator,
        followed(simulator, trusting=trusting) as (events, seen),
    ):
        await until(lambda: any("refused the login" in each.reason for each in events.status.values()))
        assert {each.state for each in events.status.values()} == {State.LIVE}
        assert any(each.kind is Kind.READING for each in seen)
        assert not any("/rt/" in each.id for each in seen)
    assert simulator.vrm_token not in repr(events.status)


async def test_no_right_to_wake_a_site_is_told(authority, trusting, tmp_path):
    """The broker refuses the keepalive, which only MQTT 5 reports; the site is polled."""
    async with (
        simulated(authority, tmp_path, muted=("alex@example.com",)) as simulator,
        followed(simulator, simulator.site_ids[0], trusting=trusting) as (events, _),
    ):
        await until(lambda: any("no right to wake" in each.reason for each in events.status.values()))


async def test_retained_messages_are_never_live(authority, trusting, tmp_path):
    """A broker may keep old values; nothing tells how old they are."""
    import aiomqtt  # noqa: PLC0415  (an extra)

    async with simulated(authority, tmp_path) as simulator:
        broker, site = simulator.broker, simulator.gateways.by_site[simulator.site_ids[0]]
        site.realtime_on = False
        async with aiomqtt.Client(
            "127.0.0.1", broker.port, username="gateways", password=broker.password
        ) as client:
            topic = f"N/{site.portal_id}/system/0/Dc/Battery/Soc"
            await client.publish(topic, b'{"value": 1}', qos=1, retain=True)
        async with followed(simulator, simulator.site_ids[0], trusting=trusting) as (events, seen):
            await until(lambda: any("no answer" in each.reason for each in events.status.values()))
            assert realtime(seen, simulator.site_ids[0]) == []


async def test_a_certificate_that_is_not_trusted_is_told(authority, tmp_path):
    """The token is not sent; the sites are polled."""
    async with (
        simulated(authority, tmp_path) as simulator,
        followed(simulator, trusting=ssl.create_default_context()) as (events, _),
    ):
        await until(lambda: any("cannot be trusted" in each.reason for each in events.status.values()))

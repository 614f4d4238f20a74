"""Between real time and polling, on virtual time: who delivers, what is fetched, and what the state says."""

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from energy_core.errors import PermissionDenied
from energy_core.stream.merge import merge
from energy_core.stream.vocabulary import Kind, Quantity, State
from tests.servers.realtime_world import START, Account, World
from vrm_async import VRMClient

pytestmark = pytest.mark.virtual_time


@asynccontextmanager
async def running(sites=1, **options):
    """Run a world and follow its sites; yields the world, the account, and the stream."""
    world, account = World(sites), Account()
    alive = asyncio.create_task(world.run())
    async with merge(world.source(**options), clock=world.clock) as events:

        async def read():
            async for event in events:
                account.take(event)

        reading = asyncio.create_task(read())
        yield world, account, events
        for task in (reading, alive):
            task.cancel()
        await asyncio.wait([reading, alive])


def polled(account, since):
    """Return the times at which readings of polls arrived, in seconds since the start."""
    times = [
        each.received_at.timestamp() - START
        for each in account.events
        if each.kind is Kind.READING and "/rt/" not in each.id and not each.backfilled
    ]
    return [round(time) for time in times if time > since]


class Memory:
    """Keeps a checkpoint."""

    text = None

    async def load(self):
        return self.text

    async def save(self, text):
        self.text = text


def only_state(events):
    (status,) = events.status.values()
    return status.state, status.reason


async def test_polls_are_left_out_while_there_is_real_time():
    """One reading a second, and none of the minute beside them."""
    async with running() as (world, account, events):
        await asyncio.sleep(600)
        assert len(account.live[world.sites[0].id]) > 590
        assert polled(account, 0) == []
        assert only_state(events) == (State.LIVE, "")


async def test_a_silent_gateway_is_stale_within_seventy_seconds_and_polled_within_one_interval():
    """The state says why; when it is back, so is real time, and nothing is missing."""
    async with running() as (world, account, events):
        await asyncio.sleep(300)
        site = world.sites[0]
        site.gateway.realtime_on = False
        await asyncio.sleep(71)
        stale = next(
            each
            for each in account.events
            if each.kind is Kind.STATUS
            and each.detail.state is State.STALE
            and each.received_at.timestamp() > START + 300
        )
        assert 355 < stale.received_at.timestamp() - START < 372
        assert "no answer to the keepalive" in stale.detail.reason
        await asyncio.sleep(100)
        assert polled(account, 300)[0] <= 372 + 60
        state, reason = only_state(events)
        assert state is State.LIVE
        assert reason.startswith("polled: no answer to the keepalive")
        site.gateway.realtime_on = True
        await asyncio.sleep(400)
        assert only_state(events) == (State.LIVE, "")
        assert account.missing(site, world.second - 2) == []
        assert account.doubled(site) == []


async def test_a_broken_connection_is_filled_from_the_graph_in_order():
    """Minutes that are over come before the next second; the last one late, marked with its resolution."""
    async with running() as (world, account, _):
        await asyncio.sleep(300)
        world.down = True
        world.drop()
        await asyncio.sleep(50)
        world.down = False
        await asyncio.sleep(300)
        site = world.sites[0]
        assert account.missing(site, world.second - 2) == []
        filled = [each for each in account.events if each.kind is Kind.READING and each.backfilled]
        assert filled
        assert all(each.raw["g1"]["resolution"] == 60.0 for each in filled)
        assert filled[-1].late
        assert not account.gaps[site.id]


async def test_what_vrm_never_had_is_reported_after_its_retries():
    """After 1, 5 and 15 minutes; pending before."""
    async with running() as (world, account, events):
        await asyncio.sleep(300)
        site = world.sites[0]
        site.gateway.online = site.logs_to_vrm = False
        await asyncio.sleep(120)
        site.gateway.online = site.logs_to_vrm = True
        await asyncio.sleep(200)
        (status,) = events.status.values()
        assert status.pending
        assert not account.gaps[site.id]
        await asyncio.sleep(900)
        (status,) = events.status.values()
        assert status.pending == ()
        assert account.gaps[site.id]
        assert account.missing(site, world.second - 2) == []
        assert account.reported_and_live(site) == []


async def test_one_connection_serves_all_sites_of_a_broker():
    """Two gateways share it, and their messages are not mixed up."""
    async with running(sites=2) as (world, account, events):
        await asyncio.sleep(120)
        assert len(world.connections) == 1
        first, second = (account.live[site.id] for site in world.sites)
        assert len(first) > 100
        assert len(second) > 100
        woken = {portal_id for _, portal_id, _ in world.keepalives}
        assert woken == {site.gateway.portal_id for site in world.sites}
        assert all(each.state is State.LIVE for each in events.status.values())


async def test_keepalives_are_sent_every_thirty_seconds_and_only_the_first_asks_for_everything():
    """A full publish costs the gateway thousands of messages."""
    async with running() as (world, _, _events):
        await asyncio.sleep(600)
        options = [json.loads(payload)["keepalive-options"][0] for _, _, payload in world.keepalives]
        assert isinstance(options[0], dict)
        assert set(options[1:]) == {"suppress-republish"}
        times = [time for time, _, _ in world.keepalives]
        assert all(29.9 < after - before < 30.2 for before, after in pairwise(times))


async def test_a_site_that_is_switched_off_in_vrm_is_polled_and_received_when_it_is_switched_on():
    """No connection is made for it; the state says why."""
    async with running() as (world, account, events):
        world.sites[0].obstacle = "real time is switched off for this site in VRM"
        await asyncio.sleep(200)
        assert world.connections != [] or world.keepalives == []
        assert only_state(events)[0] is State.LIVE
        assert "switched off" in only_state(events)[1]
        assert polled(account, 100)
        world.sites[0].obstacle = ""
        await asyncio.sleep(120)
        assert only_state(events) == (State.LIVE, "")
        assert account.live[world.sites[0].id]


async def test_auto_says_nothing_of_sites_without_real_time():
    """They are polled as without the argument."""
    async with running(where_allowed=True) as (world, account, events):
        world.sites[0].obstacle = "real time is switched off for this site in VRM"
        await asyncio.sleep(300)
        assert only_state(events) == (State.LIVE, "")
        assert polled(account, 100)


async def test_a_replaced_gateway_is_received_under_its_new_identifier():
    """`idSite` stays; the old topics are left, and nothing is lost without a word."""
    async with running() as (world, account, _):
        await asyncio.sleep(300)
        site = world.sites[0]
        old, site.gateway.portal_id = site.gateway.portal_id, "c0619affffff"
        await asyncio.sleep(600)
        assert [portal_id for _, portal_id, _ in world.keepalives][-1] == "c0619affffff"
        last_old = max(time for time, portal_id, _ in world.keepalives if portal_id == old)
        assert last_old < 400
        assert account.missing(site, world.second - 2) == []


async def test_topics_that_the_broker_refuses_are_no_end():
    """No right to a site: it is polled with the reason, and asked for again after a quarter of an hour."""
    async with running() as (world, account, events):
        world.forbidden.add(world.sites[0].gateway.portal_id)
        await asyncio.sleep(300)
        assert "no right to this site" in only_state(events)[1]
        assert polled(account, 100)
        world.forbidden.clear()
        await asyncio.sleep(900)
        assert only_state(events) == (State.LIVE, "")


async def test_polls_that_fail_do_not_hide_real_time():
    """The API is down; values go on, and the state says so."""
    async with running() as (world, account, events):
        await asyncio.sleep(100)
        world.api_down = True
        before = len(account.live[world.sites[0].id])
        await asyncio.sleep(200)
        state, reason = only_state(events)
        assert state is State.LIVE
        assert reason.startswith("polling fails: ")
        assert len(account.live[world.sites[0].id]) > before + 190


async def test_a_refusal_of_the_graph_is_reported_at_once():
    """No repeat can change a missing right."""
    async with running() as (world, account, _):

        async def refused(source, start, end):
            raise PermissionDenied("no access to widgets")

        world.graph = refused
        await asyncio.sleep(300)
        world.drop()
        await asyncio.sleep(200)
        assert account.gaps[world.sites[0].id]


async def test_messages_of_strangers_and_nonsense_are_counted():
    """Notes of the status have them; the account goes on."""
    async with running() as (world, account, events):
        await asyncio.sleep(60)
        portal_id = world.sites[0].gateway.portal_id
        world.send("N/stranger/system/0/Dc/Pv/Power", b'{"value": 1}')
        world.send("X", b"")
        world.send(f"N/{portal_id}/system/0/Dc/Pv/Power", b"[[]]")
        world.send(f"N/{portal_id}/settings/0/Password", b'{"value": "x"}')
        await asyncio.sleep(60)
        (status,) = events.status.values()
        assert status.notes["messages left out: of no known site"] == 2
        assert status.notes["payloads left out: no object"] == 1
        assert status.notes["messages of unknown topics"] == 1
        assert len(account.live[world.sites[0].id]) > 110


async def test_a_gateway_whose_clock_is_days_off_is_live_with_a_note():
    """The time of its readings is that of their arrival."""
    async with running() as (world, account, events):
        world.sites[0].gateway.skew_s = -2 * 86_400.0
        await asyncio.sleep(60)
        (status,) = events.status.values()
        assert "s behind" in status.notes["site 1"]
        newest = max(each.time.timestamp() for each in account.events if each.kind is Kind.READING)
        assert abs(newest - world.second) < 3


async def test_a_restarted_source_begins_anew():
    """`again` returns one with the same id; the first can be used once."""
    world = World(1)
    source = world.source()
    assert source.again().id == source.id
    assert source.again() is not source


async def test_a_source_asks_for_everything_it_needs_before_anything_is_sent():
    """Wrong arguments of `live` are errors at once."""
    async with VRMClient(token="x" * 64) as vrm:
        with pytest.raises(ValueError, match="auto"):
            vrm.live(realtime="always")
        with pytest.raises(ValueError, match="realtime_config"):
            vrm.live(realtime_config=object())
        assert Quantity.GRID_L1_POWER in Quantity
        assert repr(vrm.live(realtime=True)).startswith("<RealtimeSource vrm/unidentified")


async def test_a_slow_consumer_gets_minutes_of_what_it_had_no_room_for():
    """A full buffer loses no second: the graph has them all, and each bucket proves its own minute only."""
    world, account = World(1), Account()
    alive = asyncio.create_task(world.run())
    async with merge(world.source(), buffer=32, clock=world.clock) as events:
        pauses = [400.0, 0.0]

        async def read():
            async for event in events:
                account.take(event)
                if len(account.live[world.sites[0].id]) == 300 and pauses[0]:
                    pauses.reverse()
                    await asyncio.sleep(pauses[1])

        reading = asyncio.create_task(read())
        await asyncio.sleep(2500)
        for task in (reading, alive):
            task.cancel()
        await asyncio.wait([reading, alive])
    site = world.sites[0]
    assert any(each.kind is Kind.DROPPED for each in account.events)
    assert account.missing(site, world.second - 5) == []
    assert account.doubled(site) == []


async def test_a_consumer_that_was_away_gets_minutes_of_it():
    """A checkpoint holds the last second; VRM's record has the rest until real time begins again."""
    world, account = World(1), Account()
    alive = asyncio.create_task(world.run())
    store = Memory()
    for seconds in (300, 900):
        async with merge(world.source(), checkpoint=store, clock=world.clock) as events:

            async def read(events=events):
                async for event in events:
                    account.take(event)

            reading = asyncio.create_task(read())
            await asyncio.sleep(seconds)
            reading.cancel()
            await asyncio.wait([reading])
        last = world.second
        await asyncio.sleep(200)
    alive.cancel()
    await asyncio.wait([alive])
    site = world.sites[0]
    assert account.missing(site, last - 5) == []
    assert account.doubled(site) == []


async def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    """And "auto" polls."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    async with VRMClient(token="x" * 64) as vrm:
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'energy-live\[mqtt\]'"):
            vrm.live(realtime=True)
        assert type(vrm.live(realtime="auto")) is type(vrm.live())

"""The whole client on real sockets against the simulator."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from energy_core import Quantity, SessionPool, merge
from energy_core.errors import InvalidCredentials, NoData, TwoFactorRequired
from energy_core.stream.vocabulary import Kind
from energy_live.simulator import Simulator
from vrm_async import VRMClient

START = datetime(2026, 6, 1, 10, tzinfo=UTC)


@pytest.fixture
async def simulator():
    async with Simulator(speed=600.0, start=START) as running:
        yield running


@pytest.fixture
async def vrm(simulator):
    async with VRMClient(token=simulator.vrm_token, base_url=simulator.vrm_url) as client:
        yield client


async def test_the_account_and_its_sites(vrm, simulator):
    """The client returns the account and its sites, plain and extended, without drift."""
    me = await vrm.users.me()
    assert me.id == simulator.vrm_user_id
    plain = await vrm.sites()
    extended = await vrm.sites(extended=True)
    assert [site.id for site in plain] == [site.id for site in extended] == list(simulator.site_ids)
    soc = extended[0].extended.get("bs")
    assert soc is not None
    assert 0 <= (soc.number or -1) <= 100
    assert extended[0].extended.get("bst").enum_name in {"Idle", "Charging", "Discharging"}
    assert not [key for key in vrm.drift.counts if key[2] != "unknown"]


async def test_the_devices_and_their_diagnostics(vrm, simulator):
    """The overview has the devices; all pages of the diagnostics are read."""
    site_id = simulator.site_ids[0]
    overview = await vrm.installations.system_overview(site_id)
    assert overview.devices[0].instance is None
    whole = [record.id async for record in vrm.installations.diagnostics(site_id)]
    paged = [record.id async for record in vrm.installations.diagnostics(site_id, page_size=7)]
    assert whole == paged
    assert len(whole) > 40


async def test_stats(vrm, simulator):
    """A day in hours has 24 points and totals in kWh; forecasts and custom codes work too."""
    site_id, start = simulator.site_ids[0], START - timedelta(days=2)
    day = await vrm.stats.get(
        site_id, type="kwh", interval="hours", start=start, end=start + timedelta(days=1)
    )
    assert len(day) >= 4
    for series in day:
        assert series.unit == "kWh"
        assert all(time.tzinfo is UTC and value is not None for time, value in series)
    assert day.totals["kwh"] == pytest.approx(
        sum(v or 0 for code, v in day.totals.items() if code != "kwh"), rel=0.01
    )
    measured = await vrm.stats.get(
        site_id, start=start, end=start + timedelta(hours=3), attribute_codes=["bs", "bv"], show_instance=True
    )
    assert 0 in measured.instances
    assert measured.instance(0)["bs"].minimum is not None
    overall = await vrm.stats.overall(site_id)
    assert (overall.month.totals.keys() >= overall.today.totals.keys()) or overall.month.totals


async def test_widgets(vrm, simulator):
    """Graph, summary and states are found by code; a wrong instance is an error."""
    site_id = simulator.site_ids[0]
    overview = await vrm.installations.system_overview(site_id)
    graph = await vrm.widgets.graph(
        site_id, attribute_codes=["bs", "bv"], instance=0, start=START - timedelta(hours=2), end=START
    )
    assert set(graph.keys()) == {"bs", "bv"}
    assert graph["bv"].unit == "V"
    assert len(graph["bs"]) > 10
    battery = next(device.instance for device in overview.devices if device.name == "Battery Monitor")
    summary = await vrm.widgets.summary(site_id, "BatterySummary", instance=battery)
    assert summary["SOC"].raw_value is not None
    with pytest.raises(NoData, match="99999"):
        await vrm.widgets.summary(site_id, "BatterySummary", instance=99999)
    system = next(device.instance for device in overview.devices if device.name == "VE.Bus System")
    history = await vrm.widgets.state(
        site_id, "VeBusState", system, start=START - timedelta(days=1), end=START
    )
    assert history["S"].numbers
    assert None not in history["S"].numbers


async def test_access_tokens(vrm, simulator):
    """A token is created, used by another client, listed, revoked, and then refused."""
    created = await vrm.tokens.create("test")
    assert created.id in [token.id for token in await vrm.tokens.list()]
    async with VRMClient(token=created.token.reveal(), base_url=simulator.vrm_url) as other:
        assert (await other.users.me()).id == simulator.vrm_user_id
    assert await vrm.tokens.revoke(created.id) == 1
    assert created.id not in [token.id for token in await vrm.tokens.list()]


@pytest.mark.filterwarnings("ignore:logins to VRM:DeprecationWarning")
async def test_an_expired_login_is_renewed_once(simulator):
    """Fifty calls with an expired token share one login; after a logout the next call logs in."""
    async with VRMClient(
        username=simulator.vrm_username, password=simulator.vrm_password, base_url=simulator.vrm_url
    ) as vrm:
        await vrm.users.me()
        simulator.expire_tokens()
        await asyncio.gather(*(vrm.users.me() for _ in range(50)))
        assert simulator.counters["logins"] == 2
        await vrm.auth.logout()
        await vrm.users.me()
        assert simulator.counters["logins"] == 3


@pytest.mark.filterwarnings("ignore:logins to VRM:DeprecationWarning")
async def test_a_login_with_a_second_factor(simulator):
    """The code is required, accepted, and required again when the token has expired."""
    async with VRMClient(
        username=simulator.sms_username, password=simulator.sms_password, base_url=simulator.vrm_url
    ) as vrm:
        with pytest.raises(TwoFactorRequired) as wanted:
            await vrm.users.me()
        assert wanted.value.sent
        await vrm.auth.login(sms_token=simulator.sms_token)
        await vrm.users.me()
        simulator.expire_tokens()
        with pytest.raises(TwoFactorRequired):
            await vrm.users.me()


@pytest.mark.filterwarnings("ignore:logins to VRM:DeprecationWarning")
async def test_a_wrong_password_is_sent_once(simulator):
    """Twenty calls get the refusal of one login."""
    async with VRMClient(
        username=simulator.vrm_username, password="wrong", base_url=simulator.vrm_url
    ) as vrm:
        results = await asyncio.gather(*(vrm.users.me() for _ in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {InvalidCredentials}
    assert simulator.counters["failed_logins"] == 1


@pytest.mark.filterwarnings("ignore:logins to VRM:DeprecationWarning")
async def test_the_demo_account(simulator):
    """The demo login returns its own sites."""
    async with VRMClient(demo=True, base_url=simulator.vrm_url) as vrm:
        assert (await vrm.users.me()).id == 22
        assert await vrm.sites(extended=True)


async def test_many_sites_in_one_stream(simulator):
    """Two sites of one source deliver readings of a home's quantities, without duplicates."""
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token=simulator.vrm_token, base_url=simulator.vrm_url)
        wanted = simulator.site_ids[:2]
        seen, quantities = [], set()
        async with asyncio.timeout(10), merge(vrm.live(*wanted, interval_s=0.05)) as events:
            async for event in events:
                if event.kind is Kind.READING:
                    seen.append(event)
                    quantities |= event.values.keys()
                if len(seen) >= 8 and {each.source.site for each in seen} == set(map(str, wanted)):
                    break
    assert len({each.id for each in seen}) == len(seen)
    assert quantities >= {
        Quantity.BATTERY_SOC,
        Quantity.BATTERY_VOLTAGE,
        Quantity.BATTERY_CURRENT,
        Quantity.BATTERY_POWER,
        Quantity.GRID_POWER,
        Quantity.PV_POWER,
        Quantity.CONSUMPTION_POWER,
    }

"""Each capability in docs/reference/seed-coverage.md, by its number, called once at the simulator."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from attrs import frozen

from energy_core import SessionPool
from energy_core.errors import AnswerError, BadRequest, NoData, PermissionDenied
from energy_core.http.operation import Priority
from energy_live.simulator import Simulator
from energy_live.simulator.faults import answer as answered
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient, client
from vrm_async.models import Alarm, DynamicEssSettings
from vrm_async.resources.stats import INTERVALS, TYPES
from vrm_async.resources.widgets import STATES, SUMMARIES

START = datetime(2026, 6, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)
RANGE = {"start": START - DAY, "end": START}
SITE = r"installations/\d+"
USER = r"users/\d+"
PRICES = DynamicEssSettings(
    is_on=True,
    battery_capacity_kwh=9.6,
    battery_costs=0.03,
    battery_flow_restriction="noExport",
    charge_power_kw=3.6,
    discharge_power_kw=3.6,
    max_from_grid_kw=6.0,
    max_to_grid_kw=6.0,
    grid_sell=False,
    buy_price_type=1,
    buy_price_formula="1.21*p+0.04",
    sell_price_type=1,
    sell_price_formula="p",
)


@frozen
class Setup:
    """The simulator and a client of it."""

    sim: Simulator
    vrm: VRMClient
    pool: SessionPool
    folder: object

    @property
    def site(self) -> int:
        return self.sim.site_ids[0]

    def another(self, **credentials: object) -> VRMClient:
        """Return a client of the same server with other credentials."""
        return VRMClient(self.pool, base_url=self.sim.vrm_url, **credentials)

    def logging_in(self) -> VRMClient:
        with pytest.warns(DeprecationWarning, match="deprecated"):
            return self.another(username=self.sim.vrm_username, password=self.sim.vrm_password)

    def schemes(self) -> list[str]:
        return [seen.scheme for seen in self.sim.requests]


@pytest.fixture
async def setup(tmp_path):
    async with Simulator(speed=600.0, start=START) as sim, SessionPool() as pool:
        yield Setup(sim, VRMClient(pool, token=sim.vrm_token, base_url=sim.vrm_url), pool, tmp_path)


ROWS: dict[str, tuple[object, list[tuple[str, str]]]] = {}


def row(name, *requests):
    """Register a row: its name, the requests ("METHOD path") that must arrive, and the calls."""

    def enter(reach):
        assert name not in ROWS
        ROWS[name] = (reach, [tuple(request.split(" ", 1)) for request in requests])
        return reach

    return enter


def ask(name, request, reach):
    """Register a row that is one call."""
    row(name, request)(reach)


@row("1 base URL", "GET users/me")
async def base_url(t):
    assert client.BASE_URL == "https://vrmapi.victronenergy.com/v2/"
    VRMClient(t.pool, token="x", base_url="https://betavrmapi.victronenergy.com/v2")
    await t.vrm.users.me()


@row("2 rate limit", "GET users/me")
async def rate_limit(t):
    assert (client.LIMIT.burst, client.LIMIT.per_second) == (200, 3.0)
    t.sim.faults.add(answered(429, "{}", retry_after="0"), path="users/me")
    await t.vrm.users.me()


@row("3 login, with a code", "POST auth/login")
async def login(t):
    with pytest.warns(DeprecationWarning, match="deprecated"):
        vrm = t.another(username=t.sim.sms_username, password=t.sim.sms_password)
    assert (await vrm.auth.login(sms_token=t.sim.sms_token)).verification_mode == "sms"


@row("4 bearer header", "GET users/me")
async def bearer(t):
    await t.logging_in().users.me()
    assert t.schemes()[-1] == "Bearer"


@row("5 access token header", "GET users/me")
async def token_header(t):
    await t.another(token=f" {t.sim.vrm_token}\n").users.me()
    assert t.schemes() == ["Token"]


@row("6 demo login", "GET auth/loginAsDemo", "GET users/me")
async def demo(t):
    with pytest.warns(DeprecationWarning, match="deprecated"):
        vrm = t.another(demo=True)
    assert (await vrm.users.me()).id == 22


@row("7 logout", "POST auth/logout")
async def logout(t):
    vrm = t.logging_in()
    await vrm.auth.login()
    await vrm.auth.logout()


ask(
    "8 token create",
    f"POST {USER}/accesstokens/create",
    lambda t: t.vrm.tokens.create("x", expires=START + DAY),
)
ask("9 token list", f"GET {USER}/accesstokens/list", lambda t: t.vrm.tokens.list())


@row("10 token revoke", f"DELETE {USER}/accesstokens/\\d+", f"GET {USER}/accesstokens/\\*/revoke")
async def revoke(t):
    token = await t.vrm.tokens.create("x")
    assert await t.vrm.tokens.revoke(token.id) == 1
    t.sim.faults.add(answered(404, '{"success":false}'), path="users/*/accesstokens/*", method="DELETE")
    assert await t.vrm.tokens.revoke(all=True) == 1


@row("11 timestamps", f"GET {SITE}/stats", f"GET {SITE}/widgets/Graph")
async def timestamps(t):
    stats = await t.vrm.stats.get(t.site, **RANGE)
    graph = await t.vrm.widgets.graph(t.site, attribute_codes=["bs"], **RANGE)
    for series in (*stats, *graph):
        assert all(RANGE["start"] <= time <= RANGE["end"] for time, _ in series)


@row("12 late data", f"GET {SITE}/stats")
async def late(t):
    history = t.vrm.stats.history(t.site, **RANGE, reread=DAY, priority=Priority.BACKGROUND)
    assert [part async for part in history]


@row("13 error envelope", f"GET {SITE}/tags")
async def envelope(t):
    with pytest.raises(AnswerError) as caught:
        await t.vrm.tags.get(1)
    assert (caught.value.error_code, caught.value.status) == ("not_found", 404)


ask("14 list of sites", f"GET {USER}/installations", lambda t: t.vrm.sites())


@row("15 list of sites, extended", f"GET {USER}/installations")
async def extended(t):
    site = await t.vrm.site(t.site, extended=True)
    assert site.tags
    assert site.timezone_offset_s is not None


@row("16 extended items", f"GET {USER}/installations")
async def items(t):
    site, *_ = await t.vrm.sites(extended=True)
    assert site.extended.get("bs").number is not None
    assert site.extended.get("consumption").id is None


ask(
    "17 connected devices",
    f"GET {SITE}/system-overview",
    lambda t: t.vrm.installations.system_overview(t.site),
)


@row("18 diagnostics", f"GET {SITE}/diagnostics")
async def diagnostics(t):
    assert [record async for record in t.vrm.installations.diagnostics(t.site)]


ask("19 tags", f"GET {SITE}/tags", lambda t: t.vrm.tags.get(t.site, "user"))
ask(
    "20 GPS tracks",
    f"GET {SITE}/gps-download",
    lambda t: t.vrm.downloads.gps(t.site, t.folder / "x.kml", **RANGE),
)

ask(
    "21 graph",
    f"GET {SITE}/widgets/Graph",
    lambda t: t.vrm.widgets.graph(t.site, attribute_codes=["bs", "bv"], min_max=True, **RANGE),
)


@row("22 state changes", *(f"GET {SITE}/widgets/{name}" for name in ("MPPTState", "VeBusState")))
async def states(t):
    for name in ("MPPTState", "VeBusState", "VeBusWarningsAndAlarms"):
        assert (await t.vrm.widgets.state(t.site, name, **RANGE)).name == name
        assert name in STATES


@row("23 summaries", *(f"GET {SITE}/widgets/{name}" for name in ("BatterySummary", "Status", "LithiumBMS")))
async def summaries(t):
    old = "BatterySummary BMSDiagnostics HistoricData IOExtenderInOut LithiumBMS MotorSummary "
    for name in (old + "PVInverterStatus SolarChargerSummary Status").split():
        assert name in SUMMARIES
    for name in ("BatterySummary", "Status", "LithiumBMS"):
        assert len(await t.vrm.widgets.summary(t.site, name))
    with pytest.raises(NoData):
        await t.vrm.widgets.summary(t.site, "BatterySummary", 999)


@row("24 other panels", *(f"GET {SITE}/widgets/{name}" for name in ("Alarm", "GPS", "HoursOfAc")))
async def panels(t):
    assert (await t.vrm.widgets.alarm(t.site)).alarms
    assert (await t.vrm.widgets.gps(t.site)).latitude_deg == pytest.approx(52.09, abs=0.01)
    assert (await t.vrm.widgets.hours_of_ac(t.site, 288)).hours is not None


@row("25 attribute catalogue", "GET data-attributes")
async def catalogue(t):
    assert len(t.vrm.catalogue) > 600
    assert await t.vrm.catalogue.refresh()


ask("26 stats", f"GET {SITE}/stats", lambda t: t.vrm.stats.get(t.site, type="kwh", **RANGE))


@row("27 intervals", f"GET {SITE}/stats")
async def intervals(t):
    assert set(INTERVALS) == {"15mins", "hours", "2hours", "days", "weeks", "months", "years"}
    with pytest.raises(ValueError, match="31 days"):
        await t.vrm.stats.get(t.site, start=START - 32 * DAY, end=START, interval="15mins")
    await t.vrm.stats.get(t.site, start=START - 31 * DAY, end=START, interval="days")


@row("28 start and end")
async def start_and_end(t):
    with pytest.raises(ValueError, match="end must be after start"):
        await t.vrm.stats.get(t.site, start=START, end=START)


@row("29 types", f"GET {SITE}/stats")
async def types(t):
    assert {"kwh", "custom", "venus", "live_feed", "forecast", "generator-runtime", "evcs"} <= set(TYPES)
    await t.vrm.stats.get(t.site, attribute_codes=["bs"], **RANGE)
    assert ("attributeCodes[]", "bs") in t.sim.requests[-1].query


@row("30 by instance", f"GET {SITE}/stats")
async def by_instance(t):
    split = await t.vrm.stats.get(t.site, attribute_codes=["bs"], show_instance=True, **RANGE)
    assert split.instances


@row("31 points of 2 and of 4", f"GET {SITE}/stats")
async def points(t):
    measured = await t.vrm.stats.get(t.site, attribute_codes=["bs"], **RANGE)
    energy = await t.vrm.stats.get(t.site, type="kwh", **RANGE)
    assert measured["bs"].maximum is not None
    assert energy["Pc"].maximum is None


@row("32 no data", f"GET {SITE}/stats")
async def no_data(t):
    long_ago = datetime(2015, 1, 1, tzinfo=UTC)
    assert len(await t.vrm.stats.get(t.site, start=long_ago, end=long_ago + DAY)) == 0


ask("33 overall stats", f"GET {SITE}/overallstats", lambda t: t.vrm.stats.overall(t.site, type="kwh"))


@row("34 data download", f"GET {SITE}/data-download")
async def download(t):
    with pytest.warns(DeprecationWarning, match="deprecated"):
        await t.vrm.downloads.data(t.site, t.folder / "x.csv", format="csv", datatype="kwh", **RANGE)


def volt(name, reach):
    @row(name)
    async def there(t):
        found = VoltStorageClient(t.pool, email="e@x.org", password="p", base_url=t.sim.voltstorage_url)
        assert reach(found)


volt("35 VoltStorage, base", lambda v: v)
volt("36 VoltStorage, login", lambda v: callable(v.auth.login))
volt("37 VoltStorage, products", lambda v: callable(v.products.list))
volt("38 VoltStorage, events", lambda v: callable(v.events) and callable(v.live))
volt("39 VoltStorage, latest", lambda v: callable(v.products.latest))
volt("40 VoltStorage, statistics", lambda v: callable(v.products.statistics))
volt("41 VoltStorage, export", lambda v: callable(v.export.rows))
volt("42 VoltStorage, errors", lambda v: v.drift is not None)

ask("2 users/me", "GET users/me", lambda t: t.vrm.users.me())
ask("2 addsite", f"POST {USER}/addsite", lambda t: t.vrm.users.add_site("c0619ab10001"))
ask("2 get-site-id", f"POST {USER}/get-site-id", lambda t: t.vrm.users.site_id("c0619ab10001"))
ask("2 search", f"GET {USER}/search", lambda t: t.vrm.users.search("elm"))
ask("2 invites", f"GET {USER}/invites", lambda t: t.vrm.users.invites())


@row("2 accesstokens", f"GET {USER}/accesstokens", f"DELETE {USER}/accesstokens/\\*")
async def accesstokens(t):
    t.sim.faults.add(answered(404, '{"success":false}'), path="users/*/accesstokens/list")
    await t.vrm.tokens.list()
    await t.vrm.tokens.revoke(all=True)


@row("2 alarms", *(f"{method} {SITE}/alarms" for method in ("GET", "POST", "PUT", "DELETE")))
async def alarms(t):
    known = await t.vrm.alarms.rules(t.site)
    state = next(one for one in known.attributes if one.data_type == "enum")
    number = next(one for one in known.attributes if one.code == "bv")
    for rule in (
        Alarm(attribute_id=state.id, enum_values=tuple(state.enum)),
        Alarm(attribute_id=number.id, low=46.0, low_hysteresis=0.5),
    ):
        await t.vrm.alarms.add(t.site, rule)
        await t.vrm.alarms.update(t.site, rule)
        found = (await t.vrm.alarms.rules(t.site)).find(rule.attribute_id)
        assert (found.enum_values, found.low) == (rule.enum_values, rule.low)
        await t.vrm.alarms.delete(t.site, rule.attribute_id)


ask("2 clear-alarm", f"POST {SITE}/clear-alarm", lambda t: t.vrm.alarms.clear(t.site, 5))


@row("2 dynamic-ess-settings", *(f"{method} {SITE}/dynamic-ess-settings" for method in ("GET", "POST")))
async def dynamic_ess(t):
    with pytest.raises(NoData):
        await t.vrm.dynamic_ess.get(t.site)
    await t.vrm.dynamic_ess.save(t.site, PRICES)
    await t.vrm.dynamic_ess.change(t.site, DynamicEssSettings(mode=4))
    found = await t.vrm.dynamic_ess.get(t.site)
    assert (found.mode, found.buy_price_formula, found.grid_sell) == (4, "1.21*p+0.04", False)


@row("2 reset-forecasts", *(f"{method} {SITE}/reset-forecasts" for method in ("GET", "POST")))
async def reset_forecasts(t):
    with pytest.raises(BadRequest, match="resetType"):
        await t.vrm.forecasts.last_reset(t.site)
    assert await t.vrm.forecasts.last_reset(t.site, reset_type=0) is None
    await t.vrm.forecasts.reset(t.site, 0)
    assert await t.vrm.forecasts.last_reset(t.site, reset_type=0) is not None


@row("2 tags, written", f"PUT {SITE}/tags", f"DELETE {SITE}/tags")
async def tags(t):
    await t.vrm.tags.add(t.site, "x y")
    assert "x y" in await t.vrm.tags.get(t.site)
    await t.vrm.tags.remove(t.site, "x y")
    assert "x y" not in await t.vrm.tags.get(t.site)


@row("2 custom-widget", *(f"{method} {SITE}/custom-widget" for method in ("GET", "POST", "PATCH", "DELETE")))
async def custom_widget(t):
    number = await t.vrm.custom_widgets.create(t.site, "W", {"a": 1}, only_admins=True)
    await t.vrm.custom_widgets.update(t.site, number, name="V")
    found = await t.vrm.custom_widgets.get(t.site, number)
    assert (found.name, found.only_admins, found.parameters) == ("V", True, {"a": 1})
    await t.vrm.custom_widgets.delete(t.site, number)


@row("2 settings", f"POST {SITE}/settings")
async def settings(t):
    await t.vrm.installations.update_settings(t.site, name="New", geofence={"id": 1}, alarm_monitoring=2)
    site = await t.vrm.site(t.site)
    assert (site.name, site.geofence, site.alarm_monitoring) == ("New", {"id": 1}, 2)


@row("2 favorite", f"POST {SITE}/favorite")
async def favorite(t):
    await t.vrm.installations.set_favorite(t.site)
    assert (await t.vrm.sites())[0].favorite is True


@row("2 invite", f"POST {SITE}/invite")
async def invite(t):
    await t.vrm.access.invite(t.site, name="Jo", email="jo@example.com", access_level=0)
    assert (await t.vrm.access.users(t.site)).invites[0].email == "jo@example.com"


ask("2 users of a site", f"GET {SITE}/users", lambda t: t.vrm.access.users(t.site))


@row(
    "2 rights",
    *(f"POST {SITE}/{last}" for last in ("unlink-user", "unlink", "user-rights", "invite-rights")),
    *(f"POST {SITE}/{last}" for last in ("link-user-groups", "user-group-access-level")),
)
async def rights(t):
    await t.vrm.access.invite(t.site, name="Jo", email="jo@example.com", access_level=0)
    await t.vrm.access.set_invite_rights(t.site, {"jo@example.com": 2})
    await t.vrm.access.set_user_rights(t.site, {1077: 1})
    await t.vrm.access.link_user_groups(t.site, {40: 0})
    await t.vrm.access.set_user_group(t.site, 40, 1)
    await t.vrm.access.set_user_group(t.site, 31, None)
    found = await t.vrm.access.users(t.site)
    assert found.invites[0].access_level == 2
    assert {user.id: user.access_level for user in found.users}[1077] == 1
    assert {group.id: group.access_level for group in found.user_groups} == {40: 1}
    await t.vrm.access.unlink_user(t.site, 1077)
    assert 1077 not in {user.id for user in (await t.vrm.access.users(t.site)).users}
    await t.vrm.access.leave(t.site)
    with pytest.raises(PermissionDenied):
        await t.vrm.access.users(t.site)


@row("2 installation-overview-download", "POST installation-overview-download")
async def overview(t):
    assert len(await t.vrm.fleet.overview([t.site], columns={})) == 1
    await t.vrm.downloads.overview(t.folder / "x.xlsx", [t.site])


@row("2 installation-data-attributes", "GET installation-data-attributes")
async def fleet(t):
    found = t.vrm.fleet.find(["bs>=0", "bv!"])
    sites = await found
    assert [site.site_id for site in sites] == list(t.sim.site_ids)
    assert all(site.values.keys() == {"bs", "bv"} for site in sites)
    assert {one.unit for one in found.attributes} == {"%", "V"}
    assert len(await t.vrm.fleet.find("bs<0")) == 0


ask("2 data-attributes", "GET data-attributes", lambda t: t.vrm.catalogue.refresh())


@row("2 stats of the forecast", f"GET {SITE}/stats")
async def forecast(t):
    found = await t.vrm.stats.get(t.site, type="forecast", start=START, end=START + DAY)
    assert found["solar_yield_forecast"].unit == "Wh"


@row(
    "2 further panels",
    f"GET {SITE}/widgets/BatteryMonitorWarningsAndAlarms",
    f"GET {SITE}/widgets/TankSummary",
)
async def further_panels(t):
    new = "GeneratorState InputState InverterState ChargerState EssBatteryLifeState FuelCellState "
    new += "BatteryExternalRelayState BatteryRelayState BatteryMonitorWarningsAndAlarms GatewayRelayState "
    new += "GatewayRelayTwoState ChargerRelayState SolarChargerRelayState InverterChargerState "
    assert set((new + "InverterChargerWarningsAndAlarms").split()) <= set(STATES)
    new = "DCMeter EvChargerSummary MeteorologicalSensor MeteorologicalSensorOverview GlobalLinkSummary "
    assert set((new + "TankSummary TempSummaryAndGraph TempAirQuality").split()) <= set(SUMMARIES)
    await t.vrm.widgets.state(t.site, "BatteryMonitorWarningsAndAlarms")
    await t.vrm.widgets.summary(t.site, "TankSummary", 20)
    await t.vrm.widgets.get(t.site, "TankSummary")


@row("2 administrators' paths", "GET admin/.+", "GET firmwares", "POST systems/add-system")
async def admin(t):
    for path in ("devices", "installation-data-attributes-count", "search-download"):
        with pytest.raises(PermissionDenied):
            await t.vrm.request("GET", f"admin/{path}")
    await t.vrm.request(
        "GET", "firmwares", query={"feedChannel": "release", "victronConnectVersion": "6.0.0"}
    )
    with pytest.raises(PermissionDenied):
        await t.vrm.request("POST", "systems/add-system", json={"description": "x", "devices": []})


@row("2 deprecated", "GET auth/loginAsDemo", f"GET {SITE}/data-download")
async def deprecated(t):
    with pytest.warns(DeprecationWarning, match="deprecated"):
        await t.another(demo=True).auth.login()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        await t.vrm.downloads.data_by_mail(t.site, **RANGE)


@row(
    "2 undocumented",
    *(f"GET {SITE}/{last}" for last in ("schedule-dynamic-ess", "alarm-log")),
    f"POST {SITE}/adjust-consumption",
)
async def undocumented(t):
    await t.vrm.dynamic_ess.save(t.site, PRICES)
    assert (await t.vrm.dynamic_ess.plan(t.site)).entries
    assert await t.vrm.alarms.log(t.site, START - 30 * DAY, START)
    await t.vrm.forecasts.adjust_consumption(t.site, household={START: 500.0}, ev_chargers={START: None})


@row("2 real time", f"GET {USER}/installations")
async def real_time(t):
    site, *_ = await t.vrm.sites(extended=True)
    assert site.mqtt_host
    assert site.mqtt_webhost


@pytest.mark.parametrize("name", ROWS)
async def test_a_capability(setup, name):
    """The calls succeed, and the requests of the row arrive."""
    reach, requests = ROWS[name]
    await reach(setup)
    seen = [(entry.method, entry.path) for entry in setup.sim.requests]
    missing = [
        (method, path)
        for method, path in requests
        if not any(method == one and re.fullmatch(path, there) for one, there in seen)
    ]
    assert missing == []


def test_every_row_is_there():
    """Rows 1 to 42, and those of the newer OpenAPI document."""
    first = [name.partition(" ")[0] for name in ROWS if not name.startswith("2 ") or name == "2 rate limit"]
    assert first == [str(number) for number in range(1, 43)]
    assert len(ROWS) - len(first) == 26

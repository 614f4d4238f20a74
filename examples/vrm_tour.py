"""Call every method of the VRM client once and print a line for each answer.

It changes and deletes data, so it runs against a simulator only: `energy-live simulate` prints the two
variables that it needs.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from os import environ
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from attrs import evolve

from energy_core import EnergyError, SessionPool
from energy_core.errors import TwoFactorRequired
from vrm_async import VRMClient
from vrm_async.models import Alarm, DynamicEssSettings, PriceSchedule, PriceSpan

URL = environ.get("VRM_BASE_URL", "https://vrmapi.victronenergy.com/v2/")
HOUR = timedelta(hours=1)
NOON = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # noqa: TID251  (an example has no clock)
YESTERDAY, TOMORROW = NOON - 24 * HOUR, NOON + 24 * HOUR
FIXED = (PriceSchedule(days=tuple(range(7)), spans=(PriceSpan(start="00:00", end="00:00", price=0.28),)),)
PRICES = DynamicEssSettings(
    is_on=True,
    battery_capacity_kwh=9.6,
    battery_costs=0.03,
    battery_flow_restriction="unrestricted",
    charge_power_kw=3.6,
    discharge_power_kw=3.6,
    max_from_grid_kw=6.0,
    max_to_grid_kw=6.0,
    grid_sell=True,
    buy_price_type=0,
    buy_price_schedule=FIXED,
    sell_price_type=1,
    sell_price_formula="0.9*p-0.02",
)
Calls = dict[str, Callable[[], Awaitable[object]]]


async def every(records: AsyncIterable[object]) -> list[object]:
    """Read an async iterator to its end."""
    return [record async for record in records]


def read_calls(vrm: VRMClient, site: int, identifier: str) -> Calls:
    """Return the calls that change nothing."""
    return {
        "users.me": vrm.users.me,
        "sites": lambda: vrm.sites(extended=True),
        "users.search": lambda: vrm.users.search(str(site)),
        "users.site_id": lambda: vrm.users.site_id(identifier),
        "users.invites": vrm.users.invites,
        "tokens.list": vrm.tokens.list,
        "installations.system_overview": lambda: vrm.installations.system_overview(site),
        "installations.diagnostics": lambda: vrm.installations.diagnostics(site),
        "stats.get": lambda: vrm.stats.get(site, type="kwh", start=YESTERDAY, end=NOON),
        "stats.get (forecast)": lambda: vrm.stats.get(site, type="forecast", start=NOON, end=TOMORROW),
        "stats.history": lambda: every(vrm.stats.history(site, start=NOON - 960 * HOUR, end=NOON)),
        "stats.overall": lambda: vrm.stats.overall(site),
        "widgets.graph": lambda: vrm.widgets.graph(site, attribute_codes=["bs"], start=YESTERDAY, end=NOON),
        "widgets.state": lambda: vrm.widgets.state(site, "VeBusState", start=YESTERDAY),
        "widgets.summary": lambda: vrm.widgets.summary(site, "BatterySummary"),
        "widgets.graph_history": lambda: every(
            vrm.widgets.graph_history(site, attribute_codes=["bs"], start=YESTERDAY, end=NOON)
        ),
        "widgets.state_history": lambda: every(
            vrm.widgets.state_history(site, "VeBusState", start=YESTERDAY, end=NOON)
        ),
        "widgets.gps": lambda: vrm.widgets.gps(site),
        "widgets.hours_of_ac": lambda: vrm.widgets.hours_of_ac(site),
        "widgets.alarm": lambda: vrm.widgets.alarm(site),
        "widgets.get": lambda: vrm.widgets.get(site, "TankSummary"),
        "alarms.active": lambda: vrm.alarms.active(site),
        "alarms.rules": lambda: vrm.alarms.rules(site),
        "alarms.log": lambda: vrm.alarms.log(site, NOON - 240 * HOUR, NOON),
        "tags.get": lambda: vrm.tags.get(site),
        "access.users": lambda: vrm.access.users(site),
        "forecasts.last_reset": lambda: vrm.forecasts.last_reset(site, reset_type=0),
        "fleet.find": lambda: vrm.fleet.find(["bs>=0", "bv!"]),
        "fleet.overview": lambda: vrm.fleet.overview([site]),
        "catalogue.refresh": vrm.catalogue.refresh,
        "request (firmwares)": lambda: vrm.request(
            "GET", "firmwares", query={"feedChannel": "release", "victronConnectVersion": "6.0.0"}
        ),
        "request (admin/devices)": lambda: vrm.request("GET", "admin/devices"),
    }


def save_calls(vrm: VRMClient, site: int, folder: Path) -> Calls:
    """Return the calls that write files."""
    save = vrm.downloads
    return {
        "downloads.data": lambda: save.data(site, folder / "day.csv", start=YESTERDAY, end=NOON),
        "downloads.data_by_mail": lambda: save.data_by_mail(site, start=YESTERDAY, end=NOON),
        "downloads.gps": lambda: save.gps(site, folder / "day.kml", start=YESTERDAY, end=NOON),
        "downloads.overview": lambda: save.overview(folder / "sites.xlsx", [site]),
    }


async def write_calls(vrm: VRMClient, site: int, identifier: str) -> Calls:
    """Return the calls that change data, in an order that undoes most changes."""
    known = await vrm.alarms.rules(site)
    rule = Alarm(attribute_id=next(one.id for one in known.attributes if one.code == "bv"), high=56.0)
    token = await vrm.tokens.create("tour, first")
    widget = await vrm.custom_widgets.create(site, "First", {"codes": ["bs"]})
    return {
        "users.add_site": lambda: vrm.users.add_site(identifier),
        "tokens.create": lambda: vrm.tokens.create("tour, second"),
        "tokens.revoke": lambda: vrm.tokens.revoke(token.id),
        "installations.set_favorite": lambda: vrm.installations.set_favorite(site),
        "installations.update_settings": lambda: vrm.installations.update_settings(site, notes="Key at 14"),
        "alarms.add": lambda: vrm.alarms.add(site, rule),
        "alarms.update": lambda: vrm.alarms.update(site, evolve(rule, high=57.5, notify_after_s=60)),
        "alarms.delete": lambda: vrm.alarms.delete(site, rule.attribute_id),
        "alarms.clear": lambda: vrm.alarms.clear(site, 1),
        "tags.add": lambda: vrm.tags.add(site, "tour"),
        "tags.remove": lambda: vrm.tags.remove(site, "tour"),
        "dynamic_ess.save": lambda: vrm.dynamic_ess.save(site, PRICES),
        "dynamic_ess.change": lambda: vrm.dynamic_ess.change(site, DynamicEssSettings(operating_mode=1)),
        "dynamic_ess.get": lambda: vrm.dynamic_ess.get(site),
        "dynamic_ess.plan": lambda: vrm.dynamic_ess.plan(site),
        "forecasts.adjust_consumption": lambda: vrm.forecasts.adjust_consumption(
            site, ev_chargers={NOON + 5 * HOUR: 7400.0, NOON + 6 * HOUR: None}
        ),
        "forecasts.reset": lambda: vrm.forecasts.reset(site, 0),
        "custom_widgets.create": lambda: vrm.custom_widgets.create(site, "Tour", {"codes": ["bs"]}),
        "custom_widgets.get": lambda: vrm.custom_widgets.get(site, widget or 0),
        "custom_widgets.update": lambda: vrm.custom_widgets.update(site, widget or 0, name="Tour's end"),
        "custom_widgets.delete": lambda: vrm.custom_widgets.delete(site, widget or 0),
        "access.invite": lambda: vrm.access.invite(site, name="Jo", email="jo@example.com", access_level=0),
        "access.set_invite_rights": lambda: vrm.access.set_invite_rights(site, {"jo@example.com": 2}),
        "access.set_user_rights": lambda: vrm.access.set_user_rights(site, {1077: 2}),
        "access.unlink_user": lambda: vrm.access.unlink_user(site, 1077),
        "access.link_user_groups": lambda: vrm.access.link_user_groups(site, {31: 0}),
        "access.set_user_group": lambda: vrm.access.set_user_group(site, 31, None),
        "access.leave": lambda: vrm.access.leave(site),
    }


def login_calls(pool: SessionPool) -> Calls:
    """Return the calls that log in and out; VRM retires them in favour of access tokens."""
    demo = VRMClient(pool, demo=True, base_url=URL)
    calls: Calls = {"auth.login (demo)": demo.auth.login, "auth.logout": demo.auth.logout}
    if "VRM_USERNAME" in environ:
        anna = VRMClient(
            pool, username=environ["VRM_USERNAME"], password=environ["VRM_PASSWORD"], base_url=URL
        )
        calls = {"auth.login": anna.auth.login, **calls}
    return calls


async def run(calls: Calls) -> None:
    """Make the calls one after the other and print answers and errors."""
    for name, ask in calls.items():
        try:
            answer = repr(await ask())
        except TwoFactorRequired as error:
            answer = f"needs a one-time code: {error}"
        except EnergyError as error:
            answer = f"{type(error).__name__}: {error}"
        print(f"{name:<30} {' '.join(answer.split())[:90]}")


async def main() -> None:
    """Read data of the first site, change data of the last one."""
    if urlsplit(URL).hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise SystemExit("the tour changes data: set VRM_BASE_URL to a simulator (energy-live simulate)")
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token=environ["VRM_TOKEN"], base_url=URL)
        first, *_, last = await vrm.sites()
        await run(read_calls(vrm, first.id, first.identifier or ""))
        with TemporaryDirectory() as folder:
            await run(save_calls(vrm, first.id, Path(folder)))
        await run(await write_calls(vrm, last.id, last.identifier or ""))
        await run(login_calls(pool))
        print(f"drift: {vrm.drift.report() or 'none'}")


asyncio.run(main())

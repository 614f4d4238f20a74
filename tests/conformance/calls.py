"""At least one call of every operation of `vrm_async`."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen

from energy_core.http.operation import Operation
from vrm_async import VRMClient
from vrm_async.models import Alarm, DynamicEssSettings, PriceSchedule, PriceSpan
from vrm_async.resources.stats import INTERVALS, TYPES
from vrm_async.resources.widgets import STATES, SUMMARIES

SITE = 151734
START = datetime(2026, 6, 1, tzinfo=UTC)
RANGE = {"start": START, "end": START + timedelta(days=1)}
PRICES = (PriceSchedule(days=(0, 6), spans=(PriceSpan(start="00:00", end="23:59", price=0.25),)),)
SETTINGS = DynamicEssSettings(
    is_on=True,
    battery_capacity_kwh=9.6,
    battery_costs=0.03,
    battery_price=4000.0,
    battery_flow_restriction="noExport",
    charge_power_kw=3.6,
    discharge_power_kw=3.6,
    max_from_grid_kw=6.0,
    max_to_grid_kw=6.0,
    grid_sell=True,
    buy_price_type=1,
    buy_price_formula="1.21*p+0.04",
    buy_price_schedule=PRICES,
    sell_price_type=0,
    sell_price_formula="p",
    sell_price_schedule=PRICES,
    bidding_zone_id=7,
    is_green_mode_on=False,
    is_soc_different=False,
    is_periodic_full_charge_on=True,
    periodic_full_charge_duration_h=2,
    periodic_full_charge_interval_days=14,
)

Run = Callable[[VRMClient, Path], Awaitable[object]]


@frozen
class Call:
    """One call: the operation, a label, and the function that makes it."""

    operation: str
    variant: str
    run: Run
    login: bool = False
    """Whether it needs a client with a login."""

    @property
    def name(self) -> str:
        return f"{self.operation}, {self.variant}" if self.variant else self.operation


CALLS: list[Call] = []


def call(operation: str, run: Run, variant: str = "", *, login: bool = False) -> None:
    CALLS.append(Call(operation, variant, run, login))


async def _logged_out(vrm: VRMClient, _: Path) -> None:
    await vrm.auth.login()
    await vrm.auth.logout()


async def _all(parts: AsyncIterable[object]) -> object:
    return [part async for part in parts]


async def _found(vrm: VRMClient, _: Path) -> object:
    sites = vrm.fleet.find(["bs>=50", "au=(1,2)", "IV1!"])
    return [*await sites, *sites.attributes]


async def _listed(vrm: VRMClient, _: Path) -> object:
    return [record async for record in vrm.installations.diagnostics(SITE, page_size=100)]


def _quietly(run: Run) -> Run:
    """Make a deprecated call."""

    async def quiet(vrm: VRMClient, folder: Path) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return await run(vrm, folder)

    return quiet


call("auth.login", lambda v, _: v.auth.login(), login=True)
call("auth.login", lambda v, _: v.auth.login(sms_token="123456", remember_me=True), "with a code", login=True)
call("auth.login_as_demo", lambda v, _: v.auth.login(), login=True)
call("auth.logout", _logged_out, login=True)

call("users.me", lambda v, _: v.users.me())
call("sites", lambda v, _: v.sites(user_id=22))
call("sites", lambda v, _: v.sites(extended=True, user_id=22), "extended")
call("sites", lambda v, _: v.site(SITE, user_id=22), "one site")
call("users.add_site", lambda v, _: v.users.add_site("c0619ab10001"))
call("users.site_id", lambda v, _: v.users.site_id("c0619ab10001"))
call("users.search", lambda v, _: v.users.search("elm"))
call("users.invites", lambda v, _: v.users.invites())

call("tokens.create", lambda v, _: v.tokens.create("laptop", expires=START))
call("tokens.list", lambda v, _: v.tokens.list())
call("tokens.revoke", lambda v, _: v.tokens.revoke(123))
call("tokens.revoke", lambda v, _: v.tokens.revoke(all=True), "all")

call("installations.system_overview", lambda v, _: v.installations.system_overview(SITE))
call("installations.diagnostics", _listed)
call("installations.set_favorite", lambda v, _: v.installations.set_favorite(SITE))
call("installations.set_favorite", lambda v, _: v.installations.set_favorite(SITE, False), "no more")
call(
    "installations.update_settings",
    lambda v, _: v.installations.update_settings(
        SITE,
        name="Home",
        notes="",
        phone_number="+31 20 000 0000",
        no_data_alarm_timeout_s=3600,
        no_data_alarm_active=True,
        geofence={"id": "geofence", "type": "circle", "lat": 52.1, "lng": 5.1, "radius": 100},
        geofence_enabled=True,
        alarm_monitoring=1,
        realtime_updates=True,
        restrict_node_red=False,
        inverter_charger_control=False,
        raw={"favorite": 1},
    ),
)

call(
    "installations.update_settings",
    lambda v, _: v.installations.update_settings(SITE, alarm_monitoring=2),
    "warnings",
)

call("alarms.rules", lambda v, _: v.alarms.rules(SITE))
for _verb in ("add", "update"):
    for _variant, _rule in {
        "above": Alarm(attribute_id=143, instance=256, high=30.5, high_hysteresis=0.5, notify_after_s=60),
        "below": Alarm(attribute_id=143, instance=256, low=-1, low_hysteresis=0.5, enabled=False),
        "states": Alarm(attribute_id=40, enum_values=(2, 9), notify_after_s=60),
    }.items():
        call(
            f"alarms.{_verb}",
            lambda v, _, verb=_verb, rule=_rule: getattr(v.alarms, verb)(SITE, rule),
            _variant,
        )
call("alarms.delete", lambda v, _: v.alarms.delete(SITE, 143, 256))
call("alarms.clear", lambda v, _: v.alarms.clear(SITE, 630))
call("alarms.log", lambda v, _: v.alarms.log(SITE, **RANGE))

call("tags.get", lambda v, _: v.tags.get(SITE))
for _source in ("user", "team", "group", "predefined"):
    call("tags.get", lambda v, _, source=_source: v.tags.get(SITE, source), _source)
call("tags.add", lambda v, _: v.tags.add(SITE, "boat"))
call("tags.remove", lambda v, _: v.tags.remove(SITE, "boat"))

call("access.users", lambda v, _: v.access.users(SITE))
call("access.invite", lambda v, _: v.access.invite(SITE, name="Jo", email="jo@example.com", access_level=0))
call("access.set_invite_rights", lambda v, _: v.access.set_invite_rights(SITE, {"jo@example.com": 2}))
call("access.set_user_rights", lambda v, _: v.access.set_user_rights(SITE, {1077: 1, 1078: 0}))
call("access.unlink_user", lambda v, _: v.access.unlink_user(SITE, 1077))
call("access.leave", lambda v, _: v.access.leave(SITE))
call("access.link_user_groups", lambda v, _: v.access.link_user_groups(SITE, {40: 0, 41: 2}))
call("access.set_user_group", lambda v, _: v.access.set_user_group(SITE, 40, 1))
call("access.set_user_group", lambda v, _: v.access.set_user_group(SITE, 40, None), "unlinked")

call("dynamic_ess.get", lambda v, _: v.dynamic_ess.get(SITE))
call("dynamic_ess.save", lambda v, _: v.dynamic_ess.save(SITE, SETTINGS))
call("dynamic_ess.change", lambda v, _: v.dynamic_ess.change(SITE, DynamicEssSettings(mode=4)))
call("dynamic_ess.plan", lambda v, _: v.dynamic_ess.plan(SITE))

call("forecasts.last_reset", lambda v, _: v.forecasts.last_reset(SITE))
call("forecasts.last_reset", lambda v, _: v.forecasts.last_reset(SITE, reset_type=0), "of a type")
call("forecasts.reset", lambda v, _: v.forecasts.reset(SITE, 0))
call(
    "forecasts.adjust_consumption",
    lambda v, _: v.forecasts.adjust_consumption(
        SITE, household={START: 500.0}, ev_chargers={START: None}, heat_pumps={START: 0.0}
    ),
)

call("custom_widgets.get", lambda v, _: v.custom_widgets.get(SITE, 123))
call(
    "custom_widgets.create",
    lambda v, _: v.custom_widgets.create(SITE, "Panel", {"a": 1}, only_admins=True, y_axis_scaling=0),
)
call(
    "custom_widgets.update",
    lambda v, _: v.custom_widgets.update(
        SITE, 123, name="Panel", parameters={"a": 1}, only_admins=False, y_axis_scaling=1
    ),
)
call("custom_widgets.update", lambda v, _: v.custom_widgets.update(SITE, 123, name="Panel"), "one member")
call("custom_widgets.delete", lambda v, _: v.custom_widgets.delete(SITE, 123))

call("catalogue.refresh", lambda v, _: v.catalogue.refresh())
call("fleet.find", _found)
call("fleet.overview", lambda v, _: v.fleet.overview([SITE]))
call("fleet.overview", lambda v, _: v.fleet.overview(), "of all")
call(
    "fleet.overview",
    lambda v, _: v.fleet.overview([SITE], columns={"bs": {"header": "SoC", "enabled": True}}),
    "columns",
)

call("downloads.overview", lambda v, folder: v.downloads.overview(folder / "sites.xlsx", [SITE]))
call("downloads.overview", lambda v, folder: v.downloads.overview(folder / "sites.xlsx"), "of all")
call("downloads.gps", lambda v, folder: v.downloads.gps(SITE, folder / "track.kml", **RANGE))
for _format in ("csv", "xls", "xlsx", "excelxml", "html"):
    call(
        "downloads.data",
        _quietly(
            lambda v, folder, form=_format: v.downloads.data(SITE, folder / "data", format=form, **RANGE)
        ),
        _format,
    )
for _type in ("kwh", "benchmark"):
    call(
        "downloads.data",
        _quietly(
            lambda v, folder, datatype=_type: v.downloads.data(
                SITE, folder / "data", datatype=datatype, debug=True, **RANGE
            )
        ),
        _type,
    )
call("downloads.data_by_mail", _quietly(lambda v, _: v.downloads.data_by_mail(SITE, **RANGE)))

for _type in TYPES:
    if _type != "custom":
        call("stats.get", lambda v, _, kind=_type: v.stats.get(SITE, type=kind, **RANGE), _type)
for _interval in INTERVALS:
    call("stats.get", lambda v, _, step=_interval: v.stats.get(SITE, interval=step, **RANGE), _interval)
call("stats.get", lambda v, _: v.stats.get(SITE, attribute_codes=["bs", "bv"], **RANGE), "codes")
call("stats.get", lambda v, _: v.stats.get(SITE, show_instance=True, **RANGE), "by instance")
call(
    "stats.get",
    lambda v, _: _all(v.stats.history(SITE, **RANGE, interval="hours", timezone="Europe/Amsterdam")),
    "history",
)
call("stats.overall", lambda v, _: v.stats.overall(SITE))
call("stats.overall", lambda v, _: v.stats.overall(SITE, type="kwh"), "kwh")
call("stats.overall", lambda v, _: v.stats.overall(SITE, attribute_codes=["Pb", "Bc"]), "codes")

for _name in STATES:
    call("widgets", lambda v, _, name=_name: v.widgets.state(SITE, name, 0, **RANGE), _name)
for _name in SUMMARIES:
    call("widgets", lambda v, _, name=_name: v.widgets.summary(SITE, name, 0), _name)
call("widgets", lambda v, _: v.widgets.graph(SITE, attribute_codes=["bs", "bv"], **RANGE), "Graph")
call(
    "widgets",
    lambda v, _: v.widgets.graph(
        SITE, attribute_ids=[143, 144], min_max=True, width=500, points_per_pixel=1, **RANGE
    ),
    "Graph, by ids",
)
call(
    "widgets",
    lambda v, _: _all(v.widgets.graph_history(SITE, attribute_codes=["bs"], **RANGE)),
    "history of a graph",
)
call(
    "widgets", lambda v, _: _all(v.widgets.state_history(SITE, "VeBusState", 0, **RANGE)), "history of states"
)
call("widgets", lambda v, _: v.widgets.gps(SITE, 0), "GPS")
call("widgets", lambda v, _: v.widgets.hours_of_ac(SITE, 0), "HoursOfAc")
call("widgets", lambda v, _: v.widgets.alarm(SITE), "Alarm")
call("widgets", lambda v, _: v.widgets.get(SITE, "TankSummary", 20), "any")


def declared() -> Iterator[Operation]:
    """All operations that the modules of `vrm_async` declare."""
    import importlib  # noqa: PLC0415
    import pkgutil  # noqa: PLC0415

    import vrm_async  # noqa: PLC0415

    seen = set()
    for module in pkgutil.walk_packages(vrm_async.__path__, "vrm_async."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Operation) and id(value) not in seen:
                seen.add(id(value))
                yield value

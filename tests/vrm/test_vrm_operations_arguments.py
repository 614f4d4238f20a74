"""A wrong argument of any operation is named at once, and nothing is sent."""

from datetime import UTC, datetime

import pytest
from attrs import evolve

from vrm_async import Unlisted, operations
from vrm_async.models import Alarm, DynamicEssSettings

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULE = Alarm(attribute_id=143, low=46.0)
PRICES = DynamicEssSettings(is_on=True)


@pytest.fixture(autouse=True)
def nothing_is_sent(mocked):
    """A wrong argument never leaves the machine."""
    yield
    assert mocked.requests == {}


HOSTILE_IDS = [
    (-1, ValueError),
    (True, TypeError),
    (1.5, TypeError),
    ("1", TypeError),
    ("../admin", TypeError),
    ("1\r\nX: y", TypeError),
    ("https://example.com/", TypeError),
    (None, TypeError),
]
OF_A_SITE = {
    "installations.set_favorite": lambda v, i: v.installations.set_favorite(i),
    "installations.update_settings": lambda v, i: v.installations.update_settings(i, notes="x"),
    "alarms.rules": lambda v, i: v.alarms.rules(i),
    "alarms.add": lambda v, i: v.alarms.add(i, RULE),
    "alarms.update": lambda v, i: v.alarms.update(i, RULE),
    "alarms.delete": lambda v, i: v.alarms.delete(i, 1),
    "alarms.clear": lambda v, i: v.alarms.clear(i, 1),
    "alarms.log": lambda v, i: v.alarms.log(i),
    "tags.get": lambda v, i: v.tags.get(i),
    "tags.add": lambda v, i: v.tags.add(i, "x"),
    "tags.remove": lambda v, i: v.tags.remove(i, "x"),
    "access.users": lambda v, i: v.access.users(i),
    "access.invite": lambda v, i: v.access.invite(i, name="x", email="x", access_level=0),
    "access.set_invite_rights": lambda v, i: v.access.set_invite_rights(i, {"x": 0}),
    "access.set_user_rights": lambda v, i: v.access.set_user_rights(i, {1: 0}),
    "access.unlink_user": lambda v, i: v.access.unlink_user(i, 1),
    "access.leave": lambda v, i: v.access.leave(i),
    "access.link_user_groups": lambda v, i: v.access.link_user_groups(i, {1: 0}),
    "access.set_user_group": lambda v, i: v.access.set_user_group(i, 1, 0),
    "dynamic_ess.get": lambda v, i: v.dynamic_ess.get(i),
    "dynamic_ess.save": lambda v, i: v.dynamic_ess.save(i, PRICES),
    "dynamic_ess.change": lambda v, i: v.dynamic_ess.change(i, PRICES),
    "dynamic_ess.plan": lambda v, i: v.dynamic_ess.plan(i),
    "forecasts.last_reset": lambda v, i: v.forecasts.last_reset(i),
    "forecasts.reset": lambda v, i: v.forecasts.reset(i, 0),
    "forecasts.adjust": lambda v, i: v.forecasts.adjust_consumption(i, household={HOUR: 1.0}),
    "custom_widgets.get": lambda v, i: v.custom_widgets.get(i, 1),
    "custom_widgets.create": lambda v, i: v.custom_widgets.create(i, "x", {}),
    "custom_widgets.update": lambda v, i: v.custom_widgets.update(i, 1, name="x"),
    "custom_widgets.delete": lambda v, i: v.custom_widgets.delete(i, 1),
    "widgets.get": lambda v, i: v.widgets.get(i, "Status"),
    "widgets.gps": lambda v, i: v.widgets.gps(i),
    "widgets.hours_of_ac": lambda v, i: v.widgets.hours_of_ac(i),
    "widgets.alarm": lambda v, i: v.widgets.alarm(i),
}


@pytest.mark.parametrize("name", OF_A_SITE)
async def test_a_hostile_site_id_is_refused(vrm, name):
    """Every method of a site names `site`, whatever is passed for one."""
    for wrong, expected in HOSTILE_IDS:
        with pytest.raises(expected, match="site"):
            await OF_A_SITE[name](vrm, wrong)


OTHER_IDS = {
    "attribute_id": lambda v, i: v.alarms.delete(1, i),
    "instance": lambda v, i: v.alarms.delete(1, 1, i),
    "attribute_id ": lambda v, i: v.alarms.add(1, evolve(RULE, attribute_id=i)),
    "instance ": lambda v, i: v.alarms.add(1, evolve(RULE, instance=i)),
    "alarm_id": lambda v, i: v.alarms.clear(1, i),
    "user_id": lambda v, i: v.access.unlink_user(1, i),
    "user_id ": lambda v, i: v.access.set_user_rights(1, {i: 0}),
    "user_group_id": lambda v, i: v.access.set_user_group(1, i, 0),
    "user_group_id ": lambda v, i: v.access.link_user_groups(1, {i: 0}),
    "widget_id": lambda v, i: v.custom_widgets.get(1, i),
    "widget_id ": lambda v, i: v.custom_widgets.delete(1, i),
    "reset_type": lambda v, i: v.forecasts.reset(1, i),
    "sites": lambda v, i: v.fleet.overview([i]),
    "attribute_ids": lambda v, i: v.widgets.graph(1, attribute_ids=[i]),
    "width": lambda v, i: v.widgets.graph(1, attribute_codes=["bs"], width=i),
    "page": lambda v, i: v.fleet.find("bs", page=i),
    "page_size": lambda v, i: v.fleet.find("bs", page_size=i),
}


@pytest.mark.parametrize("name", OTHER_IDS)
async def test_any_other_hostile_number_is_refused(vrm, name):
    """The argument is named."""
    for wrong, expected in HOSTILE_IDS[:-1]:
        with pytest.raises(expected, match=name.strip()):
            await OTHER_IDS[name](vrm, wrong)


WRONG = {
    "a level nobody knows": (
        lambda v: v.access.invite(1, name="x", email="x", access_level=3),
        ValueError,
        r"0 \(monitoring\), 1 \(full control\) or 2 \(technician\)",
    ),
    "a level that is a bool": (lambda v: v.access.set_user_rights(1, {1: True}), TypeError, "access_level"),
    "a level that is text": (lambda v: v.access.set_user_group(1, 1, "1"), TypeError, "access_level"),
    "no levels": (lambda v: v.access.set_user_rights(1, {}), ValueError, "levels"),
    "levels in a list": (lambda v: v.access.set_user_rights(1, [(1, 0)]), TypeError, "levels"),
    "an address of two lines": (
        lambda v: v.access.invite(1, name="x", email="a\r\nb", access_level=0),
        ValueError,
        "email",
    ),
    "no name": (lambda v: v.access.invite(1, name=" ", email="a", access_level=0), ValueError, "name"),
    "an empty tag": (lambda v: v.tags.add(1, ""), ValueError, "tag"),
    "a tag of two lines": (lambda v: v.tags.remove(1, "a\nb"), ValueError, "tag"),
    "a tag that is none": (lambda v: v.tags.add(1, None), TypeError, "tag"),
    "a source nobody knows": (
        lambda v: v.tags.get(1, "all"),
        ValueError,
        "user, team, group, predefined",
    ),
    "a rule that is none": (lambda v: v.alarms.add(1, {"idDataAttribute": 1}), TypeError, "alarm"),
    "a rule of both kinds": (
        lambda v: v.alarms.add(1, Alarm(attribute_id=1, high=1.0, enum_values=(1,))),
        ValueError,
        "enum_values has no thresholds",
    ),
    "a threshold that is no number": (
        lambda v: v.alarms.add(1, Alarm(attribute_id=1, high="30")),
        TypeError,
        "high",
    ),
    "a threshold without end": (
        lambda v: v.alarms.update(1, Alarm(attribute_id=1, low=float("nan"))),
        ValueError,
        "low",
    ),
    "a switch that counts": (
        lambda v: v.alarms.add(1, Alarm(attribute_id=1, enabled=1)),
        TypeError,
        "enabled",
    ),
    "a favourite that counts": (lambda v: v.installations.set_favorite(1, 1), TypeError, "favorite"),
    "no setting": (lambda v: v.installations.update_settings(1), ValueError, "at least one"),
    "a setting of another type": (
        lambda v: v.installations.update_settings(1, realtime_updates="on"),
        TypeError,
        "realtimeUpdates",
    ),
    "no settings of Dynamic ESS": (
        lambda v: v.dynamic_ess.save(1, DynamicEssSettings(mode=1)),
        ValueError,
        "settings",
    ),
    "a mapping for Dynamic ESS": (lambda v: v.dynamic_ess.save(1, {"isOn": True}), TypeError, "settings"),
    "a restriction nobody knows": (
        lambda v: v.dynamic_ess.save(1, evolve(PRICES, battery_flow_restriction="none")),
        ValueError,
        "unrestricted, noExport, noImport",
    ),
    "a price type nobody knows": (
        lambda v: v.dynamic_ess.save(1, evolve(PRICES, buy_price_type=2)),
        ValueError,
        "buy_price_type",
    ),
    "a power without end": (
        lambda v: v.dynamic_ess.save(1, evolve(PRICES, charge_power_kw=float("inf"))),
        ValueError,
        "charge_power_kw",
    ),
    "a schedule that is none": (
        lambda v: v.dynamic_ess.save(1, evolve(PRICES, sell_price_schedule=({"days": [0]},))),
        TypeError,
        "sell_price_schedule",
    ),
    "nothing to adjust": (lambda v: v.forecasts.adjust_consumption(1), ValueError, "nothing to adjust"),
    "a naive hour": (
        lambda v: v.forecasts.adjust_consumption(1, household={HOUR.replace(tzinfo=None): 1.0}),
        ValueError,
        "aware",
    ),
    "no full hour": (
        lambda v: v.forecasts.adjust_consumption(1, household={HOUR.replace(minute=5): 1.0}),
        ValueError,
        "full hour",
    ),
    "less than nothing": (
        lambda v: v.forecasts.adjust_consumption(1, household={HOUR: -1.0}),
        ValueError,
        "energy_wh",
    ),
    "nothing to change": (lambda v: v.custom_widgets.update(1, 1), ValueError, "nothing to change"),
    "a widget without a name": (lambda v: v.custom_widgets.create(1, "", {}), ValueError, "name"),
    "parameters in a list": (lambda v: v.custom_widgets.create(1, "x", []), TypeError, "parameters"),
    "no condition": (lambda v: v.fleet.find([]), ValueError, "conditions"),
    "six conditions": (lambda v: v.fleet.find("a,b,c,d,e,f"), ValueError, "1 to 5, not 6"),
    "a condition of two lines": (lambda v: v.fleet.find(["bs>1\r\nx"]), ValueError, "conditions"),
    "a page before the first": (lambda v: v.fleet.find("bs", page=0), ValueError, "page"),
    "a page too large": (lambda v: v.fleet.find("bs", page_size=1001), ValueError, r"1\.\.1000"),
    "no sites": (lambda v: v.fleet.overview([]), ValueError, "sites"),
    "columns in a list": (lambda v: v.fleet.overview(columns=["name"]), TypeError, "columns"),
    "nothing to draw": (lambda v: v.widgets.graph(1), ValueError, "attribute_codes or attribute_ids"),
    "an empty identifier": (lambda v: v.users.add_site(" "), ValueError, "identifier"),
    "an empty search": (lambda v: v.users.search(""), ValueError, "text"),
    "a range backwards": (lambda v: v.alarms.log(1, HOUR, HOUR), ValueError, "end must be after start"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_is_named(vrm, name):
    """The message says which argument, and what may be said where there is a list."""
    ask, expected, told = WRONG[name]
    with pytest.raises(expected, match=told):
        await ask(vrm)


def test_a_value_outside_a_list_can_be_insisted_on():
    """`Unlisted` is a plain value that compares and prints."""
    assert Unlisted("new") == Unlisted("new")
    assert repr(Unlisted(7)) == "Unlisted(value=7)"


@pytest.mark.parametrize("name", ["", "../admin", "a/b", "Battery Summary", "x\r\ny", "https://x/", "ä", "1"])
async def test_a_widget_name_cannot_change_the_path(vrm, name):
    """Letters and digits only, for widgets of unknown kind too."""
    with pytest.raises(ValueError, match="name"):
        await vrm.widgets.get(1, name)


# --- the way around -------------------------------------------------------------------------------------

WAYS_OUT = [
    "",
    "/users/me",
    "//example.com/x",
    "https://example.com/v2/users/me",
    "../admin",
    "users/../../admin",
    "users/./me",
    "users/%2e%2e/x",
    "users%2fme",
    "users%5C..",
    "users//me",
    "users/me?x=1",
    "users/me#x",
    "users/me\r\nHost: x",
    "users/{idUser}",
    "users/ü",
    "users\\me",
    "users me",
]


@pytest.mark.parametrize("path", WAYS_OUT)
async def test_a_path_cannot_leave_the_api(vrm, path):
    """A path of `request` is relative, and written in URL characters."""
    with pytest.raises(ValueError, match=r"path|URL"):
        await vrm.request("GET", path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"method": "TRACE"}, ValueError),
        ({"method": "get"}, ValueError),
        ({"method": "GET\r\n"}, ValueError),
        ({"method": 1}, TypeError),
        ({"path": b"users/me"}, TypeError),
        ({"query": {"x": True}}, TypeError),
        ({"query": {"x": None}}, TypeError),
        ({"query": {1: "x"}}, TypeError),
        ({"query": {"": "x"}}, ValueError),
        ({"query": [("x", "a\r\nb")]}, ValueError),
    ],
)
async def test_a_request_is_checked(vrm, arguments, expected):
    """Methods are five, a query is pairs of text."""
    with pytest.raises(expected):
        await vrm.request(**{"method": "GET", "path": "users/me", **arguments})


def test_a_question_about_a_login_carries_the_name_of_one():
    """What VRM answers to a login is never quoted, also where nobody called it a login."""
    assert operations.operation("POST", "auth/login", repeatable=False, body_limit=1).name == "auth.request"
    assert operations.operation("GET", "users/me", repeatable=True, body_limit=1).name == "request"

"""Every operation sends exactly what VRM documents: method, path, query, and no member too many."""

from datetime import UTC, datetime

import pytest
from attrs import evolve

from energy_core.errors import (
    AnswerError,
    BadRequest,
    DecodeError,
    NoData,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    ServerFault,
)
from vrm_async import Unlisted, VRMClient
from vrm_async.models import Alarm, DynamicEssSettings, PriceSchedule, PriceSpan

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR_S = 1772366400
SITE = "installations/5"
OK = {"success": True}
PRICES = DynamicEssSettings(
    is_on=False,
    battery_capacity_kwh=9.6,
    grid_sell=True,
    buy_price_type=0,
    buy_price_schedule=(
        PriceSchedule(days=(0, 6), spans=(PriceSpan(start="00:00", end="06:30", price=0.2),)),
    ),
    sell_price_formula="p",
    site_id=5,
    mode=4,
    operating_mode=1,
    updated_on="2026-03-01 12:00:00",
)
PRICES_SENT = {
    "isOn": False,
    "batteryCapacity": 9.6,
    "gridSell": 1,
    "buyPriceType": 0,
    "buyPriceSchedule": [{"days": [0, 6], "schedule": [{"from": "00:00", "to": "06:30", "price": 0.2}]}],
    "sellPriceFormula": "p",
}
SETTINGS_SENT = {
    "description": "Home",
    "notes": "",
    "noDataAlarmTimeout": 3600,
    "noDataAlarmActive": False,
    "alarmMonitoring": 2,
    "geofence": {"id": 1},
    "favorite": 0,
    "restrictNodeRed": True,
}
ASKED = {
    "alarms.rules": (lambda v: v.alarms.rules(5), "GET", f"{SITE}/alarms", [], None),
    "alarms.add, above": (
        lambda v: v.alarms.add(5, Alarm(attribute_id=143, instance=256, high=30.5)),
        "POST",
        f"{SITE}/alarms",
        [],
        {
            "idDataAttribute": 143,
            "instance": 256,
            "AlarmEnabled": 1,
            "NotifyAfterSeconds": 0,
            "highAlarm": 30.5,
            "highAlarmHysteresis": 0,
        },
    ),
    "alarms.add, states": (
        lambda v: v.alarms.add(5, Alarm(attribute_id=40, enum_values=(2, 9), notify_after_s=60)),
        "POST",
        f"{SITE}/alarms",
        [],
        {
            "idDataAttribute": 40,
            "instance": 0,
            "enumValues": [2, 9],
            "alarmEnabled": 1,
            "notifyAfterSeconds": 60,
        },
    ),
    "alarms.update": (
        lambda v: v.alarms.update(
            5,
            Alarm(attribute_id=143, enabled=False, notify_after_s=5, low=-1, low_hysteresis=0.5, limit_id=9),
            raw={"note": "x"},
        ),
        "PUT",
        f"{SITE}/alarms",
        [],
        {
            "idDataAttribute": 143,
            "instance": 0,
            "AlarmEnabled": 0,
            "NotifyAfterSeconds": 5,
            "lowAlarm": -1,
            "lowAlarmHysteresis": 0.5,
            "note": "x",
        },
    ),
    "alarms.delete": (
        lambda v: v.alarms.delete(5, 143, 0),
        "DELETE",
        f"{SITE}/alarms",
        [],
        {"idDataAttribute": 143, "instance": 0},
    ),
    "alarms.clear": (lambda v: v.alarms.clear(5, 7), "POST", f"{SITE}/clear-alarm", [], {"alarmId": 7}),
    "alarms.log": (
        lambda v: v.alarms.log(5, HOUR),
        "GET",
        f"{SITE}/alarm-log",
        [("start", str(HOUR_S))],
        None,
    ),
    "tags.get": (lambda v: v.tags.get(5), "GET", f"{SITE}/tags", [], None),
    "tags.get, one group": (
        lambda v: v.tags.get(5, "team"),
        "GET",
        f"{SITE}/tags",
        [("filter", "team")],
        None,
    ),
    "tags.get, verbatim": (
        lambda v: v.tags.get(5, Unlisted("new")),
        "GET",
        f"{SITE}/tags",
        [("filter", "new")],
        None,
    ),
    "tags.add": (
        lambda v: v.tags.add(5, "a b"),
        "PUT",
        f"{SITE}/tags",
        [],
        {"tag": "a b", "source": "user"},
    ),
    "tags.remove": (
        lambda v: v.tags.remove(5, "x", source="team"),
        "DELETE",
        f"{SITE}/tags",
        [],
        {"tag": "x", "source": "team"},
    ),
    "installations.set_favorite": (
        lambda v: v.installations.set_favorite(5),
        "POST",
        f"{SITE}/favorite",
        [],
        {"favorite": 1},
    ),
    "installations.update_settings": (
        lambda v: v.installations.update_settings(
            5,
            name="Home",
            notes="",
            no_data_alarm_timeout_s=3600,
            no_data_alarm_active=False,
            alarm_monitoring=2,
            geofence={"id": 1},
            restrict_node_red=True,
            favorite=False,
        ),
        "POST",
        f"{SITE}/settings",
        [],
        SETTINGS_SENT,
    ),
    "installations.update_settings, alarms": (
        lambda v: v.installations.update_settings(5, alarm_monitoring=1, favorite=True),
        "POST",
        f"{SITE}/settings",
        [],
        {"alarmMonitoring": True, "favorite": 1},
    ),
    "installations.update_settings, no alarms": (
        lambda v: v.installations.update_settings(5, alarm_monitoring=False),
        "POST",
        f"{SITE}/settings",
        [],
        {"alarmMonitoring": False},
    ),
    "access.users": (lambda v: v.access.users(5), "GET", f"{SITE}/users", [], None),
    "access.invite": (
        lambda v: v.access.invite(5, name="Jo", email="jo@x.org", access_level=2),
        "POST",
        f"{SITE}/invite",
        [],
        {"name": "Jo", "email": "jo@x.org", "accessLevel": 2},
    ),
    "access.set_invite_rights": (
        lambda v: v.access.set_invite_rights(5, {"a@x.org": 0, "b@x.org": 1}),
        "POST",
        f"{SITE}/invite-rights",
        [],
        {"email": ["a@x.org", "b@x.org"], "accessLevel": [0, 1]},
    ),
    "access.set_user_rights": (
        lambda v: v.access.set_user_rights(5, {22: 0, 23: Unlisted(7)}),
        "POST",
        f"{SITE}/user-rights",
        [],
        {"idUser": [22, 23], "accessLevel": [0, 7]},
    ),
    "access.unlink_user": (
        lambda v: v.access.unlink_user(5, 22),
        "POST",
        f"{SITE}/unlink-user",
        [],
        {"idUser": 22},
    ),
    "access.leave": (lambda v: v.access.leave(5), "POST", f"{SITE}/unlink", [], None),
    "access.link_user_groups": (
        lambda v: v.access.link_user_groups(5, {31: 1}),
        "POST",
        f"{SITE}/link-user-groups",
        [],
        {"userGroups": [{"idUserGroup": 31, "accessLevel": 1}]},
    ),
    "access.set_user_group": (
        lambda v: v.access.set_user_group(5, 31, None),
        "POST",
        f"{SITE}/user-group-access-level",
        [],
        {"idUserGroup": 31, "accessLevel": None},
    ),
    "dynamic_ess.save": (
        lambda v: v.dynamic_ess.save(5, PRICES),
        "POST",
        f"{SITE}/dynamic-ess-settings",
        [],
        PRICES_SENT,
    ),
    "dynamic_ess.change": (
        lambda v: v.dynamic_ess.change(5, DynamicEssSettings(mode=4), raw={"operatingMode": 7}),
        "PATCH",
        f"{SITE}/dynamic-ess-settings",
        [],
        {"mode": 4, "operatingMode": 7},
    ),
    "dynamic_ess.plan": (
        lambda v: v.dynamic_ess.plan(5),
        "GET",
        f"{SITE}/schedule-dynamic-ess",
        [("async", "0")],
        None,
    ),
    "forecasts.reset": (
        lambda v: v.forecasts.reset(5, 1),
        "POST",
        f"{SITE}/reset-forecasts",
        [],
        {"resetType": 1},
    ),
    "forecasts.adjust_consumption": (
        lambda v: v.forecasts.adjust_consumption(5, household={HOUR: None}, heat_pumps={HOUR: 900}),
        "POST",
        f"{SITE}/adjust-consumption",
        [],
        {
            "vrm_consumption_fc_adj": [{"timestamp": HOUR_S, "value": -1}],
            "vrm_consum_hp_fc_adj": [{"timestamp": HOUR_S, "value": 900}],
        },
    ),
    "custom_widgets.create": (
        lambda v: v.custom_widgets.create(5, "W", {"a": 1}, only_admins=True, y_axis_scaling=2),
        "POST",
        f"{SITE}/custom-widget",
        [],
        {"name": "W", "parameters": {"a": 1}, "onlyAdmins": 1, "yAxisScaling": 2},
    ),
    "custom_widgets.update": (
        lambda v: v.custom_widgets.update(5, 9, parameters={}),
        "PATCH",
        f"{SITE}/custom-widget",
        [],
        {"idCustomWidget": 9, "parameters": {}},
    ),
    "custom_widgets.delete": (
        lambda v: v.custom_widgets.delete(5, 9),
        "DELETE",
        f"{SITE}/custom-widget",
        [],
        {"idCustomWidget": 9},
    ),
}


@pytest.fixture
async def client(fake):
    async with VRMClient(token="0" * 64, base_url=fake.url) as opened:
        yield opened


@pytest.mark.parametrize("name", ASKED)
async def test_what_is_sent(client, fake, name):
    """One request, and in it what was asked for."""
    ask, method, path, query, body = ASKED[name]
    fake.answers(method, path, {**OK, "tags": {}})
    await ask(client)
    assert [(seen.method, seen.path, seen.query, seen.json) for seen in fake.asked] == [
        (method, path, query, body)
    ]


READ = {
    "users.add_site": (
        lambda v: v.users.add_site("c061"),
        ("POST", "users/22/addsite", [], {"installation_identifier": "c061"}),
        {"records": {"site_id": "9"}},
        9,
    ),
    "users.site_id": (
        lambda v: v.users.site_id("c061"),
        ("POST", "users/22/get-site-id", [], {"installation_identifier": "c061"}),
        {"records": {"site_id": "9"}},
        9,
    ),
    "forecasts.last_reset": (
        lambda v: v.forecasts.last_reset(5),
        ("GET", f"{SITE}/reset-forecasts", [], None),
        {"last_reset": HOUR_S},
        HOUR,
    ),
    "forecasts.last_reset, of one type": (
        lambda v: v.forecasts.last_reset(5, reset_type=0),
        ("GET", f"{SITE}/reset-forecasts", [("resetType", "0")], None),
        {"last_reset": 0},
        None,
    ),
    "custom_widgets.create": (
        lambda v: v.custom_widgets.create(5, "W", {}),
        ("POST", f"{SITE}/custom-widget", [], {"name": "W", "parameters": {}, "yAxisScaling": 0}),
        {"idCustomWidget": 12},
        12,
    ),
    "request": (
        lambda v: v.request("PUT", "a/b", query=[("x[]", 1), ("x[]", "é&")], json=[1]),
        ("PUT", "a/b", [("x[]", "1"), ("x[]", "é&")], [1]),
        {"any": 1},
        {"success": True, "any": 1},
    ),
}


@pytest.mark.parametrize("name", READ)
async def test_what_is_read(client, fake, name):
    """A plain value of the answer is what the method returns."""
    ask, request_, answer, meant = READ[name]
    fake.answers(request_[0], request_[1], {**OK, **answer})
    assert await ask(client) == meant
    assert [
        (seen.method, seen.path, seen.query, seen.json) for seen in fake.asked if seen.path != "users/me"
    ] == [request_]


async def test_questions_about_the_fleet(client, fake):
    """Conditions are joined by commas; the overview asks for JSON, and by default for every site."""
    fake.answers("GET", "installation-data-attributes", {**OK, "records": [], "attributes": []})
    fake.answers("POST", "installation-overview-download", {**OK, "data": {}})
    await client.fleet.find("bs>=50,au=(1,2)", page=2, page_size=10)
    await client.fleet.find(["IV1!"])
    fake.answers("GET", "users/22/installations", {**OK, "records": [{"idSite": 5}, {"idSite": 7}]})
    await client.fleet.overview()
    await client.fleet.overview([5, 6], columns={"bs": {"enabled": True}}, only_visible=True)
    assert [(seen.query, seen.json) for seen in fake.asked] == [
        ([("query", "bs>=50,au=(1,2)"), ("page", "2"), ("count", "10")], None),
        ([("query", "IV1!"), ("page", "1"), ("count", "1000")], None),
        *[([], None)] * 2,
        ([], {"jsonResponse": True, "siteIds": [5, 7], "columns": {}, "onlyVisible": False}),
        (
            [],
            {
                "jsonResponse": True,
                "siteIds": [5, 6],
                "columns": {"bs": {"enabled": True}},
                "onlyVisible": True,
            },
        ),
    ]


async def test_a_graph_by_ids(client, fake):
    """Codes and ids are VRM's repeated parameters, with their brackets; switches are 1."""
    fake.answers("GET", f"{SITE}/widgets/Graph", {**OK, "records": {}})
    await client.widgets.graph(5, attribute_ids=[143, 144], min_max=True, width=300, points_per_pixel=1)
    assert fake.asked[0].query == [
        ("attributeIds[]", "143"),
        ("attributeIds[]", "144"),
        ("instance", "0"),
        ("useMinMax", "1"),
        ("width", "300"),
        ("pointsPerPixel", "1"),
    ]


async def test_a_login_may_ask_to_be_remembered(fake):
    """`remember_me` is sent when it is wanted, and then as a bool."""
    fake.answers("POST", "auth/login", {"token": "t", "idUser": 22})
    with pytest.warns(DeprecationWarning, match="deprecated"):
        client = VRMClient(username="a", password="b", base_url=fake.url)
    async with client:
        await client.auth.login()
        await client.auth.login(remember_me=True)
    assert [seen.json for seen in fake.asked] == [
        {"username": "a", "password": "b"},
        {"username": "a", "password": "b", "remember_me": True},
    ]


# --- what moved -----------------------------------------------------------------------------------------


async def test_tokens_at_their_first_place(client, fake):
    """Where VRM knows the first paths, the second ones are not used."""
    fake.answers("POST", "users/22/accesstokens/create", {**OK, "token": "ab", "idAccessToken": 5})
    fake.answers("GET", "users/22/accesstokens/list", {**OK, "tokens": []})
    fake.answers("DELETE", "users/22/accesstokens/5", {**OK, "data": {"removed": 1}})
    assert (await client.tokens.create("x", expires=HOUR)).id == 5
    assert await client.tokens.list() == ()
    assert await client.tokens.revoke(5) == 1
    assert [(seen.method, seen.path, seen.json) for seen in fake.asked[1:]] == [
        ("POST", "users/22/accesstokens/create", {"name": "x", "expiry": HOUR_S}),
        ("GET", "users/22/accesstokens/list", None),
        ("DELETE", "users/22/accesstokens/5", None),
    ]


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (404, {"success": False, "errors": "no"}),
        (405, {"success": False, "errors": "no"}),
        (422, {"success": False, "errors": "no"}),
        (404, b"<html>Not Found</html>"),
        (200, {"success": False, "errors": "Could not find requested resource"}),
        (400, {"success": False, "errors": ["Unknown endpoint"]}),
        (400, {"success": False, "errors": "no", "error_code": "path_not_found"}),
        (200, {"success": False, "errors": "Method not allowed", "error_code": None}),
        (400, {"message": "Not Found"}),
    ],
)
async def test_tokens_at_their_second_place(client, fake, status, refusal):
    """Where it says that it does not know them, the second ones answer."""
    fake.answers("POST", "users/22/accesstokens/create", refusal, status=status)
    fake.answers("GET", "users/22/accesstokens/list", refusal, status=status)
    fake.answers("DELETE", "users/22/accesstokens/*", refusal, status=status)
    fake.answers("POST", "users/22/accesstokens", {**OK, "token": "ab", "idAccessToken": "5"})
    fake.answers("GET", "users/22/accesstokens", {**OK, "tokens": [{"idAccessToken": "5"}]})
    fake.answers("GET", "users/22/accesstokens/*/revoke", {**OK, "data": {"removed": 3}})
    assert (await client.tokens.create("x")).id == 5
    assert len(await client.tokens.list()) == 1
    assert await client.tokens.revoke(all=True) == 3


async def test_a_token_that_is_not_there(client, fake):
    """Both places say 404, and so does the error."""
    with pytest.raises(NotFound):
        await client.tokens.revoke(50)
    assert [seen.method for seen in fake.asked[1:]] == ["DELETE", "GET"]


async def test_a_token_that_is_not_accepted(client, fake):
    """Where there is no second place either, the first refusal is the error."""
    refusal = {"success": False, "errors": {"name": "taken"}, "error_code": "name_taken"}
    fake.answers("POST", "users/22/accesstokens/create", refusal, status=422)
    with pytest.raises(BadRequest, match="taken") as told:
        await client.tokens.create("x")
    assert told.value.error_code == "name_taken"


@pytest.mark.parametrize(
    ("status", "errors", "kind"),
    [
        (403, "Could not find requested resource", PermissionDenied),
        (400, {"name": ["has already been taken"]}, BadRequest),
        (400, "An invalid name", BadRequest),
        (200, "Token not found", AnswerError),
        (500, "Not Found", ServerFault),
    ],
)
async def test_another_refusal_is_not_asked_elsewhere(client, fake, status, errors, kind):
    """Only an unknown path is looked for at another place."""
    fake.answers("POST", "users/22/accesstokens/create", {"success": False, "errors": errors}, status=status)
    with pytest.raises(kind):
        await client.tokens.create("x")
    assert len(fake.asked) == 2


@pytest.mark.parametrize("status", [200, 400, 404, 405, 422])
async def test_hours_of_ac_under_either_name(client, fake, status):
    """The seeds' spelling is used where the other is refused, in whatever way."""
    refusal = {"success": False, "errors": "Geen toegang"}
    fake.answers("GET", f"{SITE}/widgets/HoursOfAc", refusal, status=status)
    fake.answers("GET", f"{SITE}/widgets/HoursOfAC", {**OK, "records": {"data": "12.5"}})
    assert (await client.widgets.hours_of_ac(5)).hours == 12.5
    assert [seen.path[-9:] for seen in fake.asked] == ["HoursOfAc", "HoursOfAC"]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((400, "no such instance"), (404, "unknown"), "no such instance"),
        ((404, "unknown"), (403, "not yours"), "not yours"),
        ((403, "not yours"), None, "not yours"),
        ((501, "down"), None, "down"),
    ],
)
async def test_hours_of_ac_refused(client, fake, first, second, words):
    """The refusal that says more is the error; a refusal of the site is not about the spelling."""
    for name, refusal in (("HoursOfAc", first), ("HoursOfAC", second)):
        if refusal is not None:
            answer = {"success": False, "errors": refusal[1]}
            fake.answers("GET", f"{SITE}/widgets/{name}", answer, status=refusal[0])
    with pytest.raises(AnswerError, match=words):
        await client.widgets.hours_of_ac(5)
    assert len(fake.asked) == (1 if second is None else 2)


# --- answers that say no --------------------------------------------------------------------------------

NO_SETTINGS = {"success": False, "errors": ["No settings found for this site"]}


async def test_a_site_without_dynamic_ess(client, fake):
    """No settings are no data, told by the shape of the refusal and never by its text."""
    for errors in (["No settings found for this site"], ["Keine Einstellungen"], "?"):
        fake.answers("GET", f"{SITE}/dynamic-ess-settings", {"success": False, "errors": errors})
        with pytest.raises(NoData) as told:
            await client.dynamic_ess.get(5)
        assert (told.value.operation, told.value.status) == ("dynamic_ess.get", 200)


async def test_another_refusal_of_dynamic_ess(client, fake):
    """A refusal with a code or a status stays what it is."""
    fake.answers("GET", f"{SITE}/dynamic-ess-settings", {**NO_SETTINGS, "error_code": "internal"})
    with pytest.raises(AnswerError) as told:
        await client.dynamic_ess.get(5)
    assert type(told.value) is AnswerError
    fake.answers("GET", f"{SITE}/dynamic-ess-settings", NO_SETTINGS, status=403)
    with pytest.raises(PermissionDenied):
        await client.dynamic_ess.get(5)


async def test_an_identifier_nobody_knows(client, fake):
    """VRM's plain no becomes NotFound."""
    fake.answers("POST", "users/22/get-site-id", {"success": False, "errors": "unknown"})
    with pytest.raises(NotFound):
        await client.users.site_id("c061")
    fake.answers("POST", "users/22/get-site-id", {"success": False, "errors": "unknown"}, status=403)
    with pytest.raises(PermissionDenied):
        await client.users.site_id("c061")


async def test_a_last_reset_that_wants_a_type(client, fake):
    """What the service asks for beyond its document arrives as what it is."""
    refusal = {"success": False, "errors": "ResetType em falta", "error_code": "missing_parameters"}
    fake.answers("GET", f"{SITE}/reset-forecasts", refusal)
    with pytest.raises(BadRequest) as told:
        await client.forecasts.last_reset(5)
    assert told.value.error_code == "missing_parameters"


async def test_a_search_that_is_refused(client, fake):
    """The search says `error` where all others say `errors`; both are quoted."""
    fake.answers("GET", "users/22/search", {"success": False, "error": "Invalid query"}, status=400)
    with pytest.raises(BadRequest, match="Invalid query"):
        await client.users.search("x")


async def test_a_refused_change_is_an_error(client, fake):
    """Status 200 with success false is a refusal for operations whose answer nobody reads, too."""
    fake.answers("POST", f"{SITE}/unlink", {"success": False, "errors": "last administrator"})
    with pytest.raises(AnswerError, match="last administrator"):
        await client.access.leave(5)


async def test_a_change_answered_with_nothing(client, fake):
    """Status 204 says that it was done; an empty body with 200 says nothing."""
    fake.answers("DELETE", f"{SITE}/tags", b"", status=204)
    await client.tags.remove(5, "x")
    fake.answers("DELETE", f"{SITE}/tags", b"")
    with pytest.raises(DecodeError):
        await client.tags.remove(5, "x")


async def test_settings_come_back(client, fake):
    """What a write says is in force is returned, and reading gives what was written."""
    answer = {**OK, "data": {**PRICES_SENT, "mode": 4, "idSite": "5", "newMember": [1]}}
    fake.answers("POST", f"{SITE}/dynamic-ess-settings", answer)
    fake.answers("GET", f"{SITE}/dynamic-ess-settings", answer)
    saved = await client.dynamic_ess.save(5, PRICES)
    assert saved == await client.dynamic_ess.get(5)
    assert saved == evolve(PRICES, operating_mode=None, updated_on=None)
    assert saved.raw["newMember"] == [1]
    assert ("DynamicEssSettings", "newMember", "unknown") in client.drift.counts


async def test_what_changes_something_is_sent_once(client, fake):
    """A server in trouble is asked again for what only reads, and never for what writes."""
    for method, path in (("POST", "users/22/get-site-id"), ("PUT", f"{SITE}/tags"), ("GET", "x")):
        fake.answers(method, path, {"success": False}, status=502)
    for ask, times in (
        (lambda: client.users.site_id("c061"), 3),
        (lambda: client.tags.add(5, "x"), 1),
        (lambda: client.request("GET", "x"), 1),
        (lambda: client.request("GET", "x", repeatable=True), 3),
    ):
        fake.asked.clear()
        with pytest.raises((AnswerError, OutcomeUnknown)):
            await ask()
        assert len([seen for seen in fake.asked if seen.path != "users/me"]) == times

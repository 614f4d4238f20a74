"""The simulated VRM against the vendor's documents and captured answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise

import aiohttp
import pytest

from energy_live.simulator import Simulator
from energy_live.simulator.vrm.rate_limit import RollingWindow

NOON = datetime(2025, 6, 20, 11, 0, 30, tzinfo=UTC)
HOUR_MS = 3_600_000


class Caller:
    """An HTTP client with one `X-Authorization` header."""

    def __init__(self, sim: Simulator, session: aiohttp.ClientSession, authorization: str) -> None:
        self.sim = sim
        self.session = session
        self.headers = {"X-Authorization": authorization} if authorization else {}

    async def ask(self, path: str, method: str = "GET", json: object = None) -> tuple[int, dict]:
        async with self.session.request(
            method, self.sim.vrm_url + path, headers=self.headers, json=json
        ) as response:
            assert response.content_type == "application/json"
            return response.status, await response.json()

    async def get(self, path: str) -> dict:
        status, body = await self.ask(path)
        assert (status, body["success"]) == (200, True), body
        return body

    def under(self, authorization: str) -> Caller:
        return Caller(self.sim, self.session, authorization)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(start=NOON, speed=1.0) as running:
        yield running


@pytest.fixture
async def vrm(sim: Simulator) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(sim, session, f"Token {sim.vrm_token}")


async def login(vrm: Caller, **more: str) -> dict:
    body = {"username": vrm.sim.vrm_username, "password": vrm.sim.vrm_password, **more}
    status, answer = await vrm.under("").ask("auth/login", "POST", body)
    assert status == 200
    return answer


def site(sim: Simulator, which: int = 0) -> str:
    return f"installations/{sim.site_ids[which]}"


async def test_the_personal_token_is_64_hex_digits_and_opens_the_account(vrm):
    """The token has VRM's form; `users/me` has its user and its number."""
    assert re.fullmatch("[a-f0-9]{64}", vrm.sim.vrm_token)
    me = await vrm.get("users/me")
    assert me["user"]["id"] == vrm.sim.vrm_user_id
    assert me["user"]["idAccessToken"] == vrm.sim.tokens[0].id


@pytest.mark.parametrize("authorization", ["", "Token 00", "Bearer nonsense", "Basic eDp5"])
async def test_without_a_valid_token_everything_is_401_in_the_envelope(vrm, authorization):
    """A missing, unknown or malformed token is answered 401 with the error envelope."""
    status, body = await vrm.under(authorization).ask("users/me")
    assert status == 401
    assert body["success"] is False
    assert body["error_code"] == "unauthorized"
    assert body["errors"]


async def test_login_gives_a_bearer_token_that_logout_blacklists(vrm):
    """A login returns a bearer token that is valid until the logout."""
    granted = await login(vrm)
    assert granted["idUser"] == vrm.sim.vrm_user_id
    bearer = vrm.under(f"Bearer {granted['token']}")
    assert (await bearer.get("users/me"))["user"]["idAccessToken"] is None
    assert (await bearer.ask("auth/logout", "POST"))[0] == 200
    assert (await bearer.ask("users/me"))[0] == 401
    assert vrm.sim.counters["logins"] == 1


async def test_the_other_method_of_logout_is_405(vrm):
    """Only the configured method of logout is allowed."""
    status, body = await vrm.ask("auth/logout")
    assert (status, body["error_code"]) == (405, "method_not_allowed")


async def test_wrong_credentials_are_401_in_the_envelope(vrm):
    """A wrong password is answered 401 with the error envelope, and counted."""
    status, body = await vrm.under("").ask(
        "auth/login", "POST", {"username": vrm.sim.vrm_username, "password": "wrong"}
    )
    assert (status, body["success"], body["error_code"]) == (401, False, "invalid_credentials")
    assert vrm.sim.counters["failed_logins"] == 1


async def test_two_factor_login(vrm):
    """A login without code returns a null token and sends a code, which is valid once."""
    sim, anyone = vrm.sim, vrm.under("")
    body = {"username": sim.sms_username, "password": sim.sms_password}
    status, waiting = await anyone.ask("auth/login", "POST", body)
    assert (status, waiting["token"], waiting["verification_sent"]) == (200, None, True)
    code = sim.sms_token
    status, granted = await anyone.ask("auth/login", "POST", body | {"sms_token": code})
    assert (status, granted["idUser"]) == (200, waiting["idUser"])
    assert (await vrm.under(f"Bearer {granted['token']}").get("users/me"))["user"]["id"] == granted["idUser"]
    assert (await anyone.ask("auth/login", "POST", body | {"sms_token": code}))[0] == 401
    assert sim.sms_token != code


async def test_the_demo_user_has_limited_access(vrm):
    """The demo user is 22; the login's answer has no `idUser`; diagnostics and tags are answered 403."""
    granted = await vrm.under("").ask("auth/loginAsDemo")
    assert set(granted[1]) == {"token"}
    demo = vrm.under(f"Bearer {granted[1]['token']}")
    assert (await demo.get("users/me"))["user"]["id"] == 22
    listed = (await demo.get("users/22/installations"))["records"]
    for path in ("diagnostics", "tags"):
        assert (await demo.ask(f"installations/{listed[0]['idSite']}/{path}"))[0] == 403
    assert (await demo.ask(site(vrm.sim) + "/stats"))[0] == 403


async def test_bearer_tokens_expire_and_personal_tokens_do_not(vrm):
    """`expire_tokens` invalidates bearer tokens and keeps personal access tokens."""
    bearer = vrm.under(f"Bearer {(await login(vrm))['token']}")
    await bearer.get("users/me")
    vrm.sim.expire_tokens()
    assert (await bearer.ask("users/me"))[0] == 401
    await vrm.get("users/me")


async def test_a_bearer_token_ends_with_its_lifetime():
    """A bearer token expires after `bearer_lifetime_s`."""
    async with Simulator(bearer_lifetime_s=0.1, window=100_000) as sim, aiohttp.ClientSession() as session:
        vrm = Caller(sim, session, "")
        bearer = vrm.under(f"Bearer {(await login(vrm))['token']}")
        async with asyncio.timeout(5.0):
            while (status := (await bearer.ask("users/me"))[0]) == 200:
                pass
        assert status == 401


async def test_personal_tokens_are_created_listed_and_revoked(vrm):
    """A created token is valid until it is revoked; its name is unique, its number a string in the list."""
    user = f"users/{vrm.sim.vrm_user_id}/accesstokens"
    status, created = await vrm.ask(f"{user}/create", "POST", {"name": "Token #2"})
    assert (status, created["success"]) == (200, True)
    fresh = vrm.under(f"Token {created['token']}")
    assert (await fresh.get("users/me"))["user"]["idAccessToken"] == created["idAccessToken"]
    assert (await vrm.ask(f"{user}/create", "POST", {"name": "Token #2"}))[0] == 400
    listed = (await vrm.get(f"{user}/list"))["tokens"]
    assert [(type(one["idAccessToken"]), type(one["createdOn"])) for one in listed] == [(str, str)] * 2
    assert {one["scope"] for one in listed} == {"FULL_ACCESS"}
    assert (await vrm.get(f"{user}/{created['idAccessToken']}/revoke"))["data"] == {"removed": 1}
    assert (await fresh.ask("users/me"))[0] == 401
    status, body = await vrm.ask(f"{user}/*", "DELETE")
    assert (status, body["data"]) == (200, {"removed": 1})
    assert (await vrm.ask("users/me"))[0] == 401


async def test_the_plain_list_of_installations_is_short_and_the_extended_one_is_not(vrm):
    """Only with `extended=1` a site has values, tags and the local time."""
    plain = (await vrm.get(f"users/{vrm.sim.vrm_user_id}/installations"))["records"]
    full = (await vrm.get("users/me/installations?extended=1"))["records"]
    assert [one["idSite"] for one in plain] == list(vrm.sim.site_ids)
    assert {"extended", "tags", "current_time", "last_timestamp"} & set(plain[0]) == set()
    assert full[0]["current_time"] == "13:00"
    assert full[0]["timezone_offset"] == 7200
    assert full[0]["images"] is False
    assert full[0]["hasMains"] == 1
    only = await vrm.get(f"users/me/installations?idSite={vrm.sim.site_ids[1]}")
    assert [one["idSite"] for one in only["records"]] == [vrm.sim.site_ids[1]]
    assert (await vrm.ask("users/1/installations"))[0] == 403


async def test_a_site_without_gps(vrm):
    """Without a GPS the geofence is null and the time of the last location false."""
    home, riad = (await vrm.get("users/me/installations?extended=1"))["records"]
    assert (home["geofence"], home["last_location_timestamp"], home["avatar_url"]) == (None, False, None)
    assert json.loads(riad["geofence"])["id"] == "geofence"
    assert riad["last_location_timestamp"] == riad["last_timestamp"]
    assert riad["avatar_url"].startswith("https://")


async def test_extended_attributes_have_the_real_services_quirks(vrm):
    """Computed values have no id; instances are a map or list; texts are localised; some numbers strings."""
    records = (await vrm.get("users/me/installations?extended=1"))["records"]
    home, riad = ({one["code"]: one for one in record["extended"]} for record in records)
    computed = home["consumption"]
    assert computed["idDataAttribute"] is None
    assert computed["consistsOfAttributeCodes"] == ["a1", "a2", "a3", "dc"]
    assert [part["code"] for part in computed["dataAttributes"]] == ["a1", "a2", "a3"]
    assert computed["timestamp"] == records[0]["last_timestamp"]
    assert home["generator"] | {"description": ""} == home["generator"] | {
        "description": "",
        "rawValue": None,
    }
    assert isinstance(home["ASoc"]["instances"], dict)
    assert isinstance(riad["ASoc"]["instances"], list)
    assert home["S"]["instances"]["261"]["timestamp"] < 1_640_000_000
    assert home["bst"]["formattedValue"] not in {
        entry["nameEnum"] for entry in home["bst"]["dataAttributeEnumValues"]
    }
    assert home["bst"]["textValue"] in {"idle", "charging", "discharging"}
    assert {type(one["rawValue"]) for one in home.values() if "rawValue" in one} == {
        str,
        int,
        float,
        type(None),
    }
    assert "rawValue" not in home["tl"]
    assert home["lt"]["timestamp"] is None
    assert home["GUIv"]["dataAttributeEnumValues"][0]["nameEnum"] == 1
    assert home["bs"]["formattedValue"] == f"{home['bs']['rawValue']:.1f} %"


async def test_powers_in_the_list_of_sites_balance(vrm):
    """The list of sites has the household's powers at the last log; they balance."""
    for record in (await vrm.get("users/me/installations?extended=1"))["records"]:
        shown = {one["code"]: one["rawValue"] for one in record["extended"] if "rawValue" in one}
        battery_w = shown["from_to_grid"] + shown["solar_yield"] - shown["consumption"]
        assert battery_w == pytest.approx(shown["bv"] * shown["bc"], abs=0.005 * shown["bv"])
        at = vrm.sim.household(record["idSite"]).at(record["last_timestamp"])
        assert (at.pv_w, at.battery_w) == (shown["solar_yield"], battery_w)


async def test_values_change_once_a_logging_interval():
    """Values and timestamps are constant between two logs of the gateway."""
    async with Simulator(start=NOON, speed=600.0, window=100_000) as sim, aiohttp.ClientSession() as session:
        vrm = Caller(sim, session, f"Token {sim.vrm_token}")
        seen: dict[int, set[str]] = {}
        async with asyncio.timeout(10.0):
            while len(seen) < 4:
                record = (await vrm.get("users/me/installations?extended=1"))["records"][0]
                shown = str([(one["code"], one.get("rawValue")) for one in record["extended"]])
                seen.setdefault(record["last_timestamp"], set()).add(shown)
        assert {len(values) for values in seen.values()} == {1}
        assert {(later - earlier) % 60 for earlier, later in pairwise(seen)} == {0}


async def test_the_overview_lists_a_gateway_without_an_instance(vrm):
    """The gateway has no instance, a sensor no class and no firmware; an empty list is `false`."""
    records = (await vrm.get(site(vrm.sim) + "/system-overview"))["records"]
    gateway, *rest = records["devices"]
    assert "instance" not in gateway
    assert gateway["loggingInterval"] == 60
    sensors = [one for one in rest if one["class"] is None]
    assert sensors
    assert "firmwareVersion" not in sensors[0]
    assert records["unconfigured_devices"] is False
    assert min(one["lastConnection"] for one in rest) < 1_640_000_000
    other = (await vrm.get(site(vrm.sim, 1) + "/system-overview"))["records"]["devices"]
    assert [one["lastConnection"] for one in other].count(False) == 1


async def test_diagnostics_come_in_pages(vrm):
    """A page has 100 records by default; pages do not overlap; one record is of a replaced device."""
    path = site(vrm.sim) + "/diagnostics"
    first = await vrm.get(path)
    assert len(first["records"]) == 100
    second = await vrm.get(f"{path}?page=2")
    whole = await vrm.get(f"{path}?count=1000")
    assert [one["id"] for one in first["records"] + second["records"]] == [
        one["id"] for one in whole["records"]
    ]
    assert whole["num_records"] == len(whole["records"]) > 100
    assert (await vrm.get(f"{path}?page=9"))["records"] == []
    assert min(one["timestamp"] for one in whole["records"]) < 1_640_000_000
    names = [
        member["nameEnum"]
        for one in whole["records"]
        if one["code"] == "d"
        for member in one["dataAttributeEnumValues"]
    ]
    assert names.count("Venus") > 1


async def test_kwh_statistics_are_the_households_energies(vrm):
    """Points are [ms, kWh], the first at `start`; a code without data is `false`."""
    start = int(NOON.timestamp()) - 86_400 - 1234
    stats = await vrm.get(
        f"{site(vrm.sim)}/stats?type=kwh&interval=hours&start={start}&end={start + 6 * 3600}"
    )
    points = stats["records"]["Pc"]
    assert [at for at, _ in points] == [start * 1000 + hour * HOUR_MS for hour in range(6)]
    energy = vrm.sim.household(vrm.sim.site_ids[0]).energy(start, start + 3600)
    assert points[0][1] == pytest.approx(energy.pv_to_home, abs=1e-6)
    assert stats["records"]["gc"] is False
    assert stats["totals"]["gc"] is False
    parts = sum(value for code, value in stats["totals"].items() if code != "kwh" and value is not False)
    assert stats["totals"]["kwh"] == pytest.approx(parts, abs=1e-5)


async def test_measured_codes_have_points_of_four(vrm):
    """Points of measurements are [ms, mean, min, max]; an unknown code is `false`."""
    stats = await vrm.get(
        f"{site(vrm.sim)}/stats?type=custom&interval=hours&attributeCodes[]=bs&attributeCodes[]=consumption"
        "&attributeCodes[]=nonsense"
    )
    assert {len(point) for code in ("bs", "consumption") for point in stats["records"][code]} == {4}
    assert all(low <= mean <= high for _, mean, low, high in stats["records"]["bs"])
    assert stats["records"]["nonsense"] is False


async def test_codes_without_brackets_are_ignored(vrm):
    """`attributeCodes` without brackets is ignored."""
    assert (await vrm.ask(f"{site(vrm.sim)}/stats?type=custom&attributeCodes=bs"))[0] == 400


@pytest.mark.parametrize(
    ("interval", "days"),
    [("15mins", 31), ("hours", 31), ("days", 180), ("weeks", 980), ("months", 744), ("years", 1827)],
)
async def test_ranges_beyond_the_limit_have_no_data(vrm, interval, days):
    """A range longer than the interval's limit is answered 200 with the code `no_data`."""
    end = int(NOON.timestamp())
    path = f"{site(vrm.sim)}/stats?type=kwh&interval={interval}&end={end}&start="
    status, body = await vrm.ask(f"{path}{end - (days + 1) * 86_400}")
    assert (status, body["success"], body["error_code"]) == (200, False, "no_data")
    assert body["errors"] == ["Site has no stats for this period."]


async def test_an_empty_range_has_empty_lists(vrm):
    """If start equals end, records and totals are empty lists."""
    now = int(NOON.timestamp())
    stats = await vrm.get(f"{site(vrm.sim)}/stats?start={now}&end={now}")
    assert (stats["records"], stats["totals"]) == ([], [])


async def test_statistics_can_be_split_by_instance(vrm):
    """With `show_instance=1` the answer is a list of instances."""
    stats = await vrm.get(f"{site(vrm.sim)}/stats?type=kwh&show_instance=1")
    assert stats["records"][0]["instance"] == 0
    assert "Pc" in stats["records"][0]["stats"]
    assert "kwh" in stats["totals"][0]["totals"]


async def test_months_begin_at_local_midnight(vrm):
    """Months begin at the site's local midnight."""
    start = int(datetime(2025, 1, 31, 23, tzinfo=UTC).timestamp())
    end = int(datetime(2025, 5, 31, 22, tzinfo=UTC).timestamp())
    stats = await vrm.get(f"{site(vrm.sim)}/stats?type=kwh&interval=months&start={start}&end={end}")
    begins = [datetime.fromtimestamp(at / 1000, UTC) for at, _ in stats["records"]["Pc"]]
    assert [(one.month, one.day, one.hour) for one in begins] == [
        (1, 31, 23),
        (2, 28, 23),
        (3, 31, 22),
        (4, 30, 22),
    ]


async def test_days_are_local_where_the_clocks_change(vrm):
    """Days are local: one on which the clocks change has 23 hours."""
    start = int(datetime(2025, 3, 28, 23, tzinfo=UTC).timestamp())
    stats = await vrm.get(
        f"{site(vrm.sim)}/stats?type=kwh&interval=days&start={start}&end={start + 71 * 3600}"
    )
    times = [at for at, _ in stats["records"]["Pc"]]
    assert [(later - at) / HOUR_MS for at, later in pairwise(times)] == [24, 23]


async def test_the_future_has_forecasts_only(vrm):
    """Only forecasts (Wh) have values in the future."""
    now = int(NOON.timestamp())
    stats = await vrm.get(
        f"{site(vrm.sim)}/stats?type=live_feed&interval=hours&start={now - 7200}&end={now + 86_400}"
    )
    assert len(stats["records"]["total_consumption"]) <= 3
    assert len(stats["records"]["solar_yield_forecast"]) == 26
    forecast = await vrm.get(f"{site(vrm.sim)}/stats?type=forecast&start={now}&end={now + 86_400}")
    assert forecast["records"]["vrm_solar_irradiance"] is False
    assert forecast["records"]["vrm_consumption_fc"][0][1] > 100


async def test_hours_are_missing_while_the_gateway_was_offline(vrm):
    """Hours in which the gateway was offline are missing, not zero."""
    start = int(datetime(2025, 3, 1, tzinfo=UTC).timestamp())
    missing = set()
    for month in range(3):
        begin = start - month * 30 * 86_400
        stats = await vrm.get(
            f"{site(vrm.sim)}/stats?type=kwh&interval=hours&start={begin}&end={begin + 30 * 86_400}"
        )
        times = [at for at, _ in stats["records"]["Pc"]]
        missing |= {(later - at) // HOUR_MS - 1 for at, later in pairwise(times)}
    assert missing == {0, 3}


async def test_overall_statistics_have_four_periods_with_totals_and_percentages(vrm):
    """Each period has totals (`false` without data) and percentages as integers."""
    records = (await vrm.get(site(vrm.sim) + "/overallstats"))["records"]
    assert list(records) == ["year", "month", "week", "today"]
    assert records["year"]["totals"]["gc"] is False
    assert 98 <= sum(records["week"]["percentages"].values()) <= 102
    custom = await vrm.get(site(vrm.sim) + "/overallstats?type=custom&attributeCodes[]=Gb")
    assert list(custom["records"]["today"]["totals"]) == ["Gb"]


async def test_a_graph_is_keyed_by_ids_with_times_in_seconds(vrm):
    """Series are keyed by attribute ids as strings; points are [seconds, value]; `meta` has the codes."""
    start = int(NOON.timestamp()) - 3605
    path = f"{site(vrm.sim)}/widgets/Graph?attributeCodes[]=bs&attributeCodes[]=bv"
    path += f"&start={start}&end={start + 3600}"
    records = (await vrm.get(path))["records"]
    assert {key: meta["code"] for key, meta in records["meta"].items()} == {"143": "bv", "144": "bs"}
    assert [at for at, _ in records["data"]["144"]] == [start + 60 * step for step in range(60)]
    assert records["meta"]["144"]["formatWithUnit"] == "%.1F %%"
    assert records["instance"] == 0
    spread = (await vrm.get(path + "&useMinMax=1"))["records"]["data"]["144"]
    assert {len(point) for point in spread} == {4}


async def test_a_long_graph_has_wider_steps(vrm):
    """The step grows with the range: at most two points for each of 768 pixels."""
    end = int(NOON.timestamp())
    path = f"{site(vrm.sim)}/widgets/Graph?attributeCodes[]=bs&start={end - 30 * 86_400}&end={end}"
    points = (await vrm.get(path))["records"]["data"]["144"]
    assert 768 < len(points) <= 1536


async def test_a_graph_of_a_missing_instance_is_an_empty_list(vrm):
    """A graph without the instance is an empty list, as PHP encodes an empty map."""
    records = (await vrm.get(f"{site(vrm.sim)}/widgets/Graph?attributeCodes[]=bs&instance=7"))["records"]
    assert records["data"] == []


async def test_a_state_widget_has_rows_of_state_start_and_end(vrm):
    """Rows follow each other without gaps; `enums` has the names; a widget without device is empty."""
    end = int(NOON.timestamp())
    path = f"{site(vrm.sim)}/widgets/VeBusState?start={end - 86_400}&end={end}"
    records = (await vrm.get(path))["records"]
    rows = records["data"]["40"]
    assert all(one[0] != two[0] and one[2] == two[1] for one, two in pairwise(rows))
    assert (rows[0][1], rows[-1][2]) == (end - 86_400, end)
    assert {state for state, _, _ in rows} <= records["enums"]["40"].keys()
    assert records["sort"]["40"].keys() == records["enums"]["40"].keys()
    assert (
        records["buckets"]["40"]["original count"] >= records["buckets"]["40"]["resampled count"] == len(rows)
    )
    assert (await vrm.get(site(vrm.sim) + "/widgets/VeBusState?instance=9"))["records"]["data"] == {}


async def test_a_state_that_did_not_change_is_one_object(vrm):
    """A single row is an object instead of a list."""
    end = int(NOON.timestamp())
    path = f"{site(vrm.sim)}/widgets/BatteryRelayState?start={end - 3600}&end={end}"
    (row,) = (await vrm.get(path))["records"]["data"].values()
    assert row == {"0": "0", "1": end - 3600, "2": end}


async def test_the_gps_widget_has_its_attributes_one_level_down(vrm):
    """Latitude and longitude have the ids 4 and 5; values are text, the geofence JSON in a string."""
    records = (await vrm.get(site(vrm.sim) + "/widgets/GPS"))["records"]
    shown = records["data"]["attributes"]
    assert (shown["4"]["code"], shown["5"]["code"]) == ("lt", "lg")
    assert float(shown["4"]["rawValue"]) == pytest.approx(52.0907)
    assert (shown["5"]["value"], shown["5"]["valueFormattedWithUnit"]) == ("5.1214", "5.12140 LNG")
    assert NOON.timestamp() - 60 < int(shown["secondsAgo"]["value"]) <= NOON.timestamp()
    assert 0 <= int(shown["4"]["secondsAgo"]) < 60
    assert json.loads(records["data"]["geofence"])["type"] == "rectangle"


async def test_a_summary_of_an_unknown_instance_is_empty(vrm):
    """The summary of an unknown instance has only `hasOldData` and `secondsAgo`."""
    right = (await vrm.get(site(vrm.sim) + "/widgets/BatterySummary?instance=288"))["records"]
    assert right["data"]["51"]["code"] == "SOC"
    assert right["attributeOrder"][0] == 47
    wrong = (await vrm.get(site(vrm.sim) + "/widgets/BatterySummary?instance=5"))["records"]
    assert set(wrong["data"]) == {"hasOldData", "secondsAgo"}
    assert (await vrm.ask(site(vrm.sim) + "/widgets/NoSuchWidget"))[0] == 404


async def test_unknown_and_inaccessible_sites(vrm):
    """An unknown site or path is answered 404, another user's site 403."""
    assert (await vrm.ask("installations/1/stats"))[0] == 404
    assert (await vrm.ask("installations/151022/stats"))[0] == 403
    status, body = await vrm.ask("no/such/path")
    assert (status, body["success"]) == (404, False)


async def test_an_error_may_have_status_200_and_no_code(vrm):
    """Dynamic ESS without settings is an error with status 200, a list of texts and no code."""
    status, body = await vrm.ask(site(vrm.sim) + "/dynamic-ess-settings")
    assert (status, body) == (200, {"success": False, "errors": ["No settings found for this site"]})


async def test_the_rate_limit_answers_429_with_retry_after():
    """429 has a JSON body, and Retry-After in whole seconds."""
    async with Simulator(window=5, leaves_every_s=3.0) as sim, aiohttp.ClientSession() as session:
        vrm = Caller(sim, session, f"Token {sim.vrm_token}")
        for _ in range(5):
            await vrm.get("users/me")
        async with session.get(sim.vrm_url + "users/me", headers=vrm.headers) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] in {"2", "3"}
            assert (await response.json())["success"] is False
        assert sim.counters["limited"] == sim.vrm_rate_limit().rejected == 1
        assert (await vrm.under("").ask("auth/loginAsDemo"))[0] == 200


def test_the_rate_limit_admits_200_and_then_one_per_third_of_a_second():
    """The first 200 requests pass at once, then one per 0.33 s."""
    window = RollingWindow()
    assert [window.admit(0.0) for _ in range(200)] == [None] * 200
    assert window.admit(0.0) == pytest.approx(0.33)
    assert window.admit(0.32) == pytest.approx(0.01)
    assert window.admit(0.33) is None
    assert window.admit(0.34) == pytest.approx(0.32)
    assert window.level(100.0) == 0


def test_a_client_at_the_allowed_rate_is_never_rejected():
    """200 requests at once and then one per 0.33 s are never rejected, for an hour."""
    window = RollingWindow()
    window.fill(0.0, 200)
    assert all(window.admit(step * 0.33) is None for step in range(1, 11_000))
    assert window.rejected == 0


def test_rejected_requests_can_count_too():
    """With `count_rejected` each rejected request makes the wait longer."""
    kind, strict = RollingWindow(3), RollingWindow(3, count_rejected=True)
    for window in (kind, strict):
        for _ in range(10):
            window.admit(0.0)
    assert kind.admit(0.34) is None
    assert strict.admit(0.34) == pytest.approx(9 * 0.33 - 0.34 - 0.33, abs=0.7)

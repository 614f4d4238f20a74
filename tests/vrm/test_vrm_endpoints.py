"""What each method asks, and what it makes of the answer."""

import asyncio
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from energy_core.errors import NoData, NotFound, PermissionDenied
from tests.servers import vrm_samples as printed
from vrm_async.resources import installations, stats, tokens, users, widgets

ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")
START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 3, 2, tzinfo=UTC)
START_S, END_S = "1772323200", "1772409600"


def asked(mocked):
    """Return every request as (method, path, query as sorted pairs)."""
    return [
        (method, str(url.path).removeprefix("/v2/"), sorted(url.query.items()))
        for (method, url), calls in mocked.requests.items()
        for _ in calls
    ]


@pytest.fixture
def me(mocked):
    """The account is number 22."""
    mocked.get("https://vrmapi.victronenergy.com/v2/users/me", payload={"success": True, "user": {"id": 22}})


async def test_me(vrm, mocked):
    """`users.me` gives the account, whatever else the answer holds."""
    user = {
        "id": 22,
        "name": "demo",
        "email": "d@example.com",
        "country": "NL",
        "idAccessToken": None,
        "accessLevel": 0,
    }
    mocked.get(ANYTHING, payload={"success": True, "user": {**user, "new": 1}})
    me = await vrm.users.me()
    assert (me.id, me.name, me.email, me.country) == (22, "demo", "d@example.com", "NL")
    assert (me.access_token_id, me.access_level) == (None, 0)
    assert me.raw["new"] == 1
    assert "d@example.com" not in repr(me)
    assert asked(mocked) == [("GET", "users/me", [])]


async def test_installations_find_the_user_by_themselves_once(vrm, mocked, me):
    """The account's id is asked for once, however often sites are."""
    mocked.get(ANYTHING, body=printed.INSTALLATIONS, repeat=True)
    assert [site.id for site in await vrm.sites()] == [100]
    await vrm.sites(extended=True)
    assert (await vrm.site(100, extended=True)).id == 100
    assert asked(mocked) == [
        ("GET", "users/me", []),
        ("GET", "users/22/installations", []),
        ("GET", "users/22/installations", [("extended", "1")]),
        ("GET", "users/22/installations", [("extended", "1"), ("idSite", "100")]),
    ]


async def test_installations_of_another_user(vrm, mocked):
    """A given user id needs no question about the own one."""
    mocked.get(ANYTHING, body=printed.INSTALLATIONS)
    await vrm.sites(user_id=7)
    assert asked(mocked) == [("GET", "users/7/installations", [])]


async def test_system_overview(vrm, mocked):
    """The devices are a sequence."""
    mocked.get(ANYTHING, body=printed.SYSTEM_OVERVIEW)
    overview = await vrm.installations.system_overview(1039)
    assert [device.instance for device in overview.devices] == [None, 23]
    assert overview.devices[0].name == "Gateway"
    assert asked(mocked) == [("GET", "installations/1039/system-overview", [])]


async def test_stats_of_a_day(vrm, mocked):
    """Aware datetimes of any zone become unix seconds, and kWh is the unit."""
    mocked.get(ANYTHING, body=printed.STATS)
    here = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    found = await vrm.stats.get(975, type="kwh", interval="hours", start=here, end=END)
    assert found["Pc"].unit == "kWh"
    assert [series.code for series in found] == ["Pc"]
    assert dict(found).keys() == {"Pc"}
    assert asked(mocked) == [
        (
            "GET",
            "installations/975/stats",
            [("end", END_S), ("interval", "hours"), ("start", START_S), ("type", "kwh")],
        )
    ]


async def test_stats_of_chosen_codes(vrm, mocked):
    """Codes make the type custom and are repeated; instances are kept apart on request."""
    mocked.get(ANYTHING, payload={"success": True, "records": [], "totals": []})
    found = await vrm.stats.get(1, start=START, end=END, attribute_codes=["Gb", "Gc"], show_instance=True)
    assert len(found) == 0
    assert asked(mocked)[0][2] == [
        ("attributeCodes[]", "Gb"),
        ("attributeCodes[]", "Gc"),
        ("end", END_S),
        ("interval", "hours"),
        ("show_instance", "1"),
        ("start", START_S),
        ("type", "custom"),
    ]


async def test_stats_of_an_empty_period(vrm, mocked):
    """The vendor's no_data is `NoData`, with everything needed to understand it."""
    mocked.get(ANYTHING, body=printed.STATS_REFUSED)
    with pytest.raises(NoData) as empty:
        await vrm.stats.get(1, start=START, end=END)
    error = empty.value
    assert (error.vendor, error.operation, error.method) == ("vrm", "stats.get", "GET")
    assert (error.path, error.status, error.error_code) == ("installations/{idSite}/stats", 200, "no_data")


async def test_overall_stats(vrm, mocked):
    """Without a type VRM chooses; with codes the type is custom."""
    mocked.get(ANYTHING, body=printed.OVERALL_STATS, repeat=True)
    assert (await vrm.stats.overall(1)).today.percentages["Gc"] == 55
    await vrm.stats.overall(1, type="kwh")
    await vrm.stats.overall(1, attribute_codes=["Gb"])
    assert asked(mocked) == [
        ("GET", "installations/1/overallstats", []),
        ("GET", "installations/1/overallstats", [("type", "kwh")]),
        ("GET", "installations/1/overallstats", [("attributeCodes[]", "Gb"), ("type", "custom")]),
    ]


async def test_graph(vrm, mocked):
    """Instance 0 is sent, for it is an instance; the range is optional."""
    mocked.get(
        ANYTHING, payload={"success": True, "records": {"data": {}, "meta": {}, "instance": 0}}, repeat=True
    )
    await vrm.widgets.graph(1, attribute_codes=["bs", "bv"], instance=0)
    await vrm.widgets.graph(1, attribute_codes=("VS",), instance=257, start=START, end=END)
    await vrm.widgets.graph(1, attribute_codes={"VS"}, instance=None, start=START)
    path = "installations/1/widgets/Graph"
    assert asked(mocked) == [
        ("GET", path, [("attributeCodes[]", "bs"), ("attributeCodes[]", "bv"), ("instance", "0")]),
        ("GET", path, [("attributeCodes[]", "VS"), ("end", END_S), ("instance", "257"), ("start", START_S)]),
        ("GET", path, [("attributeCodes[]", "VS"), ("start", START_S)]),
    ]


async def test_any_widget_by_name(vrm, mocked):
    """Summaries take an instance, states a range too; the list of names is open."""
    value = {"success": True, "records": {"data": {"51": {"code": "SOC", "rawValue": "76.5"}}}}
    mocked.get(ANYTHING, payload=value)
    mocked.get(ANYTHING, payload={"success": True, "records": {"data": {}}})
    await vrm.widgets.summary(1, "NotYetInvented", instance=258)
    await vrm.widgets.state(1, "VeBusState", 0, START, END)
    assert asked(mocked) == [
        ("GET", "installations/1/widgets/NotYetInvented", [("instance", "258")]),
        (
            "GET",
            "installations/1/widgets/VeBusState",
            [("end", END_S), ("instance", "0"), ("start", START_S)],
        ),
    ]


async def test_tokens(vrm, mocked, me):
    """Tokens are made, listed and revoked under the account's id."""
    mocked.post(ANYTHING, body=printed.TOKEN_CREATED)
    mocked.get(ANYTHING, body=printed.TOKEN_LIST)
    mocked.delete(ANYTHING, body=printed.TOKEN_REVOKED, repeat=True)
    assert (await vrm.tokens.create("Token #1", expires=END)).id == 123
    assert len(await vrm.tokens.list()) == 3
    assert await vrm.tokens.revoke(50) == 3
    assert await vrm.tokens.revoke(all=True) == 3
    assert [(method, path) for method, path, _ in asked(mocked)] == [
        ("GET", "users/me"),
        ("POST", "users/22/accesstokens/create"),
        ("GET", "users/22/accesstokens/list"),
        ("DELETE", "users/22/accesstokens/50"),
        ("DELETE", "users/22/accesstokens/*"),
    ]


async def test_every_token_is_revoked_only_on_purpose(vrm, mocked, me):
    """Neither nothing nor both is understood as everything."""
    for wrong in ({}, {"token_id": 5, "all": True}, {"all": False}, {"all": 1}):
        with pytest.raises(ValueError, match="all=True"):
            await vrm.tokens.revoke(**wrong)
    assert asked(mocked) == []


def test_what_changes_something_is_never_repeated():
    """Revoking may be a GET and still is declared unrepeatable; reading is repeatable."""
    assert not tokens.REVOKE.repeatable
    assert (tokens.REVOKE_ELSEWHERE.method, tokens.REVOKE_ELSEWHERE.repeatable) == ("GET", False)
    assert not tokens.CREATE.repeatable
    assert not tokens.CREATE_ELSEWHERE.repeatable
    for reading in (users.ME, users.SITES, tokens.LIST, stats.STATS, stats.OVERALL, widgets.WIDGET):
        assert reading.repeatable
    assert installations.DIAGNOSTICS.repeatable
    assert installations.SYSTEM_OVERVIEW.repeatable


# --- pages ----------------------------------------------------------------------------------------------


def page(first, length, total=None):
    records = [{"idDataAttribute": number, "code": f"c{number}"} for number in range(first, first + length)]
    return {"success": True, "records": records, **({} if total is None else {"num_records": total})}


async def ids(diagnostics):
    return [record.attribute_id async for record in diagnostics]


@pytest.mark.parametrize("count", [3, 1000])
async def test_diagnostics_go_on_until_an_empty_page(vrm, mocked, count):
    """A page shorter than asked for is no end, and a number that counts only its own page says nothing."""
    mocked.get(ANYTHING, payload=page(0, 3, total=3))
    mocked.get(ANYTHING, payload=page(3, 3, total=3))
    mocked.get(ANYTHING, payload=page(6, 1, total=1))
    mocked.get(ANYTHING, payload=page(7, 0, total=0))
    assert await ids(vrm.installations.diagnostics(1, page_size=count)) == list(range(7))
    assert [query for _, _, query in asked(mocked)] == [
        [("count", str(count)), ("page", number)] for number in ("1", "2", "3", "4")
    ]
    assert vrm.drift.total == 0


async def test_diagnostics_end_where_a_page_brings_nothing_new(vrm, mocked):
    """Also when its values have changed since; a record that the list shifted to the next page comes once."""
    first, again = page(0, 3), page(0, 3)
    again["records"][0]["rawValue"] = 5
    mocked.get(ANYTHING, payload=first)
    mocked.get(ANYTHING, payload=page(2, 3))
    mocked.get(ANYTHING, payload=again)
    assert await ids(vrm.installations.diagnostics(1)) == [0, 1, 2, 3, 4]
    assert len(asked(mocked)) == 3


async def test_fewer_diagnostics_than_were_announced_are_counted(vrm, mocked):
    """The list ends with an empty page, and drift says that something is missing."""
    mocked.get(ANYTHING, payload=page(0, 3, total=7))
    mocked.get(ANYTHING, payload=page(3, 3, total=7))
    mocked.get(ANYTHING, payload=page(6, 0, total=7))
    assert await ids(vrm.installations.diagnostics(1)) == list(range(6))
    assert dict(vrm.drift.counts) == {("Diagnostics", "records", "fewer came than were announced"): 1}


async def test_two_records_that_differ_only_in_their_id_are_two(vrm, mocked):
    """Two devices of one kind may share an instance number, on different pages too."""
    mocked.get(ANYTHING, payload={"success": True, "records": [{"idDataAttribute": 1, "id": 8}]})
    mocked.get(ANYTHING, payload={"success": True, "records": [{"idDataAttribute": 1, "id": 9}]})
    mocked.get(ANYTHING, payload=page(0, 0))
    assert [record.id async for record in vrm.installations.diagnostics(1)] == [8, 9]


async def test_a_page_that_cannot_be_read_is_no_end(vrm, mocked):
    """Its records are malformed and counted; the next page is read."""
    mocked.get(ANYTHING, payload={"success": True, "records": ["damaged", "damaged"]})
    mocked.get(ANYTHING, payload=page(0, 2))
    mocked.get(ANYTHING, payload=page(0, 0))
    assert await ids(vrm.installations.diagnostics(1)) == [0, 1]
    assert vrm.drift.counts["Diagnostic", "record", "malformed"] == 2


async def test_diagnostics_believe_a_total(vrm, mocked):
    """Where the count covers all pages, no page is asked for in vain."""
    mocked.get(ANYTHING, payload=page(0, 3, total=6))
    mocked.get(ANYTHING, payload=page(3, 3, total=6))
    assert await ids(vrm.installations.diagnostics(1, page_size=3)) == list(range(6))
    assert len(asked(mocked)) == 2


async def test_diagnostics_ask_for_a_thousand(vrm, mocked):
    """The largest page is the default."""
    mocked.get(ANYTHING, payload=page(0, 1))
    mocked.get(ANYTHING, payload=page(1, 0))
    assert await ids(vrm.installations.diagnostics(1)) == [0]
    assert asked(mocked) == [
        ("GET", "installations/1/diagnostics", [("count", "1000"), ("page", number)]) for number in ("1", "2")
    ]


async def test_diagnostics_end_with_a_server_that_ignores_pages(vrm, mocked):
    """The same page again is no new page."""
    mocked.get(ANYTHING, payload=page(0, 3), repeat=True)
    assert await ids(vrm.installations.diagnostics(1, page_size=3)) == [0, 1, 2]


async def test_diagnostics_end_where_a_page_has_no_data(vrm, mocked):
    """`no_data` past the last page is the end, on the first it is an error."""
    mocked.get(ANYTHING, payload=page(0, 3))
    mocked.get(ANYTHING, body=printed.STATS_REFUSED, repeat=True)
    assert await ids(vrm.installations.diagnostics(1, page_size=3)) == [0, 1, 2]
    with pytest.raises(NoData):
        await ids(vrm.installations.diagnostics(1, page_size=3))


async def test_a_malformed_diagnostic_costs_no_other(vrm, mocked):
    """It is counted as drift, and the page still counts as full."""
    first = page(0, 3)
    first["records"][1] = "damaged"
    mocked.get(ANYTHING, payload=first)
    mocked.get(ANYTHING, payload=page(3, 1))
    mocked.get(ANYTHING, payload=page(4, 0))
    assert await ids(vrm.installations.diagnostics(1, page_size=3)) == [0, 2, 3]
    assert vrm.drift.counts["Diagnostic", "record", "malformed"] == 1


def fleet_page(*site_ids, **announced):
    records = [
        site if isinstance(site, str) else {"idSite": site, "description": f"S{site}", "lastTimestamp": 1}
        for site in site_ids
    ]
    return {"success": True, "records": records, "attributes": [], **announced}


async def test_a_question_about_the_fleet_reads_all_pages(vrm, mocked):
    """VRM may give fewer sites a page than it was asked for; a repeated site comes once."""
    for answer in (fleet_page(1, 2), fleet_page("damaged"), fleet_page(2, 3), fleet_page()):
        mocked.get(ANYTHING, payload=answer)
    found = vrm.fleet.find("bs>=50")
    assert [site.site_id for site in await found] == [1, 2, 3]
    assert [dict(query)["page"] for _, _, query in asked(mocked)] == ["1", "2", "3", "4"]
    assert found.raw["records"] == fleet_page(1, 2)["records"]


async def test_a_question_about_the_fleet_believes_a_number_and_ends_without_data(vrm, mocked):
    """Where a number is announced no page is asked for in vain; `no_data` past the first page is the end."""
    mocked.get(ANYTHING, payload=fleet_page(1, 2, num_records=3))
    mocked.get(ANYTHING, payload=fleet_page(3, num_records=3))
    assert len(await vrm.fleet.find("bs>=50")) == 3
    mocked.get(ANYTHING, payload=fleet_page(1, 2))
    mocked.get(ANYTHING, body=printed.STATS_REFUSED)
    assert len(await vrm.fleet.find("bs>=50")) == 2
    mocked.get(ANYTHING, body=printed.STATS_REFUSED)
    with pytest.raises(NoData):
        await vrm.fleet.find("bs>=50")


async def test_one_page_of_the_fleet(vrm, mocked):
    """Whoever asks for a page gets that page, with one request."""
    mocked.get(ANYTHING, payload=fleet_page(1, 2))
    assert len(await vrm.fleet.find("bs>=50", page=2, page_size=2)) == 2
    assert [dict(query)["page"] for _, _, query in asked(mocked)] == ["2"]


async def test_two_tasks_share_the_records_of_one_iterator(vrm, mocked):
    """Nothing is doubled when several tasks take from it."""
    mocked.get(ANYTHING, payload=page(0, 3))
    mocked.get(ANYTHING, payload=page(3, 1))
    mocked.get(ANYTHING, payload=page(4, 0))
    diagnostics = vrm.installations.diagnostics(1, page_size=3)
    both = await asyncio.gather(ids(diagnostics), ids(diagnostics))
    assert sorted(both[0] + both[1]) == [0, 1, 2, 3]


async def test_a_failed_page_is_asked_for_again(vrm, mocked):
    """A step that fails loses nothing: the next one asks for the same page."""
    mocked.get(ANYTHING, payload=page(0, 2))
    mocked.get(ANYTHING, payload={"success": False}, status=403)
    mocked.get(ANYTHING, payload=page(2, 1))
    mocked.get(ANYTHING, payload=page(3, 0))
    diagnostics = vrm.installations.diagnostics(1, page_size=2)
    found = [(await anext(diagnostics)).attribute_id, (await anext(diagnostics)).attribute_id]
    with pytest.raises(PermissionDenied):
        await anext(diagnostics)
    found += await ids(diagnostics)
    assert found == [0, 1, 2]


async def test_a_site_that_is_not_there(vrm, mocked):
    """404 is `NotFound`, with or without an envelope."""
    mocked.get(ANYTHING, status=404, body=b"<html>gone</html>", content_type="text/html")
    mocked.get(ANYTHING, status=404, payload={"success": False, "errors": "gone"})
    for _ in range(2):
        with pytest.raises(NotFound):
            await vrm.installations.system_overview(1)

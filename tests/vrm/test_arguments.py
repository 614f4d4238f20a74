"""Arguments that many methods take: a site, a range, codes, an instance, ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from energy_core.clock import SystemClock
from tests.servers.vrm_cases import (
    HOSTILE_IDS,
    OK,
)
from vrm_async import Unlisted, VRMClient
from vrm_async.models import Alarm, DynamicEssSettings

START = datetime(2026, 3, 1, tzinfo=UTC)

DAY = timedelta(days=1)

NAIVE = datetime(2026, 3, 1)  # noqa: DTZ001  (that is the point)

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)

RULE = Alarm(attribute_id=143, low=46.0)

SWITCHED_ON = DynamicEssSettings(is_on=True)

OF_A_SITE = {
    "site": lambda v, i: v.site(i),
    "calendar": lambda v, i: v.calendar(i),
    "installations.system_overview": lambda v, i: v.installations.system_overview(i),
    "installations.diagnostics": lambda v, i: anext(v.installations.diagnostics(i)),
    "stats.get": lambda v, i: v.stats.get(i, START, START + DAY),
    "stats.history": lambda v, i: anext(v.stats.history(i)),
    "stats.overall": lambda v, i: v.stats.overall(i),
    "widgets.graph": lambda v, i: v.widgets.graph(i, attribute_codes=["bs"]),
    "widgets.graph_history": lambda v, i: anext(v.widgets.graph_history(i, START, attribute_codes=["bs"])),
    "widgets.summary": lambda v, i: v.widgets.summary(i, "BatterySummary"),
    "widgets.state": lambda v, i: v.widgets.state(i, "VeBusState"),
    "widgets.state_history": lambda v, i: anext(v.widgets.state_history(i, "VeBusState", start=START)),
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
    "dynamic_ess.save": lambda v, i: v.dynamic_ess.save(i, SWITCHED_ON),
    "dynamic_ess.change": lambda v, i: v.dynamic_ess.change(i, SWITCHED_ON),
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


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(("wrong", "expected"), HOSTILE_IDS[:-1])
async def test_a_wrong_user_or_token_id_is_named(vrm, wrong, expected):
    """Ids of users and tokens are non-negative ints, as ids of sites."""
    with pytest.raises(expected, match="user_id"):
        await vrm.sites(user_id=wrong)
    with pytest.raises(expected, match="site"):
        await vrm.site(wrong, user_id=1)
    with pytest.raises(expected, match="token_id"):
        await vrm.tokens.revoke(wrong)
    with pytest.raises(expected, match="site"):
        vrm.live(1, wrong)


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(
    ("span", "expected", "named"),
    [
        ({"start": NAIVE, "end": START + DAY}, ValueError, "start must be an aware"),
        ({"start": START, "end": NAIVE}, ValueError, "end must be an aware"),
        ({"start": START, "end": START}, ValueError, "end must be after start"),
        ({"start": START + DAY, "end": START}, ValueError, "end must be after start"),
        ({"start": 1772323200, "end": START}, TypeError, "start must be a datetime"),
        ({"start": START.date(), "end": START}, TypeError, "start must be a datetime"),
        (
            {"start": datetime(1969, 1, 1, tzinfo=UTC), "end": START},
            ValueError,
            "start must not lie before 1970",
        ),
    ],
)
async def test_a_wrong_range_is_named(vrm, span, expected, named):
    """Naive, reversed and empty ranges fail wherever there is a range."""
    with pytest.raises(expected, match=named):
        await vrm.stats.get(1, **span)
    with pytest.raises(expected, match=named):
        await vrm.widgets.graph(1, attribute_codes=["bs"], **span)
    with pytest.raises(expected, match=named):
        await vrm.widgets.state(1, "VeBusState", **span)


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], ValueError),
        ("bs", TypeError),
        ([1], TypeError),
        ([""], ValueError),
        (["b s"], ValueError),
        (["a\r\nb"], ValueError),
    ],
)
async def test_wrong_codes_are_named(vrm, codes, expected):
    """Codes are a non-empty list of str; a single str is an error."""
    with pytest.raises(expected, match="attribute_codes"):
        await vrm.widgets.graph(1, attribute_codes=codes)
    with pytest.raises(expected, match="attribute_codes"):
        await vrm.stats.get(1, start=START, end=START + DAY, attribute_codes=codes)


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(("wrong", "expected"), HOSTILE_IDS[:-1])
async def test_a_wrong_instance_is_named(vrm, wrong, expected):
    """An instance is a non-negative int without an upper bound."""
    for ask in (
        vrm.widgets.graph(1, attribute_codes=["bs"], instance=wrong),
        vrm.widgets.summary(1, "BatterySummary", instance=wrong),
        vrm.widgets.state(1, "VeBusState", instance=wrong),
    ):
        with pytest.raises(expected, match="instance"):
            await ask


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", OF_A_SITE)
async def test_a_hostile_site_id_is_refused(vrm, name):
    """Every method that takes a site raises with the argument's name."""
    for wrong, expected in HOSTILE_IDS:
        with pytest.raises(expected, match="site"):
            await OF_A_SITE[name](vrm, wrong)


@pytest.mark.usefixtures("nothing_is_sent")
def test_an_unlisted_value():
    """`Unlisted` is a plain value that compares and prints."""
    assert Unlisted("new") == Unlisted("new")
    assert repr(Unlisted(7)) == "Unlisted(value=7)"


async def test_a_site_stands_for_its_id(client, fake):
    """Every method takes the object that `sites` returns, and its id alike."""
    fake.answers("GET", "users/22/installations", {**OK, "records": [{"idSite": 5, "timezone": "UTC"}]})
    fake.answers("GET", "installations/5/tags", {**OK, "tags": {}})
    fake.answers("POST", "installation-overview-download", {**OK, "data": {}})
    (site,) = await client.sites()
    await client.tags.get(site)
    await client.tags.get(5)
    await client.fleet.overview([site])
    assert [seen.path for seen in fake.asked[-3:]] == [
        *["installations/5/tags"] * 2,
        "installation-overview-download",
    ]
    assert fake.asked[-1].json["siteIds"] == [5]
    assert client.live(site).id == client.live(5).id


async def test_a_period_is_that_of_the_site(client, fake):
    """A `Site` has its time zone; for an id the list of sites is requested once, and only for a period."""
    home = {"idSite": 5, "timezone": "Europe/Amsterdam"}
    fake.answers("GET", "users/22/installations", {**OK, "records": [home, {"idSite": 6}]})
    answer = {**OK, "records": {}, "totals": {}}
    for number in (5, 6):
        fake.answers("GET", f"installations/{number}/stats", answer)
    start, end = datetime(2026, 4, 30, 22, tzinfo=UTC), datetime(2026, 5, 31, 22, tzinfo=UTC)
    await client.stats.get(5, start, end, interval="days")
    assert [seen.path for seen in fake.asked] == ["installations/5/stats"]
    (site, _) = await client.sites()
    for call in (
        client.stats.get(site, "2026-05", interval="days"),
        client.stats.get(5, period="2026-05", interval="days"),
        client.stats.get(5, "2026-05", interval="days"),
    ):
        await call
        asked = dict(fake.asked[-1].query)
        assert (asked["start"], asked["end"]) == (str(int(start.timestamp())), str(int(end.timestamp())))
    assert len(fake.asked_for("users/22/installations")) == 2
    await client.stats.get(6, "2026-05", interval="days")  # no time zone is known: the days are those of UTC
    assert dict(fake.asked[-1].query)["start"] == str(int(datetime(2026, 5, 1, tzinfo=UTC).timestamp()))


async def test_the_last_days_end_now(fake):
    """By the client's clock; days begin at the site's midnight."""
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    fake.answers(
        "GET", "users/22/installations", {**OK, "records": [{"idSite": 5, "timezone": "Europe/Amsterdam"}]}
    )
    fake.answers("GET", "installations/5/alarm-log", {**OK, "records": []})

    class Clock(SystemClock):
        def utcnow(self):
            return now

    async with VRMClient(token="0" * 64, base_url=fake.url, clock=Clock()) as client:
        assert await client.alarms.log(5, last=(3, "days")) == ()
        assert await client.alarms.log(5, last=(6, "hours")) == ()
    days, hours = (dict(seen.query) for seen in fake.asked_for("installations/5/alarm-log"))
    assert days["start"] == str(int(datetime(2026, 3, 27, 23, tzinfo=UTC).timestamp()))
    assert days["end"] == hours["end"] == str(int(now.timestamp()))
    assert int(hours["end"]) - int(hours["start"]) == 6 * 3600

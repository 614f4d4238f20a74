"""Statistics of a site."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import NoData
from tests.servers import vrm_samples as printed
from tests.servers.vrm_cases import (
    check_any_value,
    check_clean,
    check_no_object,
)
from vrm_async import Unlisted, VRMClient
from vrm_async.decoding import series
from vrm_async.models import Site
from vrm_async.resources.stats import INTERVALS, TYPES

TOKEN = "0123456789abcdef" * 4

ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")

START = datetime(2026, 3, 1, tzinfo=UTC)

DAY = timedelta(days=1)

END = datetime(2026, 3, 2, tzinfo=UTC)

START_S, END_S = "1772323200", "1772409600"

ANSWERS = {
    "stats": (
        series.stats,
        {"success": True, "records": {"Pc": [[1772366400000, 1.5]]}, "totals": {"Pc": 1.5, "kwh": False}},
    ),
    "stats by instance": (
        series.stats,
        {
            "records": [{"instance": 0, "stats": {"bs": [[1772366400000, 1, 2, 3]]}}],
            "totals": [{"instance": 0, "totals": {"bs": False}}],
        },
    ),
    "overall": (
        series.overall,
        {"records": {"today": {"totals": {"Pc": 1.0}, "percentages": {"Pc": 10}}, "week": False}},
    ),
}


def asked(mocked):
    """Return every request as (method, path, query as sorted pairs)."""
    return [
        (method, str(url.path).removeprefix("/v2/"), sorted(url.query.items()))
        for (method, url), calls in mocked.requests.items()
        for _ in calls
    ]


@pytest.mark.usefixtures("nothing_is_sent")
async def test_codes_belong_to_the_type_custom(vrm):
    """Codes need the type, and the type needs codes."""
    for wrong in ({"type": "kwh", "attribute_codes": ["bs"]}, {"type": "custom"}):
        with pytest.raises(ValueError, match="attribute_codes"):
            await vrm.stats.get(1, start=START, end=START + DAY, **wrong)


@pytest.mark.usefixtures("nothing_is_sent")
async def test_an_unknown_interval_or_type_is_answered_with_the_known_ones(vrm):
    """The message has the allowed values."""
    with pytest.raises(ValueError, match="interval must be one of") as wrong:
        await vrm.stats.get(1, start=START, end=START + DAY, interval="minutes")
    assert all(known in str(wrong.value) for known in INTERVALS)
    with pytest.raises(ValueError, match="type must be one of") as wrong:
        await vrm.stats.get(1, start=START, end=START + DAY, type="money")
    assert all(known in str(wrong.value) for known in TYPES)
    with pytest.raises(ValueError, match="type must be one of kwh, custom"):
        await vrm.stats.overall(1, type="forecast")


@pytest.mark.usefixtures("nothing_is_sent")
async def test_a_range_is_measured_in_hours_that_pass(vrm):
    """VRM counts seconds: a local October is an hour longer than 31 days of 24 hours."""
    home = ZoneInfo("Europe/Amsterdam")
    with pytest.raises(ValueError, match="31 days"):
        await vrm.stats.get(
            1, start=datetime(2026, 10, 1, tzinfo=home), end=datetime(2026, 11, 1, tzinfo=home)
        )


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(
    ("interval", "start", "last", "named"),
    [
        ("15mins", START, START + 31 * DAY, "31 days"),
        ("hours", START, START + 31 * DAY, "31 days"),
        ("days", START, START + 180 * DAY, "180 days"),
        ("weeks", START, START + 140 * DAY, "140 days"),
        ("months", START, datetime(2028, 3, 1, tzinfo=UTC), "24 months"),
        ("months", datetime(2026, 12, 31, tzinfo=UTC), datetime(2028, 12, 31, tzinfo=UTC), "24 months"),
        ("months", datetime(2024, 2, 29, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC), "24 months"),
        ("years", START, datetime(2031, 3, 1, tzinfo=UTC), "60 months"),
    ],
)
async def test_a_range_beyond_the_cap_is_refused_by_name(interval, start, last, named, mocked):
    """Up to the documented limit a request is sent; beyond it VRM would answer as if it had no data."""
    mocked.get(ANYTHING, payload={"success": True, "records": [], "totals": []})
    async with VRMClient(token=TOKEN) as vrm:
        await vrm.stats.get(1, interval=interval, start=start, end=last)
        mocked.requests.clear()
        with pytest.raises(ValueError, match=named):
            await vrm.stats.get(1, interval=interval, start=start, end=last + timedelta(seconds=1))


async def test_stats_of_a_day(vrm, mocked):
    """Aware datetimes of any zone become Unix seconds; the unit is kWh."""
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


@pytest.mark.parametrize(
    ("last", "interval"), [((2, "hours"), "hours"), ((30, "days"), "days"), ((12, "months"), "months")]
)
async def test_the_unit_of_last_is_the_interval(last, interval, mocked):
    """The last thirty days come as days, unless another interval is given; other ranges come as hours."""
    site = Site(id=1, timezone="Europe/Berlin")
    mocked.get(ANYTHING, payload={"success": True, "records": [], "totals": []}, repeat=True)
    async with VRMClient(token=TOKEN) as vrm:
        await vrm.stats.get(site, last=last)
        await vrm.stats.get(site, last=(2, "days"), interval="15mins")
        await vrm.stats.get(site, START, END)
    assert [dict(query)["interval"] for _, _, query in asked(mocked)] == [interval, "15mins", "hours"]


async def test_stats_of_chosen_codes(vrm, mocked):
    """Codes make the type custom; `show_instance` keeps device instances apart."""
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
    """VRM's no_data is an answer without series, whose table has an empty column for each usual code."""
    mocked.get(ANYTHING, body=printed.STATS_REFUSED)
    empty = await vrm.stats.get(1, start=START, end=END)
    assert len(empty) == 0
    assert empty.to_polars().shape == (0, 10)
    assert empty.to_polars().columns[:3] == ["time", "pv_to_battery_kwh", "pv_to_home_kwh"]


@pytest.mark.parametrize("interval", ["2hours", Unlisted("minutes")])
async def test_no_data_may_mean_that_a_range_is_too_long(vrm, mocked, interval):
    """Of an interval without a documented longest range, it is `NoData` with operation, status and code."""
    mocked.get(ANYTHING, body=printed.STATS_REFUSED)
    with pytest.raises(NoData) as empty:
        await vrm.stats.get(1, start=START, end=END, interval=interval)
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


@pytest.mark.parametrize("name", ANSWERS)
def test_a_clean_answer_has_no_drift(name):
    """Also for a strict client, but for keys that the documents do not have."""
    check_clean(ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_any_value_at_any_place(name, data):
    """The answer is read, or an `EnergyError` is raised; in strict mode too."""
    check_any_value(ANSWERS[name], data)


@pytest.mark.parametrize("name", ["overall"])
def test_an_answer_that_is_not_an_object(name):
    """It raises `DecodeError`."""
    check_no_object(ANSWERS[name])

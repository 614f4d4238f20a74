"""Requests about many sites."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import NoData
from tests.servers import vrm_samples as printed
from tests.servers.vrm_cases import (
    OK,
    check_any_value,
    check_clean,
    check_drift,
    check_hostile_id,
    check_missing_part,
    check_no_object,
    check_wrong,
    read_answer,
)
from vrm_async.resources import fleet

ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")

SEEN = 1772366400

SEEN_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)

WRONG = {
    "a condition that is a number": (lambda v: v.fleet.find([5]), TypeError, "conditions must hold str"),
    "no condition": (lambda v: v.fleet.find([]), ValueError, "conditions"),
    "six conditions": (lambda v: v.fleet.find("a,b,c,d,e,f"), ValueError, "1 to 5, not 6"),
    "a condition of two lines": (lambda v: v.fleet.find(["bs>1\r\nx"]), ValueError, "conditions"),
    "a page before the first": (lambda v: v.fleet.find("bs", page=0), ValueError, "page"),
    "a page too large": (lambda v: v.fleet.find("bs", page_size=1001), ValueError, r"1\.\.1000"),
    "no sites": (lambda v: v.fleet.overview([]), ValueError, "sites"),
    "columns in a list": (lambda v: v.fleet.overview(columns=["name"]), TypeError, "columns"),
}

NUMBERS = {
    "sites": lambda v, i: v.fleet.overview([i]),
    "page": lambda v, i: v.fleet.find("bs", page=i),
    "page_size": lambda v, i: v.fleet.find("bs", page_size=i),
}

ANSWERS = {
    "fleet": (
        fleet.read_page,
        {
            "records": [
                {"idSite": 1, "description": "Home", "lastTimestamp": SEEN, "value_bs": 52.5, "value_S": "x"}
            ],
            "attributes": [{"idDataAttribute": 144, "code": "bs", "formatWithUnit": "%.1F %%"}],
        },
    ),
    "overview": (fleet.read_overview, {"data": {"1": {"Installation name": "Home", "Load": "118 W"}}}),
}


def read(name, payload=None):
    """Read a clean answer of `ANSWERS`, or another one."""
    return read_answer(ANSWERS[name], payload)


def asked(mocked):
    """Return every request as (method, path, query as sorted pairs)."""
    return [
        (method, str(url.path).removeprefix("/v2/"), sorted(url.query.items()))
        for (method, url), calls in mocked.requests.items()
        for _ in calls
    ]


def fleet_page(*site_ids, **announced):
    records = [
        site if isinstance(site, str) else {"idSite": site, "description": f"S{site}", "lastTimestamp": 1}
        for site in site_ids
    ]
    return {"success": True, "records": records, "attributes": [], **announced}


async def test_find_reads_all_pages(vrm, mocked):
    """VRM may send fewer sites a page than requested; a duplicate site is dropped."""
    for answer in (fleet_page(1, 2), fleet_page("damaged"), fleet_page(2, 3), fleet_page()):
        mocked.get(ANYTHING, payload=answer)
    found = vrm.fleet.find("bs>=50")
    assert [site.site_id for site in await found] == [1, 2, 3]
    assert [dict(query)["page"] for _, _, query in asked(mocked)] == ["1", "2", "3", "4"]
    assert found.raw["records"] == fleet_page(1, 2)["records"]


async def test_where_the_list_of_find_ends(vrm, mocked):
    """An announced number saves a request; `no_data` past the first page ends the list."""
    mocked.get(ANYTHING, payload=fleet_page(1, 2, num_records=3))
    mocked.get(ANYTHING, payload=fleet_page(3, num_records=3))
    assert len(await vrm.fleet.find("bs>=50")) == 3
    mocked.get(ANYTHING, payload=fleet_page(1, 2))
    mocked.get(ANYTHING, body=printed.STATS_REFUSED)
    assert len(await vrm.fleet.find("bs>=50")) == 2
    mocked.get(ANYTHING, body=printed.STATS_REFUSED)
    with pytest.raises(NoData):
        await vrm.fleet.find("bs>=50")


async def test_find_reads_one_page(vrm, mocked):
    """`page` reads that page with one request."""
    mocked.get(ANYTHING, payload=fleet_page(1, 2))
    assert len(await vrm.fleet.find("bs>=50", page=2, page_size=2)) == 2
    assert [dict(query)["page"] for _, _, query in asked(mocked)] == ["2"]


async def test_requests_of_find_and_overview(client, fake):
    """Conditions are joined by commas; the overview requests JSON, and by default every site."""
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


def test_values_of_the_fleet():
    """value_<code> becomes a mapping by code; lastTimestamp may be in s or ms."""
    (site,) = read("fleet").page.records
    assert dict(site.values) == {"bs": 52.5, "S": "x"}
    assert (site.site_id, site.name, site.last_seen) == (1, "Home", SEEN_AT)
    assert read("fleet").attributes[0].unit == "%"
    records = [{"idSite": 1, "lastTimestamp": SEEN * 1000, "value_bs": False}]
    (late,) = read("fleet", {"records": records}).page.records
    assert late.last_seen == SEEN_AT
    assert late.values == {"bs": None}


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_is_named(vrm, name):
    """The message has the argument, and the allowed values where there is a list."""
    await check_wrong(vrm, WRONG[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", NUMBERS)
async def test_a_wrong_number_is_named(vrm, name):
    """An id is a non-negative int; the message has the argument."""
    await check_hostile_id(vrm, name, NUMBERS[name])


@pytest.mark.parametrize("name", ANSWERS)
def test_a_clean_answer_has_no_drift(name):
    """Also for a strict client, but for keys that the documents do not have."""
    check_clean(ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_any_value_at_any_place(name, data):
    """The answer is read, or an `EnergyError` is raised; in strict mode too."""
    check_any_value(ANSWERS[name], data)


@pytest.mark.parametrize("name", ["fleet"])
def test_an_answer_that_is_not_an_object(name):
    """It raises `DecodeError`."""
    check_no_object(ANSWERS[name])


@pytest.mark.parametrize("name", ["fleet", "overview"])
def test_an_answer_without_its_part(name):
    """A missing member is not taken for an empty one."""
    check_missing_part(ANSWERS[name])


@pytest.mark.parametrize(
    ("name", "payload", "noted"),
    [
        ("fleet", {"records": [{"idSite": 1, "value_x": [1]}]}, ("FleetSite", "value", "unreadable list")),
    ],
)
def test_drift_is_counted(name, payload, noted):
    """One bad record or field is counted and the rest is read; a strict client raises."""
    check_drift(ANSWERS[name], payload, noted)

"""Devices, diagnostics and settings of a site."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import NoData, NotFound, PermissionDenied
from tests.servers import vrm_samples as printed
from tests.servers.vrm_cases import (
    check_any_value,
    check_clean,
    check_no_object,
    check_request,
    check_wrong,
)
from vrm_async.decoding import attributes as decoding_attributes
from vrm_async.decoding import sites

ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")

SITE = "installations/5"

SETTINGS_SENT = {
    "description": "Home",
    "notes": "",
    "noDataAlarmTimeout": 3600,
    "noDataAlarmActive": False,
    "alarmMonitoring": 2,
    "geofence": {"id": 1},
    "restrictNodeRed": True,
}

SEEN = 1772366400

REQUESTS = {
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
        ),
        "POST",
        f"{SITE}/settings",
        [],
        SETTINGS_SENT,
    ),
    "installations.update_settings, alarms": (
        lambda v: v.installations.update_settings(5, alarm_monitoring=1, raw={"favorite": 1}),
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
}

WRONG = {
    "a favourite that counts": (lambda v: v.installations.set_favorite(1, 1), TypeError, "favorite"),
    "no setting": (lambda v: v.installations.update_settings(1), ValueError, "at least one"),
    "a setting of another type": (
        lambda v: v.installations.update_settings(1, realtime_updates="on"),
        TypeError,
        "realtimeUpdates",
    ),
}

ANSWERS = {
    "system_overview": (
        sites.system_overview,
        {
            "success": True,
            "records": {
                "devices": [{"name": "Gateway", "lastConnection": SEEN}],
                "unconfigured_devices": False,
            },
        },
    ),
    "diagnostics": (
        decoding_attributes.diagnostics_page,
        {
            "success": True,
            "records": [{"idDataAttribute": 1, "Device": "x", "bitmask": 0, "timestamp": SEEN}],
            "num_records": 1,
        },
    ),
}


def asked(mocked):
    """Return every request as (method, path, query as sorted pairs)."""
    return [
        (method, str(url.path).removeprefix("/v2/"), sorted(url.query.items()))
        for (method, url), calls in mocked.requests.items()
        for _ in calls
    ]


def page(first, length, total=None):
    records = [{"idDataAttribute": number, "code": f"c{number}"} for number in range(first, first + length)]
    return {"success": True, "records": records, **({} if total is None else {"num_records": total})}


async def ids(diagnostics):
    return [record.attribute_id async for record in diagnostics]


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("count", [0, 1001, -1])
def test_a_page_has_a_size(vrm, count):
    """1 to 1,000 records."""
    with pytest.raises(ValueError, match="page_size"):
        vrm.installations.diagnostics(1, page_size=count)


async def test_system_overview(vrm, mocked):
    """The devices are a sequence."""
    mocked.get(ANYTHING, body=printed.SYSTEM_OVERVIEW)
    overview = await vrm.installations.system_overview(1039)
    assert [device.instance for device in overview.devices] == [None, 23]
    assert overview.devices[0].name == "Gateway"
    assert asked(mocked) == [("GET", "installations/1039/system-overview", [])]


@pytest.mark.parametrize("count", [3, 1000])
async def test_diagnostics_go_on_until_an_empty_page(vrm, mocked, count):
    """A short page does not end the list, and neither does a number that counts only its own page."""
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
    """Also if its values have changed; a record that the list shifted to the next page is not repeated."""
    first, again = page(0, 3), page(0, 3)
    again["records"][0]["rawValue"] = 5
    mocked.get(ANYTHING, payload=first)
    mocked.get(ANYTHING, payload=page(2, 3))
    mocked.get(ANYTHING, payload=again)
    assert await ids(vrm.installations.diagnostics(1)) == [0, 1, 2, 3, 4]
    assert len(asked(mocked)) == 3


async def test_fewer_diagnostics_than_were_announced_are_counted(vrm, mocked):
    """The list ends with an empty page, and the missing records are counted as drift."""
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


async def test_an_unreadable_page_does_not_end_the_list(vrm, mocked):
    """Its records are malformed and counted; the next page is read."""
    mocked.get(ANYTHING, payload={"success": True, "records": ["damaged", "damaged"]})
    mocked.get(ANYTHING, payload=page(0, 2))
    mocked.get(ANYTHING, payload=page(0, 0))
    assert await ids(vrm.installations.diagnostics(1)) == [0, 1]
    assert vrm.drift.counts["Diagnostic", "record", "malformed"] == 2


async def test_an_announced_total_ends_the_list(vrm, mocked):
    """A count of all records saves the request for an empty page."""
    mocked.get(ANYTHING, payload=page(0, 3, total=6))
    mocked.get(ANYTHING, payload=page(3, 3, total=6))
    assert await ids(vrm.installations.diagnostics(1, page_size=3)) == list(range(6))
    assert len(asked(mocked)) == 2


async def test_diagnostics_ask_for_a_thousand(vrm, mocked):
    """The default page size is the largest."""
    mocked.get(ANYTHING, payload=page(0, 1))
    mocked.get(ANYTHING, payload=page(1, 0))
    assert await ids(vrm.installations.diagnostics(1)) == [0]
    assert asked(mocked) == [
        ("GET", "installations/1/diagnostics", [("count", "1000"), ("page", number)]) for number in ("1", "2")
    ]


async def test_diagnostics_end_with_a_server_that_ignores_pages(vrm, mocked):
    """A page without a new record ends the list."""
    mocked.get(ANYTHING, payload=page(0, 3), repeat=True)
    assert await ids(vrm.installations.diagnostics(1, page_size=3)) == [0, 1, 2]


async def test_diagnostics_end_where_a_page_has_no_data(vrm, mocked):
    """`no_data` past the last page ends the list; on the first page it is an error."""
    mocked.get(ANYTHING, payload=page(0, 3))
    mocked.get(ANYTHING, body=printed.STATS_REFUSED, repeat=True)
    assert await ids(vrm.installations.diagnostics(1, page_size=3)) == [0, 1, 2]
    with pytest.raises(NoData):
        await ids(vrm.installations.diagnostics(1, page_size=3))


async def test_a_malformed_diagnostic_is_left_out(vrm, mocked):
    """It is counted as drift; the other records and the next page are read."""
    first = page(0, 3)
    first["records"][1] = "damaged"
    mocked.get(ANYTHING, payload=first)
    mocked.get(ANYTHING, payload=page(3, 1))
    mocked.get(ANYTHING, payload=page(4, 0))
    assert await ids(vrm.installations.diagnostics(1, page_size=3)) == [0, 2, 3]
    assert vrm.drift.counts["Diagnostic", "record", "malformed"] == 1


async def test_two_tasks_share_the_records_of_one_iterator(vrm, mocked):
    """Each record goes to one task."""
    mocked.get(ANYTHING, payload=page(0, 3))
    mocked.get(ANYTHING, payload=page(3, 1))
    mocked.get(ANYTHING, payload=page(4, 0))
    diagnostics = vrm.installations.diagnostics(1, page_size=3)
    both = await asyncio.gather(ids(diagnostics), ids(diagnostics))
    assert sorted(both[0] + both[1]) == [0, 1, 2, 3]


async def test_a_failed_page_is_asked_for_again(vrm, mocked):
    """After an error the next step requests the same page."""
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
    """Status 404 is `NotFound`, with or without an envelope."""
    mocked.get(ANYTHING, status=404, body=b"<html>gone</html>", content_type="text/html")
    mocked.get(ANYTHING, status=404, payload={"success": False, "errors": "gone"})
    for _ in range(2):
        with pytest.raises(NotFound):
            await vrm.installations.system_overview(1)


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests(client, fake, name):
    """One request, with the documented members and no other."""
    await check_request(client, fake, REQUESTS[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_is_named(vrm, name):
    """The message has the argument, and the allowed values where there is a list."""
    await check_wrong(vrm, WRONG[name])


@pytest.mark.parametrize("name", ANSWERS)
def test_a_clean_answer_has_no_drift(name):
    """Also for a strict client, but for keys that the documents do not have."""
    check_clean(ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_any_value_at_any_place(name, data):
    """The answer is read, or an `EnergyError` is raised; in strict mode too."""
    check_any_value(ANSWERS[name], data)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_not_an_object(name):
    """It raises `DecodeError`."""
    check_no_object(ANSWERS[name])

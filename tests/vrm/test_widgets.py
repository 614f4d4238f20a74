"""Widgets: graphs, summaries, changes of state, position, hours of AC, alarms."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.drift import Drift, collect_drift
from energy_core.errors import AnswerError, NoData
from tests.servers.vrm_cases import (
    OK,
    check_any_value,
    check_clean,
    check_drift,
    check_hostile_id,
    check_no_object,
    check_wrong,
    read_answer,
)
from vrm_async.decoding import series, widgets

ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")

START = datetime(2026, 3, 1, tzinfo=UTC)

END = datetime(2026, 3, 2, tzinfo=UTC)

START_S, END_S = "1772323200", "1772409600"

SITE = "installations/5"

SEEN = 1772366400

AGE = {"hasOldData": False, "secondsAgo": {"value": "10", "valueFormattedWithUnit": "10 s"}}

PLACE = {
    "4": {
        "code": "lt",
        "dataAttributeName": "Latitude",
        "dataType": "float",
        "hasOldData": False,
        "dbusPath": "/Position/Latitude",
        "dbusServiceType": "gps",
        "formatValueOnly": "%.5F",
        "formatWithUnit": "%.5F LAT",
        "formattedValue": "52.72370 LAT",
        "idDataAttribute": "4",
        "instance": 0,
        "isKeyDataAttribute": "1",
        "isValid": "1",
        "nameEnum": None,
        "rawValue": "52.7237",
        "secondsAgo": "12",
        "secondsToNextLog": "60",
        "value": "52.7237",
        "valueEnum": None,
        "valueFloat": "52.7237",
        "valueFormattedValueOnly": "52.72370",
        "valueFormattedWithUnit": "52.72370 LAT",
        "valueString": None,
    },
    "5": {
        "code": "lg",
        "idDataAttribute": "5",
        "rawValue": "-7.0896",
        "valueFloat": None,
        "secondsAgo": "14",
    },
}

WRONG = {
    "nothing to draw": (lambda v: v.widgets.graph(1), ValueError, "attribute_codes or attribute_ids"),
}

NUMBERS = {
    "attribute_ids": lambda v, i: v.widgets.graph(1, attribute_ids=[i]),
    "width": lambda v, i: v.widgets.graph(1, attribute_codes=["bs"], width=i),
}

ANSWERS = {
    "graph": (
        series.graph,
        {
            "records": {
                "data": {"143": [[SEEN, 52.1]]},
                "meta": {"143": {"code": "bv", "formatWithUnit": "%.2F V"}},
                "instance": 0,
            }
        },
    ),
    "summary": (
        widgets.summary("Status", 0),
        {
            "records": {
                "data": {
                    "81": {"code": "V", "value": "50", "secondsAgo": {"value": 3}},
                    "hasOldData": False,
                    "secondsAgo": {"value": 9},
                },
                "meta": {"81": {"description": "Voltage"}},
                "attributeOrder": [81],
            }
        },
    ),
    "state": (
        widgets.states("VeBusState", 0),
        {
            "records": {
                "data": {
                    "40": [["3", SEEN, SEEN + 60], ["4", SEEN + 60, SEEN + 90]],
                    "41": {"0": "1", "1": SEEN, "2": SEEN + 90},
                },
                "meta": {"40": {"code": "S", "description": "VE.Bus state", "formatWithUnit": "%s"}},
                "enums": {"40": {"3": "Bulk", "4": "Absorption"}},
                "sort": {"40": {"3": 0, "4": 1}},
                "buckets": {"40": {"resampled": False}},
            }
        },
    ),
    "gps": (
        widgets.position,
        {
            "records": {
                "data": {
                    "attributes": {
                        "4": {"code": "lt", "idDataAttribute": "4", "value": "52.09", "secondsAgo": "5"},
                        "5": {"code": "lg", "idDataAttribute": "5", "value": "5.12", "secondsAgo": "5"},
                        "hasOldData": False,
                    },
                    "geofence": '{"id": 1}',
                    "geofenceEnabled": "1",
                },
                "meta": {"4": {"code": "lt", "description": "Latitude"}},
            }
        },
    ),
    "hours_of_ac": (widgets.hours_of_ac, {"records": {"data": "12.5"}}),
    "alarm widget": (widgets.alarms, {"records": {"data": {"alarms": [{"idAlarm": 7}]}}}),
    "widget": (widgets.widget("X", None), {"records": {"data": {"1": 2}, "meta": []}}),
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


def gps(attributes, **beside):
    data = {"attributes": attributes, "geofence": None, "geofenceAlarmActive": None, "geofenceEnabled": "0"}
    meta = {
        "4": {
            "code": "lt",
            "description": "Latitude",
            "formatValueOnly": "%.5F",
            "formatWithUnit": "%.5F LAT",
        },
        "5": {
            "code": "lg",
            "description": "Longitude",
            "formatValueOnly": "%.5F",
            "formatWithUnit": "%.5F LNG",
        },
    }
    answer = {"success": True, "records": {"data": {**data, **beside}, "meta": meta}}
    with collect_drift(Drift(strict=True)):
        return widgets.position(answer)


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(
    "name", ["", "../admin", "Battery Summary", "a/b", "a%2fb", "x\r\ny", "https://x/", "ä", "1", "A" * 65]
)
async def test_a_widget_name_cannot_change_the_path(vrm, name):
    """Letters and digits only, also for widgets that the package does not know."""
    for ask in (vrm.widgets.get, vrm.widgets.summary, vrm.widgets.state):
        with pytest.raises(ValueError, match="name"):
            await ask(1, name)


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


async def test_the_widgets_of_one_instance(client, fake):
    """Instance and range are query parameters; an open side is left out."""
    empty = {**OK, "records": {"data": [], "meta": []}}
    for name in ("VeBusState", "Status", "GPS", "Alarm", "HoursOfAc"):
        fake.answers("GET", f"{SITE}/widgets/{name}", empty)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    await client.widgets.state(5, "VeBusState", 257, start)
    await client.widgets.get(5, "Status", None, start, start + timedelta(days=1))
    assert (await client.widgets.gps(5, 0)).latitude_deg is None
    await client.widgets.alarm(5)
    stamp, later = str(int(start.timestamp())), str(int(start.timestamp()) + 86400)
    assert [(seen.path.rpartition("/")[2], seen.query) for seen in fake.asked] == [
        ("VeBusState", [("instance", "257"), ("start", stamp)]),
        ("Status", [("start", stamp), ("end", later)]),
        ("GPS", [("instance", "0")]),
        ("Alarm", []),
    ]


async def test_an_instance_that_the_site_does_not_have(client, fake):
    """VRM answers a summary with nothing but its age; `summary` raises `NoData`."""
    age = {"hasOldData": True, "secondsAgo": {"value": "0", "valueFormattedWithUnit": "0 s"}}
    fake.answers("GET", f"{SITE}/widgets/BatterySummary", {**OK, "records": {"data": age, "meta": []}})
    for instance, words in ((9, "instance 9"), (None, "default instance")):
        with pytest.raises(NoData, match=f"BatterySummary has no values for .*{words}.*system_overview"):
            await client.widgets.summary(5, "BatterySummary", instance)


async def test_a_graph_by_ids(client, fake):
    """Codes and ids are repeated parameters with literal brackets; `min_max` is sent as 1."""
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


@pytest.mark.parametrize("status", [200, 400, 404, 405, 422])
async def test_hours_of_ac_under_either_name(client, fake, status):
    """HoursOfAC is requested if VRM refuses HoursOfAc with any of these statuses."""
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
    """The refusal about the site is raised, not the one about the spelling."""
    for name, refusal in (("HoursOfAc", first), ("HoursOfAC", second)):
        if refusal is not None:
            answer = {"success": False, "errors": refusal[1]}
            fake.answers("GET", f"{SITE}/widgets/{name}", answer, status=refusal[0])
    with pytest.raises(AnswerError, match=words):
        await client.widgets.hours_of_ac(5)
    assert len(fake.asked) == (1 if second is None else 2)


def test_where_a_site_is():
    """Values are found by code, also if they are keyed by their id."""
    position = read("gps")
    assert (position.latitude_deg, position.longitude_deg, position.seconds_ago) == (52.09, 5.12, 5.0)
    assert position.geofence == {"id": 1}
    by_id = {"4": {"code": "lt", "rawValue": 1}, "5": {"rawValue": "2"}}
    position = read("gps", {"records": {"data": by_id, "meta": {"5": {"code": "lg"}}}})
    assert (position.latitude_deg, position.longitude_deg) == (1.0, 2.0)
    assert read("gps", {"records": {"data": []}}).latitude_deg is None


def test_where_a_site_is_as_documented():
    """Attributes are one level down, keyed by their id; every documented member is known."""
    position = gps({**PLACE, **AGE}, geofence='{"id": 1}', geofenceAlarmActive="1", geofenceEnabled="1")
    assert (position.latitude_deg, position.longitude_deg) == (52.7237, -7.0896)
    assert (position.seconds_ago, position.has_old_data, position.time) == (10.0, False, None)
    assert (position.geofence, position.geofence_enabled, position.geofence_alarm_active) == (
        {"id": 1},
        True,
        True,
    )
    assert [value.code for value in position.values] == ["lt", "lg"]


def test_a_position_without_codes_a_list_and_nothing():
    """The ids are enough; PHP may write a list; an answer without attributes has no position and no drift."""
    bare = {"4": {"rawValue": 1}, "5": {"rawValue": 2}}
    answer = {"records": {"data": {"attributes": bare}, "meta": []}}
    found = widgets.position(answer)
    assert (found.latitude_deg, found.longitude_deg) == (1.0, 2.0)
    found = gps([PLACE["4"], PLACE["5"]])
    assert (found.latitude_deg, found.longitude_deg, found.seconds_ago) == (52.7237, -7.0896, 14.0)
    for nothing in ([], {}, dict(AGE)):
        assert gps(nothing).latitude_deg is None


def test_a_position_whose_age_is_a_time():
    """VRM's document has a Unix timestamp there, which is not an age of fifty years."""
    found = gps(
        {**PLACE, "hasOldData": True, "secondsAgo": {"value": str(SEEN), "valueFormattedWithUnit": "x"}}
    )
    assert found.time == datetime.fromtimestamp(SEEN, UTC)
    assert found.seconds_ago == 14.0


def test_hours_of_ac():
    """Numeric text becomes a number, null is missing, other text is kept."""
    assert (read("hours_of_ac").hours, read("hours_of_ac").text) == (12.5, "12.5")
    assert read("hours_of_ac", {"records": {"data": None}}).text is None
    assert read("hours_of_ac", {"records": {"data": "12 h"}}).hours is None
    assert read("hours_of_ac", {"records": {"data": "12 h"}}).text == "12 h"


def test_a_summary_keeps_the_order_of_display():
    """`attributeOrder` lists ids."""
    data = {str(number): {"code": f"c{number}"} for number in (5, 81, 7)}
    ordered = {"records": {"data": data, "attributeOrder": [81, "7", 5]}}
    assert [value.code for value in read("summary", ordered)] == ["c81", "c7", "c5"]


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


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_not_an_object(name):
    """It raises `DecodeError`."""
    check_no_object(ANSWERS[name])


@pytest.mark.parametrize(
    ("name", "payload", "noted"),
    [
        ("hours_of_ac", {"records": {"data": [1]}}, ("HoursOfAc", "data", "list instead of str")),
    ],
)
def test_drift_is_counted(name, payload, noted):
    """One bad record or field is counted and the rest is read; a strict client raises."""
    check_drift(ANSWERS[name], payload, noted)

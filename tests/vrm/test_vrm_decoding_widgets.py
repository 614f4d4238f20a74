"""Decoding of summaries and changes of state."""

import re
from datetime import UTC, datetime

import pytest

from energy_core.codec.drift import Drift, collect_drift
from energy_core.errors import NoData
from vrm_async.decoding import widgets

ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")
T0 = 1776512315


def utc(seconds):
    return datetime.fromtimestamp(seconds, UTC)


BATTERY = {
    "success": True,
    "records": {
        "data": {
            "47": {
                "code": "V",
                "idDataAttribute": "47",
                "dataAttributeName": "Voltage",
                "rawValue": "52.56",
                "formattedValue": "52,56 V",
                "formatWithUnit": "%.2F V",
                "nameEnum": None,
                "instance": "258",
                "secondsAgo": "12",
                "hasOldData": False,
            },
            "51": {
                "rawValue": 76.5,
                "instance": 258,
                "secondsAgo": {"value": 13, "valueFormattedWithUnit": "13s"},
            },
            "119": False,
            "hasOldData": False,
            "secondsAgo": {"value": 12, "valueFormattedWithUnit": "12s"},
        },
        "meta": {
            "47": {"code": "V", "description": "Voltage"},
            "51": {"code": "SOC", "description": "State of charge", "formatWithUnit": "%.1F %%"},
        },
        "attributeOrder": [51, 47],
    },
}
WRONG_INSTANCE = {
    "success": True,
    "records": {
        "data": {"hasOldData": False, "secondsAgo": {"value": 0, "valueFormattedWithUnit": "0s"}},
        "meta": {"47": {"code": "V", "description": "Voltage"}},
        "attributeOrder": [47],
    },
}


def test_a_summary_is_values_by_code():
    """Values are in the order in which VRM displays them; missing members come from `meta`."""
    summary = widgets.summary("BatterySummary", 258)(BATTERY)
    assert summary.keys() == ("SOC", "V")
    assert (summary["V"].raw_value, summary["V"].seconds_ago, summary["V"].attribute_id) == ("52.56", 12, 47)
    assert (summary["SOC"].raw_value, summary["SOC"].seconds_ago) == (76.5, 13)
    assert (summary["SOC"].description, summary["SOC"].format) == ("State of charge", "%.1F %%")
    assert (summary["SOC"].attribute_id, summary["SOC"].instance) == (51, 258)
    assert (summary.has_old_data, summary.seconds_ago) == (False, 12)
    assert ("V" in summary, "v" in summary, len(summary)) == (True, False, 2)
    assert repr(summary) == "<Summary BatterySummary of instance 258: SOC=76.5, V='52.56'>"
    assert [value.code for value in summary] == ["SOC", "V"]
    with pytest.raises(KeyError, match="SOC, V"):
        summary["v"]


@pytest.mark.parametrize(
    ("spelt", "value"),
    [
        ({"rawValue": "52.56", "value": "53"}, "52.56"),
        ({"value": "52.56"}, "52.56"),
        ({"rawValue": None, "value": None, "valueFloat": 52.56}, 52.56),
        ({"value": False, "valueEnum": 3}, 3),
        ({"valueString": "v1.70"}, "v1.70"),
        ({"value": 0}, 0),
        ({"value": None}, None),
        ({}, None),
    ],
)
def test_a_value_is_read_from_any_of_its_members(spelt, value):
    """Widgets send a value under several names; other members stay in `raw` and are no drift."""
    record = {"code": "V", "valueFormattedWithUnit": "52,56 V", "isValid": "1", **spelt}
    with collect_drift(Drift(strict=True)):
        summary = widgets.summary("Status", 0)({"records": {"data": {"47": record}}})
    assert summary["V"].raw_value == value
    assert summary["V"].formatted == "52,56 V"
    assert summary["V"].raw == record


async def test_a_wrong_instance_is_no_data(vrm, mocked):
    """VRM sends success without values; the error names the instance and where to find the right one."""
    mocked.get(ANYTHING, payload=WRONG_INSTANCE, repeat=True)
    with pytest.raises(NoData, match=r"instance 5.*system_overview") as nothing:
        await vrm.widgets.summary(1, "BatterySummary", instance=5)
    assert (nothing.value.vendor, nothing.value.operation, nothing.value.status) == ("vrm", "widgets", 200)
    with pytest.raises(NoData, match="default instance"):
        await vrm.widgets.summary(1, "BatterySummary")


async def test_a_widget_of_another_shape_is_no_error(vrm, mocked):
    """Widgets without attributes are in `raw`."""
    mocked.get(ANYTHING, payload={"success": True, "records": {"data": "12:30"}})
    mocked.get(ANYTHING, payload={"success": True, "records": {"alarms": [1], "rateLimited": False}})
    assert (await vrm.widgets.summary(1, "HoursOfAC")).raw["data"] == "12:30"
    assert (await vrm.widgets.summary(1, "Alarm")).raw["alarms"] == [1]


STATES = {
    "success": True,
    "records": {
        "data": {
            "40": [
                ["3", T0, T0 + 60],
                ["4", T0 + 60, T0 + 120],
                ["Float", T0 + 120, T0 + 180],
                ["9", T0 + 180, T0 + 240],
                ["Onbekend", T0 + 240, T0 + 300],
            ]
        },
        "enums": {"40": {"3": "Bulk", "4": "Absorption", "5": "Float"}},
        "meta": {"40": {"code": "S", "description": "VE.Bus state", "formatWithUnit": "%s"}},
        "sort": {"40": {"3": 0, "4": 1, "5": 2}},
        "buckets": {"40": {"resampled": False, "original count": 5, "resampled count": 5}},
    },
}


def test_states_are_changes_in_columns():
    """Numbers have names from `enums`; a name has its number if `enums` has it."""
    history = widgets.states("VeBusState", 257)(STATES)
    (states,) = history
    assert (states.code, states.attribute_id) == ("S", 40)
    assert list(states) == [
        (utc(T0), 3),
        (utc(T0 + 60), 4),
        (utc(T0 + 120), 5),
        (utc(T0 + 180), 9),
        (utc(T0 + 240), None),
    ]
    assert states.names == ("Bulk", "Absorption", "Float", None, "Onbekend")
    assert states.enum == {3: "Bulk", 4: "Absorption", 5: "Float"}
    assert history["S"] is history[40] is states
    assert repr(history) == "<StateSeries VeBusState of instance 257: <StateSet S: 5 changes>>"
    with pytest.raises(KeyError, match="S"):
        history["s"]


DOCUMENTED = {
    "rows": [[3, T0, T0 + 60], [4, T0 + 60, T0 + 120]],
    "numbers as text": [["3", T0, T0 + 60], ["4", T0 + 60, T0 + 120]],
    "times as text": [["3", str(T0), str(T0 + 60)], ["4", str(T0 + 60), str(T0 + 120)]],
    "names": [["Bulk", T0, T0 + 60], ["Absorption", T0 + 60, T0 + 120]],
    "rows as objects": [{"0": "3", "1": T0, "2": T0 + 60}, {"0": "4", "1": T0 + 60, "2": T0 + 120}],
    "a list with holes": {"2": [3, T0, T0 + 60], "7": {"0": 4, "1": T0 + 60, "2": T0 + 120}},
    "an object in another order": [{"2": T0 + 60, "0": 3, "1": T0}, [4, T0 + 60, T0 + 120]],
}


def read_states(rows, enums=None):
    names = {"3": "Bulk", "4": "Absorption"} if enums is None else enums
    answer = {
        "success": True,
        "records": {"data": {"40": rows}, "meta": {"40": {"code": "S"}}, "enums": {"40": names}},
    }
    with collect_drift(Drift(strict=True)):
        (states,) = widgets.states("VeBusState", 0)(answer)
    return states


@pytest.mark.parametrize("rows", DOCUMENTED.values(), ids=DOCUMENTED)
def test_a_state_has_its_start_and_its_end(rows):
    """The documented row is state, start and end in seconds, beside the names; it makes no drift."""
    states = read_states(rows)
    assert list(states) == [(utc(T0), 3), (utc(T0 + 60), 4)]
    assert states.names == ("Bulk", "Absorption")
    assert states.ends_ms == ((T0 + 60) * 1000, (T0 + 120) * 1000)


@pytest.mark.parametrize(
    "row", [{"0": "3", "1": T0, "2": T0 + 60}, [3, T0, T0 + 60], {"0": "Bulk", "1": T0, "2": T0 + 60}]
)
def test_one_state_may_come_without_the_list_around_it(row):
    """PHP sends a list of one row as that row."""
    states = read_states(row)
    assert (list(states), states.names, states.ends_ms) == ([(utc(T0), 3)], ("Bulk",), ((T0 + 60) * 1000,))


@pytest.mark.parametrize("end", [None, False, 0, "", T0 - 60])
def test_a_continuing_state_has_no_end(end):
    """An end that is not after the start is None."""
    states = read_states([[3, T0, end]])
    assert (list(states), states.names, states.ends_ms) == ([(utc(T0), 3)], ("Bulk",), (None,))


def test_a_large_number_and_null_are_states():
    """A set of bits may be as large as a time; null is a time without a known state."""
    states = read_states([[2**31, T0, T0 + 60], [None, T0 + 60, T0 + 120], [0, T0 + 120, T0 + 180]])
    assert (states.numbers, states.names) == ((2**31, None, 0), (None, None, None))


def test_a_name_of_two_numbers_gives_no_number():
    """The name is kept; its number is ambiguous and None."""
    states = read_states([["Off", T0, T0 + 60]], {"0": "Off", "9": "Off"})
    assert (states.numbers, states.names) == ((None,), ("Off",))


@pytest.mark.parametrize("rows", [[[3, 0, 0]], [["Bulk", 12, 13]], [[3]], ["Bulk"], "Bulk", 5])
def test_a_state_without_a_time_is_counted(rows):
    """It is left out and does not get a time in 1970."""
    drift = Drift()
    with collect_drift(drift):
        (states,) = widgets.states("VeBusState", 0)({"records": {"data": {"40": rows}}})
    assert (len(states), drift.total) == (0, 1)


def test_no_changes_are_no_error():
    """An empty history is {} or []."""
    for empty in ({}, [], False, None):
        assert len(widgets.states("MPPTState", 0)({"records": {"data": empty, "enums": []}})) == 0


def test_names_may_be_a_list():
    """PHP sends a list if the numbers count from 0."""
    (states,) = widgets.states("RelayState", 0)(
        {"records": {"data": {"12": [[T0, 1], [T0 + 60, 0]]}, "enums": {"12": ["Open", "Closed"]}}}
    )
    assert states.names == ("Closed", "Open")
    assert states.code == "12"


def test_names_may_be_records():
    """Attributes have records of name and number."""
    names = [{"nameEnum": "Bulk", "valueEnum": 3}, {"nameEnum": "Absorption", "valueEnum": 4}]
    assert read_states([[3, T0, T0 + 60]], names).names == ("Bulk",)


def test_a_malformed_change_affects_no_other():
    """It is counted and left out."""
    drift = Drift()
    with collect_drift(drift):
        (states,) = widgets.states("VeBusState", 0)(
            {
                "records": {
                    "data": {
                        "40": [[T0, 3], "damaged", [], [None, 4], {"timestamp": T0 + 60, "valueEnum": 4}]
                    }
                }
            }
        )
    assert list(states) == [(utc(T0), 3), (utc(T0 + 60), 4)]
    assert drift.counts["States", "change", "malformed"] == 3

"""Points, stats, graphs and overall stats."""

import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.drift import Drift, collect_drift
from vrm_async.decoding import series as decoding_series
from vrm_async.decoding.points import Columns, columns
from vrm_async.models.series import Series

T0 = 1726236000
NOTHING = [False, None, [], {}, ""]


def utc(seconds):
    return datetime.fromtimestamp(seconds, UTC)


def read(value):
    drift = Drift()
    with collect_drift(drift):
        return columns(value), drift


def test_milliseconds_and_seconds_are_the_same_moment():
    """Stats have ms, graphs s; both are read as ms."""
    in_ms, _ = read([[T0 * 1000, 1.5], [(T0 + 60) * 1000, 2.5]])
    in_s, _ = read([[T0, 1.5], [T0 + 60, 2.5]])
    mixed, _ = read([[T0, 1.5], [(T0 + 60) * 1000, 2.5]])
    assert (
        list(in_ms.times_ms) == list(in_s.times_ms) == list(mixed.times_ms) == [T0 * 1000, (T0 + 60) * 1000]
    )


@pytest.mark.parametrize(
    ("row", "mean", "minimum", "maximum"),
    [
        ([T0, 2.0], [2.0], None, None),
        ([T0, 2.0, 1.0], [2.0], [1.0], None),
        ([T0, 2.0, 1.0, 3.0], [2.0], [1.0], [3.0]),
        ([T0, 2.0, 1.0, 3.0, 9.9], [2.0], [1.0], [3.0]),
        ([T0, None, None, None], [None], [None], [None]),
        ([T0, False], [None], None, None),
        ([T0, "2.0"], [2.0], None, None),
        ([str(T0), 2], [2.0], None, None),
    ],
)
def test_two_three_or_four_columns(row, mean, minimum, maximum):
    """A point is time, mean, min, max; missing columns are None, and false is None."""
    found, drift = read([row])
    assert list(found.times_ms) == [T0 * 1000]
    assert list(found.value) == mean
    assert (found.minimum and list(found.minimum)) == minimum
    assert (found.maximum and list(found.maximum)) == maximum
    assert drift.total == 0


@pytest.mark.parametrize(
    "odd", ["ab", {"a": 1, "b": 2}, [T0], [T0, 1.0, 2.0], [T0, True], [True, 1], None, 5, [[], {}]]
)
@pytest.mark.parametrize("width", [2, 3, 4])
def test_an_odd_row_is_not_taken_for_a_point(odd, width):
    """Text, objects and lists of the right length are read as what they are."""
    rows = [[T0 + at, *[float(at)] * (width - 1)] for at in range(3)]
    alone, noted = read([odd])
    among, counted = read([rows[0], odd, *rows[1:]])
    assert list(among.times_ms) == [T0 * 1000, *alone.times_ms, (T0 + 1) * 1000, (T0 + 2) * 1000]
    assert list(among.value) == [0.0, *alone.value, 1.0, 2.0]
    assert counted.counts == noted.counts


def test_points_keep_their_order():
    """They are not sorted."""
    found, _ = read([[(T0 + at) * 1000, at] for at in (5, 1, 3)])
    assert found == Columns(((T0 + 5) * 1000, (T0 + 1) * 1000, (T0 + 3) * 1000), (5, 1, 3))


def test_rows_of_several_widths_share_columns():
    """The widest row decides the columns; narrower rows have None."""
    found, _ = read([[T0, 1.0], [T0 + 60, 2.0, 1.5, 2.5]])
    assert (list(found.value), list(found.minimum), list(found.maximum)) == (
        [1.0, 2.0],
        [None, 1.5],
        [None, 2.5],
    )


@pytest.mark.parametrize(
    "points",
    [
        [T0, 2.0],
        {"0": T0, "1": 2.0},
        [{"0": T0, "1": 2.0}],
        {"0": {"0": T0, "1": 2.0}},
        {"7": [T0, 2.0]},
        [str(T0), "2.0"],
    ],
)
def test_points_in_the_forms_of_php(points):
    """A point may be an object, a list may be sparse, and a list of one may be that point."""
    found, drift = read(points)
    assert (list(found.times_ms), list(found.value), drift.total) == ([T0 * 1000], [2.0], 0)


def test_numbers_without_a_time_are_no_point():
    """They do not get a time in 1970."""
    found, drift = read([1, 2.0])
    assert (list(found.times_ms), drift.total) == ([], 2)


def test_a_malformed_point_affects_no_other():
    """It is counted and left out; a value that is not a number is counted and None."""
    found, drift = read(
        [
            [T0, 1.0],
            "damaged",
            [],
            [T0],
            [None, 2.0],
            [True, 2.0],
            [-5, 2.0],
            [T0 + 60, "much"],
            [T0 + 120, {}],
        ]
    )
    assert [*zip(found.times_ms, found.value, strict=True)] == [
        (T0 * 1000, 1.0),
        ((T0 + 60) * 1000, None),
        ((T0 + 120) * 1000, None),
    ]
    assert drift.counts["Series", "point", "malformed"] == 6
    assert drift.counts["Series", "value", "not a number"] == 2


@pytest.mark.parametrize("nothing", NOTHING)
def test_nothing_has_no_points_and_is_no_drift(nothing):
    """false, null, [], {} and an empty text mean no data."""
    found, drift = read(nothing)
    assert found == Columns()
    assert drift.total == 0


def test_another_kind_of_points_is_drift():
    """A text or number in place of points is counted."""
    assert read("soon")[1].total == read(5)[1].total == 1


@given(st.lists(st.tuples(st.integers(0, 4 * 10**12), st.floats(allow_nan=False, allow_infinity=False))))
def test_reading_at_once_and_one_by_one_agree(points):
    """The fast path for regular rows returns what the slow path returns."""
    quick, _ = read([list(point) for point in points])
    careful, _ = read([[str(time), value] for time, value in points])
    assert list(quick.times_ms) == list(careful.times_ms)
    assert list(quick.value) == list(careful.value)


@pytest.fixture
def series():
    return Series(code="bs", unit="%", times_ms=(T0 * 1000, T0 * 1000 + 500), value=(99.5, None))


def test_points_are_aware_datetimes_and_values(series):
    """Iterating and indexing return aware datetimes, exact to the millisecond."""
    assert list(series) == [(utc(T0), 99.5), (datetime.fromtimestamp(T0 + 0.5, UTC), None)]
    assert series[0] == (utc(T0), 99.5)
    assert series[-1][1] is None
    assert (series.start, series.end) == (utc(T0), datetime.fromtimestamp(T0 + 0.5, UTC))
    assert len(series) == 2
    assert repr(series) == "<Series bs %: 2 points>"
    assert (Series(code="x").start, Series(code="x").end) == (None, None)
    assert pickle.loads(pickle.dumps(series)) == series


# --- stats ----------------------------------------------------------------------------------------------


def stats(records, totals=None, kind=None):
    return decoding_series.stats({"success": True, "records": records, "totals": totals}, kind=kind)


def test_stats_are_series_by_code():
    """Iterating yields each series, a code finds one, `dict` maps them; points of false are none."""
    found = stats({"Pc": [[T0 * 1000, 1.0]], "gc": False}, {"Pc": 1.0, "gc": False, "kwh": 1.0}, "kwh")
    assert [series.code for series in found] == ["Pc", "gc"]
    assert found.keys() == ("Pc", "gc")
    assert dict(found) == {"Pc": found["Pc"], "gc": found["gc"]}
    assert ("Pc" in found, "pc" in found, len(found)) == (True, False, 2)
    assert len(found["gc"]) == 0
    assert found.get("pc") is None
    assert found.totals == {"Pc": 1.0, "gc": None, "kwh": 1.0}
    assert repr(found) == "<Stats <Series Pc kWh: 1 points>, <Series gc kWh: 0 points>>"
    with pytest.raises(KeyError, match="Pc, gc"):
        found["pc"]


def test_a_gap_stays_a_gap():
    """A missing bucket is not invented."""
    found = stats({"Pc": [[1726236000000, 1.0], [1726246800000, 2.0]]})
    assert [time for time, _ in found["Pc"]] == [utc(1726236000), utc(1726246800)]


SPLIT = [
    (
        [
            {"instance": 0, "stats": {"bs": [[T0, 1, 0, 2]]}},
            {"instance": 257, "stats": {"bs": [[T0, 5, 4, 6]]}},
        ],
        [{"instance": 0, "totals": {"bs": 1}}, {"instance": 257, "totals": {"bs": False}}],
    ),
    (
        {
            "0": {"instance": 0, "stats": {"bs": [[T0, 1, 0, 2]]}},
            "257": {"instance": 257, "stats": {"bs": [[T0, 5, 4, 6]]}},
        },
        {"0": {"instance": 0, "totals": {"bs": 1}}, "257": {"instance": 257, "totals": {"bs": False}}},
    ),
    (
        {"0": {"stats": {"bs": [[T0, 1, 0, 2]]}}, "257": {"stats": {"bs": [[T0, 5, 4, 6]]}}},
        {"0": {"totals": {"bs": 1}}, "257": {"totals": {"bs": False}}},
    ),
    (
        {"0": {"bs": [[T0, 1, 0, 2]]}, "257": {"bs": [[T0, 5, 4, 6]]}},
        {"0": {"bs": 1}, "257": {"bs": False}},
    ),
]


@pytest.mark.parametrize(("records", "totals"), SPLIT, ids=["list", "object", "keys", "bare"])
def test_stats_by_instance(records, totals):
    """A list or an object, with instances in the items or as keys, is read to the same stats."""
    found = stats(records, totals)
    assert found.instances == (0, 257)
    assert [(series.code, series.instance) for series in found] == [("bs", 0), ("bs", 257)]
    assert list(found.instance(257)["bs"].maximum) == [6]
    assert found.instance(0).totals == {"bs": 1.0}
    assert found.totals_by_instance == {0: {"bs": 1.0}, 257: {"bs": None}}
    with pytest.raises(KeyError, match="0, 257"):
        found["bs"]
    with pytest.raises(KeyError, match="0, 257"):
        found.instance(5)


def test_a_list_by_instance_counts_from_0():
    """Without an instance in the items, it is the position: PHP sends key 0 as a list."""
    assert stats([{"bs": [[T0, 1.0]]}]).instances == (0,)


# --- graphs ---------------------------------------------------------------------------------------------

GRAPH = {
    "success": True,
    "records": {
        "data": {"143": [[T0, 13.39], [T0 + 60, 13.65]], "144": False, "999": [[T0, 1]]},
        "meta": {
            "143": {
                "code": "bv",
                "description": "Voltage",
                "formatValueOnly": "%.2F",
                "formatWithUnit": "%.2F V",
                "axisGroup": None,
            },
            "144": {"code": "bs", "description": "Battery SOC", "formatWithUnit": "%.1F %%"},
        },
        "instance": 0,
    },
}


def test_a_graph_is_named_by_codes():
    """The data is keyed by attribute id; series have codes, units and descriptions."""
    graph = decoding_series.graph(GRAPH)
    assert graph.keys() == ("bv", "bs", "999")
    assert repr(graph) == (
        "<Graph of instance 0: <Series bv V: 2 points>, <Series bs %: 0 points>, <Series 999: 1 points>>"
    )
    voltage = graph["bv"]
    assert (voltage.attribute_id, voltage.unit, voltage.description) == (143, "V", "Voltage")
    assert list(voltage) == [(utc(T0), 13.39), (utc(T0 + 60), 13.65)]
    assert graph.instance == 0
    assert [series.code for series in graph] == ["bv", "bs", "999"]


def test_forecasts_are_watt_hours():
    """The unit of a forecast is Wh; a code without points has an empty series."""
    found = stats(
        {"solar_yield_forecast": [[T0 * 1000, 450.0]], "vrm_consumption_fc": False}, kind="forecast"
    )
    assert found["solar_yield_forecast"].unit == "Wh"
    assert len(found["vrm_consumption_fc"]) == 0


# --- overall --------------------------------------------------------------------------------------------


def test_a_total_that_is_not_a_number_is_counted():
    """A text is counted and None; false is None and expected."""
    drift = Drift()
    with collect_drift(drift):
        overall = decoding_series.overall(
            {"records": {"today": {"totals": {"Gc": "much", "Pc": False}, "percentages": []}}}
        )
    assert overall.today.totals == {"Gc": None, "Pc": None}
    assert overall.today.percentages == {}
    assert overall.week.totals == {}
    assert drift.counts == {("Totals", "Gc", "not a number"): 1}


def graph(*series):
    """Return a graph of points at minutes after the start, or of (attribute id, code, unit, points)."""
    records = {
        "data": {str(number): points for number, _, _, points in series},
        "meta": {str(number): {"code": code, "formatWithUnit": unit} for number, code, unit, _ in series},
        "instance": 0,
    }
    return decoding_series.graph({"success": True, "records": records})


def test_the_battery_power_of_a_graph_is_derived_where_there_is_none():
    """It is voltage times current in W for buckets with both; if one is None, so is the power."""
    volts = (143, "bv", "%.0F mV", [[T0, 52_000], [T0 + 60, 53_000], [T0 + 120, None], [T0 + 180, 50_000]])
    amps = (147, "bc", "%.1F A", [[T0, -10], [T0 + 60, None], [T0 + 120, 2], [T0 + 240, 4]])
    power = graph(volts, amps).battery_power()
    assert list(power) == [(utc(T0), -520.0), (utc(T0 + 60), None), (utc(T0 + 120), None)]
    assert (power.code, power.unit, power.unit_source) == ("bp", "W", "derived")
    measured = (243, "bp", "%.0F W", [[T0, -500]])
    assert list(graph(volts, amps, measured).battery_power()) == [(utc(T0), -500)]
    assert graph(volts).battery_power() is graph(amps).battery_power() is None


def test_the_battery_power_of_stats_is_that_of_one_instance():
    """Stats with several instances need `instance` first."""
    by_instance = [
        {"instance": n, "stats": {"bv": [[T0 * 1000, 50 + n]], "bc": [[T0 * 1000, 2]]}} for n in (0, 1)
    ]
    found = stats(by_instance)
    assert [list(found.instance(n).battery_power()) for n in (0, 1)] == [[(utc(T0), 100)], [(utc(T0), 102)]]
    with pytest.raises(KeyError, match="several instances: 0, 1"):
        found.battery_power()


def test_of_two_attributes_with_one_code_the_lowest_id_is_indexed():
    """Iterating yields both; the order of the answer does not matter."""
    two = [(900, "bv", "%.1F V", [[T0, 24]]), (143, "bv", "%.1F V", [[T0, 52]])]
    for drawn in (graph(*two), graph(*two[::-1])):
        assert list(drawn["bv"]) == list(drawn.get("bv")) == [(utc(T0), 52)]
        assert {series.attribute_id for series in drawn} == {143, 900}

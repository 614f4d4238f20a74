"""Units in VRM's formats, and conversions between units."""

import pytest

from energy_core.codec.drift import Drift, collect_drift
from vrm_async import codes
from vrm_async.decoding import attributes
from vrm_async.decoding import series as decoding_series
from vrm_async.decoding import widgets as decoding_widgets
from vrm_async.models.attribute import Attribute
from vrm_async.resources import catalogue

T0 = 1776512315


@pytest.mark.parametrize(
    ("raw_value", "pattern", "to", "expected"),
    [
        (1500, "%.0F W", "W", 1500.0),
        ("1.5", "%.2F kW", "W", 1500.0),
        (1.5, "%.2F KW", "W", 1500.0),
        (0.0015, "%.4F MW", "W", 1500.0),
        (13390, "%.0F mV", "V", 13.39),
        (-2500, "%d mA", "A", -2.5),
        (77, "%.1F °F", "degC", 25.0),
        (32, "%.1F F", "degC", 0.0),
        (25, "%.1F C", "degC", 25.0),
        (25, "%.1F degF", "degF", 25.0),
        (25, "%.1F °C", "degF", 77.0),
        (298.15, "%.2F K", "degC", 25.0),
        (1234, "%.0F Wh", "kWh", 1.234),
        (1.234, "%.3F kWh", "Wh", 1234.0),
        (2, "%.1F MWh", "kWh", 2000.0),
        (75.5, "%.1F %%", "%", 75.5),
        (75.5, "%.1F %", "%", 75.5),
        (12.5, "%1$.2F V", "V", 12.5),
        (12.5, "%s", "V", 12.5),
        (12.5, "", "V", 12.5),
        (12.5, None, "V", 12.5),
    ],
)
def test_a_value_is_converted_from_the_unit_of_its_format(raw_value, pattern, to, expected):
    """KW and W become W; without a unit in the format, the value is in the unit of the code."""
    drift = Drift()
    with collect_drift(drift):
        assert codes.value_in(to, raw_value, pattern) == pytest.approx(expected, abs=1e-12)
    assert drift.total == 0


@pytest.mark.parametrize(
    ("pattern", "to"),
    [("%.1F Ah", "W"), ("%.0F VA", "W"), ("%.0F W", "kWh"), ("%.1F mw", "W"), ("%d x", "V")],
)
def test_a_unit_of_another_kind_leaves_the_value_out_and_counts_it(pattern, to):
    """A value that is no power is never delivered as one; mw may be mW or MW."""
    drift = Drift()
    with collect_drift(drift):
        assert codes.value_in(to, 5, pattern) is None
    assert [(model, field) for model, field, _ in drift.counts] == [("Attribute", "formatWithUnit")]


def test_a_value_that_is_not_a_number_is_missing_and_no_drift():
    """Null and text are missing values."""
    drift = Drift()
    with collect_drift(drift):
        assert [codes.value_in("W", raw, "%.0F W") for raw in (None, "", "--", False, [])] == [None] * 5
    assert drift.total == 0


def graph(code, pattern, points):
    return decoding_series.graph(
        {
            "success": True,
            "records": {
                "data": {"143": points},
                "meta": {"143": {"code": code, "description": "x", "formatWithUnit": pattern}},
            },
        }
    )


def test_a_graph_is_in_the_unit_of_its_code():
    """MV become V and kW become W in all columns, and so does the unit of the series."""
    series = graph("bv", "%.0F mV", [[T0, 13390, 13000, None], [T0 + 60, None, None, 14000]])["bv"]
    assert (series.unit, series.unit_source) == ("V", "format")
    assert list(series.value) == [13.39, None]
    assert list(series.minimum) == [13.0, None]
    assert list(series.maximum) == [None, 14.0]
    assert list(graph("a1", "%.2F kW", [[T0, 1.5]])["a1"].value) == [1500.0]
    assert list(graph("Pb", "%.0F Wh", [[T0, 1500]])["Pb"].value) == [1.5]
    assert list(graph("solar_yield_forecast", "%.2F kWh", [[T0, 1.5]])["solar_yield_forecast"].value) == [
        1500.0
    ]


def test_a_graph_keeps_a_unit_that_is_not_converted():
    """An unknown unit is the unit of the series."""
    series = graph("rtt", "%.0F ms", [[T0, 3]])["rtt"]
    assert (series.unit, list(series.value)) == ("ms", [3])


def test_attributes_and_diagnostics_convert_their_value():
    """`raw_value` is unchanged; `value_in` converts it from the unit of its format."""
    power = Attribute(code="consumption", raw_value="1.18", format="%.2F kW")
    assert (power.unit, power.number, power.value_in("W")) == ("kW", 1.18, 1180.0)
    page = attributes.diagnostics_page(
        {
            "success": True,
            "records": [
                {"idDataAttribute": 115, "code": "BT", "rawValue": "77", "formatWithUnit": "%.1F °F", "id": 1}
            ],
            "num_records": 1,
        }
    )
    assert (page.records[0].unit, page.records[0].value_in("degC")) == ("degF", 25.0)
    shown = decoding_widgets.summary("BatterySummary", 279)(
        {"records": {"data": {"47": {"code": "V", "rawValue": "13390", "formatWithUnit": "%.0F mV"}}}}
    )
    assert shown["V"].value_in("V") == 13.39


def test_definitions_name_their_unit_as_series_do():
    """There is one spelling, such as degC, whatever VRM sends."""
    found = {"115": {"code": "BT", "dataType": "float", "description": "T", "formatWithUnit": "%.1F °C"}}
    assert [row.unit for row in catalogue.read_catalogue(found)] == ["degC"]

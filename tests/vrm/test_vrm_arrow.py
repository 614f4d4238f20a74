"""Export of Series, Stats and Graph through the Arrow C stream interface."""

import sys
from datetime import UTC, datetime

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from vrm_async.models import Graph, Series, Stats

T0 = 1726236000000
START = datetime.fromtimestamp(T0 / 1000, UTC)

SOC = Series(
    code="bs",
    unit="%",
    unit_source="format",
    times_ms=(T0, T0 + 60_000),
    value=(99, None),
    minimum=(98.5, None),
    maximum=(99.5, None),
)
ENERGY = Series(code="Pc", unit="kWh", times_ms=[T0], value=[1.25], instance=0)


def test_a_series_is_a_polars_frame():
    """Columns are time (aware, UTC, in ms) and values; missing values are null, and integers are floats."""
    frame = pl.DataFrame(SOC)
    assert frame.columns == ["time", "value", "minimum", "maximum"]
    assert frame.schema["time"] == pl.Datetime("ms", "UTC")
    assert frame["time"][0] == START
    assert frame["value"].to_list() == [99.0, None]
    assert frame["maximum"].to_list() == [99.5, None]


def test_a_series_without_extremes_has_no_columns_for_them():
    """Minimum and maximum are columns only if VRM sent them."""
    assert pl.DataFrame(ENERGY).columns == ["time", "value"]
    assert pl.DataFrame(Series(code="x")).shape == (0, 2)


def test_units_are_in_the_metadata():
    """Unit, source of the unit and code are metadata of the fields."""
    field = pa.table(SOC).schema.field("value")
    assert field.metadata == {b"unit": b"%", b"unit_source": b"format", b"code": b"bs"}
    assert pa.table(Series(code="x")).schema.field("value").metadata == {b"code": b"x"}


def test_stats_and_graphs_are_one_long_table():
    """There is a row for each bucket, with its code, instance and unit."""
    frame = pl.DataFrame(Stats(series=(ENERGY, Series(code="gc"), SOC)))
    assert frame.columns == ["code", "instance", "time", "value", "minimum", "maximum", "unit"]
    assert frame["code"].to_list() == ["Pc", "bs", "bs"]
    assert frame["instance"].to_list() == [0, None, None]
    assert frame["minimum"].to_list() == [None, 98.5, None]
    assert pl.DataFrame(Graph(series=(SOC,), instance=258))["instance"].to_list() == [258, 258]
    assert pl.DataFrame(Stats()).shape == (0, 7)


def test_pandas_reads_it():
    """Pandas converts a series through Arrow."""
    frame = pd.DataFrame(pa.table(SOC).to_pandas())
    assert str(frame["time"].dtype) == "datetime64[ms, UTC]"
    assert frame["value"][0] == 99.0


def test_integers_that_a_float_cannot_hold_are_rounded():
    """An integer of 60 bits becomes the nearest float, without an error."""
    assert pl.DataFrame(Series(code="x", times_ms=[0], value=[2**60 + 1]))["value"][0] == float(2**60)


def test_a_requested_schema_is_passed_on():
    """A consumer that requests times in seconds gets them from Arrow."""
    wanted = pa.schema([("time", pa.timestamp("ms", "UTC")), ("value", pa.float64())])
    assert pa.table(ENERGY, schema=wanted).column_names == ["time", "value"]


def test_without_pyarrow_the_extra_is_named(monkeypatch):
    """The ImportError names the extra to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"energy-live\[arrow\]"):
        SOC.__arrow_c_stream__()

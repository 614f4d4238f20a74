"""Series, Stats and Graph as tables: data frames, files, HTML, and the names of their columns."""

import csv
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vrm_async import Catalogue, Codes
from vrm_async.codes import NAMES, SUMS, Code, column_name
from vrm_async.decoding import series as decoding
from vrm_async.models import Graph, OverallStats, Period, Series, StateSeries, StateSet, Stats

T0 = 1726236000000
HOUR = 3_600_000
START = datetime.fromtimestamp(T0 / 1000, UTC)
AMSTERDAM = "Europe/Amsterdam"

SOC = Series(
    code="bs",
    unit="%",
    unit_source="format",
    times_ms=(T0, T0 + 60_000),
    value=(99, None),
    minimum=(98.5, None),
    maximum=(99.5, None),
)
ENERGY = Series(code="Pc", unit="kWh", times_ms=[T0], value=[1.25])
STATS = Stats(
    series=(
        Series(code="Pc", unit="kWh", times_ms=[T0, T0 + 2 * HOUR], value=[1.25, 2.0]),
        Series(code="xyz", unit="kWh", times_ms=[T0 + HOUR, T0 + 2 * HOUR], value=[None, -0.5]),
    ),
    totals={"Pc": 3.25, "xyz": -0.5, "kwh": 2.75},
    timezone=AMSTERDAM,
)


def test_a_series_is_a_polars_frame():
    """Columns are time (aware, in ms) and values; missing values are null, and integers are floats."""
    frame = SOC.to_polars()
    assert frame.columns == [
        "time",
        "battery_soc_percent",
        "battery_soc_percent_min",
        "battery_soc_percent_max",
    ]
    assert frame.schema["time"] == pl.Datetime("ms", "UTC")
    assert frame["time"][0] == START
    assert frame["battery_soc_percent"].to_list() == [99.0, None]
    assert frame["battery_soc_percent_max"].to_list() == [99.5, None]


def test_any_library_that_reads_arrow_reads_it():
    """`polars.DataFrame(series)` and `pyarrow.table(series)` are the same tables."""
    assert pl.DataFrame(SOC).equals(SOC.to_polars())
    assert pa.table(SOC).equals(SOC.to_arrow())


def test_a_series_without_extremes_has_no_columns_for_them():
    """Minimum and maximum are columns only if VRM sent them; without points the columns are empty."""
    assert ENERGY.to_polars().columns == ["time", "pv_to_home_kwh"]
    assert Series(code="x").to_polars().shape == (0, 2)


def test_units_are_in_the_metadata():
    """Code, name, unit and the unit's source are metadata of the fields."""
    field = SOC.to_arrow().schema.field("battery_soc_percent")
    assert field.metadata == {
        b"unit": b"%",
        b"unit_source": b"format",
        b"code": b"bs",
        b"name": b"Battery SOC",
    }
    assert Series(code="x").to_arrow().schema.field("x").metadata == {b"code": b"x", b"name": b"x"}


def test_stats_are_one_table_with_a_column_for_each_code():
    """There is a row for each time of any series; a code that has none there is null. Times are local."""
    frame = STATS.to_polars()
    assert frame.columns == ["time", "pv_to_home_kwh", "xyz"]
    assert frame.schema["time"] == pl.Datetime("ms", AMSTERDAM)
    assert frame["time"].dt.hour().to_list() == [16, 17, 18]
    assert frame["pv_to_home_kwh"].to_list() == [1.25, None, 2.0]
    assert frame["xyz"].to_list() == [None, None, -0.5]


def test_pandas_reads_it():
    """The times of the frame are aware and local."""
    frame = STATS.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert str(frame["time"].dtype) == f"datetime64[ms, {AMSTERDAM}]"
    assert frame["pv_to_home_kwh"][0] == 1.25
    assert frame["pv_to_home_kwh"].isna().to_list() == [False, True, False]


def test_an_answer_without_data_is_an_empty_table_with_its_columns():
    """Those of the requested codes, or of the codes that are usual for the type."""
    chosen = decoding.stats(
        {"success": True, "records": [], "totals": []}, asked=decoding.Asked("custom", ("bs", "xyz"))
    )
    assert chosen.to_polars().schema == {
        "time": pl.Datetime("ms", "UTC"),
        "battery_soc_percent": pl.Float64,
        "xyz": pl.Float64,
    }
    usual = decoding.stats({"success": True, "records": [], "totals": []}, kind="kwh")
    assert "pv_to_home_kwh" in usual.to_polars().columns
    assert usual.to_polars().height == 0
    assert Stats().to_polars().columns == ["time"]


def test_a_requested_code_that_did_not_come_is_an_empty_column():
    """A code of the type that did not come is none, if others came: the site has no such device."""
    records = {"bs": [[T0, 50.0]]}
    answer = {"success": True, "records": records, "totals": {}}
    asked = decoding.Asked("custom", ("bs", "bv"))
    frame = decoding.stats(answer, asked=asked).to_polars()
    assert frame.columns == ["time", "battery_soc_percent", "battery_voltage_v"]
    assert frame["battery_voltage_v"].to_list() == [None]
    assert decoding.stats(answer, kind="live_feed_kwh").to_polars().columns == ["time", "battery_soc_kwh"]


def test_instances_and_attributes_of_one_code_have_columns_of_their_own():
    """The instance is in the name if the answer is split; of equal codes the second has its attribute id."""
    split = Stats(series=tuple(Series(code="Pc", unit="kWh", instance=number) for number in (0, 258)))
    assert split.to_polars().columns == ["time", "pv_to_home_kwh_instance_0", "pv_to_home_kwh_instance_258"]
    graph = Graph(series=tuple(Series(code="V", unit="V", attribute_id=number) for number in (1, 2)))
    assert graph.to_polars().columns == ["time", "V", "V_attribute_2"]
    twice = Stats(series=(Series(code="V"), Series(code="V"), Series(code="time")))
    assert twice.to_polars().columns == ["time", "V", "V_2", "time_2"]


def test_rows_are_in_order_and_of_a_duplicate_the_last_counts():
    """VRM's order does not matter."""
    found = Series(code="Pc", unit="kWh", times_ms=[T0 + HOUR, T0, T0], value=[3.0, 1.0, 2.0])
    assert found.to_polars()["pv_to_home_kwh"].to_list() == [2.0, 3.0]


def test_integers_that_a_float_cannot_hold_are_rounded():
    """An integer of 60 bits becomes the nearest float, without an error."""
    assert Series(code="x", times_ms=[0], value=[2**60 + 1]).to_polars()["x"][0] == float(2**60)


def test_a_requested_schema_is_passed_on():
    """A consumer that requests a schema gets it from Arrow."""
    wanted = pa.schema([("time", pa.timestamp("ms", "UTC")), ("pv_to_home_kwh", pa.float64())])
    assert pa.table(ENERGY, schema=wanted).column_names == ["time", "pv_to_home_kwh"]


@pytest.mark.parametrize(
    ("method", "library", "extra"),
    [
        ("to_arrow", "pyarrow", "arrow"),
        ("__arrow_c_stream__", "pyarrow", "arrow"),
        ("to_polars", "polars", "polars"),
        ("to_polars", "pyarrow", "polars"),
        ("to_pandas", "pandas", "pandas"),
        ("to_pandas", "pyarrow", "pandas"),
        ("plot", "matplotlib", "plot"),
    ],
)
def test_without_its_library_the_extra_is_named(monkeypatch, method, library, extra):
    """The error is one line with the command that installs it."""
    for name in [each for each in sys.modules if each == library or each.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ImportError, match=rf"^this needs {library}, .*: pip install 'energy-live\[{extra}\]'$"
    ):
        getattr(STATS, method)()


def test_parquet_needs_pyarrow(monkeypatch, tmp_path):
    """Without it nothing is written; CSV files need no other library."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'energy-live\[arrow\]'"):
        STATS.to_parquet(tmp_path / "x.parquet")
    STATS.to_csv(tmp_path / "x.csv")
    assert [each.name for each in tmp_path.iterdir()] == ["x.csv"]


def test_a_csv_file_has_local_times_with_their_offset(tmp_path):
    """An empty cell is a missing value; it is never 0."""
    STATS.to_csv(tmp_path / "stats.csv")
    assert (tmp_path / "stats.csv").read_text() == (
        "time,pv_to_home_kwh,xyz\n"
        "2024-09-13T16:00:00+02:00,1.25,\n"
        "2024-09-13T17:00:00+02:00,,\n"
        "2024-09-13T18:00:00+02:00,2.0,-0.5\n"
    )


def test_a_code_that_looks_like_a_formula_is_escaped(tmp_path):
    """Codes come from the service, and are a file's header."""
    Series(code="=1+1", times_ms=[T0], value=[1]).to_csv(tmp_path / "x.csv")
    assert next(csv.reader((tmp_path / "x.csv").read_text().splitlines())) == ["time", "'=1+1"]


def test_a_parquet_file_is_the_same_table(tmp_path):
    """Names, types, time zone and metadata are those of `to_arrow`."""
    STATS.to_parquet(tmp_path / "stats.parquet")
    assert pq.read_table(tmp_path / "stats.parquet").equals(STATS.to_arrow())


@pytest.mark.parametrize("write", ["to_csv", "to_parquet"])
def test_a_path_that_cannot_be_written_is_named(tmp_path, write):
    """A directory is no file, and the directory of a file must exist."""
    with pytest.raises(IsADirectoryError, match="is a directory"):
        getattr(STATS, write)(tmp_path)
    with pytest.raises(NotADirectoryError, match="does not exist"):
        getattr(STATS, write)(tmp_path / "missing" / "x")


def test_a_file_that_cannot_be_made_leaves_the_old_one(tmp_path, monkeypatch):
    """The file is written beside its path and renamed at the end."""
    STATS.to_csv(tmp_path / "x.csv")
    before = (tmp_path / "x.csv").read_bytes()

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ENERGY.to_csv(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["x.csv"]


def test_stats_are_a_small_table_in_a_notebook():
    """With local times, the totals of the codes below, and a dash for a missing value."""
    html = STATS._repr_html_()
    assert "<caption>Stats; 3 rows; times in Europe/Amsterdam</caption>" in html
    assert "<tr><td>2024-09-13 17:00</td><td>\N{EN DASH}</td><td>\N{EN DASH}</td></tr>" in html
    assert "<tr><th>total</th><th>3.25</th><th>-0.5</th></tr>" in html
    assert "<caption>PV to home in kWh; 1 row; times in UTC</caption>" in ENERGY._repr_html_()


def test_totals_of_a_split_answer_are_those_of_the_instance():
    """Each column has the total of its own device instance."""
    series = tuple(
        Series(code="Pc", unit="kWh", times_ms=[T0], value=[float(number)], instance=number)
        for number in (1, 2)
    )
    split = Stats(series=series, totals_by_instance={1: {"Pc": 10.0}, 2: {"Pc": None}})
    assert "<th>total</th><th>10</th><th>\N{EN DASH}</th>" in split._repr_html_()


def test_changes_of_state_and_overall_stats_are_tables_too():
    """One row for each change, or for each period."""
    states = StateSeries(
        name="VeBusState",
        states=(
            StateSet(code="S", times_ms=[T0], ends_ms=[None], numbers=[3], names=["Bulk"]),
            StateSet(code="R", times_ms=[T0], numbers=[None], names=["=x"]),
        ),
    )
    assert states.to_polars().rows() == [("S", START, None, 3, "Bulk"), ("R", START, None, None, "=x")]
    assert states["S"].to_polars().height == 1
    overall = OverallStats(today=Period(totals={"Pc": 1.5}), year=Period(totals={"Pc": 9.0, "x": None}))
    assert overall.to_polars().rows() == [
        ("today", 1.5, None),
        ("week", None, None),
        ("month", None, None),
        ("year", 9.0, None),
    ]


def test_codes_have_names():
    """A code of statistics has a readable name, any other VRM's description."""
    codes = Codes(Catalogue())
    assert codes["Pc"] == Code("Pc", "PV to home", "kWh")
    assert codes["Pc"].column == "pv_to_home_kwh"
    assert codes["gc"].name == "Generator to home"
    assert codes["rtt"].name == "D-Bus Round-trip time"
    assert codes["rtt"].column == "rtt"
    assert codes["q0"].name == "VE.Bus netw. error count - unit 1 / Network error count - unit 1"
    assert {"Pc", "rtt"} <= set(codes)
    assert len(codes) == len(set(codes)) > 400
    with pytest.raises(KeyError, match=r"no code 'nothing'; see catalogue\.search"):
        codes["nothing"]
    with pytest.raises(KeyError, match="no code 'GC'; codes are case-sensitive: Gc, gc"):
        codes["GC"]


def test_totals_have_the_codes_of_which_they_are_the_sum():
    """Each part is a code with a name."""
    codes = Codes(Catalogue())
    assert codes["total_consumption"].sum_of == ("Pc", "Gc", "Bc", "gc")
    assert len(codes["kwh"].sum_of) == 9
    assert all(part in NAMES for parts in SUMS.values() for part in parts)


def test_names_of_columns_are_unique_and_plain():
    """No two codes share one, and each can be an identifier."""
    names = [column_name(code, "kWh") for code in NAMES]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name == name.lower() for name in names)
    assert column_name("bs", None) == "battery_soc"
    assert column_name("bs", "degC") == "battery_soc_degc"


def test_times_in_a_zone_that_this_machine_does_not_know_are_utc():
    """The zone comes from VRM, whose database may be newer."""
    frame = Series(code="x", times_ms=[T0], value=[1.0], timezone="Mars/Olympus").to_polars()
    assert frame.schema["time"] == pl.Datetime("ms", "UTC")
    assert frame["time"][0] == START.astimezone(ZoneInfo("UTC"))

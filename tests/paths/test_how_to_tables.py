"""The pages of docs/how-to about tables, charts and files run as printed against the simulator."""

import csv
import sys

import matplotlib as mpl
import polars as pl
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tests.paths.snippets import document, run, snippets_of

PAGES = ("kwh-a-day", "chart-in-a-notebook", "csv-and-parquet")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    yield
    plt.close("all")


async def after(page, **names):
    """Run the blocks of a page in one namespace and return it."""
    known = {"__name__": "document"} | names
    for snippet in snippets_of(document(f"docs/how-to/{page}.md")):
        await run(snippet, known)
    return known


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_on_a_screen(page):
    """It has at most 50 lines, and the command that installs what it needs."""
    text = document(f"docs/how-to/{page}.md")
    assert len(text.splitlines()) <= 50
    assert 'pip install "energy-live[' in text


async def test_kwh_a_day(household):
    """A row for each day with local midnights, and every column of the page that the site can have."""
    shown = []
    known = await after("kwh-a-day", print=lambda *values: shown.append(values))
    assert len(shown) == len(household.site_ids)
    frame = known["frame"]
    assert frame.height == 31
    assert isinstance(frame, pl.DataFrame)
    assert set(frame["time"].dt.hour()) == {0}
    assert known["stats"].totals["Pc"] == pytest.approx(frame["pv_to_home_kwh"].sum(), rel=1e-3)
    text = document("docs/how-to/kwh-a-day.md")
    named = {
        code.column
        for code in map(known["vrm"].codes.__getitem__, ("Pc", "Pb", "Pg", "Gc", "Gb", "Bc", "Bg"))
    }
    assert all(f"`{name}`" in text for name in named)
    assert named <= set(frame.columns)


async def test_a_chart(household, tmp_path):
    """Units on the axes, local time, and a picture in a file."""
    known = await after("chart-in-a-notebook")
    assert isinstance(known["axes"], Axes)
    units = [each.get_ylabel() for each in known["axes"].figure.axes]
    assert sorted(units) == ["Battery SOC, %", "Battery voltage, V"]
    assert known["axes"].get_xlabel() == f"local time, {known['sites'][0].timezone}"
    assert (tmp_path / "battery.png").read_bytes().startswith(b"\x89PNG")
    assert known["sites"]._repr_html_().startswith("<table>")


async def test_files(household, tmp_path):
    """Each file of the page is there, and both formats have the same rows."""
    known = await after("csv-and-parquet")
    assert {path.name for path in tmp_path.iterdir()} == {
        "sites.csv",
        "days.csv",
        "days.parquet",
        "hours.csv",
    }
    days = list(csv.DictReader((tmp_path / "days.csv").read_text().splitlines()))
    frame = pl.read_parquet(tmp_path / "days.parquet")
    assert [float(row["pv_to_home_kwh"]) for row in days] == frame["pv_to_home_kwh"].to_list()
    assert frame.equals(known["stats"].to_polars())
    header = "time," + document("docs/how-to/csv-and-parquet.md").partition("\ntime,")[2].partition(",...")[0]
    assert (tmp_path / "days.csv").read_text().startswith(header)
    hours = list(csv.DictReader((tmp_path / "hours.csv").read_text().splitlines()))
    assert len(hours) > 360 * 24
    sites = (tmp_path / "sites.csv").read_text().splitlines()
    assert len(list(csv.DictReader(sites))) == len(household.site_ids)


async def test_files_in_csv_need_no_other_library(household, tmp_path, monkeypatch):
    """Without pyarrow the page's CSV files are written, and the error has the command for the other."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'energy-live\[arrow\]'"):
        await after("csv-and-parquet")
    assert {path.name for path in tmp_path.iterdir()} == {"sites.csv", "days.csv"}

"""Tables of columns and of records: data frames, files, and HTML for notebooks."""

import copy
import csv
import inspect
import io
import pickle
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import attrs
import polars as pl
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

import voltstorage_async.models
import vrm_async.models
from energy_core import Event, Kind, Quantity, Secret, SourceId, Status
from energy_core.csv_safety import unescape_text
from energy_core.home import Present
from energy_core.http.pages import Page, Pages
from energy_core.stream.vocabulary import State
from energy_core.tables import Records, Table, TableColumn
from energy_core.tables.column import unique_name
from vrm_async.models import FleetSite, Site, SiteSnapshot

T0 = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


@frozen
class Thing:
    """A record with a field of each type."""

    id: int
    name: str | None = None
    share: float | None = None
    on: bool | None = None
    seen: datetime | None = None
    made: date | None = None
    reading: str | int | float | None = None
    values: Mapping[str, str | int | float | None] = field(factory=dict)
    token: Secret | None = None
    email: str | None = field(default=None, repr=False)
    raw: Mapping[str, object] = field(factory=dict)


FULL = Thing(
    id=2**60,
    name="=HYPERLINK(1)",
    share=0.1,
    on=True,
    seen=T0 + timedelta(milliseconds=5),
    made=date(2026, 3, 1),
    reading=5,
    values={"bs": 50.5, "name": "x"},
    token=Secret("hidden"),
    email="a@b.c",
    raw={"a": 1},
)
EMPTY = Thing(id=1)


class Columns(Table):
    """A table of given columns."""

    def __init__(self, *columns):
        self.columns = columns

    def _table_columns(self):
        return self.columns


def test_records_are_a_tuple():
    """Equal to one, with its methods; copies and pickles keep the class of the records."""
    records = Records([FULL, EMPTY], Thing)
    assert isinstance(records, tuple)
    assert records == (FULL, EMPTY)
    assert hash(Records([1])) == hash((1,))
    for same in (
        copy.copy(records),
        copy.deepcopy(Records([EMPTY], Thing)),
        pickle.loads(pickle.dumps(Records([1], int))),
    ):
        assert isinstance(same, Records)
        assert same.of is not None


def test_records_have_a_column_for_each_field_of_single_values():
    """A mapping of names has one for each name; secrets, `raw` and other objects have none."""
    frame = Records([FULL, EMPTY]).to_polars()
    assert frame.schema == {
        "id": pl.Int64,
        "name": pl.String,
        "share": pl.Float64,
        "on": pl.Boolean,
        "seen": pl.Datetime("us", "UTC"),
        "made": pl.Date,
        "reading": pl.Float64,
        "bs": pl.Float64,
        "name_2": pl.String,
        "email": pl.String,
    }
    assert frame.row(0)[4:7] == (FULL.seen, FULL.made, 5.0)
    assert frame.row(1) == (1, *[None] * 9)


def test_a_value_that_is_once_a_text_is_a_column_of_texts():
    """VRM sends numbers as numbers or as text."""
    frame = Records([Thing(1, reading="on"), Thing(2, reading=5), Thing(3)]).to_polars()
    assert frame["reading"].to_list() == ["on", "5", None]


def test_an_empty_list_has_its_columns():
    """If the class of the records is known; else there are none."""
    assert Records([], Thing).to_polars().columns == Records([EMPTY]).to_polars().columns
    assert Records([], Thing).to_polars().height == 0
    assert Records().to_polars().columns == []
    assert Records([1, 2])._repr_html_() == "<table><caption>Records; 0 rows</caption><tbody></tbody></table>"


async def test_a_list_that_was_awaited_is_a_table():
    """Also if it is empty."""

    async def read(_):
        return Page((), 0)

    found = await Pages(read, key=None, of=Thing)
    assert found == ()
    assert found.to_polars().columns[0] == "id"


def models():
    """Return the public models of both vendors."""
    found = [getattr(vrm_async.models, name) for name in vrm_async.models.__all__]
    found += [each for each in vars(voltstorage_async.models).values() if inspect.isclass(each)]
    return [each for each in found if attrs.has(each)]


@pytest.mark.parametrize("kind", models(), ids=lambda kind: kind.__name__)
def test_every_model_can_be_a_row(kind):
    """No column is of a secret or of the raw record."""
    names = Records([], kind).to_polars().columns
    assert len(set(names)) == len(names)
    assert not {"raw", "token", "password"} & set(names)
    assert Records([], kind)._repr_html_().startswith("<table>")


def test_present_values_are_a_table():
    """One row for each site and one column for each quantity, whatever was measured; also without a site."""
    source = SourceId("vrm", "home", "7")
    present = Present(value=-5.0, source=source, time=T0, age_s=60.0, stale=False, state=None, others=())
    snapshot = SiteSnapshot(
        site=Site(id=7),
        source=source,
        name="Elm Street",
        time=T0,
        age_s=60.0,
        stale=False,
        present={Quantity.BATTERY_POWER: present},
    )
    frame = Records([snapshot]).to_polars()
    assert frame.columns == Records([], SiteSnapshot).to_polars().columns
    assert frame["battery_power_w"].to_list() == [-5.0]
    assert frame["battery_soc_percent"].to_list() == [None]
    assert "battery_power-5 W, 60 s old" in Tags(snapshot._repr_html_()).text


def test_sites_of_a_fleet_have_the_requested_values():
    """One column for each code."""
    frame = Records(
        [FleetSite(site_id=1, values={"bs": 50}), FleetSite(site_id=2, values={"bv": "x"})]
    ).to_polars()
    assert frame.columns == ["site_id", "name", "last_seen", "bs", "bv"]
    assert frame["bs"].to_list() == [50.0, None]


def test_a_csv_file_of_records(tmp_path):
    """Formulas are escaped; times are ISO 8601 with milliseconds where they have some."""
    Records([FULL, EMPTY]).to_csv(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().splitlines() == [
        "id,name,share,on,seen,made,reading,bs,name_2,email",
        "1152921504606846976,'=HYPERLINK(1),0.1,true,2026-03-29T00:30:00.005+00:00,2026-03-01,5,50.5,x,a@b.c",
        "1,,,,,,,,,",
    ]


@given(st.lists(st.tuples(st.text(max_size=8), st.floats(allow_nan=False) | st.none()), max_size=6))
def test_a_csv_file_is_read_back_as_it_was(tmp_path_factory, rows):
    """Any text and any number; an empty text and a missing one are both an empty cell."""
    path = tmp_path_factory.mktemp("x") / "x.csv"
    names, numbers = zip(*rows, strict=True) if rows else ((), ())
    Columns(TableColumn("=a,b", "text", names), TableColumn("n", "float", numbers)).to_csv(path)
    header, *lines = csv.reader(io.StringIO(path.read_bytes().decode(), newline=""))
    assert header == ["'=a,b", "n"]
    assert [(unescape_text(text), float(cell) if cell else None) for text, cell in lines] == rows


def test_local_times_keep_their_moment_when_clocks_change(tmp_path):
    """Both hours of the night in October have their own offset."""
    autumn = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    times = [autumn, autumn + timedelta(hours=1), None]
    Columns(TableColumn("t", "datetime", times, timezone="Europe/Amsterdam")).to_csv(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().split() == [
        "t",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
    ]


class Tags(HTMLParser):
    """Counts the tags of a page and keeps its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


HOSTILE = "<script>alert('x')</script>&amp;"


def test_html_is_escaped():
    """Names come from owners of sites, codes from the service: in cells, headings and captions."""
    site = Site(id=1, name=HOSTILE)
    event = Event(
        source=SourceId("vrm", "home", HOSTILE),
        kind=Kind.STATUS,
        key="k",
        time=T0,
        received_at=T0,
        seq=1,
        id="x",
        detail=Status(state=State.LIVE, reason=HOSTILE),
    )
    table = Columns(TableColumn(HOSTILE, "text", [HOSTILE]))
    for shown in (site, Records([site]), event, table):
        found = Tags(shown._repr_html_())
        assert set(found.tags) <= {"table", "caption", "thead", "tbody", "tr", "th", "td"}
        assert "alert" in found.text


def test_html_is_bounded():
    """Of many rows the first and the last ten, of many columns twenty, and of long texts the beginning."""
    long = Columns(*(TableColumn(f"c{number}", "int", [*range(1000)]) for number in range(30)))
    found = Tags(long._repr_html_())
    assert found.tags.count("tr") == 1 + 10 + 1 + 10
    assert "1,000 rows; 10 more columns" in found.text
    assert "999" in found.text
    assert ">500<" not in long._repr_html_()
    text = Tags(Columns(TableColumn("c", "text", ["x" * 10_000]))._repr_html_()).text
    assert len(text) < 100


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234.5, "1,234.5"), (0.0004, "0.0004"), (-0.25, "-0.25"), (0.0, "0"), (None, "\N{EN DASH}"), (3, "3")],
)
def test_numbers_in_html(value, shown):
    """A small number never reads as 0, and a missing one is a dash."""
    assert f"<td>{shown}</td>" in Columns(TableColumn("c", "float", [value]))._repr_html_()


def test_a_site_is_a_small_table():
    """With the fields that it has; a list of sites has a row for each."""
    site = Site(
        id=7, name="Elm Street", timezone="Europe/Amsterdam", last_seen=T0, phone_number="123", alarm=False
    )
    assert site._repr_html_() == (
        "<table><caption>Site</caption><tbody><tr><th>id</th><td>7</td></tr>"
        "<tr><th>name</th><td>Elm Street</td></tr><tr><th>timezone</th><td>Europe/Amsterdam</td></tr>"
        "<tr><th>last_seen</th><td>2026-03-29 00:30 UTC</td></tr><tr><th>alarm</th><td>no</td></tr>"
        "</tbody></table>"
    )
    found = Tags(Records([site, Site(id=8)])._repr_html_())
    assert found.tags.count("tr") == 3
    assert "123" not in found.text
    assert "has_mains" not in found.text  # no site has a value
    assert "has_mains" in Records([], Site)._repr_html_()


def test_an_event_is_a_small_table():
    """Its values have their units."""
    event = Event(
        source=SourceId("vrm", "home", "7"),
        kind=Kind.READING,
        key="k",
        time=T0,
        received_at=T0,
        seq=4,
        id="x",
        values={Quantity.BATTERY_POWER: -512.25, Quantity.BATTERY_SOC: 50.0},
        raw={"secret": 1},
        late=True,
    )
    found = Tags(event._repr_html_()).text
    assert found.startswith("Event: reading 4sourcevrm/home/7/0time2026-03-29 00:30 UTC")
    assert "battery_power-512.25 W" in found
    assert "battery_soc50 %" in found
    assert found.endswith("lateyes")


def test_hidden_fields_are_not_displayed():
    """What `repr` leaves out is in files, which are asked for, and not in a notebook."""
    assert "a@b.c" not in Records([FULL])._repr_html_()


def test_a_taken_name_gets_an_ending():
    """The first ending that makes it unique, else a number."""
    assert unique_name("a", ["b"], "_x") == "a"
    assert unique_name("a", ["a"], "_x") == "a_x"
    assert unique_name("a", ["a", "a_x", "a_2"], "_x") == "a_3"

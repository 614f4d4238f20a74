import csv
import io
import json
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from energy_core.clock import SystemClock
from energy_live.reports.progress import Progress
from energy_live.reports.table import Report, ReportColumn, age_text

BERLIN = ZoneInfo("Europe/Berlin")
COLUMNS = (
    ReportColumn("name", "name"),
    ReportColumn("battery_power_w", "battery", "W", signed=True),
    ReportColumn("battery_soc_percent", "charge", "%", digits=1),
    ReportColumn("time", "newest data"),
    ReportColumn("age_s", "age", age=True),
    ReportColumn("shared", "shared"),
)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).astimezone(BERLIN)
ROWS = [("Elm Street", 1250.26, 88.04, NOON, 17.2, True), ("=Harbour\x1b[2J", -0.2, None, None, None, False)]


def test_a_table_has_headings_units_and_rounded_numbers():
    """A table has titles, units, rounded numbers with signs, ages and local times."""
    lines = Report(COLUMNS, ROWS).render("table").splitlines()
    assert lines[0].split() == ["name", "battery", "charge", "newest", "data", "age", "shared"]
    assert lines[1].split() == ["W", "%"]
    assert lines[2].split() == ["Elm", "Street", "+1,250", "88.0", "2026-06-01", "14:00:00", "17", "s", "yes"]
    assert lines[3].split() == ["=Harbour", "[2J", "0", "no"]


def test_json_is_an_array_with_one_object_a_row():
    """JSON has every column under its name, not rounded; null is a missing value; times have their offset."""
    text = Report(COLUMNS, ROWS).render("json")
    first, second = json.loads(text)
    assert first == {
        "name": "Elm Street",
        "battery_power_w": 1250.26,
        "battery_soc_percent": 88.04,
        "time": "2026-06-01T14:00:00+02:00",
        "age_s": 17.2,
        "shared": True,
    }
    assert second["name"] == "=Harbour\x1b[2J"
    assert second["battery_soc_percent"] is second["time"] is None
    assert "\x1b" not in text


def test_csv_has_a_header_and_no_formulas():
    """CSV has a header line; a missing value is an empty cell, and a formula is escaped."""
    header, first, second = csv.reader(io.StringIO(Report(COLUMNS, ROWS).render("csv")))
    assert header == [column.name for column in COLUMNS]
    assert first == ["Elm Street", "1250.26", "88.04", "2026-06-01T14:00:00+02:00", "17.2", "true"]
    assert second == ["'=Harbour\x1b[2J", "-0.2", "", "", "", "false"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("json", "[]\n"), ("csv", "name,battery_power_w\n"), ("table", "name  battery\n            W\n")],
)
def test_an_empty_report_has_its_columns(form, expected):
    """A report without rows is an empty table with its columns."""
    assert Report(COLUMNS[:2], []).render(form) == expected


def test_midnights_are_dates():
    """A column whose times are all local midnights shows dates."""
    days = [(datetime(2026, 6, day, tzinfo=BERLIN),) for day in (1, 2)]
    shown = Report([ReportColumn("time", "time")], days).render("table")
    assert shown.split() == ["time", "2026-06-01", "2026-06-02"]
    assert "2026-06-01T00:00:00+02:00" in Report([ReportColumn("time", "time")], days).render("csv")


def test_a_narrow_terminal_wraps_texts_and_cuts_no_number():
    """In a narrow terminal texts are wrapped; if that is not enough, lines are longer, and nothing is cut."""
    columns = [ReportColumn("name", "name", wraps=True), ReportColumn("power_w", "power", "W")]
    report = Report(columns, [("Elm Street at the Harbour", 123_456_789.0)])
    for width in (30, 5):
        shown = re.sub(r"\x1b\[[0-9;]*m", "", report.render("table", width=width))
        assert "123,456,789" in shown
        assert max(map(len, shown.splitlines())) <= max(width, len("Harbour  123,456,789"))
        assert re.findall(r"Elm|Street|at|the|Harbour", shown) == ["Elm", "Street", "at", "the", "Harbour"]
    assert len(report.render("table").splitlines()) == 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-4, "0 s"), (17.4, "17 s"), (119, "119 s"), (300, "5 min"), (7200, "2 h"), (259_200, "3 days")],
)
def test_ages(seconds, text):
    """An age has one unit that suits its size."""
    assert age_text(seconds) == text


class Terminal(io.StringIO):
    """A stream that says it is a terminal, or not."""

    def __init__(self, *, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def fileno(self):
        raise OSError("this terminal has no size")


@pytest.mark.virtual_time
async def test_progress_is_shown_after_a_second_and_erased():
    """The line appears after a second, follows the text, and is erased at the end."""
    terminal, clock = Terminal(terminal=True), SystemClock()
    async with Progress("reading the sites", stream=terminal) as progress:
        await clock.sleep(0.9)
        assert terminal.getvalue() == ""
        await clock.sleep(0.2)
        assert terminal.getvalue().endswith("energy-live: reading the sites (1 s)")
        progress.text = "reading the products"
        await clock.sleep(2.0)
        assert terminal.getvalue().endswith("energy-live: reading the products (3 s)")
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.virtual_time
@pytest.mark.parametrize(("is_terminal", "seconds"), [(True, 0.5), (False, 60.0)])
async def test_no_progress_without_a_terminal_or_in_the_first_second(is_terminal, seconds):
    """A fast command, and one whose stderr is no terminal, shows no progress."""
    stream = Terminal(terminal=is_terminal)
    async with Progress("reading", stream=stream):
        await SystemClock().sleep(seconds)
    assert stream.getvalue() == ""

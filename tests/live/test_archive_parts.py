"""Parts of the archive: plan, CSV lines, file formats, staging, retries."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.coerce import number
from energy_core.csv_safety import escape_text, format_line, unescape_text
from energy_core.errors import (
    AuthFailed,
    BadRequest,
    ConnectError,
    ConnectionLost,
    RateLimited,
    RequestError,
    ServerFault,
    TLSVerificationError,
)
from energy_live.archive.csv_lines import RowFormatter, unique_names
from energy_live.archive.directory import ArchiveDirectory
from energy_live.archive.plan import Day, Month, ProductPlan
from energy_live.archive.retry import RetryPolicy, RunStopped
from energy_live.archive.staging import DamagedDay, StagingArea
from energy_live.archive.writer import writer_for
from voltstorage_async.export.csv import CsvRows
from voltstorage_async.models import Product

# --- plan -------------------------------------------------------------------------------------------------


def scope(until, **product):
    return ProductPlan(product=Product(id=1, **product), until=until)


@pytest.mark.parametrize(
    ("product", "first"),
    [
        ({"installation_date": date(2020, 3, 25)}, (2020, 3)),
        ({"installation_date": date(2020, 3, 1)}, (2020, 2)),  # February in UTC
        ({"installation_date": date(2020, 3, 25), "manufacturing_date": date(2019, 5, 21)}, (2019, 5)),
        ({"manufacturing_date": date(2019, 5, 21)}, (2019, 5)),
        ({"created_at": datetime(2018, 7, 9, tzinfo=UTC)}, (2018, 7)),
        ({}, (2015, 12)),
        ({"installation_date": date(1, 1, 1)}, (2015, 12)),
    ],
)
def test_the_first_month_of_a_product(product, first):
    """It contains the day before the earliest date of the product, and is never before 2015-12."""
    assert scope(datetime(2024, 1, 1, tzinfo=UTC), **product).first == first


@given(
    st.datetimes(datetime(2019, 1, 2), datetime(2026, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Nowhere", None]),
)
def test_days_and_requests_have_no_gaps(until, zone):
    """Days and the requests of every table follow each other without gaps up to `until`."""
    one = scope(until, installation_date=date(2018, 12, 5), timezone=zone)
    days = [day for month in one.months() for day in month.days(until)]
    assert days[0].start == datetime(2018, 12, 1, tzinfo=UTC)
    assert days[-1].end == until
    assert all(a.end == b.start and a.whole for a, b in pairwise(days))
    assert one.last_day == days[-1].date
    tables = list(one.tables())
    hours = [request for table in tables if table.timespan == "hour" for request in table.requests]
    for requests in (hours, *[table.requests for table in tables if table.timespan != "hour"]):
        assert requests[-1][1] == until
        assert all(a[1] == b[0] and a[0] < a[1] for a, b in pairwise(requests))
    assert len({table.name for table in tables}) == len(tables)


def test_sections_are_final_before_the_last_day():
    """A section that ends before the last day begins is final."""
    one = scope(datetime(2024, 11, 1, tzinfo=UTC))
    assert one.last_day == date(2024, 10, 31)
    assert [one.is_final(Month(2024, month).end) for month in (9, 10)] == [True, False]


# --- CSV lines ----------------------------------------------------------------------------------------------

T = "2020-03-25T12:20:41.562+00:00"
PAYLOADS = ["=1+1", "+1+1", "-2+3+cmd|' /C calc'!A0", "@SUM(1)", "\tx", "\uff1d1", "'=1", "''", '="a",b']


def lines_of(body, **options):
    rows = CsvRows(**options).feed(body.encode())
    lines = RowFormatter(rows[0].layout)
    return lines, lines.format_rows(rows)


def test_a_normalized_line_is_not_changed():
    """Numbers keep the vendor's digits, and empty cells stay empty."""
    body = f"{T},-49.8754,,0,1e-05\n"
    lines, written = lines_of(f"Time,a,b,c,d\n{body}")
    assert (written, lines.columns, lines.text) == ([body], ["a", "b", "c", "d"], [])


@pytest.mark.parametrize(
    "time",
    ["2020-03-25T12:20:41.562Z", "2020-03-25T14:20:41.562+02:00", "2020-03-25 12:20:41.562000+00:00"],
)
@pytest.mark.parametrize("separator", [",", ";"])
def test_equal_rows_give_equal_lines(time, separator):
    """Time zone, separator and position of the time column make no difference."""
    for columns, cells in (("Time;a;b", f"{time};1;ok"), ("a;Time;b", f" 1 ;{time};ok")):
        body = f"{columns}\n{cells}\n".replace(";", separator)
        lines, written = lines_of(body, separator=separator)
        assert (written, lines.text) == ([f"{T},1,ok\n"], ["b"])


def test_microseconds_are_kept():
    """Microseconds are not rounded to milliseconds."""
    assert lines_of("Time,a\n2020-03-25T12:20:41.562123Z,1\n")[1] == ["2020-03-25T12:20:41.562123+00:00,1\n"]


@pytest.mark.parametrize("text", PAYLOADS)
def test_no_text_becomes_a_formula(text):
    """A text that a spreadsheet would run gets an apostrophe in front; numbers are not changed."""
    lines, (written,) = lines_of(f"Time;a;b\n{T};{text};-49.8\n", separator=";")
    ((_, cell, value),) = csv.reader([written])
    assert (cell, value) == (f"'{text}", "-49.8")
    assert unescape_text(cell) == text
    assert lines.text == ["a"]


@given(st.text(max_size=8) | st.sampled_from(PAYLOADS))
def test_escaped_text_is_no_formula_and_can_be_unescaped(text):
    """No escaped text begins like a formula, and unescaping restores every text."""
    assert escape_text(text)[:1] not in {*"=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"}
    assert unescape_text(escape_text(text)) == text
    assert next(csv.reader(io.StringIO(format_line(["x", escape_text(text)]), newline=""))) == [
        "x",
        escape_text(text),
    ]


@given(
    st.lists(
        st.sampled_from(
            [
                "",
                "0",
                "-1.5",
                "+7",
                ".5",
                "1e5",
                "-12,5",
                "1,234",
                "1.234,5",
                "1e999",
                "nan",
                "ok",
                "a b",
                "1_0",
                *PAYLOADS[:-1],
            ]
        ),
        min_size=2,
        max_size=2,
    )
)
def test_a_line_has_the_values_of_its_row(cells):
    """Parsed again, a line has the row's numbers and texts."""
    (row,) = CsvRows(separator=";").feed(f"Time;a;b\n{T};{';'.join(cells)}\n".encode())
    (written,) = RowFormatter(row.layout).format_rows([row])
    _, *back = next(csv.reader([written]))
    named = {name: cell for name, cell in zip("ab", back, strict=True) if cell}
    assert {name: value for name, cell in named.items() if (value := number(cell)) is not None} == row.values
    texts = {name: unescape_text(cell) for name, cell in named.items() if number(cell) is None}
    assert texts == row.text


def test_column_names_are_unique():
    """Repeated and empty names, formulas, and the name of the time column get unique, escaped names."""
    assert unique_names(["a", "a", "", " ", "Time", "=x"]) == [
        "a",
        "a (2)",
        "unnamed",
        "unnamed (2)",
        "Time (2)",
        "'=x",
    ]


# --- files of a month --------------------------------------------------------------------------------------


def staged(folder, days):
    """StagingArea the bodies of exports as days of March 2020."""
    stage, found = StagingArea(folder, 7), []
    for number_, body in days.items():
        start = datetime(2020, 3, number_, tzinfo=UTC)
        day = Day(start.date(), start + timedelta(days=1))
        with stage.write(day) as draft:
            parser = CsvRows()
            draft.add(parser.feed(body.encode()))
        found.append(stage.keep(day))
    return found


DAYS = {
    1: "Time,a,b\n2020-03-01T00:00:00.000Z,1,=x\n2020-03-02T00:00:00Z,9,9\n",  # the second is of March 2
    2: "Time,b,c c\n2020-03-02T10:00:00.500+01:00,5,\n2020-03-02T11:00:00Z,,+2.5\n",
    4: "Time,a,b\n2020-03-04T00:00:00.000+00:00,3,\n",
}


def test_a_month_has_the_columns_of_all_its_days(tmp_path):
    """A column that a day lacks is empty on that day."""
    days = staged(ArchiveDirectory(tmp_path), DAYS)
    out = io.BytesIO()
    writer_for("csv").month(days, tmp_path, out)
    assert out.getvalue().decode() == (
        "Time,a,b,c c\n"
        "2020-03-01T00:00:00.000+00:00,1,'=x,\n"
        "2020-03-02T09:00:00.500+00:00,,5,\n"
        "2020-03-02T11:00:00.000+00:00,,,+2.5\n"
        "2020-03-04T00:00:00.000+00:00,3,,\n"
    )


def test_a_parquet_month_has_the_columns_of_all_its_days(tmp_path):
    """A column with a text on one day is a text column, unescaped; the others are numbers."""
    days = staged(ArchiveDirectory(tmp_path), DAYS)
    with (tmp_path / "m.parquet").open("w+b") as file:
        writer_for("parquet").month(days, tmp_path, file)
    read = pq.ParquetFile(tmp_path / "m.parquet")
    assert [str(kind) for kind in read.schema_arrow.types] == [
        "timestamp[us, tz=UTC]",
        "double",
        "string",
        "double",
    ]
    assert read.metadata.num_row_groups == 3
    assert [tuple(row.values())[1:] for row in read.read().to_pylist()] == [
        (1.0, "=x", None),
        (None, "5", None),
        (None, None, 2.5),
        (3.0, None, None),
    ]


def test_a_truncated_staged_day_is_absent(tmp_path):
    """A staged day counts as absent at whatever length it is cut."""
    (day,) = staged(ArchiveDirectory(tmp_path), {1: DAYS[1]})
    path = tmp_path / day.name
    whole = path.read_bytes()
    stage = StagingArea(ArchiveDirectory(tmp_path), 7)
    march = Day(date(2020, 3, 1), datetime(2020, 3, 2, tzinfo=UTC))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert stage.read(march) is None
    path.write_bytes(whole)
    assert stage.read(march) == day


def test_a_changed_staged_day_is_absent(tmp_path):
    """Its checksum detects every changed byte, and it never becomes part of a month."""
    (day,) = staged(ArchiveDirectory(tmp_path), {1: DAYS[1]})
    path = tmp_path / day.name
    whole = path.read_bytes()
    stage = StagingArea(ArchiveDirectory(tmp_path), 7)
    march = Day(date(2020, 3, 1), datetime(2020, 3, 2, tzinfo=UTC))
    for at in range(len(whole)):
        for flip in (1, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            assert stage.read(march) is None
    path.write_bytes(whole.replace(b"1,'=x", b"2,'=x"))
    for kind in ("csv", "parquet"):
        with pytest.raises(DamagedDay, match="2020-03-01"):
            writer_for(kind).month([day], tmp_path, io.BytesIO())
    path.write_bytes(whole)
    assert stage.read(march) == day


# --- retries ----------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("error", "raised", "attempts"),
    [
        (ServerFault("down", status=500), ServerFault, 4),
        (ConnectionLost("gone"), ConnectionLost, 4),
        (BadRequest("what", status=400), BadRequest, 1),
        (ConnectError("no route"), RunStopped, 4),
        (TLSVerificationError("whose"), RunStopped, 1),
        (AuthFailed("who", status=401), RunStopped, 1),
        (RateLimited("later", retry_after=1000.0), RunStopped, 4),
    ],
)
async def test_attempts_of_each_error(error, raised, attempts):
    """Transient errors are tried four times; some errors end the run, the others only the request."""
    count = 0

    async def request():
        nonlocal count
        count += 1
        raise error

    with pytest.raises((RequestError, RunStopped)) as caught:
        await RetryPolicy().call(request)
    assert type(caught.value) is raised
    assert count == attempts


@pytest.mark.virtual_time
async def test_retry_after_is_obeyed():
    """The pause between two attempts is at least Retry-After."""
    loop, times = asyncio.get_running_loop(), []

    async def request():
        times.append(loop.time())
        if len(times) == 1:
            raise RateLimited("later", retry_after=900.0)
        return "yes"

    assert await RetryPolicy().call(request) == "yes"
    assert times[1] - times[0] >= 900.0

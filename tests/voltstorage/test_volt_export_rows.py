"""CsvRows and JsonRows: the bytes of exports to rows; ForwardFill."""

from __future__ import annotations

import csv
import json
import pickle
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.coerce import number
from energy_core.errors import BodyTooLarge, DecodeError, EnergyError
from voltstorage_async import ForwardFill
from voltstorage_async.export.csv import LINE_LIMIT, CsvRows
from voltstorage_async.export.json import JsonRows

T = "2021-03-25T12:20:41.562Z"
AT = datetime(2021, 3, 25, 12, 20, 41, 562000, UTC)


def read(parser, body, *, step=1 << 20):
    data = body if isinstance(body, bytes) else body.encode()
    rows = [row for k in range(0, len(data), step) for row in parser.feed(data[k : k + step])]
    return rows + parser.finish()


def values(body, **options):
    return [row.values for row in read(CsvRows(**options), body)]


def test_empty_cells_are_absent_and_zero_is_zero():
    """An empty cell is no value; a zero is a value."""
    assert values(f"sep=,\nTime,a,b\n{T},0,\n{T},,-1.5\n") == [{"a": 0.0}, {"b": -1.5}]


@pytest.mark.parametrize(
    "body",
    [
        f"sep=;\r\nTime;a b;c\r\n{T};1;2\r\n",
        f"sep=;\r\nTime;a b;c\r\n{T},1,2\r\n",
        f"Time;a b;c\n{T},1,2\n",
        f"sep=,\nTime;a b;c\n{T};1;2\n",
        f"\ufeffsep=,\nTime,a b,c\n{T},1,2\n",
        f"\n\nTime,a b,c\n\n{T},1,2\n\n",
        f'sep=,\n"Time","a b","c"\n"{T}","1","2"\n',
        f"Time|a b|c\n{T}|1|2\n",
    ],
)
def test_separators_and_line_ends_of_exports_since_2019(body):
    """With or without sep line, BOM, quotes and CR LF, and with the mixed separators of 2021."""
    (row,) = read(CsvRows(), body)
    assert (row.time, row.values, row.text) == (AT, {"a b": 1.0, "c": 2.0}, {})


def test_mixed_separators_are_reported():
    """Rows with another separator than their header are read; further blocks are parsed at once."""
    parser = CsvRows(separator=";")
    body = "sep=;\r\nTime;a;b\r\n" + f"{T},1,2\r\n" * 3
    assert [row.values for row in read(parser, body)] == [{"a": 1.0, "b": 2.0}] * 3
    assert (parser.repaired, parser.malformed, parser.columns) == (True, 0, ("a", "b"))
    (row,) = parser.feed(f"{T},1,2\r\n".encode())
    assert row.layout.purity == "digits"


def test_the_requested_separator_is_understood():
    """It may have several characters."""
    assert values(f"Time::a::b\n{T}::1::\n", separator="::") == [{"a": 1.0}]
    assert values(f"Time\ta\n{T}\t1\n", separator="\t") == [{"a": 1.0}]


def test_unclosed_quotes_are_ordinary_characters():
    """So are quotes within a cell."""
    (row,) = read(CsvRows(), f'Time,a,b,c\n{T},5" pipe,"x"y,"z\n')
    assert row.text == {"a": '5" pipe', "b": '"x"y', "c": '"z'}


def test_a_cell_that_is_not_a_number_is_text():
    """NaN, infinities, and Python's spellings of numbers are text."""
    cells = ["ok", "nan", "inf", "1e999", "1_000", "\u0661", "9" * 400, "1,2,5"]
    body = "Time;" + ";".join("abcdefgh") + f"\n{T};" + ";".join(cells) + "\n"
    (row,) = read(CsvRows(), body)
    assert row.values == {}
    assert list(row.text.values()) == cells


@pytest.mark.parametrize(
    "line", ["not a time,1,2", f"{T},1", f"{T},1,2,3", "", "2021-13-01T00:00:00Z,1,2", '"' + T, ",,"]
)
def test_a_malformed_line_is_left_out_and_counted(line):
    """Its neighbours arrive; an empty line is not counted."""
    parser = CsvRows()
    rows = read(parser, f"Time,a,b\n{T},1,2\n{line}\n{T},3,4\n")
    assert [row.values for row in rows] == [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]
    assert parser.malformed == (1 if line else 0)


@pytest.mark.parametrize("line", [f"{T},3", T[:9], f'{T},"3,4', "\x00"])
def test_an_export_that_ends_within_a_line_raises(line):
    """The complete rows come first."""
    parser = CsvRows()
    assert len(parser.feed(f"Time,a,b\n{T},1,2\n{line}".encode())) == 1
    with pytest.raises(DecodeError, match="middle of a line"):
        parser.finish()
    assert parser.malformed == 0


def test_a_last_line_without_a_line_end_is_a_row():
    """If its last cell is empty; a blank line is ignored."""
    parser = CsvRows()
    first, last = read(parser, f"Time,a,b\n{T},1,2\n{T},3,")
    assert [first.values, last.values] == [{"a": 1.0, "b": 2.0}, {"a": 3.0}]
    assert values(f"Time,a,b\n{T},1,2\n  ") == [{"a": 1.0, "b": 2.0}]
    assert parser.malformed == 0


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("cell", ["1193.07", "-5", '"1193"', "ok", "1e-05"])
@pytest.mark.parametrize("rows_in_bulk", [True, False])
def test_a_last_cell_without_a_line_end_is_left_out(end, cell, rows_in_bulk):
    """Wherever the cut is; the row counts once as malformed."""
    time = T if rows_in_bulk else f'"{T}"'  # a quote makes the parser go line by line
    body = end.join(["Time,a,b", f"{time},1,2", f"{time},3,{cell}"])
    for left in range(len(cell)):
        if cell[0] == '"' and left:
            continue  # that is the middle of a line, and an error
        parser = CsvRows()
        *_, row = read(parser, body[: len(body) - left], step=7)
        assert (row.time, row.values, row.text) == (AT, {"a": 3.0}, {})
        assert parser.malformed == 1


def test_a_carriage_return_ends_the_last_line():
    """A line cut between CR and LF is complete."""
    parser = CsvRows()
    assert [row.values for row in read(parser, f"Time,a\r\n{T},1\r\n{T},1193\r")] == [
        {"a": 1.0},
        {"a": 1193.0},
    ]
    assert parser.malformed == 0


@pytest.mark.parametrize("last", [T, T[:19]])
def test_a_last_row_whose_time_may_be_cut_is_left_out(last):
    """If the time is the last cell of a line without a line end."""
    parser = CsvRows()
    assert [row.values for row in read(parser, f"a,Time\n1,{T}\n2,{last}")] == [{"a": 1.0}]
    assert parser.malformed == 1


def test_a_header_alone_is_an_empty_export():
    """With or without a line end; nothing is counted."""
    for body in ("Time,a", "Time,a\r", "sep=,\nTime,a", "Time,a\n"):
        parser = CsvRows()
        assert read(parser, body) == []
        assert (parser.columns, parser.malformed) == (("a",), 0)


def test_times_without_a_zone_have_the_requested_offset():
    """An offset in the text overrides it."""
    zone = timezone(timedelta(minutes=60))
    body = "Time,a\n2021-03-25T12:00:00,1\n2021-03-25T12:00:00+00:00,1\n"
    rows = read(CsvRows(offset=zone), body)
    assert [row.time.utcoffset() for row in rows] == [timedelta(hours=1), timedelta(0)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "empty"),
        ("sep=,\n", "empty"),
        ("<html>\n", "html"),
        ('{"errors":["x"]}', "csv"),
        ("a,b\n1,2\n", "csv"),
    ],
)
def test_a_body_that_is_not_csv_is_a_decode_error(body, kind):
    """Its `kind` says what the body is."""
    with pytest.raises(DecodeError) as caught:
        read(CsvRows(), body)
    assert caught.value.kind == kind


@pytest.mark.parametrize("parser", [CsvRows, JsonRows])
@pytest.mark.parametrize("step", [1000, 1 << 20])
@pytest.mark.parametrize("more", [2, 2000])  # the limit is passed with the line end, or before it
def test_the_length_of_a_line_is_limited(parser, step, more):
    """An endless line or element raises, however it is cut into chunks."""
    start = "[{" if parser is JsonRows else "Time,a\n"
    with pytest.raises(BodyTooLarge):
        read(parser(), start + "x" * (LINE_LIMIT + more) + "\n", step=step)


def test_a_parser_keeps_nothing_of_finished_rows():
    """Two hundred thousand rows use no more memory than a thousand."""
    parser = CsvRows()
    parser.feed(b"Time,a\n")
    block = f"{T},1\n".encode() * 1000
    parser.feed(block)
    tracemalloc.start()
    try:
        for _ in range(200):
            parser.feed(block)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


rows_of_text = st.lists(
    st.tuples(
        st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat) | st.just("bad"),
        st.lists(
            st.floats(-1e6, 1e6).map(repr) | st.sampled_from(["", "0", "ok", '"q"', '"a,""b"', "nan"]),
            min_size=2,
            max_size=3,
        ),
    ).map(lambda row: ",".join([row[0], *row[1]])),
    max_size=20,
)


@given(rows_of_text, st.integers(1, 70), st.sampled_from(["\n", "\r\n"]))
def test_blocks_and_single_lines_are_parsed_alike(lines, step, end):
    """Both give the rows of Python's csv reader, however the bytes are cut."""
    body = end.join(["Time,a,b", *lines, ""])
    fast = CsvRows()
    got = read(fast, body, step=step)
    careful = CsvRows()
    quoted = (f'"{time}"{comma}{cells}' for time, comma, cells in (line.partition(",") for line in lines))
    # The quotes make the parser go line by line.
    one_by_one = read(careful, end.join(["Time,a,b", *quoted, ""]))
    assert [(row.time, row.values, row.text) for row in one_by_one] == [
        (row.time, row.values, row.text) for row in got
    ]
    assert [(row.values, row.text) for row in read(CsvRows(), body)] == [
        (row.values, row.text) for row in got
    ]
    assert careful.malformed == fast.malformed
    reference = [cells for line in lines if len(cells := next(csv.reader([line]))) == 3]
    assert [{**row.values, **row.text}.keys() for row in got] == [
        {name for name, cell in zip("ab", cells[1:], strict=True) if cell}
        for cells in reference
        if cells[0] != "bad" and cells[0] >= "2000"
    ]


@given(st.binary(max_size=300), st.integers(1, 50), st.booleans())
def test_any_bytes_are_rows_or_a_typed_error(data, step, headed):
    """Neither parser raises anything but an EnergyError, and neither do its rows."""
    for parser, head in ((CsvRows(), b"sep=,\nTime,a,b\n"), (JsonRows(), b'[{"Time":1,"a":')):
        try:
            rows = read(parser, (head if headed else b"") + data, step=step)
        except EnergyError:
            continue
        for row in rows:
            assert row.time.tzinfo is not None
            assert not set(row.values) & set(row.text)


json_values = (
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)


@given(
    st.lists(
        st.dictionaries(
            st.text('ab,]}"\\[{ ', min_size=1, max_size=4), json_values | st.lists(json_values, max_size=2)
        )
    ),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_each_json_object_is_a_row(records, step, indent):
    """In order, with all its members, however the bytes are cut."""
    body = json.dumps([{"Time": T, **record} for record in records], indent=indent)
    parser = JsonRows()
    rows = read(parser, body, step=step)
    assert [row.record for row in rows] == json.loads(body)
    assert parser.malformed == 0


def test_json_rows_read_like_csv_rows():
    """Numbers are values, null and empty text are absent, other text is text; a time may be unix seconds."""
    body = [
        {"Time": T, "a": 1, "b": None, "c": "", "d": "ok", "e": "2.5"},
        {"time": 1616674841.562, "a": True},
    ]
    parser = JsonRows()
    first, second = read(parser, json.dumps(body))
    assert (first.time, first.values, first.text) == (AT, {"a": 1.0, "e": 2.5}, {"d": "ok"})
    assert (second.time, second.values, second.text) == (AT, {}, {"a": "True"})
    assert parser.columns == ("a", "d", "e")


def test_a_malformed_json_row_is_left_out_and_counted():
    """Elements that are not JSON, not objects or without a time; the others arrive."""
    parser = JsonRows()
    good = [f'{{"Time":"{T}","a":{n}}}' for n in (1, 2)]
    body = f'[{good[0]}, {{broken}}, 7, {{"a":1}}, {{"Time":"{T}","a":NaN}}, {good[1]}]'
    assert [row.values for row in read(parser, body, step=5)] == [{"a": 1.0}, {"a": 2.0}]
    assert parser.malformed == 4


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "empty"),
        (" ", "empty"),
        ('[{"Time":1}', "json"),
        ("{}", "shape"),
        ("<html>", "html"),
        ("[] x", "json"),
        ("7", "shape"),
    ],
)
def test_a_body_that_is_not_a_json_array_is_a_decode_error(body, kind):
    """Its `kind` says what the body is."""
    with pytest.raises(DecodeError) as caught:
        read(JsonRows(), body)
    assert caught.value.kind == kind


odd_cells = st.sampled_from(
    ["", "0", "-0", "1.5", " 7 ", "nan", "-inf", "Infinity", "1e999", "1e5", "1_0", "\u0665", "ok", "e", "n"]
) | st.integers(-(10**9), 10**9).map(str)


@given(
    st.lists(st.lists(odd_cells, min_size=3, max_size=3), min_size=1, max_size=8), st.sampled_from([0, 1, 3])
)
def test_cells_are_read_as_coerce_number_reads_them(table, time_at):
    """Wherever the time stands, and whatever the columns are called."""
    names = ["a", "b\"{x}'\\", "c"]
    head = [*names[:time_at], "Time", *names[time_at:]]
    lines = [[*cells[:time_at], T, *cells[time_at:]] for cells in table]
    body = "\n".join(";".join(cells) for cells in [head, *lines]) + "\n"
    rows = read(CsvRows(separator=";"), body)
    assert len(rows) == len(table)
    for row, cells in zip(rows, table, strict=True):
        named = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
        assert row.values == {
            name: value for name, cell in named.items() if (value := number(cell)) is not None
        }
        assert row.text == {name: cell for name, cell in named.items() if number(cell) is None}


def test_rows_can_be_pickled():
    """Their columns are kept."""
    (row,) = read(CsvRows(), f"Time,a,b\n{T},1,ok\n")
    again = pickle.loads(pickle.dumps(row))
    assert (again, again.values, again.text) == (row, {"a": 1.0}, {"b": "ok"})


def test_an_export_may_have_hundreds_of_columns():
    """Each of them is read."""
    names = [f"c{n}" for n in range(500)]
    (row,) = read(CsvRows(), f"Time,{','.join(names)}\n{T},{','.join('1' for _ in names)}\n")
    assert row.values == dict.fromkeys(names, 1.0)


def test_forward_fill_marks_what_was_measured():
    """Empty cells take the last value; `measured` names the columns of the row itself; zero is a value."""
    fill = ForwardFill()
    body = f"Time,a,b\n{T},1,\n{T},,0\n{T},ok,\n{T},,2\n{T},3,\n"
    filled = [fill(row) for row in read(CsvRows(), body)]
    assert [(row.values, row.text, set(row.measured)) for row in filled] == [
        ({"a": 1.0}, {}, {"a"}),
        ({"a": 1.0, "b": 0.0}, {}, {"b"}),
        ({"b": 0.0}, {"a": "ok"}, {"a"}),
        ({"b": 2.0}, {"a": "ok"}, {"b"}),
        ({"a": 3.0, "b": 2.0}, {}, {"a"}),
    ]
    assert {row.time for row in filled} == {AT}


ZONED = "2024-10-26T22:00:0{}+00:00"


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "body",
    [
        "sep=;\r\nTime;grid;soc\r\n{0};-12,5;0,57\r\n{1};-13,25;0,58\r\n",
        "Time;grid;soc\n{0};-12,5;0,57\n{1};-13,25;0,58\n",
        "Time\tgrid\tsoc\n{0}\t-12,5\t0,57\n{1}\t-13,25\t0,58\n",
        'Time,grid,soc\n{0},"-12,5","0,57"\n{1},"-13,25","0,58"\n',
        '"Time","grid","soc"\n"{0}","-12,5","0,57"\n"{1}","-13,25","0,58"\n',
        "Time,grid,soc\n{0};-12,5;0,57\n{1};-13,25;0,58\n",
        "sep=;\nTime,grid,soc\n{0};-12,5;0,57\n{1};-13,25;0,58\n",
        'Time;grid;soc\n{0},"-12,5","0,57"\n{1},"-13,25","0,58"\n',
        "Time;grid;soc\n{0},-12.5,0.57\n{1},-13.25,0.58\n",
    ],
)
def test_decimal_commas_are_numbers(body, step):
    """With any separator and quotes."""
    parser = CsvRows()
    rows = read(parser, body.format(ZONED.format(0), ZONED.format(1)), step=step)
    assert [row.values for row in rows] == [{"grid": -12.5, "soc": 0.57}, {"grid": -13.25, "soc": 0.58}]
    assert [row.text for row in rows] == [{}, {}]
    assert parser.malformed == 0


def test_a_comma_that_may_mean_thousands_is_ambiguous():
    """In quotes, "1,234" has two readings until a comma was seen that can only be a decimal point."""
    parser = CsvRows()
    cells = ('"1,234"', '"815,662"', '"0,57"', '"1,234"')
    rows = read(parser, "Time,a\n" + "".join(f"{T},{cell}\n" for cell in cells))
    assert [row.values for row in rows] == [{}, {}, {"a": 0.57}, {"a": 1.234}]
    assert [row.text for row in rows] == [{"a": "1,234"}, {"a": "815,662"}, {}, {}]
    assert parser.malformed == 2


def test_commas_beside_another_separator_are_decimal_points():
    """Between semicolons, "815,662" has one reading."""
    assert values(f"Time;a;b\n{T};815,662;1\n") == [{"a": 815.662, "b": 1.0}]


@pytest.mark.parametrize("cell", ["1.234,5", "1,2,3", "1,234.5", "12,"])
def test_a_malformed_number_is_text_and_counted(cell):
    """Its row counts as malformed."""
    parser = CsvRows()
    (row,) = read(parser, f"Time;a;b\n{T};{cell};7\n")
    assert (row.values, row.text, parser.malformed) == ({"b": 7.0}, {"a": cell}, 1)


def test_text_with_commas_is_not_counted():
    """A status may have commas."""
    parser = CsvRows()
    (row,) = read(parser, f"Time;a\n{T};charging, slowly\n")
    assert (row.text, parser.malformed) == ({"a": "charging, slowly"}, 0)


def test_column_names_may_contain_other_separators():
    """The separator is the one that yields a Time column."""
    assert values(f"Time;Power, Grid;b\n{T};1;2\n") == [{"Power, Grid": 1.0, "b": 2.0}]


@pytest.mark.parametrize("time", ["0", "-5", "35", "1970-01-01T00:00:35Z", "1999-12-31T23:59:59+00:00"])
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_row_before_2000_is_left_out_and_counted(time, kind):
    """A device without a clock sends such times; the other rows arrive."""
    if kind == "csv":
        parser, body = CsvRows(), f"Time,a\n{T},1\n{time},2\n{T},3\n"
    else:
        cell = f'"{time}"' if "T" in time else time
        parser, body = JsonRows(), f'[{{"Time":"{T}","a":1}},{{"Time":{cell},"a":2}},{{"Time":"{T}","a":3}}]'
    assert [row.values for row in read(parser, body)] == [{"a": 1.0}, {"a": 3.0}]
    assert parser.malformed == 1


@pytest.mark.parametrize("time", ["1616674841", "1616674841000", "1616674841.0"])
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_the_time_of_a_row_may_be_unix_seconds_or_milliseconds(time, kind):
    """A number is never read as a date such as the year 1616."""
    if kind == "csv":
        (row,) = read(CsvRows(), f"Time,a\n{time},1\n")
    else:
        (row,) = read(JsonRows(), f'[{{"Time": {time}, "a": 1}}]')
    assert row.time == datetime(2021, 3, 25, 12, 20, 41, tzinfo=UTC)


def test_numbers_in_the_text_of_json_rows():
    """Text with one reading is a number, also with a decimal comma."""
    parser = JsonRows()
    (row,) = read(parser, f'[{{"Time": "{T}", "a": "0,57", "b": "12.5", "c": "1,234"}}]')
    assert (row.values, row.text, parser.malformed) == ({"a": 0.57, "b": 12.5}, {"c": "1,234"}, 1)


def test_a_last_cell_is_kept_if_the_body_is_complete():
    """As many bytes arrived as were announced."""
    parser = CsvRows()
    parser.feed(f"Time,a,b\n{T},1,1193".encode())
    (row,) = parser.finish(whole=True)
    assert (row.values, parser.malformed) == ({"a": 1.0, "b": 1193.0}, 0)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("line", "read_so"),
    [('"1,234",0.5', {"b": 0.5}), ('0.5,"1,234"', {"a": 0.5})],
)
def test_a_last_row_with_an_ambiguous_number_is_a_row(line, read_so, whole):
    """It counts once, and does not make the export incomplete."""
    parser = CsvRows()
    parser.feed(f"Time,a,b\n{T},1,2\n{T},{line}".encode())
    (row,) = parser.finish(whole=whole)
    certain = read_so if whole else {name: value for name, value in read_so.items() if name == "a"}
    assert (row.values, parser.malformed) == (certain, 1)


@pytest.mark.parametrize(
    "cell", ["1\u00a0234,5", "1 234,5", "1'234,5", "1\u2019234,5", "\u221212,5", "1.234,5"]
)
def test_a_grouped_number_is_text_and_counted(cell):
    """With spaces, apostrophes or points between the groups, or another minus sign."""
    parser = CsvRows()
    (row,) = read(parser, f"Time;a;b\n{T};{cell};0,5\n")
    assert (row.values, row.text, parser.malformed) == ({"b": 0.5}, {"a": cell}, 1)


@pytest.mark.parametrize("name", [" Power_Grid", "Power_Grid ", "\tPower_Grid", "Power_Grid\r"])
def test_space_around_a_column_name_is_removed(name):
    """So the column has its meaning."""
    assert values(f"Time,{name}\r\n{T},1\r\n") == [{"Power_Grid": 1.0}]


def test_lines_that_end_with_carriage_returns_alone_raise():
    """Otherwise all rows would be a part of the header."""
    with pytest.raises(DecodeError, match="carriage returns"):
        read(CsvRows(), f"Time,a\r{T},1\r{T},2\r")

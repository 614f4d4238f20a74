"""CSV and JSON exports, from bytes to rows, without I/O."""

from __future__ import annotations

import csv
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from unittest import mock

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
    """A cell without content is no value, a zero is one."""
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
def test_separators_and_line_ends_of_all_years(body):
    """With or without sep line, BOM, quotes or CRLF, and with the separators of 2021, the row is the same."""
    (row,) = read(CsvRows(), body)
    assert (row.time, row.values, row.text) == (AT, {"a b": 1.0, "c": 2.0}, {})


def test_the_mixed_separators_of_2021_are_reported():
    """A header with one separator over rows with another is repaired, said, and fast from then on."""
    parser = CsvRows(separator=";")
    body = "sep=;\r\nTime;a;b\r\n" + f"{T},1,2\r\n" * 3
    assert [row.values for row in read(parser, body)] == [{"a": 1.0, "b": 2.0}] * 3
    assert (parser.repaired, parser.malformed, parser.columns) == (True, 0, ("a", "b"))
    with mock.patch.object(CsvRows, "_row", side_effect=AssertionError("the slow way")):
        assert len(parser.feed(f"{T},1,2\r\n".encode())) == 1


def test_a_separator_of_the_callers_choice():
    """Any separator that was asked for is understood, of several characters too."""
    assert values(f"Time::a::b\n{T}::1::\n", separator="::") == [{"a": 1.0}]
    assert values(f"Time\ta\n{T}\t1\n", separator="\t") == [{"a": 1.0}]


def test_quotes_may_be_broken():
    """A quote that nobody closes, or that stands inside a cell, is a character like any other."""
    (row,) = read(CsvRows(), f'Time,a,b,c\n{T},5" pipe,"x"y,"z\n')
    assert row.text == {"a": '5" pipe', "b": '"x"y', "c": '"z'}


def test_what_is_not_a_number_is_text():
    """A status is text; so are Python's own spellings of numbers, NaN and infinities."""
    cells = ["ok", "nan", "inf", "1e999", "1_000", "\u0661", "9" * 400, "1,2,5"]
    body = "Time;" + ";".join("abcdefgh") + f"\n{T};" + ";".join(cells) + "\n"
    (row,) = read(CsvRows(), body)
    assert row.values == {}
    assert list(row.text.values()) == cells


@pytest.mark.parametrize(
    "line", ["not a time,1,2", f"{T},1", f"{T},1,2,3", "", "2021-13-01T00:00:00Z,1,2", '"' + T, ",,"]
)
def test_a_line_that_cannot_be_read_is_counted_and_left_out(line):
    """The rows around it arrive; only an empty line is nothing at all."""
    parser = CsvRows()
    rows = read(parser, f"Time,a,b\n{T},1,2\n{line}\n{T},3,4\n")
    assert [row.values for row in rows] == [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]
    assert parser.malformed == (1 if line else 0)


@pytest.mark.parametrize("line", [f"{T},3", T[:9], f'{T},"3,4', "\x00"])
def test_an_export_that_ends_in_the_middle_of_a_line(line):
    """What came before the broken line is there, then comes one typed error."""
    parser = CsvRows()
    assert len(parser.feed(f"Time,a,b\n{T},1,2\n{line}".encode())) == 1
    with pytest.raises(DecodeError, match="middle of a line"):
        parser.finish()
    assert parser.malformed == 0


def test_a_last_line_without_line_end_is_a_line():
    """Where all its cells are there, it is a row; one that is blank does not matter."""
    parser = CsvRows()
    first, last = read(parser, f"Time,a,b\n{T},1,2\n{T},3,")
    assert [first.values, last.values] == [{"a": 1.0, "b": 2.0}, {"a": 3.0}]
    assert values(f"Time,a,b\n{T},1,2\n  ") == [{"a": 1.0, "b": 2.0}]
    assert parser.malformed == 0


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("cell", ["1193.07", "-5", '"1193"', "ok", "1e-05"])
@pytest.mark.parametrize("rows_in_bulk", [True, False])
def test_a_last_cell_that_may_have_been_cut_is_no_value(end, cell, rows_in_bulk):
    """Wherever a cut falls in the last cell, what is left of it is not told; the row is, and counts once."""
    body = end.join(["Time,a,b", f"{T},1,2", f"{T},3,{cell}"])
    for left in range(len(cell)):
        if cell[0] == '"' and left:
            continue  # that is the middle of a line, and an error
        parser = CsvRows()
        with mock.patch.object(CsvRows, "_plain", CsvRows._plain if rows_in_bulk else lambda *_: None):
            *_, row = read(parser, body[: len(body) - left], step=7)
        assert (row.time, row.values, row.text) == (AT, {"a": 3.0}, {})
        assert parser.malformed == 1


def test_half_a_line_end_is_enough():
    """A line that was cut between the two characters of its end is whole."""
    parser = CsvRows()
    assert [row.values for row in read(parser, f"Time,a\r\n{T},1\r\n{T},1193\r")] == [
        {"a": 1.0},
        {"a": 1193.0},
    ]
    assert parser.malformed == 0


@pytest.mark.parametrize("last", [T, T[:19]])
def test_a_time_that_may_have_been_cut_is_no_time(last):
    """Where the time is the last cell, a row without line end is left out and counted."""
    parser = CsvRows()
    assert [row.values for row in read(parser, f"a,Time\n1,{T}\n2,{last}")] == [{"a": 1.0}]
    assert parser.malformed == 1


def test_a_header_alone_is_an_empty_export():
    """With a line end or without one, and nothing is counted."""
    for body in ("Time,a", "Time,a\r", "sep=,\nTime,a", "Time,a\n"):
        parser = CsvRows()
        assert read(parser, body) == []
        assert (parser.columns, parser.malformed) == (("a",), 0)


def test_times_without_a_zone_are_in_the_zone_that_was_asked_for():
    """An offset in the text wins; without one, the `tz` of the request holds."""
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
def test_what_is_no_export_is_one_error(body, kind):
    """A body without a header that has a time is refused and says what it is."""
    with pytest.raises(DecodeError) as caught:
        read(CsvRows(), body)
    assert caught.value.kind == kind


@pytest.mark.parametrize("parser", [CsvRows, JsonRows])
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_a_line_has_a_limit(parser, step):
    """One endless line or element is refused, however it is cut into chunks."""
    start = "[{" if parser is JsonRows else "Time,a\n"
    with pytest.raises(BodyTooLarge):
        read(parser(), start + "x" * (LINE_LIMIT + 2) + "\n", step=step)


def test_pending_bytes_are_bounded():
    """A million rows leave nothing behind in the parser."""
    parser = CsvRows()
    parser.feed(b"Time,a\n")
    block = f"{T},1\n".encode() * 1000
    for _ in range(1000):
        parser.feed(block)
    assert len(parser._rest) == 0


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
def test_the_fast_way_and_the_careful_way_agree(lines, step, end):
    """However the bytes are cut, both ways give the same rows as Python's own reader would."""
    body = end.join(["Time,a,b", *lines, ""])
    fast = CsvRows()
    got = read(fast, body, step=step)
    careful = CsvRows()
    with mock.patch.object(CsvRows, "_plain", return_value=None):
        assert read(careful, body) == got
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
    """Neither parser ever fails with anything but an EnergyError, nor do the rows it gives."""
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
def test_json_elements_arrive_whole_however_they_are_cut(records, step, indent):
    """Every object of the array becomes a row, in order, with the members it has."""
    body = json.dumps([{"Time": T, **record} for record in records], indent=indent)
    parser = JsonRows()
    rows = read(parser, body, step=step)
    assert [row.record for row in rows] == json.loads(body)
    assert parser.malformed == 0


def test_json_rows_read_like_csv_rows():
    """Numbers are values, null and empty text are absent, the rest is text; a time may be unix seconds."""
    body = [
        {"Time": T, "a": 1, "b": None, "c": "", "d": "ok", "e": "2.5"},
        {"time": 1616674841.562, "a": True},
    ]
    parser = JsonRows()
    first, second = read(parser, json.dumps(body))
    assert (first.time, first.values, first.text) == (AT, {"a": 1.0, "e": 2.5}, {"d": "ok"})
    assert (second.time, second.values, second.text) == (AT, {}, {"a": "True"})
    assert parser.columns == ("a", "d", "e")


def test_one_broken_json_row_is_counted_and_left_out():
    """Elements that are no JSON, no objects or without a time lose nobody else."""
    parser = JsonRows()
    good = [f'{{"Time":"{T}","a":{n}}}' for n in (1, 2)]
    body = f'[{good[0]}, {{broken}}, 7, {{"a":1}}, {{"Time":"{T}","a":NaN}}, {good[1]}]'
    assert [row.values for row in read(parser, body, step=5)] == [{"a": 1.0}, {"a": 2.0}]
    assert parser.malformed == 4


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "empty"),
        ('[{"Time":1}', "json"),
        ("{}", "shape"),
        ("<html>", "html"),
        ("[] x", "json"),
        ("7", "shape"),
    ],
)
def test_what_is_no_json_export_is_one_error(body, kind):
    """A body that is not one whole array is refused and says why."""
    with pytest.raises(DecodeError) as caught:
        read(JsonRows(), body)
    assert caught.value.kind == kind


odd_cells = st.sampled_from(
    ["", "0", "-0", "1.5", " 7 ", "nan", "-inf", "Infinity", "1e999", "1e5", "1_0", "\u0665", "ok", "e", "n"]
) | st.integers(-(10**9), 10**9).map(str)


@given(
    st.lists(st.lists(odd_cells, min_size=3, max_size=3), min_size=1, max_size=8), st.sampled_from([0, 1, 3])
)
def test_the_quick_reader_reads_as_the_careful_one(table, time_at):
    """Whatever stands in the cells, wherever the time stands, values and texts are those of `number`."""
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


def test_rows_survive_pickling():
    """A row goes to another process and still knows its columns."""
    (row,) = read(CsvRows(), f"Time,a,b\n{T},1,ok\n")
    again = pickle.loads(pickle.dumps(row))
    assert (again, again.values, again.text) == (row, {"a": 1.0}, {"b": "ok"})


def test_an_export_of_very_many_columns():
    """Columns by the hundred are read without writing anything out for each."""
    names = [f"c{n}" for n in range(500)]
    (row,) = read(CsvRows(), f"Time,{','.join(names)}\n{T},{','.join('1' for _ in names)}\n")
    assert row.values == dict.fromkeys(names, 1.0)


def test_forward_fill_tells_what_was_measured():
    """Empty cells take the last value, which stays apart from what a row holds itself; zero is a value."""
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
    """However a German spreadsheet's export is separated and quoted, its numbers are numbers."""
    parser = CsvRows()
    rows = read(parser, body.format(ZONED.format(0), ZONED.format(1)), step=step)
    assert [row.values for row in rows] == [{"grid": -12.5, "soc": 0.57}, {"grid": -13.25, "soc": 0.58}]
    assert [row.text for row in rows] == [{}, {}]
    assert parser.malformed == 0


def test_a_comma_that_may_mean_thousands_is_counted():
    """In quotes, "1,234" has two readings until a comma was seen that can only be a decimal point."""
    parser = CsvRows()
    cells = ('"1,234"', '"815,662"', '"0,57"', '"1,234"')
    rows = read(parser, "Time,a\n" + "".join(f"{T},{cell}\n" for cell in cells))
    assert [row.values for row in rows] == [{}, {}, {"a": 0.57}, {"a": 1.234}]
    assert [row.text for row in rows] == [{"a": "1,234"}, {"a": "815,662"}, {}, {}]
    assert parser.malformed == 2


def test_commas_beside_another_separator_are_decimal_points():
    """Where cells are not separated by commas, a comma in a number is no thousand's mark."""
    assert values(f"Time;a;b\n{T};815,662;1\n") == [{"a": 815.662, "b": 1.0}]


@pytest.mark.parametrize("cell", ["1.234,5", "1,2,3", "1,234.5", "12,"])
def test_a_number_without_a_single_reading_is_counted(cell):
    """It stays in the row's text, and the row counts as malformed."""
    parser = CsvRows()
    (row,) = read(parser, f"Time;a;b\n{T};{cell};7\n")
    assert (row.values, row.text, parser.malformed) == ({"b": 7.0}, {"a": cell}, 1)


def test_text_with_commas_is_no_malformed_number():
    """A status may hold commas."""
    parser = CsvRows()
    (row,) = read(parser, f"Time;a\n{T};charging, slowly\n")
    assert (row.text, parser.malformed) == ({"a": "charging, slowly"}, 0)


def test_names_may_hold_the_separator_of_another_file():
    """What makes a Time column is what separates."""
    assert values(f"Time;Power, Grid;b\n{T};1;2\n") == [{"Power, Grid": 1.0, "b": 2.0}]


@pytest.mark.parametrize("time", ["0", "-5", "35", "1970-01-01T00:00:35Z", "1999-12-31T23:59:59+00:00"])
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_row_of_1970_has_no_time(time, kind):
    """That is a device which does not know the time; the row is counted, and those around it arrive."""
    if kind == "csv":
        parser, body = CsvRows(), f"Time,a\n{T},1\n{time},2\n{T},3\n"
    else:
        cell = f'"{time}"' if "T" in time else time
        parser, body = JsonRows(), f'[{{"Time":"{T}","a":1}},{{"Time":{cell},"a":2}},{{"Time":"{T}","a":3}}]'
    assert [row.values for row in read(parser, body)] == [{"a": 1.0}, {"a": 3.0}]
    assert parser.malformed == 1


@pytest.mark.parametrize("time", ["1616674841", "1616674841000", "1616674841.0"])
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_rows_time_may_count_seconds_or_milliseconds(time, kind):
    """A number is the moment it counts to, and never a day in the year 1616."""
    if kind == "csv":
        (row,) = read(CsvRows(), f"Time,a\n{time},1\n")
    else:
        (row,) = read(JsonRows(), f'[{{"Time": {time}, "a": 1}}]')
    assert row.time == datetime(2021, 3, 25, 12, 20, 41, tzinfo=UTC)


def test_numbers_in_the_text_of_json_rows():
    """Text is a number there as elsewhere, a decimal comma with one reading included."""
    parser = JsonRows()
    (row,) = read(parser, f'[{{"Time": "{T}", "a": "0,57", "b": "12.5", "c": "1,234"}}]')
    assert (row.values, row.text, parser.malformed) == ({"a": 0.57, "b": 12.5}, {"c": "1,234"}, 1)


def test_a_last_cell_is_kept_where_the_body_is_known_to_be_whole():
    """As many bytes as were announced: nothing was cut off."""
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
    """It is counted as any other such row, and is no reason to say that the export was cut."""
    parser = CsvRows()
    parser.feed(f"Time,a,b\n{T},1,2\n{T},{line}".encode())
    (row,) = parser.finish(whole=whole)
    certain = read_so if whole else {name: value for name, value in read_so.items() if name == "a"}
    assert (row.values, parser.malformed) == (certain, 1)


@pytest.mark.parametrize(
    "cell", ["1\u00a0234,5", "1 234,5", "1'234,5", "1\u2019234,5", "\u221212,5", "1.234,5"]
)
def test_a_grouped_number_is_counted(cell):
    """It is no number here, and it is not passed off as mere text."""
    parser = CsvRows()
    (row,) = read(parser, f"Time;a;b\n{T};{cell};0,5\n")
    assert (row.values, row.text, parser.malformed) == ({"b": 0.5}, {"a": cell}, 1)


@pytest.mark.parametrize("name", [" Power_Grid", "Power_Grid ", "\tPower_Grid", "Power_Grid\r"])
def test_space_around_a_column_is_not_of_its_name(name):
    """The column means what it means without."""
    assert values(f"Time,{name}\r\n{T},1\r\n") == [{"Power_Grid": 1.0}]


def test_lines_that_end_with_carriage_returns_alone_are_refused():
    """All rows would stand in the header, and be lost without a word."""
    with pytest.raises(DecodeError, match="carriage returns"):
        read(CsvRows(), f"Time,a\r{T},1\r{T},2\r")

"""Formulas in CSV text are escaped, and nothing else is changed."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_core.csv_safety import FormulaEscaper, escape_text, is_formula, unescape_text
from energy_core.errors import DecodeError


def escaped(content, chunk=None):
    """Return a file that was escaped in chunks."""
    escaper = FormulaEscaper()
    step = chunk or max(1, len(content))
    rows = [escaper.feed(content[at : at + step]) for at in range(0, len(content), step)]
    return b"".join([*rows, escaper.finish()])


@pytest.mark.parametrize(
    ("cell", "dangerous"),
    [
        ("=1+1", True),
        ("+cmd", True),
        ("-2+3", True),
        ("@SUM(A1)", True),
        ("\t=1", True),
        ("\rx", True),
        ("\nx", True),
        ("  =1+1", True),
        ("-", True),
        ("-5.2", False),
        ("+5", False),
        ("-1,5", False),
        ("-1.5e-7", False),
        ("-.5", False),
        ("5-2", False),
        ("Elm Street", False),
        ("", False),
        ("'=1", False),
    ],
)
def test_which_cells_are_formulas(cell, dangerous):
    """Texts that begin with = + - @, a tab or a line break; numbers are not."""
    assert is_formula(cell) is dangerous


@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_texts_get_an_apostrophe_and_numbers_do_not(chunk):
    """Every other row is returned byte for byte."""
    content = b'"a","b"\r\n-5.2,"x, y"\r\n"=1+1",+3\r\n"two\n=lines","-"\r\nlast,"@x"'
    assert escaped(content, chunk) == (
        b'"a","b"\r\n-5.2,"x, y"\r\n\'=1+1,+3\r\n"two\n=lines",\'-\r\nlast,\'@x'
    )


@pytest.mark.parametrize("sign", [chr(0xFEE0 + ord(narrow)) for narrow in "=+-@"])
def test_full_width_signs_count_too(sign):
    """Some spreadsheets treat them like the narrow ones."""
    assert escaped(f"{sign}1,ok\n".encode()) == f"'{sign}1,ok\n".encode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a;b\nx;=1\n", b"a;b\nx;'=1\n"),
        (b"a\tb\nx\t=1\n", b"a\tb\nx\t'=1\n"),
        (b"sep=;\na;=1\n", b"sep=;\na;'=1\n"),
        (b"\xef\xbb\xbf=1,b\n", b"\xef\xbb\xbf'=1,b\n"),
        (b"\xff\xfe,=\xe9\n", b"\xff\xfe,'=\xe9\n"),
        (b"", b""),
        (b"\n\n", b"\n\n"),
    ],
)
def test_separators_and_encodings(content, expected):
    """Commas, semicolons and tabs are recognised; bytes of any encoding are kept."""
    assert escaped(content) == expected


def test_a_row_without_an_end_is_refused():
    """A quote that is never closed does not buffer the whole file."""
    with pytest.raises(DecodeError, match="row"):
        escaped(b'"' + (b"x" * 20_000 + b"\n") * 100, 20_000)


@given(
    st.lists(st.lists(st.text(alphabet='=+-@ab1.,;"\n\t ', max_size=6), min_size=2, max_size=3), min_size=1)
)
def test_no_cell_is_lost_or_changed_otherwise(rows):
    """In any table each cell is unchanged or has an apostrophe in front, and none is a formula."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    cells = list(csv.reader(io.StringIO(escaped(out.getvalue().encode()).decode(), newline="")))
    assert [[cell.removeprefix("'") for cell in row] for row in cells] == rows
    assert not any(is_formula(cell) for row in cells for cell in row)


@given(st.text(max_size=8) | st.sampled_from(["=1", " =1", "'=1", "-5", "@x", "\uff1d1"]))
@settings(deadline=None)
def test_an_escaped_text_can_be_restored(text):
    """Also one that begins with an apostrophe; no escaped text is a formula."""
    assert unescape_text(escape_text(text)) == text
    assert not is_formula(escape_text(text).encode().decode("latin-1"))

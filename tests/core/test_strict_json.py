from __future__ import annotations

import importlib.util
import json
import pickle
import string
import sys
import traceback
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec import json as codec_json
from energy_core.codec import json_chunks, json_limits
from energy_core.codec.json import strict_json
from energy_core.codec.json_limits import MAX_DEPTH
from energy_core.errors import DecodeError
from tests.servers.json_backends import standard_library_only

ORJSON = codec_json.orjson_loads
MSGSPEC = codec_json.msgspec_loads
BACKSLASH = "\\"
CODEC = str(Path(codec_json.__file__).parent)

PARSERS = [
    pytest.param(
        (MSGSPEC, ORJSON),
        id="msgspec",
        marks=pytest.mark.skipif(MSGSPEC is None, reason="msgspec is not installed"),
    ),
    pytest.param(
        (None, ORJSON),
        id="orjson",
        marks=pytest.mark.skipif(ORJSON is None, reason="orjson is not installed"),
    ),
    pytest.param((None, None), id="stdlib"),
]


@pytest.fixture(params=PARSERS, autouse=True)
def parser(request, monkeypatch):
    """Run every test with each accelerator and without any."""
    monkeypatch.setattr(codec_json, "msgspec_loads", request.param[0])
    monkeypatch.setattr(codec_json, "orjson_loads", request.param[1])
    return request.param


ACCEPT: dict[str, tuple[bytes, object]] = {
    "array_empty": (b"[]", []),
    "array_ending_with_newline": (b'["a"]\n', ["a"]),
    "array_heterogeneous": (b'[null, 1, "1", {}, true, 1.5]', [None, 1, "1", {}, True, 1.5]),
    "array_with_leading_space": (b" [1]", [1]),
    "array_with_several_null": (b"[1,null,null,null,2]", [1, None, None, None, 2]),
    "array_spaces_everywhere": (b"\t[ \r\n 1 , 2 ]\r\n ", [1, 2]),
    "number_zero": (b"[0]", [0]),
    "number_minus_zero": (b"-0", 0),
    "number_minus_zero_float": (b"-0.0", -0.0),
    "number_negative_int": (b"-123", -123),
    "number_exponent": (b"1e1", 10.0),
    "number_exponent_capital": (b"1E22", 1e22),
    "number_exponent_plus": (b"1e+2", 100.0),
    "number_exponent_minus": (b"1e-2", 0.01),
    "number_exponent_leading_zeros": (b"1e002", 100.0),
    "number_zero_exponent": (b"0e+1", 0.0),
    "number_fraction": (b"123.456789", 123.456789),
    "number_close_to_zero": (b"-0." + b"0" * 76 + b"1", -1e-77),
    "number_many_fraction_digits": (b"0.10000000000000000000000000001", 0.1),
    "number_largest_float": (b"1.7976931348623157e308", sys.float_info.max),
    "number_int64_largest": (b"9223372036854775807", 2**63 - 1),
    "number_int64_smallest": (b"-9223372036854775808", -(2**63)),
    "object": (b'{"asd":"sdf", "dfg":"fgh"}', {"asd": "sdf", "dfg": "fgh"}),
    "object_empty": (b"{}", {}),
    "object_empty_key": (b'{"":0}', {"": 0}),
    "object_escaped_nul_in_key": (rb'{"foo\u0000bar": 42}', {"foo\0bar": 42}),
    "object_nested": (b'{"a":{"b":[{"c":[]}]}}', {"a": {"b": [{"c": []}]}}),
    "object_with_newlines": (b'{\n"a": "b"\n}', {"a": "b"}),
    "string_all_escapes": (rb'"\"\\\/\b\f\n\r\t"', '"\\/\b\f\n\r\t'),
    "string_unicode_escape": (rb'"\u0041\u00e4"', "Aä"),
    "string_surrogate_pair": (rb'"\ud83d\ude39\uD83D\uDC8D"', "\U0001f639\U0001f48d"),
    "string_escaped_backslash_then_u": (rb'"\\ud800"', "\\ud800"),
    "string_double_escape": (rb'["\\a", "\\n"]', ["\\a", "\\n"]),
    "string_delete_character": (b'"\x7f"', "\x7f"),
    "string_utf8": ('"é€𝄞"'.encode(), "é€𝄞"),
    "string_noncharacter": (b'"\xf4\x8f\xbf\xbf"', "\U0010ffff"),
    "string_line_separators": ('"\u2028\u2029"'.encode(), "\u2028\u2029"),
    "string_full_of_brackets": (b'"' + b"[{" * 100 + b'"', "[{" * 100),
    "string_brackets_behind_escapes": (rb'["\\", "\"[[[[", "]\\\""]', ["\\", '"[[[[', ']\\"']),
    "string_long_digits": (b'"12345678901234567890123456789"', "12345678901234567890123456789"),
    "string_looks_like_overflow": (b'" 1e999 d41e2431"', " 1e999 d41e2431"),
    "lonely_string": (b'"asd"', "asd"),
    "lonely_true": (b"true", True),
    "lonely_false": (b"false", False),
    "lonely_null": (b"null", None),
    "lonely_int": (b"42", 42),
}

REJECT: dict[str, tuple[bytes, str]] = {
    "array_one_true_without_comma": (b"[1 true]", "json"),
    "array_colon": (b'["": 1]', "json"),
    "array_comma_after_close": (b'[""],', "json"),
    "array_comma_and_number": (b"[,1]", "json"),
    "array_double_comma": (b"[1,,2]", "json"),
    "array_extra_close": (b'["x"]]', "json"),
    "array_extra_comma": (b'["",]', "json"),
    "array_incomplete": (b'["x"', "json"),
    "array_just_minus": (b"[-]", "json"),
    "array_closed_by_brace": (b"[1}", "json"),
    "array_vertical_tab_outside": (b"[\x0b1]", "json"),
    "array_form_feed": (b"[\x0c]", "json"),
    "array_star_inside": (b"[*]", "json"),
    "array_unclosed_with_newlines": (b"[1,\n1\n,1", "json"),
    "literal_incomplete_true": (b"[tru]", "json"),
    "literal_incomplete_null": (b"[nul]", "json"),
    "literal_capitalised": (b"[True]", "json"),
    "number_plus": (b"[+1]", "json"),
    "number_leading_zero": (b"[012]", "json"),
    "number_minus_leading_zero": (b"[-01]", "json"),
    "number_dot_first": (b"[.5]", "json"),
    "number_dot_last": (b"[1.]", "json"),
    "number_dot_then_exponent": (b"[0.e1]", "json"),
    "number_exponent_empty": (b"[1e]", "json"),
    "number_exponent_sign_only": (b"[1e+]", "json"),
    "number_two_exponents": (b"[1e1e1]", "json"),
    "number_double_minus": (b"[--1]", "json"),
    "number_minus_space": (b"[- 1]", "json"),
    "number_hexadecimal": (b"[0x42]", "json"),
    "number_with_letter": (b"[1a]", "json"),
    "number_thousands_space": (b"[1 000]", "json"),
    "number_underscore": (b"[1_000]", "json"),
    "number_decimal_comma": (b"1,5", "json"),
    "number_fullwidth_digit": ("[\uff11]".encode(), "json"),
    "number_arabic_digit": ("[\u0663]".encode(), "json"),
    "number_nan": (b"[NaN]", "number"),
    "number_minus_nan": (b"[-NaN]", "json"),
    "number_nan_lower_case": (b"[nan]", "json"),
    "number_infinity": (b"[Infinity]", "number"),
    "number_minus_infinity": (b"[-Infinity]", "number"),
    "number_inf_lower_case": (b"[inf]", "json"),
    "object_bad_value": (b'{"x": truth}', "json"),
    "object_bracket_key": (b'{[: "x"}', "json"),
    "object_comma_instead_of_colon": (b'{"x", null}', "json"),
    "object_double_colon": (b'{"x"::"b"}', "json"),
    "object_missing_value": (b'{"a":}', "json"),
    "object_missing_colon": (b'{"a" b}', "json"),
    "object_missing_key": (b'{:"b"}', "json"),
    "object_number_key": (b"{1:1}", "json"),
    "object_single_quotes": (b"{'a':0}", "json"),
    "object_unquoted_key": (b'{a: "b"}', "json"),
    "object_trailing_comma": (b'{"id":0,}', "json"),
    "object_trailing_comment": (b'{"a":"b"}/**/', "json"),
    "object_trailing_line_comment": (b'{"a":"b"}//', "json"),
    "object_two_commas": (b'{"a":"b",,"c":"d"}', "json"),
    "object_unterminated_value": (b'{"a":"a', "json"),
    "object_with_single_string": (b'{ "foo" : "bar", "a" }', "json"),
    "string_backslash_nul": (b'["\\\x00"]', "json"),
    "string_escape_x": (rb'["\x00"]', "json"),
    "string_escape_tab_character": (b'["\\\t"]', "json"),
    "string_escape_letter": (rb'["\a"]', "json"),
    "string_escape_octal": (rb'["\01"]', "json"),
    "string_incomplete_escape": (rb'["\"]', "json"),
    "string_incomplete_unicode": (rb'["\u00A"]', "json"),
    "string_invalid_unicode": (rb'["\uqqqq"]', "json"),
    "string_unescaped_newline": (b'["new\nline"]', "json"),
    "string_unescaped_tab": (b'["\t"]', "json"),
    "string_unescaped_control": (b'["a\x1fa"]', "json"),
    "string_raw_nul": (b'["a\x00a"]', "json"),
    "string_single_quote": (b"['single']", "json"),
    "string_unterminated": (b'"', "json"),
    "string_with_trailing_garbage": (b'""x', "json"),
    "structure_angle_bracket": (b"[<.>]", "json"),
    "structure_array_apostrophe": (b"['", "json"),
    "structure_array_of_openings": (b'[{"":' * 20, "json"),
    "structure_close_unopened": (b"1]", "json"),
    "structure_closers_only": (b"]" * 1000, "json"),
    "structure_closers_before_openers": (b"]" + b"[" * 1000, "json"),
    "structure_double_array": (b"[][]", "json"),
    "structure_end_array": (b"]", "json"),
    "structure_no_data_but_comma": (b",", "json"),
    "structure_nul_byte_outside": (b"[\x00]", "json"),
    "structure_object_then_array": (b'{"a": true} "x"', "json"),
    "structure_open_object": (b"{", "json"),
    "structure_open_array_string": (b'["a', "json"),
    "structure_backslash_outside": (rb'[\u000A""]', "json"),
    "structure_word": (b"asd", "json"),
    "structure_no_break_space": ("[\u00a0]".encode(), "json"),
    "structure_word_joiner": ("[\u2060]".encode(), "json"),
    "structure_whitespace_only": (b" \n\t\r ", "empty"),
    "structure_no_data": (b"", "empty"),
    "structure_page": (b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "html"),
    "structure_page_after_whitespace": (b"\r\n" * 400 + b"<html>", "html"),
    "structure_page_after_bom": (b"\xef\xbb\xbf <html>", "html"),
    "structure_xml": (b"<?xml version='1.0'?><error/>", "html"),
    "utf8_bare_continuation": (b'["\x81"]', "encoding"),
    "utf8_overlong": (b'["\xc0\xaf"]', "encoding"),
    "utf8_overlong_six_bytes": (b'["\xfc\x83\xbf\xbf\xbf\xbf"]', "encoding"),
    "utf8_truncated": (b'["\xe0\xff"]', "encoding"),
    "utf8_latin1": ('["é"]'.encode("latin-1"), "encoding"),
    "utf8_beyond_unicode": (b'["\xf4\x90\x80\x80"]', "encoding"),
    "utf8_surrogate_as_bytes": (b'["\xed\xa0\x80"]', "encoding"),
    "utf8_in_structure": (b"[1\xe5]", "encoding"),
    "utf8_eacute_outside": (b"\xe9", "encoding"),
}

# Decisions where RFC 8259 leaves a choice: an accepted value, or the kind of the refusal.
GOLDEN: dict[str, tuple[bytes, object]] = {
    "number_1e999": (b"[1e999]", DecodeError(kind="number")),
    "number_minus_1e999": (b"[-1e999]", DecodeError(kind="number")),
    "number_huge_exponent": (b"[0.4e00669999999999999999999999999999]", DecodeError(kind="number")),
    "number_huge_negative_exponent": (b"[123.456e-789]", [0.0]),
    "number_rounds_to_infinity": (b"[1.7976931348623159e308]", DecodeError(kind="number")),
    "number_underflow": (b"[123e-10000000]", [0.0]),
    "number_int_beyond_64_bits": (b"[9223372036854775808]", DecodeError(kind="number")),
    "number_int_below_64_bits": (b"[-9223372036854775809]", DecodeError(kind="number")),
    "number_unsigned_64_bits": (b"[18446744073709551615]", DecodeError(kind="number")),
    "number_two_to_the_64": (b"[18446744073709551616]", DecodeError(kind="number")),
    "number_big_int_after_key": (b'{"a":100000000000000000000}', DecodeError(kind="number")),
    "number_big_int_after_tab": (b"[1,\t100000000000000000000]", DecodeError(kind="number")),
    "number_big_int_after_newline": (b"\n100000000000000000000\r", DecodeError(kind="number")),
    "number_big_int_alone": (b"18446744073709551616", DecodeError(kind="number")),
    "number_1e_plus_999": (b"[1e+999]", DecodeError(kind="number")),
    "number_5000_digits": (b"[" + b"9" * 5000 + b"]", DecodeError(kind="number")),
    "number_minus_5000_digits": (b"[-" + b"9" * 5000 + b"]", DecodeError(kind="number")),
    "number_5000_digits_with_fraction": (b"[" + b"9" * 5000 + b".5]", DecodeError(kind="number")),
    "number_5000_fraction_digits": (b"[0." + b"3" * 5000 + b"]", [1 / 3]),
    "number_20_digits_with_fraction": (b"[10000000000000000000.0]", [1e19]),
    "number_20_digits_with_exponent": (b"[10000000000000000000e1]", [1e20]),
    "object_duplicate_key": (b'{"a":1,"a":2}', {"a": 2}),
    "object_duplicate_key_escaped": (rb'{"a":1,"\u0061":2}', {"a": 2}),
    "string_lone_high_surrogate": (rb'["\uDADA"]', DecodeError(kind="encoding")),
    "string_lone_low_surrogate": (rb'["\uDd1e"]', DecodeError(kind="encoding")),
    "string_surrogates_reversed": (rb'["\uDd1e\uD834"]', DecodeError(kind="encoding")),
    "string_high_surrogate_then_letter": (rb'["\ud800a"]', DecodeError(kind="encoding")),
    "string_two_high_surrogates": (rb'["\ud800\ud800\udc00"]', DecodeError(kind="encoding")),
    "string_lone_surrogate_in_key": (rb'{"\uDFAA":0}', DecodeError(kind="encoding")),
    "string_lone_surrogate_deep_inside": (rb'[{"a":[1,{"b":"x\ud800"}]}]', DecodeError(kind="encoding")),
    "string_noncharacter_ffff": (rb'["\uFFFF"]', ["\uffff"]),
    "structure_bom_utf8": (b"\xef\xbb\xbf{}", DecodeError(kind="encoding")),
    "structure_bom_alone": (b"\xef\xbb\xbf", DecodeError(kind="encoding")),
    "structure_bom_utf16_le": ("\ufeff[1]".encode("utf-16-le"), DecodeError(kind="encoding")),
    "structure_bom_utf16_be": ("\ufeff[1]".encode("utf-16-be"), DecodeError(kind="encoding")),
    "structure_bom_utf32_be": ("\ufeff[1]".encode("utf-32-be"), DecodeError(kind="encoding")),
    "structure_utf16_without_bom": ("[1]".encode("utf-16-le"), DecodeError(kind="json")),
    "structure_64_nested_arrays": (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
    "structure_65_nested_arrays": (b"[" * 65 + b"]" * 65, DecodeError(kind="depth")),
    "structure_500_nested_arrays": (b"[" * 500 + b"]" * 500, DecodeError(kind="depth")),
    "structure_100000_opening_arrays": (b"[" * 100_000, DecodeError(kind="depth")),
    "structure_100000_opening_objects": (b'{"":' * 100_000, DecodeError(kind="depth")),
}


def cases(table: dict[str, tuple[bytes, object]]) -> list[object]:
    return [pytest.param(body, wanted, id=name) for name, (body, wanted) in table.items()]


def outcome(body: bytes, **options: bool) -> tuple[str, str]:
    """Return the result of a body as text, which distinguishes 1 from 1.0 and 0.0 from -0.0."""
    try:
        return "value", repr(strict_json(body, **options))
    except DecodeError as error:
        return "refused", error.kind


@pytest.mark.parametrize(("body", "value"), cases(ACCEPT))
def test_well_formed_json_is_accepted(body, value):
    """Every text of the grammar is parsed to its value."""
    assert outcome(body) == ("value", repr(value))
    assert outcome(body, strict=True) == ("value", repr(value))


@pytest.mark.parametrize(("body", "kind"), cases(REJECT))
def test_malformed_json_is_refused(body, kind):
    """A text outside the grammar is refused; the error has the kind and the size."""
    with pytest.raises(DecodeError) as caught:
        strict_json(body, content_type="application/json")
    assert (caught.value.kind, caught.value.size) == (kind, len(body))
    assert caught.value.content_type == "application/json"


@pytest.mark.parametrize(("body", "wanted"), cases(GOLDEN))
def test_choices_of_the_implementation_are_decided(body, wanted):
    """Texts for which RFC 8259 leaves a choice have one documented result."""
    refused = isinstance(wanted, DecodeError)
    assert outcome(body) == (("refused", wanted.kind) if refused else ("value", repr(wanted)))


@pytest.mark.parametrize("body", [b'{"a":1,"a":1}', b'[{"b":{"a":1,"b":2,"a":3}}]', rb'{"a":1,"\u0061":2}'])
def test_strict_refuses_duplicate_keys(body):
    """With `strict`, an object with a duplicate key is refused."""
    assert outcome(body, strict=True) == ("refused", "duplicate_key")


def test_a_page_is_recognised_by_its_content_type_too():
    """Plain text with an HTML content type is a page; JSON with an HTML content type is JSON."""
    with pytest.raises(DecodeError) as caught:
        strict_json(b"Service Unavailable", content_type="text/HTML")
    assert caught.value.kind == "html"
    assert strict_json(b'{"success":true}', content_type="text/html") == {"success": True}


@pytest.mark.parametrize(
    "body", [b'{"success":true,"records":[{"idSite":1}]}', rb'["a\"b\\", {"c": [1.5e3, null]}]']
)
def test_truncated_json_is_refused(body):
    """Wherever it is cut off."""
    assert {outcome(body[:length])[0] for length in range(len(body))} == {"refused"}


def at_stack_depth(depth: int, call: Callable[[], object]) -> object:
    """Call with exactly `depth` frames below, in a thread because pytest's own stack is deeper than 10."""

    def descend(further: int) -> object:
        return call() if further <= 0 else descend(further - 1)

    def count_then_descend() -> object:
        return descend(depth - len(traceback.extract_stack()) - 1)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(count_then_descend).result()


@pytest.mark.parametrize("stack", [10, 500, 900])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_the_depth_limit_does_not_depend_on_the_callers_stack(stack, opening):
    """64 levels are parsed and more are refused, from shallow and from deep callers."""
    levels = opening.count(b"[") + opening.count(b"{")
    closing = b"".join(b"]" if mark == b"[" else b"}" for mark in (b"{", b"[") if mark in opening)

    def kind_of(times: int) -> str:
        return outcome(opening * times + b"1" + closing * times)[0 if times * levels <= MAX_DEPTH else 1]

    for times in (1, 2, MAX_DEPTH // levels):
        assert at_stack_depth(stack, lambda times=times: kind_of(times)) == "value"
    for times in (MAX_DEPTH // levels + 1, 100, 1_000, 10_000, 100_000):
        assert at_stack_depth(stack, lambda times=times: kind_of(times)) == "depth"


def test_a_lone_surrogate_at_full_depth_is_found_from_a_deep_caller():
    """The search for surrogates works for the deepest text that is allowed."""
    body = b"[" * MAX_DEPTH + rb'"\ud800"' + b"]" * MAX_DEPTH
    assert at_stack_depth(880, lambda: outcome(body)) == ("refused", "encoding")


def test_brackets_in_strings_do_not_count():
    """Brackets, quotes and backslashes in strings neither add to the depth nor hide it."""
    noise = json.dumps('][}{"\\' * 50).encode()
    flat = b"[" + b",".join([noise] * 50) + b"]"
    assert outcome(flat)[0] == "value"
    deep = b"".join(b"[" + noise + b"," for _ in range(65)) + b"1" + b"]" * 65
    assert outcome(deep) == ("refused", "depth")
    closers = b'["]",' * 65 + b"1" + b"]" * 65
    assert outcome(closers) == ("refused", "depth")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("json", b'{"token":"hunter2", oops}'),
        ("json", b'{"token":"hunter2'),
        ("json", rb'"hunter2\q"'),
        ("encoding", b'{"token":"hunter2\xff"}'),
        ("encoding", rb'{"token":"hunter2","b":"\ud800"}'),
        ("encoding", b'\xef\xbb\xbf{"token":"hunter2"}'),
        ("number", b'{"token":"hunter2","n":1e999}'),
        ("number", b'{"token":"hunter2","n":NaN}'),
        ("number", b'{"token":"hunter2","n":77777777777777777777}'),
        ("depth", b'{"token":"hunter2","n":' + b"[" * 99 + b"]" * 99 + b"}"),
        ("html", b"<html>hunter2</html>"),
        ("duplicate_key", b'{"hunter2":1,"hunter2":2}'),
    ],
)
def test_an_error_never_holds_the_body(kind, body):
    """Neither message, pickle, chained errors nor local variables of the codec contain the body."""
    with pytest.raises(DecodeError) as caught:
        strict_json(body, strict=kind == "duplicate_key")
    error = caught.value
    assert error.kind == kind
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = [str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error))]
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    shown += [repr(frame.locals) for frame in frames if frame.filename.startswith(CODEC)]
    assert not any("hunter2" in text or "777777" in text for text in shown)


def test_an_excerpt_is_given_on_request():
    """The message then has the beginning of the body, without control characters."""
    with pytest.raises(DecodeError) as caught:
        strict_json(b"<b>\x1b[2J\r\n\xff\xe2\x80\xae" + b"x" * 10_000, excerpt=True)
    message = str(caught.value)
    assert message.isprintable()
    assert r"<b>\x1b[2J\r\n" in message
    assert message.count("x") < 200


def test_the_parser_is_optional(monkeypatch):
    """Without orjson the module imports and uses the standard library."""
    monkeypatch.setitem(sys.modules, "orjson", None)
    spec = importlib.util.spec_from_file_location("decode_without_orjson", codec_json.__file__)
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    assert alone.orjson_loads is None
    assert alone.strict_json(b'[1, 2.5, "x"]') == [1, 2.5, "x"]


def test_json_backend_names_the_parsers_in_use(parser):
    """The accelerators with their versions, or the standard library."""
    named = [part.split()[0] for part in codec_json.json_backend().split(", ")]
    fast = [name for name, found in zip(("msgspec", "orjson"), parser, strict=True) if found]
    assert named == (fast or ["the"])
    with standard_library_only():
        assert codec_json.json_backend() == "the standard library"
    assert [part.split()[0] for part in codec_json.json_backend().split(", ")] == named


# --- properties -----------------------------------------------------------------------------------


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
texts = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(),
    values,
    st.booleans(),
    st.none() | st.just(1),
)
SHARDS = (
    rb"""[ ] { } " \ \u \ud800 , : - + . 0 9999999999999999999 e999 E+400 NaN -Infinity true null <""".split()
)
shards = st.sampled_from([*SHARDS, b" ", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"])


@st.composite
def damaged(draw) -> bytes:
    """Return a JSON text with some bytes changed."""
    body = draw(texts)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 4)))
        body = body[:start] + draw(shards | st.binary(max_size=3)) + body[end:]
    return body


@given(value=values)
def test_every_value_makes_the_round_trip(value):
    """A value that a strict writer writes is parsed back unchanged."""
    body = json.dumps(value).encode()
    assert outcome(body) == ("value", repr(value))
    assert outcome(body, strict=True) == ("value", repr(value))


@given(body=st.binary() | damaged() | st.lists(shards, max_size=12).map(b"".join), strict=st.booleans())
def test_any_bytes_give_a_value_or_a_decode_error(body, strict):
    """Nothing but `DecodeError` is raised, and all parsers agree on every body."""
    with standard_library_only():
        slow = outcome(body, strict=strict)
    assert outcome(body, strict=strict) == slow


@given(body=st.binary(), page=st.booleans())
def test_an_excerpt_is_short_and_printable(body, page):
    """The excerpt of any body is one printable line of at most 200 characters."""
    with pytest.raises(DecodeError) as caught:
        strict_json((b"<" if page else b"") + body * 20 + b"]", excerpt=True)
    shown = str(caught.value).partition(" bytes): ")[2]
    assert len(shown) <= 200
    assert shown == "" or shown.isprintable()


def first_error_or_depth(soup: str) -> tuple[int, bool]:
    """Return the deepest level before the first unmatched closer, and whether all brackets are closed."""
    level = deepest = 0
    in_string = escaped = False
    for mark in soup:
        if escaped:
            escaped = False
        elif in_string:
            escaped, in_string = mark == BACKSLASH, mark != '"'
        elif mark == '"':
            in_string = True
        elif mark in "[{":
            level += 1
            deepest = max(deepest, level)
        elif mark in "]}":
            level -= 1
            if level < 0:
                return deepest, False
    return deepest, level == 0 and not in_string


@given(
    soup=st.text(st.sampled_from('[[[{{{]]}}"a'), max_size=60)
    | st.text(string.printable + '[]{}"' * 5, max_size=60)
)
def test_the_depth_scan_agrees_with_a_walk(soup):
    """Everything that a parser would reach too deep is refused, and nothing balanced and shallow."""
    deepest, whole = first_error_or_depth(soup.replace(BACKSLASH, ""))
    with mock.patch.object(json_limits, "MAX_DEPTH", 3):
        try:
            json_limits.check_depth(soup.replace(BACKSLASH, "").encode())
        except json_limits.Refused:
            assert deepest > 3 or not whole
        else:
            assert deepest <= 3


@given(strings=st.lists(st.text('"\\[]{}a', max_size=8), min_size=1, max_size=10), depth=st.integers(1, 6))
def test_the_depth_scan_sees_through_escapes(strings, depth):
    """Escaped quotes and backslashes never make a string end early or late."""
    value: object = strings
    for _ in range(depth - 1):
        value = [*strings, value]
    with (
        mock.patch("energy_core.codec.json_limits.MAX_DEPTH", 3),
        mock.patch("energy_core.codec.json.MAX_DEPTH", 3),
    ):
        assert (outcome(json.dumps(value).encode())[0] == "value") == (depth <= 3)


@pytest.mark.parametrize("number", ["9" * 18, "1e99", "-1.5E-300", "0." + "1" * 40, "0.00e5"])
@pytest.mark.parametrize("around", ["[{}]", '{{"a":{}}}', '{{"a" :\t{} }}', "[1,{},2]", "[-{}]"])
def test_an_unread_part_with_usual_numbers_is_sound(number, around):
    """A number that all parsers read alike is sound."""
    assert json_limits.is_sound(around.format(number.removeprefix("-")).encode(), depth=1)


@pytest.mark.parametrize("number", ["9" * 19, "1e999", "1E+999", "1.5e400", "0.1e00999", "1" * 400])
@pytest.mark.parametrize("around", ["[{}]", '{{"a":{}}}', '{{"a" :\t{} }}', "[1,{},2]", "[-{}]", '["x",{}]'])
def test_an_unread_part_with_a_large_number_is_not_sound(number, around):
    """In any place and any spelling."""
    assert not json_limits.is_sound(around.format(number).encode(), depth=1)


@pytest.mark.parametrize(
    "text", ["89310410106543789301", "c0619ab1e2f000a1b2", "0e000", "1e999", "5 fees, 100"]
)
def test_digits_in_strings_are_not_numbers(text):
    """The number of a SIM card or a hexadecimal address is sound."""
    assert json_limits.is_sound(json.dumps([{"a": text}, text]).encode(), depth=1)


@given(
    value=st.recursive(
        st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('0123456789eE+-., "\\abc'),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text("0e1,", max_size=5), inner, max_size=4)
        ),
    )
)
def test_what_is_sound_is_accepted(value):
    """`strict_json` accepts every part that `is_sound` accepts."""
    body = json.dumps(value).encode()
    if json_limits.is_sound(body, depth=1):
        codec_json.strict_json(body)


NUMBER = r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,5})?"


@given(
    numbers=st.lists(st.from_regex(NUMBER, fullmatch=True, alphabet="0123456789.eE+-"), min_size=1),
    between=st.sampled_from([",", ", ", ',"a",', ",[],", '],["e0",']),
)
def test_no_number_hides_from_being_sound(numbers, between):
    """No sound number needs more than 64 bits or becomes infinite, in any spelling."""
    body = f"[[{between.join(numbers)}]]".encode()
    if json_limits.is_sound(body, depth=1):
        codec_json.strict_json(body)


# --- large bodies ------------------------------------------------------------------------------------------

CROWDED: dict[str, tuple[bytes, str]] = {
    "empty arrays": (b"[],", "containers"),
    "empty objects": (b"{},", "containers"),
    "empty objects among texts": (b'{},"",', "containers"),
    "arrays nested 60 deep": (b"[" * 60 + b"]" * 60 + b",", "containers"),
    "objects nested 60 deep": (b'{"":' * 60 + b"1" + b"}" * 60 + b",", "containers"),
    "arrays of a digit": (b"[1],", "containers"),
    "short pairs": (b"[1,2],", "containers"),
    "nested without an end": (b"[", "depth"),
}


class _MustNotParse:
    """A parser that fails when it is called."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, body: bytes) -> object:
        self.sizes.append(len(body))
        raise AssertionError("a refused body was parsed")


@pytest.mark.parametrize("size", [json_limits.LARGE + 100, 2**20 - 4000, 8 * 2**20])
@pytest.mark.parametrize("shape", CROWDED)
def test_a_large_body_of_little_but_brackets_is_refused_before_it_is_parsed(monkeypatch, parser, shape, size):
    """More than one array or object for seven bytes: it would take seconds to parse."""
    unit, kind = CROWDED[shape]
    body = b"[" + unit * (size // len(unit)) + b"1]"
    watch = _MustNotParse()
    for name, was in zip(("msgspec_loads", "orjson_loads"), parser, strict=True):
        monkeypatch.setattr(codec_json, name, was and watch)
    monkeypatch.setattr(json.JSONDecoder, "raw_decode", lambda _, text: watch(text))
    with pytest.raises(DecodeError) as caught:
        strict_json(body)
    assert caught.value.kind == kind
    assert caught.value.size == len(body)
    assert watch.sizes == []


ROOMY: dict[str, bytes] = {
    "smallest objects with a number": b'{"a":1},',
    "pairs of a time and a value": b"[1700000000,53.2],",
    "brackets in texts": rb'"[[{{]\"[[",',
    "empty lists among fields": b'{"name":"Home","tags":[],"rows":{}},',
    "numbers": b"12.5,",
}


@pytest.mark.parametrize("size", [json_limits.LARGE + 100, 3 * 2**20])
@pytest.mark.parametrize("shape", ROOMY)
def test_a_large_body_with_enough_bytes_a_container_is_parsed(shape, size):
    """Captured and documented bodies have at least 18 bytes for each array or object; 8 are enough."""
    unit = ROOMY[shape]
    body = b"[" + unit * (size // len(unit)) + unit[:-1] + b"]"
    assert strict_json(body) == json.loads(body)


def test_a_small_body_may_be_of_brackets_alone():
    """Empty lists are common in short answers."""
    body = b"[" + b"[]," * (json_limits.LARGE // 3 - 2) + b"{}]"
    assert strict_json(body) == json.loads(body)


@pytest.fixture
def tiny_chunks(monkeypatch):
    """Every body is large, and a chunk is a few bytes."""
    monkeypatch.setattr(json_limits, "LARGE", 1)
    monkeypatch.setattr(json_chunks, "CHUNK", 8)
    monkeypatch.setattr(json_limits, "BYTES_A_CONTAINER", 1)


@pytest.mark.usefixtures("tiny_chunks")
@given(value=values, indent=st.sampled_from([None, 1]), escaped=st.booleans())
def test_chunks_give_the_value_of_the_whole(value, indent, escaped):
    """A body parsed in chunks has the same value as parsed at once."""
    body = json.dumps(value, indent=indent, ensure_ascii=escaped).encode()
    assert repr(strict_json(body)) == repr(json.loads(body))


@pytest.mark.usefixtures("tiny_chunks")
@given(
    value=values,
    edits=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 2), st.sampled_from(["", *'[]{},:"\\1 '])),
        min_size=1,
        max_size=3,
    ),
)
def test_chunks_are_as_strict_as_the_whole(value, edits):
    """A body with changed bytes is refused in chunks where it is refused at once."""
    body = json.dumps(value).encode()
    for at, length, new in edits:
        body = body[: at % (len(body) + 1)] + new.encode() + body[at % (len(body) + 1) + length :]
    with mock.patch.object(json_limits, "LARGE", sys.maxsize):
        whole = outcome(body)
    chunks = outcome(body)
    assert chunks[0] == whole[0]
    assert chunks == whole or whole[0] == "refused"


@pytest.mark.usefixtures("tiny_chunks")
@pytest.mark.parametrize(
    "body",
    [
        b'{"a":[1,2,3,4,5,6],"b":1,"a":[7,8,9,10,11,12],"c":[1,2,3,4]}',
        b'{"a":{"x":1,"y":2,"z":3},"b":{"k":1},"a":{"x":4,"w":5,"v":6,"u":7,"t":8},"b":2,"c":3,"d":4}',
        b'[{"b":[1,2,3,4,5],"b":[[1,2,3],[4,5,6],[7,8,9]],"b":{"b":1,"b":2,"b":3,"b":4}},1,2,3,4,5]',
    ],
)
def test_the_last_duplicate_key_wins_across_chunks(body):
    """A key that is repeated in another chunk has only its last value."""
    assert repr(strict_json(body)) == repr(json.loads(body))


@pytest.mark.usefixtures("tiny_chunks")
@pytest.mark.parametrize(
    "body",
    [
        b"[1111111,2222222,]", b"[1111111,2222222,", b'{"aaaaaaa":1,"bbbbbbbb":2,}', b"[,1111111,2222222]",
        b"[1111111,,2222222]", b"1111111111,2222222222", b"[1111111]],[2222222,3]", b"[[1111111,2222222},3]",
        b'["1111111,2222222]', b'[11111111,"a":22222222,3]', b'{"aaaaaaa":1111,22222222,"b":3}',
    ],
)  # fmt: skip
def test_malformed_json_between_chunks_is_refused(body):
    """A comma between chunks needs a member of the open container on both sides."""
    assert outcome(body) == ("refused", "json")


def test_no_parser_gets_more_than_a_chunk(monkeypatch, parser):
    """A parser holds the interpreter lock, so it gets at most about half a MiB of a large body at a time."""
    sizes: list[int] = []

    def noted(parse):
        return lambda body, *more: sizes.append(len(body)) or parse(body, *more)

    if parser[0]:
        monkeypatch.setattr(codec_json, "msgspec_loads", noted(parser[0]))
    if parser[1]:
        monkeypatch.setattr(codec_json, "orjson_loads", noted(parser[1]))
    raw_decode = json.JSONDecoder.raw_decode
    monkeypatch.setattr(
        json.JSONDecoder, "raw_decode", lambda of, text: sizes.append(len(text)) or raw_decode(of, text)
    )
    body = b'{"records":{"data":[' + b'[1700000000,"x,y"],' * 300_000 + b"[]]}}"
    assert len(strict_json(body)["records"]["data"]) == 300_001
    assert len(sizes) > 8
    assert max(sizes) < json_chunks.CHUNK + 200


@pytest.mark.parametrize("unit", [b'{"id":1234,"value":5678.25},', rb'{"name":"\ud83d\ude00 \\ [","w":3},'])
def test_a_large_body_needs_no_more_memory_than_its_parser(parser, unit):
    """6 MiB of small objects: no copy of the body exists while its values do, except the parser's own."""
    body = b"[" + unit * (6 * 2**20 // len(unit)) + unit[:-1] + b"]"
    bare = next((parse for parse in parser if parse is not None), json.loads)

    def peak(parse: Callable[[bytes], object]) -> int:
        tracemalloc.start()
        try:
            parse(body)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(strict_json) <= 1.1 * peak(bare)

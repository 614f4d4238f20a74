from multidict import CIMultiDict, CIMultiDictProxy

from energy_core.http.response import ResponseHeaders

RAW = CIMultiDictProxy(CIMultiDict([("Content-Type", "a/b"), ("VIA", "1"), ("Via", "2")]))


def test_names_are_lower_case_and_repeats_are_joined():
    """Whatever the spelling and the repetition of a header, there is one name and one value."""
    headers = ResponseHeaders(RAW)
    assert headers == {"content-type": "a/b", "via": "1, 2"}
    assert len(headers) == 2
    assert "via" in headers


def test_a_missing_header_is_the_default():
    """A missing header is None, or the given default."""
    headers = ResponseHeaders(RAW)
    assert headers.get("date") is None
    assert headers.get("date", "") == ""
    assert headers.get("via", "") == "1, 2"
    assert "date" not in headers

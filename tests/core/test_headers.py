from multidict import CIMultiDict, CIMultiDictProxy

from energy_core.http.response import ResponseHeaders

RAW = CIMultiDictProxy(CIMultiDict([("Content-Type", "a/b"), ("VIA", "1"), ("Via", "2")]))


def test_names_are_lower_case_and_repeats_are_joined():
    """Whatever a server calls and repeats, there is one name and one value."""
    headers = ResponseHeaders(RAW)
    assert headers == {"content-type": "a/b", "via": "1, 2"}
    assert len(headers) == 2
    assert "via" in headers


def test_what_is_not_there_is_the_default():
    """A header that did not come is None, or what the caller says."""
    headers = ResponseHeaders(RAW)
    assert headers.get("date") is None
    assert headers.get("date", "") == ""
    assert headers.get("via", "") == "1, 2"
    assert "date" not in headers

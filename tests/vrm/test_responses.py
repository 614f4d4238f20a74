"""What VRM's refusals become: found by error_code and status, quoted and never understood by their text."""

import pickle
import re

import pytest

from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    DecodeError,
    NoData,
    NotFound,
    PermissionDenied,
    RequestError,
    ServerFault,
)
from energy_core.http.operation import Response
from vrm_async.resources.users import ME
from vrm_async.responses import check

ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")


def refusal(payload, status=200):
    with pytest.raises(RequestError) as refused:
        check(Response(status=status, headers={}, body=b""), payload, ME)
    return refused.value


@pytest.mark.parametrize(
    ("payload", "status", "expected"),
    [
        ({"success": False, "error_code": "no_data"}, 200, NoData),
        ({"success": False, "error_code": "no_data"}, 404, NoData),
        ({"success": False, "error_code": "missing_parameters"}, 200, BadRequest),
        ({"success": False, "errors": ["No settings found for this site"]}, 200, AnswerError),
        ({"success": False, "error_code": None}, 200, AnswerError),
        ({"success": False, "error_code": 5}, 200, AnswerError),
        ({"success": 0}, 200, AnswerError),
        ({"success": "false"}, 200, AnswerError),
        ({"success": False}, 400, BadRequest),
        ({"success": False}, 401, AuthFailed),
        ({"success": False}, 403, PermissionDenied),
        ({"success": False}, 404, NotFound),
        ({"success": False}, 405, AnswerError),
        ({"success": False}, 422, BadRequest),
        ({"success": False}, 500, ServerFault),
        ({"success": True}, 403, PermissionDenied),
        ({}, 404, NotFound),
    ],
)
def test_a_refusal_has_the_type_of_its_code_or_status(payload, status, expected):
    """error_code comes first, the status next; success is false with any status."""
    error = refusal(payload, status)
    assert type(error) is expected
    assert error.status == status


@pytest.mark.parametrize(
    "payload", [{"success": True}, {"records": []}, {}, [], None, 5, {"1": {"code": "x"}}]
)
def test_other_answers_pass(payload):
    """An answer without an envelope is not a refusal."""
    check(Response(status=200, headers={}, body=b""), payload, ME)


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ({"errors": ["one", "two"]}, "one; two"),
        ({"errors": "ResetType em falta"}, "ResetType em falta"),
        (
            {"errors": {"resetType": ["em falta", "missing"], "b": "c"}},
            "resetType: em falta; resetType: missing; b: c",
        ),
        ({"error": "Unknown user"}, "Unknown user"),
        ({"errors": None}, None),
        ({"errors": [None, 5, {"a": []}]}, None),
    ],
)
def test_the_text_is_quoted_whatever_its_shape(said, quoted):
    """The message has the text of a list, a str or a mapping."""
    message = str(refusal({"success": False, **said}))
    assert (quoted in message) if quoted else message.startswith("VRM refused,")


def test_the_text_cannot_break_a_log_or_carry_a_token():
    """Line breaks become spaces, long words are masked, and the quotation is short."""
    token = "0123456789abcdef" * 4
    message = str(refusal({"success": False, "errors": [f"no\r\n\x1b[31m{token}", "word " * 200]}))
    assert token not in message
    assert "***" in message
    assert message.isprintable()
    assert len(message) < 300


def test_a_code_is_an_identifier():
    """Any other text is not repeated."""
    assert refusal({"success": False, "error_code": "a\r\nb"}).error_code is None
    assert refusal({"success": False, "error_code": "0123456789abcdef" * 4}).error_code is None


async def test_an_error_says_what_was_asked_and_what_came(vrm, mocked):
    """Vendor, operation, method, path template, status and code are attributes, and survive a pickle."""
    mocked.get(
        ANYTHING, payload={"success": False, "error_code": "forbidden", "errors": "Geen toegang"}, status=403
    )
    with pytest.raises(PermissionDenied) as denied:
        await vrm.installations.system_overview(4711)
    error = pickle.loads(pickle.dumps(denied.value))
    assert (error.vendor, error.operation, error.method) == ("vrm", "installations.system_overview", "GET")
    assert (error.path, error.status) == ("installations/{idSite}/system-overview", 403)
    assert error.error_code == "forbidden"
    assert "Geen toegang" in str(error)
    assert "4711" not in str(error)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "empty"),
        (b"<html>busy</html>", "html"),
        (b'{"success": true, "records": [', "json"),
        (b"[]", "shape"),
        (b'{"success": true}', "envelope"),
        (b'{"success": true, "records": [{"idSite": NaN}]}', "number"),
    ],
)
async def test_an_unreadable_answer_is_an_error(vrm, mocked, body, kind):
    """It raises `DecodeError` with the kind of the failure."""
    mocked.get(ANYTHING, body=body, repeat=True)
    with pytest.raises(DecodeError) as unreadable:
        await vrm.sites(user_id=1)
    assert unreadable.value.kind == kind
    assert unreadable.value.operation == "sites"

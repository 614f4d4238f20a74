"""The vendor's message in a refusal: one line, shortened, without anything that may be a secret."""

import pytest

from energy_core.http.refusal import is_refusal, refusal_message, refusal_message_of_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6N30.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({"errors": ["one", "two"]}, "one; two"),
        ({"errors": "ResetType em falta"}, "ResetType em falta"),
        (
            {"errors": {"type": ["em falta", "missing"], "b": "c"}},
            "type: em falta; type: missing; b: c",
        ),
        ({"error": "Unknown user"}, "Unknown user"),
        ({"message": "Forbidden"}, "Forbidden"),
        ({"detail": "gone", "status": 410}, "gone"),
        ({"error": {"message": "no such field", "code": 7}}, "no such field"),
        ({"errors": [{"message": "odd\r\nline"}]}, "odd line"),
        ("nothing here", "nothing here"),
        (["one"], "one"),
        ("no " * 1000, ("no " * 67)[:200]),
        ("Token is invalid", "Token is invalid"),
        ("Password expired", "Password expired"),
        ("accesslevel_and_invite_keys_required", "accesslevel_and_invite_keys_required"),
        ({"errors": [f"bad token {JWT}"]}, "bad token ***"),
        ({"errors": [f"jwt {JWT} expired"]}, "jwt *** expired"),
        ({"error": "password: hunter2 is wrong"}, "*** is wrong"),
        ({"error": 'sent "token": "abc"'}, 'sent "***'),
        (f"no access for Token {'0123456789abcdef' * 4}", "no access for Token ***"),
        (f"Token {'t' * 40} expired", "Token *** expired"),
        ("see installations/{idSite}/settings", "see installations/{idSite}/settings"),
        ({"errors": []}, ""),
        ({"errors": [7, None, {"a": []}]}, ""),
        ({"records": ["one"]}, ""),
        ([], ""),
        (None, ""),
        (7, ""),
    ],
)
def test_message_of_json(answer, line):
    """Texts are found under the usual keys, joined, cut at 200 characters, and masked."""
    assert refusal_message(answer) == line


@pytest.mark.parametrize(
    ("body", "content_type", "line"),
    [
        (b"Invalid token\r\n", "text/plain", "Invalid token"),
        (b"Invalid token", "", "Invalid token"),
        (b"\xff\xfe", "text/plain", "\ufffd\ufffd"),
        ("é".encode() * 2000, "text/plain", "é" * 200),
        (b"<html>busy</html>", "text/html", ""),
        (b"  <h1>busy</h1>", "text/plain", ""),
        (b"busy", "text/html", ""),
        (b'{"errors": "truncat', "application/json", ""),
        (b"", "text/plain", ""),
    ],
)
def test_message_of_plain_text(body, content_type, line):
    """Plain text is quoted; HTML and broken JSON are not."""
    assert refusal_message_of_text(body, content_type) == line


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        ({"success": False}, True),
        ({"success": "false", "records": []}, True),
        ({"success": 0}, True),
        ({"errors": ["The product is being migrated."]}, True),
        ({"error": "internal", "status": 500, "path": "/rest"}, True),
        ({"message": "Forbidden"}, True),
        ({"success": True, "message": "Saved"}, False),
        ({"success": None, "errors": ["no"]}, True),
        ({"pvPower": 1, "errors": ["nonDefaultStrategy"]}, False),
        ({"errors": []}, False),
        ({"status": "ok"}, False),
        ({}, False),
        ([{"message": "Forbidden"}], False),
        ("Forbidden", False),
    ],
)
def test_refusals_are_recognised_whatever_their_status(answer, refusal):
    """`success` decides if present; otherwise an object with an error message and no data is a refusal."""
    assert is_refusal(answer) is refusal


@pytest.mark.parametrize("part", ["a", "aB", "a.", "-", "abcdefgh.", "token:", "token" + " " * 500, "\u00e9"])
def test_long_messages_are_read_in_linear_time(part):
    """A long page is cut before it is searched."""
    assert len(refusal_message(part * 100_000)) <= 200

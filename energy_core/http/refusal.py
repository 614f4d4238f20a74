"""Refusals: recognising them in an answer, and the vendor's message as an error may quote it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from energy_core.codec.coerce import flag
from energy_core.codec.json import JSON

MAX_CHARS: Final = 200
"""The longest message that an error quotes."""

_MESSAGE_KEYS: Final = ("errors", "error", "message", "detail", "title", "description")
_REFUSAL_KEYS: Final = frozenset(
    {
        *_MESSAGE_KEYS,
        "success",
        "error_code",
        "code",
        "status",
        "statusCode",
        "path",
        "timestamp",
        "requestId",
    }
)
"""An object with none but these keys is a refusal."""
_LONG: Final = re.compile(r"[A-Za-z0-9+/=_.~-]{24,}")
_SECRET: Final = re.compile(
    r"[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JWT
    r"|(?i:token|password|bearer)[\"']?\s*[:=]\s*\S+"
)


def refusal_message(answer: JSON) -> str:
    """Return the message of a refusal in JSON: one line of at most `MAX_CHARS`, empty if there is none.

    A server may repeat secrets that it was sent: whatever looks like one is replaced by ``***``.
    """
    if isinstance(answer, dict):
        answer = [answer[key] for key in _MESSAGE_KEYS if key in answer]
    return _one_line("; ".join(_texts(answer)))


def refusal_message_of_text(body: bytes, content_type: str) -> str:
    """Return the message of a refusal in plain text, like `refusal_message`; empty for HTML and JSON."""
    if content_type.startswith("text/html") or body.lstrip()[:1] in {b"<", b"{", b"["}:
        return ""
    return _one_line(body[: MAX_CHARS * 10].decode(errors="replace"))


def is_refusal(answer: JSON) -> bool:
    """Return whether an answer is a refusal: by ``success``, or by having an error message and no data."""
    if not isinstance(answer, dict) or answer.get("success") is True:
        return False
    if "success" in answer and flag(answer["success"]) is not None:
        return flag(answer["success"]) is False
    return answer.keys() <= _REFUSAL_KEYS and bool(refusal_message(answer))


def _texts(value: JSON) -> Iterator[str]:
    """Find the texts in a text, a list, an object with a message, or a mapping of parameters to these."""
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        if "message" in value:
            yield from _texts(value["message"])
            return
        for key, item in value.items():
            yield from (f"{key}: {text}" for text in _texts(item))


def _one_line(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text[: MAX_CHARS * 10])
    return " ".join(_SECRET.sub("***", _LONG.sub(_mask_token, printable)).split())[:MAX_CHARS]


def _mask_token(long: re.Match[str]) -> str:
    """Mask a long text that may be a token: with digits, with mixed case, or without a break."""
    text = long[0]
    is_mixed = not (text.islower() or text.isupper())
    return "***" if is_mixed or text.isalnum() or any(char.isdigit() for char in text) else text

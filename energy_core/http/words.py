"""A vendor's words in a refusal: where they stand, and how much of them an error may quote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from energy_core.codec.coerce import flag
from energy_core.codec.json import JSON

LONGEST: Final = 200
"""Characters of a refusal that an error quotes."""

_PLACES: Final = ("errors", "error", "message", "detail", "title", "description")
_BESIDES: Final = frozenset(
    {*_PLACES, "success", "error_code", "code", "status", "statusCode", "path", "timestamp", "requestId"}
)
"""The keys of an object that says no and nothing else."""
_LONG: Final = re.compile(r"[A-Za-z0-9+/=_.~-]{24,}")
_SECRET: Final = re.compile(
    r"[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JWT
    r"|(?i:token|password|bearer)[\"']?\s*[:=]\s*\S+"
)


def words_of(answer: JSON) -> str:
    """Return the words of a refusal in JSON: one line, cut, and without what looks like a secret.

    A server may repeat what it was sent. What is left out is written as ``***``.
    """
    if isinstance(answer, dict):
        answer = [answer[place] for place in _PLACES if place in answer]
    return _line("; ".join(_texts(answer)))


def words_of_text(body: bytes, content_type: str) -> str:
    """Return the words of a refusal in plain text, like `words_of`; a page of markup has none."""
    if content_type.startswith("text/html") or body.lstrip()[:1] in {b"<", b"{", b"["}:
        return ""
    return _line(body[: LONGEST * 10].decode(errors="replace"))


def is_refusal(answer: JSON) -> bool:
    """Tell whether an answer says no: by ``success``, or by holding a refusal and nothing else."""
    if not isinstance(answer, dict):
        return False
    if "success" in answer and flag(answer["success"]) is not None:
        return flag(answer["success"]) is False
    return answer.keys() <= _BESIDES and bool(words_of(answer))


def _texts(value: JSON) -> Iterator[str]:
    """Find texts in a text, a list, an object with a message, or a mapping of parameters to any of these."""
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


def _line(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text[: LONGEST * 10])
    return " ".join(_SECRET.sub("***", _LONG.sub(_hidden, shown)).split())[:LONGEST]


def _hidden(long: re.Match[str]) -> str:
    """Hide what may be a token: with digits, of capitals and others, or without a break."""
    text = long[0]
    mixed = not (text.islower() or text.isupper())
    return "***" if mixed or text.isalnum() or any(char.isdigit() for char in text) else text

"""How VoltStorage reads parameters and words a refusal."""

from __future__ import annotations

import json
import math

from aiohttp import web


class VoltRefusal(Exception):
    """A request is answered with a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def answer(content: object, status: int = 200) -> web.Response:
    """Return JSON as the server spells it."""
    return web.Response(
        text=json.dumps(content, separators=(",", ":")), status=status, content_type="application/json"
    )


def whole(request: web.Request, name: str, *, least: int | None = None) -> int | None:
    """Return an integer parameter."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        raise VoltRefusal(400, f"The parameter {name} must be an integer.") from None
    if least is not None and number < least:
        raise VoltRefusal(400, f"The parameter {name} must be at least {least}.")
    return number


def double(request: web.Request, name: str) -> float | None:
    """Return a parameter that is any finite number."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        raise VoltRefusal(400, f"The parameter {name} must be a number.") from None
    if not math.isfinite(number):
        raise VoltRefusal(400, f"The parameter {name} must be a number.")
    return number


def flag(name: str, text: str) -> bool:
    """Return whether a text says true."""
    if text.lower() not in {"true", "false", "1", "0"}:
        raise VoltRefusal(400, f"The parameter {name} must be true or false.")
    return text.lower() in {"true", "1"}


def numbers(request: web.Request, name: str) -> frozenset[int]:
    """The document does not say how several are spelt: repeated, with brackets, or separated by commas."""
    texts = request.query.getall(name, []) + request.query.getall(f"{name}[]", [])
    try:
        return frozenset(int(part) for text in texts for part in text.split(","))
    except ValueError:
        raise VoltRefusal(400, f"The parameter {name} must hold integers.") from None

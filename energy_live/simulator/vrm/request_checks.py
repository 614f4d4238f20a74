"""Responses, errors, and checks of parameters and bodies that all VRM handlers share.

The error envelope is the one of VRM's documents; the status of a failed check is a guess.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from energy_live.simulator.vrm.serializers import Json


class VrmRefusal(Exception):
    """Makes the server answer with VRM's error envelope."""

    def __init__(
        self, status: int, error_code: str | None, errors: object, *, retry_after: int | None = None
    ) -> None:
        super().__init__(error_code)
        self.status = status
        self.envelope: Json = {"success": False, "errors": errors, "error_code": error_code}
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


def uncoded(status: int, **envelope: object) -> VrmRefusal:
    """Return an error with its own members instead of VRM's envelope, as a few operations have it."""
    refusal = VrmRefusal(status, None, None)
    refusal.envelope = {"success": False, **envelope}
    return refusal


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON response."""
    text = json.dumps(content, separators=(",", ":"))
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)


def integer(request: web.Request, name: str, default: int | None = None) -> int | None:
    """Return an integer parameter; `default` without it."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    try:
        return int(text)
    except ValueError:
        raise VrmRefusal(400, "invalid_parameters", {name: f"The {name} must be an integer."}) from None


def required_integer(request: web.Request, name: str) -> int:
    """Return a required integer parameter."""
    number = integer(request, name)
    if number is None:
        raise VrmRefusal(400, "missing_parameters", {name: f"The {name} field is required."})
    return number


def number(request: web.Request, name: str) -> float | None:
    """Return a finite number, or None without the parameter."""
    text = request.query.get(name)
    if text is None or text == "":
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise VrmRefusal(400, "invalid_parameters", {name: f"The {name} must be a number."})
    return number


def time_range(request: web.Request, now: float) -> tuple[float, float]:
    """Return the parameters `start` and `end` in Unix seconds; the last 24 hours by default."""
    end = float(integer(request, "end", int(now)) or 0)
    return float(integer(request, "start", int(end) - 86_400) or 0), end


def boolean(request: web.Request, name: str) -> bool:
    """Return a boolean parameter; False without it."""
    text = request.query.get(name, "0").lower()
    if text not in {"0", "1", "false", "true"}:
        raise VrmRefusal(400, "invalid_parameters", {name: f"The {name} must be true or false."})
    return text in {"1", "true"}


async def body(request: web.Request) -> Json:
    """Return the JSON object in the body; form data is an error, as at VRM."""
    try:
        content = json.loads(await request.read() or b"{}")
    except ValueError:
        raise VrmRefusal(400, "invalid_json", "The body is not JSON.") from None
    if not isinstance(content, dict):
        raise VrmRefusal(400, "invalid_json", "The body is not an object.")
    return content


INTEGER: Final = (int,)
NUMBER: Final = (int, float)
STRING: Final = (str,)
BOOLEAN: Final = (bool,)
LIST: Final = (list,)
OBJECT: Final = (dict,)
ANY: Final = (int, float, str, bool, list, dict)

Kinds = Mapping[str, tuple[type, ...]]
_NONE: Final[Kinds] = {}


def checked(sent: Json, *, required: Kinds = _NONE, optional: Kinds = _NONE) -> Json:
    """Return a body with the described members and types; any other is answered 422."""
    errors: dict[str, str] = {name: "Required" for name in required if name not in sent}
    known = {**required, **optional}
    for name, value in sent.items():
        if name not in known:
            errors[name] = "Not allowed"
        elif not _is(value, known[name]):
            errors[name] = f"Must be {' or '.join(kind.__name__ for kind in known[name])}"
    if errors:
        raise VrmRefusal(422, "invalid_parameters", errors)
    return sent


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    return type(value) in kinds


def one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise the error 422 unless a value is one of the allowed."""
    if value not in allowed:
        raise VrmRefusal(422, "invalid_parameters", {name: "The value is not valid."})


def list_of(name: str, values: object, kinds: tuple[type, ...]) -> list[object]:
    """Return a list whose items have one of the types; raise the error 422 otherwise."""
    if not isinstance(values, list) or not all(_is(value, kinds) for value in values):
        raise VrmRefusal(422, "invalid_parameters", {name: f"Must be a list of {kinds[0].__name__}"})
    return values

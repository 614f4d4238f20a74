"""How VRM words an answer and a refusal, and how it reads parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from energy_live.simulator.vrm.serializers import Json


class VrmRefusal(Exception):
    """A request is answered with VRM's envelope for failures."""

    def __init__(
        self, status: int, error_code: str | None, errors: object, *, retry_after: int | None = None
    ) -> None:
        super().__init__(error_code)
        self.status = status
        self.envelope: Json = {"success": False, "errors": errors, "error_code": error_code}
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


def uncoded(status: int, **envelope: object) -> VrmRefusal:
    """Return a refusal without an `error_code`, as a few operations have it."""
    refused = VrmRefusal(status, None, None)
    refused.envelope = {"success": False, **envelope}
    return refused


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return JSON as the server spells it."""
    text = json.dumps(content, separators=(",", ":"))
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)


def whole(request: web.Request, name: str, default: int | None = None) -> int | None:
    """Return an integer parameter."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    try:
        return int(text)
    except ValueError:
        raise VrmRefusal(400, "invalid_parameters", {name: f"The {name} must be an integer."}) from None


def required(request: web.Request, name: str) -> int:
    """Return an integer parameter that must be there."""
    number = whole(request, name)
    if number is None:
        raise VrmRefusal(400, "missing_parameters", {name: f"The {name} field is required."})
    return number


def fraction(request: web.Request, name: str) -> float | None:
    """Return a parameter that is any finite number."""
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


def moments(request: web.Request, now: float) -> tuple[float, float]:
    """Return `start` and `end`; by default the last day."""
    end = float(whole(request, "end", int(now)) or 0)
    return float(whole(request, "start", int(end) - 86_400) or 0), end


def switched(request: web.Request, name: str) -> bool:
    """Whether a parameter is on."""
    text = request.query.get(name, "0").lower()
    if text not in {"0", "1", "false", "true"}:
        raise VrmRefusal(400, "invalid_parameters", {name: f"The {name} must be true or false."})
    return text in {"1", "true"}


async def body(request: web.Request) -> Json:
    """Return the JSON object that was sent; form data is refused, as VRM refuses it."""
    try:
        content = json.loads(await request.read() or b"{}")
    except ValueError:
        raise VrmRefusal(400, "invalid_json", "The body is not JSON.") from None
    if not isinstance(content, dict):
        raise VrmRefusal(400, "invalid_json", "The body is not an object.")
    return content


WHOLE: Final = (int,)
NUMBER: Final = (int, float)
TEXT: Final = (str,)
TRUTH: Final = (bool,)
LIST: Final = (list,)
OBJECT: Final = (dict,)
ANY: Final = (int, float, str, bool, list, dict)

Kinds = Mapping[str, tuple[type, ...]]
_NONE: Final[Kinds] = {}


def checked(sent: Json, *, required: Kinds = _NONE, optional: Kinds = _NONE) -> Json:
    """Return a body that fits its description; any other is answered 422, null included."""
    wrong: dict[str, str] = {name: "Required" for name in required if name not in sent}
    known = {**required, **optional}
    for name, value in sent.items():
        if name not in known:
            wrong[name] = "Not allowed"
        elif not _is(value, known[name]):
            wrong[name] = f"Must be {' or '.join(kind.__name__ for kind in known[name])}"
    if wrong:
        raise VrmRefusal(422, "invalid_parameters", wrong)
    return sent


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    return type(value) in kinds


def one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Answer 422 where a value is none of those that are listed."""
    if value not in allowed:
        raise VrmRefusal(422, "invalid_parameters", {name: "The value is not valid."})


def items(name: str, values: object, kinds: tuple[type, ...]) -> list[object]:
    """Return a list whose elements are of one kind."""
    if not isinstance(values, list) or not all(_is(value, kinds) for value in values):
        raise VrmRefusal(422, "invalid_parameters", {name: f"Must be a list of {kinds[0].__name__}"})
    return values

"""How VRM words an answer and a refusal, and how it reads parameters."""

from __future__ import annotations

import json
import math

from aiohttp import web

from energy_live.simulator.records import Json


class Refused(Exception):
    """A request is answered with VRM's envelope for failures."""

    def __init__(
        self, status: int, error_code: str | None, errors: object, *, retry_after: int | None = None
    ) -> None:
        super().__init__(error_code)
        self.status = status
        self.envelope: Json = {"success": False, "errors": errors, "error_code": error_code}
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


def uncoded(status: int, **envelope: object) -> Refused:
    """Return a refusal without an `error_code`, as a few operations have it."""
    refused = Refused(status, None, None)
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
        raise Refused(400, "invalid_parameters", {name: f"The {name} must be an integer."}) from None


def required(request: web.Request, name: str) -> int:
    """Return an integer parameter that must be there."""
    number = whole(request, name)
    if number is None:
        raise Refused(400, "missing_parameters", {name: f"The {name} field is required."})
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
        raise Refused(400, "invalid_parameters", {name: f"The {name} must be a number."})
    return number


def moments(request: web.Request, now: float) -> tuple[float, float]:
    """Return `start` and `end`; by default the last day."""
    end = float(whole(request, "end", int(now)) or 0)
    return float(whole(request, "start", int(end) - 86_400) or 0), end


def switched(request: web.Request, name: str) -> bool:
    """Whether a parameter is on."""
    text = request.query.get(name, "0").lower()
    if text not in {"0", "1", "false", "true"}:
        raise Refused(400, "invalid_parameters", {name: f"The {name} must be true or false."})
    return text in {"1", "true"}


async def body(request: web.Request) -> Json:
    """Return the JSON object that was sent; form data is refused, as VRM refuses it."""
    try:
        content = json.loads(await request.read() or b"{}")
    except ValueError:
        raise Refused(400, "invalid_json", "The body is not JSON.") from None
    if not isinstance(content, dict):
        raise Refused(400, "invalid_json", "The body is not an object.")
    return content

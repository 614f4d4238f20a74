"""How VRM words an answer and a refusal, and how it reads parameters."""

from __future__ import annotations

import json

from aiohttp import web

from energy_live.simulator.records import Json


class Refused(Exception):
    """A request is answered with VRM's envelope for failures."""

    def __init__(
        self, status: int, error_code: str | None, errors: object, *, retry_after: int | None = None
    ) -> None:
        super().__init__(error_code)
        self.status = status
        self.envelope: Json = {"success": False, "errors": errors}
        if error_code is not None:
            self.envelope["error_code"] = error_code
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


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


def moments(request: web.Request, now: float) -> tuple[float, float]:
    """Return `start` and `end`; by default the last day."""
    end = float(whole(request, "end", int(now)) or 0)
    return float(whole(request, "start", int(end) - 86_400) or 0), end


def switched(request: web.Request, name: str) -> bool:
    """Whether a parameter is on."""
    return request.query.get(name) in {"1", "true"}


async def body(request: web.Request) -> Json:
    """Return the JSON object that was sent; form data is refused, as VRM refuses it."""
    try:
        content = json.loads(await request.read() or b"{}")
    except ValueError:
        raise Refused(400, "invalid_json", "The body is not JSON.") from None
    if not isinstance(content, dict):
        raise Refused(400, "invalid_json", "The body is not an object.")
    return content

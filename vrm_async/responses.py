"""VRM's envelope: ``success``, ``errors`` and ``error_code`` become typed errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from energy_core.codec.coerce import flag
from energy_core.codec.json import JSON
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
from energy_core.http.operation import Operation, Response
from energy_core.http.refusal import is_refusal, refusal_message

_BY_CODE: Final[Mapping[str, type[RequestError]]] = {"no_data": NoData, "missing_parameters": BadRequest}
_BY_STATUS: Final[Mapping[int, type[RequestError]]] = {
    400: BadRequest,
    401: AuthFailed,
    403: PermissionDenied,
    404: NotFound,
    408: ServerFault,
    422: BadRequest,
    425: ServerFault,
}
# No error_code means an unknown path, so the English texts of servers for it are matched.
_PLACE: Final = r"(?:resource|path|route|endpoint|url|uri|page|action|method)"
_NO_SUCH_PATH: Final = re.compile(
    rf"(?:not find|no such|unknown|invalid|undefined|unsupported) (?:the )?(?:requested )?(?:api )?{_PLACE}\b"
    rf"|\b{_PLACE}\b.{{0,60}}\bnot (?:found|exist|allowed|known|supported)"
    r"|^\W*(?:404 )?not found\W*$",
    re.IGNORECASE,
)
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,47}")


def check(response: Response, payload: JSON, operation: Operation) -> None:
    """Raise the typed error of a refused request: by its error_code, else by its status.

    The text is in the account's language and is only quoted in the message. `is_no_such_path` alone reads it.
    """
    if response.status < 400 and not is_refusal(payload):
        return
    code = payload.get("error_code") if isinstance(payload, dict) else None
    # Any other text in error_code could be as long as a page, or contain a secret.
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    # A 401 is about the credential, whatever its error_code is.
    by_code = None if response.status == 401 else _BY_CODE.get(code or "")
    message = operation.quote(refusal_message(payload))
    kind = by_code or _kind_of_status(response.status)
    text = f"VRM refused: {message!r}" if message else "VRM refused"
    error = kind(text, status=response.status, error_code=code)
    error.vendor_message = message
    raise error


def is_no_such_path(error: RequestError) -> bool:
    """Whether VRM has no such path, or not with this method.

    404, 405 and 422 mean it (422 may also be about a parameter); under 400 and 200 only the text shows it.
    """
    if error.status in {404, 405, 422}:
        return True
    code = (error.error_code or "").replace("_", " ")
    return error.status in {200, 400} and any(map(_NO_SUCH_PATH.search, (code, error.vendor_message)))


def part(payload: JSON, key: str) -> object:
    """Return one member of an answer.

    Raises:
        DecodeError: the answer is not an object, or lacks the member.
    """
    if not isinstance(payload, dict):
        raise DecodeError(f"the answer is a {type(payload).__name__}, not an object", kind="shape")
    if key not in payload:
        raise DecodeError(f"the answer has no {key!r}", kind="envelope")
    return payload[key]


def done(payload: JSON) -> None:
    """Check the answer of a write: VRM confirms each with ``success``.

    Raises:
        DecodeError: the answer does not confirm it, so that the result of the write is unknown.
    """
    if flag(part(payload, "success")) is not True:
        raise DecodeError("the answer does not confirm the change", kind="envelope")


def content(payload: JSON, *parts: str) -> dict[str, object]:
    """Return an answer without its envelope.

    Raises:
        DecodeError: the answer is not an object, or has none of the members of which it should have one.
    """
    if not isinstance(payload, dict):
        raise DecodeError(f"the answer is a {type(payload).__name__}, not an object", kind="shape")
    if parts and not payload.keys() & set(parts):
        raise DecodeError(f"the answer has no {parts[0]!r}", kind="envelope")
    return {key: value for key, value in payload.items() if key != "success"}


def _kind_of_status(status: int) -> type[RequestError]:
    return ServerFault if status >= 500 else _BY_STATUS.get(status, AnswerError)

"""VRM's envelope: what a refusal looks like, whatever its status says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

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
from energy_core.http.readers import flag
from energy_core.http.request import JSON, Operation, Response

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
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,47}")
_LIKE_A_SECRET: Final = re.compile(r"[A-Za-z0-9+/=_.-]{24,}")
_LONGEST_TEXT: Final = 200


def check(response: Response, payload: JSON, operation: Operation) -> None:
    """Raise the typed error of a refusal: by its error_code, else by its status, never by its text.

    The text is in the account's language; it is quoted in the message and decides nothing.
    """
    if not isinstance(payload, dict):
        return
    if response.status < 400 and flag(payload.get("success")) is not False:
        return
    code = payload.get("error_code")
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    kind = _BY_CODE.get(code or "") or _kind_of_status(response.status)
    # A server may repeat what it was sent, and a login was sent a password.
    text = "" if operation.name.startswith("auth.") else _quoted(payload)
    raise kind(f"VRM refused{text}", status=response.status, error_code=code)


def part(payload: JSON, key: str) -> object:
    """Return one part of an answer.

    Raises:
        DecodeError: the answer is no object, or has no such part.
    """
    if not isinstance(payload, dict):
        raise DecodeError(f"the answer is a {type(payload).__name__}, not an object", kind="shape")
    if key not in payload:
        raise DecodeError(f"the answer has no {key!r}", kind="envelope")
    return payload[key]


def content(payload: JSON) -> dict[str, object]:
    """Return an answer without its envelope.

    Raises:
        DecodeError: the answer is no object.
    """
    if not isinstance(payload, dict):
        raise DecodeError(f"the answer is a {type(payload).__name__}, not an object", kind="shape")
    return {key: value for key, value in payload.items() if key != "success"}


def _kind_of_status(status: int) -> type[RequestError]:
    return ServerFault if status >= 500 else _BY_STATUS.get(status, AnswerError)


def _quoted(payload: Mapping[str, JSON]) -> str:
    texts = [*_texts(payload.get("errors")), *_texts(payload.get("error"))]
    if not texts:
        return ""
    plain = "".join(c if c.isprintable() else " " for c in "; ".join(texts))
    return f": {_LIKE_A_SECRET.sub('***', plain)[:_LONGEST_TEXT]!r}"


def _texts(errors: JSON) -> Iterator[str]:
    """Find the texts in what VRM calls `errors`: a list, a text, or a mapping of parameter to either."""
    if isinstance(errors, str):
        yield errors
    elif isinstance(errors, dict):
        for name, inner in errors.items():
            yield from (f"{name}: {text}" for text in _texts(inner))
    elif isinstance(errors, list):
        for inner in errors:
            yield from _texts(inner)

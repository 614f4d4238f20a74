"""Declarations of VRM's operations: reads may be sent again after a failure, writes are sent once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias, TypeVar

from energy_core.codec.json import JSON
from energy_core.http.operation import MIB, Operation
from energy_core.url import parse_base_url
from vrm_async.validation import one_of

T = TypeVar("T")

SITE: Final = "installations/{idSite}"
USER: Final = "users/{idUser}"


def reads(name: str, path: str, *, method: str = "GET", body_limit: int = 16 * MIB) -> Operation:
    """Declare an operation that changes nothing. Its method may be POST: VRM has such reads."""
    return Operation(
        vendor="vrm", name=name, method=method, path=path, repeatable=True, body_limit=body_limit
    )


def writes(name: str, method: str, path: str) -> Operation:
    """Declare an operation that changes something and is therefore sent once."""
    return Operation(vendor="vrm", name=name, method=method, path=path, repeatable=False)


METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# `join` checks the path; the address is not used.
_ANYWHERE: Final = parse_base_url("https://localhost/")

Query: TypeAlias = Mapping[str, str | int] | Iterable[tuple[str, str | int]]


def operation(method: str, path: str, *, repeatable: bool, body_limit: int) -> Operation:
    """Declare the operation of `VRMClient.request`.

    Raises:
        ValueError: the method is unknown, or the path leaves the API: absolute, with "..", or with a query.
    """
    one_of("method", method, METHODS)
    if not isinstance(path, str):
        raise TypeError(f"path must be a str, not {type(path).__name__}")
    if not path or path.startswith("/"):
        raise ValueError("path must be relative to the base URL, without a slash at its beginning")
    _ANYWHERE.join(path)
    # Errors never quote the answer of an operation named auth: it may repeat a secret.
    name = "auth.request" if path.casefold().startswith("auth") else "request"
    return Operation(
        vendor="vrm", name=name, method=method, path=path, repeatable=repeatable, body_limit=body_limit
    )


def pairs(query: Query) -> list[tuple[str, str]]:
    """Return a query as pairs of text."""
    listed = list(query.items() if isinstance(query, Mapping) else query)
    for name, value in listed:
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, str | int):
            raise TypeError("query must be pairs of str and str or int; VRM writes a bool as 0 or 1")
        if not name or _CONTROL.search(name) or _CONTROL.search(str(value)):
            raise ValueError("query must be names and values without control characters")
    return [(name, str(value)) for name, value in listed]


def as_it_is(payload: JSON) -> JSON:
    """Return an answer unchanged."""
    return payload

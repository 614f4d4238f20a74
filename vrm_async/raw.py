"""Questions that nobody documented: what a caller may pass, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from energy_core.http.request import JSON, Operation, base_url
from vrm_async.arguments import one_of

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ANYWHERE: Final = base_url("https://localhost/")

Query: TypeAlias = Mapping[str, str | int] | Iterable[tuple[str, str | int]]


def operation(method: str, path: str, *, repeatable: bool, body_limit: int) -> Operation:
    """Declare an operation at a path that is already filled in.

    Raises:
        ValueError: the method is unknown, or the path leaves the API: absolute, climbing, or with a query.
    """
    one_of("method", method, METHODS)
    if not isinstance(path, str):
        raise TypeError(f"path must be a str, not {type(path).__name__}")
    if not path or path.startswith("/"):
        raise ValueError("path must be relative to the base URL, without a slash at its beginning")
    _ANYWHERE.join(path)
    if re.search(r"%(2f|5c)", path, re.IGNORECASE):
        raise ValueError("path must not hold an encoded slash or backslash")
    # What goes to or comes from a login may hold a secret, and is never quoted.
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
    """Return an answer unread."""
    return payload

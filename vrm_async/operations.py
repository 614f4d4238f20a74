"""How this package declares what VRM offers (what only reads may be repeated), and reads lists in pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

from energy_core.codec.drift import Drift
from energy_core.codec.json import JSON
from energy_core.http.operation import MIB, Operation
from energy_core.url import parse_base_url
from vrm_async.validation import one_of

T = TypeVar("T")

SITE: Final = "installations/{idSite}"
USER: Final = "users/{idUser}"


def reads(name: str, path: str, *, method: str = "GET", body_limit: int = 16 * MIB) -> Operation:
    """Declare an operation that changes nothing, whatever its method is: VRM also asks with POST."""
    return Operation(
        vendor="vrm", name=name, method=method, path=path, repeatable=True, body_limit=body_limit
    )


def writes(name: str, method: str, path: str) -> Operation:
    """Declare an operation that changes something, and is therefore sent once, whatever its method is."""
    return Operation(vendor="vrm", name=name, method=method, path=path, repeatable=False)


class Paging(Generic[T]):
    """Decides whether a list that comes in pages has been read to its end.

    A server may give fewer records a page than it was asked for: a short page is no end. The list ends with
    an empty page, with one that brings nothing new (the server does not know pages), or when as many records
    came as were announced. A number that equals the length of its page may count only that page.

    Args:
        name: The list's name, for drift.
        key: Returns the identity of a record, to recognise duplicates.
        drift: Counts a list that ends before its announced number.
    """

    def __init__(self, name: str, key: Callable[[T], Hashable], drift: Drift) -> None:
        self.number = 1
        """The page to ask for next."""
        self.ended = False
        self._name = name
        self._key = key
        self._drift = drift
        self._seen: set[Hashable] = set()
        self._came = 0
        self._announced = 0
        self._last_unread: Sequence[object] = ()

    def take(
        self, records: Sequence[T], *, size: int, announced: int | None = None, unread: Sequence[object] = ()
    ) -> list[T]:
        """Return the records of a page that no earlier page had.

        Args:
            records: The records that could be read.
            size: How many came, malformed ones included.
            announced: How many there are, where the server says so.
            unread: The page as it came, where some of its records could not be read.
        """
        fresh = [record for record in records if self._key(record) not in self._seen]
        self._seen.update(map(self._key, fresh))
        # A page of which nothing could be read is no end either, unless it comes twice.
        new = bool(fresh) or (bool(unread) and unread != self._last_unread)
        self._last_unread = unread
        self._came += size if new else 0
        self._announced = max(self._announced, announced or 0)
        self.number += 1
        self.ended = not new or (announced not in {None, size} and self._came >= self._announced)
        if self.ended and self._came < self._announced:
            self._drift.note(self._name, "records", "fewer came than were announced")
        return fresh


METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ANYWHERE: Final = parse_base_url("https://localhost/")

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

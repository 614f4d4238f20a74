"""The plain values of a request: what an operation is, what is asked, what came back."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from attrs import Factory, evolve, field, frozen

from energy_core.codec.json import JSON
from energy_core.secret import Secret
from energy_core.url import quote_path_part

MIB: Final = 1024 * 1024

Query: TypeAlias = Sequence[tuple[str, str]]

_PART: Final = 4
_PLACE = re.compile(r"\{(\w+)\}")


class Priority(enum.IntEnum):
    """The three classes of a lane, served in this order."""

    AUTH = 0
    INTERACTIVE = 1
    BACKGROUND = 2


def _asked_plainly(operation: Operation) -> Request | None:
    if "{" in operation.path:
        return None
    return Request(operation=operation, path=operation.path, priority=operation.priority)


@frozen(kw_only=True)
class Operation:
    """One thing a vendor offers, declared once.

    `repeatable` is a promise about the vendor, never inferred from the method: VRM revokes tokens with a GET.
    """

    vendor: str
    name: str
    method: str
    path: str
    """Template relative to the base URL, such as ``installations/{idSite}/stats``."""
    repeatable: bool
    authenticated: bool = True
    priority: Priority = Priority.INTERACTIVE
    body_limit: int = 16 * MIB
    """Largest body in bytes, counted after decompression."""
    total_s: float = 60.0
    """Seconds from the granted turn to the last byte."""
    hides: tuple[Secret, ...] = ()
    """What its body holds that no error may quote."""

    _plain: Request | None = field(
        init=False, repr=False, eq=False, default=Factory(_asked_plainly, takes_self=True)
    )
    """What it asks when it is asked without arguments, where it can be: made once for all times."""

    def quote(self, words: str) -> str:
        """Return the words of a refusal, or nothing where they may repeat a secret.

        A server may repeat a password that it was sent. What has four characters in common with one is not
        quoted, and neither is the answer of a login whose secrets are not known here.
        """
        if self.hides:
            return (
                ""
                if any(_share(words.casefold(), each.reveal().casefold()) for each in self.hides)
                else words
            )
        return words if self.authenticated and not self.name.startswith("auth.") else ""

    def at(self, path: str) -> Operation:
        """Return the same operation under another path template."""
        return evolve(self, path=path)

    def request(
        self,
        *,
        query: Query = (),
        json: JSON = None,
        priority: Priority | None = None,
        **parts: int | str,
    ) -> Request:
        """Fill the path's places and return what is to be sent.

        Raises:
            ValueError: a part is empty, negative, or could change the path.
            TypeError: a part is neither an int nor a str.
        """
        return self.asked(query, json, priority, parts)

    def asked(
        self, query: Query, json: JSON, priority: Priority | None, parts: Mapping[str, int | str]
    ) -> Request:
        """Do what `request` does, for whoever was handed its arguments."""
        if self._plain is not None and not (query or parts) and json is None and priority is None:
            return self._plain
        path = self.path
        if "{" in path:
            path = _PLACE.sub(lambda place: quote_path_part(place[1], parts[place[1]]), path)
        return Request(
            operation=self,
            path=path,
            query=tuple(query),
            json=json,
            priority=self.priority if priority is None else priority,
        )


def _share(words: str, secret: str) -> bool:
    """Whether words hold a part of a secret; they are always taken to hold a very short one."""
    parts = range(len(secret) - _PART + 1)
    return len(secret) < _PART or any(secret[at : at + _PART] in words for at in parts)


@frozen(kw_only=True)
class Request:
    """An operation with its arguments, ready to be sent; holds no credential."""

    operation: Operation
    path: str
    query: Query = ()
    json: JSON = field(default=None, repr=False)
    priority: Priority = Priority.INTERACTIVE


@frozen(kw_only=True)
class Response:
    """What came back, read to its end. Header names are lower case, repeated headers joined by a comma."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    attempts: int = 1

    @property
    def content_type(self) -> str:
        """The media type without its parameters, lower case, or an empty string."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

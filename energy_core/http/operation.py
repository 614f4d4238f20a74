"""Plain values of a request: the operation a vendor offers, the request to send, the response."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlencode

from attrs import evolve, frozen

from energy_core.codec.json import JSON
from energy_core.secret import Secret
from energy_core.url import BaseUrl, absolute_url, quote_path_part

MIB: Final = 1024 * 1024

Query: TypeAlias = Sequence[tuple[str, str]]

_SHARED_CHARS: Final = 4
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class Priority(enum.IntEnum):
    """The three classes of requests in a rate limiter's queue, served in this order."""

    AUTH = 0
    INTERACTIVE = 1
    BACKGROUND = 2


@frozen(kw_only=True)
class Operation:
    """One operation of a vendor's API, declared once.

    `repeatable` says that the operation is idempotent. It is declared and never inferred from the method: VRM
    revokes tokens with a GET.
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
    """Seconds from leaving the rate limiter's queue to the last byte of the response, retries included."""
    hides: tuple[Secret, ...] = ()
    """Secrets in its body that no error may quote."""

    def quote(self, message: str) -> str:
        """Return a vendor's error message, or an empty string if it may repeat a secret.

        A server may repeat a password that it was sent. A message that shares four characters with one is not
        quoted, and neither is the message of a login whose secrets are not known here.
        """
        if self.hides:
            lowered = message.casefold()
            is_safe = not any(_shares_part(lowered, each.reveal().casefold()) for each in self.hides)
        else:
            is_safe = self.authenticated and not self.name.startswith("auth.")
        return message if is_safe else ""

    def at(self, path: str) -> Operation:
        """Return the same operation with another path template."""
        return evolve(self, path=path)

    def request(
        self,
        *,
        query: Query = (),
        json: JSON = None,
        priority: Priority | None = None,
        **parts: int | str,
    ) -> Request:
        """Return the request to send, with the placeholders of the path filled in.

        Args:
            query: Names and values.
            json: The body; None sends none.
            priority: Instead of the operation's own.
            parts: The values of the path's placeholders.

        Raises:
            ValueError: a part is empty, negative, or could change the path.
            TypeError: a part is neither an int nor a str.
        """
        path = self.path
        if "{" in path:
            path = _PLACEHOLDER.sub(lambda found: _path_part(found[1], parts[found[1]]), path)
        return Request(
            operation=self,
            path=path,
            query=tuple(query),
            json=json,
            priority=self.priority if priority is None else priority,
        )


def _path_part(name: str, value: int | str) -> str:
    return str(value) if type(value) is int and value >= 0 else quote_path_part(name, value)


def _shares_part(message: str, secret: str) -> bool:
    """Return whether a message contains four characters of a secret; always True for a shorter secret."""
    starts = range(len(secret) - _SHARED_CHARS + 1)
    return len(secret) < _SHARED_CHARS or any(secret[at : at + _SHARED_CHARS] in message for at in starts)


class Content(NamedTuple):
    """The body of a request that is not JSON."""

    data: bytes
    type: str
    """Its media type."""
    encoding: str = ""
    """Its Content-Encoding, such as ``gzip``; empty for none."""

    def __repr__(self) -> str:
        return f"<Content of {len(self.data)} bytes, {self.type}>"


class Request(NamedTuple):
    """An operation with its arguments, ready to be sent; holds no credential."""

    operation: Operation
    path: str
    query: Query = ()
    json: JSON = None
    priority: Priority = Priority.INTERACTIVE
    content: Content | None = None
    """The body instead of `json`."""

    def url(self, base: BaseUrl) -> str:
        """Return the absolute URL.

        Raises:
            ValueError: the path is not relative, or not written in URL characters.
        """
        url = absolute_url(base.origin, base.path, self.path)
        return f"{url}?{urlencode(self.query)}" if self.query else url

    def __repr__(self) -> str:  # without the body, which may hold a password
        return f"<Request {self.operation.name}: {self.operation.method} {self.path}>"


class Response(NamedTuple):
    """A response, read to its end. Header names are lower case, repeated headers joined by a comma."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int = 1

    @property
    def content_type(self) -> str:
        """The media type without its parameters, lower case, or an empty string."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def __repr__(self) -> str:
        return f"<Response status {self.status}, {len(self.body)} bytes, {self.attempts} attempts>"

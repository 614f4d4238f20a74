"""The plain values of a request: what an operation is, what is asked, what came back."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from attrs import Factory, evolve, field, frozen

from energy_core.codec.json import JSON
from energy_core.secret import Secret

MIB: Final = 1024 * 1024

Query: TypeAlias = Sequence[tuple[str, str]]

_PART: Final = 4
_PLACE = re.compile(r"\{(\w+)\}")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DECODINGS: Final = 8
"""A segment that is still percent-encoded after this many decodings is refused."""
_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80, "wss": 443, "ws": 80}


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
            path = _PLACE.sub(lambda place: _path_part(place[1], parts[place[1]]), path)
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


def _path_part(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{name} must be an int or a str, not {type(value).__name__}")
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{name} must not be negative: {value}")
        return str(value)
    if not value or _CONTROL.search(value) or _leads_elsewhere(value):
        raise ValueError(
            f"{name} is not usable in a path: it is empty, '.', '..' or has slashes, backslashes, spaces or "
            "control characters, as they are or percent-encoded"
        )
    return quote(value, safe="*")


def _leads_elsewhere(segment: str) -> bool:
    """Return whether a server could read another path in this segment, decoding it as often as it likes."""
    for _ in range(_DECODINGS):
        # Some servers cut parameters off, so that "..;x" is "..".
        if "/" in segment or "\\" in segment or segment.partition(";")[0] in {".", ".."}:
            return True
        try:
            decoded = unquote(segment, errors="strict")
        except UnicodeDecodeError:  # an overlong slash, for one
            return True
        if decoded == segment:
            return _UNPRINTABLE.search(segment) is not None
        segment = decoded
    return True


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


@frozen(kw_only=True)
class BaseUrl:
    """Where a vendor's paths begin; made by `base_url`, which checks it."""

    origin: str
    """Scheme, host and port in one normal form: the only place a credential may go."""
    path: str
    """Begins and ends with a slash."""

    def join(self, path: str, query: Query = ()) -> str:
        """Return the absolute URL of a relative path.

        Raises:
            ValueError: the path is absolute, climbs, or is not written in URL characters.
        """
        url = _joined(self.origin, self.path, path)
        return f"{url}?{urlencode(query)}" if query else url

    def __str__(self) -> str:
        return self.origin + self.path


def base_url(text: str) -> BaseUrl:
    """Read a base URL: https (http only on this machine), a host, perhaps a port and a path, nothing else.

    Raises:
        ValueError: the text is anything else; it is not repeated in the message, as it might hold a password.
    """
    parts = _split(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ValueError(
            "the base URL must begin with https:// (http:// serves on the loopback interface only)"
        )
    path = parts.path.strip("/")
    _check_path(path)
    return BaseUrl(origin=_origin(parts), path=f"/{path}/" if path else "/")


def origin_of(url: str) -> str:
    """Return scheme, host and port of an absolute URL in the form that `BaseUrl.origin` has."""
    return _origin(_split(url, query=True))


def is_loopback(host: str) -> bool:
    """Tell whether the host is this machine, by its usual name or by address; no name is looked up."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _split(text: str, *, query: bool = False) -> SplitResult:
    if not isinstance(text, str):
        raise TypeError(f"a URL must be a str, not {type(text).__name__}")
    if (
        not text.isascii()
        or _CONTROL.search(text)
        or "\\" in text
        or (not query and ("?" in text or "#" in text))
    ):
        raise ValueError(
            "the URL holds a query, a fragment, a backslash, a space, or characters that are not ASCII"
        )
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("the URL holds a user name; credentials are arguments of their own")
    if not parts.hostname or not _HOST.fullmatch(parts.hostname):
        raise ValueError("the URL has no usable host name")
    return parts


def _origin(parts: SplitResult) -> str:
    host = parts.hostname or ""
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the URL's port is not a number from 1 to 65535") from None
    if port == 0:
        raise ValueError("the URL's port is not a number from 1 to 65535")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (
        "" if port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{port}"
    )


@lru_cache(maxsize=1024)
def _joined(origin: str, base: str, path: str) -> str:
    _check_path(path)
    return f"{origin}{base}{path}"


def _check_path(path: str) -> None:
    *inner, last = path.split("/")
    segments = [*inner, last] if last or not inner else inner
    for segment in segments if path else ():
        if not _SEGMENT.fullmatch(segment) or _leads_elsewhere(segment):
            raise ValueError(
                "the path must be relative and written in URL characters, without '.', '..', '//' or "
                "percent-encoded slashes, backslashes and control characters"
            )

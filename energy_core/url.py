"""URLs: base URLs and their origins, the loopback check, and values that are safe inside a path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from attrs import frozen

_CONTROL: Final = re.compile(r"[\x00-\x20\x7f-\x9f]")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80, "wss": 443, "ws": 80}
_WITHOUT_TLS: Final = {"https": "http", "wss": "ws"}
_MAX_DECODINGS: Final = 8
"""A segment that is still percent-encoded after this many decodings is refused."""


@frozen(kw_only=True)
class BaseUrl:
    """The URL below which a vendor's paths lie; made and checked by `parse_base_url`."""

    origin: str
    """Scheme, host and port in one normal form. A credential is sent to no other origin."""
    path: str
    """Begins and ends with a slash."""

    def join(self, path: str, query: Sequence[tuple[str, str]] = ()) -> str:
        """Return the absolute URL of a relative path.

        Raises:
            ValueError: the path is absolute, contains ``..``, or is not written in URL characters.
        """
        url = absolute_url(self.origin, self.path, path)
        return f"{url}?{urlencode(query)}" if query else url

    def __str__(self) -> str:
        return self.origin + self.path


def parse_base_url(
    text: str, *, scheme: str = "https", name: str = "the base URL", without_tls: bool = False
) -> BaseUrl:
    """Parse and check a base URL: scheme, host, optional port and path, and nothing else.

    Args:
        text: The URL.
        scheme: ``https`` or ``wss``. The variant without TLS is accepted for the loopback interface only.
        name: How error messages name the URL.
        without_tls: Accept the variant without TLS for any host, such as a database in the home's network.

    Raises:
        ValueError: The text is anything else. The message does not repeat it: it might hold a password.
    """
    parts = _split(text, name)
    plain = _WITHOUT_TLS[scheme]
    plain_allowed = without_tls or is_loopback(parts.hostname or "")
    if parts.scheme != scheme and not (parts.scheme == plain and plain_allowed):
        raise ValueError(f"{name} must begin with {scheme}:// ({plain}:// only for the loopback interface)")
    path = parts.path.strip("/")
    _check_path(path)
    return BaseUrl(origin=_origin(parts, name), path=f"/{path}/" if path else "/")


def origin_of(url: str) -> str:
    """Return scheme, host and port of an absolute URL in the form of `BaseUrl.origin`.

    Raises:
        ValueError: It is not a URL with a host, or it holds a user name.
    """
    return _origin(_split(url, "the URL", query=True), "the URL")


def is_loopback(host: str) -> bool:
    """Return whether the host is this machine, by the name ``localhost`` or by address; no DNS lookup."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


# Programs request the same few paths over and over: checking them again would cost more than the rest.
@lru_cache(maxsize=1024)
def absolute_url(origin: str, base_path: str, path: str) -> str:
    """Return the checked absolute URL of a relative path, without a query; see `BaseUrl.join`."""
    _check_path(path)
    return f"{origin}{base_path}{path}"


def quote_path_part(name: str, value: object) -> str:
    """Return an argument as one percent-encoded segment of a path.

    Args:
        name: The argument's name, for errors.
        value: An int that is not negative, or a str.

    Raises:
        ValueError: The value is empty or negative, or a server could read another path in it.
        TypeError: It is neither an int nor a str.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{name} must be an int or a str, not {type(value).__name__}")
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{name} must not be negative: {value}")
        return str(value)
    if not value or _CONTROL.search(value) or _leaves_its_place(value):
        raise ValueError(
            f"{name} is not usable in a path: it is empty, '.' or '..', or contains slashes, backslashes, "
            "spaces or control characters, plain or percent-encoded"
        )
    return quote(value, safe="*")


def _leaves_its_place(segment: str) -> bool:
    """Return whether a server could read another path in this segment, however often it decodes it."""
    for _ in range(_MAX_DECODINGS):
        # Some servers cut path parameters off, so that "..;x" is "..".
        if "/" in segment or "\\" in segment or segment.partition(";")[0] in {".", ".."}:
            return True
        try:
            decoded = unquote(segment, errors="strict")
        except UnicodeDecodeError:  # such as an overlong encoding of a slash
            return True
        if decoded == segment:
            return _UNPRINTABLE.search(segment) is not None
        segment = decoded
    return True


def _check_path(path: str) -> None:
    *inner, last = path.split("/")
    segments = [*inner, last] if last or not inner else inner
    for segment in segments if path else ():
        if not _SEGMENT.fullmatch(segment) or _leaves_its_place(segment):
            raise ValueError(
                "the path must be relative and written in URL characters, without '.', '..', '//' or "
                "percent-encoded slashes, backslashes and control characters"
            )


def _split(text: str, name: str, *, query: bool = False) -> SplitResult:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}")
    has_query = "?" in text or "#" in text
    if not text.isascii() or _CONTROL.search(text) or "\\" in text or (has_query and not query):
        raise ValueError(
            f"{name} has a query, a fragment, a backslash, a space, or characters that are not ASCII"
        )
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError(f"{name} has a user name; credentials are separate arguments")
    if not parts.hostname or not _HOST.fullmatch(parts.hostname):
        raise ValueError(f"{name} has no usable host name")
    return parts


def _origin(parts: SplitResult, name: str) -> str:
    host = parts.hostname or ""
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"the port of {name} is not a number from 1 to 65535")
    shown = f"[{host}]" if ":" in host else host
    is_default = port is None or port == _DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{shown}" + ("" if is_default else f":{port}")

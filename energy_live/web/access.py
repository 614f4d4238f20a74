"""Who may read the relay: addresses it may listen on, token, one-time links, host and origin checks."""

from __future__ import annotations

import hmac
import secrets
import ssl
from collections import deque
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from aiohttp import web
from attrs import define, field, frozen

from energy_core.clock import Clock
from energy_core.secret import Secret
from energy_core.url import is_loopback

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

COOKIE: Final = "energy_live_session"
_SESSION_S: Final = 30 * 86_400.0
_LINK_S: Final = 600.0
_MAX_SESSIONS: Final = 200
_MAX_LINKS: Final = 20
MIN_TOKEN: Final = 16
"""Characters of a token, at least."""
_MAX_HEADER: Final = 300
_MAX_ADDRESSES: Final = 4096


@frozen(kw_only=True)
class ListenOptions:
    """Where the relay listens, and how clients prove that they may read it."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: a free one."""
    token: Secret | None = None
    """Clients need it; None: everyone who reaches the address may read."""
    tls_cert: str | None = None
    """File with the certificate chain, PEM."""
    tls_key: str | None = None
    behind_proxy: bool = False
    """Whether a reverse proxy with TLS is in front; its `X-Forwarded-For` is believed."""
    public_url: str | None = None
    """The address that browsers use, where it differs from `host` and `port`."""
    max_clients: int = 1000
    """Streams that may be open at once."""
    max_requests: int = 600
    """Requests a minute from one address."""

    def check(self) -> None:
        """Check that an address that others can reach has a token and TLS.

        Raises:
            ValueError: The address is reachable by others, and there is no token or no TLS.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key belong together")
        if self.token is not None and not _usable(self.token.reveal()):
            raise ValueError(f"the token must be {MIN_TOKEN} to 200 ASCII characters without spaces")
        exposed = not is_loopback(self.host) or self.behind_proxy
        if exposed and self.token is None:
            raise ValueError("others can reach this address: set ENERGY_LIVE_TOKEN to a long random text")
        if not is_loopback(self.host) and self.tls_cert is None and not self.behind_proxy:
            raise ValueError(
                "others can reach this address: give --tls-cert and --tls-key, or --behind-proxy with a proxy"
            )
        if self.behind_proxy and self.public_url is None:
            raise ValueError("--behind-proxy needs --public-url, the https address that browsers use")
        if self.public_url is not None:
            parts = _split(self.public_url)
            if (
                parts is None
                or parts.path not in {"", "/"}
                or parts.query
                or parts.fragment
                or parts.username
            ):
                raise ValueError("--public-url must be an address such as https://energy.example.org")
            if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
                raise ValueError("--public-url must begin with https://")

    @property
    def scheme(self) -> str:
        """`https` or `http`, as the relay itself speaks it."""
        return "http" if self.tls_cert is None else "https"

    def base(self, port: int) -> str:
        """Return the address that people open, without a slash at the end."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        return f"{self.scheme}://{_in_url(self.host)}:{port}"

    def tls_context(self) -> ssl.SSLContext | None:
        """Read the files of TLS; None without them.

        Raises:
            OSError: A file cannot be read.
        """
        if self.tls_cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.tls_cert, self.tls_key)
        return context


@define(eq=False)
class RelayAccess:
    """Checks every request before a route handles it.

    Args:
        options: Where the relay listens.
        clock: Source of time.
    """

    options: ListenOptions
    clock: Clock
    refused: int = field(default=0, init=False)
    """Requests that were refused."""
    _sessions: dict[bytes, float] = field(factory=dict, init=False)
    _links: dict[bytes, float] = field(factory=dict, init=False)
    _requests: dict[str, deque[float]] = field(factory=dict, init=False)
    _key: bytes = field(factory=lambda: secrets.token_bytes(32), init=False)

    def problem(self, request: web.BaseRequest) -> tuple[int, str] | None:
        """Return the status and the text of a refusal, or None."""
        found = self._problem(request)
        self.refused += found is not None
        return found

    def _problem(self, request: web.BaseRequest) -> tuple[int, str] | None:
        if self._is_too_fast(request):
            return 429, "too many requests"
        host = request.headers.getall("Host", [])
        if len(host) != 1 or not self._is_our_host(host[0]):
            return 421, "this address is not known here; see --public-url"
        origins = request.headers.getall("Origin", [])
        if origins and (len(origins) > 1 or not self._is_our_origin(origins[0], host[0])):
            return 403, "pages of other origins may not read this"
        if request.method not in {"GET", "HEAD"} and request.path != "/link":
            return 405, "this service is read-only"
        if request.path in {"/login", "/healthz"} or self.is_allowed(request):
            return None
        return 401, "a token is needed"

    def is_allowed(self, request: web.BaseRequest) -> bool:
        """Return whether a request has the token or a session, or needs none."""
        if self.options.token is None:
            return True
        return self.has_token(request) or self._has_session(request)

    def has_token(self, request: web.BaseRequest) -> bool:
        """Return whether the header `Authorization: Bearer TOKEN` is right."""
        if self.options.token is None:
            return False
        scheme, _, given = request.headers.get("Authorization", "")[:_MAX_HEADER].partition(" ")
        wanted = self.options.token.reveal().encode()
        right = hmac.compare_digest(given.strip().encode(errors="replace"), wanted)
        return scheme.lower() == "bearer" and right

    def new_link(self) -> str:
        """Return the path of a link that logs one browser in, within ten minutes."""
        code = secrets.token_urlsafe(24)
        while len(self._links) >= _MAX_LINKS:
            del self._links[next(iter(self._links))]
        self._links[self._hash(code)] = self.clock.monotonic() + _LINK_S
        return f"/login?code={code}"

    def redeem(self, code: str) -> str | None:
        """Return the value of a session's cookie for the code of a link, which is void afterwards."""
        until = self._links.pop(self._hash(code[:_MAX_HEADER]), None)
        now = self.clock.monotonic()
        if until is None or until < now:
            return None
        session = secrets.token_urlsafe(32)
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[self._hash(session)] = now + _SESSION_S
        return session

    def set_cookie(self, response: web.StreamResponse, session: str) -> None:
        """Give a browser its session."""
        response.set_cookie(
            COOKIE, session, max_age=int(_SESSION_S), path="/", secure=True, httponly=True, samesite="Strict"
        )

    def _has_session(self, request: web.BaseRequest) -> bool:
        session = request.cookies.get(COOKIE, "")[:_MAX_HEADER]
        until = self._sessions.get(self._hash(session)) if session else None
        return until is not None and until >= self.clock.monotonic()

    def _hash(self, text: str) -> bytes:
        # Looked up by a keyed hash, so that the time of a look-up says nothing about the text.
        return hmac.digest(self._key, text.encode(errors="replace"), "sha256")

    def _is_our_host(self, host: str) -> bool:
        """Return whether a `Host` names this service: names of others would be DNS rebinding."""
        parts = _split(f"http://{host}")
        if parts is None or parts.hostname is None or parts.path or parts.username:
            return False
        name = parts.hostname.lower()
        if self.options.public_url is not None:
            public = _split(self.options.public_url)
            if public is not None and name == public.hostname:
                return True
        if self.options.behind_proxy:
            return False
        own = self.options.host
        return is_loopback(name) or name == own.lower() or (not is_loopback(own) and _is_address(name))

    def _is_our_origin(self, origin: str, host: str) -> bool:
        if self.options.public_url is not None and origin == self.options.public_url.rstrip("/"):
            return True
        return origin == f"{self.options.scheme}://{host}"

    def _is_too_fast(self, request: web.BaseRequest) -> bool:
        address, now = self._address(request), self.clock.monotonic()
        times = self._requests.get(address)
        if times is None:
            if len(self._requests) >= _MAX_ADDRESSES:
                del self._requests[next(iter(self._requests))]
            times = self._requests[address] = deque(maxlen=self.options.max_requests)
        full = len(times) == times.maxlen and times[0] > now - 60.0
        if not full:
            times.append(now)
        return full

    def _address(self, request: web.BaseRequest) -> str:
        if self.options.behind_proxy:
            # The last one is the proxy's own entry; those before it are the client's claim.
            return request.headers.get("X-Forwarded-For", "")[-_MAX_HEADER:].rpartition(",")[2].strip()
        return request.remote or ""


def _usable(token: str) -> bool:
    return MIN_TOKEN <= len(token) <= 200 and token.isascii() and token.isprintable() and " " not in token


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_address(name: str) -> bool:
    """Return whether a host is an IP address: a browser got it from no name server."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host

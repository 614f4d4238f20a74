"""What a reconnecting socket needs from a vendor's client: address, credential and rate limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from attrs import field, frozen

from energy_core.url import is_loopback


@frozen(kw_only=True)
class Endpoint:
    """Address and headers of one handshake."""

    url: str = field(repr=False)
    """A wss URL (ws for loopback only). It is secret, because its query may hold a token."""
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    """Headers of the handshake; secret as well."""
    generation: int = 0
    """Number of the credential, for `EndpointProvider.renew`."""


class RefusalText(NamedTuple):
    """Text with which a server refused a handshake or closed a connection; holds no credential."""

    text: str = ""
    """One line; empty if there is no text."""
    envelope: bool = False
    """Whether the text came in the vendor's own JSON."""
    page: bool = False
    """Whether the answer was a page of markup, as proxies send."""


class EndpointProvider(Protocol):
    """Address, credential and rate limit of a socket, provided by the vendor's client."""

    @property
    def renewable(self) -> bool:
        """Whether `renew` can log in; a fixed token cannot be renewed."""

    def refusal_text(self, body: bytes) -> RefusalText:
        """Return the text in the body of a refused handshake, or in a close frame."""

    async def admit(self) -> None:
        """Wait until the rate limiter allows one handshake."""

    def hold(self, seconds: float) -> None:
        """Make all requests of the account wait: the server asked for it."""

    async def address(self) -> Endpoint:
        """Return where to connect now; may log in."""

    async def renew(self, generation: int) -> None:
        """Renew the credential, unless it is newer than this generation already."""


def check_ws_url(url: str) -> str:
    """Return why a URL cannot be used, without the URL itself; empty if it can."""
    try:
        parts = urlsplit(url)
        host, port, user = parts.hostname, parts.port, parts.username
        (host or "").encode("idna")
    except ValueError:
        return "the event address is not a URL"
    if parts.scheme not in {"ws", "wss"} or not host or port == 0:
        return "the event address is not a ws or wss URL with a host"
    if user is not None or parts.fragment:
        return "the event address must not hold a user or a fragment"
    if parts.scheme == "ws" and not is_loopback(host):
        return "the event address must be wss; ws is for loopback only"
    return ""

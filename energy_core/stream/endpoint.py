"""What a reconnecting socket needs from whoever knows the vendor: an address, a credential and a turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from attrs import field, frozen

from energy_core.url import is_loopback


@frozen(kw_only=True)
class Endpoint:
    """Where and with what to connect, good for one handshake."""

    url: str = field(repr=False)
    """A wss URL (ws for loopback only); a secret, because its query may hold a token."""
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    """Headers of the handshake; secret as well."""
    generation: int = 0
    """Which credential this is, for `EndpointProvider.renew`."""


class Words(NamedTuple):
    """What a server said in refusing a handshake or closing a connection; holds no credential."""

    text: str = ""
    """One line, empty where there are no words."""
    envelope: bool = False
    """The words came in the vendor's own JSON."""
    page: bool = False
    """The answer was a page of markup, as proxies send."""


class EndpointProvider(Protocol):
    """What a socket needs from the vendor's client: its credential, its limits, its way of refusing."""

    @property
    def renewable(self) -> bool:
        """Whether `renew` can log in; a fixed token cannot be renewed."""

    def words(self, body: bytes) -> Words:
        """Return what the server said in the body of a refusal, or in a close frame."""

    async def admit(self) -> None:
        """Wait for the turn of one handshake."""

    def hold(self, seconds: float) -> None:
        """The server asked everybody with this credential to wait."""

    async def address(self) -> Endpoint:
        """Return where to connect now; may log in."""

    async def renew(self, generation: int) -> None:
        """The credential of this generation was refused: get another, unless somebody has."""


def check_ws_url(url: str) -> str:
    """Say what is wrong with an address without saying the address."""
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

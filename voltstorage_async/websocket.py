"""The WebSocket of a product's events: its address, credential and rate limit."""

from __future__ import annotations

from urllib.parse import urlencode

from energy_core.codec.json import strict_json
from energy_core.errors import DecodeError
from energy_core.http.call import ServiceAccount
from energy_core.http.pool import SessionPool
from energy_core.http.refusal import refusal_message, refusal_message_of_text
from energy_core.printable import printable
from energy_core.stream.endpoint import Endpoint, RefusalText
from energy_core.url import BaseUrl, parse_base_url
from voltstorage_async.endpoints import Endpoints


def events_url(base: BaseUrl, endpoints: Endpoints, product_id: int) -> str:
    """Return the address of a product's events, without the token.

    Raises:
        ValueError: `Endpoints.events_url` is not a ws or wss URL, or ws with a host that is not loopback.
    """
    root, path = base, endpoints.events
    if endpoints.events_url is not None:
        root = parse_base_url(
            endpoints.events_url.replace("{productId}", str(product_id)), scheme="wss", name="events_url"
        )
        if root.path == "/":
            root = BaseUrl(origin=root.origin, path=base.path)
        else:
            root, path = BaseUrl(origin=root.origin, path="/"), root.path.strip("/")
    named = "{productId}" in f"{endpoints.events_url} {path}"
    query = [] if named else [("productId", str(product_id))]
    url = root.join(path.replace("{productId}", str(product_id)), query)
    return url if url.startswith("ws") else "ws" + url.removeprefix("http")


class ProductEndpoint:
    """The core's `EndpointProvider`: connects a socket to the account's token and rate limiter.

    Args:
        pool: Waits for the rate limit of the handshake.
        account: The account of the product.
        url: The address, without the token.
        header: Whether the handshake sends the token in a header as well.
    """

    def __init__(self, pool: SessionPool, account: ServiceAccount, url: str, *, header: bool) -> None:
        self._pool = pool
        self._account = account
        self._url = url
        self._header = header

    @property
    def renewable(self) -> bool:
        """Whether the account can log in again: it has an email and a password."""
        return self._account.credential.renewable

    def refusal_text(self, body: bytes) -> RefusalText:
        """Return the server's message in the body of a rejected handshake, or in a close frame."""
        # The server may repeat the token.
        body = self._account.credential.mask(body.decode(errors="replace")).encode()
        try:
            text = refusal_message(strict_json(body))
        except DecodeError:
            page = body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
            return RefusalText("" if page else refusal_message_of_text(body, ""), page=page)
        return RefusalText(text, envelope=bool(text))

    async def admit(self) -> None:
        """Wait until the rate limiter admits the handshake. Cancelling is safe."""
        await self._pool.admit(self._account)

    def hold(self, seconds: float) -> None:
        """Hold all requests of the account for so many seconds, as the server asked."""
        self._account.limiter.hold(seconds)

    async def address(self) -> Endpoint:
        """Return the address with the present token; log in if there is none. Cancelling is safe."""
        issued = await self._account.credential.get()
        token = issued.grant.token.reveal()
        separator = "&" if "?" in self._url else "?"
        return Endpoint(
            url=f"{self._url}{separator}{urlencode({'token': token})}",
            headers={"Authorization": f"Bearer {token}"} if self._header else {},
            generation=issued.generation,
        )

    async def renew(self, generation: int) -> None:
        """Get a new token, because the server rejected the one of this generation. Cancelling is safe."""
        await self._account.credential.renew(generation)

    @printable
    def __repr__(self) -> str:
        return f"<ProductEndpoint {self._url}>"

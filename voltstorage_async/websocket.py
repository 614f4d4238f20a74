"""Where a product's events are, and what a socket needs to know of the account to get there."""

from __future__ import annotations

from urllib.parse import urlencode

from energy_core.codec.json import strict_json
from energy_core.errors import DecodeError
from energy_core.http.call import ServiceAccount
from energy_core.http.pool import SessionPool
from energy_core.http.words import words_of, words_of_text
from energy_core.printable import printable
from energy_core.stream.endpoint import Endpoint, RefusalText
from energy_core.url import BaseUrl, parse_base_url
from voltstorage_async.endpoints import Endpoints


def events_address(base: BaseUrl, endpoints: Endpoints, product_id: int) -> str:
    """Return where a product's events are, its id included, the token not.

    Raises:
        ValueError: `Endpoints.events_url` is not a usable WebSocket address.
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
    """What a socket needs to know of the account: its turn, its token, and who to tell to wait."""

    def __init__(self, pool: SessionPool, account: ServiceAccount, url: str, *, header: bool) -> None:
        self._pool = pool
        self._account = account
        self._url = url
        self._header = header

    @property
    def renewable(self) -> bool:
        """Whether there is an email and a password to log in with again."""
        return self._account.credential.renewable

    def refusal_text(self, body: bytes) -> RefusalText:
        """Return what the server said in the body of a refusal, or in a close frame."""
        # A server may repeat what it was sent.
        body = self._account.credential.hide(body.decode(errors="replace")).encode()
        try:
            text = words_of(strict_json(body))
        except DecodeError:
            page = body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
            return RefusalText("" if page else words_of_text(body, ""), page=page)
        return RefusalText(text, envelope=bool(text))

    async def admit(self) -> None:
        """Wait for this handshake's turn."""
        await self._pool.admit(self._account)

    def hold(self, seconds: float) -> None:
        """Let every request of the account wait: the server asked for it."""
        self._account.limiter.hold(seconds)

    async def address(self) -> Endpoint:
        """Return the address with the present token, logging in when there is none."""
        issued = await self._account.credential.get()
        token = issued.grant.token.reveal()
        joint = "&" if "?" in self._url else "?"
        return Endpoint(
            url=f"{self._url}{joint}{urlencode({'token': token})}",
            headers={"Authorization": f"Bearer {token}"} if self._header else {},
            generation=issued.generation,
        )

    async def renew(self, generation: int) -> None:
        """Get a new token: the handshake refused the one of this generation."""
        await self._account.credential.renew(generation)

    @printable
    def __repr__(self) -> str:
        return f"<ProductLink {self._url}>"

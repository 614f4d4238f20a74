"""VoltStorageClient: wires everything together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from weakref import WeakSet

from energy_core._lazy import preloaded
from energy_core.codec.drift import Drift
from energy_core.http.client import ApiClient
from energy_core.http.pool import SessionPool
from energy_core.http.rate_limit import RateLimit
from energy_core.printable import printable
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.vocabulary import SourceId, account_label
from energy_core.url import parse_base_url
from voltstorage_async import validation as given
from voltstorage_async.auth import DEFAULT_VALIDITY_S, Auth, credential, identity
from voltstorage_async.codec import VENDOR, check
from voltstorage_async.endpoints import BASE_URL, Endpoints
from voltstorage_async.events.recorded import BackfillConfig, RecordedData
from voltstorage_async.export.export import Export
from voltstorage_async.field_map import FieldMap, ProductFields, SocScale, checked_scale
from voltstorage_async.products import Products
from voltstorage_async.websocket import ProductEndpoint, events_address

if TYPE_CHECKING:
    from voltstorage_async.events.stream import ProductStream
    from voltstorage_async.live import ProductSource

BUFFER: Final = 1024
"""Events that may wait for their consumer."""
DEFAULT_ACCOUNT: Final = "default"
DEFAULT_LIMIT: Final = RateLimit(10, 1.0, 4)
"""Ten requests at once after a rest, then one a second, four waiting for their answer.

The vendor documents no limit. This one is our choice: modest, since nobody there will answer a complaint.
"""


class VoltStorageClient:
    """A VoltStorage account.

    Args:
        pool: Shared with other clients; without one the client opens its own at the first request and closes
            it.
        email: Of the account, with `password`; or `token` instead of both.
        password: See `email`.
        token: A token from an earlier login. It cannot be renewed: when it is refused, calls raise
            AuthFailed.
        account: Names the account in events and checkpoints, whatever its credential is. Two accounts of one
            program need two labels.
        validity: Seconds a login is good for, 0..31,622,400; it renews itself in time.
        base_url: Where the service is, https only, except on this machine.
        endpoints: The paths; some are guesses, see `Endpoints`.
        fields: What event keys and export columns mean; some are guesses, see `FieldMap`.
        soc_scale: How products count their state of charge: "ratio" (0..1), "percent" (0..100), or "auto":
            0..1 until a value above 1.5 shows that a product counts to 100. A mapping says it by product id.
        limit: What the account may send; the default is our choice, since the vendor names none.

    Raises:
        ValueError, TypeError: an argument is wrong, or the pool knows the account with another credential;
            nothing was sent.
    """

    def __init__(
        self,
        pool: SessionPool | None = None,
        *,
        email: str | None = None,
        password: str | None = None,
        token: str | None = None,
        account: str = DEFAULT_ACCOUNT,
        validity: int = DEFAULT_VALIDITY_S,
        base_url: str = BASE_URL,
        endpoints: Endpoints = Endpoints(),  # noqa: B008  (frozen)
        fields: FieldMap = FieldMap(),  # noqa: B008  (frozen)
        soc_scale: SocScale | Mapping[int, SocScale] = "auto",
        limit: RateLimit = DEFAULT_LIMIT,
    ) -> None:
        who = identity(email=email, password=password, token=token, validity=validity)
        label = account_label(account) or DEFAULT_ACCOUNT
        self._base = parse_base_url(base_url)
        events_address(self._base, endpoints, 0)  # a wrong address is an error now, not at the first event
        self._owns_pool = pool is None
        self._pool = SessionPool() if pool is None else pool
        self._account = self._pool.account(
            self._base.origin,
            label,
            limit,
            lambda: credential(who, endpoints, lambda: self._api),
            owner=who.owner,
            user=self,
        )
        self._api = ApiClient(self._pool, self._account, self._base, vendor=VENDOR, check=check)
        self._label = label
        self._endpoints = endpoints
        self._fields = fields
        self._scales = _scales(soc_scale)
        self._products: dict[int, ProductFields] = {}
        self._streams: WeakSet[ProductStream] = WeakSet()
        self.auth = Auth(who, endpoints, self._api, self._account.credential)
        """Logging in ahead of time."""
        self.products = Products(self._api, endpoints)
        """The product list, latest data and statistics."""
        self.export = Export(self._api, endpoints)
        """History, as rows."""

    @property
    def drift(self) -> Drift:
        """What the vendor sent that its documents do not say, counted."""
        return self._api.drift

    def events(
        self,
        product_id: int,
        *,
        since: datetime | None = None,
        buffer: int = BUFFER,
        socket: SocketConfig = SocketConfig(),  # noqa: B008  (frozen)
        backfill: BackfillConfig = BackfillConfig(),  # noqa: B008  (frozen)
    ) -> ProductStream:
        """Return a product's events, for an ``async with``.

        Args:
            product_id: Whose events.
            since: Begin with what was recorded from this moment on, aware; None begins with the first event.
            buffer: How many may wait for their consumer.
            socket: Timeouts and delays of the connection.
            backfill: How missed data is fetched.
        """
        from voltstorage_async.events.stream import ProductStream  # noqa: PLC0415  (most programs open no socket)

        given.whole("buffer", buffer, least=1)
        given.span(since, None)
        stream = ProductStream(
            product_id,
            self._link(product_id),
            self._past(product_id),
            fields=self._product(product_id),
            since=since,
            buffer=buffer,
            socket=socket,
            backfill=backfill,
            ssl_context=self._pool.ssl_context,
            vendor_clock=self._account.vendor_clock,
        )
        self._streams.add(stream)
        return stream

    def live(
        self,
        product_id: int,
        *,
        since: datetime | None = None,
        socket: SocketConfig = SocketConfig(),  # noqa: B008  (frozen)
        backfill: BackfillConfig = BackfillConfig(),  # noqa: B008  (frozen)
    ) -> ProductSource:
        """Return a product's readings as a source for `merge`; the arguments are those of `events`."""
        from voltstorage_async.live import ProductSource  # noqa: PLC0415  (as above)

        given.span(since, None)
        return ProductSource(
            SourceId(VENDOR, self._label, str(product_id), 0),
            self._link(product_id),
            self._past(product_id),
            owner=self._account.owner,
            fields=self._product(product_id),
            since=since,
            socket=socket,
            backfill=backfill,
            ssl_context=self._pool.ssl_context,
            vendor_clock=self._account.vendor_clock,
        )

    def _link(self, product_id: int) -> ProductEndpoint:
        given.entity_id("product_id", product_id)
        url = events_address(self._base, self._endpoints, product_id)
        return ProductEndpoint(self._pool, self._account, url, header=self._endpoints.events_header)

    def _past(self, product_id: int) -> RecordedData:
        return RecordedData(product_id, self.export, self.products, self._product(product_id))

    def _product(self, product_id: int) -> ProductFields:
        """Return what one product's names mean, the same for all that read it."""
        if product_id not in self._products:
            scale = self._scales.get(product_id, self._scales[None])
            self._products[product_id] = ProductFields(self._fields, scale=scale, drift=self.drift)
        return self._products[product_id]

    async def aclose(self) -> None:
        """Close the client's streams, and the pool if it is the client's own; idempotent."""
        for stream in tuple(self._streams):
            await stream.aclose()
        self._account.release(self)
        if self._owns_pool:
            await self._pool.aclose()

    async def __aenter__(self) -> Self:
        if self._owns_pool:
            await self._pool.__aenter__()
        else:
            await preloaded()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @printable
    def __repr__(self) -> str:
        pool = "its own pool" if self._owns_pool else "a shared pool"
        return f"<VoltStorageClient {self._label} at {self._base} on {pool}>"


def _scales(scales: object) -> dict[int | None, SocScale]:
    """Return the scale of each product that was named, and under None that of all others."""
    if not isinstance(scales, Mapping):
        return {None: checked_scale(scales)}
    found: dict[int | None, SocScale] = {None: "auto"}
    for number, scale in scales.items():
        found[given.entity_id("soc_scale", number)] = checked_scale(scale)
    return found

"""VoltStorageClient: one account of VoltStorage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from weakref import WeakSet

from energy_core import checks
from energy_core._lazy import preloaded
from energy_core.clock import Clock, SystemClock
from energy_core.codec.drift import Drift
from energy_core.codec.json import JSON
from energy_core.http.client import ApiClient
from energy_core.http.pages import Pages
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.http.transport import ClientSession
from energy_core.printable import printable
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.vocabulary import SourceId, account_label
from energy_core.url import parse_base_url
from voltstorage_async import validation
from voltstorage_async.auth import DEFAULT_VALIDITY_S, Auth, check_credentials, make_credential, token_expiry
from voltstorage_async.codec import VENDOR, check
from voltstorage_async.endpoints import BASE_URL, Endpoints
from voltstorage_async.events.recorded import BackfillConfig, RecordedData
from voltstorage_async.export.export import Export
from voltstorage_async.field_map import FieldMap, ProductFields, SocScale, checked_scale
from voltstorage_async.models import Product
from voltstorage_async.products import Products
from voltstorage_async.websocket import ProductEndpoint, events_url

if TYPE_CHECKING:
    from energy_core.stream.merge import MergedStream
    from energy_core.token_expiry import TokenExpiry
    from voltstorage_async.events.stream import ProductStream
    from voltstorage_async.live import ProductSource
    from voltstorage_async.models import ProductSnapshot

BUFFER: Final = 1024
"""Events of one stream that may wait for their consumer."""
DEFAULT_ACCOUNT: Final = "default"
DEFAULT_LIMIT: Final = RateLimit(10, 1.0, 4)
"""A burst of ten requests, then one a second, at most four in flight.

The vendor documents no limit; this one is a modest guess.
"""


class VoltStorageClient:
    """A client of one VoltStorage account, for an ``async with``.

    Args:
        pool: A pool shared with other clients. Without one the client opens its own at the first request and
            closes it.
        session: An aiohttp session for a pool of the client's own, such as Home Assistant's; never closed.
        email: The account's email address, together with `password`; or `token` instead of both.
        password: The account's password.
        token: A token of an earlier login. It cannot be renewed: when the vendor rejects it, calls raise
            AuthFailed.
        account: The name of the account in events and checkpoints. It stays the same when the credential
            changes. Two accounts in one program need two names.
        validity: Requested lifetime of a login in seconds, 0..31,622,400. Logins are renewed in time.
        base_url: The address of the service: https, or http on the loopback interface.
        endpoints: The paths of the service; some are guesses, see `Endpoints`.
        fields: The meanings of event keys and export columns; some are guesses, see `FieldMap`.
        soc_scale: The scale of the state of charge: "ratio" (0..1), "percent" (0..100), or "auto" (0..1 until
            a value is above 1.5). A mapping from product ids sets it for each product.
        limit: The rate limit of the account. The vendor documents none, so the default is a guess.
        clock: The source of time; for tests.

    Raises:
        TypeError, ValueError: An argument is wrong, or another open client of the pool uses the account with
            another credential. Nothing was sent.
    """

    def __init__(
        self,
        pool: SessionPool | None = None,
        *,
        session: ClientSession | None = None,
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
        clock: Clock = SystemClock(),  # noqa: B008  (stateless)
    ) -> None:
        if pool is not None and session is not None:
            raise ValueError(
                "give a pool or a session, not both: SessionPool(session) is a pool with a session"
            )
        credentials = check_credentials(email=email, password=password, token=token, validity=validity)
        label = account_label(account) or DEFAULT_ACCOUNT
        self._base = parse_base_url(base_url)
        events_url(self._base, endpoints, 0)  # a wrong address raises now, not at the first event
        self._owns_pool = pool is None
        self._pool = SessionPool(session, clock=clock) if pool is None else pool
        self._account = self._pool.account(
            self._base.origin,
            label,
            limit,
            lambda: make_credential(credentials, endpoints, lambda: self._api),
            owner=credentials.owner,
            user=self,
        )
        self._api = ApiClient(self._pool, self._account, self._base, vendor=VENDOR, check=check)
        self._label = label
        self._credentials = credentials
        self._clock = clock
        self._endpoints = endpoints
        self._field_map = fields
        self._scales = _scales(soc_scale)
        self._fields: dict[int, ProductFields] = {}  # by product id
        self._streams: WeakSet[ProductStream] = WeakSet()
        self.auth = Auth(credentials, endpoints, self._api, self._account.credential)
        """Logs in before the first request, if that is wanted."""
        self.products = Products(self._api, endpoints, clock)
        """The list of products, their latest data and their statistics."""
        self.export = Export(self._api, endpoints, clock)
        """Recorded data, as rows."""

    @property
    def drift(self) -> Drift:
        """Counters of differences between the vendor's answers and its documents."""
        return self._api.drift

    def diagnostics(self, events: MergedStream | None = None) -> dict[str, JSON]:
        """Return one JSON document for an issue or a support request. Needs a running event loop.

        Versions, requests and limits of the pool, differences between VoltStorage's answers and its
        documents, and the state of each source. It has no secret and names no account, product or person.

        Args:
            events: The stream whose sources of VoltStorage are described.
        """
        from energy_core.diagnostics import diagnose  # noqa: PLC0415  (most programs need none)

        return diagnose(VENDOR, self._pool, self.drift, self._account.vendor_clock, events)

    def events(
        self,
        product: Product | int,
        *,
        since: datetime | None = None,
        buffer: int = BUFFER,
        socket: SocketConfig = SocketConfig(),  # noqa: B008  (frozen)
        backfill: BackfillConfig = BackfillConfig(),  # noqa: B008  (frozen)
    ) -> ProductStream:
        """Return a product's events, for an ``async with``.

        Args:
            product: The product, or its id.
            since: Backfill from this moment on first, aware; None starts with the first event.
            buffer: Events that may wait for the consumer, at least 1.
            socket: Timeouts and delays of the connection.
            backfill: How missed data is fetched.

        Raises:
            TypeError, ValueError: An argument is wrong.
        """
        from voltstorage_async.events.stream import ProductStream  # noqa: PLC0415  (most programs open no socket)

        product_id = validation.product_id(product)
        checks.whole("buffer", buffer, least=1)
        stream = ProductStream(
            product_id,
            self._endpoint(product_id),
            self._recorded(product_id),
            fields=self._fields_of(product_id),
            since=validation.since(since),
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
        product: Product | int,
        *,
        since: datetime | None = None,
        socket: SocketConfig = SocketConfig(),  # noqa: B008  (frozen)
        backfill: BackfillConfig = BackfillConfig(),  # noqa: B008  (frozen)
    ) -> ProductSource:
        """Return a product's readings as a source for `merge`; the arguments are those of `events`.

        In the last 14 days of a given token (a JWT that says when it expires), the source's notes in
        `events.status` have a warning, and so has the log, once a day.
        """
        from voltstorage_async.live import ProductSource  # noqa: PLC0415  (as in `events`)

        product_id = validation.product_id(product)
        return ProductSource(
            SourceId(VENDOR, self._label, str(product_id), 0),
            self._endpoint(product_id),
            self._recorded(product_id),
            owner=self._account.owner,
            fields=self._fields_of(product_id),
            since=validation.since(since),
            socket=socket,
            backfill=backfill,
            ssl_context=self._pool.ssl_context,
            vendor_clock=self._account.vendor_clock,
            products=self.products,
            expiry=self._token_expiry,
        )

    @cached_property
    def _token_expiry(self) -> TokenExpiry | None:
        """The expiry that a given JWT states, for all sources of this client; None for a login."""
        from energy_core.token_expiry import TokenExpiry  # noqa: PLC0415  (as in `events`)

        token = self._credentials.token

        async def read() -> datetime | None:
            return None if token is None else token_expiry(token)

        return None if token is None else TokenExpiry(VENDOR, read, self._clock)

    def now(self, *products: Product | int, max_age_s: float = 900.0) -> Pages[ProductSnapshot]:
        """Return the present values of products: ``await`` it for all, or use ``async for``.

        One request for the list of products, then one for each product, four at a time. Units and signs of
        the values are those of `Quantity`; a value that the vendor does not have is missing. A product whose
        data the vendor refuses or garbles has no values and a `problem`. Cancelling is safe.

        Args:
            products: The products or their ids; none means every product of the account.
            max_age_s: Seconds after which data is `stale`.

        Raises:
            NotFound: The account's list of products does not have one of `products`.
            RequestError: The list could not be read, or a request got no answer.
            ValueError: `max_age_s` is not positive.
        """
        from voltstorage_async.models import ProductSnapshot  # noqa: PLC0415  (as in `events`)
        from voltstorage_async.present import ProductsNow  # noqa: PLC0415

        if not max_age_s > 0:
            raise ValueError(f"max_age_s must be a positive number of seconds, not {max_age_s!r}")
        read = ProductsNow(
            self.products,
            [validation.product_id(product) for product in products],
            account=self._label,
            fields=self._fields_of,
            max_age_s=max_age_s,
            clock=self._clock,
            vendor_clock=self._account.vendor_clock,
        )
        return Pages(read.page, key=lambda snapshot: snapshot.id, name="products", of=ProductSnapshot)

    def _endpoint(self, product_id: int) -> ProductEndpoint:
        url = events_url(self._base, self._endpoints, product_id)
        return ProductEndpoint(self._pool, self._account, url, header=self._endpoints.events_header)

    def _recorded(self, product_id: int) -> RecordedData:
        return RecordedData(product_id, self.export, self.products, self._fields_of(product_id))

    def _fields_of(self, product_id: int) -> ProductFields:
        """Return the meanings of one product's keys, shared by all its streams."""
        if product_id not in self._fields:
            scale = self._scales.get(product_id, self._scales[None])
            self._fields[product_id] = ProductFields(self._field_map, scale=scale, drift=self.drift)
        return self._fields[product_id]

    async def aclose(self) -> None:
        """Close the client's streams, and its pool unless that was given; idempotent."""
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
        return f"<VoltStorageClient {self._label} at {self._base}>"


def _scales(scales: object) -> dict[int | None, SocScale]:
    """Return the scale of each product in a mapping, and the scale of all others with the key None."""
    if not isinstance(scales, Mapping):
        return {None: checked_scale(scales)}
    found: dict[int | None, SocScale] = {None: "auto"}
    for number, scale in scales.items():
        found[checks.entity_id("soc_scale", number)] = checked_scale(scale)
    return found

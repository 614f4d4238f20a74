"""Products: the list, the latest data, and statistics."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Literal, Self, TypeAlias, get_args

from energy_core.codec.json import JSON
from energy_core.errors import StreamBusy
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation, Priority
from energy_core.printable import printable
from voltstorage_async import validation as given
from voltstorage_async.codec import VENDOR, ProductPage, latest, product_page, statistics
from voltstorage_async.endpoints import Endpoints
from voltstorage_async.models import Latest, Product, Statistics

Timespan: TypeAlias = Literal["month", "day", "hour", "year", "lifetime"]

PAGE_SIZE: Final = 100
"""Products asked for at once when the caller does not say; the vendor names no default of its own."""

_LIST: Final = Operation(vendor=VENDOR, name="products.list", method="GET", path="", repeatable=True)
_LATEST: Final = Operation(vendor=VENDOR, name="products.latest", method="GET", path="", repeatable=True)
_STATISTICS: Final = Operation(
    vendor=VENDOR, name="products.statistics", method="GET", path="", repeatable=True
)


class Products:
    """`client.products`."""

    def __init__(self, api: ApiClient, endpoints: Endpoints) -> None:
        self._api = api
        self._endpoints = endpoints

    def list(
        self,
        *,
        count: int | None = None,
        page: int | None = None,
        q: str | None = None,
        group_id: int | None = None,
        installed: bool | None = None,
        ids: int | Sequence[int] | None = None,
        owner_id: int | None = None,
        sort: str | Sequence[str] | None = None,
    ) -> ProductPages:
        """Iterate over the products the account may see, asking for the next page when it is reached.

        The list ends with an empty page, or with one that brings nothing new: a page shorter than `count` may
        be all that the service gives at once.

        Args:
            count: Products a page (`count`), at least 1.
            page: Only this page (`page`), counted from 1.
            q: Free text, found in several attributes (`q`).
            group_id: Only products of this group (`groupId`).
            installed: Only products that are installed, or that are not (`installationDate`).
            ids: Only these products (`ids`, repeated for many: the vendor does not say how).
            owner_id: Only products of this owner (`ownerId`).
            sort: Fields to sort by, a ``-`` in front for descending (`sort`).
        """
        size = PAGE_SIZE if count is None else given.whole("count", count, least=1)
        only = None if page is None else given.whole("page", page, least=1)
        query = [("count", str(size))]
        if q is not None:
            query.append(("q", given.text("q", q)))
        if group_id is not None:
            query.append(("groupId", str(given.entity_id("group_id", group_id))))
        if installed is not None:
            query.append(("installationDate", given.flag("installed", installed)))
        if ids is not None:
            query.extend(("ids", str(each)) for each in given.ids("ids", ids))
        if owner_id is not None:
            query.append(("ownerId", str(given.entity_id("owner_id", owner_id))))
        if sort is not None:
            query.append(("sort", given.names("sort", sort)))
        operation = _LIST.at(self._endpoints.products)
        return ProductPages(
            lambda number: self._api.call(operation, product_page, query=[*query, ("page", str(number))]),
            only=only,
        )

    async def latest(
        self, product_id: int, include_time: bool = True, *, priority: Priority | None = None
    ) -> Latest:
        """Return the latest value of every data field; without the time it is slightly faster.

        Args:
            product_id: Whose data.
            include_time: Whether to say when the data was last updated (`includeTime`).
            priority: The class to wait in for a turn.
        """
        given.entity_id("product_id", product_id)
        path = self._endpoints.latest
        query = [
            *given.unplaced(path, productId=product_id),
            ("includeTime", given.flag("include_time", include_time)),
        ]
        return await self._api.call(
            _LATEST.at(path), latest(product_id), query=query, priority=priority, productId=product_id
        )

    async def statistics(
        self,
        product_id: int,
        start: datetime | None = None,
        end: datetime | None = None,
        timespan: Timespan = "day",
    ) -> tuple[Statistics, ...]:
        """Return aggregated data, one value a time span; start and end are aware, or None for open."""
        given.entity_id("product_id", product_id)
        start, end = given.span(start, end)
        path = self._endpoints.statistics
        query = [
            *given.unplaced(path, productId=product_id),
            *([] if start is None else [("tstart", str(int(start.timestamp())))]),
            *([] if end is None else [("tend", str(int(end.timestamp())))]),
            ("timespan", given.choice("timespan", timespan, get_args(Timespan))),
        ]
        return await self._api.call(_STATISTICS.at(path), statistics, query=query, productId=product_id)


class ProductPages:
    """The products of a list, one after the other over all its pages.

    Cancelling a wait loses nothing: the page is asked for again. One consumer; another gets StreamBusy.
    """

    def __init__(self, ask: Callable[[int], Awaitable[ProductPage]], *, only: int | None) -> None:
        self._ask = ask
        self._only = only
        self._number = only or 1
        self._ready: deque[Product] = deque()
        self._seen: set[int] = set()
        self._unread: list[JSON] = []  # the records of the last page, if none of them could be read
        self._ended = False
        self._busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Product:
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            await self._turn()
        return self._ready.popleft()

    async def _turn(self) -> None:
        if self._busy:
            raise StreamBusy("this product list has a consumer already")
        self._busy = True
        try:
            page = await self._ask(self._number)
        finally:
            self._busy = False
        # While pages are turned the list may shift, and a server may know no pages: neither may repeat or go
        # on for ever.
        fresh = [product for product in page.products if product.id not in self._seen]
        self._seen.update(product.id for product in fresh)
        self._ready.extend(fresh)
        self._number += 1
        # A short page is no end: the server may give fewer records than asked for. One whose records are all
        # unreadable is none either, unless it repeats itself.
        unread = [] if page.products else page.records
        repeats = not fresh and unread == self._unread
        self._unread = unread
        self._ended = self._only is not None or not page.records or repeats

    @printable
    def __repr__(self) -> str:
        state = "ended" if self._ended else f"at page {self._number}"
        return f"<ProductPages {state}, {len(self._seen)} products so far>"

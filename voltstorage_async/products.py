"""`client.products`: the list of products, their latest data and their statistics."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args

from energy_core import checks
from energy_core.clock import Clock
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation, Priority
from energy_core.http.pages import Page, Pages
from energy_core.local_days import time_range
from voltstorage_async import validation
from voltstorage_async.codec import VENDOR, latest, product_page, statistics
from voltstorage_async.endpoints import Endpoints
from voltstorage_async.models import Latest, Product, Statistics

Timespan: TypeAlias = Literal["month", "day", "hour", "year", "lifetime"]
"""The length of the periods that statistics are aggregated over."""

PAGE_SIZE: Final = 100
"""Products a page if the caller does not set it; the vendor documents no default."""

_LIST: Final = Operation(vendor=VENDOR, name="products.list", method="GET", path="", repeatable=True)
_LATEST: Final = Operation(vendor=VENDOR, name="products.latest", method="GET", path="", repeatable=True)
_STATISTICS: Final = Operation(
    vendor=VENDOR, name="products.statistics", method="GET", path="", repeatable=True
)


class Products:
    """`client.products`. Cancelling any of its calls is safe."""

    def __init__(self, api: ApiClient, endpoints: Endpoints, clock: Clock) -> None:
        self._api = api
        self._endpoints = endpoints
        self._clock = clock

    def list(
        self,
        *,
        search: str | None = None,
        group_id: int | None = None,
        installed: bool | None = None,
        ids: Product | int | Iterable[Product | int] | None = None,
        owner_id: int | None = None,
        sort: str | Iterable[str] | None = None,
        page_size: int | None = None,
        page: int | None = None,
    ) -> Pages[Product]:
        """Return the products of the account: iterate over them, or await a tuple of all.

        The list ends with an empty page or a page without a new product. A short page does not end it: the
        service may send fewer products than were requested.

        Args:
            search: Text that several attributes are searched for (`q`).
            group_id: Only products of this group (`groupId`).
            installed: Only products that are installed, or only those that are not (`installationDate`).
            ids: Only these products (`ids`, repeated for several: the vendor does not document how).
            owner_id: Only products of this owner (`ownerId`).
            sort: Names of the fields to sort by, with a ``-`` in front for descending order (`sort`).
            page_size: Products a page (`count`), at least 1; 100 if it is None.
            page: Only this page (`page`), counted from 1.

        Raises:
            TypeError, ValueError: An argument is wrong; nothing was sent.
        """
        size = PAGE_SIZE if page_size is None else checks.whole("page_size", page_size, least=1)
        query = [("count", str(size))]
        if search is not None:
            query.append(("q", checks.text("search", search)))
        if group_id is not None:
            query.append(("groupId", str(checks.entity_id("group_id", group_id))))
        if installed is not None:
            query.append(("installationDate", validation.flag("installed", installed)))
        if ids is not None:
            query.extend(("ids", str(each)) for each in validation.product_ids(ids))
        if owner_id is not None:
            query.append(("ownerId", str(checks.entity_id("owner_id", owner_id))))
        if sort is not None:
            query.append(("sort", validation.names("sort", sort)))
        operation = _LIST.at(self._endpoints.products)

        async def read(number: int) -> Page[Product]:
            return await self._api.call(operation, product_page, query=[*query, ("page", str(number))])

        return Pages(
            read,
            key=lambda product: product.id,
            first=1 if page is None else checks.whole("page", page, least=1),
            only_first=page is not None,
            name="products",
            of=Product,
        )

    async def latest(
        self, product: Product | int, include_time: bool = True, *, priority: Priority | None = None
    ) -> Latest:
        """Return the last known value of each data field of a product.

        Args:
            product: The product, or its id.
            include_time: Whether to request the time of the last update (`includeTime`); without it the
                vendor answers slightly faster.
            priority: The priority of the request at the rate limiter.

        Raises:
            TypeError, ValueError: An argument is wrong; nothing was sent.
            RequestError: The request failed.
        """
        product_id = validation.product_id(product)
        path = self._endpoints.latest
        query = [
            *validation.query_without_place(path, productId=product_id),
            ("includeTime", validation.flag("include_time", include_time)),
        ]
        return await self._api.call(
            _LATEST.at(path), latest(product_id), query=query, priority=priority, productId=product_id
        )

    async def statistics(
        self,
        product: Product | int,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
        timespan: Timespan = "day",
    ) -> tuple[Statistics, ...]:
        """Return aggregated data, one `Statistics` for each period of the length `timespan`.

        Args:
            product: The product, or its id. The days of a `Product` are those of its time zone; the days of
                an id are UTC's.
            start: The beginning of the range, aware; or a period such as ``"2026-05"`` (`tstart`).
            end: The end of the range, aware (`tend`). Without `start` and `end` the vendor chooses the range.
            period: A year, month or day instead: ``"2026"``, ``"2026-05"``, ``"2026-05-17"``.
            last: A range that ends now instead, such as ``(30, "days")``.
            timespan: The length of one period (`timespan`).

        Raises:
            TypeError, ValueError: An argument is wrong, or two forms of the range are given; nothing was
                sent.
            RequestError: The request failed.
        """
        product_id = validation.product_id(product)
        asked = time_range(start, end, period=period, last=last, required=False, end_included=True)
        begin, until = validation.resolve(asked, product, self._clock.utcnow())
        path = self._endpoints.statistics
        query = [
            *validation.query_without_place(path, productId=product_id),
            *([] if begin is None else [("tstart", str(int(begin.timestamp())))]),
            *([] if until is None else [("tend", str(int(until.timestamp())))]),
            ("timespan", checks.one_of("timespan", timespan, get_args(Timespan))),
        ]
        return await self._api.call(_STATISTICS.at(path), statistics, query=query, productId=product_id)

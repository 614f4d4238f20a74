"""`VoltStorageClient.now`: the present values of products."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

from energy_core.clock import AHEAD_S, Clock, VendorClock
from energy_core.errors import AnswerError, DecodeError, NotFound
from energy_core.home.snapshot import present_values
from energy_core.http.pages import Page
from energy_core.stream.polled import PolledReading
from energy_core.stream.vocabulary import SourceId
from voltstorage_async.codec import VENDOR
from voltstorage_async.field_map import ProductFields
from voltstorage_async.models import Latest, Product, ProductSnapshot
from voltstorage_async.products import Products

AT_ONCE: Final = 4
"""Products whose latest data is requested at the same time: as many as the rate limit has in flight."""


class ProductsNow:
    """Reads the products page by page; the first page also requests the list.

    Args:
        products: Sends the requests.
        product_ids: The products; none means every product of the account.
        account: The label of the account.
        fields: Returns the meanings of a product's keys.
        max_age_s: Seconds after which data is stale.
        clock: Source of time.
        vendor_clock: The vendor's time.
    """

    def __init__(
        self,
        products: Products,
        product_ids: Collection[int],
        *,
        account: str,
        fields: Callable[[int], ProductFields],
        max_age_s: float,
        clock: Clock,
        vendor_clock: VendorClock,
    ) -> None:
        self._products = products
        self._wanted = tuple(dict.fromkeys(product_ids))
        self._account = account
        self._fields = fields
        self._max_age_s = max_age_s
        self._clock = clock
        self._vendor_clock = vendor_clock
        self._listed: list[Product] | None = None

    async def page(self, number: int) -> Page[ProductSnapshot]:
        """Return the present values of the next products; an empty page is the end.

        Raises:
            NotFound: the account's list of products does not have one of them.
            RequestError: the list could not be read, or a request got no answer.
        """
        if self._listed is None:
            self._listed = await self._list()
        part = self._listed[(number - 1) * AT_ONCE : number * AT_ONCE]
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._of(product)) for product in part]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        return Page([task.result() for task in running], len(part))

    async def _list(self) -> list[Product]:
        found = {product.id: product async for product in self._products.list(ids=self._wanted or None)}
        for product_id in self._wanted:
            if product_id not in found:
                raise NotFound(
                    f"the account's list of products does not have {product_id}; it has "
                    + (", ".join(map(str, found)) or "none of those that were requested"),
                    vendor=VENDOR,
                    operation="products.list",
                )
        return [found[product_id] for product_id in self._wanted or found]

    async def _of(self, product: Product) -> ProductSnapshot:
        # One product without data, or with unreadable data, must not hide the others.
        try:
            return self._snapshot(product, await self._products.latest(product.id))
        except (AnswerError, DecodeError) as error:
            return self._without_data(product, str(error))

    def _snapshot(self, product: Product, latest: Latest) -> ProductSnapshot:
        at = self._vendor_clock.now() or self._clock.utcnow()
        if latest.time is None:
            return self._without_data(product, "the latest data has no time")
        if latest.time > at + timedelta(seconds=AHEAD_S):
            return self._without_data(product, f"the latest data is dated in the future: {latest.time}")
        values, _, _ = self._fields(product.id).read_event(latest.data)
        age_s = max(0.0, (at - latest.time).total_seconds())
        source = self._source(product)
        reading = PolledReading(source=source, time=latest.time, id="", values=values, raw=latest.data)
        return ProductSnapshot(
            product=product,
            source=source,
            name=product.serial_number,
            time=latest.time,
            age_s=age_s,
            stale=age_s > self._max_age_s,
            present=present_values([reading], at=at, max_age_s=self._max_age_s),
        )

    def _without_data(self, product: Product, problem: str) -> ProductSnapshot:
        return ProductSnapshot(
            product=product,
            source=self._source(product),
            name=product.serial_number,
            time=None,
            age_s=None,
            stale=True,
            problem=problem,
        )

    def _source(self, product: Product) -> SourceId:
        return SourceId(VENDOR, self._account, str(product.id))

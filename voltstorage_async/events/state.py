"""ProductState: the current state of a product, folded from events that may hold only changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, Self

from attrs import evolve, field, frozen

from voltstorage_async.event_types import LatestData, ProductEvent, ProductGap
from voltstorage_async.models import Latest

_NO_DATA: Final[Mapping[str, object]] = MappingProxyType({})
_NO_TIMES: Final[Mapping[str, datetime]] = MappingProxyType({})


@frozen(kw_only=True)
class ProductState:
    """The last known value of every key of a product. Immutable; `folded` returns the next state.

    ::

        state = ProductState(product_id=77)
        async for event in stream:
            state = state.folded(event)
    """

    product_id: int
    """Id of the product."""
    time: datetime | None = None
    """Newest time of any value; None before the first."""
    data: Mapping[str, object] = field(default=_NO_DATA)
    """Last value of each key, with the vendor's own names, units and signs."""
    times: Mapping[str, datetime] = field(default=_NO_TIMES, repr=False)
    """Time of the last event with each key. A value that does not change is not sent again."""
    doubtful: frozenset[str] = frozenset()
    """Keys that may have changed within a gap, and were not sent since."""

    @classmethod
    def of(cls, latest: Latest) -> Self:
        """Return a state that starts with the latest data; without its time, any event replaces it."""
        state = cls(product_id=latest.product_id, data=MappingProxyType(dict(latest.data)))
        return state if latest.time is None else state._with(latest.data, latest.time, backfilled=False)

    def folded(self, event: ProductEvent) -> Self:
        """Return the state after an event; events without data or of another product change nothing.

        An older value never replaces a newer one. Of the same second, a live value is kept. A gap makes the
        values from before its end doubtful.
        """
        if event.product_id != self.product_id:
            return self
        if isinstance(event, LatestData):
            return self._with(event.data, event.time, backfilled=event.backfilled)
        if isinstance(event, ProductGap) and not event.quantities:
            old = {key for key in self.data if key not in self.times or self.times[key] < event.end}
            return evolve(self, doubtful=self.doubtful | old)
        return self

    def _with(self, data: Mapping[str, object], time: datetime, *, backfilled: bool) -> Self:
        times = self.times
        fresh = {
            key: value
            for key, value in data.items()
            if key not in times or times[key] < time or (times[key] == time and not backfilled)
        }
        if not fresh:
            return self
        return evolve(
            self,
            time=time if self.time is None else max(self.time, time),
            data=MappingProxyType({**self.data, **fresh}),
            times=MappingProxyType({**times, **dict.fromkeys(fresh, time)}),
            doubtful=self.doubtful.difference(fresh),
        )

"""The past of a device as VRM's graphs know it, in the quantities of its live readings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from math import gcd
from typing import Final

from energy_core.http.api import ApiClient
from energy_core.http.readers import integer
from energy_core.http.request import Priority
from energy_core.stream.event import Quantity, SourceId
from energy_core.stream.observation import Observation
from vrm_async import arguments, tables
from vrm_async.folding import by_key
from vrm_async.quantities import SINGLE, SUMS, measured
from vrm_async.series import Graph, moment
from vrm_async.widget_history import WIDGET

_LOGGED_EVERY_MS: Final = 60_000
"""The step of a graph of which a single point is known: devices log every minute at the most."""

_SENSOR: Final = "tsT"


class Measures:
    """Which attributes of a device make its quantities, as its live readings show."""

    __slots__ = ("_parts", "_single", "logged_ms")

    def __init__(self) -> None:
        self.logged_ms = 0
        """When the device logged, milliseconds: it does so at the same point of each interval."""
        self._single: set[str] = set()
        self._parts: dict[str, tuple[str, ...]] = {}

    def learn(self, live: Observation) -> None:
        """Learn from a live reading."""
        self.logged_ms = round(live.time.timestamp()) * 1000
        self._single.update(code for code in live.raw if code in SINGLE)
        if _SENSOR in live.raw and Quantity.BATTERY_TEMPERATURE in live.values:
            self._single.add(_SENSOR)
        for code, total in SUMS.items():
            parts = _parts(live.raw.get(code), live.source.instance)
            parts = parts or tuple(part for part in total.parts if part in live.raw)
            if parts and total.quantity in live.values:
                self._parts[code] = parts

    @property
    def codes(self) -> list[str]:
        """What to ask a graph for. It does not know sums, which have no attribute of their own."""
        return sorted(self._single.union(*self._parts.values()))

    def values(
        self, items: Mapping[str, Mapping[str, object]], drawn: Collection[str]
    ) -> Mapping[Quantity, float]:
        """Return what one bucket says. A sum is one only where all those of its parts are that are drawn."""
        sums = [set(parts).intersection(drawn) for parts in self._parts.values()]
        halves = {part for parts in sums if not items.keys() >= parts for part in parts}
        whole = {code: item for code, item in items.items() if code not in halves}
        return measured(whole, self._parts, 0 if _SENSOR in self._single else None)


class Recall:
    """Remembers what the live readings consist of, and asks graphs for the same, in the background.

    A graph is of one device instance. Its points are buckets that follow each other from the requested start
    on, so that ranges of one length which begin at round times have the same buckets whenever they are asked.
    Which moment a bucket is of, a graph does not say: it gets the one at which the device is used to log, its
    name in any run.
    """

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._measures: dict[SourceId, Measures] = {}

    def learn(self, live: list[Observation]) -> list[Observation]:
        """Learn from live readings, and return them."""
        for each in live:
            self._measures.setdefault(each.source, Measures()).learn(each)
        return live

    async def __call__(self, source: SourceId, start: datetime, end: datetime) -> list[Observation]:
        """Return the buckets of a device from `start` to `end`."""
        measures = self._measures.get(source, Measures())
        codes = measures.codes
        if not codes:
            return []
        query = arguments.codes(codes) + arguments.instance(source.instance) + arguments.span(start, end)
        graph = await self._api.call(
            WIDGET,
            tables.graph,
            query=query,
            priority=Priority.BACKGROUND,
            idSite=int(source.site),
            widget="Graph",
        )
        return list(buckets(graph, measures, source, start))


def buckets(graph: Graph, measures: Measures, source: SourceId, start: datetime) -> Iterator[Observation]:
    """Join the series of a graph by time; a bucket that says nothing of a quantity is none."""
    joined: dict[int, dict[str, Mapping[str, object]]] = {}
    for series in graph:
        for time_ms, value in zip(series.times_ms, series.mean, strict=True):
            if value is not None:
                joined.setdefault(time_ms, {})[series.code] = {
                    "rawValue": value,
                    "timestamp": time_ms // 1000,
                }
    drawn = {code for items in joined.values() for code in items}
    step_ms = _step_ms(list(joined), round(start.timestamp()) * 1000)
    for time_ms, items in joined.items():
        values = measures.values(items, drawn)
        if values:
            after_ms = (measures.logged_ms - time_ms) % step_ms
            yield Observation(
                source=source,
                time=moment(time_ms + after_ms),
                id=f"{source.site}/{source.instance}/{(time_ms + after_ms) // 1000}",
                values=values,
                raw=items,
                bucket_s=step_ms / 1000,
                bucket_at_s=after_ms / 1000,
            )


def _step_ms(times_ms: Sequence[int], start_ms: int) -> int:
    if len(times_ms) < 2:
        return _LOGGED_EVERY_MS
    return gcd(*(time_ms - start_ms for time_ms in times_ms)) or _LOGGED_EVERY_MS


def _parts(item: object, instance: int) -> tuple[str, ...]:
    """Return what VRM says it has added up; nothing where a part is of another instance."""
    parts = [by_key(each) for each in by_key(by_key(item).get("dataAttributes")).values()]
    if any(integer(part.get("instance")) not in {instance, None} for part in parts):
        return ()
    return tuple(code for part in parts if isinstance(code := part.get("code"), str))

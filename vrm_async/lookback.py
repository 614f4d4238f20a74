"""The past of a device as VRM's graphs know it, in the quantities of its live readings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from math import gcd
from typing import Final

from energy_core.codec.drift import collect_drift
from energy_core.http.client import ApiClient
from energy_core.http.operation import Priority
from energy_core.stream.polled import PolledReading
from energy_core.stream.vocabulary import Quantity, SourceId
from vrm_async import validation
from vrm_async.decoding import series as decoding_series
from vrm_async.history.widgets import WIDGET
from vrm_async.models.series import Graph, Series, moment
from vrm_async.quantities import MadeOf, combined, credible

_REMEMBERED: Final = 5
"""Readings whose times are compared, to know when the device is used to log."""

_LOGGED_EVERY_MS: Final = 60_000
"""The step of a graph of which a single point is known: devices log every minute at the most."""


class DeviceCodes:
    """Which attributes of a device make its quantities, as its live readings show."""

    __slots__ = ("_attributes", "_logged_ms", "_made_of")

    def __init__(self) -> None:
        self._logged_ms: tuple[int, ...] = ()
        self._made_of: dict[Quantity, tuple[str, ...]] = {}
        self._attributes: dict[str, int] = {}

    def learn(self, live: PolledReading, made_of: MadeOf, attributes: Mapping[str, int]) -> None:
        """Learn from a live reading which codes make its quantities, and which attributes these are."""
        self._attributes |= attributes
        self._logged_ms = (*self._logged_ms[1 - _REMEMBERED :], round(live.time.timestamp()) * 1000)
        self._made_of |= {
            quantity: codes
            for quantity, codes in made_of.items()
            if codes and all(validation.is_code(code) for code in codes)
        }

    @property
    def logged_ms(self) -> int:
        """When the device logged, milliseconds: it does so at the same point of each interval.

        One reading with a time of its own is no habit: most of the last ones count.
        """
        points = Counter(each % _LOGGED_EVERY_MS for each in self._logged_ms)
        return max(self._logged_ms, key=lambda each: (points[each % _LOGGED_EVERY_MS], each), default=0)

    @property
    def codes(self) -> list[str]:
        """What to ask a graph for. It does not know sums, which have no attribute of their own."""
        return sorted({code for codes in self._made_of.values() for code in codes})

    def chosen(self, graph: Graph) -> list[Series]:
        """Return one series a code: that of the attribute of the live readings, else of the lowest id."""
        return [
            min(
                (series for series in graph if series.code == code),
                key=lambda series: (
                    series.attribute_id != self._attributes.get(series.code),
                    float("inf") if series.attribute_id is None else series.attribute_id,
                ),
            )
            for code in graph.keys()  # noqa: SIM118  (it is no mapping)
        ]

    def values(self, bucket: Mapping[str, float]) -> dict[Quantity, float]:
        """Return what one bucket says; a quantity is missing where one of its codes is."""
        found = {}
        for quantity, codes in self._made_of.items():
            if all(code in bucket for code in codes):
                value = combined(quantity, [bucket[code] for code in codes])
                if value is not None and credible(quantity, value, codes[0]):
                    found[quantity] = value
        return found


class GraphLookback:
    """Remembers what the live readings consist of, and asks graphs for the same, in the background.

    A graph is of one device instance. Its points are buckets that follow each other from the requested start
    on, so that ranges of one length which begin at round times have the same buckets whenever they are asked.
    Which moment a bucket is of, a graph does not say: it gets the one at which the device is used to log, its
    name in any run.
    """

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._measures: dict[SourceId, DeviceCodes] = {}

    def learn(self, live: PolledReading, made_of: MadeOf, attributes: Mapping[str, int]) -> None:
        """Learn from a live reading what to ask of its device's past."""
        self._measures.setdefault(live.source, DeviceCodes()).learn(live, made_of, attributes)

    async def __call__(self, source: SourceId, start: datetime, end: datetime) -> list[PolledReading]:
        """Return the buckets of a device from `start` to `end`."""
        measures = self._measures.get(source, DeviceCodes())
        codes = measures.codes
        start_s, end_s = (max(0, int(edge.timestamp())) for edge in (start, end))
        if not codes or end_s <= start_s:
            return []
        # The server has named the instance and the times, odd or not: nothing here is a caller's argument.
        query = [("attributeCodes[]", code) for code in codes]
        query += [("instance", str(source.instance)), ("start", str(start_s)), ("end", str(end_s))]
        graph = await self._api.call(
            WIDGET,
            decoding_series.graph,
            query=query,
            priority=Priority.BACKGROUND,
            idSite=int(source.site),
            widget="Graph",
        )
        with collect_drift(self._api.drift):
            return list(buckets(graph, measures, source, start, end))


def buckets(
    graph: Graph, measures: DeviceCodes, source: SourceId, start: datetime, end: datetime
) -> Iterator[PolledReading]:
    """Join the series of a graph by time; a bucket that says nothing of a quantity is none."""
    first_ms, last_ms = (round(edge.timestamp()) * 1000 for edge in (start, end))
    joined: dict[int, dict[str, float]] = {}
    for series in measures.chosen(graph):
        for time_ms, value in zip(series.times_ms, series.value, strict=True):
            if value is not None and first_ms <= time_ms <= last_ms:
                joined.setdefault(time_ms, {})[series.code] = value
    step_ms, phase_ms = _grid(sorted(joined), first_ms)
    for time_ms, bucket in joined.items():
        values = measures.values(bucket) if (time_ms - first_ms) % step_ms == phase_ms else None
        if values:
            after_ms = (measures.logged_ms - time_ms) % step_ms
            yield PolledReading(
                source=source,
                time=moment(time_ms + after_ms),
                id=f"{source.site}/{source.instance}/{(time_ms + after_ms) // 1000}",
                values=values,
                raw={
                    code: {"rawValue": value, "timestamp": time_ms // 1000, "resolution": step_ms / 1000}
                    for code, value in bucket.items()
                },
                bucket_s=step_ms / 1000,
                bucket_at_s=after_ms / 1000,
            )


def _grid(times_ms: Sequence[int], start_ms: int) -> tuple[int, int]:
    """Return the step of a graph, and where in a step after the start its buckets begin.

    A step is what all points have in common, and a minute at least. Where that is less, some points are odd:
    then most of them decide, and the others lie beside the grid.
    """
    if len(times_ms) < 2:
        return _LOGGED_EVERY_MS, (times_ms[0] - start_ms) % _LOGGED_EVERY_MS if times_ms else 0
    common = gcd(*(time_ms - start_ms for time_ms in times_ms))
    if common >= _LOGGED_EVERY_MS or not common:
        return common or _LOGGED_EVERY_MS, 0
    steps = Counter(after - before for before, after in pairwise(times_ms))
    step_ms = max(steps, key=lambda step: (steps[step], -step))
    phases = Counter((time_ms - start_ms) % step_ms for time_ms in times_ms)
    return step_ms, max(phases, key=lambda phase: (phases[phase], -phase))

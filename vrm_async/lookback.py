"""Look-back of the live source: past readings of a device, from the widget Graph."""

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

_COMPARED: Final = 5
"""Number of readings whose times show at which second of a minute the device logs."""

_LOGGED_EVERY_MS: Final = 60_000
"""The step of a graph with a single point: devices log once a minute or less often."""


class DeviceCodes:
    """The codes and attributes that make the quantities of a device, learned from its live readings."""

    __slots__ = ("_attributes", "_logged_ms", "_made_of")

    def __init__(self) -> None:
        self._logged_ms: tuple[int, ...] = ()
        self._made_of: dict[Quantity, tuple[str, ...]] = {}
        self._attributes: dict[str, int] = {}

    def learn(self, live: PolledReading, made_of: MadeOf, attributes: Mapping[str, int]) -> None:
        """Take the codes of each quantity, and the attribute of each code, from a live reading."""
        self._attributes |= attributes
        self._logged_ms = (*self._logged_ms[1 - _COMPARED :], round(live.time.timestamp()) * 1000)
        self._made_of |= {
            quantity: codes
            for quantity, codes in made_of.items()
            if codes and all(validation.is_code(code) for code in codes)
        }

    @property
    def logged_ms(self) -> int:
        """A time of a log in ms, at the second of the minute at which the device usually logs."""
        points = Counter(each % _LOGGED_EVERY_MS for each in self._logged_ms)
        return max(self._logged_ms, key=lambda each: (points[each % _LOGGED_EVERY_MS], each), default=0)

    @property
    def codes(self) -> list[str]:
        """The codes to request from a graph. VRM's sums have no attribute, so their parts are requested."""
        return sorted({code for codes in self._made_of.values() for code in codes})

    def chosen(self, graph: Graph) -> list[Series]:
        """Return one series a code: that of the live readings' attribute, else that of the lowest id."""
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
        """Return the quantities of one bucket; a quantity without one of its codes is left out."""
        found = {}
        for quantity, codes in self._made_of.items():
            if all(code in bucket for code in codes):
                value = combined(quantity, [bucket[code] for code in codes])
                if value is not None and credible(quantity, value, codes[0]):
                    found[quantity] = value
        return found


class GraphLookback:
    """Fetches past readings of a device from a graph of the codes in its live readings, with low priority.

    A graph is of one device instance. Its points are buckets, counted from the requested start, so requests
    of one length that begin at round times return the same buckets every time. Graph buckets carry no device
    timestamp; each gets the time at which the device usually logs, so that ids stay stable across runs.
    """

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._devices: dict[SourceId, DeviceCodes] = {}

    def learn(self, live: PolledReading, made_of: MadeOf, attributes: Mapping[str, int]) -> None:
        """Take the codes of a device from a live reading."""
        self._devices.setdefault(live.source, DeviceCodes()).learn(live, made_of, attributes)

    async def __call__(self, source: SourceId, start: datetime, end: datetime) -> list[PolledReading]:
        """Return the readings of a device from `start` to `end`, one a bucket. Cancelling is safe."""
        device = self._devices.get(source, DeviceCodes())
        codes = device.codes
        start_s, end_s = (max(0, int(edge.timestamp())) for edge in (start, end))
        if not codes or end_s <= start_s:
            return []
        # Instance and times come from the server: checks for callers' arguments do not apply.
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
            return list(buckets(graph, device, source, start, end))


def buckets(
    graph: Graph, device: DeviceCodes, source: SourceId, start: datetime, end: datetime
) -> Iterator[PolledReading]:
    """Join the series of a graph by time to readings; a bucket without any quantity is left out."""
    first_ms, last_ms = (round(edge.timestamp()) * 1000 for edge in (start, end))
    # VRM sends each series with its own times; a bucket is the values of one time.
    joined: dict[int, dict[str, float]] = {}
    for series in device.chosen(graph):
        for time_ms, value in zip(series.times_ms, series.value, strict=True):
            if value is not None and first_ms <= time_ms <= last_ms:
                joined.setdefault(time_ms, {})[series.code] = value
    step_ms, offset_ms = _grid(sorted(joined), first_ms)
    for time_ms, bucket in joined.items():
        values = device.values(bucket) if (time_ms - first_ms) % step_ms == offset_ms else None
        if values:
            # The device logs at a fixed offset within each step.
            after_ms = (device.logged_ms - time_ms) % step_ms
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
    """Return the step of a graph, and the offset of its buckets from `start_ms`, both in ms.

    The step is the greatest common divisor of all times. If that is less than a minute, some points are not
    on the grid; then the most frequent step and offset are used.
    """
    if len(times_ms) < 2:
        return _LOGGED_EVERY_MS, (times_ms[0] - start_ms) % _LOGGED_EVERY_MS if times_ms else 0
    # One odd point makes the divisor of all times small.
    common = gcd(*(time_ms - start_ms for time_ms in times_ms))
    if common >= _LOGGED_EVERY_MS or not common:
        return common or _LOGGED_EVERY_MS, 0
    steps = Counter(after - before for before, after in pairwise(times_ms))
    step_ms = max(steps, key=lambda step: (steps[step], -step))
    offsets = Counter((time_ms - start_ms) % step_ms for time_ms in times_ms)
    return step_ms, max(offsets, key=lambda offset: (offsets[offset], -offset))

"""Look-back for late data of polled devices: when to ask, and for which ranges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final, TypeAlias

from energy_core.clock import Clock
from energy_core.errors import NoData, RequestError
from energy_core.local_days import from_unix_second, unix_second
from energy_core.printable import printable
from energy_core.stream.device_backfill import DeviceBackfill, ReadingOrGap
from energy_core.stream.lookback_match import MissingRange, others
from energy_core.stream.polled import LookbackConfig, PolledReading
from energy_core.stream.source import (
    CompleteRange,
    HistoryConfig,
    HistoryItem,
    Outlet,
    Reading,
    StreamPosition,
)
from energy_core.stream.vocabulary import SourceId

_FIRST_READING_S: Final = 300.0
"""Seconds that the request for a device's past waits for its first reading."""

_SPREAD: Final = (5**0.5 - 1) / 2
"""Golden ratio: multiples of it modulo 1 are spread evenly between 0 and 1, for any number of devices."""


def put(outlet: Outlet, source: SourceId, each: ReadingOrGap) -> None:
    """Hand a reading or a gap to an outlet."""
    if isinstance(each, MissingRange):
        outlet.gap(source, start=each.start, end=each.end, reason=each.reason)
        return
    outlet.reading(
        source,
        time=each.time,
        id=each.id,
        values=each.values,
        raw=each.raw,
        backfilled=each.backfilled,
        revision=each.revision,
    )


FetchRange: TypeAlias = Callable[[SourceId, datetime, datetime], Awaitable[Iterable[PolledReading]]]
"""Fetches the recorded readings of one device from a start to an end, at background priority."""


class LookbackScheduler:
    """Look back at the devices of a poller, one after the other.

    Args:
        fetch_range: Fetches recorded readings; None: the vendor has none.
        config: When and how far to look back.
        clock: Source of time.
    """

    def __init__(self, fetch_range: FetchRange | None, config: LookbackConfig, clock: Clock) -> None:
        self.devices: dict[SourceId, DeviceBackfill] = {}
        self._added = asyncio.Event()
        self._fetch_range = fetch_range
        self._config = config
        self._clock = clock

    @property
    def enabled(self) -> bool:
        """Whether recorded readings can be fetched."""
        return self._fetch_range is not None

    @property
    def has_gaps(self) -> bool:
        """Whether any device has an open gap."""
        return any(device.open_gaps for device in self.devices.values())

    def device(self, source: SourceId, stopped: StreamPosition | None = None) -> DeviceBackfill:
        """Return a device, added if need be. The first look-backs are spread over an interval."""
        device = self.devices.get(source)
        if device is None:
            wait_s = self._config.interval_s * (1 - len(self.devices) * _SPREAD % 1)
            due = self._clock.monotonic() + wait_s if self.enabled else None
            device = self.devices[source] = DeviceBackfill(source, self._config, stopped, due=due)
            self._added.set()
        return device

    def next_device(self) -> DeviceBackfill | None:
        """Return the device to look back at now: the one with the oldest gap, else one that is due."""
        with_gaps = [device for device in self.devices.values() if device.open_gaps]
        if with_gaps:
            return min(with_gaps, key=lambda device: device.open_gaps[0][0])
        due, device = min(self._due_times(), default=(0.0, None), key=lambda each: each[0])
        return device if due <= self._clock.monotonic() else None

    def next_due(self) -> float | None:
        """Return the monotonic time at which the next look-back is due."""
        return min((due for due, _ in self._due_times()), default=None)

    async def look_back(self, device: DeviceBackfill) -> None:
        """Look back at one device. A refusal concerns this device only; polls detect one of the account."""
        now = self._clock.monotonic()
        if device.due is not None and device.due <= now:
            device.due = max(device.due + self._config.interval_s, now)
        found: list[PolledReading] = []
        ranges = device.begin()
        start = ranges[0][0]
        try:
            async with asyncio.timeout(self._config.timeout_s):
                for start, end in ranges:
                    found += await self._fetch(device.source, start, end)
        except (RequestError, TimeoutError) as error:
            reason = str(error) or f"looking back took more than {self._config.timeout_s:g} s"
            device.failed(found, since=start, reason=reason, now=self._clock.monotonic())
        else:
            device.done(found, now=self._clock.monotonic())

    @property
    def history_config(self) -> HistoryConfig | None:
        """What `history` can prove; None: recorded readings cannot be fetched."""
        config = self._config
        if not self.enabled:
            return None
        longest_s = int(config.max_age_s)
        return HistoryConfig(
            settles_after=0.0,
            ordered=False,
            longest_s=longest_s,
            oldest_s=longest_s,
            retries_s=config.retry_s,
        )

    async def history(self, source: SourceId, start: datetime, end: datetime) -> list[HistoryItem]:
        """Fetch a range of one device again: what is complete, then readings with the ids of delivered ones.

        Raises:
            RequestError: the request failed.
        """
        if not await self._has_device(source):
            return []  # nothing is proved: the range is requested again later
        found: list[PolledReading] = []
        for first, last in self._config.ranges(end, start):
            found += await self._fetch(source, first, last)
        matcher = self.devices[source].matcher
        own = [each for each in found if each.source == source]
        items: list[HistoryItem] = []
        readings: list[HistoryItem] = []
        open_seconds = [
            (unix_second(since), unix_second(until)) for since, until in matcher.missing(own, start, end)
        ]
        for each in matcher.with_known_ids(own):
            if isinstance(each, MissingRange):
                items.append(CompleteRange(*each))
                open_seconds.append((unix_second(each.start), unix_second(each.end)))
            elif start <= each.time <= end:
                readings.append(Reading(each.time, each.id, each.values, each.raw))
                open_seconds.append((unix_second(each.time), unix_second(each.time)))
        for since, until in others(unix_second(start), unix_second(end), open_seconds):
            items.append(CompleteRange(from_unix_second(since), from_unix_second(until)))
        return [*items, *readings]

    async def _has_device(self, source: SourceId) -> bool:
        """Wait for the first reading of a device, which says what its record has; return whether it came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_READING_S):
                while source not in self.devices:
                    self._added.clear()
                    await self._added.wait()
        return source in self.devices

    async def _fetch(self, source: SourceId, start: datetime, end: datetime) -> Iterable[PolledReading]:
        if self._fetch_range is not None:
            with suppress(NoData):
                return await self._fetch_range(source, start, end)
        return ()

    def _due_times(self) -> Iterator[tuple[float, DeviceBackfill]]:
        for device in self.devices.values():
            for due in (device.due, device.next_retry_at):
                if due is not None:
                    yield due, device

    @printable
    def __repr__(self) -> str:
        with_gaps = sum(bool(device.open_gaps) for device in self.devices.values())
        return f"<LookbackScheduler of {len(self.devices)} devices, {with_gaps} with gaps>"

"""Looking back at many devices, one after the other: whose turn it is, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final, TypeAlias

from energy_core.clock import Clock
from energy_core.errors import NoData, RequestError
from energy_core.printable import printable
from energy_core.stream.detail import SourceId
from energy_core.stream.device import DeviceBackfill, Tellable
from energy_core.stream.event import StreamPosition
from energy_core.stream.lookback import LookbackConfig
from energy_core.stream.observation import PolledReading
from energy_core.stream.past import BucketMatcher

LookBack: TypeAlias = Callable[[SourceId, datetime, datetime], Awaitable[Iterable[PolledReading]]]
"""Brings what the vendor says of a stretch of a device's past, at background priority."""

_SPREAD: Final = (5**0.5 - 1) / 2
"""Multiples of it modulo 1 lie evenly between 0 and 1, however many there are."""


class LookbackScheduler:
    """Knows the devices of a poller, and looks back at them in turn.

    Args:
        look_back: Asks the vendor; None: it cannot be asked.
        looking: When and how far.
        clock: Where time comes from.
    """

    def __init__(self, look_back: LookBack | None, looking: LookbackConfig, clock: Clock) -> None:
        self.devices: dict[SourceId, DeviceBackfill] = {}
        self._look_back = look_back
        self._looking = looking
        self._clock = clock

    @property
    def looks(self) -> bool:
        """Whether the vendor can be asked."""
        return self._look_back is not None

    @property
    def holes(self) -> bool:
        """Whether any device has a hole."""
        return any(device.holes for device in self.devices.values())

    def device(self, source: SourceId, stopped: StreamPosition | None = None) -> DeviceBackfill:
        """Return a device, met now if need be. The first looks are spread over the time between two."""
        device = self.devices.get(source)
        if device is None:
            wait_s = self._looking.interval_s * (1 - len(self.devices) * _SPREAD % 1)
            due = self._clock.monotonic() + wait_s if self.looks else None
            device = self.devices[source] = DeviceBackfill(source, self._looking, stopped, due=due)
        return device

    def next(self) -> DeviceBackfill | None:
        """Return the device to look at now: that with the oldest hole, else the one that is due."""
        broken = [device for device in self.devices.values() if device.holes]
        if broken:
            return min(broken, key=lambda device: device.holes[0].start)
        when, device = min(self._due(), default=(0.0, None), key=lambda each: each[0])
        return device if when <= self._clock.monotonic() else None

    def when(self) -> float | None:
        """Return the monotonic time at which the next look is due."""
        return min((when for when, _ in self._due()), default=None)

    async def look(self, device: DeviceBackfill) -> None:
        """Look at a device. A refusal costs it alone: what is about the whole account, the polls find out."""
        now = self._clock.monotonic()
        if device.due is not None and device.due <= now:
            device.due = max(device.due + self._looking.interval_s, now)
        found: list[PolledReading] = []
        ranges = device.begin()
        start = ranges[0][0]
        try:
            async with asyncio.timeout(self._looking.timeout_s):
                for start, end in ranges:
                    found += await self._ask(device.source, start, end)
        except (RequestError, TimeoutError) as error:
            trouble = str(error) or f"looking back took more than {self._looking.timeout_s:g} s"
            device.failed(found, since=start, trouble=trouble, now=self._clock.monotonic())
        else:
            device.done(found, now=self._clock.monotonic())

    async def recall(
        self, source: SourceId, start: datetime, end: datetime
    ) -> tuple[list[Tellable], list[tuple[datetime, datetime]]]:
        """Return what the vendor says of a stretch, oldest first, and what of it the vendor lacks as yet.

        Readings have the names that they were delivered with.
        """
        found: list[PolledReading] = []
        for since, until in self._looking.ranges(end, start):
            found += await self._ask(source, since, until)
        device = self.devices.get(source)
        past = device.past if device else BucketMatcher(source)
        mine = [each for each in found if each.source == source]
        return list(past.recall(mine)), past.lacking(mine, start, end)

    async def _ask(self, source: SourceId, start: datetime, end: datetime) -> Iterable[PolledReading]:
        if self._look_back is not None:
            with suppress(NoData):
                return await self._look_back(source, start, end)
        return ()

    def _due(self) -> Iterator[tuple[float, DeviceBackfill]]:
        for device in self.devices.values():
            for when in (device.due, device.again_at):
                if when is not None:
                    yield when, device

    @printable
    def __repr__(self) -> str:
        broken = sum(bool(device.holes) for device in self.devices.values())
        return f"<Looker at {len(self.devices)} devices, {broken} with holes>"

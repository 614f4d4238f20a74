"""An event loop whose time jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from datetime import UTC, datetime, timedelta

from energy_core.clock import SystemClock

EPOCH = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that advances the clock instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("virtual time: every task waits and no timer is left to wake one")
        self.now += max(0.0, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop without sockets: `loop.time()` starts at 0 and advances only when all tasks wait."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # After months of virtual seconds a float no longer resolves nanoseconds: no timer would be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jumping.now


class VirtualClock(SystemClock):
    """The loop's virtual time, and a wall clock that starts at EPOCH and can be set wrong."""

    def __init__(self, skew: timedelta = timedelta()) -> None:
        self.skew = skew

    def utcnow(self) -> datetime:
        return EPOCH + self.skew + timedelta(seconds=self.monotonic())

"""The only door to time: monotonic seconds for waiting, wall-clock moments for labels."""

import asyncio
import time  # noqa: TID251  (this is the door)
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol


class Timer(Protocol):
    """A pending callback that can be called off."""

    def cancel(self) -> None:
        """Call the callback off; harmless once it has run."""


class Clock(Protocol):
    """What the house needs to know about time."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; the only base for waits and rates."""

    def utcnow(self) -> datetime:
        """The wall clock as an aware UTC datetime; for labels and HTTP dates only."""

    async def sleep(self, seconds: float) -> None:
        """Wait. Cancelling it is safe."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` in the event loop once `monotonic()` has reached `when`."""


class SystemClock:
    """The event loop's own time, so that a virtual-time loop moves everything at once."""

    def monotonic(self) -> float:
        """Seconds on the running event loop's clock."""
        return asyncio.get_running_loop().time()

    def utcnow(self) -> datetime:
        """The machine's wall clock, aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251  (this is the door)

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop. Cancelling it is safe."""
        await asyncio.sleep(seconds)  # noqa: TID251  (this is the door)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Schedule on the running event loop."""
        return asyncio.get_running_loop().call_at(when, callback)


def ticking(clock: Clock) -> Callable[[], float]:
    """Return what reads `clock` fastest on the running event loop, for those who ask often and stay on it."""
    if type(clock) is not SystemClock:
        return clock.monotonic
    read = asyncio.get_running_loop().time
    # asyncio's own loops do nothing but call this one.
    own = getattr(read, "__func__", None) is asyncio.BaseEventLoop.time
    return _monotonic if own else read


def stamping(clock: Clock) -> Callable[[], datetime]:
    """Return what reads the wall clock fastest, likewise."""
    return _utcnow if type(clock) is SystemClock else clock.utcnow


_monotonic: Final = time.monotonic
_utcnow: Final = partial(datetime.now, UTC)  # noqa: TID251  (this is the door)

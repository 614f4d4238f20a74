"""Rate limiters of `benchmarks.limiting`: an acquisition alone and with many waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import process_time
from typing import Any, Final

from benchmarks.sampling import Sampler
from benchmarks.worker import Cost
from tests.servers.virtual_time import VirtualTimeLoop


class TickingLoop(VirtualTimeLoop):
    """Its time also advances a little at every call, as a real clock's does: aiolimiter relies on that."""

    def time(self) -> float:
        """Return the time, advanced a little."""
        self._jumping.now += 1e-7
        return super().time()


ENOUGH: Final = 1_000_000_000
"""So large that no task waits."""

Acquire = Callable[[], Awaitable[Any]]
Make = Callable[[float, float], Acquire]
"""Builds a limiter from a burst and a rate, and returns its acquire function."""


class Alone:
    """One task that acquires repeatedly and never waits."""

    def __init__(self, again: Callable[[int], Awaitable[float]], times: int) -> None:
        self._again = again
        self._times = times

    def check(self) -> Sequence[object]:
        """Acquire a few times."""
        asyncio.run(self._run(100))
        return [100]

    def round(self, sampler: Sampler | None = None) -> Cost:  # noqa: ARG002  (not profiled)
        """Acquire many times and return the cost."""
        return Cost(asyncio.run(self._run(self._times)) / self._times)

    async def _run(self, times: int) -> float:
        return await self._again(times)


class Crowd:
    """Many tasks that wait at the same time, on virtual time: only CPU is measured."""

    def __init__(self, make: Make, waiters: int) -> None:
        self._make = make
        self._waiters = waiters

    def check(self) -> Sequence[object]:
        """Let all tasks acquire once; return how many did, and whether each did once."""
        order, _ = self._run()
        return [len(order), sorted(order) == list(range(self._waiters))]

    def round(self, sampler: Sampler | None = None) -> Cost:
        """Let all tasks acquire once and return the cost."""
        order, cost = self._run(sampler)
        late = sum(place != who for place, who in enumerate(order))
        return Cost(cost / self._waiters, {"out_of_order": late, "virtual_s": self._took})

    def _run(self, sampler: Sampler | None = None) -> tuple[list[int], float]:
        order: list[int] = []

        async def run() -> float:
            loop = asyncio.get_running_loop()
            acquire = self._make(10, 100.0)

            async def one(number: int) -> None:
                await acquire()
                order.append(number)

            if sampler is not None:
                sampler.start()
            started, began = process_time(), loop.time()
            await asyncio.gather(*(one(number) for number in range(self._waiters)))
            took, self._took = process_time() - started, loop.time() - began
            if sampler is not None:
                sampler.stop()
            return took

        with asyncio.Runner(loop_factory=TickingLoop) as runner:
            return order, runner.run(run())


def _ours(burst: float, per_second: float) -> Acquire:
    from energy_core.http.operation import Priority
    from energy_core.http.rate_limiter import RateLimiter
    from energy_core.http.token_bucket import RateLimit

    limiter = RateLimiter(RateLimit(int(burst), per_second, ENOUGH), max_queue_wait_s=1e9)

    async def acquire() -> None:
        async with limiter.slot(Priority.INTERACTIVE):
            pass

    return acquire


def _aiolimiter(burst: float, per_second: float) -> Acquire:
    from aiolimiter import AsyncLimiter

    limiter = AsyncLimiter(burst, burst / per_second)

    async def acquire() -> None:
        async with limiter:
            pass

    return acquire


def _pyrate(burst: float, per_second: float) -> Acquire:
    from pyrate_limiter import Limiter

    limiter = Limiter(pyrate_bucket(burst, per_second))

    async def acquire() -> None:
        await limiter.try_acquire_async("one")

    return acquire


def pyrate_bucket(burst: float, per_second: float) -> Any:
    """Return pyrate-limiter's in-memory bucket on the running loop's time."""
    from pyrate_limiter import InMemoryBucket, Rate
    from pyrate_limiter.clocks import AbstractClock

    loop = asyncio.get_running_loop()

    class LoopClock(AbstractClock):
        def now(self) -> int:
            return int(loop.time() * 1000)

    bucket = InMemoryBucket([Rate(int(burst), max(1, int(burst / per_second * 1000)))])
    bucket._clock = LoopClock()
    return bucket


def alone_ours(size: int) -> Alone:
    """Ours: token bucket, Retry-After hold, adaptive rate, priorities and a cap on requests in flight."""

    async def again(times: int) -> float:
        from energy_core.http.operation import Priority
        from energy_core.http.rate_limiter import RateLimiter
        from energy_core.http.token_bucket import RateLimit

        limiter, priority = RateLimiter(RateLimit(ENOUGH, ENOUGH, ENOUGH)), Priority.INTERACTIVE
        started = process_time()
        for _ in range(times):  # as `SendMiddleware` does it for each request
            if not limiter.try_acquire(priority):
                await limiter.acquire(priority)
            try:
                pass
            finally:
                limiter.release(priority)
        return process_time() - started

    return Alone(again, size)


def alone_aiolimiter(size: int) -> Alone:
    """aiolimiter: a leaky bucket."""

    async def again(times: int) -> float:
        from aiolimiter import AsyncLimiter

        limiter = AsyncLimiter(ENOUGH, 1.0)
        started = process_time()
        for _ in range(times):
            async with limiter:
                pass
        return process_time() - started

    return Alone(again, size)


def alone_pyrate(size: int) -> Alone:
    """pyrate-limiter: a log of the requests in the window."""

    async def again(times: int) -> float:
        from pyrate_limiter import Limiter

        limiter = Limiter(pyrate_bucket(ENOUGH, ENOUGH))
        started = process_time()
        for _ in range(times):
            await limiter.try_acquire_async("one")
        return process_time() - started

    return Alone(again, size)


def crowd_ours(size: int) -> Crowd:
    """Our rate limiter with many waiters."""
    return Crowd(_ours, size)


def crowd_aiolimiter(size: int) -> Crowd:
    """Aiolimiter with many waiters."""
    return Crowd(_aiolimiter, size)


def crowd_pyrate(size: int) -> Crowd:
    """pyrate-limiter with many waiters."""
    return Crowd(_pyrate, size)

"""A restart on a used quota, against a model of VRM's limiter, in virtual time: who is refused how often.

150 of the 200 requests of the window are used, 50 tasks want 500 sites once a minute, half an hour long. A
poll that a client gives up is lost. VRM's rule can be read in two ways, refused requests counting or not.
This counts and does not time; every client is given the same server, latency and wishes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from benchmarks.limiters import TickingLoop, pyrate_bucket
from tests.servers.vrm_limit_model import VRMLimitModel

TASKS: Final = 50
SITES: Final = 10
"""For each task."""
MINUTES: Final = 30
LATENCY_S: Final = 0.2
PEER_TRIES: Final = 3
PEER_LONGEST_S: Final = 120.0
"""victron-vrm's own numbers."""

Poll = Callable[[VRMLimitModel, random.Random], Callable[[], Awaitable[bool]]]
"""Makes a client of a server; its call polls one site and says whether it got an answer."""


class Outcome(NamedTuple):
    """What a client made of half an hour."""

    client: str
    refused_count: bool
    refusals: int
    lost: int
    used: float
    """Requests let through, as a share of what could be."""


def ours(server: VRMLimitModel, chance: random.Random) -> Callable[[], Awaitable[bool]]:
    """The lane; what is refused is asked again in a new turn."""
    from energy_core.http.operation import Priority
    from energy_core.http.rate_limit import RateLimit
    from energy_core.http.rate_limiter import RateLimiter

    lane = RateLimiter(RateLimit(200, 3.0), random=chance.random, max_queue_wait_s=1e9)
    loop = asyncio.get_running_loop()

    async def poll() -> bool:
        while True:
            async with lane.slot(Priority.INTERACTIVE):
                sent_at = loop.time()
                retry_after = await _sent(server, chance)
            if retry_after is None:
                return True
            lane.throttled(sent_at, float(retry_after))

    return poll


def retry_only(server: VRMLimitModel, chance: random.Random) -> Callable[[], Awaitable[bool]]:
    """victron-vrm's loop: three tries, Retry-After slept in between."""

    async def poll() -> bool:
        for left in reversed(range(PEER_TRIES)):
            retry_after = await _sent(server, chance)
            if retry_after is None:
                return True
            if not left or retry_after > PEER_LONGEST_S:
                return False
            await asyncio.sleep(retry_after)
        return False

    return poll


def behind_aiolimiter(server: VRMLimitModel, chance: random.Random) -> Callable[[], Awaitable[bool]]:
    """An aiolimiter with VRM's numbers before each request, and the same retry."""
    from aiolimiter import AsyncLimiter

    limiter = AsyncLimiter(200, 200 / 3.0)

    async def acquire() -> None:
        await limiter.acquire()

    return _behind(acquire, server, chance)


def behind_pyrate(server: VRMLimitModel, chance: random.Random) -> Callable[[], Awaitable[bool]]:
    """pyrate-limiter with VRM's numbers before each request, and the same retry."""
    from pyrate_limiter import Limiter
    from pyrate_limiter.limiter import SingleBucketFactory

    limiter = Limiter(SingleBucketFactory(pyrate_bucket(200, 3.0), schedule_leak=False))

    async def acquire() -> None:
        await limiter.try_acquire_async("vrm")

    return _behind(acquire, server, chance)


def _behind(
    acquire: Callable[[], Awaitable[None]], server: VRMLimitModel, chance: random.Random
) -> Callable[[], Awaitable[bool]]:
    async def poll() -> bool:
        for left in reversed(range(PEER_TRIES)):
            await acquire()
            retry_after = await _sent(server, chance)
            if retry_after is None:
                return True
            if not left or retry_after > PEER_LONGEST_S:
                return False
            await asyncio.sleep(retry_after)
        return False

    return poll


async def _sent(server: VRMLimitModel, chance: random.Random) -> int | None:
    await asyncio.sleep(LATENCY_S * chance.random())
    answer = server.ask(asyncio.get_running_loop().time())
    await asyncio.sleep(LATENCY_S * chance.random())
    return answer


CLIENTS: Final[tuple[tuple[str, Poll], ...]] = (
    ("energy-live", ours),
    ("retry only, as victron-vrm", retry_only),
    ("aiolimiter and that retry", behind_aiolimiter),
    ("pyrate-limiter and that retry", behind_pyrate),
)


def outcomes(seed: int = 1) -> list[Outcome]:
    """Let every client live through it, under both readings."""
    found = []
    for refused_count in (False, True):
        for name, make in CLIENTS:
            with asyncio.Runner(loop_factory=TickingLoop) as runner:
                found.append(runner.run(_half_an_hour(name, make, refused_count, seed)))
    return found


async def _half_an_hour(name: str, make: Poll, refused_count: bool, seed: int) -> Outcome:
    loop = asyncio.get_running_loop()
    server = VRMLimitModel(start=loop.time(), used=150, count_refused=refused_count)
    poll = make(server, random.Random(seed))
    lost = 0

    async def poll_sites() -> None:
        nonlocal lost
        due = loop.time()
        while True:
            for _ in range(SITES):
                lost += not await poll()
            due = max(due + 60.0, loop.time())
            await asyncio.sleep(due - loop.time())

    tasks = [asyncio.ensure_future(poll_sites()) for _ in range(TASKS)]
    await asyncio.sleep(MINUTES * 60.0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return Outcome(name, refused_count, len(server.refused), lost, server.share_used(loop.time()))


def shown(found: list[Outcome]) -> str:
    """Return the outcomes as lines."""
    lines = ["A restart on a used quota: 500 sites a minute, half an hour"]
    for each in found:
        reading = "refused requests count too" if each.refused_count else "only accepted requests count"
        lines.append(
            f"  {each.client:<32}{reading:<32}{each.refusals:>8,} 429s"
            f"{each.lost:>8,} lost {each.used:>7.1%} used"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(shown(outcomes()))

"""A restart with a used rate limit against a model of VRM's limiter, in virtual time: the number of 429s.

150 of the 200 requests of the window are used. 50 tasks poll 500 sites once a minute for half an hour. A poll
that a client gives up is lost. VRM's rule has two readings: rejected requests count, or they do not. Every
client gets the same server, latency and polls; no time is measured.
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
"""Sites of each task."""
MINUTES: Final = 30
LATENCY_S: Final = 0.2
PEER_TRIES: Final = 3
PEER_LONGEST_S: Final = 120.0
"""victron-vrm's own settings."""

Poll = Callable[[VRMLimitModel, random.Random], Callable[[], Awaitable[bool]]]
"""Builds a client for a server; calling it polls one site and returns whether an answer came."""


class Outcome(NamedTuple):
    """The result of one client."""

    client: str
    refused_count: bool
    refusals: int
    lost: int
    used: float
    """Accepted requests as a share of the possible ones."""


def ours(server: VRMLimitModel, chance: random.Random) -> Callable[[], Awaitable[bool]]:
    """Our rate limiter; a rejected request is sent again in a new slot."""
    from energy_core.http.operation import Priority
    from energy_core.http.rate_limiter import RateLimiter
    from energy_core.http.token_bucket import RateLimit

    lane = RateLimiter(RateLimit(200, 3.0), random=chance.random, max_queue_wait_s=1e9)
    loop = asyncio.get_running_loop()

    async def poll() -> bool:
        while True:
            async with lane.slot(Priority.INTERACTIVE):
                sent_at = loop.time()
                retry_after = await _sent(server, chance)
            if retry_after is None:
                return True
            lane.on_throttled(sent_at, float(retry_after))

    return poll


def retry_only(server: VRMLimitModel, chance: random.Random) -> Callable[[], Awaitable[bool]]:
    """victron-vrm's retry loop: three attempts, sleeping Retry-After in between."""

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
    """Aiolimiter with VRM's limit before each request, and the same retry."""
    from aiolimiter import AsyncLimiter

    limiter = AsyncLimiter(200, 200 / 3.0)

    async def acquire() -> None:
        await limiter.acquire()

    return _behind(acquire, server, chance)


def behind_pyrate(server: VRMLimitModel, chance: random.Random) -> Callable[[], Awaitable[bool]]:
    """pyrate-limiter with VRM's limit before each request, and the same retry."""
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
    """Run every client under both readings of the rule."""
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
    """Return the outcomes as table rows."""
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

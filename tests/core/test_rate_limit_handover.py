"""What one process has left of a rate limit, another one continues with."""

import asyncio
import json

import pytest
from attrs import asdict

from energy_core.errors import ClientClosed
from energy_core.http.operation import Priority
from energy_core.http.rate_limiter import RateLimiter
from energy_core.http.token_bucket import RateLimit, SavedRateLimit
from energy_live.simulator.vrm.rate_limit import RollingWindow

pytestmark = pytest.mark.virtual_time

LIMIT = RateLimit(200, 3.0)


def limiter(**options) -> RateLimiter:
    return RateLimiter(LIMIT, random=lambda: 0.0, **options)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_successor_has_what_was_left():
    first, second = limiter(), limiter()
    for _ in range(150):
        assert first.try_acquire(Priority.INTERACTIVE) or first.release(Priority.INTERACTIVE) is None
        first.release(Priority.INTERACTIVE)
    second.restore(SavedRateLimit(**json.loads(json.dumps(asdict(first.save())))))
    assert second.stats().level == pytest.approx(first.stats().level)
    assert second.stats().level < 60


async def test_time_between_the_processes_fills_the_bucket_and_never_beyond():
    for elapsed, level in ((10.0, 40.0), (-5.0, 10.0), (1e6, 200.0)):
        successor = limiter()
        successor.restore(SavedRateLimit(level=10.0, rate=3.0), elapsed)
        assert successor.stats().level == pytest.approx(level)


async def test_a_debt_and_a_lower_rate_are_kept():
    successor = limiter()
    successor.restore(SavedRateLimit(level=-4.0, rate=1.5))
    assert successor.stats().level == pytest.approx(-4.0)
    assert successor.stats().rate == pytest.approx(1.5)
    await asyncio.sleep(2.0)
    assert not successor.try_acquire(Priority.INTERACTIVE)


async def test_a_hold_goes_on_for_the_rest_of_its_time():
    first = limiter()
    first.hold(30.0)
    await asyncio.sleep(10.0)
    second = limiter()
    second.restore(first.save(), elapsed_s=5.0)
    started = now()
    await second.acquire(Priority.INTERACTIVE)
    assert now() - started == pytest.approx(15.0)


@pytest.mark.parametrize("saved", [True, False])
async def test_a_handover_draws_no_429(saved):
    """Against VRM's own window: 250 requests before, 250 after; without the state the window overflows."""
    window, refused = RollingWindow(200, 0.33), 0
    first, second = limiter(), limiter()
    for each in (first, second):
        if each is second and saved:
            second.restore(first.save())
        for _ in range(250):
            await each.acquire(Priority.INTERACTIVE)
            refused += window.admit(now()) is not None
            each.release(Priority.INTERACTIVE)
    assert (refused == 0) is saved


async def test_nothing_is_granted_after_the_lease_has_ended():
    """Neither at once nor to a request that waits, nor to a handshake."""
    fenced = limiter()
    fenced.expires_at = now() + 5.0
    assert fenced.try_acquire(Priority.INTERACTIVE)
    fenced.hold(10.0)
    waiting = asyncio.ensure_future(fenced.acquire(Priority.AUTH))
    await asyncio.sleep(6.0)
    assert not fenced.try_acquire(Priority.INTERACTIVE)
    with pytest.raises(ClientClosed, match="lease"):
        await fenced.acquire(Priority.INTERACTIVE)
    with pytest.raises(ClientClosed, match="lease"):
        await fenced.wait_until_open()
    await asyncio.sleep(5.0)
    with pytest.raises(ClientClosed, match="lease"):
        await waiting

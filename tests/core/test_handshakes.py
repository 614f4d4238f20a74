"""The rate limit of WebSocket handshakes."""

import asyncio
from collections import Counter

import pytest

from energy_core import RateLimit, SessionPool
from energy_core.errors import ClientClosed
from energy_core.http.credential import Credential, Grant
from energy_core.secret import Secret

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def pool():
    pool = SessionPool()
    yield pool
    await pool.aclose()


@pytest.fixture
def account(pool):
    """An account with a low limit: one request a second."""
    return pool.account(
        "http://127.0.0.1:1", "a", RateLimit(10, 1.0, 4), lambda: Credential(grant=Grant(token=Secret("t")))
    )


async def admitted_at(pool, account):
    await pool.admit(account)
    return asyncio.get_running_loop().time()


async def test_a_thousand_handshakes_are_spread(pool, account):
    """All are admitted within 180 s, at most 20 in any tenth of a second."""
    times = sorted(await asyncio.gather(*(admitted_at(pool, account) for _ in range(1000))))
    assert times[-1] <= 180
    busiest = Counter(int(time * 10) for time in times).most_common(1)[0][1]
    assert busiest <= 20


async def test_handshakes_take_no_tokens_of_the_account(pool, account):
    """A handshake costs the account no request."""
    before = account.limiter.stats().level
    await pool.admit(account)
    assert account.limiter.stats().level == before


async def test_a_hold_of_the_account_holds_its_handshakes_too(pool, account):
    """No handshake is admitted before the hold ends; other accounts do not wait."""
    other = pool.account("http://127.0.0.1:1", "b", RateLimit(10, 1.0, 4), lambda: account.credential)
    account.limiter.hold(30)
    held = [asyncio.ensure_future(admitted_at(pool, account)) for _ in range(50)]
    await asyncio.sleep(0)
    assert await admitted_at(pool, other) < 1
    assert min(await asyncio.gather(*held)) >= 30


async def test_closing_ends_the_wait_at_once(pool, account):
    """A handshake that waits for the end of a hold gets ClientClosed."""
    account.limiter.hold(100)
    waiting = asyncio.ensure_future(pool.admit(account))
    await asyncio.sleep(1)
    await pool.aclose()
    with pytest.raises(ClientClosed):
        await waiting
    assert asyncio.get_running_loop().time() < 2

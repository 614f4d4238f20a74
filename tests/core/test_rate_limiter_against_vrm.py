"""The rate limiter against a model of VRM's: the 429s it causes, and the allowance it leaves unused."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from energy_core.clock import SystemClock
from energy_core.http.operation import Priority
from energy_core.http.rate_limiter import RateLimiter
from energy_core.http.token_bucket import RateLimit
from tests.servers.vrm_limit_model import VRMLimitModel

pytestmark = pytest.mark.virtual_time

VRM = RateLimit(200, 3.0)
both_readings = pytest.mark.parametrize(
    "count_refused", [False, True], ids=["accepted count", "refused count too"]
)


class Caller:
    """A small HTTP layer: waits for a slot, reports every 429 to the limiter, and retries."""

    def __init__(
        self, server: VRMLimitModel, limit: RateLimit = VRM, *, seed: int = 0, latency: float = 0.2
    ) -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.limiter = RateLimiter(limit, random=self.chance.random, name=str(seed))
        self.latency = latency
        self.clock = SystemClock()
        self.answered = self.sent = 0
        self.held_until = 0.0
        self.says_how_long = True
        self.stray = 0.0
        """The share of stray 429s, without Retry-After or JSON, although there is room."""

    async def ask(self) -> None:
        while True:
            async with self.limiter.slot(Priority.INTERACTIVE):
                sent_at = self.clock.monotonic()
                assert sent_at >= self.held_until, "sent inside a hold"
                self.sent += 1
                await self.clock.sleep(self.latency * self.chance.random())
                is_stray = self.chance.random() < self.stray
                retry_after = None if is_stray else self.server.ask(self.clock.monotonic())
                await self.clock.sleep(self.latency * self.chance.random())
            if is_stray:
                self.limiter.on_throttled(sent_at, None, certain=False)
                continue
            if retry_after is None:
                self.answered += 1
                self.limiter.on_accepted()
                return
            self._throttled(sent_at, retry_after)

    def _throttled(self, sent_at: float, retry_after: int) -> None:
        if self.says_how_long:
            self.held_until = max(self.held_until, self.clock.monotonic() + retry_after)
            self.limiter.on_throttled(sent_at, float(retry_after))
        else:
            self.limiter.on_throttled(sent_at, None)

    async def ask_forever(self) -> None:
        while True:
            await self.ask()


def server(**options) -> VRMLimitModel:
    return VRMLimitModel(start=SystemClock().monotonic(), **options)


@asynccontextmanager
async def running(*jobs):
    """Run the jobs until the block ends; none of them may have failed before that."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in outcomes} == {asyncio.CancelledError}, "a request was lost"


@pytest.mark.parametrize("latency", [0.0, 0.1, 1.0], ids=["at once", "0.1 s", "1 s"])
async def test_ten_thousand_requests_from_fifty_tasks_draw_no_429(latency):
    """10,000 greedy requests cause no 429 and use at least 97 % of the server's allowance."""
    vrm = server()
    caller = Caller(vrm, latency=latency)

    async def two_hundred() -> None:
        for _ in range(200):
            await caller.ask()

    await asyncio.gather(*(two_hundred() for _ in range(50)))
    assert vrm.refused == []
    assert len(vrm.accepted) == 10_000
    assert vrm.share_used(SystemClock().monotonic(), with_free=200) >= 0.97


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("latency", [0.02, 0.2, 1.0])
async def test_stray_429s_cost_no_more_than_the_requests_they_refuse(seed, latency):
    """With 2 % of stray 429s an hour of greedy load causes no real one, and uses 97 % of the rest."""
    vrm = server()
    caller = Caller(vrm, seed=seed, latency=latency)
    caller.stray = 0.02
    async with running(*(caller.ask_forever() for _ in range(20))):
        await SystemClock().sleep(3600.0)
    assert vrm.refused == []
    assert caller.sent - caller.answered == pytest.approx(0.02 * caller.sent, rel=0.4)
    assert vrm.share_used(SystemClock().monotonic(), with_free=200) >= 0.97 * 0.98
    assert caller.limiter.stats().rate == 3.0


@both_readings
async def test_one_real_429_costs_little(count_refused):
    """In half an hour a full window costs less than one part in a hundred of the allowance."""
    vrm, clock = server(used=60, count_refused=count_refused), SystemClock()
    caller = Caller(vrm)
    async with running(*(caller.ask_forever() for _ in range(20))):
        await clock.sleep(1800.0)
    assert 0 < len(vrm.refused) <= 8
    assert vrm.share_used(clock.monotonic()) >= 0.99


@both_readings
@pytest.mark.parametrize("seed", range(3))
async def test_with_the_limit_set_too_high_nothing_is_sent_inside_a_hold(count_refused, seed):
    """A client with a limit of 600 at once and 10 per second obeys each Retry-After, and still progresses."""
    vrm = server(count_refused=count_refused)
    caller = Caller(vrm, RateLimit(600, 10.0, 8), seed=seed)
    async with running(*(caller.ask_forever() for _ in range(50))):
        await SystemClock().sleep(1800.0)
    assert vrm.refused
    assert len(vrm.refused) <= 0.05 * caller.sent
    assert vrm.share_used(SystemClock().monotonic()) >= 0.9


@both_readings
@pytest.mark.parametrize("latency", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(3))
async def test_a_restart_with_a_used_allowance_causes_few_429s(count_refused, latency, seed):
    """With 150 of 200 used and 500 sites polled once a minute, half an hour causes at most 8 429s.

    No poll is lost, and at least 99 % of the allowance is used.
    """
    vrm = server(used=150, count_refused=count_refused)
    caller = Caller(vrm, seed=seed, latency=latency)
    clock = SystemClock()

    async def poll_ten_sites() -> None:
        due = clock.monotonic()
        while True:
            for _ in range(10):
                await caller.ask()
            due = max(due + 60.0, clock.monotonic())
            await clock.sleep(due - clock.monotonic())

    async with running(*(poll_ten_sites() for _ in range(50))):
        await clock.sleep(1800.0)
    assert len(vrm.refused) <= 8
    assert vrm.share_used(clock.monotonic()) >= 0.99
    assert caller.limiter.stats().throttled == len(vrm.refused)


@both_readings
@pytest.mark.parametrize("says_how_long", [True, False], ids=["Retry-After", "no Retry-After"])
@pytest.mark.parametrize(("programs", "most_refused"), [(2, 0.01), (8, 0.05)])
async def test_programs_with_one_token_share_its_allowance(
    programs, most_refused, says_how_long, count_refused
):
    """Two programs on one token settle within 5 minutes at 1 % of 429s or less, eight at 5 %.

    Each of them gets a fair share, and together they use at least 95 % of the allowance.
    """
    vrm = server(count_refused=count_refused)
    callers = [Caller(vrm, seed=seed) for seed in range(programs)]
    for caller in callers:
        caller.says_how_long = says_how_long
    async with running(*(caller.ask_forever() for caller in callers for _ in range(20))):
        await SystemClock().sleep(300.0)
        before = [caller.answered for caller in callers]
        refused, entered, slots = len(vrm.refused), vrm.entered, vrm.slots
        await SystemClock().sleep(3300.0)
        gained = [caller.answered - then for caller, then in zip(callers, before, strict=True)]
        refused, entered, slots = len(vrm.refused) - refused, vrm.entered - entered, vrm.slots - slots
    assert refused <= most_refused * (refused + sum(gained))
    assert min(gained) >= 0.6 * sum(gained) / programs
    assert entered >= 0.95 * slots


async def test_a_program_that_starts_later_gets_its_share():
    """Half an hour after starting on a token in full use, a second program has a third of the rate."""
    vrm, clock = server(), SystemClock()
    first, second = Caller(vrm, seed=1), Caller(vrm, seed=2)
    async with running(*(first.ask_forever() for _ in range(20))):
        await clock.sleep(1200.0)
        async with running(*(second.ask_forever() for _ in range(20))):
            await clock.sleep(1800.0)
            before = first.answered, second.answered
            await clock.sleep(1200.0)
            gained = first.answered - before[0], second.answered - before[1]
    assert min(gained) >= sum(gained) / 3

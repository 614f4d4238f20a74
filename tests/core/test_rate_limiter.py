import asyncio
import random
import sys
from contextlib import AsyncExitStack, suppress
from weakref import WeakKeyDictionary

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.clock import SystemClock
from energy_core.errors import ClientClosed, RateLimited
from energy_core.http.operation import Priority
from energy_core.http.priority_queue import PriorityQueue
from energy_core.http.rate_limiter import RateLimiter
from energy_core.http.token_bucket import RateLimit

pytestmark = pytest.mark.virtual_time

AUTH, INTERACTIVE, BACKGROUND = Priority


def no_jitter() -> float:
    return 0.0


class CountingClock(SystemClock):
    """Counts its pending timers."""

    def __init__(self) -> None:
        self.pending = self.most_pending = self.made = 0

    def call_at(self, when, callback):
        self.pending += 1
        self.made += 1
        self.most_pending = max(self.most_pending, self.pending)

        def ring() -> None:
            self.pending -= 1
            callback()

        return _CountedTimer(self, super().call_at(when, ring))


class _CountedTimer:
    def __init__(self, clock, handle) -> None:
        self.clock, self.handle = clock, handle

    def cancel(self) -> None:
        self.clock.pending -= 1
        self.handle.cancel()


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock()


CLOCKS = WeakKeyDictionary()
"""The clock of each limiter."""


def limiter_of(burst=200, per_second=3.0, in_flight=6, **options) -> RateLimiter:
    clock = options.setdefault("clock", CountingClock())
    limiter = RateLimiter(
        RateLimit(burst, per_second, in_flight), **{"random": no_jitter, "name": "test", **options}
    )
    CLOCKS[limiter] = clock
    return limiter


def at_rest(limiter: RateLimiter) -> None:
    """Check that no request waits, none is in flight, and no timer is set."""
    stats = limiter.stats()
    assert sum(stats.waiting.values()) == 0
    assert stats.in_flight == 0
    assert getattr(CLOCKS.get(limiter), "pending", 0) == 0


async def now() -> float:
    return asyncio.get_running_loop().time()


async def queue_up(*waits) -> list[asyncio.Task]:
    """Start the waits as tasks, one after the other, and let each run until it waits."""
    tasks = []
    for wait in waits:
        tasks.append(asyncio.ensure_future(wait))
        await SystemClock().sleep(0)
    return tasks


async def use(limiter: RateLimiter, priority=INTERACTIVE, log=None, label=None, seconds=0.0) -> None:
    async with limiter.slot(priority):
        if log is not None:
            log.append((label, asyncio.get_running_loop().time()))
        if seconds:
            await SystemClock().sleep(seconds)


# ---- slots


async def test_a_free_slot_needs_no_task_future_or_timer(clock, monkeypatch):
    """With tokens in the bucket, acquiring never suspends and creates nothing for the event loop."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "create_future", lambda: pytest.fail("a future"))
    monkeypatch.setattr(loop, "create_task", lambda *a, **k: pytest.fail("a task"))
    limiter = limiter_of(clock=clock)
    with pytest.raises(StopIteration):
        limiter.acquire(INTERACTIVE).send(None)
    limiter.release(INTERACTIVE)
    assert clock.made == 0
    monkeypatch.undo()


async def test_try_acquire_takes_only_a_free_slot():
    """`try_acquire` grants nothing without a token or a place, during a hold, or ahead of the queue."""
    limiter = limiter_of(burst=2, per_second=1.0, in_flight=1)
    assert limiter.try_acquire(INTERACTIVE)
    assert not limiter.try_acquire(INTERACTIVE)  # no place
    waiting = asyncio.create_task(use(limiter, seconds=1.0))
    await asyncio.sleep(0)
    assert not limiter.try_acquire(AUTH)  # a request waits
    limiter.release(INTERACTIVE)
    await waiting
    limiter.hold(5.0)
    assert not limiter.try_acquire(INTERACTIVE)
    await asyncio.sleep(6.0)
    assert limiter.try_acquire(AUTH)
    assert limiter.try_acquire(INTERACTIVE)
    assert not limiter.try_acquire(AUTH)  # no token
    limiter.release(AUTH)
    limiter.release(INTERACTIVE)
    at_rest(limiter)


async def test_slots_come_at_the_rate_after_the_burst():
    """The burst is granted at once, then one slot each 1 / per_second seconds."""
    limiter, log = limiter_of(burst=3, per_second=2.0), []
    await asyncio.gather(*(use(limiter, log=log, label=i) for i in range(7)))
    assert [at for _, at in log] == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5, 2.0])
    at_rest(limiter)


async def test_first_come_first_served_within_a_class():
    """1,000 waiters of one class get their slots in the order they came."""
    limiter, log = limiter_of(burst=1, per_second=10.0), []
    await asyncio.gather(*(use(limiter, log=log, label=i) for i in range(1000)))
    assert [label for label, _ in log] == list(range(1000))


async def test_a_busy_event_loop_keeps_the_order():
    """If a token has come and the busy loop has not fired the timer yet, a newcomer still queues last."""

    class LateClock(SystemClock):
        late = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.late

    clock, log = LateClock(), []
    limiter = limiter_of(burst=1, per_second=1.0, clock=clock)
    await use(limiter)
    tasks = await queue_up(use(limiter, log=log, label="first"))
    clock.late = 1.5
    await use(limiter, log=log, label="newcomer")
    await asyncio.gather(*tasks)
    assert [label for label, _ in log] == ["first", "newcomer"]


async def test_auth_before_interactive_before_background():
    """The classes are served in their order, whatever the order of arrival."""
    limiter, log = limiter_of(burst=1, per_second=1.0), []
    await use(limiter)
    await asyncio.gather(*(use(limiter, each, log, each) for each in (BACKGROUND, INTERACTIVE, AUTH)))
    assert [label for label, _ in log] == [AUTH, INTERACTIVE, BACKGROUND]


async def test_background_gets_one_slot_in_eight():
    """Under any load of interactive calls, background requests get an eighth of the rate."""
    limiter, log = limiter_of(burst=1, per_second=8.0), []
    await use(limiter)
    classes = [INTERACTIVE] * 700 + [BACKGROUND] * 100
    await asyncio.gather(*(use(limiter, each, log, each) for each in classes))
    served = [label for label, _ in log]
    assert all(BACKGROUND in served[at : at + 8] for at in range(793))
    assert served.count(BACKGROUND) == 100


async def test_no_more_in_flight_than_allowed():
    """However many tokens there are, the number of slots in use stays within the limit."""
    limiter, most = limiter_of(burst=200, in_flight=4), 0

    async def call() -> None:
        nonlocal most
        async with limiter.slot(INTERACTIVE):
            most = max(most, limiter.stats().in_flight)
            await SystemClock().sleep(random.random())

    await asyncio.gather(*(call() for _ in range(100)))
    assert most == 4
    at_rest(limiter)


async def test_a_login_never_waits_for_the_requests_that_wait_for_it():
    """If requests that need the login hold all places and more wait, the login still gets a slot."""
    limiter, logged_in = limiter_of(burst=200, in_flight=6), asyncio.Event()

    async def refused_request() -> None:
        async with limiter.slot(INTERACTIVE):
            await logged_in.wait()

    requests = await queue_up(*(refused_request() for _ in range(20)))
    async with asyncio.timeout(1.0), limiter.slot(AUTH):
        assert limiter.stats().in_flight == 6
        logged_in.set()
    await asyncio.gather(*requests)
    at_rest(limiter)


async def test_a_queued_login_is_the_next_to_be_served():
    """A login that waits for a token gets the very next one, ahead of 100 other requests."""
    limiter, log = limiter_of(burst=1, per_second=1.0), []
    await use(limiter)
    others = await queue_up(*(use(limiter, INTERACTIVE, log, "other") for _ in range(100)))
    await use(limiter, AUTH, log, "login")
    assert log == [("login", pytest.approx(1.0))]
    await asyncio.gather(*others)


async def test_an_error_in_a_slot_releases_it():
    """A slot is released at the end of its block, also after an exception."""
    limiter = limiter_of(in_flight=1)
    with pytest.raises(ZeroDivisionError):
        async with limiter.slot(INTERACTIVE):
            raise ZeroDivisionError
    at_rest(limiter)


# ---- cancelling


async def cancel_after(task: asyncio.Task, when: float, hops: int) -> None:
    """Cancel at `when`, so many steps of the event loop after the timers of that moment."""
    await SystemClock().sleep(when - await now())
    for _ in range(hops):
        await SystemClock().sleep(0)
    task.cancel()


@pytest.mark.parametrize("hops", range(6))
@pytest.mark.parametrize("when", [0.0, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("hold", [False, True])
async def test_cancelling_a_waiter_costs_nothing(clock, hops, when, hold):
    """Cancelled at any step of its wait, a caller costs the others no token, no place and no order."""
    limiter, log = limiter_of(burst=1, per_second=1.0, in_flight=1, clock=clock), []
    waits = [use(limiter, log=log, label=i, seconds=0.25) for i in range(5)]
    tasks = await queue_up(*waits)
    if hold:
        asyncio.get_running_loop().call_at(1.0, limiter.hold, 0.0)
    await cancel_after(tasks[1], when, hops)
    await asyncio.gather(*tasks, return_exceptions=True)

    assert [label for label, _ in log] in ([0, 1, 2, 3, 4], [0, 2, 3, 4])
    assert [at for _, at in log] == pytest.approx(range(len(log)))
    assert limiter.stats().granted == len(log)
    assert limiter.stats().level == pytest.approx(0.25)
    at_rest(limiter)
    assert clock.pending == 0


async def test_cancelled_waiters_leave_their_tokens(clock):
    """1,000 waiters cancelled at random moments leave tokens for exactly those that were not served."""
    limiter, chance = limiter_of(burst=5, per_second=10.0, in_flight=3, clock=clock), random.Random(7)

    async def impatient() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(chance.random() * 20):
                await use(limiter, chance.choice(list(Priority)), seconds=chance.random())

    await asyncio.gather(*(impatient() for _ in range(1000)))
    at_rest(limiter)
    assert clock.pending == 0
    elapsed = await now()
    assert limiter.stats().granted <= 5 + 10.0 * elapsed
    await SystemClock().sleep(0.6)
    assert limiter.stats().level == 5


async def test_cancelling_ends_the_wait_at_once():
    """A cancelled wait ends at the same moment, even during a hold."""
    limiter = limiter_of()
    limiter.hold(60.0)
    (task,) = await queue_up(use(limiter))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await now() == 0.0
    at_rest(limiter)


async def test_the_wait_is_bounded(clock):
    """After `max_queue_wait_s` the wait ends with RateLimited(local=True); the others keep their order."""
    limiter = limiter_of(burst=1, per_second=0.1, max_queue_wait_s=25.0, clock=clock)
    log = []
    results = await asyncio.gather(
        *(use(limiter, log=log, label=i) for i in range(5)), return_exceptions=True
    )
    assert log == [(0, 0.0), (1, pytest.approx(10.0)), (2, pytest.approx(20.0))]
    assert [type(each) for each in results[3:]] == [RateLimited, RateLimited]
    assert all(each.local for each in results[3:])
    assert await now() == pytest.approx(25.0)
    at_rest(limiter)
    assert clock.pending == 0


async def test_the_bound_holds_without_a_free_place():
    """A request that waits for a place in flight times out as well."""
    limiter = limiter_of(in_flight=1, max_queue_wait_s=10.0)
    async with limiter.slot(INTERACTIVE):
        with pytest.raises(RateLimited, match="waited 10 s") as caught:
            await use(limiter)
    assert caught.value.local
    at_rest(limiter)


# ---- holds


async def test_a_hold_applies_to_queued_requests():
    """Nothing is sent before the hold ends, and then at the usual rate."""
    limiter, log = limiter_of(burst=2, per_second=1.0), []
    tasks = await queue_up(*(use(limiter, log=log, label=i) for i in range(5)))
    limiter.hold(30.0)
    await asyncio.gather(*tasks)
    assert [at for _, at in log] == pytest.approx([0, 0, 30, 30, 31])


async def test_the_latest_end_of_all_holds_counts():
    """A shorter hold never ends a longer one."""
    limiter, log = limiter_of(), []
    limiter.hold(30.0)
    limiter.hold(1.0)
    limiter.hold(0.0)
    await use(limiter, log=log)
    assert log == [(None, pytest.approx(30.0))]


async def test_jitter_only_lengthens_a_hold():
    """A hold of 100 s ends after 100 to 110 s, spread over that range."""
    ends = []
    for seed in range(100):
        limiter = RateLimiter(RateLimit(1, 1.0), random=random.Random(seed).random)
        limiter.hold(100.0)
        ends.append(limiter.stats().hold_s)
    assert all(100.0 <= end <= 110.0 for end in ends)
    assert min(ends) < 101.0
    assert max(ends) > 109.0


async def test_a_hold_revokes_a_grant_that_was_not_used_yet():
    """If a hold starts between a grant and its request, the request waits in its old place."""
    limiter, log = limiter_of(burst=1, per_second=1.0, in_flight=3), []
    await use(limiter)
    tasks = await queue_up(
        *(use(limiter, each, log, i) for i, each in enumerate((INTERACTIVE, AUTH, INTERACTIVE)))
    )
    asyncio.get_running_loop().call_at(1.0, limiter.hold, 10.0)  # set after the limiter's own timer for 1.0
    await asyncio.gather(*tasks)
    assert [label for label, _ in log] == [1, 0, 2]
    assert log[0][1] == pytest.approx(11.0)
    at_rest(limiter)


async def test_revoked_grants_keep_their_order():
    """Several grants that a new hold revokes at the same moment are granted again in the same order."""
    limiter, log = limiter_of(burst=5, per_second=1.0), []
    limiter.hold(1.0)
    tasks = await queue_up(*(use(limiter, log=log, label=i) for i in range(5)))
    asyncio.get_running_loop().call_at(
        1.0, limiter.hold, 10.0
    )  # after the limiter's timer has given all five
    await asyncio.gather(*tasks)
    assert [label for label, _ in log] == [0, 1, 2, 3, 4]
    assert [at for _, at in log] == pytest.approx([11.0] * 5)


@pytest.mark.parametrize("seed", range(3))
async def test_a_thousand_tasks_never_send_inside_a_hold(seed):
    """With 1,000 tasks and holds at random moments, no request starts before the latest hold ends."""
    chance = random.Random(seed)
    limiter = RateLimiter(RateLimit(50, 40.0, 8), random=chance.random)
    until = sent = 0.0

    async def caller() -> None:
        nonlocal sent
        async with limiter.slot(chance.choice([INTERACTIVE, INTERACTIVE, BACKGROUND, AUTH])):
            assert await now() >= until
            sent += 1
            await SystemClock().sleep(chance.random() * 0.5)

    async def holder() -> None:
        nonlocal until
        while True:
            await SystemClock().sleep(chance.random() * 2.0)
            for _ in range(chance.randrange(4)):
                await SystemClock().sleep(0)
            seconds = chance.choice([0.0, 0.1, 1.0, 3.0])
            limiter.hold(seconds)
            until = max(until, await now() + seconds)

    holding = asyncio.ensure_future(holder())
    await asyncio.gather(*(caller() for _ in range(1000)))
    holding.cancel()
    assert sent == 1000
    at_rest(limiter)


async def test_too_long_a_hold_is_an_error_at_once():
    """With a hold longer than `max_hold_s`, new and queued requests fail at once with its duration."""
    limiter = limiter_of(burst=1, per_second=0.1, max_hold_s=120.0)
    await use(limiter)
    (queued,) = await queue_up(use(limiter))
    limiter.hold(3600.0)
    with pytest.raises(RateLimited) as queued_error:
        await queued
    with pytest.raises(RateLimited) as refused:
        await use(limiter, AUTH)
    assert queued_error.value.retry_after == refused.value.retry_after == pytest.approx(3600.0)
    assert not queued_error.value.local
    assert await now() == 0.0
    at_rest(limiter)


async def test_the_longest_accepted_hold_is_waited_for_jitter_included():
    """A hold of 120 s is waited for if `max_hold_s` is 120, although jitter makes it longer."""
    limiter, log = limiter_of(random=lambda: 0.99, max_hold_s=120.0), []
    limiter.hold(120.0)
    await use(limiter, log=log)
    assert log == [(None, pytest.approx(131.88))]


@pytest.mark.parametrize("seconds", [1e30, float("inf"), 365 * 86_400.0])
async def test_an_absurd_hold_ends_after_a_day(seconds):
    """One absurd header does not stop an account for good."""
    limiter, log = limiter_of(), []
    limiter.hold(seconds)
    await SystemClock().sleep(86_400.0)
    await use(limiter, log=log)
    assert log == [(None, pytest.approx(86_400.0))]


# ---- 429s


async def test_the_first_429_with_tokens_empties_the_bucket_only():
    """After a restart the level is wrong: the bucket is emptied and the rate stays."""
    limiter = limiter_of()
    async with limiter.slot(INTERACTIVE):
        limiter.on_throttled(await now(), 1.0)
    stats = limiter.stats()
    assert stats.level <= 0.0
    assert stats.rate == 3.0
    assert stats.hold_s == 1.0
    assert stats.throttled == 1


async def test_a_429_without_tokens_lowers_the_rate():
    """A 429 with an empty bucket lowers the rate by three tenths; most of that is regained in 30 seconds."""
    limiter = limiter_of(burst=1)
    await use(limiter)
    limiter.on_throttled(await now(), 1.0)
    assert limiter.stats().rate == pytest.approx(2.1)
    await SystemClock().sleep(30.0)
    assert limiter.stats().rate == pytest.approx(2.7)
    await SystemClock().sleep(100.0)
    assert limiter.stats().rate == pytest.approx(2.8)
    await SystemClock().sleep(1000.0)
    assert limiter.stats().rate == 3.0


async def test_slots_come_at_the_lowered_rate():
    """At 2.1 requests per second, rising to 2.7 in 30 seconds, 72 slots take as long as that."""
    limiter, log = limiter_of(burst=1), []
    await use(limiter)
    limiter.on_throttled(await now(), 0.0)
    await asyncio.gather(*(use(limiter, log=log) for _ in range(74)))
    assert log[-1][1] - log[1][1] == pytest.approx(30.0, rel=0.02)


async def test_429s_of_one_episode_lower_the_rate_once():
    """Six requests refused together lower the rate once; one sent after that lowers it again."""
    limiter = limiter_of(burst=6)
    async with AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(limiter.slot(INTERACTIVE))
        sent = await now()
        await SystemClock().sleep(0.1)
        for _ in range(6):
            limiter.on_throttled(sent, 1.0)
    before = limiter.stats().rate
    assert before == pytest.approx(2.1)
    await use(limiter)
    before = limiter.stats().rate
    assert before < 2.3
    limiter.on_throttled(await now(), 1.0)
    assert limiter.stats().rate == pytest.approx(before * 0.7)
    assert limiter.stats().throttled == 7


async def test_a_second_429_soon_after_lowers_the_rate_even_with_tokens():
    """Only the first 429 spares the rate: a rate that is too high for a slow caller is lowered as well."""
    limiter = limiter_of(burst=2, per_second=10.0)
    for cut in (1.0, 0.7, 0.7):
        await SystemClock().sleep(2.0)
        await use(limiter)
        before = limiter.stats().rate
        limiter.on_throttled(await now(), 0.0)
        assert limiter.stats().rate == pytest.approx(before * cut)


async def test_doubtful_429s_change_nothing_until_there_are_three_in_a_row():
    """One without Retry-After and JSON causes a short hold; level and rate stay, unless two more follow."""
    limiter = limiter_of(burst=6, random=lambda: 0.5)
    for _ in range(20):
        for hold in (1 / 6, 1 / 3):
            sent = await now()
            level = limiter.stats().level
            limiter.on_throttled(sent, None, certain=False)
            assert limiter.stats().level == level
            assert limiter.stats().rate == 3.0
            assert limiter.stats().hold_s == pytest.approx(hold * 1.05)
            await SystemClock().sleep(1.0)
        limiter.on_accepted()
    for _ in range(6):
        await use(limiter)
    for rate in (3.0, 3.0, 2.1):
        assert limiter.stats().rate == 3.0
        limiter.on_throttled(await now(), None, certain=False)
        assert limiter.stats().rate == pytest.approx(rate)
    assert limiter.stats().level < 0.0


async def test_a_certain_429_between_doubtful_ones_lowers_the_rate_by_itself():
    """A 429 with Retry-After or JSON counts at once."""
    limiter = limiter_of(burst=1)
    await use(limiter)
    limiter.on_throttled(await now(), None, certain=False)
    limiter.on_throttled(await now(), None)
    assert limiter.stats().rate == pytest.approx(2.1)


async def test_the_default_hold_doubles_with_each_episode():
    """Without Retry-After the jittered hold starts at one interval and doubles each time, up to 20 s."""
    limiter, holds = limiter_of(random=lambda: 1 - 2**-53), []
    for _ in range(9):
        await use(limiter)
        limiter.on_throttled(await now(), None)
        holds.append(limiter.stats().hold_s / 1.1)
        await SystemClock().sleep(limiter.stats().hold_s)
    assert holds == pytest.approx([1 / 3, 2 / 3, 4 / 3, 8 / 3, 16 / 3, 32 / 3, 20, 20, 20])


# ---- many


@pytest.mark.parametrize("held", [False, True])
async def test_one_timer_serves_a_thousand_waiters(clock, held):
    """There is never more than one pending timer, whatever the waiters wait for."""
    limiter = limiter_of(burst=1, per_second=50.0, in_flight=3, clock=clock)
    if held:
        limiter.hold(5.0)
    await asyncio.gather(*(use(limiter, Priority(i % 3), seconds=0.05) for i in range(1000)))
    assert clock.most_pending == 1
    assert clock.pending == 0
    assert clock.made < 2200


async def test_the_cost_of_a_waiter_does_not_grow_with_their_number():
    """Ten times the waiters make ten times the Python function calls."""

    async def calls_for(waiters: int) -> float:
        count = 0

        def note(frame, event, argument) -> None:
            nonlocal count
            count += event == "call"

        limiter = limiter_of(burst=1, per_second=100.0, max_queue_wait_s=1e6)
        tasks = await queue_up(*(use(limiter, Priority(i % 3)) for i in range(waiters)))
        sys.setprofile(note)
        try:
            for task in tasks[1::7]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            sys.setprofile(None)
        return count / waiters

    assert await calls_for(3000) < 1.2 * await calls_for(300)


# ---- closing, repr


async def test_closing_ends_all_waits(clock):
    """Waiters of every class and newcomers get ClientClosed at once; a slot in use is not affected."""
    limiter = limiter_of(burst=1, per_second=1.0, clock=clock)
    async with limiter.slot(INTERACTIVE):
        tasks = await queue_up(*(use(limiter, each) for each in (*Priority, *Priority)))
        limiter.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [ClientClosed] * 6
        assert len({id(each) for each in results}) == 6
    with pytest.raises(ClientClosed):
        await use(limiter)
    limiter.close()
    assert await now() == 0.0
    at_rest(limiter)
    assert clock.pending == 0


@pytest.mark.parametrize("priority", Priority)
async def test_a_closed_limiter_grants_nothing(priority):
    """After closing no slot is granted, although there are tokens and places, not even for a login."""
    limiter = limiter_of()
    limiter.close()
    with pytest.raises(ClientClosed):
        await use(limiter, priority)
    assert limiter.stats().granted == 0


async def test_closing_revokes_a_grant_that_was_not_used_yet():
    """If the limiter closes between a grant and its request, the request is not sent."""
    limiter, log = limiter_of(burst=1, per_second=1.0), []
    await use(limiter)
    (task,) = await queue_up(use(limiter, log=log))
    asyncio.get_running_loop().call_at(1.0, limiter.close)
    with pytest.raises(ClientClosed):
        await task
    assert log == []
    assert limiter.stats().granted == 1
    at_rest(limiter)


async def test_repr_shows_level_waiters_and_next_wake():
    """`repr` shows why nothing is being sent."""
    limiter = limiter_of(burst=2, per_second=1.0, name="vrm home")
    tasks = await queue_up(*(use(limiter, INTERACTIVE) for _ in range(4)), use(limiter, BACKGROUND))
    assert repr(limiter) == (
        "<RateLimiter 'vrm home' level 0.00 of 2, 1.00/s, 0 of 6 in flight, 0+2+1 waiting, "
        "next wake in 1.00 s>"
    )
    limiter.hold(5.0)
    assert "held for 5.00 s" in repr(limiter)
    stats = limiter.stats()
    assert (stats.name, stats.granted, stats.hold_s) == ("vrm home", 2, 5.0)
    assert stats.waiting == {AUTH: 0, INTERACTIVE: 2, BACKGROUND: 1}
    limiter.close()
    assert "closed" in repr(limiter)
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_limiter_can_be_created_and_shown_without_an_event_loop():
    """Creating a client is not I/O."""
    assert repr(limiter_of(burst=2)) == "<RateLimiter 'test' RateLimit(burst=2, per_second=3.0, in_flight=6)>"


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ((0, 3.0), ValueError, "burst"),
        ((-1, 3.0), ValueError, "burst"),
        ((2.5, 3.0), TypeError, "burst"),
        ((True, 3.0), TypeError, "burst"),
        ((200, 0.0), ValueError, "per_second"),
        ((200, -3.0), ValueError, "per_second"),
        ((200, float("nan")), ValueError, "per_second"),
        ((200, float("inf")), ValueError, "per_second"),
        ((200, "3"), TypeError, "per_second"),
        ((200, 3.0, 0), ValueError, "in_flight"),
        ((200, 3.0, None), TypeError, "in_flight"),
    ],
)
def test_an_invalid_limit_is_refused(arguments, error, named):
    """The error names the field and the reason."""
    with pytest.raises(error, match=named):
        RateLimit(*arguments)


# ---- the queue


class Waiter:
    def __init__(self, priority: Priority, number: int) -> None:
        self.priority, self.number = priority, number


steps = st.lists(
    st.sampled_from(["auth", "interactive", "background", "serve", "leave", "again"]), max_size=200
)


@given(steps, st.integers(0, 5))
def test_every_order_of_arrivals_and_cancellations_is_fair(script, salt):
    """After any adds, removals and put-backs classes keep their order, and background gets an eighth."""
    queue: PriorityQueue[Waiter] = PriorityQueue()
    there: list[Waiter] = []
    without_background = 0
    for number, step in enumerate(script):
        if step in {"auth", "interactive", "background"}:
            there.append(Waiter(Priority[step.upper()], number))
            queue.add(there[-1])
        elif step == "leave" and there:
            queue.discard(there.pop((number + salt) % len(there)))
        elif (waiter := queue.next(place=True)) is not None:
            assert waiter is min(
                (one for one in there if one.priority is waiter.priority), key=lambda one: one.number
            )
            queue.pop(waiter)
            if step == "again":
                queue.put_back(waiter)
                continue
            there.remove(waiter)
            waiting = any(one.priority is BACKGROUND for one in there)
            without_background = without_background + 1 if waiting and waiter.priority is INTERACTIVE else 0
            if waiter.priority is INTERACTIVE:
                assert without_background <= 7
        assert queue.size == len(there)
        assert {one.number for one in queue} == {one.number for one in there}

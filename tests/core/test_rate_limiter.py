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
from energy_core.http.rate_limit import RateLimit
from energy_core.http.rate_limiter import RateLimiter

pytestmark = pytest.mark.virtual_time

AUTH, INTERACTIVE, BACKGROUND = Priority


def no_jitter() -> float:
    return 0.0


class CountingClock(SystemClock):
    """Knows how many of its timers are pending."""

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


def lane_of(burst=200, per_second=3.0, in_flight=6, **options) -> RateLimiter:
    clock = options.setdefault("clock", CountingClock())
    lane = RateLimiter(
        RateLimit(burst, per_second, in_flight), **{"random": no_jitter, "name": "test", **options}
    )
    CLOCKS[lane] = clock
    return lane


def at_rest(lane: RateLimiter) -> None:
    """Check that the lane is at rest: nobody waits, nothing is in flight, no timer is set."""
    stats = lane.stats()
    assert sum(stats.waiting.values()) == 0
    assert stats.in_flight == 0
    assert getattr(CLOCKS.get(lane), "pending", 0) == 0


async def now() -> float:
    return asyncio.get_running_loop().time()


async def queue_up(*waits) -> list[asyncio.Task]:
    """Start the waits as tasks, one after the other, and let each come to its standstill."""
    tasks = []
    for wait in waits:
        tasks.append(asyncio.ensure_future(wait))
        await SystemClock().sleep(0)
    return tasks


async def use(lane: RateLimiter, priority=INTERACTIVE, log=None, label=None, seconds=0.0) -> None:
    async with lane.slot(priority):
        if log is not None:
            log.append((label, asyncio.get_running_loop().time()))
        if seconds:
            await SystemClock().sleep(seconds)


# ---- turns


async def test_a_free_turn_needs_neither_task_nor_future_nor_timer(clock, monkeypatch):
    """While there is stock, entering never suspends and makes nothing that the event loop must run."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "create_future", lambda: pytest.fail("a future"))
    monkeypatch.setattr(loop, "create_task", lambda *a, **k: pytest.fail("a task"))
    lane = lane_of(clock=clock)
    with pytest.raises(StopIteration):
        lane.acquire(INTERACTIVE).send(None)
    lane.release(INTERACTIVE)
    assert clock.made == 0
    monkeypatch.undo()


async def test_a_turn_is_taken_without_waiting_only_if_it_is_there_now():
    """`try_enter` gives no turn out of turn: not without a token or a place, in a hold, or past others."""
    lane = lane_of(burst=2, per_second=1.0, in_flight=1)
    assert lane.try_acquire(INTERACTIVE)
    assert not lane.try_acquire(INTERACTIVE)  # no place
    waiting = asyncio.create_task(use(lane, seconds=1.0))
    await asyncio.sleep(0)
    assert not lane.try_acquire(AUTH)  # somebody waits
    lane.release(INTERACTIVE)
    await waiting
    lane.hold(5.0)
    assert not lane.try_acquire(INTERACTIVE)
    await asyncio.sleep(6.0)
    assert lane.try_acquire(AUTH)
    assert lane.try_acquire(INTERACTIVE)
    assert not lane.try_acquire(AUTH)  # no token
    lane.release(AUTH)
    lane.release(INTERACTIVE)
    at_rest(lane)


async def test_turns_come_at_the_rate_once_the_stock_is_used():
    """The burst is given at once, then one turn each 1 / per_second seconds."""
    lane, log = lane_of(burst=3, per_second=2.0), []
    await asyncio.gather(*(use(lane, log=log, label=i) for i in range(7)))
    assert [at for _, at in log] == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5, 2.0])
    at_rest(lane)


async def test_first_come_first_served_within_a_class():
    """1,000 waiters of one class get their turns in the order they came."""
    lane, log = lane_of(burst=1, per_second=10.0), []
    await asyncio.gather(*(use(lane, log=log, label=i) for i in range(1000)))
    assert [label for label, _ in log] == list(range(1000))


async def test_a_busy_event_loop_lets_nobody_overtake():
    """When a token has come and the loop was too busy to ring the timer, a newcomer still stands last."""

    class LateClock(SystemClock):
        late = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.late

    clock, log = LateClock(), []
    lane = lane_of(burst=1, per_second=1.0, clock=clock)
    await use(lane)
    tasks = await queue_up(use(lane, log=log, label="first"))
    clock.late = 1.5
    await use(lane, log=log, label="newcomer")
    await asyncio.gather(*tasks)
    assert [label for label, _ in log] == ["first", "newcomer"]


async def test_auth_before_interactive_before_background():
    """Whoever came first, the classes are served in their order."""
    lane, log = lane_of(burst=1, per_second=1.0), []
    await use(lane)
    await asyncio.gather(*(use(lane, each, log, each) for each in (BACKGROUND, INTERACTIVE, AUTH)))
    assert [label for label, _ in log] == [AUTH, INTERACTIVE, BACKGROUND]


async def test_background_gets_one_turn_in_eight():
    """Under any load of calls, background work goes on, at an eighth of the rate."""
    lane, log = lane_of(burst=1, per_second=8.0), []
    await use(lane)
    classes = [INTERACTIVE] * 700 + [BACKGROUND] * 100
    await asyncio.gather(*(use(lane, each, log, each) for each in classes))
    served = [label for label, _ in log]
    assert all(BACKGROUND in served[at : at + 8] for at in range(793))
    assert served.count(BACKGROUND) == 100


async def test_no_more_in_flight_than_allowed():
    """However many tokens there are, no more turns are in use at once than the limit says."""
    lane, most = lane_of(burst=200, in_flight=4), 0

    async def call() -> None:
        nonlocal most
        async with lane.slot(INTERACTIVE):
            most = max(most, lane.stats().in_flight)
            await SystemClock().sleep(random.random())

    await asyncio.gather(*(call() for _ in range(100)))
    assert most == 4
    at_rest(lane)


async def test_a_login_never_waits_for_the_requests_that_wait_for_it():
    """With every place taken by requests that need the login, and more behind them, auth gets its turn."""
    lane, logged_in = lane_of(burst=200, in_flight=6), asyncio.Event()

    async def refused_request() -> None:
        async with lane.slot(INTERACTIVE):
            await logged_in.wait()

    requests = await queue_up(*(refused_request() for _ in range(20)))
    async with asyncio.timeout(1.0), lane.slot(AUTH):
        assert lane.stats().in_flight == 6
        logged_in.set()
    await asyncio.gather(*requests)
    at_rest(lane)


async def test_a_queued_login_is_the_next_to_be_served():
    """Auth that waits for a token gets the very next one, in front of 100 others."""
    lane, log = lane_of(burst=1, per_second=1.0), []
    await use(lane)
    others = await queue_up(*(use(lane, INTERACTIVE, log, "other") for _ in range(100)))
    await use(lane, AUTH, log, "login")
    assert log == [("login", pytest.approx(1.0))]
    await asyncio.gather(*others)


async def test_an_error_inside_a_turn_frees_its_place():
    """A turn ends with its block, however the block ends."""
    lane = lane_of(in_flight=1)
    with pytest.raises(ZeroDivisionError):
        async with lane.slot(INTERACTIVE):
            raise ZeroDivisionError
    at_rest(lane)


# ---- giving up


async def cancel_after(task: asyncio.Task, when: float, hops: int) -> None:
    """Cancel at `when`, so many steps of the event loop after the timers of that moment."""
    await SystemClock().sleep(when - await now())
    for _ in range(hops):
        await SystemClock().sleep(0)
    task.cancel()


@pytest.mark.parametrize("hops", range(6))
@pytest.mark.parametrize("when", [0.0, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("hold", [False, True])
async def test_whoever_gives_up_leaves_no_debt(clock, hops, when, hold):
    """Cancelled at any step of its wait, a caller costs the others no token, no place and no order."""
    lane, log = lane_of(burst=1, per_second=1.0, in_flight=1, clock=clock), []
    waits = [use(lane, log=log, label=i, seconds=0.25) for i in range(5)]
    tasks = await queue_up(*waits)
    if hold:
        asyncio.get_running_loop().call_at(1.0, lane.hold, 0.0)
    await cancel_after(tasks[1], when, hops)
    await asyncio.gather(*tasks, return_exceptions=True)

    assert [label for label, _ in log] in ([0, 1, 2, 3, 4], [0, 2, 3, 4])
    assert [at for _, at in log] == pytest.approx(range(len(log)))
    assert lane.stats().granted == len(log)
    assert lane.stats().level == pytest.approx(0.25)
    at_rest(lane)
    assert clock.pending == 0


async def test_cancelling_everybody_leaves_a_lane_as_new(clock):
    """1,000 waiters cancelled at random moments leave tokens for exactly those that were not served."""
    lane, chance = lane_of(burst=5, per_second=10.0, in_flight=3, clock=clock), random.Random(7)

    async def impatient() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(chance.random() * 20):
                await use(lane, chance.choice(list(Priority)), seconds=chance.random())

    await asyncio.gather(*(impatient() for _ in range(1000)))
    at_rest(lane)
    assert clock.pending == 0
    elapsed = await now()
    assert lane.stats().granted <= 5 + 10.0 * elapsed
    await SystemClock().sleep(0.6)
    assert lane.stats().level == 5


async def test_cancelling_is_felt_at_once():
    """A cancelled wait ends in the same moment, even in the middle of a hold."""
    lane = lane_of()
    lane.hold(60.0)
    (task,) = await queue_up(use(lane))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await now() == 0.0
    at_rest(lane)


async def test_nobody_waits_longer_than_the_bound(clock):
    """Past `max_queue_wait_s` the wait ends as RateLimited(local=True); the others keep their turns."""
    lane = lane_of(burst=1, per_second=0.1, max_queue_wait_s=25.0, clock=clock)
    log = []
    results = await asyncio.gather(*(use(lane, log=log, label=i) for i in range(5)), return_exceptions=True)
    assert log == [(0, 0.0), (1, pytest.approx(10.0)), (2, pytest.approx(20.0))]
    assert [type(each) for each in results[3:]] == [RateLimited, RateLimited]
    assert all(each.local for each in results[3:])
    assert await now() == pytest.approx(25.0)
    at_rest(lane)
    assert clock.pending == 0


async def test_the_bound_holds_without_a_free_place():
    """Whoever waits for a place in flight is sent away in time as well."""
    lane = lane_of(in_flight=1, max_queue_wait_s=10.0)
    async with lane.slot(INTERACTIVE):
        with pytest.raises(RateLimited, match="waited 10 s") as caught:
            await use(lane)
    assert caught.value.local
    at_rest(lane)


# ---- holds


async def test_a_hold_binds_those_in_the_queue_too():
    """Nothing is sent before the hold ends, and then at the usual rate."""
    lane, log = lane_of(burst=2, per_second=1.0), []
    tasks = await queue_up(*(use(lane, log=log, label=i) for i in range(5)))
    lane.hold(30.0)
    await asyncio.gather(*tasks)
    assert [at for _, at in log] == pytest.approx([0, 0, 30, 30, 31])


async def test_the_latest_end_of_all_holds_counts():
    """A shorter hold never sets a longer one free."""
    lane, log = lane_of(), []
    lane.hold(30.0)
    lane.hold(1.0)
    lane.hold(0.0)
    await use(lane, log=log)
    assert log == [(None, pytest.approx(30.0))]


async def test_jitter_only_lengthens_a_hold():
    """A hold of 100 s ends after 100 to 110 s, spread over the whole of that."""
    ends = []
    for seed in range(100):
        lane = RateLimiter(RateLimit(1, 1.0), random=random.Random(seed).random)
        lane.hold(100.0)
        ends.append(lane.stats().hold_s)
    assert all(100.0 <= end <= 110.0 for end in ends)
    assert min(ends) < 101.0
    assert max(ends) > 109.0


async def test_a_turn_given_and_not_yet_used_is_taken_back_by_a_hold():
    """When a hold comes in the step between a turn and its request, the request waits, in its old place."""
    lane, log = lane_of(burst=1, per_second=1.0, in_flight=3), []
    await use(lane)
    tasks = await queue_up(
        *(use(lane, each, log, i) for i, each in enumerate((INTERACTIVE, AUTH, INTERACTIVE)))
    )
    asyncio.get_running_loop().call_at(1.0, lane.hold, 10.0)  # set after the lane's own timer for 1.0
    await asyncio.gather(*tasks)
    assert [label for label, _ in log] == [1, 0, 2]
    assert log[0][1] == pytest.approx(11.0)
    at_rest(lane)


async def test_turns_taken_back_together_keep_their_order():
    """Several turns that a new hold takes back in the same moment are given again in the order they had."""
    lane, log = lane_of(burst=5, per_second=1.0), []
    lane.hold(1.0)
    tasks = await queue_up(*(use(lane, log=log, label=i) for i in range(5)))
    asyncio.get_running_loop().call_at(1.0, lane.hold, 10.0)  # after the lane's timer has given all five
    await asyncio.gather(*tasks)
    assert [label for label, _ in log] == [0, 1, 2, 3, 4]
    assert [at for _, at in log] == pytest.approx([11.0] * 5)


@pytest.mark.parametrize("seed", range(3))
async def test_a_thousand_tasks_never_send_inside_a_hold(seed):
    """With 1,000 tasks and holds at random moments, no request starts before the latest hold's end."""
    chance = random.Random(seed)
    lane = RateLimiter(RateLimit(50, 40.0, 8), random=chance.random)
    until = sent = 0.0

    async def caller() -> None:
        nonlocal sent
        async with lane.slot(chance.choice([INTERACTIVE, INTERACTIVE, BACKGROUND, AUTH])):
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
            lane.hold(seconds)
            until = max(until, await now() + seconds)

    holding = asyncio.ensure_future(holder())
    await asyncio.gather(*(caller() for _ in range(1000)))
    holding.cancel()
    assert sent == 1000
    at_rest(lane)


async def test_too_long_a_hold_is_an_error_at_once():
    """Beyond `max_hold_s` neither newcomers nor the queue wait; both are told how long it would be."""
    lane = lane_of(burst=1, per_second=0.1, max_hold_s=120.0)
    await use(lane)
    (queued,) = await queue_up(use(lane))
    lane.hold(3600.0)
    with pytest.raises(RateLimited) as told:
        await queued
    with pytest.raises(RateLimited) as refused:
        await use(lane, AUTH)
    assert told.value.retry_after == refused.value.retry_after == pytest.approx(3600.0)
    assert not told.value.local
    assert await now() == 0.0
    at_rest(lane)


async def test_the_longest_accepted_hold_is_waited_for_jitter_included():
    """120 s asked are waited for with a bound of 120, although jitter makes them more."""
    lane, log = lane_of(random=lambda: 0.99, max_hold_s=120.0), []
    lane.hold(120.0)
    await use(lane, log=log)
    assert log == [(None, pytest.approx(131.88))]


@pytest.mark.parametrize("seconds", [1e30, float("inf"), 365 * 86_400.0])
async def test_an_absurd_hold_ends_after_a_day(seconds):
    """One absurd header does not silence an account for good."""
    lane, log = lane_of(), []
    lane.hold(seconds)
    await SystemClock().sleep(86_400.0)
    await use(lane, log=log)
    assert log == [(None, pytest.approx(86_400.0))]


# ---- 429s


async def test_the_first_429_with_stock_empties_the_stock_and_keeps_the_rate():
    """After a restart the stock is what is wrong: it is forgotten, and the rate stays."""
    lane = lane_of()
    async with lane.slot(INTERACTIVE):
        lane.on_throttled(await now(), 1.0)
    stats = lane.stats()
    assert stats.level <= 0.0
    assert stats.rate == 3.0
    assert stats.hold_s == 1.0
    assert stats.throttled == 1


async def test_a_429_without_stock_slows_the_lane_down():
    """A 429 while living on the rate costs three tenths of it; most of that comes back within 30 seconds."""
    lane = lane_of(burst=1)
    await use(lane)
    lane.on_throttled(await now(), 1.0)
    assert lane.stats().rate == pytest.approx(2.1)
    await SystemClock().sleep(30.0)
    assert lane.stats().rate == pytest.approx(2.7)
    await SystemClock().sleep(100.0)
    assert lane.stats().rate == pytest.approx(2.8)
    await SystemClock().sleep(1000.0)
    assert lane.stats().rate == 3.0


async def test_a_lowered_rate_is_the_rate_of_turns():
    """At 2.1 requests per second, rising to 2.7 in 30 seconds, 72 turns take as long as that."""
    lane, log = lane_of(burst=1), []
    await use(lane)
    lane.on_throttled(await now(), 0.0)
    await asyncio.gather(*(use(lane, log=log) for _ in range(74)))
    assert log[-1][1] - log[1][1] == pytest.approx(30.0, rel=0.02)


async def test_429s_of_one_trouble_slow_down_once():
    """Six requests refused together cut the rate once; one sent after the reaction cuts it again."""
    lane = lane_of(burst=6)
    async with AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(lane.slot(INTERACTIVE))
        sent = await now()
        await SystemClock().sleep(0.1)
        for _ in range(6):
            lane.on_throttled(sent, 1.0)
    before = lane.stats().rate
    assert before == pytest.approx(2.1)
    await use(lane)
    before = lane.stats().rate
    assert before < 2.3
    lane.on_throttled(await now(), 1.0)
    assert lane.stats().rate == pytest.approx(before * 0.7)
    assert lane.stats().throttled == 7


async def test_a_second_429_soon_after_cuts_the_rate_even_with_stock():
    """Stock excuses the first 429 only: a rate that is too high for a slow caller is lowered all the same."""
    lane = lane_of(burst=2, per_second=10.0)
    for cut in (1.0, 0.7, 0.7):
        await SystemClock().sleep(2.0)
        await use(lane)
        before = lane.stats().rate
        lane.on_throttled(await now(), 0.0)
        assert lane.stats().rate == pytest.approx(before * cut)


async def test_doubtful_429s_change_nothing_until_there_are_three_in_a_row():
    """One without Retry-After and JSON holds for a moment: stock and rate stay, unless two more follow."""
    lane = lane_of(burst=6, random=lambda: 0.5)
    for _ in range(20):
        for hold in (1 / 6, 1 / 3):
            sent = await now()
            level = lane.stats().level
            lane.on_throttled(sent, None, certain=False)
            assert lane.stats().level == level
            assert lane.stats().rate == 3.0
            assert lane.stats().hold_s == pytest.approx(hold * 1.05)
            await SystemClock().sleep(1.0)
        lane.on_accepted()
    for _ in range(6):
        await use(lane)
    for rate in (3.0, 3.0, 2.1):
        assert lane.stats().rate == 3.0
        lane.on_throttled(await now(), None, certain=False)
        assert lane.stats().rate == pytest.approx(rate)
    assert lane.stats().level < 0.0


async def test_a_certain_429_between_doubtful_ones_lowers_the_rate_by_itself():
    """What has a Retry-After or is JSON needs no others beside it."""
    lane = lane_of(burst=1)
    await use(lane)
    lane.on_throttled(await now(), None, certain=False)
    lane.on_throttled(await now(), None)
    assert lane.stats().rate == pytest.approx(2.1)


async def test_a_429_that_says_nothing_is_waited_out_for_longer_each_time():
    """Without Retry-After the jittered hold begins at one slot and doubles with every trouble, up to 20 s."""
    lane, holds = lane_of(random=lambda: 1 - 2**-53), []
    for _ in range(9):
        await use(lane)
        lane.on_throttled(await now(), None)
        holds.append(lane.stats().hold_s / 1.1)
        await SystemClock().sleep(lane.stats().hold_s)
    assert holds == pytest.approx([1 / 3, 2 / 3, 4 / 3, 8 / 3, 16 / 3, 32 / 3, 20, 20, 20])


# ---- many


@pytest.mark.parametrize("held", [False, True])
async def test_one_timer_serves_a_thousand_waiters(clock, held):
    """There is never more than one pending timer, whatever the waiters wait for."""
    lane = lane_of(burst=1, per_second=50.0, in_flight=3, clock=clock)
    if held:
        lane.hold(5.0)
    await asyncio.gather(*(use(lane, Priority(i % 3), seconds=0.05) for i in range(1000)))
    assert clock.most_pending == 1
    assert clock.pending == 0
    assert clock.made < 2200


async def test_the_cost_of_a_waiter_does_not_grow_with_their_number():
    """Ten times the waiters are ten times the work, counted in calls of Python functions."""

    async def calls_for(waiters: int) -> float:
        count = 0

        def note(frame, event, argument) -> None:
            nonlocal count
            count += event == "call"

        lane = lane_of(burst=1, per_second=100.0, max_queue_wait_s=1e6)
        tasks = await queue_up(*(use(lane, Priority(i % 3)) for i in range(waiters)))
        sys.setprofile(note)
        try:
            for task in tasks[1::7]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            sys.setprofile(None)
        return count / waiters

    assert await calls_for(3000) < 1.2 * await calls_for(300)


# ---- closing, looking


async def test_closing_frees_everybody_who_waits(clock):
    """Waiters of every class get ClientClosed at once, newcomers too, and a turn in use ends in peace."""
    lane = lane_of(burst=1, per_second=1.0, clock=clock)
    async with lane.slot(INTERACTIVE):
        tasks = await queue_up(*(use(lane, each) for each in (*Priority, *Priority)))
        lane.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [ClientClosed] * 6
        assert len({id(each) for each in results}) == 6
    with pytest.raises(ClientClosed):
        await use(lane)
    lane.close()
    assert await now() == 0.0
    at_rest(lane)
    assert clock.pending == 0


@pytest.mark.parametrize("priority", Priority)
async def test_a_closed_lane_gives_no_turn_from_its_stock(priority):
    """Tokens and places enough are no reason to send after closing, not even for auth."""
    lane = lane_of()
    lane.close()
    with pytest.raises(ClientClosed):
        await use(lane, priority)
    assert lane.stats().granted == 0


async def test_closing_takes_back_a_turn_that_was_not_used_yet():
    """In the step between a turn and its request, closing still stops the request."""
    lane, log = lane_of(burst=1, per_second=1.0), []
    await use(lane)
    (task,) = await queue_up(use(lane, log=log))
    asyncio.get_running_loop().call_at(1.0, lane.close)
    with pytest.raises(ClientClosed):
        await task
    assert log == []
    assert lane.stats().granted == 1
    at_rest(lane)


async def test_a_lane_shows_its_level_its_waiters_and_its_next_wake():
    """`repr` answers the question why nothing is being sent."""
    lane = lane_of(burst=2, per_second=1.0, name="vrm home")
    tasks = await queue_up(*(use(lane, INTERACTIVE) for _ in range(4)), use(lane, BACKGROUND))
    assert repr(lane) == (
        "<RateLimiter 'vrm home' level 0.00 of 2, 1.00/s, 0 of 6 in flight, 0+2+1 waiting, "
        "next wake in 1.00 s>"
    )
    lane.hold(5.0)
    assert "held for 5.00 s" in repr(lane)
    stats = lane.stats()
    assert (stats.name, stats.granted, stats.hold_s) == ("vrm home", 2, 5.0)
    assert stats.waiting == {AUTH: 0, INTERACTIVE: 2, BACKGROUND: 1}
    lane.close()
    assert "closed" in repr(lane)
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_lane_can_be_made_and_shown_without_an_event_loop():
    """Making a client is not I/O."""
    assert repr(lane_of(burst=2)) == "<RateLimiter 'test' RateLimit(burst=2, per_second=3.0, in_flight=6)>"


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
def test_a_limit_that_makes_no_sense_is_refused(arguments, error, named):
    """Each field of a limit says by name what is wrong with it."""
    with pytest.raises(error, match=named):
        RateLimit(*arguments)


# ---- the order alone


class Waiter:
    def __init__(self, priority: Priority, number: int) -> None:
        self.priority, self.number = priority, number


steps = st.lists(
    st.sampled_from(["auth", "interactive", "background", "serve", "leave", "again"]), max_size=200
)


@given(steps, st.integers(0, 5))
def test_every_order_of_coming_and_going_is_fair(script, salt):
    """Whatever comes, leaves or is put back: classes stay in order, background gets one turn in eight."""
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

import asyncio
import gc
import logging
import pickle
import random
from itertools import pairwise

import pytest

from energy_core.clock import SystemClock
from energy_core.errors import (
    AuthFailed,
    ClientClosed,
    ConnectError,
    InvalidCredentials,
    TwoFactorRequired,
)
from energy_core.http.credential import Credential, Grant, Issued
from energy_core.secret import Secret

pytestmark = pytest.mark.virtual_time

YEAR_S = 31_622_400.0


class Vendor:
    """A login that counts its calls, takes some seconds, and fails if the test wants it."""

    def __init__(self, *, lifetime_s: float | None = None, seconds: float = 1.0) -> None:
        self.lifetime_s = lifetime_s
        self.seconds = seconds
        self.failure: Exception | None = None
        self.logins = 0
        self.at: list[float] = []

    async def login(self) -> Grant:
        self.logins += 1
        number = self.logins
        self.at.append(SystemClock().monotonic())
        await SystemClock().sleep(0)
        await SystemClock().sleep(self.seconds)
        await SystemClock().sleep(0)
        if self.failure is not None:
            raise self.failure
        return Grant(token=Secret(f"token {number}"), lifetime_s=self.lifetime_s)

    def credential(self, **options) -> Credential:
        return Credential(login=self.login, random=lambda: 0.0, **options)


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


def token(issued: Issued) -> str:
    return issued.grant.token.reveal()


async def pass_time(seconds: float) -> None:
    await SystemClock().sleep(seconds)


# ---- one login


async def test_the_first_use_logs_in_and_later_ones_do_not(vendor):
    """The first use logs in; its grant serves all later ones."""
    credential = vendor.credential()
    assert vendor.logins == 0
    assert [token(await credential.get()) for _ in range(3)] == ["token 1"] * 3
    assert vendor.logins == 1


async def test_a_thousand_first_uses_make_one_login(vendor):
    """Any number of concurrent first uses share one login."""
    credential = vendor.credential()
    issued = await asyncio.gather(*(credential.get() for _ in range(1000)))
    assert {(token(each), each.generation) for each in issued} == {("token 1", 1)}
    assert vendor.logins == 1


async def test_a_thousand_refusals_of_one_grant_make_one_login(vendor):
    """1,000 concurrent 401s, early and late ones, cause exactly one login."""
    credential = vendor.credential()
    old = await credential.get()
    chance = random.Random(1)

    async def refused() -> Issued:
        await pass_time(chance.random() * 5.0)  # the login takes one second: most come long after it
        return await credential.renew(old.generation)

    renewed = await asyncio.gather(*(refused() for _ in range(1000)))
    assert {(token(each), each.generation) for each in renewed} == {("token 2", 2)}
    assert vendor.logins == 2


async def test_a_refused_grant_is_not_returned_again(vendor):
    """While the new login runs, and if it fails, no caller gets the refused grant."""
    credential = vendor.credential()
    old = await credential.get()
    vendor.failure = ConnectError("down")
    waiting = asyncio.ensure_future(credential.renew(old.generation))
    await pass_time(0.5)
    vendor_was_asked = vendor.logins
    with pytest.raises(ConnectError):
        await credential.get()
    assert vendor.logins == vendor_was_asked
    with pytest.raises(ConnectError):
        await waiting
    vendor.failure = None
    assert token(await credential.get()) == "token 3"


@pytest.mark.parametrize("hops", range(6))
@pytest.mark.parametrize("after", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("leaders", [1, 10])
async def test_cancelling_the_first_waiter_cancels_no_other(vendor, hops, after, leaders):
    """Whenever the first callers are cancelled, there is still one login, and all others get its grant."""
    credential = vendor.credential()
    waiters = [asyncio.ensure_future(credential.get()) for _ in range(20)]
    await pass_time(after)
    for _ in range(hops):
        await pass_time(0)
    for leader in waiters[:leaders]:
        leader.cancel()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert {token(each) for each in outcomes[leaders:]} == {"token 1"}
    assert all(isinstance(each, asyncio.CancelledError | tuple) for each in outcomes[:leaders])
    assert vendor.logins == 1


async def test_a_login_continues_without_waiters(vendor):
    """A login whose callers were all cancelled finishes, and its grant serves the next caller."""
    credential = vendor.credential()
    waiter = asyncio.ensure_future(credential.get())
    await pass_time(0.5)
    waiter.cancel()
    await pass_time(1.0)
    assert token(await credential.get()) == "token 1"
    assert vendor.logins == 1


async def test_cancelling_a_waiter_ends_its_wait_at_once(vendor):
    """A cancelled wait ends at the same moment, not with the login."""
    credential = vendor.credential()
    waiter = asyncio.ensure_future(credential.get())
    await pass_time(0.25)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert SystemClock().monotonic() == 0.25
    await pass_time(1.0)


# ---- refused logins


@pytest.mark.parametrize(
    "error",
    [
        InvalidCredentials("no", vendor="vrm", status=401),
        TwoFactorRequired("code", sent=True),
        AuthFailed("no"),
    ],
)
async def test_all_callers_get_the_error_of_a_refused_login(vendor, error):
    """A refused login raises the same typed error, with its attributes, for 100 waiters and later callers."""
    vendor.failure = error
    credential = vendor.credential()
    outcomes = await asyncio.gather(*(credential.get() for _ in range(100)), return_exceptions=True)
    with pytest.raises(type(error)) as later:
        await credential.get()
    outcomes.append(later.value)
    assert {type(each) for each in outcomes} == {type(error)}
    assert all(vars(each) == vars(error) for each in outcomes)
    assert len({id(each) for each in outcomes}) == 101
    assert vendor.logins == 1


async def test_a_wrong_password_causes_few_logins(vendor):
    """1,000 tasks that use a wrong password for ten minutes cause at most 5 logins."""
    vendor.failure = InvalidCredentials("wrong password")
    credential = vendor.credential()
    chance = random.Random(2)

    async def keep_asking() -> None:
        while SystemClock().monotonic() < 600.0:
            with pytest.raises(InvalidCredentials):
                await credential.get()
            await pass_time(20.0 * chance.random())

    await asyncio.gather(*(keep_asking() for _ in range(1000)))
    assert vendor.logins <= 5


async def test_the_window_doubles_from_half_a_minute_to_an_hour(vendor):
    """Each refusal in a row doubles the pause before the next login, up to an hour."""
    vendor.seconds = 0.0
    vendor.failure = InvalidCredentials("wrong password")
    credential = vendor.credential()
    while SystemClock().monotonic() < 6 * 3600.0:
        with pytest.raises(InvalidCredentials):
            await credential.get()
        await pass_time(1.0)
    gaps = [later - sooner for sooner, later in zip(vendor.at[:-1], vendor.at[1:], strict=True)]
    assert gaps[:9] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


async def test_a_success_ends_the_row_of_refusals(vendor):
    """After a successful login the next refusal causes a pause of half a minute again."""
    credential = vendor.credential()
    for failure, wait in ((InvalidCredentials(), 31.0), (InvalidCredentials(), 61.0), (None, 0.0)):
        vendor.failure = failure
        if failure is None:
            issued = await credential.get()
        else:
            with pytest.raises(InvalidCredentials):
                await credential.get()
        await pass_time(wait)
    vendor.failure = InvalidCredentials()
    with pytest.raises(InvalidCredentials):
        await credential.renew(issued.generation)
    await pass_time(31.0)
    vendor.failure = None
    assert token(await credential.get()) == "token 5"


async def test_a_connection_failure_of_a_login_is_retried_at_once(vendor):
    """A login that could not connect is tried again by the next caller."""
    vendor.failure = ConnectError("refused", kind="refused")
    credential = vendor.credential()
    outcomes = await asyncio.gather(*(credential.get() for _ in range(50)), return_exceptions=True)
    assert {(type(each), each.kind) for each in outcomes} == {(ConnectError, "refused")}
    vendor.failure = None
    assert token(await credential.get()) == "token 2"


async def test_an_outage_of_the_login_has_one_schedule(vendor):
    """However many callers there are, failing logins become rarer, up to one every 20 seconds."""
    vendor.failure = ConnectError("refused", kind="refused", attempts=3)
    credential = Credential(login=vendor.login, random=lambda: 0.999)
    attempts = []

    async def caller() -> None:
        for _ in range(600):
            with pytest.raises(ConnectError) as caught:
                await credential.get()
            attempts.append(caught.value.attempts)
            await pass_time(1.0)

    await asyncio.gather(*(caller() for _ in range(20)))
    pauses = [round(later - earlier) for earlier, later in pairwise(vendor.at)]
    assert pauses[:6] == [2, 2, 3, 5, 9, 17]
    assert set(pauses[6:]) <= {20, 21, 22}
    assert set(attempts) == {0, 3}
    assert attempts.count(3) == 20 * vendor.logins
    vendor.failure = None
    await pass_time(20.0)
    assert token(await credential.get()) == f"token {vendor.logins}"


async def test_a_new_grant_that_is_refused_is_kept_for_half_a_minute(vendor):
    """A grant that is refused right after its login causes no further login for half a minute, then one."""
    credential = vendor.credential()
    first = await credential.get()
    second = await credential.renew(first.generation)
    credential.mark_useless(second.generation)
    assert await credential.renew(second.generation) == second
    await pass_time(29.0)
    credential.mark_useless(second.generation)
    credential.mark_useless(first.generation)
    assert await credential.renew(second.generation) == second
    await pass_time(2.0)
    assert token(await credential.renew(second.generation)) == "token 3"


async def test_an_exception_of_the_login_function_is_raised(vendor, caplog):
    """An exception other than EnergyError is raised unchanged, and logged by its type alone."""
    vendor.failure = KeyError("hunter2")
    credential = vendor.credential()
    outcomes = await asyncio.gather(*(credential.get() for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [KeyError] * 3
    assert "KeyError" in caplog.text
    assert "hunter2" not in caplog.text


# ---- lifetime


async def test_a_grant_is_renewed_in_the_background_past_four_fifths_of_its_life(vendor):
    """After 80 % of its lifetime a login runs while the old grant is still returned without a wait."""
    vendor.lifetime_s = 100.0
    credential = vendor.credential()
    await credential.get()
    await pass_time(79.0)
    await credential.get()
    await pass_time(0.5)
    assert vendor.logins == 1
    await pass_time(1.0)
    began = SystemClock().monotonic()
    assert {token(await credential.get()) for _ in range(100)} == {"token 1"}
    assert SystemClock().monotonic() == began
    await pass_time(1.5)
    assert token(await credential.get()) == "token 2"
    assert vendor.logins == 2


async def test_many_programs_do_not_renew_at_the_same_moment(vendor):
    """Renewals are spread from 80 % to 85 % of the lifetime."""
    moments = []
    vendor.seconds, vendor.lifetime_s = 0.0, 1000.0
    for seed in range(20):
        credential = Credential(login=vendor.login, random=random.Random(seed).random)
        await credential.get()
        began, logins = SystemClock().monotonic(), vendor.logins
        while vendor.logins == logins:
            await pass_time(1.0)
            await credential.get()
            await pass_time(0)
        moments.append(SystemClock().monotonic() - began)
        await credential.aclose()
    assert all(800.0 <= moment <= 851.0 for moment in moments)
    assert max(moments) - min(moments) > 20.0


async def test_an_expired_grant_is_replaced_first(vendor):
    """No caller gets an expired grant: one login runs, and all wait for it."""
    vendor.lifetime_s = 60.0
    credential = vendor.credential()
    await credential.get()
    await pass_time(60.0)
    issued = await asyncio.gather(*(credential.get() for _ in range(100)))
    assert {token(each) for each in issued} == {"token 2"}
    assert vendor.logins == 2


async def test_a_failed_renewal_in_the_background_is_only_logged(vendor, caplog):
    """While the old grant is valid, a failing login is logged and retried each half a minute."""
    vendor.lifetime_s, vendor.seconds = 1000.0, 0.0
    credential = vendor.credential()
    await credential.get()
    vendor.failure = ConnectError("down")
    while SystemClock().monotonic() < 999.0:
        assert token(await credential.get()) == "token 1"
        await pass_time(1.0)
    assert 2 <= vendor.logins - 1 <= 7
    assert "a login failed" in caplog.text


@pytest.mark.parametrize("lifetime_s", [1.0, 60.0, YEAR_S, None])
async def test_any_lifetime_works(vendor, lifetime_s):
    """A grant of one second and one of a year both serve, with one login per lifetime."""
    vendor.lifetime_s, vendor.seconds = lifetime_s, 0.0
    credential = vendor.credential()
    for _ in range(3):
        await credential.get()
        await pass_time((lifetime_s or 1e6) * 1.01)
    assert vendor.logins == (3 if lifetime_s else 1)
    await credential.aclose()


@pytest.mark.parametrize("lifetime_s", [0.0, -5.0, float("nan")])
async def test_a_grant_that_has_expired_on_arrival_is_an_error(vendor, lifetime_s):
    """It counts as a refused login: `AuthFailed`, and no login after login."""
    vendor.lifetime_s = lifetime_s
    credential = vendor.credential()
    for _ in range(5):
        with pytest.raises(AuthFailed, match="already expired"):
            await credential.get()
    assert vendor.logins == 1


async def test_lifetimes_use_the_monotonic_clock(vendor):
    """The wall clock is not read."""

    class NoWallClock(SystemClock):
        def utcnow(self):
            pytest.fail("the wall clock was asked")

    vendor.lifetime_s = 60.0
    credential = vendor.credential(clock=NoWallClock())
    for _ in range(200):
        await credential.get()
        await pass_time(1.0)
    assert vendor.logins == 5
    await credential.aclose()


# ---- fixed, and set explicitly


async def test_a_fixed_credential_serves_and_cannot_be_renewed():
    """A token without a login is always returned; once refused, it raises `AuthFailed`."""
    credential = Credential(grant=Grant(token=Secret("fixed"), lifetime_s=5.0))
    issued = await credential.get()
    assert issued.generation == 1
    await pass_time(100.0)
    assert token(await credential.get()) == "fixed"
    with pytest.raises(AuthFailed):
        await credential.renew(issued.generation)
    assert token(await credential.get()) == "fixed"


async def test_without_grant_and_login_there_is_no_credential():
    """An empty credential raises `AuthFailed` until a grant is set."""
    credential = Credential()
    with pytest.raises(AuthFailed, match="no credential"):
        await credential.get()
    credential.set(Grant(token=Secret("set")))
    assert token(await credential.get()) == "set"


async def test_a_first_grant_is_used_before_any_login(vendor):
    """With a token and a login, the token serves until it is refused or expires."""
    credential = vendor.credential(grant=Grant(token=Secret("first"), lifetime_s=100.0))
    issued = await credential.get()
    assert token(issued) == "first"
    assert token(await credential.renew(issued.generation)) == "token 1"
    assert vendor.logins == 1


async def test_a_grant_set_by_hand_is_the_next_generation_and_clears_refusals(vendor):
    """After a refused login, an explicit login (with a one-time code) makes the credential usable at once."""
    vendor.failure = TwoFactorRequired("code wanted", sent=True)
    credential = vendor.credential()
    with pytest.raises(TwoFactorRequired):
        await credential.get()
    credential.set(Grant(token=Secret("by hand")))
    issued = await credential.get()
    assert (token(issued), issued.generation) == ("by hand", 1)
    vendor.failure = None
    assert token(await credential.renew(1)) == "token 2"


@pytest.mark.parametrize("failure", [None, InvalidCredentials("no"), ConnectError("down")])
async def test_a_grant_set_during_a_login_takes_precedence(vendor, failure):
    """However the login ends, its waiters get the grant that was set, and no refusal is remembered."""
    vendor.failure = failure
    credential = vendor.credential()
    waiter = asyncio.ensure_future(credential.get())
    await pass_time(0.5)
    credential.set(Grant(token=Secret("by hand")))
    assert token(await waiter) == "by hand"
    assert token(await credential.get()) == "by hand"
    assert vendor.logins == 1


async def test_a_late_refusal_of_an_old_generation_changes_nothing(vendor):
    """A 401 for a grant from before the last renewal returns the present grant, without a login."""
    credential = vendor.credential()
    first = await credential.get()
    second = await credential.renew(first.generation)
    assert await credential.renew(first.generation) is second
    assert await credential.get() is second
    assert vendor.logins == 2


# ---- closing


async def test_closing_ends_a_running_login(vendor):
    """Its waiters get ClientClosed, the login is cancelled, and no task is left."""
    credential = vendor.credential()
    waiters = [asyncio.ensure_future(credential.get()) for _ in range(10)]
    await pass_time(0.5)
    await credential.aclose()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(each) for each in outcomes] == [ClientClosed] * 10
    assert SystemClock().monotonic() == 0.5
    for use in (credential.get(), credential.renew(0)):
        with pytest.raises(ClientClosed):
            await use
    await credential.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("hops", range(8))
async def test_closing_is_clean_at_any_step_of_a_login(vendor, hops):
    """Whether the login has not started, runs or has just ended, closing leaves no waiter."""
    vendor.seconds = 0.0
    credential = vendor.credential()
    waiters = [asyncio.ensure_future(credential.get()) for _ in range(3)]
    for _ in range(hops):
        await pass_time(0)
    await asyncio.gather(credential.aclose(), credential.aclose())
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert {type(each) for each in outcomes} <= {ClientClosed, Issued}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_login_that_ignores_cancellation_is_not_used(vendor):
    """Closing waits for a login that ignores its cancellation, and its grant is not used."""

    async def stubborn() -> Grant:
        try:
            await pass_time(10.0)
        except asyncio.CancelledError:
            await pass_time(0.25)
        return Grant(token=Secret("too late"))

    credential = Credential(login=stubborn)
    waiter = asyncio.ensure_future(credential.get())
    await pass_time(1.0)
    await credential.aclose()
    with pytest.raises(ClientClosed):
        await waiter
    assert SystemClock().monotonic() == 1.25


def test_a_credential_outlives_an_event_loop_that_was_stopped(vendor):
    """A login cut off by the end of its event loop is started again on the next one."""
    vendor.seconds = 0.01
    credential = vendor.credential()

    async def leave_early() -> None:
        asyncio.ensure_future(credential.get())  # noqa: RUF006  (cut off on purpose)
        await pass_time(0)
        await pass_time(0)

    with asyncio.Runner() as runner:
        runner.run(leave_early())
        tasks = asyncio.all_tasks(runner.get_loop())
        for task in tasks:
            task.cancel()
        runner.run(_settled(tasks))
    assert token(asyncio.run(credential.get())) == "token 2"


async def _settled(tasks) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


# ---- secrets


async def test_no_secret_shows(vendor, caplog):
    """Neither repr nor log nor a pickled error contains a token, and a grant cannot be pickled."""
    caplog.set_level(logging.DEBUG)
    sentinel = "s3cr3t-s3ntin3l"
    secret = Secret(sentinel)
    grant = Grant(token=secret, headers={"X-Authorization": secret}, query={"token": secret})
    credential = vendor.credential(grant=grant)
    issued = await credential.get()
    vendor.failure = InvalidCredentials("no")
    with pytest.raises(InvalidCredentials) as caught:
        await credential.renew(issued.generation)
    shown = [repr(each) for each in (grant, issued, credential, vars(credential), caught.value)]
    shown += [str(grant), caplog.text, repr(pickle.dumps(caught.value))]
    assert not [each for each in shown if sentinel in each]
    with pytest.raises(TypeError):
        pickle.dumps(issued)
    assert repr(credential) == "<Credential generation 1, idle, 1 refusals in a row>"


async def test_a_failed_background_login_leaves_no_unretrieved_exception(vendor):
    """A background failure is logged and not reported by the event loop."""
    vendor.failure = InvalidCredentials("no")
    credential = vendor.credential()
    waiter = asyncio.ensure_future(credential.get())
    await pass_time(0.5)
    waiter.cancel()
    await pass_time(1.0)
    del credential
    gc.collect()

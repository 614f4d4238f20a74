"""Whose account a source belongs to: a label that outlives credentials, and may be known late."""

import asyncio
import gc
from datetime import timedelta

import pytest

from energy_core import RateLimit, SessionPool
from energy_core.errors import AuthFailed, CheckpointError, ConnectError, InternalError, StreamError
from energy_core.http.credential import Credential, Grant
from energy_core.secret import Secret, fingerprint
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.merge import merge
from energy_core.stream.source import StreamPosition
from energy_core.stream.vocabulary import UNIDENTIFIED, Kind, SourceId, State, account_label
from tests.servers.scripted_sources import Recorder, Script, moments, of_kind, readings
from tests.servers.virtual_time import EPOCH, VirtualClock

virtual = pytest.mark.virtual_time

ORIGIN = "https://a.example"
LIMIT = RateLimit(10, 1.0)


class Client:
    """Somebody who uses an account."""


def token(text="t"):
    return lambda: Credential(grant=Grant(token=Secret(text)))


class Late(Recorder):
    """A recorder whose account is known after a while."""

    def __init__(self, site="a", *, label="home", after_s=5.0, error=None, number=1, **more):
        super().__init__(site, **more)
        self.id = self.id._replace(account=f"{UNIDENTIFIED}{number}")
        self.label, self.after_s, self.error = label, after_s, error

    async def identify(self, outlet):
        outlet.status(State.DISCONNECTED, reason="no network", retry_in=self.after_s)
        await asyncio.sleep(self.after_s)
        if self.error is not None:
            raise self.error
        self.id = self.id._replace(account=self.label)


async def take(events, count):
    return [await anext(events) for _ in range(count)]


@pytest.mark.parametrize("label", ["home", "Haus am See", "token-1234abcd", "7", "é" * 64])
def test_a_label_is_any_short_text(label):
    """What a user may call an account; nothing at all is for the client to name."""
    assert account_label(label) == label
    assert account_label(None) is None


@pytest.mark.parametrize("label", ["", "  ", "a/b", "a\nb", "x" * 65, f"{UNIDENTIFIED}1"])
def test_a_label_has_no_slash_and_is_not_empty(label):
    """It is a part of names that slashes separate."""
    with pytest.raises(ValueError, match="account must"):
        account_label(label)
    with pytest.raises(TypeError, match="account must be a str"):
        account_label(7)


def test_a_fingerprint_tells_secrets_apart():
    """Where one part ends and the next begins counts too."""
    assert fingerprint("a", Secret("b")) == fingerprint("a", Secret("b"))
    parts = (("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"))
    assert len({fingerprint(*each) for each in parts}) == len(parts)


def test_one_label_is_one_account_of_a_pool():
    """Another credential under a label that is in use would send requests of one account as another."""
    pool, first, second = SessionPool(), Client(), Client()
    account = pool.account(ORIGIN, "home", LIMIT, token(), owner="a", user=first)
    assert pool.account(ORIGIN, "home", LIMIT, token(), owner="a", user=second) is account
    account.release(second)
    with pytest.raises(ValueError, match=r"'home' at \S+ is in use with another credential"):
        pool.account(ORIGIN, "home", LIMIT, token(), owner="b", user=second)
    assert pool.account(ORIGIN, "cabin", LIMIT, token(), owner="b", user=second) is not account
    assert pool.account("https://b.example", "home", LIMIT, token(), owner="b") is not account


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_an_exchanged_credential_opens_no_new_lane(how):
    """The next client of the account gets its own credential, and the lane with all that it has learned."""
    pool, first, second = SessionPool(), Client(), Client()
    before = pool.account(ORIGIN, "home", LIMIT, token("old"), owner="a", user=first)
    if how == "closed":
        before.release(first)
    else:
        del first
        gc.collect()
    after = pool.account(ORIGIN, "home", LIMIT, token("new"), owner="b", user=second)
    assert (after.limiter, after.budget) == (before.limiter, before.budget)
    assert after.credential is not before.credential


async def test_a_pool_ends_the_logins_of_exchanged_credentials_too():
    """Nothing that it ever made goes on after it is closed."""
    began = asyncio.Event()

    async def forever():
        began.set()
        await asyncio.Event().wait()

    pool = SessionPool()
    before = pool.account(ORIGIN, "home", LIMIT, lambda: Credential(login=forever), owner="a")
    pool.account(ORIGIN, "home", LIMIT, token("new"), owner="b")
    waiting = asyncio.create_task(before.credential.get())
    await began.wait()
    await pool.aclose()
    with pytest.raises(Exception, match="closed"):
        await waiting


@virtual
async def test_no_event_comes_before_the_account_is_known():
    """Until then the state is in `status`; then the source begins, under its own name."""
    source = Late("a")
    async with merge(source, Script("b", lambda pen: asyncio.sleep(60)), clock=VirtualClock()) as events:
        await asyncio.sleep(1)
        waiting = events.status[source.id]
        assert (waiting.state, waiting.reason) == (State.DISCONNECTED, "no network")
        seen = [event for event in await take(events, 5) if event.source.site == "a"]
        assert set(events.status) == {SourceId("test", "home", "a"), SourceId("test", "me", "b")}
    assert {event.source for event in seen} == {SourceId("test", "home", "a")}
    assert of_kind(seen, Kind.STATUS)[0].state is State.CONNECTING
    assert moments(seen) == [1, 2]


@virtual
async def test_a_refusal_before_the_account_is_known_is_an_event():
    """Who must act has to hear of it."""
    source = Late("a", error=AuthFailed("no"))
    async with merge(source, clock=VirtualClock()) as events:
        (only,) = [event async for event in events]
        assert events.status[source.id].state is State.AUTH_FAILED
    assert (only.detail.state, only.source) == (State.AUTH_FAILED, source.id)


@virtual
async def test_other_sources_do_not_wait_for_an_account():
    """One that cannot be reached delays nobody else."""
    async with merge(Late("a", after_s=1000.0), Recorder("b"), clock=VirtualClock()) as events:
        seen = await take(events, 5)
    assert moments(seen) == [1, 2, 3]


@virtual
async def test_a_position_is_found_when_the_account_is_known():
    """A source goes on where its consumer stopped, however late its label comes."""
    home = SourceId("test", "home", "a")
    stopped = StreamPosition(time=EPOCH + timedelta(seconds=3), seq=8, ids=("a-1", "a-2", "a-3"))
    async with merge(
        Late("a"), checkpoint=Checkpoint({home: {home: stopped}}), clock=VirtualClock()
    ) as events:
        seen = readings(await take(events, 6))
        positions = events.commit(seen[-1]).positions
    assert [event.seq for event in seen] == list(range(seen[0].seq, seen[0].seq + len(seen)))
    assert seen[0].seq > 8
    assert moments(seen)[:2] == [4, 5]
    assert set(positions) == {home}


@virtual
async def test_two_accounts_that_turn_out_to_be_one_are_noticed():
    """The later one fails and says what to do; the other goes on."""
    async with merge(Late("a", number=1), Late("a", number=2, after_s=7.0), clock=VirtualClock()) as events:
        seen = await take(events, 8)
        late = SourceId("test", f"{UNIDENTIFIED}2", "a")
        assert events.status[late].state is State.FAILED
        assert isinstance(events.status[late].error, StreamError)
        assert not isinstance(events.status[late].error, InternalError)
        assert "account=" in events.status[late].reason
    assert moments(seen) == sorted(set(moments(seen)))
    assert {event.source.account for event in readings(seen)} == {"home"}


def owned(site, owner, account="home"):
    source = Recorder(site)
    source.id, source.owner = SourceId("test", account, site), owner
    return source


@virtual
async def test_two_accounts_of_one_label_are_not_merged():
    """Neither from the beginning nor later; one account with many sites is."""
    with pytest.raises(ValueError, match="two accounts of test have the label 'home'"):
        merge(owned("a", "x"), owned("b", "y"))
    async with merge(owned("a", "x"), owned("b", "x"), owned("c", "y", "cabin")) as events:
        events.add(owned("d", "x"))
        with pytest.raises(ValueError, match="two accounts of test have the label 'cabin'"):
            events.add(owned("e", "x", "cabin"))
        events.add(Recorder("f"))


@virtual
async def test_a_source_is_restarted_with_an_exchanged_credential():
    """Whoever names the source to replace means the same account."""
    async with merge(owned("a", "x"), owned("b", "x"), clock=VirtualClock()) as events:
        await events.restart(owned("a", "y"))
        await events.restart(owned("b", "y"))
        assert [status.restarts for status in events.status.values()] == [1, 1]


def stored(**accounts):
    """Return a checkpoint of an older version: an account's position in site a, at this second."""
    positions = {}
    for account, second in accounts.items():
        owner = SourceId("test", account.replace("_", "-"), "a")
        device = owner._replace(instance=5)
        positions[owner] = {
            device: StreamPosition(time=EPOCH + timedelta(seconds=second), seq=second, ids=())
        }
    return Checkpoint(positions)


async def resumed(checkpoint, *sources):
    """Return what the sources were told to resume from, and what the next checkpoint says."""
    found = {}
    for source in sources:
        source.resume = lambda positions, source=source: found.update({source.id: dict(positions)})
    async with merge(*sources, checkpoint=checkpoint, clock=VirtualClock()) as events:
        await asyncio.sleep(20)
        async for event in events:
            if event.kind is Kind.READING:
                return found, events.commit(event).positions
    raise AssertionError


class Deaf(Recorder):
    """A recorder that fetches nothing."""

    async def run(self, outlet):
        self.put(outlet, 1)
        await asyncio.Event().wait()


@virtual
@pytest.mark.parametrize("label", ["token_0123abcd", "login_0123abcd", "demo"])
async def test_a_label_of_a_credential_means_the_one_source_it_can_mean(label):
    """A checkpoint of an older version goes on under the account's new label, and is kept once."""
    me = SourceId("test", "me", "a")
    found, kept = await resumed(stored(**{label: 3}), Deaf("a"))
    assert found == {me: {me._replace(instance=5): StreamPosition(time=EPOCH + timedelta(seconds=3), seq=3)}}
    assert set(kept) == {me}


@virtual
async def test_the_newest_of_several_old_labels_counts():
    """A token that was exchanged had left two; what may be of another account is kept."""
    me = SourceId("test", "me", "a")
    found, kept = await resumed(stored(token_00000001=9, token_00000002=3), Deaf("a"))
    assert found[me][me._replace(instance=5)].seq == 9
    assert {source.account for source in kept} == {"me", "token-00000001", "token-00000002"}


@virtual
async def test_an_old_label_is_not_guessed_at():
    """Where two could be meant, or the account has a position of its own, the old one is left alone."""
    other = owned("a", "", "you")
    other.run = Deaf("a").run
    found, _ = await resumed(stored(token_00000001=9, cabin=1, you=2), Deaf("a"), other)
    assert {source.account: [each.seq for each in at.values()] for source, at in found.items()} == {
        "you": [2]
    }
    found, _ = await resumed(stored(token_00000001=9, me=4), Deaf("a"))
    assert [each.seq for at in found.values() for each in at.values()] == [4]


@virtual
async def test_a_checkpoint_of_another_account_is_refused():
    """A label that a user chose means what it says."""
    for checkpoint, source in ((stored(cabin=3), Deaf("a")), (stored(token_00000001=3), Deaf("b"))):
        with pytest.raises(CheckpointError, match="other sources"):
            async with merge(source, checkpoint=checkpoint, clock=VirtualClock()):
                pass


@virtual
async def test_a_source_that_never_learns_its_account_has_failed():
    """What is no refusal of the credential either ends the source as failed."""
    async with merge(Late("a", error=ConnectError("gone")), clock=VirtualClock()) as events:
        (only,) = [event async for event in events]
    assert only.detail.state is State.FAILED

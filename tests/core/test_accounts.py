"""Account labels: independent of credentials, and perhaps unknown until the vendor answers."""

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
    """A client of one account."""


def token(text="t"):
    return lambda: Credential(grant=Grant(token=Secret(text)))


class Late(Recorder):
    """A recorder whose account label becomes known after a while."""

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
    """Valid labels are returned unchanged; None leaves the choice to the client."""
    assert account_label(label) == label
    assert account_label(None) is None


@pytest.mark.parametrize("label", ["", "  ", "a/b", "a\nb", "x" * 65, f"{UNIDENTIFIED}1"])
def test_a_label_has_no_slash_and_is_not_empty(label):
    """A label with a slash is rejected, because names are joined with slashes."""
    with pytest.raises(ValueError, match="account must"):
        account_label(label)
    with pytest.raises(TypeError, match="account must be a str"):
        account_label(7)


def test_fingerprints_of_different_secrets_differ():
    """Different parts have different fingerprints, even if their concatenation is equal."""
    assert fingerprint("a", Secret("b")) == fingerprint("a", Secret("b"))
    parts = (("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"))
    assert len({fingerprint(*each) for each in parts}) == len(parts)


def test_one_label_is_one_account_of_a_pool():
    """A second credential under a label that is in use is rejected."""
    pool, first, second = SessionPool(), Client(), Client()
    account = pool.account(ORIGIN, "home", LIMIT, token(), owner="a", user=first)
    assert pool.account(ORIGIN, "home", LIMIT, token(), owner="a", user=second) is account
    account.release(second)
    with pytest.raises(ValueError, match=r"'home' at \S+ is in use with another credential"):
        pool.account(ORIGIN, "home", LIMIT, token(), owner="b", user=second)
    assert pool.account(ORIGIN, "cabin", LIMIT, token(), owner="b", user=second) is not account
    assert pool.account("https://b.example", "home", LIMIT, token(), owner="b") is not account


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_an_exchanged_credential_uses_the_same_rate_limiter(how):
    """The next client of the account has its own credential and the same rate limiter, with its state."""
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
    """Closing a pool cancels the logins of all credentials it ever made."""
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
    """Until the label is known the state is in `status` only; then the source starts under its final id."""
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
    """A refused credential is reported as an event, because the user has to act."""
    source = Late("a", error=AuthFailed("no"))
    async with merge(source, clock=VirtualClock()) as events:
        (only,) = [event async for event in events]
        assert events.status[source.id].state is State.AUTH_FAILED
    assert (only.detail.state, only.source) == (State.AUTH_FAILED, source.id)


@virtual
async def test_other_sources_do_not_wait_for_an_account():
    """A source whose account cannot be identified does not delay the others."""
    async with merge(Late("a", after_s=1000.0), Recorder("b"), clock=VirtualClock()) as events:
        seen = await take(events, 5)
    assert moments(seen) == [1, 2, 3]


@virtual
async def test_a_position_is_found_when_the_account_is_known():
    """A source resumes from the checkpoint, however late its label is known."""
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
async def test_two_sources_with_the_same_final_id_are_detected():
    """If two sources get the same id, the later one fails with a hint, and the other goes on."""
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
    """`merge` and `add` reject two credentials under one label; many sites of one account are accepted."""
    with pytest.raises(ValueError, match="two accounts of test have the label 'home'"):
        merge(owned("a", "x"), owned("b", "y"))
    async with merge(owned("a", "x"), owned("b", "x"), owned("c", "y", "cabin")) as events:
        events.add(owned("d", "x"))
        with pytest.raises(ValueError, match="two accounts of test have the label 'cabin'"):
            events.add(owned("e", "x", "cabin"))
        events.add(Recorder("f"))


@virtual
async def test_a_source_is_restarted_with_an_exchanged_credential():
    """A restart with a new source accepts another credential under the same label."""
    async with merge(owned("a", "x"), owned("b", "x"), clock=VirtualClock()) as events:
        await events.restart(owned("a", "y"))
        await events.restart(owned("b", "y"))
        assert [status.restarts for status in events.status.values()] == [1, 1]


def stored(**accounts):
    """Return a checkpoint of an older version: a position of site a, in this second, for each label."""
    positions = {}
    for account, second in accounts.items():
        owner = SourceId("test", account.replace("_", "-"), "a")
        device = owner._replace(instance=5)
        positions[owner] = {
            device: StreamPosition(time=EPOCH + timedelta(seconds=second), seq=second, ids=())
        }
    return Checkpoint(positions)


async def resumed(checkpoint, *sources):
    """Return the positions the sources resumed from, and the next checkpoint."""
    found = {}
    for source in sources:
        source.resume = lambda positions, source=source: found.update({source.id: dict(positions)})
    async with merge(*sources, checkpoint=checkpoint, clock=VirtualClock()) as events:
        await asyncio.sleep(20)
        async for event in events:
            if event.kind is Kind.READING:
                return found, events.commit(event).positions
    raise AssertionError


class Silent(Recorder):
    """A recorder that delivers nothing."""

    async def run(self, outlet):
        self.put(outlet, 1)
        await asyncio.Event().wait()


@virtual
@pytest.mark.parametrize("label", ["token_0123abcd", "login_0123abcd", "demo"])
async def test_a_label_made_of_a_credential_is_used_for_the_one_possible_source(label):
    """A checkpoint of an older version is used under the new label, and is stored once."""
    me = SourceId("test", "me", "a")
    found, kept = await resumed(stored(**{label: 3}), Silent("a"))
    assert found == {me: {me._replace(instance=5): StreamPosition(time=EPOCH + timedelta(seconds=3), seq=3)}}
    assert set(kept) == {me}


@virtual
async def test_the_newest_of_several_old_labels_counts():
    """Of several old labels the newest position is used; the old ones are kept."""
    me = SourceId("test", "me", "a")
    found, kept = await resumed(stored(token_00000001=9, token_00000002=3), Silent("a"))
    assert found[me][me._replace(instance=5)].seq == 9
    assert {source.account for source in kept} == {"me", "token-00000001", "token-00000002"}


@virtual
async def test_an_ambiguous_old_label_is_not_used():
    """An old label is not used if it could mean two sources, or if the account has a position of its own."""
    other = owned("a", "", "you")
    other.run = Silent("a").run
    found, _ = await resumed(stored(token_00000001=9, cabin=1, you=2), Silent("a"), other)
    assert {source.account: [each.seq for each in at.values()] for source, at in found.items()} == {
        "you": [2]
    }
    found, _ = await resumed(stored(token_00000001=9, me=4), Silent("a"))
    assert [each.seq for at in found.values() for each in at.values()] == [4]


@virtual
async def test_a_checkpoint_of_another_account_is_refused():
    """A checkpoint with another label chosen by the user is rejected."""
    for checkpoint, source in (
        (stored(cabin=3), Silent("a")),
        (stored(token_00000001=3), Silent("b")),
    ):
        with pytest.raises(CheckpointError, match="other sources"):
            async with merge(source, checkpoint=checkpoint, clock=VirtualClock()):
                pass


@virtual
async def test_a_source_that_never_learns_its_account_has_failed():
    """An error of `identify` that is no refusal of the credential ends the source as failed."""
    async with merge(Late("a", error=ConnectError("gone")), clock=VirtualClock()) as events:
        (only,) = [event async for event in events]
    assert only.detail.state is State.FAILED

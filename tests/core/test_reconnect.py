import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    NotFound,
    PermissionDenied,
    TLSVerificationError,
)
from energy_core.stream.reconnect import (
    BadCertificate,
    Closed,
    HandshakeRefused,
    ReconnectPolicy,
    Renew,
    Retry,
    SocketConfig,
    Stop,
    TransientFailure,
)
from energy_core.stream.socket import Keepalive, KeepaliveAction

TIMING = SocketConfig()
MOST = 1 - 2**-53


def a_policy(config=TIMING, *, roll=0.5):
    return ReconnectPolicy(config, random=lambda: roll)


def connect_and_end(policy, ending, *, at=0.0, up=0.0, event_after=None):
    """Return the decision after a connection that opened at once, lasted `up` seconds, and ended."""
    policy.begin(at)
    policy.opened(at)
    if event_after is not None:
        policy.event(at + event_after)
    return policy.after(ending, at + up)


PASSING_CODES = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1010, 1011, 1012, 1014, 1015]
OTHER_CODES = [3001, 3002, 3999, 4000, 4100, 4400, 4402, 4404, 4410, 4499, 4500, 4501, 4503, 4999]
AUTH_CODES = [1008, 3000, 4401, 4411, 4421, 4431, 4441, 4451, 4461, 4471, 4481, 4491]
DENIED_CODES = [3003, 4403, 4413, 4423, 4433, 4443, 4453, 4463, 4473, 4483, 4493]


@pytest.mark.parametrize("code", PASSING_CODES + OTHER_CODES)
def test_after_an_ordinary_close_it_reconnects_within_five_seconds(code):
    """Whatever closed a healthy connection, the next attempt comes within 5 s, at a random moment."""
    for roll, delay in ((0.0, 0.0), (0.5, 2.5), (MOST, 5.0)):
        decision = connect_and_end(a_policy(roll=roll), Closed(code), up=3600)
        assert isinstance(decision, Retry)
        assert decision.delay == pytest.approx(delay)
        assert decision.hold is None


def test_try_again_later_delays_the_reconnect():
    """After 1013 no client reconnects within 5 s, and not all of them at the same moment."""
    assert connect_and_end(a_policy(roll=0.0), Closed(1013), up=3600).delay == 5.0
    assert connect_and_end(a_policy(roll=0.5), Closed(1013), up=3600).delay == 7.5


def endings_in_a_row(policy, ending, count):
    """Return the decisions after connections that end alike, ten seconds apart."""
    return [connect_and_end(policy, ending, at=10.0 * n) for n in range(count)]


@pytest.mark.parametrize(
    "ending", [*map(Closed, AUTH_CODES), HandshakeRefused(401), HandshakeRefused(401, text="expired")]
)
def test_a_refused_credential_is_renewed_once(ending):
    """The first refusal renews the credential at once; three in a row with the new one end the source."""
    first, *others, last = endings_in_a_row(a_policy(), ending, 4)
    assert isinstance(first, Renew)
    assert first.delay == 0.0
    assert all(isinstance(each, Retry) for each in others)
    assert isinstance(last, Stop)
    assert isinstance(last.error, AuthFailed)
    assert ending.text in str(last.error)


@pytest.mark.parametrize("ending", [Closed(4401), HandshakeRefused(401)])
def test_a_fixed_credential_is_refused_three_times(ending):
    """A token cannot be renewed: it is retried, and three refusals in a row end the source."""
    policy = ReconnectPolicy(TIMING, random=lambda: 0.5, renewable=False)
    decisions = endings_in_a_row(policy, ending, 3)
    assert [type(each) for each in decisions] == [Retry, Retry, Stop]
    assert isinstance(decisions[-1].error, AuthFailed)


def test_a_credential_that_worked_for_a_while_may_be_renewed_again():
    """After a healthy connection a refusal counts as the first one."""
    policy = a_policy()
    assert isinstance(connect_and_end(policy, Closed(4401)), Renew)
    assert isinstance(connect_and_end(policy, Closed(4401), at=10, up=61), Renew)
    for ending in (
        HandshakeRefused(401),
        Closed(4401),
        Closed(1006),
        HandshakeRefused(401),
        HandshakeRefused(401),
    ):
        assert isinstance(connect_and_end(policy, ending, at=100), Retry)
    assert isinstance(connect_and_end(policy, HandshakeRefused(401), at=200), Stop)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_proxys_page_never_ends_the_source(status):
    """A page of markup is a transient failure, whatever its status, and renews nothing."""
    decisions = endings_in_a_row(a_policy(), HandshakeRefused(status, page=True), 50)
    assert all(isinstance(each, Retry) for each in decisions)


@pytest.mark.parametrize("status", [400, 403, 404, 422, 500])
def test_a_refusal_without_the_vendors_json_is_retried(status):
    """An empty answer or plain text is not the vendor's final refusal."""
    for ending in (HandshakeRefused(status), HandshakeRefused(status, text="no such thing")):
        assert all(isinstance(each, Retry) for each in endings_in_a_row(a_policy(), ending, 50))


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        *((Closed(code), PermissionDenied) for code in DENIED_CODES),
        (HandshakeRefused(400, text="productId must be yours", envelope=True), BadRequest),
        (HandshakeRefused(403, text="not yours", envelope=True), PermissionDenied),
        (HandshakeRefused(404, text="no such product", envelope=True), NotFound),
    ],
)
def test_three_refusals_of_the_vendor_in_a_row_end_the_source(ending, kind):
    """Refusals in the vendor's JSON, three in a row, end the source; their text is in the error."""
    *others, last = endings_in_a_row(a_policy(), ending, 3)
    assert all(isinstance(each, Retry) for each in others)
    assert all(ending.text in each.reason for each in others)
    assert isinstance(last, Stop)
    assert type(last.error) is kind
    assert ending.text in str(last.error)


@pytest.mark.parametrize(
    "other",
    [
        HandshakeRefused(500),
        HandshakeRefused(403, page=True),
        Closed(1006),
        TransientFailure("down"),
        HandshakeRefused(429, 1.0),
    ],
)
def test_another_failure_between_two_refusals_resets_the_count(other):
    """Three refusals count only in a row, and only if they are of one kind."""
    denied = HandshakeRefused(403, text="no", envelope=True)
    policy = a_policy()
    for ending in (
        denied,
        denied,
        other,
        denied,
        denied,
        HandshakeRefused(404, text="no", envelope=True),
        denied,
    ):
        assert isinstance(connect_and_end(policy, ending), Retry)


def test_an_event_between_two_refusals_resets_the_count():
    """A connection that delivered data shows that the refusal before it was not final."""
    policy = a_policy()
    for event_after in (None, None, 0.0, None):
        assert isinstance(connect_and_end(policy, Closed(3003), event_after=event_after), Retry)


def test_a_bad_certificate_ends_the_source():
    """A bad certificate is not retried."""
    assert isinstance(a_policy().after(BadCertificate(), 0.0).error, TLSVerificationError)


@pytest.mark.parametrize("code", [code for code in OTHER_CODES if code >= 4000])
def test_undocumented_closes_renew_the_credential_once_before_the_end(code):
    """An undocumented code may mean an unknown token: one login, then ten closes end the source."""
    decisions = endings_in_a_row(a_policy(), Closed(code, "token expired"), 10)
    assert [type(each) for each in decisions] == [Retry, Renew, *[Retry] * 7, Stop]
    assert all("token expired" in each.reason for each in decisions[:-1])
    assert "token expired" in str(decisions[-1].error)


def test_undocumented_closes_renew_again_only_after_data():
    """The login is not repeated without data in between, so that accounts are not locked."""
    policy = a_policy()
    decisions = [connect_and_end(policy, Closed(code)) for code in (4001, 4001, 1006, 4001, 4001, 4001)]
    assert [type(each) for each in decisions] == [Retry, Renew, Retry, Retry, Retry, Retry]
    assert isinstance(connect_and_end(policy, Closed(4001), event_after=0.0), Retry)
    assert isinstance(connect_and_end(policy, Closed(4001)), Renew)


def test_undocumented_closes_of_a_fixed_credential_renew_nothing():
    """Without a login there is nothing to renew; ten in a row end the source all the same."""
    policy = ReconnectPolicy(TIMING, random=lambda: 0.5, renewable=False)
    decisions = endings_in_a_row(policy, Closed(4001), 10)
    assert [type(each) for each in decisions] == [*[Retry] * 9, Stop]


@pytest.mark.parametrize(
    "status", [200, 204, 301, 302, 307, 308, 400, 402, 408, 409, 425, 500, 502, 503, 504, 599]
)
def test_any_other_refusal_is_retried(status):
    """A transient answer is followed by another attempt."""
    decision = a_policy().after(HandshakeRefused(status), 0.0)
    assert isinstance(decision, Retry)
    assert str(status) in decision.reason
    assert decision.hold is None


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_all_requests_of_the_account(status):
    """This socket keeps the delay in full, plus jitter, and the shared rate limiter is held as well."""
    decision = a_policy(roll=0.5).after(HandshakeRefused(status, 30.0), 0.0)
    assert (decision.delay, decision.hold) == (pytest.approx(31.5), 30.0)


def test_a_429_without_retry_after_holds_the_rate_limiter_too():
    """It is held for as long as this socket waits."""
    decision = a_policy(roll=0.5).after(HandshakeRefused(429), 0.0)
    assert (decision.delay, decision.hold) == (2.5, 2.5)


@pytest.mark.parametrize("seconds", [86_400.0, 1e300, float("inf")])
def test_no_delay_is_longer_than_an_hour(seconds):
    """However long a delay the server asks for, the next attempt comes within the hour."""
    for ending in (HandshakeRefused(429, seconds), TransientFailure("the rate limiter is held", seconds)):
        decision = a_policy().after(ending, 0.0)
        assert decision.delay == 3600.0
        assert decision.hold in {None, 3600.0}


def test_undocumented_codes_in_a_row_end_the_source():
    """Ten closes with undocumented 4xxx codes and no event are enough; anything else resets the count."""
    policy = ReconnectPolicy(TIMING, random=lambda: 0.5, renewable=False)
    for n in range(9):
        assert isinstance(connect_and_end(policy, Closed(4000 + n)), Retry)
    assert isinstance(connect_and_end(policy, Closed(1006)), Retry)
    for n in range(9):
        assert isinstance(connect_and_end(policy, Closed(4000 + n)), Retry)
    assert isinstance(connect_and_end(policy, Closed(4999), event_after=0.0), Retry)
    for n in range(8):
        assert isinstance(connect_and_end(policy, Closed(4000 + n)), Retry)
    decision = connect_and_end(policy, Closed(4999))
    assert isinstance(decision, Stop)
    assert type(decision.error) is AnswerError
    assert decision.error.error_code == "4999"


def test_the_delays_double_with_full_jitter():
    """After the first, the delays are up to 2, 4, 8 … and never more than 60 s, however long it lasts."""
    policy = a_policy(TIMING, roll=MOST)
    delays = [policy.after(TransientFailure("down"), 1000.0 * n).delay for n in range(2000)]
    assert delays[:8] == [pytest.approx(delay) for delay in (5, 2, 4, 8, 16, 32, 60, 60)]
    assert max(delays) <= 60


@pytest.mark.parametrize(
    ("up", "event_after", "healthy"),
    [
        (0.0, None, False),
        (0.0, 0.0, False),
        (59.9, None, False),
        (60.0, None, True),
        (9.9, 0.0, False),
        (10.0, 0.0, True),
        (30.0, 25.0, False),
        (35.0, 25.0, True),
    ],
)
def test_only_a_healthy_connection_resets_the_failures(up, event_after, healthy):
    """60 s up, or 10 s after the first valid event; after a shorter connection the delays go on growing."""
    policy = a_policy(roll=MOST)
    for n in range(6):
        policy.after(TransientFailure("down"), 100.0 * n)
    decision = connect_and_end(policy, Closed(1000), at=1000.0, up=up, event_after=event_after)
    assert decision.delay == pytest.approx(5.0 if healthy else 60.0)


def test_a_steady_flow_of_events_is_healthy_after_ten_seconds():
    """The first event counts: a connection that delivered events up to its end was healthy."""
    policy = a_policy(roll=MOST)
    for n in range(6):
        policy.after(TransientFailure("down"), 100.0 * n)
    policy.begin(1000.0)
    policy.opened(1000.0)
    for second in range(12):
        policy.event(1000.0 + second)
    assert policy.after(Closed(1006), 1011.0).delay == pytest.approx(5.0)


def test_a_handshake_that_never_opened_is_not_healthy():
    """A long attempt that fails does not count as time connected."""
    policy = a_policy(roll=MOST)
    for n in range(8):
        policy.begin(1000.0 * n)
        decision = policy.after(TransientFailure("down"), 1000.0 * n + 90)
    assert decision.delay == pytest.approx(60.0)


def handshakes_against(server, *, roll, hours=2.0):
    """Connect for hours to a server with scripted endings; return the times of the handshakes."""
    policy = ReconnectPolicy(TIMING, random=roll)
    now, began = 0.0, []
    while now < hours * 3600:
        began.append(now)
        up, event_after, ending = server(len(began))
        decision = connect_and_end(policy, ending, at=now, up=up, event_after=event_after)
        if isinstance(decision, Stop):
            break
        now += up + decision.delay
    return began


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(lambda n: (0.0, None, Closed(1000)), id="accept-then-close"),
        pytest.param(lambda n: (0.0, None, Closed(1012)), id="always restarting"),
        pytest.param(lambda n: (0.0, 0.0, Closed(1006)), id="one event, then a drop"),
        pytest.param(lambda n: (10.0, 0.0, Closed(1001)), id="just healthy, then away"),
        pytest.param(lambda n: (0.0, None, TransientFailure("refused")), id="refused"),
    ],
)
@pytest.mark.parametrize(
    "roll", [random.Random(seed).random for seed in range(20)] + [lambda: 0.0, lambda: MOST]
)
def test_there_are_at_most_forty_handshakes_in_ten_minutes(server, roll):
    """Whatever the server does and whatever the jitter is."""
    began = handshakes_against(server, roll=roll)
    assert all(later - earlier >= 600 - 1e-6 for earlier, later in zip(began, began[40:], strict=False))


@given(st.data(), st.randoms(use_true_random=False))
def test_any_mixture_of_endings_keeps_the_promises(data, dice):
    """No delay is negative or over an hour, and there are at most 40 handshakes in 10 minutes."""
    codes = st.sampled_from([*PASSING_CODES, *OTHER_CODES, *AUTH_CODES, 1013]).map(Closed)
    statuses = st.builds(
        HandshakeRefused, st.sampled_from([401, 429, 500, 503, 302]), st.none() | st.floats(0, 1e12)
    )
    endings = st.lists(codes | statuses | st.just(TransientFailure("x")), min_size=60, max_size=120)
    lives = st.sampled_from([(0.0, None), (0.0, 0.0), (11.0, 0.0), (61.0, None)])
    policy = ReconnectPolicy(TIMING, random=dice.random)
    now, began = 0.0, []
    for ending in data.draw(endings):
        began.append(now)
        up, event_after = data.draw(lives)
        decision = connect_and_end(policy, ending, at=now, up=up, event_after=event_after)
        if isinstance(decision, Stop):
            break
        assert 0 <= decision.delay <= 3600
        now += up + decision.delay
    assert all(later - earlier >= 600 - 1e-6 for earlier, later in zip(began, began[40:], strict=False))


def test_a_thousand_sockets_reconnect_spread_out():
    """After an outage of a minute, even without a rate limiter, at most 100 of 1000 connect within 100 ms."""
    began = []
    for seed in range(1000):
        policy = ReconnectPolicy(TIMING, random=random.Random(seed).random)
        now = connect_and_end(policy, Closed(1006), up=3600).delay
        while now < 60:
            began.append(now)
            policy.begin(now)
            now += policy.after(TransientFailure("down"), now).delay
    began.sort()
    assert max(sum(1 for t in began if start <= t < start + 0.1) for start in began[::10]) <= 100


def test_its_repr_counts_failures():
    """The repr shows the failures in a row and whether the credential was renewed."""
    policy = a_policy()
    policy.after(TransientFailure("x"), 0.0)
    policy.after(HandshakeRefused(401), 1.0)
    assert repr(policy) == "<ReconnectPolicy after 1 failures in a row, credential renewed>"


@pytest.mark.parametrize("name", ["open_timeout_s", "ping_interval_s", "stale_factor", "max_handshakes"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_numbers_of_the_config_are_checked(name, value):
    """A wrong number is rejected by name."""
    with pytest.raises(ValueError, match=name):
        SocketConfig(**{name: value})


def live(keepalive, *, received, until, events=()):
    """Run a keepalive as a socket does, waking when it asks to; return what was due, and when."""
    actions, now = [], 0.0
    received, events = sorted(received), sorted(events)
    while True:
        received_at = max((t for t in received if t <= now), default=0.0)
        action = keepalive.check(now, received_at)
        if action is not KeepaliveAction.NONE:
            actions.append((action, now))
            if action is KeepaliveAction.TIMED_OUT:
                return actions
            continue
        ahead = [t for t in events if t > now]
        wake = max(now, keepalive.next_at(received_at))
        if ahead and ahead[0] <= wake:
            now = ahead[0]
            if keepalive.on_events(1, now):
                actions.append(("live", now))
            continue
        if wake > until:
            return actions
        # Data may have arrived after the wake-up was scheduled.
        now = wake


@given(st.lists(st.floats(0, 300), max_size=20))
def test_a_connection_without_data_is_dropped_within_45_seconds(received):
    """Whenever the last data arrived, it is dropped within 45 s, but not after a short pause."""
    actions = live(Keepalive(TIMING, 0.0), received=received, until=10_000)
    died_at = actions[-1][1]
    assert actions[-1][0] is KeepaliveAction.TIMED_OUT
    so_far = [t for t in received if t <= died_at]
    assert died_at - max(so_far, default=0.0) >= 20
    gaps = [b - a for a, b in pairwise(sorted([0.0, *so_far, died_at]))]
    assert max(gaps) <= 45


def test_any_data_keeps_a_connection():
    """A connection on which single bytes arrive, and no pong, is kept."""
    actions = live(Keepalive(TIMING, 0.0), received=[n * 19.0 for n in range(100)], until=1800)
    assert {action for action, _ in actions} == {KeepaliveAction.STALE}


def test_a_ping_is_sent_after_twenty_seconds_without_data():
    """When data answers it, the interval starts again."""
    actions = live(Keepalive(TIMING, 0.0), received=[20.05, 45.0], until=84.0)
    assert actions == [
        (KeepaliveAction.PING, 20.0),
        (KeepaliveAction.PING, pytest.approx(40.05)),
        (KeepaliveAction.STALE, 60.0),
        (KeepaliveAction.PING, 65.0),
    ]


def test_a_source_without_events_is_stale_after_a_minute():
    """Pongs keep the connection, and the source is stale all the same, once, until the next event."""
    received = [float(n) for n in range(400)]
    actions = live(Keepalive(TIMING, 0.0), received=received, until=300, events=[100.0, 101.0])
    assert actions == [(KeepaliveAction.STALE, 60.0), ("live", 100.0), (KeepaliveAction.STALE, 161.0)]


def test_a_slow_source_gets_three_of_its_intervals():
    """Once two events have shown an interval of 100 s, the source is stale after 300 s and not after 60 s."""
    spoken = [100.0 * n for n in range(1, 11)]
    actions = live(
        Keepalive(TIMING, 0.0), received=[float(n) for n in range(1400)], until=1390, events=spoken
    )
    assert actions == [
        (KeepaliveAction.STALE, 60.0),
        ("live", 100.0),
        (KeepaliveAction.STALE, 160.0),
        ("live", 200.0),
        (KeepaliveAction.STALE, pytest.approx(1300.0)),
    ]


def test_a_pong_at_the_time_of_its_ping_counts():
    """Clocks may be so coarse that a pong arrives at the very time of the ping."""
    keepalive = Keepalive(TIMING, 0.0)
    assert keepalive.check(20.0, 0.0) is KeepaliveAction.PING
    assert keepalive.check(40.0, 20.0) is KeepaliveAction.PING

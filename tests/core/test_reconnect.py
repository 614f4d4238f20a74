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


def a_recovery(config=TIMING, *, roll=0.5):
    return ReconnectPolicy(config, random=lambda: roll)


def connect_and_end(recovery, ending, *, at=0.0, up=0.0, event_after=None):
    """One connection that opened at once, lived for `up` seconds, and ended; what is decided."""
    recovery.begin(at)
    recovery.opened(at)
    if event_after is not None:
        recovery.event(at + event_after)
    return recovery.after(ending, at + up)


PASSING_CODES = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1010, 1011, 1012, 1014, 1015]
OTHER_CODES = [3001, 3002, 3999, 4000, 4100, 4400, 4402, 4404, 4410, 4499, 4500, 4501, 4503, 4999]
AUTH_CODES = [1008, 3000, 4401, 4411, 4421, 4431, 4441, 4451, 4461, 4471, 4481, 4491]
DENIED_CODES = [3003, 4403, 4413, 4423, 4433, 4443, 4453, 4463, 4473, 4483, 4493]


@pytest.mark.parametrize("code", PASSING_CODES + OTHER_CODES)
def test_any_ordinary_close_means_connect_again_within_five_seconds(code):
    """Whatever closed a healthy connection, the next attempt comes within 5 s, evenly spread."""
    for roll, delay in ((0.0, 0.0), (0.5, 2.5), (MOST, 5.0)):
        decision = connect_and_end(a_recovery(roll=roll), Closed(code), up=3600)
        assert isinstance(decision, Retry)
        assert decision.delay == pytest.approx(delay)
        assert decision.hold is None


def test_try_again_later_is_taken_at_its_word():
    """After 1013 nobody comes back within 5 s, and not everybody at the same moment."""
    assert connect_and_end(a_recovery(roll=0.0), Closed(1013), up=3600).delay == 5.0
    assert connect_and_end(a_recovery(roll=0.5), Closed(1013), up=3600).delay == 7.5


def endings_in_a_row(recovery, ending, count):
    """So many connections that end alike, ten seconds apart."""
    return [connect_and_end(recovery, ending, at=10.0 * n) for n in range(count)]


@pytest.mark.parametrize(
    "ending", [*map(Closed, AUTH_CODES), HandshakeRefused(401), HandshakeRefused(401, text="expired")]
)
def test_a_refused_credential_is_renewed_once(ending):
    """The first refusal asks for a new credential at once; three in a row with that one end the source."""
    first, *others, last = endings_in_a_row(a_recovery(), ending, 4)
    assert isinstance(first, Renew)
    assert first.delay == 0.0
    assert all(isinstance(each, Retry) for each in others)
    assert isinstance(last, Stop)
    assert isinstance(last.error, AuthFailed)
    assert ending.text in str(last.error)


@pytest.mark.parametrize("ending", [Closed(4401), HandshakeRefused(401)])
def test_a_fixed_credential_is_refused_three_times(ending):
    """A token cannot be renewed: it is tried again, and three refusals in a row end the source."""
    recovery = ReconnectPolicy(TIMING, random=lambda: 0.5, renewable=False)
    decisions = endings_in_a_row(recovery, ending, 3)
    assert [type(each) for each in decisions] == [Retry, Retry, Stop]
    assert isinstance(decisions[-1].error, AuthFailed)


def test_a_credential_that_worked_for_a_while_may_be_renewed_again():
    """After a healthy connection a refusal counts as the first one; trouble in between begins a new row."""
    recovery = a_recovery()
    assert isinstance(connect_and_end(recovery, Closed(4401)), Renew)
    assert isinstance(connect_and_end(recovery, Closed(4401), at=10, up=61), Renew)
    for ending in (
        HandshakeRefused(401),
        Closed(4401),
        Closed(1006),
        HandshakeRefused(401),
        HandshakeRefused(401),
    ):
        assert isinstance(connect_and_end(recovery, ending, at=100), Retry)
    assert isinstance(connect_and_end(recovery, HandshakeRefused(401), at=200), Stop)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_proxys_page_never_ends_the_source(status):
    """A page of markup is trouble that may pass, whatever its status, and renews nothing."""
    decisions = endings_in_a_row(a_recovery(), HandshakeRefused(status, page=True), 50)
    assert all(isinstance(each, Retry) for each in decisions)


@pytest.mark.parametrize("status", [400, 403, 404, 422, 500])
def test_a_refusal_without_the_vendors_json_is_waited_out(status):
    """Neither an empty answer nor plain text is the vendor's word that it will never work."""
    for ending in (HandshakeRefused(status), HandshakeRefused(status, text="no such thing")):
        assert all(isinstance(each, Retry) for each in endings_in_a_row(a_recovery(), ending, 50))


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
    """What the vendor refuses again and again cannot get better by waiting; its words are in the error."""
    *others, last = endings_in_a_row(a_recovery(), ending, 3)
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
def test_other_trouble_between_two_refusals_begins_a_new_row(other):
    """Three refusals count only in a row, and only where they are of one kind."""
    denied = HandshakeRefused(403, text="no", envelope=True)
    recovery = a_recovery()
    for ending in (
        denied,
        denied,
        other,
        denied,
        denied,
        HandshakeRefused(404, text="no", envelope=True),
        denied,
    ):
        assert isinstance(connect_and_end(recovery, ending), Retry)


def test_an_event_between_two_refusals_begins_a_new_row():
    """A connection that brought data shows that the refusal before it was no last word."""
    recovery = a_recovery()
    for event_after in (None, None, 0.0, None):
        assert isinstance(connect_and_end(recovery, Closed(3003), event_after=event_after), Retry)


def test_what_cannot_be_trusted_ends_the_source():
    """A bad certificate is not retried."""
    assert isinstance(a_recovery().after(BadCertificate(), 0.0).error, TLSVerificationError)


@pytest.mark.parametrize("code", [code for code in OTHER_CODES if code >= 4000])
def test_undocumented_closes_renew_the_credential_once_before_the_end(code):
    """A token that the server no longer knows may be what an undocumented code means: one login, then ten."""
    decisions = endings_in_a_row(a_recovery(), Closed(code, "token expired"), 10)
    assert [type(each) for each in decisions] == [Retry, Renew, *[Retry] * 7, Stop]
    assert all("token expired" in each.reason for each in decisions[:-1])
    assert "token expired" in str(decisions[-1].error)


def test_undocumented_closes_renew_again_only_after_data():
    """The login is not repeated by a row that was broken without data: accounts must not be locked."""
    recovery = a_recovery()
    decisions = [connect_and_end(recovery, Closed(code)) for code in (4001, 4001, 1006, 4001, 4001, 4001)]
    assert [type(each) for each in decisions] == [Retry, Renew, Retry, Retry, Retry, Retry]
    assert isinstance(connect_and_end(recovery, Closed(4001), event_after=0.0), Retry)
    assert isinstance(connect_and_end(recovery, Closed(4001)), Renew)


def test_undocumented_closes_of_a_fixed_credential_renew_nothing():
    """Without a login there is nothing to renew; ten in a row are the end all the same."""
    recovery = ReconnectPolicy(TIMING, random=lambda: 0.5, renewable=False)
    decisions = endings_in_a_row(recovery, Closed(4001), 10)
    assert [type(each) for each in decisions] == [*[Retry] * 9, Stop]


@pytest.mark.parametrize(
    "status", [200, 204, 301, 302, 307, 308, 400, 402, 408, 409, 425, 500, 502, 503, 504, 599]
)
def test_any_other_refusal_is_waited_out(status):
    """An answer that may pass is followed by another attempt."""
    decision = a_recovery().after(HandshakeRefused(status), 0.0)
    assert isinstance(decision, Retry)
    assert str(status) in decision.reason
    assert decision.hold is None


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_everybody_with_the_credential(status):
    """The wait is kept in full by this socket, a little longer, and told to the shared lane."""
    decision = a_recovery(roll=0.5).after(HandshakeRefused(status, 30.0), 0.0)
    assert (decision.delay, decision.hold) == (pytest.approx(31.5), 30.0)


def test_a_throttled_handshake_without_a_time_holds_the_lane_as_well():
    """429 without Retry-After holds the lane for as long as this socket waits."""
    decision = a_recovery(roll=0.5).after(HandshakeRefused(429), 0.0)
    assert (decision.delay, decision.hold) == (2.5, 2.5)


@pytest.mark.parametrize("seconds", [86_400.0, 1e300, float("inf")])
def test_no_wait_is_longer_than_an_hour(seconds):
    """However long a server asks us to wait, the next attempt comes within the hour."""
    for ending in (HandshakeRefused(429, seconds), TransientFailure("the lane is held", seconds)):
        decision = a_recovery().after(ending, 0.0)
        assert decision.delay == 3600.0
        assert decision.hold in {None, 3600.0}


def test_unknown_codes_in_a_row_end_the_source():
    """Ten closes with unknown 4xxx codes and no event are enough; anything between begins a new row."""
    recovery = ReconnectPolicy(TIMING, random=lambda: 0.5, renewable=False)
    for n in range(9):
        assert isinstance(connect_and_end(recovery, Closed(4000 + n)), Retry)
    assert isinstance(connect_and_end(recovery, Closed(1006)), Retry)
    for n in range(9):
        assert isinstance(connect_and_end(recovery, Closed(4000 + n)), Retry)
    assert isinstance(connect_and_end(recovery, Closed(4999), event_after=0.0), Retry)
    for n in range(8):
        assert isinstance(connect_and_end(recovery, Closed(4000 + n)), Retry)
    decision = connect_and_end(recovery, Closed(4999))
    assert isinstance(decision, Stop)
    assert type(decision.error) is AnswerError
    assert decision.error.error_code == "4999"


def test_the_delays_double_with_full_jitter():
    """After the first come delays up to 2, 4, 8 … and never more than 60 s, however long it lasts."""
    recovery = a_recovery(TIMING, roll=MOST)
    delays = [recovery.after(TransientFailure("down"), 1000.0 * n).delay for n in range(2000)]
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
def test_only_a_healthy_connection_ends_the_row_of_failures(up, event_after, healthy):
    """60 s up, or 10 s after the first valid event: less than that and the delays go on growing."""
    recovery = a_recovery(roll=MOST)
    for n in range(6):
        recovery.after(TransientFailure("down"), 100.0 * n)
    decision = connect_and_end(recovery, Closed(1000), at=1000.0, up=up, event_after=event_after)
    assert decision.delay == pytest.approx(5.0 if healthy else 60.0)


def test_a_steady_flow_of_events_is_healthy_after_ten_seconds():
    """It is the first event that counts: a connection that talks to its last moment was healthy."""
    recovery = a_recovery(roll=MOST)
    for n in range(6):
        recovery.after(TransientFailure("down"), 100.0 * n)
    recovery.begin(1000.0)
    recovery.opened(1000.0)
    for second in range(12):
        recovery.event(1000.0 + second)
    assert recovery.after(Closed(1006), 1011.0).delay == pytest.approx(5.0)


def test_a_handshake_that_never_opened_is_not_healthy():
    """An attempt that takes long and fails does not count as time up."""
    recovery = a_recovery(roll=MOST)
    for n in range(8):
        recovery.begin(1000.0 * n)
        decision = recovery.after(TransientFailure("down"), 1000.0 * n + 90)
    assert decision.delay == pytest.approx(60.0)


def handshakes_against(server, *, roll, hours=2.0):
    """Connect for hours to a server that says how each connection goes; when each handshake began."""
    recovery = ReconnectPolicy(TIMING, random=roll)
    now, began = 0.0, []
    while now < hours * 3600:
        began.append(now)
        up, event_after, ending = server(len(began))
        decision = connect_and_end(recovery, ending, at=now, up=up, event_after=event_after)
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
def test_no_server_is_hit_more_than_forty_times_in_ten_minutes(server, roll):
    """Whatever the server does and however the dice fall, ten minutes never see a forty-first handshake."""
    began = handshakes_against(server, roll=roll)
    assert all(later - earlier >= 600 - 1e-6 for earlier, later in zip(began, began[40:], strict=False))


@given(st.data(), st.randoms(use_true_random=False))
def test_any_mixture_of_endings_keeps_the_promises(data, dice):
    """Random endings: no delay is negative or over an hour, and 10 minutes see 40 handshakes at most."""
    codes = st.sampled_from([*PASSING_CODES, *OTHER_CODES, *AUTH_CODES, 1013]).map(Closed)
    statuses = st.builds(
        HandshakeRefused, st.sampled_from([401, 429, 500, 503, 302]), st.none() | st.floats(0, 1e12)
    )
    endings = st.lists(codes | statuses | st.just(TransientFailure("x")), min_size=60, max_size=120)
    lives = st.sampled_from([(0.0, None), (0.0, 0.0), (11.0, 0.0), (61.0, None)])
    recovery = ReconnectPolicy(TIMING, random=dice.random)
    now, began = 0.0, []
    for ending in data.draw(endings):
        began.append(now)
        up, event_after = data.draw(lives)
        decision = connect_and_end(recovery, ending, at=now, up=up, event_after=event_after)
        if isinstance(decision, Stop):
            break
        assert 0 <= decision.delay <= 3600
        now += up + decision.delay
    assert all(later - earlier >= 600 - 1e-6 for earlier, later in zip(began, began[40:], strict=False))


def test_a_thousand_sockets_come_back_spread_out():
    """In an outage of a minute, even without a limiter, no 100 ms see more than 100 of 1000 sockets."""
    began = []
    for seed in range(1000):
        recovery = ReconnectPolicy(TIMING, random=random.Random(seed).random)
        now = connect_and_end(recovery, Closed(1006), up=3600).delay
        while now < 60:
            began.append(now)
            recovery.begin(now)
            now += recovery.after(TransientFailure("down"), now).delay
    began.sort()
    assert max(sum(1 for t in began if start <= t < start + 0.1) for start in began[::10]) <= 100


def test_its_repr_counts_failures():
    """A recovery shows how bad it is."""
    recovery = a_recovery()
    recovery.after(TransientFailure("x"), 0.0)
    recovery.after(HandshakeRefused(401), 1.0)
    assert repr(recovery) == "<ReconnectPolicy after 1 failures in a row, credential renewed>"


@pytest.mark.parametrize("name", ["open_timeout_s", "ping_interval_s", "stale_factor", "max_handshakes"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_timings_are_positive(name, value):
    """A config that makes no sense is refused by name."""
    with pytest.raises(ValueError, match=name):
        SocketConfig(**{name: value})


def live(pulse, *, heard, until, events=()):
    """Walk through time as a reader would, waking when the pulse wants to; what was due, and when."""
    beats, now = [], 0.0
    heard, events = sorted(heard), sorted(events)
    while True:
        heard_at = max((t for t in heard if t <= now), default=0.0)
        beat = pulse.check(now, heard_at)
        if beat is not KeepaliveAction.NONE:
            beats.append((beat, now))
            if beat is KeepaliveAction.TIMED_OUT:
                return beats
            continue
        ahead = [t for t in events if t > now]
        wake = max(now, pulse.next_at(heard_at))
        if ahead and ahead[0] <= wake:
            now = ahead[0]
            if pulse.on_events(1, now):
                beats.append(("live", now))
            continue
        if wake > until:
            return beats
        # The last byte may have come after the wake-up was planned.
        now = wake


@given(st.lists(st.floats(0, 300), max_size=20))
def test_a_silent_link_is_dead_within_45_seconds(heard):
    """Whenever the last byte came, the link is given up within 45 s and not after a moment's silence."""
    beats = live(Keepalive(TIMING, 0.0), heard=heard, until=10_000)
    died_at = beats[-1][1]
    assert beats[-1][0] is KeepaliveAction.TIMED_OUT
    so_far = [t for t in heard if t <= died_at]
    assert died_at - max(so_far, default=0.0) >= 20
    gaps = [b - a for a, b in pairwise(sorted([0.0, *so_far, died_at]))]
    assert max(gaps) <= 45


def test_any_byte_is_life():
    """A link that only ever trickles bytes, no pong among them, is not given up."""
    beats = live(Keepalive(TIMING, 0.0), heard=[n * 19.0 for n in range(100)], until=1800)
    assert {beat for beat, _ in beats} == {KeepaliveAction.STALE}


def test_a_ping_follows_twenty_seconds_of_silence():
    """The ping comes after the interval; when a byte answers it, the counting begins anew."""
    beats = live(Keepalive(TIMING, 0.0), heard=[20.05, 45.0], until=84.0)
    assert beats == [
        (KeepaliveAction.PING, 20.0),
        (KeepaliveAction.PING, pytest.approx(40.05)),
        (KeepaliveAction.STALE, 60.0),
        (KeepaliveAction.PING, 65.0),
    ]


def test_a_source_without_events_is_stale_after_a_minute():
    """Pongs keep the link alive and the source is stale all the same, once, until the next event."""
    heard = [float(n) for n in range(400)]
    beats = live(Keepalive(TIMING, 0.0), heard=heard, until=300, events=[100.0, 101.0])
    assert beats == [(KeepaliveAction.STALE, 60.0), ("live", 100.0), (KeepaliveAction.STALE, 161.0)]


def test_a_slow_source_gets_three_of_its_intervals():
    """Once two events have shown a pace of 100 s, 300 s of silence make the source stale, and not 60."""
    spoken = [100.0 * n for n in range(1, 11)]
    beats = live(Keepalive(TIMING, 0.0), heard=[float(n) for n in range(1400)], until=1390, events=spoken)
    assert beats == [
        (KeepaliveAction.STALE, 60.0),
        ("live", 100.0),
        (KeepaliveAction.STALE, 160.0),
        ("live", 200.0),
        (KeepaliveAction.STALE, pytest.approx(1300.0)),
    ]


def test_a_pong_within_the_tick_of_its_ping_is_a_sign_of_life():
    """Clocks may be so coarse that an answer comes at the very time of the question."""
    pulse = Keepalive(TIMING, 0.0)
    assert pulse.check(20.0, 0.0) is KeepaliveAction.PING
    assert pulse.check(40.0, 20.0) is KeepaliveAction.PING

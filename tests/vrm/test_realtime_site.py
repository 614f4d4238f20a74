"""One site in real time: keepalives, life and silence, on a clock of numbers."""

import json

import pytest

from energy_core.stream.vocabulary import Quantity
from vrm_async.realtime_site import GatewayState, RealtimeConfig, RealtimeSite

CONFIG = RealtimeConfig()


def a_site(now=0.0):
    """Return a site whose topics were just subscribed."""
    site = RealtimeSite("c0619ab10001", CONFIG, echo="abc")
    site.subscribed(now)
    return site


def echo_of(payload):
    """Return the echo that a keepalive asks for."""
    return json.loads(payload)["keepalive-options"][0]["full-publish-completed-echo"]


def complete(site, payload, now, **extra):
    """Let the gateway publish everything and say so."""
    site.message("system/0/Ac/Grid/L1/Power", b'{"value": 100}', now, now)
    done = {"value": now, "full-publish-completed-echo": echo_of(payload), **extra}
    site.message("full_publish_completed", json.dumps(done).encode(), now, now)


def run(site, now):
    """Do what is due; return whether the site has become stale, and the keepalive."""
    return site.check(now), site.keepalive(now)


def test_the_first_keepalive_asks_for_everything_and_the_next_ones_for_nothing():
    """Every 30 s from then on, so that the gateway goes on publishing."""
    site = a_site()
    assert site.due == 0.0
    first = site.keepalive(0.0)
    assert echo_of(first) == "abc-1"
    complete(site, first, 0.2)
    assert site.state is GatewayState.ALIVE
    assert site.keepalive(29.9) is None
    site.message("heartbeat", b'{"value": 30}', 30.0, 30.0)
    assert json.loads(site.keepalive(30.0)) == {"keepalive-options": ["suppress-republish"]}
    assert site.due == 60.0


def test_any_message_of_the_site_proves_that_it_lives():
    """A constant value is not repeated: the silence of a topic is none of the site."""
    site = a_site()
    complete(site, site.keepalive(0.0), 0.2)
    for now in range(3, 600, 3):
        site.message("heartbeat", b'{"value": 1}', float(now), 1.0)
        assert run(site, float(now))[0] is False
    assert site.state is GatewayState.ALIVE


def test_silence_is_answered_or_the_site_is_stale():
    """After 60 s a full keepalive is sent; without an answer within 10 s the site is stale, and asked on."""
    site = a_site()
    complete(site, site.keepalive(0.0), 0.2)
    site.keepalive(30.0)
    assert run(site, 60.2)[0] is False
    assert site.state is GatewayState.WAKING
    assert site.due == 70.2
    assert run(site, 70.2)[0] is True
    assert site.state is GatewayState.STALE
    asked = [now for now in range(71, 300) if site.keepalive(float(now))]
    assert asked == [91, 151, 211, 271]
    assert site.message("heartbeat", b'{"value": 1}', 300.0, 1.0) is True
    assert site.state is GatewayState.ALIVE


def test_a_gateway_that_never_echoes_has_thirty_seconds():
    """Venus OS before 3.50 answers later, and completes nothing."""
    site = a_site()
    site.keepalive(0.0)
    site.message("system/0/Ac/Grid/L1/Power", b'{"value": 100}', 1.0, 1.0)
    assert Quantity.GRID_POWER not in site.gathered(1.2).values
    site.message("heartbeat", b'{"value": 1}', 29.0, 29.0)
    assert site.due == 30.0
    run(site, 30.0)
    assert site.gathered(30.1).values[Quantity.GRID_POWER] == 100.0
    site.check(89.0)
    assert site.keepalive(89.0)
    assert site.due == 119.0


def test_the_echo_of_another_client_completes_nothing():
    """Its full publish may have begun before ours."""
    site = a_site()
    mine = site.keepalive(0.0)
    site.message("system/0/Ac/Grid/L1/Power", b'{"value": 100}', 0.1, 0.1)
    other = json.dumps({"value": 1, "full-publish-completed-echo": "their-1"}).encode()
    site.message("full_publish_completed", other, 0.2, 0.2)
    assert Quantity.GRID_POWER not in site.gathered(0.3).values
    complete(site, mine, 0.4)
    assert site.gathered(0.5).values[Quantity.GRID_POWER] == 100.0


def test_a_gateway_that_starts_is_asked_for_everything_at_once():
    """It knows of no client any more, and publishes nothing meanwhile: the next message follows a gap."""
    site = a_site()
    complete(site, site.keepalive(0.0), 0.2)
    site.keepalive(30.0)
    site.message("keepalive", b'{"value": 1}', 40.0, 40.0)
    assert site.due == 40.0
    assert echo_of(site.keepalive(40.0)) == "abc-2"
    assert site.message("heartbeat", b'{"value": 1}', 40.1, 1.0) is True
    assert site.message("heartbeat", b'{"value": 1}', 43.1, 1.0) is False


def test_a_missing_heartbeat_shows_that_messages_were_lost():
    """A gateway sends one every 3 s; without heartbeats, only silence of a minute is noticed."""
    site = a_site()
    complete(site, site.keepalive(0.0), 0.2)
    assert site.message("system/0/Dc/Pv/Power", b'{"value": 1}', 20.0, 20.0) is False
    site.message("heartbeat", b'{"value": 21}', 21.0, 21.0)
    assert site.message("heartbeat", b'{"value": 24}', 24.0, 24.0) is False
    assert site.message("system/0/Dc/Pv/Power", b'{"value": 2}', 29.5, 29.5) is True


def test_a_part_that_disappears_is_asked_about_but_not_at_once_and_not_always():
    """At most once every 30 s: other full publishes reach all clients."""
    site = a_site()
    complete(site, site.keepalive(0.0), 0.2)
    site.message("system/0/Ac/Grid/L1/Power", b'{"value": null}', 1.0, 1.0)
    assert site.due == 30.0
    assert "full" in site.keepalive(30.0).decode()


def test_a_reading_holds_all_values_now_and_then():
    """A constant value is known to be current, and consumers see that."""
    site = a_site()
    complete(site, site.keepalive(0.0), 0.2)
    assert Quantity.GRID_POWER in site.gathered(0.4).values
    assert site.gathered(30.0).values == {}
    assert site.gathered(61.0).values == {Quantity.GRID_POWER: 100.0, Quantity.GRID_L1_POWER: 100.0}
    assert site.gathered(62.0).values == {}


def test_what_is_not_understood_is_counted():
    """Bad payloads and unknown topics never raise, and never become values."""
    site = a_site()
    for path, payload in (
        ("system/0/Ac/Grid/L1/Power", b'{"value": "many"}'),
        ("system/0/Ac/Grid/L1/Power", b"[1]"),
        ("heartbeat", b"text"),
        ("full_publish_completed", b"[]"),
        ("settings/0/Password", b'{"value": "secret"}'),
    ):
        site.message(path, payload, 0.1, 0.1)
    assert site.notes == {
        "payloads left out: no number": 1,
        "payloads left out: no object": 2,
        "payloads left out: not JSON": 1,
        "messages of unknown topics": 1,
    }
    assert site.gathered(1.0).values == {}


def test_a_wrong_clock_of_the_gateway_is_told():
    """Days off are a note: the time of a reading is that of its arrival."""
    site = a_site()
    site.message("heartbeat", b'{"value": 900000}', 1.0, 1_000_000.0)
    assert site.skewed == "the gateway's clock is 100000 s behind"
    site.message("heartbeat", b'{"value": 1000001}', 2.0, 1_000_001.0)
    assert site.skewed == ""


@pytest.mark.parametrize(
    "arguments",
    [{"url": "https://broker.example"}, {"gather_s": 0.0}, {"silence_s": float("inf")}, {"answer_s": -1.0}],
)
def test_wrong_arguments_are_refused_at_once(arguments):
    """A time is positive, an address one of a WebSocket."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        RealtimeConfig(**arguments)

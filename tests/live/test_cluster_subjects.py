"""Names as NATS takes them, and what makes two messages the same event."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nats", reason="pip install 'energy-live[nats]'")

from energy_core.errors import DecodeError
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import AlarmChange, Gap, Kind, Quantity, SourceId, State, Status
from energy_live.cluster.leases import caps_of, fair_share
from energy_live.cluster.subjects import message_id, name_of, read_event, source_of, subject_of, token

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DEVICE = SourceId("vrm", "home", "151001", 288)


def reading(**changes) -> Event:
    event = Event(
        DEVICE,
        Kind.READING,
        f"{DEVICE}/reading",
        NOON,
        NOON,
        7,
        "151001/288/1780315200",
        {Quantity.PV_POWER: 1.0},
    )
    return event._replace(**changes)


@pytest.mark.hypothesis
@given(st.text(max_size=80))
def test_any_name_becomes_one_token_and_back(name):
    coded = token(name)
    assert coded
    assert set(coded) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=")
    assert len(coded) <= 160
    if len(name.encode("utf-8", "surrogatepass")) * 3 <= 160:
        assert name_of(coded) == name


@pytest.mark.parametrize(
    ("name", "coded"),
    [
        ("home", "home"),
        ("", "="),
        ("*", "=2A"),
        (">", "=3E"),
        ("a.b", "a=2Eb"),
        ("a b\r\nPUB x", "a=20b=0D=0APUB=20x"),
        ("Höfe", "H=C3=B6fe"),
        ("=", "=3D"),
    ],
)
def test_names_that_are_no_tokens_are_encoded(name, coded):
    assert token(name) == coded
    assert name_of(coded) == name


def test_long_names_stay_apart():
    one, other = ",".join(map(str, range(500))), ",".join(map(str, range(501)))
    assert len(token(one)) < 64
    assert token(one) != token(other)
    assert name_of(token(one)) is None
    assert source_of(subject_of(DEVICE._replace(site=one))) is None


def test_a_subject_names_its_device():
    odd = SourceId("vrm", "my home.*", "*", 0)
    assert subject_of(DEVICE) == "energy.vrm.home.151001.288"
    assert source_of(subject_of(odd)) == odd
    assert source_of("energy.vrm.home.1") is None
    assert source_of("energy.vrm.a=2.1.0") is None


def test_a_reading_is_the_same_whoever_polls_it():
    same = reading(seq=99, received_at=NOON + timedelta(hours=1), backfilled=True, late=True)
    assert message_id(reading(), "a") == message_id(same, "b")
    others = [
        reading(id="151001/288/1780315260"),
        reading(revision=1),
        reading(source=DEVICE._replace(account="other")),
        reading(values={Quantity.PV_POWER: 1.0, Quantity.BATTERY_SOC: 2.0}),
    ]
    assert len({message_id(each, "a") for each in [reading(), *others]}) == 5


def test_events_without_an_identity_are_not_taken_for_each_other():
    """Numbers begin again after a failover: a new gap must not pass for an old one."""
    gap = Gap(start=NOON, end=NOON + timedelta(minutes=5), reason="x")
    first = reading(kind=Kind.GAP, id="gap:7", values={}, detail=gap)
    assert message_id(first, "a") == message_id(first._replace(id="gap:9"), "b")
    later = Gap(start=NOON, end=NOON + timedelta(minutes=6), reason="x")
    assert message_id(first, "a") != message_id(first._replace(detail=later), "b")
    status = reading(kind=Kind.STATUS, id="status:7", values={}, detail=Status(state=State.LIVE))
    assert message_id(status, "a") != message_id(status, "b")
    alarm = reading(
        kind=Kind.ALARM, id="x/raised", values={}, detail=AlarmChange(active=True, alarm="x", text="t")
    )
    assert message_id(alarm, "a") == message_id(alarm, "b")
    assert message_id(alarm, "a") != message_id(alarm._replace(time=NOON + timedelta(hours=1)), "a")


@pytest.mark.parametrize("account", ["über", "a\tb", "x" * 64, "naïve ☀" * 9])
def test_an_id_fits_into_a_header(account):
    name = message_id(reading(source=DEVICE._replace(account=account), id="1" * 900), "a")
    assert name.isascii()
    assert name.isprintable()
    assert len(name) < 1000


def test_a_message_on_another_subject_is_refused():
    line = reading().to_json().encode()
    assert read_event(line, subject_of(DEVICE)) == reading()
    with pytest.raises(DecodeError, match="is about vrm/home"):
        read_event(line, "energy.vrm.other.151001.288")


@pytest.mark.parametrize(
    ("accounts", "caps", "share"),
    [(20, [99, 99, 99], 7), (20, [99], 20), (3, [1, 1], 2), (20, [4, 99, 99], 8), (0, [5], 0), (9, [], 0)],
)
def test_hosts_share_the_accounts_evenly(accounts, caps, share):
    assert fair_share(accounts, caps) == share


@pytest.mark.hypothesis
@given(st.integers(0, 50), st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_the_shares_hold_all_accounts_if_the_caps_do(accounts, caps):
    held = sum(min(cap, fair_share(accounts, caps)) for cap in caps)
    assert held >= min(accounts, sum(caps))


def test_a_drained_host_and_an_unreadable_one_take_nothing():
    hosts = [{"host": "a", "cap": 3}, {"host": "a", "cap": 5}, {"host": "b", "cap": 2}, {"cap": 1}, {}]
    assert caps_of(hosts, frozenset({"b"})) == {"a": 5}

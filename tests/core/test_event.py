import copy
import json
import math
import pickle
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest

from energy_core.codec.lazy_value import LazyMapping, resolve
from energy_core.stream import vocabulary as quantity_module
from energy_core.stream.event import Event
from energy_core.stream.status import TRANSITIONS, SourceState
from energy_core.stream.vocabulary import (
    READINGS,
    RESERVED,
    Dropped,
    Gap,
    Kind,
    Quantity,
    SourceId,
    State,
    Status,
)

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SITE = SourceId("vrm", "home", "151734", 258)


def an_event(**changes):
    facts = {
        "source": SITE,
        "kind": Kind.READING,
        "key": f"{SITE}/reading",
        "time": NOON,
        "received_at": NOON + timedelta(milliseconds=250),
        "seq": 7,
        "id": "151734/258/1772366400",
        "values": {Quantity.BATTERY_SOC: 50.5, Quantity.GRID_POWER: -49.8754},
        "raw": {"bs": "50.5", "nested": {"list": [1, None, "é"]}},
    }
    return Event(**(facts | changes))


def test_every_quantity_is_in_the_published_table_with_its_unit():
    """The table in the module's docstring lists each quantity once, with the unit of the code.

    The order never changes, because stored checkpoints hold bits by it; new quantities are appended.
    """
    rows = dict(
        re.findall(r"^([a-z0-9_]+) +(W|%|V|A|degC|kWh)(?:\s|$)", quantity_module.__doc__, re.MULTILINE)
    )
    assert rows == {quantity.value: quantity.unit for quantity in Quantity if quantity not in RESERVED}
    assert tuple(Quantity)[:9] == READINGS
    assert [quantity.value for quantity in tuple(Quantity)[9:15]] == [
        "grid_import_energy",
        "grid_export_energy",
        "pv_energy",
        "consumption_energy",
        "battery_charge_energy",
        "battery_discharge_energy",
    ]
    assert [quantity.value for quantity in tuple(Quantity)[15:]] == [
        *(f"{name}_l{phase}_power" for name in ("grid", "consumption", "pv") for phase in (1, 2, 3)),
        *("consumption_ac_power", "consumption_dc_power", "pv_ac_power", "pv_dc_power"),
        *("ev_charger_power", "ev_charger_energy"),
    ]


@pytest.mark.parametrize(
    "use",
    [
        lambda event: event == an_event(),
        lambda event: an_event() == event,
        lambda event: copy.copy(event) == an_event(),
        lambda event: copy.deepcopy(event) == an_event(),
        lambda event: pickle.loads(pickle.dumps(event)) == an_event(),
        lambda event: event._replace(seq=7) == an_event(),
        lambda event: event._asdict() == an_event()._asdict(),
        lambda event: hash(event) == hash(an_event()),
        lambda event: event.to_json() == an_event().to_json(),
        lambda event: type(event.raw) is dict,
    ],
)
def test_an_event_with_unparsed_raw_is_like_any_other(use):
    """Access, comparison, copies and JSON parse an unparsed `raw`."""
    raw = json.dumps(an_event().raw).encode()
    assert use(an_event(raw=LazyMapping(json.loads, raw)))


def test_raw_is_parsed_once_at_first_access():
    """`raw` is parsed at its first access, once; no other access parses it."""
    reads = []
    event = an_event(raw=LazyMapping(lambda text: reads.append(text) or {"key": "x"}, b"x"))
    assert (event.seq, event.values, repr(event)) == (7, an_event().values, repr(an_event()))
    assert reads == []
    assert event.raw is event.raw == {"key": "x"}
    assert reads == [b"x"]


def test_raw_is_read_only():
    """`raw` can be neither set nor deleted."""
    event = an_event(raw=LazyMapping(json.loads, b"{}"))
    with pytest.raises(AttributeError):
        event.raw = {}
    with pytest.raises(AttributeError):
        del event.raw


def test_resolve_returns_a_plain_mapping_unchanged():
    """`resolve` returns a plain mapping unchanged."""
    raw = {"a": 1}
    assert resolve(raw) is raw
    assert resolve(LazyMapping(json.loads, b'{"a": 1}')) == raw


def test_a_lazy_mapping_behaves_like_its_mapping():
    """A `LazyMapping` behaves like the mapping it stands for."""
    unread = LazyMapping(json.loads, b'{"a": 1, "b": [2]}')
    assert repr(unread) == "<LazyMapping, 18 bytes>"
    assert (unread["a"], dict(unread), len(unread), "b" in unread) == (1, {"a": 1, "b": [2]}, 2, True)
    assert unread == {"a": 1, "b": [2]} == LazyMapping(json.loads, b'{"b": [2], "a": 1}')
    assert repr(unread) == "<LazyMapping, parsed>"


def test_events_of_several_subscribers_share_the_parsed_message():
    """Events of several subscribers parse the same message once."""
    unread = LazyMapping(json.loads, b"{}")
    assert an_event(raw=unread).raw is an_event(raw=unread, seq=8).raw


def test_several_threads_may_access_raw():
    """Several threads may access it at the same time."""
    with ThreadPoolExecutor(3) as threads:
        for _ in range(200):
            unread = LazyMapping(json.loads, b'{"a": 1}')
            looks = [threads.submit(unread.resolve) for _ in range(3)]
            assert [each.result() for each in looks] == [{"a": 1}] * 3


def test_a_json_line_has_every_field():
    """A line of JSON has every field, the version first, and numbers as measured."""
    line = an_event().to_json()
    assert line.startswith('{"v":1,"source":["vrm","home","151734",258],')
    assert "\n" not in line
    assert json.loads(line) == {
        "v": 1,
        "source": ["vrm", "home", "151734", 258],
        "kind": "reading",
        "key": "vrm/home/151734/258/reading",
        "time": "2026-03-01T12:00:00+00:00",
        "received_at": "2026-03-01T12:00:00.250000+00:00",
        "seq": 7,
        "id": "151734/258/1772366400",
        "values": {"battery_soc": 50.5, "grid_power": -49.8754},
        "raw": {"bs": "50.5", "nested": {"list": [1, None, "é"]}},
        "detail": None,
        "backfilled": False,
        "late": False,
        "revision": 0,
    }


@pytest.mark.parametrize(
    ("kind", "detail", "members"),
    [
        (
            Kind.STATUS,
            Status(state=State.DISCONNECTED, reason="dropped", retry_in=2.5),
            {"state": "disconnected", "reason": "dropped", "retry_in": 2.5},
        ),
        (Kind.STATUS, Status(state=State.LIVE), {"state": "live", "reason": "", "retry_in": None}),
        (
            Kind.GAP,
            Gap(start=NOON, end=NOON + timedelta(hours=1), reason="beyond_cap"),
            {
                "from": "2026-03-01T12:00:00+00:00",
                "to": "2026-03-01T13:00:00+00:00",
                "reason": "beyond_cap",
                "quantities": [],
            },
        ),
        (Kind.DROPPED, Dropped(first=3, last=9, count=7), {"first": 3, "last": 9, "count": 7}),
    ],
)
def test_json_line_of_other_kinds_holds_their_detail(kind, detail, members):
    """The line of a status, gap or dropped event has its detail."""
    written = json.loads(an_event(kind=kind, values={}, raw={}, detail=detail).to_json())
    assert (written["kind"], written["detail"]) == (kind.value, members)


def test_json_line_keeps_the_offset_of_a_time():
    """A time in another zone keeps its offset."""
    cet = timezone(timedelta(hours=1))
    assert '"time":"2026-03-01T13:00:00+01:00"' in an_event(time=NOON.astimezone(cet)).to_json()


def test_a_json_line_never_has_nan():
    """NaN is rejected, because no JSON reader accepts it."""
    with pytest.raises(ValueError, match="JSON"):
        an_event(values={Quantity.PV_POWER: math.nan}).to_json()


def test_repr_leaves_the_raw_mapping_out():
    """The repr shows values, and not the raw mapping, which may be long."""
    assert "nested" not in repr(an_event())
    assert "50.5" in repr(an_event())


def test_a_source_id_reads_like_a_path():
    """The text of a SourceId is vendor/account/site/instance."""
    assert str(SITE) == "vrm/home/151734/258"


def test_the_transition_table_has_every_state():
    """Every state has a row; the terminal states lead to connecting only; none leads to itself."""
    assert set(TRANSITIONS) == set(State)
    anew = frozenset({State.CONNECTING})
    assert {state for state in State if TRANSITIONS[state] == anew} == {
        state for state in State if state.terminal
    }
    assert not [state for state in State if state in TRANSITIONS[state]]


def test_every_state_is_reached_from_the_beginning():
    """Every state is reachable from connecting."""
    reached, ahead = set(), {State.CONNECTING}
    while ahead:
        state = ahead.pop()
        reached.add(state)
        ahead |= TRANSITIONS[state] - reached
    assert reached == set(State)


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_a_source_state_follows_the_table(before, after):
    """A change outside the table is rejected and leaves the state; repeating a state is not a change."""
    standing = SourceState(NOON)
    standing.state = before
    later = NOON + timedelta(seconds=1)
    if after is before:
        assert standing.move(after, at=later, reason="still") is False
        assert (standing.since, standing.reason) == (NOON, "still")
    elif after in TRANSITIONS[before] and not before.terminal:
        assert standing.move(after, at=later) is True
        assert (standing.state, standing.since) == (after, later)
    else:
        with pytest.raises(ValueError, match=f"from {before} to {after}"):
            standing.move(after, at=later)
        assert standing.state is before


def test_rows_are_flat_and_of_plain_types():
    """One row for each quantity; drivers adapt str and float, and may refuse their subclasses."""
    rows = an_event(values={Quantity.BATTERY_SOC: 50.5, Quantity.GRID_POWER: -49}, revision=2).rows()
    same = "151734/258/1772366400", 2
    assert rows == [
        (NOON, str(SITE), "battery_soc", 50.5, "%", *same),
        (NOON, str(SITE), "grid_power", -49.0, "W", *same),
    ]
    assert {tuple(map(type, row)) for row in rows} == {(datetime, str, str, float, str, str, int)}


def test_rows_of_other_events_are_none():
    """A status has no values."""
    status = Status(state=State.STALE)
    assert an_event(kind=Kind.STATUS, values={}, detail=status).rows() == []


def test_rows_fit_into_a_database():
    """`executemany` takes them as they are; a later revision replaces the value."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE readings"
        " (time, source, quantity, value, unit, id, revision, PRIMARY KEY (id, quantity))"
    )
    for event in (an_event(), an_event(values={Quantity.BATTERY_SOC: 51.0}, revision=1)):
        rows = [(time.isoformat(), *rest) for time, *rest in event.rows()]
        connection.executemany("INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    found = connection.execute("SELECT quantity, value, revision FROM readings ORDER BY quantity").fetchall()
    connection.close()
    assert found == [("battery_soc", 51.0, 1), ("grid_power", -49.8754, 0)]

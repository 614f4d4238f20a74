import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import DecodeError
from energy_core.stream.event import Event
from energy_core.stream.status import TRANSITIONS
from energy_core.stream.vocabulary import (
    RESERVED,
    AlarmChange,
    Dropped,
    Gap,
    Kind,
    Quantity,
    SourceId,
    State,
    Status,
)

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = jsonschema.Draft202012Validator(json.loads((DOCS / "events.schema.json").read_text()))

zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=zones)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
natural = st.integers(1, 2**53)
names = st.sampled_from(Quantity)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
details = {
    Kind.READING: st.none(),
    Kind.STATUS: st.builds(
        Status, state=st.sampled_from(State), reason=texts, retry_in=st.none() | st.floats(0, 1e9)
    ),
    Kind.GAP: st.builds(
        Gap, start=times, end=times, reason=texts, quantities=st.lists(names, max_size=3).map(tuple)
    ),
    Kind.DROPPED: st.builds(Dropped, first=natural, last=natural, count=natural),
    Kind.ALARM: st.builds(
        AlarmChange,
        active=st.booleans(),
        alarm=texts,
        text=texts,
        device=texts,
        instance=st.none() | natural,
        started=st.none() | times,
    ),
}


@st.composite
def events(draw):
    kind = draw(st.sampled_from(Kind))
    reading = kind is Kind.READING
    return Event(
        source=draw(st.builds(SourceId, texts, texts, texts, st.integers(0, 2**31))),
        kind=kind,
        key=draw(texts),
        time=draw(times),
        received_at=draw(times),
        seq=draw(natural),
        id=draw(texts),
        values=draw(st.dictionaries(names, numbers, max_size=4)) if reading else {},
        raw=draw(st.dictionaries(texts, json_values, max_size=3)) if reading else {},
        detail=draw(details[kind]),
        backfilled=draw(st.booleans()),
        late=draw(st.booleans()),
        revision=draw(st.integers(0, 99)),
    )


@given(events())
def test_an_event_is_equal_after_writing_and_reading(event):
    """Reading a written line returns an equal event, and the line matches the published schema."""
    line = event.to_json()
    assert Event.from_json(line) == event
    assert Event.from_json(line.encode()).to_json() == line
    SCHEMA.validate(json.loads(line))


def test_the_schema_names_what_the_code_knows():
    """Quantities, kinds and states of the schema are those of the code."""
    schema = SCHEMA.schema
    assert schema["properties"]["values"]["propertyNames"]["enum"] == [
        each.value for each in Quantity if each not in RESERVED
    ]
    assert schema["properties"]["kind"]["enum"] == [each.value for each in Kind]
    assert schema["$defs"]["status"]["properties"]["state"]["enum"] == [each.value for each in State]


def test_the_document_has_every_member_and_every_transition():
    """docs/events.md lists the members in order, and its table of states is that of the code."""
    document = (DOCS / "events.md").read_text()
    members = re.findall(r"^\| `(\w+)` \| (?:1|string|array|integer|object|boolean)", document, re.MULTILINE)
    assert members == SCHEMA.schema["required"]
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|$", document, re.MULTILINE)
    table = {State(state): {State(each) for each in re.findall(r"`(\w+)`", to)} for state, to in rows}
    assert table == {state: set(to) for state, to in TRANSITIONS.items()}


GOOD = Event(
    source=SourceId("a", "b", "c"),
    kind=Kind.STATUS,
    key="k",
    time=datetime(2026, 3, 1, tzinfo=UTC),
    received_at=datetime(2026, 3, 1, tzinfo=UTC),
    seq=1,
    id="status:1",
    detail=Status(state=State.LIVE),
)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"v": 2}, "version"),
        ({"v": "1"}, "shape"),
        ({"v": True}, "shape"),
        ({"source": ["a", "b", "c"]}, "shape"),
        ({"source": ["a", "b", "c", "0"]}, "shape"),
        ({"kind": "news"}, "shape"),
        ({"time": "2026-03-01T00:00:00"}, "shape"),
        ({"time": "yesterday"}, "shape"),
        ({"seq": -1}, "shape"),
        ({"seq": True}, "shape"),
        ({"seq": 1.0}, "shape"),
        ({"values": {"wind_power": 1.0}}, "shape"),
        ({"values": {"pv_power": "1"}}, "shape"),
        ({"values": []}, "shape"),
        ({"raw": None}, "shape"),
        ({"late": 0}, "shape"),
        ({"detail": None}, "shape"),
        ({"detail": {"state": "happy", "reason": "", "retry_in": None}}, "shape"),
        ({"detail": {"state": "live", "reason": ""}}, "shape"),
        ({"kind": "reading"}, "shape"),
        ({"kind": "dropped", "detail": {"first": 1, "last": 2, "count": "2"}}, "shape"),
        ({"kind": "gap", "detail": {"from": "x", "to": "y", "reason": ""}}, "shape"),
    ],
)
def test_a_wrong_member_is_rejected(change, kind):
    """A wrong member raises a DecodeError that names it; another version has its own kind."""
    line = json.dumps(json.loads(GOOD.to_json()) | change)
    with pytest.raises(DecodeError) as caught:
        Event.from_json(line)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "line", ["", "{", "NaN", '{"v":1,"values":{"pv_power":Infinity}}', b"\xff", "[" * 99_999]
)
def test_invalid_json_is_rejected(line):
    """Text that is not strict JSON raises DecodeError."""
    with pytest.raises(DecodeError) as caught:
        Event.from_json(line)
    assert caught.value.kind == "json"


@pytest.mark.parametrize("line", ["[]", "null", "7", '"text"', "{}"])
def test_json_that_is_not_an_object_is_rejected(line):
    """JSON that is not an object raises DecodeError."""
    with pytest.raises(DecodeError) as caught:
        Event.from_json(line)
    assert caught.value.kind == "shape"


@given(st.data())
def test_no_mutilated_line_raises_anything_else(data):
    """A line with text removed or added is either read or raises DecodeError."""
    text = data.draw(events()).to_json()
    start, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 9))
    with suppress(DecodeError):
        Event.from_json(text[:start] + data.draw(st.text(max_size=3)) + text[start + length :])


def test_unknown_members_are_ignored():
    """Unknown members are ignored, so a later version of the program may add some."""
    assert Event.from_json(json.dumps(json.loads(GOOD.to_json()) | {"more": [1]})) == GOOD

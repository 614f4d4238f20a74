"""Messages read at a glance say what they say when they are read in full."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from energy_core.codec import json as codec_json
from energy_core.codec.json import unaccelerated
from energy_core.errors import DecodeError
from energy_core.stream.vocabulary import Quantity
from voltstorage_async.codec import event_message
from voltstorage_async.field_map import FieldMap

SECOND = 1_780_000_000
MAP = FieldMap().extended(
    events={"generation": (Quantity.PV_POWER, 2.0), "huge": (Quantity.GRID_POWER, 1e300)}
)
PV = {"pvPower": 1.5, "soc": 1}

WAYS = {
    "shape": pytest.param(
        nullcontext,
        marks=pytest.mark.skipif(codec_json.bounded_parser is None, reason="msgspec is not installed"),
    ),
    "pattern": pytest.param(unaccelerated),
}
both_ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())

keys = st.sampled_from(
    [
        "pvPower",
        "dcVoltage",
        "soc",
        "generation",
        "huge",
        "mode",
        "time",
        "type",
        "data",
        "é",
        "",
        'a"b',
        "a\\b",
        ":",
    ]
)
numbers = (
    st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-1e6, 1e6, allow_subnormal=False)
    | st.sampled_from(
        [-0.0, 1e-7, 1e22, 10**14, 10**15, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**400, 1e308]
    )
)
others = st.sampled_from(
    [None, True, False, "", "1", "a b", "é", "\ud83d\ude39", '"', "\\", ":", "{", [], {}, [1]]
)
datas = st.dictionaries(keys, numbers | numbers | others, max_size=6)
times = st.integers(SECOND, SECOND + 9) | st.sampled_from(
    [0, -1, 1.0, SECOND + 0.5, SECOND * 1000, 99_999_999_999, 10**11, 10**15, 2**63, None, "1", True]
)
frames = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["latest-data"] * 6 + ["firmware", None, ["latest-data"]]),
        "time": times,
        "data": datas,
    },
    optional={"more": others},
).flatmap(lambda frame: st.permutations(list(frame.items())).map(dict))
shards = st.sampled_from(
    [
        b"1e999",
        b"1e400",
        b"9" * 19,
        b"-" + b"9" * 25,
        b'"\\ud800"',
        b'"\xff"',
        b"NaN",
        b"",
        b"]",
        b" ",
        b"}",
        b"0",
        b"-",
    ]
)
spellings = st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :"), (",\n", ":\t")])


@st.composite
def alike(draw):
    """A message, and others that look like it: other numbers, damaged bytes, members told twice."""
    frame, separators = draw(frames), draw(spellings)
    first = json.dumps(frame, separators=separators, ensure_ascii=draw(st.booleans()))
    messages = [first.encode(errors="surrogatepass")]
    for _ in range(draw(st.integers(1, 4))):
        data = {
            key: draw(numbers | others if draw(st.integers(0, 9)) == 0 else numbers)
            if type(value) in {int, float} or draw(st.integers(0, 9)) == 0
            else value
            for key, value in frame["data"].items()
        }
        other = frame | {"time": draw(times), "data": data}
        message = json.dumps(other, separators=separators).encode()
        if draw(st.integers(0, 3)) == 0:
            at = draw(st.integers(0, len(message)))
            message = message[:at] + draw(shards) + message[at + draw(st.integers(0, 2)) :]
        if draw(st.integers(0, 5)) == 0:
            message = message[:-1] + b"," + json.dumps(draw(frames)).encode()[1:]
        messages.append(message)
    return messages


def in_full(message, fields=MAP):
    """What a message says, read by the standard library; None where it is no data."""
    with unaccelerated():
        try:
            _, time, second, data = event_message(message)
        except DecodeError:
            return None
    return None if time is None else (second, fields.of_events.read(data))


def glance_of(message, way, straight=None):
    """What reads messages like this one."""
    with way():
        raw = json.loads(message)
        return (straight or FieldMap(events=MAP.events).straight).like(message, raw, raw["data"])


def message_of(data, **members):
    return json.dumps({"type": "latest-data", "time": SECOND, "data": data} | members).encode()


@both_ways
@settings(max_examples=600, deadline=None)
@given(messages=alike())
@example(
    messages=[
        message_of(PV),
        b'{"type": "latest-data", "time": 1575154800.0, "data": {"pvPower": 1, "soc": 1}}',
    ]
)
@example(
    messages=[
        message_of(PV),
        b'{"type": "latest-data", "time": 1575154800, "data": {"pvPower": 1e400, "soc": 1}}',
    ]
)
@example(
    messages=[
        message_of(PV),
        b'{"type": "latest-data", "time": 1575154800, "data": {"pvPower": 01, "soc": 1}}',
    ]
)
@example(
    messages=[
        message_of(PV),
        b'{"type": "latest-data", "time": 1575154800, "data": {"pvPower": -0, "soc": 1.}}',
    ]
)
@example(messages=[message_of(PV), *(message_of(PV, time=time) for time in (0, -5, 35, 946684799, 10**9))])
@example(messages=[message_of({"huge": 1}), message_of({"huge": 10**14})])
@example(messages=[message_of({"mode": 1}), message_of({"mode": 1}).replace(b": 1}", b": 1e999}")])
@example(messages=[message_of({"mode": "a"}), message_of({"mode": "b"}).replace(b'"b"', b'"\xff"')])
@example(messages=[message_of({"mode": "a"}), message_of({"mode": "b"}).replace(b'"b"', b'"\\ud800"')])
@example(messages=[message_of({"mode": "a"}), message_of({"mode": "b"}).replace(b'"b"', b'"\n"')])
@example(messages=[message_of(PV), message_of({"pvPower": 1, "soc": 2**64})])
@example(
    messages=[message_of({}), b'{"type": "latest-data", "time": 1575154800, "data": {}, "type": "firmware"}']
)
def test_whatever_is_read_at_a_glance_is_what_it_says_in_full(way, messages):
    """Nothing is read that would be refused, nothing differently, down to zeros and the order of values."""
    if in_full(messages[0]) is None:
        return
    glance = glance_of(messages[0], way)
    for message in messages:
        found = None if glance is None else glance(message)
        if found is not None:
            assert repr(found) == repr(in_full(message))


LIKE = {"pvPower": -2, "soc": 0.25, "mode": "boost", "on": False, "nothing": None}


@both_ways
@pytest.mark.parametrize(
    "data",
    [
        *(LIKE | {"pvPower": value} for value in (0, -0.0, 7.5e-05, 1e22, 123456789012345, -0.1, 2.5e99)),
        *(LIKE | {"soc": value} for value in (0, 1, -0.0, 7.5e-05, 0.999)),
        *(LIKE | {"mode": value} for value in ("", "a b", "{:}", "...")),
        LIKE | {"on": True},
    ],
)
def test_a_message_that_looks_like_another_is_read_at_a_glance(way, data):
    """Its numbers may be any that are not enormous; other values have to be of the same kind."""
    found = glance_of(message_of(LIKE), way)(message_of(data))
    assert found is not None
    assert repr(found) == repr(in_full(message_of(data)))


@both_ways
@pytest.mark.parametrize(
    "message",
    [
        *(
            message_of(data)
            for data in ({"pvPower": 1}, {**PV, "new": 2}, {}, [], {**PV, "soc": None}, {**PV, "soc": "1"})
        ),
        *(message_of({**PV, "soc": value}) for value in (True, [1], {}, 2**63, 10**400, 57, -0.01, 1.01)),
        *(message_of(PV, time=time) for time in (-1, 0, SECOND * 1000, 1.5, None, True, "1")),
        *(message_of(PV, type="firmware"), message_of(PV, more=1)),
        *(
            b"",
            b"{",
            b"[]",
            message_of(PV) + b"x",
            message_of(PV)[:-1],
            message_of(PV).replace(b"1.5", b"1.5.1"),
        ),
    ],
)
def test_a_message_that_looks_different_is_left_to_be_read_in_full(way, message):
    assert glance_of(message_of(PV), way)(message) is None


@both_ways
@pytest.mark.parametrize(
    "message",
    [
        *(message_of({"soc": value}) for value in ([1], {}, "0.5", True)),  # the last two are counted
        *(message_of({"a\\b": 1}), message_of({'a"b': 1}), message_of({"\n": 1}), message_of(PV, more=1)),
        message_of({f"key{number}": 1 for number in range(65)}),
    ],
)
def test_there_is_no_glance_at_a_message_with_something_to_decide(way, message):
    assert glance_of(message, way) is None


@pytest.mark.parametrize(
    "message",
    [
        message_of({"soc": 1})[:-2] + b', "soc": 1}}',  # told twice
        *(message_of({"\u00e9": 1}), '{"type":"latest-data","time":1575154800,"data":{"é":1}}'.encode()),
        *(message_of({":x": 1}).replace(b": {", b":{"), message_of({"mode": "x" * 5000})),
    ],
)
def test_there_is_no_pattern_of_text_that_could_be_misread(message):
    """Members told twice, names that are not plain, and very long text are read in full."""
    assert glance_of(message, unaccelerated) is None


@both_ways
def test_a_second_message_of_a_look_costs_nothing_to_learn(way):
    """Making what reads it takes hundreds of times as long as reading."""
    straight = FieldMap().straight
    first = glance_of(message_of(PV), way, straight)
    assert glance_of(message_of({"pvPower": 7, "soc": 0.85}), way, straight) is first
    assert repr(straight) == "<Straight, 1 looks known, 1 lessons>"


@both_ways
def test_a_value_that_is_missing_makes_another_look(way):
    """A sensor that went away must not have every message read in full from then on."""
    straight = FieldMap().straight
    message = message_of(PV | {"soc": None})
    glance_of(message_of(PV), way, straight)
    assert repr(glance_of(message, way, straight)(message)) == repr(in_full(message))


@both_ways
@pytest.mark.parametrize("odd", [None, "x", True])
def test_one_odd_message_spoils_no_other(way, odd):
    """What a value was once says nothing about the messages that come later."""
    straight = FieldMap().straight
    glance_of(message_of(PV | {"mode": odd}), way, straight)
    for value in (None, "y", False, 1):
        message = message_of(PV | {"mode": value})
        assert repr(glance_of(message, way, straight)(message)) == repr(in_full(message))


@pytest.mark.parametrize("odd", [b'"\xc3\xa9"', b'"\\u00e9"', b'  "x"', b'"x","pvPower":1'])
def test_a_message_that_was_spelled_otherwise_spoils_no_other(odd):
    """A pattern also depends on spaces, escapes and what is told twice; of a look the latest is kept."""
    straight = FieldMap().straight
    message = message_of(PV | {"mode": "x"})
    glance_of(message.replace(b'"x"', odd), unaccelerated, straight)
    assert glance_of(message, unaccelerated, straight)(message) == in_full(message)


@both_ways
def test_a_server_that_invents_keys_teaches_so_many_lessons(way):
    """Learning must not be what a program does all day."""
    straight = FieldMap().straight
    glances = [glance_of(message_of({f"key{number}": number}), way, straight) for number in range(140)]
    assert [glance is None for glance in glances] == [False] * 128 + [True] * 12
    assert glance_of(message_of({"key3": 1}), way, straight) is glances[3]
    assert repr(straight) == "<Straight, 128 looks known, 128 lessons>"


@both_ways
def test_nothing_is_kept_of_messages_that_are_too_large_to_learn_from(way):
    """A server could fill the memory with them."""
    straight = FieldMap().straight
    for number in range(300):
        glance_of(message_of({f"{number}-{key}": None for key in range(65)}), way, straight)
        glance_of(message_of({str(number): 1, "x" * 4096: 1}), way, straight)
    assert repr(straight) == "<Straight, 0 looks known, 0 lessons>"


def test_both_ways_read_the_same_of_a_documented_message():
    """With msgspec or without, the same values come in the same order."""
    message = message_of(LIKE | {"generation": 3})
    assert repr(glance_of(message, nullcontext)(message)) == repr(glance_of(message, unaccelerated)(message))

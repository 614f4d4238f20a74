"""Fast readers decode a message exactly as the full decoder does, or leave it to the full decoder."""

from __future__ import annotations

import json
from math import nextafter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from energy_core.codec import json as codec_json
from energy_core.errors import DecodeError
from energy_core.stream.vocabulary import Quantity
from tests.servers.json_backends import standard_library_only
from voltstorage_async.codec import event_message
from voltstorage_async.fast_reader import FastReaders
from voltstorage_async.field_map import FieldMap
from voltstorage_async.field_reader import FieldMeaning, FieldReader

SECOND = 1_780_000_000
MAP = FieldMap().extended(
    events={"generation": (Quantity.PV_POWER, 2.0), "huge": (Quantity.GRID_POWER, 1e300)}
)
PV = {"pvPower": 1.5, "soc": 1}

pytestmark = pytest.mark.skipif(codec_json.msgspec_loads is None, reason="msgspec is not installed")

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
def same_layout(draw):
    """A message, and others of its layout: other numbers, damaged bytes, duplicate members."""
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


def in_full(message):
    """The time and values of a message by the full decoder, without msgspec; None where it is not data."""
    with standard_library_only():
        try:
            _, time, second, data = event_message(message)
        except DecodeError:
            return None
    return None if time is None else (second, FieldReader(MAP.events).read(data))


def readers():
    return FastReaders(FieldReader(MAP.events))


def reader_for(message, known=None):
    """The fast reader for messages of this one's layout."""
    raw = json.loads(message)
    return (known or readers()).reader_for(message, raw, raw["data"])


def message_of(data, **members):
    return json.dumps({"type": "latest-data", "time": SECOND, "data": data} | members).encode()


@given(messages=same_layout())
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
def test_a_fast_reader_agrees_with_the_full_decoder(messages):
    """Nothing is accepted that the full decoder rejects; values, zeros and their order are equal."""
    if in_full(messages[0]) is None:
        return
    read = reader_for(messages[0])
    for message in messages:
        found = None if read is None else read(message)
        if found is not None:
            assert repr(found) == repr(in_full(message))


LIKE = {"pvPower": -2, "soc": 0.25, "mode": "boost", "on": False, "nothing": None}


@pytest.mark.parametrize(
    "data",
    [
        *(LIKE | {"pvPower": value} for value in (0, -0.0, 7.5e-05, 1e22, 123456789012345, -0.1, 2.5e99)),
        *(LIKE | {"soc": value} for value in (0, 1, -0.0, 7.5e-05, 0.999)),
        *(LIKE | {"mode": value} for value in ("", "a b", "{:}", "...")),
        LIKE | {"on": True},
    ],
)
def test_a_message_of_the_same_layout_is_decoded(data):
    """Its numbers may be any within 64 bits; other values must be of the same kind."""
    found = reader_for(message_of(LIKE))(message_of(data))
    assert found is not None
    assert repr(found) == repr(in_full(message_of(data)))


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
def test_a_message_of_another_layout_is_left_to_the_full_decoder(message):
    """Other keys, kinds, times and types, and broken JSON."""
    assert reader_for(message_of(PV))(message) is None


@pytest.mark.parametrize(
    "message",
    [
        *(message_of({"soc": value}) for value in ([1], {}, "0.5", True)),  # the last two are counted
        *(message_of({"a\\b": 1}), message_of({'a"b': 1}), message_of({"\n": 1}), message_of(PV, more=1)),
        message_of({f"key{number}": 1 for number in range(65)}),
        message_of({"mode": "x" * 5000}),
    ],
)
def test_some_layouts_have_no_fast_reader(message):
    """Nested values, text where a number belongs, unusual keys, further members, very many keys or bytes."""
    assert reader_for(message) is None


def test_without_msgspec_there_is_no_fast_reader():
    """Every message is then decoded in full."""
    with standard_library_only():
        assert reader_for(message_of(PV)) is None


def test_a_reader_is_made_once_for_a_layout():
    """Making one takes hundreds of times as long as decoding a message."""
    known = readers()
    first = reader_for(message_of(PV), known)
    assert reader_for(message_of({"pvPower": 7, "soc": 0.85}), known) is first


def test_a_null_value_makes_another_layout():
    """A sensor that was removed does not slow down all further messages."""
    known = readers()
    message = message_of(PV | {"soc": None})
    reader_for(message_of(PV), known)
    assert repr(reader_for(message, known)(message)) == repr(in_full(message))


@pytest.mark.parametrize("odd", [None, "x", True])
def test_one_unusual_message_does_not_affect_others(odd):
    """Each kind of value has its own layout."""
    known = readers()
    reader_for(message_of(PV | {"mode": odd}), known)
    for value in (None, "y", False, 1):
        message = message_of(PV | {"mode": value})
        assert repr(reader_for(message, known)(message)) == repr(in_full(message))


def test_the_number_of_readers_is_limited():
    """A server that invents keys cannot make a program spend its time making readers."""
    known = readers()
    made = [reader_for(message_of({f"key{number}": number}), known) for number in range(140)]
    assert [each is None for each in made] == [False] * 128 + [True] * 12
    assert reader_for(message_of({"key3": 1}), known) is made[3]
    assert repr(known) == "<FastReaders, 128 layouts>"


def test_nothing_is_kept_of_very_large_messages():
    """A server cannot fill the memory with layouts."""
    known = readers()
    for number in range(300):
        reader_for(message_of({f"{number}-{key}": None for key in range(65)}), known)
        reader_for(message_of({str(number): 1, "x" * 4096: 1}), known)
    assert repr(known) == "<FastReaders, 0 layouts>"


@pytest.mark.parametrize("factor", [1.0, 100.0, 0.3, -1.0, 49.0])
def test_a_state_of_charge_is_within_its_limits(factor):
    """To the last digit and for any factor: nothing beyond them is accepted."""
    fields = FieldReader({"soc": FieldMeaning(Quantity.BATTERY_SOC, factor)})
    read = reader_for(message_of({"soc": 0.5 / factor}), FastReaders(fields))
    full = 100.0 / factor
    for value in (full, nextafter(full, 0.0), nextafter(full, 2 * full), 0.0, -0.0, -full / 100):
        found = read(message_of({"soc": value}))
        assert found is None or found[1] == fields.read({"soc": value})
    assert read(message_of({"soc": full / 2}))[1][0] == {Quantity.BATTERY_SOC: pytest.approx(50.0)}

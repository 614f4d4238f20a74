"""Messages of one read mean what they mean one by one."""

from __future__ import annotations

import asyncio
import json
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.stream.gap_filler import GapFiller
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.vocabulary import Quantity, State
from tests.servers.scripted_volt import frame
from tests.servers.virtual_time import EPOCH, VirtualClock, VirtualTimeLoop
from tests.servers.websocket_server import FakeEndpoint
from voltstorage_async.codec import event_message
from voltstorage_async.events.feed import ProductFeed
from voltstorage_async.events.recorded import BackfillConfig, RecordedMoment
from voltstorage_async.field_map import FieldMap, ProductFields

TWO, ONE = {"pvPower": 1.5, "dcVoltage": 26.0}, {"pvPower": 2}
START = int(EPOCH.timestamp()) - 60

datas = st.sampled_from(
    [
        {"pvPower": 1.5, "dcVoltage": 26.0},
        {"pvPower": 2, "dcVoltage": 26.5},
        {"dcVoltage": 27.0},
        {"pvPower": "none", "dcVoltage": 27.5},
        {"pvPower": "1.5", "soc": 0.5},
        {"soc": 0.5},
        {"soc": 57},
        {"pump": 3},
        {},
    ]
)
messages = st.one_of(
    st.builds(
        lambda second, data: json.dumps(
            {"type": "latest-data", "time": START + second, "data": data}
        ).encode(),
        st.one_of(st.integers(0, 20), st.just(10**8)),
        datas,
    ),
    st.sampled_from([b'{"type": "firmware"}', b"[]", b"{"]),
)
messages = messages | st.lists(messages, min_size=1, max_size=3).map(lambda each: b"[%b]" % b",".join(each))


class Notes:
    """A sink that takes notes, and has room for so many events."""

    def __init__(self, room):
        self.left, self.said = room, []

    def has_room(self, count):
        return count <= self.left

    async def room(self): ...

    def on_readings(self, readings, quantities):
        for each in readings:
            moment = RecordedMoment.of_live(each)
            assert tuple(moment.values) == tuple(quantities)
            assert each[1] == f"7/{moment.second}/0"
            self.on_reading(moment, 0)

    def on_reading(self, moment, ordinal):
        self.left -= 1
        self.said.append((moment, ordinal))

    def on_unknown(self, event):
        self.said.append(event.raw)

    def on_gap(self, *missing):
        self.said.append(missing)

    def on_state(self, *state):
        self.said.append(state)


def a_line(sink, *, lazy):
    return ProductFeed(
        *(7, FakeEndpoint("ws://localhost/events"), None, sink),
        fields=ProductFields(FieldMap()),
        since=None,
        socket=SocketConfig(),
        backfill=BackfillConfig(max_held=5, window_ids=10),
        clock=VirtualClock(),
        lazy=lazy,
    )


async def said(reads, *, room, hole_after, lazy=False):
    """Return what the line tells of these reads, with a hole somewhere that nobody fills."""
    sink = Notes(room)
    line = a_line(sink, lazy=lazy)
    line._on_state(State.LIVE, "", None)
    events = []
    for number, read in enumerate(reads):
        if number == hole_after:
            line._on_state(State.CONNECTING, "", None)
            line._on_state(State.LIVE, "", None)
        events.append(line._on_messages(read))
    counts = line.received, line.unknown, line.malformed, line.unusable, line.discarded
    return sink.said, counts, repr(line._gap_filler), sum(events)


@given(
    reads=st.lists(st.lists(messages, min_size=1, max_size=12), max_size=4),
    room=st.sampled_from([0, 2, 1000, 1000]),
    hole_after=st.integers(0, 6),
)
def test_one_read_means_the_same_as_many(reads, room, hole_after):
    """Whatever comes, however it is cut into reads, read in full or straight, whole or with a hole.

    One by one, every message is decided about by itself, so that nothing both ways have in common is trusted.
    """
    singles = [[each] for read in reads for each in read]
    at = sum(map(len, reads[:hole_after])) if hole_after < len(reads) else len(singles)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        together = runner.run(said(reads, room=room, hole_after=hole_after))
        straight = runner.run(said(reads, room=room, hole_after=hole_after, lazy=True))
        with patch.object(GapFiller, "try_pass_through", return_value=False):
            one_by_one = runner.run(said(singles, room=room, hole_after=at))
    assert together == one_by_one
    assert straight == one_by_one


@pytest.mark.parametrize(
    ("datas", "in_full"),
    [
        ([TWO, TWO, TWO, TWO], [0]),
        ([TWO, ONE, ONE, ONE], [0, 1, 2]),
        ([TWO, ONE, TWO, ONE], [0, 1, 2, 3]),
        ([TWO, {"pvPower": 1e300, "dcVoltage": [1]}, TWO, TWO, TWO], [0, 1, 2, 3]),
    ],
)
def test_only_a_message_that_looks_different_is_read_in_full(datas, in_full):
    """After two that look alike a glance will do; a product that says only what changed is not guessed at."""
    frames = [
        json.dumps({"type": "latest-data", "time": START + at, "data": data}).encode()
        for at, data in enumerate(datas)
    ]
    read = []

    def counting(message):
        read.append(frames.index(message))
        return event_message(message)

    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        patch("voltstorage_async.events.feed.event_message", counting),
    ):
        found, *_ = runner.run(said([frames[:3], frames[3:]], room=1000, hole_after=9, lazy=True))
    assert read == in_full
    assert [moment.data for moment, _ in found[1:]] == datas


@pytest.mark.parametrize(
    ("odd_ones", "gives_up"),
    [
        ([1, 2] * 40, True),
        ([1] * 500, False),
        (([1] * 30 + [2, 2]) * 20, False),
        (([1] * 4 + [2]) * 60, True),
    ],
)
def test_a_line_gives_up_glancing_where_it_does_not_pay(odd_ones, gives_up):
    """Where more than an eighth has to be read in full all the same, nothing is tried any more."""
    reads = [
        [
            json.dumps(
                {"type": "latest-data", "time": START + at, "data": {"pump": 1} | {str(each): 1}}
            ).encode()
        ]
        for at, each in enumerate(odd_ones)
    ]

    async def glances():
        line = a_line(Notes(1000), lazy=True)
        line._on_state(State.LIVE, "", None)
        for read in reads:
            line._on_messages(read)
        return line._fast_readers is not None

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(glances()) is not gives_up


async def test_a_scale_that_a_list_has_shown_counts_for_what_comes_with_it():
    """Messages of one read are read with what those before them have shown, in whichever form they came."""
    sink = Notes(1000)
    line = a_line(sink, lazy=True)
    line._on_state(State.LIVE, "", None)
    sent = [frame(START + second, soc=57 if second == 4 else 0.5).encode() for second in range(1, 7)]
    sent[3] = b"[" + sent[3] + b"]"
    line._on_messages(sent)
    charges = [
        said[0].values[Quantity.BATTERY_SOC] for said in sink.said if isinstance(said[0], RecordedMoment)
    ]
    assert charges == [50.0, 50.0, 50.0, 57.0, 0.5, 0.5]

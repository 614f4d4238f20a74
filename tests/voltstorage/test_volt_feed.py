"""ProductFeed: messages of one read mean the same as one by one, and fast readers the same as full parses."""

from __future__ import annotations

import asyncio
import json
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec import json as codec_json
from energy_core.stream.gap_filler import GapFiller
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.vocabulary import Quantity, State
from tests.servers.scripted_volt import frame
from tests.servers.virtual_time import EPOCH, VirtualClock, VirtualTimeLoop
from voltstorage_async.codec import event_message
from voltstorage_async.events.feed import ProductFeed
from voltstorage_async.events.recorded import BackfillConfig, RecordedMoment
from voltstorage_async.field_map import FieldMap, ProductFields

accelerated = pytest.mark.skipif(codec_json.msgspec_loads is None, reason="msgspec is not installed")
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
    """A listener that keeps what it gets, and has room for a number of events."""

    def __init__(self, room):
        self.left, self.noted = room, []

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
        self.noted.append((moment, ordinal))

    def on_unknown(self, event):
        self.noted.append(event.raw)

    def on_gap(self, *missing):
        self.noted.append(missing)

    def on_state(self, *state):
        self.noted.append(state)


class Socket:
    """Takes the place of a ReconnectingSocket; the test calls its callbacks."""

    received_at = 0.0

    def __init__(self, endpoint, *, on_messages, on_state, **_):
        self.on_messages, self.on_state = on_messages, on_state

    def reconnect(self):
        self.on_state(State.CONNECTING, "", None)
        self.on_state(State.LIVE, "", None)


def a_feed(listener, *, lazy):
    """Return a connected feed and its socket."""
    sockets = []

    def new_socket(*args, **options):
        sockets.append(Socket(*args, **options))
        return sockets[0]

    with patch("voltstorage_async.events.feed.ReconnectingSocket", new_socket):
        feed = ProductFeed(
            *(7, None, None, listener),
            fields=ProductFields(FieldMap()),
            since=None,
            socket=SocketConfig(),
            backfill=BackfillConfig(max_held=5, window_ids=10),
            clock=VirtualClock(),
            lazy=lazy,
        )
    sockets[0].on_state(State.LIVE, "", None)
    return feed, sockets[0]


async def delivered(reads, *, room, gap_after, lazy=False):
    """Return what a feed delivers of these reads, with a gap somewhere that is never filled."""
    listener = Notes(room)
    feed, socket = a_feed(listener, lazy=lazy)
    events = []
    for number, read in enumerate(reads):
        if number == gap_after:
            socket.reconnect()
        events.append(socket.on_messages(read))
    counts = feed.received, feed.unknown, feed.malformed, feed.unusable, feed.discarded
    return listener.noted, counts, repr(feed), sum(events)


@given(
    reads=st.lists(st.lists(messages, min_size=1, max_size=12), max_size=4),
    room=st.sampled_from([0, 2, 1000, 1000]),
    gap_after=st.integers(0, 6),
)
def test_one_read_means_the_same_as_many(reads, room, gap_after):
    """However messages are cut into reads, parsed in full or by fast readers, with or without a gap.

    One by one, every message is decided about separately, so nothing that both ways share is trusted.
    """
    singles = [[each] for read in reads for each in read]
    at = sum(map(len, reads[:gap_after])) if gap_after < len(reads) else len(singles)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        together = runner.run(delivered(reads, room=room, gap_after=gap_after))
        fast = runner.run(delivered(reads, room=room, gap_after=gap_after, lazy=True))
        with patch.object(GapFiller, "try_pass_through", return_value=False):
            one_by_one = runner.run(delivered(singles, room=room, gap_after=at))
    assert together == one_by_one
    assert fast == one_by_one


@accelerated
@pytest.mark.parametrize(
    ("datas", "in_full"),
    [
        ([TWO, TWO, TWO, TWO], [0]),
        ([TWO, ONE, ONE, ONE], [0, 1, 2]),
        ([TWO, ONE, TWO, ONE], [0, 1, 2, 3]),
        ([TWO, {"pvPower": 1e300, "dcVoltage": [1]}, TWO, TWO, TWO], [0, 1, 2, 3]),
    ],
)
def test_only_a_message_of_another_layout_is_parsed_in_full(datas, in_full):
    """After two messages of one layout a fast reader is used; a layout that alternates gets none."""
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
        found, *_ = runner.run(delivered([frames[:3], frames[3:]], room=1000, gap_after=9, lazy=True))
    assert read == in_full
    assert [moment.data for moment, _ in found[1:]] == datas


@accelerated
@pytest.mark.parametrize(
    ("odd_ones", "gives_up"),
    [
        ([1, 2] * 40, True),
        ([1] * 500, False),
        (([1] * 30 + [2, 2]) * 20, False),
        (([1] * 4 + [2]) * 60, True),
    ],
)
def test_a_feed_gives_up_fast_readers_where_they_do_not_pay(odd_ones, gives_up):
    """If more than an eighth of the messages must be parsed in full, all of them are from then on."""
    reads = [
        [
            json.dumps(
                {"type": "latest-data", "time": START + at, "data": {"pump": 1} | {str(each): 1}}
            ).encode()
        ]
        for at, each in enumerate(odd_ones)
    ]

    known_layout = [reads[-1]] * 3
    read_in_full = 0

    def counting(message):
        nonlocal read_in_full
        read_in_full += 1
        return event_message(message)

    async def full_parses_at_the_end():
        _, socket = a_feed(Notes(1000), lazy=True)
        for read in reads:
            socket.on_messages(read)
        before = read_in_full
        for read in known_layout:
            socket.on_messages(read)
        return read_in_full - before

    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        patch("voltstorage_async.events.feed.event_message", counting),
    ):
        assert (runner.run(full_parses_at_the_end()) == 3) is gives_up


async def test_a_scale_learned_from_a_list_counts_for_the_same_read():
    """Messages of one read are read with the scale that those before them have shown, in a list or not."""
    listener = Notes(1000)
    _, socket = a_feed(listener, lazy=True)
    sent = [frame(START + second, soc=57 if second == 4 else 0.5).encode() for second in range(1, 7)]
    sent[3] = b"[" + sent[3] + b"]"
    socket.on_messages(sent)
    charges = [
        note[0].values[Quantity.BATTERY_SOC] for note in listener.noted if isinstance(note[0], RecordedMoment)
    ]
    assert charges == [50.0, 50.0, 50.0, 57.0, 0.5, 0.5]

"""FrameSplitter: the fast path never decides differently from websockets."""

from __future__ import annotations

import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from energy_core.stream.frames import FrameSplitter
from tests.servers.websocket_server import accepted

LARGEST = 300
QUIET = logging.getLogger("tests.quiet")
OPEN = parse_uri("ws://localhost/")


def protocol(state=State.OPEN, largest=LARGEST):
    return ClientProtocol(OPEN, state=state, max_size=largest)


def splitter(of, log=QUIET):
    return FrameSplitter(of, limit=LARGEST, log=log)


def understood(frames):
    """Return the messages of the frames that websockets alone has parsed: the reference."""
    messages, partial = [], bytearray()
    for frame in frames:
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY}:
            partial = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT:
            partial += frame.data
        else:
            continue
        if frame.fin:
            messages.append(bytes(partial))
    return messages


def outcome(of):
    """Return the state of a protocol, and how much it would send."""
    sent = b"".join(of.data_to_send())
    return of.state, of.close_rcvd, of.close_sent, type(of.parser_exc), len(sent)


def sent(opcode, data, *, fin=True, mask=False):
    return Frame(opcode, data, fin).serialize(mask=mask)


payloads = st.one_of(st.binary(max_size=12), st.integers(100, LARGEST + 3).map(bytes))
plain = st.builds(sent, st.sampled_from([Opcode.TEXT, Opcode.BINARY]), payloads)
control = st.builds(sent, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=5))
pieces = st.builds(
    sent, st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT]), payloads, fin=st.booleans()
)
wrong = st.one_of(
    st.binary(min_size=1, max_size=14),
    st.just(b"\x88\x02\x03\xe8"),
    st.just(b"\x82\x7f" + bytes(6) + b"\x00\x05hello"),
    st.just(b"\x82\x7e\x00\x05hello"),
    st.builds(sent, st.just(Opcode.TEXT), payloads, mask=st.just(True)),
)
conversations = st.lists(
    st.one_of(plain, plain, plain, control, pieces, wrong) | st.lists(plain, max_size=5).map(b"".join),
    max_size=12,
).map(b"".join)


@example(sent(Opcode.TEXT, b"begun", fin=False) + sent(Opcode.TEXT, b"in its middle"), [], False)
@example(b"\x00\xfe", [], False)  # rejected before its header is complete
@example(sent(Opcode.TEXT, b"one half", fin=False) + sent(Opcode.CONT, b", the other"), [10], False)
@given(conversations, st.lists(st.integers(1, 40), max_size=40), st.booleans())
def test_messages_are_those_of_websockets(stream, sizes, watched):
    """However the bytes are cut into reads, messages, state and answers are those of websockets."""
    log = logging.getLogger("tests.watched")
    log.setLevel(logging.DEBUG if watched else logging.INFO)
    reference, ours = protocol(), protocol()
    splitting = splitter(ours, log)
    frames, found, at = [], [], 0
    for size in [*sizes, len(stream) + 1]:
        piece = stream[at : at + size]
        at += size
        if piece:
            reference.receive_data(piece)
            frames += reference.events_received()
            found += splitting.split(piece)
    assert found == understood(frames)
    for one in (reference, ours):
        one.receive_eof()
    assert outcome(ours) == outcome(reference)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "byte by byte"])
def test_messages_right_after_the_handshake_are_found(at_once):
    """The handshake and the first messages may arrive in one read, or one byte at a time."""
    ours = protocol(State.CONNECTING)
    stream = accepted(ours.key) + sent(Opcode.TEXT, b"one") + sent(Opcode.TEXT, b"two") + b"\x81"
    splitting = splitter(ours)
    found = (
        splitting.split(stream)
        if at_once
        else [each for byte in stream for each in splitting.split(bytes([byte]))]
    )
    assert found == [b"one", b"two"]
    assert ours.state is State.OPEN
    assert splitting.split(b"\x05three") == [b"three"]


def test_a_close_sent_within_a_header_changes_nothing():
    """Sending a close frame between two bytes of a frame header does not change what the frame is."""
    ours = protocol()
    splitting = splitter(ours)
    assert splitting.split(b"\x81\x7e\x00") == []
    ours.send_close(1001)
    assert splitting.split(b"\x7f" + bytes(127) + sent(Opcode.CLOSE, b"\x03\xe9")) == [bytes(127)]
    assert ours.close_rcvd.code == 1001


def test_the_fast_path_does_not_use_the_protocol():
    """Complete unfragmented messages bypass it; a ping among them is answered."""
    ours = protocol()
    splitting = splitter(ours)
    assert splitting.split(sent(Opcode.TEXT, b"one") * 3) == [b"one"] * 3
    assert not splitting.protocol_changed
    assert splitting.split(
        sent(Opcode.TEXT, b"one") + sent(Opcode.PING, b"?") + sent(Opcode.TEXT, b"two")
    ) == [
        b"one",
        b"two",
    ]
    assert splitting.protocol_changed
    assert len(ours.data_to_send()) == 1

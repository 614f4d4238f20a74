"""FrameSplitter: splits received bytes into messages, with a fast path for short unfragmented ones.

Nearly every frame of a telemetry stream is a short, unmasked message in one frame, whose length is in the
first two or four bytes. The fast path cuts such a frame out in 0.2 us; websockets' sans-I/O protocol takes
4 us (measured with messages of 100 bytes, 50 in a read). Everything else goes to websockets: the handshake,
control frames, fragmented messages, and frames that are long, masked, incomplete or invalid. It always
receives whole frames from one frame boundary to the next, so it decides as if it had seen every frame.
"""

from __future__ import annotations

import logging
from typing import Final

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State

from energy_core.printable import printable

_TEXT, _BINARY, _CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
_UNFRAGMENTED: Final = frozenset((0x80 | _TEXT, 0x80 | _BINARY))
"""First byte of a message in one frame: FIN bit and opcode."""
_TWO_BYTE_LENGTH: Final = 126
"""This length means that the next two bytes hold the length; 127 means the next eight."""
_MASKED: Final = 0x80


class FrameSplitter:
    """Split what a server sends into messages.

    Args:
        protocol: Receives everything outside the fast path. Its answers are sent by the connection.
        limit: Size limit of a message in bytes, the same as the protocol's.
        log: Logger of the protocol. If it is enabled for DEBUG, which shows frames, there is no fast path.
    """

    __slots__ = (
        *("_fast_path", "_fragments", "_frame_rest", "_header", "_header_fed", "_limit", "_open"),
        *("_protocol", "date", "protocol_changed"),
    )

    def __init__(self, protocol: ClientProtocol, *, limit: int, log: logging.Logger) -> None:
        self.protocol_changed = False
        """Set when the protocol received something: it may have an answer to send, or a new state."""
        self.date: str | None = None
        """`Date` header of the handshake."""
        self._protocol = protocol
        self._limit = limit
        self._fast_path = not log.isEnabledFor(logging.DEBUG)
        self._open = protocol.state is State.OPEN  # the state after the last bytes fed to the protocol
        self._header = b""  # an incomplete frame header ...
        self._header_fed = 0  # ... and how many bytes of it the protocol has received
        self._frame_rest = 0  # bytes of the current frame that the protocol has not received yet
        self._fragments: bytearray | None = None  # a fragmented message so far

    def split(self, data: bytes) -> list[bytes]:
        """Take the bytes of one read; return the messages that are complete, in order."""
        if self._header:
            data, self._header = self._header + data, b""
        messages: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._open and not self._frame_rest:
                if self._fast_path and self._fragments is None and not self._header_fed:
                    at = _cut_messages(data, at, self._limit, messages)
                    if at == end:
                        break
                size = _frame_size(data, at)
                if not size:
                    self._keep_header(data[at:], messages)
                    break
                at, self._frame_rest, self._header_fed = at + self._header_fed, size - self._header_fed, 0
            elif self._header_fed:  # the protocol closed in the middle of a header
                at, self._header_fed = at + self._header_fed, 0
            at = self._feed_frame(data, at, messages)
        return messages

    def _keep_header(self, header: bytes, messages: list[bytes]) -> None:
        """Keep an incomplete header, but feed it: two bytes may be enough for the protocol to reject it."""
        self._header = header
        if len(header) > 1:
            self._feed(header[self._header_fed :], messages)
            self._header_fed = len(header)

    def _feed_frame(self, data: bytes, at: int, messages: list[bytes]) -> int:
        """Feed the protocol up to the end of the current frame; return the position after it."""
        stop = len(data)
        if self._protocol.state is State.CONNECTING:
            # Line by line: frames may follow the last line of the handshake.
            stop = data.find(b"\n", at) + 1 or stop
        elif self._frame_rest:
            stop = min(stop, at + self._frame_rest)
            self._frame_rest -= stop - at
        self._feed(data[at:stop], messages)
        return stop

    def _feed(self, data: bytes, messages: list[bytes]) -> None:
        """Feed the protocol and collect the messages it makes of the bytes."""
        protocol = self._protocol
        protocol.receive_data(data)
        self.protocol_changed, self._open = True, protocol.state is State.OPEN
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._add_frame(event, messages)
            elif isinstance(event, Response) and protocol.handshake_exc is None:
                self.date = _date(event)
                event.headers.clear()  # the protocol keeps the response for its whole life

    def _add_frame(self, frame: Frame, messages: list[bytes]) -> None:
        """Add a data frame to its message; append the message when it is complete."""
        if frame.opcode is _CONTINUATION and self._fragments is not None:
            self._fragments += frame.data
        elif frame.opcode is _TEXT or frame.opcode is _BINARY:
            self._fragments = bytearray(frame.data)
        else:
            return
        if frame.fin:
            messages.append(bytes(self._fragments))
            self._fragments = None

    @printable
    def __repr__(self) -> str:
        return f"<FrameSplitter, {self._frame_rest} bytes of a frame to come>"


def _date(response: Response) -> str | None:
    """Return the `Date` of a response; None if it came from a cache."""
    dates = response.headers.get_all("Date")
    return dates[0] if len(dates) == 1 and "Age" not in response.headers else None


def _cut_messages(data: bytes, at: int, limit: int, messages: list[bytes]) -> int:
    """Append the messages of short unfragmented frames from `at` on; return where something else begins."""
    end = len(data)
    while at + 4 <= end:
        size, begin = data[at + 1], at + 2
        if size == _TWO_BYTE_LENGTH:
            size, begin = data[begin] << 8 | data[begin + 1], at + 4
        elif size > _TWO_BYTE_LENGTH:
            break
        stop = begin + size
        if stop > end or size > limit or data[at] not in _UNFRAGMENTED:
            break
        messages.append(data[begin:stop])
        at = stop
    return at


def _frame_size(data: bytes, at: int) -> int:
    """Return the size in bytes of the frame at `at`, with its header; 0 if the header is incomplete."""
    available = len(data) - at
    if available < 2:
        return 0
    size, header = data[at + 1] & ~_MASKED, 2
    if size >= _TWO_BYTE_LENGTH:
        header = 4 if size == _TWO_BYTE_LENGTH else 10
        if available < header:
            return 0
        size = int.from_bytes(data[at + 2 : at + header], "big")
    return header + size + (4 if data[at + 1] & _MASKED else 0)

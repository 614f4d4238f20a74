"""Messages out of bytes: websockets' protocol, spared the frames about which there is nothing to decide.

Nearly every frame of a telemetry stream is a short message in one piece. Its length stands in its first two
or four bytes, so where all of it is there it is cut out here, without the dozen calls a protocol makes for
it. Everything else (the handshake, control frames, messages in pieces, frames that are long, masked,
unfinished or forbidden) is left to websockets. It is fed whole frames from one border to the next, and so
decides about them as if it had seen them all.
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
_WHOLE: Final = frozenset((0x80 | _TEXT, 0x80 | _BINARY))
"""The first byte of a message in one piece."""
_TWO_BYTES: Final = 126
"""This length says that the length is in the next two bytes; one more, that it is in the next eight."""
_MASKED: Final = 0x80


class FrameSplitter:
    """Cuts what a server sends into messages.

    Args:
        protocol: Takes whatever is not plain; its answers are for others to send.
        largest: The most bytes of a message; the protocol has the same limit.
        log: Where the protocol shows frames at DEBUG. Then it is spared none.
    """

    __slots__ = (
        "_head",
        "_largest",
        "_open",
        "_owed",
        "_partial",
        "_protocol",
        "_spares",
        "_told",
        "date",
        "fed",
    )

    def __init__(self, protocol: ClientProtocol, *, largest: int, log: logging.Logger) -> None:
        self.fed = False
        """Set when the protocol sees something: it may have an answer then, or a new state."""
        self.date: str | None = None
        """The `Date` of the answer to the handshake, until it is read."""
        self._protocol = protocol
        self._largest = largest
        self._spares = not log.isEnabledFor(logging.DEBUG)
        self._open = protocol.state is State.OPEN  # as it was when the protocol last saw something
        self._head = b""  # the beginning of a frame's head ...
        self._told = 0  # ... and how much of it the protocol has had
        self._owed = 0  # bytes of the present frame that the protocol has not had yet
        self._partial: bytearray | None = None  # a message in pieces, so far

    def split(self, data: bytes) -> list[bytes]:
        """Take what was read; return the messages that are whole now, in order."""
        if self._head:
            data, self._head = self._head + data, b""
        messages: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._open and not self._owed:
                if self._spares and self._partial is None and not self._told:
                    at = _cut_plain(data, at, self._largest, messages)
                    if at == end:
                        break
                size = _size(data, at)
                if not size:
                    self._begin(data[at:], messages)
                    break
                at, self._owed, self._told = at + self._told, size - self._told, 0
            elif self._told:  # the end came in the middle of a head
                at, self._told = at + self._told, 0
            at = self._feed(data, at, messages)
        return messages

    def _begin(self, head: bytes, messages: list[bytes]) -> None:
        """Keep what there is of a frame's head; two bytes may be enough for the protocol to refuse it."""
        self._head = head
        if len(head) > 1:
            self._tell(head[self._told :], messages)
            self._told = len(head)

    def _feed(self, data: bytes, at: int, messages: list[bytes]) -> int:
        """Give the protocol what it has to see of what begins here; return where that ends."""
        stop = len(data)
        if self._protocol.state is State.CONNECTING:
            # Line by line: what follows the last line of the handshake is frames already.
            stop = data.find(b"\n", at) + 1 or stop
        elif self._owed:
            stop = min(stop, at + self._owed)
            self._owed -= stop - at
        self._tell(data[at:stop], messages)
        return stop

    def _tell(self, data: bytes, messages: list[bytes]) -> None:
        protocol = self._protocol
        protocol.receive_data(data)
        self.fed, self._open = True, protocol.state is State.OPEN
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._gather(event, messages)
            elif isinstance(event, Response) and protocol.handshake_exc is None:
                self.date = _date(event)
                event.headers.clear()  # the protocol keeps the answer for as long as it lives

    def _gather(self, frame: Frame, messages: list[bytes]) -> None:
        if frame.opcode is _CONTINUATION and self._partial is not None:
            self._partial += frame.data
        elif frame.opcode is _TEXT or frame.opcode is _BINARY:
            self._partial = bytearray(frame.data)
        else:
            return
        if frame.fin:
            messages.append(bytes(self._partial))
            self._partial = None

    @printable
    def __repr__(self) -> str:
        return f"<Cutter, {self._owed} bytes of a frame owed>"


def _date(answer: Response) -> str | None:
    """Return its `Date`; None for an answer out of a cache."""
    dates = answer.headers.get_all("Date")
    return dates[0] if len(dates) == 1 and "Age" not in answer.headers else None


def _cut_plain(data: bytes, at: int, largest: int, messages: list[bytes]) -> int:
    """Cut out plain messages from here on; return where something else begins."""
    end = len(data)
    while at + 4 <= end:
        size, begin = data[at + 1], at + 2
        if size == _TWO_BYTES:
            size, begin = data[begin] << 8 | data[begin + 1], at + 4
        elif size > _TWO_BYTES:
            break
        stop = begin + size
        if stop > end or size > largest or data[at] not in _WHOLE:
            break
        messages.append(data[begin:stop])
        at = stop
    return at


def _size(data: bytes, at: int) -> int:
    """Return the bytes of the frame that begins here; 0 where not even its head is there."""
    there = len(data) - at
    if there < 2:
        return 0
    size, head = data[at + 1] & ~_MASKED, 2
    if size >= _TWO_BYTES:
        head = 4 if size == _TWO_BYTES else 10
        if there < head:
            return 0
        size = int.from_bytes(data[at + 2 : at + head], "big")
    return head + size + (4 if data[at + 1] & _MASKED else 0)

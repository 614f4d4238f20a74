"""The redacting logger that websockets writes to: it logs request lines, headers and frames at DEBUG."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from asyncio import BaseTransport, BufferedProtocol, Future, TimerHandle, Transport
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHeader, InvalidStatus
from websockets.http11 import USER_AGENT, Request
from websockets.protocol import State
from websockets.uri import parse_uri

from energy_core.clock import Clock, VendorClock, monotonic_reader
from energy_core.printable import printable
from energy_core.stream.endpoint import Endpoint
from energy_core.stream.frames import FrameSplitter
from energy_core.stream.reconnect import SocketConfig

_PLAIN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "date",
        "host",
        "retry-after",
        "sec-websocket-accept",
        "sec-websocket-version",
        "server",
        "upgrade",
        "user-agent",
    }
)


def _redact(record: logging.LogRecord) -> bool:
    """Keep queries, headers that may be secret, and contents out of what websockets logs."""
    record.__dict__.pop("websocket", None)  # the connection, which knows everything
    record.exc_info = None
    text, args = str(record.msg), record.args if isinstance(record.args, tuple) else ()
    if text.startswith("> GET "):
        record.args = tuple(str(arg).partition("?")[0] for arg in args)
    elif text.startswith("< HTTP/"):
        record.args = (args[0], "")
    elif text.endswith("%s: %s") and str(args[0]).lower() not in _PLAIN_HEADERS:
        record.args = (args[0], "***")
    elif text in {"< %s", "> %s"}:  # a frame: a close may echo the credential in its reason
        record.args = (str(args[0]).partition(" ")[0],)
    return True


@cache
def wire_log() -> logging.Logger:
    """Return the logger for websockets, `energy_core.stream.wire`: DEBUG shows traffic, never a secret."""
    logger = logging.getLogger("energy_core.stream.connection")
    logger.addFilter(_redact)
    return logger


_PIECE: Final = 24 * 1024
"""The most that is read at once in plain text; then all others have their turn."""
_ALL_OF_IT: Final = 272 * 1024
"""Over TLS, asyncio decrypts up to 256 KiB ahead, and drops what is not read of it when the server leaves."""

_NO_CLOSE_FRAME: Final = 1006
_WORDS: Final = 64 * 1024
"""Bytes of a refusal beyond which it is not read: words are short."""


class HandshakeFailed(Exception):
    """What answers there does not speak as a WebSocket does."""


class HandshakeRejected(HandshakeFailed):
    """A server that answered the handshake with a status of its own."""

    def __init__(
        self, status: int, *, body: bytes = b"", retry_after: Sequence[str] = (), dates: Sequence[str] = ()
    ) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        """What it said, as far as it is short. It may repeat the credential."""
        self.retry_after = retry_after
        """Every `Retry-After` it sent."""
        self.dates = dates
        """Every `Date`, likewise."""


class Connection(BufferedProtocol):
    """One connection, from its handshake to its end.

    Args:
        address: Where to.
        on_open: Told once and before any message when the handshake is done, by the clock's monotonic time.
        on_messages: Takes the messages of one read, and when it was. What it raises ends the connection and
            is `fault`.
        clock: Where time comes from.
        config: How long goodbyes may take, and how large a message may be.
        vendor_clock: Told the `Date` of the answer to the handshake.
    """

    __slots__ = (
        *("_answered", "_choked", "_cutter", "_gulps", "_leaving", "_now", "_on_open", "_over", "_protocol"),
        *("_surface", "_take", "_config", "_transport", "_vendor_clock", "fault", "heard_at"),
    )

    def __init__(
        self,
        address: Endpoint,
        *,
        on_open: Callable[[float], None],
        on_messages: Callable[[list[bytes], float], None],
        clock: Clock,
        config: SocketConfig,
        vendor_clock: VendorClock | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.fault: Exception | None = None
        """What a taker raised."""
        self._now = monotonic_reader(clock)
        self.heard_at = self._now()
        """When the last byte came."""
        self._config = config
        self._vendor_clock = vendor_clock
        self._on_open = on_open
        self._take: Callable[[list[bytes], float], None] | None = on_messages
        log, largest = wire_log(), config.max_message_bytes
        self._protocol = ClientProtocol(parse_uri(address.url), max_size=largest, logger=log)
        self._cutter = FrameSplitter(self._protocol, largest=largest, log=log)
        self._answered: Future[None] = loop.create_future()
        self._over: Future[None] = loop.create_future()
        self._transport: Transport | None = None
        self._surface = _desk.piece
        # Other loops than asyncio's own read on as long as there is something: dozens of pieces in one turn.
        self._gulps = not isinstance(loop, asyncio.BaseEventLoop)
        self._choked = False
        self._leaving: TimerHandle | None = None

    # --- what is done with it ------------------------------------------------------------------------------

    async def open(self, address: Endpoint, tls: ssl.SSLContext | None) -> None:
        """Connect and shake hands. Cancelling it leaves nothing behind.

        Raises:
            Refusal: the server answered with a status of its own.
            NotAWebSocket: what answers is no WebSocket server.
            TimeoutError: it took too long.
            OSError: there is no way to the server, or TLS could not be agreed on.
            ValueError: the address holds a header that cannot be sent.
        """
        where = self._protocol.uri
        try:
            async with asyncio.timeout(self._config.open_timeout_s):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: self, where.host, where.port, ssl=tls)
                self._protocol.send_request(_asking(self._protocol, address))
                self._flush()
                await self._answered
            self._check_handshake()
        except BaseException:
            self.abort()
            raise

    async def over(self, within_s: float) -> bool:
        """Wait so long for the connection to end; tell whether it has. Cancelling it is safe."""
        if not self._over.done():
            await asyncio.wait([self._over], timeout=within_s)
        return self._over.done()

    @property
    def close_code(self) -> int:
        """The code the connection was closed with; 1006 when it just ended."""
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return _NO_CLOSE_FRAME if close is None else int(close.code)

    @property
    def close_words(self) -> str:
        """What the server said in its close frame. It may repeat the credential."""
        close = self._protocol.close_rcvd
        return "" if close is None else close.reason

    def ping(self) -> None:
        """Ask for a sign of life; any byte will do as an answer."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush()

    async def leave(self, code: int) -> None:
        """Say goodbye, take nothing more, and let go whatever the other side does; at once if cancelled."""
        self._take = None
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code)
                self._flush()
            await self.over(self._config.close_timeout_s)
        finally:
            self.abort()

    def abort(self) -> None:
        """Let go at once."""
        self._take = None
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop says --------------------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("Transport", transport)
        self.heard_at = self._now()
        if transport.get_extra_info("sslcontext") is not None:
            self._surface = _desk.whole

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  (what there is has to do)
        """Lend the desk."""
        return self._surface

    def buffer_updated(self, nbytes: int) -> None:
        """Cut messages out of what came, hand them over, and answer what wants an answer."""
        self.heard_at = now = self._now()
        cutter = self._cutter
        try:
            messages = cutter.split(bytes(self._surface[:nbytes]))
            if cutter.fed:
                cutter.fed = False
                self._react()
            if messages and self._take is not None:
                self._take(messages, now)
            if nbytes == _PIECE and self._gulps:
                self._swallow()
        except Exception as fault:  # noqa: BLE001  (whatever it is, it is raised where the connection is read)
            self.fault = fault
            self.abort()

    def eof_received(self) -> None:
        """The other side says no more; the transport closes itself."""
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (the reason is never told)
        """It is over."""
        if self._leaving is not None:
            self._leaving.cancel()
        self._protocol.receive_eof()
        self._answer()
        if not self._over.done():
            self._over.set_result(None)

    def pause_writing(self) -> None:
        """Nobody reads our pongs: read nothing that would make more of them."""
        self._choked = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Somebody does again."""
        self._choked = False
        self._read_on()

    # --- between the two -----------------------------------------------------------------------------------

    def _swallow(self) -> None:
        """Let consumers take what came before more is read, or their buffers run over at once."""
        if self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        transport = self._transport
        if transport is not None and not self._choked and not transport.is_closing():
            transport.resume_reading()

    def _react(self) -> None:
        """The protocol has seen something: it may want to answer, or to be done with."""
        self._flush()
        self._answer()
        if self._protocol.close_expected() and self._leaving is None:
            # The server may stay for as long as it likes after its goodbye, or ours.
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(self._config.close_timeout_s, self.abort)

    def _answer(self) -> None:
        """Tell, once, that the handshake is done, one way or the other."""
        answered, protocol = self._answered, self._protocol
        if answered.cancelled():  # nobody waits for it any more: what comes now was never announced
            self._take = None
        if answered.done():
            return
        if protocol.handshake_exc is not None:
            answered.set_result(None)
        elif protocol.state is not State.CONNECTING:
            answered.set_result(None)
            if self._vendor_clock is not None:
                self._vendor_clock.observe(self._cutter.date)
            self._cutter.date = None
            self._on_open(self.heard_at)

    def _check_handshake(self) -> None:
        if self.fault is not None:
            raise self.fault
        error = self._protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            response = error.response
            status, headers, body = response.status_code, response.headers, bytes(response.body)
            # From nothing: what the library raises holds every header.
            raise HandshakeRejected(
                status,
                body=body if len(body) <= _WORDS else b"",
                retry_after=headers.get_all("Retry-After"),
                dates=headers.get_all("Date"),
            ) from None
        if error is not None:
            raise HandshakeFailed from None

    def _flush(self) -> None:
        transport = self._transport
        for data in self._protocol.data_to_send():
            if transport is None or transport.is_closing():
                return
            if data:
                transport.write(data)
            elif transport.can_write_eof():
                transport.write_eof()

    @printable
    def __repr__(self) -> str:
        return f"<Wire {self._protocol.state.name.lower()}>"


def _asking(protocol: ClientProtocol, address: Endpoint) -> Request:
    """Return the request of the handshake; an error holds nothing of it."""
    request = protocol.connect()
    request.headers["User-Agent"] = USER_AGENT
    with suppress(InvalidHeader):
        request.headers.update(address.headers)
        return request
    raise ValueError("the address holds a header that cannot be sent")


class _ReceiveBuffer(threading.local):
    """Where bytes lie until they are copied, within one callback: one for the event loop of each thread."""

    def __init__(self) -> None:
        self.whole = memoryview(bytearray(_ALL_OF_IT))
        self.piece = self.whole[:_PIECE]


_desk: Final = _ReceiveBuffer()

"""Connection: one WebSocket connection on an asyncio transport, with websockets' sans-I/O protocol."""

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
    """Remove queries, secret headers and message contents from a log record of websockets."""
    record.__dict__.pop("websocket", None)  # the connection object holds every secret
    record.exc_info = None
    text, args = str(record.msg), record.args if isinstance(record.args, tuple) else ()
    if text.startswith("> GET "):
        record.args = tuple(str(arg).partition("?")[0] for arg in args)
    elif text.startswith("< HTTP/"):
        record.args = (args[0], "")
    elif text.endswith("%s: %s") and str(args[0]).lower() not in _PLAIN_HEADERS:
        record.args = (args[0], "***")
    elif text in {"< %s", "> %s"}:  # a frame; the reason of a close frame may repeat the credential
        record.args = (str(args[0]).partition(" ")[0],)
    return True


@cache
def protocol_logger() -> logging.Logger:
    """Return the logger given to websockets, which logs headers and frames at DEBUG; secrets are removed."""
    logger = logging.getLogger("energy_core.stream.connection")
    logger.addFilter(_redact)
    return logger


_READ_SIZE: Final = 24 * 1024
"""Bytes of one read without TLS; then other connections have their turn."""
_TLS_READ_SIZE: Final = 272 * 1024
"""With TLS, asyncio decrypts up to 256 KiB ahead; what a read leaves is lost if the server disconnects."""

_NO_CLOSE_FRAME: Final = 1006
_MAX_REFUSAL_BYTES: Final = 64 * 1024
"""A longer body of a refused handshake is ignored: it holds no message for a user."""


class HandshakeFailed(Exception):
    """The server's answer to the handshake is not a WebSocket's."""


class HandshakeRejected(HandshakeFailed):
    """The server answered the handshake with a status other than 101."""

    def __init__(
        self, status: int, *, body: bytes = b"", retry_after: Sequence[str] = (), dates: Sequence[str] = ()
    ) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        """Body of the answer, empty if it is long. It may repeat the credential."""
        self.retry_after = retry_after
        """All `Retry-After` headers."""
        self.dates = dates
        """All `Date` headers."""


class Connection(BufferedProtocol):
    """One WebSocket connection, from its handshake to its end.

    It is the asyncio protocol of its transport: the event loop calls `buffer_updated`, which passes complete
    messages to `on_messages` in the same callback, without a queue or a task.

    Args:
        address: URL and headers of the handshake.
        on_open: Called once with the monotonic time when the handshake has succeeded, before any message.
        on_messages: Called with the messages of one read and its monotonic time. What it raises ends the
            connection and is `callback_error`.
        clock: Source of time.
        config: Timeouts, and the size limit of a message.
        vendor_clock: Learns the vendor's time from the `Date` of the handshake.
    """

    __slots__ = (
        *("_close_timer", "_config", "_handshake_done", "_lost", "_now", "_on_messages", "_on_open"),
        *("_pause_between_reads", "_protocol", "_read_buffer", "_splitter", "_transport", "_vendor_clock"),
        *("_write_paused", "callback_error", "received_at"),
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
        self.callback_error: Exception | None = None
        """Exception that a callback raised."""
        self._now = monotonic_reader(clock)
        self.received_at = self._now()
        """Monotonic time of the last data."""
        self._config = config
        self._vendor_clock = vendor_clock
        self._on_open = on_open
        self._on_messages: Callable[[list[bytes], float], None] | None = on_messages  # None: deliver nothing
        log, limit = protocol_logger(), config.max_message_bytes
        self._protocol = ClientProtocol(parse_uri(address.url), max_size=limit, logger=log)
        self._splitter = FrameSplitter(self._protocol, limit=limit, log=log)
        self._handshake_done: Future[None] = loop.create_future()
        self._lost: Future[None] = loop.create_future()
        self._transport: Transport | None = None
        self._read_buffer = _receive_buffer.small
        # Loops other than asyncio's own (uvloop) read on while there is data: dozens of reads in one turn.
        self._pause_between_reads = not isinstance(loop, asyncio.BaseEventLoop)
        self._write_paused = False
        self._close_timer: TimerHandle | None = None

    # --- for the owner of the connection -------------------------------------------------------------------

    async def open(self, address: Endpoint, ssl_context: ssl.SSLContext | None) -> None:
        """Connect and do the handshake. Cancelling it is safe: the connection is dropped.

        Raises:
            HandshakeRejected: the server answered with a status other than 101.
            HandshakeFailed: the answer is not a WebSocket's.
            TimeoutError: it took longer than `open_timeout_s`.
            OSError: the server cannot be reached, or TLS failed.
            ValueError: a header cannot be sent.
        """
        where = self._protocol.uri
        try:
            async with asyncio.timeout(self._config.open_timeout_s):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: self, where.host, where.port, ssl=ssl_context)
                self._protocol.send_request(_handshake_request(self._protocol, address))
                self._flush()
                await self._handshake_done
            self._check_handshake()
        except BaseException:
            self.abort()
            raise

    async def wait_closed(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` for the connection to end; return whether it has. Cancelling it is safe."""
        if not self._lost.done():
            await asyncio.wait([self._lost], timeout=timeout_s)
        return self._lost.done()

    @property
    def close_code(self) -> int:
        """Code of the close frame; 1006 if there was none."""
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return _NO_CLOSE_FRAME if close is None else int(close.code)

    @property
    def close_reason(self) -> str:
        """Reason in the server's close frame. It may repeat the credential."""
        close = self._protocol.close_rcvd
        return "" if close is None else close.reason

    def ping(self) -> None:
        """Send a ping; any data counts as its answer."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush()

    async def close(self, code: int) -> None:
        """Send a close frame, deliver no more messages, and disconnect after `close_timeout_s` at the latest.

        Cancelling it is safe: the connection is dropped at once.
        """
        self._on_messages = None
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code)
                self._flush()
            await self.wait_closed(self._config.close_timeout_s)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once; no more messages are delivered."""
        self._on_messages = None
        if self._transport is not None:
            self._transport.abort()

    # --- called by the event loop --------------------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("Transport", transport)
        self.received_at = self._now()
        if transport.get_extra_info("sslcontext") is not None:
            self._read_buffer = _receive_buffer.large

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  (the size is fixed)
        """Return the receive buffer."""
        return self._read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Split the received bytes into messages, deliver them, and send what the protocol has to answer."""
        self.received_at = now = self._now()
        splitter = self._splitter
        try:
            messages = splitter.split(bytes(self._read_buffer[:nbytes]))
            if splitter.protocol_changed:
                splitter.protocol_changed = False
                self._after_protocol_change()
            if messages and self._on_messages is not None:
                self._on_messages(messages, now)
            if nbytes == _READ_SIZE and self._pause_between_reads:
                self._pause_reading_a_turn()
        except Exception as error:  # noqa: BLE001  (raised by the task that watches the connection)
            self.callback_error = error
            self.abort()

    def eof_received(self) -> None:
        """Note that the server sends no more; the transport closes itself."""
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (the close code is enough)
        """Note the end of the connection and wake the tasks that wait for it."""
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._protocol.receive_eof()
        self._finish_handshake()
        if not self._lost.done():
            self._lost.set_result(None)

    def pause_writing(self) -> None:
        """Write buffer full, as the server reads no pongs: pause reading, which would produce more."""
        self._write_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Resume reading."""
        self._write_paused = False
        self._resume_reading()

    # --- between the two -----------------------------------------------------------------------------------

    def _pause_reading_a_turn(self) -> None:
        """Pause reading for one turn of the event loop, so that consumers can empty their buffers."""
        if self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._resume_reading)

    def _resume_reading(self) -> None:
        transport = self._transport
        if transport is not None and not self._write_paused and not transport.is_closing():
            transport.resume_reading()

    def _after_protocol_change(self) -> None:
        """Send what the protocol has to answer, and act on the end of the handshake or of the connection."""
        self._flush()
        self._finish_handshake()
        if self._protocol.close_expected() and self._close_timer is None:
            # After a close frame the server may keep the connection open, so it is dropped after a timeout.
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(self._config.close_timeout_s, self.abort)

    def _finish_handshake(self) -> None:
        """Call `on_open` or wake `open` once the handshake has succeeded or failed."""
        done, protocol = self._handshake_done, self._protocol
        if done.cancelled():  # `open` was cancelled, so `on_open` was never called: deliver nothing
            self._on_messages = None
        if done.done():
            return
        if protocol.handshake_exc is not None:
            done.set_result(None)
        elif protocol.state is not State.CONNECTING:
            done.set_result(None)
            if self._vendor_clock is not None:
                self._vendor_clock.observe(self._splitter.date)
            self._splitter.date = None
            self._on_open(self.received_at)

    def _check_handshake(self) -> None:
        """Raise the error of the handshake, if it failed."""
        if self.callback_error is not None:
            raise self.callback_error
        error = self._protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            response = error.response
            status, headers, body = response.status_code, response.headers, bytes(response.body)
            # Without a cause: the exception of websockets holds every header.
            raise HandshakeRejected(
                status,
                body=body if len(body) <= _MAX_REFUSAL_BYTES else b"",
                retry_after=headers.get_all("Retry-After"),
                dates=headers.get_all("Date"),
            ) from None
        if error is not None:
            raise HandshakeFailed from None

    def _flush(self) -> None:
        """Write what the protocol has to send; an empty item means end of file."""
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
        return f"<Connection {self._protocol.state.name.lower()}>"


def _handshake_request(protocol: ClientProtocol, address: Endpoint) -> Request:
    """Return the request of the handshake; an error contains no header."""
    request = protocol.connect()
    request.headers["User-Agent"] = USER_AGENT
    with suppress(InvalidHeader):
        request.headers.update(address.headers)
        return request
    raise ValueError("the address holds a header that cannot be sent")


class _ReceiveBuffer(threading.local):
    """Memory that a read fills until its bytes are copied in the same callback: one for each thread."""

    def __init__(self) -> None:
        self.large = memoryview(bytearray(_TLS_READ_SIZE))
        self.small = self.large[:_READ_SIZE]


_receive_buffer: Final = _ReceiveBuffer()

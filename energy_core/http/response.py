"""Open responses: their headers, read timeouts, bodies that arrive in pieces, and aiohttp's errors as ours.

A failure of the transport is made here from its kind alone: aiohttp's exceptions and stack frames hold URLs
and headers, and ours must not.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import Final, TypeVar

import aiohttp
from attrs import frozen
from multidict import CIMultiDictProxy

from energy_core.clock import Clock, DeadlineTimer
from energy_core.errors import (
    ClientClosed,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    EnergyError,
    TLSVerificationError,
    TransportError,
)
from energy_core.http.body import Body
from energy_core.http.operation import Response
from energy_core.printable import printable, printable_class

Default = TypeVar("Default")


@printable_class
@frozen(kw_only=True)
class Timeouts:
    """Timeouts of connections, in seconds. The total of a request belongs to its `Operation`."""

    connect_s: float = 10.0
    """For TCP and TLS together, without the DNS lookup."""
    read_timeout_s: float = 30.0
    """The longest wait for the response headers, and then for each piece of the body."""
    min_bytes_per_s: float = 64.0
    """A streamed body slower than this after `slow_after_s` of waiting fails with `DeadlineExceeded`."""
    slow_after_s: float = 60.0


class ResponseHeaders(Mapping[str, str]):
    """Headers by lower-case name, repeated ones joined by a comma; converted at access."""

    __slots__ = ("_raw",)

    def __init__(self, raw: CIMultiDictProxy[str]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._raw.getall(name))

    def get(self, name: str, default: Default | None = None) -> str | Default | None:  # type: ignore[override]
        """Return a header or the default."""
        # The inherited method raises and catches a KeyError for each missing header.
        values = self._raw.getall(name, None)
        return default if values is None else ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name in self._raw))

    def __len__(self) -> int:
        return len(set(map(str.lower, self._raw)))


class ReadTimeouts:
    """Read timeouts of all responses of a session: one shared timer instead of two per request.

    Args:
        seconds: The longest wait for data.
        clock: The source of time.
    """

    def __init__(self, seconds: float, *, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._deadlines: DeadlineTimer[aiohttp.ClientResponse] = DeadlineTimer(clock, self._abort)

    def start(self, response: aiohttp.ClientResponse) -> None:
        """Start to wait for data of this response."""
        self._deadlines.set(response, self._clock.monotonic() + self._seconds)

    def stop(self, response: aiohttp.ClientResponse) -> bool:
        """Stop waiting; return whether the response timed out and was aborted."""
        return not self._deadlines.discard(response)

    def expired(self, response: aiohttp.ClientResponse) -> bool:
        """Return whether the response timed out and was aborted."""
        return response not in self._deadlines

    def close(self) -> None:
        """Stop all timeouts."""
        self._deadlines.clear()

    def _abort(self, response: aiohttp.ClientResponse, now: float) -> None:
        connection = response.connection
        transport = None if connection is None else connection.transport
        if transport is not None:
            transport.abort()
        else:  # its last byte has just arrived; the waiting task will see it
            self._deadlines.set(response, now + self._seconds)


_NO_PIECES: Final[Iterator[bytes]] = iter(())


class OpenResponse:
    """A response whose headers have arrived. Its body is read once, within the operation's limit.

    Args:
        raw: aiohttp's response.
        limit: The largest body in bytes; None for no limit.
        read_timeouts: None if aiohttp itself watches the read timeout.
    """

    __slots__ = ("_body", "_limit", "_pieces", "_raw", "_read_timeouts", "headers", "status")

    def __init__(
        self, raw: aiohttp.ClientResponse, limit: int | None, read_timeouts: ReadTimeouts | None = None
    ) -> None:
        self._raw = raw
        self.status = raw.status
        self.headers: Mapping[str, str] = ResponseHeaders(raw.headers)
        self._limit = limit
        self._read_timeouts = read_timeouts
        self._body: Body | None = None
        self._pieces: Iterator[bytes] = _NO_PIECES

    async def read(self) -> bytes:
        """Read the whole body and release the connection.

        Raises:
            TransportError, DecodeError: the body is broken, too large, or not in its declared encoding.
        """
        body = self._read_buffered()
        if body is not None:
            return body
        decoder, pieces = self._decoder(), list[bytes]()
        while data := await self._receive():
            pieces += decoder.feed(data)
        decoder.finish()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def piece(self) -> bytes:
        """Return the next piece of the decompressed body, empty at its end; raises like `read`."""
        while not (piece := next(self._pieces, b"")):
            data = await self._receive()
            if not data:
                self._decoder().finish()
                return b""
            self._pieces = self._decoder().feed(data)
        return piece

    async def first_piece(self) -> bytes:
        """Start to read a body of any size in pieces; only its compression ratio stays limited."""
        self._limit = None
        return await self.piece()

    def close(self) -> None:
        """Release the connection: kept alive if the body was read to its end, closed otherwise."""
        self._raw.close()

    def _read_buffered(self) -> bytes | None:
        """Return a body that arrived with the headers, as small ones do, or None."""
        content, limit = self._raw.content, self._limit
        if not content.is_eof() or content.exception() is not None:
            return None
        data = content.read_nowait()
        if "Content-Encoding" not in self._raw.headers and limit is not None and len(data) <= limit:
            return data  # nothing to decompress or to refuse
        decoder = self._decoder()
        body = b"".join(decoder.feed(data)) if data else b""
        decoder.finish()
        return body

    def _decoder(self) -> Body:
        self._body = self._body or Body(self.headers, limit=self._limit)
        return self._body

    async def _receive(self) -> bytes:
        data, failure = b"", None
        if self._read_timeouts is not None:
            self._read_timeouts.start(self._raw)
        try:
            data = await self._raw.content.readany()
        except Exception as error:  # noqa: BLE001  (aiohttp's parsers add types of their own)
            failure = transport_error(error)
        finally:
            timed_out = self._read_timeouts is not None and self._read_timeouts.stop(self._raw)
        if timed_out:  # an aborted connection may look like the regular end of a body
            failure = transport_error(TimeoutError())
        if failure is not None:
            raise failure
        return data


class Download:
    """The body of an open response. Iterate `chunks()` once; `close()` may be called at any time.

    A server is too slow if a read times out, or if it sends less than `Timeouts.min_bytes_per_s`. The time
    that the consumer takes between two chunks does not count.
    """

    def __init__(
        self,
        reply: OpenResponse,
        first: bytes,
        *,
        is_read: bool,
        response: Response,
        clock: Clock,
        timeouts: Timeouts,
        with_context: Callable[[EnergyError], EnergyError],
        on_close: Callable[[Download], None],
    ) -> None:
        self.response = response
        """Status and headers; its body is empty."""
        self._reply = reply
        self._first = first
        self._clock = clock
        self._timeouts = timeouts
        self._with_context = with_context
        self._on_close = on_close
        self._waited_s = 0.0
        self._received = 0
        self._at_end = is_read or not first
        self._aborted = False
        self.on_wire = True
        """Whether it is still open."""

    @printable
    def __repr__(self) -> str:
        return f"<Download status {self.response.status}, {self._received} bytes delivered>"

    @property
    def has_length(self) -> bool:
        """Whether Content-Length states the length, so that a truncated body is recognised."""
        headers = self.response.headers
        return headers.get("content-length", "").isdigit() and "transfer-encoding" not in headers

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the iterator over the decompressed body. Cancelling a step is safe; the rest is then lost.

        Raises (while iterating):
            TransportError, DecodeError: the body broke off; the chunks delivered so far are incomplete.
            ClientClosed: the pool was closed meanwhile.
        """
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece, self._first = self._first or await self._next(), b""
        self._received += len(piece)
        if not piece:
            self.close()
            raise StopAsyncIteration
        return piece

    async def read(self) -> bytes:
        """Return the rest of the body, within the operation's limit."""
        return b"".join([piece async for piece in self])

    def close(self) -> None:
        """Release the connection; idempotent."""
        self._at_end, self.on_wire = True, False
        self._reply.close()
        self._on_close(self)

    def abort(self) -> None:
        """Close because the pool closes: the next step raises `ClientClosed`."""
        self._aborted = not self._at_end
        self.close()

    async def _next(self) -> bytes:
        if self._at_end:
            self._check_aborted()
            return b""
        before = self._clock.monotonic()
        try:
            piece = await self._reply.piece()
        except EnergyError as error:
            failure = error
        else:
            self._waited_s += self._clock.monotonic() - before
            self._check_speed()
            return piece
        self.close()
        self._check_aborted()
        raise self._with_context(failure)

    def _check_aborted(self) -> None:
        if self._aborted:
            raise ClientClosed("the client was closed during the download")

    def _check_speed(self) -> None:
        is_due = self._waited_s > self._timeouts.slow_after_s
        if is_due and self._received < self._timeouts.min_bytes_per_s * self._waited_s:
            self.close()
            raise self._with_context(DeadlineExceeded("the body arrives too slowly"))


class OpenDownload:
    """`async with` around a download: entering sends the request, leaving closes the download.

    A class and not a generator: nothing is left suspended if the block is never entered or left.
    """

    def __init__(self, start: Callable[[], Awaitable[Download]]) -> None:
        self._start = start
        self._download: Download | None = None

    async def __aenter__(self) -> Download:
        self._download = await self._start()
        return self._download

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._download is not None:
            self._download.close()


def transport_error(error: BaseException) -> TransportError:
    """Return our error for one of aiohttp's, without its text: that may hold the URL and the headers."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return _connect_error(error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ConnectError("no connection within the timeout", kind="timeout")
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the server sent nothing for the whole read timeout")
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError("the answer is not valid HTTP")
    if isinstance(error, aiohttp.ClientError | OSError):
        return ConnectionLost("the connection broke before the answer was complete")
    return TransportError(f"sending failed with an unexpected {type(error).__name__}")


def _connect_error(error: aiohttp.ClientConnectorError) -> ConnectError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "verification failed"
        return TLSVerificationError(f"the server's certificate cannot be trusted ({reason})")
    if isinstance(error, aiohttp.ClientSSLError):
        return ConnectError("the TLS handshake failed", kind="tls")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ConnectError("the host name could not be resolved", kind="dns")
    if error.os_error.errno == errno.ECONNREFUSED:
        return ConnectError("the connection was refused", kind="refused")
    return ConnectError("the server could not be reached", kind="unreachable")

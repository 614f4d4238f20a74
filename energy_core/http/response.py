"""The headers of an answer as the house reads them."""

from __future__ import annotations

import math
from asyncio import Transport
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar

from attrs import frozen
from multidict import CIMultiDictProxy

from energy_core.clock import Clock, Timer, monotonic_reader
from energy_core.errors import ClientClosed, DeadlineExceeded, EnergyError, TransportError
from energy_core.http.body import Body
from energy_core.http.operation import Response
from energy_core.printable import printable, printable_class

Default = TypeVar("Default")


class ResponseHeaders(Mapping[str, str]):
    """Headers by their names in lower case, repeated ones joined by a comma; read when asked for."""

    __slots__ = ("_raw",)

    def __init__(self, raw: CIMultiDictProxy[str]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._raw.getall(name))

    def get(self, name: str, default: Default | None = None) -> str | Default | None:  # type: ignore[override]
        """Return a header or the default; unlike the inherited way without raising for what is not there."""
        values = self._raw.getall(name, None)
        return default if values is None else ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name in self._raw))

    def __len__(self) -> int:
        return len(set(map(str.lower, self._raw)))


T = TypeVar("T")


@printable_class
@frozen(kw_only=True)
class Timeouts:
    """Seconds; the total of a request belongs to its `Operation`."""

    connect_s: float = 10.0
    """Name lookup aside: TCP and TLS together."""
    read_timeout_s: float = 30.0
    """The longest silence of a server that owes bytes; the head of an answer counts as one."""
    min_bytes_per_s: float = 64.0
    """A streamed body slower than this, after its first `slow_after_s` of waiting, is given up."""
    slow_after_s: float = 60.0


class ReadTimeouts(Generic[T]):
    """Cuts off what nobody has sent anything for in so long.

    Waiting only notes a time: the timer is set once and finds out when it rings who still waits, so that an
    answer in time costs no timer.

    Args:
        gap_s: the longest silence.
        clock: where time comes from.
        cut: cuts one off; False when there is nothing left to cut.
    """

    def __init__(self, gap_s: float, *, clock: Clock, cut: Callable[[T], bool]) -> None:
        self._gap_s = gap_s
        self._clock = clock
        self._cut = cut
        self._now: Callable[[], float] = self._first_now
        self._due: dict[T, float] = {}
        self._timer: Timer | None = None
        self._rung_at = -math.inf

    def start(self, one: T) -> None:
        """Begin to wait for bytes of this one; again for each next time."""
        self._due[one] = due = self._now() + self._gap_s
        if self._timer is None:
            self._set_timer(due)

    def stop(self, one: T) -> bool:
        """Stop waiting; tell whether it was cut off meanwhile."""
        return self._due.pop(one, None) is None

    def expired(self, one: T) -> bool:
        """Whether it was cut off, or nobody waits for it."""
        return one not in self._due

    def close(self) -> None:
        """Watch nobody any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _first_now(self) -> float:
        self._now = monotonic_reader(self._clock)  # a session stays on the event loop of its first request
        return self._now()

    def _set_timer(self, when: float) -> None:
        self._timer_at = when
        self._timer = self._clock.call_at(when, self._ring)

    def _ring(self) -> None:
        # Event loops may ring a tick of their clock too early; we count it as the time we had set.
        now = self._rung_at = max(self._now(), self._timer_at)
        if self._overdue():
            # When the event loop was busy, bytes may have come in time: whoever reads them goes first.
            self._timer = self._clock.call_at(now, self._end_the_silent)
        else:
            self._set_next()

    def _end_the_silent(self) -> None:
        for one in self._overdue():
            if self._cut(one):
                del self._due[one]
            else:
                self._due[one] = self._rung_at + self._gap_s
        self._set_next()

    def _overdue(self) -> list[T]:
        return [one for one, due in self._due.items() if due <= self._rung_at]

    def _set_next(self) -> None:
        self._timer = None
        if self._due:
            self._set_timer(min(self._due.values()))


_NOTHING: Final[Iterator[bytes]] = iter(())


class BodyReader(Protocol):
    """A body as aiohttp hands it out."""

    def is_eof(self) -> bool:
        """Whether its end is there."""

    def exception(self) -> BaseException | None:
        """What it broke off with."""

    def read_nowait(self) -> bytes:
        """Return what is there."""

    async def readany(self) -> bytes:
        """Wait for bytes; none mean its end."""


class AiohttpConnection(Protocol):
    """What carries an answer."""

    @property
    def transport(self) -> Transport | None:
        """None once it is lost or given back."""


class AiohttpResponse(Protocol):
    """An answer as aiohttp hands it out."""

    @property
    def status(self) -> int:
        """The status."""

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers."""

    @property
    def content(self) -> BodyReader:
        """The body."""

    @property
    def connection(self) -> AiohttpConnection | None:
        """None once the answer is at its end."""

    def close(self) -> None:
        """Close the connection if the body is not at its end."""


def abort_response(answer: AiohttpResponse) -> bool:
    """End an answer whose server has fallen silent; False when it has just come to its own end."""
    connection = answer.connection
    transport = None if connection is None else connection.transport
    if transport is None:
        return False
    transport.abort()
    return True


class OpenResponse:
    """An answer whose head has arrived. Its body is read once, through one bounded reader."""

    __slots__ = ("_body", "_inflating", "_limit", "_raw", "_silence", "_translated", "headers", "status")

    def __init__(
        self,
        raw: AiohttpResponse,
        limit: int | None,
        translated: Callable[[BaseException], TransportError],
        silence: ReadTimeouts[AiohttpResponse] | None = None,
    ) -> None:
        self._raw = raw
        self.status = raw.status
        self.headers: Mapping[str, str] = ResponseHeaders(raw.headers)
        self._limit = limit
        self._translated = translated
        self._silence = silence  # None where aiohttp watches
        self._body: Body | None = None
        self._inflating: Iterator[bytes] = _NOTHING

    async def read(self) -> bytes:
        """Read the whole body and give the connection back.

        Raises:
            TransportError, DecodeError: the body is broken, too large, or not what its encoding says.
        """
        body, pieces = self._opened(), list[bytes]()
        while data := await self._arriving():
            pieces += body.feed(data)
        body.finish()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_now(self) -> bytes | None:
        """Read a body that came with the head, as small ones do, or return None; raises like `read`."""
        raw = self._raw
        content, limit = raw.content, self._limit
        if not content.is_eof() or content.exception() is not None:
            return None
        data = content.read_nowait()
        if "Content-Encoding" not in raw.headers and limit is not None and len(data) <= limit:
            return data  # nothing that `Body` would do anything about
        body = self._opened()
        whole = b"".join(body.feed(data)) if data else b""
        body.finish()
        return whole

    async def piece(self) -> bytes:
        """Return the next piece of the decompressed body, empty at its end; the same errors as `read`."""
        while not (piece := next(self._inflating, b"")):
            data = await self._arriving()
            if not data:
                self._opened().finish()
                return b""
            self._inflating = self._opened().feed(data)
        return piece

    async def first_piece(self) -> bytes:
        """Begin to read a body that is handed out and not kept: its size has no limit, its expansion has."""
        self._limit = None
        return await self.piece()

    def close(self) -> None:
        """Let go of the connection: back to the pool when the body was read to its end, closed otherwise."""
        self._raw.close()

    def _opened(self) -> Body:
        self._body = self._body or Body(self.headers, limit=self._limit)
        return self._body

    async def _arriving(self) -> bytes:
        data, failure = b"", None
        if self._silence is not None:
            self._silence.start(self._raw)
        try:
            data = await self._raw.content.readany()
        except Exception as error:  # noqa: BLE001  (aiohttp's parsers add types of their own)
            failure = self._translated(error)
        finally:
            silent = self._silence is not None and self._silence.stop(self._raw)
        if silent:  # whatever the connection made of being cut off: to some bodies that is their end
            failure = self._translated(TimeoutError())
        if failure is not None:
            raise failure
        return data


class Download:
    """An open answer. Iterate `chunks()` once; `close()` may come at any time.

    A server is too slow when it falls silent, or when it sends less than `Timeouts.min_bytes_per_s`; the
    time the consumer takes between two chunks does not count.
    """

    def __init__(
        self,
        reply: OpenResponse,
        first: bytes,
        *,
        whole: bool,
        response: Response,
        clock: Clock,
        timeouts: Timeouts,
        explained: Callable[[EnergyError], EnergyError],
        on_close: Callable[[Download], None],
    ) -> None:
        self.response = response
        """Status and headers; its body is empty."""
        self._reply = reply
        self._first = first
        self._clock = clock
        self._timeouts = timeouts
        self._explained = explained
        self._on_close = on_close
        self._waited_s = 0.0
        self._received = 0
        self._over = whole or not first
        self._aborted = False
        self.on_wire = True

    @printable
    def __repr__(self) -> str:
        return f"<Download status {self.response.status}, {self._received} bytes handed out>"

    @property
    def has_length(self) -> bool:
        """Whether Content-Length says how long the body is: then its end is its end, and no cut."""
        headers = self.response.headers
        return headers.get("content-length", "").isdigit() and "transfer-encoding" not in headers

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the iterator over the decompressed body. Cancelling a step is safe; the rest is then lost.

        Raises (while iterating):
            TransportError, DecodeError: the body broke off; what was handed out so far is not the whole.
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
        """Return the rest of the body at once; its limit is the operation's."""
        return b"".join([piece async for piece in self])

    def close(self) -> None:
        """Let go of the connection; idempotent."""
        self._over, self.on_wire = True, False
        self._reply.close()
        self._on_close(self)

    def abort(self) -> None:
        """Close because the pool closes: the next step raises `ClientClosed`."""
        self._aborted = not self._over
        self.close()

    async def _next(self) -> bytes:
        if self._over:
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
        raise self._explained(failure)

    def _check_aborted(self) -> None:
        if self._aborted:
            raise ClientClosed("the client was closed during the download")

    def _check_speed(self) -> None:
        late = self._waited_s > self._timeouts.slow_after_s
        if late and self._received < self._timeouts.min_bytes_per_s * self._waited_s:
            self.close()
            raise self._explained(DeadlineExceeded("the body arrives too slowly"))

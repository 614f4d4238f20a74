"""A body handed out piece by piece, as it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from energy_core.clock import Clock
from energy_core.errors import ClientClosed, DeadlineExceeded, EnergyError
from energy_core.http.request import Response
from energy_core.http.transport import OpenResponse, Timeouts
from energy_core.printable import printable


class Download:
    """An open answer. Iterate `chunks()` once; `close()` may come at any time.

    A server is too slow when it falls silent, or when it sends less than `Timeouts.least_bytes_per_s`; the
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

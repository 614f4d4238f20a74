"""An answer on its way in: its head is there, its body is read through one bounded reader."""

from __future__ import annotations

from asyncio import Transport
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from multidict import CIMultiDictProxy

from energy_core.errors import TransportError
from energy_core.http.body import Body
from energy_core.http.headers import ResponseHeaders
from energy_core.http.silence import ReadTimeouts

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

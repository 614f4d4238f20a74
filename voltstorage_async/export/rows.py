"""ExportRows streams the rows of an export; ForwardFill fills empty cells with the last known values."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Final, Generic, Literal, Protocol, Self, TypeVar

from energy_core.codec.drift import Drift
from energy_core.codec.json import strict_json
from energy_core.errors import DecodeError, StreamBusy, StreamClosed
from energy_core.http.operation import Operation
from energy_core.http.refusal import is_refusal, refusal_message
from energy_core.http.response import Download
from energy_core.printable import printable
from voltstorage_async.export.chunks import ChunkSeam, ExportChunk, ExportChunks
from voltstorage_async.models import ExportProgress, ExportRow, FilledRow

PARSE_BYTES: Final = 16 * 1024
"""Bytes parsed at a time, so that their rows are still in the processor's cache when they are used."""

_ROUND: Final = 100
"""An answer of this many rows, of a multiple of it, or of a larger power of two may be cut by a row limit."""

T = TypeVar("T")


class ForwardFill:
    """Fills the empty cells of rows with the last known value of their column; call it with each row."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._text: dict[str, str] = {}

    def __call__(self, row: ExportRow) -> FilledRow:
        """Return the row, filled."""
        values, text = row.values, row.text
        for name in text.keys() & self._values.keys():
            del self._values[name]
        for name in values.keys() & self._text.keys():
            del self._text[name]
        self._values.update(values)
        self._text.update(text)
        measured = frozenset(values) | frozenset(text)
        return FilledRow(row.time, self._values.copy(), self._text.copy(), measured)


class RowParser(Protocol):
    """Parses the bytes of one export; no I/O."""

    malformed: int
    repaired: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns found so far, the time excepted."""

    def feed(self, chunk: bytes) -> list[ExportRow]:
        """Return the rows that these bytes complete."""

    def finish(self, *, whole: bool = False) -> list[ExportRow]:
        """Return the rest of the rows.

        Args:
            whole: Whether as many bytes arrived as were announced.
        """


class ExportRows:
    """The rows of one export, in the vendor's order.

    Use it in an ``async with``, which releases the connection when the block is left early; an export that is
    read to its end needs only an ``async for``. The first request is sent when the first row is asked for,
    the request of the next chunk when the rows of the previous one have been taken.

    If the connection breaks, or the export ends within a row, the complete rows are returned first, then the
    error is raised. A last CSV line without a line end may have lost a part of its last cell: unless
    Content-Length proves the body complete, that cell is left out and counted in `malformed`.

    Cancelling a wait ends the export: request a new one from the time of the last row. Only one task may
    read; another one gets StreamBusy.
    """

    def __init__(
        self,
        chunks: ExportChunks,
        request: Callable[[ExportChunk], AbstractAsyncContextManager[Download]],
        new_parser: Callable[[], RowParser],
        *,
        operation: Operation,
        drift: Drift,
        progress: Callable[[ExportProgress], None] | None = None,
    ) -> None:
        self._chunks = chunks
        self._request = request
        self._new_parser = new_parser
        self._operation = operation
        self._drift = drift
        self._progress = progress
        self._at = 0  # the index of the present chunk
        self._parser = new_parser()
        self._first_bytes = b""  # of the present answer; all of it where it is a refusal in JSON
        self._columns: dict[str, None] = {}
        self._malformed = 0
        self._repaired = False
        self._seam = ChunkSeam()
        self._seam_before = ChunkSeam()
        self._answer_rows = 0
        self._last: datetime | None = None  # the time of the last new row of the present answer
        # The rest of the present chunk, if the answer before ended early.
        self._rest: ExportChunk | None = None
        self._open: AbstractAsyncContextManager[Download] | None = None
        self._download: Download | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._body: AsyncIterator[bytes] | None = None
        self._has_length = False  # whether Content-Length announced the end of the body
        self._unparsed = memoryview(b"")
        self._rows: Iterator[ExportRow] = iter(())
        self._received = 0
        self._state: Literal["new", "open", "ended", "failed", "closed"] = "new"
        self._busy = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of all chunks so far, the time excepted; empty before the first row."""
        return tuple(self._columns | dict.fromkeys(self._parser.columns))

    @property
    def received(self) -> int:
        """The number of rows received so far."""
        return self._received

    @property
    def malformed(self) -> int:
        """The number of rows that cannot be read, hold an ambiguous number, or lost their last cell."""
        return self._malformed + self._parser.malformed

    @property
    def repaired(self) -> bool:
        """Whether rows had another separator than their header, as in exports of 2021."""
        return self._repaired or self._parser.repaired

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ExportRow:
        for row in self._rows:
            return row
        self._rows = iter(await self._next_block())
        return next(self._rows)

    def blocks(self) -> AsyncIterator[list[ExportRow]]:
        """Iterate over lists of some hundred rows, as they arrive: faster than row by row."""
        return _StepIterator(self._rest_or_next_block)

    def filled(self) -> AsyncIterator[FilledRow]:
        """Iterate over the rows with their empty cells filled with the last known value.

        Values before the start of the export are unknown; the first row that the service sends is complete.
        """
        fill = ForwardFill()

        async def step() -> FilledRow:
            return fill(await anext(self))

        return _StepIterator(step)

    async def aclose(self) -> None:
        """Release the connection; idempotent, may be called by any task. A waiting reader sees the end."""
        self._state = "closed"
        self._rows = iter(())
        await self._release()

    async def _rest_or_next_block(self) -> list[ExportRow]:
        left = list(self._rows)  # rows that were read one by one before
        return left or await self._next_block()

    async def _next_block(self) -> list[ExportRow]:
        """Return the next rows, at least one."""
        if self._busy:
            raise StreamBusy("another task reads this export")
        self._busy = True
        try:
            while self._state in {"new", "open"}:
                if rows := await self._read_block():
                    return rows
        except BaseException as error:
            if self._state != "closed":
                self._state = "failed"
            await self._release()
            # A wait that `aclose` interrupted ends the iteration instead.
            if self._state == "failed" or not isinstance(error, Exception):
                raise
        finally:
            self._busy = False
        if self._state == "failed":
            raise StreamClosed(
                "this export failed before its end; request a new one from the time of the last row"
            )
        raise StopAsyncIteration

    async def _read_block(self) -> list[ExportRow]:
        before = self._parser.malformed
        piece = await self._next_bytes()
        self._first_bytes = self._first_bytes or piece or b""
        if self._state == "closed":
            return []
        try:
            rows = self._parser.finish(whole=self._has_length) if piece is None else self._parser.feed(piece)
        except DecodeError as error:
            raise self._with_context(_refused(self._first_bytes) or error) from None
        self._answer_rows += len(rows)
        rows = self._seam_before.fresh(rows)
        if self._rest is not None:
            # A service that ignores the range sends rows again that were returned already.
            start = self._rest.start
            rows = [row for row in rows if row.time >= start]
        self._seam.keep(rows)
        self._last = rows[-1].time if rows else self._last
        if self._rest is not None and self._last is None:
            self._parser.malformed = before  # these rows were read and counted before
        for _ in range(self._parser.malformed - before):
            self._drift.note("ExportRow", "record", "malformed")
        self._received += len(rows)
        self._report(rows, ended=piece is None)
        if piece is None:
            await self._end_answer()
        return rows

    async def _next_bytes(self) -> bytes | None:
        """Return the next bytes; None at the end of an answer."""
        if not self._unparsed:
            if self._body is None:
                self._answer_rows, self._last = 0, None
                opened = self._request(self._rest or self._chunks[self._at])
                download = await opened.__aenter__()
                self._open, self._download, self._loop = opened, download, asyncio.get_running_loop()
                if self._state == "closed":  # by another task, during the wait
                    await self._release()
                    return None
                self._has_length = download.has_length
                self._body, self._state = download.chunks(), "open"
            received = await anext(self._body, None)
            if received is None:
                return None
            self._unparsed = memoryview(received)
        piece, self._unparsed = self._unparsed[:PARSE_BYTES], self._unparsed[PARSE_BYTES:]
        return bytes(piece)

    async def _end_answer(self) -> None:
        await self._release()
        self._body = None
        for name, count in Counter(self._parser.columns).items():
            if count > 1:
                self._drift.note("ExportRow", name, "a column twice")
        self._rest = self._missing_rest()
        if self._rest is None:
            if self._at + 1 == len(self._chunks):
                self._state = "ended"
                return
            self._at += 1
        self._columns |= dict.fromkeys(self._parser.columns)
        self._malformed += self._parser.malformed
        self._repaired |= self._parser.repaired
        self._parser, self._first_bytes = self._new_parser(), b""
        self._seam_before, self._seam = self._seam, ChunkSeam()

    def _missing_rest(self) -> ExportChunk | None:
        """Return the rest of the chunk if the answer may have been cut by a row limit of the service.

        A round number of rows suggests a limit. An answer without a new row shows that the chunk is complete.
        """
        end, last = self._chunks[self._at].end, self._last
        if (
            end is None
            or last is None
            or last >= end
            or (self._rest is not None and last <= self._rest.start)
        ):
            return None
        count = self._answer_rows
        round_number = count >= _ROUND and (count % _ROUND == 0 or count & (count - 1) == 0)
        return ExportChunk(last, end) if round_number else None

    def _report(self, rows: list[ExportRow], *, ended: bool) -> None:
        if self._progress is None or not (rows or ended):
            return
        chunk = self._chunks[self._at]
        reached = rows[-1].time if rows else chunk.start
        if ended and chunk.end is not None:
            reached = chunk.end
        self._progress(ExportProgress(self._at + 1, len(self._chunks), self._received, reached))

    async def _release(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            await opened.__aexit__(None, None, None)

    def _with_context(self, error: DecodeError) -> DecodeError:
        error.vendor, error.operation = self._operation.vendor, self._operation.name
        error.method, error.path = self._operation.method, self._operation.path
        return error

    def __del__(self) -> None:
        if getattr(self, "_open", None) is None:
            return
        warnings.warn(f"{self!r} was left open; use it in an async with", ResourceWarning, stacklevel=2)
        # Collected in any thread, but a connection is closed in its event loop.
        if self._loop is not None and self._download is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._download.close)

    @printable
    def __repr__(self) -> str:
        malformed = f", {self.malformed} malformed" if self.malformed else ""
        chunk = f" at chunk {self._at + 1} of {len(self._chunks)}" if len(self._chunks) > 1 else ""
        return f"<ExportRows {self._state}{chunk}, {self._received} rows{malformed}>"


def _refused(body: bytes) -> DecodeError | None:
    """Return an error if the body is the vendor's refusal in JSON, sent with status 200."""
    try:
        answer = strict_json(body)
    except DecodeError:
        return None
    if not is_refusal(answer):
        return None
    return DecodeError(f"the export was refused: {refusal_message(answer)!r}", kind="envelope")


class _StepIterator(Generic[T]):
    """An asynchronous iterator without resources, so nothing has to be closed (unlike a generator)."""

    def __init__(self, step: Callable[[], Awaitable[T]]) -> None:
        self._step = step

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[T]:
        return self._step()

"""Forward fill: what an export left out because it had not changed, apart from what it measured."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Final, Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from energy_core.codec.drift import Drift
from energy_core.codec.json import strict_json
from energy_core.errors import DecodeError, StreamBusy, StreamClosed
from energy_core.http.operation import Operation
from energy_core.http.response import Download
from energy_core.http.words import is_refusal, words_of
from energy_core.printable import printable
from voltstorage_async.export.chunks import ChunkSeam, ExportChunk, ExportChunks, ExportProgress
from voltstorage_async.models import ExportRow


class FilledRow(NamedTuple):
    """A row with the last known value of every column, and which of them are its own."""

    time: datetime
    """As the row's."""
    values: dict[str, float]
    """The last number of each column that had one by then, in the vendor's own units and signs."""
    text: dict[str, str]
    """The same for cells that are not numbers; a column is in one of the two."""
    measured: frozenset[str]
    """The columns this row itself holds; all others are carried forward."""


class ForwardFill:
    """Carries the last known cell of each column from row to row. A call is a row."""

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


PIECE: Final = 16 * 1024
"""Bytes that are parsed at a time: their rows are still in the processor's cache when they are read."""


_ROUND: Final = 100
"""An answer of so many rows, a multiple of it, or a larger power of two may have been cut by a limit."""

T = TypeVar("T")


class RowParser(Protocol):
    """Bytes to rows, without I/O."""

    malformed: int
    repaired: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns known so far."""

    def feed(self, chunk: bytes) -> list[ExportRow]:
        """Take the next bytes and return the rows they complete."""

    def finish(self, *, whole: bool = False) -> list[ExportRow]:
        """Return what is left; `whole`: as many bytes came as were announced."""


class ExportRows:
    """The rows of one export, in the vendor's order.

    Use it in an ``async with``, so that leaving early lets go of the connection; or, when it is read to its
    end, in a plain ``async for``. The first request is sent when the first row is asked for, the next one
    when the page before has been read. Where the connection breaks or the export ends in the middle of a
    line, the rows that had arrived come first, then the error. A last line of CSV without a line end may have
    been cut in its last cell: unless Content-Length proves the body whole, that cell is left out and counted
    in `malformed`, for it may be wrong. A wait
    that was cancelled ends the export: ask for a new one from the last row's time on. One consumer; another
    gets StreamBusy.
    """

    def __init__(
        self,
        pages: ExportChunks,
        opening: Callable[[ExportChunk], AbstractAsyncContextManager[Download]],
        parser: Callable[[], RowParser],
        *,
        operation: Operation,
        drift: Drift,
        progress: Callable[[ExportProgress], None] | None = None,
    ) -> None:
        self._pages = pages
        self._opening = opening
        self._new_parser = parser
        self._operation = operation
        self._drift = drift
        self._progress = progress
        self._at = 0
        self._parser = parser()
        self._first = b""
        """The beginning of the page, which is all of it where it is a refusal."""
        self._columns: dict[str, None] = {}
        self._malformed = 0
        self._repaired = False
        self._seam = ChunkSeam()
        self._before_seam = ChunkSeam()
        self._page_rows = 0  # of the present request
        self._last: datetime | None = None  # the time of the last row that it brought anew
        self._rest: ExportChunk | None = (
            None  # of the present page, where the request before did not reach its end
        )
        self._open: AbstractAsyncContextManager[Download] | None = None
        self._download: Download | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._measured = False  # Content-Length says where the page ends
        self._chunk = memoryview(b"")
        self._rows: Iterator[ExportRow] = iter(())
        self._received = 0
        self._state: Literal["new", "open", "ended", "failed", "closed"] = "new"
        self._busy = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of all pages so far, the time's excepted; empty before the first row."""
        return tuple(self._columns | dict.fromkeys(self._parser.columns))

    @property
    def received(self) -> int:
        """Rows that have arrived until now."""
        return self._received

    @property
    def malformed(self) -> int:
        """Rows that cannot be read, hold a number with several readings, or lost their last cell."""
        return self._malformed + self._parser.malformed

    @property
    def repaired(self) -> bool:
        """Whether rows were separated otherwise than their header, as exports of 2021 are."""
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
        """Iterate over lists of rows as they arrive, some hundreds at a time, without a wait for each."""
        return _Steps(self._whole_block)

    def filled(self) -> AsyncIterator[FilledRow]:
        """Iterate over the rows with empty cells filled from the rows before; each says what it measured.

        What was measured before the export's start is not known, but the service's first row is whole.
        """
        fill = ForwardFill()

        async def step() -> FilledRow:
            return fill(await anext(self))

        return _Steps(step)

    async def aclose(self) -> None:
        """Let go of the connection; idempotent, from any task. Waiting consumers see the end."""
        self._state = "closed"
        self._rows = iter(())
        await self._let_go()

    async def _whole_block(self) -> list[ExportRow]:
        left = list(self._rows)  # by a consumer of single rows
        return left or await self._next_block()

    async def _next_block(self) -> list[ExportRow]:
        """Wait for the next block that holds a row."""
        if self._busy:
            raise StreamBusy("this export has a consumer already")
        self._busy = True
        try:
            while self._state in {"new", "open"}:
                if rows := await self._block():
                    return rows
        except BaseException as error:
            if self._state != "closed":
                self._state = "failed"
            await self._let_go()
            if self._state == "failed" or not isinstance(error, Exception):
                raise
        finally:
            self._busy = False
        if self._state == "failed":
            raise StreamClosed(
                "this export failed before its end; ask for a new one from the last row's time on"
            )
        raise StopAsyncIteration

    async def _block(self) -> list[ExportRow]:
        before = self._parser.malformed
        piece = await self._piece()
        self._first = self._first or piece or b""
        if self._state == "closed":
            return []
        try:
            rows = self._parser.finish(whole=self._measured) if piece is None else self._parser.feed(piece)
        except DecodeError as error:
            raise self._explained(_refused(self._first) or error) from None
        self._page_rows += len(rows)
        rows = self._before_seam.fresh(rows)  # which knows none before the first request has ended
        if self._rest is not None:
            start = self._rest.start
            rows = [row for row in rows if row.time >= start]
        self._seam.keep(rows)
        self._last = rows[-1].time if rows else self._last
        if self._rest is not None and self._last is None:
            self._parser.malformed = before  # read again, and counted already
        for _ in range(self._parser.malformed - before):
            self._drift.note("ExportRow", "record", "malformed")
        self._received += len(rows)
        self._report(rows, ended=piece is None)
        if piece is None:
            await self._end_page()
        return rows

    async def _piece(self) -> bytes | None:
        """Wait for the next bytes; None at the end of a page."""
        if not self._chunk:
            if self._chunks is None:
                self._page_rows, self._last = 0, None
                opening = self._opening(self._rest or self._pages[self._at])
                download = await opening.__aenter__()
                self._open, self._download, self._loop = opening, download, asyncio.get_running_loop()
                if self._state == "closed":  # meanwhile, by another task
                    await self._let_go()
                    return None
                self._measured = download.has_length
                self._chunks, self._state = download.chunks(), "open"
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return None
            self._chunk = memoryview(chunk)
        piece, self._chunk = self._chunk[:PIECE], self._chunk[PIECE:]
        return bytes(piece)

    async def _end_page(self) -> None:
        await self._let_go()
        self._chunks = None
        for name, count in Counter(self._parser.columns).items():
            if count > 1:
                self._drift.note("ExportRow", name, "a column twice")
        self._rest = self._unread_rest()
        if self._rest is None:
            if self._at + 1 == len(self._pages):
                self._state = "ended"
                return
            self._at += 1
        self._columns |= dict.fromkeys(self._parser.columns)
        self._malformed += self._parser.malformed
        self._repaired |= self._parser.repaired
        self._parser, self._first = self._new_parser(), b""
        self._before_seam, self._seam = self._seam, ChunkSeam()

    def _unread_rest(self) -> ExportChunk | None:
        """Return what to ask for again, where the service may give no more than so many rows at once.

        That is known when an answer to it brings nothing new.
        """
        end, last = self._pages[self._at].end, self._last
        if (
            end is None
            or last is None
            or last >= end
            or (self._rest is not None and last <= self._rest.start)
        ):
            return None
        count = self._page_rows
        round_number = count >= _ROUND and (count % _ROUND == 0 or count & (count - 1) == 0)
        return ExportChunk(last, end) if round_number else None

    def _report(self, rows: list[ExportRow], *, ended: bool) -> None:
        if self._progress is None or not (rows or ended):
            return
        page = self._pages[self._at]
        reached = rows[-1].time if rows else page.start
        if ended and page.end is not None:
            reached = page.end
        self._progress(ExportProgress(self._at + 1, len(self._pages), self._received, reached))

    async def _let_go(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            await opened.__aexit__(None, None, None)

    def _explained(self, error: DecodeError) -> DecodeError:
        error.vendor, error.operation = self._operation.vendor, self._operation.name
        error.method, error.path = self._operation.method, self._operation.path
        return error

    def __del__(self) -> None:
        if getattr(self, "_open", None) is None:
            return
        warnings.warn(f"{self!r} was left open; use it in an async with", ResourceWarning, stacklevel=2)
        if self._loop is not None and self._download is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._download.close)

    @printable
    def __repr__(self) -> str:
        malformed = f", {self.malformed} malformed" if self.malformed else ""
        page = f" at page {self._at + 1} of {len(self._pages)}" if len(self._pages) > 1 else ""
        return f"<ExportRows {self._state}{page}, {self._received} rows{malformed}>"


def _refused(body: bytes) -> DecodeError | None:
    """Return what a refusal in JSON says that came with status 200 in place of an export."""
    try:
        answer = strict_json(body)
    except DecodeError:
        return None
    if not is_refusal(answer):
        return None
    return DecodeError(f"the export was refused: {words_of(answer)!r}", kind="envelope")


class _Steps(Generic[T]):
    """An asynchronous iterator that holds nothing which somebody would have to close."""

    def __init__(self, step: Callable[[], Awaitable[T]]) -> None:
        self._step = step

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[T]:
        return self._step()

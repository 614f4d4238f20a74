"""ExportRows: the rows of an export as they arrive."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Literal, Protocol, Self

from energy_core.errors import DecodeError, StreamBusy, StreamClosed
from energy_core.http.download import Download
from energy_core.http.drift import Drift
from energy_core.http.request import Operation
from voltstorage_async.models import ExportRow


class RowParser(Protocol):
    """Bytes to rows, without I/O."""

    malformed: int
    repaired: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns known so far."""

    def feed(self, chunk: bytes) -> list[ExportRow]:
        """Take the next bytes and return the rows they complete."""

    def finish(self) -> list[ExportRow]:
        """Return what is left."""


class ExportRows:
    """The rows of one export, in the vendor's order.

    Use it in an ``async with``, so that leaving early lets go of the connection; or, when it is read to its
    end, in a plain ``async for``. The request is sent when the first row is asked for. Where the connection
    breaks, the rows that had arrived come first, then the error. A wait that was cancelled ends the export:
    ask for a new one from the last row's time on. One consumer; another gets StreamBusy.
    """

    def __init__(
        self,
        opening: Callable[[], AbstractAsyncContextManager[Download]],
        parser: RowParser,
        *,
        operation: Operation,
        drift: Drift,
    ) -> None:
        self._opening = opening
        self._parser = parser
        self._operation = operation
        self._drift = drift
        self._open: AbstractAsyncContextManager[Download] | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._rows: Iterator[ExportRow] = iter(())
        self._received = 0
        self._state: Literal["new", "open", "ended", "failed", "closed"] = "new"
        self._busy = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, the time's excepted; empty before the first row."""
        return self._parser.columns

    @property
    def received(self) -> int:
        """Rows that have arrived until now."""
        return self._received

    @property
    def malformed(self) -> int:
        """Rows left out because they cannot be read."""
        return self._parser.malformed

    @property
    def repaired(self) -> bool:
        """Whether rows were separated otherwise than their header, as exports of 2021 are."""
        return self._parser.repaired

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
        return await self._more()

    async def aclose(self) -> None:
        """Let go of the connection; idempotent, from any task. Waiting consumers see the end."""
        self._state = "closed"
        self._rows = iter(())
        await self._let_go()

    async def _more(self) -> ExportRow:
        """Wait for the next block that holds a row."""
        if self._busy:
            raise StreamBusy("this export has a consumer already")
        self._busy = True
        try:
            while self._state in {"new", "open"}:
                self._rows = iter(await self._block())
                for row in self._rows:
                    return row
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
        chunk = await self._chunk()
        try:
            rows = self._parser.finish() if chunk is None else self._parser.feed(chunk)
        except DecodeError as error:
            raise self._explained(error) from None
        self._received += len(rows)
        for _ in range(self._parser.malformed - before):
            self._drift.note("ExportRow", "record", "malformed")
        if chunk is None:
            self._state = "ended"
            await self._let_go()
        return rows

    async def _chunk(self) -> bytes | None:
        """Wait for the next bytes; None at the end."""
        if self._chunks is None:
            opening = self._opening()
            download = await opening.__aenter__()
            self._open, self._chunks, self._state = opening, download.chunks(), "open"
        return await anext(self._chunks, None)

    async def _let_go(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            await opened.__aexit__(None, None, None)

    def _explained(self, error: DecodeError) -> DecodeError:
        error.vendor, error.operation = self._operation.vendor, self._operation.name
        error.method, error.path = self._operation.method, self._operation.path
        return error

    def __del__(self) -> None:
        if getattr(self, "_open", None) is not None:
            warnings.warn(f"{self!r} was left open; use it in an async with", ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        malformed = f", {self.malformed} malformed" if self.malformed else ""
        return f"<ExportRows {self._state}, {self._received} rows{malformed}>"

"""Display options, JSON and CSV lines, and the loop that shows a merged stream."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from contextlib import suppress
from datetime import UTC, tzinfo
from types import TracebackType
from typing import Final, Protocol, Self

from attrs import frozen

from energy_core import Event
from energy_core.csv_safety import escape_text, format_line
from energy_core.stream.merge import MergedStream
from energy_core.stream.vocabulary import Kind


@frozen(kw_only=True)
class DisplayOptions:
    """Options of the commands `demo` and `watch`."""

    readings: int | None = None
    """Stop after this many readings; None: never."""
    seconds: float | None = None
    """Stop after this many seconds; None: never."""
    format: str | None = None
    """`table`, `jsonl` (or `json`, the same) or `csv`; None: table in a terminal, jsonl elsewhere."""
    checkpoint: str | None = None
    """File with the position to resume from; None: start with new events."""
    from_now: bool = False
    """Start with new events and replace the file."""

    @property
    def table(self) -> bool:
        """Whether to show a table; JSON lines otherwise."""
        if self.format is None:
            return sys.stdout is not None and sys.stdout.isatty()
        return self.format == "table"


@frozen
class SiteName:
    """Display name and time zone of a site or product."""

    name: str
    zone: tzinfo = UTC


class Display(Protocol):
    """Async context manager that shows events."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def show(self, event: Event) -> None:
        """Show one event; waits while the reader is slow."""


async def show(events: MergedStream, output: Display, options: DisplayOptions) -> None:
    """Show events until the limits of `options` are reached or every source has ended.

    Raises:
        EnergyError: Every source has ended; this is the error of the first that failed.
    """
    left = options.readings
    timeout = asyncio.timeout(options.seconds)
    try:
        async with timeout:
            async for event in events:
                await output.show(event)
                if left is not None and event.kind is Kind.READING:
                    left -= 1
                    if not left:
                        if options.checkpoint is not None:
                            events.commit(event)  # the next run starts after the last shown reading
                        return
    except TimeoutError:
        if timeout.expired():
            return
        raise
    for status in events.status.values():
        if status.error is not None:
            raise status.error


_PIPE_BUF: Final = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
"""Bytes that a writable pipe takes without blocking."""

ROW_NAMES: Final = ("time", "source", "quantity", "value", "unit", "id", "revision")
"""Columns of CSV; see `Event.rows`."""

_FLUSH_TIMEOUT_S: Final = 1.0
"""Time to finish a cut line at the end."""

_ESCAPED: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
"""Control characters and line separators that JSON allows in text but terminals and line readers act on."""


def json_line(event: Event) -> bytes:
    """Return an event as one line of JSON in UTF-8; control characters are escaped."""
    return event.to_json().translate(_ESCAPED).encode("utf-8", errors="backslashreplace") + b"\n"


class JsonLines:
    """Writes each event as a line of JSON to a file descriptor, without buffering.

    A slow reader does not block the event loop, which must keep answering WebSocket pings: writing waits
    until the descriptor is writable. Meanwhile the merged stream buffers or drops events.

    Args:
        descriptor: The file descriptor to write to; it is not closed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unwritten = memoryview(b"")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish a line that the time limit cut, if the reader takes it within a second."""
        if kind is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                    await self._write()

    async def show(self, event: Event) -> None:
        """Write one line. Cancelling may leave the line unfinished if the reader is slow.

        Raises:
            BrokenPipeError: The reader has closed the pipe.
        """
        self._unwritten = memoryview(self._lines(event))
        await self._write()

    def _lines(self, event: Event) -> bytes:
        return json_line(event)

    async def _write(self) -> None:
        while self._unwritten:
            await self._wait_writable()
            # Small writes only: a larger one may block although the pipe is writable.
            with suppress(BlockingIOError):
                written = os.write(self._descriptor, self._unwritten[:_PIPE_BUF])
                self._unwritten = self._unwritten[written:]

    async def _wait_writable(self) -> None:
        try:
            if select.select((), (self._descriptor,), (), 0)[1]:
                return
            loop = asyncio.get_running_loop()
            writable = loop.create_future()
            loop.add_writer(self._descriptor, _set_result, writable)
        except (OSError, NotImplementedError):
            return  # files, and pipes on Windows, cannot be waited for: write and accept that it may block
        try:
            await writable
        finally:
            loop.remove_writer(self._descriptor)


class CsvLines(JsonLines):
    """Writes each value of a reading as a line of CSV, after a header; other events are left out.

    Args:
        descriptor: The file descriptor to write to; it is not closed.
    """

    async def __aenter__(self) -> Self:
        self._unwritten = memoryview(format_line(ROW_NAMES).encode())
        await self._write()
        return self

    def _lines(self, event: Event) -> bytes:
        lines = (
            format_line(
                [
                    time.isoformat(),
                    escape_text(source),
                    quantity,
                    repr(value),
                    unit,
                    escape_text(id_),
                    str(revision),
                ]
            )
            for time, source, quantity, value, unit, id_, revision in event.rows()
        )
        return "".join(lines).encode("utf-8", errors="backslashreplace")


def _set_result(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

"""Writes events into Parquet files, which DuckDB and other programs can read meanwhile: `ParquetOutput`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

from energy_core.clock import Clock, SystemClock
from energy_core.printable import printable
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_live.outputs.output import OutputError
from energy_live.outputs.parquet_files import ParquetFiles

_FLUSH_S: Final = 300.0
_FLUSH_ROWS: Final = 20_000
"""The journal becomes files after so many seconds or rows."""

_STEPS: Final = 1
"""Files that are written with each batch, beyond the first one."""

T = TypeVar("T")


class ParquetOutput:
    """Writes Parquet files: ``DIRECTORY/vrm-151734-0/2026-12-01-001.parquet``. Needs the extra `arrow`.

    One row an event, one column a quantity. docs/how-to/parquet-and-duckdb.md has the columns. After a crash
    some rows may be there twice, with the same `id`: at least once.

    Args:
        directory: Where the files are; created if it is missing. One output at a time writes there.
        clock: Source of time, for tests.
    """

    idempotent = False

    def __init__(self, directory: str | PathLike[str], *, clock: Clock | None = None) -> None:
        self._root = Path(directory)
        self._clock = clock or SystemClock()
        self._files: ParquetFiles | None = None
        self._flushed_at = float("-inf")
        self._job: asyncio.Future[Any] | None = None

    async def open(self) -> Checkpoint | None:
        """Create the directory, and take in the journal of a run that was killed; return None.

        Raises:
            OutputError: The directory cannot be used, or the extra is missing.
        """
        self._files = await self._in_thread(lambda: ParquetFiles(self._root))
        return None

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> None:  # noqa: ARG002
        """Store a batch durably. Cancelling is safe: it may be stored.

        Raises:
            OutputError: It cannot be written, such as to a full disk.
        """
        files, now = self._files, self._clock.monotonic()
        if files is None:
            raise OutputError("the output is not open")
        due = now >= self._flushed_at + _FLUSH_S

        def work() -> bool:
            files.append(batch)
            begins = due or files.has_new_place or files.pending >= _FLUSH_ROWS
            if begins:
                files.begin_flush()
            steps = 0
            while files.step() and (steps < _STEPS or files.pending >= _FLUSH_ROWS):
                steps += 1
            return begins

        if await self._in_thread(work):
            self._flushed_at = now

    async def close(self) -> None:
        """Write what is in the journal only, and close it. Waits for a write that was cancelled.

        Raises:
            OutputError: The files cannot be written; the journal keeps the rows for the next `open`.
        """
        if self._job is not None and not self._job.done():
            await asyncio.wait({self._job})
        files, self._files = self._files, None
        if files is not None:
            await self._in_thread(files.close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        job = self._job = asyncio.ensure_future(asyncio.to_thread(self._translated, work))
        return await asyncio.shield(job)

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except ModuleNotFoundError:
            raise OutputError('Parquet needs pip install "energy-live[arrow]"', permanent=True) from None
        except OSError as error:
            raise OutputError(f"{self._root}: {error.strerror or error}") from None

    @printable
    def __repr__(self) -> str:
        return f"<ParquetOutput in {self._root}>"

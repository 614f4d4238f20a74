"""Progress of an archive run: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from energy_core.clock import Clock


class ProgressReport(Protocol):
    """Progress callbacks. A step is one day of one product's history, or one request for statistics."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add_total(self, steps: int) -> None:
        """Add to the total number of steps."""

    def describe(self, text: str) -> None:
        """Show what is being read."""

    def step(self, steps: int = 1) -> None:
        """Add to the number of finished steps."""

    def add_rows(self, count: int) -> None:
        """Add to the number of received rows."""


class NoProgress:
    """Ignores all progress callbacks."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def add_total(self, steps: int) -> None:
        """Ignore it."""

    def describe(self, text: str) -> None:
        """Ignore it."""

    def step(self, steps: int = 1) -> None:
        """Ignore it."""

    def add_rows(self, count: int) -> None:
        """Ignore it."""


def progress_for_terminal(clock: Clock) -> ProgressReport:
    """Return a progress bar if standard error is a terminal, otherwise callbacks that do nothing."""
    if sys.stderr is None or not sys.stderr.isatty():
        return NoProgress()
    return ProgressBar(clock)


class ProgressBar:
    """Shows the current product and month, finished steps, rows, rows per second, and the time left."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("archive", total=0, rate="")
        self._total = 0
        self._rows = 0
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = self._clock.monotonic()
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def add_total(self, steps: int) -> None:
        """Add to the total number of steps."""
        self._total += steps
        self._progress.update(self._task, total=self._total)

    def describe(self, text: str) -> None:
        """Show what is being read."""
        self._progress.update(self._task, description=escape(text))

    def step(self, steps: int = 1) -> None:
        """Add to the number of finished steps."""
        self._progress.advance(self._task, steps)

    def add_rows(self, count: int) -> None:
        """Show the number of received rows and their rate."""
        self._rows += count
        elapsed = self._clock.monotonic() - self._started
        rate = f"{self._rows:,} rows, {self._rows / elapsed:,.0f}/s" if elapsed > 0.0 else ""
        self._progress.update(self._task, rate=rate)

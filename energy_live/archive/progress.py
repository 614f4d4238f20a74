"""How far a run has come: a bar with rate and time left on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from energy_core.clock import Clock


class Meter(Protocol):
    """Who is told how it goes. A step is a day of one product, or a request for statistics."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def plan(self, steps: int) -> None:
        """So many steps more there are."""

    def at(self, what: str) -> None:
        """This is done now."""

    def step(self, steps: int = 1) -> None:
        """So many steps are done."""

    def rows(self, count: int) -> None:
        """So many rows have arrived."""


class Silence:
    """Tells nobody."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def plan(self, steps: int) -> None:
        """Nothing."""

    def at(self, what: str) -> None:
        """Nothing."""

    def step(self, steps: int = 1) -> None:
        """Nothing."""

    def rows(self, count: int) -> None:
        """Nothing."""


def meter(clock: Clock) -> Meter:
    """Return a bar where standard error is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        return Silence()
    # rich is slow to load.

    return Bar(clock)


class Bar:
    """A line that says what is being read, how much is done, rows a second, and the time left."""

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
        self._steps = 0
        self._rows = 0
        self._begun = 0.0

    def __enter__(self) -> Self:
        self._begun = self._clock.monotonic()
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def plan(self, steps: int) -> None:
        """Lengthen the bar."""
        self._steps += steps
        self._progress.update(self._task, total=self._steps)

    def at(self, what: str) -> None:
        """Show what is being read."""
        self._progress.update(self._task, description=escape(what))

    def step(self, steps: int = 1) -> None:
        """Fill the bar."""
        self._progress.advance(self._task, steps)

    def rows(self, count: int) -> None:
        """Show the rate."""
        self._rows += count
        took = self._clock.monotonic() - self._begun
        rate = f"{self._rows:,} rows, {self._rows / took:,.0f}/s" if took > 0.0 else ""
        self._progress.update(self._task, rate=rate)

"""How far a run has come: a bar with rate and time left on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self

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
    from energy_live.archive.bar import Bar  # noqa: PLC0415

    return Bar(clock)

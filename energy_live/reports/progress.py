"""A line on the terminal that says what a command is waiting for."""

from __future__ import annotations

import asyncio
import os
import sys
from types import TracebackType
from typing import Final, Self, TextIO

from energy_core.clock import Clock, SystemClock

SHOWN_AFTER_S: Final = 1.0
"""A command that is faster shows nothing."""
REDRAW_S: Final = 0.2
_USUAL_WIDTH: Final = 80
_ERASE: Final = "\r\x1b[K"


class Progress:
    """Shows a line on stderr after a second and erases it at the end; only on a terminal.

    Args:
        text: What is being done, such as `reading the list of sites`.
        stream: Where to write; stderr by default.
        clock: Time source; tests use their own.
    """

    def __init__(self, text: str, *, stream: TextIO | None = None, clock: Clock | None = None) -> None:
        self.text = text
        """What is being done now; may be changed at any time."""
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock or SystemClock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._stream is not None and self._stream.isatty():
            self._task = asyncio.create_task(self._show())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            # Not `await self._task`: that would not distinguish our own cancellation from the task's.
            await asyncio.wait([self._task])
            if not self._task.cancelled() and not isinstance(error := self._task.exception(), OSError | None):
                raise error

    async def _show(self) -> None:
        begun = self._clock.monotonic()
        await self._clock.sleep(SHOWN_AFTER_S)
        try:
            while True:
                seconds = self._clock.monotonic() - begun
                line = f"energy-live: {self.text} ({seconds:.0f} s)"
                self._write(_ERASE + line[: self._width() - 1])
                await self._clock.sleep(REDRAW_S)
        finally:
            self._write(_ERASE)

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _USUAL_WIDTH
        except OSError:
            return _USUAL_WIDTH

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

"""The live table: a board in the terminal, redrawn while events come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from energy_core import Event, SessionPool
from energy_core.clock import Clock, SystemClock
from energy_live.display.dashboard import Board
from energy_live.display.output import Place

REDRAW_S: Final = 0.25


class LiveTable:
    """Shows a board in the terminal and redraws it four times a second."""

    def __init__(
        self,
        title: str,
        *,
        pool: SessionPool,
        places: Mapping[tuple[str, str], Place],
        lanes: Mapping[str, str],
        clock: Clock | None = None,
        console: Console | None = None,
    ) -> None:
        self._board = Board(title, places=places)
        self._pool = pool
        self._lanes = lanes
        self._clock = clock or SystemClock()
        self._live = Live(console=console, auto_refresh=False)
        self._redrawing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._live.start()
        self._redrawing = asyncio.create_task(self._redraw())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._redrawing is not None:
            self._redrawing.cancel()
            with suppress(asyncio.CancelledError):
                await self._redrawing
        self._draw()
        self._live.stop()

    async def show(self, event: Event) -> None:
        """Take one event into the next picture."""
        self._board.take(event)
        if self._redrawing is not None and self._redrawing.done():
            self._redrawing.result()  # the terminal is gone, or the drawing has a fault

    async def _redraw(self) -> None:
        while True:
            self._draw()
            await self._clock.sleep(REDRAW_S)

    def _draw(self) -> None:
        width, height = self._live.console.size
        board = self._board.draw(now=self._clock.utcnow(), width=width, height=height - 2)
        self._live.update(Group(board, self._about_pool()), refresh=True)

    def _about_pool(self) -> Text:
        stats = self._pool.stats()
        parts = [f"{self._board.readings:,} readings", f"{stats.sent:,} requests sent"]
        for (origin, _), lane in stats.lanes.items():
            part = (
                f"{self._lanes.get(origin, origin)}: {max(0.0, lane.level):.0f} turns left, {lane.rate:.1f}/s"
            )
            if waiting := sum(lane.waiting.values()):
                part += f", {waiting} waiting"
            if lane.hold_s:
                part += f", held for {lane.hold_s:.0f} s"
            if lane.throttled:
                part += f", {lane.throttled} times too many"
            parts.append(part)
        return Text(" · ".join(parts), style="dim")

"""Live table in the terminal, redrawn while events arrive."""

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
from energy_live.display.dashboard import Dashboard
from energy_live.display.output import SiteName

REDRAW_S: Final = 0.25
"""Seconds between two redraws."""


class LiveTable:
    """Shows a dashboard in the terminal and redraws it four times a second.

    Args:
        title: First line of the table.
        pool: The pool whose rate limiters are shown below the table.
        names: Names of sites and products, by vendor and number.
        vendors: The vendor of each origin that the pool sends to.
        clock: Time source; tests use their own.
        console: Where to draw; stdout by default.
    """

    def __init__(
        self,
        title: str,
        *,
        pool: SessionPool,
        names: Mapping[tuple[str, str], SiteName],
        vendors: Mapping[str, str],
        clock: Clock | None = None,
        console: Console | None = None,
    ) -> None:
        self._dashboard = Dashboard(title, names=names)
        self._pool = pool
        self._vendors = vendors
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
        self._draw()  # the final values stay on the screen
        self._live.stop()

    async def show(self, event: Event) -> None:
        """Add one event to the dashboard; the next redraw shows it."""
        self._dashboard.add(event)
        if self._redrawing is not None and self._redrawing.done():
            self._redrawing.result()  # raises if drawing failed, for example because the terminal is gone

    async def _redraw(self) -> None:
        while True:
            self._draw()
            await self._clock.sleep(REDRAW_S)

    def _draw(self) -> None:
        width, height = self._live.console.size
        dashboard = self._dashboard.render(now=self._clock.utcnow(), width=width, height=height - 2)
        self._live.update(Group(dashboard, self._pool_summary()), refresh=True)

    def _pool_summary(self) -> Text:
        stats = self._pool.stats()
        parts = [f"{self._dashboard.readings:,} readings", f"{stats.sent:,} requests sent"]
        for (origin, _), limiter in stats.limiters.items():
            vendor = self._vendors.get(origin, origin)
            part = f"{vendor}: {max(0.0, limiter.level):.0f} requests available, {limiter.rate:.1f}/s"
            if waiting := sum(limiter.waiting.values()):
                part += f", {waiting} waiting"
            if limiter.hold_s:
                part += f", on hold for {limiter.hold_s:.0f} s"
            if limiter.throttled:
                part += f", rate-limited {limiter.throttled} times"
            parts.append(part)
        return Text(" · ".join(parts), style="dim")

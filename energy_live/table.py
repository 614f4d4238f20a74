"""The live table: a row for each device that speaks, and a line about the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Final, Self

from attrs import define, field
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from energy_core import Event, Quantity, SessionPool
from energy_core.clock import Clock, SystemClock
from energy_core.stream.event import SourceId, State, Status
from energy_live.view import Place

REDRAW_S: Final = 0.25

# In the order of interest: where the terminal is too narrow for all, the last ones give way.
_COLUMNS: Final[Mapping[Quantity, tuple[str, str]]] = MappingProxyType(
    {
        Quantity.GRID_POWER: ("grid", "+,.0f"),
        Quantity.BATTERY_POWER: ("battery", "+,.0f"),
        Quantity.PV_POWER: ("sun", ",.0f"),
        Quantity.CONSUMPTION_POWER: ("home", ",.0f"),
        Quantity.BATTERY_SOC: ("charge", ".1f"),
        Quantity.BATTERY_VOLTAGE: ("volts", ".2f"),
        Quantity.BATTERY_CURRENT: ("amps", "+.1f"),
        Quantity.BATTERY_TEMPERATURE: ("temp", ".1f"),
        Quantity.GENERATOR_POWER: ("generator", ",.0f"),
        Quantity.GRID_IMPORT_ENERGY: ("import", ",.2f"),
        Quantity.GRID_EXPORT_ENERGY: ("export", ",.2f"),
        Quantity.PV_ENERGY: ("sun", ",.2f"),
        Quantity.CONSUMPTION_ENERGY: ("home", ",.2f"),
        Quantity.BATTERY_CHARGE_ENERGY: ("charged", ",.2f"),
        Quantity.BATTERY_DISCHARGE_ENERGY: ("discharged", ",.2f"),
    }
)
_UNITS: Final = {"degC": "°C"}
_STYLES: Final[Mapping[State, str]] = MappingProxyType(
    {
        State.CONNECTING: "cyan",
        State.LIVE: "green",
        State.BACKFILLING: "cyan",
        State.STALE: "yellow",
        State.DISCONNECTED: "yellow",
        State.AUTH_FAILED: "bold red",
        State.FAILED: "bold red",
        State.CLOSED: "dim",
    }
)
_UNKNOWN: Final = Status(state=State.CONNECTING)


@define
class Row:
    """What is known of one device: a reading may hold only what changed, so the older values stay."""

    time: datetime
    received_at: datetime
    values: dict[Quantity, float] = field(factory=dict)


class Board:
    """What the table shows, without a terminal: takes events, gives renderables."""

    def __init__(self, title: str, *, places: Mapping[tuple[str, str], Place]) -> None:
        self.rows: dict[SourceId, Row] = {}
        self.states: dict[SourceId, Status] = {}
        self.readings = 0
        self._title = title
        self._places = places

    def take(self, event: Event) -> None:
        """Note one event."""
        if isinstance(event.detail, Status):
            self.states[event.source] = event.detail
        elif event.values:
            self.readings += 1
            row = self.rows.setdefault(event.source, Row(event.time, event.received_at))
            row.time, row.received_at = event.time, event.received_at
            row.values.update(event.values)

    def draw(self, *, now: datetime, width: int) -> RenderableType:
        """Return the table as it looks now, not wider than `width`."""
        present = [
            quantity for quantity in _COLUMNS if any(quantity in row.values for row in self.rows.values())
        ]
        table = self._table(present, now)
        shown = len(present)
        while shown and Console(width=1000).measure(table).maximum > width:
            shown -= 1
            table = self._table(present[:shown], now)
        return Group(table, *self._notes(len(present) - shown))

    def _table(self, quantities: list[Quantity], now: datetime) -> Table:
        table = Table(title=Text(self._title, style="bold"), title_justify="left", box=None, pad_edge=False)
        table.add_column("source\n", no_wrap=True, max_width=32)
        table.add_column("state\n", no_wrap=True)
        table.add_column("time\n", no_wrap=True)
        for quantity in quantities:
            unit = Text(_UNITS.get(quantity.unit, quantity.unit), style="dim")
            table.add_column(Text.assemble(_COLUMNS[quantity][0], "\n", unit), justify="right", no_wrap=True)
        table.add_column("age\n", justify="right", no_wrap=True)
        for source, row in self.rows.items():
            table.add_row(*self._cells(source, row, quantities, now))
        speaking = {self._bringer(source) for source in self.rows}
        for source, status in self.states.items():
            if source not in speaking:
                table.add_row(self._name(source), _state(status), "")
        return table

    def _cells(self, source: SourceId, row: Row, quantities: list[Quantity], now: datetime) -> Iterator[Text]:
        place = self._places.get((source.vendor, source.site))
        yield self._name(source)
        yield _state(self.states.get(self._bringer(source), _UNKNOWN))
        yield Text(f"{row.time.astimezone(place.zone if place else UTC):%H:%M:%S}")
        for quantity in quantities:
            value = row.values.get(quantity)
            yield Text("" if value is None else format(value, _COLUMNS[quantity][1]))
        yield Text(_age((now - row.received_at).total_seconds()), style="dim")

    def _name(self, source: SourceId) -> Text:
        place = self._places.get((source.vendor, source.site))
        device = f" #{source.instance}" if source.instance else ""
        name = place.name if place else source.site
        return Text.assemble((f"{source.vendor} ", "dim"), _plain(name), (device, "dim"))

    def _bringer(self, device: SourceId) -> SourceId:
        """Return whose readings these are: the device's own source, or a poller of the account's devices."""
        if device in self.states:
            return device
        return next((source for source in self.states if source[:2] == device[:2]), device)

    def _notes(self, hidden: int) -> Iterator[Text]:
        for source, status in self.states.items():
            if status.reason:
                again = f"; again in {status.retry_in:.0f} s" if status.retry_in is not None else ""
                yield Text.assemble((f"{source.vendor} {source.site} ", "dim"), _plain(status.reason), again)
        if hidden:
            yield Text(f"{hidden} more quantities in a wider terminal", style="dim")


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
        board = self._board.draw(now=self._clock.utcnow(), width=self._live.console.width)
        self._live.update(Group(board, self._about_pool()), refresh=True)

    def _about_pool(self) -> Text:
        stats = self._pool.stats()
        parts = [f"{self._board.readings:,} readings", f"{stats.sent:,} requests sent"]
        for (origin, _), lane in stats.lanes.items():
            part = (
                f"{self._lanes.get(origin, origin)}: {max(0.0, lane.level):.0f} in stock, {lane.rate:.1f}/s"
            )
            if waiting := sum(lane.waiting.values()):
                part += f", {waiting} waiting"
            if lane.hold_s:
                part += f", held for {lane.hold_s:.0f} s"
            if lane.throttled:
                part += f", {lane.throttled} times too many"
            parts.append(part)
        return Text(" · ".join(parts), style="dim")


def _state(status: Status) -> Text:
    return Text(status.state.replace("_", " "), style=_STYLES[status.state])


def _age(seconds: float) -> str:
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _plain(text: str) -> str:
    """Leave out what a terminal would obey instead of show: names and reasons come from elsewhere."""
    return "".join(char if char.isprintable() else " " for char in text)

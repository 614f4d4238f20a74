"""The live table in the terminal: its rows and columns, and the loop that redraws it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, zip_longest
from types import MappingProxyType, TracebackType
from typing import Final, NamedTuple, Self, TypeAlias

from attrs import define, field
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from energy_core import AlarmChange, Event, Quantity, SessionPool, SourceId, State, Status
from energy_core.clock import AHEAD_S, Clock, SystemClock
from energy_core.home.preference import status_source
from energy_live.display import power_flow
from energy_live.display.output import SiteName

# The most important first: in a narrow terminal the last columns are hidden.
_COLUMNS: Final[Mapping[Quantity, tuple[str, str]]] = MappingProxyType(
    {
        Quantity.GRID_POWER: ("grid", "+,.0f"),
        Quantity.BATTERY_POWER: ("battery", "+,.0f"),
        Quantity.PV_POWER: ("PV", ",.0f"),
        Quantity.CONSUMPTION_POWER: ("home", ",.0f"),
        Quantity.BATTERY_SOC: ("charge", ".1f"),
        Quantity.BATTERY_VOLTAGE: ("volts", ".2f"),
        Quantity.BATTERY_CURRENT: ("amps", "+.1f"),
        Quantity.BATTERY_TEMPERATURE: ("temp", ".1f"),
        Quantity.GENERATOR_POWER: ("generator", ",.0f"),
    }
)
_POWERS: Final = frozenset(
    {Quantity.PV_POWER, Quantity.GRID_POWER, Quantity.BATTERY_POWER, Quantity.CONSUMPTION_POWER}
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
_AHEAD: Final = timedelta(seconds=AHEAD_S)
_UNKNOWN: Final = Status(state=State.CONNECTING)
_LONGEST_NAME: Final = 32
_MAX_ERRORS: Final = 5
_MAX_ALARMS: Final = 5
_GAP: Final = 2
_FRAME: Final = 5
"""Lines that are not rows: the title, two header lines, two notes about hidden columns and rows."""
_FIXED: Final = 4
"""Columns that are not quantities: source, state, time and age."""


@define
class Row:
    """Latest values of one device. A reading may hold only changed values, so older ones are kept."""

    time: datetime
    received_at: datetime
    values: dict[Quantity, float] = field(factory=dict)


Rows: TypeAlias = Mapping[SourceId, Row]


class Column(NamedTuple):
    """One column; missing cells at its end are empty."""

    title: str
    unit: str
    cells: list[Text]
    right: bool = False


class Dashboard:
    """Keeps the latest values and states of a stream and renders them for rich; needs no terminal.

    Args:
        title: First line.
        names: Names of sites and products, by vendor and number.
    """

    def __init__(self, title: str, *, names: Mapping[tuple[str, str], SiteName]) -> None:
        self.rows: dict[SourceId, Row] = {}
        self.states: dict[SourceId, Status] = {}
        self.alarms: dict[str, Event] = {}
        """The event of each active alarm."""
        self.readings = 0
        self._title = title
        self._names = names

    def add(self, event: Event) -> None:
        """Update the dashboard with one event."""
        if isinstance(event.detail, Status):
            self.states[event.source] = event.detail
        elif isinstance(event.detail, AlarmChange):
            self.alarms.pop(event.detail.alarm, None)
            if event.detail.active:
                self.alarms[event.detail.alarm] = event
        elif event.values:
            self.readings += 1
            row = self.rows.setdefault(event.source, Row(event.time, event.received_at))
            if event.time < row.time and (event.backfilled or row.time <= row.received_at + _AHEAD):
                # A late reading fills in values that are missing and replaces none.
                row.values = {**event.values, **row.values}
                return
            row.time, row.received_at = event.time, event.received_at
            row.values.update(event.values)

    def render(self, *, now: datetime, width: int, height: int, picture: bool = False) -> RenderableType:
        """Return the table; a note counts the columns and rows that do not fit `width` and `height`.

        Args:
            now: The present time, for ages.
            width: Columns of the terminal.
            height: Lines of the terminal.
            picture: Whether to draw a home's power above the table, if there is room for both.
        """
        notes = [*islice(self._errors(), _MAX_ERRORS), *self._active_alarms()]
        drawn: list[Text] = []
        if picture and width >= power_flow.WIDTH:
            lines = len(self.rows) + len(self._without_readings()) + len(notes) + _FRAME
            drawn = self._picture() if lines + power_flow.HEIGHT <= height else []
        room = max(1, height - len(self._without_readings()) - len(notes) - _FRAME)
        rows = dict(islice(self.rows.items(), room))
        columns = [
            self._sources(rows),
            self._states(rows),
            self._times(rows),
            *_quantities(rows),
            _ages(rows, now),
        ]
        hidden = 0
        while len(columns) > _FIXED and sum(map(_width, columns)) - _GAP > width:
            del columns[-2]  # the last quantity; the age stays
            hidden += 1
        if hidden:
            notes.append(Text(f"not shown in {width} columns: {hidden} of the quantities", style="dim"))
        if len(self.rows) > len(rows):
            hidden = len(self.rows) - len(rows)
            notes.append(Text(f"not shown in {height} lines: {hidden} of the devices", style="dim"))
        return Group(Text(self._title, style="bold"), *drawn, _table(columns), *notes)

    def _picture(self) -> list[Text]:
        """Return a picture of the home that has the most powers; of several the first."""
        homes = [row.values for row in self.rows.values()]
        values = max(homes, key=lambda values: len(_POWERS & values.keys()), default={})
        return power_flow.power_flow(values)

    def _sources(self, rows: Rows) -> Column:
        return Column("source", "", [*map(self._name, rows), *map(self._name, self._without_readings())])

    def _states(self, rows: Rows) -> Column:
        states = {source: status.state for source, status in self.states.items()}
        known = [status_source(states, device) for device in rows]
        shown = [
            _UNKNOWN if source is None else self.states[source]
            for source in (*known, *self._without_readings())
        ]
        return Column("state", "", [_state(status) for status in shown])

    def _times(self, rows: Rows) -> Column:
        return Column("time", "", [self._local_time(source, row.time) for source, row in rows.items()])

    def _local_time(self, source: SourceId, time: datetime, pattern: str = "%H:%M:%S") -> Text:
        name = self._names.get((source.vendor, source.site))
        return Text(time.astimezone(name.zone if name else UTC).strftime(pattern))

    def _without_readings(self) -> list[SourceId]:
        """Return the sources and sites without a reading so far."""
        accounts = {device[:2] for device in self.rows}
        sites = {device[:3] for device in self.rows}
        return [
            source
            for source in self.states
            if source[:2] not in accounts
            or (
                source.site != "*"
                and not any((*source[:2], site) in sites for site in source.site.split(","))
            )
        ]

    def _name(self, source: SourceId) -> Text:
        known = self._names.get((source.vendor, source.site))
        device = f" #{source.instance}" if source.instance else ""
        name = Text.assemble(
            (f"{source.vendor} ", "dim"), _printable(known.name if known else source.site), (device, "dim")
        )
        name.truncate(_LONGEST_NAME, overflow="ellipsis")
        return name

    def _active_alarms(self) -> Iterator[Text]:
        """Yield a line for each of the newest alarms, and one that counts the others."""
        newest = sorted(self.alarms.values(), key=lambda event: event.time, reverse=True)
        for event in newest[:_MAX_ALARMS]:
            if isinstance(event.detail, AlarmChange):
                since = self._local_time(event.source, event.time, "%Y-%m-%d %H:%M")
                name, named = event.detail.device, self._name(event.source)
                device = f" ({_printable(name)})" if name and name not in named.plain else ""
                text = _printable(event.detail.text)
                alarm = f" {text}{device} since "
                yield Text.assemble(("alarm ", "bold red"), named, alarm, since)
        if len(newest) > _MAX_ALARMS:
            yield Text(f"not shown: {len(newest) - _MAX_ALARMS} more alarms", style="dim")

    def _errors(self) -> Iterator[Text]:
        for source, status in self.states.items():
            if status.reason:
                retry = f"; retry in {status.retry_in:.0f} s" if status.retry_in is not None else ""
                yield Text.assemble(
                    (f"{source.vendor} {source.site} ", "dim"), _printable(status.reason), retry
                )


def _quantities(rows: Rows) -> Iterator[Column]:
    present = {quantity for row in rows.values() for quantity in row.values}
    for quantity, (title, number_format) in _COLUMNS.items():
        if quantity in present:
            values = (row.values.get(quantity) for row in rows.values())
            cells = [Text("" if value is None else format(value, number_format)) for value in values]
            yield Column(title, _UNITS.get(quantity.unit, quantity.unit), cells, right=True)


def _ages(rows: Rows, now: datetime) -> Column:
    ages = (_age((now - row.received_at).total_seconds()) for row in rows.values())
    return Column("age", "", [Text(age, style="dim") for age in ages], right=True)


def _width(column: Column) -> int:
    return max(len(column.title), len(column.unit), *(cell.cell_len for cell in column.cells), 0) + _GAP


def _table(columns: list[Column]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        title = Text.assemble(column.title, "\n", (column.unit, "dim"))
        table.add_column(title, justify="right" if column.right else "left", no_wrap=True)
    for cells in zip_longest(*(column.cells for column in columns), fillvalue=Text()):
        table.add_row(*cells)
    return table


def _state(status: Status) -> Text:
    return Text(status.state.replace("_", " "), style=_STYLES[status.state])


def _age(seconds: float) -> str:
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _printable(text: str) -> str:
    """Replace control characters: names and error messages come from servers."""
    return "".join(char if char.isprintable() else " " for char in text)


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
        dashboard = self._dashboard.render(
            now=self._clock.utcnow(),
            width=width,
            height=height - 2,
            picture=self._live.console.encoding.startswith("utf"),
        )
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

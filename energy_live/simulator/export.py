"""VoltStorage's export: sparse rows of about one a second, made on the fly from any stretch of the past."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from attrs import frozen

from energy_live.simulator.day import chances
from energy_live.simulator.products import EXPORTED, STATUS_SINCE, Product, export_values

Row = tuple[float, list[float | None]]


@frozen(kw_only=True)
class Extract:
    """What an export was asked for."""

    product: Product
    start: float
    end: float
    fields: tuple[str, ...]
    tz_minutes: int = 0
    precision: int = 6
    tolerance: float = 0.0
    separator: str = ","
    mixed: bool = False
    """The fault of 2021: `sep=` line and header as asked, but commas in the rows, whose times end in `Z`."""

    def rows(self) -> Iterator[Row]:
        """Return the moments at which something changed, with what changed; the first row is whole."""
        chosen = [EXPORTED.index(name) for name in self.fields]
        last: list[float] = [math.nan] * len(chosen)
        second = math.ceil(max(self.start, self.product.since) - 0.999)
        while second <= self.end:
            moment = second + _fraction(second)
            if self.start <= moment <= self.end:
                values = export_values(self.product.household.at(second))
                cells = self._changed([values[index] for index in chosen], last)
                if any(cell is not None for cell in cells):
                    yield moment, cells
            second += 1

    def _changed(self, values: Sequence[float], last: list[float]) -> list[float | None]:
        cells: list[float | None] = []
        for index, value in enumerate(values):
            # Not a number differs from everything: the first row has every cell.
            if abs(value - last[index]) <= self.tolerance * abs(last[index]):
                cells.append(None)
            else:
                cells.append(value)
                last[index] = value
        return cells

    def csv(self) -> Iterator[str]:
        """Return the lines of the CSV file."""
        yield f"sep={self.separator}\r\n"
        yield self.separator.join(("Time", *self.fields)) + "\r\n"
        separator = "," if self.mixed else self.separator
        for moment, cells in self.rows():
            written = (self.stamp(moment), *("" if cell is None else self.number(cell) for cell in cells))
            yield separator.join(written) + "\r\n"

    def json(self) -> Iterator[str]:
        """Return the pieces of the JSON file: an array of objects that hold what changed."""
        yield "["
        between = ""
        for moment, cells in self.rows():
            there = {
                name: float(self.number(cell))
                for name, cell in zip(self.fields, cells, strict=True)
                if cell is not None
            }
            yield between + json.dumps({"Time": self.stamp(moment), **there})
            between = ","
        yield "]"

    def stamp(self, moment: float) -> str:
        """Write a moment to the millisecond, in the offset that was asked for."""
        when = datetime.fromtimestamp(round(moment, 3), UTC)
        if self.mixed:
            return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        offset = timedelta(minutes=self.tz_minutes)
        sign = "-" if offset < timedelta() else "+"
        hours, minutes = divmod(abs(self.tz_minutes), 60)
        local = (when + offset).replace(tzinfo=None).isoformat(timespec="milliseconds")
        return f"{local}{sign}{hours:02}:{minutes:02}"

    def number(self, value: float) -> str:
        """Write a number with the asked significant digits, never with an exponent."""
        text = f"{value:.{self.precision}g}"
        return f"{float(text):.0f}" if "e+" in text else text


def columns(start: float) -> tuple[str, ...]:
    """Return the columns an export of that time has."""
    return EXPORTED if start >= STATUS_SINCE else EXPORTED[:-1]


def _fraction(second: int) -> float:
    """Rows come a little after the full half second."""
    return 0.556 + math.floor(chances(f"row/{second}", 1)[0] * 13.0) / 1000.0

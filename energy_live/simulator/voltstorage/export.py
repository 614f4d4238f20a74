"""VoltStorage's export as CSV and JSON: about one row a second, with the values that have changed.

The CSV format, the columns and the separators are the document's; the JSON format is a guess.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from energy_live.simulator.household.day_curves import SLOT_S
from energy_live.simulator.household.household import BATTERY_METER_S, LOAD_METER_S, PV_METER_S, SOC_METER_S
from energy_live.simulator.voltstorage.products import (
    EXPORTED,
    STATUS_SINCE,
    Product,
    export_values,
    exported,
)

Row = tuple[int, list[float | None]]

# Each second of 15 minutes with the number of measurements of each meter until then.
_SECONDS: Final = tuple(
    (into, into // PV_METER_S, into // LOAD_METER_S, into // BATTERY_METER_S, into // SOC_METER_S)
    for into in range(SLOT_S)
)
_CHANGING: Final = tuple(
    each
    for each in _SECONDS
    if any(each[0] % every == 0 for every in (PV_METER_S, LOAD_METER_S, BATTERY_METER_S, SOC_METER_S))
)
_KEPT: Final = 100_000


@frozen(kw_only=True)
class ExportRequest:
    """Parameters of an export."""

    product: Product
    start: float
    end: float
    fields: tuple[str, ...]
    tz_minutes: int = 0
    precision: int = 6
    tolerance: float = 0.0
    separator: str = ","
    mixed_separators: bool = False
    """Fault of 2021: only the header uses the requested separator, and times end in `Z`."""

    step_s: int = 1
    """Seconds between two rows."""

    def rows(self) -> Iterator[Row]:
        """Return time and changed cells of each row; the first row has all cells."""
        chosen = [EXPORTED.index(name) for name in self.fields]
        last = [math.nan] * len(chosen)  # NaN differs from every value
        tolerance = self.tolerance
        for second, measured in self._measured():
            values = [measured[index] for index in chosen]
            if tolerance:
                cells = [
                    None if abs(value - before) <= tolerance * abs(before) else value
                    for value, before in zip(values, last, strict=True)
                ]
                values = [before if cell is None else cell for cell, before in zip(cells, last, strict=True)]
            else:
                cells = [
                    None if value == before else value for value, before in zip(values, last, strict=True)
                ]
            last = values
            if cells.count(None) < len(cells):
                yield second, cells

    def _measured(self) -> Iterator[tuple[int, tuple[float, ...]]]:
        """Return the seconds at which a value may have changed, with the values of all columns."""
        if math.isinf(self.product.first_at):
            return
        first = math.ceil(max(self.start, self.product.first_at) - 0.999)
        if first + _milliseconds(first) / 1000 < self.start:
            first += 1
        last = math.floor(self.end)
        if last + _milliseconds(last) / 1000 > self.end:
            last -= 1
        if self.step_s == 1:
            yield from self._every_second(first, last)
            return
        for second in range(math.ceil(first / self.step_s) * self.step_s, last + 1, self.step_s):
            yield second, export_values(self.product.household.at(second))

    def _every_second(self, first: int, last: int) -> Iterator[tuple[int, tuple[float, ...]]]:
        begin = first
        while begin <= last:
            quarter = self.product.household.quarter_hour(begin)
            start = int(quarter.start)
            pv, load, battery, soc = quarter[1:]
            low, high = begin - start, last - start
            seconds = _CHANGING if low == 0 else (_SECONDS[low], *(one for one in _CHANGING if one[0] > low))
            for into, sun, home, store, charge in seconds:
                if into > high:
                    return
                yield start + into, exported(load[home], pv[sun], battery[store], soc[charge])
            begin = start + SLOT_S

    def csv(self) -> Iterator[str]:
        """Return the lines of the CSV file."""
        yield f"sep={self.separator}\r\n"
        yield self.separator.join(("Time", *self.fields)) + "\r\n"
        separator = "," if self.mixed_separators else self.separator
        stamp, number = self.time_formatter(), self.number_formatter()
        for second, cells in self.rows():
            written = ["" if cell is None else number(cell) for cell in cells]
            yield f"{stamp(second)}{separator}{separator.join(written)}\r\n"

    def json(self) -> Iterator[str]:
        """Return the parts of the JSON file: an array of objects with the changed values."""
        yield "["
        between = ""
        stamp, number = self.time_formatter(), self.number_formatter()
        for second, cells in self.rows():
            changed = {
                name: float(number(cell))
                for name, cell in zip(self.fields, cells, strict=True)
                if cell is not None
            }
            yield between + json.dumps({"Time": stamp(second), **changed})
            between = ","
        yield "]"

    def time_formatter(self) -> Callable[[int], str]:
        """Return a function that formats times with milliseconds in the requested offset."""
        hours, minutes = divmod(abs(self.tz_minutes), 60)
        shift = 0 if self.mixed_separators else self.tz_minutes * 60
        zone = (
            "Z" if self.mixed_separators else f"{'-' if self.tz_minutes < 0 else '+'}{hours:02}:{minutes:02}"
        )
        minute, prefix = -1, ""

        def stamp(second: int) -> str:
            nonlocal minute, prefix
            now, into = divmod(second + shift, 60)
            if now != minute:  # formatting a date is slow, so once a minute
                minute, prefix = now, f"{datetime.fromtimestamp(now * 60, UTC):%Y-%m-%dT%H:%M}"
            return f"{prefix}:{into:02}.{_milliseconds(second)}{zone}"

        return stamp

    def number_formatter(self) -> Callable[[float], str]:
        """Return a function that formats numbers with the requested significant digits, without exponent."""
        written: dict[float, str] = {}  # values repeat often

        def number(value: float) -> str:
            text = written.get(value)
            if text is None:
                text = f"{value:.{self.precision}g}"
                text = f"{float(text):.0f}" if "e+" in text else text
                if len(written) < _KEPT:
                    written[value] = text
            return text

        return number


def columns(start: float) -> tuple[str, ...]:
    """Return the columns of an export that starts at a time (Unix seconds)."""
    return EXPORTED if start >= STATUS_SINCE else EXPORTED[:-1]


def _milliseconds(second: int) -> int:
    """Return pseudo-random milliseconds of a row, 556..568, as in the document's example."""
    return 556 + (second * 2_654_435_761 >> 7) % 8191 % 13

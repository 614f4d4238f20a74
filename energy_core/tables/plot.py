"""Charts of values over time, with matplotlib. Gaps are gaps; times are local."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from math import nan
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from energy_core.local_days import EPOCH, zone
from energy_core.tables.export import optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_HOUR_MS: Final = 3_600_000
_GAP: Final = 1.5
"""Two times further apart than this many usual steps have a gap between them. A month of 31 days is 1.1."""
_LENGTHS: Final = (
    (0.25, 0.25, "15 minutes"),
    (1, 1, "hour"),
    (2, 2, "2 hours"),
    (23, 25, "day"),
    (167, 169, "week"),
    (28 * 24 - 1, 31 * 24 + 1, "month"),
    (365 * 24 - 1, 366 * 24 + 1, "year"),
)
"""Shortest and longest step in hours, and its name."""


class PlotLine(NamedTuple):
    """One line of a chart: columns of equal length."""

    label: str
    unit: str | None
    times_ms: Sequence[int]
    """Start of each bucket in ms since the epoch."""
    values: Sequence[float | None]
    minimum: Sequence[float | None] | None = None
    maximum: Sequence[float | None] | None = None
    summed: bool = False
    """Whether a value is the sum of its bucket, drawn over the bucket's length, and not a measurement."""


class _Point(NamedTuple):
    time_ms: int
    value: float
    low: float
    high: float


def draw(lines: Iterable[PlotLine], *, timezone: str | tzinfo | None, ax: Axes | None) -> Axes:
    """Draw lines over local time and return the axes of the first unit; each further unit has its own.

    Args:
        lines: What is drawn.
        timezone: The zone of the time axis; None for UTC.
        ax: Where to draw; by default a new figure of pyplot, which notebooks display.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message has the command that installs it.
        ValueError: this machine does not know the time zone.
    """
    where = zone(timezone or "UTC")
    dates = optional("matplotlib.dates", "plot")
    own_figure = ax is None
    if ax is None:
        _, ax = optional("matplotlib.pyplot", "plot").subplots(figsize=(9, 4.5), layout="constrained")
    by_unit: dict[str | None, list[PlotLine]] = {}
    for line in lines:
        by_unit.setdefault(line.unit, []).append(line)
    locator = dates.AutoDateLocator(tz=where)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=where))
    ax.set_xlabel("UTC (the site's time zone is not known)" if timezone is None else f"local time, {where}")
    ax.grid(visible=True, alpha=0.3)
    handles: list[Line2D] = []
    for place, (unit, members) in enumerate(by_unit.items()):
        axes = ax if place == 0 else ax.twinx()
        if place > 1:
            axes.spines["right"].set_position(("outward", 55 * (place - 1)))
        for line in members:
            handles.append(_draw_line(axes, line, f"C{len(handles) % 10}"))
        axes.set_ylabel(_axis_label(unit, members))
    if not any(
        value is not None for members in by_unit.values() for line in members for value in line.values
    ):
        ax.text(0.5, 0.5, "no data", transform=ax.transAxes, ha="center", va="center")
    if len(handles) > 1:
        _legend(ax, handles, own_figure=own_figure)
    return ax


def _draw_line(ax: Axes, line: PlotLine, color: str) -> Line2D:
    runs = list(_runs(line))
    step = "post" if line.summed else None
    times: list[datetime] = []
    points: list[_Point] = []
    for run in runs:
        times += [EPOCH + timedelta(milliseconds=point.time_ms) for point in run]
        points += run
        # Matplotlib draws no line to or from a value that is not a number.
        times.append(times[-1])
        points.append(_Point(run[-1].time_ms, nan, nan, nan))
    style = "steps-post" if line.summed else "default"
    values = [point.value for point in points]
    (drawn,) = ax.plot(times, values, color=color, drawstyle=style, label=line.label)  # type: ignore[arg-type]
    alone = [run[0] for run in runs if len(run) == 1]
    if alone:
        moments = [EPOCH + timedelta(milliseconds=point.time_ms) for point in alone]
        ax.plot(moments, [point.value for point in alone], ".", color=color)  # type: ignore[arg-type]
    if line.minimum is not None and line.maximum is not None:
        lows, highs = [point.low for point in points], [point.high for point in points]
        ax.fill_between(times, lows, highs, color=color, alpha=0.2, linewidth=0, step=step)  # type: ignore[arg-type]
    return drawn


def _runs(line: PlotLine) -> Iterator[list[_Point]]:
    """Yield the stretches without a gap: no value is missing, and no bucket."""
    nothing: Sequence[float | None] = [None] * len(line.times_ms)
    columns = (line.times_ms, line.values, line.minimum or nothing, line.maximum or nothing)
    rows = sorted(zip(*columns, strict=True), key=lambda row: row[0])
    step = _step(line)
    run: list[_Point] = []
    for at, (time, value, low, high) in enumerate(rows):
        if run and (value is None or (step is not None and time - run[-1].time_ms > _GAP * step)):
            yield _closed(run, line, step, time)
            run = []
        if value is not None:
            edges = (nan if edge is None else edge for edge in (low, high))
            run.append(_Point(time, value, *edges))
        if run and at == len(rows) - 1:
            yield _closed(run, line, step, None)


def _closed(run: list[_Point], line: PlotLine, step: float | None, after: int | None) -> list[_Point]:
    """Add the end of the last bucket, up to which its sum is drawn."""
    if not line.summed or step is None:
        return run
    end = run[-1].time_ms + round(step)
    return [*run, run[-1]._replace(time_ms=end if after is None else min(end, after))]


def _step(line: PlotLine) -> float | None:
    """Return the usual distance of two times in ms; None if there are not two."""
    times = sorted(set(line.times_ms))
    return median(after - time for time, after in pairwise(times)) if len(times) > 1 else None


def _axis_label(unit: str | None, lines: Sequence[PlotLine]) -> str:
    what = f"{lines[0].label}, " if len(lines) == 1 else ""
    steps = {_step(line) for line in lines if len(line.times_ms) > 1}
    names = {_length(step) for step in steps if step is not None}
    summed = all(line.summed for line in lines)
    per = f" per {names.pop()}" if summed and len(names) == 1 and names != {""} else ""
    return f"{what}{unit or 'unit not known'}{per}"


def _length(step_ms: float) -> str:
    hours = step_ms / _HOUR_MS
    return next((name for least, most, name in _LENGTHS if least <= hours <= most), "")


def _legend(ax: Axes, handles: Sequence[Line2D], *, own_figure: bool) -> None:
    if own_figure:
        # Below the axes, so that it covers no value and leaves room for a title.
        ax.figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    else:
        ax.legend(handles=handles)

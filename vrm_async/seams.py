"""Where two pieces of a history meet: nothing twice, nothing lost. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise, repeat
from operator import itemgetter
from typing import Final

from attrs import evolve

from vrm_async.panels import States
from vrm_async.pieces import EPOCH, Ruler
from vrm_async.series import Series, moment

_HOUR: Final = timedelta(hours=1)
_MS: Final = timedelta(milliseconds=1)
_SUMMED: Final = frozenset({"kWh", "Wh"})


def milliseconds(moment: datetime) -> int:
    """Return a moment as milliseconds since the epoch."""
    return (moment - EPOCH) // _MS


def hour_of(moment: datetime) -> datetime:
    """Return the whole hour of UTC a moment is in.

    VRM keeps whole hours: a midnight at half past may come labelled with its hour.
    """
    return moment - (moment - EPOCH) % _HOUR


def within(series: Series, start: datetime, end: datetime) -> Series:
    """Return the part of a series from `start` to before `end`, in order and each moment once."""
    series = series if _is_ascending(series.times_ms) else _ordered(series)
    low, high = (bisect_left(series.times_ms, milliseconds(edge)) for edge in (start, end))
    if (low, high) == (0, len(series)):
        return series
    return _columns(series, lambda column: column[low:high])


def _is_ascending(times_ms: Sequence[int]) -> bool:
    return all(map(int.__lt__, times_ms, times_ms[1:]))


def _ordered(series: Series) -> Series:
    newest = {time: position for position, time in enumerate(series.times_ms)}
    places = [newest[time] for time in sorted(newest)]
    return _columns(series, lambda column: [column[place] for place in places])


def _columns(series: Series, change: Callable[[Sequence[float | None]], Sequence[float | None]]) -> Series:
    return evolve(
        series,
        times_ms=[int(time) for time in change(series.times_ms) if time is not None],
        mean=change(series.mean),
        minimum=None if series.minimum is None else change(series.minimum),
        maximum=None if series.maximum is None else change(series.maximum),
    )


def on_edges(all_series: Iterable[Series], ruler: Ruler) -> bool:
    """Tell whether every bucket begins where the site's day or week does."""
    times = {time for series in all_series for time in series.times_ms}
    return all(ruler.floor(moment(time) + _HOUR - _MS) - moment(time) > -_MS for time in times)


def folded(series: Series, start: datetime, end: datetime) -> Series:
    """Make one point of a bucket's points: energies are added, measurements weighed by how long they last."""
    if len(series) < 2:
        return series
    edges = [*series.times_ms, milliseconds(end)]
    weights = [after - time for time, after in pairwise(edges)]
    return evolve(
        series,
        times_ms=(milliseconds(start),),
        mean=(_together(series.mean, weights, summed=series.unit in _SUMMED),),
        minimum=None if series.minimum is None else (_extreme(min, series.minimum),),
        maximum=None if series.maximum is None else (_extreme(max, series.maximum),),
    )


def _together(values: Sequence[float | None], weights: Sequence[int], *, summed: bool) -> float | None:
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if not known:
        return None
    if summed:
        return sum(value for value, _ in known)
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)


def _extreme(choose: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None


def changes(
    states: States, start: datetime, end: datetime, last: tuple[int | None, str | None] | None
) -> States:
    """Return the changes from `start` to before `end`, without a first one that repeats the state before.

    Every window begins with the state that holds at its start; only where that differs from `last` it is a
    change. The same state again is one where no state was known in between.
    """
    low, high = milliseconds(start), milliseconds(end)
    rows = sorted(
        zip(
            states.times_ms,
            states.ends_ms or repeat(None, len(states)),
            states.numbers,
            states.names,
            strict=True,
        ),
        key=itemgetter(0),
    )
    inside = [row for row in rows if low <= row[0] < high]
    before = [row for row in rows if row[0] < low and (row[1] is None or row[1] > low)][-1:]
    if inside and inside[0][0] == low:
        before = []
    kept: list[tuple[int, int | None, int | None, str | None]] = []
    until: int | None = None
    for row in [*before, *inside]:
        known_on = until is None or row[0] <= until
        until = row[1]
        if row[2:] != last or not known_on:
            kept.append(row)
            last = row[2:]
        elif kept:
            kept[-1] = (kept[-1][0], *row[1:])
    times_ms, ends_ms, numbers, names = zip(*kept, strict=True) if kept else ((), (), (), ())
    return evolve(states, times_ms=times_ms, ends_ms=ends_ms, numbers=numbers, names=names)

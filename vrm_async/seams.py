"""Where two pieces of a history meet: nothing twice, nothing lost. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise, repeat
from operator import itemgetter
from typing import Final

from attrs import evolve

from vrm_async.panels import StateSet
from vrm_async.pieces import EPOCH, BucketEdges
from vrm_async.series import Series, Stats, moment
from vrm_async.units import adds_up

_HOUR: Final = timedelta(hours=1)
_MS: Final = timedelta(milliseconds=1)
_SUM_OF_ALL: Final = "kwh"
"""What VRM calls the sum of all codes' totals."""


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
        mean=change(series.value),
        minimum=None if series.minimum is None else change(series.minimum),
        maximum=None if series.maximum is None else change(series.maximum),
    )


def on_edges(all_series: Iterable[Series], ruler: BucketEdges, *, exactly: bool) -> bool:
    """Tell whether every bucket begins where one of the site's days, weeks, months or years does.

    Args:
        all_series: The buckets.
        ruler: Where the site's own begin.
        exactly: Refuse one that begins at the hour in which the site's begins at half past. Where clocks
            change by half an hour that may be another bucket.
    """
    times = {moment(time) for series in all_series for time in series.times_ms}
    edges = ((time, ruler.ceil(time)) for time in times)
    return all(time == edge or (not exactly and time == hour_of(edge)) for time, edge in edges)


def trimmed(found: Stats, series: Sequence[Series]) -> Stats:
    """Return stats with series that were cut, and the totals of what is left of them.

    The total of a code that was cut is its sum if it counts energy; of others it is not known, and None.
    Series that were not cut are those of `found` themselves.
    """
    whole = set(map(id, found))
    by_instance = {
        instance: _totals(totals, [each for each in series if each.instance == instance], whole)
        for instance, totals in found.totals_by_instance.items()
    }
    totals = _totals(found.totals, [each for each in series if each.instance is None], whole)
    return evolve(found, series=tuple(series), totals=totals, totals_by_instance=by_instance)


def _totals(
    totals: Mapping[str, float | None], mine: Sequence[Series], whole: Collection[int]
) -> Mapping[str, float | None]:
    again = {each.code: _total(each) for each in mine if id(each) not in whole and each.code in totals}
    known = {**totals, **again}
    if again and _SUM_OF_ALL in totals and _SUM_OF_ALL not in again:
        energies = [known.get(each.code) for each in mine if each.unit == "kWh"]
        known[_SUM_OF_ALL] = sum(value for value in energies if value is not None) if energies else None
    return known


def _total(series: Series) -> float | None:
    values = [value for value in series.value if value is not None]
    return sum(values) if values and adds_up(series.code, series.unit) else None


def joined(parts: Iterable[Sequence[Series]], edges: Sequence[datetime]) -> tuple[Series, ...]:
    """Make buckets of shorter ones: energies are added, measurements averaged.

    Args:
        parts: Series of shorter buckets; a bucket that has none is left out.
        edges: Where the buckets begin, and where the last one ends.
    """
    found: dict[tuple[str, int | None], list[Series]] = {}
    for part in parts:
        for series in part:
            found.setdefault((series.code, series.instance), []).append(series)
    return tuple(_by_edges(series, edges) for series in found.values())


def without_parts(
    found: Iterable[Series], parts: Iterable[Iterable[Series]], edges: Sequence[datetime]
) -> list[tuple[datetime, datetime]]:
    """Return the buckets that have no shorter ones, although the answer has a label near them."""
    times = sorted({time for part in parts for series in part for time in series.times_ms})
    labels = sorted({time for series in found for time in series.times_ms})
    return [
        (edge, after)
        for edge, after in pairwise(edges)
        if not _any_between(times, edge, after)
        and _any_between(labels, edge - _FURTHEST_ZONE, edge + _FURTHEST_ZONE)
    ]


_FURTHEST_ZONE: Final = timedelta(hours=14, milliseconds=1)
"""How far from a site's midnight UTC's may be, or that of the account."""


def _any_between(times_ms: Sequence[int], start: datetime, end: datetime) -> bool:
    return bisect_left(times_ms, milliseconds(start)) < bisect_left(times_ms, milliseconds(end))


def _by_edges(parts: Sequence[Series], edges: Sequence[datetime]) -> Series:
    buckets = []
    for edge, after in pairwise(edges):
        inside = [within(series, edge, after) for series in parts]
        if any(map(len, inside)):
            buckets.append((milliseconds(edge), inside))
    first = parts[0]

    def column(name: str) -> Sequence[float | None] | None:
        if getattr(first, name) is None:
            return None
        rows = [[value for each in inside for value in getattr(each, name) or ()] for _, inside in buckets]
        if name == "mean":
            return [_together(row, [1] * len(row), summed=adds_up(first.code, first.unit)) for row in rows]
        return [_extreme(min if name == "minimum" else max, row) for row in rows]

    return evolve(
        first,
        times_ms=[time for time, _ in buckets],
        mean=column("mean") or (),
        minimum=column("minimum"),
        maximum=column("maximum"),
    )


def as_one(series: Series, start: datetime, end: datetime) -> Series:
    """Make one point of a bucket's points: energies are added, measurements weighed by how long they last."""
    if not len(series):
        return series
    edges = [*series.times_ms, milliseconds(end)]
    weights = [max(1, after - time) for time, after in pairwise(edges)]
    return evolve(
        series,
        times_ms=(milliseconds(start),),
        mean=(_together(series.value, weights, summed=adds_up(series.code, series.unit)),),
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
    states: StateSet, start: datetime, end: datetime, last: tuple[int | None, str | None] | None
) -> StateSet:
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

"""Joins the answers to the chunks of a history: cut at the borders, so that no value is doubled or lost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise, repeat
from operator import is_, itemgetter
from typing import Final

from attrs import evolve

from energy_core.local_days import EPOCH
from vrm_async.codes import BY_CODE, adds_up
from vrm_async.history.chunks import BucketEdges
from vrm_async.models.series import Graph, Series, SeriesByCode, Stats, moment
from vrm_async.models.state import StateSeries, StateSet

_HOUR: Final = timedelta(hours=1)
_MS: Final = timedelta(milliseconds=1)
_SUM_OF_ALL: Final = "kwh"
"""VRM's code for the sum of the totals of all codes."""


def milliseconds(moment: datetime) -> int:
    """Return a moment as milliseconds since the epoch."""
    return (moment - EPOCH) // _MS


def hour_of(moment: datetime) -> datetime:
    """Return the start of the UTC hour that contains a moment.

    VRM keeps whole hours: a local midnight at half past may be labelled with its hour.
    """
    return moment - (moment - EPOCH) % _HOUR


def within(series: Series, start: datetime, end: datetime) -> Series:
    """Return the part of a series from `start` to before `end`, sorted and without duplicates of a time."""
    series = series if _is_ascending(series.times_ms) else _ordered(series)
    low, high = (bisect_left(series.times_ms, milliseconds(edge)) for edge in (start, end))
    if (low, high) == (0, len(series)):
        return series
    return _columns(series, lambda column: column[low:high])


def _is_ascending(times_ms: Sequence[int]) -> bool:
    return all(map(int.__lt__, times_ms, times_ms[1:]))


def _ordered(series: Series) -> Series:
    # Of a duplicate the last one counts: it is the newer value.
    newest = {time: position for position, time in enumerate(series.times_ms)}
    places = [newest[time] for time in sorted(newest)]
    return _columns(series, lambda column: [column[place] for place in places])


def _columns(series: Series, change: Callable[[Sequence[float | None]], Sequence[float | None]]) -> Series:
    return evolve(
        series,
        times_ms=[int(time) for time in change(series.times_ms) if time is not None],
        value=change(series.value),
        minimum=None if series.minimum is None else change(series.minimum),
        maximum=None if series.maximum is None else change(series.maximum),
    )


def on_edges(all_series: Iterable[Series], edges: BucketEdges, *, exactly: bool) -> bool:
    """Whether every bucket begins at the start of one of the site's days, weeks, months or years.

    Args:
        all_series: The buckets.
        edges: The site's own edges.
        exactly: If false, a bucket may begin at the full hour before an edge at half past. Where clocks
            change by half an hour, that bucket may be another one.
    """
    times = {moment(time) for series in all_series for time in series.times_ms}
    pairs = ((time, edges.ceil(time)) for time in times)
    return all(time == edge or (not exactly and time == hour_of(edge)) for time, edge in pairs)


def with_cut_series(found: Stats, series: Sequence[Series]) -> Stats:
    """Return stats with series that were cut, and with the totals of the cut series.

    The new total of a code that counts energy is the sum of its values; of any other code it is None.
    Series that were not cut must be the objects of `found`.
    """
    if len(series) == len(found) and all(map(is_, series, found)):
        return found  # `evolve` would parse the lazy `raw`
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
    changed = {each.code: _total(each) for each in mine if id(each) not in whole and each.code in totals}
    known = {**totals, **changed}
    # VRM's sum of all codes is then wrong too, unless it is a series of its own.
    if changed and _SUM_OF_ALL in totals and _SUM_OF_ALL not in changed:
        energies = [known.get(each.code) for each in mine if each.unit == "kWh"]
        known[_SUM_OF_ALL] = sum(value for value in energies if value is not None) if energies else None
    return known


def _total(series: Series) -> float | None:
    values = [value for value in series.value if value is not None]
    return sum(values) if values and adds_up(series.code, series.unit) else None


def aggregate(parts: Iterable[Sequence[Series]], edges: Sequence[datetime]) -> tuple[Series, ...]:
    """Aggregate shorter buckets: energies are added, measurements averaged.

    Args:
        parts: Series of the shorter buckets. An aggregate without any of them is left out.
        edges: The starts of the aggregates and the end of the last one.
    """
    found: dict[tuple[str, int | None], list[Series]] = {}
    for part in parts:
        for series in part:
            found.setdefault((series.code, series.instance), []).append(series)
    return tuple(_by_edges(series, edges) for series in found.values())


def without_parts(
    found: Iterable[Series], parts: Iterable[Iterable[Series]], edges: Sequence[datetime]
) -> list[tuple[datetime, datetime]]:
    """Return start and end of the buckets without shorter ones for which the answer has a label nearby."""
    times = sorted({time for part in parts for series in part for time in series.times_ms})
    labels = sorted({time for series in found for time in series.times_ms})
    return [
        (edge, after)
        for edge, after in pairwise(edges)
        if not _any_between(times, edge, after)
        and _any_between(labels, edge - _FURTHEST_ZONE, edge + _FURTHEST_ZONE)
    ]


_FURTHEST_ZONE: Final = timedelta(hours=14, milliseconds=1)
"""The largest distance between a site's midnight and that of UTC or of the account's zone."""


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
        if name == "value":
            return [_mean_or_sum(row, [1] * len(row), summed=adds_up(first.code, first.unit)) for row in rows]
        return [_extreme(min if name == "minimum" else max, row) for row in rows]

    return evolve(
        first,
        times_ms=[time for time, _ in buckets],
        value=column("value") or (),
        minimum=column("minimum"),
        maximum=column("maximum"),
    )


def to_one_bucket(series: Series, start: datetime, end: datetime) -> Series:
    """Aggregate the points of one bucket: energies are added, measurements weighted by their duration."""
    if not len(series):
        return series
    edges = [*series.times_ms, milliseconds(end)]
    weights = [max(1, after - time) for time, after in pairwise(edges)]
    return evolve(
        series,
        times_ms=(milliseconds(start),),
        value=(_mean_or_sum(series.value, weights, summed=adds_up(series.code, series.unit)),),
        minimum=None if series.minimum is None else (_extreme(min, series.minimum),),
        maximum=None if series.maximum is None else (_extreme(max, series.maximum),),
    )


def _mean_or_sum(values: Sequence[float | None], weights: Sequence[int], *, summed: bool) -> float | None:
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if not known:
        return None
    if summed:
        return sum(value for value, _ in known)
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)


def _extreme(choose: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None


def joined_series(parts: Iterable[Iterable[Series]]) -> tuple[Series, ...]:
    """Return the series of consecutive chunks as one series for each code, instance and attribute."""
    found: dict[tuple[str, int | None, int | None], list[Series]] = {}
    for part in parts:
        for series in part:
            found.setdefault((series.code, series.instance, series.attribute_id), []).append(series)
    return tuple(map(_end_to_end, found.values()))


def _end_to_end(parts: Sequence[Series]) -> Series:
    if len(parts) == 1:
        return parts[0]

    def column(name: str) -> list[float | None] | None:
        columns = [(part, getattr(part, name)) for part in parts]
        if all(values is None for _, values in columns):
            return None
        return [each for part, values in columns for each in values or [None] * len(part)]

    # A unit that only some chunks have is that of the others too: VRM sends none without data.
    newest = next((part for part in reversed(parts) if part.unit is not None), parts[-1])
    return evolve(
        newest,
        times_ms=[time for part in parts for time in part.times_ms],
        value=column("value") or (),
        minimum=column("minimum"),
        maximum=column("maximum"),
    )


def missing_in_all(parts: Iterable[SeriesByCode]) -> tuple[str, ...]:
    """Return the codes that no chunk has, in the order of the first chunk."""
    first, *others = parts
    return tuple(code for code in first.missing_codes if all(code in part.missing_codes for part in others))


def joined_stats(parts: Sequence[Stats]) -> Stats:
    """Return consecutive chunks as one value, without `raw`.

    A total of a code that counts energy is the sum of the chunks' totals; of any other code it is None.
    """
    if len(parts) == 1:
        return parts[0]
    series = joined_series(parts)
    units = {each.code: each.unit for each in series}
    instances = dict.fromkeys(instance for part in parts for instance in part.totals_by_instance)
    return Stats(
        series=series,
        timezone=next((part.timezone for part in parts if part.timezone is not None), None),
        missing_codes=missing_in_all(parts),
        totals=_added([part.totals for part in parts], units),
        totals_by_instance={
            instance: _added([part.totals_by_instance.get(instance, {}) for part in parts], units)
            for instance in instances
        },
    )


def _added(
    parts: Iterable[Mapping[str, float | None]], units: Mapping[str, str | None]
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for part in parts:
        for code, total in part.items():
            known = found.get(code)
            found[code] = known if total is None else total + (known or 0)
    kept = {code for code in found if adds_up(code, units.get(code, BY_CODE.get(code)))}
    return {code: total if code in kept else None for code, total in found.items()}


def joined_graph(parts: Sequence[Graph]) -> Graph:
    """Return consecutive chunks as one graph, without `raw`."""
    if len(parts) == 1:
        return parts[0]
    return Graph(
        series=joined_series(parts),
        timezone=next((part.timezone for part in parts if part.timezone is not None), None),
        missing_codes=missing_in_all(parts),
        instance=parts[0].instance,
    )


def joined_states(parts: Sequence[StateSeries]) -> StateSeries:
    """Return consecutive chunks as one value, without `raw`."""
    if len(parts) == 1:
        return parts[0]
    found: dict[tuple[str, int | None], list[StateSet]] = {}
    for states in (states for part in parts for states in part):
        found.setdefault((states.code, states.attribute_id), []).append(states)
    return StateSeries(
        name=parts[0].name, instance=parts[0].instance, states=tuple(map(_one_set, found.values()))
    )


def _one_set(parts: Sequence[StateSet]) -> StateSet:
    return evolve(
        parts[-1],
        times_ms=[each for part in parts for each in part.times_ms],
        ends_ms=[each for part in parts for each in part.ends_ms or [None] * len(part)],
        numbers=[each for part in parts for each in part.numbers],
        names=[each for part in parts for each in part.names],
    )


def changes(
    states: StateSet, start: datetime, end: datetime, last: tuple[int | None, str | None] | None
) -> StateSet:
    """Return the changes of state from `start` to before `end`.

    Every answer begins with the state at its start. If that equals `last`, the state before, it is not a
    change and left out. After a time without a known state, the same state again is a change.
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
    if inside and inside[0][0] == low:  # the state at the start is given
        before = []
    kept: list[tuple[int, int | None, int | None, str | None]] = []
    until: int | None = None
    for row in [*before, *inside]:
        known_on = until is None or row[0] <= until
        until = row[1]
        if row[2:] != last or not known_on:
            kept.append(row)
            last = row[2:]
        elif kept:  # the same state in two rows is one longer state
            kept[-1] = (kept[-1][0], *row[1:])
    times_ms, ends_ms, numbers, names = zip(*kept, strict=True) if kept else ((), (), (), ())
    return evolve(states, times_ms=times_ms, ends_ms=ends_ms, numbers=numbers, names=names)

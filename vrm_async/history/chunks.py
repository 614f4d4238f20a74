"""Chunks of a history: how far one request may reach, and how two chunks are stitched. Pure functions.

At a border between chunks no value appears twice and none is lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, repeat
from operator import is_, itemgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from attrs import evolve, frozen

from energy_core.local_days import EPOCH
from vrm_async.calendar import Calendar
from vrm_async.codes import adds_up
from vrm_async.models.series import Series, Stats, moment
from vrm_async.models.widget import StateSet

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


_DAY: Final = timedelta(days=1)


class Cap(NamedTuple):
    """The longest range of one request: days of 24 hours (VRM counts seconds) or calendar months."""

    days: int | None = None
    months: int | None = None


CAPS: Final[Mapping[str, Cap]] = MappingProxyType(
    {
        "15mins": Cap(days=31),
        "hours": Cap(days=31),
        "2hours": Cap(days=31),  # not documented: the cap of its neighbours
        "days": Cap(days=180),
        # VRM's document says 140 days for weeks. The caps of the other intervals are a few hundred buckets,
        # so it probably means 140 weeks. A chunk of 140 weeks is requested first. If VRM answers that it is
        # empty, 140 days are requested before that is accepted (`SURE`).
        "weeks": Cap(days=140 * 7),
        "months": Cap(months=24),
        "years": Cap(months=60),
    }
)
"""The longest range of one request by interval. VRM answers a longer one like a range without data."""

SURE: Final[Mapping[str, Cap]] = MappingProxyType({"weeks": Cap(days=140)})
"""The stricter interpretation of a documented cap that has two."""

_STEPS: Final[Mapping[str, timedelta]] = MappingProxyType(
    {"15mins": timedelta(minutes=15), "hours": timedelta(hours=1), "2hours": timedelta(hours=2)}
)
"""Lengths of the intervals of fixed length; their buckets are counted from the epoch, as VRM does."""

_LENGTHS: Final[Mapping[str, timedelta]] = MappingProxyType({"days": _DAY, "weeks": 7 * _DAY})
"""Lengths of calendar buckets without a clock change."""


@frozen
class BucketEdges:
    """Edges of the buckets of one interval at one site, and how far a chunk may reach."""

    interval: str
    calendar: Calendar

    def floor(self, moment: datetime) -> datetime:
        """Return the last edge at or before a moment, in UTC."""
        step = _STEPS.get(self.interval)
        if step is None:
            return self.calendar.floor(self.interval, moment)
        return moment.astimezone(UTC) - (moment - EPOCH) % step

    def next(self, edge: datetime) -> datetime:
        """Return the edge after an edge."""
        step = _STEPS.get(self.interval)
        return self.calendar.next(self.interval, edge) if step is None else edge + step

    def ceil(self, moment: datetime) -> datetime:
        """Return the first edge at or after a moment, in UTC."""
        edge = self.floor(moment)
        return edge if edge == moment else self.next(edge)

    def reach(self, start: datetime, end: datetime, cap: Cap) -> datetime:
        """Return the end of the chunk that begins at the edge `start`: `end`, or as far as the cap allows."""
        furthest = self._furthest(start, cap)
        if end <= furthest:
            return end
        # A chunk ends at a local midnight if possible, so that its totals are those of whole days.
        midnight = self.calendar.floor("days", furthest)
        whole_days = midnight if self.floor(midnight) == midnight else start
        return max(whole_days, start) if whole_days > start else self.floor(furthest)

    def steady(self, start: datetime, end: datetime) -> datetime:
        """Return where the first bucket after `start` with an unusual length begins; at least one bucket on.

        A server that counts days of 24 hours has the site's own days up to there.
        """
        usual = _LENGTHS[self.interval]
        after = self.next(start)
        if after - start != usual:
            return after
        while after < end and (further := self.next(after)) - after == usual:
            after = further
        return after

    @property
    def counts_days(self) -> bool:
        """Whether a bucket's usual length is a number of days, so that clock changes matter."""
        return self.interval in _LENGTHS

    def _furthest(self, start: datetime, cap: Cap) -> datetime:
        if cap.days is not None:
            return start + cap.days * _DAY
        months = cap.months or 0
        # VRM may count months in UTC or in the site's zone: the chunk exceeds neither.
        years, month = divmod(start.month - 1 + months, 12)
        in_utc = start.replace(year=start.year + years, month=month + 1, day=min(start.day, 28))
        if start.day > 28:
            in_utc += (start.day - 28) * _DAY
        return min(in_utc, self.calendar.shift(start, months=months))


def window_of(moment: datetime, length: timedelta) -> datetime:
    """Return the start of the window that contains a moment; windows are counted from the epoch.

    Windows of one length that begin at round times make VRM resample to the same timestamps in every request.
    """
    return moment.astimezone(UTC) - (moment - EPOCH) % length

"""Stats of any length."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Self, TypeAlias

from attrs import frozen

from energy_core.clock import Clock
from energy_core.errors import BadRequest, DecodeError, NoData
from energy_core.local_days import EPOCH
from vrm_async.calendar import Calendar
from vrm_async.history.base import Chunk, History, HistoryCursor
from vrm_async.history.chunks import (
    CAPS,
    SURE,
    BucketEdges,
    Cap,
    as_one,
    hour_of,
    joined,
    milliseconds,
    on_edges,
    trimmed,
    within,
    without_parts,
)
from vrm_async.models.series import Stats, moment

Row: TypeAlias = tuple[datetime, Mapping[str, float | None]]
"""An aware moment (UTC) and what every code has in the bucket that begins then."""


@frozen(kw_only=True)
class SiteFacts:
    """What a history has to know of a site."""

    calendar: Calendar
    """The site's own midnights."""
    created: datetime | None = None
    """When VRM first knew it; nothing lies before."""
    site_id: int | None = None
    """Which site it is, for errors."""


Ask: TypeAlias = Callable[[datetime, datetime, str], Awaitable[Stats]]
"""Asks for a range in buckets of an interval."""
Look: TypeAlias = Callable[[], Awaitable[SiteFacts]]


class StatsHistory(History[Stats]):
    """Stats from `start` to `end` in pieces as large as VRM allows; iterating yields a `Chunk` for each.

    The range is widened to whole buckets: quarters and hours of UTC, the site's own days, weeks from Monday,
    months and years. `rows()` gives bucket after bucket instead.
    """

    def __init__(
        self,
        name: str,
        ask: Ask,
        look: Look,
        *,
        interval: str,
        start: datetime | None,
        end: datetime | None,
        late: timedelta,
        checkpoint: HistoryCursor | None,
        clock: Clock,
    ) -> None:
        super().__init__(name, start=start, end=end, late=late, checkpoint=checkpoint, clock=clock)
        self._ask = ask
        self._look = look
        self._interval: Final = interval
        self._cap = CAPS[interval]
        self._ruler: BucketEdges | None = None
        self._proven = interval not in SURE
        self._wary = False
        """Whether VRM counts days of 24 hours, so that days of other lengths are asked for by themselves."""

    def rows(self) -> Rows:
        """Return an async iterator over the buckets, each with all its codes; it shares this one's pieces."""
        return Rows(self)

    async def _bounds(self, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
        facts = await self._look()
        ruler = self._ruler = BucketEdges(self._interval, facts.calendar)
        first = ruler.floor(_created(facts, self._clock.utcnow()) if start is None else start)
        if first < EPOCH:  # a bucket that begins before there are Unix seconds cannot be asked for
            first = ruler.ceil(EPOCH)
        return first, ruler.ceil(self._clock.utcnow() if end is None else end)

    def _floor(self, moment: datetime) -> datetime:
        return self._edges.floor(moment)

    async def _piece(self, at: datetime, end: datetime) -> tuple[datetime, Stats, bool]:
        while True:
            stop = self._stop(at, end)
            found = await self._answer(at, stop, self._interval)
            empty = not any(time < milliseconds(stop) for series in found for time in series.times_ms)
            if empty and self._doubtful(at, stop):
                self._cap = SURE[self._interval]
            elif not self._wary and self._counted_by_24_hours(found, at, stop):
                self._wary = True
            else:
                self._proven |= not empty and stop - at > self._sure_length()
                data = await self._on_edges(found, at, stop)
                return stop, data, not any(map(len, data))

    @property
    def _edges(self) -> BucketEdges:
        assert self._ruler is not None, "_bounds comes first"  # noqa: S101
        return self._ruler

    def _stop(self, at: datetime, end: datetime) -> datetime:
        stop = self._edges.reach(at, end, self._cap)
        return self._edges.steady(at, stop) if self._wary else stop

    async def _answer(self, at: datetime, stop: datetime, interval: str) -> Stats:
        try:
            return await self._ask(at, stop, interval)
        except NoData:
            return Stats()
        except BadRequest:
            if self._doubtful(at, stop):
                return Stats()
            raise

    async def _on_edges(self, found: Stats, at: datetime, stop: datetime) -> Stats:
        """Return the buckets of a piece, each where the site's own begins."""
        if not self._by_day:
            return trimmed(found, [within(series, at, stop) for series in found])
        # A server that counts days of 24 hours, and the end in, puts an hour too many into one of 23 hours.
        odd = self._wary and self._edges.next(at) == stop and (stop - at) % _DAY
        if not odd and on_edges(found, self._edges, exactly=False):
            return trimmed(found, [within(series, hour_of(at), hour_of(stop)) for series in found])
        return await self._added_up(found, at, stop)

    async def _added_up(self, found: Stats, at: datetime, stop: datetime) -> Stats:
        """Ask again for a piece whose buckets are not the site's, in hours or quarters, and add them up."""
        edges = [at]
        while edges[-1] < stop:
            edges.append(self._edges.next(edges[-1]))
        finer = "hours" if all(edge == hour_of(edge) for edge in edges) else "15mins"
        longest = timedelta(days=CAPS[finer].days or 0)
        parts = []
        begin = at
        while begin < stop:
            until = min(begin + longest, stop)
            answer = await self._answer(begin, until, finer)
            parts.append([within(series, begin, until) for series in answer])
            begin = until
        # Where there are no hours any more, a range of one bucket holds nothing but that bucket.
        for edge, after in without_parts(found, parts, edges):
            alone = await self._answer(edge, after, self._interval)
            parts.append([as_one(within(series, EPOCH, after), edge, after) for series in alone])
        return trimmed(found, joined(parts, edges))

    @property
    def _by_day(self) -> bool:
        return self._interval not in {"15mins", "hours", "2hours"}

    def _doubtful(self, at: datetime, stop: datetime) -> bool:
        """Whether an empty answer may mean a range that is too large, where that is open."""
        return not self._proven and stop - at > self._sure_length()

    def _sure_length(self) -> timedelta:
        return timedelta(days=SURE.get(self._interval, Cap(days=0)).days or 0)

    def _counted_by_24_hours(self, found: Stats, at: datetime, stop: datetime) -> bool:
        """Whether the buckets left the site's midnights behind where its clocks changed."""
        ruler = self._edges
        if not ruler.counts_days or ruler.steady(at, stop) >= stop:
            return False
        return not on_edges(found, ruler, exactly=True)


_DAY: Final = timedelta(days=1)
_NO_SITE_BEFORE: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""VRM is younger than that."""


def _created(facts: SiteFacts, now: datetime) -> datetime:
    """Return where a history without a start begins.

    Raises:
        DecodeError: VRM does not say when the site was created, or says what cannot be.
    """
    created = facts.created
    if created is not None and _NO_SITE_BEFORE <= created <= now:
        return created
    said = (
        "does not say when it was created" if created is None else f"says it was created on {created.date()}"
    )
    raise DecodeError(
        f"site {facts.site_id}: VRM {said} (syscreated); pass start",
        kind="shape",
        vendor="vrm",
        operation="users.installations",
    )


class Rows:
    """An async iterator over buckets; it holds one piece."""

    def __init__(self, history: StatsHistory) -> None:
        self._history = history
        self._ready: deque[Row] = deque()
        self._before = self._after = history.checkpoint

    @property
    def checkpoint(self) -> HistoryCursor | None:
        """Where to go on so that no bucket is missed: after the last piece that was handed out to its end."""
        return self._before if self._ready else self._after

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Row:
        while not self._ready:
            part = await anext(self._history)
            self._ready.extend(rows_of(part))
            self._before, self._after = self._after, part.checkpoint
        return self._ready.popleft()


def rows_of(part: Chunk[Stats]) -> list[Row]:
    """Return a piece as rows, in order of time.

    Raises:
        ValueError: the values of several device instances are kept apart; rows have no place for that.
    """
    if len(part.data.instances) > 1:
        raise ValueError("rows hold one value for each code: ask without show_instance, or use the pieces")
    table: dict[int, dict[str, float | None]] = {}
    for series in part.data:
        for time, value in zip(series.times_ms, series.value, strict=True):
            table.setdefault(time, {})[series.code] = value
    return [(moment(time), table[time]) for time in sorted(table)]

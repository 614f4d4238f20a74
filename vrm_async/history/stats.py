"""Stats of any length."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from os import PathLike
from typing import Final, Self, TypeAlias

from attrs import frozen

from energy_core.atomic_file import check_target
from energy_core.clock import Clock
from energy_core.errors import BadRequest, DecodeError, NoData
from energy_core.local_days import EPOCH, TimeRange
from energy_core.tables.export import optional
from vrm_async.calendar import Calendar
from vrm_async.history.base import Chunk, History, HistoryCursor
from vrm_async.history.chunks import CAPS, SURE, BucketEdges, Cap
from vrm_async.history.joining import (
    aggregate,
    hour_of,
    joined_stats,
    milliseconds,
    on_edges,
    to_one_bucket,
    with_cut_series,
    within,
    without_parts,
)
from vrm_async.models.series import Stats, moment

Row: TypeAlias = tuple[datetime, Mapping[str, float | None]]
"""Aware start of a bucket (UTC) and the bucket's value by code."""


@frozen(kw_only=True)
class SiteFacts:
    """The facts about a site that a history needs."""

    calendar: Calendar
    """The site's local days."""
    created: datetime | None = None
    """When VRM created the site; there is no data before."""
    site_id: int | None = None
    """VRM's idSite, for error messages."""


Request: TypeAlias = Callable[[datetime, datetime, str], Awaitable[Stats]]
"""Requests a range in buckets of an interval."""


class StatsHistory(History[Stats]):
    """Stats in chunks as large as VRM allows; iterating yields a `Chunk` for each.

    The range is widened to whole buckets: 15 minutes and hours of UTC, the site's local days, weeks from
    Monday, months and years. `rows()` yields bucket after bucket instead; ``await`` returns one `Stats` of
    the whole range.

    Raises:
        NotFound: the account's list of sites does not have the site.
        DecodeError: VRM does not send the site's time zone, or its day of creation where `start` is open.
    """

    def __init__(
        self,
        name: str,
        request: Request,
        site_facts: Callable[[], Awaitable[SiteFacts]],
        *,
        interval: str,
        time_range: TimeRange,
        reread: timedelta,
        checkpoint: HistoryCursor | None,
        clock: Clock,
        no_stats: Callable[[], Stats] = Stats,
    ) -> None:
        super().__init__(name, time_range=time_range, reread=reread, checkpoint=checkpoint, clock=clock)
        self._request = request
        self._no_stats = no_stats
        self._site_facts = site_facts
        self._interval: Final = interval
        self._cap = CAPS[interval]
        self._bucket_edges: BucketEdges | None = None
        self._cap_is_proven = interval not in SURE
        self._counts_24_hours = False
        """Whether VRM counts days of 24 hours, so that days of other lengths need their own request."""

    def rows(self) -> Rows:
        """Return an async iterator over buckets, each with the values of all codes. It shares the chunks."""
        return Rows(self)

    def _join(self, parts: Sequence[Stats]) -> Stats:
        return joined_stats(parts) if parts else self._no_stats()

    async def _bounds(self) -> tuple[datetime, datetime]:
        facts = await self._site_facts()
        now = self._clock.utcnow()
        edges = self._bucket_edges = BucketEdges(self._interval, facts.calendar)
        start, end = self._range.resolve(now, facts.calendar.zone)
        first = edges.floor(_created(facts, now) if start is None else start)
        if first < EPOCH:  # VRM takes no Unix time below 0
            first = edges.ceil(EPOCH)
        return first, edges.ceil(now if end is None else end)

    def _floor(self, moment: datetime) -> datetime:
        return self._edges.floor(moment)

    async def _read(self, at: datetime, end: datetime) -> tuple[datetime, Stats, bool]:
        while True:
            stop = self._stop(at, end)
            found = await self._ask(at, stop, self._interval)
            empty = not any(time < milliseconds(stop) for series in found for time in series.times_ms)
            # VRM answers a range over the cap as if it had no data: try again with the smaller cap.
            if empty and self._may_exceed_cap(at, stop):
                self._cap = SURE[self._interval]
            # Days of 24 hours are the site's days only up to the next clock change: request up to there.
            elif not self._counts_24_hours and self._has_days_of_24_hours(found, at, stop):
                self._counts_24_hours = True
            else:
                self._cap_is_proven |= not empty and stop - at > self._sure_length()
                data = await self._on_edges(found, at, stop)
                return stop, data, not any(map(len, data))

    @property
    def _edges(self) -> BucketEdges:
        assert self._bucket_edges is not None, "_bounds comes first"  # noqa: S101
        return self._bucket_edges

    def _stop(self, at: datetime, end: datetime) -> datetime:
        stop = self._edges.reach(at, end, self._cap)
        return self._edges.steady(at, stop) if self._counts_24_hours else stop

    async def _ask(self, at: datetime, stop: datetime, interval: str) -> Stats:
        try:
            return await self._request(at, stop, interval)
        except NoData:
            return self._no_stats()
        except BadRequest:
            if self._may_exceed_cap(at, stop):
                return self._no_stats()
            raise

    async def _on_edges(self, found: Stats, at: datetime, stop: datetime) -> Stats:
        """Return the buckets of a chunk, each beginning at one of the site's edges."""
        if not self._by_day:
            return with_cut_series(found, [within(series, at, stop) for series in found])
        # A server that counts days of 24 hours adds an hour too many to a day of 23 hours.
        odd = self._counts_24_hours and self._edges.next(at) == stop and (stop - at) % _DAY
        if not odd and on_edges(found, self._edges, exactly=False):
            return with_cut_series(found, [within(series, hour_of(at), hour_of(stop)) for series in found])
        return await self._aggregated(found, at, stop)

    async def _aggregated(self, found: Stats, at: datetime, stop: datetime) -> Stats:
        """Request the chunk again in hours or 15 minutes and aggregate them to the site's buckets."""
        edges = [at]
        while edges[-1] < stop:
            edges.append(self._edges.next(edges[-1]))
        finer = "hours" if all(edge == hour_of(edge) for edge in edges) else "15mins"
        longest = timedelta(days=CAPS[finer].days or 0)
        parts = []
        begin = at
        while begin < stop:
            until = min(begin + longest, stop)
            answer = await self._ask(begin, until, finer)
            parts.append([within(series, begin, until) for series in answer])
            begin = until
        # VRM deletes old hours. A request for exactly one bucket then returns only that bucket.
        for edge, after in without_parts(found, parts, edges):
            alone = await self._ask(edge, after, self._interval)
            parts.append([to_one_bucket(within(series, EPOCH, after), edge, after) for series in alone])
        return with_cut_series(found, aggregate(parts, edges))

    @property
    def _by_day(self) -> bool:
        return self._interval not in {"15mins", "hours", "2hours"}

    def _may_exceed_cap(self, at: datetime, stop: datetime) -> bool:
        """Whether an empty answer may mean that the range was too large."""
        return not self._cap_is_proven and stop - at > self._sure_length()

    def _sure_length(self) -> timedelta:
        return timedelta(days=SURE.get(self._interval, Cap(days=0)).days or 0)

    def _has_days_of_24_hours(self, found: Stats, at: datetime, stop: datetime) -> bool:
        """Whether the buckets leave the site's midnights after a clock change."""
        edges = self._edges
        if not edges.counts_days or edges.steady(at, stop) >= stop:
            return False
        return not on_edges(found, edges, exactly=True)


_DAY: Final = timedelta(days=1)
_NO_SITE_BEFORE: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""VRM went online later."""


def _created(facts: SiteFacts, now: datetime) -> datetime:
    """Return the start of a history that was given none.

    Raises:
        DecodeError: VRM sent no usable time of the site's creation.
    """
    created = facts.created
    if created is not None and _NO_SITE_BEFORE <= created <= now:
        return created
    problem = "sent no time" if created is None else f"sent the impossible time {created.date()}"
    raise DecodeError(
        f"site {facts.site_id}: VRM {problem} of its creation (syscreated); pass start",
        kind="shape",
        vendor="vrm",
        operation="sites",
    )


class Rows:
    """An async iterator over buckets; it holds one chunk. Cancelling a step is safe.

    `to_csv` and `to_parquet` write the rows that were not yielded yet, all codes in one table.
    """

    def __init__(self, history: StatsHistory) -> None:
        self._history = history
        self._ready: deque[Row] = deque()
        self._chunk: Chunk[Stats] | None = None
        self._before = self._after = history.checkpoint

    @property
    def checkpoint(self) -> HistoryCursor | None:
        """Where to resume without missing a bucket: after the last chunk that was returned completely."""
        # While buckets of a chunk remain, a resumed reader has to read that chunk again.
        return self._before if self._ready else self._after

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Row:
        while not self._ready:
            chunk = self._chunk = await anext(self._history)
            self._ready.extend(rows_of(chunk))
            self._before, self._after = self._after, chunk.checkpoint
        return self._ready.popleft()

    async def to_csv(self, path: str | PathLike[str]) -> None:
        """Write the rows to a CSV file, as `Stats.to_csv` does. The file is written when all have come.

        Cancelling is safe: the next call continues, and `path` is not touched.

        Raises:
            OSError: the file cannot be written.
        """
        check_target(path)
        await asyncio.to_thread((await self._rest()).to_csv, path)

    async def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write the rows to a Parquet file, in the same way as `to_csv`.

        Raises:
            ModuleNotFoundError: pyarrow is not installed; the message has the command that installs it.
            OSError: the file cannot be written.
        """
        check_target(path)
        optional("pyarrow", "arrow")
        await asyncio.to_thread((await self._rest()).to_parquet, path)

    async def _rest(self) -> Stats:
        if self._ready and self._chunk is not None:
            first = self._ready[0][0]
            rest = [within(series, first, self._chunk.end) for series in self._chunk.data]
            self._history.put_back(with_cut_series(self._chunk.data, rest))
            self._ready.clear()
        return await self._history


def rows_of(chunk: Chunk[Stats]) -> list[Row]:
    """Return a chunk as rows, in order of time.

    Raises:
        ValueError: the chunk has several device instances; a row has one value a code.
    """
    if len(chunk.data.instances) > 1:
        raise ValueError("rows have one value a code: pass no show_instance, or iterate over the chunks")
    table: dict[int, dict[str, float | None]] = {}
    for series in chunk.data:
        for time, value in zip(series.times_ms, series.value, strict=True):
            table.setdefault(time, {})[series.code] = value
    return [(moment(time), table[time]) for time in sorted(table)]
